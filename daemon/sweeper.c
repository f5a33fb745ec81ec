// SPDX-License-Identifier: MIT
/* Queues the runs of sweeps and keeps what they gave. */
#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>
#include <time.h>

#include "jsonx.h"
#include "log.h"
#include "manager.h"
#include "rfc3339.h"
#include "store.h"
#include "sweeper.h"

#define OVERHEAD_MS 150 /* of a run beside its warm-up and window, until one has been seen */

struct active {
	struct active *next;
	struct sweep *sweep;
	char id[SWEEP_ID_BYTES], started[RFC3339_TEXT], ended[RFC3339_TEXT];
	const char *state;       /* "queued", "running", "done", "cancelled", "interrupted" */
	char run[RUN_ID_BYTES];  /* in the manager's queue; "" : none */
	uint32_t cell, round;    /* of that run */
	int64_t earlier_ms;      /* run before it was resumed */
	int64_t since_ms;        /* CLOCK_MONOTONIC; 0: not begun */
	uint32_t runs_at_resume; /* that were there then */
	bool in_memory;          /* the disk has refused it */
	bool over;
};

struct sweeper {
	struct manager *manager;
	struct store *disk, *memory;
	struct active *list;                   /* the first one runs */
	uint64_t done, cancelled, interrupted; /* since the start */
};

static int64_t clock_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void stamp(char ret[RFC3339_TEXT])
{
	rfc3339_format(ret, clock_ms(CLOCK_REALTIME) * 1000000);
}

static struct active *active_free(struct active *a)
{
	if (!a)
		return NULL;
	sweep_free(a->sweep);
	free(a);
	return NULL;
}
DEFINE_CLEANUP(struct active *, active_free)

static struct active *find_active(const struct sweeper *sw, const char *id)
{
	for (struct active *a = sw->list; a; a = a->next)
		if (str_eq(a->id, id))
			return a;
	return NULL;
}

static uint32_t under_way(const struct sweeper *sw)
{
	uint32_t n = 0;

	for (struct active *a = sw->list; a; a = a->next)
		n += !a->over;
	return n;
}

static int64_t elapsed_ms(const struct active *a)
{
	return a->earlier_ms + (a->since_ms ? clock_ms(CLOCK_MONOTONIC) - a->since_ms : 0);
}

/* ---- documents ---- */

static int add_counts(json_object *o, const struct sweep *sweep)
{
	struct sweep_counts n = sweep_count(sweep);
	const struct {
		const char *name;
		uint32_t value;
	} rows[] = {
		{"cells", n.cells},
		{"cells_done", n.cells_done},
		{"cells_failed", n.cells_failed},
		{"converged", n.converged},
		{"runs_done", n.runs_done},
		{"runs_failed", n.runs_failed},
		{"runs_expected", n.runs_expected},
		{"unbalanced", n.unbalanced},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (json_add_u64(o, rows[i].name, rows[i].value) < 0)
			return -ENOMEM;
	return 0;
}

static json_object *summary(const struct active *a)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	const struct sweep_plan *plan = sweep_plan(a->sweep);

	if (!o || json_add_str(o, "id", a->id) < 0 || json_add_str(o, "state", a->state) < 0 ||
		json_add_str(o, "started", a->started) < 0 ||
		json_add_str(o, "ended", *a->ended ? a->ended : NULL) < 0 ||
		json_add_str(o, "label", plan->base.label) < 0 ||
		json_add_u64(o, "repeat", plan->repeat) < 0 || json_add_u64(o, "seed", plan->seed) < 0 ||
		json_add_i64(o, "elapsed_ms", elapsed_ms(a)) < 0 || add_counts(o, a->sweep) < 0)
		return NULL;
	return TAKE_PTR(o);
}

static json_object *document(const struct active *a)
{
	_cleanup_json_ json_object *o = json_object_new_object();

	if (!o || json_add(o, "sweep", summary(a)) < 0 ||
		json_add(o, "spec", sweep_plan_to_json(sweep_plan(a->sweep))) < 0)
		return NULL;
	return TAKE_PTR(o);
}

