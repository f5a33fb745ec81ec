// SPDX-License-Identifier: MIT
/* The queue of runs and what becomes of them. */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "jsonx.h"
#include "log.h"
#include "manager.h"
#include "mode.h"
#include "observe.h"
#include "rfc3339.h"
#include "store.h"
#include "sweeper.h"
#include "totals.h"

#define RESULT_SCHEMA "copyledger/result/1"
#define MEMORY_RUNS 16 /* results kept without a state directory */
#define STOP_USEC (5 * 1000000ULL)
#define NS_PER_S 1000000000LL
/* A probe takes some 100 ms of the event loop: a crowd of clients that ask shares one. */
#define PROBE_FRESH_NS (2 * NS_PER_S)

struct job {
	struct job *next;
	char id[RUN_ID_BYTES];
	struct spec spec;
	struct run *run;            /* NULL while it waits */
	json_object *document;      /* what is known before it ran */
	int64_t queued_ns;          /* CLOCK_MONOTONIC */
	char sweep[SWEEP_ID_BYTES]; /* that it belongs to; "" : none */
	uint32_t cell;
};

struct manager {
	sd_event *event;
	const struct run_ops *ops;
	char *loadgen, *state_dir;
	struct limits limits;
	struct store *disk, *memory; /* disk: NULL if it cannot be used; memory takes what disk does not */
	struct job *jobs;            /* the first one runs, the others wait */
	struct sweeper *sweeper;
	struct watch *watches;
	sd_event_source *turn;   /* ends a run outside its own callback, and starts the next one */
	sd_event_source *giveup; /* the last moment of a stop */
	json_object *ended;      /* the document of the run whose end is being told, borrowed */
	json_object *warnings, *probe;
	int64_t started_ns, probe_ns; /* CLOCK_MONOTONIC */
	int64_t started_wall_ns;      /* CLOCK_REALTIME */
	bool stopping;
	struct totals totals;
	struct observers observers;
	unsigned int clients;
};

static int64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static struct job *job_free(struct job *job, const struct run_ops *ops)
{
	ops->free(job->run);
	json_drop(job->document);
	free(job);
	return NULL;
}

static struct job *find_job(const struct manager *m, const char *id, uint64_t *ret_position)
{
	uint64_t position = 0;

	for (struct job *job = m->jobs; job; job = job->next, position++)
		if (str_eq(job->id, id)) {
			if (ret_position)
				*ret_position = position;
			return job;
		}
	return NULL;
}

static void unlink_job(struct manager *m, struct job *job)
{
	for (struct job **at = &m->jobs; *at; at = &(*at)->next)
		if (*at == job) {
			*at = job->next;
			return;
		}
}

static uint64_t waiting(const struct manager *m)
{
	uint64_t n = 0;

	for (struct job *job = m->jobs; job; job = job->next)
		n += !job->run;
	return n;
}

/* ---- watches ---- */

void manager_watch(struct manager *m, struct watch *w)
{
	w->next = m->watches;
	m->watches = w;
}

void manager_unwatch(struct manager *m, struct watch *w)
{
	for (struct watch **at = &m->watches; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			return;
		}
}

void manager_tell(struct manager *m)
{
	struct watch *next;

	for (struct watch *w = m->watches; w; w = next) {
		next = w->next;
		w->changed(w);
	}
}

void manager_say_status(const struct manager *m)
{
	const struct job *job = m->jobs;
	unsigned int n = observe_count(&m->observers);
	char watches[32] = "";

	if (n)
		snprintf(watches, sizeof(watches), "; %u watch%s", n, n == 1 ? "" : "es");
	if (job && job->run)
		sd_notifyf(0, "STATUS=run %s%s%s: %s over %s, %" PRIu64 " B x %u; %" PRIu64 " waiting%s",
			job->id, *job->sweep ? " of sweep " : "", job->sweep, job->spec.mode, job->spec.path,
			job->spec.size, job->spec.threads, waiting(m), watches);
	else
		sd_notifyf(0, "STATUS=idle%s", watches);
}

/* ---- documents ---- */

static int add_moment(json_object *obj, const char *name)
{
	char text[RFC3339_TEXT];

	return json_add_str(obj, name, rfc3339_format(text, now_ns(CLOCK_REALTIME)));
}

