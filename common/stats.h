/* SPDX-License-Identifier: MIT */
/*
 * Medians and their bootstrap intervals, and the small generator that shuffles and resamples. The same values
 * and the same seed give the same answer on every machine.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). *state is the seed
 * at first; any seed will do. */
uint64_t stats_random(uint64_t *state);

/* Uniform in [0, n), n > 0: the high half of a 128-bit product, off by less than n / 2^64. */
uint64_t stats_random_below(uint64_t *state, uint64_t n);

/* The numbers 0 to n - 1 in an order that the seed alone decides (Fisher and Yates). */
void stats_shuffle(uint32_t *ret_order, size_t n, uint64_t seed);

/* The middle value, or the mean of the two in the middle. -ENODATA: n is 0; -ENOMEM. */
int stats_median(const double *values, size_t n, double *ret);

/*
 * Percentile bootstrap: the quantiles (1 - level) / 2 and (1 + level) / 2 of the medians of that many
 * resamples. For few values no method can have a level of 95 %: below 6 of them this interval is the smallest
 * to the largest value, and what it covers is stats_range_coverage(). -ENODATA: less than 2 values; -EINVAL:
 * no resamples or a level outside (0, 1); -ENOMEM.
 */
int stats_bootstrap_median_interval(const double *values, size_t n, double level, unsigned int resamples,
	uint64_t seed, double *ret_low, double *ret_high);

/* How often the smallest to the largest of n independent values hold the true median between them: 1 - 2^(1 -
 * n), 0 for n = 0. */
double stats_range_coverage(size_t n);

/*
 * Mann and Whitney's U of n against m values without ties, when both come from one distribution: the chance
 * that U <= u. Counted by sums of ranks up to n + m = 50, the normal approximation with its correction for
 * continuity above (Mann, Whitney: "On a test of whether one of two random variables is stochastically larger
 * than the other", 1947). NaN without memory.
 */
double stats_mann_whitney_below(size_t n, size_t m, size_t u);

/*
 * How far b lies above a: the interval between the k-th smallest and the k-th largest of the differences b -
 * a of all pairs, k the largest with a coverage of at least level (Moses 1953; Hollander, Wolfe:
 * "Nonparametric Statistical Methods", 4.3). Where even the smallest to the largest covers less, that is the
 * interval. *ret_coverage: how often such an interval holds the true shift. Of logarithms: the interval of a
 * ratio's logarithm. -ENODATA: n or m is 0; -EINVAL: a level outside (0, 1); -ENOMEM.
 */
int stats_shift_interval(const double *a, size_t n, const double *b, size_t m, double level, double *ret_low,
	double *ret_high, double *ret_coverage);
