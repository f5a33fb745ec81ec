/* SPDX-License-Identifier: MIT */
/* A failure with two texts: a stable code for programs and a sentence for people. */
#pragma once

#include <stdarg.h>

#include "macro.h"

struct fault {
	int error;	 /* negative errno */
	char code[32];	 /* stable, lower_snake_case: "out_of_range" */
	char field[48];	 /* the member at fault, "" if none */
	char text[400];	 /* a sentence: the value, the limit, what to do */
};

/* Fills *reterr (NULL is allowed) and returns error, so that a caller can write: return fault_set(...). */
int fault_set(struct fault *reterr, int error, const char *code, const char *field, const char *fmt, ...)
	_printf_(5, 6);
