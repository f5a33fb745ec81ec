/* SPDX-License-Identifier: MIT */
/*
 * The other side is on another host: the receiver's child accepts, the sender's connects. A lane is let in by
 * a token of 128 bits that the receiver's daemon made for this run; everything else that comes to the port is
 * closed.
 */
#pragma once

#include "fault.h"
#include "wire.h"

#define PEER_PINGS 8

/* What a lane's first bytes are, in both directions; integers are big-endian. */
struct peer_hello {
	uint8_t token[LG_TOKEN]; /* zeros in the answer */
	uint8_t boot[16];        /* random id of the sender's boot */
	uint32_t lane;
	uint32_t clock; /* 1: stamps are the TSC, 0: CLOCK_MONOTONIC */
};
_Static_assert(sizeof(struct peer_hello) == 40, "a wire format");

/* Bytes that each side sends on a lane before its first message: the hello, and pings on the first lane. */
static inline uint32_t peer_prelude(uint32_t lane)
{
	return sizeof(struct peer_hello) + (lane ? 0 : PEER_PINGS * sizeof(uint64_t));
}

/* The lane that a hello is for, or -EACCES: another token, a lane that there is not, or one that is taken.
 * The token is compared in constant time. */
int peer_admit(const struct peer_hello *hello, const struct lg_plan *plan, const int *fds);

/* What a plan of two hosts cannot have. */
int peer_check(const struct lg_plan *plan, struct fault *reterr);

/* Listens for the lanes of a run on address ("": any) and a port that the kernel chooses. */
int peer_listen(const struct lg_plan *plan, const char *address, int *ret_fd, uint32_t *ret_port,
	struct fault *reterr);

/* Connects or accepts all lanes, as the plan's role says; fds[2 * lane + side], all -1 on entry. Notes clocks
 * and device, and wipes the token. Bounded in time. */
int peer_connect(struct lg_shm *shm, int *fds, struct fault *reterr);
