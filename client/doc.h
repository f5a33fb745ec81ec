/* SPDX-License-Identifier: MIT */
/*
 * Reading a document that somebody else wrote: a member that is absent, null or of another type is unknown,
 * and unknown is an answer of its own, never 0.
 */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "macro.h"

static inline void json_putp(json_object **o)
{
	json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_putp)

/* path: names joined by dots, from o. What is returned is borrowed. NULL: nothing there. */
json_object *doc_at(json_object *o, const char *path);
size_t doc_length(json_object *array); /* 0 if it is none */

/* A number, or {"value": number}. */
bool doc_number(json_object *o, const char *path, double *ret);
bool doc_integer(json_object *o, const char *path, int64_t *ret);
const char *doc_string(json_object *o, const char *path); /* NULL: not a string */
const char *doc_text(json_object *o, const char *path);   /* "": not a string */
int doc_flag(json_object *o, const char *path);           /* 1, 0, or -1: unknown */

/* Why path is unknown: its own "reason", or the "<name>_reason" beside it. NULL: not said. */
const char *doc_reason(json_object *o, const char *path);

/* The shortest of 15 to 17 digits that reads back as the same number, with a dot whatever the locale. */
#define DOC_NUMBER 40
char *doc_format_number(char text[DOC_NUMBER], double value); /* returns text */

/*
 * Writes o as JSON and a newline. Doubles are the shortest text that reads back as the same number; bytes
 * that could steer a terminal are escaped. Negative errno when out of memory or when the stream fails.
 */
int doc_print(FILE *f, json_object *o, bool pretty);
