/* SPDX-License-Identifier: MIT */
/* One-copy: sendmsg() with an iovec that names each field's own buffer; the kernel copies them, nobody packs
 * them. */
#include <sys/socket.h>

#include "lane.h"
#include "modes.h"

struct one_copy {
	struct iovec iov[LIMIT_FIELDS_MAX];
};

static ssize_t one_copy_send(struct lane *ln, size_t len)
{
	struct one_copy *s = ln->state;
	struct msghdr msg = {.msg_iov = s->iov};
	ssize_t n;

	msg.msg_iovlen = outbox_iov(&ln->out, ln->slot, ln->sent, len, s->iov);
	n = sendmsg(ln->fd, &msg, MSG_NOSIGNAL);
	if (n >= 0)
		return n;
	ln->call = "sendmsg";
	return -errno;
}

const struct transfer_mode mode_one_copy = {
	.name = "one-copy",
	.summary = "sendmsg() with an iovec of the fields: the kernel copies, nothing is packed",
	.state_size = sizeof(struct one_copy),
	.send = one_copy_send,
};
