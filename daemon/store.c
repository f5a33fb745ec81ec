// SPDX-License-Identifier: MIT
/* Keeps runs in SQLite. */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "jsonx.h"
#include "log.h"
#include "rfc3339.h"
#include "store.h"

#define FILE_NAME "copyledger.db"
#define SCHEMA_VERSION 2
#define DOCUMENT_DEPTH 64
#define SERIAL (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
/* States that a run does not leave any more. */
#define FINAL "('done', 'failed', 'cancelled')"
#define UNDER_WAY "('queued', 'running')" /* of sweeps */

#define DIED_CODE "daemon_ended"
#define DIED_TEXT "the daemon ended while this run was going on"
#define DIED_WHEN "; the time of its end is when the next daemon found it"

struct store {
	sqlite3 *db;
	int lock; /* the state directory, locked; -1 for a store in memory */
	unsigned int keep;
	json_object *notes;
};

DEFINE_CLEANUP(sqlite3_stmt *, sqlite3_finalize)
#define _cleanup_stmt_ _cleanup_(sqlite3_finalizep)

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int db_errno(int rc)
{
	static const struct {
		int rc, error;
	} map[] = {
		{SQLITE_FULL, -ENOSPC},
		{SQLITE_READONLY, -EROFS},
		{SQLITE_CANTOPEN, -EACCES},
		{SQLITE_NOMEM, -ENOMEM},
		{SQLITE_BUSY, -EBUSY},
		{SQLITE_LOCKED, -EBUSY},
		{SQLITE_CORRUPT, -EUCLEAN},
		{SQLITE_NOTADB, -EUCLEAN},
		{SQLITE_TOOBIG, -EFBIG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (map[i].rc == (rc & 0xff))
			return map[i].error;
	return -EIO;
}

static int db_exec(sqlite3 *db, const char *sql)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : db_errno(rc);
}

static int db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret)
{
	int rc = sqlite3_prepare_v2(db, sql, -1, ret, NULL);

	return rc == SQLITE_OK ? 0 : db_errno(rc);
}

/* 1: a row is there; 0: done; or a negative errno. */
static int db_step(sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : db_errno(rc);
}

/* The single integer that sql yields. */
static int db_number(sqlite3 *db, const char *sql, int64_t *ret)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = db_prepare(db, sql, &stmt);
	if (r < 0)
		return r;
	r = db_step(stmt);
	if (r < 0)
		return r;
	*ret = r ? sqlite3_column_int64(stmt, 0) : 0;
	return 0;
}

static void note(struct store *s, const char *fmt, ...) _printf_(2, 3);
static void note(struct store *s, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_warning("%s", text);
	json_push(s->notes, json_object_new_string(text));
}

/* What version 2 added. */
#define SCHEMA_2                                                                                             \
	"ALTER TABLE runs ADD COLUMN sweep TEXT;"                                                            \
	"ALTER TABLE runs ADD COLUMN cell INTEGER;"                                                          \
	"CREATE INDEX runs_sweep ON runs(sweep) WHERE sweep IS NOT NULL;"                                    \
	"CREATE TABLE sweeps(id TEXT PRIMARY KEY, started INTEGER NOT NULL, state TEXT NOT NULL,"            \
	" document TEXT NOT NULL);"                                                                          \
	"CREATE INDEX sweeps_started ON sweeps(started);"                                                    \
	"CREATE TABLE cells(sweep TEXT NOT NULL, cell INTEGER NOT NULL, document TEXT NOT NULL,"             \
	" PRIMARY KEY(sweep, cell)) WITHOUT ROWID;"

static int create_schema(sqlite3 *db)
{
	return db_exec(db,
		"BEGIN IMMEDIATE;"
		"CREATE TABLE runs(id TEXT PRIMARY KEY, started INTEGER NOT NULL, ended INTEGER,"
		" state TEXT NOT NULL, mode TEXT, workload TEXT, path TEXT, size INTEGER, threads INTEGER,"
		" label TEXT, throughput_gbps REAL, copies_per_byte REAL, verdict TEXT, balanced INTEGER,"
		" exact INTEGER, document TEXT NOT NULL);"
		"CREATE INDEX runs_started ON runs(started);"
		"CREATE INDEX runs_mode ON runs(mode, started);"
		"CREATE INDEX runs_label ON runs(label, started);"
		"CREATE INDEX runs_state ON runs(state);" SCHEMA_2 "PRAGMA user_version = 2;"
		"COMMIT;");
}

