/* SPDX-License-Identifier: MIT */
/*
 * What the ledger costs: the same run with it and without it, in pairs of slices next to one another, every
 * other pair the other way round. What disturbs or drifts for longer than a pair is on both of its sides.
 */
#pragma once

#include "cli.h"

#define OVERHEAD_SCHEMA "copyledger/overhead/1"
#define OVERHEAD_PAIRS_DEFAULT 10
#define OVERHEAD_PAIRS_MAX 1000
#define OVERHEAD_TOTAL_MS 10000 /* shared out, unless --duration says otherwise */
#define OVERHEAD_SLICE_MS_MIN 200
#define OVERHEAD_WARMUP_MS 100
#define OVERHEAD_HOPELESS 3 /* so many pairs without a ratio, and none with one, are the end */

enum { SLICE_ON, SLICE_OFF, SLICES };

struct overhead_pair {
	json_object *result[SLICES]; /* owned; NULL: there is none */
};

struct overhead {
	const char *state; /* "done", "interrupted", "given_up" or "failed" */
	const char *label; /* of all its runs */
	int64_t slice_ms;
	size_t asked, n;             /* pairs that were asked for, and that were begun */
	struct overhead_pair *pairs; /* n of them */
	bool watched;                /* the hooks of a watch ran in all slices */
};

/* copyledger run with --overhead; an exit status. */
int overhead_run(struct cli *cli);

/* Which slice of the i-th pair, from 0, goes first. */
int overhead_first(size_t i);

/* Why a pair gives no ratio, owned by the caller; NULL: it gives one. */
char *overhead_left_out(const struct overhead_pair *p);

/* The document (schema copyledger/overhead/1), owned by the caller, and its exit status. */
json_object *overhead_document(const struct overhead *o);
int overhead_status(json_object *document);

/* "the ledger took 5.0 % of the throughput (4.0 % to 6.1 %)" of a document, without a full stop; owned by the
 * caller. */
char *overhead_sentence(json_object *document);
void render_overhead(struct out *o, json_object *document);