static json_object *new_document(const char *id, const struct spec *spec)
{
	_cleanup_json_ json_object *doc = json_object_new_object();

	if (!doc || json_add_str(doc, "schema", RESULT_SCHEMA) < 0 || json_add_str(doc, "id", id) < 0 ||
		add_moment(doc, "started") < 0 || json_add_null(doc, "ended") < 0 ||
		json_add_str(doc, "state", "queued") < 0 || json_add(doc, "spec", spec_to_json(spec)) < 0 ||
		json_add_null(doc, "host") < 0 || json_add_null(doc, "host_changed") < 0 ||
		json_add(doc, "warnings", json_object_new_array()) < 0)
		return NULL;
	return TAKE_PTR(doc);
}

/* Without memory the document lacks what could not be added; its state is what matters. */
static void end_document(json_object *doc, const char *state, const struct fault *fault)
{
	json_object *error = fault ? json_object_new_object() : NULL;

	json_add_str(doc, "state", state);
	add_moment(doc, "ended");
	if (!error)
		return;
	json_add_str(error, "code", fault->code);
	json_add_str(error, "message", fault->text);
	json_add_null(error, "signal");
	json_add(doc, "error", error);
}

static void add_warning(json_object *doc, const char *code, const char *message)
{
	json_object *warnings = json_at(doc, "warnings"), *warning = json_object_new_object();

	if (!json_object_is_type(warnings, json_type_array) || !warning) {
		json_object_put(warning);
		return;
	}
	json_add_str(warning, "code", code);
	json_add_str(warning, "message", message);
	json_push(warnings, warning);
}

/* Disk if it takes the row, else memory. An ended run says in its document where it is not. */
static void keep(struct manager *m, json_object *doc, bool ended)
{
	struct fault fault = {
		.text = "there is no usable state directory: the result is kept in memory only"};
	int r = m->disk ? store_put(m->disk, doc, &fault) : -ENODEV;

	if (r == 0) {
		/* an earlier state of it may have found the disk full */
		store_delete(m->memory, json_object_get_string(json_at(doc, "id")));
		return;
	}
	if (ended)
		add_warning(doc, "not_stored", fault.text);
	m->totals.not_stored += ended && m->disk;
	if (m->disk)
		log_run(LOG_WARNING, json_object_get_string(json_at(doc, "id")), "going on: %s", fault.text);
	r = store_put(m->memory, doc, &fault);
	if (r < 0)
		log_run(LOG_ERR, json_object_get_string(json_at(doc, "id")), "%s", fault.text);
}

/* ---- the course of a run ---- */

/* Where a run belongs; without memory the document lacks it, the sweep knows its run all the same. */
static void add_sweep(json_object *doc, const struct job *job)
{
	json_object *place = *job->sweep ? json_object_new_object() : NULL;

	if (!place)
		return;
	json_add_str(place, "id", job->sweep);
	json_add_u64(place, "cell", job->cell);
	json_add(doc, "sweep", place);
}

static void end_job(struct manager *m, struct job *job, json_object *doc)
{
	json_object_get(doc);
	add_sweep(doc, job);
	keep(m, doc, true);
	totals_add_run(&m->totals, doc);
	unlink_job(m, job);
	log_run(LOG_INFO, job->id, "%s", json_object_get_string(json_at(doc, "state")));
	job_free(job, m->ops);
	sweeper_run_ended(m->sweeper, doc);
	m->ended = doc;
	manager_tell(m);
	m->ended = json_drop(doc);
	sweeper_settle(m->sweeper);
}

static void take_turn(struct manager *m)
{
	sd_event_source_set_enabled(m->turn, SD_EVENT_ONESHOT);
}

static void run_changed(struct run *run, void *userdata)
{
	struct manager *m = userdata;

	if (m->ops->finished(run))
		take_turn(m);
	else
		manager_tell(m);
}

