/* SPDX-License-Identifier: MIT */
/*
 * The network between the two sides of a run. A path is a row of a table in netpath.c. Namespaces that a path
 * makes are anonymous: they exist as long as this process, and the kernel removes them with it.
 * netns:SERVER,CLIENT uses two that exist below /run/netns, and changes nothing in them.
 */
#pragma once

#include <netinet/in.h>

#include "fault.h"
#include "wire.h"

struct netpath {
	int ns[LG_SIDES];         /* network namespace of each side; -1: the process's own */
	struct sockaddr_in6 addr; /* of the sender, port 0; an IPv4 one is a struct sockaddr_in inside it */
	socklen_t addr_len;
	char device[LG_SIDES][16]; /* that the path's packets leave by */
};

/* Must be called while the process has one thread. On success *ret is the caller's (until the process ends).
 */
int netpath_open(const char *name, int ipv6, struct netpath *ret, struct fault *reterr);

/* The calling thread enters the namespace of a side. */
int netpath_enter(const struct netpath *path, int side);

/* In the side's namespace: what the path's device is set to. What cannot be read stays "", 0 or -1. */
void netpath_device(const struct netpath *path, int side, struct lg_device *ret);