/* A file of an earlier version gets what it lacks; what it has stays as it is. */
static int upgrade_schema(sqlite3 *db, int64_t version)
{
	static const struct {
		int64_t from;
		const char *sql;
	} steps[] = {
		{1, "BEGIN IMMEDIATE;" SCHEMA_2 "PRAGMA user_version = 2; COMMIT;"},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(steps); i++)
		if (steps[i].from >= version)
			r = db_exec(db, steps[i].sql);
	return r;
}

static int check_schema(struct store *s, struct fault *reterr)
{
	int64_t version, rows;
	int r;

	r = db_number(s->db, "PRAGMA user_version", &version);
	if (r < 0)
		return r;
	if (version > SCHEMA_VERSION)
		return fault_set(reterr, -EPROTO, "state_newer", "",
			"the state directory's " FILE_NAME
			" has format %lld, this program knows %d at most: use the newer "
			"copyledgerd or another state directory",
			(long long)version, SCHEMA_VERSION);
	if (version == 0)
		return create_schema(s->db);
	r = upgrade_schema(s->db, version);
	if (r < 0)
		return r;
	/* touches the table and an index, so that a damaged file is found now and not by the first client */
	return db_number(s->db, "SELECT count(*) + ifnull(max(started), 0) * 0 FROM runs", &rows);
}

/* The whole file is looked through, as far as that takes no noticeable time. */
static int check_pages(sqlite3 *db)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int64_t pages;
	int r;

	r = db_number(db, "PRAGMA page_count", &pages);
	if (r < 0 || pages > 4096) /* 16 MiB: some 20 ms */
		return r;
	r = db_prepare(db, "PRAGMA quick_check(1)", &stmt);
	if (r < 0)
		return r;
	r = db_step(stmt);
	if (r < 0)
		return r;
	return str_eq((const char *)sqlite3_column_text(stmt, 0), "ok") ? 0 : -EUCLEAN;
}

static int open_db(struct store *s, const char *path, struct fault *reterr)
{
	int r, rc;

	rc = sqlite3_open_v2(
		path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc != SQLITE_OK)
		return db_errno(rc);
	if (sqlite3_db_readonly(s->db, "main"))
		return -EROFS;
	r = db_exec(s->db,
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
		"PRAGMA cache_size = -512; PRAGMA journal_size_limit = 1048576; PRAGMA busy_timeout = 500");
	if (r < 0)
		return r;
	r = check_pages(s->db);
	return r < 0 ? r : check_schema(s, reterr);
}

static void close_db(struct store *s)
{
	sqlite3_close(s->db);
	s->db = NULL;
}

static int rename_aside(const char *path, const char *suffix, const char *aside)
{
	char from[PATH_MAX], to[PATH_MAX];

	if ((size_t)snprintf(from, sizeof(from), "%s%s", path, suffix) >= sizeof(from) ||
		(size_t)snprintf(to, sizeof(to), "%s%s", aside, suffix) >= sizeof(to))
		return -ENAMETOOLONG;
	return rename(from, to) < 0 && errno != ENOENT ? -errno : 0;
}

/* Moves a damaged file and its log away: nothing is thrown away that somebody could still read. */
static int move_aside(struct store *s, const char *path)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	char aside[PATH_MAX];
	int r;

	if ((size_t)snprintf(aside, sizeof(aside), "%s.corrupt-%lld", path, (long long)time(NULL)) >=
		sizeof(aside))
		return -ENAMETOOLONG;
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		r = rename_aside(path, suffixes[i], aside);
		if (r < 0)
			return r;
	}
	note(s, "the results file was damaged; it was moved to %s and a new one begun", aside);
	return 0;
}

static int open_or_begin(struct store *s, const char *path, struct fault *reterr)
{
	int r;

	r = open_db(s, path, reterr);
	if (r != -EUCLEAN)
		return r;
	close_db(s);
	r = move_aside(s, path);
	return r < 0 ? r : open_db(s, path, reterr);
}