static int start_job(struct manager *m, struct job *job, struct fault *reterr)
{
	int r;

	json_add_str(job->document, "state", "running");
	add_moment(job->document, "started");
	keep(m, job->document, false);
	r = m->ops->start(m->event, m->loadgen, job->id, &job->spec, run_changed, m, &job->run, reterr);
	if (r < 0)
		return r;
	log_run(LOG_INFO, job->id, "%s over %s, %s, %" PRIu64 " B x %u, %" PRIu64 " ms", job->spec.mode,
		job->spec.path, job->spec.workload, job->spec.size, job->spec.threads, job->spec.duration_ms);
	manager_say_status(m);
	return 0;
}

static void end_run(struct manager *m, struct job *job)
{
	static const struct fault lost = {.code = "no_result", .text = "the result could not be made"};
	json_object *doc = m->ops->result(job->run);

	if (!doc) {
		doc = job->document;
		end_document(doc, "failed", &lost);
	}
	end_job(m, job, doc);
	malloc_trim(0); /* an idle daemon stays small */
}

static int on_turn(sd_event_source *source, void *userdata)
{
	struct manager *m = userdata;
	struct job *job = m->jobs;
	struct fault fault = {0};

	if (job && job->run && m->ops->finished(job->run))
		end_run(m, job);
	for (job = m->jobs; job && !job->run; job = m->jobs) {
		if (start_job(m, job, &fault) == 0) {
			manager_tell(m);
			break;
		}
		end_document(job->document, "failed", &fault);
		end_job(m, job, job->document);
		if (m->jobs) { /* a sweep whose runs all fail leaves the loop to others in between */
			take_turn(m);
			return 0;
		}
	}
	if (m->jobs)
		return 0;
	manager_say_status(m);
	return m->stopping ? sd_event_exit(m->event, 0) : 0;
}

/* ---- what clients ask ---- */

/* Sortable by time; the random part tells runs of one second apart. */
static int new_id(struct manager *m, char ret[RUN_ID_BYTES])
{
	char found[RUN_ID_BYTES];

	for (int try = 0; try < 64; try++) {
		time_t now = time(NULL);
		uint64_t matches = 0;
		uint16_t random;
		struct tm tm;
		size_t n;

		if (getrandom(&random, sizeof(random), 0) < 0)
			return -errno;
		n = strftime(ret, RUN_ID_BYTES, "%Y%m%d-%H%M%S", gmtime_r(&now, &tm));
		snprintf(ret + n, RUN_ID_BYTES - n, "-%04x", random);
		store_find(m->memory, ret, found, sizeof(found), &matches);
		if (matches == 0 && m->disk)
			store_find(m->disk, ret, found, sizeof(found), &matches);
		if (matches == 0)
			return 0;
	}
	return -EEXIST;
}

static int new_job(struct manager *m, const struct spec *spec, struct job **ret)
{
	_cleanup_(freep) struct job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	r = new_id(m, job->id);
	if (r < 0)
		return r;
	job->spec = *spec;
	job->queued_ns = now_ns(CLOCK_MONOTONIC);
	job->document = new_document(job->id, spec);
	if (!job->document)
		return -ENOMEM;
	*ret = TAKE_PTR(job);
	return 0;
}

static uint64_t append_job(struct manager *m, struct job *job)
{
	struct job **at = &m->jobs;
	uint64_t position = 0;

	for (; *at; at = &(*at)->next)
		position++;
	*at = job;
	return position;
}

static void forget_job(struct manager *m, struct job *job)
{
	unlink_job(m, job);
	store_delete(m->memory, job->id);
	if (m->disk)
		store_delete(m->disk, job->id);
	job_free(job, m->ops);
}

int manager_submit(struct manager *m, const struct spec *spec, char ret_id[RUN_ID_BYTES],
	uint64_t *ret_position, struct fault *reterr)
{
	struct job *job = NULL;
	int r;

	if (m->stopping)
		return fault_set(reterr, -ESHUTDOWN, "stopping", "",
			"the daemon is about to end and takes no more runs");
	if (m->jobs && waiting(m) >= m->limits.run_queue)
		return fault_set(reterr, -EBUSY, "queue_full", "",
			"%" PRIu64
			" runs are waiting already, no more are taken: try again when one has ended",
			m->limits.run_queue);
	if (m->jobs && spec->pair.role)
		return fault_set(reterr, -EBUSY, "busy", "",
			"run %s is first in this daemon's queue, and a run of two hosts cannot wait: try "
			"again later",
			m->jobs->id);
	r = new_job(m, spec, &job);
	if (r < 0)
		return fault_set(reterr, r, "no_job", "", "cannot queue a run: %s", strerror(-r));
	*ret_position = append_job(m, job);
	r = 0;
	if (*ret_position == 0)
		r = start_job(m, job, reterr);
	else
		keep(m, job->document, false);
	if (r < 0) {
		forget_job(m, job);
		return r;
	}
	str_copy_n(ret_id, RUN_ID_BYTES, job->id);
	return 0;
}

