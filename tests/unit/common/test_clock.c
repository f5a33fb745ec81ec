/* SPDX-License-Identifier: MIT */
/* Stamps against CLOCK_MONOTONIC, before and after the clock is chosen; nothing is said of how long it takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "clock.h"
#include "macro.h"

#define SLEEP_NS 50000000
/* A twentieth: a wrong factor or shift is far off, what calibration leaves is far below. */
#define WITHIN 20

/* A stamp lies between two readings of the other clock, however long the thread is kept waiting there. */
struct moment {
	uint64_t before, stamp, after;
};

static struct moment look(void)
{
	struct moment m;

	m.before = clock_now_ns();
	m.stamp = clock_stamp();
	m.after = clock_now_ns();
	return m;
}

static void assert_keeps_time(void)
{
	const struct timespec pause = {.tv_nsec = SLEEP_NS};
	struct moment a = look(), b;
	uint64_t ns;

	nanosleep(&pause, NULL);
	b = look();
	ns = clock_stamp_to_ns(b.stamp - a.stamp);
	assert_in_range(ns, b.before - a.after - (b.before - a.after) / WITHIN,
		b.after - a.before + (b.after - a.before) / WITHIN);
}

static void assert_both_ways(void)
{
	static const uint64_t spans[] = {1000, 50000000, 3600000000000u};

	for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
		uint64_t back = clock_stamp_to_ns(clock_ns_to_stamp(spans[i]));

		assert_in_range(back, spans[i] - spans[i] / 100, spans[i]);
	}
	assert_int_equal(clock_stamp_to_ns(0), 0);
	assert_int_equal(clock_stamp_to_ns(-(uint64_t)1), 0); /* the later one is not later */
}

static void test_stamps_before_the_choice(void **state)
{
	assert_string_equal(clock_name(), "monotonic");
	assert_keeps_time();
	assert_both_ways();
	assert_int_equal(clock_stamp_to_ns(12345), 12345);
}

static void test_stamps_after_it(void **state)
{
	clock_init();
	print_message("stamps are of the clock %s\n", clock_name());
	assert_keeps_time();
	assert_both_ways();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stamps_before_the_choice),
		cmocka_unit_test(test_stamps_after_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
