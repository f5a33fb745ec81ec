// SPDX-License-Identifier: MIT
/* Sums over documents: what counts, what does not, and that unknown is not 0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "jsonx.h"
#include "totals.h"

#define LEDGER(bytes, hits, balanced)                                                                        \
	"{\"sites\":[{\"site\":\"tx_copy\",\"bytes\":" bytes ",\"hits\":" hits "},"                          \
	"{\"site\":\"rx_copy\",\"bytes\":null,\"hits\":null},{\"site\":\"none_of_ours\",\"bytes\":7}],"      \
	"\"delivered\":100,\"balanced\":" balanced ",\"exact\":true,"                                        \
	"\"counters\":{\"zc_sends_copied\":2,\"zc_bytes_copied\":64}}"
#define RUN(state, ledger, hook_ns)                                                                          \
	"{\"state\":\"" state "\",\"app\":{},\"ledger\":" ledger                                             \
	",\"zerocopy\":{\"completed_zero_copied\":3,\"bytes_zero_copied\":30},"                              \
	"\"instrument\":{\"hook_runs\":5,\"hook_ns\":" hook_ns "}}"

static void add(struct totals *t, const char *document)
{
	_cleanup_json_ json_object *o = json_tokener_parse(document);

	assert_non_null(o);
	totals_add_run(t, o);
}

static void a_run_adds_what_it_says(void **state)
{
	struct totals t = {};

	add(&t, RUN("done", LEDGER("10", "1", "true"), "50"));
	add(&t, RUN("done", LEDGER("20", "null", "false"), "{\"value\":null,\"reason\":\"r\"}"));
	assert_int_equal(t.done, 2);
	assert_int_equal(t.runs.closed, 2);
	assert_int_equal(t.runs.unbalanced, 1);
	assert_int_equal(t.runs.inexact, 0);
	assert_int_equal(t.runs.delivered, 200);
	assert_int_equal(t.runs.site[SITE_TX_COPY].bytes, 30);
	assert_int_equal(t.runs.site[SITE_TX_COPY].hits, 1);
	assert_false(t.runs.site[SITE_RX_COPY].known);
	assert_int_equal(t.runs.zerocopy[ZC_SENDS_ZERO], 6);
	assert_int_equal(t.runs.zerocopy[ZC_BYTES_ZERO], 60);
	assert_int_equal(t.runs.hook_ns, 50);
	assert_int_equal(t.without_ledger, 0);
}

static void what_did_not_measure_only_ends(void **state)
{
	struct totals t = {};

	add(&t, "{\"state\":\"cancelled\"}");
	add(&t, "{\"state\":\"failed\",\"error\":{}}");
	add(&t, "{}");
	add(&t, "[]");
	assert_int_equal(t.cancelled, 1);
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.runs.closed + t.without_ledger + t.runs.delivered, 0);
}

static void books_of_a_failed_run_are_not_judged(void **state)
{
	struct totals t = {};

	add(&t, RUN("failed", LEDGER("10", "1", "false"), "1"));
	add(&t, RUN("done", "null", "1"));
	assert_int_equal(t.runs.closed, 0);
	assert_int_equal(t.runs.unbalanced, 0);
	assert_int_equal(t.runs.delivered, 100);
	assert_int_equal(t.without_ledger, 1);
}

static void what_was_told_is_not_taken_back(void **state)
{
	struct account told = {.delivered = 5, .site[SITE_TX_PIN] = {true, true, 9, 9}}, sum = {};
	const struct account now = {
		.delivered = 7, .hook_ns = 3, .timed = true, .site[SITE_TX_PIN] = {true, false, 4, 0}};

	account_raise(&told, &now);
	assert_int_equal(told.delivered, 7);
	assert_int_equal(told.site[SITE_TX_PIN].bytes, 9);
	assert_true(told.site[SITE_TX_PIN].counted);
	account_add(&sum, &told);
	account_add(&sum, &told);
	assert_int_equal(sum.delivered, 14);
	assert_int_equal(sum.hook_ns, 6);
	assert_true(sum.timed);
}

static void completions_of_a_watch(void **state)
{
	_cleanup_json_ json_object *ledger = json_tokener_parse(LEDGER("1", "1", "true"));
	struct account a = {};

	account_add_completions(&a, ledger);
	assert_int_equal(a.zerocopy[ZC_SENDS_COPIED], 2);
	assert_int_equal(a.zerocopy[ZC_BYTES_COPIED], 64);
	assert_int_equal(a.zerocopy[ZC_BYTES_ZERO], 0);
}

static void unknown_is_null(void **state)
{
	const struct account a = {
		.site[SITE_TX_COPY] = {true, true, 0, 0}, .site[SITE_RX_MAP] = {true, false, 5, 0}};
	_cleanup_json_ json_object *o = account_json("runs", &a);
	json_object *sites = json_at(o, "sites");

	assert_int_equal(json_object_array_length(sites), SITE_MAX);
	assert_non_null(json_at(json_object_array_get_idx(sites, SITE_TX_COPY), "hits"));
	assert_non_null(json_at(json_object_array_get_idx(sites, SITE_RX_MAP), "bytes"));
	assert_null(json_at(json_object_array_get_idx(sites, SITE_RX_MAP), "hits"));
	assert_null(json_at(json_object_array_get_idx(sites, SITE_TX_PIN), "bytes"));
	assert_null(json_at(o, "hook_ns"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_adds_what_it_says),
		cmocka_unit_test(what_did_not_measure_only_ends),
		cmocka_unit_test(books_of_a_failed_run_are_not_judged),
		cmocka_unit_test(what_was_told_is_not_taken_back),
		cmocka_unit_test(completions_of_a_watch),
		cmocka_unit_test(unknown_is_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
