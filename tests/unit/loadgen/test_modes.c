/* SPDX-License-Identifier: MIT */
/* The tables: modes, workloads, paths; where lanes run; how many buffers a ring has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lane.h"
#include "netpath.h"
#include "resources.h"

static void test_every_mode_is_found_by_its_name(void **state)
{
	static const char *const names[] = {
		"two-copy", "one-copy", "zero-copy", "sendfile", "splice", "uring-send", "uring-send-zc"};
	static const char *const receive[] = {"recv", "recv-trunc", "mmap"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_string_equal(transfer_mode_find(names[i])->name, names[i]);
	assert_null(transfer_modes[ARRAY_SIZE(names)]);
	assert_null(transfer_mode_find("two_copy"));
	assert_null(transfer_mode_find(""));
	for (size_t i = 0; i < ARRAY_SIZE(receive); i++)
		assert_string_equal(receive_mode_find(receive[i])->name, receive[i]);
	assert_null(receive_modes[ARRAY_SIZE(receive)]);
	assert_null(receive_mode_find("recv_trunc"));
}

static void test_rows_are_complete(void **state)
{
	for (size_t i = 0; transfer_modes[i]; i++) {
		const struct transfer_mode *m = transfer_modes[i];

		assert_true(strlen(m->name) < sizeof(((struct lg_plan *)NULL)->mode));
		assert_true(strlen(m->summary) > 0);
		assert_non_null(m->send);
		assert_int_equal(!!(m->caps & MODE_DEFERRED), m->reap != NULL);
		/* What refers to a buffer after the call must be waited for. */
		assert_true(!(m->caps & (MODE_PINS | MODE_SPLICES)) || m->caps & MODE_DEFERRED);
	}
	for (size_t i = 0; receive_modes[i]; i++) {
		assert_true(strlen(receive_modes[i]->name) < sizeof(((struct lg_plan *)NULL)->receive));
		assert_true(strlen(receive_modes[i]->summary) > 0);
		assert_non_null(receive_modes[i]->recv);
	}
	assert_int_equal(receive_modes[0]->caps, 0);
}

static void test_capabilities_say_what_the_names_mean(void **state)
{
	assert_true(transfer_mode_find("two-copy")->caps & MODE_PACKS);
	assert_false(transfer_mode_find("one-copy")->caps & (MODE_PACKS | MODE_PINS | MODE_DEFERRED));
	assert_true(transfer_mode_find("zero-copy")->caps & MODE_PINS);
	assert_false(transfer_mode_find("zero-copy")->caps & MODE_PACKS);
	assert_true(transfer_mode_find("sendfile")->caps & MODE_SPLICES);
	assert_true(transfer_mode_find("splice")->caps & MODE_SPLICES);
	assert_int_equal(transfer_mode_find("uring-send")->caps, 0);
	assert_int_equal(transfer_mode_find("uring-send-zc")->caps, MODE_PINS | MODE_DEFERRED);
	assert_true(receive_mode_find("recv-trunc")->caps & RECEIVE_DISCARDS);
	assert_false(receive_mode_find("mmap")->caps & RECEIVE_DISCARDS);
}

static void test_names_have_rows(void **state)
{
	for (size_t i = 0; workload_names[i]; i++)
		assert_string_equal(workload_find(workload_names[i])->name, workload_names[i]);
	for (size_t i = 0; path_names[i]; i++)
		assert_true(netpath_known(path_names[i]));
	assert_null(workload_find("bulk"));
	assert_false(netpath_known("wire"));
}

static void test_paths_with_names(void **state)
{
	static const char *const good[] = {"netns:a,b", "netns:a,a", "netns:A-z_0.9,--",
		"netns:12345678901234567890123456789012,12345678901234567890123456789012"};
	static const char *const bad[] = {"netns", "netns:", "netns:a", "netns:a,", "netns:,b", "netns:a,b,c",
		"netns:a,b ", "netns:a/b,c", "netns:a,../b", "netns:a b,c", "netns:\xc3\xa4,b", "Netns:a,b",
		"vethnetns:a,b", "veth:a,b", "loopbacks", "lo", "",
		"netns:123456789012345678901234567890123,b", "netns:a,123456789012345678901234567890123"};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_true(netpath_known(good[i]));
		assert_true(strlen(good[i]) < sizeof(((struct lg_plan *)NULL)->path));
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (netpath_known(bad[i]))
			fail_msg("'%s' is taken for a path", bad[i]);
}

