// SPDX-License-Identifier: MIT
/* The store: rows in and out, and what it makes of damage, of a dead owner and of a directory that cannot be
 * used. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "jsonx.h"
#include "rfc3339.h"
#include "store.h"

struct place {
	char dir[64], file[96];
};

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/copyledger-store-XXXXXX");
	if (!mkdtemp(p->dir))
		return -1;
	snprintf(p->file, sizeof(p->file), "%s/copyledger.db", p->dir);
	*state = p;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

static int tear_down(void **state)
{
	struct place *p = *state;

	nftw(p->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static struct store *open_store(const struct place *p)
{
	struct fault fault = {0};
	struct store *s = NULL;

	if (store_open(p->dir, &s, &fault) < 0)
		fail_msg("%s", fault.text);
	return s;
}

static json_object *document(
	const char *id, const char *state, const char *started, const char *mode, const char *label)
{
	json_object *doc = json_object_new_object(), *spec = json_object_new_object();

	json_add_str(doc, "id", id);
	json_add_str(doc, "state", state);
	json_add_str(doc, "started", started);
	json_add_str(spec, "mode", mode);
	json_add_str(spec, "label", label);
	json_add_str(spec, "workload", "stream");
	json_add_str(spec, "path", "veth");
	json_add_u64(spec, "size", 4096);
	json_add_u64(spec, "threads", 2);
	json_add(doc, "spec", spec);
	return doc;
}

static void put(struct store *s, const char *id, const char *state, const char *started, const char *mode,
	const char *label)
{
	_cleanup_json_ json_object *doc = document(id, state, started, mode, label);
	struct fault fault = {0};

	if (store_put(s, doc, &fault) < 0)
		fail_msg("%s", fault.text);
}

/* The ids of a list, joined. */
static const char *ids(struct store *s, const struct store_filter *filter)
{
	static char text[400];
	_cleanup_json_ json_object *rows = json_object_new_array();

	assert_int_equal(store_list(s, filter, rows), 0);
	text[0] = 0;
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		strcat(text, i ? " " : "");
		strcat(text, json_object_get_string(json_at(json_object_array_get_idx(rows, i), "id")));
	}
	return text;
}

static void fill(struct store *s)
{
	put(s, "20260101-100000-aaaa", "done", "2026-01-01T10:00:00.000Z", "two-copy", "red");
	put(s, "20260101-100000-aabb", "done", "2026-01-01T10:00:00.000Z", "one-copy", "red");
	put(s, "20260101-110000-cccc", "failed", "2026-01-01T11:00:00.000Z", "two-copy", "blue");
	put(s, "20260102-100000-dddd", "cancelled", "2026-01-02T10:00:00.000Z", "zero-copy", "");
}

static void lists_and_filters(void **state)
{
	struct store *s = open_store(*state);
	int64_t since, until;
	uint64_t n;

	fill(s);
	assert_int_equal(rfc3339_parse("2026-01-01T11:00:00Z", &since), 0);
	assert_int_equal(rfc3339_parse("2026-01-01T12:00:00+01:00", &until), 0);
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10}),
		"20260102-100000-dddd 20260101-110000-cccc 20260101-100000-aabb 20260101-100000-aaaa");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 1}), "20260102-100000-dddd");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10, .mode = "two-copy"}),
		"20260101-110000-cccc 20260101-100000-aaaa");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10, .mode = "two-copy", .label = "red"}),
		"20260101-100000-aaaa");
	assert_string_equal(
		ids(s, &(struct store_filter){.limit = 10, .state = "failed"}), "20260101-110000-cccc");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10, .since = since}),
		"20260102-100000-dddd 20260101-110000-cccc");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10, .since = since, .until = until}),
		"20260101-110000-cccc");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10, .label = "' OR 1=1 --"}), "");
	assert_int_equal(store_count(s, &n), 0);
	assert_int_equal(n, 4);
	store_close(s);
}

