/* SPDX-License-Identifier: MIT */
/* The ledger's equations: pure arithmetic over the books and what the application says of itself. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"

/* What the lanes say they did over the whole life of their connections, in bytes. */
struct app_totals {
	uint64_t sent, received;
	uint64_t acked; /* payload, by tcp_info */
	uint64_t tcp_sent,
		tcp_retransmitted; /* payload that TCP handed to IP, and of it the part sent again */
	bool acked_known;          /* every connection gave its tcp_info */
	uint64_t pack_copies, pack_bytes;
	uint64_t outstanding; /* of a watch: pinned bytes whose completion has not come yet */
};

struct equation {
	const char *rule;   /* stable name */
	const char *text;   /* left = right, in the names of the sites */
	bool served;        /* this kernel's sites can say both sides */
	const char *reason; /* why not */
	uint64_t left, right;
	bool holds;
};
#define EQUATIONS_MAX 8

struct balance_input {
	struct app_totals app;
	const struct books *books;
	struct site_status site[SITE_MAX];
	bool one_side;   /* the other side's bytes are in the books of another host */
	bool watch;      /* the sockets are not ours: no application says what it sent */
	bool open;       /* of a watch: sockets are open, so calls can be under way */
	bool local_path; /* sender and receiver are on this host: what is pinned is copied on delivery */
};

/*
 * Bytes that passed the hooks of the path without being seen. A kernel may not run BPF programs in every
 * context (one was met that skips them, uncounted, where a softirq runs on top of certain tasks); TCP's own
 * count of what it sent tells. In a run it is known only where all that was accepted was pinned, so that
 * every packet should have been seen; in a watch when all that was pinned has completed: what was pinned for
 * the loopback device has been copied then, each byte.
 */
struct unseen {
	bool known;
	uint64_t path, retransmitted;
	uint64_t cut_off; /* of a watch: pinned bytes that no hook saw copied, and that may not have been sent
			   */
};
struct unseen balance_unseen(const struct balance_input *in);

/* Fills at most EQUATIONS_MAX equations and returns their number. The rules are design section 3's. */
unsigned int balance_equations(const struct balance_input *in, struct equation *ret);

/* True when every equation that is served holds. */
bool balance_holds(const struct equation *e, unsigned int n);

/*
 * Whether missed runs of a hook cannot have lost a byte: each of the equations that it names (at least one)
 * is served and holds, or, of "deferred" in a watch, is proved by the books in another way.
 */
bool balance_audits(const struct balance_input *in, const struct equation *e, unsigned int n,
	const char *const audit[HOOK_AUDITS]);
