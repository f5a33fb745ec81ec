// SPDX-License-Identifier: MIT
/* Watches: the filter from what a client names, and the view of each interval from two readings of the books.
 */
#include "observe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "jsonx.h"
#include "ledger.h"
#include "limit.h"
#include "result.h"
#include "rfc3339.h"
#include "utf8.h"

#define NS_PER_MS 1000000ULL
#define OWNERS 65536 /* sockets whose zero-copy sends can be followed at once */
#define SENDS 262144 /* MSG_ZEROCOPY sends on their way at once */

struct observer {
	struct observers *all;
	size_t place; /* in all */
	struct observe_spec spec;
	observe_report_fn report;
	void *userdata;
	struct ledger *ledger;
	sd_event_source *timer;
	uint64_t started_wall, started, last; /* ns; the last two CLOCK_MONOTONIC */
	struct view_row *rows;                /* of the last reading, by id */
	int n_rows;
	uint64_t forgotten; /* rows that were dropped from the kernel's map */
	char no_times[160];
	struct account told; /* as the totals had it last */
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* ---- the filter ---- */

static int filter_pid(const struct observe_spec *spec, struct watch_filter *filter, struct fault *reterr)
{
	char path[32];
	struct stat st;

	if (!spec->pid)
		return 0;
	snprintf(path, sizeof(path), "/proc/%u", spec->pid);
	if (stat(path, &st) < 0)
		return fault_set(
			reterr, -ESRCH, "invalid_request", "pid", "there is no process 'pid' %u", spec->pid);
	if (spec->only_uid && st.st_uid != spec->uid)
		return fault_set(reterr, -EPERM, "permission_denied", "pid",
			"process %u is of uid %u: a member of the group may watch its own processes, root "
			"all",
			spec->pid, st.st_uid);
	filter->tgid = spec->pid;
	return 0;
}

/* Where cgroup2 is mounted, with a slash at the end. */
static int cgroup_mount(char *ret, size_t n)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mounts", "re");
	char line[512], where[256], type[32];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %255s %31s", where, type) == 2 && str_eq(type, "cgroup2")) {
			snprintf(ret, n, "%s/", where);
			return 0;
		}
	return -ENOENT;
}

static uint32_t depth_of(const char *path)
{
	uint32_t depth = 0;

	for (const char *p = path; *p; p++)
		depth += *p != '/' && (p == path || p[-1] == '/');
	return depth;
}

