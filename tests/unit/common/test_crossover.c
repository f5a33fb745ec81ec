// SPDX-License-Identifier: MIT
/* Planted crossings, and curves that do not cross. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>

#include "crossover.h"
#include "macro.h"
#include "stats.h"

#define POINTS 6
#define RUNS 7

struct planted {
	double a[POINTS][RUNS], b[POINTS][RUNS];
	struct cross_point points[POINTS];
};

/* Sizes 64, 256 ... 64 KiB; b / a is 2^(slope * (log2(size) - log2(at))), both with noise of so many percent.
 */
static void plant(struct planted *p, double at, double slope, double noise, uint64_t seed)
{
	for (size_t i = 0; i < POINTS; i++) {
		double size = 64 * pow(4, i);

		for (size_t k = 0; k < RUNS; k++) {
			double x = (double)stats_random_below(&seed, 2001) / 1000 - 1;
			double y = (double)stats_random_below(&seed, 2001) / 1000 - 1;

			p->a[i][k] = 10 * (1 + x * noise);
			p->b[i][k] = 10 * exp2(slope * (log2(size) - log2(at))) * (1 + y * noise);
		}
		p->points[i] = (struct cross_point){size, p->a[i], p->b[i], RUNS, RUNS};
	}
}

static struct crossover found(const struct planted *p)
{
	struct crossover c;

	assert_int_equal(crossover_find(p->points, POINTS, 0.95, 1000, 1, &c), 0);
	return c;
}

static void a_planted_crossing_is_found(void **state)
{
	static const double sizes[] = {100, 1000, 5000, 20000};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct planted p;
		struct crossover c;

		plant(&p, sizes[i], 0.2, 0.02, i + 1);
		c = found(&p);
		assert_int_equal(c.kind, CROSS_AT);
		assert_true(c.low <= sizes[i] * 1.1 && c.high >= sizes[i] * 0.9);
		assert_true(c.low <= c.at && c.at <= c.high && c.at > sizes[i] / 2 && c.at < sizes[i] * 2);
	}
}

static void without_noise_it_is_exact(void **state)
{
	struct planted p;
	struct crossover c;

	plant(&p, 3000, 0.1, 0, 1);
	c = found(&p);
	assert_true(fabs(c.at - 3000) < 1e-6 && fabs(c.low - 3000) < 1e-6 && fabs(c.high - 3000) < 1e-6);
}

static void always_and_never(void **state)
{
	struct planted p;
	struct crossover c;

	plant(&p, 1, 0.2, 0.02, 1);
	c = found(&p);
	assert_int_equal(c.kind, CROSS_ALWAYS);
	assert_true(c.at == 0 && c.high == 0);
	plant(&p, 1 << 30, 0.2, 0.02, 1);
	c = found(&p);
	assert_int_equal(c.kind, CROSS_NONE);
	assert_true(isinf(c.at) && isinf(c.low));
}

/* Better at small sizes, worse in between, better again: from where it stays better. */
static void of_several_crossings_the_last_counts(void **state)
{
	struct planted p;
	struct crossover c;

	plant(&p, 3000, 0.2, 0, 1);
	for (size_t k = 0; k < RUNS; k++)
		p.b[0][k] = 50;
	c = found(&p);
	assert_true(fabs(c.at - 3000) < 1e-6);
}

/* What is hidden behind the last size, and what noise alone puts ahead. */
static void sizes_that_are_ahead(void **state)
{
	bool ahead[POINTS];
	struct planted p;

	plant(&p, 2000, 0.2, 0.02, 1);
	for (size_t k = 0; k < RUNS; k++)
		p.b[POINTS - 1][k] = 9;
	assert_int_equal(found(&p).kind, CROSS_NONE);
	assert_int_equal(crossover_ahead(p.points, POINTS, 0.95, 1000, 1, ahead), 0);
	for (size_t i = 0; i < POINTS; i++)
		assert_int_equal(ahead[i], p.points[i].size > 2000 && i < POINTS - 1);
	for (size_t k = 0; k < RUNS; k++)
		p.b[3][k] = k % 2 ? 8 : 12; /* the median is ahead, but not surely */
	assert_int_equal(crossover_ahead(p.points, POINTS, 0.95, 1000, 1, ahead), 0);
	assert_false(ahead[3]);
}

static void equals_are_not_decided(void **state)
{
	int undecided = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct planted p;

		plant(&p, 64, 0, 0.1, seed);
		undecided += found(&p).kind == CROSS_UNDECIDED || isinf(found(&p).high) || found(&p).low == 0;
	}
	assert_true(undecided >= 17); /* at 95 %, chance decides one of twenty */
}

static void what_cannot_be_drawn_from_is_refused(void **state)
{
	struct crossover c = {.at = 7};
	bool ahead = true;
	struct planted p;

	plant(&p, 3000, 0.2, 0.02, 1);
	for (size_t i = 0; i < POINTS; i++)
		p.points[i].n_a = 1;
	assert_int_equal(crossover_find(p.points, POINTS, 0.95, 1000, 1, &c), -ENODATA);
	assert_int_equal(crossover_find(p.points, 0, 0.95, 1000, 1, &c), -ENODATA);
	p.points[0].n_a = RUNS;
	assert_int_equal(crossover_find(p.points, POINTS, 0.95, 0, 1, &c), -EINVAL);
	assert_int_equal(crossover_find(p.points, POINTS, 1, 10, 1, &c), -EINVAL);
	assert_int_equal(crossover_ahead(p.points, 0, 0.95, 1000, 1, &ahead), -ENODATA);
	assert_int_equal(crossover_ahead(p.points, POINTS, 0, 10, 1, &ahead), -EINVAL);
	assert_true(c.at == 7 && ahead);
	assert_int_equal(crossover_find(p.points, POINTS, 0.95, 10, 1, &c), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_planted_crossing_is_found),
		cmocka_unit_test(without_noise_it_is_exact),
		cmocka_unit_test(always_and_never),
		cmocka_unit_test(of_several_crossings_the_last_counts),
		cmocka_unit_test(sizes_that_are_ahead),
		cmocka_unit_test(equals_are_not_decided),
		cmocka_unit_test(what_cannot_be_drawn_from_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
