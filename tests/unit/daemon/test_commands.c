// SPDX-License-Identifier: MIT
/* Requests as text, replies as objects: every method, every error, the queue and those who follow. No socket.
 */
#include "fake_run.h"

#include "limits.h"

struct bench {
	sd_event *event;
	struct manager *manager;
	char dir[64];
};

/* What came back for one call. */
struct replies {
	json_object *message[64];
	unsigned int n;
	bool final;
};

static void take(json_object *message, bool final, void *userdata)
{
	struct replies *r = userdata;

	assert_false(r->final);
	assert_non_null(message);
	assert_true(r->n < ARRAY_SIZE(r->message));
	r->message[r->n++] = json_object_get(message);
	r->final = final;
	assert_int_equal(json_at(message, "continues") != NULL, !final);
}

static void forget(struct replies *r)
{
	for (unsigned int i = 0; i < r->n; i++)
		json_object_put(r->message[i]);
	memset(r, 0, sizeof(*r));
}

static struct manager *new_manager(struct bench *b, const char *dir)
{
	struct manager_config config = {.loadgen = "/loadgen", .state_dir = dir, .limits = limits_default};
	struct manager *m = NULL;

	config.limits.run_queue = 3;
	config.limits.threads_max = 100;
	assert_int_equal(manager_new(b->event, &fake_ops, &config, &m, NULL), 0);
	return m;
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	strcpy(b->dir, "/tmp/copyledger-commands-XXXXXX");
	if (!mkdtemp(b->dir) || sd_event_new(&b->event) < 0)
		return -1;
	b->manager = new_manager(b, b->dir);
	fake_starts = fake_frees = fake_refuses = fake_probes = 0;
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

static struct call *begin(struct bench *b, struct replies *r, const char *text)
{
	return call_begin(b->manager, ACCESS_READ | ACCESS_RUN, 0, text, strlen(text), take, r);
}

/* A call that must be answered at once; the caller owns the message. */
static json_object *ask_as(struct bench *b, unsigned int access, const char *text)
{
	struct replies r = {0};

	assert_null(call_begin(b->manager, access, 0, text, strlen(text), take, &r));
	assert_int_equal(r.n, 1);
	assert_true(r.final);
	return r.message[0];
}

static json_object *ask(struct bench *b, const char *text)
{
	return ask_as(b, ACCESS_READ | ACCESS_RUN, text);
}

static const char *text_at(json_object *message, const char *path)
{
	const char *s = json_object_get_string(json_at(message, path));

	if (!s)
		fail_msg("no %s in %s", path, json_object_to_json_string(message));
	return s;
}

/* Starts a run and copies its id. */
static void start(struct bench *b, char id[RUN_ID_BYTES])
{
	_cleanup_json_ json_object *m = ask(b,
		"{\"method\":\"io.copyledger.StartRun\",\"parameters\":{\"spec\":{\"mode\":\"two-copy\"}}}");

	str_copy_n(id, RUN_ID_BYTES, text_at(m, "parameters/id"));
}

#define CALL(method, parameters) "{\"method\":\"io.copyledger." method "\",\"parameters\":" parameters "}"
#define START(spec) CALL("StartRun", "{\"spec\":" spec "}")

/* What is asked, the error, and one of its parameters; NULL: only that it is there. */
static const struct {
	const char *request, *error, *path, *value;
} refusals[] = {
	{"", "io.copyledger.InvalidRequest", "message", NULL},
	{"hello", "io.copyledger.InvalidRequest", "message", NULL},
	{"[]", "io.copyledger.InvalidRequest", "message", NULL},
	{"null", "io.copyledger.InvalidRequest", "message", NULL},
	{"{\"method\":\"a\",\"method\":\"b\"}", "io.copyledger.InvalidRequest", "message",
		"not a JSON message: a member twice, at byte 14 of 27"},
	{CALL("StartRun", "{\"spec\":{\"mode\":\"two-copy\",\"size\":NaN}}"), "io.copyledger.InvalidRequest",
		"message", NULL},
	{CALL("StartRun", "{\"spec\":{\"mode\":\"two-copy\",\"size\":12345678901234567890}}"),
		"io.copyledger.InvalidRequest", "message", NULL},
	{CALL("StartRun", "{\"spec\":{\"mode\":\"two-copy\",\"size\":1e400}}"),
		"io.copyledger.InvalidRequest", "message", NULL},
	{"{}", "io.copyledger.MissingMember", "field", "method"},
	{"{\"method\":1}", "io.copyledger.WrongType", "expected", "string"},
	{"{\"method\":\"io.copyledger.GetInfo\",\"parameters\":[]}", "io.copyledger.WrongType", "field",
		"parameters"},
	{"{\"method\":\"io.copyledger.GetInfo\",\"more\":1}", "io.copyledger.WrongType", "field", "more"},
	{"{\"method\":\"io.copyledger.GetInfo\",\"id\":1}", "io.copyledger.UnknownMember", "field", "id"},
	{"{\"method\":\"io.copyledger.GetInfo\",\"upgrade\":true}", "io.copyledger.InvalidRequest", "field",
		"upgrade"},
	{"{\"method\":\"io.copyledger.Nope\"}", "org.varlink.service.MethodNotFound", "method",
		"io.copyledger.Nope"},
	{"{\"method\":\"io.copyledger.\"}", "org.varlink.service.MethodNotFound", "method", "io.copyledger."},
	{"{\"method\":\"io.else.Nope\"}", "org.varlink.service.InterfaceNotFound", "interface", "io.else"},
	{"{\"method\":\"Nope\"}", "org.varlink.service.InterfaceNotFound", "interface", "Nope"},
	{"{\"method\":\"org.varlink.service.GetInterfaceDescription\"}",
		"org.varlink.service.InvalidParameter", "parameter", "interface"},
	{"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":"
	 "5}}",
		"org.varlink.service.InvalidParameter", "parameter", "interface"},
	{"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":"
	 "\"io.else\"}}",
		"org.varlink.service.InterfaceNotFound", "interface", "io.else"},
	{"{\"method\":\"org.varlink.service.GetInfo\",\"parameters\":{\"x\":1}}",
		"org.varlink.service.InvalidParameter", "parameter", "x"},
	{CALL("GetInfo", "{\"x\":1}"), "io.copyledger.UnknownMember", "field", "x"},
	{CALL("Probe", "{\"x\":1}"), "io.copyledger.UnknownMember", "field", "x"},
	{CALL("Probe", "{\"path\":\"moon\"}"), "io.copyledger.UnknownName", "field", "path"},
	{CALL("StartRun", "{}"), "io.copyledger.MissingMember", "field", "spec"},
	{CALL("StartRun", "{\"spec\":3}"), "io.copyledger.WrongType", "expected", "object"},
	{START("{}"), "io.copyledger.MissingMember", "field", "mode"},
	{START("{\"mode\":\"x\"}"), "io.copyledger.UnknownName", "known", NULL},
	{START("{\"mode\":\"x\"}"), "io.copyledger.UnknownName", "value", "x"},
	{START("{\"mode\":\"two-copy\",\"size\":0}"), "io.copyledger.OutOfRange", "value", "0"},
	{START("{\"mode\":\"two-copy\",\"size\":0}"), "io.copyledger.OutOfRange", "min", "1"},
	{START("{\"mode\":\"two-copy\",\"size\":0}"), "io.copyledger.OutOfRange", "max", "67108864"},
	{START("{\"mode\":\"two-copy\",\"threads\":100000}"), "io.copyledger.OutOfRange", "field", "threads"},
	{START("{\"mode\":\"two-copy\",\"duration_ms\":-1}"), "io.copyledger.OutOfRange", "value", "-1"},
	{START("{\"mode\":\"two-copy\",\"size\":1.5}"), "io.copyledger.WrongType", "expected", "integer"},
	{START("{\"mode\":\"two-copy\",\"nope\":1}"), "io.copyledger.UnknownMember", "field", "nope"},
	{START("{\"mode\":\"two-copy\",\"label\":\"\\u001b]0;x\\u0007\"}"), "io.copyledger.InvalidRequest",
		"field", "label"},
	{START("{\"mode\":\"two-copy\",\"threads\":101}"), "io.copyledger.LimitExceeded", "max", "100"},
	{START("{\"mode\":\"two-copy\",\"threads\":101}"), "io.copyledger.LimitExceeded", "limit",
		"threads_max"},
	{CALL("ListRuns", "{\"limit\":0}"), "io.copyledger.OutOfRange", "max", "1000"},
	{CALL("ListRuns", "{\"limit\":1001}"), "io.copyledger.OutOfRange", "value", "1001"},
	{CALL("ListRuns", "{\"mode\":\"x\"}"), "io.copyledger.UnknownName", "field", "mode"},
	{CALL("ListRuns", "{\"state\":\"x\"}"), "io.copyledger.UnknownName", "field", "state"},
	{CALL("ListRuns", "{\"since\":\"yesterday\"}"), "io.copyledger.InvalidRequest", "field", "since"},
	{CALL("ListRuns", "{\"until\":\"2026-01-01\"}"), "io.copyledger.InvalidRequest", "field", "until"},
	{CALL("GetRun", "{}"), "io.copyledger.MissingMember", "field", "id"},
	{CALL("GetRun", "{\"id\":7}"), "io.copyledger.WrongType", "expected", "string"},
	{CALL("GetRun", "{\"id\":\"nope\"}"), "io.copyledger.NoSuchRun", "id", "nope"},
	{CALL("GetRun", "{\"id\":\"last\"}"), "io.copyledger.NoSuchRun", "message", "there is no run yet"},
	{CALL("FollowRun", "{\"id\":\"nope\"}"), "io.copyledger.NoSuchRun", "id", "nope"},
	{CALL("CancelRun", "{\"id\":\"nope\"}"), "io.copyledger.NoSuchRun", "id", "nope"},
	{CALL("TraceStats", "{\"id\":\"nope\"}"), "io.copyledger.NoSuchRun", "id", "nope"},
	{CALL("TraceStats", "{}"), "io.copyledger.NotRunning", "message", NULL},
	{CALL("TraceStats", "{\"interval_ms\":49}"), "io.copyledger.OutOfRange", "min", "50"},
	{CALL("TraceStats", "{\"interval_ms\":60001}"), "io.copyledger.OutOfRange", "max", "60000"},
	{CALL("GetRun", "{\"id\":\"a\\u001b[2J\"}"), "io.copyledger.InvalidRequest", "field", "id"},
};

static void answers_each_error(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		_cleanup_json_ json_object *m = ask(*state, refusals[i].request);
		const char *value =
			json_object_get_string(json_at(json_at(m, "parameters"), refusals[i].path));

		if (!str_eq(text_at(m, "error"), refusals[i].error) || !value ||
			(refusals[i].value && !str_eq(value, refusals[i].value)))
			fail_msg("%s: %s", refusals[i].request, json_object_to_json_string(m));
	}
	assert_int_equal(fake_starts, 0);
}

