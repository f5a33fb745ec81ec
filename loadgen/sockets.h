/* SPDX-License-Identifier: MIT */
/* Connecting all lanes: the sender's side listens and accepts, the receiver's side connects. */
#pragma once

#include "fault.h"
#include "netpath.h"
#include "wire.h"

/* A TCP socket with the plan's options, whose calls give up after some seconds; and one whose calls block again. */
int socket_new(const struct lg_plan *plan, int family, int *ret, struct fault *reterr);
int socket_make_blocking(int fd, struct fault *reterr);
/* connect() that outlives an interruption. */
int socket_connect(int fd, const struct sockaddr_in6 *addr, socklen_t len);

/*
 * Makes plan->lanes connections over path: fds[2 * lane + side], all blocking, TCP_NODELAY. Bounded in time.
 * The thread is left in the namespace of one of the sides. On entry all fds are -1; on failure those that were made are the
 * caller's too.
 */
int sockets_connect(const struct lg_plan *plan, const struct netpath *path, int *fds, struct fault *reterr);
