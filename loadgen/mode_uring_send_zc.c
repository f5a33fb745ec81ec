/* SPDX-License-Identifier: MIT */
/*
 * uring-send-zc: zero-copy by io_uring. One IORING_OP_SENDMSG_ZC at a time, since several on one stream might
 * overtake each other; it completes when its bytes are queued, and a second completion, the notification,
 * says that the pages are free again and whether they were copied after all. A buffer is written again only
 * after that.
 */
#include <sys/socket.h>
#include <sys/time.h>

#include "lane.h"
#include "modes.h"
#include "resources.h"
#include "uring.h"
#include "zctrack.h"

struct uring_zc {
	struct io_uring ring;
	struct zctrack track;
	size_t call_max;
	uint8_t open, in_flight;
	ssize_t result; /* of the last send */
	struct msghdr msg;
	struct iovec iov[LIMIT_FIELDS_MAX];
};

static struct io_uring_sqe *prepare_send(struct io_uring *ring, int fd, const struct msghdr *msg)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_sendmsg_zc(sqe, fd, msg, MSG_NOSIGNAL);
	sqe->ioprio = IORING_SEND_ZC_REPORT_USAGE;
	return sqe;
}

/* A kernel that does not know the report refuses the flag before it looks at the file, of which there is
 * none. */
static int report_probe(void)
{
	struct msghdr msg = {};
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int r;

	r = uring_open(&ring, 0, URING_WORK_AT_RING);
	if (r < 0)
		return r;
	prepare_send(&ring, -1, &msg);
	r = io_uring_submit(&ring);
	if (r >= 0)
		r = io_uring_wait_cqe(&ring, &cqe);
	if (r >= 0)
		r = cqe->res == -EBADF ? 0 : cqe->res == -EINVAL ? -EOPNOTSUPP : cqe->res;
	io_uring_queue_exit(&ring);
	return MIN(r, 0);
}

static int uring_zc_probe(void)
{
	int r = uring_probe(IORING_OP_SENDMSG_ZC);

	return r < 0 ? r : report_probe();
}

/*
 * Pages are charged to RLIMIT_MEMLOCK until their notification is worked off, and meanwhile others starve: a
 * lane that is parked or in recv() has to do it there. Where there is no limit it would be woken for nothing.
 */
static enum uring_work work_place(void)
{
	return resources_pins_are_limited() ? URING_WORK_ANYWHERE : URING_WORK_AT_RING;
}

static int uring_zc_open(struct lane *ln)
{
	struct uring_zc *s = ln->state;
	uint32_t slots = ln->out.slots;
	int r;

	ln->call = "io_uring_setup";
	if (!slots)
		return 0;
	s->call_max = resources_pinned_call(&ln->crew->shm->plan);
	/* Twice what whole messages need: a call may accept only a part of one. */
	r = zctrack_init(&s->track, slots, 2 * slots * (uint32_t)(ln->layout->size / s->call_max + 1), 0);
	if (r < 0)
		return r;
	ln->busy = s->track.pending;
	r = uring_open(&s->ring, s->track.mask + 1, work_place());
	s->open = r >= 0;
	return MIN(r, 0);
}

static void uring_zc_close(struct lane *ln)
{
	struct uring_zc *s = ln->state;

	if (s->open)
		io_uring_queue_exit(&s->ring);
	s->open = 0;
	ln->busy = NULL;
	zctrack_done(&s->track);
}

/*
 * The send has completed. What failed may be followed by a notification all the same: then it is booked as a
 * send of nothing, so that the buffer waits for it.
 */
static int book_send(struct lane *ln, const struct io_uring_cqe *cqe)
{
	struct uring_zc *s = ln->state;

	s->in_flight = 0;
	s->result = cqe->res;
	if (cqe->flags & IORING_CQE_F_MORE)
		zctrack_sent(&s->track, ln->slot, (uint32_t)MAX(cqe->res, 0));
	else if (cqe->res > 0)
		return -EPROTO;
	if (cqe->res > 0) {
		COUNT(ln->side->now.zc_sends, 1);
		COUNT(ln->side->now.zc_bytes, (uint64_t)cqe->res);
	}
	return 0;
}

/* The pages of the send `user_data` are free. Returns how many sends that were accepted are done with it. */
static int book_notification(struct lane *ln, const struct io_uring_cqe *cqe)
{
	struct lg_counts *now = &ln->side->now;
	struct uring_zc *s = ln->state;
	uint32_t id = (uint32_t)cqe->user_data;
	uint64_t bytes = 0;
	int64_t r;

	r = zctrack_complete(&s->track, id, id, &bytes);
	if (r < 0)
		return (int)r;
	if (!bytes)
		return 0;
	COUNT(now->zc_notifications, 1);
	COUNT(now->zc_done, 1);
	COUNT(now->zc_bytes_done, bytes);
	if ((uint32_t)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED) {
		COUNT(now->zc_done_copied, 1);
		COUNT(now->zc_bytes_copied, bytes);
	}
	return 1;
}

/* All that is in the ring: how many accepted sends were notified, or a negative errno. */
static int drain(struct lane *ln)
{
	struct uring_zc *s = ln->state;
	struct io_uring_cqe *cqe;
	int sends = 0, r;

	while (io_uring_peek_cqe(&s->ring, &cqe) == 0) {
		r = cqe->flags & IORING_CQE_F_NOTIF ? book_notification(ln, cqe) : book_send(ln, cqe);
		io_uring_cqe_seen(&s->ring, cqe);
		if (r < 0)
			return r;
		sends += r;
	}
	return sends;
}

static int uring_zc_reap(struct lane *ln, int wait_ms)
{
	struct __kernel_timespec limit = {.tv_nsec = wait_ms * 1000000LL};
	struct uring_zc *s = ln->state;
	struct io_uring_cqe *cqe;
	int r;

	ln->call = "io_uring_enter";
	io_uring_get_events(&s->ring);
	r = drain(ln);
	if (r || !wait_ms)
		return r;
	if (io_uring_wait_cqe_timeout(&s->ring, &cqe, &limit) == 0)
		return drain(ln);
	return socket_error(ln);
}

static ssize_t uring_zc_send(struct lane *ln, size_t len)
{
	struct uring_zc *s = ln->state;
	int r;

	if (zctrack_full(&s->track))
		return -EAGAIN;
	ln->call = "io_uring_enter";
	if (!s->in_flight) {
		s->msg = (struct msghdr){.msg_iov = s->iov};
		s->msg.msg_iovlen = outbox_iov(&ln->out, ln->slot, ln->sent, MIN(len, s->call_max), s->iov);
		prepare_send(&s->ring, ln->fd, &s->msg)->user_data = s->track.next;
		s->in_flight = 1;
	}
	while (s->in_flight) {
		r = io_uring_submit_and_wait(&s->ring, 1);
		if (r >= 0)
			r = drain(ln);
		if (r < 0)
			return r;
	}
	ln->call = "io_uring SENDMSG_ZC";
	/* More pages than may be locked now: some come back with the next notifications. */
	return s->result == -ENOMEM ? -ENOBUFS : s->result;
}

const struct transfer_mode mode_uring_send_zc = {
	.name = "uring-send-zc",
	.summary = "io_uring SENDMSG_ZC from a ring of buffers: as zero-copy, and each send is notified by "
		   "itself",
	.caps = MODE_DEFERRED | MODE_PINS,
	.state_size = sizeof(struct uring_zc),
	.fds = 1,
	.probe = uring_zc_probe,
	.open = uring_zc_open,
	.close = uring_zc_close,
	.send = uring_zc_send,
	.reap = uring_zc_reap,
};
