/* SPDX-License-Identifier: MIT */
/* Sweeps: plans and their refusals, the order of the runs, the rule that ends a cell, and what survives. */
#include "fake_run.h"

#include "limit.h"
#include "stats.h"
#include "store.h"
#include "sweep.h"

struct bench {
	sd_event *event;
	struct manager *manager;
	char dir[64];
};

static void open_manager(struct bench *b)
{
	struct manager_config config = {.loadgen = "/loadgen", .state_dir = b->dir, .limits = limits_default};

	config.limits.threads_max = 100;
	assert_int_equal(manager_new(b->event, &fake_ops, &config, &b->manager, NULL), 0);
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	strcpy(b->dir, "/tmp/copyledger-sweep-XXXXXX");
	if (!mkdtemp(b->dir) || sd_event_new(&b->event) < 0)
		return -1;
	fake_starts = fake_frees = fake_refuses = 0;
	open_manager(b);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	manager_free(b->manager);
	sd_event_unref(b->event);
	fake_remove_dir(b->dir);
	free(b);
	return 0;
}

/* ---- plans ---- */

static int parse(const char *text, struct sweep_plan *ret, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = text ? json_tokener_parse(text) : NULL, *details = NULL;

	assert_true(!text || obj);
	return sweep_plan_parse(obj, ret, reterr, &details);
}

static struct sweep_plan *plan_of(const char *text)
{
	struct sweep_plan *plan = malloc(sizeof(*plan));
	struct fault fault = {0};

	assert_non_null(plan);
	if (parse(text, plan, &fault) < 0)
		fail_msg("%s: %s", text, fault.text);
	return plan;
}

static void the_default_grid_has_48_cells(void **state)
{
	_cleanup_free_ struct sweep_plan *plan = plan_of(NULL);
	unsigned int modes[3] = {0}, sizes = 0;
	struct spec spec;

	assert_int_equal(sweep_plan_cells(plan), 48);
	assert_int_equal(plan->repeat, 5);
	for (uint32_t i = 0; i < 48; i++) {
		sweep_plan_spec(plan, i, &spec);
		assert_string_equal(spec.path, "loopback");
		assert_string_equal(spec.workload, "stream");
		assert_int_equal(spec.duration_ms, 1000);
		assert_int_equal(spec.warmup_ms, 200);
		assert_int_equal(spec.fields, 8);
		assert_true(spec.threads == 1U << (i % 4));
		sizes += spec.size == 4096;
		for (size_t m = 0; m < ARRAY_SIZE(modes); m++)
			modes[m] += str_eq(spec.mode, spec_mode_name(m));
	}
	assert_int_equal(sizes, 12);
	for (size_t m = 0; m < ARRAY_SIZE(modes); m++)
		assert_int_equal(modes[m], 16);
}

static void a_plan_spans_its_lists_and_survives_json(void **state)
{
	static const char text[] =
		"{\"modes\":[\"zero-copy\",\"one-copy\"],\"sizes\":[64,1048576],\"threads\":[3],"
		"\"paths\":[\"veth\",\"loopback\"],\"workloads\":[\"rr\",\"stream\"],"
		"\"repeat\":7,\"seed\":9223372036854775807,\"fields\":4,\"label\":\"x\","
		"\"congestion\":null,\"duration_ms\":50}";
	_cleanup_free_ struct sweep_plan *plan = plan_of(text), *again = NULL;
	_cleanup_json_ json_object *json = sweep_plan_to_json(plan);
	struct spec spec, other;

	assert_int_equal(sweep_plan_cells(plan), 16);
	again = plan_of(json_object_to_json_string(json));
	assert_true(again->seed == INT64_MAX && again->repeat == 7);
	for (uint32_t i = 0; i < 16; i++) {
		sweep_plan_spec(plan, i, &spec);
		sweep_plan_spec(again, i, &other);
		assert_memory_equal(&spec, &other, sizeof(spec));
		assert_string_equal(spec.path, i < 8 ? "veth" : "loopback");
		assert_string_equal(spec.workload, i % 8 < 4 ? "rr" : "stream");
		assert_string_equal(spec.mode, i % 4 < 2 ? "zero-copy" : "one-copy");
		assert_int_equal(spec.size, i % 2 ? 1048576 : 64);
		assert_int_equal(spec.threads, 3);
		assert_int_equal(spec.fields, 4);
		assert_string_equal(spec.label, "x");
	}
}