/* With all cells, since the disk may not have them. */
static int keep_in_memory(struct sweeper *sw, const struct active *a, json_object *doc, struct fault *reterr)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < sweep_plan_cells(sweep_plan(a->sweep)); i++) {
		_cleanup_json_ json_object *row = sweep_row(a->sweep, i, true);

		r = row ? store_put_sweep(sw->memory, doc, row, reterr) : -ENOMEM;
	}
	return r == 0 ? store_put_sweep(sw->memory, doc, NULL, reterr) : r;
}

/* Disk until that refuses a row, then memory. cell: the one that has a new run; UINT32_MAX: none. */
static void keep(struct sweeper *sw, struct active *a, uint32_t cell)
{
	_cleanup_json_ json_object *doc = document(a), *row = NULL;
	struct fault fault = {.text = "out of memory"};
	int r = -ENODEV;

	if (cell != UINT32_MAX)
		row = sweep_row(a->sweep, cell, true);
	if (!doc || (cell != UINT32_MAX && !row)) {
		log_sweep(LOG_ERR, a->id, "%s", fault.text);
		return;
	}
	if (sw->disk && !a->in_memory) {
		r = store_put_sweep(sw->disk, doc, row, &fault);
		if (r < 0)
			log_sweep(LOG_WARNING, a->id, "going on in memory only: %s", fault.text);
	}
	if (r == 0)
		return;
	r = a->in_memory ? store_put_sweep(sw->memory, doc, row, &fault) : keep_in_memory(sw, a, doc, &fault);
	a->in_memory = true;
	if (r < 0)
		log_sweep(LOG_ERR, a->id, "%s", fault.text);
}

/* ---- the course of a sweep ---- */

static void end(struct sweeper *sw, struct active *a, const char *state)
{
	a->earlier_ms = elapsed_ms(a);
	a->since_ms = 0;
	a->state = state;
	a->over = true;
	*a->run = 0;
	stamp(a->ended);
	sw->done += str_eq(state, "done");
	sw->cancelled += str_eq(state, "cancelled");
	sw->interrupted += str_eq(state, "interrupted");
	keep(sw, a, UINT32_MAX);
	log_sweep(LOG_INFO, a->id, "%s", state);
}

/* Puts the next run into the queue, or ends the sweep. */
static void go_on(struct sweeper *sw, struct active *a)
{
	struct fault fault;
	struct spec spec;

	if (!sweep_next(a->sweep, &a->cell, &a->round)) {
		end(sw, a, "done");
		return;
	}
	sweep_plan_spec(sweep_plan(a->sweep), a->cell, &spec);
	if (manager_submit_cell(sw->manager, &spec, a->id, a->cell, a->run, &fault) == 0)
		return;
	log_sweep(LOG_ERR, a->id, "%s", fault.text);
	end(sw, a, "interrupted");
}

static void begin(struct sweeper *sw, struct active *a)
{
	a->state = "running";
	a->since_ms = clock_ms(CLOCK_MONOTONIC);
	keep(sw, a, UINT32_MAX);
	log_sweep(LOG_INFO, a->id, "%u cells, at most %u runs to go", sweep_count(a->sweep).cells,
		sweep_count(a->sweep).runs_expected - sweep_count(a->sweep).runs_done);
	go_on(sw, a);
}

void sweeper_run_ended(struct sweeper *sw, json_object *doc)
{
	const char *run = json_object_get_string(json_at(doc, "id"));
	struct active *a = sw->list;
	int r;

	while (a && (a->over || !str_eq(a->run, run)))
		a = a->next;
	if (!a)
		return;
	*a->run = 0;
	r = sweep_take(a->sweep, a->cell, doc);
	if (r == 0)
		keep(sw, a, a->cell);
	else
		log_sweep(LOG_INFO, a->id, "run %s is no sample and is repeated", run);
	go_on(sw, a);
}

static void forget_ended(struct sweeper *sw)
{
	for (struct active **at = &sw->list; *at;) {
		struct active *a = *at;

		if (!a->over) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		active_free(a);
	}
}

void sweeper_settle(struct sweeper *sw)
{
	for (forget_ended(sw); sw->list && str_eq(sw->list->state, "queued"); forget_ended(sw)) {
		begin(sw, sw->list);
		if (!sw->list->over)
			return;
		manager_tell(sw->manager); /* all its cells had ended already */
	}
}

