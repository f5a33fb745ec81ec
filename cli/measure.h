/* SPDX-License-Identifier: MIT */
/* The figures of a result document that an analysis can ask for, as a table. */
#pragma once

#include <stddef.h>

#include "doc.h"

enum better { BETTER_LOWER = -1, BETTER_NEITHER, BETTER_HIGHER };

struct measure {
	const char *name;  /* stable; the column's name in exports */
	const char *title; /* for people and axes: "throughput" */
	const char *unit;  /* "" : a plain count */
	enum better better;
	const char *paths[2]; /* members of the document that are added; the second may be NULL */
	const char *site;     /* instead: the bytes of this site of the ledger */
	const char *unless;   /* a flag of the document: when it is set, the figure is a lower bound only */
};

extern const struct measure measures[]; /* ends with a NULL name */

const struct measure *measure_find(const char *name); /* NULL: unknown */

/*
 * The figure in a result document. Returns 0, or -ENODATA and *ret_reason (borrowed from the document or
 * static, never NULL) why it is unknown: what the machine lacks is no 0.
 */
int measure_value(const struct measure *m, json_object *result, double *ret, const char **ret_reason);
