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

#define RANKS_COUNTED 50 /* C(50, 25) is below 2^53: the counts are exact */

/* ways[i * sums + s]: how many choices of i ranks have the sum s, the ranks 1 to last. */
static void count_rank_sums(double *ways, size_t n, size_t last, size_t sums)
{
	ways[0] = 1;
	for (size_t rank = 1; rank <= last; rank++)
		for (size_t i = MIN(n, rank); i > 0; i--)
			for (size_t s = rank; s < sums; s++)
				ways[i * sums + s] += ways[(i - 1) * sums + s - rank];
}

static double mann_whitney_counted(size_t n, size_t m, size_t u)
{
	size_t least = n * (n + 1) / 2, sums = least + n * m + 1;
	_cleanup_free_ double *ways = calloc((n + 1) * sums, sizeof(*ways));
	double below = 0, all = 0;

	if (!ways)
		return NAN;
	count_rank_sums(ways, n, n + m, sums);
	for (size_t s = least; s < sums; s++) {
		all += ways[n * sums + s];
		below += s - least <= u ? ways[n * sums + s] : 0;
	}
	return below / all;
}

double stats_mann_whitney_below(size_t n, size_t m, size_t u)
{
	double a = (double)n, b = (double)m;

	if (u >= n * m)
		return 1;
	if (n + m <= RANKS_COUNTED)
		return mann_whitney_counted(n, m, u);
	return erfc((a * b / 2 - (double)u - 0.5) / sqrt(a * b * (a + b + 1) / 12) / sqrt(2)) / 2;
}

/* The largest k >= 1 whose interval covers level, or 1; the interval of k misses with 2 P(U <= k - 1). */
static size_t moses_rank(size_t n, size_t m, double level)
{
	size_t low = 1, high = MAX(n * m / 2, 1U);

	while (low < high) {
		size_t middle = (low + high + 1) / 2;

		if (2 * stats_mann_whitney_below(n, m, middle - 1) <= 1 - level)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

int stats_shift_interval(const double *a, size_t n, const double *b, size_t m, double level, double *ret_low,
	double *ret_high, double *ret_coverage)
{
	_cleanup_free_ double *differences = NULL;
	size_t k;

	if (n == 0 || m == 0)
		return -ENODATA;
	if (!(level > 0 && level < 1))
		return -EINVAL;
	differences = malloc(n * m * sizeof(*differences));
	if (!differences)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < m; j++)
			differences[i * m + j] = b[j] - a[i];
	qsort(differences, n * m, sizeof(*differences), ascending);
	k = moses_rank(n, m, level);
	*ret_low = differences[k - 1];
	*ret_high = differences[n * m - k];
	*ret_coverage = MAX(0, 1 - 2 * stats_mann_whitney_below(n, m, k - 1));
	return 0;
}
