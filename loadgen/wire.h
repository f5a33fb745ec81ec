/* SPDX-License-Identifier: MIT */
/*
 * The contract between the daemon and its load generator: a plan and counters in shared memory (a memfd), and small
 * messages over a SOCK_SEQPACKET pair. The child gets the pair as fd 3 and the memfd as fd 4.
 *
 * Each counter has one writer: the thread of its side. Readers (the daemon, the child's control thread) load relaxed.
 *
 * The course of a run. The child parks all lanes between the phases: nothing is in flight there (everything that was
 * sent has been received), so that a snapshot of the counters, and a perf counter a thread, cover the phase exactly.
 *
 *	child						daemon
 *	connects all lanes
 *	LG_SOCKETS (fds by SCM_RIGHTS) ... LG_CONNECTED -> registers the sockets, opens perf, arms the ledger
 *							<- LG_GO_WARMUP
 *	lanes run for warmup_ns (0: not at all), drain
 *	LG_WARMED (at_start taken)			-> enables perf
 *							<- LG_GO_MEASURE
 *	lanes run for duration_ns, drain, park
 *	LG_MEASURED (at_end taken)			-> disables perf
 *							<- LG_GO_CLOSE
 *	completions collected, FIN both ways, tcp_info, close
 *	LG_DONE, exit 0					-> closes the books
 *
 * LG_STOP ends the current phase at once (cancel): the child answers with that phase's own message, then goes on as
 * told. On EOF of the pair the child exits. LG_FAILED carries an errno and a sentence, then the child exits 1.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../common/hist.h"
#include "../common/macro.h"

#define LG_VERSION 4
#define LG_FD_CONTROL 3
#define LG_FD_SHM 4
#define LG_FD_LISTENER 5 /* of a receiver whose sender is on another host */
#define LG_TOKEN 16
#define LG_ADDRESS 48
#define LG_FDS_PER_MESSAGE 128 /* sockets in one LG_SOCKETS; the kernel's SCM_MAX_FD is 253 */
#define LG_MODE_COUNTERS 8

enum lg_message_type {
	/* child to daemon */
	LG_SOCKETS = 1, /* first: index of the first socket; count; the fds. index = lane * 2 + side */
	LG_CONNECTED,
	LG_WARMED,
	LG_MEASURED,
	LG_DONE,
	LG_FAILED, /* error (negative errno) and text */
	/* daemon to child */
	LG_GO_WARMUP = 64,
	LG_GO_MEASURE,
	LG_GO_CLOSE,
	LG_STOP,
};

struct lg_message {
	uint32_t type;
	uint32_t first, count;
	int32_t error;
	char text[240];
};

enum lg_flags {
	LG_VERIFY = 1 << 0, /* the receiver checks every byte, not only sequence and length */
	LG_PIN = 1 << 1,    /* threads are bound to CPUs */
	LG_IPV6 = 1 << 2,
	LG_LOOK = 1 << 3, /* only look at the path: its devices, then LG_DONE; no lane is made */
	LG_NODELAY = 1 << 4, /* no small packet waits for another (TCP_NODELAY); rr has it always */
};

/* Which sides this child has; the other one is on another host, under a daemon of its own. */
enum lg_role { LG_ROLE_BOTH, LG_ROLE_SENDER, LG_ROLE_RECEIVER };

/* Written by the daemon before the child starts, then constant, but for the token, which is wiped when it was used. */
struct lg_plan {
	uint32_t version;
	uint32_t lanes;
	uint64_t size;		 /* bytes a message */
	uint32_t fields;	 /* buffers a message; fewer if size is smaller */
	uint32_t flags;
	uint64_t warmup_ns, duration_ns;
	uint32_t sndbuf, rcvbuf; /* bytes asked of SO_SNDBUF and SO_RCVBUF, 0: the kernel's default */
	char mode[32];		 /* a name of transfer_modes */
	char receive[32];	 /* a name of receive_modes */
	char workload[16];	 /* "stream" or "rr" */
	char path[80];		 /* "loopback", "veth" or "netns:SERVER,CLIENT" */
	char congestion[16];	 /* "" : the namespace's default */
	uint32_t role;		 /* enum lg_role */
	uint32_t port;		 /* of the receiver; for LG_ROLE_SENDER */
	char peer[LG_ADDRESS];	 /* its numeric address */
	uint8_t token[LG_TOKEN]; /* that a lane must show to be let in */
};

enum lg_side_index { LG_SENDER, LG_RECEIVER, LG_SIDES };

