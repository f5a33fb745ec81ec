/* SPDX-License-Identifier: MIT */
/*
 * One dataset against another, cell by cell, as a document (schemas/compare-1.schema.json). The method and
 * its sources: doc/analysis.md.
 */
#pragma once

#include "dataset.h"

struct comparison_settings {
	const struct measure *measure;
	double threshold_percent; /* worse than this counts; NaN: not asked for */
	bool force;               /* judge across different hosts */
};

/* The document, owned by the caller. Faults: those of pairing_make(), "nothing_in_common" (no cell is in
 * both). */
int comparison_make(const struct dataset *a, const struct dataset *b, const struct comparison_settings *s,
	json_object **ret, struct fault *reterr);

/* 1: with a threshold, a cell is worse by more than it, failed in b, or could not have been found worse; or
 * nothing could be judged at all. *ret_why is a sentence then, owned by the caller. 0: none of it. */
int comparison_failed(json_object *document, char **ret_why);