static void limits_depth_values_and_length(void **state)
{
	_cleanup_json_ json_object *deep =
		ask(*state, "{\"method\":\"x\",\"parameters\":{\"a\":[[[[[[[]]]]]]]}}");
	_cleanup_json_ json_object *deepest =
		ask(*state, "{\"method\":\"x\",\"parameters\":{\"a\":[[[[[[]]]]]]}}");
	char text[LIMIT_MESSAGE + 2];
	json_object *m;

	assert_string_equal(text_at(deep, "error"), "io.copyledger.LimitExceeded");
	assert_string_equal(text_at(deep, "parameters/limit"), "depth");
	assert_string_equal(text_at(deep, "parameters/max"), "8");
	assert_string_equal(text_at(deepest, "error"), "org.varlink.service.InterfaceNotFound");

	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"method\":\"io.copyledger.GetInfo\"}", 34);
	text[LIMIT_MESSAGE] = 0;
	m = ask(*state, text);
	assert_null(json_at(m, "error"));
	json_drop(m);
	text[LIMIT_MESSAGE] = ' ';
	text[LIMIT_MESSAGE + 1] = 0;
	m = ask(*state, text);
	assert_string_equal(text_at(m, "error"), "io.copyledger.LimitExceeded");
	assert_string_equal(text_at(m, "parameters/limit"), "message");
	assert_string_equal(text_at(m, "parameters/value"), "16385");
	json_drop(m);

	for (size_t i = 0; i < LIMIT_MESSAGE; i++)
		text[i] = i % 3 == 0 ? '{' : i % 3 == 1 ? '}' : ',';
	text[0] = '[';
	text[1] = '1';
	text[LIMIT_MESSAGE - 1] = ']';
	text[LIMIT_MESSAGE] = 0;
	m = ask(*state, text);
	assert_string_equal(text_at(m, "error"), "io.copyledger.LimitExceeded");
	assert_string_equal(text_at(m, "parameters/limit"), "values");
	json_drop(m);
}