void sweeper_stop(struct sweeper *sw)
{
	for (struct active *a = sw->list; a; a = a->next)
		if (!a->over)
			end(sw, a, "interrupted");
}

json_object *sweeper_totals(const struct sweeper *sw)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	uint64_t queued = 0, running = 0;

	for (struct active *a = sw->list; a; a = a->next) {
		queued += str_eq(a->state, "queued");
		running += str_eq(a->state, "running");
	}
	if (!o || json_add_u64(o, "queued", queued) < 0 || json_add_u64(o, "running", running) < 0 ||
		json_add_u64(o, "done", sw->done) < 0 || json_add_u64(o, "cancelled", sw->cancelled) < 0 ||
		json_add_u64(o, "interrupted", sw->interrupted) < 0)
		return NULL;
	return TAKE_PTR(o);
}

/* ---- start, resume, cancel ---- */

static void store_matches(struct sweeper *sw, const char *ident, char *ret_disk, char *ret_memory,
	uint64_t *ret_on_disk, uint64_t *ret_in_memory)
{
	*ret_on_disk = *ret_in_memory = 0;
	store_find_sweep(sw->memory, ident, ret_memory, SWEEP_ID_BYTES, ret_in_memory);
	if (sw->disk)
		store_find_sweep(sw->disk, ident, ret_disk, SWEEP_ID_BYTES, ret_on_disk);
}

static int new_id(struct sweeper *sw, char ret[SWEEP_ID_BYTES])
{
	char on_disk[SWEEP_ID_BYTES], in_memory[SWEEP_ID_BYTES];

	for (int try = 0; try < 64; try++) {
		time_t now = time(NULL);
		uint64_t disk, memory;
		uint16_t random;
		struct tm tm;
		size_t n;

		if (getrandom(&random, sizeof(random), 0) < 0)
			return -errno;
		n = strftime(ret, SWEEP_ID_BYTES, "s%Y%m%d-%H%M%S", gmtime_r(&now, &tm));
		snprintf(ret + n, SWEEP_ID_BYTES - n, "-%04x", random);
		store_matches(sw, ret, on_disk, in_memory, &disk, &memory);
		if (disk + memory == 0)
			return 0;
	}
	return -EEXIST;
}

static int check_room(const struct sweeper *sw, struct fault *reterr)
{
	uint64_t most = manager_limits(sw->manager)->sweep_queue;

	if (manager_stopping(sw->manager))
		return fault_set(reterr, -ESHUTDOWN, "stopping", "",
			"the daemon is about to end and takes no more sweeps");
	if (under_way(sw) >= most)
		return fault_set(reterr, -EBUSY, "queue_full", "",
			"%" PRIu64
			" sweeps are under way already, no more are taken: try again when one has ended",
			most);
	return 0;
}

static void append(struct sweeper *sw, struct active *a)
{
	struct active **at = &sw->list;

	a->state = "queued";
	while (*at)
		at = &(*at)->next;
	*at = a;
	keep(sw, a, UINT32_MAX);
	sweeper_settle(sw);
}

int sweeper_start(struct sweeper *sw, const struct sweep_plan *plan, char ret_id[SWEEP_ID_BYTES],
	uint32_t *ret_position, struct fault *reterr)
{
	_cleanup_(active_freep) struct active *a = calloc(1, sizeof(*a));
	int r = check_room(sw, reterr);

	if (r < 0)
		return r;
	r = a ? sweep_new(plan, &a->sweep) : -ENOMEM;
	if (r == 0)
		r = new_id(sw, a->id);
	if (r < 0)
		return fault_set(reterr, r, "no_sweep", "", "cannot begin a sweep: %s", strerror(-r));
	stamp(a->started);
	str_copy_n(ret_id, SWEEP_ID_BYTES, a->id);
	*ret_position = under_way(sw);
	append(sw, TAKE_PTR(a));
	return 0;
}