static void a_plan_refuses_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *code, *field;
	} cases[] = {
		{"{\"sizes\":[64,0]}", "out_of_range", "sizes"},
		{"{\"sizes\":[67108865]}", "out_of_range", "sizes"},
		{"{\"sizes\":[\"64\"]}", "wrong_type", "sizes"},
		{"{\"sizes\":64}", "wrong_type", "sizes"},
		{"{\"sizes\":[]}", "out_of_range", "sizes"},
		{"{\"sizes\":[null]}", "wrong_type", "sizes"},
		{"{\"sizes\":[64,65,64]}", "invalid_request", "sizes"},
		{"{\"modes\":[\"two-copy\",\"two-copy\"]}", "invalid_request", "modes"},
		{"{\"modes\":[\"three-copy\"]}", "unknown_name", "modes"},
		{"{\"threads\":[1001]}", "out_of_range", "threads"},
		{"{\"workloads\":[\"x\"]}", "unknown_name", "workloads"},
		{"{\"mode\":\"two-copy\"}", "unknown_member", "mode"},
		{"{\"size\":null}", "unknown_member", "size"},
		{"{\"nothing\":1}", "unknown_member", "nothing"},
		{"{\"nothing\":null}", "unknown_member", "nothing"},
		{"{\"repeat\":0}", "out_of_range", "repeat"},
		{"{\"repeat\":101}", "out_of_range", "repeat"},
		{"{\"seed\":-1}", "out_of_range", "seed"},
		{"{\"seed\":\"1\"}", "wrong_type", "seed"},
		{"{\"fields\":65}", "out_of_range", "fields"},
	};
	struct sweep_plan plan = {.repeat = 42};
	struct fault fault;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(parse(cases[i].text, &plan, &fault) < 0);
		if (!str_eq(fault.code, cases[i].code) || !str_eq(fault.field, cases[i].field))
			fail_msg("%s: %s '%s': %s", cases[i].text, fault.code, fault.field, fault.text);
	}
	assert_int_equal(plan.repeat, 42);
}

/* {"sizes": [1 .. n], "threads": [1 .. m], "modes": one, "repeat": r} */
static int parse_extent(unsigned int n, unsigned int m, unsigned int r, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = json_object_new_object(), *details = NULL;
	json_object *sizes = json_object_new_array(), *threads = json_object_new_array();
	_cleanup_free_ struct sweep_plan *plan = malloc(sizeof(*plan));

	for (unsigned int i = 1; i <= n; i++)
		json_push(sizes, json_object_new_int(i));
	for (unsigned int i = 1; i <= m; i++)
		json_push(threads, json_object_new_int(i));
	json_add(obj, "sizes", sizes);
	json_add(obj, "threads", threads);
	json_add(obj, "modes", json_tokener_parse("[\"one-copy\"]"));
	json_add_u64(obj, "repeat", r);
	return sweep_plan_parse(obj, plan, reterr, &details);
}

static void limits_at_their_edges(void **state)
{
	struct fault fault;

	assert_int_equal(LIMIT_SWEEP_LIST * LIMIT_SWEEP_LIST, LIMIT_SWEEP_CELLS);
	assert_int_equal(parse_extent(32, 32, 10, &fault), 0);
	assert_true(parse_extent(32, 32, 11, &fault) < 0);
	assert_string_equal(fault.code, "limit_exceeded");
	assert_non_null(strstr(fault.text, "sweep_runs"));
	assert_true(parse_extent(33, 1, 1, &fault) < 0);
	assert_string_equal(fault.code, "out_of_range");
	assert_int_equal(parse_extent(1, 1, 100, &fault), 0);
}

/* ---- the order ---- */

