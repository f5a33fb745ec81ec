// SPDX-License-Identifier: MIT
/* The causes as a table of functions: the innermost frame that is in it names the cause. */
#include "cause.h"

static const struct {
	const char *symbol, *text;
} causes[] = {
	{"dev_queue_xmit_nit", "packet tap or capture"},
	{"tpacket_rcv", "packet tap or capture"},
	{"packet_rcv", "packet tap or capture"},
	{"packet_rcv_spkt", "packet tap or capture"},
	{"packet_rcv_fanout", "packet tap or capture"},
	{"skb_checksum_help", "checksum in software"},
	/* Segmentation in software copies payload only where the device cannot take fragments. */
	{"skb_segment", "device without scatter-gather"},
	{"tcp_gso_segment", "device without scatter-gather"},
	{"validate_xmit_skb", "device without scatter-gather"},
	{"tcp_collapse", "receive queue collapsed for want of memory"},
	{"tcp_try_coalesce", "coalesced with the tail of the receive queue"},
	{"tcp_collapse_retrans", "retransmit"},
	{"__tcp_retransmit_skb", "retransmit"},
	{"__netif_receive_skb_core", "looped to a local socket"},
	{"__netif_receive_skb_one_core", "looped to a local socket"},
	{"__netif_receive_skb_list_core", "looped to a local socket"},
	{"sch_direct_xmit", "queueing discipline"},
	{"__qdisc_run", "queueing discipline"},
	{"dev_hard_start_xmit", "linearised by the driver"},
	{"__dev_direct_xmit", "linearised by the driver"},
	/* On the way to the driver, and in none of the steps above: its filters, or its enqueue. */
	{"__dev_queue_xmit", "queueing discipline"},
};

/* As timing and memory have it, and long after the sender's part. */
static const char *const queue_symbols[] = {"tcp_collapse", "tcp_try_coalesce"};

/* What the device lacks, in the order in which the stack tends to it: without SG it must linearise anyway. */
static const struct {
	enum lacks lacks;
	const char *text;
} shortcomings[] = {
	{LACKS_SG, "device without scatter-gather"},
	{LACKS_CSUM, "checksum in software"},
	{LACKS_TSO, "segmented in software"},
};

/* The compiler's own copies of a function are the function: "__netif_receive_skb_core.constprop.0". */
static bool is_symbol(const char *frame, const char *symbol)
{
	size_t n = strlen(symbol);

	return strncmp(frame, symbol, n) == 0 && (!frame[n] || frame[n] == '.');
}

static bool in_queue(const char *symbol)
{
	for (size_t i = 0; i < ARRAY_SIZE(queue_symbols); i++)
		if (str_eq(symbol, queue_symbols[i]))
			return true;
	return false;
}

struct cause cause_of(const struct call_path *path)
{
	for (size_t i = 0; path->stack_known && i < STACK_DEPTH && path->stack[i][0]; i++)
		for (size_t k = 0; k < ARRAY_SIZE(causes); k++)
			if (is_symbol(path->stack[i], causes[k].symbol))
				return (struct cause){causes[k].text, true, in_queue(causes[k].symbol)};
	/* Without a stack a deferred copy was seen on its way into this host's receive path. */
	if (path->site == SITE_TX_DEFERRED_COPY && !path->stack_known)
		return (struct cause){.text = "looped to a local socket"};
	for (size_t k = 0; k < ARRAY_SIZE(shortcomings); k++)
		if (path->lacks & shortcomings[k].lacks)
			return (struct cause){.text = shortcomings[k].text};
	return (struct cause){};
}
