// SPDX-License-Identifier: MIT
/* Result documents from files: their cells, what selects them, and the figures of a cell. */
#include <errno.h>
#include <math.h>

#include "dataset.h"
#include "samples.h"

#define RUN(id, mode, size, state, rest)                                                                     \
	"{\"schema\":\"copyledger/result/1\",\"id\":\"" id "\",\"state\":\"" state                           \
	"\",\"spec\":{\"mode\":\"" mode "\",\"path\":\"loopback\",\"workload\":\"stream\",\"size\":" size    \
	",\"threads\":2,\"label\":\"" id "\"}" rest "}\n"
#define MEASURED(gbps, copies, bound)                                                                        \
	",\"app\":{\"throughput_gbps\":" gbps "},\"ledger\":{\"copies_per_byte\":{\"total\":" copies         \
	",\"lower_bound\":" bound "}},\"perf\":{\"sender\":{\"cycles\":{\"value\":null,\"reason\":\"no "     \
	"PMU\"}},\"receiver\":{}}"

static char path[] = "/tmp/copyledger-dataset-XXXXXX";

static void write_file(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static int open_at(const char *selection, struct dataset **ret, struct fault *reterr)
{
	struct cli cli = {.socket = "/nonexistent/socket"};
	_cleanup_free_ char *source = NULL;

	assert_true(asprintf(&source, "%s%s", path, selection) > 0);
	return dataset_open(&cli, source, ret, reterr);
}

static const char runs[] = RUN("a", "zero-copy", "64", "done", MEASURED("1.0", "2.0", "false"))
	RUN("b", "one-copy", "64", "done", MEASURED("3.0", "2.0", "false"))
		RUN("c", "zero-copy", "64", "failed", ",\"error\":{\"message\":\"the child died\"}")
			RUN("d", "one-copy", "65536", "done", MEASURED("9.0", "2.0", "true"))
				RUN("e", "one-copy", "64", "done", MEASURED("5.0", "2.0", "true"))
					RUN("f", "one-copy", "64", "cancelled", "");

static void cells_hold_their_runs(void **state)
{
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	struct fault fault = {};

	write_file(runs);
	assert_int_equal(open_at("", &d, &fault), 0);
	assert_int_equal(d->n_cells, 3);
	assert_string_equal(d->cells[0].mode, "one-copy");
	assert_int_equal(d->cells[0].n_runs, 2); /* a cancelled run is no sample */
	assert_string_equal(doc_text(d->cells[0].runs[1], "id"), "e");
	assert_int_equal(d->cells[1].size, 65536);
	assert_int_equal(d->cells[2].failures, 1);
	assert_string_equal(d->cells[2].failure, "the child died");
	assert_ptr_equal(dataset_cell(d, "loopback", "stream", "one-copy", 65536, 2), &d->cells[1]);
	assert_null(dataset_cell(d, "veth", "stream", "one-copy", 65536, 2));
	assert_string_equal(doc_text(dataset_example(d), "id"), "b");
}

static void figures_are_known_or_have_a_reason(void **state)
{
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	struct fault fault = {};
	struct estimate e;

	write_file(runs);
	assert_int_equal(open_at("", &d, &fault), 0);
	e = cell_estimate(&d->cells[0], measure_find("throughput_gbps"), d->seed);
	assert_int_equal(e.n, 2);
	assert_true(e.median == 4.0 && e.low == 3.0 && e.high == 5.0 && e.coverage == 0.5);
	assert_null(e.reason);
	e = cell_estimate(&d->cells[0], measure_find("copies_per_byte"), d->seed);
	assert_int_equal(e.n, 1);
	assert_true(e.median == 2.0 && isnan(e.low) && e.coverage == 0);
	assert_non_null(strstr(e.reason, "lower bound"));
	e = cell_estimate(&d->cells[0], measure_find("cycles"), d->seed);
	assert_int_equal(e.n, 0);
	assert_true(isnan(e.median));
	assert_string_equal(e.reason, "no PMU");
	assert_null(measure_find("no_such_measure"));
}

static void a_selection_takes_what_it_names(void **state)
{
	static const struct {
		const char *selection;
		int r;
		size_t cells;
	} cases[] = {
		{":mode=one-copy", 0, 2},
		{":mode=one-copy,size=64K", 0, 1},
		{":size=65536", 0, 1},
		{":size=1K", -ENODATA, 0},
		{":nosuch=1", -EINVAL, 0},
		{":mode=", -EINVAL, 0},
		{":=64", -EINVAL, 0},
	};

	write_file(runs);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(dataset_freep) struct dataset *d = NULL;
		struct fault fault = {};

		assert_int_equal(open_at(cases[i].selection, &d, &fault), cases[i].r);
		assert_int_equal(d ? d->n_cells : 0, cases[i].cells);
	}
}

static void what_is_no_result_is_refused(void **state)
{
	static const char *const texts[] = {"", "{", "[]", "{}", "{\"schema\":\"copyledger/watch/1\"}",
		"{\"schema\":\"copyledger/result/1\"}", RUN("a", "zero-copy", "64", "done", "") "nonsense"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(dataset_freep) struct dataset *d = NULL;
		struct fault fault = {};

		write_file(texts[i]);
		assert_true(open_at("", &d, &fault) < 0);
		assert_null(d);
		assert_non_null(strstr(fault.text, path));
	}
}

