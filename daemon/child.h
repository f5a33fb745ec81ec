/* SPDX-License-Identifier: MIT */
/* The load generator as a child process: its plan and counters in shared memory, its messages, its end. */
#pragma once

#include <signal.h>
#include <systemd/sd-event.h>

#include "fault.h"
#include "macro.h"
#include "wire.h"

struct child;

struct child_ops {
	/* The fds are the callee's. */
	void (*message)(const struct lg_message *m, const int *fds, size_t n, void *userdata);
	/* The process is gone and every message it sent has been delivered; si_code, si_status as waitid()
	 * fills them. */
	void (*ended)(const siginfo_t *how, void *userdata);
};

/* Starts the program with a copy of plan, and of listener (-1: none), which stays the caller's. No callback
 * comes before this returns. */
int child_start(sd_event *event, const char *program, const struct lg_plan *plan, int listener,
	const struct child_ops *ops, void *userdata, struct child **ret, struct fault *reterr);
/* Kills it if it still runs, waits for it, unmaps the shared memory. NULL is allowed. */
struct child *child_free(struct child *c);
DEFINE_CLEANUP(struct child *, child_free)

int child_tell(struct child *c, enum lg_message_type type);
void child_kill(struct child *c);

/* CPU time that all its threads have used, ns; after its end what it was then. 0: it cannot be read. */
uint64_t child_cpu_ns(const struct child *c);

/* Valid until child_free(), also after the child's end. */
struct lg_shm *child_shm(const struct child *c);
