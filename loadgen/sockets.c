/* SPDX-License-Identifier: MIT */
/* Connecting all lanes. */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "sockets.h"

#define BACKLOG 128
#define CONNECT_S 5   /* for each connect and accept */
#define STRANGERS 100 /* connections of others that may arrive at the port before ours */

struct option_row {
	int level, name;
	const void *value;
	socklen_t len;
	const char *text;
};

static int set_options(int fd, const struct option_row *rows, size_t n, struct fault *reterr)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].len &&
			setsockopt(fd, rows[i].level, rows[i].name, rows[i].value, rows[i].len) < 0)
			return fault_set(reterr, -errno, "socket_option", "", "setsockopt(%s): %s",
				rows[i].text, strerror(errno));
	return 0;
}

/* Before listen() and connect(), since a window is negotiated there; accepted sockets inherit all of it. */
int socket_new(const struct lg_plan *plan, int family, int *ret, struct fault *reterr)
{
	_cleanup_close_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval limit = {.tv_sec = CONNECT_S};
	const int one = 1;
	char congestion[40];
	const struct option_row rows[] = {
		{IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one), "TCP_NODELAY"},
		{SOL_SOCKET, SO_SNDBUF, &plan->sndbuf, plan->sndbuf ? sizeof(plan->sndbuf) : 0, "SO_SNDBUF"},
		{SOL_SOCKET, SO_RCVBUF, &plan->rcvbuf, plan->rcvbuf ? sizeof(plan->rcvbuf) : 0, "SO_RCVBUF"},
		{IPPROTO_TCP, TCP_CONGESTION, plan->congestion, (socklen_t)strlen(plan->congestion),
			congestion},
		{SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit), "SO_SNDTIMEO"},
		{SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit), "SO_RCVTIMEO"},
	};
	int r;

	snprintf(congestion, sizeof(congestion), "TCP_CONGESTION, %s", plan->congestion);
	if (fd < 0)
		return fault_set(reterr, -errno, "socket", "", "socket: %s", strerror(errno));
	r = set_options(fd, rows, ARRAY_SIZE(rows), reterr);
	if (r < 0)
		return r;
	*ret = TAKE_FD(fd);
	return 0;
}

/* Time limits were for connecting only: the lanes' calls block. */
int socket_make_blocking(int fd, struct fault *reterr)
{
	static const struct timeval none;
	static const int one = 1;
	static const struct option_row rows[] = {
		{SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none), "SO_SNDTIMEO"},
		{SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none), "SO_RCVTIMEO"},
		{IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one), "TCP_NODELAY"},
	};

	return set_options(fd, rows, ARRAY_SIZE(rows), reterr);
}

static int start_listening(const struct lg_plan *plan, const struct netpath *path,
	struct sockaddr_in6 *ret_addr, int *ret, struct fault *reterr)
{
	_cleanup_close_ int fd = -1;
	socklen_t len = sizeof(*ret_addr);
	int r;

	r = socket_new(plan, path->addr.sin6_family, &fd, reterr);
	if (r < 0)
		return r;
	if (bind(fd, (const struct sockaddr *)&path->addr, path->addr_len) < 0 || listen(fd, BACKLOG) < 0 ||
		getsockname(fd, (struct sockaddr *)ret_addr, &len) < 0)
		return fault_set(reterr, -errno, "listen", "", "cannot listen on the path's address: %s",
			strerror(errno));
	*ret = TAKE_FD(fd);
	return 0;
}

/* Address and port, which stand at the same place in both families' structures up to their own length. */
static int same_address(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)a, *b4 = (const struct sockaddr_in *)b;

	if (a->sin6_family != b->sin6_family || a->sin6_port != b->sin6_port)
		return 0;
	if (a->sin6_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
}

/*
 * connect() that outlives an interruption. There are some without any signal: the kernel's end of an
 * io_uring, such as a probe's, is worked off in the thread that made it, and interrupts the call that it
 * happens to be in.
 */
int socket_connect(int fd, const struct sockaddr_in6 *addr, socklen_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t size = sizeof(int);
	int error = 0, n;

	if (connect(fd, (const struct sockaddr *)addr, len) == 0)
		return 0;
	/* EINPROGRESS is what SO_SNDTIMEO makes of a peer that does not answer. */
	if (errno != EINTR)
		return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	do {
		n = poll(&p, 1, CONNECT_S * 1000);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
}

/* Anybody on the host may connect to a port of the loopback: only the peer that we made is taken. */
static int accept_own(int listener, int client, int *ret)
{
	struct sockaddr_in6 own = {}, peer;
	socklen_t len = sizeof(own);

	if (getsockname(client, (struct sockaddr *)&own, &len) < 0)
		return -errno;
	for (int i = 0; i < STRANGERS; i++) {
		_cleanup_close_ int fd = -1;

		len = sizeof(peer);
		do {
			fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
		} while (fd < 0 && errno == EINTR);
		if (fd < 0)
			return -errno;
		if (same_address(&own, &peer)) {
			*ret = TAKE_FD(fd);
			return 0;
		}
	}
	return -ECONNABORTED;
}

static int connect_lane(const struct lg_plan *plan, int listener, const struct sockaddr_in6 *addr,
	socklen_t len, int fds[LG_SIDES], struct fault *reterr)
{
	int r;

	r = socket_new(plan, addr->sin6_family, &fds[LG_RECEIVER], reterr);
	if (r < 0)
		return r;
	r = socket_connect(fds[LG_RECEIVER], addr, len);
	if (r == -EADDRNOTAVAIL)
		return fault_set(reterr, r, "no_port", "threads",
			"connect: no local port is left for another lane (net.ipv4.ip_local_port_range): %s",
			strerror(-r));
	if (r < 0)
		return fault_set(reterr, r, "connect", "", "connect: %s", strerror(-r));
	r = accept_own(listener, fds[LG_RECEIVER], &fds[LG_SENDER]);
	if (r < 0)
		return fault_set(reterr, r, "accept", "", "accept: %s", strerror(-r));
	for (int side = 0; side < LG_SIDES; side++) {
		r = socket_make_blocking(fds[side], reterr);
		if (r < 0)
			return r;
	}
	return 0;
}

int sockets_connect(const struct lg_plan *plan, const struct netpath *path, int *fds, struct fault *reterr)
{
	_cleanup_close_ int listener = -1;
	struct sockaddr_in6 addr = {};
	int r;

	r = netpath_enter(path, LG_SENDER);
	if (r < 0)
		return fault_set(reterr, r, "namespaces", "path", "setns: %s", strerror(-r));
	r = start_listening(plan, path, &addr, &listener, reterr);
	if (r < 0)
		return r;
	/* accept() works on the listener's namespace from anywhere; only new sockets are of the thread's. */
	r = netpath_enter(path, LG_RECEIVER);
	if (r < 0)
		return fault_set(reterr, r, "namespaces", "path", "setns: %s", strerror(-r));
	for (uint32_t i = 0; i < plan->lanes && r >= 0; i++)
		r = connect_lane(plan, listener, &addr, path->addr_len, &fds[i * LG_SIDES], reterr);
	return r;
}
