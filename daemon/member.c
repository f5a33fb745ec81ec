// SPDX-License-Identifier: MIT
/* Checks JSON objects against tables of members. */
#include <errno.h>
#include <inttypes.h>

#include "jsonx.h"
#include "member.h"
#include "utf8.h"

#define ECHO_BYTES 72 /* of a client's value in a message */

static const struct {
	json_type json;
	const char *name;
} types[] = {
	[MEMBER_BOOL] = {json_type_boolean, "boolean"},
	[MEMBER_UINT] = {json_type_int, "integer"},
	[MEMBER_STRING] = {json_type_string, "string"},
	[MEMBER_OBJECT] = {json_type_object, "object"},
};

static const struct member *find(const struct member *table, const char *name)
{
	for (; table->name; table++)
		if (str_eq(table->name, name))
			return table;
	return NULL;
}

/* A client's value, fit to be shown. */
static const char *echo(char buf[ECHO_BYTES], json_object *value)
{
	return utf8_clean(buf, ECHO_BYTES, json_object_get_string(value));
}

/* "a, b or c" */
static void list_names(char *buf, size_t n, const char *(*known)(size_t i))
{
	const char *name;
	size_t used = 0;

	buf[0] = 0;
	for (size_t i = 0; (name = known(i)) && used < n; i++)
		used += snprintf(buf + used, n - used, "%s%s", !i ? "" : known(i + 1) ? ", " : " or ", name);
}

static int check_uint(const struct member *m, json_object *value, void *field, struct fault *reterr)
{
	int64_t v = json_object_get_int64(value);
	char text[ECHO_BYTES];

	if (v < m->min || v > m->max)
		return fault_set(reterr, -ERANGE, "out_of_range", m->name,
			"'%s' must be from %" PRId64 " to %" PRId64 ", not %s", m->name, m->min, m->max,
			echo(text, value));
	if (m->size == sizeof(uint32_t))
		*(uint32_t *)field = v;
	else
		*(uint64_t *)field = v;
	return 0;
}

static int check_known(const struct member *m, json_object *value, struct fault *reterr)
{
	char text[ECHO_BYTES], names[200];
	const char *name;

	for (size_t i = 0; (name = m->known(i)); i++)
		if (str_eq(name, json_object_get_string(value)))
			return 0;
	if (m->also && m->also(json_object_get_string(value)))
		return 0;
	list_names(names, sizeof(names), m->known);
	return fault_set(reterr, -EINVAL, "unknown_name", m->name, "'%s' must be %s, not \"%s\"", m->name,
		names, echo(text, value));
}

static int check_length(const struct member *m, json_object *value, struct fault *reterr)
{
	size_t n = utf8_length(json_object_get_string(value));
	char text[ECHO_BYTES];

	if (n < (size_t)m->min || n > (size_t)m->max)
		return fault_set(reterr, -ERANGE, "out_of_range", m->name,
			"'%s' must have from %" PRId64 " to %" PRId64 " characters, not %zu (\"%s\")",
			m->name, m->min, m->max, n, echo(text, value));
	if ((size_t)json_object_get_string_len(value) >= m->size)
		return fault_set(reterr, -EINVAL, "invalid_request", m->name,
			"'%s' must have less than %zu bytes, not \"%s\"", m->name, m->size,
			echo(text, value));
	return 0;
}

static int check_string(const struct member *m, json_object *value, void *field, struct fault *reterr)
{
	const char *s = json_object_get_string(value);
	size_t len = json_object_get_string_len(value);
	char text[ECHO_BYTES];
	int r;

	if (strlen(s) != len || !utf8_printable(s))
		return fault_set(reterr, -EINVAL, "invalid_request", m->name,
			"'%s' must be printable UTF-8 without control characters, not \"%s\"", m->name,
			echo(text, value));
	r = m->known ? check_known(m, value, reterr) : 0;
	if (r == 0)
		r = check_length(m, value, reterr);
	if (r < 0)
		return r;
	if (m->valid && !m->valid(s))
		return fault_set(reterr, -EINVAL, "invalid_request", m->name, "'%s' must be %s, not \"%s\"",
			m->name, m->form, echo(text, value));
	memcpy(field, s, len + 1);
	return 0;
}

