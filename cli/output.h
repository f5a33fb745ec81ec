/* SPDX-License-Identifier: MIT */
/* Where a command writes a file: all of it under its name, or nothing. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "fault.h"

struct output;

/*
 * path: a file that appears only at output_finish(); NULL, "-" or what leads to the stream itself
 * (/dev/stdout): the stream, as it is. A link stays, and the file behind it is the one that is written. What
 * exists and is no regular file (a pipe), or is reached as somebody's open file (/dev/fd/3), is written to
 * directly. standard may be NULL where there is none. Fault: "output".
 */
int output_open(const char *path, FILE *standard, struct output **ret, struct fault *reterr);
bool output_is_standard(const struct output *o);
FILE *output_stream(struct output *o);

/* Ends it. r is what the writing came to: with a failure, here or there, nothing is left and *reterr says
 * why. Takes o. */
int output_finish(struct output *o, int r, struct fault *reterr);

/* Leaves nothing of it. */
struct output *output_abandon(struct output *o);
DEFINE_CLEANUP(struct output *, output_abandon)
