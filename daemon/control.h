/* SPDX-License-Identifier: MIT */
/* The control socket: clients, framing and queues of replies. What a message means is not known here. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "config.h"
#include "fault.h"
#include "macro.h"

struct control;
struct manager;

/*
 * Serves clients on listen_fd (a listening stream socket, taken over; -1: none, clients come by
 * control_add()). The manager is borrowed and must live longer.
 */
int control_new(sd_event *event, struct manager *m, const struct limits *limits, int listen_fd,
	struct control **ret, struct fault *reterr);
/* Closes all clients; what they started goes on. NULL is allowed. */
struct control *control_free(struct control *c);
DEFINE_CLEANUP(struct control *, control_free)

/* Serves a connected socket, taken over, with the access rights of enum access. -EMFILE: too many clients; it
 * is closed then. */
int control_add(struct control *c, int fd, unsigned int access);
/* From now on; clients that are there stay. */
void control_set_limits(struct control *c, const struct limits *limits);
unsigned int control_clients(const struct control *c);

/*
 * Listens on a socket file of mode 0660. One that a dead daemon left is replaced; of a living one, or of a
 * file that is no socket, nothing is touched. Faults: "socket_in_use", "socket". The file is the caller's to
 * remove by control_unlisten().
 */
int control_listen(const char *path, struct fault *reterr);
/* Removes the file unless somebody listens on it: another daemon may have replaced it. To be called after
 * control_free(). */
void control_unlisten(const char *path);
