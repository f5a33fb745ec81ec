/* SPDX-License-Identifier: MIT */
/* Owns what the daemon does: the queue of runs (one measures at a time), the store of results, and who
 * watches them. */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "config.h"
#include "fault.h"
#include "macro.h"
#include "run.h"
#include "spec.h"

#define RUN_ID_BYTES 24 /* "20260131-235959-1f2e" and its end */

struct manager;
struct observers;
struct sweeper;

/* What drives the measuring: the functions of run.h, ledger.h, perf.h and host.h; tests put their own in. */
struct run_ops {
	int (*start)(sd_event *event, const char *loadgen, const char *id, const struct spec *spec,
		run_changed_fn changed, void *userdata, struct run **ret, struct fault *reterr);
	void (*cancel)(struct run *run);
	int (*go_on)(struct run *run);
	struct run *(*free)(struct run *run);
	bool (*finished)(const struct run *run);
	const char *(*state)(const struct run *run);
	json_object *(*progress)(const struct run *run);
	json_object *(*trace)(struct run *run);
	json_object *(*result)(struct run *run);
	int (*ledger_probe)(json_object **ret_sites, json_object **ret_hooks, json_object **ret_summary);
	json_object *(*perf_probe)(void);
	json_object *(*host_snapshot)(void);
};

struct manager_config {
	const char *loadgen;   /* path of the load generator */
	const char *state_dir; /* NULL: results are kept in memory only */
	struct limits limits;
};

/* Somebody who wants to know when a run or the queue changed. */
struct watch {
	struct watch *next;
	void (*changed)(struct watch *w); /* may remove this watch, but no other, and may not add any */
};

/* A state directory that cannot be used is a warning in GetInfo and in each result, not an error. */
int manager_new(sd_event *event, const struct run_ops *ops, const struct manager_config *config,
	struct manager **ret, struct fault *reterr);
struct manager *manager_free(struct manager *m); /* NULL is allowed */
DEFINE_CLEANUP(struct manager *, manager_free)

/* Cancels what waits and what runs, and ends the event loop when that is stored, at the latest after 5 s. */
void manager_stop(struct manager *m);

sd_event *manager_event(struct manager *m);
/* The directory in use, not the one that was asked for; NULL: results are kept in memory only. Borrowed. */
const char *manager_state_dir(const struct manager *m);
const struct limits *manager_limits(const struct manager *m);
/* From now on; what is under way or waits already stays. */
void manager_set_limits(struct manager *m, const struct limits *limits);
/* What systemctl status shows. */
void manager_say_status(const struct manager *m);

/* Queues a run, or starts it if none is measuring. Faults: "stopping", "queue_full", what run_start() has. */
int manager_submit(struct manager *m, const struct spec *spec, char ret_id[RUN_ID_BYTES],
	uint64_t *ret_position, struct fault *reterr);
/* Queues a run of a sweep, which starts from the event loop; a full queue takes it too. */
int manager_submit_cell(struct manager *m, const struct spec *spec, const char *sweep, uint32_t cell,
	char ret_id[RUN_ID_BYTES], struct fault *reterr);
struct sweeper *manager_sweeper(struct manager *m);
bool manager_stopping(const struct manager *m);
/* *ret_state: the state right after; a run that measures needs a moment until it is "cancelled". Fault:
 * "not_running". */
int manager_cancel(struct manager *m, const char *id, const char **ret_state, struct fault *reterr);

/* A run of two hosts that waits for the other one. Faults: "not_running", "not_waiting". */
int manager_continue(struct manager *m, const char *id, const char **ret_state, struct fault *reterr);

/* The whole id for an id, a unique prefix or "last". Fault: "no_such_run". */
int manager_find(struct manager *m, const char *ident, char ret_id[RUN_ID_BYTES], struct fault *reterr);
/* The id of the run that is measuring, or NULL. */
const char *manager_running(const struct manager *m);

/* The state of a run that waits or runs; NULL: it has ended (or never was). */
const char *manager_state(const struct manager *m, const char *id);
/* Types Progress and Trace of a run that waits or runs; the caller owns them. NULL: it does not, or has no
 * ledger. */
json_object *manager_progress(const struct manager *m, const char *id);
json_object *manager_trace(const struct manager *m, const char *id);
/* The document of a run; for one that has not ended only what was asked for. The caller owns it. */
int manager_document(struct manager *m, const char *id, json_object **ret, struct fault *reterr);

struct store_filter;
/* Array of RunSummary, newest first; the caller owns it. */
int manager_list(
	struct manager *m, const struct store_filter *filter, json_object **ret, struct fault *reterr);
/* The reply of GetInfo; NULL without memory. */
json_object *manager_info(const struct manager *m);
/* The reply of GetTotals; NULL without memory. */
json_object *manager_totals(struct manager *m);
/* The watches that go on, for observe.h. */
struct observers *manager_observers(struct manager *m);
/* The control socket says how many clients it has. */
void manager_count_clients(struct manager *m, unsigned int clients);
/* The reply of Probe, at most 2 s old. While a run measures it is the last one made ("busy" if there is
 * none): probing would disturb. */
int manager_probe(struct manager *m, json_object **ret, struct fault *reterr);

/* The load generator's file. */
const char *manager_loadgen(const struct manager *m);

void manager_watch(struct manager *m, struct watch *w);
void manager_unwatch(struct manager *m, struct watch *w);
void manager_tell(struct manager *m); /* each watch that something changed */