int manager_submit_cell(struct manager *m, const struct spec *spec, const char *sweep, uint32_t cell,
	char ret_id[RUN_ID_BYTES], struct fault *reterr)
{
	struct job *job = NULL;
	int r = new_job(m, spec, &job);

	if (r < 0)
		return fault_set(reterr, r, "no_job", "", "cannot queue a run: %s", strerror(-r));
	str_copy(job->sweep, sweep);
	job->cell = cell;
	add_sweep(job->document, job);
	append_job(m, job);
	keep(m, job->document, false);
	take_turn(m);
	str_copy_n(ret_id, RUN_ID_BYTES, job->id);
	return 0;
}

struct sweeper *manager_sweeper(struct manager *m)
{
	return m->sweeper;
}

bool manager_stopping(const struct manager *m)
{
	return m->stopping;
}

static void cancel_waiting(struct manager *m, struct job *job)
{
	end_document(job->document, "cancelled", NULL);
	end_job(m, job, job->document);
}

int manager_cancel(struct manager *m, const char *id, const char **ret_state, struct fault *reterr)
{
	struct job *job = find_job(m, id, NULL);

	if (!job)
		return fault_set(reterr, -ESRCH, "not_running", "", "run %s has ended already", id);
	if (!job->run) {
		cancel_waiting(m, job);
		*ret_state = "cancelled";
		return 0;
	}
	m->ops->cancel(job->run);
	*ret_state = m->ops->state(job->run);
	return 0;
}

int manager_continue(struct manager *m, const char *id, const char **ret_state, struct fault *reterr)
{
	struct job *job = find_job(m, id, NULL);

	if (!job || !job->run)
		return fault_set(reterr, -ESRCH, "not_running", "", "run %s is not under way", id);
	if (m->ops->go_on(job->run) < 0)
		return fault_set(reterr, -EAGAIN, "not_waiting", "", "run %s is %s and waits for nobody", id,
			m->ops->state(job->run));
	*ret_state = m->ops->state(job->run);
	return 0;
}

static int no_such_run(const char *ident, uint64_t matches, struct fault *reterr)
{
	if (matches)
		return fault_set(reterr, -ENOENT, "no_such_run", "",
			"the ids of %" PRIu64 " runs begin with '%s': give more of it", matches, ident);
	if (str_eq(ident, "last"))
		return fault_set(reterr, -ENOENT, "no_such_run", "", "there is no run yet");
	return fault_set(reterr, -ENOENT, "no_such_run", "", "there is no run '%s'", ident);
}

int manager_find(struct manager *m, const char *ident, char ret_id[RUN_ID_BYTES], struct fault *reterr)
{
	char on_disk[RUN_ID_BYTES] = "", in_memory[RUN_ID_BYTES] = "";
	uint64_t disk = 0, memory = 0;
	int r;

	r = store_find(m->memory, ident, in_memory, sizeof(in_memory), &memory);
	if (r == 0 && m->disk)
		r = store_find(m->disk, ident, on_disk, sizeof(on_disk), &disk);
	if (r < 0)
		return fault_set(
			reterr, r, "store", "", "the store of results cannot be read: %s", strerror(-r));
	/* a row of which the disk took only the beginning is in both; ids sort by time, so the later "last"
	 * is the greater */
	if (disk == 1 && memory == 1 && (str_eq(on_disk, in_memory) || str_eq(ident, "last")))
		*(strcmp(on_disk, in_memory) <= 0 ? &disk : &memory) = 0;
	if (disk + memory != 1)
		return no_such_run(ident, disk + memory, reterr);
	str_copy_n(ret_id, RUN_ID_BYTES, memory ? in_memory : on_disk);
	return 0;
}

