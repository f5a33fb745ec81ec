// SPDX-License-Identifier: MIT
/* Counts perf events on a set of threads, in groups a thread, and keeps for each event what it counted or why
 * it did not. */
#include "perf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "jsonx.h"
#include "limit.h"

#define ROLES 2
#define HALVES 2 /* user and kernel; an event that is not split uses the first */
#define CACHE(id, result)                                                                                    \
	(PERF_COUNT_HW_CACHE_##id | PERF_COUNT_HW_CACHE_OP_READ << 8 |                                       \
		PERF_COUNT_HW_CACHE_RESULT_##result << 16)
/* Open files that are left to the event loop: clients, the store, the run's own. */
#define FDS_RESERVED (LIMIT_CLIENTS + 64)

enum event_flags {
	EV_SPLIT = 1 << 0,    /* two counters, user and kernel mode apart */
	EV_MODELESS = 1 << 1, /* the kernel ignores exclude_* here, so the exclusion that needs no privilege
				 is asked */
	EV_NEVER_ZERO =
		1 << 2 /* a thread that ran has some: 0 means that the machine's counter stands still */
};

/* Events of one group are counted at the same moments; a group takes at most four hardware counters, as every
 * PMU has. */
enum group { GROUP_WORK, GROUP_SOFTWARE, GROUP_LLC, GROUP_L1D, GROUP_BRANCH, GROUPS, GROUP_NONE };

struct event {
	const char *name, *kind;
	uint32_t type;
	enum group group;
	uint64_t config;
	unsigned int flags;
	const char *status; /* instead of an event: a counter's line in /proc/TID/status */
};

/* In order of worth: where open files are short, the last go first. */
static const struct event events[] = {
	{"task_clock_ns", "software", PERF_TYPE_SOFTWARE, GROUP_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK,
		EV_MODELESS, NULL},
	{"context_switches", "software", PERF_TYPE_SOFTWARE, GROUP_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES,
		0, NULL},
	{"context_switches_voluntary", "software", 0, GROUP_NONE, 0, 0, "voluntary_ctxt_switches:"},
	{"context_switches_involuntary", "software", 0, GROUP_NONE, 0, 0, "nonvoluntary_ctxt_switches:"},
	{"cycles", "hardware", PERF_TYPE_HARDWARE, GROUP_WORK, PERF_COUNT_HW_CPU_CYCLES,
		EV_SPLIT | EV_NEVER_ZERO, NULL},
	{"instructions", "hardware", PERF_TYPE_HARDWARE, GROUP_WORK, PERF_COUNT_HW_INSTRUCTIONS,
		EV_SPLIT | EV_NEVER_ZERO, NULL},
	{"cpu_migrations", "software", PERF_TYPE_SOFTWARE, GROUP_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS, 0,
		NULL},
	{"page_faults", "software", PERF_TYPE_SOFTWARE, GROUP_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, EV_SPLIT,
		NULL},
	{"llc_references", "hardware", PERF_TYPE_HARDWARE, GROUP_LLC, PERF_COUNT_HW_CACHE_REFERENCES,
		EV_SPLIT, NULL},
	{"llc_misses", "hardware", PERF_TYPE_HARDWARE, GROUP_LLC, PERF_COUNT_HW_CACHE_MISSES, EV_SPLIT, NULL},
	{"l1d_references", "cache", PERF_TYPE_HW_CACHE, GROUP_L1D, CACHE(L1D, ACCESS), EV_SPLIT, NULL},
	{"l1d_misses", "cache", PERF_TYPE_HW_CACHE, GROUP_L1D, CACHE(L1D, MISS), EV_SPLIT, NULL},
	{"branches", "hardware", PERF_TYPE_HARDWARE, GROUP_BRANCH, PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
		EV_SPLIT | EV_NEVER_ZERO, NULL},
	{"branch_misses", "hardware", PERF_TYPE_HARDWARE, GROUP_BRANCH, PERF_COUNT_HW_BRANCH_MISSES, EV_SPLIT,
		NULL},
};
#define EVENTS ARRAY_SIZE(events)
#define COUNTERS (EVENTS * HALVES) /* counter c is half c % HALVES of event c / HALVES */

static const char *const role_names[ROLES] = {"sender", "receiver"};
static const char *const half_names[HALVES] = {"user", "kernel"};

/* What read() gives on the leader of a group. */
struct reading {
	uint64_t n, enabled_ns, running_ns;
	uint64_t value[COUNTERS];
};

struct thread {
	pid_t tid;
	int role;
	int fd[COUNTERS];
	struct reading base[GROUPS];
	uint64_t status_base[EVENTS];
};

/* Sums over the threads of a role. */
struct group_sum {
	uint64_t enabled_ns, running_ns;
	uint64_t counted_ns; /* enabled time of those threads whose group was on the PMU at all */
};

struct perf {
	size_t n, role_threads[ROLES];
	bool taken;
	char reason[COUNTERS][240]; /* "": the counter is in use */
	struct group_sum group[ROLES][GROUPS];
	double sum[ROLES][COUNTERS]; /* below 2^53 exact; scaled thread by thread */
	struct thread thread[];
};

static unsigned int halves(const struct event *ev)
{
	return ev->flags & EV_SPLIT ? 2 : 1;
}

static bool counter_used(const struct perf *p, size_t c)
{
	return c % HALVES < halves(&events[c / HALVES]) && !p->reason[c][0];
}

/* Whether counter c belongs to the group and takes an open file. */
static bool counter_in(const struct perf *p, size_t c, enum group g)
{
	return events[c / HALVES].group == g && counter_used(p, c);
}

/* -1: cannot be read. */
static int paranoid_level(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
	int level;

	return f && fscanf(f, "%d", &level) == 1 ? level : -1;
}

/* Level 3 is Debian's and Ubuntu's addition: it wants CAP_SYS_ADMIN, CAP_PERFMON does not help. */
static const char *permission_needs(void)
{
	if (paranoid_level() > 2)
		return "kernel.perf_event_paranoid at 2 and CAP_PERFMON, or CAP_SYS_ADMIN";
	return "CAP_PERFMON (or CAP_SYS_ADMIN), or kernel.perf_event_paranoid at 1";
}

static const char *files_needs(void)
{
	return "a larger RLIMIT_NOFILE (LimitNOFILE= of the unit, ulimit -n of a shell)";
}

static const char *pmu_needs(void)
{
	return "a performance monitoring unit (in a VM: passed on to it)";
}

static void permission_state(char *buf, size_t size)
{
	snprintf(buf, size, "kernel.perf_event_paranoid is %d", paranoid_level());
}

static void files_state(char *buf, size_t size)
{
	struct rlimit limit = {};

	getrlimit(RLIMIT_NOFILE, &limit);
	snprintf(buf, size, "RLIMIT_NOFILE is %llu", (unsigned long long)limit.rlim_cur);
}

/* Where a setting decides, state tells how it stands, and the reason says what it takes. */
static const struct reason {
	int error;
	const char *text;
	const char *(*needs)(void);
	void (*state)(char *buf, size_t size);
} reasons[] = {
	{ENOENT, "the CPU offers no such event to this machine", pmu_needs, NULL},
	{EOPNOTSUPP, "the CPU offers no such event to this machine", pmu_needs, NULL},
	{ENODEV, "the CPU offers no such event to this machine", pmu_needs, NULL},
	{EINVAL, "the CPU's monitoring unit cannot count this event", pmu_needs, NULL},
	{EPERM, "a seccomp filter, a security module or kernel lockdown refuses perf_event_open",
		permission_needs, permission_state},
	{EACCES, "the kernel refuses it to this process", permission_needs, permission_state},
	{EMFILE, "too few open files to count this event on every thread", files_needs, files_state},
	{ESRCH, "a watched thread had ended", NULL, NULL},
	{ENFILE, "the system's table of open files is full", NULL, NULL},
	{ENOSYS, "this kernel or a seccomp filter offers no perf_event_open", NULL, NULL},
	{EBUSY, "somebody else holds the monitoring unit for itself", NULL, NULL},
};

/* error is a negative errno. */
static const struct reason *reason_find(int error)
{
	static const struct reason other = {0, NULL, NULL, NULL};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].error == -error)
			return &reasons[i];
	return &other;
}

