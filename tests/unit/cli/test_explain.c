// SPDX-License-Identifier: MIT
/* Answers to planted data: what was planted is said, and nothing that was not. */
#include "explain.h"
#include "samples.h"

#define SIZES 5
#define RUNS 6
#define CACHE ",\"l1d_misses\":{\"value\":%d},\"llc_misses\":{\"value\":%d}"
#define NO_CACHE                                                                                             \
	",\"l1d_misses\":{\"value\":null,\"reason\":\"no "                                                   \
	"PMU\"},\"llc_misses\":{\"value\":null,\"reason\":\"no PMU\"}"

/* Throughput and CPU time of a mode at 64 << (2 * i) bytes with so many threads. */
struct plan {
	double (*gbps)(int mode, int i, int threads);
	bool counters, copied, several_threads, many_runs;
	bool moved;                          /* what is copied after all is by skb_copy */
	double share;                        /* of a run that is copied; 0: all of it */
	int fields, scale;                   /* 0: 8 fields; 0: sizes as above, else so many times */
	bool no_perf, no_misses, odd_middle; /* odd_middle: one run has nine times the misses */
	const char *const *names;            /* of the modes; NULL: those below */
	int runs;                            /* a cell; 0: as many_runs says */
	int copied_every;                    /* of so many runs one is copied; 0: all */
	double spread;
};

static const char *const modes[] = {"two-copy", "one-copy", "zero-copy"};

static void write_perf(FILE *f, const struct plan *p, int mode, int run)
{
	int times = p->no_misses ? 0 : p->odd_middle && run == RUNS / 2 ? 9 : 1;

	if (p->no_perf) {
		fprintf(f, "\"perf\":null,\"perf_reason\":\"turned off for this run\"}\n");
		return;
	}
	fprintf(f, "\"perf\":{\"sender\":{\"task_clock_ns\":{\"value\":1}");
	if (p->counters)
		fprintf(f, CACHE "},\"receiver\":{\"task_clock_ns\":{\"value\":1}" CACHE "}}}\n",
			times * (3000 - 1000 * mode), times * (300 - 30 * mode), 0, 0);
	else
		fprintf(f, NO_CACHE "},\"receiver\":{\"task_clock_ns\":{\"value\":1}" NO_CACHE "}}}\n");
}

static void write_run(FILE *f, const struct plan *p, int mode, int i, int threads, int run)
{
	double gbps = p->gbps(mode, i, threads) * (1 + p->spread * (run - 2.5));
	bool copied = p->copied && mode == 2 && (!p->copied_every || run % p->copied_every == 0);
	double share = copied ? (p->share > 0 ? p->share : 1) : 0;
	long long pinned = mode == 2 ? 1000000 : 0, late = (long long)(share * (double)pinned);

	fprintf(f,
		"{\"schema\":\"copyledger/result/"
		"1\",\"id\":\"%d-%d-%d-%d\",\"state\":\"done\",\"spec\":{\"mode\":\"%s\","
		"\"path\":\"veth\",\"workload\":\"stream\",\"size\":%d,\"threads\":%d,\"fields\":%d,\"perf\":"
		"%s,\"label\":\"\"},",
		mode, i, threads, run, p->names ? p->names[mode] : modes[mode],
		(64 << (2 * i)) * (p->scale ? p->scale : 1), threads, p->fields ? p->fields : 8,
		p->no_perf ? "false" : "true");
	fprintf(f,
		"\"app\":{\"throughput_gbps\":%.6f,\"bytes_received\":1000000},\"derived\":{\"cpu_ns_per_"
		"byte\":%.6f},"
		"\"lanes\":[],\"ledger\":{\"balanced\":true,\"exact\":true,\"sites\":[{\"site\":\"tx_pin\","
		"\"bytes\":%lld},"
		"{\"site\":\"%s\",\"bytes\":%lld}],\"copies_per_byte\":{\"total\":%d,\"lower_bound\":false}}"
		",",
		gbps, 10 / gbps, pinned, p->moved ? "skb_copy" : "tx_deferred_copy", late,
		mode == 2 ? 1 + copied : 3 - mode);
	fprintf(f,
		"\"zerocopy\":{\"sends\":%d,\"completed_zero_copied\":%d,\"completed_copied\":%d,\"bytes\":%"
		"lld,"
		"\"enobufs\":0,\"verdict\":\"%s\",\"copied_share\":%.3f,\"cause\":%s,\"cause_evidence\":"
		"\"derived\"},",
		mode == 2 ? 10 : 0, mode == 2 && !copied ? 10 : 0, copied ? 10 : 0, pinned,
		mode != 2     ? "none"
		: share > .99 ? "copied"
		: copied      ? "mixed"
			      : "zero-copied",
		share, copied ? "\"looped to a local socket\"" : "null");
	write_perf(f, p, mode, run);
}