static void each_round_is_another_permutation_of_the_seed(void **state)
{
	_cleanup_free_ struct sweep_plan *plan = plan_of("{\"seed\":3}"), *other = plan_of("{\"seed\":4}");
	uint32_t order[4][48], again[48];

	for (uint32_t round = 0; round < 4; round++) {
		uint64_t seen = 0;

		sweep_plan_order(plan, round, order[round]);
		for (size_t i = 0; i < 48; i++)
			seen |= 1ULL << order[round][i];
		assert_true(seen == (1ULL << 48) - 1);
		sweep_plan_order(plan, round, again);
		assert_memory_equal(order[round], again, sizeof(again));
		sweep_plan_order(other, round, again);
		assert_memory_not_equal(order[round], again, sizeof(again));
		for (uint32_t before = 0; before < round; before++)
			assert_memory_not_equal(order[round], order[before], sizeof(again));
	}
}

static struct sweep *sweep_of(const char *text)
{
	_cleanup_free_ struct sweep_plan *plan = plan_of(text);
	struct sweep *s = NULL;

	assert_int_equal(sweep_new(plan, &s), 0);
	return s;
}

static unsigned int serial;

static json_object *result(const char *state, double gbps, const char *reason)
{
	json_object *doc = json_tokener_parse(
		"{\"app\":{\"latency_us\":{\"p50\":2,\"p99\":9.5}},\"ledger\":{\"balanced\":true,"
		"\"copies_per_byte\":{\"total\":3}},\"zerocopy\":{\"verdict\":\"copied\"}}");

	json_add_strf(doc, "id", "20260101-000000-%04x", serial++);
	json_add_str(doc, "state", state);
	json_add_double(json_at(doc, "app"), "throughput_gbps", gbps);
	if (reason) {
		json_add(doc, "error", json_object_new_object());
		json_add_str(json_at(doc, "error"), "code", "x");
		json_add_str(json_at(doc, "error"), "message", reason);
	}
	return doc;
}

static int take(struct sweep *s, uint32_t cell, const char *state, double gbps)
{
	_cleanup_json_ json_object *doc = result(state, gbps, str_eq(state, "failed") ? "it broke" : NULL);

	return sweep_take(s, cell, doc);
}

static const char *stopped(struct sweep *s, uint32_t cell)
{
	static char text[16];
	_cleanup_json_ json_object *row = sweep_row(s, cell, false);

	str_copy(text, json_at(row, "stopped") ? json_object_get_string(json_at(row, "stopped")) : "open");
	return text;
}

/* Every round has each cell that goes on once, in the round's order. */
static void runs_go_in_rounds(void **state)
{
	_cleanup_(sweep_freep) struct sweep *s = sweep_of("{\"sizes\":[64],\"repeat\":5}");
	uint32_t order[12], cell, round;

	for (uint32_t r = 0; r < 5; r++) {
		sweep_plan_order(sweep_plan(s), r, order);
		for (size_t i = 0; i < 12; i++) {
			if (order[i] == 5 && r == 4)
				continue; /* has converged */
			assert_true(sweep_next(s, &cell, &round));
			assert_int_equal(cell, order[i]);
			assert_int_equal(round, r);
			assert_int_equal(take(s, cell, "done", cell == 5 ? 10 : 10 + r), 0);
		}
	}
	assert_false(sweep_next(s, &cell, &round));
	assert_string_equal(stopped(s, 5), "converged");
	assert_string_equal(stopped(s, 4), "repeats");
	assert_int_equal(sweep_count(s).cells_done, 12);
	assert_int_equal(sweep_count(s).converged, 1);
	assert_int_equal(sweep_count(s).runs_done, 59);
	assert_int_equal(sweep_count(s).runs_expected, 59);
	assert_true(sweep_ended(s, 0, &cell) && cell == 5);
	assert_false(sweep_ended(s, 12, &cell));
}

/* ---- the end of a cell ---- */