/* One owner at a time: another daemon would take our living runs for those of a dead one. */
static int lock_dir(const char *dir, struct fault *reterr)
{
	_cleanup_close_ int fd = -1;

	if (mkdir(dir, 0750) < 0 && errno != EEXIST)
		return -errno;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno != EWOULDBLOCK ? -errno
					    : fault_set(reterr, -EBUSY, "state_in_use", "",
						      "another daemon uses the state directory %s", dir);
	return TAKE_FD(fd);
}

static json_object *parse_document(const char *text)
{
	json_tokener *tok = json_tokener_new_ex(DOCUMENT_DEPTH);
	json_object *obj;

	if (!tok)
		return NULL;
	obj = json_tokener_parse_ex(tok, text, strlen(text) + 1);
	json_tokener_free(tok);
	return obj;
}

/* A document that never got its end. */
static int mark_died(struct store *s, const char *text)
{
	_cleanup_json_ json_object *doc = parse_document(text), *error = json_object_new_object();
	char now[RFC3339_TEXT];

	if (!doc || !error || json_add_str(error, "code", DIED_CODE) < 0 ||
		json_add_str(error, "message", DIED_TEXT DIED_WHEN) < 0 ||
		json_add_null(error, "signal") < 0 || json_add(doc, "error", json_object_get(error)) < 0 ||
		json_add_str(doc, "state", "failed") < 0 ||
		json_add_str(doc, "ended", rfc3339_format(now, now_ns())) < 0)
		return -EBADMSG;
	return store_put(s, doc, NULL);
}

/* Rows are copied out before any is written: a SELECT under way must not see its own rows change. */
static int unfinished(struct store *s, json_object *ret_texts)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = db_prepare(s->db, "SELECT document FROM runs WHERE state NOT IN " FINAL, &stmt);
	if (r < 0)
		return r;
	while ((r = db_step(stmt)) > 0)
		if (json_push(ret_texts, json_object_new_string((const char *)sqlite3_column_text(stmt, 0))) <
			0)
			return -ENOMEM;
	return r;
}

/* A full disk keeps nobody from the results that are there: what is not active is no running sweep either
 * way.
 */
static int interrupt_sweeps(struct store *s)
{
	int64_t n = 0;
	int r;

	r = db_number(s->db, "SELECT count(*) FROM sweeps WHERE state IN " UNDER_WAY, &n);
	if (r < 0 || n == 0)
		return r;
	r = db_exec(s->db,
		"UPDATE sweeps SET state = 'interrupted', document = json_set(document, '$.sweep.state',"
		" 'interrupted') WHERE state IN " UNDER_WAY);
	if (r < 0)
		note(s, "a sweep that never ended cannot be marked interrupted: %s", strerror(-r));
	else
		note(s, "%lld sweep%s interrupted when the daemon ended: resume with its id", (long long)n,
			n == 1 ? " was" : "s were");
	return 0;
}

/* What cannot be marked now, on a full disk say, keeps nobody from the results that are there. */
static int recover(struct store *s)
{
	_cleanup_json_ json_object *texts = json_object_new_array();
	size_t n, marked = 0;
	int r;

	r = texts ? unfinished(s, texts) : -ENOMEM;
	if (r == 0)
		r = interrupt_sweeps(s);
	if (r < 0)
		return r;
	n = json_object_array_length(texts);
	for (size_t i = 0; i < n; i++) {
		r = mark_died(s, json_object_get_string(json_object_array_get_idx(texts, i)));
		if (r < 0)
			note(s,
				"a run that never ended cannot be marked failed: %s; it is tried again at "
				"the next start",
				strerror(-r));
		marked += r == 0;
	}
	if (marked > 0)
		note(s, "%zu run%s marked failed: %s", marked, marked == 1 ? " was" : "s were", DIED_TEXT);
	return 0;
}

static int store_new(struct store **ret)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->lock = -1;
	s->notes = json_object_new_array();
	*ret = s;
	return s->notes ? 0 : -ENOMEM;
}

static int open_dir(struct store *s, const char *dir, struct fault *reterr)
{
	char path[PATH_MAX];
	int r;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, FILE_NAME) >= sizeof(path))
		return -ENAMETOOLONG;
	r = lock_dir(dir, reterr);
	if (r < 0)
		return r;
	s->lock = r;
	r = open_or_begin(s, path, reterr);
	return r < 0 ? r : recover(s);
}