static void reason_format(int error, char *buf, size_t size)
{
	const struct reason *r = reason_find(error);
	const char *text = r->text ? r->text : strerror(-error), *name = strerrorname_np(-error);
	char state[64];

	if (!r->state) {
		snprintf(buf, size, "%s (%s)", text, name ? name : "?");
		return;
	}
	r->state(state, sizeof(state));
	snprintf(buf, size, "%s (%s; %s): it takes %s", text, name, state, r->needs());
}

/* Every hardware or software event starts disabled with its leader; the siblings follow the leader. */
static int counter_open(size_t c, pid_t tid, int leader)
{
	const struct event *ev = &events[c / HALVES];
	bool split = ev->flags & EV_SPLIT, kernel = c % HALVES;
	struct perf_event_attr attr = {
		.type = ev->type,
		.size = sizeof(attr),
		.config = ev->config,
		.read_format =
			PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
		.disabled = leader < 0,
		.exclude_user = split && kernel,
		/* Context switches and migrations happen in kernel mode: to exclude it would count none of
		   them. */
		.exclude_kernel = (split && !kernel) || ev->flags & EV_MODELESS,
		.exclude_hv = split,
	};
	int fd = syscall(SYS_perf_event_open, &attr, tid, -1, leader, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* A line "key: number" of /proc/TID/status, which a thread's id opens although no listing shows it. tid 0:
 * the caller. */
static int status_read(pid_t tid, const char *key, uint64_t *ret)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/status", tid ? tid : (pid_t)syscall(SYS_gettid));
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key))) {
			*ret = strtoull(line + strlen(key), NULL, 10);
			return 0;
		}
	return -ENOENT;
}

