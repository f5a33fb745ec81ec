/* SPDX-License-Identifier: MIT */
/* The figures of a comparison: ratios of paired cells, their intervals, and what of them is more than chance.
 */
#pragma once

#include "pairing.h"

#define COMPARE_LEVEL 0.95
#define COMPARE_DEALS 9999U
#define OUTCOME_DRIFT 3 /* see outcomes.drift; the simulation in doc/analysis.md */

/* What one comparison of two sides came to; a cell's, or that of all cells together. */
struct outcome {
	const struct pair *pair; /* NULL: all cells */
	double *a, *b;           /* logarithms by round; owned */
	size_t n_a, n_b;
	double ratio, low, high, coverage; /* NaN: unknown */
	double p, detectable;              /* NaN: no test */
	const char *reason;                /* why there is no ratio, borrowed */
	const char *verdict;
};

struct outcomes {
	struct outcome *all; /* owned; the last one is that of all cells together */
	size_t n;
	double drift; /* NaN, or: a smaller difference of logarithms may be drift of the machine */
};

/* How a comparison is to be read. */
struct outcome_settings {
	const struct measure *measure;
	uint64_t seed;
	bool refused;  /* no verdicts */
	bool in_a_row; /* one side was measured after the other, not in turns: see outcomes.drift */
};

/* One row a pair with two sides, in their order, and the last for all of them. 0 or -ENOMEM; outcomes_free()
 * is due in both cases. */
int outcomes_make(struct outcomes *ret, const struct pairing *p, const struct outcome_settings *s);
void outcomes_free(struct outcomes *o);

/* It has a ratio, and the test had a row for it. */
bool outcome_is_known(const struct outcome *o);
