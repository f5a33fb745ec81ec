/* SPDX-License-Identifier: MIT */
/* What the io_uring modes share: making a ring of a lane's own, and asking the kernel what it has. */
#pragma once

/* Before liburing's own copy of it, which in version 2.3 lacks IORING_SEND_ZC_REPORT_USAGE; the guard is the
 * same. */
#include <linux/io_uring.h>

#include <liburing.h>

/* In which calls the thread does the rest of its finished requests: only those to the ring, or any, and one
 * in which it sleeps is interrupted for it and goes on. */
enum uring_work { URING_WORK_AT_RING, URING_WORK_ANYWHERE };

/* For the calling thread only, with room for `completions` unread ones. 0 or a negative errno. */
int uring_open(struct io_uring *ring, unsigned int completions, enum uring_work work);

/* 0 if the kernel has the operation, -EOPNOTSUPP, or why there are no rings at all. */
int uring_probe(int opcode);