int store_open(const char *dir, struct store **ret, struct fault *reterr)
{
	_cleanup_(store_closep) struct store *s = NULL;
	struct fault fault = {0};
	int r;

	r = store_new(&s);
	if (r == 0)
		r = open_dir(s, dir, &fault);
	if (r < 0 && !fault.code[0])
		fault_set(&fault, r, "state_directory", "", "cannot use the state directory %s: %s%s%s", dir,
			strerror(-r), s && s->db ? "; SQLite: " : "",
			s && s->db ? sqlite3_errmsg(s->db) : "");
	if (r < 0) {
		if (reterr)
			*reterr = fault;
		return r;
	}
	*ret = TAKE_PTR(s);
	return 0;
}

void store_keep(struct store *s, unsigned int keep)
{
	s->keep = keep;
}

int store_open_memory(unsigned int keep, struct store **ret, struct fault *reterr)
{
	_cleanup_(store_closep) struct store *s = NULL;
	int r;

	r = store_new(&s);
	if (r == 0)
		r = open_db(s, ":memory:", reterr);
	if (r < 0)
		return fault_set(
			reterr, r, "state_directory", "", "cannot keep results in memory: %s", strerror(-r));
	s->keep = keep;
	*ret = TAKE_PTR(s);
	return 0;
}

struct store *store_close(struct store *s)
{
	if (!s)
		return NULL;
	close_db(s);
	close_fd(s->lock);
	json_drop(s->notes);
	free(s);
	return NULL;
}

json_object *store_notes(const struct store *s)
{
	return s->notes;
}

static void bind_value(sqlite3_stmt *stmt, int i, json_object *value)
{
	switch (json_object_get_type(value)) {
	case json_type_string:
		sqlite3_bind_text(stmt, i, json_object_get_string(value), -1, SQLITE_TRANSIENT);
		break;
	case json_type_double:
		sqlite3_bind_double(stmt, i, json_object_get_double(value));
		break;
	case json_type_int:
		sqlite3_bind_int64(stmt, i, json_object_get_int64(value));
		break;
	case json_type_boolean:
		sqlite3_bind_int(stmt, i, json_object_get_boolean(value));
		break;
	default: /* null, or an object that says why there is no figure */
		sqlite3_bind_null(stmt, i);
	}
}

static int64_t started_ns(json_object *document)
{
	const char *text = json_object_get_string(json_at(document, "started"));
	int64_t ns;

	return text && rfc3339_parse(text, &ns) == 0 ? ns : now_ns();
}

static int bind_document(sqlite3_stmt *stmt, json_object *document)
{
	/* ?1 to ?15, in the order of the statement in store_put() */
	static const char *const paths[] = {
		"id",
		"state",
		"spec/mode",
		"spec/workload",
		"spec/path",
		"spec/size",
		"spec/threads",
		"spec/label",
		"app/throughput_gbps",
		"ledger/copies_per_byte/total",
		"zerocopy/verdict",
		"ledger/balanced",
		"ledger/exact",
		"sweep/id",
		"sweep/cell",
	};
	const char *text = json_object_to_json_string_ext(document, SERIAL);
	int n = ARRAY_SIZE(paths);

	if (!text)
		return -ENOMEM;
	for (int i = 0; i < n; i++)
		bind_value(stmt, i + 1, json_at(document, paths[i]));
	sqlite3_bind_int64(stmt, n + 1, started_ns(document));
	sqlite3_bind_int64(stmt, n + 2, now_ns());
	sqlite3_bind_text(stmt, n + 3, text, -1, SQLITE_TRANSIENT);
	return 0;
}

static int put(struct store *s, json_object *document)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = db_prepare(s->db,
		"INSERT INTO runs(id, state, mode, workload, path, size, threads, label, throughput_gbps, "
		"copies_per_byte,"
		" verdict, balanced, exact, sweep, cell, started, ended, document)"
		" VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,"
		" CASE WHEN ?2 IN " FINAL " THEN ?17 END, ?18)"
		" ON CONFLICT(id) DO UPDATE SET state = ?2, started = ?16, ended = excluded.ended,"
		" throughput_gbps = ?9, copies_per_byte = ?10, verdict = ?11, balanced = ?12, exact = ?13,"
		" document = ?18",
		&stmt);
	if (r < 0)
		return r;
	r = bind_document(stmt, document);
	return r < 0 ? r : db_step(stmt);
}

