/* SPDX-License-Identifier: MIT */
/* Makes the result document (schema copyledger/result/1) and the live trace from what a run has gathered. */
#pragma once

#include <json.h>
#include <stdint.h>

#include "balance.h"
#include "perf.h"
#include "spec.h"
#include "wire.h"

#define RESULT_SCHEMA "copyledger/result/1"

/* Why hooks are not timed although somebody asked, with the error of bpf_enable_stats(). */
#define NO_HOOK_TIMES                                                                                        \
	"the kernel does not let this process have its BPF programs measured (bpf_enable_stats: %s; it "     \
	"takes CAP_SYS_ADMIN, or kernel.bpf_stats_enabled 1)"

/* What a run knows; everything is borrowed. */
struct run_facts {
	const char *id, *state;
	const struct spec *spec;
	/* NULL: the child never started. It can write there: how many lanes there are, and of what role, is
	 * in spec. */
	const struct lg_shm *shm;
	bool before_window; /* it ended before its measured window began: of that there is nothing */
	uint64_t started_ns, ended_ns; /* CLOCK_REALTIME */
	uint64_t connect_ns;    /* from the start to the first measured byte's release; 0: never released */
	uint64_t window_end_ns; /* CLOCK_MONOTONIC; the end of a window that the child did not end itself */
	const struct fault *fault; /* why it failed, or NULL */
	const char *signal;        /* the name of the signal that ended the child, or NULL */

	const struct books *books; /* NULL: no ledger, and no_ledger says why */
	const char *no_ledger;
	const char *tier;
	struct site_status site[SITE_MAX];
	const struct hook_cost *hooks;
	size_t n_hooks;
	bool timed;           /* the kernel measured the hooks, from the first to the last */
	const char *no_times; /* why it did not */
	uint64_t load_cpu_ns; /* CPU time of the load generator while the hooks were attached; 0: not known */
	uint32_t sockets_registered;
	const struct call_path *paths; /* where unasked copies came from, most bytes first */
	int n_paths;

	const struct perf *perf; /* NULL: no counters, and no_perf says why */
	const char *no_perf;
	json_object *host_before, *host_after; /* NULL: not taken */
	json_object *warnings;                 /* array of {code, message} */
};

/* The document; the caller owns it. NULL without memory. */
json_object *result_document(const struct run_facts *f);

/* Type Trace of the interface. */
json_object *result_trace(const struct run_facts *f, const char *state, uint64_t elapsed_ms);

/* The ledger block: sites, copies per byte that crossed, balance, gap, misses, doubts. The caller owns it. */
json_object *result_ledger(const struct run_facts *f, const struct balance_input *in, uint64_t crossed);
/* What the hooks are and cost. The caller owns it. */
json_object *result_instrument(const struct run_facts *f);

/* Sums over so many lanes. window: between at_start and at_end (or now), else the whole life. */
struct lg_counts result_counts(const struct lg_shm *shm, uint32_t lanes, bool window);