/* A cgroup's id is its directory's inode number; its level is how deep it lies below the root. */
static int filter_cgroup(const struct observe_spec *spec, struct watch_filter *filter, struct fault *reterr)
{
	char mount[264], path[600];
	const char *below = spec->cgroup;
	struct stat st;

	if (!*below)
		return 0;
	if (cgroup_mount(mount, sizeof(mount)) < 0)
		return fault_set(
			reterr, -ENOENT, "invalid_request", "cgroup", "cgroup2 is not mounted on this host");
	if (strncmp(below, mount, strlen(mount)) == 0)
		below += strlen(mount);
	snprintf(path, sizeof(path), "%s%s", mount, below);
	if (strstr(below, "..") || stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return fault_set(
			reterr, -ENOENT, "invalid_request", "cgroup", "there is no cgroup '%s'", path);
	filter->cgroup = st.st_ino;
	filter->cgroup_level = depth_of(below);
	return 0;
}

static int filter_netns(const struct observe_spec *spec, struct watch_filter *filter, struct fault *reterr)
{
	char path[96], *end;
	struct stat st;

	if (!*spec->netns)
		return 0;
	filter->netns = strtoul(spec->netns, &end, 10);
	if (!*end && filter->netns)
		return 0;
	snprintf(path, sizeof(path), "/run/netns/%s", spec->netns);
	if (strchr(spec->netns, '/') || stat(path, &st) < 0)
		return fault_set(reterr, -ENOENT, "invalid_request", "netns",
			"there is no network namespace '%s' in /run/netns; an inode number (lsns -t net) "
			"will do too",
			spec->netns);
	filter->netns = st.st_ino;
	return 0;
}

static int make_filter(const struct observe_spec *spec, struct watch_filter *ret, struct fault *reterr)
{
	struct watch_filter filter = {
		.watching = 1, .by_socket = str_eq(spec->by, "socket"), .port = spec->port};
	int r;

	if (!spec->all && !spec->pid && !spec->port && !*spec->cgroup && !*spec->netns)
		return fault_set(reterr, -EINVAL, "invalid_request", "",
			"say what to watch: one or more of pid, cgroup, port, netns, or all");
	r = filter_pid(spec, &filter, reterr);
	if (r == 0)
		r = filter_cgroup(spec, &filter, reterr);
	if (r == 0)
		r = filter_netns(spec, &filter, reterr);
	if (r < 0)
		return r;
	filter.has_uid = spec->only_uid;
	filter.uid = spec->uid;
	*ret = filter;
	return 0;
}

/* ---- a document ---- */

static uint64_t copied_bytes(const struct view *v)
{
	uint64_t n = 0;

	for (enum copy_site s = 0; s < SITE_MAX; s++)
		if (str_eq(site_rows[s].kind, "copy"))
			n += v->bytes[s];
	return n;
}

static void add_share(json_object *o, const char *name, uint64_t part, uint64_t whole)
{
	if (whole)
		json_add_double(o, name, (double)part / whole);
	else
		json_add_null(o, name);
}

static void add_address(
	json_object *o, const char *name, const struct view *v, const __u8 *address, uint16_t port)
{
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(v->family, address, text, sizeof(text));
	json_add_strf(o, name, v->family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, port);
}

/* then: the same view at the last reading, or zeros. */
static json_object *view_json(
	const struct observer *o, const struct view_row *row, const struct view *then, double s)
{
	const struct view *v = &row->view;
	uint64_t sent = v->accepted, moved = v->accepted + v->received;
	json_object *j = json_object_new_object(), *sites = json_object_new_object();
	char comm[sizeof(v->comm) + 4]; /* a program may call itself anything */

	json_add_u64(j, "pid", v->tgid);
	json_add_u64(j, "uid", v->uid);
	json_add_str(j, "comm", utf8_clean(comm, sizeof(comm), v->comm));
	if (str_eq(o->spec.by, "socket")) {
		add_address(j, "local", v, v->local, v->local_port);
		add_address(j, "remote", v, v->remote, v->remote_port);
	} else {
		json_add_null(j, "local");
		json_add_null(j, "remote");
	}
	json_add_u64(j, "sockets_seen", v->opened);
	json_add_u64(j, "sockets_open", v->opened - MIN(v->closed, v->opened));
	json_add_u64(j, "sent", v->accepted);
	json_add_u64(j, "received", v->received);
	json_add_double(j, "sent_per_s", s > 0 ? (v->accepted - then->accepted) / s : 0);
	json_add_double(j, "received_per_s", s > 0 ? (v->received - then->received) / s : 0);
	add_share(j, "copies_per_byte", copied_bytes(v), moved);
	add_share(j, "share_pinned", v->bytes[SITE_TX_PIN], sent);
	add_share(j, "share_spliced", v->bytes[SITE_TX_SPLICE], sent);
	add_share(j, "share_copied_after_all", MIN(v->bytes[SITE_TX_DEFERRED_COPY], v->bytes[SITE_TX_PIN]),
		v->bytes[SITE_TX_PIN]);
	for (enum copy_site site = SITE_TX_COPY; site < SITE_MAX; site++)
		json_add_u64(sites, site_rows[site].name, v->bytes[site]);
	json_add(j, "sites", sites);
	return j;
}

static int by_id(const void *a, const void *b)
{
	const struct view_row *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* What a view has moved since the last reading decides its place; then what it has moved at all. */
struct ranked {
	const struct view_row *row;
	const struct view *then;
	uint64_t recent, whole;
};

static int by_traffic(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->recent != y->recent)
		return x->recent < y->recent ? 1 : -1;
	return x->whole < y->whole ? 1 : x->whole > y->whole ? -1 : 0;
}

static json_object *views_json(struct observer *o, struct view_row *rows, int n, double s, int *ret_left_out)
{
	static const struct view nothing;
	_cleanup_free_ struct ranked *ranked = calloc(MAX(n, 1), sizeof(*ranked));
	json_object *a = json_object_new_array();
	int shown = MIN(n, (int)o->spec.top);

	*ret_left_out = n - shown;
	if (!ranked)
		return a;
	for (int i = 0; i < n; i++) {
		const struct view_row *old =
			o->n_rows ? bsearch(&rows[i], o->rows, o->n_rows, sizeof(*rows), by_id) : NULL;
		const struct view *then = old ? &old->view : &nothing;
		uint64_t whole = rows[i].view.accepted + rows[i].view.received;

		ranked[i] = (struct ranked){&rows[i], then, whole - then->accepted - then->received, whole};
	}
	qsort(ranked, n, sizeof(*ranked), by_traffic);
	for (int i = 0; i < shown; i++)
		json_push(a, view_json(o, ranked[i].row, ranked[i].then, s));
	return a;
}

static json_object *filter_json(const struct observe_spec *spec)
{
	json_object *o = json_object_new_object();

	json_add_bool(o, "all", spec->all);
	json_add_u64(o, "pid", spec->pid);
	json_add_u64(o, "port", spec->port);
	json_add_str(o, "cgroup", spec->cgroup);
	json_add_str(o, "netns", spec->netns);
	if (spec->only_uid)
		json_add_u64(o, "uid", spec->uid);
	else
		json_add_null(o, "uid");
	json_add_str(o, "by", spec->by);
	return o;
}

static json_object *sockets_json(const uint64_t *counter)
{
	json_object *o = json_object_new_object();
	uint64_t seen = counter[COUNTER_SOCKETS_ADOPTED], closed = counter[COUNTER_SOCKETS_CLOSED];

	json_add_u64(o, "seen", seen);
	json_add_u64(o, "open", seen - MIN(closed, seen));
	json_add_u64(o, "closed", closed);
	return o;
}

static json_object *rows_json(const struct observer *o, int n)
{
	json_object *j = json_object_new_object();

	json_add_u64(j, "held", n);
	json_add_u64(j, "max", VIEWS_MAX);
	json_add_u64(j, "forgotten", o->forgotten);
	return j;
}

/* The hooks' time since the watch began, as a share of one CPU. */
static void add_hook_share(json_object *j, json_object *instrument, uint64_t elapsed)
{
	json_object *ns = json_at(instrument, "hook_ns");

	if (json_object_is_type(ns, json_type_int) && elapsed)
		json_add_double(j, "hook_share", json_object_get_double(ns) / elapsed);
	else
		json_add_null_reason(j, "hook_share", "%s",
			elapsed ? json_object_get_string(json_at(ns, "reason")) : "the watch has just begun");
}

/* What the books and the hooks say at this moment; the strings are the observer's. */
struct reading {
	struct hook_cost hooks[LEDGER_HOOKS_MAX];
	struct balance_input in;
	struct run_facts facts;
};

static void take_reading(struct observer *o, struct books *books, struct reading *r)
{
	*r = (struct reading){.in = {.books = books, .watch = true}};
	r->facts = (struct run_facts){.books = books,
		.tier = ledger_tier(o->ledger),
		.hooks = r->hooks,
		.n_hooks = ledger_hooks(o->ledger, r->hooks, LEDGER_HOOKS_MAX),
		.timed = ledger_timed(o->ledger) == 0,
		.no_times = o->no_times,
		/* open ones are no doubt in a watch */
		.sockets_registered = books->counter[COUNTER_SOCKETS_CLOSED]};
	for (enum copy_site s = 0; s < SITE_MAX; s++)
		r->facts.site[s] = r->in.site[s] = ledger_site(o->ledger, s);
	r->facts.site[SITE_APP_PACK] = r->in.site[SITE_APP_PACK] = (struct site_status){EVIDENCE_UNAVAILABLE,
		NULL,
		"what a watched program copies by itself is not seen, only what it asks of its sockets"};
	ledger_outstanding(o->ledger, &r->in.app.outstanding, &(uint64_t){0});
	r->in.open = books->counter[COUNTER_SOCKETS_ADOPTED] > books->counter[COUNTER_SOCKETS_CLOSED];
}

static json_object *ledger_json(const struct reading *r)
{
	const uint64_t *counter = r->facts.books->counter;

	return result_ledger(&r->facts, &r->in, counter[COUNTER_ACCEPTED] + counter[COUNTER_RECEIVED]);
}

static json_object *document(
	struct observer *o, struct books *books, struct view_row *rows, int n, uint64_t now)
{
	struct call_path *paths = NULL;
	json_object *j = json_object_new_object(), *instrument;
	char started[RFC3339_TEXT];
	struct reading r;
	int left_out, n_paths;

	take_reading(o, books, &r);
	n_paths = ledger_call_paths(o->ledger, &paths);
	r.facts.n_paths = MAX(n_paths, 0);
	r.facts.paths = paths;
	json_add_str(j, "schema", WATCH_SCHEMA);
	json_add_str(j, "started", rfc3339_format(started, o->started_wall));
	json_add_u64(j, "elapsed_ms", (now - o->started) / NS_PER_MS);
	json_add_u64(j, "interval_ms", (now - o->last) / NS_PER_MS);
	json_add(j, "filter", filter_json(&o->spec));
	json_add(j, "sockets", sockets_json(books->counter));
	json_add(j, "ledger", ledger_json(&r));
	json_add(j, "views", views_json(o, rows, n, (now - o->last) / 1e9, &left_out));
	json_add_u64(j, "views_left_out", left_out);
	json_add(j, "rows", rows_json(o, n));
	instrument = result_instrument(&r.facts);
	add_hook_share(j, instrument, now - o->started);
	json_add(j, "instrument", instrument);
	json_add_u64(j, "map_bytes_max", ledger_map_bytes(o->ledger));
	json_add_u64(j, "socket_bytes", sizeof(struct sock_row));
	free(paths);
	return j;
}

/*
 * A row that nothing more can be booked to goes once it was told: that of a socket that has ended, and, when
 * half of the map is in use, that of a process that is gone with all its sockets.
 */
static bool is_over(const struct observer *o, const struct view_row *row, int n)
{
	if (row->view.opened != row->view.closed)
		return false;
	if (str_eq(o->spec.by, "socket"))
		return true;
	return n > VIEWS_MAX / 2 && kill(row->view.tgid, 0) < 0 && errno == ESRCH;
}

static void forget_rows(struct observer *o, const struct view_row *rows, int n)
{
	for (int i = 0; i < n; i++) {
		if (!is_over(o, &rows[i], n))
			continue;
		ledger_forget_view(o->ledger, rows[i].id);
		o->forgotten++;
	}
}

static json_object *look(struct observer *o)
{
	uint64_t now = now_ns(CLOCK_MONOTONIC);
	struct view_row *rows = NULL;
	struct books books;
	json_object *j;
	int n;

	if (ledger_read(o->ledger, &books) < 0)
		return NULL;
	n = ledger_views(o->ledger, &rows); /* MAX() would read twice */
	n = MAX(n, 0);
	if (n)
		qsort(rows, n, sizeof(*rows), by_id);
	j = document(o, &books, rows, n, now);
	forget_rows(o, rows, n);
	free(o->rows);
	o->rows = rows;
	o->n_rows = n;
	o->last = now;
	return j;
}

static int on_interval(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct observer *o = userdata;
	uint64_t passed = (now_ns(CLOCK_MONOTONIC) - o->started) / NS_PER_MS, next = o->spec.interval_ms;
	bool final = o->spec.duration_ms && passed + 1 >= o->spec.duration_ms;

	if (o->spec.duration_ms && passed < o->spec.duration_ms)
		next = MIN(next, o->spec.duration_ms - passed);
	if (!final) {
		sd_event_source_set_time_relative(s, next * 1000);
		sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	}
	o->report(look(o), final, o->userdata);
	return 0;
}

/* ---- totals ---- */

/* The watch's books since it began; NULL: they cannot be read, or there is no memory. */
static json_object *read_totals(struct observer *o, struct account *ret)
{
	_cleanup_json_ json_object *ledger = NULL, *instrument = NULL;
	struct account now = {};
	struct books books;
	struct reading r;

	if (ledger_read(o->ledger, &books) < 0)
		return NULL;
	take_reading(o, &books, &r);
	ledger = ledger_json(&r);
	instrument = result_instrument(&r.facts);
	account_add_books(&now, ledger, instrument);
	account_add_completions(&now, ledger);
	*ret = now;
	return TAKE_PTR(ledger);
}

static int copy_member(json_object *into, const char *name, json_object *ledger, const char *path)
{
	json_object *value = json_at(ledger, path);

	return value ? json_add(into, name, json_object_get(value)) : json_add_null(into, name);
}

static json_object *totals_row(const struct observer *o, json_object *ledger)
{
	_cleanup_json_ json_object *row = json_object_new_object();
	uint64_t seen = json_object_get_uint64(json_at(ledger, "counters/sockets_adopted"));
	uint64_t closed = json_object_get_uint64(json_at(ledger, "counters/sockets_closed"));

	if (!row || json_add_u64(row, "watch", o->place + 1) < 0 ||
		json_add_u64(row, "elapsed_ms", (now_ns(CLOCK_MONOTONIC) - o->started) / NS_PER_MS) < 0 ||
		json_add_u64(row, "sockets_open", seen - MIN(closed, seen)) < 0 ||
		copy_member(row, "delivered", ledger, "delivered") < 0 ||
		copy_member(row, "copies_per_byte", ledger, "copies_per_byte/total") < 0 ||
		copy_member(row, "lower_bound", ledger, "copies_per_byte/lower_bound") < 0 ||
		copy_member(row, "balanced", ledger, "balanced") < 0 ||
		copy_member(row, "exact", ledger, "exact") < 0)
		return NULL;
	return TAKE_PTR(row);
}

int observe_totals(struct observers *all, struct account *sum, json_object *array)
{
	account_add(sum, &all->ended);
	for (size_t i = 0; i < LIMIT_WATCHES; i++) {
		struct observer *o = all->at[i];
		_cleanup_json_ json_object *ledger = NULL;
		struct account now;

		if (!o)
			continue;
		ledger = read_totals(o, &now);
		if (ledger)
			account_raise(&o->told, &now);
		account_add(sum, &o->told);
		if (ledger && json_push(array, totals_row(o, ledger)) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* The last reading of a watch that ends. */
static void close_account(struct observer *o)
{
	_cleanup_json_ json_object *ledger = NULL;
	struct account now;

	ledger = read_totals(o, &now);
	if (ledger) {
		account_raise(&o->told, &now);
		account_close(&o->told, ledger);
	}
	account_add(&o->all->ended, &o->told);
}

/* ---- start and end ---- */

static int take_place(struct observer *o, struct observers *all, struct fault *reterr)
{
	size_t i = 0;

	while (i < LIMIT_WATCHES && all->at[i])
		i++;
	if (i == LIMIT_WATCHES)
		return fault_set(reterr, -EBUSY, "busy", "",
			"%u watches are going on: no more than %u at once", LIMIT_WATCHES, LIMIT_WATCHES);
	all->at[i] = o;
	o->all = all;
	o->place = i;
	return 0;
}

unsigned int observe_count(const struct observers *all)
{
	unsigned int n = 0;

	for (size_t i = 0; i < LIMIT_WATCHES; i++)
		n += all->at[i] != NULL;
	return n;
}

int observe_start(sd_event *event, struct observers *all, const struct observe_spec *spec,
	observe_report_fn report, void *userdata, struct observer **ret, struct fault *reterr)
{
	_cleanup_(observe_freep) struct observer *o = calloc(1, sizeof(*o));
	struct ledger_config config = {
		.tier = spec->ledger, .sockets = OWNERS, .zc_sends = SENDS, .timed = true};
	struct watch_filter filter;
	int r;

	if (!o)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	r = make_filter(spec, &filter, reterr);
	if (r < 0)
		return r;
	o->spec = *spec;
	o->report = report;
	o->userdata = userdata;
	config.filter = &filter;
	r = take_place(o, all, reterr);
	if (r == 0)
		r = ledger_open(&config, &o->ledger, reterr);
	if (r < 0)
		return r;
	r = ledger_timed(o->ledger);
	snprintf(o->no_times, sizeof(o->no_times), NO_HOOK_TIMES, strerror(-r));
	o->started_wall = now_ns(CLOCK_REALTIME);
	o->started = o->last = now_ns(CLOCK_MONOTONIC);
	/* A first document at once says that the hooks are attached: what begins now is seen whole. */
	r = sd_event_add_time_relative(event, &o->timer, CLOCK_MONOTONIC, 0, 1000, on_interval, o);
	if (r < 0)
		return fault_set(reterr, r, "no_timer", "", "a timer cannot be made: %s", strerror(-r));
	*ret = TAKE_PTR(o);
	return 0;
}

struct observer *observe_free(struct observer *o)
{
	if (!o)
		return NULL;
	sd_event_source_disable_unref(o->timer);
	if (o->ledger)
		close_account(o);
	ledger_close(o->ledger);
	if (o->all)
		o->all->at[o->place] = NULL;
	free(o->rows);
	free(o);
	return NULL;
}
