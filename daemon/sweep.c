// SPDX-License-Identifier: MIT
/* Plans sweeps, orders their runs, and makes each cell's row. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "jsonx.h"
#include "member.h"
#include "stats.h"
#include "sweep.h"

#define WARMUP_MS 200
#define DURATION_MS 1000

/* A list of the plan, and the member of a run's spec that each of its values is. The last one runs fastest.
 */
static const struct axis {
	const char *list, *member, *type;
	size_t offset, size;
	const char *standard; /* the list where none is given, as JSON */
} axes[SWEEP_AXES] = {
	{"paths", "path", "string", MEMBER_FIELD(struct spec, path), "[\"loopback\"]"},
	{"workloads", "workload", "string", MEMBER_FIELD(struct spec, workload), "[\"stream\"]"},
	{"modes", "mode", "string", MEMBER_FIELD(struct spec, mode),
		"[\"two-copy\",\"one-copy\",\"zero-copy\"]"},
	{"sizes", "size", "integer", MEMBER_FIELD(struct spec, size), "[64,256,1024,4096]"},
	{"threads", "threads", "integer", MEMBER_FIELD(struct spec, threads), "[1,2,4,8]"},
};

_Static_assert(SWEEP_VALUE_BYTES >= sizeof(((struct spec *)NULL)->path), "a value of the widest axis");

struct numbers {
	uint32_t repeat;
	uint64_t seed;
};

static const struct member number_members[] = {
	{"repeat", MEMBER_UINT, MEMBER_FIELD(struct numbers, repeat), .min = 1, .max = LIMIT_SWEEP_REPEAT},
	{"seed", MEMBER_UINT, MEMBER_FIELD(struct numbers, seed), .min = 0, .max = INT64_MAX},
	{},
};

struct interval {
	double median, low, high, coverage; /* NAN: not known */
};

static const struct interval unknown = {NAN, NAN, NAN, NAN};

struct cell {
	json_object *samples;       /* array of SweepSample */
	struct interval throughput; /* of these samples: kept, since a bootstrap takes its time */
	const char *stopped;        /* NULL: it goes on */
	uint32_t failures;
};

struct sweep {
	struct sweep_plan plan;
	uint32_t n_cells, n_ended;
	struct cell *cells;
	uint32_t *ended, *order;
	uint32_t order_round; /* that order[] is of */
};

/* ---- the plan ---- */

static const struct axis *find_axis(const char *name, bool list)
{
	for (size_t i = 0; i < SWEEP_AXES; i++)
		if (str_eq(name, list ? axes[i].list : axes[i].member))
			return &axes[i];
	return NULL;
}

static bool is_number(const char *name)
{
	return str_eq(name, "repeat") || str_eq(name, "seed");
}

static json_object *range_details(uint64_t value, uint64_t min, uint64_t max)
{
	_cleanup_json_ json_object *o = json_object_new_object();

	if (!o || json_add_strf(o, "value", "%" PRIu64, value) < 0 || json_add_u64(o, "min", min) < 0 ||
		json_add_u64(o, "max", max) < 0)
		return NULL;
	return TAKE_PTR(o);
}

static int wrong_type(const char *where, const char *field, const char *expected, json_object *value,
	struct fault *reterr, json_object **reterr_details)
{
	*reterr_details = json_object_new_object();
	json_add_str(*reterr_details, "expected", expected);
	return fault_set(reterr, -EINVAL, "wrong_type", field, "%s'%s' must be of type %s, not %s", where,
		field, expected, json_type_to_name(json_object_get_type(value)));
}

static int over_limit(
	const char *limit, uint64_t value, uint64_t max, struct fault *reterr, json_object **reterr_details)
{
	json_object *o = json_object_new_object();

	json_add_str(o, "limit", limit);
	json_add_u64(o, "value", value);
	json_add_u64(o, "max", max);
	*reterr_details = o;
	return fault_set(reterr, -E2BIG, "limit_exceeded", "",
		"'%s' is limited to %" PRIu64 ", this has %" PRIu64, limit, max, value);
}

