/* SPDX-License-Identifier: MIT */
/*
 * Zero-copy: sendmsg(MSG_ZEROCOPY) pins the fields' pages; a buffer is written again only after the kernel's
 * error queue has said that all its sends are done. Completions are read in batches, and may cover many sends
 * each.
 */
#include <time.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "lane.h"
#include "modes.h"
#include "resources.h"
#include "zctrack.h"

struct zero_copy {
	struct zctrack track;
	uint32_t batch, since; /* messages between two readings of the error queue; sends since the last */
	size_t call_max;
	struct iovec iov[LIMIT_FIELDS_MAX];
};

static int zero_copy_probe(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	return setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) < 0 ? -errno : 0;
}

static int zero_copy_open(struct lane *ln)
{
	struct zero_copy *s = ln->state;
	uint32_t slots = ln->out.slots;
	int one = 1, r;

	ln->call = "setsockopt(SO_ZEROCOPY)";
	if (!slots)
		return 0;
	if (setsockopt(ln->fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) < 0)
		return -errno;
	s->call_max = resources_pinned_call(&ln->crew->shm->plan);
	s->batch = MAX(slots / 8, 1u);
	/* Twice what whole messages need: a call may accept only a part of one. */
	r = zctrack_init(&s->track, slots, 2 * slots * (uint32_t)(ln->layout->size / s->call_max + 1), 0);
	ln->busy = s->track.pending;
	return r;
}

static void zero_copy_close(struct lane *ln)
{
	struct zero_copy *s = ln->state;

	ln->busy = NULL;
	zctrack_done(&s->track);
}

static int book(struct lane *ln, const struct sock_extended_err *err)
{
	struct zero_copy *s = ln->state;
	struct lg_counts *now = &ln->side->now;
	uint64_t bytes = 0;
	int64_t sends;

	if (err->ee_origin != SO_EE_ORIGIN_ZEROCOPY || err->ee_errno)
		return 0;
	sends = zctrack_complete(&s->track, err->ee_info, err->ee_data, &bytes);
	if (sends < 0)
		return (int)sends;
	COUNT(now->zc_notifications, 1);
	COUNT(now->zc_done, (uint64_t)sends);
	COUNT(now->zc_bytes_done, bytes);
	if (err->ee_code & SO_EE_CODE_ZEROCOPY_COPIED) {
		COUNT(now->zc_done_copied, (uint64_t)sends);
		COUNT(now->zc_bytes_copied, bytes);
	}
	return (int)sends;
}

/* One message of the error queue: how many sends it completed, or -EAGAIN if there is none. */
static int read_notification(struct lane *ln)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_control = &control, .msg_controllen = sizeof(control)};

	if (recvmsg(ln->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return -errno;
	if (msg.msg_flags & MSG_CTRUNC)
		return -EPROTO;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) ||
			(c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR))
			return book(ln, (const struct sock_extended_err *)CMSG_DATA(c));
	return 0;
}

/* All that is in the error queue: how many sends it completed. */
static int drain(struct lane *ln)
{
	int sends = 0, r;

	while (zctrack_outstanding(&((struct zero_copy *)ln->state)->track)) {
		r = read_notification(ln);
		if (r == -EAGAIN)
			break;
		if (r < 0 && r != -EINTR)
			return r;
		sends += MAX(r, 0);
	}
	return sends;
}

int socket_error(struct lane *ln)
{
	socklen_t len = sizeof(int);
	int error = 0;

	return getsockopt(ln->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? -errno : -error;
}

static int zero_copy_reap(struct lane *ln, int wait_ms)
{
	struct pollfd p = {.fd = ln->fd}; /* POLLERR needs no asking */
	int r;

	ln->call = "recvmsg(MSG_ERRQUEUE)";
	r = drain(ln);
	if (r || !wait_ms)
		return r;
	if (poll(&p, 1, wait_ms) <= 0)
		return 0;
	r = drain(ln);
	return r ? r : socket_error(ln);
}

static ssize_t zero_copy_send(struct lane *ln, size_t len)
{
	struct zero_copy *s = ln->state;
	struct msghdr msg = {.msg_iov = s->iov};
	ssize_t n;

	if (s->since >= s->batch) {
		s->since = 0;
		n = zero_copy_reap(ln, 0);
		if (n < 0)
			return n;
	}
	if (zctrack_full(&s->track))
		return -EAGAIN;
	msg.msg_iovlen = outbox_iov(&ln->out, ln->slot, ln->sent, MIN(len, s->call_max), s->iov);
	n = sendmsg(ln->fd, &msg, MSG_ZEROCOPY | MSG_NOSIGNAL);
	if (n < 0) {
		ln->call = "sendmsg(MSG_ZEROCOPY)";
		return -errno;
	}
	s->since++;
	zctrack_sent(&s->track, ln->slot, (uint32_t)n);
	COUNT(ln->side->now.zc_sends, 1);
	COUNT(ln->side->now.zc_bytes, (uint64_t)n);
	return n;
}

const struct transfer_mode mode_zero_copy = {
	.name = "zero-copy",
	.summary = "sendmsg(MSG_ZEROCOPY) from a ring of buffers: the kernel pins pages, or says that it "
		   "copied after all",
	.caps = MODE_DEFERRED | MODE_PINS,
	.state_size = sizeof(struct zero_copy),
	.probe = zero_copy_probe,
	.open = zero_copy_open,
	.close = zero_copy_close,
	.send = zero_copy_send,
	.reap = zero_copy_reap,
};