static void describes_itself(void **state)
{
	static const char *const interfaces[] = {"org.varlink.service", "io.copyledger"};
	_cleanup_json_ json_object *info = ask(*state, "{\"method\":\"org.varlink.service.GetInfo\"}");
	const char *method, *summary;

	assert_string_equal(text_at(info, "parameters/product"), "copyledgerd");
	for (size_t i = 0; i < ARRAY_SIZE(interfaces); i++) {
		_cleanup_json_ json_object *m = NULL;
		char request[200];

		assert_string_equal(json_object_get_string(json_object_array_get_idx(
					    json_at(info, "parameters/interfaces"), i)),
			interfaces[i]);
		snprintf(request, sizeof(request),
			"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{"
			"\"interface\":\"%s\"}}",
			interfaces[i]);
		m = ask(*state, request);
		for (size_t c = 0; command_describe(c, &method, &summary); c++)
			if (strncmp(method, interfaces[i], strlen(interfaces[i])) == 0) {
				char line[80];

				snprintf(line, sizeof(line), "\nmethod %s(", strrchr(method, '.') + 1);
				assert_non_null(strstr(text_at(m, "parameters/description"), line));
			}
	}
}

static void tells_of_itself(void **state)
{
	struct bench *b = *state;
	_cleanup_json_ json_object *m = ask(b, CALL("GetInfo", "{}"));

	assert_string_equal(text_at(m, "parameters/state"), "idle");
	assert_string_equal(text_at(m, "parameters/state_directory"), b->dir);
	assert_string_equal(text_at(m, "parameters/limits/run_queue"), "3");
	assert_string_equal(text_at(m, "parameters/limits/size_max"), "67108864");
	assert_string_equal(text_at(m, "parameters/limits/clients"), "256");
	assert_int_equal(json_object_array_length(json_at(m, "parameters/warnings")), 0);
}

