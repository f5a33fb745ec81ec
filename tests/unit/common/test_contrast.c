/* SPDX-License-Identifier: MIT */
/* The permutation test of many contrasts: against exact p-values, and how often it cries wolf. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contrast.h"
#include "macro.h"
#include "stats.h"

#define DEALS 20000U

static void assert_near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance))
		fail_msg("%.12g is not %.12g", value, expected);
}

/*
 * One contrast is an ordinary permutation test; all deals counted by
 * scipy.stats.permutation_test((a, b), statistic, alternative="greater", n_resamples=10**6), 1.10.1.
 */
static void one_contrast_is_a_permutation_test(void **state)
{
	static const double a[] = {1.0, 1.2, 0.9, 1.1, 1.05}, near[] = {1.3, 1.25, 1.4, 1.15, 1.35},
			    far[] = {2.3, 2.25, 2.4, 2.15, 2.35},
			    uneven[] = {1.3, 1.02, 1.4, .95, 1.2, 1.25, 1.1};
	struct contrast c = {.a = a, .n_a = 5, .b = near, .n_b = 5};

	assert_int_equal(contrasts_test(&c, 1, 0.95, DEALS, 1), 0);
	assert_near(c.p, 0.015873015873015872, 4e-3); /* 4 standard deviations of 20000 deals are 3.5e-3 */
	c.b = far;
	assert_int_equal(contrasts_test(&c, 1, 0.95, DEALS, 2), 0);
	assert_near(c.p, 0.007936507936507936, 2.6e-3);
	c.b = uneven;
	c.n_b = 7;
	assert_int_equal(contrasts_test(&c, 1, 0.95, DEALS, 3), 0);
	assert_near(c.p, 0.16540404040404041, 1.1e-2);
}

static void equal_sides_have_p_1(void **state)
{
	static const double a[] = {1, 2, 3, 4}, flat[] = {5, 5, 5};
	struct contrast c[] = {
		{.a = a, .n_a = 4, .b = a, .n_b = 4}, {.a = flat, .n_a = 3, .b = flat, .n_b = 3}};

	assert_int_equal(contrasts_test(c, 2, 0.95, 999, 1), 0);
	assert_true(c[0].p == 1 && c[1].p == 1);
	assert_true(isinf(c[1].detectable) && isfinite(c[0].detectable));
}

/* Values without any spread that differ: found as surely as so many runs allow. */
static void what_has_no_spread_differs_all_the_same(void **state)
{
	static const double a[] = {3, 3, 3, 3, 3}, b[] = {2, 2, 2, 2, 2};
	struct contrast c = {.a = a, .n_a = 5, .b = b, .n_b = 5};

	assert_int_equal(contrasts_test(&c, 1, 0.95, DEALS, 1), 0);
	assert_near(c.p, contrast_smallest_p(5, 5), 2.6e-3);
}

static void the_smallest_p_is_a_share_of_deals(void **state)
{
	assert_near(contrast_smallest_p(3, 3), 0.1, 1e-9);
	assert_near(contrast_smallest_p(4, 4), 2.0 / 70, 1e-9);
	assert_near(contrast_smallest_p(5, 5), 2.0 / 252, 1e-9);
	assert_near(contrast_smallest_p(3, 5), 1.0 / 56, 1e-9);
	assert_near(contrast_smallest_p(1, 4), 0.2, 1e-9);
}

#define CELLS 10
#define ROUNDS 5

static double noise(uint64_t *s)
{
	double sum = 0;

	for (int i = 0; i < 12; i++)
		sum += (double)(stats_random(s) >> 11) * 0x1p-53;
	return sum - 6; /* variance 1 */
}

/* CELLS contrasts that share the disturbance of their round; b of the first one is moved by shift. */
static void make_family(double (*v)[2 * ROUNDS], struct contrast *c, double shift, uint64_t *s)
{
	double round[2 * ROUNDS];

	for (size_t k = 0; k < 2 * ROUNDS; k++)
		round[k] = 0.02 * noise(s);
	for (size_t i = 0; i < CELLS; i++) {
		for (size_t k = 0; k < 2 * ROUNDS; k++)
			v[i][k] = round[k] + 0.01 * noise(s) + (i == 0 && k >= ROUNDS ? shift : 0);
		c[i] = (struct contrast){.a = v[i], .n_a = ROUNDS, .b = v[i] + ROUNDS, .n_b = ROUNDS};
	}
}

/* Any of ten below 5 %: in 5 % of families of equals, not in 40 %; and a shift of several spreads is found.
 */
