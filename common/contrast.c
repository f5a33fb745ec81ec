// SPDX-License-Identifier: MIT
/* The permutation test of many contrasts at once. */
#include <errno.h>
#include <math.h>

#include "contrast.h"
#include "macro.h"
#include "stats.h"

/* The same deal in another order of summation must not look smaller. */
#define ROUNDING (1 - 1e-9)

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

/* The median distance of all values from the median of their own series. */
static int spread_of_all(const struct family *f, double *ret)
{
	_cleanup_free_ double *distances = NULL;
	size_t n = 0;
	double middle;
	int r;

	for (size_t i = 0; i < f->n; i++)
		n += f->series[i].shape->n;
	distances = malloc(n * sizeof(*distances));
	if (!distances)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < f->n; i++) {
		const struct series *s = &f->series[i];

		r = stats_median(s->values, s->shape->n, &middle);
		if (r < 0)
			return r;
		for (size_t k = 0; k < s->shape->n; k++)
			distances[n++] = fabs(s->values[k] - middle);
	}
	return stats_median(distances, n, ret);
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
	return spread_of_all(f, &f->s0);
}

/* How far the sides of the present deal are apart, and what that is measured by: s + s0. The values' mean is
 * 0, so that one side's sum is the other's with the sign turned. */
static double apart(const struct series *s, double s0, double *ret_scale)
{
	double n_a = (double)s->shape->n_a, n_b = (double)s->shape->n - n_a, sum = 0, within;

	for (size_t i = 0; i < s->shape->n_a; i++)
		sum += s->values[s->shape->order[i]];
	within = s->squares - sum * sum / n_a - sum * sum / n_b;
	*ret_scale = sqrt(MAX(within, 0) / (n_a + n_b - 2)) + s0;
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

static double largest_of_a_deal(struct family *f, uint64_t *seed)
{
	double largest = 0;

	for (size_t i = 0; i < f->n_shapes; i++)
		deal(&f->shapes[i], seed);
	for (size_t i = 0; i < f->n; i++)
		largest = fmax(largest, statistic(&f->series[i], f->s0));
	return largest;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* How many of the sorted values are at least x. */
static size_t at_least(const double *sorted, size_t n, double x)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (sorted[middle] < x * ROUNDING)
			low = middle + 1;
		else
			high = middle;
	}
	return n - low;
}

/* The observed deal is one of those that could have been: (1 + k) / (1 + deals), Phipson and Smyth,
 * "Permutation p-values should never be zero", 2010. */
static double p_of(double t, const double *largest, size_t deals)
{
	return (1 + (double)at_least(largest, deals, t)) / (1 + (double)deals);
}

int contrasts_test(struct contrast *c, size_t n, double level, unsigned int deals, uint64_t seed)
{
	_cleanup_(family_free) struct family f = {};
	_cleanup_free_ double *largest = malloc(deals * sizeof(*largest)), *observed = NULL;
	double critical;
	int r;

	if (n == 0 || deals == 0 || !(level > 0 && level < 1))
		return -EINVAL;
	r = largest ? family_make(&f, c, n) : -ENOMEM;
	if (r < 0)
		return r;
	observed = malloc(2 * n * sizeof(*observed));
	if (!observed)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		observed[i] = statistic(&f.series[i], f.s0);
		apart(&f.series[i], f.s0, &observed[n + i]);
	}
	for (unsigned int i = 0; i < deals; i++)
		largest[i] = largest_of_a_deal(&f, &seed);
	qsort(largest, deals, sizeof(*largest), ascending);
	critical = largest[MIN((size_t)(level * deals), deals - 1U)];
	for (size_t i = 0; i < n; i++) {
		c[i].p = p_of(observed[i], largest, deals);
		c[i].detectable = contrast_smallest_p(c[i].n_a, c[i].n_b) > 1 - level
					  ? (double)INFINITY
					  : critical * observed[n + i];
	}
	return 0;
}

double contrast_smallest_p(size_t n_a, size_t n_b)
{
	double n = (double)n_a + (double)n_b;
	double deals = exp(lgamma(n + 1) - lgamma((double)n_a + 1) - lgamma((double)n_b + 1));

	return (n_a == n_b ? 2 : 1) / deals;
}
