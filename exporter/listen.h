/* SPDX-License-Identifier: MIT */
/* The listening sockets: those that systemd passes, or one by hand. */
#pragma once

#include <sys/socket.h>

#include "fault.h"

#define LISTEN_MAX 8 /* sockets of systemd's */

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

/* "127.0.0.1:19423", "[::1]:19423": numeric. */
int address_parse(const char *text, struct address *ret, struct fault *reterr);
#define ADDRESS_TEXT 64
/* The same form of what a socket is bound to; returns text. */
char *address_of(int fd, char text[ADDRESS_TEXT]);

/* Returns a listening socket, the caller's. */
int listen_at(const struct address *address, struct fault *reterr);
/* Fills ret and returns how many systemd passed, 0: none. They are listening stream sockets, or it is a
 * fault. */
int listen_inherited(int ret[LISTEN_MAX], struct fault *reterr);