static void the_family_is_wrong_once_in_twenty(void **state)
{
	double v[CELLS][2 * ROUNDS];
	struct contrast c[CELLS];
	unsigned int alarms = 0, found = 0;
	uint64_t s = 11;

	for (int trial = 0; trial < 400; trial++) {
		double least = 1;

		make_family(v, c, 0, &s);
		assert_int_equal(contrasts_test(c, CELLS, 0.95, 499, stats_random(&s)), 0);
		for (size_t i = 0; i < CELLS; i++)
			least = fmin(least, c[i].p);
		alarms += least <= 0.05;
		make_family(v, c, -0.15, &s);
		assert_int_equal(contrasts_test(c, CELLS, 0.95, 499, stats_random(&s)), 0);
		found += c[0].p <= 0.05 && fabs(c[0].detectable) < 0.15;
	}
	assert_in_range(alarms, 4, 38); /* 20, and 4 standard deviations of 4.4 */
	assert_true(found >= 360);
}

/* Moves b of all contrasts but the first by much, up and down. */
static void change_others(double (*v)[2 * ROUNDS])
{
	for (size_t i = 1; i < CELLS; i++)
		for (size_t k = ROUNDS; k < 2 * ROUNDS; k++)
			v[i][k] += i % 3 ? 0.4 : -0.4;
}

static double distance(const struct contrast *c)
{
	double sum = 0;

	for (size_t k = 0; k < c->n_a; k++)
		sum -= c->a[k] / (double)c->n_a;
	for (size_t k = 0; k < c->n_b; k++)
		sum += c->b[k] / (double)c->n_b;
	return fabs(sum);
}

/* What differs by much neither hides what differs by less, nor makes it seem to: the one contrast that is
 * equal is found in 5 % of families at most. */
static void large_differences_do_not_hide_a_small_one(void **state)
{
	double v[CELLS][2 * ROUNDS];
	struct contrast c[CELLS];
	unsigned int alarms = 0, found = 0;
	uint64_t s = 12;

	for (int trial = 0; trial < 400; trial++) {
		make_family(v, c, -0.08, &s);
		change_others(v);
		assert_int_equal(contrasts_test(c, CELLS, 0.95, 499, stats_random(&s)), 0);
		found += c[0].p <= 0.05;
		for (size_t i = 0; i < CELLS; i++)
			assert_true(c[i].p > 0.05 || c[i].detectable <= distance(&c[i]) * (1 + 1e-9));
		make_family(v, c, 0, &s);
		change_others(v);
		assert_int_equal(contrasts_test(c, CELLS, 0.95, 499, stats_random(&s)), 0);
		alarms += c[0].p <= 0.05;
	}
	assert_true(found >= 360);
	assert_in_range(alarms, 4, 38); /* 20, and 4 standard deviations of 4.4 */
}

/* What could have been shown depends on the spread, and hardly on what was found. */
static void a_difference_is_no_spread(void **state)
{
	double v[CELLS][2 * ROUNDS], log_ratio = 0;
	struct contrast c[CELLS], changed[CELLS];
	uint64_t s = 14;

	for (int trial = 0; trial < 50; trial++) {
		make_family(v, c, 0, &s);
		assert_int_equal(contrasts_test(c, CELLS, 0.95, 499, stats_random(&s)), 0);
		change_others(v);
		memcpy(changed, c, sizeof(c));
		assert_int_equal(contrasts_test(changed, CELLS, 0.95, 499, stats_random(&s)), 0);
		for (size_t i = 0; i < CELLS; i++)
			log_ratio += log(changed[i].detectable / c[i].detectable) / (50 * CELLS);
	}
	assert_near(log_ratio, 0, 0.2);
}

/* A large s0 would be the measure of all contrasts, and the noisiest of them the largest of each deal. */
static void a_quiet_contrast_is_not_hidden_by_noisy_ones(void **state)
{
	double v[CELLS][2 * ROUNDS];
	struct contrast c[CELLS];
	unsigned int found = 0;
	uint64_t s = 15;

	for (int trial = 0; trial < 100; trial++) {
		make_family(v, c, 0, &s);
		change_others(v);
		for (size_t k = 0; k < 2 * ROUNDS; k++) {
			v[0][k] = 0.005 * noise(&s) - (k < ROUNDS ? 0 : 0.05);
			v[1][k] = 0.1 * noise(&s);
			v[2][k] = 0.1 * noise(&s);
		}
		assert_int_equal(contrasts_test(c, CELLS, 0.95, 499, stats_random(&s)), 0);
		found += c[0].p <= 0.05;
	}
	assert_true(found >= 90);
}

/* Eight rounds a side could be rarer than four. */
static void nothing_is_surer_than_what_differs_more(void **state)
{
	static const double a[] = {1, 2, 3, 4, 1.5, 2.5, 3.5, 4.5}, much[] = {91, 92, 93, 94},
			    less[] = {31, 32, 33, 34, 31.5, 32.5, 33.5, 34.5};
	struct contrast c[] = {
		{.a = a, .n_a = 8, .b = less, .n_b = 8}, {.a = a, .n_a = 4, .b = much, .n_b = 4}};

	assert_int_equal(contrasts_test(c, 2, 0.95, DEALS, 1), 0);
	assert_near(c[1].p, contrast_smallest_p(4, 4), 4.8e-3);
	assert_true(c[0].p == c[1].p);
	assert_int_equal(contrasts_test(c, 1, 0.95, DEALS, 1), 0);
	assert_true(c[0].p < 2e-3);
}

