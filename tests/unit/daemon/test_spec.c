// SPDX-License-Identifier: MIT
/* A run's spec: its defaults, each limit at its edge, and its way to JSON and back. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "jsonx.h"
#include "spec.h"

static int parse(const char *text, struct spec *ret, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = json_tokener_parse(text);

	assert_non_null(obj);
	return spec_parse(obj, ret, reterr);
}

static void has_defaults(void **state)
{
	struct spec s;

	assert_int_equal(parse("{\"mode\":\"two-copy\"}", &s, NULL), 0);
	assert_string_equal(s.mode, "two-copy");
	assert_string_equal(s.receive, "recv");
	assert_string_equal(s.workload, "stream");
	assert_string_equal(s.path, "loopback");
	assert_string_equal(s.ledger, "auto");
	assert_string_equal(s.congestion, "");
	assert_string_equal(s.label, "");
	assert_int_equal(s.size, 65536);
	assert_int_equal(s.fields, 8);
	assert_int_equal(s.threads, 1);
	assert_int_equal(s.warmup_ms, 500);
	assert_int_equal(s.duration_ms, 5000);
	assert_int_equal(s.sndbuf, 0);
	assert_int_equal(s.rcvbuf, 0);
	assert_int_equal(s.ip, 4);
	assert_false(s.verify);
	assert_true(s.pin);
	assert_true(s.perf);
	assert_false(s.hook_times);
	assert_false(s.nodelay);
}

static void holds_each_limit(void **state)
{
	static const struct {
		const char *name;
		int64_t min, max;
	} limits[] = {
		{"size", LIMIT_SIZE_MIN, LIMIT_SIZE_MAX},
		{"fields", LIMIT_FIELDS_MIN, LIMIT_FIELDS_MAX},
		{"threads", LIMIT_THREADS_MIN, LIMIT_THREADS_MAX},
		{"warmup_ms", 0, LIMIT_WARMUP_MS_MAX},
		{"duration_ms", LIMIT_DURATION_MS_MIN, LIMIT_DURATION_MS_MAX},
		{"sndbuf", 0, LIMIT_SOCKBUF_MAX},
		{"rcvbuf", 0, LIMIT_SOCKBUF_MAX},
		{"ip", 4, 6},
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		const int64_t edges[] = {limits[i].min - 1, limits[i].min, limits[i].max, limits[i].max + 1};

		for (size_t e = 0; e < ARRAY_SIZE(edges); e++) {
			bool inside = e == 1 || e == 2;
			struct fault fault = {0};
			struct spec s = {.size = 4711};
			char text[100];
			int r;

			snprintf(text, sizeof(text), "{\"mode\":\"one-copy\",\"%s\":%" PRId64 "}",
				limits[i].name, edges[e]);
			r = parse(text, &s, &fault);
			if (inside != (r == 0))
				fail_msg("%s: %d (%s)", text, r, fault.text);
			if (inside)
				continue;
			assert_string_equal(fault.code, "out_of_range");
			assert_string_equal(fault.field, limits[i].name);
			assert_int_equal(s.size, 4711); /* untouched */
		}
	}
}

