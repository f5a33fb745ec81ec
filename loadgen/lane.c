/* SPDX-License-Identifier: MIT */
/* Lanes outside the hot loops: buffers, threads, the gate between the phases, and the end of a connection. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "clock.h"
#include "lane.h"
#include "peer.h"

#define CLOSE_MS 5000 /* without a byte: for the completions, and again for the peer's FIN */
#define CLOSE_LOOK_MS 100
#define SETTLE_MS 1000 /* for the last acknowledgement */

#define PAGE 4096u
#define TCP_CLOSE_STATE 7 /* TCP_CLOSE of the kernel's net/tcp_states.h */

/* Bytes a call: few calls and hooks, and the buffers of all lanes stay in the CPUs' caches. */
#define RECEIVE_MAX (128u << 10)
#define RECEIVE_MAX_MANY (64u << 10)
#define RECEIVE_MAX_LONG (1024u << 10)
#define MANY_LANES 64

#define CROWD 4u /* connections a CPU whose data stays in its caches whoever has his turn (measured) */
#define NICE_MAX 19u

#define LARGE_MESSAGE (64u << 10)
#define LARGE_SEGMENT (16u << 10) /* the loopback's, not Ethernet's; at first it is half of the window */

#define LOWAT (256u << 10)
#define LOWAT_APART (1024u << 10) /* where sender and receiver have a CPU each, and no cache together */
#define LOWAT_APART_MESSAGES 4

#define LENT_SMALL (2u << 10)
#define LENT_LARGE (32u << 10) /* between them a mark loses more than it gains (measured) */
#define LOWAT_LENT_SMALL (64u << 10)
#define LOWAT_LENT (128u << 10)
#define LOWAT_LENT_MESSAGES 8
#define LOWAT_ROOM (2048u << 10)

uint32_t placement_cpu(uint32_t connection, uint32_t role, uint32_t connections, uint32_t ncpus)
{
	if (connections * 2 <= ncpus)
		return connection * 2 + role;
	return connection % ncpus;
}

/*
 * A lane's receiver is entitled to no more of its CPU than each of the others that share it, and needs far
 * more to keep up with its sender. Behind hundreds of senders it waits for its turn while they fill their
 * sockets, up to some MiB each, and what it then reads has left the caches. A sender that is nicer gives way
 * to the receiver that it has woken. A level is worth a factor of 1.25 (Linux,
 * Documentation/scheduler/sched-nice-design.rst).
 */
uint32_t sender_nice(uint32_t connections, uint32_t ncpus)
{
	double crowd = (double)connections / ncpus / CROWD;
	uint32_t nice = 0;

	for (; crowd > 1 && nice < NICE_MAX; nice++)
		crowd /= 1.25;
	return nice;
}

int lane_fail(struct lane *ln, int error, const char *call)
{
	const struct inbox_error *e = &ln->in.error;
	struct lg_side *side = ln->side;

	if (error != -EBADMSG)
		snprintf(side->error_text, sizeof(side->error_text), "%s: %s", call, strerror(-error));
	else if (e->in_payload)
		snprintf(side->error_text, sizeof(side->error_text),
			"message %llu: byte %llu is not what was sent", (unsigned long long)e->sequence,
			(unsigned long long)e->got);
	else
		snprintf(side->error_text, sizeof(side->error_text), "message %llu came where %llu was due",
			(unsigned long long)e->got, (unsigned long long)e->expected);
	__atomic_store_n(&side->error, error, __ATOMIC_RELEASE);
	return error;
}

static void bind_to_cpu(struct lane *ln)
{
	struct crew *crew = ln->crew;
	cpu_set_t allowed, one;
	uint32_t index;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return;
	index = placement_cpu(ln->connection, ln->role, crew->lanes / 2, (uint32_t)CPU_COUNT(&allowed));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || index--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one) == 0)
			ln->side->cpu = cpu;
		return;
	}
}

static int is_apart(const struct lane *ln)
{
	return ln->crew->lanes <= ln->crew->cpus;
}

static int has_large_segments(const struct lane *ln)
{
	socklen_t len = sizeof(int);
	int mss = 0;

	return getsockopt(ln->fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &len) == 0 && mss >= (int)LARGE_SEGMENT;
}

/* The sender's congestion control is moved by losses. One that measures the path by its acknowledgements,
 * such as bbr, paces the sender by them, and they should come early. */
