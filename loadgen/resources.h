/* SPDX-License-Identifier: MIT */
/* What a run may take of the machine: open files, locked memory, message buffers. */
#pragma once

#include "fault.h"
#include "wire.h"

/* Message buffers a sender of a deferred mode owns: bounded by bytes, by number and by what may be locked
 * (bytes, UINT64_MAX: no limit). */
uint32_t ring_slots(uint64_t size, uint32_t lanes, uint64_t memlock);

/* RLIMIT_NOFILE and RLIMIT_MEMLOCK, as far as this process may. */
int resources_raise_limits(const struct lg_plan *plan, struct fault *reterr);

/*
 * Gives up all capabilities, for the calling thread and those it starts: to be called when sockets and
 * namespaces are there, before the lanes. Of a process that may not lock as much as it wants without
 * CAP_IPC_LOCK, that one is kept.
 */
int resources_drop_privileges(struct fault *reterr);

/* How many message buffers each sender gets: a ring for a deferred mode, else 1; -ENOMEM if the machine has
 * not the memory for all of them. To be called in the user namespace that the traffic will run in. */
int resources_ring(const struct lg_plan *plan, uint32_t *ret, struct fault *reterr);

/* Bytes of one call that pins pages, at most: what may be locked has room for one of each sender. More would
 * be refused as long as others have some, or for ever. To be called in a lane. */
size_t resources_pinned_call(const struct lg_plan *plan);

/* True if what one lane pins is missing to others. To be called in a lane. */
int resources_pins_are_limited(void);

/* Bytes of this process's private memory in transparent huge pages; UINT64_MAX if the kernel does not say. */
uint64_t resources_huge_bytes(void);
