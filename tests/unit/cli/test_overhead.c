// SPDX-License-Identifier: MIT
/* An overhead measurement's document and sentence, from results that are made up. */
#include <math.h>

#include "overhead.h"
#include "samples.h"

#define PAIRS 12

static json_object *slice(const char *state, bool on, double gbps, double cpu)
{
	json_object *o = json_object_new_object(), *app = json_object_new_object(),
		    *derived = json_object_new_object(), *ledger = json_object_new_object();

	json_object_object_add(o, "id", json_object_new_string("20260131-120000-00ff"));
	json_object_object_add(o, "state", json_object_new_string(state));
	json_object_object_add(o, "app", app);
	json_object_object_add(app, "throughput_gbps", json_object_new_double(gbps));
	json_object_object_add(o, "derived", derived);
	if (cpu > 0)
		json_object_object_add(derived, "cpu_ns_per_byte", json_object_new_double(cpu));
	json_object_object_add(ledger, "tier", json_object_new_string("fentry"));
	json_object_object_add(ledger, "balanced", json_object_new_boolean(true));
	json_object_object_add(o, "ledger", on ? ledger : NULL);
	if (!on) {
		json_object_put(ledger);
		json_object_object_add(o, "ledger_reason", json_object_new_string("it was off"));
	}
	return o;
}

struct trial {
	struct overhead o;
	struct overhead_pair pairs[PAIRS];
	json_object *document;
};

/* n pairs in which the ledger leaves so much of the throughput, a little more from pair to pair. */
static void make_pairs(struct trial *t, size_t n, double left, double step)
{
	*t = (struct trial){.o = {.state = "done", .label = "x", .slice_ms = 200, .asked = n, .n = n}};
	t->o.pairs = t->pairs;
	for (size_t i = 0; i < n; i++) {
		double base = 10 + (double)i; /* drift, which is on both sides */

		t->pairs[i].result[SLICE_ON] =
			slice("done", true, base * (left + step * (double)i), 2 / left);
		t->pairs[i].result[SLICE_OFF] = slice("done", false, base, 2);
	}
}

static json_object *measured(struct trial *t, size_t i)
{
	if (!t->document)
		t->document = overhead_document(&t->o);
	return json_object_array_get_idx(doc_at(t->document, "measures"), i);
}

static json_object *pair_at(struct trial *t, size_t i)
{
	measured(t, 0);
	return json_object_array_get_idx(doc_at(t->document, "pairs"), i);
}

static double number(json_object *o, const char *path)
{
	double value = NAN;

	return doc_number(o, path, &value) ? value : NAN;
}

static void change_slice(struct trial *t, size_t i, int s, json_object *result)
{
	json_object_put(t->pairs[i].result[s]);
	t->pairs[i].result[s] = result;
}

static void trial_free(struct trial *t)
{
	for (size_t i = 0; i < PAIRS; i++)
		for (int s = 0; s < SLICES; s++)
			json_object_put(t->pairs[i].result[s]);
	json_object_put(t->document);
}
#define _cleanup_trial_ _cleanup_(trial_free)

#define assert_near(a, b) assert_true(fabs((a) - (b)) < 1e-9)

static void test_the_ratio_is_that_of_pairs(void **state)
{
	_cleanup_trial_ struct trial t;
	json_object *m;

	make_pairs(&t, 11, 0.9, 0.001);
	m = measured(&t, 0);
	assert_string_equal(doc_text(m, "measure"), "throughput_gbps");
	assert_near(number(m, "ratio"), 0.905);
	assert_true(number(m, "low") >= 0.9 && number(m, "low") < 0.905);
	assert_true(number(m, "high") > 0.905 && number(m, "high") <= 0.91);
	assert_near(number(m, "coverage"), 0.95);
	assert_near(number(m, "off"), 15);
	m = measured(&t, 1);
	assert_near(number(m, "ratio"), 1 / 0.9);
	assert_string_equal(doc_text(m, "better"), "lower");
	assert_int_equal(doc_length(doc_at(t.document, "notes")), 0);
	assert_int_equal(overhead_status(t.document), STATUS_OK);
}