static int is_loss_based(const struct lane *ln)
{
	char name[sizeof(ln->side->tcp.congestion)] = "";
	socklen_t len = sizeof(name) - 1;

	return getsockopt(ln->peer->fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 &&
	       (str_eq(name, "cubic") || str_eq(name, "reno"));
}

/*
 * While a receive call has the socket, the sender's CPU only queues the packets that arrive; the receiver's
 * processes and acknowledges them before the call ends. The call goes on as long as some came meanwhile and
 * there is room for them. So a long one takes work from the sender, whose CPU is the limit where large
 * messages are copied and both sides have one. A mark would have the sender's acknowledge, but where segments
 * are small, or few on their way, or the sender is paced, that is outweighed.
 */
static int receives_long(const struct lane *ln)
{
	return is_apart(ln) && !(ln->mode->caps & MODE_DEFERRED) && ln->layout->size >= LARGE_MESSAGE &&
	       !ln->crew->shm->plan.sndbuf && has_large_segments(ln) && is_loss_based(ln);
}

static uint64_t low_water_copied(const struct lane *ln)
{
	uint64_t some = LOWAT_APART_MESSAGES * ln->layout->size;

	if (receives_long(ln))
		return 0;
	return is_apart(ln) ? MIN(MAX(some, (uint64_t)LOWAT), (uint64_t)LOWAT_APART) : LOWAT;
}

/* A deferred sender waits for its buffers, and for the kernel's room for completions: the mark stays far
 * below what it can have on its way, or both sides would wait until an acknowledgement is no longer delayed.
 */
static uint64_t low_water_lent(const struct lane *ln)
{
	uint64_t size = ln->layout->size, ring = size * ln->crew->shm->ring;
	uint64_t most = is_apart(ln) ? LOWAT_APART : LOWAT_LENT;

	if (size <= LENT_SMALL)
		return LOWAT_LENT_SMALL;
	return size < LENT_LARGE ? 0 : MIN(MIN(LOWAT_LENT_MESSAGES * size, most), ring / 4);
}

/*
 * Fewer wake-ups, which cost the sender more than many small messages: the receiver of a stream sleeps until
 * a good part of what its socket holds is there, or is kicked. The kernel makes the receive buffer twice as
 * large as the mark, and wakes the receiver before it is full, so that neither side waits for the other.
 * Congestion control counts packets, and those of a deferred sender's small messages are small: for its
 * receiver the mark holds for a moment only (gather), or each delayed acknowledgement would stop the flow for
 * 40 ms.
 */
static uint32_t low_water(const struct lane *ln)
{
	return (uint32_t)(ln->mode->caps & MODE_DEFERRED ? low_water_lent(ln) : low_water_copied(ln));
}

/*
 * The kernel has a niceness for each thread; one that it refuses is none. A receiver without a mark wakes for
 * each packet: what its sender gains by giving way it loses by being interrupted.
 */
static void give_way(struct lane *ln)
{
	struct crew *crew = ln->crew;
	int before;

	if (crew->split || ln->role != LG_SENDER || !crew->workload->back_to_back || !low_water(ln))
		return;
	before = getpriority(PRIO_PROCESS, 0);
	setpriority(PRIO_PROCESS, 0, before + (int)sender_nice(crew->lanes / LG_SIDES, crew->cpus));
	ln->side->nice = getpriority(PRIO_PROCESS, 0) - before; /* 19 in all is the most */
}

static int set_mark(const struct lane *ln, uint32_t bytes)
{
	return setsockopt(ln->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes)) < 0 ? -errno : 0;
}

/*
 * A larger mark before the one that is meant leaves a larger receive buffer behind, which may still grow. A
 * deferred sender's first small messages come with a page's room each; the kernel takes what follows to be
 * like them, and the window that it then announces may be smaller than the packet that waits for it. A packet
 * in this plight is cut and sent when the timer for closed windows fires, after 200 ms.
 */
static int set_low_water(struct lane *ln)
{
	int small = ln->mode->caps & MODE_DEFERRED && ln->layout->size <= LENT_SMALL;
	int r;

	ln->call = "setsockopt(SO_RCVLOWAT)";
	/* Of a sender far away nobody here knows when it has ended. */
	if (ln->crew->split || !ln->crew->workload->back_to_back)
		return 0;
	r = small ? set_mark(ln, LOWAT_ROOM) : 0;
	if (r < 0)
		return r;
	if (small)
		ln->recv_flags = MSG_DONTWAIT;
	return set_mark(ln, low_water(ln));
}