/* Half of the contrasts are equal and the others are not: any of the equal ones is found in 5 % of families.
 */
static void what_really_differs_raises_no_other_alarms(void **state)
{
	double v[CELLS][2 * ROUNDS];
	struct contrast c[CELLS];
	unsigned int alarms = 0;
	uint64_t s = 13;

	for (int trial = 0; trial < 400; trial++) {
		double least = 1;

		make_family(v, c, 0, &s);
		for (size_t i = 0; i < CELLS / 2; i++)
			for (size_t k = ROUNDS; k < 2 * ROUNDS; k++)
				v[i][k] += i % 2 ? 0.4 : -0.05;
		assert_int_equal(contrasts_test(c, CELLS, 0.95, 499, stats_random(&s)), 0);
		for (size_t i = CELLS / 2; i < CELLS; i++)
			least = fmin(least, c[i].p);
		alarms += least <= 0.05;
	}
	assert_in_range(alarms, 4, 38);
}

/* Few runs of counts that do not vary: s and s0 are 0, what differs is found all the same, and a deal that
 * swaps the sides is no other although its sums are rounded otherwise. */
static void constants_do_not_hide_one_another(void **state)
{
	static const double same[] = {.1, .1, .1, .1, .1}, less[] = {.07, .07, .07, .07, .07},
			    more[] = {.7, .7, .7, .7, .7}, varied[] = {.1, .1, .1, .1, .13};
	struct contrast c[] = {{.a = same, .n_a = 5, .b = more, .n_b = 5},
		{.a = same, .n_a = 5, .b = less, .n_b = 5}, {.a = same, .n_a = 5, .b = varied, .n_b = 5},
		{.a = same, .n_a = 5, .b = same, .n_b = 5}};

	assert_int_equal(contrasts_test(c, ARRAY_SIZE(c), 0.95, DEALS, 1), 0);
	assert_near(c[0].p, contrast_smallest_p(5, 5), 2.6e-3);
	assert_near(c[1].p, contrast_smallest_p(5, 5), 2.6e-3);
	assert_true(c[2].p == 1 && c[3].p == 1);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		assert_true(isfinite(c[i].detectable));
}

static void the_same_seed_gives_the_same_p(void **state)
{
	static const double a[] = {1, 2, 3, 4, 6}, b[] = {2, 4, 5, 6, 8};
	struct contrast c = {.a = a, .n_a = 5, .b = b, .n_b = 5}, d = c;

	assert_int_equal(contrasts_test(&c, 1, 0.95, 999, 7), 0);
	assert_int_equal(contrasts_test(&d, 1, 0.95, 999, 7), 0);
	assert_true(c.p == d.p && c.detectable == d.detectable);
}

static void what_cannot_be_tested_is_refused(void **state)
{
	static const double a[] = {1, 2, 3};
	struct contrast c = {.a = a, .n_a = 1, .b = a, .n_b = 1};

	assert_int_equal(contrasts_test(&c, 1, 0.95, 99, 1), -EINVAL);
	c.n_b = 3;
	c.n_a = 0;
	assert_int_equal(contrasts_test(&c, 1, 0.95, 99, 1), -EINVAL);
	c.n_a = 3;
	assert_int_equal(contrasts_test(&c, 0, 0.95, 99, 1), -EINVAL);
	assert_int_equal(contrasts_test(&c, 1, 0.95, 0, 1), -EINVAL);
	assert_int_equal(contrasts_test(&c, 1, 1.5, 99, 1), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_contrast_is_a_permutation_test),
		cmocka_unit_test(equal_sides_have_p_1),
		cmocka_unit_test(what_has_no_spread_differs_all_the_same),
		cmocka_unit_test(the_smallest_p_is_a_share_of_deals),
		cmocka_unit_test(the_family_is_wrong_once_in_twenty),
		cmocka_unit_test(large_differences_do_not_hide_a_small_one),
		cmocka_unit_test(a_difference_is_no_spread),
		cmocka_unit_test(a_quiet_contrast_is_not_hidden_by_noisy_ones),
		cmocka_unit_test(nothing_is_surer_than_what_differs_more),
		cmocka_unit_test(what_really_differs_raises_no_other_alarms),
		cmocka_unit_test(constants_do_not_hide_one_another),
		cmocka_unit_test(the_same_seed_gives_the_same_p),
		cmocka_unit_test(what_cannot_be_tested_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
