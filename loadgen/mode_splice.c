/* SPDX-License-Identifier: MIT */
/*
 * splice: vmsplice() puts references to the fields' pages into a pipe, splice() moves them on to the
 * connection; see lend.h for when they are free.
 */
#include <fcntl.h>

#include "lane.h"
#include "lend.h"
#include "modes.h"

#define PIPE_BYTES (1 << 20) /* the kernel's default of fs.pipe-max-size */

struct by_splice {
	struct lend lend; /* first */
	int pipe[2];
	uint8_t open;
	size_t piped; /* bytes of the message that are in the pipe */
	struct iovec iov[LIMIT_FIELDS_MAX];
};

static int splice_open(struct lane *ln)
{
	struct by_splice *s = ln->state;
	int r;

	r = lend_lane_open(ln);
	if (r < 0 || !ln->out.slots)
		return r;
	ln->call = "pipe";
	if (pipe2(s->pipe, O_CLOEXEC) < 0)
		return -errno;
	s->open = 1;
	/* As much as a message, where the user's pipes may be so large; a small pipe only takes more calls.
	 */
	fcntl(s->pipe[1], F_SETPIPE_SZ, (int)MIN(MAX(ln->layout->size, 65536u), (size_t)PIPE_BYTES));
	return 0;
}

static void splice_close(struct lane *ln)
{
	struct by_splice *s = ln->state;

	if (s->open) {
		close(s->pipe[0]);
		close(s->pipe[1]);
	}
	s->open = 0;
	lend_lane_close(ln);
}

static ssize_t splice_send(struct lane *ln, size_t len)
{
	struct by_splice *s = ln->state;
	ssize_t n;

	lend_lane_sent(ln);
	if (!s->piped) {
		n = vmsplice(s->pipe[1], s->iov, outbox_iov(&ln->out, ln->slot, ln->sent, len, s->iov), 0);
		ln->call = "vmsplice";
		if (n <= 0)
			return n ? -errno : -EPIPE;
		s->piped = (size_t)n;
	}
	n = splice(s->pipe[0], NULL, ln->fd, NULL, s->piped, 0);
	ln->call = "splice";
	if (n <= 0)
		return n ? -errno : -EPIPE;
	s->piped -= (size_t)n;
	return n;
}

const struct transfer_mode mode_splice = {
	.name = "splice",
	.summary = "vmsplice() into a pipe, splice() to the socket: pages are attached, nothing is copied",
	.caps = MODE_DEFERRED | MODE_SPLICES,
	.state_size = sizeof(struct by_splice),
	.fds = 2,
	.open = splice_open,
	.close = splice_close,
	.send = splice_send,
	.reap = lend_lane_reap,
};
