// SPDX-License-Identifier: MIT
/* Ratios of medians, their intervals, and one test over all of them. */
#include <errno.h>
#include <math.h>

#include "contrast.h"
#include "outcome.h"
#include "stats.h"

/* A single value counts as at most so many times above or below the median of both sides: a run that moved
 * nothing has no logarithm, and one run that was hit hard shall not hide a difference of all others. */
#define CLAMP 8

void outcomes_free(struct outcomes *o)
{
	for (size_t i = 0; o->all && i < o->n; i++) {
		free(o->all[i].a);
		free(o->all[i].b);
	}
	free(o->all);
}

/* The median of both sides together; NaN: unknown. */
static double median_of_both(const double *a, size_t n_a, const double *b, size_t n_b)
{
	_cleanup_free_ double *both = malloc((n_a + n_b + 1) * sizeof(*both));
	double m = NAN;

	if (!both)
		return NAN;
	memcpy(both, a, n_a * sizeof(*a));
	memcpy(both + n_a, b, n_b * sizeof(*b));
	stats_median(both, n_a + n_b, &m);
	return m;
}

static void to_logarithms(double *values, size_t n, double middle)
{
	for (size_t i = 0; i < n; i++)
		values[i] = log(fmin(fmax(values[i], middle / CLAMP), middle * CLAMP));
}

/* Ratio of medians and the shift's interval, widened to hold it. */
static void outcome_estimate(struct outcome *o, double ratio)
{
	double low, high;

	o->ratio = ratio;
	if (stats_shift_interval(o->a, o->n_a, o->b, o->n_b, COMPARE_LEVEL, &low, &high, &o->coverage) < 0)
		return;
	o->low = fmin(exp(low), ratio);
	o->high = fmax(exp(high), ratio);
}

static void outcome_compute(struct outcome *o)
{
	double middle = median_of_both(o->a, o->n_a, o->b, o->n_b), a = NAN, b = NAN;

	stats_median(o->a, o->n_a, &a);
	stats_median(o->b, o->n_b, &b);
	if (!(a > 0) || !(b > 0) || !(middle > 0)) {
		o->reason = "a median of 0 has no ratio";
		return;
	}
	to_logarithms(o->a, o->n_a, middle);
	to_logarithms(o->b, o->n_b, middle);
	outcome_estimate(o, b / a);
	if (o->n_a + o->n_b < 3)
		o->reason = "one run on either side has no spread to judge by";
}

/* 0 or -ENOMEM. */
static int outcome_fill(struct outcome *o, const struct pair *pair, const struct measure *m)
{
	const char *why_a = NULL, *why_b = NULL;
	ssize_t n_a = cell_values(pair->a, m, &o->a, &why_a), n_b = cell_values(pair->b, m, &o->b, &why_b);

	if (n_a < 0 || n_b < 0)
		return -ENOMEM;
	o->pair = pair;
	o->n_a = (size_t)n_a;
	o->n_b = (size_t)n_b;
	if (n_a == 0 || n_b == 0)
		o->reason = n_a == 0 ? why_a : why_b;
	else
		outcome_compute(o);
	return 0;
}

bool outcome_is_known(const struct outcome *o)
{
	return !o->reason;
}

static const double *side_of(const struct outcome *o, bool of_b, size_t *ret_n)
{
	*ret_n = of_b ? o->n_b : o->n_a;
	return of_b ? o->b : o->a;
}

/* Of the cells that are known. */
static size_t most_rounds(const struct outcomes *all, bool of_b)
{
	size_t most = 0, n;

	for (size_t i = 0; i + 1 < all->n; i++)
		if (outcome_is_known(&all->all[i])) {
			side_of(&all->all[i], of_b, &n);
			most = MAX(most, n);
		}
	return most;
}

/* One side of all cells together: by round, the mean logarithm above the cell's middle over the cells that
 * have this round. */
static int mean_by_round(const struct outcomes *all, bool of_b, double **ret, size_t *ret_n)
{
	size_t n = most_rounds(all, of_b);
	double *means = calloc(n + 1, sizeof(*means));

	if (!means)
		return -ENOMEM;
	for (size_t round = 0; round < n; round++) {
		size_t cells = 0;

		for (size_t i = 0; i + 1 < all->n; i++) {
			const struct outcome *o = &all->all[i];

			if (!outcome_is_known(o) || round >= (of_b ? o->n_b : o->n_a))
				continue;
			means[round] +=
				(of_b ? o->b : o->a)[round] - median_of_both(o->a, o->n_a, o->b, o->n_b);
			cells++;
		}
		means[round] /= (double)MAX(cells, 1U);
	}
	*ret = means;
	*ret_n = n;
	return 0;
}

/* All cells together: the geometric mean of their ratios. */
static int outcome_overall(struct outcomes *all)
{
	struct outcome *o = &all->all[all->n - 1];
	double sum = 0;
	size_t cells = 0;

	for (size_t i = 0; i + 1 < all->n; i++)
		if (outcome_is_known(&all->all[i])) {
			sum += log(all->all[i].ratio);
			cells++;
		}
	if (cells == 0) {
		o->reason = "no cell has a ratio and three runs on both sides together";
		return 0;
	}
	if (mean_by_round(all, false, &o->a, &o->n_a) < 0 || mean_by_round(all, true, &o->b, &o->n_b) < 0)
		return -ENOMEM;
	outcome_estimate(o, exp(sum / (double)cells));
	return 0;
}

