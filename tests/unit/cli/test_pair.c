/* SPDX-License-Identifier: MIT */
/* Two results become one: equations between the hosts, copies over both, and what a failure leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pair.h"

#define SITE(name, bytes) "{\"site\":\"" name "\",\"bytes\":" bytes "}"
#define RESULT(state, sent, received, tx, rx)                                                                \
	"{\"state\":\"" state "\",\"pair\":{\"id\":\"r1\",\"clock\":{\"offset_ns\":5,\"error_ns\":9}},"      \
	"\"app\":{\"throughput_gbps\":1.5,\"whole_life\":{\"bytes_sent\":" sent                              \
	",\"bytes_received\":" received "}},\"ledger\":{\"balanced\":true,\"exact\":true,\"copies_per_"      \
	"byte\":{\"total\":1.0,\"lower_bound\":"                                                             \
	"false,\"tx_copy\":1.0,\"rx_copy\":1.0},\"sites\":[" SITE("tx_copy", tx) "," SITE(                   \
		"rx_copy", rx) "]}}"

static json_object *merge(const char *sender, const char *receiver)
{
	_cleanup_json_ json_object *s = json_tokener_parse(sender),
				   *r = receiver ? json_tokener_parse(receiver) : NULL;

	assert_non_null(s);
	return pair_merge(s, r);
}

static void test_balanced(void **state)
{
	_cleanup_json_ json_object *pair =
		merge(RESULT("done", "100", "0", "100", "0"), RESULT("done", "0", "100", "0", "100"));
	int64_t delivered;
	double total;

	assert_int_equal(pair_status(pair), STATUS_OK);
	assert_string_equal(doc_text(pair, "id"), "r1");
	assert_true(doc_integer(pair, "merged.delivered", &delivered));
	assert_int_equal(delivered, 100);
	assert_true(doc_number(pair, "merged.copies_per_byte.total", &total));
	assert_true(total == 2.0);
	assert_int_equal(doc_flag(pair, "merged.exact"), 1);
}

static void test_a_byte_is_missing(void **state)
{
	_cleanup_json_ json_object *pair =
		merge(RESULT("done", "100", "0", "100", "0"), RESULT("done", "0", "99", "0", "99"));

	assert_int_equal(pair_status(pair), STATUS_UNBALANCED);
	assert_int_equal(doc_flag(pair, "merged.balanced"), 0);
	assert_int_equal(doc_flag(pair, "merged.exact"), 0);
}

static void test_a_site_is_not_seen(void **state)
{
	_cleanup_json_ json_object *pair =
		merge(RESULT("done", "100", "0", "null", "0"), RESULT("done", "0", "100", "0", "100"));
	json_object *e = json_object_array_get_idx(doc_at(pair, "merged.balance"), 1);

	assert_int_equal(doc_flag(e, "holds"), -1);
	assert_non_null(doc_string(e, "reason"));
	assert_null(doc_at(pair, "merged.copies_per_byte.tx_copy"));
	assert_int_equal(doc_flag(pair, "merged.copies_per_byte.lower_bound"), 1);
}

/* The pair's document with these ledgers' "balanced"; NULL: without a ledger. */
static json_object *merge_ledgers(const char *sender, const char *receiver)
{
	_cleanup_json_ json_object *s = json_tokener_parse(RESULT("done", "100", "0", "100", "0")),
				   *r = json_tokener_parse(RESULT("done", "0", "100", "0", "100"));
	json_object *sides[] = {s, r};
	const char *const balanced[] = {sender, receiver};

	for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
		if (balanced[i])
			json_object_object_add(
				doc_at(sides[i], "ledger"), "balanced", json_tokener_parse(balanced[i]));
		else
			json_object_object_add(sides[i], "ledger", NULL);
	}
	return pair_merge(s, r);
}

static void test_each_ledger_that_is_there_must_balance(void **state)
{
	static const struct {
		const char *sender, *receiver;
		int balanced, status;
	} cases[] = {
		{"false", NULL, 0, STATUS_UNBALANCED},
		{NULL, "false", 0, STATUS_UNBALANCED},
		{"true", "false", 0, STATUS_UNBALANCED},
		{"true", NULL, 1, STATUS_OK},
		{NULL, NULL, 1, STATUS_OK},
		{"null", "null", 1, STATUS_OK},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_object *pair = merge_ledgers(cases[i].sender, cases[i].receiver);

		assert_int_equal(doc_flag(pair, "merged.balanced"), cases[i].balanced);
		assert_int_equal(pair_status(pair), cases[i].status);
		assert_int_equal(doc_flag(pair, "merged.exact"),
			cases[i].sender && cases[i].receiver && cases[i].balanced);
	}
}

/* A daemon that says so little cannot have been believed. */
static void test_done_without_figures_is_no_success(void **state)
{
	_cleanup_json_ json_object *pair = merge("{\"state\":\"done\"}", "{\"state\":\"done\"}");

	assert_null(doc_at(pair, "merged"));
	assert_int_equal(pair_status(pair), STATUS_FAILED);
}

static void test_one_side_failed(void **state)
{
	_cleanup_json_ json_object *pair =
		merge(RESULT("done", "100", "0", "100", "0"), "{\"state\":\"failed\"}");
	_cleanup_json_ json_object *alone = merge("{\"state\":\"failed\",\"pair\":{\"id\":\"r1\"}}", NULL);

	assert_int_equal(pair_status(pair), STATUS_FAILED);
	assert_null(doc_at(pair, "merged"));
	assert_int_equal(pair_status(alone), STATUS_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_balanced),
		cmocka_unit_test(test_a_byte_is_missing),
		cmocka_unit_test(test_a_site_is_not_seen),
		cmocka_unit_test(test_each_ledger_that_is_there_must_balance),
		cmocka_unit_test(test_done_without_figures_is_no_success),
		cmocka_unit_test(test_one_side_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
