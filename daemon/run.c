// SPDX-License-Identifier: MIT
/* The course of a measuring run: a table of what each message of the child leads to, and the end of it all.
 */
#include "run.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "child.h"
#include "host.h"
#include "jsonx.h"
#include "ledger.h"
#include "mode.h"
#include "perf.h"
#include "result.h"

#define NS_PER_MS 1000000ULL
#define TICK_MS 250
#define CLOSE_POLL_MS 5
#define CLOSE_WAIT_MS 2000
#define PHASE_GRACE_MS 15000 /* a phase may take its own time and this much more */
#define STALL_MS 5000        /* and more as long as bytes move: above what the load generator waits for one */
/* MSG_ZEROCOPY sends on their way in a lane, at most: the ring's messages, each of which may take a few
 * calls. */
#define ZC_SENDS_PER_LANE 32768U
#define ZC_SENDS_MAX (1U << 20)

enum run_phase {
	PHASE_STARTING,
	PHASE_CONNECTED, /* of two hosts: until the other one is, too */
	PHASE_WARMUP,
	PHASE_READY, /* warmed up; the same */
	PHASE_MEASURING,
	PHASE_CLOSING,
	PHASE_DONE,
	PHASE_FAILED,
	PHASE_CANCELLED
};
static const char *const phase_names[] = {
	"starting", "connected", "warmup", "ready", "measuring", "closing", "done", "failed", "cancelled"};

struct run {
	char id[40];
	struct spec spec;
	enum run_phase phase;
	sd_event *event;
	run_changed_fn changed;
	void *userdata;

	struct child *child;
	struct ledger *ledger;
	struct perf *perf;
	char no_ledger[400], no_perf[200], no_times[400];
	uint64_t cpu_before; /* of the child, when the ledger was opened */
	uint32_t registered;
	bool books_read, cancelled, window_begun, measured, timed;
	bool killed;        /* by its cancelling: a child that connects does not listen yet */
	struct books books; /* final */
	struct hook_cost hooks[LEDGER_HOOKS_MAX];
	size_t n_hooks;
	struct call_path *paths; /* as of the last look */
	int n_paths;
	struct site_status site[SITE_MAX];
	char tier[16];

	sd_event_source *tick, *limit, *closing;
	uint64_t started_wall, ended_wall, started_mono, window_end, phase_since;
	uint64_t close_deadline;
	struct fault fault;
	const char *signal;
	json_object *host_before, *host_after, *warnings, *result;
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void warn(struct run *r, const char *code, const char *message)
{
	json_object *o = json_object_new_object();

	json_add_str(o, "code", code);
	json_add_str(o, "message", message);
	json_push(r->warnings, o);
}

/* ---- the end ---- */

static void read_paths(struct run *r)
{
	struct call_path *paths;
	int n = ledger_call_paths(r->ledger, &paths);

	if (n < 0)
		return;
	free(r->paths);
	r->paths = paths;
	r->n_paths = n;
}

static void read_books(struct run *r)
{
	if (!r->ledger || r->books_read)
		return;
	r->books_read = ledger_read(r->ledger, &r->books) >= 0;
	if (!r->books_read)
		str_copy(r->no_ledger, "the books could not be read from the kernel");
	r->n_hooks = ledger_hooks(r->ledger, r->hooks, LEDGER_HOOKS_MAX);
	read_paths(r);
}

/* Whether the kernel measures all BPF programs anyway, as a snapshot of the host says. */
static bool stats_on(json_object *host)
{
	return json_object_get_int(json_at(host, "sysctl/kernel.bpf_stats_enabled")) == 1;
}

static struct run_facts facts_of(struct run *r, const struct books *books)
{
	bool by_sysctl = stats_on(r->host_before) && stats_on(r->host_after);
	struct run_facts f = {.id = r->id,
		.state = phase_names[r->phase],
		.spec = &r->spec,
		.shm = r->child ? child_shm(r->child) : NULL,
		.before_window = run_finished(r) && !r->window_begun,
		.started_ns = r->started_wall,
		.ended_ns = r->ended_wall,
		.window_end_ns = r->window_end,
		.fault = r->fault.error ? &r->fault : NULL,
		.signal = r->signal,
		.books = books,
		.no_ledger = r->no_ledger,
		.tier = r->tier,
		.hooks = r->hooks,
		.n_hooks = r->n_hooks,
		.timed = r->n_hooks && (r->timed || by_sysctl),
		.no_times = r->n_hooks ? r->no_times : r->no_ledger,
		.sockets_registered = r->registered,
		.paths = r->paths,
		.n_paths = r->n_paths,
		.perf = r->perf,
		.no_perf = r->no_perf,
		.host_before = r->host_before,
		.host_after = r->host_after,
		.warnings = r->warnings};

