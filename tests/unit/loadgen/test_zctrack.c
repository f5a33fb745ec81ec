/* SPDX-License-Identifier: MIT */
/* Zero-copy accounts: ranges, merged and wrapping, partial sends, completions that cannot be. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "macro.h"
#include "zctrack.h"

#define SLOTS 16

static void new_track(struct zctrack *t, uint32_t first_id)
{
	assert_int_equal(zctrack_init(t, SLOTS, 2 * SLOTS, first_id), 0);
	assert_true(t->mask + 1 >= 2 * SLOTS);
}

static void test_send_and_complete(void **state)
{
	struct zctrack t;
	uint64_t bytes = 0;

	new_track(&t, 0);
	assert_int_equal(zctrack_outstanding(&t), 0);
	zctrack_sent(&t, 0, 100);
	assert_int_equal(t.pending[0], 1);
	assert_int_equal(zctrack_outstanding(&t), 1);
	assert_int_equal(zctrack_complete(&t, 0, 0, &bytes), 1);
	assert_int_equal(bytes, 100);
	assert_int_equal(t.pending[0], 0);
	assert_int_equal(zctrack_outstanding(&t), 0);
	zctrack_done(&t);
}

static void test_merged_range_counts_every_send(void **state)
{
	struct zctrack t;
	uint64_t bytes = 0;

	new_track(&t, 0);
	for (uint32_t i = 0; i < 10; i++)
		zctrack_sent(&t, i, 1000 + i);
	assert_int_equal(zctrack_complete(&t, 2, 7, &bytes), 6);
	assert_int_equal(bytes, 6000 + 2 + 3 + 4 + 5 + 6 + 7);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(t.pending[i], i < 2 || i > 7);
	/* The oldest still waits, so its place is not given away. */
	assert_int_equal(zctrack_outstanding(&t), 10);
	assert_int_equal(zctrack_complete(&t, 0, 1, &bytes), 2);
	assert_int_equal(bytes, 2001);
	assert_int_equal(zctrack_outstanding(&t), 2);
	zctrack_done(&t);
}

/* A message that took three calls is free when all three are done, in whatever order they end. */
static void test_partial_sends_hold_the_buffer(void **state)
{
	struct zctrack t;
	uint64_t bytes = 0, sum = 0;

	new_track(&t, 0);
	zctrack_sent(&t, 5, 10);
	zctrack_sent(&t, 5, 20);
	zctrack_sent(&t, 5, 30);
	assert_int_equal(t.pending[5], 3);
	assert_int_equal(zctrack_complete(&t, 2, 2, &bytes), 1);
	sum += bytes;
	assert_int_equal(t.pending[5], 2);
	assert_int_equal(zctrack_complete(&t, 0, 0, &bytes), 1);
	sum += bytes;
	assert_int_equal(t.pending[5], 1);
	assert_int_equal(zctrack_complete(&t, 1, 1, &bytes), 1);
	sum += bytes;
	assert_int_equal(t.pending[5], 0);
	assert_int_equal(sum, 60);
	zctrack_done(&t);
}

static void test_ids_wrap(void **state)
{
	struct zctrack t;
	uint64_t bytes = 0;

	new_track(&t, UINT32_MAX - 2);
	for (uint32_t i = 0; i < 8; i++)
		zctrack_sent(&t, i, 1u << i);
	assert_int_equal(t.next, 5);
	/* UINT32_MAX - 1, UINT32_MAX, 0, 1 */
	assert_int_equal(zctrack_complete(&t, UINT32_MAX - 1, 1, &bytes), 4);
	assert_int_equal(bytes, 2 + 4 + 8 + 16);
	assert_int_equal(zctrack_complete(&t, UINT32_MAX - 2, UINT32_MAX - 2, &bytes), 1);
	assert_int_equal(bytes, 1);
	assert_int_equal(t.oldest, 2);
	assert_int_equal(zctrack_complete(&t, 2, 4, &bytes), 3);
	assert_int_equal(bytes, 32 + 64 + 128);
	assert_int_equal(zctrack_outstanding(&t), 0);
	zctrack_done(&t);
}