static int check_bool(const struct member *m, json_object *value, void *field, struct fault *reterr)
{
	*(bool *)field = json_object_get_boolean(value);
	return 0;
}

static int check_object(const struct member *m, json_object *value, void *field, struct fault *reterr)
{
	*(json_object **)field = value;
	return 0;
}

static int check(const struct member *m, json_object *value, void *ret, struct fault *reterr)
{
	static int (*const checks[])(const struct member *, json_object *, void *, struct fault *) = {
		[MEMBER_BOOL] = check_bool,
		[MEMBER_UINT] = check_uint,
		[MEMBER_STRING] = check_string,
		[MEMBER_OBJECT] = check_object,
	};
	char text[ECHO_BYTES];

	if (!json_object_is_type(value, types[m->type].json))
		return fault_set(reterr, -EINVAL, "wrong_type", m->name,
			"'%s' must be of type %s, not %s (%s)", m->name, types[m->type].name,
			json_type_to_name(json_object_get_type(value)), echo(text, value));
	return checks[m->type](m, value, (char *)ret + m->offset, reterr);
}

static int unknown_member(const struct member *table, const char *name, struct fault *reterr)
{
	char text[sizeof(reterr->field)], names[240];
	size_t used = 0;

	names[0] = 0;
	for (const struct member *m = table; m->name && used < sizeof(names); m++)
		used += snprintf(names + used, sizeof(names) - used, "%s%s", m == table ? "" : ", ", m->name);
	utf8_clean(text, sizeof(text), name);
	return fault_set(reterr, -EINVAL, "unknown_member", text, "there is no member '%s'; known: %s", text,
		names[0] ? names : "none");
}

int members_parse(const struct member *table, json_object *obj, void *ret, struct fault *reterr)
{
	int r;

	if (obj) {
		json_object_object_foreach(obj, name, value)
		{
			const struct member *m = find(table, name);

			if (!m)
				return unknown_member(table, name, reterr);
			r = value ? check(m, value, ret, reterr) : 0;
			if (r < 0)
				return r;
		}
	}
	for (; table->name; table++)
		if (table->required && !json_at(obj, table->name))
			return fault_set(reterr, -EINVAL, "missing_member", table->name, "'%s' must be given",
				table->name);
	return 0;
}

static json_object *known_names(const struct member *m)
{
	_cleanup_json_ json_object *names = json_object_new_array();
	const char *name;

	for (size_t i = 0; names && (name = m->known(i)); i++)
		if (json_push(names, json_object_new_string(name)) < 0)
			return NULL;
	return TAKE_PTR(names);
}

static int details_value(const struct member *m, json_object *value, json_object *into)
{
	char text[ECHO_BYTES];

	return value ? json_add_str(into, "value", echo(text, value)) : 0;
}

static int details_range(const struct member *m, json_object *value, json_object *into)
{
	return details_value(m, value, into) < 0 || json_add_i64(into, "min", m->min) < 0 ||
			       json_add_i64(into, "max", m->max) < 0
		       ? -ENOMEM
		       : 0;
}

static int details_known(const struct member *m, json_object *value, json_object *into)
{
	return details_value(m, value, into) < 0 ? -ENOMEM : json_add(into, "known", known_names(m));
}

static int details_type(const struct member *m, json_object *value, json_object *into)
{
	return json_add_str(into, "expected", types[m->type].name);
}

json_object *members_details(const struct member *table, json_object *obj, const struct fault *fault)
{
	static const struct {
		const char *code;
		int (*add)(const struct member *m, json_object *value, json_object *into);
	} adders[] = {
		{"out_of_range", details_range},
		{"unknown_name", details_known},
		{"wrong_type", details_type},
	};
	_cleanup_json_ json_object *into = json_object_new_object();
	const struct member *m = find(table, fault->field);

	if (!into)
		return NULL;
	for (size_t i = 0; m && i < ARRAY_SIZE(adders); i++)
		if (str_eq(adders[i].code, fault->code) && adders[i].add(m, json_at(obj, m->name), into) < 0)
			return NULL;
	return TAKE_PTR(into);
}