static int stored(struct sweeper *sw, const char *id, struct store **ret_store, json_object **ret)
{
	int r;

	*ret_store = sw->memory;
	r = store_get_sweep(sw->memory, id, ret);
	if (r == -ENOENT && sw->disk) {
		*ret_store = sw->disk;
		r = store_get_sweep(sw->disk, id, ret);
	}
	return r;
}

/* Runs that ended, but whose row the daemon did not live to write. */
static int take_orphans(struct sweeper *sw, struct active *a)
{
	_cleanup_json_ json_object *runs = json_object_new_array();
	int r = runs && sw->disk ? store_list_sweep_runs(sw->disk, a->id, runs) : 0;

	for (size_t i = 0; r == 0 && i < json_object_array_length(runs); i++) {
		json_object *run = json_object_array_get_idx(runs, i);
		const char *id = json_object_get_string(json_at(run, "id"));
		_cleanup_json_ json_object *doc = NULL;
		uint32_t cell = json_object_get_int64(json_at(run, "cell"));

		if (sweep_has(a->sweep, cell, id) || store_get(sw->disk, id, &doc) < 0)
			continue;
		if (sweep_take(a->sweep, cell, doc) == 0) {
			log_sweep(LOG_INFO, a->id, "run %s had ended, its row is made now", id);
			keep(sw, a, cell);
		}
	}
	return r;
}

static const char *known_state(json_object *doc)
{
	static const char *const states[] = {"queued", "running", "done", "cancelled", "interrupted"};
	const char *state = json_object_get_string(json_at(doc, "sweep/state"));

	for (size_t i = 0; state && i < ARRAY_SIZE(states); i++)
		if (str_eq(state, states[i]))
			return states[i];
	return NULL;
}

/* What the store has of a sweep, as it was. */
static int load_from(struct store *store, const char *id, json_object *doc, struct active *a)
{
	_cleanup_json_ json_object *rows = json_object_new_array(), *details = NULL;
	_cleanup_free_ struct sweep_plan *plan = malloc(sizeof(*plan));
	json_object *ended = json_at(doc, "sweep/ended");
	int r;

	a->state = known_state(doc);
	if (!rows || !plan)
		return -ENOMEM;
	if (!a->state || sweep_plan_parse(json_at(doc, "spec"), plan, NULL, &details) < 0)
		return -EBADMSG;
	str_copy(a->id, id);
	str_copy(a->started, json_object_get_string(json_at(doc, "sweep/started")));
	str_copy(a->ended, ended ? json_object_get_string(ended) : "");
	a->earlier_ms = json_object_get_int64(json_at(doc, "sweep/elapsed_ms"));
	r = sweep_new(plan, &a->sweep);
	if (r == 0)
		r = store_list_cells(store, id, rows);
	for (size_t i = 0; r == 0 && i < json_object_array_length(rows); i++)
		r = sweep_restore(a->sweep, json_object_array_get_idx(rows, i));
	return r;
}

static int load(struct sweeper *sw, const char *id, struct active **ret, struct fault *reterr)
{
	_cleanup_(active_freep) struct active *a = calloc(1, sizeof(*a));
	_cleanup_json_ json_object *doc = NULL;
	struct store *store;
	int r = a ? stored(sw, id, &store, &doc) : -ENOMEM;

	if (r == 0)
		r = load_from(store, id, doc, a);
	if (r == 0)
		a->in_memory = store == sw->memory;
	if (r == -ENOENT)
		return fault_set(reterr, r, "no_such_sweep", "", "there is no sweep '%s'", id);
	if (r < 0)
		return fault_set(reterr, r, "store", "", "sweep %s cannot be read: %s", id, strerror(-r));
	*ret = TAKE_PTR(a);
	return 0;
}

int sweeper_resume(struct sweeper *sw, const char *id, uint32_t *ret_position, struct fault *reterr)
{
	_cleanup_(active_freep) struct active *a = NULL;
	uint32_t position = 0;
	int r;

	for (struct active *known = sw->list; known; known = known->next, position++)
		if (str_eq(known->id, id) && !known->over) {
			*ret_position = position;
			return 0;
		}
	r = load(sw, id, &a, reterr);
	*ret_position = 0;
	if (r < 0 || str_eq(a->state, "done"))
		return r;
	r = check_room(sw, reterr);
	if (r == 0 && take_orphans(sw, a) < 0)
		r = fault_set(reterr, -EIO, "store", "", "the runs of sweep %s cannot be read", id);
	if (r < 0)
		return r;
	*a->ended = 0;
	a->runs_at_resume = sweep_count(a->sweep).runs_done;
	*ret_position = under_way(sw);
	append(sw, TAKE_PTR(a));
	return 0;
}

