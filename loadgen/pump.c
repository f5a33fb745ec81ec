/* SPDX-License-Identifier: MIT */
/* The hot loops: a message out, bytes in, and the workloads made of them. No allocation, lock, log or
 * formatting here. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"
#include "lane.h"

#define RING_WAIT_MS 100
#define REFUSED_WAIT_MS 10
#define GATHER_NS 100000
#define STARVED_MAX 300 /* x REFUSED_WAIT_MS: others hold all the memory that may be pinned */

int lane_drained(const struct lane *ln)
{
	if (ln->crew->split)
		return ln->in.ended && !ln->in.at;
	return __atomic_load_n(&ln->peer->total_valid, __ATOMIC_ACQUIRE) &&
	       ln->side->now.bytes_received == ln->peer->total;
}

void lane_publish_total(struct lane *ln)
{
	if (ln->crew->split)
		return;
	ln->total = ln->side->now.bytes_sent;
	__atomic_store_n(&ln->total_valid, 1, __ATOMIC_RELEASE);
	/* The peer may sleep on bytes that will not come; crew_kick repeats this if it comes just before the
	 * sleep. */
	pthread_kill(ln->peer->thread, SIGUSR1);
}

int64_t lane_receive(struct lane *ln, size_t max)
{
	struct lg_counts *now = &ln->side->now;
	int64_t messages;
	ssize_t n;

	n = ln->receive->recv(ln, max);
	ln->idle = n == -EAGAIN;
	if (n == -EINTR || n == -EAGAIN)
		return 0;
	if (n <= 0)
		return lane_fail(ln, n ? (int)n : -ECONNRESET, ln->call);
	ln->last_move = clock_stamp();
	COUNT(now->recv_calls, 1);
	COUNT(now->bytes_received, (uint64_t)n);
	messages = ln->data ? inbox_take(&ln->in, ln->data, (size_t)n, ln->last_move)
			    : inbox_skip(&ln->in, (size_t)n);
	if (messages < 0)
		return lane_fail(ln, (int)messages, "check");
	COUNT(now->messages_received, (uint64_t)messages);
	return messages;
}

/* The kernel refused a send: wait for completions, never copy instead. */
static int send_refused(struct lane *ln, int error)
{
	int r;

	if (error == -EINTR)
		return 0;
	if (!ln->busy || (error != -ENOBUFS && error != -EAGAIN))
		return lane_fail(ln, error ? error : -EPIPE, ln->call);
	if (error == -ENOBUFS)
		COUNT(ln->side->now.zc_enobufs, 1);
	r = ln->mode->reap(ln, REFUSED_WAIT_MS);
	if (r < 0)
		return lane_fail(ln, r, ln->call);
	ln->starved = r || ln->side->now.zc_done < ln->side->now.zc_sends ? 0 : ln->starved + 1;
	if (ln->starved > STARVED_MAX)
		return lane_fail(ln, -ENOBUFS, "sendmsg (RLIMIT_MEMLOCK or net.core.optmem_max)");
	return 0;
}

static int wait_for_slot(struct lane *ln)
{
	int r;

	COUNT(ln->side->now.zc_waits, 1);
	while (ln->busy[ln->slot]) {
		r = ln->mode->reap(ln, RING_WAIT_MS);
		if (r < 0)
			return lane_fail(ln, r, ln->call);
	}
	return 0;
}

int lane_send_message(struct lane *ln)
{
	struct lg_counts *now = &ln->side->now;
	size_t size = ln->layout->size;
	int r;

	if (ln->busy && ln->busy[ln->slot]) {
		r = wait_for_slot(ln);
		if (r < 0)
			return r;
	}
	if (ln->in.verify)
		outbox_pattern(&ln->out, ln->slot, ln->sequence);
	ln->stamp = clock_stamp();
	outbox_header(&ln->out, ln->slot, ln->sequence | ln->mark, ln->stamp);
	for (ln->sent = 0; ln->sent < size;) {
		ssize_t n = ln->mode->send(ln, size - ln->sent);

		if (n <= 0) {
			r = send_refused(ln, (int)n);
			if (r < 0)
				return r;
			continue;
		}
		ln->sent += (size_t)n;
		COUNT(now->send_calls, 1);
		COUNT(now->bytes_sent, (uint64_t)n);
	}
	if (ln->crew->split)
		ln->last_move = clock_stamp();
	ln->sequence++;
	if (++ln->slot == ln->out.slots)
		ln->slot = 0;
	COUNT(now->messages_sent, 1);
	return 0;
}