static void guards_what_changes(void **state)
{
	static const struct {
		const char *request;
		bool for_readers;
	} cases[] = {
		{START("{\"mode\":\"two-copy\"}"), false},
		{CALL("CancelRun", "{\"id\":\"last\"}"), false},
		{CALL("GetInfo", "{}"), true},
		{CALL("GetTotals", "{}"), true},
		{CALL("Probe", "{}"), true},
		{CALL("Probe", "{\"path\":\"loopback\"}"), false},
		{CALL("ListRuns", "{}"), true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_json_ json_object *nobody = ask_as(*state, 0, cases[i].request);
		_cleanup_json_ json_object *reader = ask_as(*state, ACCESS_READ, cases[i].request);

		assert_string_equal(text_at(nobody, "error"), "io.copyledger.Failed");
		assert_string_equal(text_at(nobody, "parameters/code"), "permission_denied");
		if (cases[i].for_readers)
			assert_null(json_at(reader, "error"));
		else
			assert_string_equal(text_at(reader, "parameters/code"), "permission_denied");
	}
	assert_int_equal(fake_starts, 0);
}

static void runs_one_after_the_other(void **state)
{
	struct bench *b = *state;
	char id[4][RUN_ID_BYTES];
	json_object *m;

	for (int i = 0; i < 4; i++)
		start(b, id[i]); /* one runs, three wait: the limit */
	assert_int_equal(fake_starts, 1);
	m = ask(b, START("{\"mode\":\"two-copy\"}"));
	assert_string_equal(text_at(m, "error"), "io.copyledger.QueueFull");
	assert_string_equal(text_at(m, "parameters/limit"), "3");
	json_drop(m);
	m = ask(b, CALL("GetInfo", "{}"));
	assert_string_equal(text_at(m, "parameters/running"), id[0]);
	assert_string_equal(text_at(m, "parameters/queued"), "3");
	assert_string_equal(text_at(m, "parameters/state"), "running");
	json_drop(m);
	for (int i = 0; i < 4; i++) {
		assert_string_equal(fake_running->id, id[i]);
		fake_end(b->event, "done");
		assert_int_equal(fake_frees, i + 1);
	}
	assert_null(fake_running);
	m = ask(b, CALL("ListRuns", "{\"state\":\"done\"}"));
	assert_int_equal(json_object_array_length(json_at(m, "parameters/runs")), 4);
	json_drop(m);
}

static void makes_ids_that_sort(void **state)
{
	char id[2][RUN_ID_BYTES], rest;
	unsigned int day, second, random;

	start(*state, id[0]);
	start(*state, id[1]);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sscanf(id[i], "%8u-%6u-%4x%c", &day, &second, &random, &rest), 3);
		assert_int_equal(strlen(id[i]), 20);
	}
	assert_string_not_equal(id[0], id[1]);
	assert_true(strncmp(id[0], id[1], 15) <= 0);
}

static json_object *ask_of(struct bench *b, const char *method, const char *id)
{
	char request[200];

	snprintf(request, sizeof(request), "{\"method\":\"io.copyledger.%s\",\"parameters\":{\"id\":\"%s\"}}",
		method, id);
	return ask(b, request);
}