static void test_lanes_have_two_cores_while_there_are_enough(void **state)
{
	for (uint32_t lane = 0; lane < 4; lane++) {
		assert_int_equal(placement_cpu(lane, LG_SENDER, 4, 8), 2 * lane);
		assert_int_equal(placement_cpu(lane, LG_RECEIVER, 4, 8), 2 * lane + 1);
	}
}

static void test_crowded_lanes_share_a_core_and_are_spread(void **state)
{
	uint32_t lanes_on[3] = {};

	for (uint32_t lane = 0; lane < 9; lane++) {
		uint32_t cpu = placement_cpu(lane, LG_SENDER, 9, 3);

		assert_int_equal(placement_cpu(lane, LG_RECEIVER, 9, 3), cpu);
		assert_true(cpu < 3);
		lanes_on[cpu]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(lanes_on); i++)
		assert_int_equal(lanes_on[i], 3);
	assert_int_equal(placement_cpu(0, LG_SENDER, 1, 1), 0);
	assert_int_equal(placement_cpu(0, LG_RECEIVER, 1, 1), 0);
}

static void test_senders_of_a_crowd_give_way(void **state)
{
	assert_int_equal(sender_nice(1, 1), 0);
	assert_int_equal(sender_nice(8, 2), 0);
	assert_int_equal(sender_nice(9, 2), 1);
	assert_int_equal(sender_nice(20, 2), 5); /* 1.25^5 = 3.05, 2.5 times as many a CPU */
	assert_int_equal(sender_nice(20, 8), 0);
	assert_int_equal(sender_nice(1000, 2), 19); /* 1.25^19 = 69 */
	assert_int_equal(sender_nice(LIMIT_THREADS_MAX, 1), 19);
}

static void test_ring_is_bounded(void **state)
{
	for (uint32_t lanes = 1; lanes <= LIMIT_THREADS_MAX; lanes *= 10)
		for (uint64_t size = LIMIT_SIZE_MIN; size <= LIMIT_SIZE_MAX; size *= 4) {
			uint32_t slots = ring_slots(size, lanes, UINT64_MAX);

			assert_true(slots >= 2 && slots <= 16384);
			/* Two buffers are the least with which anything can be in flight; else the total is
			 * held. */
			assert_true(slots == 2 || slots * size * lanes <= 256ULL << 20);
			assert_true(slots <= 16 || slots * size <= 4ULL << 20);
		}
	assert_int_equal(ring_slots(1, 1, UINT64_MAX), 16384);
	assert_int_equal(ring_slots(65536, 1, UINT64_MAX), 64);
	assert_int_equal(ring_slots(1 << 20, 1, UINT64_MAX), 16);
}

/* Each send is booked by the kernel as its whole pages and two more. */
static void test_ring_heeds_locked_memory(void **state)
{
	assert_int_equal(ring_slots(64, 1, 8 << 20), 512);
	assert_int_equal(ring_slots(64, 4, 8 << 20), 128);
	assert_int_equal(ring_slots(65536, 1, 8 << 20), 56);
	assert_int_equal(ring_slots(64, 1, 0), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_mode_is_found_by_its_name),
		cmocka_unit_test(test_rows_are_complete),
		cmocka_unit_test(test_capabilities_say_what_the_names_mean),
		cmocka_unit_test(test_names_have_rows),
		cmocka_unit_test(test_paths_with_names),
		cmocka_unit_test(test_lanes_have_two_cores_while_there_are_enough),
		cmocka_unit_test(test_crowded_lanes_share_a_core_and_are_spread),
		cmocka_unit_test(test_senders_of_a_crowd_give_way),
		cmocka_unit_test(test_ring_is_bounded),
		cmocka_unit_test(test_ring_heeds_locked_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