/* What a side has done since it connected. In rr both sides send and receive. */
struct lg_counts {
	uint64_t messages_sent, messages_received; /* complete ones */
	uint64_t bytes_sent, bytes_received;	   /* what send* and recv* returned */
	uint64_t send_calls, recv_calls;	   /* that moved at least a byte */
	uint64_t pack_copies, pack_bytes;	   /* memcpy of a field into the packed buffer, and its bytes */
	uint64_t zc_sends;			   /* sends by MSG_ZEROCOPY or SENDMSG_ZC that the kernel accepted */
	uint64_t zc_bytes;			   /* and their bytes */
	uint64_t zc_done, zc_done_copied;	   /* sends completed; of these with SO_EE_CODE_ZEROCOPY_COPIED or
						    * IORING_NOTIF_USAGE_ZC_COPIED */
	uint64_t zc_bytes_done, zc_bytes_copied;   /* the same in bytes */
	uint64_t zc_notifications;		   /* read: one of the error queue can cover many sends */
	uint64_t zc_enobufs;			   /* sends refused for lack of optmem or lockable memory, tried again after reaping */
	uint64_t zc_waits;			   /* times that the ring was full and the lane waited for a completion */
	uint64_t mode[LG_MODE_COUNTERS];	   /* by transfer_mode.counters */
	uint64_t map_bytes;			   /* of bytes_received: mapped by TCP_ZEROCOPY_RECEIVE, the rest copied */
};

/*
 * struct tcp_info at the end of the connection, read before close: raw. bytes_acked counts the side's own FIN as a byte, and
 * the receiver's, which connected, its SYN as well; bytes_received counts the peer's FIN.
 */
struct lg_tcp {
	uint32_t valid, mss;
	uint64_t bytes_acked, bytes_received, bytes_sent, bytes_retrans;
	uint32_t rtt_us, total_retrans;
	uint32_t sndbuf, rcvbuf; /* given by the kernel, as getsockopt reports them */
	char congestion[16];
};

struct lg_side {
	struct lg_counts now; /* hot: the side's thread writes it */
	uint32_t tid;	      /* written before LG_CONNECTED */
	int32_t cpu;	      /* bound to, or -1 */
	int32_t nice;	      /* of a sender: how much nicer than its receiver */
	int32_t error;	      /* negative errno that ended this side, or 0 */
	char error_text[100];
	struct lg_counts at_start, at_end; /* taken while parked, before LG_WARMED and LG_MEASURED */
	struct lg_tcp tcp;
	struct hist latency;	/* ns, one way: the stamp inside a message to the end of its receive; window only */
	struct hist round_trip; /* ns, rr's sender only */
} __attribute__((aligned(CACHE_LINE)));

struct lg_lane {
	struct lg_side side[LG_SIDES];
};

/* A device that the path crosses, as its own namespace sees it. */
struct lg_device {
	char name[16], driver[32], qdisc[16];
	char kind[16]; /* "loopback", what rtnetlink calls a virtual one ("veth"), or "" */
	uint32_t mtu;
	int32_t taps;			   /* packet sockets that take every packet of it; -1: not known */
	int8_t sg, tso, gso, gro, tx_csum; /* 1, 0, or -1: not known */
};

/* The clocks of two hosts, from LG_ROLE_SENDER's pings while it connects. */
struct lg_clock {
	uint8_t shared;	     /* both hosts take their stamps from one clock: they are one machine */
	uint8_t measured;    /* 1: offset and error are known */
	int64_t offset_ns;   /* CLOCK_REALTIME of the peer less ours, by the fastest of the pings */
	uint64_t error_ns;   /* the true offset is within this of it: half of that ping's round trip */
};

struct lg_shm {
	struct lg_plan plan;
	/* written by the child's control thread */
	uint32_t phase;			 /* the last lg_message_type reached (LG_GO_* while a phase runs) */
	uint32_t fields;		 /* in use: min(plan.fields, plan.size) */
	uint32_t ring;			 /* message buffers a sender of a deferred mode owns, else 1 */
	uint64_t huge_bytes;		 /* of this process that lie in huge pages; UINT64_MAX: not known */
	uint64_t start_ns, end_ns;	 /* CLOCK_MONOTONIC: the release; the last byte's receive, not before the stop */
	uint64_t moved_ns;		 /* CLOCK_MONOTONIC: when bytes were last seen to move, while lanes drain or close */
	char clock[16];			 /* source of the stamps: "tsc" or "monotonic" */
	uint8_t latency_valid;		 /* 0: messages are too short to carry a stamp (under 16 bytes), or unseen */
	uint8_t unseen;			 /* 1: the receiver discards the bytes: no sequence, content or stamp is checked */
	struct lg_device device[LG_SIDES];
	struct lg_clock clocks;		 /* of two hosts */
	struct lg_lane lane[] __attribute__((aligned(CACHE_LINE)));
};

static inline int lg_role_has(uint32_t role, uint32_t side)
{
	return role == LG_ROLE_BOTH || role == side + 1;
}

static inline int lg_has_side(const struct lg_plan *plan, uint32_t side)
{
	return lg_role_has(plan->role, side);
}

static inline size_t lg_shm_size(uint32_t lanes)
{
	return sizeof(struct lg_shm) + lanes * sizeof(struct lg_lane);
}
