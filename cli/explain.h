/* SPDX-License-Identifier: MIT */
/*
 * Questions about a dataset, answered in sentences from its own figures, or with why it cannot answer.
 * Nothing is said that no figure carries: each answer lists the cells, with their intervals and run ids, that
 * it rests on.
 */
#pragma once

#include "dataset.h"

#define EXPLAIN_SCHEMA "copyledger/explain/1"

/* *ret: the document of schemas/explain-1.schema.json, owned by the caller. -ENOMEM. */
int explain_answers(const struct dataset *d, json_object **ret);

/* The document as text; runs: with the ids of the runs. */
void render_explain(struct out *o, json_object *document, bool runs);

/* ---- for the answers themselves ---- */

/* Cells that differ in mode and size only. */
struct group {
	const char *path, *workload;
	int64_t threads;
};

struct asking {
	const struct dataset *d;
	struct group *groups;
	size_t n_groups;
	int64_t *sizes; /* all there are, ascending */
	size_t n_sizes;
	json_object *answer; /* the one that is being written */
};

/* A sentence of the answer, without its full stop. */
void say(struct asking *q, const char *fmt, ...) _printf_(2, 3);
/* The answer is that there is none; the sentence says why. */
void cannot(struct asking *q, const char *fmt, ...) _printf_(2, 3);
/* Lists a cell's figure among those that the answer rests on. */
void rest_on(struct asking *q, const struct cell *c, const struct measure *m);

const struct cell *cell_of(const struct asking *q, const struct group *g, const char *mode, int64_t size);

/* How many times a cell's figure is another's: the ratio of medians, and the interval of the shift of
 * logarithms. */
struct ratio {
	bool known;
	double mid, low, high, coverage;
};
struct ratio ratio_of(const struct cell *base, const struct cell *c, const struct measure *m);
bool surely_above(struct ratio r, double limit);
bool surely_below(struct ratio r, double limit);

/* "0.62 times (0.58 to 0.66)", "over loopback, stream, 4 threads", "64 KiB"; by value: use .s at once. */
struct phrase {
	char s[160];
};
struct phrase times(struct ratio r);
struct phrase place(const struct group *g);

void explain_zero_copy(struct asking *q);
void explain_not_fastest(struct asking *q);
void explain_crossovers(struct asking *q);
void explain_caches(struct asking *q);
void explain_threads(struct asking *q);
void explain_cost(struct asking *q);
void explain_unexpected(struct asking *q);
