// SPDX-License-Identifier: MIT
/* The text of either format, to the byte, and what a reply that is not as it should be makes of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "doc.h"
#include "metrics.h"

static const struct family bytes = {"x_bytes", FAMILY_COUNTER, "bytes", "A \"quoted\" back\\slash."};
static const struct family build = {"x_build", FAMILY_INFO, NULL, "Help."};
static const struct family ratio = {"x_ratio", FAMILY_GAUGE, NULL, "Help."};

/* What fill() writes; the caller's. */
static char *text_of(enum format format, void (*fill)(struct exposition *e))
{
	char *text = NULL;
	size_t n;
	struct exposition e = {.f = open_memstream(&text, &n), .format = format};

	assert_non_null(e.f);
	fill(&e);
	exposition_end(&e);
	fclose(e.f);
	return text;
}

static void some_families(struct exposition *e)
{
	const struct label labels[] = {{"a", "1"}, {"b", "q\"b\\n\nc\x1b"}, {}};
	_cleanup_json_ json_object *large = json_object_new_int64(9007199254740993), *null = NULL;

	exposition_put_json(e, &bytes, labels, large, 1);
	exposition_put_json(e, &bytes, NULL, null, 1);
	exposition_put(e, &build, labels, 1);
	exposition_put(e, &ratio, NULL, 0.1);
	exposition_put(e, &ratio, NULL, NAN);
}

static void formats_differ_where_they_must(void **state)
{
	_cleanup_free_ char *text = text_of(FORMAT_TEXT, some_families),
			    *openmetrics = text_of(FORMAT_OPENMETRICS, some_families);

	assert_string_equal(text, "# HELP x_bytes_total A \"quoted\" back\\\\slash.\n"
				  "# TYPE x_bytes_total counter\n"
				  "x_bytes_total{a=\"1\",b=\"q\\\"b\\\\n?c?\"} 9007199254740993\n"
				  "# HELP x_build_info Help.\n# TYPE x_build_info gauge\n"
				  "x_build_info{a=\"1\",b=\"q\\\"b\\\\n?c?\"} 1\n"
				  "# HELP x_ratio Help.\n# TYPE x_ratio gauge\nx_ratio 0.1\n");
	assert_string_equal(openmetrics, "# HELP x_bytes A \\\"quoted\\\" back\\\\slash.\n"
					 "# TYPE x_bytes counter\n# UNIT x_bytes bytes\n"
					 "x_bytes_total{a=\"1\",b=\"q\\\"b\\\\n?c?\"} 9007199254740993\n"
					 "# HELP x_build Help.\n# TYPE x_build info\n"
					 "x_build_info{a=\"1\",b=\"q\\\"b\\\\n?c?\"} 1\n"
					 "# HELP x_ratio Help.\n# TYPE x_ratio gauge\nx_ratio 0.1\n# EOF\n");
}

static void nothing(struct exposition *e)
{
	exposition_put_json(e, &ratio, NULL, NULL, 1);
}

static void a_family_without_a_sample_has_no_head(void **state)
{
	_cleanup_free_ char *text = text_of(FORMAT_TEXT, nothing),
			    *openmetrics = text_of(FORMAT_OPENMETRICS, nothing);

	assert_string_equal(text, "");
	assert_string_equal(openmetrics, "# EOF\n");
}

static const char *reply; /* that write_reply() makes its text of; NULL: none */

static void write_reply(struct exposition *e)
{
	struct scrape s = {
		.totals = reply ? json_tokener_parse(reply) : NULL, .seconds = 0.5, .count = {3, 1}};

	metrics_write(e, &s);
	scrape_release(&s);
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no %s in %s", part, text);
}

static void assert_has_not(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("%s in %s", part, text);
}

static void without_a_daemon(void **state)
{
	_cleanup_free_ char *text = NULL;

	reply = NULL;
	text = text_of(FORMAT_TEXT, write_reply);
	assert_has(text, "\ncopyledger_up 0\n");
	assert_has(text, "\ncopyledger_exporter_scrapes_total{outcome=\"unreachable\"} 1\n");
	assert_has(text, "\ncopyledger_exporter_scrape_duration_seconds 0.5\n");
	assert_has_not(text, "copyledger_build_info");
	assert_has_not(text, "copyledger_runs");
	assert_has_not(text, "copyledger_watches");
}

static void what_is_not_known_is_absent(void **state)
{
	_cleanup_free_ char *text = NULL;

	reply = "{\"started_ns\":1500000000,\"version\":\"v\",\"kernel\":\"k\",\"accounts\":[{\"account\":"
		"\"runs\","
		"\"hook_ns\":null,\"hook_runs\":7,\"sites\":[{\"site\":\"tx_pin\",\"kind\":\"pin\",\"bytes\":"
		"5,"
		"\"hits\":null}]}],\"watches\":[{\"watch\":3,\"balanced\":true,\"copies_per_byte\":null,"
		"\"elapsed_ms\":1500}]}";
	text = text_of(FORMAT_TEXT, write_reply);
	assert_has(text, "copyledger_up 1\n");
	assert_has(text, "copyledger_start_time_seconds 1.5\n");
	assert_has(text, "copyledger_site_bytes_total{account=\"runs\",site=\"tx_pin\",kind=\"pin\"} 5\n");
	assert_has(text, "copyledger_hook_runs_total{account=\"runs\"} 7\n");
	assert_has(text, "copyledger_watch_balanced{watch=\"3\"} 1\n");
	assert_has(text, "copyledger_watch_duration_seconds{watch=\"3\"} 1.5\n");
	assert_has(text, "copyledger_watches 1\n");
	assert_has_not(text, "site_hits");
	assert_has_not(text, "hook_seconds");
	assert_has_not(text, "watch_copies_per_byte");
}

static void nonsense_is_borne(void **state)
{
	static const char *const replies[] = {"{}", "[]", "5", "{\"accounts\":5,\"watches\":{},\"runs\":[]}",
		"{\"accounts\":[1,[],{},{\"sites\":[2,{\"bytes\":1}]},null]}",
		"{\"watches\":[{\"watch\":\"x\"},{\"watch\":1e300,\"exact\":true},{\"watch\":-1,\"exact\":"
		"1e999}]}"};

	for (size_t i = 0; i < sizeof(replies) / sizeof(*replies); i++) {
		_cleanup_free_ char *text = NULL;

		reply = replies[i];
		text = text_of(FORMAT_OPENMETRICS, write_reply);
		assert_has(text, "# EOF\n");
	}
}

/* However many rows come: the number of samples is bounded. */
static void rows_are_bounded(void **state)
{
	_cleanup_free_ char *text = NULL, *many = malloc(1 << 20);
	size_t n = (size_t)sprintf(many, "{\"watches\":["), samples = 0;

	for (int i = 1; i < 10000; i++)
		n += (size_t)sprintf(many + n, "{\"watch\":%d,\"exact\":true},", i);
	sprintf(many + n - 1, "]}");
	reply = many;
	text = text_of(FORMAT_TEXT, write_reply);
	for (const char *p = text; (p = strstr(p, "\ncopyledger_watch_exact{")); p++)
		samples++;
	assert_int_equal(samples, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_differ_where_they_must),
		cmocka_unit_test(a_family_without_a_sample_has_no_head),
		cmocka_unit_test(without_a_daemon),
		cmocka_unit_test(what_is_not_known_is_absent),
		cmocka_unit_test(nonsense_is_borne),
		cmocka_unit_test(rows_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
