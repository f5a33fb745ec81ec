/* SPDX-License-Identifier: MIT */
/* One measuring run: the load generator's child, the ledger, perf counters and the result, driven by the
 * event loop. */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "fault.h"
#include "macro.h"
#include "spec.h"

struct run;

/* Called on each change of state and, while load runs, every 250 ms. The last call has run_finished() true;
 * the callee may free the run only later, from the event loop (not inside this call). */
typedef void (*run_changed_fn)(struct run *run, void *userdata);

/* Starts a run at once. loadgen is the path of copyledger-loadgen. On success *ret is the caller's. A failure
 * that comes later is a finished run whose state is "failed". */
int run_start(sd_event *event, const char *loadgen, const char *id, const struct spec *spec,
	run_changed_fn changed, void *userdata, struct run **ret, struct fault *reterr);

/* Lets a run of two hosts, which waits for the other one, go on. -EAGAIN: it does not wait. */
int run_continue(struct run *run);

/* Asks a run to end early; what was measured until then becomes its result, state "cancelled". */
void run_cancel(struct run *run);

/* Kills what still runs and frees everything. NULL is allowed. */
struct run *run_free(struct run *run);
DEFINE_CLEANUP(struct run *, run_free)

const char *run_id(const struct run *run);
const struct spec *run_spec(const struct run *run);
bool run_finished(const struct run *run);
/* "starting", "connected", "warmup", "ready", "measuring", "closing", "done", "failed", "cancelled" */
const char *run_state(const struct run *run);

/* Type Progress of the interface; the caller owns it. */
json_object *run_progress(const struct run *run);
/* Type Trace of the interface: the account's live ledger; the caller owns it. NULL if the ledger is off. */
json_object *run_trace(struct run *run);
/* The result document (schema copyledger/result/1), owned by the run; only when finished. */
json_object *run_result(struct run *run);
