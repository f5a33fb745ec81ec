// SPDX-License-Identifier: MIT
/* Pairs the cells of two datasets by what they have in common. */
#include <errno.h>

#include "pairing.h"

/* Members of a spec that do not keep two cells apart. */
static const char *const incidental[] = {"label", "duration_ms", "warmup_ms"};

static int no_memory(struct fault *reterr)
{
	return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
}

/* Names that both selections have, with other values. */
static json_object *fixed_differently(const struct dataset *a, const struct dataset *b)
{
	json_object *names = json_object_new_array();

	json_object_object_foreach(a->filter, name, value)
	{
		json_object *other;

		if (json_object_object_get_ex(b->filter, name, &other) && !json_object_equal(value, other))
			json_object_array_add(names, json_object_new_string(name));
	}
	return names;
}

/* What is left of the spec, as text; the caller owns it, NULL without memory. */
static char *match_key(const struct cell *c, json_object *fixed)
{
	_cleanup_json_ json_object *copy = NULL;

	if (json_object_deep_copy(c->spec, &copy, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(incidental); i++)
		json_object_object_del(copy, incidental[i]);
	for (size_t i = 0; i < doc_length(fixed); i++)
		json_object_object_del(copy, json_object_get_string(json_object_array_get_idx(fixed, i)));
	return strdup(json_object_to_json_string_ext(copy, JSON_C_TO_STRING_PLAIN));
}

/* {key: number of the cell}; the caller owns *ret. */
static int index_cells(const struct dataset *d, json_object *fixed, json_object **ret, struct fault *reterr)
{
	_cleanup_json_ json_object *index = json_object_new_object();

	for (size_t i = 0; i < d->n_cells; i++) {
		_cleanup_free_ char *key = match_key(&d->cells[i], fixed);

		if (!key || !index)
			return no_memory(reterr);
		if (json_object_object_get_ex(index, key, NULL))
			return fault_set(reterr, -EINVAL, "usage", "",
				"'%s' has two cells of %s, %jd B, %jd threads over %s that only their "
				"duration, "
				"warm-up or what the selections fix tells apart: select one, as in "
				"'SOURCE:duration_ms=500'",
				d->source, d->cells[i].mode, (intmax_t)d->cells[i].size,
				(intmax_t)d->cells[i].threads, d->cells[i].path);
		json_object_object_add(index, key, json_object_new_int64((int64_t)i));
	}
	*ret = TAKE_PTR(index);
	return 0;
}

static int pair_up(struct pairing *p, const struct dataset *a, const struct dataset *b, json_object *in_a,
	json_object *in_b)
{
	p->pairs = calloc(a->n_cells + b->n_cells, sizeof(*p->pairs));
	if (!p->pairs)
		return -ENOMEM;
	json_object_object_foreach(in_a, key, number)
	{
		struct pair *pair = &p->pairs[p->n++];
		json_object *other;

		pair->a = &a->cells[json_object_get_int64(number)];
		if (!json_object_object_get_ex(in_b, key, &other))
			continue;
		pair->b = &b->cells[json_object_get_int64(other)];
		p->n_both++;
	}
	json_object_object_foreach(in_b, other_key, other_number)
	{
		if (!json_object_object_get_ex(in_a, other_key, NULL))
			p->pairs[p->n++].b = &b->cells[json_object_get_int64(other_number)];
	}
	return 0;
}

int pairing_make(const struct dataset *a, const struct dataset *b, struct pairing **ret, struct fault *reterr)
{
	_cleanup_(pairing_freep) struct pairing *p = calloc(1, sizeof(*p));
	_cleanup_json_ json_object *in_a = NULL, *in_b = NULL;
	int r;

	if (!p)
		return no_memory(reterr);
	p->fixed = fixed_differently(a, b);
	r = index_cells(a, p->fixed, &in_a, reterr);
	if (r == 0)
		r = index_cells(b, p->fixed, &in_b, reterr);
	if (r < 0)
		return r;
	if (pair_up(p, a, b, in_a, in_b) < 0)
		return no_memory(reterr);
	*ret = TAKE_PTR(p);
	return 0;
}

struct pairing *pairing_free(struct pairing *p)
{
	if (!p)
		return NULL;
	free(p->pairs);
	json_object_put(p->fixed);
	free(p);
	return NULL;
}