#define OVER(id, path)                                                                                       \
	"{\"schema\":\"copyledger/result/1\",\"id\":\"" id                                                   \
	"\",\"state\":\"done\",\"spec\":{\"mode\":\"one-copy\",\"path\":\"" path                             \
	"\",\"workload\":\"stream\",\"size\":64,\"threads\":1}}\n"

/* Their names have what else would end the source's name, and a part of the selection. */
static void a_path_between_namespaces_can_be_selected(void **state)
{
	static const struct {
		const char *selection, *path; /* path: of the one cell; NULL: it is refused */
	} cases[] = {
		{":path=netns:a,b", "netns:a,b"},
		{":path=netns:c,d,threads=1", "netns:c,d"},
		{":size=64,path=netns:c,d", "netns:c,d"},
		{":path=loopback,size=64", "loopback"},
		{":path=netns:a", NULL},
		{":path=netns:a,b,c", NULL},
	};

	write_file(OVER("1", "netns:a,b") OVER("2", "netns:c,d") OVER("3", "loopback"));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(dataset_freep) struct dataset *d = NULL;
		struct fault fault = {};
		int r = open_at(cases[i].selection, &d, &fault);

		if (!cases[i].path) {
			assert_true(r < 0);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(d->n_cells, 1);
		assert_string_equal(d->cells[0].path, cases[i].path);
	}
}

#define SPEC(id, mode, size, rest)                                                                           \
	"{\"schema\":\"copyledger/result/1\",\"id\":\"" id                                                   \
	"\",\"state\":\"done\",\"spec\":{\"mode\":\"" mode                                                   \
	"\",\"path\":\"loopback\",\"workload\":\"stream\",\"size\":" size ",\"threads\":2" rest "}}\n"

static void what_would_be_confused_is_refused(void **state)
{
	static const struct {
		const char *text, *selection, *says; /* says: NULL: it is taken */
	} cases[] = {
		{SPEC("a", "one-copy", "64", ",\"fields\":8,\"label\":\"x\"")
				SPEC("b", "two-copy", "1024", ",\"fields\":8,\"label\":\"y\""),
			"", NULL},
		{SPEC("a", "one-copy", "64", ",\"fields\":8") SPEC("b", "one-copy", "64", ",\"fields\":64"),
			"", "mixes runs whose 'fields' is '"},
		{SPEC("a", "one-copy", "64", ",\"fields\":8") SPEC("b", "one-copy", "64", ",\"fields\":64"),
			":fields=64", NULL},
		{SPEC("a", "one-copy", "64", ",\"ledger\":\"auto\"")
				SPEC("b", "zero-copy", "64", ",\"ledger\":\"off\""),
			"", ":ledger=auto'"},
		{SPEC("a", "one-copy", "64", ",\"verify\":false")
				SPEC("b", "zero-copy", "64", ",\"verify\":true"),
			":size=64", ",verify=false'"},
		{SPEC("a", "one-copy", "64", "") SPEC("b", "one-copy", "64", ",\"receive\":\"mmap\""), "",
			":receive=mmap'"},
		{SPEC("a", "one-copy", "64", ",\"duration_ms\":1")
				SPEC("b", "one-copy", "64", ",\"duration_ms\":2"),
			"", ":duration_ms="},
		{SPEC("a", "one-copy", "64", ",\"duration_ms\":1")
				SPEC("b", "one-copy", "128", ",\"duration_ms\":2"),
			"", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(dataset_freep) struct dataset *d = NULL;
		struct fault fault = {};

		write_file(cases[i].text);
		assert_int_equal(open_at(cases[i].selection, &d, &fault), 0);
		assert_int_equal(dataset_check_alike(d, &fault), cases[i].says ? -EINVAL : 0);
		assert_has(fault.text, cases[i].says ? cases[i].says : "");
	}
}

static void without_a_file_the_daemon_is_asked(void **state)
{
	struct cli cli = {.socket = "/nonexistent/socket"};
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	struct fault fault = {};

	assert_true(dataset_open(&cli, "/nonexistent/file", &d, &fault) < 0);
	assert_string_equal(fault.code, "no_such_file");
	assert_true(dataset_open(&cli, "last", &d, &fault) < 0);
	assert_string_equal(fault.code, "unreachable");
	assert_null(d);
}

static int make_path(void **state)
{
	return close(mkstemp(path));
}

static int remove_path(void **state)
{
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cells_hold_their_runs),
		cmocka_unit_test(figures_are_known_or_have_a_reason),
		cmocka_unit_test(a_selection_takes_what_it_names),
		cmocka_unit_test(a_path_between_namespaces_can_be_selected),
		cmocka_unit_test(what_is_no_result_is_refused),
		cmocka_unit_test(what_would_be_confused_is_refused),
		cmocka_unit_test(without_a_file_the_daemon_is_asked),
	};

	return cmocka_run_group_tests(tests, make_path, remove_path);
}
