// SPDX-License-Identifier: MIT
/* The permutation test of many contrasts at once. */
#include <errno.h>
#include <math.h>

#include "contrast.h"
#include "macro.h"
#include "stats.h"

/* The same deal in another order of summation must not look smaller. What is left of the squares when the
 * sides are far apart is such a difference of large numbers; below this part of them it is rounding and no
 * spread. */
#define ROUNDING (1 - 1e-7)
#define NO_SPREAD 1e-8

/* Contrasts with as many rounds on either side are dealt alike. */
struct shape {
	size_t n_a, n;
	uint32_t *order; /* the first n_a of it are the a side; owned */
};

struct series {
	double *values; /* a, then b, less their mean; owned */
	double squares; /* their sum */
	struct shape *shape;
};

struct family {
	struct series *series; /* owned, as is all below */
	struct shape *shapes;
	size_t n, n_shapes;
	double s0;
};

static void family_free(struct family *f)
{
	for (size_t i = 0; f->series && i < f->n; i++)
		free(f->series[i].values);
	for (size_t i = 0; i < f->n_shapes; i++)
		free(f->shapes[i].order);
	free(f->series);
	free(f->shapes);
}

static struct shape *shape_of(struct family *f, size_t n_a, size_t n)
{
	struct shape *s;

	for (size_t i = 0; i < f->n_shapes; i++)
		if (f->shapes[i].n_a == n_a && f->shapes[i].n == n)
			return &f->shapes[i];
	s = &f->shapes[f->n_shapes];
	s->order = calloc(n, sizeof(*s->order));
	if (!s->order)
		return NULL;
	s->n_a = n_a;
	s->n = n;
	for (size_t i = 0; i < n; i++)
		s->order[i] = (uint32_t)i;
	f->n_shapes++;
	return s;
}

