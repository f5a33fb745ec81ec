// SPDX-License-Identifier: MIT
/* Gathers result documents from the daemon or from files, and sorts them into cells. */
#include <errno.h>
#include <math.h>

#include "dataset.h"
#include "json_check.h"
#include "stats.h"
#include "units.h"

#define SCHEMA "copyledger/result/1"
#define FILE_BYTES_MAX (1U << 30)
#define DEPTH 32

/* What of a spec does not make a cell another one. */
static const char *const incidental[] = {"label"};

/* ---- the source's name ---- */

/* The first ':' that a name and a '=' follow: a value may have some of its own. NULL: nothing is selected.
 * What follows "label:" is a label, whatever it looks like. */
static char *filter_colon(char *source)
{
	char *colon = strncmp(source, "label:", 6) == 0 ? source + 6 : source;

	while ((colon = strchr(colon, ':'))) {
		if (colon[1 + strcspn(colon + 1, ":,=")] == '=')
			return colon;
		colon++;
	}
	return NULL;
}

/* Cuts ":name=value,..." off; all of a file's name is its name. */
static int split_filter(char *source, json_object *filter, struct fault *reterr)
{
	char *colon = access(source, F_OK) == 0 ? NULL : filter_colon(source), *rest, *part;

	if (!colon)
		return 0;
	*colon = '\0';
	rest = colon + 1;
	while ((part = opt_part(&rest))) {
		char *value = strchr(part, '=');

		if (!value || value == part || !value[1])
			return fault_set(reterr, -EINVAL, "usage", "",
				"a selection is like mode=one-copy,size=64K, not '%s'", part);
		*value++ = '\0';
		json_object_object_add(filter, part, json_object_new_string(value));
	}
	return 0;
}

static bool selects(json_object *value, const char *wanted)
{
	uint64_t n;

	if (!value)
		return false;
	if (!json_object_is_type(value, json_type_int))
		return str_eq(json_object_get_string(value), wanted);
	return units_parse_size(wanted, &n) == 0 && json_object_get_uint64(value) == n;
}

/* 1: it is wanted, 0: it is not. */
static int wanted(const struct dataset *d, json_object *document, struct fault *reterr)
{
	json_object *spec = doc_at(document, "spec");

	json_object_object_foreach(d->filter, name, value)
	{
		json_object *has;

		if (!json_object_object_get_ex(spec, name, &has))
			return fault_set(reterr, -EINVAL, "usage", "",
				"a run's spec has no member '%s' to select by", name);
		if (!selects(has, json_object_get_string(value)))
			return 0;
	}
	return 1;
}

/* ---- where documents come from ---- */

/* Takes the document over. */
static int add_document(struct dataset *d, json_object *document, struct fault *reterr)
{
	_cleanup_json_ json_object *owned = document;
	int r;

	if (!str_eq(doc_text(document, "schema"), SCHEMA) ||
		!json_object_is_type(doc_at(document, "spec"), json_type_object))
		return fault_set(reterr, -EBADMSG, "bad_file", "",
			"'%s' holds something that is no result of a run (schema '%s', where " SCHEMA
			" with a spec is wanted): 'copyledger export --jsonl' makes such files",
			d->source, doc_text(document, "schema"));
	r = wanted(d, document, reterr);
	if (r <= 0)
		return r;
	if (json_object_array_add(d->documents, owned) < 0)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	TAKE_PTR(owned);
	return 0;
}

static int call_id(
	struct client *c, const char *method, const char *id, json_object **ret, struct fault *reterr)
{
	_cleanup_json_ json_object *parameters = json_object_new_object();

	json_object_object_add(parameters, "id", json_object_new_string(id));
	return client_call(c, method, parameters, ret, reterr);
}

static int take_run(struct dataset *d, struct client *c, const char *id, struct fault *reterr)
{
	_cleanup_json_ json_object *reply = NULL;
	json_object *result;
	int r;

	r = call_id(c, "GetRun", id, &reply, reterr);
	if (r < 0)
		return r;
	result = doc_at(reply, "result");
	return result ? add_document(d, json_object_get(result), reterr) : 0;
}

