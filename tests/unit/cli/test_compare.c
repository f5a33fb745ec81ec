// SPDX-License-Identifier: MIT
/* Comparisons of files: what belongs together, what differs in the machine, verdicts, and exit statuses. */
#include <errno.h>
#include <math.h>

#include "comparison.h"
#include "samples.h"

#define HOST(release, model)                                                                                 \
	",\"host\":{\"kernel\":{\"release\":\"" release "\"},\"cpu\":{\"model\":\"" model                    \
	"\"},\"noise\":{\"load_average\":[1,2,3]},\"sysctl\":{\"a.b\":1}}"

static char path_a[] = "/tmp/copyledger-compare-a-XXXXXX", path_b[] = "/tmp/copyledger-compare-b-XXXXXX";

/* n runs of one cell, each a little above the one before. */
static void write_runs(FILE *f, const char *mode, int size, double first, int n, const char *rest)
{
	for (int i = 0; i < n; i++)
		fprintf(f,
			"{\"schema\":\"copyledger/result/"
			"1\",\"id\":\"%s-%d-%d\",\"state\":\"done\",\"spec\":{"
			"\"mode\":\"%s\",\"path\":\"loopback\",\"workload\":\"stream\",\"size\":%d,"
			"\"threads\":1,"
			"\"duration_ms\":50,\"label\":\"%d\"},\"app\":{\"throughput_gbps\":%.4f}%s}\n",
			mode, size, i, mode, size, i, first * (1 + 0.001 * i), rest);
}

struct sides {
	struct dataset *a, *b;
	json_object *document;
	struct fault fault;
	int r;
};

static void sides_free(struct sides *s)
{
	dataset_free(s->a);
	dataset_free(s->b);
	json_object_put(s->document);
}
#define _cleanup_sides_ _cleanup_(sides_free)

static struct sides compare(const char *select_a, const char *select_b, bool force, double threshold)
{
	const struct comparison_settings settings = {
		.measure = measure_find("throughput_gbps"), .threshold_percent = threshold, .force = force};
	_cleanup_free_ char *a = NULL, *b = NULL;
	struct cli cli = {.socket = "/nonexistent/socket"};
	struct sides s = {};

	assert_true(asprintf(&a, "%s%s", path_a, select_a) > 0 && asprintf(&b, "%s%s", path_b, select_b) > 0);
	assert_int_equal(dataset_open(&cli, a, &s.a, &s.fault), 0);
	assert_int_equal(dataset_open(&cli, b, &s.b, &s.fault), 0);
	s.r = comparison_make(s.a, s.b, &settings, &s.document, &s.fault);
	return s;
}

static void write_both(double b_first, int n, const char *host_a, const char *host_b)
{
	_cleanup_fclose_ FILE *a = fopen(path_a, "w"), *b = fopen(path_b, "w");

	for (int size = 64; size <= 4096; size *= 8) {
		write_runs(a, "two-copy", size, 10, n, host_a);
		write_runs(b, "two-copy", size, size == 512 ? b_first : 10, n, host_b);
	}
}

static json_object *cell_of(const struct sides *s, size_t i)
{
	return json_object_array_get_idx(doc_at(s->document, "cells"), i);
}

static bool has_note(const struct sides *s, const char *part)
{
	json_object *notes = doc_at(s->document, "notes");
	bool found = false;

	for (size_t i = 0; i < doc_length(notes); i++)
		found |= strstr(json_object_get_string(json_object_array_get_idx(notes, i)), part) != NULL;
	return found;
}

static void a_slower_cell_is_found_and_no_other(void **state)
{
	static const char *const verdicts[] = {"no_difference", "worse", "no_difference"};
	_cleanup_sides_ struct sides s = {};
	_cleanup_free_ char *why = NULL;
	double ratio = 0;

	write_both(9, 5, HOST("6.1", "x"), HOST("6.1", "x"));
	s = compare("", "", false, 5);
	assert_int_equal(s.r, 0);
	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++)
		assert_string_equal(doc_text(cell_of(&s, i), "verdict"), verdicts[i]);
	assert_true(doc_number(cell_of(&s, 1), "ratio", &ratio) && fabs(ratio - 0.9) < 1e-9);
	assert_int_equal(comparison_failed(s.document, &why), 1);
	assert_has(why, "1 cells are worse by more than 5 %");
}