const char *manager_running(const struct manager *m)
{
	return m->jobs && m->jobs->run ? m->jobs->id : NULL;
}

const char *manager_state(const struct manager *m, const char *id)
{
	const struct job *job = find_job(m, id, NULL);

	if (!job)
		return NULL;
	return job->run ? m->ops->state(job->run) : "queued";
}

/* Nothing but its place can be said of a run that waits. */
static json_object *waiting_progress(const struct job *job, uint64_t position)
{
	_cleanup_json_ json_object *obj = json_object_new_object();
	int64_t waited = now_ns(CLOCK_MONOTONIC) - job->queued_ns;

	if (!obj || json_add_str(obj, "id", job->id) < 0 || json_add_str(obj, "state", "queued") < 0 ||
		json_add_u64(obj, "position", position) < 0 ||
		json_add_i64(obj, "elapsed_ms", waited / 1000000) < 0 ||
		json_add_u64(obj, "remaining_ms", job->spec.warmup_ms + job->spec.duration_ms) < 0 ||
		json_add_u64(obj, "bytes", 0) < 0 || json_add_u64(obj, "messages", 0) < 0 ||
		json_add_double(obj, "throughput_gbps", 0) < 0)
		return NULL;
	return TAKE_PTR(obj);
}

json_object *manager_progress(const struct manager *m, const char *id)
{
	uint64_t position;
	const struct job *job = find_job(m, id, &position);

	if (!job)
		return NULL;
	return job->run ? m->ops->progress(job->run) : waiting_progress(job, position);
}

json_object *manager_trace(const struct manager *m, const char *id)
{
	const struct job *job = find_job(m, id, NULL);

	return job && job->run ? m->ops->trace(job->run) : NULL;
}

int manager_document(struct manager *m, const char *id, json_object **ret, struct fault *reterr)
{
	const struct job *job = find_job(m, id, NULL);
	const char *ended = json_object_get_string(json_at(m->ended, "id"));
	int r;

	if (job || (ended && str_eq(ended, id))) {
		*ret = json_object_get(job ? job->document : m->ended);
		return 0;
	}
	r = store_get(m->memory, id, ret);
	if (r == -ENOENT && m->disk)
		r = store_get(m->disk, id, ret);
	if (r == -ENOENT)
		return no_such_run(id, 0, reterr);
	if (r < 0)
		return fault_set(
			reterr, r, "store", "", "the result of run %s cannot be read: %s", id, strerror(-r));
	return 0;
}

/* ---- lists ---- */

static const char *text_of(json_object *summary, const char *name)
{
	return json_object_get_string(json_at(summary, name));
}

/* Newest first; of two rows of a run the one from memory stays in front, since the sort of few rows is by
 * insertion. */
static int later_first(const void *a, const void *b)
{
	json_object *x = *(json_object *const *)a, *y = *(json_object *const *)b;
	int r = strcmp(text_of(y, "started"), text_of(x, "started"));

	return r ? r : strcmp(text_of(y, "id"), text_of(x, "id"));
}

/* Rows of memory that the disk has too are dropped from behind, then what is over the limit. */
static void merge(json_object *rows, size_t from_memory, uint32_t limit)
{
	for (size_t i = json_object_array_length(rows); i-- > from_memory;)
		for (size_t j = 0; j < from_memory; j++)
			if (str_eq(text_of(json_object_array_get_idx(rows, i), "id"),
				    text_of(json_object_array_get_idx(rows, j), "id"))) {
				json_object_array_del_idx(rows, i, 1);
				break;
			}
	if (from_memory > 0)
		json_object_array_sort(rows, later_first);
	if (json_object_array_length(rows) > limit)
		json_object_array_del_idx(rows, limit, json_object_array_length(rows) - limit);
}

/* The store knows of a living run only that it waits or runs; wanted: drop those in another state than this.
 */
static void refresh_states(const struct manager *m, json_object *rows, const char *wanted)
{
	for (size_t i = json_object_array_length(rows); m->jobs && i-- > 0;) {
		json_object *row = json_object_array_get_idx(rows, i);
		const char *state = manager_state(m, text_of(row, "id"));

		if (state && wanted && !str_eq(state, wanted))
			json_object_array_del_idx(rows, i, 1);
		else if (state)
			json_add_str(row, "state", state);
	}
}

