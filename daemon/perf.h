/* SPDX-License-Identifier: MIT */
/*
 * Perf counters of a set of threads: for each event of a const table a value in user mode and one in kernel
 * mode, or why there is none. Events are opened in groups a thread, so that the ratios within a group are of
 * the same moments.
 */
#pragma once

#include <json.h>
#include <stddef.h>
#include <sys/types.h>

#include "macro.h"

struct perf;

/*
 * Opens all events, disabled, on n threads. roles[i] is 0 (sender) or 1 (receiver). An event that cannot be
 * opened on every thread is opened on none, remembered with its reason, and is not an error: also when that
 * holds for all of them. 256 + 64 open files are left free; where the others do not suffice, the last events
 * of the table are given up. Returns 0, -EINVAL (roles, tids) or -ENOMEM.
 */
int perf_open(const pid_t *tids, const int *roles, size_t n, struct perf **ret);
int perf_enable(struct perf *p);  /* resets to 0 and enables */
int perf_disable(struct perf *p); /* disables and takes the values, so that the threads may end afterwards */
struct perf *perf_close(struct perf *p);
DEFINE_CLEANUP(struct perf *, perf_close)

/*
 * {"sender": {event: E, ...}, "receiver": {...}}, summed over the threads of each role; owned by the caller.
 * E is {"value": n, "user": n, "kernel": n, "running_ratio": 0..1} (value scaled by enabled/running where the
 * ratio is below 1; "scaled": true then), or {"value": null, "reason": "the CPU offers no such event to this
 * machine (ENOENT)"}. Where an event cannot tell user and kernel apart (context switches, task clock), user
 * and kernel are absent. Where only one half is allowed (no privilege: user), value is null with the reason,
 * and that half stands beside it.
 */
json_object *perf_to_json(const struct perf *p);

/* The sum over both roles of one event, user + kernel; -ENODATA when it is null for one of them, -ENOENT: no
 * such event. */
int perf_total(const struct perf *p, const char *event, double *ret);

/* For Probe:
 * [{"name","kind":"hardware|software|cache","available":bool,"reason":string|null,"needs":string|null}],
 * tried on the calling thread; owned by the caller. */
json_object *perf_probe(void);
