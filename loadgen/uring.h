/* SPDX-License-Identifier: MIT */
/* What the io_uring modes share: making a ring of a lane's own, and asking the kernel what it has. */
#pragma once

/* Before liburing's own copy of it, which in version 2.3 lacks IORING_SEND_ZC_REPORT_USAGE; the guard is the
 * same. */
#include <linux/io_uring.h>

#include <liburing.h>

/* For the calling thread only, with room for `completions` unread ones. 0 or a negative errno. */
int uring_open(struct io_uring *ring, unsigned int completions);

/* 0 if the kernel has the operation, -EOPNOTSUPP, or why there are no rings at all. */
int uring_probe(int opcode);