/* States of the one run that is under way, which the store has as "running". */
static bool is_phase(const char *state)
{
	static const char *const phases[] = {
		"starting", "connected", "warmup", "ready", "measuring", "closing"};

	for (size_t i = 0; state && i < ARRAY_SIZE(phases); i++)
		if (str_eq(state, phases[i]))
			return true;
	return false;
}

int manager_list(
	struct manager *m, const struct store_filter *filter, json_object **ret, struct fault *reterr)
{
	_cleanup_json_ json_object *rows = json_object_new_array();
	struct store_filter stored = *filter;
	bool phase = is_phase(filter->state);
	size_t from_memory = 0;
	int r;

	if (phase)
		stored.state = "running";
	r = rows ? store_list(m->memory, &stored, rows) : -ENOMEM;
	if (r == 0) {
		from_memory = json_object_array_length(rows);
		r = m->disk ? store_list(m->disk, &stored, rows) : 0;
	}
	if (r < 0)
		return fault_set(
			reterr, r, "store", "", "the store of results cannot be read: %s", strerror(-r));
	merge(rows, from_memory, filter->limit);
	refresh_states(m, rows, phase ? filter->state : NULL);
	*ret = TAKE_PTR(rows);
	return 0;
}

/* ---- GetInfo, GetTotals, Probe ---- */

static uint64_t stored(const struct manager *m)
{
	uint64_t memory = 0, disk = 0;

	store_count(m->memory, &memory);
	if (m->disk)
		store_count(m->disk, &disk);
	return memory + disk;
}

json_object *manager_info(const struct manager *m)
{
	_cleanup_json_ json_object *obj = json_object_new_object();
	const char *running = manager_running(m);

	if (!obj || json_add_str(obj, "version", COPYLEDGER_VERSION) < 0 ||
		json_add_str(obj, "interface", "io.copyledger") < 0 ||
		json_add_u64(obj, "pid", getpid()) < 0 ||
		json_add_i64(obj, "uptime_ms", (now_ns(CLOCK_MONOTONIC) - m->started_ns) / 1000000) < 0 ||
		json_add_str(obj, "state",
			m->stopping ? "stopping"
			: running   ? "running"
				    : "idle") < 0 ||
		json_add_str(obj, "running", running) < 0 || json_add_u64(obj, "queued", waiting(m)) < 0 ||
		json_add_u64(obj, "stored", stored(m)) < 0 ||
		json_add_str(obj, "state_directory", manager_state_dir(m)) < 0 ||
		json_add(obj, "limits", limits_to_json(&m->limits)) < 0 ||
		json_add(obj, "warnings", json_object_get(m->warnings)) < 0)
		return NULL;
	return TAKE_PTR(obj);
}

static json_object *runs_json(const struct manager *m)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	const struct totals *t = &m->totals;

	if (!o || json_add_u64(o, "queued", waiting(m)) < 0 ||
		json_add_u64(o, "running", manager_running(m) ? 1 : 0) < 0 ||
		json_add_u64(o, "done", t->done) < 0 || json_add_u64(o, "failed", t->failed) < 0 ||
		json_add_u64(o, "cancelled", t->cancelled) < 0)
		return NULL;
	return TAKE_PTR(o);
}

static int add_accounts(struct manager *m, json_object *obj)
{
	json_object *accounts = json_object_new_array(), *watches = json_object_new_array();
	struct account seen = {};

	if (json_add(obj, "accounts", accounts) < 0 || json_add(obj, "watches", watches) < 0 ||
		observe_totals(&m->observers, &seen, watches) < 0 ||
		json_push(accounts, account_json("runs", &m->totals.runs)) < 0 ||
		json_push(accounts, account_json("watches", &seen)) < 0)
		return -ENOMEM;
	return 0;
}

