/* SPDX-License-Identifier: MIT */
/* Lent buffers: none comes back before the other end has its whole message, and they come back in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lend.h"

#define SLOTS 4
#define SIZE 100

static void test_a_slot_returns_with_its_last_byte(void **state)
{
	struct lend l;

	assert_int_equal(lend_init(&l, SLOTS), 0);
	assert_int_equal(lend_return(&l, UINT64_MAX), 0);
	lend_out(&l, 0, SIZE);
	assert_int_equal(lend_return(&l, 0), 0);
	assert_int_equal(lend_return(&l, SIZE - 1), 0);
	assert_int_equal(l.busy[0], 1);
	assert_int_equal(lend_return(&l, SIZE), 1);
	assert_int_equal(l.busy[0], 0);
	assert_int_equal(lend_return(&l, SIZE), 0);
	lend_done(&l);
	assert_null(l.busy);
}

static void test_slots_return_in_turn(void **state)
{
	struct lend l;

	assert_int_equal(lend_init(&l, SLOTS), 0);
	for (uint32_t i = 0; i < SLOTS; i++)
		lend_out(&l, i, (i + 1) * SIZE);
	assert_int_equal(lend_return(&l, 2 * SIZE + SIZE / 2), 2);
	assert_true(!l.busy[0] && !l.busy[1] && l.busy[2] && l.busy[3]);
	assert_int_equal(lend_return(&l, 4 * SIZE), 2);
	assert_true(!l.busy[2] && !l.busy[3]);
	lend_done(&l);
}

/* A ring that goes round many times, the other end always some messages behind. */
static void test_ring_goes_round(void **state)
{
	uint64_t sent = 0, received = 0;
	struct lend l;

	assert_int_equal(lend_init(&l, SLOTS), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		while (l.busy[i % SLOTS]) {
			received += SIZE / 3;
			lend_return(&l, received);
			assert_true(l.lent >= (sent - received) / SIZE);
		}
		sent += SIZE;
		lend_out(&l, i % SLOTS, sent);
		assert_true(sent - received <= SLOTS * SIZE);
	}
	assert_int_equal(lend_return(&l, sent), l.slots);
	assert_int_equal(l.lent, 0);
	lend_done(&l);
}

static void test_nothing_to_be_done(void **state)
{
	struct lend l = {};

	lend_done(&l);
	assert_null(l.end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_slot_returns_with_its_last_byte),
		cmocka_unit_test(test_slots_return_in_turn),
		cmocka_unit_test(test_ring_goes_round),
		cmocka_unit_test(test_nothing_to_be_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
