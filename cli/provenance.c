// SPDX-License-Identifier: MIT
/* Flattens what the documents say of their machine, and compares it. */
#include "provenance.h"

#define PATH_TEXT 256

/* What of a document tells where a figure comes from; a member of the first lane is meant where an array is.
 */
static const char *const roots[] = {
	"host", "path", "ledger.tier", "spec.duration_ms", "spec.warmup_ms", "lanes.tcp.congestion"};

/* Differs between two runs of one machine, or says the same in another way. */
static const char *const moving[] = {"host.noise", "host.time.utc", "host.time.monotonic_ns",
	"host.memory.available_bytes", "path.name", "path.sender.device", "path.receiver.device",
	"path.forces_copy_reason"};

static const char *const identity[] = {"host.kernel.release", "host.kernel.version", "host.kernel.machine",
	"host.cpu.model", "host.cpu.online", "host.virtualization.hypervisor", "host.virtualization.vendor",
	"host.virtualization.product"};

/* Without it nobody knows which machine it was. */
#define LEAST_IDENTITY "host.kernel.release"

/* The name itself, or one of its parents, is in the list. */
static bool listed(const char *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(list[i]);

		if (strncmp(list[i], name, len) == 0 && (name[len] == '\0' || name[len] == '.'))
			return true;
	}
	return false;
}

/* Notes that the member had this value; texts: {name: {value: true}}. */
static void note(json_object *texts, const char *name, const char *value)
{
	json_object *values;

	if (!json_object_object_get_ex(texts, name, &values)) {
		values = json_object_new_object();
		json_object_object_add(texts, name, values);
	}
	if (!json_object_object_get_ex(values, value, NULL))
		json_object_object_add(values, value, json_object_new_boolean(true));
}

static bool is_unknown(json_object *o)
{
	json_object *value;

	return json_object_object_get_ex(o, "value", &value) && !value;
}

static void flatten(json_object *texts, const char *name, json_object *o)
{
	if (listed(moving, ARRAY_SIZE(moving), name))
		return;
	if (!json_object_is_type(o, json_type_object)) {
		note(texts, name, o ? json_object_get_string(o) : "unknown");
		return;
	}
	if (is_unknown(o)) {
		note(texts, name, "unknown");
		return;
	}
	json_object_object_foreach(o, member, value)
	{
		char below[PATH_TEXT];

		snprintf(below, sizeof(below), "%s.%s", name, member);
		flatten(texts, below, value);
	}
}

/* As doc_at(), through the first element of an array. */
static json_object *first_at(json_object *o, const char *path)
{
	const char *dot = strchr(path, '.');
	_cleanup_free_ char *head = dot ? strndup(path, (size_t)(dot - path)) : NULL;
	json_object *array = head ? doc_at(o, head) : NULL;

	if (json_object_is_type(array, json_type_array))
		return doc_at(json_object_array_get_idx(array, 0), dot + 1);
	return doc_at(o, path);
}

/* What all runs of a dataset had, as {name: {value: true}}. */
static json_object *collect(const struct dataset *d)
{
	json_object *texts = json_object_new_object();

	for (size_t i = 0; i < d->n_cells; i++)
		for (size_t k = 0; k < d->cells[i].n_runs; k++)
			for (size_t r = 0; r < ARRAY_SIZE(roots); r++)
				flatten(texts, roots[r], first_at(d->cells[i].runs[k], roots[r]));
	return texts;
}

static void write_values(FILE *f, json_object *values)
{
	bool more = false;

	json_object_object_foreach(values, value, present)
	{
		(void)present;
		fprintf(f, "%s%s", more ? " | " : "", value);
		more = true;
	}
}

/* The values with " | " between; an owned string object. */
static json_object *joined(json_object *values)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	if (values)
		write_values(f, values);
	else
		fputs("not recorded", f);
	fclose(f);
	return json_object_new_string(text);
}

/* Values of a member of one side; NULL: none of its runs has it. */
static json_object *values_of(json_object *texts, const char *name)
{
	json_object *values = NULL;

	json_object_object_get_ex(texts, name, &values);
	return values;
}

struct verdict {
	json_object *differences;
	bool same_host;
};

static void judge(struct verdict *v, const char *name, json_object *a, json_object *b)
{
	bool is_identity = listed(identity, ARRAY_SIZE(identity), name);
	json_object *row;

	if (is_identity && a && json_object_object_length(a) > 1)
		v->same_host = false;
	if (a && b && json_object_equal(a, b))
		return;
	if (is_identity)
		v->same_host = false;
	row = json_object_new_object();
	json_object_object_add(row, "what", json_object_new_string(name));
	json_object_object_add(row, "a", joined(a));
	json_object_object_add(row, "b", joined(b));
	json_object_object_add(row, "identity", json_object_new_boolean(is_identity));
	json_object_array_add(v->differences, row);
}

json_object *provenance_compare(const struct dataset *a, const struct dataset *b)
{
	_cleanup_json_ json_object *in_a = collect(a), *in_b = collect(b);
	struct verdict v = {
		.differences = json_object_new_array(),
		.same_host = values_of(in_a, LEAST_IDENTITY) != NULL,
	};
	json_object *o = json_object_new_object();

	json_object_object_foreach(in_a, name, values)
	{
		judge(&v, name, values, values_of(in_b, name));
	}
	json_object_object_foreach(in_b, other, other_values)
	{
		if (!values_of(in_a, other))
			judge(&v, other, NULL, other_values);
	}
	json_object_object_add(o, "same_host", json_object_new_boolean(v.same_host));
	json_object_object_add(o, "differences", v.differences);
	return o;
}
