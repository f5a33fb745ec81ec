/* SPDX-License-Identifier: MIT */
/*
 * Accounts of MSG_ZEROCOPY sends: which send (the kernel numbers the accepted calls of a socket from 0, 32
 * bits, wrapping) carried how many bytes of which message buffer, so that a buffer is reused only when all
 * its sends have completed, and completed bytes are exact. Knows no socket.
 */
#pragma once

#include <stdint.h>

struct zctrack_send {
	uint32_t bytes, slot; /* slot ZCTRACK_DONE: completed */
};

#define ZCTRACK_DONE UINT32_MAX

struct zctrack {
	uint32_t next, oldest; /* ids: the next send's, the oldest that is outstanding (== next: none) */
	uint32_t mask;
	struct zctrack_send *send; /* by id & mask */
	uint32_t *pending;         /* outstanding sends of each buffer */
};

/* For `slots` buffers and at least `sends` outstanding sends; the first send's id is first_id. 0 or -ENOMEM.
 */
int zctrack_init(struct zctrack *t, uint32_t slots, uint32_t sends, uint32_t first_id);
void zctrack_done(struct zctrack *t); /* zeroed ones too */

static inline uint32_t zctrack_outstanding(const struct zctrack *t)
{
	return t->next - t->oldest;
}

/* No room for another send: the oldest must complete first. */
static inline int zctrack_full(const struct zctrack *t)
{
	return zctrack_outstanding(t) > t->mask;
}

/* Hot. The kernel accepted `bytes` of buffer `slot`. Not when full. */
static inline void zctrack_sent(struct zctrack *t, uint32_t slot, uint32_t bytes)
{
	t->send[t->next++ & t->mask] = (struct zctrack_send){.bytes = bytes, .slot = slot};
	t->pending[slot]++;
}

/* The sends lo to hi, both included, have completed; *ret_bytes is what they carried. Returns how many sends
 * they are, or -EPROTO if one of them was never sent or has completed before; then nothing is booked. */
int64_t zctrack_complete(struct zctrack *t, uint32_t lo, uint32_t hi, uint64_t *ret_bytes);