	if (r->n_hooks && r->child && child_cpu_ns(r->child) > r->cpu_before)
		f.load_cpu_ns = child_cpu_ns(r->child) - r->cpu_before;
	if (f.shm && f.shm->start_ns > r->started_mono && !f.before_window)
		f.connect_ns = f.shm->start_ns - r->started_mono;
	memcpy(f.site, r->site, sizeof(f.site));
	return f;
}

static enum run_phase final_phase(const struct run *r)
{
	if (r->fault.error)
		return PHASE_FAILED;
	return r->cancelled ? PHASE_CANCELLED : PHASE_DONE;
}

static void finish(struct run *r)
{
	struct run_facts f;

	read_books(r);
	r->phase = final_phase(r);
	r->ended_wall = now_ns(CLOCK_REALTIME);
	r->host_after = host_snapshot();
	f = facts_of(r, r->books_read ? &r->books : NULL);
	r->result = result_document(&f);
	r->ledger = ledger_close(r->ledger);
	r->perf = perf_close(r->perf);
	r->child = child_free(r->child);
	r->tick = sd_event_source_disable_unref(r->tick);
	r->limit = sd_event_source_disable_unref(r->limit);
	r->closing = sd_event_source_disable_unref(r->closing);
	r->changed(r, r->userdata);
}

/* A socket ends a little after its process: the books are closed when all have, or after CLOSE_WAIT_MS with a
 * doubt. */
static int on_closing(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct run *r = userdata;
	struct books b;

	if (ledger_read(r->ledger, &b) >= 0 && b.counter[COUNTER_SOCKETS_CLOSED] < r->registered &&
		now_ns(CLOCK_MONOTONIC) < r->close_deadline) {
		sd_event_source_set_time_relative(s, CLOSE_POLL_MS * 1000);
		sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
		return 0;
	}
	finish(r);
	return 0;
}

static void close_books(struct run *r)
{
	int e;

	r->close_deadline = now_ns(CLOCK_MONOTONIC) + CLOSE_WAIT_MS * NS_PER_MS;
	e = sd_event_add_time_relative(r->event, &r->closing, CLOCK_MONOTONIC, 0, 1, on_closing, r);
	if (!r->ledger || e < 0)
		finish(r);
}

static void fail(struct run *r, const struct fault *f)
{
	if (!r->fault.error)
		r->fault = *f;
	if (!r->window_end)
		r->window_end = now_ns(CLOCK_MONOTONIC);
	child_kill(r->child);
}

static void child_ended(const siginfo_t *how, void *userdata)
{
	struct run *r = userdata;
	const struct lg_shm *shm = child_shm(r->child);

	/* Only if the window was cut short: else the values were taken while the threads still lived. */
	if (r->perf && r->window_begun && !r->measured)
		perf_disable(r->perf);
	if (!r->window_end)
		r->window_end = now_ns(CLOCK_MONOTONIC);
	if (how->si_code != CLD_EXITED && !r->killed) {
		r->signal = sigabbrev_np(how->si_status);
		if (!r->fault.error)
			fault_set(&r->fault, -ECANCELED, "child_killed", "",
				"the load generator was ended by SIG%s while the run was %s; the figures are "
				"what was measured "
				"until then",
				r->signal ? r->signal : "?", phase_names[r->phase]);
	} else if (shm->phase != LG_DONE && !r->fault.error && !r->cancelled) {
		fault_set(&r->fault, -EPROTO, "child_exited", "",
			"the load generator exited with status %d while the run was %s", how->si_status,
			phase_names[r->phase]);
	}
	close_books(r);
}

/* ---- the course ---- */

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct run *r = userdata;