static void finds_by_prefix(void **state)
{
	static const struct {
		const char *ident, *id;
		uint64_t matches;
	} cases[] = {
		{"20260101-100000-aaaa", "20260101-100000-aaaa", 1},
		{"20260101-100000-aab", "20260101-100000-aabb", 1},
		{"20260101-1", NULL, 3},
		{"2026", NULL, 4},
		{"20260102", "20260102-100000-dddd", 1},
		{"last", "20260102-100000-dddd", 1},
		{"2027", NULL, 0},
		{"%", NULL, 0},
		{"20260101-100000-aaaaa", NULL, 0},
	};
	struct store *s = open_store(*state);
	uint64_t n = 99;
	char id[24];

	assert_int_equal(store_find(s, "last", id, sizeof(id), &n), 0);
	assert_int_equal(n, 0);
	fill(s);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(store_find(s, cases[i].ident, id, sizeof(id), &n), 0);
		assert_int_equal(n, cases[i].matches);
		if (cases[i].id)
			assert_string_equal(id, cases[i].id);
	}
	store_close(s);
}

/* Of two runs of one moment the later put is the last, also when the first one is written again. */
static void keeps_the_order_of_puts(void **state)
{
	struct store *s = open_store(*state);
	uint64_t n;
	char id[24];

	put(s, "z", "running", "2026-01-01T10:00:00Z", "two-copy", "");
	put(s, "a", "queued", "2026-01-01T10:00:00Z", "two-copy", "");
	put(s, "z", "done", "2026-01-01T10:00:00Z", "two-copy", "");
	assert_int_equal(store_find(s, "last", id, sizeof(id), &n), 0);
	assert_string_equal(id, "a");
	store_close(s);
}

static void keeps_whole_documents(void **state)
{
	static const char text[] = "{\"id\":\"x\",\"state\":\"done\",\"started\":\"2026-01-01T00:00:00."
				   "123456Z\",\"spec\":{\"mode\":\"two-copy\"},"
				   "\"app\":{\"throughput_gbps\":12.5,\"bytes\":9223372036854775807},"
				   "\"ledger\":{\"copies_per_byte\":{\"total\":3.0},"
				   "\"balanced\":true,\"exact\":false},\"zerocopy\":{\"verdict\":\"none\"},"
				   "\"label\":\"gr\xc3\xbcn/\\\"\\u001b\"}";
	_cleanup_json_ json_object *doc = json_tokener_parse(text), *back = NULL,
				   *rows = json_object_new_array();
	json_object *row;
	struct store *s = open_store(*state);

	assert_int_equal(store_put(s, doc, NULL), 0);
	store_close(s);
	s = open_store(*state);
	assert_int_equal(json_object_array_length(store_notes(s)), 0);
	assert_int_equal(store_get(s, "x", &back), 0);
	assert_string_equal(
		json_object_to_json_string_ext(back, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		text);
	assert_int_equal(store_get(s, "y", &back), -ENOENT);
	assert_int_equal(store_list(s, &(struct store_filter){.limit = 10}, rows), 0);
	row = json_object_array_get_idx(rows, 0);
	assert_true(json_object_get_double(json_at(row, "throughput_gbps")) == 12.5);
	assert_true(json_object_get_double(json_at(row, "copies_per_byte")) == 3.0);
	assert_string_equal(json_object_get_string(json_at(row, "verdict")), "none");
	assert_string_equal(json_object_get_string(json_at(row, "started")), "2026-01-01T00:00:00.123456Z");
	assert_true(json_object_is_type(json_at(row, "balanced"), json_type_boolean));
	assert_true(json_object_get_boolean(json_at(row, "balanced")));
	assert_false(json_object_get_boolean(json_at(row, "exact")));
	store_close(s);
}

/* What is not known is null in the list, be it absent, null or a null with its reason. */
static void lists_the_unknown_as_null(void **state)
{
	_cleanup_json_ json_object
		*rows = json_object_new_array(),
		*doc = json_tokener_parse(
			"{\"id\":\"x\",\"state\":\"done\",\"app\":{\"throughput_gbps\":{"
			"\"value\":null,\"reason\":\"r\"}},\"ledger\":null,\"zerocopy\":{\"verdict\":"
			"null}}");
	static const char *const names[] = {
		"throughput_gbps", "copies_per_byte", "verdict", "balanced", "exact"};
	struct store *s = open_store(*state);

	assert_int_equal(store_put(s, doc, NULL), 0);
	assert_int_equal(store_list(s, &(struct store_filter){.limit = 10}, rows), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		json_object *value = doc;

		assert_true(json_object_object_get_ex(json_object_array_get_idx(rows, 0), names[i], &value));
		assert_null(value);
	}
	store_close(s);
}

/* As a child, so that it can be killed with its database open. */
static void die_in_the_middle(const struct place *p)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct store *s = open_store(p);

		put(s, "r1", "running", "2026-01-01T10:00:00Z", "two-copy", "");
		put(s, "q1", "queued", "2026-01-01T10:00:01Z", "two-copy", "");
		put(s, "d1", "done", "2026-01-01T09:00:00Z", "two-copy", "");
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void marks_what_a_dead_owner_left(void **state)
{
	static const char *const left[] = {"r1", "q1"};
	struct store *s;

	die_in_the_middle(*state);
	s = open_store(*state);
	assert_int_equal(json_object_array_length(store_notes(s)), 1);
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10, .state = "failed"}), "q1 r1");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10, .state = "done"}), "d1");
	for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
		_cleanup_json_ json_object *doc = NULL;

		assert_int_equal(store_get(s, left[i], &doc), 0);
		assert_string_equal(json_object_get_string(json_at(doc, "state")), "failed");
		assert_string_equal(json_object_get_string(json_at(doc, "error/code")), "daemon_ended");
		assert_non_null(
			strstr(json_object_get_string(json_at(doc, "error/message")), "daemon ended"));
		assert_true(json_object_object_get_ex(json_at(doc, "error"), "signal", NULL)); /* null */
		assert_non_null(json_at(doc, "ended"));
	}
	store_close(s);
	s = open_store(*state); /* once is enough */
	assert_int_equal(json_object_array_length(store_notes(s)), 0);
	store_close(s);
}