static void gets_runs(void **state)
{
	struct bench *b = *state;
	char id[2][RUN_ID_BYTES], prefix[20];
	json_object *m;

	start(b, id[0]);
	start(b, id[1]);
	fake_turn(b->event, "measuring");
	m = ask_of(b, "GetRun", id[0]);
	assert_string_equal(text_at(m, "parameters/state"), "measuring");
	assert_null(json_at(m, "parameters/result"));
	json_drop(m);
	m = ask_of(b, "GetRun", "last");
	assert_string_equal(text_at(m, "parameters/id"), id[1]);
	assert_string_equal(text_at(m, "parameters/state"), "queued");
	json_drop(m);
	fake_end(b->event, "done");
	m = ask_of(b, "GetRun", id[0]);
	assert_string_equal(text_at(m, "parameters/result/app/bytes_received"), "100");
	json_drop(m);
	str_copy(prefix, id[0]);
	prefix[2] = 0;
	m = ask_of(b, "GetRun", prefix);
	assert_string_equal(text_at(m, "error"), "io.copyledger.NoSuchRun");
	assert_non_null(strstr(text_at(m, "parameters/message"), "2 runs"));
	json_drop(m);
}

static void cancels(void **state)
{
	struct bench *b = *state;
	char id[2][RUN_ID_BYTES];
	json_object *m;

	start(b, id[0]);
	start(b, id[1]);
	m = ask_of(b, "CancelRun", id[1]);
	assert_string_equal(text_at(m, "parameters/state"), "cancelled");
	json_drop(m);
	m = ask_of(b, "GetRun", id[1]);
	assert_string_equal(text_at(m, "parameters/result/state"), "cancelled");
	json_drop(m);
	m = ask_of(b, "CancelRun", id[0]);
	assert_string_equal(text_at(m, "parameters/state"), "starting");
	json_drop(m);
	assert_true(fake_running->cancelled);
	fake_end(b->event, "cancelled");
	m = ask_of(b, "CancelRun", id[0]);
	assert_string_equal(text_at(m, "error"), "io.copyledger.NotRunning");
	assert_string_equal(text_at(m, "parameters/id"), id[0]);
	json_drop(m);
	assert_int_equal(fake_starts, 1);
}

static struct call *follow(
	struct bench *b, struct replies *r, const char *method, const char *id, const char *more)
{
	char request[240];

	snprintf(request, sizeof(request),
		"{\"method\":\"io.copyledger.%s\",\"parameters\":{\"id\":\"%s\"}%s}", method, id, more);
	return begin(b, r, request);
}

#define MORE ",\"more\":true"

static void follows_to_the_result(void **state)
{
	static const char *const states[] = {"warmup", "measuring", "closing"};
	struct bench *b = *state;
	struct replies r = {0}, waiting = {0};
	char id[RUN_ID_BYTES];

	start(b, id);
	assert_non_null(follow(b, &r, "FollowRun", id, MORE));
	assert_non_null(follow(b, &waiting, "FollowRun", id, ""));
	assert_string_equal(text_at(r.message[0], "parameters/progress/state"), "starting");
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		fake_turn(b->event, states[i]);
		fake_turn(b->event, states[i]); /* nothing new: not said again so soon */
		assert_int_equal(r.n, i + 2);
		assert_string_equal(text_at(r.message[i + 1], "parameters/progress/state"), states[i]);
	}
	assert_int_equal(waiting.n, 0);
	fake_end(b->event, "done");
	assert_true(r.final);
	assert_string_equal(text_at(r.message[r.n - 1], "parameters/result/id"), id);
	assert_true(waiting.final);
	assert_int_equal(waiting.n, 1);
	assert_string_equal(text_at(waiting.message[0], "parameters/result/id"), id);
	forget(&r);
	forget(&waiting);
	assert_null(follow(b, &r, "FollowRun", "last", MORE)); /* has ended: at once */
	assert_int_equal(r.n, 1);
	assert_string_equal(text_at(r.message[0], "parameters/result/state"), "done");
	forget(&r);
}

static void follows_from_the_queue_on(void **state)
{
	struct bench *b = *state;
	struct replies r = {0};
	char id[2][RUN_ID_BYTES];

	start(b, id[0]);
	start(b, id[1]);
	assert_non_null(follow(b, &r, "FollowRun", id[1], MORE));
	assert_string_equal(text_at(r.message[0], "parameters/progress/state"), "queued");
	assert_string_equal(text_at(r.message[0], "parameters/progress/position"), "1");
	fake_end(b->event, "done");
	assert_string_equal(text_at(r.message[r.n - 1], "parameters/progress/state"), "starting");
	fake_end(b->event, "failed");
	assert_true(r.final);
	assert_string_equal(text_at(r.message[r.n - 1], "parameters/result/state"), "failed");
	forget(&r);
}

