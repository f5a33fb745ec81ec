/* SPDX-License-Identifier: MIT */
/* sendfile: sendfile() from a memfd whose pages are attached to the connection; see lend.h for when they are
 * free. */
#include <sys/sendfile.h>

#include "lane.h"
#include "lend.h"
#include "modes.h"

struct by_sendfile {
	struct lend lend; /* first */
};

static ssize_t sendfile_send(struct lane *ln, size_t len)
{
	off_t at = (off_t)(ln->slot * ln->out.pitch + ln->sent);
	ssize_t n;

	lend_lane_sent(ln);
	n = sendfile(ln->fd, ln->out.fd, &at, len);
	if (n > 0)
		return n;
	ln->call = "sendfile";
	return n ? -errno : -EPIPE;
}

const struct transfer_mode mode_sendfile = {
	.name = "sendfile",
	.summary = "sendfile() from a memfd: its pages are attached, nothing is copied",
	.caps = MODE_DEFERRED | MODE_SPLICES | MODE_FILE,
	.state_size = sizeof(struct by_sendfile),
	.fds = 1,
	.open = lend_lane_open,
	.close = lend_lane_close,
	.send = sendfile_send,
	.reap = lend_lane_reap,
};