/* For a receiver that cannot see our total: one more message, which says that it is the last. */
static int send_last(struct lane *ln, int (*send)(struct lane *))
{
	int r;

	if (!ln->crew->split)
		return 0;
	ln->mark = MESSAGE_LAST;
	r = send(ln);
	ln->mark = 0;
	return r;
}

/* Small messages share packets, as the kernel's default and the field's other tools have it. */
static int stream_send(struct lane *ln)
{
	int r;

	r = lane_set_nodelay(ln, !!(ln->crew->shm->plan.flags & LG_NODELAY));
	if (r < 0)
		return lane_fail(ln, r, ln->call);
	while (!lane_stopping(ln)) {
		r = lane_send_message(ln);
		if (r < 0)
			return r;
	}
	lane_publish_total(ln);
	r = send_last(ln, lane_send_message);
	if (r < 0)
		return r;
	/* What Nagle's algorithm still holds back goes out now. */
	r = lane_set_nodelay(ln, 1);
	return r < 0 ? lane_fail(ln, r, ln->call) : 0;
}

/* Until the low-water mark is reached, but not for long: the sender may need its buffers back. */
static void gather(struct lane *ln)
{
	static const struct timespec limit = {.tv_nsec = GATHER_NS};
	struct pollfd p = {.fd = ln->fd, .events = POLLIN};

	ppoll(&p, 1, &limit, NULL);
}

/*
 * A pinned small message is charged to its sender as a page, so that few fill the send buffer, long before a
 * segment is full that would be acknowledged at once: without this the stream stops until the delayed
 * acknowledgement, each time.
 */
static int acknowledge(struct lane *ln)
{
	static const int one = 1;

	if (setsockopt(ln->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one)) == 0)
		return 0;
	return lane_fail(ln, -errno, "setsockopt(TCP_QUICKACK)");
}

/* Of hundreds of lanes, those whose senders have no turn would otherwise fill the CPU with asking. */
static int sleep_idle(struct lane *ln)
{
	int r = lane_wait_for_bytes(ln);

	return r < 0 ? lane_fail(ln, r, ln->call) : 0;
}

static int stream_receive(struct lane *ln)
{
	int gathers = ln->recv_flags & MSG_DONTWAIT;
	int64_t r;

	while (!lane_drained(ln)) {
		if (gathers)
			gather(ln);
		r = lane_receive(ln, ln->buf_size);
		if (r >= 0 && gathers)
			r = ln->idle ? sleep_idle(ln) : acknowledge(ln);
		if (r < 0)
			return (int)r;
	}
	return 0;
}

/* The rest of one message, so that nothing of the next one is taken. */
static int receive_message(struct lane *ln)
{
	int64_t r;

	do {
		r = lane_receive(ln, MIN(ln->buf_size, ln->layout->size - ln->in.at));
	} while (r == 0);
	return (int)r;
}

static int rr_round(struct lane *ln)
{
	int r;

	r = lane_send_message(ln);
	if (r < 0)
		return r;
	r = receive_message(ln);
	if (r < 0)
		return r;
	hist_record(&ln->side->round_trip, clock_stamp_to_ns(ln->last_move - ln->stamp));
	return 0;
}

static int rr_ask(struct lane *ln)
{
	int r;

	while (!lane_stopping(ln)) {
		r = rr_round(ln);
		if (r < 0)
			return r;
	}
	lane_publish_total(ln);
	return send_last(ln, rr_round);
}

static int rr_answer(struct lane *ln)
{
	int64_t r;

	while (!lane_drained(ln)) {
		r = lane_receive(ln, MIN(ln->buf_size, ln->layout->size - ln->in.at));
		if (r > 0)
			r = lane_send_message(ln);
		if (r < 0)
			return (int)r;
	}
	return 0;
}

static const struct workload workloads[] = {
	{
		.name = "stream",
		.run = {[LG_SENDER] = stream_send, [LG_RECEIVER] = stream_receive},
		.sends = {[LG_SENDER] = 1},
		.receives = {[LG_RECEIVER] = 1},
		.back_to_back = 1,
	},
	{
		.name = "rr",
		.run = {[LG_SENDER] = rr_ask, [LG_RECEIVER] = rr_answer},
		.sends = {1, 1},
		.receives = {1, 1},
	},
};

const struct workload *workload_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(workloads); i++)
		if (str_eq(workloads[i].name, name))
			return &workloads[i];
	return NULL;
}