static void the_threshold_is_a_limit(void **state)
{
	_cleanup_sides_ struct sides over = {}, under = {}, none = {};
	_cleanup_free_ char *why = NULL, *not = NULL;

	write_both(9, 5, HOST("6.1", "x"), HOST("6.1", "x"));
	over = compare("", "", false, 9.9);
	under = compare("", "", false, 10.1);
	none = compare("", "", false, NAN);
	assert_int_equal(comparison_failed(over.document, &why), 1);
	assert_int_equal(comparison_failed(under.document, &not ), 0);
	assert_int_equal(comparison_failed(none.document, &not ), 0);
}

static void a_faster_cell_is_better(void **state)
{
	_cleanup_sides_ struct sides s = {};
	_cleanup_free_ char *why = NULL;

	write_both(11, 5, HOST("6.1", "x"), HOST("6.1", "x"));
	s = compare("", "", false, 0);
	assert_string_equal(doc_text(cell_of(&s, 1), "verdict"), "better");
	assert_int_equal(comparison_failed(s.document, &why), 0);
}

static void three_runs_a_side_show_nothing_and_say_so(void **state)
{
	_cleanup_sides_ struct sides s = {};
	_cleanup_free_ char *why = NULL;

	write_both(5, 3, HOST("6.1", "x"), HOST("6.1", "x"));
	s = compare("", "", false, 5);
	assert_string_equal(doc_text(cell_of(&s, 1), "verdict"), "no_difference");
	assert_null(doc_at(cell_of(&s, 1), "detectable_percent"));
	assert_true(has_note(&s, "3 cells have too few runs to show any difference: 4 a side are the least"));
	/* a guard that could never fail does not pass */
	assert_int_equal(comparison_failed(s.document, &why), 1);
	assert_has(why, "enough runs");
}

static void other_hosts_are_not_judged_without_force(void **state)
{
	_cleanup_sides_ struct sides s = {}, forced = {};
	_cleanup_free_ char *why = NULL, *not = NULL;
	json_object *differences;

	write_both(9, 5, HOST("6.1", "x"), HOST("6.12", "x"));
	s = compare("", "", false, NAN);
	differences = doc_at(s.document, "provenance.differences");
	assert_int_equal(doc_length(differences), 1); /* of noise none */
	assert_string_equal(
		doc_text(json_object_array_get_idx(differences, 0), "what"), "host.kernel.release");
	assert_string_equal(doc_text(json_object_array_get_idx(differences, 0), "b"), "6.12");
	assert_string_equal(doc_text(cell_of(&s, 1), "verdict"), "refused");
	assert_string_equal(doc_text(s.document, "overall.verdict"), "refused");
	assert_int_equal(comparison_failed(s.document, &why), 1);
	assert_has(why, "--force");
	forced = compare("", "", true, NAN);
	assert_string_equal(doc_text(cell_of(&forced, 1), "verdict"), "worse");
	assert_int_equal(comparison_failed(forced.document, &not ), 0);
}

static void what_does_not_name_its_host_is_not_the_same(void **state)
{
	_cleanup_sides_ struct sides s = {};

	write_both(9, 5, "", "");
	s = compare("", "", false, NAN);
	assert_int_equal(doc_flag(s.document, "provenance.same_host"), 0);
	assert_string_equal(doc_text(cell_of(&s, 1), "verdict"), "refused");
}

