/* SPDX-License-Identifier: MIT */
/* What is read out of a log-linear histogram; recording is in the header. */
#include <string.h>

#include "hist.h"

#define SUB (1u << HIST_SUB_BITS)

uint64_t hist_bucket_low(unsigned int index)
{
	if (index < SUB)
		return index;
	return ((uint64_t)SUB + (index & (SUB - 1))) << ((index >> HIST_SUB_BITS) - 1);
}

uint64_t hist_bucket_high(unsigned int index)
{
	return index >= HIST_BUCKETS - 1 ? UINT64_MAX : hist_bucket_low(index + 1) - 1;
}

void hist_reset(struct hist *h)
{
	memset(h, 0, sizeof(*h));
}

void hist_add(struct hist *into, const struct hist *h)
{
	into->count += h->count;
	into->sum += h->sum;
	if (h->max > into->max)
		into->max = h->max;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] += h->bucket[i];
}

/* Which of count values in order (from 1) stands at quantile q: the nearest rank. */
static uint64_t rank_of(uint64_t count, double q)
{
	uint64_t rank;

	if (q <= 0)
		return 1;
	if (q >= 1)
		return count;
	rank = (uint64_t)(q * (double)count);
	rank += (double)rank < q * (double)count;
	if (rank < 1)
		return 1;
	return rank < count ? rank : count;
}

static double bucket_middle(const struct hist *h, unsigned int index)
{
	uint64_t high = hist_bucket_high(index);
	double middle;

	if (index == HIST_BUCKETS - 1)
		return (double)h->max;
	middle = ((double)hist_bucket_low(index) + (double)high) / 2;
	return middle < (double)h->max ? middle : (double)h->max;
}

double hist_quantile(const struct hist *h, double q)
{
	uint64_t total = 0, rank, seen = 0;

	/* A live histogram's count may run behind its buckets, so the buckets are summed. */
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		total += h->bucket[i];
	if (!total)
		return 0;
	rank = rank_of(total, q);
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank)
			return bucket_middle(h, i);
	}
	return (double)h->max;
}

double hist_mean(const struct hist *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}