json_object *manager_totals(struct manager *m)
{
	_cleanup_json_ json_object *obj = json_object_new_object();
	struct utsname kernel = {};

	uname(&kernel);
	if (!obj || json_add_str(obj, "version", COPYLEDGER_VERSION) < 0 ||
		json_add_str(obj, "kernel", kernel.release) < 0 ||
		json_add_i64(obj, "started_ns", m->started_wall_ns) < 0 ||
		json_add(obj, "runs", runs_json(m)) < 0 ||
		json_add(obj, "sweeps", sweeper_totals(m->sweeper)) < 0 || add_accounts(m, obj) < 0 ||
		json_add_u64(obj, "runs_without_ledger", m->totals.without_ledger) < 0 ||
		json_add_u64(obj, "runs_not_stored", m->totals.not_stored) < 0 ||
		json_add_u64(obj, "stored", stored(m)) < 0 ||
		json_add_bool(obj, "stored_on_disk", m->disk) < 0 ||
		json_add_u64(obj, "clients", m->clients) < 0 ||
		json_add(obj, "limits", limits_to_json(&m->limits)) < 0)
		return NULL;
	return TAKE_PTR(obj);
}

struct observers *manager_observers(struct manager *m)
{
	return &m->observers;
}

void manager_count_clients(struct manager *m, unsigned int clients)
{
	m->clients = clients;
}

static json_object *probe_mode(const char *name, const char *summary, int (*probe)(void))
{
	_cleanup_json_ json_object *obj = json_object_new_object();
	int r = probe ? probe() : 0;

	if (!obj || json_add_str(obj, "name", name) < 0 || json_add_str(obj, "summary", summary) < 0 ||
		json_add_bool(obj, "available", r >= 0) < 0 ||
		json_add_str(obj, "reason", r < 0 ? strerror(-r) : NULL) < 0)
		return NULL;
	return TAKE_PTR(obj);
}

static json_object *probe_modes(void)
{
	_cleanup_json_ json_object *modes = json_object_new_array();

	for (size_t i = 0; modes && transfer_modes[i]; i++) {
		const struct transfer_mode *m = transfer_modes[i];

		if (json_push(modes, probe_mode(m->name, m->summary, m->probe)) < 0)
			return NULL;
	}
	return TAKE_PTR(modes);
}

static json_object *probe_receivers(void)
{
	_cleanup_json_ json_object *modes = json_object_new_array();

	for (size_t i = 0; modes && receive_modes[i]; i++) {
		const struct receive_mode *m = receive_modes[i];

		if (json_push(modes, probe_mode(m->name, m->summary, m->probe)) < 0)
			return NULL;
	}
	return TAKE_PTR(modes);
}