int sweeper_cancel(struct sweeper *sw, const char *id, struct fault *reterr)
{
	struct active *a = find_active(sw, id);
	char run[RUN_ID_BYTES];
	const char *state;

	if (!a || a->over)
		return fault_set(reterr, -ESRCH, "not_running", "", "sweep %s has ended already", id);
	str_copy(run, a->run);
	end(sw, a, "cancelled");
	manager_tell(sw->manager);
	sweeper_settle(sw);
	if (*run)
		manager_cancel(sw->manager, run, &state, NULL);
	return 0;
}

/* ---- what is asked ---- */

int sweeper_find(struct sweeper *sw, const char *ident, char ret_id[SWEEP_ID_BYTES], struct fault *reterr)
{
	char on_disk[SWEEP_ID_BYTES] = "", in_memory[SWEEP_ID_BYTES] = "";
	uint64_t disk, memory;

	store_matches(sw, ident, on_disk, in_memory, &disk, &memory);
	/* a sweep of which the disk took only the beginning is in both; ids sort by time */
	if (disk == 1 && memory == 1 && (str_eq(on_disk, in_memory) || str_eq(ident, "last")))
		*(strcmp(on_disk, in_memory) <= 0 ? &disk : &memory) = 0;
	if (disk + memory > 1)
		return fault_set(reterr, -ENOENT, "no_such_sweep", "",
			"the ids of %" PRIu64 " sweeps begin with '%s': give more of it", disk + memory,
			ident);
	if (disk + memory == 0)
		return fault_set(reterr, -ENOENT, "no_such_sweep", "",
			str_eq(ident, "last") ? "there is no sweep yet" : "there is no sweep '%s'", ident);
	str_copy_n(ret_id, SWEEP_ID_BYTES, memory ? in_memory : on_disk);
	return 0;
}

bool sweeper_under_way(const struct sweeper *sw, const char *id)
{
	const struct active *a = find_active(sw, id);

	return a && !a->over;
}

/* The pace so far tells what is left; before the first run the plan does. */
static int64_t remaining_ms(const struct active *a, const struct sweep_counts *n)
{
	const struct spec *base = &sweep_plan(a->sweep)->base;
	int64_t here = a->since_ms ? clock_ms(CLOCK_MONOTONIC) - a->since_ms : 0;
	uint32_t done = n->runs_done - a->runs_at_resume, left = n->runs_expected - n->runs_done;
	int64_t each = done ? here / done : (int64_t)(base->warmup_ms + base->duration_ms) + OVERHEAD_MS;

	return left * each;
}

static int add_running(const struct sweeper *sw, const struct active *a, json_object *o)
{
	const char *state = *a->run ? manager_state(sw->manager, a->run) : NULL;
	json_object *place;
	int r;

	if (!state)
		return json_add_null(o, "running");
	place = json_object_new_object();
	r = place ? sweep_add_place(sweep_plan(a->sweep), a->cell, place) : -ENOMEM;
	if (r == 0)
		r = json_add_str(place, "run", a->run);
	if (r == 0)
		r = json_add_str(place, "run_state", state);
	if (r == 0)
		return json_add(o, "running", place);
	json_drop(place);
	return r;
}

json_object *sweeper_progress(const struct sweeper *sw, const char *id)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	const struct active *a = find_active(sw, id);
	struct sweep_counts n;
	uint32_t position = 0;

	if (!a)
		return NULL;
	n = sweep_count(a->sweep);
	for (const struct active *x = sw->list; x != a; x = x->next)
		position += !x->over;
	if (!o || json_add_str(o, "id", a->id) < 0 || json_add_str(o, "state", a->state) < 0 ||
		json_add_u64(o, "position", position) < 0 || json_add_u64(o, "cells", n.cells) < 0 ||
		json_add_u64(o, "cells_done", n.cells_done) < 0 ||
		json_add_u64(o, "runs_done", n.runs_done) < 0 ||
		json_add_u64(o, "runs_expected", n.runs_expected) < 0 ||
		json_add_u64(o, "round", a->round + 1) < 0 || add_running(sw, a, o) < 0 ||
		json_add_i64(o, "elapsed_ms", elapsed_ms(a)) < 0 ||
		json_add_i64(o, "remaining_ms", remaining_ms(a, &n)) < 0)
		return NULL;
	return TAKE_PTR(o);
}