static json_object *answers_to(const struct plan *p)
{
	char path[] = "/tmp/copyledger-explain-XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	struct cli cli = {.socket = "/nonexistent/socket"};
	struct fault fault = {};
	json_object *o = NULL;
	int runs = p->runs ? p->runs : p->many_runs ? RUNS : 1;

	assert_non_null(f);
	for (int mode = 0; mode < 3; mode++)
		for (int i = 0; i < SIZES; i++)
			for (int threads = 1; threads <= (p->several_threads ? 4 : 1); threads *= 4)
				for (int run = 0; run < runs; run++)
					write_run(f, p, mode, i, threads, run);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(dataset_open(&cli, path, &d, &fault), 0);
	assert_int_equal(explain_answers(d, &o), 0);
	unlink(path);
	return o;
}

static json_object *answer(json_object *document, const char *id)
{
	json_object *answers = doc_at(document, "answers");

	for (size_t i = 0; i < doc_length(answers); i++)
		if (str_eq(doc_text(json_object_array_get_idx(answers, i), "id"), id))
			return json_object_array_get_idx(answers, i);
	fail_msg("no answer %s", id);
	return NULL;
}

static bool says(json_object *document, const char *id, const char *words)
{
	json_object *sentences = doc_at(answer(document, id), "sentences");

	for (size_t i = 0; i < doc_length(sentences); i++)
		if (strstr(json_object_get_string(json_object_array_get_idx(sentences, i)), words))
			return true;
	return false;
}

static bool answered(json_object *document, const char *id)
{
	return doc_flag(answer(document, id), "answered") == 1;
}

/* zero-copy is better than both from between 1 and 4 KiB on; one-copy always better than two-copy. */
static double pays_from_2k(int mode, int i, int threads)
{
	return mode == 2 ? (i < 3 ? 1 : 20) * threads : (5 + mode) * threads;
}

static double never_pays(int mode, int i, int threads)
{
	return 9 - mode * 3;
}

/* zero-copy is 1.5 times one-copy at 64 B and from 1 to 4 KiB, and behind at 256 B and at 16 KiB. */
static double pays_here_and_there(int mode, int i, int threads)
{
	return mode == 2 ? (i == 1 || i == 4 ? 9 : 15) : 10;
}

/* Behind at the largest size alone is not "never". */
static void a_way_that_falls_behind_is_not_denied(void **state)
{
	const struct plan p = {pays_here_and_there, .many_runs = true, .spread = 0.01};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(says(o, "crossovers",
		"zero-copy beats one-copy in throughput at 64 B and 1 KiB to 4 KiB, but no longer at 16 KiB, "
		"over"));
	assert_false(says(o, "crossovers", "zero-copy never beats one-copy"));
}

static void a_crossing_that_is_there_is_said(void **state)
{
	const struct plan p = {pays_from_2k, .copied = false, .many_runs = true, .spread = 0.01};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(says(o, "zero_copy", "it is: of 30.0 MB sent as zero-copy in 30 runs 0 B were copied"));
	assert_true(says(
		o, "crossovers", "one-copy beats two-copy in throughput at every size from 64 B to 16 KiB"));
	assert_true(says(o, "crossovers", "zero-copy beats one-copy in throughput from a size between 2."));
	assert_true(says(o, "not_fastest", "faster than one-copy in 2 and slower in 3"));
	assert_true(says(o, "not_fastest", "It does save copies there (1.00 a byte against 2.00)"));
	assert_false(answered(o, "threads"));
}

