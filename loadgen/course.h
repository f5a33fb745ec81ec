/* SPDX-License-Identifier: MIT */
/* The control thread: follows the course of a run that wire.h describes, on one end of the pair. */
#pragma once

#include "wire.h"

/*
 * Runs the plan in shm, told by and reporting to fd. To be called while the process has one thread, with
 * SIGUSR1's disposition free to take. Returns the exit status: 0 after LG_DONE, 1 after LG_FAILED or when
 * nobody listens any more; in the latter case lanes may still run, so the process is to exit.
 */
int control_run(int fd, struct lg_shm *shm);