static void thread_close(struct thread *t)
{
	for (size_t c = 0; c < COUNTERS; c++)
		t->fd[c] = close_fd(t->fd[c]);
}

/* The leader's fd of a group of this thread, -1: the group is empty. */
static int group_leader(const struct thread *t, enum group g)
{
	for (size_t c = 0; c < COUNTERS; c++)
		if (events[c / HALVES].group == g && t->fd[c] >= 0)
			return t->fd[c];
	return -1;
}

static int thread_open(struct perf *p, struct thread *t, size_t *reterr_counter)
{
	for (size_t c = 0; c < COUNTERS; c++) {
		enum group g = events[c / HALVES].group;

		if (g == GROUP_NONE || !counter_in(p, c, g))
			continue;
		t->fd[c] = counter_open(c, t->tid, group_leader(t, g));
		if (t->fd[c] < 0) {
			int r = t->fd[c];

			t->fd[c] = -1;
			*reterr_counter = c;
			return r;
		}
	}
	return 0;
}

static void drop(struct perf *p, size_t c, int error)
{
	reason_format(error, p->reason[c], sizeof(p->reason[c]));
}

/* Gives up the last event of the table that takes open files; false: there is none left. */
static bool drop_last(struct perf *p, int error)
{
	for (size_t e = EVENTS; e-- > 0;) {
		bool used = false;

		for (size_t c = e * HALVES; c < (e + 1) * HALVES; c++)
			if (events[e].group != GROUP_NONE && counter_used(p, c)) {
				drop(p, c, error);
				used = true;
			}
		if (used)
			return true;
	}
	return false;
}

static size_t fds_needed(const struct perf *p)
{
	size_t k = 0;

	for (size_t c = 0; c < COUNTERS; c++)
		k += events[c / HALVES].group != GROUP_NONE && counter_used(p, c);
	return k * p->n;
}

