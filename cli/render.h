/* SPDX-License-Identifier: MIT */
/* Documents of the daemon as text for a person. Every figure that the document does not have is shown as
 * unknown. */
#pragma once

#include "doc.h"
#include "out.h"

#define UNKNOWN "-"

void render_result(struct out *o, json_object *result);
void render_list(struct out *o, json_object *reply);
void render_probe(struct out *o, json_object *reply, bool hooks);
void render_path(struct out *o, json_object *path); /* type PathStatus */
void render_info(struct out *o, json_object *reply);

/* The reply of GetSweep, of ListSweeps, and one line for a cell, the ended-th of so many. */
void render_sweep(struct out *o, json_object *reply);
void render_sweeps(struct out *o, json_object *reply);
void render_sweep_cell(struct out *o, json_object *cell, int64_t ended, int64_t cells);

/* previous: the trace before, for rates; NULL: averages since the first byte. */
void render_trace(struct out *o, json_object *trace, json_object *previous);

/* A watch's document: its header, its views, and, when it is the last one, the balance. previous: the one
 * before, for the rates; NULL: averages since it began. */
void render_watch(struct out *o, json_object *watch, json_object *previous, bool last);
int watch_status(json_object *watch); /* enum exit_status */

void render_compare(struct out *o, json_object *comparison);

/* Parts of a result. */
void render_ledger(struct out *o, json_object *result);
void render_balance(struct out *o, json_object *ledger);
void render_perf(struct out *o, json_object *result);

/* The result in one plain sentence, without a full stop; owned by the caller, NULL when out of memory. */
char *result_sentence(json_object *result);
int result_status(json_object *result); /* enum exit_status */

/* Bytes of a run that asked for zero-copy, as the daemon's zerocopy.copied_share is of them. What was copied
 * is unpinned + deferred + moved, the last one without what a full receive queue merged; all three are 0
 * without a ledger. */
struct late {
	double asked, copied;
	double deferred; /* tx_deferred_copy */
	double moved;    /* skb_copy on the way out */
	double unpinned; /* never pinned: tx_copy */
};
bool late_bytes(json_object *result, struct late *ret); /* false: the share is not known */
const char *late_site(const struct late *l); /* the site that copied most; NULL: the ledger does not say */

/* The row of a site in result.ledger.sites; NULL: none. */
json_object *ledger_site(json_object *ledger, const char *site);
json_object *result_copies(json_object *result); /* copies per byte: total and by site; NULL: not counted */

/* Why a copy happened that nobody asked for, and the lines that say so of all such sites of a ledger or a
 * trace. */
const char *caller_cause(json_object *caller);
void render_causes(struct out *o, json_object *doc);

/* A label in the first column, and what follows it at the second. */
#define LABEL_WIDTH 14
void render_label(struct out *o, const char *label);

/* Names collected under the reason that they share: {"reason": "name, name"}. */
void reasons_add(json_object *reasons, const char *reason, const char *name);
void render_reasons(struct out *o, json_object *reasons, const char *what);