/* The run's own check says what is wrong with a value; the field at fault is the list. */
static int parse_value(const struct axis *axis, json_object *value, char *ret, struct fault *reterr,
	json_object **reterr_details)
{
	_cleanup_json_ json_object *probe = json_object_new_object();
	struct fault fault;
	struct spec spec;
	int r;

	if (!value)
		return wrong_type("each value of ", axis->list, axis->type, value, reterr, reterr_details);
	if (json_add_str(probe, "mode", spec_mode_name(0)) < 0 ||
		json_add(probe, axis->member, json_object_get(value)) < 0)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	r = spec_parse(probe, &spec, &fault);
	if (r < 0) {
		*reterr_details = spec_details(probe, &fault);
		return fault_set(
			reterr, r, fault.code, axis->list, "in '%s': %.380s", axis->list, fault.text);
	}
	memset(ret, 0, SWEEP_VALUE_BYTES);
	memcpy(ret, (const char *)&spec + axis->offset, axis->size);
	return 0;
}

static int check_unique(
	const struct sweep_plan *plan, size_t a, uint32_t i, json_object *value, struct fault *reterr)
{
	/* behind a string's end spec_parse() leaves what the default had there */
	bool text = str_eq(axes[a].type, "string");

	for (uint32_t j = 0; j < i; j++) {
		const char *x = plan->axes[a].values[i], *y = plan->axes[a].values[j];

		if (text ? str_eq(x, y) : memcmp(x, y, axes[a].size) == 0)
			return fault_set(reterr, -EINVAL, "invalid_request", axes[a].list,
				"'%s' has %.72s twice", axes[a].list, json_object_get_string(value));
	}
	return 0;
}

static int parse_list(struct sweep_plan *plan, size_t a, json_object *list, struct fault *reterr,
	json_object **reterr_details)
{
	size_t n;
	int r;

	if (!json_object_is_type(list, json_type_array))
		return wrong_type("", axes[a].list, "array", list, reterr, reterr_details);
	n = json_object_array_length(list);
	if (n < 1 || n > LIMIT_SWEEP_LIST) {
		*reterr_details = range_details(n, 1, LIMIT_SWEEP_LIST);
		return fault_set(reterr, -ERANGE, "out_of_range", axes[a].list,
			"'%s' must have from 1 to %u values, not %zu", axes[a].list, LIMIT_SWEEP_LIST, n);
	}
	for (uint32_t i = 0; i < n; i++) {
		json_object *value = json_object_array_get_idx(list, i);

		r = parse_value(&axes[a], value, plan->axes[a].values[i], reterr, reterr_details);
		if (r == 0)
			r = check_unique(plan, a, i, value, reterr);
		if (r < 0)
			return r;
	}
	plan->axes[a].n = n;
	return 0;
}