static void one_that_is_not_is_denied(void **state)
{
	const struct plan p = {never_pays, .copied = true, .many_runs = true, .spread = 0.01};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(says(o, "zero_copy",
		"it is not: of 30.0 MB sent as zero-copy in 30 runs 30.0 MB (100 %) were copied after all "
		"(tx_deferred_copy), because: looped to a local socket, derived"));
	assert_true(says(o, "zero_copy", "looped to a local socket"));
	assert_true(says(
		o, "crossovers", "zero-copy never beats one-copy in throughput between 64 B and 16 KiB"));
	assert_true(says(o, "not_fastest", "It saves no copy there: 2.00 copies a byte against 2.00"));
	assert_true(says(o, "unexpected", "one-copy is slower than two-copy"));
	assert_true(says(o, "unexpected", "holds in 2 more places"));
}

/* What the daemon calls copied is, whichever site did it. */
static void copied_by_another_site_is_copied_too(void **state)
{
	const struct plan p = {never_pays, .copied = true, .moved = true, .many_runs = true};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(
		says(o, "zero_copy", "it is not: of 30.0 MB sent as zero-copy in 30 runs 30.0 MB (100 %) "));
	assert_true(says(o, "zero_copy", "were copied after all (skb_copy), because: "));
}

static void what_is_copied_in_part_is_neither(void **state)
{
	const struct plan p = {
		never_pays, .copied = true, .share = 0.1, .copied_every = 6, .many_runs = true};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(says(o, "zero_copy",
		"it is partly: of 30.0 MB sent as zero-copy in 30 runs 500.0 kB (1.67 %) were copied after "
		"all"));
	assert_true(says(o, "zero_copy", "25 of these runs were zero-copied, 5 were not"));
	assert_false(says(o, "zero_copy", "it is not"));
}

static void without_counters_the_caches_are_not_answered(void **state)
{
	const struct plan p = {never_pays, .many_runs = true, .several_threads = true, .spread = 0.01};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_false(answered(o, "caches"));
	assert_true(says(o, "caches", "no cache counters (no PMU)"));
	assert_true(says(o, "caches", "virtual PMU"));
	assert_true(answered(o, "threads"));
	assert_true(says(o, "threads", "4 threads carry 1.00 times"));
	assert_true(says(o, "threads", "cannot tell"));
}

static void with_counters_they_are(void **state)
{
	const struct plan p = {never_pays, .counters = true, .many_runs = true, .spread = 0.01};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(answered(o, "caches"));
	assert_true(says(o, "caches",
		"L1 data cache misses per 1,000 bytes: two-copy 3.00, one-copy 2.00, zero-copy 1.00"));
	assert_true(says(o, "caches", "33 % fewer"));
}

/* A run that is unlike the others, wherever it stands, does not speak for them. */
static void misses_are_a_median_over_runs(void **state)
{
	const struct plan p = {never_pays, .counters = true, .odd_middle = true, .many_runs = true};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(
		says(o, "caches", "misses per 1,000 bytes: two-copy 3.00, one-copy 2.00, zero-copy 1.00"));
}

static void of_no_misses_there_is_no_share(void **state)
{
	const struct plan p = {never_pays, .counters = true, .no_misses = true, .many_runs = true};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(says(o, "caches",
		"two-copy 0.00, one-copy 0.00, zero-copy 0.00; without the packing none to save "));
	assert_false(says(o, "caches", "nan"));
}

/* Another machine would not help, and which this one is nobody has seen. */
static void what_was_turned_off_is_not_blamed_on_the_machine(void **state)
{
	const struct plan p = {never_pays, .no_perf = true, .many_runs = true, .several_threads = true};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_false(answered(o, "caches"));
	assert_true(says(o, "caches", "no cache counters (turned off for this run)"));
	assert_true(says(o, "caches", "without --no-perf"));
	assert_false(says(o, "caches", "virtual PMU") || says(o, "caches", "machine"));
	assert_true(says(o, "threads", "the data cannot tell"));
}

static void what_is_missing_is_said_as_it_is(void **state)
{
	static const char *const others[] = {"sendfile", "splice", "uring-send"};
	const struct plan p = {never_pays, .names = others, .several_threads = true, .many_runs = true};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_false(answered(o, "threads") || answered(o, "crossovers"));
	assert_true(
		says(o, "threads", "Neither two-copy nor one-copy nor zero-copy was measured with several"));
	assert_true(says(o, "crossovers", "That takes two of two-copy, one-copy and zero-copy at two sizes"));
}

