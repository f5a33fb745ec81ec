// SPDX-License-Identifier: MIT
/* The result document of a run that is made up: verdicts that a real kernel seldom gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balance.h"
#include "jsonx.h"
#include "result.h"

#define PINNED 1000

/* One zero-copy lane over loopback that has pinned and sent 1000 bytes. */
struct bench {
	struct spec spec;
	struct books books;
	struct lg_shm *shm;
	struct run_facts facts;
};

static void set_up(struct bench *b)
{
	struct lg_side *sender;

	*b = (struct bench){.spec = {.mode = "zero-copy",
				    .receive = "recv",
				    .workload = "stream",
				    .path = "loopback",
				    .size = PINNED,
				    .fields = 1,
				    .threads = 1}};
	b->shm = calloc(1, lg_shm_size(1));
	assert_non_null(b->shm);
	b->shm->start_ns = 1;
	b->shm->end_ns = 1001;
	sender = &b->shm->lane[0].side[LG_SENDER];
	sender->now = (struct lg_counts){
		.messages_sent = 1, .bytes_sent = PINNED, .send_calls = 1, .zc_sends = 1, .zc_bytes = PINNED};
	b->shm->lane[0].side[LG_RECEIVER].now =
		(struct lg_counts){.messages_received = 1, .bytes_received = PINNED, .recv_calls = 1};
	for (int s = 0; s < LG_SIDES; s++) {
		struct lg_side *side = &b->shm->lane[0].side[s];

		side->at_end = side->now;
		side->tcp = (struct lg_tcp){.valid = 1, .bytes_acked = side->now.bytes_sent};
	}
	sender->tcp.bytes_sent = PINNED;
	b->books.counter[COUNTER_ACCEPTED] = b->books.counter[COUNTER_RECEIVED] = PINNED;
	b->books.site[SITE_TX_PIN].bytes = b->books.site[SITE_RX_COPY].bytes = PINNED;
	b->facts = (struct run_facts){.id = "1",
		.state = "done",
		.spec = &b->spec,
		.shm = b->shm,
		.books = &b->books,
		.tier = "tracepoint",
		.no_times = "not asked",
		.no_perf = "not asked"};
	for (enum copy_site s = 0; s < SITE_MAX; s++)
		b->facts.site[s] = (struct site_status){EVIDENCE_OBSERVED, "hook", NULL};
}

static void assert_verdict(struct bench *b, const char *verdict, const char *from)
{
	_cleanup_json_ json_object *o = result_document(&b->facts);

	assert_string_equal(json_object_get_string(json_at(o, "zerocopy/verdict")), verdict);
	assert_non_null(strstr(json_object_get_string(json_at(o, "zerocopy/verdict_from")), from));
}

static void the_ledger_decides(void **state)
{
	struct bench b;

	set_up(&b);
	b.books.site[SITE_TX_DEFERRED_COPY].bytes = PINNED;
	assert_verdict(&b, "copied", "the ledger");
	b.books.site[SITE_TX_DEFERRED_COPY].bytes = PINNED / 2; /* of that half all was copied */
	assert_verdict(&b, "copied", "the ledger");
	str_copy(b.spec.path, "netns:a,b");
	assert_verdict(&b, "mixed", "the ledger");
	b.books.site[SITE_TX_DEFERRED_COPY].bytes = 0;
	assert_verdict(&b, "zero-copied", "the ledger");
	free(b.shm);
}

/* A kernel may run no program in a softirq: that nobody saw a copy does not make it zero-copy. */
static void where_no_hook_of_the_path_ran_the_completions_decide(void **state)
{
	struct bench b;
	struct lg_counts *now;

	set_up(&b);
	now = &b.shm->lane[0].side[LG_SENDER].now;
	now->zc_done = now->zc_done_copied = 1;
	now->zc_bytes_done = now->zc_bytes_copied = PINNED;
	assert_verdict(&b, "copied", "the completions");
	now->zc_done_copied = now->zc_bytes_copied = 0;
	assert_verdict(&b, "zero-copied", "the completions");
	now->zc_done = now->zc_bytes_done = 0;
	assert_verdict(&b, "none", "no byte was seen");
	free(b.shm);
}

static void a_window_that_never_began_has_no_figures(void **state)
{
	_cleanup_json_ json_object *o = NULL;
	struct bench b;

	set_up(&b);
	b.facts.before_window = true;
	o = result_document(&b.facts);
	assert_int_equal(json_object_get_int64(json_at(o, "app/bytes_received")), 0);
	assert_null(json_at(o, "app/throughput_gbps"));
	assert_null(json_at(o, "app/latency_us/value"));
	assert_non_null(json_at(o, "app/latency_us/reason"));
	assert_int_equal(json_object_get_int64(json_at(o, "app/whole_life/bytes_received")), PINNED);
	free(b.shm);
}

/* Of what the load generator can write only figures are believed: not how many lanes there are, nor of what
 * side. */
static void the_plan_is_the_daemons_own(void **state)
{
	_cleanup_json_ json_object *o = NULL;
	struct bench b;

	set_up(&b);
	b.shm->plan.lanes = UINT32_MAX;
	b.shm->plan.role = UINT32_MAX;
	o = result_document(&b.facts);
	assert_int_equal(json_object_array_length(json_at(o, "lanes")), LG_SIDES);
	assert_int_equal(json_object_get_int64(json_at(o, "app/bytes_received")), PINNED);
	free(b.shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_ledger_decides),
		cmocka_unit_test(where_no_hook_of_the_path_ran_the_completions_decide),
		cmocka_unit_test(a_window_that_never_began_has_no_figures),
		cmocka_unit_test(the_plan_is_the_daemons_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