	r->changed(r, r->userdata);
	sd_event_source_set_time_relative(s, TICK_MS * 1000);
	sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	return 0;
}

/* What is left of a phase's bytes may need long on a slow path. */
static bool drains(const struct run *r)
{
	uint64_t moved = __atomic_load_n(&child_shm(r->child)->moved_ns, __ATOMIC_RELAXED);

	return r->phase >= PHASE_WARMUP && now_ns(CLOCK_MONOTONIC) - moved < STALL_MS * NS_PER_MS;
}

static int on_limit(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct run *r = userdata;
	struct fault f;

	if (drains(r)) {
		sd_event_source_set_time_relative(s, STALL_MS * 1000);
		return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	}
	if (r->phase == PHASE_CONNECTED || r->phase == PHASE_READY)
		fault_set(&f, -ETIMEDOUT, "peer_timeout", "",
			"the run was %s and was not told within %u s that the other host is, too",
			phase_names[r->phase], PHASE_GRACE_MS / 1000);
	else
		fault_set(&f, -ETIMEDOUT, "phase_timeout", "",
			"the load generator did not end the phase '%s' in time", phase_names[r->phase]);
	fail(r, &f);
	return 0;
}

static uint64_t phase_ms(const struct run *r)
{
	if (r->phase == PHASE_WARMUP)
		return r->spec.warmup_ms;
	return r->phase == PHASE_MEASURING ? r->spec.duration_ms : 0;
}

static void enter(struct run *r, enum run_phase phase)
{
	r->phase = phase;
	r->phase_since = now_ns(CLOCK_MONOTONIC);
	sd_event_source_set_time_relative(r->limit, (phase_ms(r) + PHASE_GRACE_MS) * 1000);
	sd_event_source_set_enabled(r->limit, SD_EVENT_ONESHOT);
	r->changed(r, r->userdata);
}

static void go(struct run *r, enum run_phase phase, enum lg_message_type word)
{
	struct fault f;
	int e;

	enter(r, phase);
	e = child_tell(r->child, word);
	if (e >= 0 || e == -EPIPE)
		return; /* a child that is gone says so by its end */
	fault_set(&f, e, "child_deaf", "", "the load generator cannot be told to go on: %s", strerror(-e));
	fail(r, &f);
}

static void drop_ledger(struct run *r, const char *why, int error)
{
	snprintf(r->no_ledger, sizeof(r->no_ledger), "%s: %s", why, strerror(-error));
	warn(r, "no_ledger", r->no_ledger);
	r->ledger = ledger_close(r->ledger);
}

static void sockets(struct run *r, const struct lg_message *m, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int e = r->ledger ? ledger_register(r->ledger, fds[i], m->first + i + 1) : 0;

		if (e < 0)
			drop_ledger(r, "a socket of the run could not be registered", e);
		else
			r->registered += r->ledger != NULL;
		close(fds[i]);
	}
}

static void open_perf(struct run *r)
{
	const struct lg_shm *shm = child_shm(r->child);
	size_t n = r->spec.threads * LG_SIDES, k = 0;
	_cleanup_free_ pid_t *tids = calloc(n, sizeof(*tids));
	_cleanup_free_ int *roles = calloc(n, sizeof(*roles));
	int e = -ENOMEM;

	if (!r->spec.perf) {
		str_copy(r->no_perf, "perf counters were turned off for this run");
		return;
	}
	if (tids && roles) {
		for (size_t i = 0; i < n; i++) {
			if (!lg_role_has(r->spec.pair.role, i % LG_SIDES))
				continue;
			tids[k] = shm->lane[i / LG_SIDES].side[i % LG_SIDES].tid;
			roles[k++] = i % LG_SIDES;
		}
		e = perf_open(tids, roles, k, &r->perf);
	}
	if (e < 0)
		snprintf(r->no_perf, sizeof(r->no_perf), "perf counters could not be set up: %s",
			strerror(-e));
}

