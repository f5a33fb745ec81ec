/* SPDX-License-Identifier: MIT */
/* Medians and bootstrap intervals against known answers; the generator against its published values. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "macro.h"
#include "stats.h"

/* Of the reference implementation, seed 1234567. */
static void test_generator_is_splitmix64(void **state)
{
	static const uint64_t expected[] = {6457827717110365317U, 3203168211198807973U, 9817491932198370423U,
		4593380528125082431U, 16408922859458223821U};
	uint64_t s = 1234567;

	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_true(stats_random(&s) == expected[i]);
}

static void test_below_is_below_and_even(void **state)
{
	unsigned int hits[7] = {0};
	uint64_t s = 7;

	for (int i = 0; i < 70000; i++) {
		uint64_t v = stats_random_below(&s, ARRAY_SIZE(hits));

		assert_true(v < ARRAY_SIZE(hits));
		hits[v]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(hits); i++) /* 5 standard deviations of a binomial are 463 */
		assert_in_range(hits[i], 10000 - 463, 10000 + 463);
	assert_int_equal(stats_random_below(&s, 1), 0);
}

static void test_shuffle_is_a_permutation_that_the_seed_decides(void **state)
{
	uint32_t a[48], b[48], seen[48] = {0};

	stats_shuffle(a, ARRAY_SIZE(a), 5);
	stats_shuffle(b, ARRAY_SIZE(b), 5);
	assert_memory_equal(a, b, sizeof(a));
	for (size_t i = 0; i < ARRAY_SIZE(a); i++) {
		assert_true(a[i] < ARRAY_SIZE(a));
		seen[a[i]]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
		assert_int_equal(seen[i], 1);
	stats_shuffle(b, ARRAY_SIZE(b), 6);
	assert_memory_not_equal(a, b, sizeof(a));
}

/* Each of the 6 orders of three comes about as often. */
static void test_shuffle_is_even(void **state)
{
	unsigned int hits[27] = {0};
	uint32_t order[3];

	for (uint64_t seed = 0; seed < 6000; seed++) {
		stats_shuffle(order, ARRAY_SIZE(order), seed);
		hits[order[0] * 9 + order[1] * 3 + order[2]]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(hits); i++)
		if (hits[i])
			assert_in_range(hits[i], 1000 - 145, 1000 + 145);
}

static double median(const double *values, size_t n)
{
	double m = NAN;

	assert_int_equal(stats_median(values, n, &m), 0);
	return m;
}

static void test_medians(void **state)
{
	static const double values[] = {9, 1, 7, 3, 5, 100};
	double m = 42;

	assert_true(median(values, 1) == 9);
	assert_true(median(values, 2) == 5);
	assert_true(median(values, 5) == 5);
	assert_true(median(values, 6) == 6);
	assert_true(values[0] == 9); /* not sorted in place */
	assert_int_equal(stats_median(values, 0, &m), -ENODATA);
	assert_true(m == 42);
}

static void test_few_values_give_their_range_and_its_coverage(void **state)
{
	static const double values[] = {4, 2, 3, 5, 1};
	double low = -1, high = -1;

	assert_int_equal(stats_bootstrap_median_interval(values, 1, 0.95, 1000, 1, &low, &high), -ENODATA);
	assert_true(low == -1 && high == -1);
	assert_int_equal(stats_bootstrap_median_interval(values, 3, 0.95, 1000, 1, &low, &high), 0);
	assert_true(low == 2 && high == 4);
	assert_int_equal(stats_bootstrap_median_interval(values, 5, 0.95, 1000, 1, &low, &high), 0);
	assert_true(low == 1 && high == 5);
	assert_true(stats_range_coverage(0) == 0 && stats_range_coverage(1) == 0);
	assert_true(stats_range_coverage(3) == 0.75 && stats_range_coverage(5) == 0.9375);
	assert_true(stats_range_coverage(6) == 0.96875);
	assert_true(stats_range_coverage(SIZE_MAX) == 1);
}

/*
 * 1 to 21: the median of a resample is at most k with the probability that at least 11 of 21 draws are, a
 * binomial sum; it passes 2.5 % at k = 7 (0.0557; k = 6: 0.0183), and mirrored at 15.
 */
static void test_interval_of_a_known_distribution(void **state)
{
	double values[21], low, high, again_low, again_high;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		values[i] = (double)(ARRAY_SIZE(values) - i);
	for (uint64_t seed = 0; seed < 5; seed++) {
		assert_int_equal(
			stats_bootstrap_median_interval(values, 21, 0.95, 100000, seed, &low, &high), 0);
		assert_true(low == 7 && high == 15);
	}
	assert_int_equal(stats_bootstrap_median_interval(values, 20, 0.9, 100, 3, &low, &high), 0);
	assert_int_equal(
		stats_bootstrap_median_interval(values, 20, 0.9, 100, 3, &again_low, &again_high), 0);
	assert_true(low == again_low && high == again_high && low < high);
}

static void test_interval_refuses_what_has_no_meaning(void **state)
{
	static const double values[] = {1, 2, 3, 4, 5, 6, 7};
	static const double levels[] = {0, 1, -1, NAN};
	double low = 0, high = 0;

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		assert_int_equal(
			stats_bootstrap_median_interval(values, 7, levels[i], 10, 1, &low, &high), -EINVAL);
	assert_int_equal(stats_bootstrap_median_interval(values, 7, 0.95, 0, 1, &low, &high), -EINVAL);
}

/* 95 % of the intervals hold the true median of a uniform distribution; the method is known to be a little
 * narrow. */
static void test_interval_covers(void **state)
{
	unsigned int covered = 0;
	uint64_t s = 99;

	for (int trial = 0; trial < 1000; trial++) {
		double values[15], low, high;

		for (size_t i = 0; i < ARRAY_SIZE(values); i++)
			values[i] = (double)(stats_random(&s) >> 11) * 0x1p-53;
		assert_int_equal(
			stats_bootstrap_median_interval(values, 15, 0.95, 400, stats_random(&s), &low, &high),
			0);
		covered += low <= 0.5 && 0.5 <= high;
	}
	assert_in_range(covered, 915, 985);
}

static void assert_near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance))
		fail_msg("%.12g is not %.12g", value, expected);
}