/* One document that cannot be read, and the others are served all the same. */
static void opens_with_a_broken_document(void **state)
{
	const struct place *p = *state;
	struct store *s = open_store(p);
	sqlite3 *db;

	fill(s);
	put(s, "r1", "running", "2026-01-03T10:00:00Z", "two-copy", "");
	put(s, "r2", "running", "2026-01-03T10:00:01Z", "two-copy", "");
	store_close(s);
	assert_int_equal(sqlite3_open(p->file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE runs SET document = '{' WHERE id = 'r1'", NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
	s = open_store(p);
	assert_int_equal(json_object_array_length(store_notes(s)), 2);
	assert_string_equal(ids(s, &(struct store_filter){.limit = 1, .state = "failed"}), "r2");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 1, .state = "done", .mode = "one-copy"}),
		"20260101-100000-aabb");
	store_close(s);
}

static void write_at(const char *file, off_t at, const char *bytes, size_t n)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, at), n);
	close(fd);
}

/* The damaged file is kept under another name, and is the very file. */
static void assert_moved_aside(const struct place *p)
{
	struct store *s = open_store(p);
	const char *text = json_object_get_string(json_object_array_get_idx(store_notes(s), 0));
	char moved[200];

	assert_non_null(text);
	assert_int_equal(sscanf(text, "the results file was damaged; it was moved to %199s", moved), 1);
	assert_int_equal(access(moved, F_OK), 0);
	put(s, "new", "done", "2026-01-01T10:00:00Z", "two-copy", "");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10}), "new");
	store_close(s);
}

static void begins_anew_on_rubbish(void **state)
{
	const struct place *p = *state;

	write_at(p->file, 0, "this is not a database, not at all; and it is long enough", 57);
	assert_moved_aside(p);
}

