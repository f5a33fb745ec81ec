/* SPDX-License-Identifier: MIT */
/* From what size on one way is better than another: the point where two measured curves cross, and how sure
 * it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was measured of both ways at one size; higher is better. The values are borrowed and greater than 0.
 */
struct cross_point {
	double size;
	const double *a, *b;
	size_t n_a, n_b; /* at least 1 each */
};

enum cross_kind {
	CROSS_UNDECIDED, /* the interval is all sizes: b may be better everywhere or nowhere */
	CROSS_NONE,      /* at the largest size b is not better than a; it may be at smaller ones */
	CROSS_ALWAYS,    /* b is better from the smallest size on */
	CROSS_AT,
};

/*
 * at: between the last size where the median of b is not above that of a and the next, by a straight line
 * through the logarithms of the ratios over log2 of the size; 0: b is better from the first size on;
 * INFINITY: not even at the last. low and high: the interval of at by the percentile bootstrap, the runs of
 * each point and way drawn anew (Efron, Tibshirani: "An Introduction to the Bootstrap", 1993, chapter 13),
 * with the same meanings of 0 and INFINITY.
 */
struct crossover {
	enum cross_kind kind;
	double at, low, high;
};

/* points by ascending size. -ENODATA: no point, or no point with more than one value of each; -EINVAL: no
 * resamples or a level outside (0, 1); -ENOMEM. */
int crossover_find(const struct cross_point *points, size_t n, double level, unsigned int resamples,
	uint64_t seed, struct crossover *ret);

/* Fills n flags: whether b is better than a at this size in all but (1 - level) / 2 of the resamples. Errors
 * as above. */
int crossover_ahead(const struct cross_point *points, size_t n, double level, unsigned int resamples,
	uint64_t seed, bool *ret);
