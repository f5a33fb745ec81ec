/* SPDX-License-Identifier: MIT */
/* Connecting all lanes: the sender's side listens and accepts, the receiver's side connects. */
#pragma once

#include "fault.h"
#include "netpath.h"
#include "wire.h"

/*
 * Makes plan->lanes connections over path: fds[2 * lane + side], all blocking, TCP_NODELAY. Bounded in time.
 * The thread is left in the namespace of one of the sides. On failure the fds that were made are the caller's
 * too; the others are -1.
 */
int sockets_connect(const struct lg_plan *plan, const struct netpath *path, int *fds, struct fault *reterr);
