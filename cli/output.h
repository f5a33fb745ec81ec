/* SPDX-License-Identifier: MIT */
/* Where a command writes a file: all of it under its name, or nothing. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "fault.h"

struct output;

/* path: a file that appears only at output_finish(); NULL: fallback, as it is. What exists and is no regular
 * file (/dev/stdout, a pipe) is written to directly. Fault: "output". */
int output_open(const char *path, FILE *fallback, struct output **ret, struct fault *reterr);
FILE *output_stream(struct output *o);

/* Ends it. r is what the writing came to: with a failure, here or there, nothing is left and *reterr says
 * why. Takes o. */
int output_finish(struct output *o, int r, struct fault *reterr);

/* Leaves nothing of it. */
struct output *output_abandon(struct output *o);
DEFINE_CLEANUP(struct output *, output_abandon)
