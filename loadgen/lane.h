/* SPDX-License-Identifier: MIT */
/*
 * A lane is one end of a connection and its thread; a crew is all lanes of a run, released together and
 * parked between the phases. A connection's two lanes are neighbours: lane[2 * connection + role].
 *
 * Lanes share the plan, the gate and the stop flag, nothing else, and there is no lock.
 */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "fault.h"
#include "message.h"
#include "mode.h"
#include "wire.h"

/* One writer, read by other threads and processes at any time. */
#define COUNT(counter, n) __atomic_store_n(&(counter), (counter) + (n), __ATOMIC_RELAXED)

struct crew;

struct lane {
	/* constant once it is set up */
	int fd;
	uint32_t connection, role; /* role: enum lg_side_index */
	const struct transfer_mode *mode;
	void *state; /* the mode's */
	const struct receive_mode *receive;
	void *receive_state;
	const uint32_t
		*busy; /* deferred modes: outstanding sends of each slot, kept by the mode; else NULL */
	struct lg_side *side;
	struct lane *peer;
	struct crew *crew;
	struct message_layout *layout;
	uint8_t *buf; /* of the receiver */
	size_t buf_size;
	const uint8_t *data; /* the bytes of the last receive; NULL: the kernel threw them away */
	int recv_flags;      /* MSG_DONTWAIT: the workload waits for bytes by itself */
	int idle;	     /* and found none */
	pthread_t thread;

	/* the message that is being sent: the mode's send() takes it from here */
	struct outbox out;
	uint32_t slot;
	size_t sent; /* bytes of it that the kernel has accepted */
	uint64_t sequence, stamp;
	uint64_t mark; /* MESSAGE_LAST, if it is the last one of a phase and the receiver far away */

	struct inbox in;
	/* clock_stamp of the last call that received, or of the phase's beginning; between two hosts of one that
	 * sent, too */
	uint64_t last_move;
	uint32_t starved;     /* refusals in a row while nothing of this lane is outstanding */
	const char *call;     /* what failed, if something does */

	/* for the peer: at the end of a phase `total` bytes have been sent since the connection began */
	uint64_t total;
	uint32_t total_valid;
	uint32_t running; /* in a phase: only then is a kick of use */
} __attribute__((aligned(CACHE_LINE)));

/* What a workload does in a phase, by role. run() ends after lane_stopping() is true, with nothing in flight.
 */
struct workload {
	const char *name;
	int (*run[LG_SIDES])(struct lane *ln);
	uint8_t sends[LG_SIDES], receives[LG_SIDES];
	uint8_t back_to_back; /* the receiver gains from many messages a call */
};

/* Payload that the kernel has moved in a connection: acknowledged and received; 0: it does not say. */
uint64_t lane_kernel_bytes(int fd);

const struct workload *workload_find(const char *name); /* NULL: unknown */

enum crew_order { CREW_RUN, CREW_CLOSE, CREW_ORDERS };

struct crew {
	struct lg_shm *shm;
	const struct transfer_mode *mode;
	const struct receive_mode *receive;
	const struct workload *workload;
	struct message_layout layout;
	uint32_t lanes;  /* two a connection */
	uint32_t active; /* of them, that have a thread here: all, or those of one side */
	int split;       /* the other side is on another host */
	uint32_t cpus;   /* that the process may use */
	struct lane *lane;
	int event; /* eventfd, readable when all lanes are parked or one has failed */

	enum crew_order order; /* of this generation */
	uint32_t generation;   /* a futex: the gate */

	uint32_t busy __attribute__((aligned(CACHE_LINE))); /* lanes that are not parked */
	uint32_t stop __attribute__((aligned(CACHE_LINE)));
	uint64_t until; /* clock_stamp of the phase's end */
};

static inline int crew_has(const struct crew *crew, uint32_t lane)
{
	return lg_has_side(&crew->shm->plan, lane % LG_SIDES);
}

/* Hot: a sender's phase is over, by the clock or by order. The control thread alone would not do: behind
 * hundreds of lanes it may wait for seconds until it gets its turn. */
static inline int lane_stopping(const struct lane *ln)
{
	return ln->stamp >= ln->crew->until || __atomic_load_n(&ln->crew->stop, __ATOMIC_RELAXED);
}

/*
 * Hot: receive with the receive mode's recv(), at most max bytes. lane_receive returns how many messages were
 * completed, 0 also when a kick interrupted it, or a negative errno.
 */
int64_t lane_receive(struct lane *ln, size_t max);
/* Hot: one message, whole. */
int lane_send_message(struct lane *ln);
/* Hot: true when the peer has ended its phase and all that it sent is here. A peer on another host says so in
 * its last message. */
int lane_drained(const struct lane *ln);
/* Tells the peer that this lane has sent all it will in this phase, and wakes it. */
void lane_publish_total(struct lane *ln);

/* Sleeps until there is a byte, whatever the low-water mark is, or a kick. 0 or a negative errno, the call in ln->call. */
int lane_wait_for_bytes(struct lane *ln);

/* Notes in ln->side what ended it; returns error. */
int lane_fail(struct lane *ln, int error, const char *call);

/* In the lane's own thread: CPU, buffers, the mode. A negative errno with ln->call. */
int lane_set_up(struct lane *ln);
/* TCP_NODELAY: 1 sends also what Nagle's algorithm (RFC 896) has held back. 0 or a negative errno, the call
 * in ln->call. */
int lane_set_nodelay(struct lane *ln, int on);

/* Completions, FIN both ways, TCP_INFO, close; bounded. */
int lane_close(struct lane *ln);

/* The CPU (an index into the allowed ones, ncpus > 0) of one end of a connection. */
uint32_t placement_cpu(uint32_t connection, uint32_t role, uint32_t connections, uint32_t ncpus);

/* How much nicer than their receivers the senders of a stream are; 0 while few connections share a CPU (ncpus > 0). */
uint32_t sender_nice(uint32_t connections, uint32_t ncpus);

/* crew->shm is set and fds[lane] are connected sockets, which become the lanes'. Starts the threads. */
int crew_start(struct crew *crew, struct lg_shm *shm, const int *fds, struct fault *reterr);
/* All lanes are parked. */
void crew_release(struct crew *crew, enum crew_order order);
void crew_stop(struct crew *crew);
/* Interrupts receivers that are still blocked. */
void crew_kick(struct crew *crew);
/* After CREW_CLOSE: ends the threads and frees everything. */
void crew_join(struct crew *crew);
uint32_t crew_busy(const struct crew *crew);
/* The first lane's error, if any: 0, or its errno and a sentence. */
int crew_error(const struct crew *crew, struct fault *reterr);
