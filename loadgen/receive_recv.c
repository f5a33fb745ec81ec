/* SPDX-License-Identifier: MIT */
/* recv: recv() into the lane's buffer; the kernel copies once. */
#include <sys/socket.h>

#include "lane.h"
#include "modes.h"

ssize_t receive_plain(struct lane *ln, size_t len, int flags)
{
	ssize_t n = recv(ln->fd, ln->buf, len, ln->recv_flags | flags);

	ln->data = ln->buf;
	if (n > 0)
		return n;
	ln->call = n ? "recv" : "recv (the peer has closed)";
	return n ? -errno : 0;
}

static ssize_t recv_recv(struct lane *ln, size_t len)
{
	return receive_plain(ln, len, 0);
}

const struct receive_mode receive_recv = {
	.name = "recv",
	.summary = "recv() into a buffer: the kernel copies",
	.recv = recv_recv,
};
