/* SPDX-License-Identifier: MIT */
/* The control thread of the load generator: connects, starts and parks the lanes, and keeps every wait
 * bounded. */
#include <inttypes.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"
#include "course.h"
#include "lane.h"
#include "limit.h"
#include "netpath.h"
#include "peer.h"
#include "resources.h"
#include "sockets.h"

#define MS UINT64_C(1000000)
#define START_NS (10000 * MS) /* for all threads to be set up: below the daemon's limit */
/* Without a byte while lanes drain: longer than a lane may starve for pinned memory, which says so itself. */
#define STALL_NS (4000 * MS)
#define LOOK_NS (500 * MS)    /* between two looks at the kernel's counts of all lanes */
#define CLOSE_NS (15000 * MS) /* without a byte: above the sum of what lane_close waits for */
#define CLOSE_LOOK_NS (100 * MS)
#define FIRST_BYTE_NS (5000 * MS)
#define FIRST_BYTE_LOOK_MS 20
#define SEND_S 10 /* for a daemon that does not read */

struct control {
	int fd;
	struct lg_shm *shm;
	struct crew crew;
	int *sockets;
	uint32_t command;    /* that has come and was not carried out yet, 0: none */
	uint64_t stopped_ns; /* when the senders of the phase were to end */
	int stop, gone;      /* LG_STOP has come; nobody is at the other end */
};