static void outlives_its_followers(void **state)
{
	struct bench *b = *state;
	struct replies r = {0}, other = {0};
	char id[RUN_ID_BYTES];
	struct call *call;
	json_object *m;

	start(b, id);
	call = follow(b, &r, "FollowRun", id, MORE);
	assert_non_null(call);
	assert_non_null(follow(b, &other, "FollowRun", id, MORE));
	call_abandon(call);
	fake_turn(b->event, "measuring");
	fake_end(b->event, "done");
	assert_int_equal(r.n, 1); /* nothing after it went */
	assert_true(other.final);
	m = ask_of(b, "GetRun", id);
	assert_string_equal(text_at(m, "parameters/state"), "done");
	json_drop(m);
	forget(&r);
	forget(&other);
}

static void stays_silent_when_oneway(void **state)
{
	struct bench *b = *state;
	struct replies r = {0};

	assert_null(begin(b, &r,
		"{\"method\":\"io.copyledger.StartRun\",\"oneway\":true,\"parameters\":{\"spec\":{\"mode\":"
		"\"two-copy\"}}}"));
	assert_null(begin(b, &r, "{\"method\":\"io.copyledger.Nope\",\"oneway\":true}"));
	assert_null(follow(b, &r, "FollowRun", "last", ",\"oneway\":true"));
	assert_int_equal(fake_starts, 1);
	fake_end(b->event, "done");
	assert_int_equal(r.n, 0);
}

static void traces(void **state)
{
	struct bench *b = *state;
	struct replies r = {0};
	char id[2][RUN_ID_BYTES];
	json_object *m;

	start(b, id[0]);
	start(b, id[1]);
	m = ask(b, CALL("TraceStats", "{}"));
	assert_string_equal(text_at(m, "parameters/trace/id"), id[0]);
	json_drop(m);
	m = ask_of(b, "TraceStats", id[1]);
	assert_string_equal(text_at(m, "error"), "io.copyledger.NotRunning");
	json_drop(m);
	assert_non_null(begin(b, &r,
		"{\"method\":\"io.copyledger.TraceStats\",\"parameters\":{\"interval_ms\":50},\"more\":"
		"true}"));
	assert_int_equal(r.n, 1);
	while (r.n < 3)
		assert_true(sd_event_run(b->event, UINT64_MAX) > 0);
	assert_string_equal(text_at(r.message[2], "parameters/trace/state"), "starting");
	fake_end(b->event, "done");
	assert_true(r.final);
	m = r.message[r.n - 1];
	assert_string_equal(text_at(m, "parameters/trace/state"), "done");
	assert_string_equal(text_at(m, "parameters/trace/elapsed_ms"), "2500");
	assert_string_equal(text_at(m, "parameters/trace/delivered"), "100");
	assert_string_equal(text_at(m, "parameters/trace/copies_per_byte"), "2.0");
	assert_int_equal(json_object_array_length(json_at(m, "parameters/trace/sites")), 1);
	forget(&r);
	m = ask_of(b, "TraceStats", id[0]); /* afterwards the same */
	assert_string_equal(text_at(m, "parameters/trace/delivered"), "100");
	json_drop(m);
}

#define TRACE_MORE(id)                                                                                       \
	"{\"method\":\"io.copyledger.TraceStats\",\"parameters\":{\"id\":\"" id                              \
	"\",\"interval_ms\":50},\"more\":true}"

/* Until so many have come, or the last one. */
static void wait_for_replies(struct bench *b, const struct replies *r, unsigned int n)
{
	for (int turns = 0; r->n < n && !r->final; turns++)
		assert_true(turns < 100 && sd_event_run(b->event, 10000000) > 0);
}

static void traces_from_the_queue_on(void **state)
{
	struct bench *b = *state;
	struct replies r = {0};
	char id[2][RUN_ID_BYTES];

	start(b, id[0]);
	start(b, id[1]);
	assert_non_null(begin(b, &r, TRACE_MORE("last")));
	assert_int_equal(r.n, 1); /* at once, and again each interval */
	wait_for_replies(b, &r, 3);
	for (unsigned int i = 0; i < r.n; i++) {
		assert_string_equal(text_at(r.message[i], "parameters/progress/id"), id[1]);
		assert_string_equal(text_at(r.message[i], "parameters/progress/state"), "queued");
		assert_string_equal(text_at(r.message[i], "parameters/progress/position"), "1");
	}
	fake_end(b->event, "done");
	wait_for_replies(b, &r, r.n + 1);
	assert_string_equal(text_at(r.message[r.n - 1], "parameters/trace/state"), "starting");
	fake_end(b->event, "done");
	assert_true(r.final);
	assert_string_equal(text_at(r.message[r.n - 1], "parameters/trace/state"), "done");
	forget(&r);
}

