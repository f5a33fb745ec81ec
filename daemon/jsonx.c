// SPDX-License-Identifier: MIT
/* Small helpers over json-c: members with one check each, and figures that are absent for a reason. */
#include "jsonx.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>

#define PATH_BYTES 128 /* no allocation: what is there is found also without memory */

json_object *json_drop(json_object *o)
{
	json_object_put(o);
	return NULL;
}

int json_add(json_object *obj, const char *key, json_object *value)
{
	if (!value)
		return -ENOMEM;
	if (!obj || json_object_object_add(obj, key, value) < 0) {
		json_object_put(value);
		return -ENOMEM;
	}
	return 0;
}

int json_push(json_object *array, json_object *value)
{
	if (!value)
		return -ENOMEM;
	if (!array || json_object_array_add(array, value) < 0) {
		json_object_put(value);
		return -ENOMEM;
	}
	return 0;
}

int json_add_u64(json_object *obj, const char *key, uint64_t v)
{
	return json_add(obj, key, json_object_new_uint64(v));
}

int json_add_i64(json_object *obj, const char *key, int64_t v)
{
	return json_add(obj, key, json_object_new_int64(v));
}

json_object *json_double(double v)
{
	char text[40];

	/* 15 digits are enough for most, 17 for all. */
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	if (!strpbrk(text, ".e"))
		strcat(text, ".0");
	return json_object_new_double_s(v, text);
}

int json_add_double(json_object *obj, const char *key, double v)
{
	if (!isfinite(v))
		return json_add_null(obj, key);
	return json_add(obj, key, json_double(v));
}

int json_add_bool(json_object *obj, const char *key, bool v)
{
	return json_add(obj, key, json_object_new_boolean(v));
}

int json_add_str(json_object *obj, const char *key, const char *s)
{
	if (!s)
		return json_add_null(obj, key);
	return json_add(obj, key, json_object_new_string(s));
}

int json_add_null(json_object *obj, const char *key)
{
	return !obj || json_object_object_add(obj, key, NULL) < 0 ? -ENOMEM : 0;
}

int json_add_strf(json_object *obj, const char *key, const char *fmt, ...)
{
	_cleanup_free_ char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0) {
		s = NULL;
		return -ENOMEM;
	}
	return json_add_str(obj, key, s);
}

static json_object *null_reason(const char *fmt, va_list ap)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	_cleanup_free_ char *s = NULL;

	if (vasprintf(&s, fmt, ap) < 0) {
		s = NULL;
		return NULL;
	}
	if (!o || json_add_null(o, "value") < 0 || json_add_str(o, "reason", s) < 0)
		return NULL;
	return TAKE_PTR(o);
}

json_object *json_null_reason(const char *fmt, ...)
{
	json_object *o;
	va_list ap;

	va_start(ap, fmt);
	o = null_reason(fmt, ap);
	va_end(ap);
	return o;
}

int json_add_null_reason(json_object *obj, const char *key, const char *fmt, ...)
{
	json_object *o;
	va_list ap;

	va_start(ap, fmt);
	o = null_reason(fmt, ap);
	va_end(ap);
	return json_add(obj, key, o);
}

json_object *json_at(json_object *root, const char *path)
{
	char copy[PATH_BYTES], *save = NULL, *part;

	if (!str_copy(copy, path))
		return NULL;
	for (part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save))
		if (!json_object_is_type(root, json_type_object) ||
			!json_object_object_get_ex(root, part, &root))
			return NULL;
	return root;
}