static void begins_anew_on_damage(void **state)
{
	const struct place *p = *state;
	char rubbish[4096];
	struct store *s = open_store(p);

	for (int i = 0; i < 50; i++) {
		char id[16];

		snprintf(id, sizeof(id), "run%d", i);
		put(s, id, "done", "2026-01-01T10:00:00Z", "two-copy", "");
	}
	store_close(s);
	memset(rubbish, 0xa5, sizeof(rubbish));
	write_at(p->file, 4096, rubbish, sizeof(rubbish)); /* page 2: the table's root */
	assert_moved_aside(p);
}

static void leaves_a_newer_file_alone(void **state)
{
	const struct place *p = *state;
	struct store *s = open_store(p);
	struct fault fault;
	sqlite3 *db;

	store_close(s);
	assert_int_equal(sqlite3_open(p->file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 3", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_true(store_open(p->dir, &s, &fault) < 0);
	assert_string_equal(fault.code, "state_newer");
	assert_non_null(strstr(fault.text, "format 3"));
	assert_int_equal(access(p->file, F_OK), 0);
}

/* What version 1 wrote, in its own words. */
static void takes_over_an_older_file(void **state)
{
	static const char sql[] =
		"CREATE TABLE runs(id TEXT PRIMARY KEY, started INTEGER NOT NULL, ended INTEGER,"
		" state TEXT NOT NULL, mode TEXT, workload TEXT, path TEXT, size INTEGER, threads INTEGER,"
		" label TEXT, throughput_gbps REAL, copies_per_byte REAL, verdict TEXT, balanced INTEGER,"
		" exact INTEGER, document TEXT NOT NULL);"
		"INSERT INTO runs(id, started, state, document) VALUES('old', 5, 'done', '{\"id\":\"old\"}');"
		"PRAGMA user_version = 1";
	_cleanup_json_ json_object *doc = NULL, *rows = json_object_new_array();
	_cleanup_json_ json_object *sweep = json_tokener_parse(
		"{\"sweep\":{\"id\":\"s1\",\"state\":\"running\",\"started\":\"2026-01-01T10:00:00Z\"}}");
	_cleanup_json_ json_object *row = json_tokener_parse("{\"cell\":3}"), *got = NULL;
	const struct place *p = *state;
	struct store *s = NULL;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(p->file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	s = open_store(p);
	assert_int_equal(store_get(s, "old", &doc), 0);
	assert_int_equal(store_put_sweep(s, sweep, row, NULL), 0);
	assert_int_equal(store_put_sweep(s, sweep, row, NULL), 0); /* the same rows anew */
	store_close(s);
	s = open_store(p);
	assert_int_equal(store_list_cells(s, "s1", rows), 0);
	assert_int_equal(json_object_array_length(rows), 1);
	assert_int_equal(store_get_sweep(s, "s1", &got), 0);
	assert_string_equal(json_object_get_string(json_at(got, "sweep/state")), "interrupted");
	assert_int_equal(json_object_array_length(store_notes(s)), 1);
	store_close(s);
}

static void has_one_owner(void **state)
{
	const struct place *p = *state;
	struct store *s = open_store(p), *second;
	struct fault fault;

	assert_int_equal(store_open(p->dir, &second, &fault), -EBUSY);
	assert_string_equal(fault.code, "state_in_use");
	store_close(s);
	store_close(open_store(p));
}

static void cannot_open(const char *dir)
{
	struct store *s = NULL;
	struct fault fault = {0};

	assert_true(store_open(dir, &s, &fault) < 0);
	assert_string_equal(fault.code, "state_directory");
	assert_non_null(strstr(fault.text, dir));
	assert_null(s);
}

static void says_what_it_cannot_use(void **state)
{
	const struct place *p = *state;
	char path[200];

	cannot_open("/proc/nothing-can-be-made-here");
	snprintf(path, sizeof(path), "%s/no/such", p->dir);
	cannot_open(path);
	snprintf(path, sizeof(path), "%s/file", p->dir);
	write_at(path, 0, "x", 1);
	cannot_open(path);
	/* read-only: root goes by permissions only as somebody else */
	assert_int_equal(chmod(p->dir, 0555), 0);
	if (geteuid() == 0)
		assert_int_equal(seteuid(65534), 0);
	cannot_open(p->dir);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(p->dir, 0755), 0);
}

/* A limit on the size of files stands for a full disk. */
static void reports_a_full_disk(void **state)
{
	struct rlimit old, full = {16384, RLIM_INFINITY};
	struct store *s = open_store(*state);
	struct fault fault = {0};
	_cleanup_json_ json_object *doc = document("big", "done", "2026-01-01T10:00:00Z", "two-copy", "");
	char *blob = calloc(1, 100001);
	int r;

	put(s, "small", "done", "2026-01-01T10:00:00Z", "two-copy", "");
	memset(blob, 'x', 100000);
	json_add_str(doc, "blob", blob);
	free(blob);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	full.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
	r = store_put(s, doc, &fault);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(r < 0);
	assert_string_equal(fault.code, "not_stored");
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10}), "small");
	assert_int_equal(store_put(s, doc, &fault), 0); /* there is room again */
	store_close(s);
}

