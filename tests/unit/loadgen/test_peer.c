/* SPDX-License-Identifier: MIT */
/* Who is let in between two hosts: the token, the lane, and messages that end a phase. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <cmocka.h>

#include "message.h"
#include "peer.h"

static struct lg_plan a_plan(void)
{
	struct lg_plan plan = {
		.lanes = 3, .role = LG_ROLE_RECEIVER, .size = 64, .mode = "one-copy", .receive = "recv"};

	for (int i = 0; i < LG_TOKEN; i++)
		plan.token[i] = (uint8_t)(i * 17 + 1);
	return plan;
}

static struct peer_hello a_hello(const struct lg_plan *plan, uint32_t lane)
{
	struct peer_hello hello = {.lane = htonl(lane)};

	memcpy(hello.token, plan->token, LG_TOKEN);
	return hello;
}

static void test_every_bit_of_the_token_counts(void **state)
{
	struct lg_plan plan = a_plan();
	const int free_lanes[] = {-1, -1, -1, -1, -1, -1};
	struct peer_hello hello;

	for (int bit = 0; bit < LG_TOKEN * 8; bit++) {
		hello = a_hello(&plan, 0);
		hello.token[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(peer_admit(&hello, &plan, free_lanes), -EACCES);
	}
	hello = a_hello(&plan, 2);
	assert_int_equal(peer_admit(&hello, &plan, free_lanes), 2);
}

static void test_a_lane_comes_once(void **state)
{
	struct lg_plan plan = a_plan();
	const int fds[] = {-1, -1, -1, 7, -1, -1}; /* lane 1 is in */
	const uint32_t wrong[] = {1, 3, UINT32_MAX, 1u << 31};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct peer_hello hello = a_hello(&plan, wrong[i]);

		assert_int_equal(peer_admit(&hello, &plan, fds), -EACCES);
	}
}

static void test_what_two_hosts_cannot(void **state)
{
	static const struct {
		const char *mode, *receive;
		uint64_t size;
		int expected;
	} rows[] = {{"one-copy", "recv", 16, 0}, {"one-copy", "recv", 15, -EINVAL},
		{"one-copy", "recv-trunc", 64, -EINVAL}, {"one-copy", "mmap", 64, -EINVAL},
		{"splice", "recv", 64, -EINVAL}, {"sendfile", "recv", 64, -EINVAL},
		{"zero-copy", "recv", 64, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct lg_plan plan = a_plan();
		struct fault fault = {};

		plan.size = rows[i].size;
		str_copy(plan.mode, rows[i].mode);
		str_copy(plan.receive, rows[i].receive);
		assert_int_equal(peer_check(&plan, &fault), rows[i].expected);
		assert_int_equal(fault.text[0] != 0, rows[i].expected != 0);
	}
}

static int64_t take(struct inbox *in, uint64_t sequence)
{
	uint8_t message[16] = {};

	for (int i = 0; i < 8; i++)
		message[i] = (uint8_t)(sequence >> (8 * i));
	return inbox_take(in, message, sizeof(message), 0);
}

static void test_the_last_message_is_marked(void **state)
{
	struct message_layout layout;
	struct inbox in;

	message_layout_init(&layout, 16, 1);
	for (int verify = 0; verify < 2; verify++) {
		inbox_init(&in, &layout, verify, NULL);
		assert_int_equal(take(&in, MESSAGE_LAST), -EBADMSG); /* of a sender that is near */
		inbox_init(&in, &layout, verify, NULL);
		in.marked = 1;
		assert_int_equal(take(&in, 0), 1);
		assert_false(in.ended);
		assert_int_equal(take(&in, MESSAGE_LAST | 1), 1);
		assert_true(in.ended);
		assert_int_equal(take(&in, MESSAGE_LAST | 3), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_bit_of_the_token_counts),
		cmocka_unit_test(test_a_lane_comes_once),
		cmocka_unit_test(test_what_two_hosts_cannot),
		cmocka_unit_test(test_the_last_message_is_marked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