/* Open files that this process may still have and does not need otherwise. */
static size_t fds_left(void)
{
	struct rlimit limit = {};
	DIR *dir = opendir("/proc/self/fd");
	size_t open = 0;

	while (dir && readdir(dir))
		open++;
	if (dir)
		closedir(dir);
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	return limit.rlim_cur > open + FDS_RESERVED ? limit.rlim_cur - open - FDS_RESERVED : 0;
}

/*
 * Opens everything on the first n threads. An event counts on every thread or on none: a sum with threads
 * missing would be a wrong figure. So whatever fails is dropped with its reason, and the rest is opened anew.
 */
static void open_first(struct perf *p, size_t n)
{
	size_t i = 0, bad;

	while (i < n) {
		int r = thread_open(p, &p->thread[i], &bad);

		if (r >= 0) {
			i++;
			continue;
		}
		if (r == -EMFILE || r == -ENFILE)
			drop_last(p, r);
		else
			drop(p, bad, r);
		for (size_t k = 0; k <= i; k++)
			thread_close(&p->thread[k]);
		i = 0;
	}
}

/* One thread tells what the machine lacks; what it has is then fitted to the open files that are left. */
static void open_all(struct perf *p)
{
	size_t left;

	open_first(p, MIN(p->n, 1U));
	if (p->n)
		thread_close(&p->thread[0]);
	left = fds_left();
	while (fds_needed(p) > left && drop_last(p, -EMFILE))
		;
	open_first(p, p->n);
}

int perf_open(const pid_t *tids, const int *roles, size_t n, struct perf **ret)
{
	_cleanup_(perf_closep) struct perf *p = NULL;

	p = calloc(1, sizeof(*p) + n * sizeof(p->thread[0]));
	if (!p)
		return -ENOMEM;
	p->n = n;
	for (size_t i = 0; i < n; i++)
		memset(p->thread[i].fd, 0xff, sizeof(p->thread[i].fd));
	for (size_t i = 0; i < n; i++) {
		if (roles[i] < 0 || roles[i] >= ROLES || tids[i] <= 0)
			return -EINVAL;
		p->thread[i].tid = tids[i];
		p->thread[i].role = roles[i];
		p->role_threads[roles[i]]++;
	}
	open_all(p);
	*ret = TAKE_PTR(p);
	return 0;
}

struct perf *perf_close(struct perf *p)
{
	for (size_t i = 0; p && i < p->n; i++)
		thread_close(&p->thread[i]);
	free(p);
	return NULL;
}

static void drop_group(struct perf *p, enum group g, int error)
{
	for (size_t c = 0; c < COUNTERS; c++)
		if (counter_in(p, c, g))
			drop(p, c, error);
}

/* An empty group reads as nothing. */
static int group_read(const struct thread *t, enum group g, struct reading *ret)
{
	int fd = group_leader(t, g);
	struct reading r = {};
	ssize_t n;

	if (fd >= 0) {
		n = read(fd, &r, sizeof(r));
		if (n < 0)
			return -errno;
		if ((size_t)n != offsetof(struct reading, value) + r.n * sizeof(r.value[0]))
			return -EIO;
	}
	*ret = r;
	return 0;
}

static int group_ioctl(const struct thread *t, unsigned long request)
{
	int r = 0;

	for (int g = 0; g < GROUPS; g++) {
		int fd = group_leader(t, g);

		if (fd >= 0 && ioctl(fd, request, 0) < 0 && r == 0)
			r = -errno;
	}
	return r;
}

static void thread_base(struct perf *p, struct thread *t)
{
	int r;

	for (size_t e = 0; e < EVENTS; e++) {
		if (!events[e].status || !counter_used(p, e * HALVES))
			continue;
		r = status_read(t->tid, events[e].status, &t->status_base[e]);
		if (r < 0)
			drop(p, e * HALVES, r);
	}
	for (int g = 0; g < GROUPS; g++) {
		r = group_read(t, g, &t->base[g]);
		if (r < 0)
			drop_group(p, g, r);
	}
}