int lane_wait_for_bytes(struct lane *ln)
{
	struct pollfd p = {.fd = ln->fd, .events = POLLIN};
	int r;

	ln->call = "setsockopt(SO_RCVLOWAT)";
	r = set_mark(ln, 1);
	if (r < 0)
		return r;
	if (!lane_drained(ln)) /* a kick may have come before */
		poll(&p, 1, -1);
	return set_mark(ln, low_water(ln));
}

static size_t receive_bytes(const struct lane *ln)
{
	size_t max = ln->crew->shm->plan.lanes > MANY_LANES ? RECEIVE_MAX_MANY : RECEIVE_MAX;

	if (!ln->crew->workload->back_to_back)
		return MIN(ln->layout->size, max);
	return receives_long(ln) ? RECEIVE_MAX_LONG : max;
}

static int set_up_receive(struct lane *ln)
{
	size_t bytes = receive_bytes(ln);
	void *p;
	int r;

	if (posix_memalign(&p, PAGE, bytes))
		return -ENOMEM;
	ln->buf = memset(p, 0, bytes);
	ln->buf_size = bytes;
	r = ln->receive->open ? ln->receive->open(ln) : 0;
	return r < 0 ? r : set_low_water(ln);
}

/* Zeroed, cache-line aligned, and never of size 0. */
static void *new_state(size_t size)
{
	size_t bytes = MAX((size + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1), (size_t)CACHE_LINE);
	void *p = aligned_alloc(CACHE_LINE, bytes);

	return p ? memset(p, 0, bytes) : NULL;
}

int lane_set_nodelay(struct lane *ln, int on)
{
	ln->call = "setsockopt(TCP_NODELAY)";
	return setsockopt(ln->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ? -errno : 0;
}

static int set_up_outbox(struct lane *ln)
{
	uint32_t slots = ln->crew->shm->ring;

	ln->call = "memory of the messages";
	if (ln->mode->caps & MODE_FILE)
		return outbox_init_file(&ln->out, ln->layout, slots);
	return outbox_init(&ln->out, ln->layout, slots);
}

/* After binding, so that memory is near the CPU. A thread that cannot be bound goes on, its cpu stays -1. */
int lane_set_up(struct lane *ln)
{
	const struct workload *w = ln->crew->workload;
	const struct lg_shm *shm = ln->crew->shm;
	int r;

	if (shm->plan.flags & LG_PIN)
		bind_to_cpu(ln);
	ln->call = "memory of the lane";
	ln->state = new_state(ln->mode->state_size);
	ln->receive_state = new_state(ln->receive->state_size);
	if (!ln->state || !ln->receive_state)
		return -ENOMEM;
	r = w->sends[ln->role] ? set_up_outbox(ln) : 0;
	if (r < 0)
		return r;
	inbox_init(&ln->in, ln->layout, !!(shm->plan.flags & LG_VERIFY), &ln->side->latency);
	ln->in.marked = ln->crew->split && ln->role == LG_RECEIVER;
	if (!shm->latency_valid)
		ln->in.latency = NULL;
	r = ln->mode->open ? ln->mode->open(ln) : 0;
	if (r < 0)
		return r;
	r = w->receives[ln->role] ? set_up_receive(ln) : 0;
	if (r >= 0)
		give_way(ln);
	return r;
}

static void tear_down(struct lane *ln)
{
	if (ln->mode->close && ln->state)
		ln->mode->close(ln);
	if (ln->receive->close && ln->receive_state)
		ln->receive->close(ln);
	free(TAKE_PTR(ln->state));
	free(TAKE_PTR(ln->receive_state));
	free(TAKE_PTR(ln->buf));
	outbox_done(&ln->out);
	ln->fd = close_fd(ln->fd);
}

uint64_t lane_kernel_bytes(int fd)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0
		       ? 0
		       : info.tcpi_bytes_acked + info.tcpi_bytes_received;
}

/* What is queued goes on moving after the last call, for long on a slow path. */
struct patience {
	uint64_t bytes, deadline;
};

static int has_patience(const struct lane *ln, struct patience *p)
{
	uint64_t now = clock_now_ns(), bytes = lane_kernel_bytes(ln->fd);

	if (bytes != p->bytes || !p->deadline)
		p->deadline = now + CLOSE_MS * 1000000ULL;
	p->bytes = bytes;
	return now < p->deadline;
}

