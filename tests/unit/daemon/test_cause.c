// SPDX-License-Identifier: MIT
/* Causes from call paths: the innermost known frame decides, and the device only where there is no stack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cause.h"

static struct call_path path_of(const char *const *frames)
{
	struct call_path p = {.site = SITE_TX_DEFERRED_COPY, .stack_known = true};

	for (size_t i = 0; frames[i]; i++)
		str_copy(p.stack[i], frames[i]);
	return p;
}

static void test_innermost_frame_decides(void **state)
{
	static const char *const loop[] = {"skb_copy_ubufs", "__netif_receive_skb_core.constprop.0",
		"__netif_receive_skb_one_core", "process_backlog", "__tcp_retransmit_skb", NULL};
	static const char *const tap[] = {"skb_copy_ubufs", "dev_queue_xmit_nit", "dev_hard_start_xmit",
		"sch_direct_xmit", "tcp_sendmsg_locked", NULL};
	static const char *const no_sg[] = {"skb_copy_bits", "__pskb_pull_tail", "validate_xmit_skb", NULL};
	struct call_path p;

	p = path_of(loop);
	assert_string_equal(cause_of(&p).text, "looped to a local socket");
	assert_true(cause_of(&p).from_stack);
	p = path_of(tap);
	assert_string_equal(cause_of(&p).text, "packet tap or capture");
	p = path_of(no_sg);
	assert_string_equal(cause_of(&p).text, "device without scatter-gather");
}

static void test_a_name_is_matched_whole(void **state)
{
	static const char *const frames[] = {"packet_rcv_fanout_lookalike", NULL};
	struct call_path p = path_of(frames);

	assert_null(cause_of(&p).text);
}

static void test_without_a_stack_hook_and_device_tell(void **state)
{
	struct call_path p = {.site = SITE_TX_DEFERRED_COPY, .kind = "veth"};

	assert_string_equal(cause_of(&p).text, "looped to a local socket");
	assert_false(cause_of(&p).from_stack);
	p.site = SITE_SKB_COPY;
	assert_null(cause_of(&p).text);
	p.lacks = LACKS_CSUM | LACKS_TSO;
	assert_string_equal(cause_of(&p).text, "checksum in software");
	p.lacks |= LACKS_SG;
	assert_string_equal(cause_of(&p).text, "device without scatter-gather");
	assert_false(cause_of(&p).from_stack);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_innermost_frame_decides),
		cmocka_unit_test(test_a_name_is_matched_whole),
		cmocka_unit_test(test_without_a_stack_hook_and_device_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