/* PERF_EVENT_IOC_RESET leaves the times as they are: a base reading serves values and times alike. */
int perf_enable(struct perf *p)
{
	int r = 0;

	p->taken = false;
	memset(p->sum, 0, sizeof(p->sum));
	memset(p->group, 0, sizeof(p->group));
	for (size_t i = 0; i < p->n; i++)
		thread_base(p, &p->thread[i]);
	for (size_t i = 0; i < p->n && r >= 0; i++)
		r = group_ioctl(&p->thread[i], PERF_EVENT_IOC_ENABLE);
	return r;
}

static void group_add(struct perf *p, const struct thread *t, enum group g, const struct reading *now)
{
	const struct reading *base = &t->base[g];
	struct group_sum *sum = &p->group[t->role][g];
	uint64_t enabled = now->enabled_ns - base->enabled_ns, running = now->running_ns - base->running_ns;
	size_t slot = 0;

	sum->enabled_ns += enabled;
	sum->running_ns += running;
	if (running)
		sum->counted_ns += enabled;
	for (size_t c = 0; c < COUNTERS; c++) {
		double d;

		if (events[c / HALVES].group != g || t->fd[c] < 0)
			continue;
		d = now->value[slot] - base->value[slot];
		p->sum[t->role][c] += running && running < enabled ? d * enabled / running : d;
		slot++;
	}
}

static void thread_take(struct perf *p, const struct thread *t)
{
	struct reading now;
	uint64_t v = 0;
	int r;

	for (int g = 0; g < GROUPS; g++) {
		r = group_read(t, g, &now);
		if (r < 0)
			drop_group(p, g, r);
		else
			group_add(p, t, g, &now);
	}
	for (size_t e = 0; e < EVENTS; e++) {
		if (!events[e].status || !counter_used(p, e * HALVES))
			continue;
		r = status_read(t->tid, events[e].status, &v);
		if (r < 0)
			drop(p, e * HALVES, r);
		else
			p->sum[t->role][e * HALVES] += v - t->status_base[e];
	}
}

int perf_disable(struct perf *p)
{
	int r = 0, k;

	for (size_t i = 0; i < p->n; i++) {
		k = group_ioctl(&p->thread[i], PERF_EVENT_IOC_DISABLE);
		if (k < 0 && r == 0)
			r = k;
	}
	for (size_t i = 0; i < p->n; i++)
		thread_take(p, &p->thread[i]);
	p->taken = true;
	return r;
}

static const struct group_sum *counter_group(const struct perf *p, int role, size_t c)
{
	static const struct group_sum none;
	enum group g = events[c / HALVES].group;

	return g == GROUP_NONE ? &none : &p->group[role][g];
}

/* Why counter c has no value for a role; NULL: it has one. */
static const char *counter_reason(const struct perf *p, int role, size_t c)
{
	const struct group_sum *g = counter_group(p, role, c);

	if (p->reason[c][0])
		return p->reason[c];
	if (!p->taken)
		return "the counters were not read: the measured window did not end";
	if (!p->role_threads[role])
		return "no thread has this role";
	if (g->enabled_ns && !g->running_ns)
		return "the event was never on the CPU's monitoring unit: others held its counters all the "
		       "time";
	return NULL;
}

/* Threads whose group never got onto the PMU are taken to be like the others. */
static double counter_value(const struct perf *p, int role, size_t c)
{
	const struct group_sum *g = counter_group(p, role, c);
	double v = p->sum[role][c];

	return g->counted_ns ? (double)(uint64_t)(v * g->enabled_ns / g->counted_ns + 0.5) : v;
}

/* user + kernel of one role, or why not. */
static const char *event_value(const struct perf *p, int role, size_t e, double *ret)
{
	const struct group_sum *g = counter_group(p, role, e * HALVES);
	double v = 0;

	for (size_t c = e * HALVES; c < e * HALVES + halves(&events[e]); c++) {
		const char *reason = counter_reason(p, role, c);

		if (reason)
			return reason;
		v += counter_value(p, role, c);
	}
	if (v == 0 && events[e].flags & EV_NEVER_ZERO && g->running_ns)
		return "the counter stood still while the threads ran: this machine's monitoring unit does "
		       "not count";
	*ret = v;
	return NULL;
}