static void selections_compare_across_what_they_fix(void **state)
{
	_cleanup_sides_ struct sides s = {}, nothing = {};
	FILE *a = fopen(path_a, "w"), *b = fopen(path_b, "w");

	write_runs(a, "two-copy", 64, 10, 5, HOST("6.1", "x"));
	write_runs(a, "two-copy", 128, 10, 5, HOST("6.1", "x"));
	write_runs(b, "one-copy", 64, 20, 5, HOST("6.1", "x"));
	write_runs(b, "one-copy", 256, 20, 5, HOST("6.1", "x"));
	fclose(a);
	fclose(b);
	nothing = compare("", "", false, NAN);
	assert_int_equal(nothing.r, -ENODATA);
	assert_has(nothing.fault.text, "no cell in common");
	s = compare(":mode=two-copy", ":mode=one-copy", false, NAN);
	assert_int_equal(s.r, 0);
	assert_int_equal(doc_length(doc_at(s.document, "cells")), 1);
	assert_string_equal(doc_text(cell_of(&s, 0), "a.mode"), "two-copy");
	assert_string_equal(doc_text(cell_of(&s, 0), "b.mode"), "one-copy");
	assert_string_equal(doc_text(cell_of(&s, 0), "verdict"), "better");
	assert_int_equal(doc_length(doc_at(s.document, "only_a")), 1);
	assert_int_equal(doc_length(doc_at(s.document, "only_b")), 1);
}

static void a_zero_is_a_value_and_a_median_of_zero_no_ratio(void **state)
{
	_cleanup_sides_ struct sides s = {}, none = {};
	FILE *a = fopen(path_a, "w"), *b = fopen(path_b, "w");

	write_runs(a, "two-copy", 64, 10, 5, HOST("6.1", "x"));
	write_runs(b, "two-copy", 64, 10, 5, HOST("6.1", "x"));
	write_runs(b, "two-copy", 64, 0, 1, HOST("6.1", "x"));
	fclose(a);
	fclose(b);
	s = compare("", "", false, NAN);
	assert_int_equal(json_object_get_int(doc_at(cell_of(&s, 0), "b.n")), 6);
	assert_string_equal(doc_text(cell_of(&s, 0), "verdict"), "no_difference");
	b = fopen(path_b, "w");
	write_runs(b, "two-copy", 64, 0, 5, HOST("6.1", "x"));
	fclose(b);
	none = compare("", "", false, NAN);
	assert_string_equal(doc_text(cell_of(&none, 0), "verdict"), "unknown");
	assert_has(doc_text(cell_of(&none, 0), "reason"), "median of 0");
}

static void a_run_a_side_has_a_ratio_and_no_verdict(void **state)
{
	_cleanup_sides_ struct sides s = {};
	_cleanup_free_ char *why = NULL;
	double ratio = 0;

	write_both(5, 1, HOST("6.1", "x"), HOST("6.1", "x"));
	s = compare("", "", false, NAN);
	assert_true(doc_number(cell_of(&s, 1), "ratio", &ratio) && ratio == 0.5);
	assert_string_equal(doc_text(cell_of(&s, 1), "verdict"), "unknown");
	assert_has(doc_text(cell_of(&s, 1), "reason"), "one run on either side");
	assert_int_equal(comparison_failed(s.document, &why), 1);
}

static void the_text_says_it_all(void **state)
{
	_cleanup_sides_ struct sides s = {};
	_cleanup_free_ char *text = NULL;

	write_both(9, 5, HOST("6.1", "x"), HOST("6.12", "x"));
	s = compare("", "", true, NAN);
	text = rendered(render_compare, s.document);
	assert_has(text, "what differs         A    B\nhost.kernel.release  6.1  6.12\n");
	assert_has(text, "throughput (Gbit/s); higher is better\n");
	assert_has(text, "10.02  9.018  5, 5  0.900  ");
	assert_has(text, "  worse\n");
	assert_has(text, "over all 3 cells B is 0.965 times A");
}

#define ON_DAY(day) ",\"started\":\"2026-01-" day "T12:00:00Z\",\"ended\":\"2026-01-" day "T12:00:01Z\""

/* n runs a side, the second side a day later. */
static struct sides compare_days(int n)
{
	FILE *a = fopen(path_a, "w"), *b = fopen(path_b, "w");