/* Of a run that waits: one starts without a ledger, one loses it later. */
static void ends_a_trace_when_there_is_no_ledger(void **state)
{
	struct bench *b = *state;
	struct replies off = {0}, lost = {0};
	char id[RUN_ID_BYTES];

	start(b, id);
	json_drop(ask(b, START("{\"mode\":\"two-copy\",\"ledger\":\"off\"}")));
	assert_non_null(begin(b, &off, TRACE_MORE("last")));
	fake_end(b->event, "done");
	wait_for_replies(b, &off, ARRAY_SIZE(off.message));
	assert_true(off.final);
	assert_string_equal(text_at(off.message[off.n - 1], "parameters/code"), "no_ledger");
	forget(&off);
	start(b, id);
	assert_non_null(begin(b, &lost, TRACE_MORE("last")));
	fake_end(b->event, "done");
	wait_for_replies(b, &lost, lost.n + 1);
	assert_non_null(json_at(lost.message[lost.n - 1], "parameters/trace"));
	str_copy(fake_running->spec.ledger, "off");
	wait_for_replies(b, &lost, ARRAY_SIZE(lost.message));
	assert_true(lost.final);
	assert_string_equal(text_at(lost.message[lost.n - 1], "parameters/code"), "no_ledger");
	fake_end(b->event, "done");
	forget(&lost);
}

/* Its figures are in its document, which the daemon takes a turn later: until then nothing is lacking. */
static void traces_a_run_that_is_just_over(void **state)
{
	struct bench *b = *state;
	struct replies once = {0}, more = {0};
	char id[RUN_ID_BYTES];

	start(b, id);
	fake_finish("done");
	assert_non_null(begin(b, &once, CALL("TraceStats", "{}")));
	assert_non_null(begin(b, &more, TRACE_MORE("last")));
	assert_int_equal(once.n + more.n, 0);
	fake_pump(b->event);
	assert_true(once.final && more.final);
	assert_string_equal(text_at(once.message[0], "parameters/trace/delivered"), "100");
	assert_string_equal(text_at(more.message[0], "parameters/trace/delivered"), "100");
	forget(&once);
	forget(&more);
}

static void has_no_trace_without_ledger(void **state)
{
	struct bench *b = *state;
	json_object *m;

	json_drop(ask(b, START("{\"mode\":\"two-copy\",\"ledger\":\"off\"}")));
	m = ask(b, CALL("TraceStats", "{}"));
	assert_string_equal(text_at(m, "parameters/code"), "no_ledger");
	json_drop(m);
	fake_end(b->event, "done");
	m = ask_of(b, "TraceStats", "last");
	assert_string_equal(text_at(m, "parameters/code"), "no_ledger");
	assert_non_null(strstr(text_at(m, "parameters/message"), "turned off"));
	json_drop(m);
}

static void probes_only_between_runs(void **state)
{
	struct bench *b = *state;
	char id[RUN_ID_BYTES];
	json_object *m;

	start(b, id);
	m = ask(b, CALL("Probe", "{}"));
	assert_string_equal(text_at(m, "parameters/code"), "busy");
	json_drop(m);
	assert_int_equal(fake_probes, 0);
	fake_end(b->event, "done");
	m = ask(b, CALL("Probe", "{}"));
	assert_true(json_object_array_length(json_at(m, "parameters/modes")) >= 3);
	assert_int_equal(fake_probes, 1);
	json_drop(m);
	start(b, id);
	m = ask(b, CALL("Probe", "{}"));
	assert_null(json_at(m, "error"));
	assert_int_equal(fake_probes, 1); /* the one from before */
	json_drop(m);
}

static void survives_failing_starts(void **state)
{
	struct bench *b = *state;
	char id[3][RUN_ID_BYTES];
	json_object *m;

	fake_refuses = 1;
	m = ask(b, START("{\"mode\":\"two-copy\"}"));
	assert_string_equal(text_at(m, "error"), "io.copyledger.Failed");
	assert_string_equal(text_at(m, "parameters/code"), "no_loadgen");
	json_drop(m);
	m = ask(b, CALL("ListRuns", "{}"));
	assert_int_equal(json_object_array_length(json_at(m, "parameters/runs")), 0);
	json_drop(m);
	for (int i = 0; i < 3; i++)
		start(b, id[i]);
	fake_refuses = 1; /* the second, which then has waited in vain */
	fake_end(b->event, "done");
	assert_string_equal(fake_running->id, id[2]);
	m = ask_of(b, "GetRun", id[1]);
	assert_string_equal(text_at(m, "parameters/result/state"), "failed");
	assert_string_equal(text_at(m, "parameters/result/error/code"), "no_loadgen");
	json_drop(m);
}