/* Of 100,000 rows the index on state counts in some ms; "+" has the oldest come from that on started,
 * unsorted. */
static int drop_oldest(struct store *s)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int64_t ended;
	int r;

	if (!s->keep)
		return 0;
	r = db_number(s->db, "SELECT count(*) FROM runs WHERE state IN " FINAL, &ended);
	if (r < 0 || ended <= s->keep)
		return r;
	r = db_prepare(s->db,
		"DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE +state IN " FINAL
		" ORDER BY started, rowid LIMIT ?1)",
		&stmt);
	if (r < 0)
		return r;
	sqlite3_bind_int64(stmt, 1, ended - s->keep);
	return db_step(stmt);
}

int store_put(struct store *s, json_object *document, struct fault *reterr)
{
	int r = put(s, document);

	if (r == 0)
		r = drop_oldest(s);
	if (r < 0)
		return fault_set(reterr, r, "not_stored", "", "the result could not be stored: %s (%s)",
			strerror(-r), sqlite3_errmsg(s->db));
	return 0;
}

int store_delete(struct store *s, const char *id)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = db_prepare(s->db, "DELETE FROM runs WHERE id = ?1", &stmt);
	if (r < 0)
		return r;
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	return db_step(stmt);
}

static int get_document(struct store *s, const char *sql, const char *id, json_object **ret)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	json_object *doc;
	int r;

	r = db_prepare(s->db, sql, &stmt);
	if (r < 0)
		return r;
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	r = db_step(stmt);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	doc = parse_document((const char *)sqlite3_column_text(stmt, 0));
	if (!doc)
		return -EBADMSG;
	*ret = doc;
	return 0;
}

int store_get(struct store *s, const char *id, json_object **ret)
{
	return get_document(s, "SELECT document FROM runs WHERE id = ?1", id, ret);
}

static int find_by(
	struct store *s, const char *sql, const char *ident, char *ret_id, size_t n, uint64_t *ret_matches)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = db_prepare(s->db, sql, &stmt);
	if (r < 0)
		return r;
	sqlite3_bind_text(stmt, 1, ident, -1, SQLITE_STATIC);
	r = db_step(stmt);
	if (r < 0)
		return r;
	*ret_matches = sqlite3_column_int64(stmt, 0);
	if (*ret_matches > 0)
		str_copy_n(ret_id, n, (const char *)sqlite3_column_text(stmt, 1));
	return 0;
}

/* How a table's rows are found by "last", by the whole id, and by its beginning. */
struct finder {
	const char *count, *by_last, *by_id, *by_prefix;
};

/* '~' sorts after all that an id is made of, so that the primary key serves a prefix too. */
#define FINDER(table)                                                                                        \
	{                                                                                                    \
		"SELECT count(*) FROM " table,                                                               \
			"SELECT 1, id FROM " table " ORDER BY started DESC, rowid DESC LIMIT 1",             \
			"SELECT count(*), min(id) FROM " table " WHERE id = ?1",                             \
			"SELECT count(*), min(id) FROM " table " WHERE id >= ?1 AND id < ?1 || '~'"          \
	}

static const struct finder run_finder = FINDER("runs"), sweep_finder = FINDER("sweeps");

static int find(struct store *s, const struct finder *f, const char *ident, char *ret_id, size_t n,
	uint64_t *ret_matches)
{
	int64_t rows = 0;
	int r;

	*ret_matches = 0;
	if (str_eq(ident, "last")) {
		r = db_number(s->db, f->count, &rows);
		return r < 0 || !rows ? r : find_by(s, f->by_last, ident, ret_id, n, ret_matches);
	}
	r = find_by(s, f->by_id, ident, ret_id, n, ret_matches);
	if (r < 0 || *ret_matches)
		return r;
	return find_by(s, f->by_prefix, ident, ret_id, n, ret_matches);
}