static int probe_now(const struct manager *m, json_object **ret)
{
	_cleanup_json_ json_object *obj = json_object_new_object(), *sites = NULL, *hooks = NULL,
				   *summary = NULL;
	int r;

	r = m->ops->ledger_probe(&sites, &hooks, &summary);
	if (r < 0)
		return r;
	if (!obj || json_add(obj, "sites", TAKE_PTR(sites)) < 0 ||
		json_add(obj, "hooks", TAKE_PTR(hooks)) < 0 || json_add(obj, "modes", probe_modes()) < 0 ||
		json_add(obj, "receivers", probe_receivers()) < 0 ||
		json_add(obj, "events", m->ops->perf_probe()) < 0 ||
		json_add(obj, "host", m->ops->host_snapshot()) < 0 ||
		json_add(obj, "summary", TAKE_PTR(summary)) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(obj);
	return 0;
}

int manager_probe(struct manager *m, json_object **ret, struct fault *reterr)
{
	const char *running = manager_running(m);
	json_object *fresh = NULL;
	int r;

	if (running && !m->probe)
		return fault_set(reterr, -EBUSY, "busy", "",
			"run %s is measuring and a probe would disturb it: try again when it has ended",
			running);
	if (!running && (!m->probe || now_ns(CLOCK_MONOTONIC) - m->probe_ns >= PROBE_FRESH_NS)) {
		r = probe_now(m, &fresh);
		if (r < 0)
			return fault_set(reterr, r, "probe", "", "the probe failed: %s", strerror(-r));
		json_drop(m->probe);
		m->probe = fresh;
		m->probe_ns = now_ns(CLOCK_MONOTONIC);
	}
	*ret = json_object_get(m->probe);
	return 0;
}

const char *manager_loadgen(const struct manager *m)
{
	return m->loadgen;
}

/* ---- start and end ---- */

sd_event *manager_event(struct manager *m)
{
	return m->event;
}

const char *manager_state_dir(const struct manager *m)
{
	return m->disk ? m->state_dir : NULL;
}

const struct limits *manager_limits(const struct manager *m)
{
	return &m->limits;
}

void manager_set_limits(struct manager *m, const struct limits *limits)
{
	m->limits = *limits;
	if (m->disk)
		store_keep(m->disk, limits->results_max);
}

static void warn(struct manager *m, const char *text)
{
	json_push(m->warnings, json_object_new_string(text));
}

static int open_stores(struct manager *m, struct fault *reterr)
{
	struct fault fault;
	int r;

	r = store_open_memory(MEMORY_RUNS, &m->memory, reterr);
	if (r < 0)
		return r;
	r = m->state_dir ? store_open(m->state_dir, &m->disk, &fault)
			 : fault_set(&fault, -ENODEV, "state_directory", "", "no state directory was given");
	if (r < 0) {
		char text[sizeof(fault.text) + 80];

		snprintf(text, sizeof(text), "%s; going on with the last %u results in memory only",
			fault.text, MEMORY_RUNS);
		log_warning("%s", text);
		warn(m, text);
		return 0;
	}
	store_keep(m->disk, m->limits.results_max);
	for (size_t i = 0; i < json_object_array_length(store_notes(m->disk)); i++)
		warn(m, json_object_get_string(json_object_array_get_idx(store_notes(m->disk), i)));
	return 0;
}

static int set_up(struct manager *m, const struct manager_config *config, struct fault *reterr)
{
	int r;

	m->loadgen = strdup(config->loadgen);
	m->state_dir = config->state_dir ? strdup(config->state_dir) : NULL;
	m->warnings = json_object_new_array();
	if (!m->loadgen || !m->warnings || (config->state_dir && !m->state_dir))
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	r = sd_event_add_defer(m->event, &m->turn, on_turn, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(m->turn, SD_EVENT_OFF);
	if (r < 0)
		return fault_set(reterr, r, "event", "", "cannot set up the event loop: %s", strerror(-r));
	r = open_stores(m, reterr);
	if (r < 0)
		return r;
	r = sweeper_new(m, m->disk, m->memory, &m->sweeper);
	return r < 0 ? fault_set(reterr, r, "no_memory", "", "out of memory") : 0;
}

int manager_new(sd_event *event, const struct run_ops *ops, const struct manager_config *config,
	struct manager **ret, struct fault *reterr)
{
	_cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	m->event = sd_event_ref(event);
	m->ops = ops;
	m->limits = config->limits;
	m->started_ns = now_ns(CLOCK_MONOTONIC);
	m->started_wall_ns = now_ns(CLOCK_REALTIME);
	r = set_up(m, config, reterr);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(m);
	return 0;
}

struct manager *manager_free(struct manager *m)
{
	struct job *next;

	if (!m)
		return NULL;
	for (struct job *job = m->jobs; job; job = next) {
		next = job->next;
		job_free(job, m->ops);
	}
	sd_event_source_disable_unref(m->turn);
	sd_event_source_disable_unref(m->giveup);
	sweeper_free(m->sweeper);
	store_close(m->disk);
	store_close(m->memory);
	json_drop(m->warnings);
	json_drop(m->probe);
	free(m->loadgen);
	free(m->state_dir);
	sd_event_unref(m->event);
	free(m);
	return NULL;
}

static int on_giveup(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;

	log_run(LOG_WARNING, m->jobs ? m->jobs->id : "", "does not end, going on: it is killed");
	return sd_event_exit(m->event, 0);
}

void manager_stop(struct manager *m)
{
	if (m->stopping)
		return;
	m->stopping = true;
	sweeper_stop(m->sweeper);
	manager_tell(m);
	sweeper_settle(m->sweeper);
	while (waiting(m) > 0)
		for (struct job *job = m->jobs; job; job = job->next)
			if (!job->run) {
				cancel_waiting(m, job);
				break;
			}
	if (m->jobs)
		m->ops->cancel(m->jobs->run);
	else
		take_turn(m);
	sd_event_add_time_relative(m->event, &m->giveup, CLOCK_MONOTONIC, STOP_USEC, 0, on_giveup, m);
}
