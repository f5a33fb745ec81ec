/* SPDX-License-Identifier: MIT */
/* Which cell of one dataset is compared with which of another. */
#pragma once

#include "dataset.h"

struct pair {
	const struct cell *a, *b; /* borrowed from the datasets; NULL: the other side has it alone */
};

struct pairing {
	struct pair *pairs; /* in the order of a's cells, then what only b has */
	size_t n, n_both;   /* n_both: with two sides */
	json_object *fixed; /* array: members of the spec that the selections set differently; owned */
};

/*
 * Cells belong together when all of their specs is equal but the label, how long they ran, and what the two
 * selections fix to different values (mode in a:mode=two-copy against b:mode=one-copy). "usage": two cells of
 * one side differ in nothing else.
 */
int pairing_make(
	const struct dataset *a, const struct dataset *b, struct pairing **ret, struct fault *reterr);
struct pairing *pairing_free(struct pairing *p); /* NULL is allowed */
DEFINE_CLEANUP(struct pairing *, pairing_free)
