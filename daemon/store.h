/* SPDX-License-Identifier: MIT */
/*
 * Results and what is on its way to become one: a row a run in SQLite, found by id, time, mode, label and
 * state. A row is written whole from the run's document; what was written survives a SIGKILL and a power cut.
 */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "macro.h"

struct store;

struct store_filter {
	const char *mode, *label, *state; /* NULL: any */
	int64_t since, until;             /* ns since 1970, both inclusive; 0: open */
	uint32_t limit;
};

/*
 * Opens dir/copyledger.db; dir is made if only its last part is missing. A file that is no database or is
 * damaged is moved aside and a new one begun; runs that were under way when the last owner died are marked
 * failed. Both are said in store_notes(). Faults: "state_directory" (cannot be used), "state_in_use" (by
 * another daemon), "state_newer".
 */
int store_open(const char *dir, struct store **ret, struct fault *reterr);
/* A store without a file that keeps the newest rows only. */
int store_open_memory(unsigned int keep, struct store **ret, struct fault *reterr);
/* From the next row on the oldest ended runs beyond the newest `keep` are dropped, and so are sweeps;
 * 0: none is. */
void store_keep(struct store *s, unsigned int keep);
struct store *store_close(struct store *s); /* NULL is allowed */
DEFINE_CLEANUP(struct store *, store_close)

/* What opening found, as an array of sentences; borrowed. */
json_object *store_notes(const struct store *s);

/* Writes the row of document["id"], new or anew. The fault's code is "not_stored". */
int store_put(struct store *s, json_object *document, struct fault *reterr);
int store_delete(struct store *s, const char *id);

/* The document of a run; the caller owns it. -ENOENT: no such run. */
int store_get(struct store *s, const char *id, json_object **ret);

/*
 * The number of runs whose id is ident or, if there is none, begins with ident; "last": the newest. If it is
 * not 0, the id of one of them is copied to ret_id (n bytes).
 */
int store_find(struct store *s, const char *ident, char *ret_id, size_t n, uint64_t *ret_matches);

/* Appends objects of type RunSummary, newest first, to array. */
int store_list(struct store *s, const struct store_filter *filter, json_object *array);
int store_count(struct store *s, uint64_t *ret);

/*
 * Sweeps: a row each with its document {"sweep": type SweepSummary, "spec": type SweepSpec}, and a row for
 * each of its cells that has a run, with the cell's whole SweepCell. A run belongs to a sweep by its
 * document's member "sweep". One that was under way when the last owner died is marked "interrupted".
 */

/* Writes the sweep's row and, in the same step, that of row["cell"] (NULL: no cell). */
int store_put_sweep(struct store *s, json_object *document, json_object *row, struct fault *reterr);
/* The document; the caller owns it. -ENOENT: no such sweep. */
int store_get_sweep(struct store *s, const char *id, json_object **ret);
/* As store_find(). */
int store_find_sweep(struct store *s, const char *ident, char *ret_id, size_t n, uint64_t *ret_matches);
/* Appends documents, newest first. */
int store_list_sweeps(struct store *s, uint32_t limit, json_object *array);
/* Appends the rows of its cells, by their number. */
int store_list_cells(struct store *s, const char *sweep, json_object *array);
/* Appends {"id", "cell"} of each run that ended and belongs to the sweep, oldest first. */
int store_list_sweep_runs(struct store *s, const char *sweep, json_object *array);
