/* SPDX-License-Identifier: MIT */
/*
 * Log-linear histogram of unsigned integers: exact below 32, then 32 linear buckets an octave, so that a bucket is at
 * most 1/32 (3.2 %) of its value wide. The idea is HdrHistogram's; a histogram is plain memory and can be shared.
 */
#pragma once

#include <stdint.h>

#define HIST_SUB_BITS 5
#define HIST_MAX_BITS 42 /* values from 2^42 (73 minutes in ns) on fall into the last bucket */
#define HIST_BUCKETS ((HIST_MAX_BITS - HIST_SUB_BITS + 1) << HIST_SUB_BITS)

struct hist {
	uint64_t count, sum, max;
	uint64_t bucket[HIST_BUCKETS];
};

static inline unsigned int hist_index(uint64_t v)
{
	unsigned int shift;

	if (v < 1U << HIST_SUB_BITS)
		return v;
	shift = 63 - __builtin_clzll(v) - HIST_SUB_BITS;
	if (shift >= HIST_MAX_BITS - HIST_SUB_BITS)
		return HIST_BUCKETS - 1;
	return ((shift + 1) << HIST_SUB_BITS) + ((v >> shift) & ((1U << HIST_SUB_BITS) - 1));
}

/* One writer; a reader in another thread sees each word whole, the words not necessarily of one moment. */
static inline void hist_record(struct hist *h, uint64_t v)
{
	uint64_t *b = &h->bucket[hist_index(v)];

	__atomic_store_n(b, *b + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&h->count, h->count + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&h->sum, h->sum + v, __ATOMIC_RELAXED);
	if (v > h->max)
		__atomic_store_n(&h->max, v, __ATOMIC_RELAXED);
}

/* The smallest and the largest value that fall into a bucket. */
uint64_t hist_bucket_low(unsigned int index);
uint64_t hist_bucket_high(unsigned int index);
void hist_reset(struct hist *h);
void hist_add(struct hist *into, const struct hist *h);

/* The value at quantile q in [0, 1]: the middle of the bucket that holds it, at most max; 0 if the histogram is empty. */
double hist_quantile(const struct hist *h, double q);
double hist_mean(const struct hist *h);