static void test_every_other_pair_goes_the_other_way_round(void **state)
{
	_cleanup_trial_ struct trial t;

	make_pairs(&t, 4, 0.9, 0);
	assert_string_equal(doc_text(pair_at(&t, 0), "first"), "on");
	assert_string_equal(doc_text(pair_at(&t, 1), "first"), "off");
	assert_string_equal(doc_text(pair_at(&t, 2), "first"), "on");
}

static void test_few_pairs_have_a_range_and_one_has_none(void **state)
{
	_cleanup_trial_ struct trial t, one;
	json_object *m;

	make_pairs(&t, 3, 0.9, 0.01);
	m = measured(&t, 0);
	assert_near(number(m, "low"), 0.9);
	assert_near(number(m, "high"), 0.92);
	assert_near(number(m, "coverage"), 0.75);
	assert_int_equal(doc_length(doc_at(t.document, "notes")), 1);
	make_pairs(&one, 1, 0.9, 0);
	m = measured(&one, 0);
	assert_near(number(m, "ratio"), 0.9);
	assert_true(isnan(number(m, "low")) && isnan(number(m, "coverage")));
	assert_int_equal(overhead_status(one.document), STATUS_OK);
}

static void test_a_pair_that_is_no_pair_is_left_out_with_its_reason(void **state)
{
	static const char *const words[] = {"was not measured", "was cancelled", "had no ledger: it was off",
		"has no throughput", "failed"};
	_cleanup_trial_ struct trial t;

	make_pairs(&t, 7, 0.5, 0);
	change_slice(&t, 0, SLICE_OFF, NULL);
	change_slice(&t, 1, SLICE_ON, slice("cancelled", true, 99, 99));
	change_slice(&t, 2, SLICE_ON, slice("done", false, 99, 99));
	change_slice(&t, 3, SLICE_OFF, slice("done", false, 0, 99));
	change_slice(&t, 4, SLICE_OFF, slice("failed", false, 99, 99));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		assert_non_null(strstr(doc_text(pair_at(&t, i), "left_out"), words[i]));
		assert_true(isnan(number(pair_at(&t, i), "ratios.throughput_gbps")));
	}
	assert_null(doc_string(pair_at(&t, 5), "left_out"));
	assert_near(number(measured(&t, 0), "ratio"), 0.5);
	assert_near(number(t.document, "pairs_used"), 2);
	assert_near(number(t.document, "pairs_left_out"), 5);
}

static void test_what_is_not_counted_has_a_reason(void **state)
{
	_cleanup_trial_ struct trial t;

	make_pairs(&t, 2, 0.9, 0);
	for (size_t i = 0; i < 2; i++)
		change_slice(&t, i, SLICE_ON, slice("done", true, 9, 0));
	assert_true(isnan(number(measured(&t, 1), "ratio")));
	assert_true(*doc_text(measured(&t, 1), "reason"));
	assert_near(number(measured(&t, 1), "pairs"), 0);
	assert_null(doc_string(measured(&t, 0), "reason"));
}

static void assert_says(struct trial *t, const char *words)
{
	_cleanup_free_ char *sentence = NULL;

	measured(t, 0);
	sentence = overhead_sentence(t->document);
	assert_non_null(sentence);
	if (!strstr(sentence, words))
		fail_msg("'%s' does not say '%s'", sentence, words);
}

static void test_sentences(void **state)
{
	_cleanup_trial_ struct trial cost, none, gain, nothing;

	make_pairs(&cost, 8, 0.9, 0);
	assert_says(&cost,
		"the ledger takes 10.0 % of the throughput (10.0 % to 10.0 %); CPU time per byte +11.1 %");
	make_pairs(&none, 9, 0.96, 0.01);
	assert_says(&none, "no cost of the ledger is seen in the throughput: +0.0 % with it");
	make_pairs(&gain, 8, 1.1, 0);
	assert_says(&gain, "no cost of the ledger's");
	make_pairs(&nothing, 0, 1, 0);
	nothing.o.state = "interrupted";
	assert_says(&nothing, "interrupted: what the ledger costs is not known");
	assert_int_equal(overhead_status(nothing.document), STATUS_FAILED);
}

