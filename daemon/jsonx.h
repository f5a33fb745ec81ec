/* SPDX-License-Identifier: MIT */
/*
 * Small helpers over json-c. Each json_add*() returns 0 or -ENOMEM and never leaves a value behind: on
 * failure what was to be added is freed, so that a caller may sum up with r |= ... or stop at the first
 * failure, as it likes.
 */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"

/* Frees a reference; NULL is allowed. Returns NULL. */
json_object *json_drop(json_object *o);
DEFINE_CLEANUP(json_object *, json_drop)
#define _cleanup_json_ _cleanup_(json_dropp)

/* Adds value, which it takes over, as member key of obj; a NULL obj or value is a failed allocation. JSON's
 * null: json_add_null. */
int json_add(json_object *obj, const char *key, json_object *value);
/* The same for the end of an array. */
int json_push(json_object *array, json_object *value);

/* A finite double that is written with as few digits as give it back: 0.1, not 0.10000000000000001. */
json_object *json_double(double v);

int json_add_u64(json_object *obj, const char *key, uint64_t v);
int json_add_i64(json_object *obj, const char *key, int64_t v);
/* A figure that is not finite becomes null, as JSON has no other word for it. */
int json_add_double(json_object *obj, const char *key, double v);
int json_add_bool(json_object *obj, const char *key, bool v);
/* NULL becomes null. */
int json_add_str(json_object *obj, const char *key, const char *s);
int json_add_strf(json_object *obj, const char *key, const char *fmt, ...) _printf_(3, 4);
int json_add_null(json_object *obj, const char *key);

/* {"value": null, "reason": "..."}: a figure that this machine does not give, and why. NULL without memory.
 */
json_object *json_null_reason(const char *fmt, ...) _printf_(1, 2);
int json_add_null_reason(json_object *obj, const char *key, const char *fmt, ...) _printf_(3, 4);

/* The object below root that path names, "cpu/mitigations"; NULL if there is none. Borrowed. */
json_object *json_at(json_object *root, const char *path);