int store_find(struct store *s, const char *ident, char *ret_id, size_t n, uint64_t *ret_matches)
{
	return find(s, &run_finder, ident, ret_id, n, ret_matches);
}

static json_object *column(sqlite3_stmt *stmt, int i, json_type type)
{
	if (type == json_type_boolean)
		return json_object_new_boolean(sqlite3_column_int(stmt, i));
	if (type == json_type_double)
		return json_double(sqlite3_column_double(stmt, i));
	if (type == json_type_int)
		return json_object_new_int64(sqlite3_column_int64(stmt, i));
	return json_object_new_string((const char *)sqlite3_column_text(stmt, i));
}

static json_object *summary(sqlite3_stmt *stmt)
{
	static const struct {
		const char *name;
		json_type type;
	} columns[] = {
		{"id", json_type_string},
		{"state", json_type_string},
		{"label", json_type_string},
		{"mode", json_type_string},
		{"workload", json_type_string},
		{"path", json_type_string},
		{"size", json_type_int},
		{"threads", json_type_int},
		{"throughput_gbps", json_type_double},
		{"copies_per_byte", json_type_double},
		{"verdict", json_type_string},
		{"balanced", json_type_boolean},
		{"exact", json_type_boolean},
	};
	_cleanup_json_ json_object *obj = json_object_new_object();
	char text[RFC3339_TEXT];
	int n = ARRAY_SIZE(columns);

	if (!obj || json_add_str(obj, "started", rfc3339_format(text, sqlite3_column_int64(stmt, n))) < 0)
		return NULL;
	for (int i = 0; i < n; i++) {
		bool null = sqlite3_column_type(stmt, i) == SQLITE_NULL;
		int r = null ? json_add_null(obj, columns[i].name)
			     : json_add(obj, columns[i].name, column(stmt, i, columns[i].type));

		if (r < 0)
			return NULL;
	}
	return TAKE_PTR(obj);
}

/* Only the conditions that were asked for, so that an index can serve them. */
static void filter_sql(char *sql, size_t n, const struct store_filter *f)
{
	snprintf(sql, n,
		"SELECT id, state, label, mode, workload, path, size, threads, throughput_gbps, "
		"copies_per_byte, verdict,"
		" balanced, exact, started FROM runs WHERE 1%s%s%s%s%s"
		" ORDER BY started DESC, rowid DESC LIMIT ?6",
		f->mode ? " AND mode = ?1" : "", f->label ? " AND label = ?2" : "",
		f->state ? " AND state = ?3" : "", f->since ? " AND started >= ?4" : "",
		f->until ? " AND started <= ?5" : "");
}

int store_list(struct store *s, const struct store_filter *f, json_object *array)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	char sql[512];
	int r;

	filter_sql(sql, sizeof(sql), f);
	r = db_prepare(s->db, sql, &stmt);
	if (r < 0)
		return r;
	sqlite3_bind_text(stmt, 1, f->mode, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, f->label, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 3, f->state, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 4, f->since);
	sqlite3_bind_int64(stmt, 5, f->until);
	sqlite3_bind_int64(stmt, 6, f->limit);
	while ((r = db_step(stmt)) > 0)
		if (json_push(array, summary(stmt)) < 0)
			return -ENOMEM;
	return r;
}

int store_count(struct store *s, uint64_t *ret)
{
	int64_t n;
	int r;

	r = db_number(s->db, "SELECT count(*) FROM runs", &n);
	if (r < 0)
		return r;
	*ret = n;
	return 0;
}

/* ---- sweeps ---- */

/* ?1: id, ?2: value, ?3: started, ?4: document; a statement uses what it names. */
static int put_row(struct store *s, const char *sql, const char *id, json_object *value, int64_t started,
	json_object *document)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	const char *text = json_object_to_json_string_ext(document, SERIAL);
	int r;

	if (!text)
		return -ENOMEM;
	r = db_prepare(s->db, sql, &stmt);
	if (r < 0)
		return r;
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	bind_value(stmt, 2, value);
	sqlite3_bind_int64(stmt, 3, started);
	sqlite3_bind_text(stmt, 4, text, -1, SQLITE_TRANSIENT);
	return db_step(stmt);
}