static void four_runs_within_the_bound_are_enough(void **state)
{
	/* 2.5 % of 100 on either side, and just beyond */
	static const struct {
		double values[SWEEP_REPEATS_MIN];
		const char *stopped;
	} cases[] = {
		{{100, 100, 100, 100}, "converged"},
		{{97.5, 100, 102.5, 100}, "converged"},
		{{102.6, 100, 99, 100}, "open"},
		{{97.4, 100, 100, 100}, "open"},
		{{0, 0, 0, 0}, "converged"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(sweep_freep) struct sweep *s = sweep_of("{}");

		for (size_t v = 0; v < SWEEP_REPEATS_MIN; v++) {
			assert_string_equal(stopped(s, 7), "open");
			assert_int_equal(take(s, 7, "done", cases[i].values[v]), 0);
		}
		assert_string_equal(stopped(s, 7), cases[i].stopped);
	}
}

static void two_runs_never_converge(void **state)
{
	_cleanup_(sweep_freep) struct sweep *s = sweep_of("{\"repeat\":2}");

	take(s, 0, "done", 10);
	take(s, 0, "done", 10);
	assert_string_equal(stopped(s, 0), "repeats");
	assert_int_equal(take(s, 0, "done", 10), -EEXIST);
}

static void failures_are_samples_with_a_reason(void **state)
{
	_cleanup_(sweep_freep) struct sweep *s = sweep_of("{}");
	_cleanup_json_ json_object *row = NULL, *mixed = NULL;

	for (int i = 0; i < 4; i++)
		assert_int_equal(take(s, 0, "failed", 10), 0);
	assert_string_equal(stopped(s, 0), "failed");
	row = sweep_row(s, 0, true);
	assert_string_equal(json_object_get_string(json_at(row, "reason")), "it broke");
	assert_null(json_at(row, "throughput_gbps/median"));
	assert_null(json_at(row, "copies_per_byte"));
	assert_null(json_at(row, "balanced"));
	assert_int_equal(json_object_get_int(json_at(row, "failures")), 4);
	assert_int_equal(json_object_array_length(json_at(row, "run_ids")), 4);

	take(s, 1, "failed", 1);
	for (int i = 0; i < 3; i++)
		take(s, 1, "done", 20);
	assert_string_equal(stopped(s, 1), "open");
	take(s, 1, "done", 20);
	mixed = sweep_row(s, 1, false);
	assert_string_equal(stopped(s, 1), "converged");
	assert_true(json_object_get_double(json_at(mixed, "throughput_gbps/median")) == 20);
	assert_true(json_object_get_double(json_at(mixed, "throughput_gbps/coverage")) == 0.875);
	assert_null(json_at(mixed, "run_ids"));
	assert_int_equal(sweep_count(s).cells_failed, 1);
	assert_int_equal(sweep_count(s).runs_failed, 5);
}

static void what_is_no_sample(void **state)
{
	_cleanup_(sweep_freep) struct sweep *s = sweep_of("{}");
	_cleanup_json_ json_object *cut = result("failed", 1, "the daemon ended"),
				   *doc = result("done", 1, NULL);

	json_add_str(json_at(cut, "error"), "code", "daemon_ended");
	assert_int_equal(sweep_take(s, 0, cut), -ENODATA);
	assert_int_equal(take(s, 0, "cancelled", 1), -ENODATA);
	assert_int_equal(take(s, 48, "done", 1), -ENOENT);
	assert_int_equal(sweep_take(s, 0, doc), 0);
	assert_int_equal(sweep_take(s, 0, doc), -EEXIST);
	assert_int_equal(sweep_count(s).runs_done, 1);
}

static void rows_sum_up_their_runs(void **state)
{
	_cleanup_(sweep_freep) struct sweep *s = sweep_of("{}"), *again = sweep_of("{}");
	_cleanup_json_ json_object *unbalanced = result("done", 30, NULL), *row = NULL, *restored = NULL;

	json_add_bool(json_at(unbalanced, "ledger"), "balanced", false);
	json_add_str(json_at(unbalanced, "zerocopy"), "verdict", "zero-copied");
	take(s, 3, "done", 10);
	take(s, 3, "done", 20);
	assert_int_equal(sweep_take(s, 3, unbalanced), 0);
	row = sweep_row(s, 3, true);
	assert_true(json_object_get_double(json_at(row, "throughput_gbps/median")) == 20);
	assert_true(json_object_get_double(json_at(row, "throughput_gbps/low")) == 10);
	assert_true(json_object_get_double(json_at(row, "throughput_gbps/high")) == 30);
	assert_true(json_object_get_double(json_at(row, "latency_us/p99")) == 9.5);
	assert_true(json_object_get_double(json_at(row, "copies_per_byte")) == 3);
	assert_string_equal(json_object_get_string(json_at(row, "verdict")), "mixed");
	assert_false(json_object_get_boolean(json_at(row, "balanced")));
	assert_int_equal(sweep_count(s).unbalanced, 1);

	assert_int_equal(sweep_restore(again, row), 0);
	restored = sweep_row(again, 3, true);
	assert_string_equal(json_object_to_json_string(row), json_object_to_json_string(restored));
	assert_int_equal(sweep_restore(again, row), -EBADMSG); /* has its runs */
	json_add_u64(row, "cell", 48);
	assert_int_equal(sweep_restore(again, row), -EBADMSG);
}

static void a_row_has_no_more_runs_than_the_plan(void **state)
{
	_cleanup_(sweep_freep) struct sweep *s = sweep_of("{\"repeat\":4}"),
					    *fewer = sweep_of("{\"repeat\":3}");
	_cleanup_json_ json_object *row = NULL;

	for (int i = 0; i < 4; i++)
		take(s, 3, "done", 10 * i);
	row = sweep_row(s, 3, true);
	assert_int_equal(sweep_restore(fewer, row), -EBADMSG);
	json_object_array_del_idx(json_at(row, "samples"), 3, 1);
	assert_int_equal(sweep_restore(fewer, row), 0);
	assert_string_equal(stopped(fewer, 3), "repeats");
}

/* By the linker's --wrap: see the Makefile. */
static unsigned int bootstraps, counts;

__typeof__(stats_bootstrap_median_interval) __real_stats_bootstrap_median_interval;
__typeof__(stats_bootstrap_median_interval) __wrap_stats_bootstrap_median_interval;
__typeof__(sweep_count) __real_sweep_count;
__typeof__(sweep_count) __wrap_sweep_count;

int __wrap_stats_bootstrap_median_interval(const double *values, size_t n, double level,
	unsigned int resamples, uint64_t seed, double *ret_low, double *ret_high)
{
	bootstraps++;
	return __real_stats_bootstrap_median_interval(values, n, level, resamples, seed, ret_low, ret_high);
}

struct sweep_counts __wrap_sweep_count(const struct sweep *s)
{
	counts++;
	return __real_sweep_count(s);
}

/* Who may only read can ask for it, and the daemon does nothing else meanwhile. */
static void a_restored_cell_costs_one_bootstrap(void **state)
{
	_cleanup_(sweep_freep) struct sweep *s = sweep_of("{\"repeat\":100}"),
					    *again = sweep_of("{\"repeat\":100}");
	_cleanup_json_ json_object *row = NULL, *restored = NULL, *once_more = NULL;

	for (unsigned int i = 0; i < LIMIT_SWEEP_REPEAT; i++)
		assert_int_equal(take(s, 3, "done", 10 + (i * 37 % 100)), 0);
	row = sweep_row(s, 3, true);
	assert_string_equal(stopped(s, 3), "repeats");
	bootstraps = 0;
	assert_int_equal(sweep_restore(again, row), 0);
	restored = sweep_row(again, 3, true);
	once_more = sweep_row(again, 3, true);
	assert_int_equal(bootstraps, 1);
	assert_string_equal(json_object_to_json_string(row), json_object_to_json_string(restored));
	assert_string_equal(json_object_to_json_string(row), json_object_to_json_string(once_more));
}

/* ---- through the manager ---- */

struct replies {
	json_object *message[256];
	unsigned int n;
};

static void take_reply(json_object *message, bool final, void *userdata)
{
	struct replies *r = userdata;

	assert_non_null(message);
	assert_true(r->n < ARRAY_SIZE(r->message));
	r->message[r->n++] = json_object_get(message);
}

static void forget(struct replies *r)
{
	while (r->n)
		json_object_put(r->message[--r->n]);
}

static struct call *begin(
	struct bench *b, struct replies *r, const char *method, const char *parameters, bool more)
{
	char text[600];

	snprintf(text, sizeof(text), "{\"method\":\"io.copyledger.%s\",\"parameters\":%s,\"more\":%s}",
		method, parameters, more ? "true" : "false");
	return call_begin(b->manager, ACCESS_READ | ACCESS_RUN, 0, text, strlen(text), take_reply, r);
}

static json_object *ask(struct bench *b, const char *method, const char *parameters)
{
	struct replies r = {0};

	assert_null(begin(b, &r, method, parameters, false));
	assert_int_equal(r.n, 1);
	return r.message[0];
}

static const char *str(json_object *o, const char *path)
{
	const char *s = json_object_get_string(json_at(o, path));

	if (!s)
		fail_msg("no %s in %s", path, json_object_to_json_string(o));
	return s;
}

static int64_t num(json_object *o, const char *path)
{
	assert_true(json_object_is_type(json_at(o, path), json_type_int));
	return json_object_get_int64(json_at(o, path));
}

#define SMALL "{\"spec\":{\"modes\":[\"one-copy\"],\"sizes\":[64,128],\"threads\":[1,2],\"repeat\":2}}"

static void start_small(struct bench *b, char id[32])
{
	_cleanup_json_ json_object *m = ask(b, "StartSweep", SMALL);

	snprintf(id, 32, "%s", str(m, "parameters/id"));
	assert_int_equal(num(m, "parameters/sweep/runs_expected"), 8);
	fake_pump(b->event);
}

static void check_summary(struct bench *b, const char *state, int64_t runs, int64_t cells)
{
	_cleanup_json_ json_object *m = ask(b, "GetSweep", "{\"id\":\"last\"}");

	assert_string_equal(str(m, "parameters/sweep/state"), state);
	assert_int_equal(num(m, "parameters/sweep/runs_done"), runs);
	assert_int_equal(num(m, "parameters/sweep/cells_done"), cells);
	assert_int_equal(json_object_array_length(json_at(m, "parameters/cells")), 4);
}

static void a_sweep_runs_to_its_end_and_is_told(void **state)
{
	struct bench *b = *state;
	struct replies r = {0};
	unsigned int cells = 0;
	char id[32];

	start_small(b, id);
	assert_non_null(begin(b, &r, "FollowSweep", "{\"id\":\"last\"}", true));
	for (int i = 0; i < 8; i++) {
		check_summary(b, "running", i, i < 4 ? 0 : i - 4);
		fake_end(b->event, "done");
	}
	assert_null(fake_running);
	check_summary(b, "done", 8, 4);
	for (unsigned int i = 0; i < r.n; i++)
		cells += json_at(r.message[i], "parameters/cell") != NULL;
	assert_int_equal(cells, 4);
	assert_string_equal(str(r.message[r.n - 1], "parameters/summary/state"), "done");
	assert_null(json_at(r.message[r.n - 1], "continues"));
	forget(&r);
}

/* It looks at every run of every cell. */
static void a_reply_counts_the_runs_once(void **state)
{
	struct bench *b = *state;
	char id[32];

	start_small(b, id);
	counts = 0;
	check_summary(b, "running", 0, 0);
	assert_int_equal(counts, 1);
}

static void another_run_goes_between(void **state)
{
	struct bench *b = *state;
	_cleanup_json_ json_object *m = NULL;
	char id[32];

	start_small(b, id);
	m = ask(b, "StartRun", "{\"spec\":{\"mode\":\"two-copy\"}}");
	fake_end(b->event, "done");
	assert_string_equal(fake_running->id, str(m, "parameters/id"));
	fake_end(b->event, "done");
	assert_string_equal(fake_running->spec.mode, "one-copy");
	check_summary(b, "running", 1, 0);
}

static void every_run_fails_and_the_sweep_goes_on(void **state)
{
	struct bench *b = *state;
	_cleanup_json_ json_object *m = NULL;
	char id[32];

	fake_refuses = 6;
	start_small(b, id);
	assert_int_equal(fake_refuses, 0);
	fake_end(b->event, "done");
	fake_end(b->event, "done");
	check_summary(b, "done", 8, 4);
	m = ask(b, "FollowSweep", "{\"id\":\"last\"}");
	assert_int_equal(num(m, "parameters/summary/runs_failed"), 6);
	assert_int_equal(num(m, "parameters/summary/cells_failed"), 2);
}

static void a_killed_daemon_loses_no_run(void **state)
{
	struct bench *b = *state;
	_cleanup_json_ json_object *m = NULL, *again = NULL;
	char id[32], parameters[64];

	start_small(b, id);
	for (int i = 0; i < 5; i++)
		fake_end(b->event, "done");
	manager_free(b->manager); /* nothing is said to anybody, as by a SIGKILL */
	open_manager(b);
	check_summary(b, "interrupted", 5, 1);
	snprintf(parameters, sizeof(parameters), "{\"resume\":\"%s\"}", id);
	m = ask(b, "StartSweep", parameters);
	assert_string_equal(str(m, "parameters/id"), id);
	again = ask(b, "StartSweep", parameters); /* is under way already */
	assert_string_equal(str(again, "parameters/sweep/state"), "running");
	fake_pump(b->event);
	for (int i = 0; i < 3; i++)
		fake_end(b->event, "done");
	assert_null(fake_running);
	check_summary(b, "done", 8, 4);
	assert_int_equal(fake_starts, 9);
}

/* The daemon died between the run's row and the cell's. */
static void a_run_without_its_row_is_found(void **state)
{
	struct bench *b = *state;
	_cleanup_json_ json_object *doc = result("done", 5, NULL), *m = NULL;
	struct store *s = NULL;
	char id[32], parameters[64];

	start_small(b, id);
	fake_end(b->event, "done");
	manager_free(b->manager);
	assert_int_equal(store_open(b->dir, &s, NULL), 0);
	json_add_str(doc, "started", "2026-01-01T10:00:00Z");
	json_add(doc, "sweep", json_object_new_object());
	json_add_str(json_at(doc, "sweep"), "id", id);
	json_add_u64(json_at(doc, "sweep"), "cell", 2);
	assert_int_equal(store_put(s, doc, NULL), 0);
	store_close(s);
	open_manager(b);
	check_summary(b, "interrupted", 1, 0);
	snprintf(parameters, sizeof(parameters), "{\"resume\":\"%s\"}", id);
	m = ask(b, "StartSweep", parameters);
	assert_int_equal(num(m, "parameters/sweep/runs_done"), 2);
}

static void an_orderly_stop_interrupts(void **state)
{
	struct bench *b = *state;
	struct replies r = {0};
	char id[32];

	start_small(b, id);
	fake_end(b->event, "done");
	assert_non_null(begin(b, &r, "FollowSweep", "{\"id\":\"last\"}", false));
	manager_stop(b->manager);
	assert_int_equal(r.n, 1);
	assert_string_equal(str(r.message[0], "parameters/summary/state"), "interrupted");
	assert_true(fake_running->cancelled);
	fake_end(b->event, "cancelled");
	assert_null(fake_running);
	forget(&r);
	manager_free(b->manager);
	sd_event_unref(b->event); /* it has ended */
	assert_int_equal(sd_event_new(&b->event), 0);
	open_manager(b);
	check_summary(b, "interrupted", 1, 0);
}

static void cancel_ends_the_sweep_and_its_run(void **state)
{
	struct bench *b = *state;
	_cleanup_json_ json_object *m = NULL, *gone = NULL, *second = NULL, *list = NULL;
	char id[32], parameters[64];

	start_small(b, id);
	second = ask(b, "StartSweep", SMALL);
	assert_int_equal(num(second, "parameters/position"), 1);
	assert_string_equal(str(second, "parameters/sweep/state"), "queued");
	snprintf(parameters, sizeof(parameters), "{\"id\":\"%s\"}", id);
	m = ask(b, "CancelSweep", parameters);
	assert_string_equal(str(m, "parameters/sweep/state"), "cancelled");
	assert_true(fake_running->cancelled);
	fake_end(b->event, "cancelled");
	gone = ask(b, "CancelSweep", parameters);
	assert_string_equal(str(gone, "error"), "io.copyledger.NotRunning");
	assert_non_null(fake_running); /* the second one's first */
	list = ask(b, "ListSweeps", "{}");
	assert_int_equal(json_object_array_length(json_at(list, "parameters/sweeps")), 2);
}

static void so_many_sweeps_wait(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 0; i <= LIMIT_SWEEP_QUEUE; i++) {
		_cleanup_json_ json_object *m = ask(b, "StartSweep", SMALL);

		if (i < LIMIT_SWEEP_QUEUE)
			assert_int_equal(num(m, "parameters/position"), i);
		else
			assert_string_equal(str(m, "error"), "io.copyledger.QueueFull");
	}
	fake_pump(b->event);
}

