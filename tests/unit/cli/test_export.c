// SPDX-License-Identifier: MIT
/* CSV and OpenMetrics of documents that hold what a writer stumbles over, also where the locale writes
 * commas. */
#include <errno.h>

#include "dataset.h"
#include "export.h"
#include "output.h"
#include "samples.h"

static char folder[] = "/tmp/copyledger-export-XXXXXX";

/* The whole text of a file in the folder; the caller frees it. */
static char *slurp(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 16);

	if (!f) {
		free(text);
		return NULL;
	}
	assert_true(fread(text, 1, (1 << 16) - 1, f) < (1 << 16) - 1);
	return text;
}

static char *file_at(const char *name)
{
	char *path = NULL;

	assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

/* A dataset of these documents. */
static struct dataset *dataset_of(json_object **documents, size_t n)
{
	_cleanup_free_ char *path = file_at("runs.jsonl");
	struct cli cli = {.socket = "/nonexistent/socket"};
	struct dataset *d = NULL;
	struct fault fault = {};
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(doc_print(f, documents[i], false), 0);
	assert_int_equal(fclose(f), 0);
	if (dataset_open(&cli, path, &d, &fault) < 0)
		fail_msg("%s", fault.text);
	return d;
}

static char *exported(int (*export)(FILE *f, const struct dataset *d), json_object **documents, size_t n)
{
	_cleanup_(dataset_freep) struct dataset *d = dataset_of(documents, n);
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_int_equal(export(f, d), 0);
	fclose(f);
	return text;
}

/* Two runs of one cell and one that failed. */
struct runs {
	json_object *all[3];
};

static void runs_make(struct runs *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(r->all); i++)
		r->all[i] = sample();
	change(r->all[0], "ended", "\"2026-01-31T12:00:05.250Z\"");
	change(r->all[0], "host", "{\"kernel\":{\"release\":\"6.1\"}}");
	change(r->all[1], "id", "\"run-2\"");
	change(r->all[1], "ended", "\"2026-01-31T12:00:15Z\"");
	change(r->all[1], "app.throughput_gbps", "33.585");
	change(r->all[1], "ledger.exact", "false");
	change(r->all[2], "id", "\"run-3\"");
	change(r->all[2], "state", "\"failed\"");
	change(r->all[2], "ended", "\"2026-01-31T12:00:25Z\"");
	change(r->all[2], "error", "{\"message\":\"a \\\"bad\\\" day,\\nand\\u0007 more\"}");
}

static void runs_free(struct runs *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(r->all); i++)
		json_object_put(r->all[i]);
}

static const char ten[] =
	"implementation,message_size,threads,throughput_gbps,avg_latency_us,cycles,instructions,"
	"context_switches,cache_references,cache_misses,copies_per_byte,";

static void a_row_a_cell(void **state)
{
	_cleanup_(runs_free) struct runs runs;
	_cleanup_free_ char *text = NULL;

	runs_make(&runs);
	text = exported(export_csv_cells, runs.all, 3);
	assert_true(strncmp(text, ten, strlen(ten)) == 0);
	/* the median of 31.415 and 33.585, and no 0 for what nobody counted */
	assert_has(text, "\nzero_copy,65536,4,32.5,12.5,,,1234,,,2,5120000,copied,10,1250,");
	assert_has(text, ",31.415,33.585,0.5,2,1,true,false,");
	assert_has(text, ",\"a \"\"bad\"\" day,\nand\\x07 more\",");
	assert_has(text, "cycles, instructions, cycles_per_byte: no PMU");
	assert_has(text, ",run-1 run-2\n");
	assert_lacks(text, "run-3");
}

static void a_row_a_run(void **state)
{
	_cleanup_(runs_free) struct runs runs;
	_cleanup_free_ char *text = NULL;

	runs_make(&runs);
	text = exported(export_csv_runs, runs.all, 3);
	assert_has(text, "\nzero_copy,65536,4,31.415,12.5,");
	assert_has(text, "\nzero_copy,65536,4,33.585,12.5,");
	assert_has(text, "\nzero_copy,65536,4,,,,,,,,,,,,");
	assert_has(text, ",run-1\n");
	assert_has(text, ",run-2\n");
}

/* C1 controls are two bytes in UTF-8; 0x9b alone is one on a terminal of eight bits. */
static void a_text_cannot_steer_the_terminal(void **state)
{
	static const char raw[] = "\x1b[J \xc2\x9bJ \xe2\x80\xae \x9b \xc2\xa0\xc3\xbc";
	_cleanup_json_ json_object *run = sample();
	_cleanup_free_ char *text = NULL;

	json_object_object_add(doc_at(run, "spec"), "label", json_object_new_string(raw));
	json_object_object_add(run, "id", json_object_new_string(raw));
	text = exported(export_csv_runs, &run, 1);
	assert_has(text, ",\\x1b[J \\xc2\\x9bJ \\xe2\\x80\\xae \\x9b \xc2\xa0\xc3\xbc,");
	assert_has(text, ",\\x1b[J \\xc2\\x9bJ \\xe2\\x80\\xae \\x9b \xc2\xa0\xc3\xbc\n");
}

static void a_cancelled_run_is_a_row_that_says_so(void **state)
{
	json_object *runs[] = {sample(), sample()};
	_cleanup_free_ char *each = NULL, *cell = NULL, *both = NULL;

	change(runs[0], "state", "\"cancelled\"");
	change(runs[0], "id", "\"run-0\"");
	each = exported(export_csv_runs, runs, 2);
	assert_has(each, ",cancelled,,,\n");
	assert_has(each, ",run-1\n");
	cell = exported(export_csv_cells, runs, 1);
	assert_has(cell, ",cancelled,,,\n");
	both = exported(export_csv_cells, runs, 2);
	assert_lacks(both, "cancelled");
	assert_has(both, ",run-1\n");
	json_object_put(runs[0]);
	json_object_put(runs[1]);
}

