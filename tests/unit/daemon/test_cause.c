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

#define LOOP_TAIL "__netif_receive_skb_one_core", "process_backlog", "__napi_poll", "net_rx_action"
#define XMIT_TAIL                                                                                            \
	"sch_direct_xmit", "__dev_queue_xmit", "ip_finish_output2", "__ip_queue_xmit", "__tcp_transmit_skb"

/* Ways of this kernel to a copy, innermost frame first, as bpf_get_stackid() gives them. */
static const struct way {
	enum copy_site site;
	const char *cause, *frames[STACK_DEPTH + 1];
} ways[] = {
	{SITE_TX_DEFERRED_COPY, "looped to a local socket",
		{"skb_copy_ubufs", "__netif_receive_skb_core.constprop.0", LOOP_TAIL, "handle_softirqs",
			"__local_bh_enable_ip", "__dev_queue_xmit", "ip_finish_output2"}},
	{SITE_TX_DEFERRED_COPY, "looped to a local socket",
		{"skb_copy_ubufs", "__netif_receive_skb_list_core", "netif_receive_skb_list_internal",
			"napi_complete_done", "veth_poll", "__napi_poll"}},
	{SITE_TX_DEFERRED_COPY, "looped to a local socket", /* sent again, but copied where it arrives */
		{"skb_copy_ubufs", "__netif_receive_skb_core.constprop.0", LOOP_TAIL, "__tcp_transmit_skb",
			"__tcp_retransmit_skb", "tcp_xmit_retransmit_queue.part.0"}},
	{SITE_SKB_COPY, "device without scatter-gather",
		{"skb_copy_bits", "__pskb_pull_tail", "validate_xmit_skb", "validate_xmit_skb_list",
			XMIT_TAIL}},
	{SITE_SKB_COPY, "device without scatter-gather",
		{"skb_copy_bits", "skb_segment", "tcp_gso_segment", "inet_gso_segment", "skb_mac_gso_segment",
			"__skb_gso_segment", "validate_xmit_skb", XMIT_TAIL}},
	{SITE_SKB_COPY, "device without scatter-gather",
		{"skb_copy_and_csum_bits", "skb_segment", "tcp_gso_segment", "tcp4_gso_segment", XMIT_TAIL}},
	{SITE_TX_DEFERRED_COPY, "packet tap or capture",
		{"skb_copy_ubufs", "dev_queue_xmit_nit", "dev_hard_start_xmit", XMIT_TAIL}},
	{SITE_SKB_COPY, "packet tap or capture",
		{"skb_copy_bits", "tpacket_rcv", "dev_queue_xmit_nit", "dev_hard_start_xmit", XMIT_TAIL}},
	{SITE_SKB_COPY, "packet tap or capture",
		{"skb_copy_bits", "packet_rcv_fanout", "__netif_receive_skb_core.constprop.0", LOOP_TAIL}},
	{SITE_SKB_COPY, "checksum in software",
		{"skb_copy_bits", "__pskb_pull_tail", "skb_checksum_help", "validate_xmit_skb", XMIT_TAIL}},
	{SITE_SKB_COPY, "queueing discipline",
		{"skb_copy_bits", "__pskb_pull_tail", "netem_enqueue", "dev_qdisc_enqueue",
			"__dev_queue_xmit", "ip_finish_output2"}},
	{SITE_SKB_COPY, "queueing discipline",
		{"skb_copy_bits", "pskb_expand_head", "skb_ensure_writable", "tcf_pedit_act",
			"tcf_action_exec", "tcf_classify", "__dev_queue_xmit", "ip_finish_output2"}},
	{SITE_SKB_COPY, "linearised by the driver",
		{"skb_copy_bits", "__pskb_pull_tail", "e1000_xmit_frame", "dev_hard_start_xmit", XMIT_TAIL}},
	{SITE_SKB_COPY, "retransmit",
		{"skb_copy_bits", "tcp_collapse_retrans", "__tcp_retransmit_skb", "tcp_retransmit_skb",
			"tcp_retransmit_timer", "tcp_write_timer_handler"}},
	{SITE_SKB_COPY, "retransmit",
		{"skb_copy_bits", "pskb_expand_head", "__pskb_trim_head", "__tcp_retransmit_skb",
			"tcp_retransmit_skb"}},
	{SITE_SKB_COPY, "receive queue collapsed for want of memory",
		{"skb_copy_bits", "tcp_collapse", "tcp_prune_queue", "tcp_try_rmem_schedule", LOOP_TAIL}},
	{SITE_SKB_COPY, "coalesced with the tail of the receive queue",
		{"skb_try_coalesce", "tcp_try_coalesce", "tcp_queue_rcv", "tcp_rcv_established", LOOP_TAIL}},
};

static void test_ways_of_the_kernel(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct call_path p = path_of(ways[i].frames);
		struct cause c;

		p.site = ways[i].site;
		p.lacks = LACKS_TSO; /* a stack says more than the device */
		c = cause_of(&p);
		if (!c.text || !str_eq(c.text, ways[i].cause))
			fail_msg("way %zu: '%s', not '%s'", i, c.text ? c.text : "none", ways[i].cause);
		assert_true(c.from_stack);
	}
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

/* Neither is the sender's doing: a verdict on its zero-copy leaves them out. */
static void test_the_receive_queue_is_apart(void **state)
{
	static const char *const collapse[] = {"skb_copy_bits", "tcp_collapse", "tcp_prune_queue", NULL};
	static const char *const coalesce[] = {"skb_try_coalesce", "tcp_try_coalesce", "tcp_queue_rcv", NULL};
	static const char *const no_sg[] = {"skb_copy_bits", "skb_segment", "tcp_gso_segment", NULL};
	struct call_path p = path_of(collapse);

	assert_true(cause_of(&p).in_queue);
	p = path_of(coalesce);
	assert_true(cause_of(&p).in_queue);
	p = path_of(no_sg);
	assert_false(cause_of(&p).in_queue);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_innermost_frame_decides),
		cmocka_unit_test(test_ways_of_the_kernel),
		cmocka_unit_test(test_a_name_is_matched_whole),
		cmocka_unit_test(test_the_receive_queue_is_apart),
		cmocka_unit_test(test_without_a_stack_hook_and_device_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
