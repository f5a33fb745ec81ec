/* SPDX-License-Identifier: MIT */
/* Buffers lent to the kernel by reference, and when they come back. */
#include <poll.h>
#include <time.h>

#include "clock.h"
#include "lane.h"
#include "lend.h"

#define NAP_NS 50000 /* between two looks at the other end, which tells nobody */

int lend_init(struct lend *l, uint32_t slots)
{
	*l = (struct lend){.slots = slots};
	l->busy = calloc(slots, sizeof(*l->busy));
	l->end = calloc(slots, sizeof(*l->end));
	return l->busy && l->end ? 0 : -ENOMEM;
}

void lend_done(struct lend *l)
{
	free(l->busy);
	free(l->end);
	*l = (struct lend){};
}

uint32_t lend_return(struct lend *l, uint64_t bytes)
{
	uint32_t n = 0;

	for (; n < l->lent && l->end[l->oldest] <= bytes; n++) {
		l->busy[l->oldest] = 0;
		l->oldest = l->oldest + 1 == l->slots ? 0 : l->oldest + 1;
	}
	l->lent -= n;
	return n;
}

int lend_lane_open(struct lane *ln)
{
	struct lend *l = ln->state;
	int r;

	ln->call = "memory of the lent buffers";
	if (!ln->out.slots)
		return 0;
	r = lend_init(l, ln->out.slots);
	ln->busy = l->busy;
	return r;
}

void lend_lane_close(struct lane *ln)
{
	ln->busy = NULL;
	lend_done(ln->state);
}

int lend_lane_reap(struct lane *ln, int wait_ms)
{
	static const struct timespec nap = {.tv_nsec = NAP_NS};
	uint64_t deadline = clock_now_ns() + (uint64_t)wait_ms * 1000000;
	uint32_t n;

	for (;;) {
		n = lend_return(
			ln->state, __atomic_load_n(&ln->peer->side->now.bytes_received, __ATOMIC_ACQUIRE));
		if (n || clock_now_ns() >= deadline)
			return (int)n;
		ppoll(NULL, 0, &nap, NULL);
	}
}

void lend_lane_sent(struct lane *ln)
{
	struct lend *l = ln->state;

	if (!l->busy[ln->slot])
		lend_out(l, ln->slot, ln->side->now.bytes_sent + ln->layout->size);
}