static void samples_have_their_time_and_labels(void **state)
{
	_cleanup_(runs_free) struct runs runs;
	_cleanup_free_ char *text = NULL;

	runs_make(&runs);
	change(runs.all[0], "spec.label", "\"a \\\"b\\\" \\\\ c\\n\"");
	text = exported(export_openmetrics, runs.all, 3);
	assert_has(text,
		"# TYPE copyledger_run_throughput_bytes_per_second gauge\n"
		"# UNIT copyledger_run_throughput_bytes_per_second bytes_per_second\n"
		"copyledger_run_throughput_bytes_per_second{mode=\"zero-copy\",size=\"65536\",threads=\"4\","
		"path=\"loopback\",workload=\"stream\",label=\"a \\\"b\\\" \\\\ c\\\\x0a\",run=\"run-1\"} "
		"3926875000 1769860805.250\n");
	assert_has(text, "run=\"run-2\",site=\"rx_copy\"} 1 1769860815.000\n");
	assert_has(text, "run=\"run-3\"} 1 1769860825.000\n");
	assert_lacks(text, "copyledger_run_cycles{");
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
}

/* A locale of the test's own, since a system need not have one with a comma. */
static bool use_commas(void)
{
	_cleanup_free_ char *source = file_at("comma.src"), *command = NULL;
	FILE *f = fopen(source, "w");

	fputs("comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point \"<U002C>\"\nthousands_sep "
	      "\"<U002E>\"\n"
	      "grouping 3;3\nEND LC_NUMERIC\n",
		f);
	fclose(f);
	assert_true(asprintf(&command, "localedef -c -i %s -f ANSI_X3.4-1968 %s/comma >%s/said 2>&1", source,
			    folder, folder) > 0);
	if (system(command) < 0)
		return false;
	setenv("LOCPATH", folder, 1);
	return setlocale(LC_NUMERIC, "comma") != NULL;
}

static void numbers_have_a_dot_in_every_locale(void **state)
{
	_cleanup_(runs_free) struct runs runs;
	_cleanup_free_ char *csv = NULL, *metrics = NULL;
	char number[DOC_NUMBER], with_comma[16];

	runs_make(&runs);
	if (!use_commas()) {
		print_message("skipped: localedef made no locale with a decimal comma\n");
		skip();
	}
	snprintf(with_comma, sizeof(with_comma), "%.1f", 0.5);
	csv = exported(export_csv_cells, runs.all, 3);
	metrics = exported(export_openmetrics, runs.all, 3);
	doc_format_number(number, -1234.5);
	setlocale(LC_NUMERIC, "C");
	assert_string_equal(with_comma, "0,5");
	assert_string_equal(number, "-1234.5");
	assert_has(csv, "\nzero_copy,65536,4,32.5,12.5,,,1234,,,2,5120000,");
	assert_has(metrics, "} 3926875000 1769860805.250\n");
	assert_has(metrics, "} 1.25e-05 1769860805.250\n");
}

static void numbers_read_back_as_they_were(void **state)
{
	static const double values[] = {0.1, 1.0 / 3, 1e300, 5e-324, 123456789012345, 1769860805.25, 0, -2.5};
	char text[DOC_NUMBER];

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		assert_true(strtod(doc_format_number(text, values[i]), NULL) == values[i]);
	assert_string_equal(doc_format_number(text, 0.1), "0.1");
}

static void a_file_is_whole_or_as_it_was(void **state)
{
	_cleanup_free_ char *path = file_at("out"), *before = NULL, *after = NULL;
	struct output *o = NULL;
	struct fault fault = {};

	assert_int_equal(output_open(path, NULL, &o, &fault), 0);
	fputs("first", output_stream(o));
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(output_finish(o, 0, &fault), 0);
	assert_int_equal(output_open(path, NULL, &o, &fault), 0);
	fputs("second", output_stream(o));
	assert_int_equal(output_finish(o, -EIO, &fault), -EIO);
	assert_has(fault.text, path);
	before = slurp(path);
	assert_string_equal(before, "first");
	assert_int_equal(output_open(path, NULL, &o, &fault), 0);
	fputs("third", output_stream(o));
	assert_int_equal(output_finish(o, 0, &fault), 0);
	after = slurp(path);
	assert_string_equal(after, "third");
}

static void a_full_disk_is_said(void **state)
{
	struct output *o = NULL;
	struct fault fault = {};

	assert_int_equal(output_open("/dev/full", NULL, &o, &fault), 0);
	fputs("lost", output_stream(o));
	assert_int_equal(output_finish(o, 0, &fault), -ENOSPC);
	assert_has(fault.text, "'/dev/full': No space left on device");
	assert_true(output_open("/nonexistent/out", NULL, &o, &fault) < 0);
	assert_has(fault.text, "/nonexistent/out");
}

static int make_folder(void **state)
{
	return mkdtemp(folder) ? use_utf8(state) : -1;
}

static int remove_folder(void **state)
{
	_cleanup_free_ char *command = NULL;

	return asprintf(&command, "rm -r %s", folder) > 0 ? system(command) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_row_a_cell),
		cmocka_unit_test(a_row_a_run),
		cmocka_unit_test(a_text_cannot_steer_the_terminal),
		cmocka_unit_test(a_cancelled_run_is_a_row_that_says_so),
		cmocka_unit_test(samples_have_their_time_and_labels),
		cmocka_unit_test(numbers_have_a_dot_in_every_locale),
		cmocka_unit_test(numbers_read_back_as_they_were),
		cmocka_unit_test(a_file_is_whole_or_as_it_was),
		cmocka_unit_test(a_full_disk_is_said),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