static void warm_up(struct run *r)
{
	go(r, PHASE_WARMUP, LG_GO_WARMUP);
}

static void connected(struct run *r)
{
	int e = r->ledger ? ledger_arm(r->ledger) : 0;

	if (e < 0)
		drop_ledger(r, "the sockets' sequence numbers could not be taken", e);
	if (child_shm(r->child)->unseen)
		warn(r, "contents_unseen",
			"the receiver discards the bytes: neither their order nor their contents are "
			"checked");
	open_perf(r);
	if (r->spec.pair.role != LG_ROLE_BOTH)
		enter(r, PHASE_CONNECTED);
	else
		warm_up(r);
}

static void measure(struct run *r)
{
	r->window_begun = true;
	if (r->perf)
		perf_enable(r->perf);
	go(r, PHASE_MEASURING, LG_GO_MEASURE);
}

static void warmed(struct run *r)
{
	if (r->cancelled)
		go(r, PHASE_CLOSING, LG_GO_CLOSE);
	else if (r->spec.pair.role != LG_ROLE_BOTH)
		enter(r, PHASE_READY);
	else
		measure(r);
}

static void measured(struct run *r)
{
	r->measured = true;
	r->window_end = now_ns(CLOCK_MONOTONIC);
	if (r->perf)
		perf_disable(r->perf);
	go(r, PHASE_CLOSING, LG_GO_CLOSE);
}

static void child_failed(struct run *r, const struct lg_message *m)
{
	struct fault f;

	fault_set(&f, m->error < 0 ? m->error : -EIO, "load_failed", "", "%s", m->text);
	if (!r->fault.error)
		r->fault = f;
}

/* A message leads somewhere only in the phase that expects it. */
static const struct step {
	enum lg_message_type type;
	enum run_phase phase;
	void (*go)(struct run *r);
} steps[] = {
	{LG_CONNECTED, PHASE_STARTING, connected},
	{LG_WARMED, PHASE_WARMUP, warmed},
	{LG_MEASURED, PHASE_MEASURING, measured},
};