static int collect_completions(struct lane *ln)
{
	const struct lg_counts *now = &ln->side->now;
	struct patience patience = {};
	int r;

	while (now->zc_done < now->zc_sends) {
		r = ln->mode->reap(ln, 20);
		if (r < 0)
			return lane_fail(ln, r, ln->call);
		if (r || has_patience(ln, &patience))
			continue;
		snprintf(ln->side->error_text, sizeof(ln->side->error_text),
			"%llu of %llu zero-copy sends have not completed within %d s",
			(unsigned long long)(now->zc_sends - now->zc_done), (unsigned long long)now->zc_sends,
			CLOSE_MS / 1000);
		__atomic_store_n(&ln->side->error, -ETIMEDOUT, __ATOMIC_RELEASE);
		return -ETIMEDOUT;
	}
	return 0;
}

static int expect_end(struct lane *ln)
{
	struct pollfd p = {.fd = ln->fd, .events = POLLIN};
	struct patience patience = {};
	char byte;
	ssize_t n;

	do {
		/* A low-water mark would hide the FIN from nobody: poll reports POLLIN at the end of the
		 * stream. */
		while ((n = poll(&p, 1, CLOSE_LOOK_MS)) == 0 && has_patience(ln, &patience))
			;
		if (n == 0)
			return lane_fail(ln, -ETIMEDOUT, "recv (the peer's FIN)");
		n = recv(ln->fd, &byte, 1, MSG_DONTWAIT);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n < 0)
		return lane_fail(ln, -errno, "recv (the peer's FIN)");
	return n ? lane_fail(ln, -EPROTO, "recv (bytes behind the last message)") : 0;
}

static int end_stream(struct lane *ln)
{
	return shutdown(ln->fd, SHUT_WR) < 0 ? lane_fail(ln, -errno, "shutdown") : 0;
}

/* Both FINs are acknowledged when the state is CLOSE; before that the counts of acknowledged bytes may still
 * grow. */
static int settled_tcp_info(struct lane *ln, struct tcp_info *ret)
{
	uint64_t deadline = clock_now_ns() + SETTLE_MS * 1000000ULL;
	socklen_t len;

	for (;;) {
		len = sizeof(*ret);
		memset(ret, 0, sizeof(*ret));
		if (getsockopt(ln->fd, IPPROTO_TCP, TCP_INFO, ret, &len) < 0)
			return lane_fail(ln, -errno, "getsockopt(TCP_INFO)");
		if (ret->tcpi_state == TCP_CLOSE_STATE || clock_now_ns() >= deadline)
			return 0;
		poll(NULL, 0, 1);
	}
}

/*
 * Raw figures of the kernel. Each end's bytes_acked counts its own FIN as a byte, and bytes_received the
 * peer's FIN; the side that connected (the receiver, between two hosts the sender) has its SYN in bytes_acked
 * as well. What two hosts say to each other before the first message is left out.
 */
static int record_tcp(struct lane *ln)
{
	struct lg_tcp *tcp = &ln->side->tcp;
	socklen_t len = sizeof(tcp->congestion);
	uint32_t prelude = ln->crew->split ? peer_prelude(ln->connection) : 0;
	struct tcp_info info;
	int value = 0, r;

	r = settled_tcp_info(ln, &info);
	if (r < 0)
		return r;
	tcp->mss = info.tcpi_snd_mss;
	tcp->bytes_acked = info.tcpi_bytes_acked - prelude;
	tcp->bytes_received = info.tcpi_bytes_received - prelude;
	tcp->bytes_sent = info.tcpi_bytes_sent - prelude;
	tcp->bytes_retrans = info.tcpi_bytes_retrans;
	tcp->rtt_us = info.tcpi_rtt;
	tcp->total_retrans = info.tcpi_total_retrans;
	getsockopt(ln->fd, IPPROTO_TCP, TCP_CONGESTION, tcp->congestion, &len);
	len = sizeof(value);
	if (getsockopt(ln->fd, SOL_SOCKET, SO_SNDBUF, &value, &len) == 0)
		tcp->sndbuf = (uint32_t)value;
	if (getsockopt(ln->fd, SOL_SOCKET, SO_RCVBUF, &value, &len) == 0)
		tcp->rcvbuf = (uint32_t)value;
	tcp->valid = 1;
	return 0;
}

int lane_close(struct lane *ln)
{
	static int (*const steps[LG_SIDES][4])(struct lane *) = {
		[LG_SENDER] = {collect_completions, end_stream, expect_end, record_tcp},
		[LG_RECEIVER] = {collect_completions, expect_end, end_stream, record_tcp},
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(steps[0]); i++) {
		r = steps[ln->role][i](ln);
		if (r < 0)
			return r;
	}
	tear_down(ln);
	return 0;
}
