/* SPDX-License-Identifier: MIT */
/*
 * mmap: TCP_ZEROCOPY_RECEIVE maps whole received pages into the program. Only pages that the kernel owns,
 * each one full and at a page boundary of the mapping, can be mapped; the bytes between them come by recv(),
 * as the kernel's recv_skip_hint says. The next call replaces the mapped pages, so the bytes are looked at
 * before.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "lane.h"
#include "modes.h"

#define PAGE 4096u
#define WINDOW (256u << 10) /* bytes mapped by a call, at most */

struct mapped {
	uint8_t *window;
	uint32_t skip; /* bytes ahead of the next page that can be mapped */
};

static uint8_t *map_window(int fd)
{
	void *p = mmap(NULL, WINDOW, PROT_READ, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int ask(int fd, struct tcp_zerocopy_receive *zc)
{
	socklen_t len = sizeof(*zc);

	return getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, zc, &len) < 0 ? -errno : 0;
}

static int mmap_probe(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct tcp_zerocopy_receive zc = {.length = WINDOW};
	uint8_t *window = fd < 0 ? NULL : map_window(fd);
	int r;

	if (!window)
		return -errno;
	zc.address = (uintptr_t)window;
	r = ask(fd, &zc);
	munmap(window, WINDOW);
	return r;
}

static int mmap_open(struct lane *ln)
{
	struct mapped *s = ln->receive_state;

	ln->call = "mmap of the socket";
	s->window = map_window(ln->fd);
	return s->window ? 0 : -errno;
}

static void mmap_close(struct lane *ln)
{
	struct mapped *s = ln->receive_state;

	if (s->window)
		munmap(s->window, WINDOW);
	s->window = NULL;
}

/* Bytes that are mapped now, 0 if none could be (s->skip says how many to receive), or a negative errno. */
static ssize_t map_pages(struct lane *ln, size_t len)
{
	struct mapped *s = ln->receive_state;
	struct tcp_zerocopy_receive zc = {
		.address = (uintptr_t)s->window, .length = (uint32_t)MIN(len & ~(size_t)(PAGE - 1), WINDOW)};
	int r;

	ln->call = "getsockopt(TCP_ZEROCOPY_RECEIVE)";
	r = ask(ln->fd, &zc);
	if (r < 0)
		return r;
	s->skip = zc.recv_skip_hint;
	if (!zc.length)
		return 0;
	ln->data = s->window;
	COUNT(ln->side->now.map_bytes, zc.length);
	return zc.length;
}

/* The queue is empty: sleep until there is something, or a kick. The kernel calls the stream's end EIO. */
static ssize_t wait_for_bytes(struct lane *ln)
{
	struct pollfd p = {.fd = ln->fd, .events = POLLIN};

	if (ln->recv_flags & MSG_DONTWAIT)
		return -EAGAIN;
	return poll(&p, 1, -1) < 0 ? -errno : -EAGAIN;
}

static ssize_t mmap_recv(struct lane *ln, size_t len)
{
	struct mapped *s = ln->receive_state;
	ssize_t n;

	if (!s->skip) {
		n = map_pages(ln, len);
		if (n == -EIO)
			return receive_plain(ln, len, MSG_DONTWAIT);
		if (n)
			return n;
	}
	if (!s->skip)
		return wait_for_bytes(ln);
	n = receive_plain(ln, MIN(len, s->skip), MSG_DONTWAIT);
	s->skip = n > 0 ? s->skip - (uint32_t)n : 0;
	return n;
}

const struct receive_mode receive_mmap = {
	.name = "mmap",
	.summary = "TCP_ZEROCOPY_RECEIVE: whole pages are mapped, the rest comes by recv()",
	.caps = RECEIVE_STREAM_ONLY | RECEIVE_MAPS,
	.state_size = sizeof(struct mapped),
	.probe = mmap_probe,
	.open = mmap_open,
	.close = mmap_close,
	.recv = mmap_recv,
};