static void refuses(void **state)
{
	static const struct {
		const char *json, *code, *field;
	} cases[] = {
		{"{}", "missing_member", "mode"},
		{"{\"mode\":\"three-copy\"}", "unknown_name", "mode"},
		{"{\"mode\":\"\"}", "unknown_name", "mode"},
		{"{\"mode\":7}", "wrong_type", "mode"},
		{"{\"mode\":\"one-copy\",\"workload\":\"bulk\"}", "unknown_name", "workload"},
		{"{\"mode\":\"one-copy\",\"path\":\"wifi\"}", "unknown_name", "path"},
		{"{\"mode\":\"one-copy\",\"path\":\"netns:a\"}", "unknown_name", "path"},
		{"{\"mode\":\"one-copy\",\"path\":\"netns:a,b/c\"}", "unknown_name", "path"},
		{"{\"mode\":\"one-copy\",\"receive\":\"read\"}", "unknown_name", "receive"},
		{"{\"mode\":\"one-copy\",\"receive\":\"mmap\",\"workload\":\"rr\"}", "invalid_request",
			"receive"},
		{"{\"mode\":\"one-copy\",\"workload\":\"rr\",\"receive\":\"recv-trunc\"}", "invalid_request",
			"receive"},
		{"{\"mode\":\"one-copy\",\"receive\":\"recv-trunc\",\"verify\":true}", "invalid_request",
			"receive"},
		{"{\"mode\":\"one-copy\",\"ledger\":\"kprobe\"}", "unknown_name", "ledger"},
		{"{\"mode\":\"one-copy\",\"ip\":5}", "out_of_range", "ip"},
		{"{\"mode\":\"one-copy\",\"size\":64.0}", "wrong_type", "size"},
		{"{\"mode\":\"one-copy\",\"threads\":100000}", "out_of_range", "threads"},
		{"{\"mode\":\"one-copy\",\"duration_ms\":-1}", "out_of_range", "duration_ms"},
		{"{\"mode\":\"one-copy\",\"verify\":1}", "wrong_type", "verify"},
		{"{\"mode\":\"one-copy\",\"congestion\":\"Cubic\"}", "invalid_request", "congestion"},
		{"{\"mode\":\"one-copy\",\"congestion\":\"a/../b\"}", "invalid_request", "congestion"},
		{"{\"mode\":\"one-copy\",\"congestion\":\"abcdefghijklmnop\"}", "out_of_range", "congestion"},
		{"{\"mode\":\"one-copy\",\"label\":\"a\\u001b[0m\"}", "invalid_request", "label"},
		{"{\"mode\":\"one-copy\",\"label\":\"a\\nb\"}", "invalid_request", "label"},
		{"{\"mode\":\"one-copy\",\"sise\":64}", "unknown_member", "sise"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fault fault = {0};
		struct spec s;

		assert_true(parse(cases[i].json, &s, &fault) < 0);
		if (!str_eq(fault.code, cases[i].code) || !str_eq(fault.field, cases[i].field))
			fail_msg("%s: %s, %s: %s", cases[i].json, fault.code, fault.field, fault.text);
	}
}

static void takes_named_namespaces(void **state)
{
	static const char longest[] =
		"netns:12345678901234567890123456789012,abcdefghijklmnopqrstuvwxyz_.-ABC";
	char json[200];
	struct spec s;

	snprintf(json, sizeof(json), "{\"mode\":\"splice\",\"receive\":\"mmap\",\"path\":\"%s\"}", longest);
	assert_int_equal(parse(json, &s, NULL), 0);
	assert_string_equal(s.path, longest);
	assert_string_equal(s.receive, "mmap");
}

static void measures_labels_in_characters(void **state)
{
	static const char *const letters[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

	for (size_t i = 0; i < ARRAY_SIZE(letters); i++)
		for (int over = 0; over < 2; over++) {
			char label[(LIMIT_LABEL + 1) * 4 + 1] = "", json[400];
			struct fault fault = {0};
			struct spec s;

			for (unsigned int n = 0; n < LIMIT_LABEL + over; n++)
				strcat(label, letters[i]);
			snprintf(json, sizeof(json), "{\"mode\":\"one-copy\",\"label\":\"%s\"}", label);
			assert_int_equal(parse(json, &s, &fault), over ? -ERANGE : 0);
			assert_string_equal(over ? fault.code : s.label, over ? "out_of_range" : label);
		}
}

static void comes_back_from_json(void **state)
{
	_cleanup_json_ json_object *obj = NULL;
	struct spec s, t;

	assert_int_equal(
		parse("{\"mode\":\"zero-copy\",\"workload\":\"rr\",\"path\":\"veth\",\"size\":67108864,"
		      "\"fields\":3,"
		      "\"threads\":16,\"warmup_ms\":0,\"duration_ms\":10,\"verify\":true,\"pin\":false,"
		      "\"perf\":false,"
		      "\"ledger\":\"tracepoint\",\"hook_times\":true,\"nodelay\":true,\"ip\":6,\"congestion\":\"bbr\","
		      "\"sndbuf\":1,\"rcvbuf\":2,"
		      "\"label\":\"gr\\u00fcn \\\"1\\\"\"}",
			&s, NULL),
		0);
	obj = spec_to_json(&s);
	assert_non_null(obj);
	assert_int_equal(spec_parse(obj, &t, NULL), 0);
	assert_string_equal(t.label, "gr\xc3\xbcn \"1\"");
	assert_string_equal(t.congestion, "bbr");
	assert_int_equal(t.size, 67108864);
	assert_int_equal(t.rcvbuf, 2);
	assert_int_equal(t.ip, 6);
	assert_true(t.verify);
	assert_true(t.hook_times);
	assert_true(t.nodelay);
	assert_false(t.pin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_defaults),
		cmocka_unit_test(holds_each_limit),
		cmocka_unit_test(refuses),
		cmocka_unit_test(takes_named_namespaces),
		cmocka_unit_test(measures_labels_in_characters),
		cmocka_unit_test(comes_back_from_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
