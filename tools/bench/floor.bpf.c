// SPDX-License-Identifier: GPL-2.0-only
/* Programs that do nothing, at the hooks that a run of a copying mode has: what is lost to them no ledger can save. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define NOTHING(hook)                                                                                        \
	SEC("tp_btf/" #hook)                                                                                 \
	int hook(void *ctx)                                                                                  \
	{                                                                                                    \
		return 0;                                                                                    \
	}

NOTHING(sock_send_length)
NOTHING(net_dev_start_xmit)
NOTHING(skb_copy_datagram_iovec)
NOTHING(sock_recv_length)