	write_runs(a, "two-copy", 64, 10, n, HOST("6.1", "x") ON_DAY("01"));
	write_runs(b, "one-copy", 64, 10, n, HOST("6.1", "x") ON_DAY("02"));
	fclose(a);
	fclose(b);
	return compare(":mode=two-copy", ":mode=one-copy", false, NAN);
}

static void drift_that_nobody_measured_is_unknown(void **state)
{
	_cleanup_sides_ struct sides one = compare_days(1), five = compare_days(5);

	assert_true(
		has_note(&one, "B was measured after the other") && has_note(&five, "B was measured after"));
	assert_true(has_note(&one, "drifts is unknown") && !has_note(&one, "may be drift"));
	assert_null(doc_at(one.document, "drift_percent"));
	/* 0, 0.1, 0.3 and 0.4 % above the first: 0.3 % between the halves, three times that */
	assert_true(has_note(&five, "differences below 0.9 % may be drift") && !has_note(&five, "unknown"));
}

/* A cell that ended after half of the rounds, and is four times as fast on one side, does not make a drift of
 * its own that hides the other's 10 %. */
static void a_cell_that_ended_early_is_no_drift(void **state)
{
	_cleanup_sides_ struct sides s = {};
	FILE *a = fopen(path_a, "w"), *b = fopen(path_b, "w");
	double drift = NAN;

	write_runs(a, "two-copy", 64, 10, 5, HOST("6.1", "x") ON_DAY("01"));
	write_runs(a, "two-copy", 512, 10, 10, HOST("6.1", "x") ON_DAY("01"));
	write_runs(b, "one-copy", 64, 40, 5, HOST("6.1", "x") ON_DAY("02"));
	write_runs(b, "one-copy", 512, 9, 10, HOST("6.1", "x") ON_DAY("02"));
	fclose(a);
	fclose(b);
	s = compare(":mode=two-copy", ":mode=one-copy", false, NAN);
	/* by 0.1 % a round: 0.5 % between the halves, three times that */
	assert_true(doc_number(s.document, "drift_percent", &drift) && fabs(drift - 1.5) < 0.05);
	assert_string_equal(doc_text(cell_of(&s, 0), "verdict"), "better");
	assert_string_equal(doc_text(cell_of(&s, 1), "verdict"), "worse");
}

#define LONG_NAME "a model of a CPU whose name goes on for more than half of a line, and ends in"

/* What differs may do so at the end. */
static void long_values_are_whole_on_both_sides(void **state)
{
	_cleanup_sides_ struct sides s = {};
	_cleanup_free_ char *text = NULL;

	write_both(9, 5, HOST("6.1", LONG_NAME " 1"), HOST("6.1", LONG_NAME " 2"));
	s = compare("", "", true, NAN);
	text = rendered(render_compare, s.document);
	assert_has(text, LONG_NAME " 1  " LONG_NAME " 2\n");
}

static int make_paths(void **state)
{
	close(mkstemp(path_a));
	close(mkstemp(path_b));
	return use_utf8(state);
}

static int remove_paths(void **state)
{
	return unlink(path_a) | unlink(path_b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slower_cell_is_found_and_no_other),
		cmocka_unit_test(the_threshold_is_a_limit),
		cmocka_unit_test(a_faster_cell_is_better),
		cmocka_unit_test(three_runs_a_side_show_nothing_and_say_so),
		cmocka_unit_test(other_hosts_are_not_judged_without_force),
		cmocka_unit_test(what_does_not_name_its_host_is_not_the_same),
		cmocka_unit_test(selections_compare_across_what_they_fix),
		cmocka_unit_test(a_zero_is_a_value_and_a_median_of_zero_no_ratio),
		cmocka_unit_test(a_run_a_side_has_a_ratio_and_no_verdict),
		cmocka_unit_test(the_text_says_it_all),
		cmocka_unit_test(drift_that_nobody_measured_is_unknown),
		cmocka_unit_test(a_cell_that_ended_early_is_no_drift),
		cmocka_unit_test(long_values_are_whole_on_both_sides),
	};

	return cmocka_run_group_tests(tests, make_paths, remove_paths);
}