static int parse_lists(
	struct sweep_plan *plan, json_object *obj, struct fault *reterr, json_object **reterr_details)
{
	for (size_t a = 0; a < SWEEP_AXES; a++) {
		json_object *given = json_at(obj, axes[a].list);
		_cleanup_json_ json_object *list =
			given ? json_object_get(given) : json_tokener_parse(axes[a].standard);
		int r = parse_list(plan, a, list, reterr, reterr_details);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Sorts the members that are no lists: numbers of the sweep itself, and what its runs share. */
static int split(json_object *obj, json_object *numbers, json_object *base, struct fault *reterr)
{
	if (!obj)
		return 0;
	json_object_object_foreach(obj, name, value)
	{
		const struct axis *axis = find_axis(name, false);

		if (find_axis(name, true))
			continue;
		if (axis)
			return fault_set(reterr, -EINVAL, "unknown_member", name,
				"a sweep has no member '%s': give the list '%s'", name, axis->list);
		if (value && json_add(is_number(name) ? numbers : base, name, json_object_get(value)) < 0)
			return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	}
	return 0;
}

/* null is as good as absent, but only for a member that there is. */
static int check_nulls(json_object *obj, struct fault *reterr)
{
	_cleanup_json_ json_object *nulls = json_object_new_object();
	struct spec spec;

	if (!obj)
		return 0;
	json_add_str(nulls, "mode", spec_mode_name(0));
	json_object_object_foreach(obj, name, value)
	{
		if (!value && !find_axis(name, true) && !is_number(name))
			json_add_null(nulls, name);
	}
	return spec_parse(nulls, &spec, reterr);
}

static int parse_base(json_object *base, struct spec *ret, struct fault *reterr, json_object **reterr_details)
{
	struct fault fault;
	int r;

	if (!json_at(base, "warmup_ms"))
		json_add_u64(base, "warmup_ms", WARMUP_MS);
	if (!json_at(base, "duration_ms"))
		json_add_u64(base, "duration_ms", DURATION_MS);
	json_add_str(base, "mode", spec_mode_name(0));
	r = spec_parse(base, ret, &fault);
	if (r < 0) {
		*reterr_details = spec_details(base, &fault);
		*reterr = fault;
	}
	return r;
}

static int parse_numbers(
	json_object *numbers, struct sweep_plan *plan, struct fault *reterr, json_object **reterr_details)
{
	struct numbers n = {.repeat = 5, .seed = 1};
	struct fault fault;
	int r;

	r = members_parse(number_members, numbers, &n, &fault);
	if (r < 0) {
		*reterr_details = members_details(number_members, numbers, &fault);
		*reterr = fault;
		return r;
	}
	plan->repeat = n.repeat;
	plan->seed = n.seed;
	return 0;
}

static int check_extent(const struct sweep_plan *plan, struct fault *reterr, json_object **reterr_details)
{
	uint64_t cells = 1, runs;

	for (size_t a = 0; a < SWEEP_AXES; a++)
		cells *= plan->axes[a].n;
	runs = cells * plan->repeat;
	if (cells > LIMIT_SWEEP_CELLS)
		return over_limit("sweep_cells", cells, LIMIT_SWEEP_CELLS, reterr, reterr_details);
	if (runs > LIMIT_SWEEP_RUNS)
		return over_limit("sweep_runs", runs, LIMIT_SWEEP_RUNS, reterr, reterr_details);
	return 0;
}

/* Values that are each right may not go together; the run's own check knows. */
static int check_cells(const struct sweep_plan *plan, struct fault *reterr, json_object **reterr_details)
{
	for (uint32_t i = 0; i < sweep_plan_cells(plan); i++) {
		_cleanup_json_ json_object *obj = NULL;
		struct fault fault;
		struct spec spec;
		int r;

		sweep_plan_spec(plan, i, &spec);
		obj = spec_to_json(&spec);
		r = obj ? spec_parse(obj, &spec, &fault)
			: fault_set(&fault, -ENOMEM, "no_memory", "", "out of memory");
		if (r < 0) {
			*reterr_details = obj ? spec_details(obj, &fault) : NULL;
			return fault_set(reterr, r, fault.code, fault.field, "%s", fault.text);
		}
	}
	return 0;
}

int sweep_plan_parse(
	json_object *obj, struct sweep_plan *ret, struct fault *reterr, json_object **reterr_details)
{
	_cleanup_json_ json_object *numbers = json_object_new_object(), *base = json_object_new_object();
	_cleanup_free_ struct sweep_plan *plan = calloc(1, sizeof(*plan));
	int r;

	if (!numbers || !base || !plan)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	r = split(obj, numbers, base, reterr);
	if (r == 0)
		r = check_nulls(obj, reterr);
	if (r == 0)
		r = parse_base(base, &plan->base, reterr, reterr_details);
	if (r == 0)
		r = parse_numbers(numbers, plan, reterr, reterr_details);
	if (r == 0)
		r = parse_lists(plan, obj, reterr, reterr_details);
	if (r == 0)
		r = check_extent(plan, reterr, reterr_details);
	if (r == 0)
		r = check_cells(plan, reterr, reterr_details);
	if (r == 0)
		*ret = *plan;
	return r;
}

static json_object *axis_value(const struct axis *axis, const char *value)
{
	uint64_t wide;
	uint32_t narrow;

	if (str_eq(axis->type, "string"))
		return json_object_new_string(value);
	memcpy(&wide, value, sizeof(wide));
	memcpy(&narrow, value, sizeof(narrow));
	return json_object_new_uint64(axis->size == sizeof(narrow) ? narrow : wide);
}

static json_object *axis_list(const struct sweep_plan *plan, size_t a)
{
	_cleanup_json_ json_object *list = json_object_new_array();

	for (uint32_t i = 0; list && i < plan->axes[a].n; i++)
		if (json_push(list, axis_value(&axes[a], plan->axes[a].values[i])) < 0)
			return NULL;
	return TAKE_PTR(list);
}

json_object *sweep_plan_to_json(const struct sweep_plan *plan)
{
	_cleanup_json_ json_object *obj = spec_to_json(&plan->base);

	for (size_t a = 0; obj && a < SWEEP_AXES; a++)
		json_object_object_del(obj, axes[a].member);
	for (size_t a = 0; obj && a < SWEEP_AXES; a++)
		if (json_add(obj, axes[a].list, axis_list(plan, a)) < 0)
			return NULL;
	if (!obj || json_add_u64(obj, "repeat", plan->repeat) < 0 ||
		json_add_u64(obj, "seed", plan->seed) < 0)
		return NULL;
	return TAKE_PTR(obj);
}

uint32_t sweep_plan_cells(const struct sweep_plan *plan)
{
	uint32_t n = 1;

	for (size_t a = 0; a < SWEEP_AXES; a++)
		n *= plan->axes[a].n;
	return n;
}

/* The value of each axis at a cell. */
static void locate(const struct sweep_plan *plan, uint32_t cell, const char *ret[SWEEP_AXES])
{
	for (size_t a = SWEEP_AXES; a-- > 0; cell /= plan->axes[a].n)
		ret[a] = plan->axes[a].values[cell % plan->axes[a].n];
}

void sweep_plan_spec(const struct sweep_plan *plan, uint32_t cell, struct spec *ret)
{
	const char *values[SWEEP_AXES];

	locate(plan, cell, values);
	*ret = plan->base;
	for (size_t a = 0; a < SWEEP_AXES; a++)
		memcpy((char *)ret + axes[a].offset, values[a], axes[a].size);
}

int sweep_add_place(const struct sweep_plan *plan, uint32_t cell, json_object *into)
{
	const char *values[SWEEP_AXES];

	locate(plan, cell, values);
	if (json_add_u64(into, "cell", cell) < 0)
		return -ENOMEM;
	for (size_t a = 0; a < SWEEP_AXES; a++)
		if (json_add(into, axes[a].member, axis_value(&axes[a], values[a])) < 0)
			return -ENOMEM;
	return 0;
}

void sweep_plan_order(const struct sweep_plan *plan, uint32_t round, uint32_t *ret_order)
{
	uint64_t state = plan->seed;

	/* the round is added to a mixed number, so that no two seeds share their rounds' orders */
	state = stats_random(&state) + round;
	stats_shuffle(ret_order, sweep_plan_cells(plan), stats_random(&state));
}

/* ---- samples ---- */

static double number(json_object *obj, const char *path)
{
	json_object *v = json_at(obj, path);

	return json_object_is_type(v, json_type_double) || json_object_is_type(v, json_type_int)
		       ? json_object_get_double(v)
		       : NAN;
}

static const char *text(json_object *obj, const char *path)
{
	json_object *v = json_at(obj, path);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

static const char *why_no_sample(json_object *document, const char *state)
{
	const char *message = text(document, "error/message");

	if (!str_eq(state, "done"))
		return message ? message : "the run failed without a reason";
	return isfinite(number(document, "app/throughput_gbps")) ? NULL : "the run measured no throughput";
}

/* Type SweepSample of a result document. */
static json_object *sample_new(json_object *document)
{
	static const struct {
		const char *name, *path;
	} figures[] = {
		{"throughput_gbps", "app/throughput_gbps"},
		{"latency_p50_us", "app/latency_us/p50"},
		{"latency_p99_us", "app/latency_us/p99"},
		{"copies_per_byte", "ledger/copies_per_byte/total"},
	};
	_cleanup_json_ json_object *o = json_object_new_object();
	json_object *balanced = json_at(document, "ledger/balanced");
	const char *state = text(document, "state");

	if (!o || json_add_str(o, "id", text(document, "id")) < 0 || json_add_str(o, "state", state) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(figures); i++)
		if (json_add_double(o, figures[i].name, number(document, figures[i].path)) < 0)
			return NULL;
	if (json_add_str(o, "verdict", text(document, "zerocopy/verdict")) < 0 ||
		json_object_object_add(o, "balanced", json_object_get(balanced)) < 0 ||
		json_add_str(o, "reason", why_no_sample(document, state)) < 0)
		return NULL;
	return TAKE_PTR(o);
}

static json_object *sample_at(const struct cell *cell, size_t i)
{
	return json_object_array_get_idx(cell->samples, i);
}

static uint32_t n_samples(const struct cell *cell)
{
	return json_object_array_length(cell->samples);
}

static bool sound(json_object *sample)
{
	return !json_at(sample, "reason");
}

/* A figure of all sound samples that have it; ret has room for all samples. */
static size_t figures(const struct cell *cell, const char *name, double *ret)
{
	size_t n = 0;

	for (uint32_t i = 0; i < n_samples(cell); i++) {
		double v = sound(sample_at(cell, i)) ? number(sample_at(cell, i), name) : NAN;

		if (isfinite(v))
			ret[n++] = v;
	}
	return n;
}

static double median_of(const struct cell *cell, const char *name)
{
	double values[LIMIT_SWEEP_REPEAT], median = NAN;

	stats_median(values, figures(cell, name, values), &median);
	return median;
}

static struct interval interval_of(const struct sweep *s, const struct cell *cell, const char *name)
{
	struct interval i = unknown;
	double values[LIMIT_SWEEP_REPEAT];
	size_t n = figures(cell, name, values);

	if (stats_median(values, n, &i.median) == 0 &&
		stats_bootstrap_median_interval(
			values, n, SWEEP_LEVEL, SWEEP_RESAMPLES, s->plan.seed, &i.low, &i.high) == 0)
		i.coverage = n < 6 ? stats_range_coverage(n) : SWEEP_LEVEL;
	return i;
}

static bool converged(const struct cell *cell)
{
	struct interval i = cell->throughput;

	if (n_samples(cell) - cell->failures < SWEEP_REPEATS_MIN)
		return false;
	return i.median - i.low <= SWEEP_WITHIN * i.median && i.high - i.median <= SWEEP_WITHIN * i.median;
}

static const char *stop(const struct sweep *s, const struct cell *cell)
{
	uint32_t n = n_samples(cell);

	if (converged(cell))
		return "converged";
	if (cell->failures == n && n >= MIN(SWEEP_REPEATS_MIN, s->plan.repeat))
		return "failed";
	return n >= s->plan.repeat ? "repeats" : NULL;
}

static bool has_run(const struct cell *cell, const char *id)
{
	for (uint32_t i = 0; i < n_samples(cell); i++)
		if (str_eq(text(sample_at(cell, i), "id"), id))
			return true;
	return false;
}

bool sweep_has(const struct sweep *s, uint32_t cell, const char *run)
{
	return cell < s->n_cells && has_run(&s->cells[cell], run);
}

/* Takes the sample over. */
static int add_sample(struct sweep *s, uint32_t cell, json_object *sample)
{
	struct cell *c = &s->cells[cell];

	c->failures += !sound(sample);
	return json_push(c->samples, sample);
}

/* What the samples of a cell come to, once all that there are have been added. */
static void judge(struct sweep *s, uint32_t cell)
{
	struct cell *c = &s->cells[cell];

	c->throughput = interval_of(s, c, "throughput_gbps");
	c->stopped = stop(s, c);
	if (c->stopped)
		s->ended[s->n_ended++] = cell;
}

int sweep_take(struct sweep *s, uint32_t cell, json_object *document)
{
	const char *state = text(document, "state"), *id = text(document, "id"), *code;
	json_object *sample;
	int r;

	if (cell >= s->n_cells)
		return -ENOENT;
	code = text(document, "error/code");
	if (!id || !state || !(str_eq(state, "done") || str_eq(state, "failed")) ||
		(code && str_eq(code, "daemon_ended")))
		return -ENODATA;
	if (s->cells[cell].stopped || has_run(&s->cells[cell], id))
		return -EEXIST;
	sample = sample_new(document);
	r = sample ? add_sample(s, cell, sample) : -ENOMEM;
	if (r == 0)
		judge(s, cell);
	return r;
}

/* ---- rows ---- */

static int add_interval(json_object *row, const char *name, struct interval i)
{
	json_object *o = json_object_new_object();

	if (json_add_double(o, "median", i.median) < 0 || json_add_double(o, "low", i.low) < 0 ||
		json_add_double(o, "high", i.high) < 0 || json_add_double(o, "coverage", i.coverage) < 0) {
		json_drop(o);
		return -ENOMEM;
	}
	return json_add(row, name, o);
}

static int add_latency(json_object *row, const struct cell *cell)
{
	json_object *o = json_object_new_object();

	if (json_add_double(o, "p50", median_of(cell, "latency_p50_us")) < 0 ||
		json_add_double(o, "p99", median_of(cell, "latency_p99_us")) < 0) {
		json_drop(o);
		return -ENOMEM;
	}
	return json_add(row, "latency_us", o);
}

/* What all sound samples say; "mixed" if they differ. */
static const char *verdict_of(const struct cell *cell)
{
	const char *verdict = NULL;

	for (uint32_t i = 0; i < n_samples(cell); i++) {
		const char *v = sound(sample_at(cell, i)) ? text(sample_at(cell, i), "verdict") : NULL;

		if (v && verdict && !str_eq(v, verdict))
			return "mixed";
		verdict = v ? v : verdict;
	}
	return verdict;
}

/* One that is not balanced is enough; null: none could say. */
static json_object *balanced_of(const struct cell *cell)
{
	json_object *balanced = NULL;

	for (uint32_t i = 0; i < n_samples(cell); i++) {
		json_object *b = sound(sample_at(cell, i)) ? json_at(sample_at(cell, i), "balanced") : NULL;

		if (b && (!balanced || !json_object_get_boolean(b)))
			balanced = b;
	}
	return json_object_get(balanced);
}

static const char *first_reason(const struct cell *cell)
{
	for (uint32_t i = 0; i < n_samples(cell); i++)
		if (!sound(sample_at(cell, i)))
			return text(sample_at(cell, i), "reason");
	return NULL;
}

static int add_runs(json_object *row, const struct cell *cell)
{
	_cleanup_json_ json_object *ids = json_object_new_array();

	for (uint32_t i = 0; ids && i < n_samples(cell); i++)
		if (json_push(ids, json_object_get(json_at(sample_at(cell, i), "id"))) < 0)
			return -ENOMEM;
	if (json_add(row, "run_ids", TAKE_PTR(ids)) < 0)
		return -ENOMEM;
	return json_add(row, "samples", json_object_get(cell->samples));
}

json_object *sweep_row(const struct sweep *s, uint32_t cell, bool whole)
{
	_cleanup_json_ json_object *row = json_object_new_object();
	const struct cell *c = &s->cells[cell];

	if (!row || sweep_add_place(&s->plan, cell, row) < 0 ||
		json_add_u64(row, "repeats", n_samples(c)) < 0 ||
		json_add_u64(row, "failures", c->failures) < 0 ||
		json_add_str(row, "reason", first_reason(c)) < 0 ||
		add_interval(row, "throughput_gbps", c->throughput) < 0 || add_latency(row, c) < 0 ||
		json_add_double(row, "copies_per_byte", median_of(c, "copies_per_byte")) < 0 ||
		json_add_str(row, "verdict", verdict_of(c)) < 0 ||
		json_object_object_add(row, "balanced", balanced_of(c)) < 0 ||
		json_add_str(row, "stopped", c->stopped) < 0 || (whole && add_runs(row, c) < 0))
		return NULL;
	return TAKE_PTR(row);
}

int sweep_restore(struct sweep *s, json_object *row)
{
	json_object *samples = json_at(row, "samples"), *cell = json_at(row, "cell");
	int64_t index = json_object_get_int64(cell);
	int r = 0;

	if (!json_object_is_type(samples, json_type_array) || !json_object_is_type(cell, json_type_int) ||
		index < 0 || index >= s->n_cells || n_samples(&s->cells[index]) > 0 ||
		json_object_array_length(samples) > s->plan.repeat)
		return -EBADMSG;
	for (size_t i = 0; r == 0 && i < json_object_array_length(samples); i++) {
		json_object *sample = json_object_array_get_idx(samples, i);

		if (!text(sample, "id"))
			return -EBADMSG;
		r = add_sample(s, index, json_object_get(sample));
	}
	/* once: it went on after each sample but the last, or there would be no more of them */
	if (r == 0)
		judge(s, index);
	return r;
}

/* ---- the sweep ---- */

int sweep_new(const struct sweep_plan *plan, struct sweep **ret)
{
	_cleanup_(sweep_freep) struct sweep *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->plan = *plan;
	s->n_cells = sweep_plan_cells(plan);
	s->order_round = UINT32_MAX;
	s->cells = calloc(s->n_cells, sizeof(*s->cells));
	s->ended = calloc(s->n_cells, sizeof(*s->ended));
	s->order = calloc(s->n_cells, sizeof(*s->order));
	if (!s->cells || !s->ended || !s->order)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->n_cells; i++) {
		s->cells[i].throughput = unknown;
		s->cells[i].samples = json_object_new_array();
		if (!s->cells[i].samples)
			return -ENOMEM;
	}
	*ret = TAKE_PTR(s);
	return 0;
}

struct sweep *sweep_free(struct sweep *s)
{
	if (!s)
		return NULL;
	for (uint32_t i = 0; s->cells && i < s->n_cells; i++)
		json_drop(s->cells[i].samples);
	free(s->cells);
	free(s->ended);
	free(s->order);
	free(s);
	return NULL;
}

const struct sweep_plan *sweep_plan(const struct sweep *s)
{
	return &s->plan;
}

/* The round that goes on is that of the cell with the fewest runs. */
static bool current_round(const struct sweep *s, uint32_t *ret)
{
	bool found = false;

	for (uint32_t i = 0; i < s->n_cells; i++)
		if (!s->cells[i].stopped && (!found || n_samples(&s->cells[i]) < *ret)) {
			*ret = n_samples(&s->cells[i]);
			found = true;
		}
	return found;
}

bool sweep_next(struct sweep *s, uint32_t *ret_cell, uint32_t *ret_round)
{
	uint32_t round = 0;

	if (!current_round(s, &round))
		return false;
	if (s->order_round != round)
		sweep_plan_order(&s->plan, round, s->order);
	s->order_round = round;
	for (uint32_t i = 0; i < s->n_cells; i++) {
		const struct cell *c = &s->cells[s->order[i]];

		if (!c->stopped && n_samples(c) == round) {
			*ret_cell = s->order[i];
			*ret_round = round;
			return true;
		}
	}
	return false;
}

bool sweep_ended(const struct sweep *s, uint32_t i, uint32_t *ret_cell)
{
	if (i >= s->n_ended)
		return false;
	*ret_cell = s->ended[i];
	return true;
}

static uint32_t unbalanced_of(const struct cell *cell)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_samples(cell); i++) {
		json_object *b = json_at(sample_at(cell, i), "balanced");

		n += b && sound(sample_at(cell, i)) && !json_object_get_boolean(b);
	}
	return n;
}

struct sweep_counts sweep_count(const struct sweep *s)
{
	struct sweep_counts n = {.cells = s->n_cells, .cells_done = s->n_ended};

	for (uint32_t i = 0; i < s->n_cells; i++) {
		const struct cell *c = &s->cells[i];

		n.runs_done += n_samples(c);
		n.runs_failed += c->failures;
		n.unbalanced += unbalanced_of(c);
		n.runs_expected += c->stopped ? n_samples(c) : s->plan.repeat;
		n.cells_failed += c->stopped && str_eq(c->stopped, "failed");
		n.converged += c->stopped && str_eq(c->stopped, "converged");
	}
	return n;
}