static void lives_without_a_state_directory(void **state)
{
	struct bench *b = *state;
	char id[RUN_ID_BYTES];
	json_object *m;

	manager_free(b->manager);
	b->manager = new_manager(b, "/proc/nothing-can-be-made-here");
	m = ask(b, CALL("GetInfo", "{}"));
	assert_null(json_at(m, "parameters/state_directory"));
	assert_int_equal(json_object_array_length(json_at(m, "parameters/warnings")), 1);
	json_drop(m);
	for (int i = 0; i < 20; i++) {
		start(b, id);
		fake_end(b->event, "done");
	}
	m = ask_of(b, "GetRun", id);
	assert_string_equal(
		json_object_get_string(json_at(
			json_object_array_get_idx(json_at(m, "parameters/result/warnings"), 0), "code")),
		"not_stored");
	json_drop(m);
	m = ask(b, CALL("ListRuns", "{}"));
	assert_int_equal(json_object_array_length(json_at(m, "parameters/runs")), 16);
	json_drop(m);
}

static void stops_in_order(void **state)
{
	struct bench *b = *state;
	struct replies r = {0};
	char id[2][RUN_ID_BYTES];
	json_object *m;
	int code = -1;

	start(b, id[0]);
	start(b, id[1]);
	assert_non_null(follow(b, &r, "FollowRun", id[1], ""));
	manager_stop(b->manager);
	assert_true(fake_running->cancelled);
	assert_true(r.final); /* the one that waited is cancelled at once */
	assert_string_equal(text_at(r.message[0], "parameters/result/state"), "cancelled");
	forget(&r);
	m = ask(b, START("{\"mode\":\"two-copy\"}"));
	assert_string_equal(text_at(m, "parameters/code"), "stopping");
	json_drop(m);
	fake_end(b->event, "cancelled");
	fake_pump(b->event);
	assert_int_equal(sd_event_get_exit_code(b->event, &code), 0);
	assert_int_equal(code, 0);
	assert_int_equal(fake_starts, 1);
}

/* Rubbish of all kinds: each is answered once, none is fatal. Deterministic, so that a failure can be
 * repeated. */
static void survives_mutations(void **state)
{
	static const char base[] =
		CALL("ListRuns", "{\"limit\":10,\"mode\":\"two-copy\",\"since\":\"2026-01-01T00:00:00Z\"}");
	uint32_t seed = 12345;

	for (int i = 0; i < 20000; i++) {
		char text[sizeof(base)];
		struct replies r = {0};

		memcpy(text, base, sizeof(base));
		for (int k = 0; k < 3; k++) {
			seed = seed * 1664525 + 1013904223;
			text[(seed >> 8) % (sizeof(base) - 1)] =
				k == 2 ? "{}[]\",:0eE-\\u"[(seed >> 4) % 13] : (char)(seed >> 24);
		}
		assert_null(call_begin(
			((struct bench *)*state)->manager, ACCESS_READ, 0, text, sizeof(base) - 1, take, &r));
		assert_int_equal(r.n, 1);
		forget(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(answers_each_error, set_up, tear_down),
		cmocka_unit_test_setup_teardown(limits_depth_values_and_length, set_up, tear_down),
		cmocka_unit_test_setup_teardown(describes_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(tells_of_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(guards_what_changes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(runs_one_after_the_other, set_up, tear_down),
		cmocka_unit_test_setup_teardown(makes_ids_that_sort, set_up, tear_down),
		cmocka_unit_test_setup_teardown(gets_runs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cancels, set_up, tear_down),
		cmocka_unit_test_setup_teardown(follows_to_the_result, set_up, tear_down),
		cmocka_unit_test_setup_teardown(follows_from_the_queue_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(outlives_its_followers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(stays_silent_when_oneway, set_up, tear_down),
		cmocka_unit_test_setup_teardown(traces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(traces_from_the_queue_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ends_a_trace_when_there_is_no_ledger, set_up, tear_down),
		cmocka_unit_test_setup_teardown(traces_a_run_that_is_just_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(has_no_trace_without_ledger, set_up, tear_down),
		cmocka_unit_test_setup_teardown(probes_only_between_runs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(survives_failing_starts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lives_without_a_state_directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(stops_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(survives_mutations, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
