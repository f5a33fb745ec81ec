/* SPDX-License-Identifier: MIT */
/*
 * A grid of cells and what its runs measured: the plan, the order of the runs, the rule that ends a cell, and
 * each cell's row. Knows neither the queue nor the store.
 *
 * Order. Runs go in rounds; a round has one run of each cell that goes on, in the order of stats_shuffle()
 * for a seed that is drawn from the plan's seed and the round's number: drift hits all cells alike, and the
 * plan says it all.
 *
 * End of a cell. "converged": at least SWEEP_REPEATS_MIN runs, and neither end of the interval of the median
 * throughput is farther from the median than SWEEP_WITHIN of it. "repeats": the plan's repeats are used up.
 * "failed": no run of them, or of the first SWEEP_REPEATS_MIN, gave a figure. The interval is
 * stats_bootstrap_median_interval() at SWEEP_LEVEL; for less than 6 runs that is their range, and the row's
 * coverage says how often such a range holds the median.
 */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "limit.h"
#include "macro.h"
#include "spec.h"

#define SWEEP_REPEATS_MIN 4U
#define SWEEP_WITHIN 0.025
#define SWEEP_LEVEL 0.95
#define SWEEP_RESAMPLES 2000U

#define SWEEP_AXES 5U
#define SWEEP_VALUE_BYTES 80U

struct sweep_plan {
	struct spec base; /* what all cells share; what an axis names is not set */
	struct {
		uint32_t n;
		char values[LIMIT_SWEEP_LIST][SWEEP_VALUE_BYTES]; /* as they lie in struct spec */
	} axes[SWEEP_AXES];
	uint32_t repeat;
	uint64_t seed;
};

/*
 * Checks type SweepSpec of the interface and fills *ret with defaults for what is absent; NULL: all of them.
 * On error *reterr_details is what the error says beside field and message, owned by the caller.
 */
int sweep_plan_parse(
	json_object *obj, struct sweep_plan *ret, struct fault *reterr, json_object **reterr_details);
json_object *sweep_plan_to_json(const struct sweep_plan *plan); /* the caller owns it */
uint32_t sweep_plan_cells(const struct sweep_plan *plan);
/* Cells are numbered with the threads running fastest, then sizes, modes, workloads, paths. */
void sweep_plan_spec(const struct sweep_plan *plan, uint32_t cell, struct spec *ret);

/* The order of a round, counted from 0, over all cells of the plan. */
void sweep_plan_order(const struct sweep_plan *plan, uint32_t round, uint32_t *ret_order);

struct sweep;

int sweep_new(const struct sweep_plan *plan, struct sweep **ret);
struct sweep *sweep_free(struct sweep *s); /* NULL is allowed */
DEFINE_CLEANUP(struct sweep *, sweep_free)

const struct sweep_plan *sweep_plan(const struct sweep *s);

/* The cell whose turn it is, and the round; false: all cells have ended. */
bool sweep_next(struct sweep *s, uint32_t *ret_cell, uint32_t *ret_round);

/* Adds a run by its result document: a failed run is a sample with its reason. -EEXIST: it is there already;
 * -ENOENT: no such cell; -ENODATA: cancelled or cut off, which is no sample. */
int sweep_take(struct sweep *s, uint32_t cell, json_object *document);

/* Whether a run is among a cell's samples. */
bool sweep_has(const struct sweep *s, uint32_t cell, const char *run);

/* Type SweepCell; whole: with its runs. The caller owns it. NULL: no memory. */
json_object *sweep_row(const struct sweep *s, uint32_t cell, bool whole);
/* Takes a whole row's runs back. -EBADMSG: not a row of this plan, or its cell has runs already. */
int sweep_restore(struct sweep *s, json_object *row);

struct sweep_counts {
	uint32_t cells, cells_done, cells_failed, converged;
	uint32_t runs_done, runs_failed, unbalanced;
	uint32_t runs_expected; /* at most: a cell may converge before */
};
struct sweep_counts sweep_count(const struct sweep *s);

/* The i-th cell that ended, in the order of their ends; false: not so many have. */
bool sweep_ended(const struct sweep *s, uint32_t i, uint32_t *ret_cell);

/* Adds cell, mode, size, threads, path and workload. */
int sweep_add_place(const struct sweep_plan *plan, uint32_t cell, json_object *into);