json_object *sweeper_ended_cell(const struct sweeper *sw, const char *id, uint32_t i)
{
	const struct active *a = find_active(sw, id);
	uint32_t cell;

	return a && sweep_ended(a->sweep, i, &cell) ? sweep_row(a->sweep, cell, false) : NULL;
}

static int add_cells(json_object *doc, const struct sweep *sweep)
{
	_cleanup_json_ json_object *rows = json_object_new_array();

	for (uint32_t i = 0; rows && i < sweep_plan_cells(sweep_plan(sweep)); i++)
		if (json_push(rows, sweep_row(sweep, i, true)) < 0)
			return -ENOMEM;
	return json_add(doc, "cells", TAKE_PTR(rows));
}

int sweeper_document(struct sweeper *sw, const char *id, bool cells, json_object **ret, struct fault *reterr)
{
	_cleanup_(active_freep) struct active *loaded = NULL;
	_cleanup_json_ json_object *doc = NULL;
	const struct active *a = find_active(sw, id);
	int r;

	if (!a) {
		r = load(sw, id, &loaded, reterr);
		if (r < 0)
			return r;
		a = loaded;
	}
	doc = document(a);
	if (!doc || (cells && add_cells(doc, a->sweep) < 0))
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	*ret = TAKE_PTR(doc);
	return 0;
}

static bool listed(json_object *summaries, json_object *one)
{
	const char *id = json_object_get_string(json_at(one, "id"));

	for (size_t i = 0; i < json_object_array_length(summaries); i++)
		if (str_eq(json_object_get_string(json_at(json_object_array_get_idx(summaries, i), "id")),
			    id))
			return true;
	return false;
}

static int newest_first(const void *a, const void *b)
{
	json_object *x = *(json_object *const *)a, *y = *(json_object *const *)b;

	return strcmp(
		json_object_get_string(json_at(y, "started")), json_object_get_string(json_at(x, "started")));
}

int sweeper_list(struct sweeper *sw, uint32_t limit, json_object **ret, struct fault *reterr)
{
	_cleanup_json_ json_object *docs = json_object_new_array(), *rows = json_object_new_array();
	int r = docs && rows ? store_list_sweeps(sw->memory, limit, docs) : -ENOMEM;

	if (r == 0 && sw->disk)
		r = store_list_sweeps(sw->disk, limit, docs);
	for (size_t i = 0; r == 0 && i < json_object_array_length(docs); i++) {
		json_object *one = json_at(json_object_array_get_idx(docs, i), "sweep");

		if (one && !listed(rows, one))
			r = json_push(rows, json_object_get(one));
	}
	if (r < 0)
		return fault_set(
			reterr, r, "store", "", "the store of results cannot be read: %s", strerror(-r));
	json_object_array_sort(rows, newest_first);
	if (json_object_array_length(rows) > limit)
		json_object_array_del_idx(rows, limit, json_object_array_length(rows) - limit);
	*ret = TAKE_PTR(rows);
	return 0;
}

/* ---- the sweeper ---- */

int sweeper_new(struct manager *m, struct store *disk, struct store *memory, struct sweeper **ret)
{
	struct sweeper *sw = calloc(1, sizeof(*sw));

	if (!sw)
		return -ENOMEM;
	sw->manager = m;
	sw->disk = disk;
	sw->memory = memory;
	*ret = sw;
	return 0;
}

struct sweeper *sweeper_free(struct sweeper *sw)
{
	struct active *next;

	if (!sw)
		return NULL;
	for (struct active *a = sw->list; a; a = next) {
		next = a->next;
		active_free(a);
	}
	free(sw);
	return NULL;
}
