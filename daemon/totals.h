/* SPDX-License-Identifier: MIT */
/*
 * Sums since the daemon started, which only ever rise: of the runs that have ended, and of the watches, those
 * that go on included. They are read from the documents that clients get, so that both say the same.
 */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stdint.h>

#include "shared.h"

struct site_total {
	bool known, counted; /* false: no books yet that could say bytes, hits */
	uint64_t bytes, hits;
};

enum zerocopy_total { ZC_SENDS_ZERO, ZC_SENDS_COPIED, ZC_BYTES_ZERO, ZC_BYTES_COPIED, ZC_TOTALS };

struct account {
	uint64_t closed, unbalanced, inexact; /* books that ended in order, and what came out */
	uint64_t delivered;                   /* what "per byte" means in the ledger, in bytes */
	struct site_total site[SITE_MAX];
	uint64_t zerocopy[ZC_TOTALS];
	bool timed; /* false: the kernel has not measured any hook yet */
	uint64_t hook_runs, hook_ns;
};

struct totals {
	struct account runs;
	uint64_t done, failed, cancelled;
	uint64_t without_ledger; /* runs that moved bytes and have none */
	uint64_t not_stored;     /* runs whose result the disk refused */
};

/* A run's document, of whatever state it ended in. */
void totals_add_run(struct totals *t, json_object *document);

/* The blocks "ledger" and "instrument" of a document; NULL: it has none. */
void account_add_books(struct account *a, json_object *ledger, json_object *instrument);
/* Of a watch: what the kernel was told by the completions, from the block "ledger". */
void account_add_completions(struct account *a, json_object *ledger);
/* The books are closed, and say whether they balance. */
void account_close(struct account *a, json_object *ledger);
void account_add(struct account *sum, const struct account *part);
/* Each figure to the larger one: what was told once is not taken back. */
void account_raise(struct account *a, const struct account *to);

/* Type AccountTotals; NULL without memory. */
json_object *account_json(const char *name, const struct account *a);
