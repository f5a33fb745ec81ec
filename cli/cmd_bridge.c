// SPDX-License-Identifier: MIT
/* copyledger bridge: the daemon's socket on standard input and output, for a copyledger on another host. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "cli.h"
#include "commands.h"

#define CHUNK 65536

/* One direction of the pipe. */
struct way {
	int from, to;
	bool open;
};

static int put_all(int fd, const char *p, size_t n)
{
	ssize_t put;

	for (; n > 0; p += put, n -= (size_t)put) {
		put = write(fd, p, n);
		if (put < 0 && errno == EINTR)
			put = 0;
		if (put < 0)
			return -errno;
	}
	return 0;
}

static int carry(struct way *w)
{
	static char chunk[CHUNK];
	ssize_t n = read(w->from, chunk, sizeof(chunk));

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	w->open = n > 0;
	return put_all(w->to, chunk, (size_t)n);
}

/* Until either end closes: who asks no more wants no answer, and what the daemon does is bounded by itself.
 */
static int relay(int daemon)
{
	struct way ways[] = {{STDIN_FILENO, daemon, true}, {daemon, STDOUT_FILENO, true}};
	int r = 0;

	while (r == 0 && ways[0].open && ways[1].open) {
		struct pollfd p[] = {
			{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = daemon, .events = POLLIN}};

		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(ways) && r == 0; i++)
			if (p[i].revents)
				r = carry(&ways[i]);
	}
	return r;
}

static int cmd_bridge(struct cli *cli)
{
	struct fault fault = {};
	_cleanup_close_ int fd = -1;
	int r;

	r = client_socket(cli->socket, &fd, &fault);
	if (r == 0) {
		r = relay(fd);
		if (r < 0)
			fault_set(&fault, r, "unreachable", "", "the bridge broke: %s", strerror(-r));
	}
	return r < 0 ? cli_fail(cli, &fault) : STATUS_OK;
}

const struct command command_bridge = {
	.name = "bridge",
	.operands = "",
	.summary = "join standard input and output to the daemon, for 'copyledger run --peer'",
	.details = "Not for a terminal: it carries the daemon's protocol, and decides nothing by itself.",
	.run = cmd_bridge,
};
