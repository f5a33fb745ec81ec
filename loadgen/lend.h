/* SPDX-License-Identifier: MIT */
/*
 * Buffers lent to the kernel by reference. sendfile() and splice() attach the very pages of a message to the
 * connection, and nothing ever says that they are free again. On a path within this host the skbs in the
 * receiver's queue still refer to them after TCP has acknowledged the bytes, so that an empty send queue
 * (SIOCOUTQ) is not enough. The rule: a buffer is written again only after the other end has received the
 * last byte of its message. What TCP might then send again from it is older than what the receiver has taken,
 * and is dropped unseen.
 */
#pragma once

#include <stdint.h>

struct lend {
	uint32_t *busy; /* by slot: 1 while it is lent */
	uint64_t *end;  /* by slot: the connection's bytes up to the end of its message */
	uint32_t slots, oldest, lent;
};

int lend_init(struct lend *l, uint32_t slots); /* 0 or -ENOMEM */
void lend_done(struct lend *l);                /* zeroed and half-made ones too */

/* Hot. Slots are lent in turn: this one is the one after the last, and not lent. */
static inline void lend_out(struct lend *l, uint32_t slot, uint64_t end)
{
	l->busy[slot] = 1;
	l->end[slot] = end;
	l->lent++;
}

/* Hot. The other end has received `bytes` of the connection: how many slots came back. */
uint32_t lend_return(struct lend *l, uint64_t bytes);

struct lane;

/*
 * For modes whose state begins with a struct lend: their open, close and reap, and the note of a message
 * whose first byte is about to be sent.
 */
int lend_lane_open(struct lane *ln);
void lend_lane_close(struct lane *ln);
int lend_lane_reap(struct lane *ln, int wait_ms);
void lend_lane_sent(struct lane *ln);