static void requests_are_refused(void **state)
{
	static const struct {
		const char *method, *parameters, *error;
	} cases[] = {
		{"StartSweep", "{\"resume\":\"x\"}", "NoSuchSweep"},
		{"StartSweep", "{\"resume\":\"last\"}", "NoSuchSweep"},
		{"StartSweep", "{\"resume\":\"x\",\"spec\":{}}", "InvalidRequest"},
		{"StartSweep", "{\"spec\":{\"threads\":[101]}}", "LimitExceeded"},
		{"StartSweep", "{\"spec\":{\"sizes\":[0]}}", "OutOfRange"},
		{"StartSweep", "{\"spec\":[]}", "WrongType"},
		{"GetSweep", "{\"id\":\"x\"}", "NoSuchSweep"},
		{"GetSweep", "{}", "MissingMember"},
		{"FollowSweep", "{\"id\":\"last\"}", "NoSuchSweep"},
		{"CancelSweep", "{\"id\":\"last\"}", "NoSuchSweep"},
		{"ListSweeps", "{\"limit\":0}", "OutOfRange"},
		{"ListSweeps", "{\"limit\":1001}", "OutOfRange"},
	};
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_object *m = ask(b, cases[i].method, cases[i].parameters);

		assert_string_equal(str(m, "error") + strlen("io.copyledger."), cases[i].error);
	}
	assert_int_equal(fake_starts, 0);
}

