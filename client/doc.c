// SPDX-License-Identifier: MIT
/* Reads and prints JSON documents. */
#include <errno.h>
#include <locale.h>
#include <math.h>

#include "doc.h"

#define PATH_MAX_DOC 128

json_object *doc_at(json_object *o, const char *path)
{
	char name[PATH_MAX_DOC];
	size_t n;

	for (; o && *path; path += n + (path[n] == '.')) {
		n = strcspn(path, ".");
		if (n >= sizeof(name))
			return NULL;
		memcpy(name, path, n);
		name[n] = '\0';
		if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, name, &o))
			return NULL;
	}
	return o;
}

size_t doc_length(json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static json_object *number_at(json_object *o, const char *path)
{
	o = doc_at(o, path);
	if (json_object_is_type(o, json_type_object))
		o = doc_at(o, "value");
	if (json_object_is_type(o, json_type_int) || json_object_is_type(o, json_type_double))
		return o;
	return NULL;
}

bool doc_number(json_object *o, const char *path, double *ret)
{
	o = number_at(o, path);
	if (!o || !isfinite(json_object_get_double(o)))
		return false;
	*ret = json_object_get_double(o);
	return true;
}

bool doc_integer(json_object *o, const char *path, int64_t *ret)
{
	o = number_at(o, path);
	if (!json_object_is_type(o, json_type_int))
		return false;
	*ret = json_object_get_int64(o);
	return true;
}

const char *doc_string(json_object *o, const char *path)
{
	o = doc_at(o, path);
	return json_object_is_type(o, json_type_string) ? json_object_get_string(o) : NULL;
}

const char *doc_text(json_object *o, const char *path)
{
	const char *s = doc_string(o, path);

	return s ? s : "";
}

int doc_flag(json_object *o, const char *path)
{
	o = doc_at(o, path);
	return json_object_is_type(o, json_type_boolean) ? json_object_get_boolean(o) : -1;
}

const char *doc_reason(json_object *o, const char *path)
{
	char beside[PATH_MAX_DOC];
	const char *reason = doc_string(doc_at(o, path), "reason");

	if (reason)
		return reason;
	if ((size_t)snprintf(beside, sizeof(beside), "%s_reason", path) >= sizeof(beside))
		return NULL;
	return doc_string(o, beside);
}

char *doc_format_number(char text[DOC_NUMBER], double value)
{
	const char *point = localeconv()->decimal_point;
	char *at;

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, DOC_NUMBER, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	at = str_eq(point, ".") ? NULL : strstr(text, point);
	if (at) {
		*at = '.';
		memmove(at + 1, at + strlen(point), strlen(at + strlen(point)) + 1);
	}
	return text;
}

/* As above, and it still looks like a double. */
static int shorten_double(json_object *o)
{
	double value = json_object_get_double(o);
	char text[DOC_NUMBER + 2];
	char *copy;

	if (!isfinite(value))
		return 0;
	doc_format_number(text, value);
	if (!strpbrk(text, ".e"))
		strcat(text, ".0");
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	json_object_set_serializer(o, json_object_userdata_to_json_string, copy, json_object_free_userdata);
	return 0;
}

static int shorten_doubles(json_object *o)
{
	int r = 0;

	if (json_object_is_type(o, json_type_double))
		return shorten_double(o);
	for (size_t i = 0; i < doc_length(o) && r == 0; i++)
		r = shorten_doubles(json_object_array_get_idx(o, i));
	if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach(o, key, value)
		{
			(void)key;
			if (r == 0)
				r = shorten_doubles(value);
		}
	}
	return r;
}

int doc_print(FILE *f, json_object *o, bool pretty)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE |
		    (pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : 0);
	const char *s;
	int r;

	r = shorten_doubles(o);
	if (r < 0)
		return r;
	s = json_object_to_json_string_ext(o, flags);
	if (!s)
		return -ENOMEM;
	errno = 0;
	/* json-c escapes C0 itself; DEL and the C1 set (U+0080 to U+009F) it lets through. */
	for (; *s; s++) {
		if (*s == 0x7f)
			fputs("\\u007f", f);
		else if ((unsigned char)s[0] == 0xc2 && (unsigned char)s[1] >= 0x80 &&
			 (unsigned char)s[1] <= 0x9f)
			fprintf(f, "\\u%04x", (unsigned char)*++s);
		else
			fputc(*s, f);
	}
	fputc('\n', f);
	if (fflush(f) == 0 && !ferror(f))
		return 0;
	return errno ? -errno : -EIO;
}