static void memory_keeps_the_newest(void **state)
{
	struct store *s = NULL;
	uint64_t n;

	assert_int_equal(store_open_memory(3, &s, NULL), 0);
	put(s, "live", "running", "2026-01-01T00:00:00Z", "two-copy", "");
	for (int i = 0; i < 10; i++) {
		char id[16], started[48];

		snprintf(id, sizeof(id), "r%d", i);
		snprintf(started, sizeof(started), "2026-01-01T10:00:0%dZ", i);
		put(s, id, "done", started, "two-copy", "");
	}
	assert_string_equal(ids(s, &(struct store_filter){.limit = 10}), "r9 r8 r7 live");
	assert_int_equal(store_delete(s, "r8"), 0);
	assert_int_equal(store_count(s, &n), 0);
	assert_int_equal(n, 3);
	store_close(s);
}

static void reads_moments(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2026-01-31T23:59:59.123Z", 1769903999123000000},
		{"2026-02-01T00:59:59.123456789+01:00", 1769903999123456789},
		{"2026-01-31T22:29:59.1-01:30", 1769903999100000000},
	};
	static const char *const bad[] = {"", "now", "2026-01-31", "2026-01-31 23:59:59Z",
		"2026-01-31T23:59:59", "2026-13-31T00:00:00Z", "2026-01-31T23:59:59.Z",
		"2026-01-31T23:59:59Zz", "2026-01-31T23:59:59+1:00", "2026-01-31T23:59:59+24:00",
		"2026-01-31T23:59:59+01:00 ", "12026-01-31T23:59:59Z", "1950-01-01T00:00:00Z"};
	char text[RFC3339_TEXT];
	int64_t ns;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(rfc3339_parse(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (rfc3339_parse(bad[i], &ns) != -EINVAL)
			fail_msg("%s was taken", bad[i]);
	assert_string_equal(rfc3339_format(text, 1769903999123999999), "2026-01-31T23:59:59.123999Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lists_and_filters, set_up, tear_down),
		cmocka_unit_test_setup_teardown(finds_by_prefix, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_the_order_of_puts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_whole_documents, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lists_the_unknown_as_null, set_up, tear_down),
		cmocka_unit_test_setup_teardown(marks_what_a_dead_owner_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(opens_with_a_broken_document, set_up, tear_down),
		cmocka_unit_test_setup_teardown(begins_anew_on_rubbish, set_up, tear_down),
		cmocka_unit_test_setup_teardown(begins_anew_on_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(leaves_a_newer_file_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_over_an_older_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(has_one_owner, set_up, tear_down),
		cmocka_unit_test_setup_teardown(says_what_it_cannot_use, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reports_a_full_disk, set_up, tear_down),
		cmocka_unit_test(memory_keeps_the_newest),
		cmocka_unit_test(reads_moments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