static int send_message(struct control *c, const struct lg_message *m, const int *fds, size_t n)
{
	union {
		char bytes[CMSG_SPACE(LG_FDS_PER_MESSAGE * sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct iovec iov = {.iov_base = (void *)m, .iov_len = sizeof(*m)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;

	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	}
	if (sendmsg(c->fd, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(*m))
		return 0;
	c->gone = 1;
	return -EPIPE;
}

static void set_phase(struct control *c, uint32_t phase)
{
	__atomic_store_n(&c->shm->phase, phase, __ATOMIC_RELEASE);
}

static int report(struct control *c, uint32_t type)
{
	const struct lg_message m = {.type = type};

	set_phase(c, type);
	return send_message(c, &m, NULL, 0);
}

static void report_failure(struct control *c, const struct fault *fault)
{
	struct lg_message m = {.type = LG_FAILED, .error = fault->error};

	if (c->gone)
		return;
	str_copy(m.text, fault->text);
	set_phase(c, LG_FAILED);
	send_message(c, &m, NULL, 0);
}

/* LG_STOP concerns the phase that runs; any other order waits until that has ended. */
static int take_order(struct control *c, struct fault *reterr)
{
	struct lg_message m;
	ssize_t n = recv(c->fd, &m, sizeof(m), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		c->gone = 1;
		return -EPIPE;
	}
	if (n != (ssize_t)sizeof(m) || m.type < LG_GO_WARMUP || m.type > LG_STOP)
		return fault_set(reterr, -EPROTO, "protocol", "", "an order that is none: type %u, %zd bytes",
			m.type, n);
	if (m.type == LG_STOP)
		c->stop = 1;
	else if (c->command)
		return fault_set(reterr, -EPROTO, "protocol", "", "order %u came while order %u waits",
			m.type, c->command);
	else
		c->command = m.type;
	return 0;
}

/* Waits for an order, for the lanes, or for the time to pass; a lane's error becomes the run's. */
static int control_wait(struct control *c, uint64_t ns, struct fault *reterr)
{
	struct pollfd p[] = {{.fd = c->fd, .events = POLLIN}, {.fd = c->crew.event, .events = POLLIN}};
	const struct timespec limit = {
		.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
	uint64_t events;
	int r;

	if (ppoll(p, ARRAY_SIZE(p), &limit, NULL) <= 0)
		return 0;
	if (p[1].revents && read(c->crew.event, &events, sizeof(events)) > 0) {
		r = crew_error(&c->crew, reterr);
		if (r < 0)
			return r;
	}
	return p[0].revents ? take_order(c, reterr) : 0;
}

static int wait_parked(struct control *c, uint64_t ns, const char *what, struct fault *reterr)
{
	uint64_t now, deadline = clock_now_ns() + ns;
	int r;

	while (crew_busy(&c->crew)) {
		now = clock_now_ns();
		if (now >= deadline)
			return fault_set(reterr, -ETIMEDOUT, "timeout", "",
				"%u of %u lane threads did not %s in %" PRIu64 " s", crew_busy(&c->crew),
				c->crew.active, what, ns / 1000 / MS);
		r = control_wait(c, deadline - now, reterr);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Of both kinds: of a connection to another host only one end is here. */
static uint64_t bytes_moved(const struct control *c)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < c->crew.lanes; i++) {
		const struct lg_counts *now = &c->crew.lane[i].side->now;

		sum += __atomic_load_n(&now->bytes_received, __ATOMIC_RELAXED);
		sum += __atomic_load_n(&now->bytes_sent, __ATOMIC_RELAXED);
	}
	return sum;
}

static uint64_t bytes_moved_by_kernel(const struct control *c)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < c->crew.lanes; i++)
		if (crew_has(&c->crew, i))
			sum += lane_kernel_bytes(c->sockets[i]);
	return sum;
}

/* What has moved, by the lanes' counts and by the kernel's, which a call of a large message and a low-water
 * mark keep from the lanes for long. */
struct progress {
	uint64_t moved, by_kernel, looked, since;
};

/* For how long nothing has moved, in ns. The daemon is told: it waits as long. */
static uint64_t idle_ns(struct control *c, struct progress *p)
{
	uint64_t now = clock_now_ns(), moved = bytes_moved(c), by_kernel = p->by_kernel;

	if (now - p->looked > LOOK_NS) {
		by_kernel = bytes_moved_by_kernel(c);
		p->looked = now;
	}
	if (moved != p->moved || by_kernel != p->by_kernel)
		p->since = now;
	p->moved = moved;
	p->by_kernel = by_kernel;
	__atomic_store_n(&c->shm->moved_ns, p->since, __ATOMIC_RELAXED);
	return now - p->since;
}

/* Senders end after their message; receivers take what is left. As long as bytes move, there is no limit. */
static int drain(struct control *c, struct fault *reterr)
{
	struct progress p = {.since = clock_now_ns()};
	int r;

	crew_stop(&c->crew);
	while (crew_busy(&c->crew)) {
		if (idle_ns(c, &p) > STALL_NS)
			return fault_set(reterr, -ETIMEDOUT, "stalled", "",
				"%u of %u lane threads hang: no byte has moved for %" PRIu64
				" s after the end",
				crew_busy(&c->crew), c->crew.active, STALL_NS / 1000 / MS);
		crew_kick(&c->crew);
		r = control_wait(c, MS, reterr);
		if (r < 0)
			return r;
	}
	return crew_error(&c->crew, reterr);
}

/* The phase of receivers whose senders are on another host begins with the first byte, or their window would
 * hold the time that the other host needed to be told. */
static int await_first_byte(struct control *c, struct fault *reterr)
{
	uint64_t deadline = clock_now_ns() + FIRST_BYTE_NS;
	uint32_t lanes = c->shm->plan.lanes;
	_cleanup_free_ struct pollfd *p = calloc(lanes, sizeof(*p));
	int r = 0;

	if (!p)
		return fault_set(reterr, -ENOMEM, "memory", "", "no memory for %u lanes", lanes);
	for (uint32_t i = 0; i < lanes; i++)
		p[i] = (struct pollfd){.fd = c->sockets[i * LG_SIDES + LG_RECEIVER], .events = POLLIN};
	while (r == 0 && poll(p, lanes, FIRST_BYTE_LOOK_MS) <= 0) {
		r = control_wait(c, 0, reterr);
		if (r == 0 && clock_now_ns() >= deadline)
			r = fault_set(reterr, -ETIMEDOUT, "stalled", "",
				"no byte has come from the other host for %" PRIu64 " s",
				FIRST_BYTE_NS / 1000 / MS);
	}
	return r;
}

static int run_phase(struct control *c, uint64_t ns, struct fault *reterr)
{
	uint64_t now, deadline;
	int r;

	r = c->shm->plan.role == LG_ROLE_RECEIVER ? await_first_byte(c, reterr) : 0;
	if (r < 0)
		return r;
	now = clock_now_ns();
	deadline = now + ns;
	c->stop = 0;
	c->shm->start_ns = now;
	/* A little later than this thread's own word, should the tick of the stamps be known too short. */
	c->crew.until = clock_stamp() + clock_ns_to_stamp(ns + ns / 1024);
	crew_release(&c->crew, CREW_RUN); /* which takes long where lanes begin before it returns */
	/* Receivers of another host's senders may end by themselves. */
	for (now = clock_now_ns(); now < deadline && !c->stop && crew_busy(&c->crew); now = clock_now_ns()) {
		r = control_wait(c, deadline - now, reterr);
		if (r < 0)
			return r;
	}
	c->stopped_ns = MIN(clock_now_ns(), deadline);
	return drain(c, reterr);
}

/* A copy of the counters, while their writers are parked. */
static void snapshot(struct control *c, size_t offset)
{
	for (uint32_t i = 0; i < c->crew.lanes; i++) {
		struct lg_side *side = c->crew.lane[i].side;

		memcpy((char *)side + offset, &side->now, sizeof(side->now));
	}
}

static void reset_histograms(struct control *c)
{
	for (uint32_t i = 0; i < c->crew.lanes; i++) {
		hist_reset(&c->crew.lane[i].side->latency);
		hist_reset(&c->crew.lane[i].side->round_trip);
	}
}

/* The last byte's receive; of senders whose receivers are on another host, its send. Stamps are turned into
 * CLOCK_MONOTONIC by their distance from now. */
static uint64_t last_move_ns(const struct control *c)
{
	uint64_t now = clock_now_ns(), stamp = clock_stamp(), age = UINT64_MAX;

	for (uint32_t i = 0; i < c->crew.lanes; i++)
		if (crew_has(&c->crew, i) &&
			(c->crew.split || c->crew.workload->receives[c->crew.lane[i].role]))
			age = MIN(age, clock_stamp_to_ns(stamp - c->crew.lane[i].last_move));
	return age == UINT64_MAX ? 0 : now - age;
}

static int go_warmup(struct control *c, struct fault *reterr)
{
	uint64_t ns = c->shm->plan.warmup_ns;
	int r;

	r = ns ? run_phase(c, ns, reterr) : 0;
	if (r < 0)
		return r;
	snapshot(c, offsetof(struct lg_side, at_start));
	c->shm->start_ns = 0; /* the warm-up's: should the window never begin, nothing was measured in it */
	return report(c, LG_WARMED);
}

static int go_measure(struct control *c, struct fault *reterr)
{
	int r;

	reset_histograms(c);
	r = run_phase(c, c->shm->plan.duration_ns, reterr);
	if (r < 0)
		return r;
	snapshot(c, offsetof(struct lg_side, at_end));
	/* A flow that stood still at the end did so in the window: its silence is not cut off. After the
	 * snapshot, which is read from then on. */
	__atomic_store_n(&c->shm->end_ns, MAX(last_move_ns(c), c->stopped_ns), __ATOMIC_RELEASE);
	return report(c, LG_MEASURED);
}

static int go_close(struct control *c, struct fault *reterr)
{
	struct progress p = {.since = clock_now_ns()};
	int r;

	crew_release(&c->crew, CREW_CLOSE);
	while (crew_busy(&c->crew)) {
		if (idle_ns(c, &p) > CLOSE_NS)
			return fault_set(reterr, -ETIMEDOUT, "timeout", "",
				"%u of %u lane threads did not close in %" PRIu64 " s", crew_busy(&c->crew),
				c->crew.active, CLOSE_NS / 1000 / MS);
		r = control_wait(c, CLOSE_LOOK_NS, reterr);
		if (r < 0)
			return r;
	}
	r = crew_error(&c->crew, reterr);
	return r < 0 ? r : report(c, LG_DONE);
}

static int (*const orders[LG_STOP])(struct control *, struct fault *) = {
	[LG_GO_WARMUP] = go_warmup,
	[LG_GO_MEASURE] = go_measure,
	[LG_GO_CLOSE] = go_close,
};

static int carry_out_orders(struct control *c, struct fault *reterr)
{
	uint32_t order = 0;
	int r;

	while (order != LG_GO_CLOSE) {
		while (!c->command) {
			r = control_wait(c, 3600 * 1000 * MS, reterr);
			if (r < 0)
				return r;
		}
		order = c->command;
		c->command = 0;
		set_phase(c, order);
		r = orders[order](c, reterr);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_plan(const struct lg_plan *p, struct fault *reterr)
{
	const struct transfer_mode *mode = transfer_mode_find(p->mode);
	const struct receive_mode *receive = receive_mode_find(p->receive);
	const struct {
		const char *name;
		uint64_t value, min, max;
	} ranges[] = {
		{"threads", p->lanes, LIMIT_THREADS_MIN, LIMIT_THREADS_MAX},
		{"size", p->size, LIMIT_SIZE_MIN, LIMIT_SIZE_MAX},
		{"fields", p->fields, LIMIT_FIELDS_MIN, LIMIT_FIELDS_MAX},
	};
	int r;

	if (p->version != LG_VERSION)
		return fault_set(reterr, -EPROTO, "version", "",
			"the plan is of version %u, this program of %u", p->version, LG_VERSION);
	if (!mode || !receive || !workload_find(p->workload) ||
		(p->role == LG_ROLE_BOTH && !netpath_known(p->path)))
		return fault_set(reterr, -EINVAL, "unknown_name", "",
			"unknown mode '%s', receive mode '%s', workload '%s' or path '%s'", p->mode,
			p->receive, p->workload, p->path);
	if (receive->caps & RECEIVE_STREAM_ONLY && !workload_find(p->workload)->back_to_back)
		return fault_set(reterr, -EINVAL, "invalid_request", "receive",
			"receive mode %s does not go with workload %s", p->receive, p->workload);
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (ranges[i].value < ranges[i].min || ranges[i].value > ranges[i].max)
			return fault_set(reterr, -ERANGE, "out_of_range", ranges[i].name,
				"%s must be from %" PRIu64 " to %" PRIu64 ", not %" PRIu64, ranges[i].name,
				ranges[i].min, ranges[i].max, ranges[i].value);
	r = peer_check(p, reterr);
	if (r < 0)
		return r;
	r = mode->probe ? mode->probe() : 0;
	if (r < 0)
		return fault_set(
			reterr, r, "mode", "mode", "this kernel lacks %s: %s", p->mode, strerror(-r));
	r = receive->probe ? receive->probe() : 0;
	return r < 0 ? fault_set(reterr, r, "mode", "receive", "this kernel lacks %s: %s", p->receive,
			       strerror(-r))
		     : 0;
}

static int prepare(struct lg_shm *shm, struct fault *reterr)
{
	const struct lg_plan *p = &shm->plan;
	int r;

	r = check_plan(p, reterr);
	if (r < 0)
		return r;
	r = resources_raise_limits(p, reterr);
	if (r < 0)
		return r;
	clock_init();
	str_copy(shm->clock, clock_name());
	shm->fields = MIN(p->fields, p->size);
	shm->unseen = !!(receive_mode_find(p->receive)->caps & RECEIVE_DISCARDS);
	shm->latency_valid = p->size >= MESSAGE_HEADER && !shm->unseen;
	return 0;
}

static int open_path(struct control *c, struct netpath *ret, struct fault *reterr)
{
	const struct lg_plan *p = &c->shm->plan;
	int r;

	r = netpath_open(p->path, !!(p->flags & LG_IPV6), ret, reterr);
	if (r < 0)
		return r;
	for (int side = 0; side < LG_SIDES; side++)
		if (netpath_enter(ret, side) == 0)
			netpath_device(ret, side, &c->shm->device[side]);
	return 0;
}

static int connect_path(struct control *c, struct fault *reterr)
{
	const struct lg_plan *p = &c->shm->plan;
	struct netpath path;
	int r;

	r = open_path(c, &path, reterr);
	if (r < 0)
		return r;
	/* Only now, since a user namespace has no right to lock more memory. */
	r = resources_ring(p, &c->shm->ring, reterr);
	if (r < 0)
		return r;
	return sockets_connect(p, &path, c->sockets, reterr);
}

static int connect_peer(struct control *c, struct fault *reterr)
{
	int r = resources_ring(&c->shm->plan, &c->shm->ring, reterr);

	return r < 0 ? r : peer_connect(c->shm, c->sockets, reterr);
}

static int connect_lanes(struct control *c, struct fault *reterr)
{
	const struct lg_plan *p = &c->shm->plan;
	int r;

	c->sockets = malloc(p->lanes * LG_SIDES * sizeof(int));
	if (!c->sockets)
		return fault_set(reterr, -ENOMEM, "memory", "", "no memory for %u lanes", p->lanes);
	for (uint32_t i = 0; i < p->lanes * LG_SIDES; i++)
		c->sockets[i] = -1;
	r = p->role == LG_ROLE_BOTH ? connect_path(c, reterr) : connect_peer(c, reterr);
	return r < 0 ? r : resources_drop_privileges(reterr);
}

static int report_sockets(struct control *c)
{
	int fds[LG_FDS_PER_MESSAGE], r;
	struct lg_message m = {.type = LG_SOCKETS};

	for (uint32_t i = 0; i < c->crew.lanes; i++) {
		if (crew_has(&c->crew, i))
			fds[m.count++] = c->sockets[i];
		if (!m.count || (m.count < LG_FDS_PER_MESSAGE && i + 1 < c->crew.lanes))
			continue;
		r = send_message(c, &m, fds, m.count);
		if (r < 0)
			return r;
		m.first += m.count;
		m.count = 0;
	}
	return report(c, LG_CONNECTED);
}

static int look(struct control *c, struct fault *reterr)
{
	struct netpath path;
	int r = open_path(c, &path, reterr);

	return r < 0 ? r : report(c, LG_DONE);
}

static int course(struct control *c, struct fault *reterr)
{
	int r;

	r = prepare(c->shm, reterr);
	if (r < 0)
		return r;
	if (c->shm->plan.flags & LG_LOOK)
		return look(c, reterr);
	r = connect_lanes(c, reterr);
	if (r < 0)
		return r;
	r = crew_start(&c->crew, c->shm, c->sockets, reterr);
	if (r < 0)
		return r;
	r = wait_parked(c, START_NS, "start", reterr);
	if (r < 0)
		return r;
	c->shm->huge_bytes = resources_huge_bytes();
	r = report_sockets(c);
	return r < 0 ? r : carry_out_orders(c, reterr);
}

int control_run(int fd, struct lg_shm *shm)
{
	const struct timeval limit = {.tv_sec = SEND_S};
	struct control c = {.fd = fd, .shm = shm};
	struct fault fault = {};
	int r;

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	r = course(&c, &fault);
	if (r < 0) {
		report_failure(&c, &fault);
		return 1;
	}
	if (c.crew.lane) /* a look at the path makes none */
		crew_join(&c.crew);
	free(c.sockets);
	return 0;
}