static int take_sweep(struct dataset *d, struct client *c, const char *id, struct fault *reterr)
{
	json_object *cells;
	int64_t seed;
	int r;

	r = call_id(c, "GetSweep", id, &d->sweep, reterr);
	if (r < 0)
		return r;
	d->kind = "sweep";
	d->id = doc_text(d->sweep, "sweep.id");
	if (doc_integer(d->sweep, "spec.seed", &seed))
		d->seed = seed;
	cells = doc_at(d->sweep, "cells");
	for (size_t i = 0; i < doc_length(cells); i++) {
		json_object *ids = doc_at(json_object_array_get_idx(cells, i), "run_ids");

		for (size_t k = 0; k < doc_length(ids); k++) {
			r = take_run(d, c, json_object_get_string(json_object_array_get_idx(ids, k)), reterr);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int take_label(struct dataset *d, struct client *c, const char *label, struct fault *reterr)
{
	_cleanup_json_ json_object *parameters = json_object_new_object(), *reply = NULL;
	json_object *runs;
	int r;

	d->kind = "label";
	json_object_object_add(parameters, "label", json_object_new_string(label));
	json_object_object_add(parameters, "limit", json_object_new_int(1000));
	r = client_call(c, "ListRuns", parameters, &reply, reterr);
	if (r < 0)
		return r;
	runs = doc_at(reply, "runs");
	for (size_t i = doc_length(runs); i-- > 0 && r == 0;)
		r = take_run(d, c, doc_text(json_object_array_get_idx(runs, i), "id"), reterr);
	return r;
}

static int take_from_daemon(struct cli *cli, struct dataset *d, const char *name, struct fault *reterr)
{
	_cleanup_(client_freep) struct client *c = NULL;
	int r;

	r = client_connect(cli->socket, &c, reterr);
	if (r < 0)
		return r;
	if (strncmp(name, "label:", 6) == 0)
		return take_label(d, c, name + 6, reterr);
	if (str_eq(name, "last") || cli_is_sweep(name))
		return take_sweep(d, c, name, reterr);
	d->kind = "run";
	return take_run(d, c, name, reterr);
}

/* The whole of a file, ended by a NUL; the caller owns it. */
static int read_all(FILE *f, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0, room = 0, got;

	do {
		char *more;

		if (len + 1 >= room) {
			room = MAX(room * 2, 1U << 16);
			more = room > FILE_BYTES_MAX ? NULL : realloc(text, room);
			if (!more)
				return -ENOMEM;
			text = more;
		}
		got = fread(text + len, 1, room - len - 1, f);
		len += got;
	} while (got);
	if (ferror(f))
		return errno ? -errno : -EIO;
	text[len] = '\0';
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

static int parse_documents(struct dataset *d, const char *text, size_t len, struct fault *reterr)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH);
	size_t at = strspn(text, " \t\r\n");
	int r = tok ? 0 : -ENOMEM;

	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	while (r == 0 && at < len) {
		json_object *o;

		json_tokener_reset(tok);
		o = json_tokener_parse_ex(tok, text + at, (int)(len - at));
		if (!o) {
			r = fault_set(reterr, -EBADMSG, "bad_file", "", "'%s' is no JSON at byte %zu: %s",
				d->source, at + json_tokener_get_parse_end(tok),
				json_tokener_error_desc(json_tokener_get_error(tok)));
			break;
		}
		at += json_tokener_get_parse_end(tok);
		at += strspn(text + at, " \t\r\n");
		r = add_document(d, o, reterr);
	}
	json_tokener_free(tok);
	return r;
}

static int take_file(struct dataset *d, const char *name, struct fault *reterr)
{
	_cleanup_fclose_ FILE *f = str_eq(name, "-") ? fdopen(dup(STDIN_FILENO), "r") : fopen(name, "re");
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	d->kind = "file";
	r = f ? read_all(f, &text, &len) : -errno;
	if (r < 0)
		return fault_set(reterr, r, "no_such_file", "", "cannot read '%s': %s", name, strerror(-r));
	return parse_documents(d, text, len, reterr);
}

/* ---- cells ---- */

/* The spec without what is incidental, as text: equal for runs of one cell. The caller owns it. */
static char *cell_key(json_object *spec)
{
	_cleanup_json_ json_object *copy = NULL;

	if (json_object_deep_copy(spec, &copy, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(incidental); i++)
		json_object_object_del(copy, incidental[i]);
	return strdup(json_object_to_json_string_ext(copy, JSON_C_TO_STRING_PLAIN));
}

static struct cell *new_cell(struct dataset *d, json_object *spec)
{
	struct cell *cells = realloc(d->cells, (d->n_cells + 1) * sizeof(*cells)), *c;

	if (!cells)
		return NULL;
	d->cells = cells;
	c = &cells[d->n_cells];
	*c = (struct cell){
		.spec = spec,
		.mode = doc_text(spec, "mode"),
		.path = doc_text(spec, "path"),
		.workload = doc_text(spec, "workload"),
	};
	doc_integer(spec, "size", &c->size);
	doc_integer(spec, "threads", &c->threads);
	c->runs = calloc(doc_length(d->documents), sizeof(*c->runs));
	if (!c->runs)
		return NULL;
	d->n_cells++;
	return c;
}

static void cell_add(struct cell *c, json_object *document)
{
	const char *state = doc_text(document, "state");

	if (str_eq(state, "done")) {
		c->runs[c->n_runs++] = document;
	} else if (str_eq(state, "failed")) {
		c->failures++;
		if (!c->failure)
			c->failure = doc_text(document, "error.message");
	}
}

/* index: from a cell's key to its number + 1. */
static int sort_into_cell(struct dataset *d, json_object *index, json_object *document)
{
	json_object *spec = doc_at(document, "spec"), *number;
	_cleanup_free_ char *key = cell_key(spec);

	if (!key)
		return -ENOMEM;
	if (!json_object_object_get_ex(index, key, &number)) {
		if (!new_cell(d, spec))
			return -ENOMEM;
		number = json_object_new_int64(d->n_cells - 1);
		json_object_object_add(index, key, number);
	}
	cell_add(&d->cells[json_object_get_int64(number)], document);
	return 0;
}

static int compare_numbers(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

/* two-copy, one-copy, zero-copy: as one thinks of them, not as the alphabet has them. */
static int mode_rank(const char *mode)
{
	static const char *const order[] = {"two-copy", "one-copy", "zero-copy"};
	size_t i = 0;

	while (i < ARRAY_SIZE(order) && !str_eq(order[i], mode))
		i++;
	return (int)i;
}

static int by_place(const void *a, const void *b)
{
	const struct cell *x = a, *y = b;
	int r = strcmp(x->path, y->path);

	if (r == 0)
		r = strcmp(x->workload, y->workload);
	if (r == 0)
		r = mode_rank(x->mode) - mode_rank(y->mode);
	if (r == 0)
		r = strcmp(x->mode, y->mode);
	if (r == 0)
		r = compare_numbers(x->size, y->size);
	return r ? r : compare_numbers(x->threads, y->threads);
}

static int make_cells(struct dataset *d, struct fault *reterr)
{
	_cleanup_json_ json_object *index = json_object_new_object();
	size_t n = doc_length(d->documents);

	if (n == 0)
		return fault_set(reterr, -ENODATA, "no_runs", "", "'%s' has no run that ended", d->source);
	for (size_t i = 0; i < n; i++)
		if (sort_into_cell(d, index, json_object_array_get_idx(d->documents, i)) < 0)
			return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	qsort(d->cells, d->n_cells, sizeof(*d->cells), by_place);
	return 0;
}

int dataset_open(struct cli *cli, const char *source, struct dataset **ret, struct fault *reterr)
{
	_cleanup_(dataset_freep) struct dataset *d = calloc(1, sizeof(*d));
	_cleanup_free_ char *name = strdup(source);
	int r;

	if (!d || !name)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	d->seed = 1;
	d->source = strdup(source);
	d->documents = json_object_new_array();
	d->filter = json_object_new_object();
	if (!d->source || !d->documents || !d->filter)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	r = split_filter(name, d->filter, reterr);
	if (r == 0 && (str_eq(name, "-") || access(name, F_OK) == 0 || strchr(name, '/')))
		r = take_file(d, name, reterr);
	else if (r == 0)
		r = take_from_daemon(cli, d, name, reterr);
	if (r == 0)
		r = make_cells(d, reterr);
	if (r < 0)
		return r;
	if (!d->id)
		d->id = d->source;
	*ret = TAKE_PTR(d);
	return 0;
}

struct dataset *dataset_free(struct dataset *d)
{
	if (!d)
		return NULL;
	for (size_t i = 0; i < d->n_cells; i++)
		free(d->cells[i].runs);
	free(d->cells);
	json_object_put(d->documents);
	json_object_put(d->filter);
	json_object_put(d->sweep);
	free(d->source);
	free(d);
	return NULL;
}

json_object *dataset_example(const struct dataset *d)
{
	for (size_t i = 0; i < d->n_cells; i++)
		if (d->cells[i].n_runs)
			return d->cells[i].runs[0];
	return NULL;
}

const struct cell *dataset_cell(const struct dataset *d, const char *path, const char *workload,
	const char *mode, int64_t size, int64_t threads)
{
	for (size_t i = 0; i < d->n_cells; i++) {
		const struct cell *c = &d->cells[i];

		if (c->size == size && c->threads == threads && str_eq(c->mode, mode) &&
			str_eq(c->path, path) && str_eq(c->workload, workload))
			return c;
	}
	return NULL;
}

/* ---- cells that cannot be told apart ---- */

static const char *const of_place[] = {"path", "workload", "mode", "size", "threads"};
static const char *const of_length[] = {"duration_ms", "warmup_ms"};

static bool is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(name, names[i]))
			return true;
	return false;
}

/* Of a member of a's spec: whether b's is another, though nothing says which of the two is meant. */
static bool mixes(const char *name, json_object *value, const struct cell *b, bool same_place)
{
	json_object *other = NULL;

	if (is_among(name, incidental, ARRAY_SIZE(incidental)) ||
		is_among(name, of_place, ARRAY_SIZE(of_place)) ||
		(!same_place && is_among(name, of_length, ARRAY_SIZE(of_length))))
		return false;
	json_object_object_get_ex(b->spec, name, &other);
	return !json_object_equal(value, other);
}

static const char *text_of(json_object *value)
{
	const char *text = json_object_get_string(value);

	return text ? text : "";
}

/* What an empty value stands for cannot be selected, what it differs from can. */
static int say_mixed(
	const struct dataset *d, const char *name, json_object *one, json_object *other, struct fault *reterr)
{
	const char *a = text_of(one), *b = text_of(other);

	return fault_set(reterr, -EINVAL, "usage", "",
		"'%s' mixes runs whose '%s' is '%s' with runs where it is '%s', and they would pass for the "
		"same: "
		"select one, as in '%s%s%s=%s'",
		d->source, name, a, b, d->source, json_object_object_length(d->filter) ? "," : ":", name,
		*a ? a : b);
}

static int check_pair(const struct dataset *d, const struct cell *a, const struct cell *b, bool same_place,
	struct fault *reterr)
{
	json_object_object_foreach(a->spec, name, value)
	{
		if (mixes(name, value, b, same_place))
			return say_mixed(d, name, value, json_object_object_get(b->spec, name), reterr);
	}
	json_object_object_foreach(b->spec, other_name, other_value)
	{
		if (mixes(other_name, other_value, a, same_place))
			return say_mixed(d, other_name, NULL, other_value, reterr);
	}
	return 0;
}

/* Equality is transitive, so the first cell stands for all of them; cells of one place are neighbours. */
int dataset_check_alike(const struct dataset *d, struct fault *reterr)
{
	int r = 0;

	for (size_t i = 1; i < d->n_cells && r == 0; i++) {
		r = check_pair(d, &d->cells[0], &d->cells[i], false, reterr);
		if (r == 0 && by_place(&d->cells[i - 1], &d->cells[i]) == 0)
			r = check_pair(d, &d->cells[i - 1], &d->cells[i], true, reterr);
	}
	return r;
}

/* ---- figures of a cell ---- */

ssize_t cell_values(const struct cell *c, const struct measure *m, double **ret, const char **ret_reason)
{
	_cleanup_free_ double *values = malloc((c->n_runs + 1) * sizeof(*values));
	ssize_t n = 0;

	if (!values)
		return -ENOMEM;
	*ret_reason = c->n_runs ? NULL : c->failure ? c->failure : "no run of it ended";
	for (size_t i = 0; i < c->n_runs; i++) {
		const char *reason;

		if (measure_value(m, c->runs[i], &values[n], &reason) == 0)
			n++;
		else if (!*ret_reason)
			*ret_reason = reason;
	}
	*ret = TAKE_PTR(values);
	return n;
}

struct estimate cell_estimate(const struct cell *c, const struct measure *m, uint64_t seed)
{
	struct estimate e = {.median = NAN, .low = NAN, .high = NAN};
	_cleanup_free_ double *values = NULL;
	ssize_t n = cell_values(c, m, &values, &e.reason);

	if (n < 0) {
		e.reason = "out of memory";
		return e;
	}
	e.n = n;
	stats_median(values, n, &e.median);
	if (stats_bootstrap_median_interval(
		    values, n, ESTIMATE_LEVEL, ESTIMATE_RESAMPLES, seed, &e.low, &e.high) == 0)
		e.coverage = MIN(ESTIMATE_LEVEL, stats_range_coverage(n));
	return e;
}