/* scipy 1.10.1, the exact null distribution: scipy.stats._mannwhitneyu._MWU().cdf([u], n, m). */
static void test_mann_whitney_counts(void **state)
{
	static const struct {
		size_t n, m, u;
		double below;
	} cases[] = {
		{1, 1, 0, 0.5},
		{3, 3, 0, 0.05},
		{2, 9, 1, 0.03636363636363636},
		{5, 5, 2, 0.015873015873015872},
		{4, 7, 3, 0.02121212121212121},
		{10, 10, 23, 0.021628526272489117},
		{10, 10, 50, 0.5147437701617269},
		{25, 25, 211, 0.024712536612561106},
		{5, 5, 25, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_near(stats_mann_whitney_below(cases[i].n, cases[i].m, cases[i].u), cases[i].below,
			1e-12);
}

/* Above 50 values the normal approximation; the exact figures as above. */
static void test_mann_whitney_of_many(void **state)
{
	assert_near(stats_mann_whitney_below(26, 26, 240), 0.03710159917587197, 5e-4);
	assert_near(stats_mann_whitney_below(30, 30, 320), 0.027561256145411685, 5e-4);
	assert_near(stats_mann_whitney_below(40, 60, 1000), 0.08055490543462612, 5e-4);
}

/* 5 against 5: k = 3, the third smallest and third largest of the 25 differences, 1 - 2 x 4 / 252. */
static void test_shift_interval(void **state)
{
	static const double a[] = {0, 1, 2, 3, 4}, b[] = {10, 20, 30, 40, 50};
	double low = NAN, high = NAN, coverage = NAN;

	assert_int_equal(stats_shift_interval(a, 5, b, 5, 0.95, &low, &high, &coverage), 0);
	assert_true(low == 8 && high == 48); /* 6 7 8 ... 48 49 50 */
	assert_near(coverage, 1 - 8.0 / 252, 1e-12);
	assert_int_equal(stats_shift_interval(a, 3, b, 3, 0.95, &low, &high, &coverage), 0);
	assert_true(low == 8 && high == 30); /* all of them, and still no 95 % */
	assert_near(coverage, 0.9, 1e-12);
	assert_int_equal(stats_shift_interval(a, 1, b, 1, 0.95, &low, &high, &coverage), 0);
	assert_true(low == 10 && high == 10 && coverage == 0);
	assert_int_equal(stats_shift_interval(a, 0, b, 3, 0.95, &low, &high, &coverage), -ENODATA);
	assert_int_equal(stats_shift_interval(a, 3, b, 3, 1, &low, &high, &coverage), -EINVAL);
}

/* The interval holds a true shift of 0 as often as it says, or more. */
static void test_shift_interval_covers(void **state)
{
	unsigned int covered = 0;
	uint64_t s = 5;

	for (int trial = 0; trial < 2000; trial++) {
		double a[6], b[9], low, high, coverage;

		for (size_t i = 0; i < ARRAY_SIZE(a); i++)
			a[i] = (double)(stats_random(&s) >> 11) * 0x1p-53;
		for (size_t i = 0; i < ARRAY_SIZE(b); i++)
			b[i] = (double)(stats_random(&s) >> 11) * 0x1p-53;
		assert_int_equal(
			stats_shift_interval(a, 6, b, 9, 0.95, &low, &high, &coverage), 0);
		assert_true(coverage >= 0.95 && coverage < 0.97);
		covered += low <= 0 && 0 <= high;
	}
	assert_in_range(covered, 1880, 1960); /* 95.0 to 97 %, and 4 standard deviations of 0.5 % */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generator_is_splitmix64),
		cmocka_unit_test(test_below_is_below_and_even),
		cmocka_unit_test(test_shuffle_is_a_permutation_that_the_seed_decides),
		cmocka_unit_test(test_shuffle_is_even),
		cmocka_unit_test(test_medians),
		cmocka_unit_test(test_few_values_give_their_range_and_its_coverage),
		cmocka_unit_test(test_interval_of_a_known_distribution),
		cmocka_unit_test(test_interval_refuses_what_has_no_meaning),
		cmocka_unit_test(test_interval_covers),
		cmocka_unit_test(test_mann_whitney_counts),
		cmocka_unit_test(test_mann_whitney_of_many),
		cmocka_unit_test(test_shift_interval),
		cmocka_unit_test(test_shift_interval_covers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
