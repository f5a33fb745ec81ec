// SPDX-License-Identifier: MIT
/* Takes or makes the sockets that scrapers connect to. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-daemon.h>

#include "listen.h"

#define BACKLOG 128

static int bad_address(const char *text, struct fault *reterr)
{
	return fault_set(reterr, -EINVAL, "usage", "listen",
		"'--listen' takes a numeric address and a port, 127.0.0.1:19423 or [::1]:19423, not '%s'",
		text);
}

int address_parse(const char *text, struct address *ret, struct fault *reterr)
{
	static const struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	bool bracketed = n > 2 && *text == '[' && text[n - 1] == ']';
	struct addrinfo *found = NULL;
	char host[INET6_ADDRSTRLEN];

	/* getaddrinfo() would take more than 16 bits of a port */
	if (!n || !colon[1] || n >= sizeof(host) || strlen(colon + 1) > 5 || atoi(colon + 1) > UINT16_MAX)
		return bad_address(text, reterr);
	snprintf(host, sizeof(host), "%.*s", (int)(bracketed ? n - 2 : n), text + bracketed);
	if (!bracketed && strchr(host, ':'))
		return bad_address(text, reterr);
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
		return bad_address(text, reterr);
	memcpy(&ret->sa, found->ai_addr, found->ai_addrlen);
	ret->len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static char *address_text(const struct address *a, char text[ADDRESS_TEXT])
{
	char host[INET6_ADDRSTRLEN], port[8];

	if (getnameinfo((const struct sockaddr *)&a->sa, a->len, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(text, ADDRESS_TEXT, "a socket");
	else
		snprintf(text, ADDRESS_TEXT, a->sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	return text;
}

char *address_of(int fd, char text[ADDRESS_TEXT])
{
	struct address a = {.len = sizeof(a.sa)};

	if (getsockname(fd, (struct sockaddr *)&a.sa, &a.len) < 0)
		a.len = 0;
	return address_text(&a, text);
}

int listen_at(const struct address *address, struct fault *reterr)
{
	static const int on = 1;
	int fd = socket(address->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;
	char text[ADDRESS_TEXT];

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
		bind(fd, (const struct sockaddr *)&address->sa, address->len) == 0 &&
		listen(fd, BACKLOG) == 0)
		return fd;
	error = -errno;
	close_fd(fd);
	return fault_set(reterr, error, "socket", "listen", "cannot listen on %s: %s",
		address_text(address, text), strerror(-error));
}

int listen_inherited(int ret[LISTEN_MAX], struct fault *reterr)
{
	int n = sd_listen_fds(1);

	if (n < 0)
		return fault_set(
			reterr, n, "socket", "", "cannot take the sockets from systemd: %s", strerror(-n));
	if (n > LISTEN_MAX)
		return fault_set(reterr, -E2BIG, "socket", "", "%d sockets came from systemd, more than %d",
			n, LISTEN_MAX);
	for (int i = 0; i < n; i++) {
		ret[i] = SD_LISTEN_FDS_START + i;
		if (sd_is_socket(ret[i], AF_UNSPEC, SOCK_STREAM, 1) <= 0)
			return fault_set(reterr, -EINVAL, "socket", "",
				"number %d of the sockets of systemd is no listening stream socket", i + 1);
	}
	return n;
}
