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

/*
 * Books are kept per CPU and by writer. A program that runs with every message or packet has books of its own, which no
 * other program touches: the kernel never nests a program in itself on one CPU, so that it needs no atomic addition. All
 * others share one, and add atomically: a softirq's program can come between the load and the store of another.
 */
enum book_writer { WRITER_SHARED, WRITER_BEGIN /* of a call, or of a packet */, WRITER_END, WRITER_MAX };

/* Per CPU, writer and site: at index writer * SITE_MAX + site. */
struct cell {
	__u64 hits, bytes;
	__u64 log2[CELL_BUCKETS];
};
_Static_assert(sizeof(struct cell) == 16 + 8 * CELL_BUCKETS, "wire format");

/* Per CPU and writer. */
struct tally {
	__u64 v[COUNTER_MAX];
};

/* How tcp_sendmsg treats the bytes of a call: constant for the call. */
enum send_class { CLASS_NONE, CLASS_COPY, CLASS_PIN, CLASS_SPLICE };

enum row_flags {
	ROW_SEQ = 1 << 0,      /* the sequence bases are valid */
	ROW_ZC_OPEN = 1 << 1,  /* zc_id is the send going on */
	ROW_ZC_MOVED = 1 << 2, /* and it has moved bytes */
	ROW_FIRST_SEND = 1 << 3, /* no send call has ended since the socket came into the account */
	ROW_FIRST_RECV = 1 << 4,
	ROW_OWNED = 1 << 5, /* in the map owners */
	ROW_LOCAL = 1 << 6, /* of a watch: its route is the loopback device, where each pinned byte is copied */
	ROW_LEFT = 1 << 7,  /* of a watch: out of the account, see leave() */
};

/*
 * A socket of the account, as socket storage: at most 128 bytes, since it is charged to the socket's optmem, which the
 * notifications of MSG_ZEROCOPY need too. All but the two sums, and what the end of a send call writes (by its one sender, in
 * a run), is written under the socket lock.
 */
struct sock_row {
	__u64 id;   /* unique, never 0: a recycled struct sock has no row or another one */
	__u64 view; /* what a watch shows it under: its row, or its process */
	__u32 flags;
	__u32 class;
	__u32 write_base, copied_base; /* write_seq and copied_seq when the socket came into the account */
	__u32 write_seq;	       /* up to here the sites are booked */
	__u32 zc_id;
	__u64 zc_bytes;		       /* pinned by send zc_id so far */
	__u64 pinned;		       /* by the call going on (fentry tier) */
	__u64 accepted, received;      /* sums of what the calls returned */
	__u64 ubuf;		       /* io_uring's notification of the call going on, or 0 */
	__u64 pinned_local;	       /* pinned while ROW_LOCAL was set */
	__u32 retrans_base, retransmitted; /* TCP's bytes_retrans when it came into the account; seen since */
	__u64 booked; /* the length booked last, shifted by 8, with its place in log2[]: most are of one length */
	__u32 length, repeats; /* of the last send call; calls of this length after it, in no book yet */
	__u32 tick, pad;       /* of the kernel's clock, at that call */
};
_Static_assert(sizeof(struct sock_row) == 120, "wire format");

/* A MSG_ZEROCOPY send on its way: the value is one word, exchanged by sender and completion; see zc_sent(). */
struct zc_key {
	__u64 row;
	__u32 id;
	__u32 pad;
};
_Static_assert(sizeof(struct zc_key) == 16, "wire format");

#define ZC_SENT (1ULL << 62) /* the lower bits are the bytes pinned */
#define ZC_DONE (1ULL << 63)
#define ZC_COPIED 1ULL

/* By socket cookie; and by the address of an io_uring notification, which has bytes of its own. */
struct owner {
	__u64 row, view;
};
struct uring_send {
	struct owner owner;
	__u64 bytes; /* pinned so far */
};

/* Where a copy that nobody asked for came from. */
struct caller_key {
	__u32 site;
	__s32 stack; /* of the map stacks; negative: none was taken */
	__u64 kind;  /* of the device: up to 8 characters, "loopback" or the rtnl kind ("veth"), else 0 */
	__u32 lacks; /* bits, where there is no stack: features that the device does not have */
	__u32 pad;
};
_Static_assert(sizeof(struct caller_key) == 24, "wire format");
enum lacks { LACKS_SG = 1 << 0, LACKS_CSUM = 1 << 1, LACKS_TSO = 1 << 2 };

struct caller {
	__u64 hits, bytes;
};
#define CALLERS_MAX 1024
#define STACK_DEPTH 12

/* Which sockets a watch takes up at their next call: all conditions that are not 0 must hold. */
struct watch_filter {
	__u32 watching; /* 0: an account of registered sockets only */
	__u32 by_socket; /* a view a socket; else a view a process */
	__u32 tgid;
	__u32 has_uid, uid;
	__u32 port;	 /* local or remote, host order */
	__u32 netns;	 /* inode number */
	__u32 cgroup_level;
	__u64 cgroup;	 /* id, at that level of the task's ancestors */
};

/* What a watch shows: a socket, or a process with its sockets. */
struct view {
	__u64 bytes[SITE_MAX];
	__u64 accepted, received;
	__u64 zc_zero, zc_copied; /* pinned bytes completed, by code */
	__u64 opened, closed;	  /* sockets */
	__u32 tgid, uid;
	char comm[16];
	__u16 family, local_port, remote_port, pad; /* host order */
	__u8 local[16], remote[16];
};
_Static_assert(sizeof(struct view) == 8 * SITE_MAX + 112, "wire format");
#define VIEWS_MAX 16384
