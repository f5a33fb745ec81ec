/* SPDX-License-Identifier: MIT */
/* Accounts of MSG_ZEROCOPY sends by their ids. */
#include <errno.h>
#include <stdlib.h>

#include "zctrack.h"

int zctrack_init(struct zctrack *t, uint32_t slots, uint32_t sends, uint32_t first_id)
{
	uint32_t capacity = 64;

	while (capacity < sends)
		capacity *= 2;
	*t = (struct zctrack){.next = first_id, .oldest = first_id, .mask = capacity - 1};
	t->send = calloc(capacity, sizeof(*t->send));
	t->pending = calloc(slots, sizeof(*t->pending));
	return t->send && t->pending ? 0 : -ENOMEM;
}

void zctrack_done(struct zctrack *t)
{
	free(t->send);
	free(t->pending);
	*t = (struct zctrack){};
}

/* Differences of ids are taken modulo 2^32, so that a range may wrap. */
static int range_is_outstanding(const struct zctrack *t, uint32_t lo, uint32_t n)
{
	if (lo - t->oldest >= zctrack_outstanding(t) || n > t->next - lo)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		if (t->send[(lo + i) & t->mask].slot == ZCTRACK_DONE)
			return 0;
	return 1;
}

int64_t zctrack_complete(struct zctrack *t, uint32_t lo, uint32_t hi, uint64_t *ret_bytes)
{
	uint32_t n = hi - lo + 1;
	uint64_t bytes = 0;

	if (!n || !range_is_outstanding(t, lo, n))
		return -EPROTO;
	for (uint32_t i = 0; i < n; i++) {
		struct zctrack_send *s = &t->send[(lo + i) & t->mask];

		bytes += s->bytes;
		t->pending[s->slot]--;
		s->slot = ZCTRACK_DONE;
	}
	while (t->oldest != t->next && t->send[t->oldest & t->mask].slot == ZCTRACK_DONE)
		t->oldest++;
	*ret_bytes = bytes;
	return n;
}
