/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The wire format between the programs in the kernel and the daemon. An account is one loaded instance of the programs. */
#pragma once

#ifdef __bpf__
#include "vmlinux.h"
#else
#include <linux/types.h>
#endif

enum copy_site {
#define COPY_SITE(id, name, side, kind, meaning) SITE_##id,
#include "sites.def"
#undef COPY_SITE
	SITE_MAX
};

enum account_counter {
#define COUNTER(id, name, meaning) COUNTER_##id,
#include "counters.def"
#undef COUNTER
	COUNTER_MAX
};

#define CELL_BUCKETS 32 /* bucket i counts hits of 2^i to 2^(i+1)-1 bytes, the last one everything above */

/* Per CPU and site. */
struct cell {
	__u64 hits, bytes;
	__u64 log2[CELL_BUCKETS];
};
_Static_assert(sizeof(struct cell) == 16 + 8 * CELL_BUCKETS, "wire format");

struct tally {
	__u64 v[COUNTER_MAX];
};

/* How tcp_sendmsg treats the bytes of a call: constant for the call. */
enum send_class { CLASS_NONE, CLASS_COPY, CLASS_PIN, CLASS_SPLICE };

enum row_flags {
	ROW_SEQ = 1 << 0,      /* the sequence bases are valid */
	ROW_ZC_OPEN = 1 << 1,  /* zc_id is the send going on */
	ROW_ZC_MOVED = 1 << 2, /* and it has moved bytes */
};

/*
 * A socket of the account, as socket storage: at most 128 bytes, since it is charged to the socket's optmem, which the
 * notifications of MSG_ZEROCOPY need too. All but the two sums is written under the socket lock.
 */
struct sock_row {
	__u64 id; /* unique, never 0: a recycled struct sock has no row or another one */
	__u32 flags;
	__u32 class;
	__u32 write_base, copied_base; /* write_seq and copied_seq when the socket was registered */
	__u32 write_seq;	       /* up to here the sites are booked */
	__u32 zc_id;
	__u64 zc_bytes;		       /* pinned by send zc_id so far */
	__u64 pinned;		       /* by the call going on (fentry tier) */
	__u64 accepted, received;      /* sums of what the calls returned */
};
_Static_assert(sizeof(struct sock_row) == 64, "wire format");

/* A MSG_ZEROCOPY send on its way: the value is one word, exchanged by sender and completion; see zc_sent(). */
struct zc_key {
	__u64 row;
	__u32 id;
	__u32 pad;
};
_Static_assert(sizeof(struct zc_key) == 16, "wire format");