/*
 * Whether so many runs can be found different at all. Three a side are separated by one deal of ten: in the
 * common test such a cell would only hide the others, whose statistics are held against the largest of each
 * deal. That depends on the numbers of runs alone, so leaving it out keeps the chance of a false alarm.
 */
static bool can_be_found(const struct outcome *o)
{
	return outcome_is_known(o) && contrast_smallest_p(o->n_a, o->n_b) <= 1 - COMPARE_LEVEL;
}

/* One test of all that can be tested. */
static int test_outcomes(struct outcomes *all, uint64_t seed)
{
	_cleanup_free_ struct contrast *c = calloc(all->n, sizeof(*c));
	size_t n = 0;
	int r;

	if (!c)
		return -ENOMEM;
	for (size_t i = 0; i < all->n; i++) {
		struct outcome *o = &all->all[i];

		o->p = outcome_is_known(o) ? 1 : o->p;
		o->detectable = outcome_is_known(o) ? INFINITY : o->detectable;
		if (can_be_found(o))
			c[n++] = (struct contrast){.a = o->a, .b = o->b, .n_a = o->n_a, .n_b = o->n_b};
	}
	r = n ? contrasts_test(c, n, COMPARE_LEVEL, COMPARE_DEALS, seed) : 0;
	for (size_t i = all->n; i-- > 0 && r == 0;)
		if (can_be_found(&all->all[i])) {
			n--;
			all->all[i].p = c[n].p;
			all->all[i].detectable = exp(c[n].detectable) - 1;
		}
	return r;
}

static const char *direction(const struct outcome *o, enum better better)
{
	bool up = o->ratio > 1;

	if (better == BETTER_NEITHER)
		return up ? "higher" : "lower";
	return up == (better == BETTER_HIGHER) ? "better" : "worse";
}

/* The mean of some values. */
static double mean_of(const double *values, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += values[i];
	return sum / (double)n;
}

/* How far the second half of a side's rounds lies from its first half; 0 for a single round. */
static double half_to_half(const double *rounds, size_t n)
{
	size_t half = n / 2;

	return half ? fabs(mean_of(rounds + n - half, half) - mean_of(rounds, half)) : 0;
}

/* How much a round lies above the one before it, by the cells that have both. */
static double step_to(size_t round, const struct outcomes *all, bool of_b)
{
	double sum = 0;
	size_t cells = 0, n;

	for (size_t i = 0; i + 1 < all->n; i++) {
		const double *rounds = side_of(&all->all[i], of_b, &n);

		if (!outcome_is_known(&all->all[i]) || round >= n)
			continue;
		sum += rounds[round] - rounds[round - 1];
		cells++;
	}
	return sum / (double)MAX(cells, 1U);
}

/* How far one side went from its first half to its second. By steps, not by the rounds' means: where a cell
 * ended before the others, a mean changes by all that sets this cell apart from them. */
static int drift_within(const struct outcomes *all, bool of_b, double *ret)
{
	size_t n = most_rounds(all, of_b);
	_cleanup_free_ double *path = calloc(n + 1, sizeof(*path));

	if (!path)
		return -ENOMEM;
	for (size_t round = 1; round < n; round++)
		path[round] = path[round - 1] + step_to(round, all, of_b);
	*ret = half_to_half(path, n);
	return 0;
}

/* Where the machine drifts, it does so within a side as well: what lies between two sides may be drift as far
 * as OUTCOME_DRIFT times what lies between the halves of one. */
static int set_drift(struct outcomes *all)
{
	double a, b;

	if (drift_within(all, false, &a) < 0 || drift_within(all, true, &b) < 0)
		return -ENOMEM;
	all->drift = OUTCOME_DRIFT * fmax(a, b);
	return 0;
}

static const char *verdict(
	const struct outcomes *all, const struct outcome *o, const struct outcome_settings *s)
{
	if (!outcome_is_known(o))
		return "unknown";
	if (s->refused)
		return "refused";
	if (o->p > 1 - COMPARE_LEVEL || (o->low <= 1 && o->high >= 1))
		return "no_difference";
	if (fabs(log(o->ratio)) <= all->drift) /* false for NaN */
		return "no_difference";
	return direction(o, s->measure->better);
}

static int outcomes_alloc(struct outcomes *all, size_t n)
{
	all->all = calloc(n, sizeof(*all->all));
	if (!all->all)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		all->all[i] = (struct outcome){
			.ratio = NAN, .low = NAN, .high = NAN, .coverage = NAN, .p = NAN, .detectable = NAN};
	all->n = n;
	all->drift = NAN;
	return 0;
}

int outcomes_make(struct outcomes *ret, const struct pairing *p, const struct outcome_settings *s)
{
	struct outcomes *all = ret;
	int r = outcomes_alloc(all, p->n_both + 1);

	for (size_t i = 0, n = 0; i < p->n && r == 0; i++)
		if (p->pairs[i].a && p->pairs[i].b)
			r = outcome_fill(&all->all[n++], &p->pairs[i], s->measure);
	if (r == 0)
		r = outcome_overall(all);
	if (r == 0)
		r = test_outcomes(all, s->seed);
	if (r == 0 && s->in_a_row && outcome_is_known(&all->all[all->n - 1]))
		r = set_drift(all);
	if (r < 0)
		return r;
	for (size_t i = 0; i < all->n; i++)
		all->all[i].verdict = verdict(all, &all->all[i], s);
	return 0;
}
