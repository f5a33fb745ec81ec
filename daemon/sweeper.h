/* SPDX-License-Identifier: MIT */
/*
 * Drives sweeps: one at a time has one run in the manager's queue, the others wait. Each run that ends is in
 * the store with its sweep's id before the next one is queued, so that no end of the daemon loses one.
 */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "macro.h"
#include "sweep.h"

#define SWEEP_ID_BYTES 24 /* "s20260131-235959-1f2e" and its end */

struct manager;
struct store;
struct sweeper;

/* disk: NULL if there is none. Both stores must outlive it. */
int sweeper_new(struct manager *m, struct store *disk, struct store *memory, struct sweeper **ret);
struct sweeper *sweeper_free(struct sweeper *sw); /* NULL is allowed */
DEFINE_CLEANUP(struct sweeper *, sweeper_free)

/* *ret_position: sweeps ahead. Faults: "queue_full", "stopping". */
int sweeper_start(struct sweeper *sw, const struct sweep_plan *plan, char ret_id[SWEEP_ID_BYTES],
	uint32_t *ret_position, struct fault *reterr);
/* Goes on with a sweep that was interrupted or cancelled; for one that is under way or complete, nothing is
 * done. id is a whole one. */
int sweeper_resume(struct sweeper *sw, const char *id, uint32_t *ret_position, struct fault *reterr);
/* Ends a sweep and the run that it has in the queue. Fault: "not_running". */
int sweeper_cancel(struct sweeper *sw, const char *id, struct fault *reterr);

/* The whole id for an id, a unique prefix or "last". Fault: "no_such_sweep". */
int sweeper_find(struct sweeper *sw, const char *ident, char ret_id[SWEEP_ID_BYTES], struct fault *reterr);

/* False: it has ended, or its end is being told to the watches just now. */
bool sweeper_under_way(const struct sweeper *sw, const char *id);
/* Of a sweep under way or whose end is being told: type SweepProgress, and its i-th ended cell without runs.
 * The caller owns them; NULL: it is neither, or has not so many. */
json_object *sweeper_progress(const struct sweeper *sw, const char *id);
json_object *sweeper_ended_cell(const struct sweeper *sw, const char *id, uint32_t i);

/* {"sweep": type SweepSummary, "spec": type SweepSpec}, with "cells" if they are wanted; the caller owns it.
 */
int sweeper_document(struct sweeper *sw, const char *id, bool cells, json_object **ret, struct fault *reterr);
/* Array of SweepSummary, newest first; the caller owns it. */
int sweeper_list(struct sweeper *sw, uint32_t limit, json_object **ret, struct fault *reterr);

/* How many wait and run, and how many have ended since the daemon started, by state; the caller owns it. NULL
 * without memory. */
json_object *sweeper_totals(const struct sweeper *sw);

/* ---- for the manager ---- */

/* A run has ended and is stored. */
void sweeper_run_ended(struct sweeper *sw, json_object *document);
/* After the watches were told: forgets what has ended, begins what waits. */
void sweeper_settle(struct sweeper *sw);
/* The daemon ends: what is under way is interrupted. */
void sweeper_stop(struct sweeper *sw);
