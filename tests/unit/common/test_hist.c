/* SPDX-License-Identifier: MIT */
/* The latency histogram: indexes and edges of its buckets, quantiles against a sorted reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hist.h"
#include "macro.h"

#define VALUES 20000

static struct hist h, other;
static uint64_t values[VALUES];

/* Numerical Recipes' generator: any fixed sequence will do. */
static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 11;
}

static void test_every_bucket_holds_its_edges(void **state)
{
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		assert_int_equal(hist_index(hist_bucket_low(i)), i);
		assert_int_equal(hist_index(hist_bucket_high(i)), i);
		if (i)
			assert_int_equal(hist_bucket_low(i), hist_bucket_high(i - 1) + 1);
	}
	assert_int_equal(hist_bucket_low(0), 0);
	assert_true(hist_bucket_high(HIST_BUCKETS - 1) == UINT64_MAX);
}

static void test_small_values_are_exact(void **state)
{
	for (uint64_t v = 0; v < 64; v++) {
		assert_int_equal(hist_bucket_low(hist_index(v)), v);
		assert_int_equal(hist_bucket_high(hist_index(v)), v);
	}
	assert_int_equal(hist_bucket_high(hist_index(64)), 65);
}

static void test_buckets_are_at_most_a_32nd_wide(void **state)
{
	for (unsigned int i = 0; i < HIST_BUCKETS - 1; i++) {
		uint64_t low = hist_bucket_low(i), width = hist_bucket_high(i) - low + 1;

		assert_true(width == 1 || width * 32 <= low);
	}
}

static void test_huge_values_fall_into_the_last_bucket(void **state)
{
	assert_int_equal(hist_index(UINT64_MAX), HIST_BUCKETS - 1);
	assert_int_equal(hist_index(1ULL << HIST_MAX_BITS), HIST_BUCKETS - 1);
	assert_int_equal(hist_index((1ULL << HIST_MAX_BITS) - 1), HIST_BUCKETS - 1);
	hist_reset(&h);
	hist_record(&h, UINT64_MAX / 2);
	assert_true(hist_quantile(&h, 0.5) == (double)(UINT64_MAX / 2));
	assert_true(h.max == UINT64_MAX / 2);
}

static void test_empty_histogram_is_zero(void **state)
{
	hist_record(&h, 12345);
	hist_reset(&h);
	assert_true(hist_quantile(&h, 0.5) == 0);
	assert_true(hist_mean(&h) == 0);
	assert_int_equal(h.count, 0);
	assert_int_equal(h.max, 0);
}

static void test_one_value_is_every_quantile(void **state)
{
	static const double q[] = {-1, 0, 0.001, 0.5, 0.999, 1, 2};

	hist_reset(&h);
	hist_record(&h, 1000003);
	/* The middle of its bucket may be above it: then the maximum is the answer. */
	for (size_t i = 0; i < ARRAY_SIZE(q); i++) {
		assert_true(hist_quantile(&h, q[i]) <= 1000003);
		assert_true(hist_quantile(&h, q[i]) >= 1000003 * (1 - 1.0 / 32));
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Values of all magnitudes, so that every octave counts. */
static void record_random(struct hist *into, size_t from, size_t to, uint64_t seed)
{
	for (size_t i = from; i < to; i++) {
		uint64_t r = next_random(&seed);

		values[i] = next_random(&seed) >> (13 + r % 39);
		hist_record(into, values[i]);
	}
}

static void assert_matches_sorted_values(const struct hist *hist)
{
	static const double q[] = {0, 0.01, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
	uint64_t sum = 0;

	qsort(values, VALUES, sizeof(values[0]), compare);
	for (size_t i = 0; i < VALUES; i++)
		sum += values[i];
	assert_int_equal(hist->count, VALUES);
	assert_int_equal(hist->sum, sum);
	assert_int_equal(hist->max, values[VALUES - 1]);
	assert_true(hist_mean(hist) == (double)sum / VALUES);
	for (size_t i = 0; i < ARRAY_SIZE(q); i++) {
		size_t rank = (size_t)(q[i] * VALUES);
		double expected, got = hist_quantile(hist, q[i]);

		rank += (double)rank < q[i] * VALUES;
		expected = (double)values[rank ? rank - 1 : 0];
		assert_true(got >= expected * (1 - 1.0 / 32) && got <= expected * (1 + 1.0 / 32) + 0.5);
	}
}

static void test_quantiles_match_sorted_values(void **state)
{
	hist_reset(&h);
	record_random(&h, 0, VALUES, 1);
	assert_matches_sorted_values(&h);
}

static void test_sum_of_two_is_as_if_recorded_in_one(void **state)
{
	hist_reset(&h);
	hist_reset(&other);
	record_random(&h, 0, VALUES / 3, 2);
	record_random(&other, VALUES / 3, VALUES, 3);
	hist_add(&h, &other);
	assert_matches_sorted_values(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_bucket_holds_its_edges),
		cmocka_unit_test(test_small_values_are_exact),
		cmocka_unit_test(test_buckets_are_at_most_a_32nd_wide),
		cmocka_unit_test(test_huge_values_fall_into_the_last_bucket),
		cmocka_unit_test(test_empty_histogram_is_zero),
		cmocka_unit_test(test_one_value_is_every_quantile),
		cmocka_unit_test(test_quantiles_match_sorted_values),
		cmocka_unit_test(test_sum_of_two_is_as_if_recorded_in_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
