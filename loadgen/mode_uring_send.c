/* SPDX-License-Identifier: MIT */
/*
 * uring-send: one-copy by io_uring. One IORING_OP_SENDMSG at a time, since several on one stream might
 * overtake each other; the kernel has copied the fields when it completes.
 */
#include <sys/socket.h>

#include "lane.h"
#include "modes.h"
#include "uring.h"

struct uring_send {
	struct io_uring ring;
	uint8_t open, in_flight;
	struct msghdr msg;
	struct iovec iov[LIMIT_FIELDS_MAX];
};

static int uring_send_probe(void)
{
	return uring_probe(IORING_OP_SENDMSG);
}

static int uring_send_open(struct lane *ln)
{
	struct uring_send *s = ln->state;
	int r;

	ln->call = "io_uring_setup";
	if (!ln->out.slots)
		return 0;
	r = uring_open(&s->ring, 0, URING_WORK_AT_RING);
	s->open = r >= 0;
	return MIN(r, 0);
}

static void uring_send_close(struct lane *ln)
{
	struct uring_send *s = ln->state;

	if (s->open)
		io_uring_queue_exit(&s->ring);
	s->open = 0;
}

static void prepare(struct lane *ln, size_t len)
{
	struct uring_send *s = ln->state;

	s->msg = (struct msghdr){.msg_iov = s->iov};
	s->msg.msg_iovlen = outbox_iov(&ln->out, ln->slot, ln->sent, len, s->iov);
	io_uring_prep_sendmsg(io_uring_get_sqe(&s->ring), ln->fd, &s->msg, MSG_NOSIGNAL);
	s->in_flight = 1;
}

/* A wait that was interrupted is taken up by the next call, which is for the same bytes. */
static ssize_t uring_send_send(struct lane *ln, size_t len)
{
	struct uring_send *s = ln->state;
	struct io_uring_cqe *cqe;
	ssize_t n;

	ln->call = "io_uring_enter";
	if (!s->in_flight)
		prepare(ln, len);
	n = io_uring_submit_and_wait(&s->ring, 1);
	if (n < 0)
		return n;
	if (io_uring_peek_cqe(&s->ring, &cqe) < 0)
		return -EINTR;
	n = cqe->res;
	io_uring_cqe_seen(&s->ring, cqe);
	s->in_flight = 0;
	ln->call = "io_uring SENDMSG";
	return n;
}

const struct transfer_mode mode_uring_send = {
	.name = "uring-send",
	.summary = "io_uring SENDMSG with an iovec of the fields: the kernel copies, as in one-copy",
	.state_size = sizeof(struct uring_send),
	.fds = 1,
	.probe = uring_send_probe,
	.open = uring_send_open,
	.close = uring_send_close,
	.send = uring_send_send,
};
