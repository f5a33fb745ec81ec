/* SPDX-License-Identifier: MIT */
/* The parameter check: the members that an object may have are rows of a table, and a struct is filled from
 * them. */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

enum member_type {
	MEMBER_BOOL,   /* bool */
	MEMBER_UINT,   /* uint32_t or uint64_t, by size */
	MEMBER_STRING, /* char array of size bytes: what does not fit is refused */
	MEMBER_OBJECT, /* json_object *, borrowed from the request */
};

struct member {
	const char *name;
	enum member_type type;
	size_t offset, size; /* MEMBER_FIELD fills them */
	bool required;
	int64_t min, max;               /* MEMBER_UINT: range; MEMBER_STRING: characters */
	const char *(*known)(size_t i); /* the i-th name that is allowed, NULL after the last */
	int (*also)(const char *s);     /* further names, which known() only shows the form of */
	bool (*valid)(const char *s);   /* further demands on a string, */
	const char *form;               /* and what they are: "printable text" */
};

#define MEMBER_FIELD(T, f) .offset = offsetof(T, f), .size = sizeof(((T *)NULL)->f)

/*
 * Checks obj (NULL: no members) against a table that ends with a NULL name and fills the fields of ret that
 * are given. null counts as absent. The fault's code is unknown_member, missing_member, wrong_type,
 * out_of_range, unknown_name or invalid_request, its field the member's name; ret may be partly filled then.
 */
int members_parse(const struct member *table, json_object *obj, void *ret, struct fault *reterr);

/*
 * What a program needs to know beside the fault of members_parse(): the members value, min, max, known or
 * expected of the interface's errors, from the row and the value at fault, as a new object; empty for other
 * faults, NULL without memory.
 */
json_object *members_details(const struct member *table, json_object *obj, const struct fault *fault);