static void child_said(const struct lg_message *m, const int *fds, size_t n, void *userdata)
{
	struct run *r = userdata;
	struct fault f;

	if (m->type == LG_SOCKETS) {
		sockets(r, m, fds, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	if (m->type == LG_FAILED) {
		child_failed(r, m);
		return;
	}
	if (m->type == LG_DONE)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (steps[i].type == m->type && steps[i].phase == r->phase) {
			steps[i].go(r);
			return;
		}
	fault_set(&f, -EPROTO, "child_protocol", "",
		"the load generator sent message %u while the run was %s", m->type, phase_names[r->phase]);
	fail(r, &f);
}

/* ---- start ---- */

static struct lg_plan plan_of(const struct spec *s)
{
	struct lg_plan p = {.version = LG_VERSION,
		.lanes = s->threads,
		.size = s->size,
		.fields = s->fields,
		.warmup_ns = s->warmup_ms * NS_PER_MS,
		.duration_ns = s->duration_ms * NS_PER_MS,
		.sndbuf = s->sndbuf,
		.rcvbuf = s->rcvbuf};

	p.role = s->pair.role;
	p.port = s->pair.port;
	memcpy(p.token, s->pair.token, sizeof(p.token));
	str_copy(p.peer, s->pair.address);
	p.flags = (s->verify ? LG_VERIFY : 0) | (s->pin ? LG_PIN : 0) | (s->ip == 6 ? LG_IPV6 : 0) |
		  (s->nodelay ? LG_NODELAY : 0);
	str_copy(p.mode, s->mode);
	str_copy(p.receive, s->receive);
	str_copy(p.workload, s->workload);
	str_copy(p.path, s->path);
	str_copy(p.congestion, s->congestion);
	return p;
}

/* What stands where nobody asked, or the kernel refused; the sysctl may have it done all the same. */
static void note_times(struct run *r)
{
	int e = ledger_timed(r->ledger);

	r->timed = e >= 0;
	r->cpu_before = child_cpu_ns(r->child);
	if (!r->spec.hook_times) {
		str_copy(r->no_times, "the kernel measures the hooks only if hook_times (--hook-times), a "
				      "watch or kernel.bpf_stats_enabled asks for it");
		return;
	}
	snprintf(r->no_times, sizeof(r->no_times), NO_HOOK_TIMES, strerror(-e));
	if (!r->timed && !stats_on(r->host_before))
		warn(r, "no_hook_times", r->no_times);
}

static void open_ledger(struct run *r)
{
	const struct transfer_mode *mode = transfer_mode_find(r->spec.mode);
	const struct receive_mode *receive = receive_mode_find(r->spec.receive);
	struct ledger_config config = {.tier = r->spec.ledger,
		.sockets = r->spec.threads * LG_SIDES,
		.zc_sends = 1,
		.timed = r->spec.hook_times};
	struct fault f = {};

	if (str_eq(r->spec.ledger, "off")) {
		str_copy(r->no_ledger, "the ledger was turned off for this run");
		return;
	}
	config.maps = receive && receive->caps & RECEIVE_MAPS;
	config.copies = mode && !(mode->caps & (MODE_PINS | MODE_SPLICES));
	if (mode && mode->caps & MODE_PINS)
		config.zc_sends = MIN(r->spec.threads * ZC_SENDS_PER_LANE, ZC_SENDS_MAX);
	if (ledger_open(&config, &r->ledger, &f) < 0) {
		str_copy(r->no_ledger, f.text);
		warn(r, "no_ledger", f.text);
		return;
	}
	str_copy(r->tier, ledger_tier(r->ledger));
	note_times(r);
	for (enum copy_site s = 0; s < SITE_MAX; s++)
		r->site[s] = ledger_site(r->ledger, s);
}

static int arm_timers(struct run *r)
{
	int e = sd_event_add_time_relative(
		r->event, &r->tick, CLOCK_MONOTONIC, TICK_MS * 1000, 20000, on_tick, r);

	if (e < 0)
		return e;
	return sd_event_add_time_relative(
		r->event, &r->limit, CLOCK_MONOTONIC, PHASE_GRACE_MS * 1000, 100000, on_limit, r);
}

int run_start(sd_event *event, const char *loadgen, const char *id, const struct spec *spec,
	run_changed_fn changed, void *userdata, struct run **ret, struct fault *reterr)
{
	static const struct child_ops ops = {.message = child_said, .ended = child_ended};
	_cleanup_(run_freep) struct run *r = calloc(1, sizeof(*r));
	struct lg_plan plan = plan_of(spec);
	int e;

	if (!r)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	str_copy(r->id, id);
	r->spec = *spec;
	r->spec.pair.listener = -1;
	explicit_bzero(r->spec.pair.token, sizeof(r->spec.pair.token));
	r->event = sd_event_ref(event);
	r->changed = changed;
	r->userdata = userdata;
	r->warnings = json_object_new_array();
	str_copy(r->no_ledger, "the run ended before the ledger was opened");
	str_copy(r->no_perf, "the run ended before the perf counters were opened");
	r->started_wall = now_ns(CLOCK_REALTIME);
	r->started_mono = r->phase_since = now_ns(CLOCK_MONOTONIC);
	e = arm_timers(r);
	if (e < 0)
		return fault_set(reterr, e, "no_timer", "", "a timer cannot be made: %s", strerror(-e));
	e = child_start(event, loadgen, &plan, spec->pair.listener, &ops, r, &r->child, reterr);
	if (e < 0)
		return e;
	/* While the child connects. Its messages wait: they are delivered from the event loop. */
	r->host_before = host_snapshot();
	open_ledger(r);
	*ret = TAKE_PTR(r);
	return 0;
}

int run_continue(struct run *r)
{
	static void (*const next[])(struct run *) = {[PHASE_CONNECTED] = warm_up, [PHASE_READY] = measure};

	if (r->phase >= ARRAY_SIZE(next) || !next[r->phase] || r->cancelled)
		return -EAGAIN;
	next[r->phase](r);
	return 0;
}

/* Of two hosts only the sender's window can be ended in order: its last message ends the receiver's. */
static bool kill_to_cancel(const struct run *r)
{
	if (r->spec.pair.role == LG_ROLE_BOTH)
		return r->phase == PHASE_STARTING;
	return r->phase < PHASE_CLOSING &&
	       (r->spec.pair.role == LG_ROLE_RECEIVER || r->phase != PHASE_MEASURING);
}

void run_cancel(struct run *r)
{
	if (run_finished(r) || r->cancelled)
		return;
	r->cancelled = true;
	r->killed = kill_to_cancel(r);
	if (r->killed)
		child_kill(r->child);
	else if (r->phase != PHASE_CLOSING)
		child_tell(r->child, LG_STOP);
}

struct run *run_free(struct run *r)
{
	if (!r)
		return NULL;
	r->child = child_free(r->child);
	ledger_close(r->ledger);
	perf_close(r->perf);
	sd_event_source_disable_unref(r->tick);
	sd_event_source_disable_unref(r->limit);
	sd_event_source_disable_unref(r->closing);
	sd_event_unref(r->event);
	free(r->paths);
	json_drop(r->host_before);
	json_drop(r->host_after);
	json_drop(r->warnings);
	json_drop(r->result);
	free(r);
	return NULL;
}

/* ---- what a run says ---- */

const char *run_id(const struct run *r)
{
	return r->id;
}

const struct spec *run_spec(const struct run *r)
{
	return &r->spec;
}

bool run_finished(const struct run *r)
{
	return r->phase >= PHASE_DONE;
}

const char *run_state(const struct run *r)
{
	return phase_names[r->phase];
}

static uint64_t remaining_ms(const struct run *r)
{
	uint64_t total = phase_ms(r), passed = (now_ns(CLOCK_MONOTONIC) - r->phase_since) / NS_PER_MS;
	uint64_t later = r->phase < PHASE_WARMUP      ? r->spec.warmup_ms + r->spec.duration_ms
			 : r->phase < PHASE_MEASURING ? r->spec.duration_ms
						      : 0;

	return later + (total > passed ? total - passed : 0);
}

json_object *run_progress(const struct run *r)
{
	json_object *o = json_object_new_object();
	struct lg_counts c = {};
	uint64_t elapsed = 0;

	if (r->child && child_shm(r->child)->start_ns) {
		const struct lg_shm *shm = child_shm(r->child);
		uint64_t end = shm->end_ns ? shm->end_ns : now_ns(CLOCK_MONOTONIC);

		c = result_counts(shm, r->spec.threads, true);
		elapsed = end > shm->start_ns ? end - shm->start_ns : 0;
	}
	json_add_str(o, "id", r->id);
	json_add_str(o, "state", run_state(r));
	json_add_u64(o, "position", 0);
	json_add_u64(o, "elapsed_ms", (now_ns(CLOCK_MONOTONIC) - r->started_mono) / NS_PER_MS);
	json_add_u64(o, "remaining_ms", run_finished(r) ? 0 : remaining_ms(r));
	json_add_u64(o, "bytes", c.bytes_received);
	json_add_u64(o, "messages", c.messages_received);
	json_add_double(o, "throughput_gbps", elapsed ? c.bytes_received * 8.0 / elapsed : 0.0);
	return o;
}

json_object *run_trace(struct run *r)
{
	struct books b;
	struct run_facts f;

	if (r->books_read)
		b = r->books;
	else if (!r->ledger || ledger_read(r->ledger, &b) < 0)
		return NULL;
	if (!r->books_read)
		read_paths(r);
	f = facts_of(r, &b);
	if (!f.shm)
		return NULL;
	return result_trace(&f, run_state(r), (now_ns(CLOCK_MONOTONIC) - r->started_mono) / NS_PER_MS);
}

json_object *run_result(struct run *r)
{
	return r->result;
}
