// SPDX-License-Identifier: MIT
/* Medians, bootstrap intervals and SplitMix64. */
#include <errno.h>
#include <math.h>

#include "macro.h"
#include "stats.h"

uint64_t stats_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15U;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

uint64_t stats_random_below(uint64_t *state, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)stats_random(state) * n) >> 64);
}

void stats_shuffle(uint32_t *ret_order, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		ret_order[i] = (uint32_t)i;
	for (size_t i = n; i > 1; i--) {
		size_t j = stats_random_below(&seed, i);
		uint32_t swap = ret_order[i - 1];

		ret_order[i - 1] = ret_order[j];
		ret_order[j] = swap;
	}
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* A sorted copy, NULL without memory. */
static double *sorted(const double *values, size_t n)
{
	double *copy = malloc(n * sizeof(*copy));

	if (!copy)
		return NULL;
	memcpy(copy, values, n * sizeof(*copy));
	qsort(copy, n, sizeof(*copy), ascending);
	return copy;
}

int stats_median(const double *values, size_t n, double *ret)
{
	_cleanup_free_ double *v = NULL;

	if (n == 0)
		return -ENODATA;
	v = sorted(values, n);
	if (!v)
		return -ENOMEM;
	*ret = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
	return 0;
}

/* The value of this rank among drawn values that are counted by their index in a sorted array. */
static double at_rank(const double *values, const uint32_t *drawn, size_t rank)
{
	size_t i = 0;

	for (size_t seen = drawn[0]; seen <= rank; seen += drawn[i])
		i++;
	return values[i];
}

/* The median of n draws from n sorted values. */
static double resample(const double *values, size_t n, uint32_t *drawn, uint64_t *state)
{
	memset(drawn, 0, n * sizeof(*drawn));
	for (size_t i = 0; i < n; i++)
		drawn[stats_random_below(state, n)]++;
	if (n % 2)
		return at_rank(values, drawn, n / 2);
	return (at_rank(values, drawn, n / 2 - 1) + at_rank(values, drawn, n / 2)) / 2;
}

int stats_bootstrap_median_interval(const double *values, size_t n, double level, unsigned int resamples,
	uint64_t seed, double *ret_low, double *ret_high)
{
	_cleanup_free_ double *v = NULL, *medians = NULL;
	_cleanup_free_ uint32_t *drawn = NULL;
	size_t tail;

	if (n < 2)
		return -ENODATA;
	if (resamples == 0 || !(level > 0 && level < 1))
		return -EINVAL;
	v = sorted(values, n);
	if (!v)
		return -ENOMEM;
	if (n < 6) {
		*ret_low = v[0];
		*ret_high = v[n - 1];
		return 0;
	}
	medians = malloc(resamples * sizeof(*medians));
	drawn = malloc(n * sizeof(*drawn));
	if (!medians || !drawn)
		return -ENOMEM;
	for (unsigned int i = 0; i < resamples; i++)
		medians[i] = resample(v, n, drawn, &seed);
	qsort(medians, resamples, sizeof(*medians), ascending);
	tail = (size_t)((1 - level) / 2 * resamples);
	*ret_low = medians[tail];
	*ret_high = medians[resamples - 1 - tail];
	return 0;
}

double stats_range_coverage(size_t n)
{
	return n == 0 ? 0 : 1 - ldexp(1, 1 - (int)MIN(n, 1024U));
}