static int put_sweep(struct store *s, json_object *document, json_object *row)
{
	const char *id = json_object_get_string(json_at(document, "sweep/id"));
	int r;

	r = put_row(s,
		"INSERT INTO sweeps(id, state, started, document) VALUES(?1, ?2, ?3, ?4)"
		" ON CONFLICT(id) DO UPDATE SET state = ?2, document = ?4",
		id, json_at(document, "sweep/state"), started_ns(json_at(document, "sweep")), document);
	if (r < 0 || !row)
		return r;
	return put_row(s, "INSERT OR REPLACE INTO cells(sweep, cell, document) VALUES(?1, ?2, ?4)", id,
		json_at(row, "cell"), 0, row);
}

/* A store in memory keeps the newest sweeps only. */
static int drop_oldest_sweeps(struct store *s)
{
	char sql[400];

	if (!s->keep)
		return 0;
	snprintf(sql, sizeof(sql),
		"DELETE FROM sweeps WHERE state NOT IN " UNDER_WAY " AND id IN (SELECT id FROM sweeps"
		" ORDER BY started DESC, rowid DESC LIMIT -1 OFFSET %u);"
		"DELETE FROM cells WHERE sweep NOT IN (SELECT id FROM sweeps)",
		s->keep);
	return db_exec(s->db, sql);
}

int store_put_sweep(struct store *s, json_object *document, json_object *row, struct fault *reterr)
{
	int r = db_exec(s->db, "BEGIN IMMEDIATE");

	if (r == 0)
		r = put_sweep(s, document, row);
	if (r == 0 && !row)
		r = drop_oldest_sweeps(s);
	if (r == 0)
		r = db_exec(s->db, "COMMIT");
	if (r < 0) {
		fault_set(reterr, r, "not_stored", "", "the sweep could not be stored: %s (%s)", strerror(-r),
			sqlite3_errmsg(s->db));
		if (!sqlite3_get_autocommit(s->db))
			db_exec(s->db, "ROLLBACK");
	}
	return r;
}

int store_get_sweep(struct store *s, const char *id, json_object **ret)
{
	return get_document(s, "SELECT document FROM sweeps WHERE id = ?1", id, ret);
}

int store_find_sweep(struct store *s, const char *ident, char *ret_id, size_t n, uint64_t *ret_matches)
{
	return find(s, &sweep_finder, ident, ret_id, n, ret_matches);
}

static json_object *run_of_sweep(sqlite3_stmt *stmt)
{
	_cleanup_json_ json_object *o = json_object_new_object();

	if (!o || json_add_str(o, "id", (const char *)sqlite3_column_text(stmt, 0)) < 0 ||
		json_add_i64(o, "cell", sqlite3_column_int64(stmt, 1)) < 0)
		return NULL;
	return TAKE_PTR(o);
}

static json_object *document_of_row(sqlite3_stmt *stmt)
{
	return parse_document((const char *)sqlite3_column_text(stmt, 0));
}

/* Appends what make() makes of each row. ?1: id, ?2: limit. */
static int list(struct store *s, const char *sql, const char *id, uint32_t limit,
	json_object *(*make)(sqlite3_stmt *stmt), json_object *array)
{
	_cleanup_stmt_ sqlite3_stmt *stmt = NULL;
	int r;

	r = db_prepare(s->db, sql, &stmt);
	if (r < 0)
		return r;
	sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, limit);
	while ((r = db_step(stmt)) > 0)
		if (json_push(array, make(stmt)) < 0)
			return -ENOMEM;
	return r;
}

int store_list_sweeps(struct store *s, uint32_t limit, json_object *array)
{
	return list(s, "SELECT document FROM sweeps ORDER BY started DESC, rowid DESC LIMIT ?2", NULL, limit,
		document_of_row, array);
}

int store_list_cells(struct store *s, const char *sweep, json_object *array)
{
	return list(s, "SELECT document FROM cells WHERE sweep = ?1 ORDER BY cell", sweep, 0, document_of_row,
		array);
}

int store_list_sweep_runs(struct store *s, const char *sweep, json_object *array)
{
	return list(s,
		"SELECT id, cell FROM runs WHERE sweep = ?1 AND state IN " FINAL " ORDER BY started, rowid",
		sweep, 0, run_of_sweep, array);
}