static int series_fill(struct family *f, struct series *s, const struct contrast *c)
{
	size_t n = c->n_a + c->n_b;
	double mean = 0;

	if (c->n_a == 0 || c->n_b == 0 || n < 3)
		return -EINVAL;
	s->shape = shape_of(f, c->n_a, n);
	s->values = malloc(n * sizeof(*s->values));
	if (!s->shape || !s->values)
		return -ENOMEM;
	memcpy(s->values, c->a, c->n_a * sizeof(*c->a));
	memcpy(s->values + c->n_a, c->b, c->n_b * sizeof(*c->b));
	for (size_t i = 0; i < n; i++)
		mean += s->values[i] / (double)n;
	for (size_t i = 0; i < n; i++) {
		s->values[i] -= mean;
		s->squares += s->values[i] * s->values[i];
	}
	return 0;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Half the length of the shortest interval that holds half of the values; *v is sorted afterwards. */
static double half_of_values(double *v, size_t n)
{
	size_t half = (n + 1) / 2;
	double shortest = INFINITY;

	qsort(v, n, sizeof(*v), ascending);
	for (size_t i = 0; i + half <= n; i++)
		shortest = fmin(shortest, v[i + half - 1] - v[i]);
	return shortest / 2;
}

/*
 * The spread that the contrasts have in common, the median of theirs. Two things are asked of it:
 *
 * It is one number for all deals, and does not look at the sides: otherwise the observed deal is not one of
 * many alike. Distances within the sides of each deal would hold the differences of all contrasts in every
 * deal but the observed one, where equals would then look far apart.
 *
 * It does not grow with the differences, or what is far apart hides the rest. One side at least has half of a
 * contrast's values, so that the shortest interval with half of them is no longer than that side, however far
 * away the other one is (a median's distances reach over to it).
 *
 * Where half of the contrasts have no spread, as counts that do not vary, a trace keeps the statistics
 * finite.
 */
static int common_spread(const struct family *f, double *ret)
{
	_cleanup_free_ double *spreads = malloc(f->n * sizeof(*spreads));
	double middle, most = 0;
	int r;

	if (!spreads)
		return -ENOMEM;
	for (size_t i = 0; i < f->n; i++) {
		const struct series *s = &f->series[i];
		_cleanup_free_ double *sorted = malloc(s->shape->n * sizeof(*sorted));

		if (!sorted)
			return -ENOMEM;
		memcpy(sorted, s->values, s->shape->n * sizeof(*sorted));
		spreads[i] = half_of_values(sorted, s->shape->n);
		most = fmax(most, s->squares / (double)s->shape->n);
	}
	r = stats_median(spreads, f->n, &middle);
	if (r == 0)
		*ret = fmax(middle, NO_SPREAD * sqrt(most));
	return r;
}

static int family_make(struct family *f, const struct contrast *c, size_t n)
{
	int r;

	f->series = calloc(n, sizeof(*f->series));
	f->shapes = calloc(n, sizeof(*f->shapes));
	if (!f->series || !f->shapes)
		return -ENOMEM;
	f->n = n;
	for (size_t i = 0; i < n; i++) {
		r = series_fill(f, &f->series[i], &c[i]);
		if (r < 0)
			return r;
	}
	return common_spread(f, &f->s0);
}

/* How far the sides of the present deal are apart, and what that is measured by: s + s0. The values' mean is
 * 0, so that one side's sum is the other's with the sign turned. */
static double apart(const struct series *s, double s0, double *ret_scale)
{
	double n_a = (double)s->shape->n_a, n_b = (double)s->shape->n - n_a, sum = 0, within;

	for (size_t i = 0; i < s->shape->n_a; i++)
		sum += s->values[s->shape->order[i]];
	within = s->squares - sum * sum / n_a - sum * sum / n_b;
	if (within < NO_SPREAD * s->squares)
		within = 0;
	*ret_scale = sqrt(within / (n_a + n_b - 2)) + s0;
	return fabs(sum / n_a + sum / n_b);
}

static double statistic(const struct series *s, double s0)
{
	double scale, distance = apart(s, s0, &scale);

	return distance > 0 ? distance / scale : 0;
}

/* Partial Fisher and Yates: the first n_a become a random choice of all. */
static void deal(struct shape *s, uint64_t *seed)
{
	for (size_t i = 0; i < s->n_a; i++) {
		size_t k = i + stats_random_below(seed, s->n - i);
		uint32_t swap = s->order[i];

		s->order[i] = s->order[k];
		s->order[k] = swap;
	}
}

static void deal_all(struct family *f, uint64_t *seed)
{
	for (size_t i = 0; i < f->n_shapes; i++)
		deal(&f->shapes[i], seed);
}

/* As they were observed. */
static void undo_deals(struct family *f)
{
	for (size_t i = 0; i < f->n_shapes; i++)
		for (size_t k = 0; k < f->shapes[i].n; k++)
			f->shapes[i].order[k] = (uint32_t)k;
}

/* A contrast's place in the order of the observed statistics. */
struct rank {
	double observed;
	size_t series, reached; /* reached: deals whose largest statistic from this place on is as large */
};

static int by_observed(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	if (x->observed != y->observed)
		return x->observed < y->observed ? 1 : -1;
	return (x->series > y->series) - (x->series < y->series);
}

static void rank_observed(const struct family *f, struct rank *ranks)
{
	for (size_t i = 0; i < f->n; i++)
		ranks[i] = (struct rank){.observed = statistic(&f->series[i], f->s0), .series = i};
	qsort(ranks, f->n, sizeof(*ranks), by_observed);
}

/* Each is held against the largest of those from its place on: what differs more has been told by then, and
 * its deals shall not hide what differs less. */
static void count_deal(const struct family *f, struct rank *ranks)
{
	double largest = 0;

	for (size_t k = f->n; k-- > 0;) {
		largest = fmax(largest, statistic(&f->series[ranks[k].series], f->s0));
		ranks[k].reached += largest >= ranks[k].observed * ROUNDING;
	}
}

/* The observed deal is one of those that could have been: (1 + k) / (1 + deals), Phipson and Smyth,
 * "Permutation p-values should never be zero", 2010. Nothing is surer than what comes before it. */
static void set_p(struct contrast *c, const struct rank *ranks, size_t n, unsigned int deals)
{
	double p = 0;

	for (size_t k = 0; k < n; k++) {
		p = fmax(p, (1 + (double)ranks[k].reached) / (1 + (double)deals));
		c[ranks[k].series].p = p;
	}
}

/* Takes the difference of the observed sides out of the values. */
static void make_equal(struct series *s)
{
	size_t n = s->shape->n, n_a = s->shape->n_a;
	double mean_a = 0, mean_b = 0;

	for (size_t i = 0; i < n; i++)
		*(i < n_a ? &mean_a : &mean_b) += s->values[i] / (double)(i < n_a ? n_a : n - n_a);
	s->squares = 0;
	for (size_t i = 0; i < n; i++) {
		s->values[i] -= i < n_a ? mean_a : mean_b;
		s->squares += s->values[i] * s->values[i];
	}
}

/* What the largest statistic of a deal among equals is below with the chance level. */
static int critical_value(struct family *f, double level, unsigned int deals, uint64_t seed, double *ret)
{
	_cleanup_free_ double *largest = calloc(deals, sizeof(*largest));

	if (!largest)
		return -ENOMEM;
	for (unsigned int d = 0; d < deals; d++) {
		deal_all(f, &seed);
		for (size_t i = 0; i < f->n; i++)
			largest[d] = fmax(largest[d], statistic(&f->series[i], f->s0));
	}
	qsort(largest, deals, sizeof(*largest), ascending);
	*ret = largest[MIN((size_t)(level * deals), deals - 1U)];
	return 0;
}

/* By the spread that was observed, once the differences that were found are out of the values: they are no
 * spread. One that was found by less was found all the same, since others had been found before it. */
static int set_detectable(
	struct family *f, struct contrast *c, double level, unsigned int deals, uint64_t seed)
{
	_cleanup_free_ double *scales = malloc(f->n * sizeof(*scales));
	double critical;
	int r;

	if (!scales)
		return -ENOMEM;
	undo_deals(f);
	for (size_t i = 0; i < f->n; i++) {
		c[i].detectable = apart(&f->series[i], f->s0, &scales[i]);
		if (c[i].p <= 1 - level)
			make_equal(&f->series[i]);
	}
	r = critical_value(f, level, deals, seed, &critical);
	for (size_t i = 0; i < f->n && r == 0; i++) {
		double least = critical * scales[i];

		if (contrast_smallest_p(c[i].n_a, c[i].n_b) > 1 - level)
			c[i].detectable = (double)INFINITY;
		else
			c[i].detectable = c[i].p <= 1 - level ? fmin(least, c[i].detectable) : least;
	}
	return r;
}

int contrasts_test(struct contrast *c, size_t n, double level, unsigned int deals, uint64_t seed)
{
	_cleanup_(family_free) struct family f = {};
	_cleanup_free_ struct rank *ranks = NULL;
	uint64_t at = seed;
	int r;

	if (n == 0 || deals == 0 || !(level > 0 && level < 1))
		return -EINVAL;
	ranks = malloc(n * sizeof(*ranks));
	r = ranks ? family_make(&f, c, n) : -ENOMEM;
	if (r < 0)
		return r;
	rank_observed(&f, ranks);
	for (unsigned int d = 0; d < deals; d++) {
		deal_all(&f, &at);
		count_deal(&f, ranks);
	}
	set_p(c, ranks, n, deals);
	return set_detectable(&f, c, level, deals, seed);
}

double contrast_smallest_p(size_t n_a, size_t n_b)
{
	double n = (double)n_a + (double)n_b;
	double deals = exp(lgamma(n + 1) - lgamma((double)n_a + 1) - lgamma((double)n_b + 1));

	return (n_a == n_b ? 2 : 1) / deals;
}