static void test_few_pairs_decide_nothing(void **state)
{
	_cleanup_trial_ struct trial five, two, one, others;

	make_pairs(&five, 5, 0.9, 0);
	assert_says(&five, "not sure, with 5 pairs: the ledger takes 10.0 % of the throughput");
	make_pairs(&two, 2, 1.1, 0);
	assert_says(&two, "not sure, with 2 pairs: with the ledger the throughput is higher by 10.0 %");
	make_pairs(&one, 1, 0.9, 0);
	assert_says(&one, "not sure, with 1 pair: with the ledger the throughput was 90.0 % of that without");
	make_pairs(&others, 8, 0.9, 0);
	for (size_t i = 0; i < 4; i++)
		change_slice(&others, i, SLICE_ON, slice("done", true, 0.9 * (10 + (double)i), 0));
	assert_says(&others, "; CPU time per byte +11.1 % (+11.1 % to +11.1 %, not sure)");
}

/* Only a sentence that is sure stands out. */
static void test_the_sentence_is_bold_if_it_is_sure(void **state)
{
	for (size_t n = 5; n <= 6; n++) {
		_cleanup_trial_ struct trial t;
		_cleanup_free_ char *text = NULL;
		size_t size;
		struct out out = {.f = open_memstream(&text, &size), .color = true};

		make_pairs(&t, n, 0.9, 0);
		measured(&t, 0);
		render_overhead(&out, t.document);
		fclose(out.f);
		assert_int_equal(strstr(text, "\x1b[1mthe ledger takes") != NULL, n == 6);
		assert_int_equal(strstr(text, "\nnot sure, with 5 pairs: the ledger takes") != NULL, n == 5);
	}
}

static void test_books_that_do_not_balance_are_4(void **state)
{
	_cleanup_trial_ struct trial t;

	make_pairs(&t, 6, 0.9, 0);
	json_object_object_add(
		doc_at(t.pairs[1].result[SLICE_ON], "ledger"), "balanced", json_object_new_boolean(false));
	assert_says(&t, "the books of 1 run do not balance");
	assert_int_equal(overhead_status(t.document), STATUS_UNBALANCED);
}

static void test_the_books_of_a_failed_run_prove_nothing(void **state)
{
	_cleanup_trial_ struct trial t;

	make_pairs(&t, 7, 0.9, 0);
	change_slice(&t, 1, SLICE_ON, slice("failed", true, 9, 2));
	json_object_object_add(
		doc_at(t.pairs[1].result[SLICE_ON], "ledger"), "balanced", json_object_new_boolean(false));
	measured(&t, 0);
	assert_near(number(t.document, "unbalanced"), 0);
	assert_int_equal(overhead_status(t.document), STATUS_OK);
}

static void test_a_watch_is_noted(void **state)
{
	_cleanup_trial_ struct trial t;

	make_pairs(&t, 6, 0.9, 0);
	t.o.watched = true;
	measured(&t, 0);
	assert_non_null(strstr(json_object_get_string(doc_at(t.document, "notes")), "a watch went on"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_ratio_is_that_of_pairs),
		cmocka_unit_test(test_every_other_pair_goes_the_other_way_round),
		cmocka_unit_test(test_few_pairs_have_a_range_and_one_has_none),
		cmocka_unit_test(test_a_pair_that_is_no_pair_is_left_out_with_its_reason),
		cmocka_unit_test(test_what_is_not_counted_has_a_reason),
		cmocka_unit_test(test_sentences),
		cmocka_unit_test(test_few_pairs_decide_nothing),
		cmocka_unit_test(test_the_sentence_is_bold_if_it_is_sure),
		cmocka_unit_test(test_books_that_do_not_balance_are_4),
		cmocka_unit_test(test_the_books_of_a_failed_run_prove_nothing),
		cmocka_unit_test(test_a_watch_is_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