static void large_fields_are_not_called_small(void **state)
{
	const struct plan small = {never_pays, .many_runs = true, .spread = 0.01},
			  large = {never_pays, .scale = 1024, .many_runs = true, .spread = 0.01},
			  one = {never_pays, .fields = 1, .many_runs = true, .spread = 0.01};
	_cleanup_json_ json_object *a = answers_to(&small), *b = answers_to(&large), *c = answers_to(&one);

	assert_true(says(a, "unexpected", "its throughput; an iovec of many small fields costs more"));
	assert_true(
		says(b, "unexpected", "its throughput; 8 fields of 8.0 KiB do not explain it by the iovec"));
	assert_true(
		says(c, "unexpected", "its throughput; 1 field of 64.0 B does not explain it by the iovec"));
	assert_false(
		says(b, "unexpected", "many small fields") || says(c, "unexpected", "many small fields"));
}

/* With a run a cell nothing has an interval, so nothing is called sure. */
static void single_runs_decide_nothing(void **state)
{
	const struct plan p = {never_pays, .copied = true};
	_cleanup_json_ json_object *o = answers_to(&p);

	assert_true(says(o, "crossovers", "a run a cell gives no interval"));
	assert_false(says(o, "crossovers", "beats"));
	assert_true(says(o, "not_fastest", "faster than one-copy in 0 and slower in 0"));
	assert_true(says(o, "unexpected", "Nothing of what is looked for"));
}

/* Of three runs a side the interval holds 90 times of 100 whatever they say, of four 97 times. */
static void an_interval_that_does_not_hold_decides_nothing(void **state)
{
	const struct plan three = {never_pays, .runs = 3, .spread = 0.01},
			  four = {never_pays, .runs = 4, .spread = 0.01};
	_cleanup_json_ json_object *few = answers_to(&three), *enough = answers_to(&four);

	assert_true(says(few, "not_fastest", "slower in 0; in 5 the difference is not sure at 95 %"));
	assert_true(says(few, "not_fastest", "times (too few runs for an interval)"));
	assert_false(says(few, "unexpected", "one-copy is slower than two-copy"));
	assert_true(says(enough, "not_fastest", "slower in 5; in 0 the difference is not sure at 95 %"));
	assert_true(says(enough, "unexpected", "one-copy is slower than two-copy"));
}

static void every_answer_lists_what_it_rests_on(void **state)
{
	const struct plan p = {pays_from_2k, .many_runs = true, .several_threads = true, .spread = 0.01};
	_cleanup_json_ json_object *o = answers_to(&p);
	json_object *rows = doc_at(answer(o, "crossovers"), "rests_on"), *row;
	_cleanup_free_ char *text = NULL;
	size_t size;
	struct out out = {.f = open_memstream(&text, &size), .utf8 = true};
	double v;

	assert_true(doc_length(rows) > 0);
	row = json_object_array_get_idx(rows, 0);
	assert_int_equal(doc_length(doc_at(row, "runs")), RUNS);
	assert_true(doc_number(row, "median", &v) && v > 0);
	render_explain(&out, o, true);
	fclose(out.f);
	assert_non_null(strstr(text, "From what message size does which way pay here?"));
	assert_non_null(
		strstr(text, json_object_get_string(json_object_array_get_idx(doc_at(row, "runs"), 0))));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crossing_that_is_there_is_said),
		cmocka_unit_test(a_way_that_falls_behind_is_not_denied),
		cmocka_unit_test(one_that_is_not_is_denied),
		cmocka_unit_test(copied_by_another_site_is_copied_too),
		cmocka_unit_test(what_is_copied_in_part_is_neither),
		cmocka_unit_test(without_counters_the_caches_are_not_answered),
		cmocka_unit_test(with_counters_they_are),
		cmocka_unit_test(misses_are_a_median_over_runs),
		cmocka_unit_test(of_no_misses_there_is_no_share),
		cmocka_unit_test(what_was_turned_off_is_not_blamed_on_the_machine),
		cmocka_unit_test(what_is_missing_is_said_as_it_is),
		cmocka_unit_test(large_fields_are_not_called_small),
		cmocka_unit_test(single_runs_decide_nothing),
		cmocka_unit_test(an_interval_that_does_not_hold_decides_nothing),
		cmocka_unit_test(every_answer_lists_what_it_rests_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