static void test_impossible_completions_are_refused(void **state)
{
	struct zctrack t;
	uint64_t bytes = 77;

	new_track(&t, 0);
	assert_int_equal(zctrack_complete(&t, 0, 0, &bytes), -EPROTO);
	for (uint32_t i = 0; i < 4; i++)
		zctrack_sent(&t, i, 1);
	assert_int_equal(zctrack_complete(&t, 3, 4, &bytes), -EPROTO); /* 4 was never sent */
	assert_int_equal(zctrack_complete(&t, 2, 1, &bytes), -EPROTO); /* nearly all ids there are */
	assert_int_equal(zctrack_complete(&t, 1, 0, &bytes), -EPROTO); /* an empty range */
	assert_int_equal(zctrack_complete(&t, UINT32_MAX, 0, &bytes), -EPROTO);
	assert_int_equal(bytes, 77);
	assert_int_equal(zctrack_complete(&t, 1, 1, &bytes), 1);
	assert_int_equal(zctrack_complete(&t, 1, 1, &bytes), -EPROTO); /* twice */
	assert_int_equal(
		zctrack_complete(&t, 0, 2, &bytes), -EPROTO); /* one of them twice: nothing is booked */
	assert_int_equal(t.pending[0], 1);
	assert_int_equal(t.pending[2], 1);
	zctrack_done(&t);
}

static void test_full_until_the_oldest_completes(void **state)
{
	struct zctrack t;
	uint64_t bytes;
	uint32_t capacity;

	new_track(&t, 0);
	capacity = t.mask + 1;
	for (uint32_t i = 0; i < capacity; i++) {
		assert_false(zctrack_full(&t));
		zctrack_sent(&t, i % SLOTS, 1);
	}
	assert_true(zctrack_full(&t));
	assert_int_equal(zctrack_complete(&t, 1, capacity - 1, &bytes), capacity - 1);
	assert_true(zctrack_full(&t));
	assert_int_equal(zctrack_complete(&t, 0, 0, &bytes), 1);
	assert_false(zctrack_full(&t));
	assert_int_equal(zctrack_outstanding(&t), 0);
	zctrack_done(&t);
}

/* A long life over the wrap, completed in ranges of all lengths: every byte and every send is booked once. */
static void test_long_run_is_exact(void **state)
{
	uint64_t sent = 0, done = 0, sends = 0, completed = 0;
	uint32_t id = UINT32_MAX - 5000, lo = id;
	struct zctrack t;

	new_track(&t, id);
	for (uint32_t i = 0; i < 10000; i++) {
		uint32_t burst = 1 + i % (2 * SLOTS - 1);
		uint64_t bytes = 0;

		for (uint32_t k = 0; k < burst; k++, id++, sends++) {
			zctrack_sent(&t, id % SLOTS, 1 + id % 1500);
			sent += 1 + id % 1500;
		}
		completed += (uint64_t)zctrack_complete(&t, lo, id - 1, &bytes);
		done += bytes;
		lo = id;
	}
	assert_int_equal(sends, completed);
	assert_int_equal(sent, done);
	assert_int_equal(zctrack_outstanding(&t), 0);
	for (uint32_t i = 0; i < SLOTS; i++)
		assert_int_equal(t.pending[i], 0);
	zctrack_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send_and_complete),
		cmocka_unit_test(test_merged_range_counts_every_send),
		cmocka_unit_test(test_partial_sends_hold_the_buffer),
		cmocka_unit_test(test_ids_wrap),
		cmocka_unit_test(test_impossible_completions_are_refused),
		cmocka_unit_test(test_full_until_the_oldest_completes),
		cmocka_unit_test(test_long_run_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