#define WITH_BENCH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_default_grid_has_48_cells),
		cmocka_unit_test(a_plan_spans_its_lists_and_survives_json),
		cmocka_unit_test(a_plan_refuses_what_is_wrong),
		cmocka_unit_test(limits_at_their_edges),
		cmocka_unit_test(each_round_is_another_permutation_of_the_seed),
		cmocka_unit_test(runs_go_in_rounds),
		cmocka_unit_test(four_runs_within_the_bound_are_enough),
		cmocka_unit_test(two_runs_never_converge),
		cmocka_unit_test(failures_are_samples_with_a_reason),
		cmocka_unit_test(what_is_no_sample),
		cmocka_unit_test(rows_sum_up_their_runs),
		cmocka_unit_test(a_row_has_no_more_runs_than_the_plan),
		cmocka_unit_test(a_restored_cell_costs_one_bootstrap),
		WITH_BENCH(a_sweep_runs_to_its_end_and_is_told),
		WITH_BENCH(a_reply_counts_the_runs_once),
		WITH_BENCH(another_run_goes_between),
		WITH_BENCH(every_run_fails_and_the_sweep_goes_on),
		WITH_BENCH(a_killed_daemon_loses_no_run),
		WITH_BENCH(a_run_without_its_row_is_found),
		WITH_BENCH(an_orderly_stop_interrupts),
		WITH_BENCH(cancel_ends_the_sweep_and_its_run),
		WITH_BENCH(so_many_sweeps_wait),
		WITH_BENCH(requests_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