/* The halves by themselves: also when only one could be had, so that the sum is null. */
static int add_halves(const struct perf *p, int role, size_t e, json_object *o)
{
	int r = 0;

	for (size_t h = 0; h < HALVES; h++)
		if (!counter_reason(p, role, e * HALVES + h) && r == 0)
			r = json_add_u64(o, half_names[h], counter_value(p, role, e * HALVES + h));
	return r;
}

static json_object *event_json(const struct perf *p, int role, size_t e)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	const struct group_sum *g = counter_group(p, role, e * HALVES);
	bool split = events[e].flags & EV_SPLIT;
	const char *reason;
	double v;

	reason = event_value(p, role, e, &v);
	if (!o || (reason ? json_add_null(o, "value") : json_add_u64(o, "value", v)) < 0)
		return NULL;
	if (reason && json_add_str(o, "reason", reason) < 0)
		return NULL;
	if (split && add_halves(p, role, e, o) < 0)
		return NULL;
	if (reason)
		return TAKE_PTR(o);
	if (json_add_double(o, "running_ratio", g->enabled_ns ? (double)g->running_ns / g->enabled_ns : 1) <
		0)
		return NULL;
	if (g->running_ns < g->enabled_ns && json_add_bool(o, "scaled", true) < 0)
		return NULL;
	return TAKE_PTR(o);
}

json_object *perf_to_json(const struct perf *p)
{
	_cleanup_json_ json_object *o = json_object_new_object();

	for (int role = 0; o && role < ROLES; role++) {
		json_object *row = json_object_new_object();

		if (json_add(o, role_names[role], row) < 0)
			return NULL;
		for (size_t e = 0; e < EVENTS; e++)
			if (json_add(row, events[e].name, event_json(p, role, e)) < 0)
				return NULL;
	}
	return TAKE_PTR(o);
}

int perf_total(const struct perf *p, const char *event, double *ret)
{
	double sum = 0, v;
	size_t e = 0;

	while (e < EVENTS && !str_eq(events[e].name, event))
		e++;
	if (e == EVENTS)
		return -ENOENT;
	for (int role = 0; role < ROLES; role++) {
		if (!p->role_threads[role])
			continue;
		if (event_value(p, role, e, &v))
			return -ENODATA;
		sum += v;
	}
	if (!p->n)
		return -ENODATA;
	*ret = sum;
	return 0;
}

/* The first failure of an event's counters on the calling thread, or 0. */
static int event_try(size_t e)
{
	uint64_t v;

	if (events[e].status)
		return status_read(0, events[e].status, &v);
	for (size_t c = e * HALVES; c < e * HALVES + halves(&events[e]); c++) {
		_cleanup_close_ int fd = counter_open(c, 0, -1);

		if (fd < 0)
			return fd;
	}
	return 0;
}

static json_object *event_probe(size_t e)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	int r = event_try(e);
	const struct reason *why = reason_find(r);
	char reason[240];

	reason_format(r, reason, sizeof(reason));
	if (!o || json_add_str(o, "name", events[e].name) < 0 ||
		json_add_str(o, "kind", events[e].kind) < 0 || json_add_bool(o, "available", r == 0) < 0 ||
		json_add_str(o, "reason", r ? reason : NULL) < 0 ||
		json_add_str(o, "needs", r && why->needs ? why->needs() : NULL) < 0)
		return NULL;
	return TAKE_PTR(o);
}

json_object *perf_probe(void)
{
	_cleanup_json_ json_object *list = json_object_new_array();

	for (size_t e = 0; list && e < EVENTS; e++)
		if (json_push(list, event_probe(e)) < 0)
			return NULL;
	return TAKE_PTR(list);
}
