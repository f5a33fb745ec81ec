/* SPDX-License-Identifier: MIT */
/*
 * Which of many differences between two sets of measurements are more than chance, by permuting whole rounds.
 *
 * The runs of a sweep go round by round, and what disturbs a machine disturbs a round. So the rounds are
 * dealt anew to the two sides, the same way for all contrasts of one shape. In the order of their statistics,
 * each contrast is compared with the largest one of each deal among itself and those after it: Westfall and
 * Young, "Resampling-Based Multiple Testing", 1993 (step-down maxT). That holds the chance of even one false
 * finding to 1 - level whatever the distribution and however the contrasts hang together, as long as the
 * rounds of equals are exchangeable: exactly if all are equal; if some differ, s0 is all that reaches the
 * others from them.
 *
 * The statistic is |mean(b) - mean(a)| / (s + s0): s is the pooled standard deviation; s0 is the median, over
 * the contrasts, of half the shortest interval with half of a contrast's values. It keeps a contrast that
 * happens to have no spread from dominating the largest ones (Tusher, Tibshirani, Chu: "Significance analysis
 * of microarrays", 2001), and does not grow with the differences.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct contrast {
	const double *a, *b; /* values by round, borrowed; logarithms where ratios are meant */
	size_t n_a, n_b;     /* at least 1 each, 3 together */
	double p;            /* adjusted for all contrasts; 1 in the worst case */
	double detectable;   /* the smallest |mean(b) - mean(a)| that has p <= 1 - level with this spread, the
				others being equal or found; INFINITY: none, see contrast_smallest_p() */
};

/* Fills p and detectable from so many random deals. -EINVAL: a contrast with too few values; -ENOMEM. */
int contrasts_test(struct contrast *c, size_t n, double level, unsigned int deals, uint64_t seed);

/* The smallest p that so many rounds can give at all: the share of deals that separate the sides as well as
 * the best one does, 1 of C(n_a + n_b, n_a), and its mirror image if n_a = n_b. */
double contrast_smallest_p(size_t n_a, size_t n_b);
