// SPDX-License-Identifier: MIT
/* Crossings of medians, and their bootstrap. */
#include <errno.h>
#include <math.h>

#include "crossover.h"
#include "macro.h"
#include "stats.h"

struct scratch {
	double *log_ratio; /* of each point */
	double *drawn;     /* as many values as the largest set has */
};

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_of(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), ascending);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* The median of the values, or of as many drawn from them; state: NULL: of themselves. */
static double draw(const double *values, size_t n, struct scratch *s, uint64_t *state)
{
	for (size_t i = 0; i < n; i++)
		s->drawn[i] = values[state ? stats_random_below(state, n) : i];
	return median_of(s->drawn, n);
}

/* log2 of the size where the last sign changes to plus. */
static double crossing(const struct cross_point *p, const double *log_ratio, size_t n)
{
	size_t i = n;
	double part;

	while (i > 0 && log_ratio[i - 1] > 0)
		i--;
	if (i == 0)
		return -INFINITY;
	if (i == n)
		return INFINITY;
	part = -log_ratio[i - 1] / (log_ratio[i] - log_ratio[i - 1]);
	return log2(p[i - 1].size) + part * (log2(p[i].size) - log2(p[i - 1].size));
}

static double once(const struct cross_point *p, size_t n, struct scratch *s, uint64_t *state)
{
	for (size_t i = 0; i < n; i++) {
		double a = draw(p[i].a, p[i].n_a, s, state);

		s->log_ratio[i] = log(draw(p[i].b, p[i].n_b, s, state) / a);
	}
	return crossing(p, s->log_ratio, n);
}

static enum cross_kind kind_of(double low, double high)
{
	if (isinf(low) && low > 0)
		return CROSS_NONE;
	if (isinf(high) && high < 0)
		return CROSS_ALWAYS;
	return isinf(low) && isinf(high) ? CROSS_UNDECIDED : CROSS_AT;
}

/* 0 if all points have one value of a way only: nothing can be drawn from that. Else the largest number of
 * values. */
static size_t most_values(const struct cross_point *p, size_t n)
{
	size_t most = 0;
	bool several = false;

	for (size_t i = 0; i < n; i++) {
		most = MAX(most, MAX(p[i].n_a, p[i].n_b));
		several |= p[i].n_a > 1 && p[i].n_b > 1;
	}
	return several ? most : 0;
}

int crossover_find(const struct cross_point *points, size_t n, double level, unsigned int resamples,
	uint64_t seed, struct crossover *ret)
{
	size_t most = most_values(points, n), tail;
	_cleanup_free_ double *log_ratio = NULL, *drawn = NULL, *found = NULL;
	struct scratch s;

	if (!most)
		return -ENODATA;
	if (resamples == 0 || !(level > 0 && level < 1))
		return -EINVAL;
	log_ratio = calloc(n, sizeof(*log_ratio));
	drawn = calloc(most, sizeof(*drawn));
	found = calloc(resamples, sizeof(*found));
	if (!log_ratio || !drawn || !found)
		return -ENOMEM;
	s = (struct scratch){log_ratio, drawn};
	for (unsigned int i = 0; i < resamples; i++)
		found[i] = once(points, n, &s, &seed);
	qsort(found, resamples, sizeof(*found), ascending);
	tail = (size_t)((1 - level) / 2 * resamples);
	ret->kind = kind_of(found[tail], found[resamples - 1 - tail]);
	ret->low = exp2(found[tail]);
	ret->high = exp2(found[resamples - 1 - tail]);
	ret->at = exp2(once(points, n, &s, NULL));
	return 0;
}

static bool is_ahead(
	const struct cross_point *p, struct scratch *s, unsigned int resamples, size_t tail, uint64_t *state)
{
	size_t behind = 0;

	for (unsigned int i = 0; i < resamples; i++) {
		double a = draw(p->a, p->n_a, s, state);

		behind += draw(p->b, p->n_b, s, state) <= a;
	}
	return behind <= tail;
}

int crossover_ahead(const struct cross_point *points, size_t n, double level, unsigned int resamples,
	uint64_t seed, bool *ret)
{
	size_t most = most_values(points, n), tail = (size_t)((1 - level) / 2 * resamples);
	_cleanup_free_ double *drawn = NULL;

	if (!most)
		return -ENODATA;
	if (resamples == 0 || !(level > 0 && level < 1))
		return -EINVAL;
	drawn = calloc(most, sizeof(*drawn));
	if (!drawn)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		ret[i] = is_ahead(&points[i], &(struct scratch){.drawn = drawn}, resamples, tail, &seed);
	return 0;
}
