/* SPDX-License-Identifier: MIT */
/*
 * recv-trunc: recv(MSG_TRUNC), which leaves the buffer untouched; TCP drops the bytes from its queue and
 * nobody copies them. The messages are counted by their bytes: their sequence, contents and stamps are never
 * seen.
 */
#include <sys/socket.h>

#include "lane.h"
#include "modes.h"

static ssize_t trunc_recv(struct lane *ln, size_t len)
{
	ssize_t n = recv(ln->fd, ln->buf, len, ln->recv_flags | MSG_TRUNC);

	ln->data = NULL;
	if (n > 0)
		return n;
	ln->call = n ? "recv(MSG_TRUNC)" : "recv(MSG_TRUNC) (the peer has closed)";
	return n ? -errno : 0;
}

const struct receive_mode receive_recv_trunc = {
	.name = "recv-trunc",
	.summary = "recv(MSG_TRUNC): the kernel throws the bytes away, nothing is copied or checked",
	.caps = RECEIVE_DISCARDS | RECEIVE_STREAM_ONLY,
	.recv = trunc_recv,
};
