// SPDX-License-Identifier: MIT
/* The figures as a table: curves over sizes or threads, stacked copies, the latency's distribution. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "crossover.h"
#include "figures.h"
#include "gnuplot.h"
#include "render.h"
#include "stats.h"

#define MODES_MAX 16
#define THREADS 4
#define SIZE 1024

/* Colours by Okabe and Ito ("Color Universal Design", 2008), told apart by every kind of eye; points and
 * dashes for print. */
static const struct look {
	const char *color;
	int point, dash;
} looks[] = {
	{"#0072B2", 5, 1},
	{"#D55E00", 7, 2},
	{"#009E73", 9, 4},
	{"#CC79A7", 11, 5},
	{"#56B4E9", 13, 3},
	{"#E69F00", 4, 1},
	{"#000000", 6, 2},
};

static const struct stack_site {
	const char *measure, *title, *color;
} stack_sites[] = {
	{"copies_per_byte.app_pack", "packed by the application (app_pack)", "#56B4E9"},
	{"copies_per_byte.tx_copy", "user to kernel (tx_copy)", "#0072B2"},
	{"copies_per_byte.tx_deferred_copy", "copied after all (tx_deferred_copy)", "#D55E00"},
	{"copies_per_byte.skb_copy", "inside the kernel (skb_copy)", "#CC79A7"},
	{"copies_per_byte.rx_copy", "kernel to user (rx_copy)", "#BBBBBB"},
};

struct drawing;

struct kind {
	struct figure_kind public;
	const char *measure, *instead; /* instead: where no run has the measure */
	const char *x_label;
	bool over_threads, log_y, crossings;
	void (*draw)(struct drawing *w); /* of another kind than curves; fills the script and the table */
};

struct drawing {
	const struct dataset *d;
	const struct kind *kind;
	const struct figure_place *at;
	const struct measure *measure;
	const char *missing; /* why it is not the measure that was meant; NULL: it is */
	const char *modes[MODES_MAX];
	size_t n_modes, points, most_runs;
	FILE *script, *table;
};

static void draw_stack(struct drawing *w);
static void draw_cdf(struct drawing *w);

static const struct kind kinds[] = {
	{{"throughput_size", "Throughput over message size"}, "throughput_gbps", NULL, "message size",
		.log_y = true},
	{{"latency_threads", "Mean latency over threads"}, "avg_latency_us", NULL, "threads",
		.over_threads = true, .log_y = true},
	{{"cache_misses_size", "Last-level cache misses over message size"}, "cache_misses",
		"cpu_ns_per_byte", "message size", .log_y = true},
	{{"cycles_per_byte_size", "CPU cycles per byte over message size"}, "cycles_per_byte",
		"cpu_ns_per_byte", "message size", .log_y = true},
	{{"cost_size", "CPU time per byte over message size, with the crossings"}, "cpu_ns_per_byte", NULL,
		"message size", .log_y = true, .crossings = true},
	{{"copies_size", "Copies per byte over message size"}, "copies_per_byte", NULL, "message size",
		.draw = draw_stack},
	{{"latency_cdf", "Distribution of the latency"}, "latency_p50_us", NULL, "latency in µs",
		.draw = draw_cdf},
};

size_t figure_kinds(void)
{
	return ARRAY_SIZE(kinds);
}

const struct figure_kind *figure_kind(size_t i)
{
	return i < ARRAY_SIZE(kinds) ? &kinds[i].public : NULL;
}

/* ---- what the data has ---- */

static bool first_of_pair(const struct dataset *d, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(d->cells[k].path, d->cells[i].path) &&
			str_eq(d->cells[k].workload, d->cells[i].workload))
			return false;
	return true;
}

static int64_t threads_of(const struct cell *c)
{
	return c->threads;
}

static int64_t size_of(const struct cell *c)
{
	return c->size;
}

/* What is nearest to wanted on a scale of powers. */
static int64_t nearest(const struct dataset *d, int64_t (*value)(const struct cell *), int64_t wanted)
{
	int64_t best = 0;

	for (size_t i = 0; i < d->n_cells; i++) {
		int64_t v = value(&d->cells[i]);

		if (!best ||
			fabs(log2((double)v / (double)wanted)) < fabs(log2((double)best / (double)wanted)))
			best = v;
	}
	return best;
}

bool figure_place(const struct dataset *d, size_t i, int64_t threads, int64_t size, struct figure_place *ret)
{
	for (size_t k = 0; k < d->n_cells; k++) {
		if (!first_of_pair(d, k) || i-- > 0)
			continue;
		*ret = (struct figure_place){d->cells[k].path, d->cells[k].workload,
			threads ? threads : nearest(d, threads_of, THREADS),
			size ? size : nearest(d, size_of, SIZE)};
		return true;
	}
	return false;
}

/* All different values, ascending, as a text. */
static void list_values(
	const struct dataset *d, int64_t (*value)(const struct cell *), char *text, size_t room)
{
	int64_t last = 0, next;

	*text = '\0';
	do {
		next = INT64_MAX;
		for (size_t i = 0; i < d->n_cells; i++)
			if (value(&d->cells[i]) > last)
				next = MIN(next, value(&d->cells[i]));
		if (next != INT64_MAX)
			snprintf(text + strlen(text), room - strlen(text), "%s%" PRId64, *text ? ", " : "",
				next);
		last = next;
	} while (next != INT64_MAX);
}

static int check_one(const struct dataset *d, int64_t (*value)(const struct cell *), const char *name,
	int64_t wanted, struct fault *reterr)
{
	char there[200];

	for (size_t i = 0; i < d->n_cells && wanted; i++)
		if (value(&d->cells[i]) == wanted)
			return 0;
	if (!wanted)
		return 0;
	list_values(d, value, there, sizeof(there));
	return fault_set(reterr, -EINVAL, "usage", name, "'%s' has no cell with %s %" PRId64 "; there are %s",
		d->source, name, wanted, there);
}

int figure_check(const struct dataset *d, int64_t threads, int64_t size, struct fault *reterr)
{
	int r = check_one(d, threads_of, "threads", threads, reterr);

	return r < 0 ? r : check_one(d, size_of, "size", size, reterr);
}

static bool at_place(const struct drawing *w, const struct cell *c)
{
	return str_eq(c->path, w->at->path) && str_eq(c->workload, w->at->workload);
}

/* Cells of a curve: of one mode, over sizes at these threads, or over threads at this size. They are in
 * order. */
static bool on_curve(const struct drawing *w, const struct cell *c, const char *mode)
{
	return at_place(w, c) && str_eq(c->mode, mode) &&
	       (w->kind->over_threads ? c->size == w->at->size : c->threads == w->at->threads);
}

static void find_modes(struct drawing *w)
{
	for (size_t i = 0; i < w->d->n_cells; i++) {
		size_t k = 0;

		while (k < w->n_modes && !str_eq(w->modes[k], w->d->cells[i].mode))
			k++;
		if (k == w->n_modes && k < MODES_MAX)
			w->modes[w->n_modes++] = w->d->cells[i].mode;
	}
}

static void find_measure(struct drawing *w)
{
	const char *reason = NULL;

	w->measure = measure_find(w->kind->measure);
	if (!w->kind->instead)
		return;
	for (size_t i = 0; i < w->d->n_cells; i++) {
		struct estimate e = cell_estimate(&w->d->cells[i], w->measure, w->d->seed);

		if (e.n)
			return;
		reason = e.reason;
	}
	w->missing = reason ? reason : "nothing was measured";
	w->measure = measure_find(w->kind->instead);
}

/* ---- the script ---- */

/* "loopback, stream, 4 threads; median of up to 6 runs, 95 % interval" */
static void put_conditions(const struct drawing *w, FILE *f)
{
	bool cdf = w->kind->draw == draw_cdf;

	fprintf(f, "%s, %s", w->at->path, w->at->workload);
	if (!w->kind->over_threads)
		fprintf(f, ", %" PRId64 " thread%s", w->at->threads, w->at->threads == 1 ? "" : "s");
	if (w->kind->over_threads || cdf)
		fprintf(f, ", %s", figure_size(w->at->size).s);
	fprintf(f, cdf ? "; all messages of %zu run%s" : "; median of up to %zu run%s, 95 %% interval",
		w->most_runs, w->most_runs == 1 ? "" : "s");
}

static void put_title(const struct drawing *w)
{
	json_object *example = dataset_example(w->d);
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return;
	fprintf(f, "%s\n", w->kind->public.title);
	put_conditions(w, f);
	fprintf(f, "\nLinux %s, %s; copyledger %s", doc_text(example, "host.kernel.release"),
		doc_text(example, "host.cpu.model"), doc_text(example, "host.software.copyledger"));
	if (w->missing)
		fprintf(f, "\nnot counted here (%s): CPU time per byte instead", w->missing);
	fclose(f);
	fputs("set title \"\"", w->script);
	for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
		fprintf(w->script, ".%s", line == text ? "" : "\"\\n\".");
		gnuplot_string(w->script, line);
	}
	fputc('\n', w->script);
}

static void put_terminal(FILE *f, enum figure_format format, const char *file)
{
	static const char *const terminals[] = {
		[FIGURE_SVG] =
			"svg size 960,600 dynamic noenhanced font \"sans-serif,14\" background \"#ffffff\"",
		[FIGURE_PNG] = "pngcairo size 1280,800 noenhanced font \"sans,14\" background \"#ffffff\"",
	};

	fprintf(f, "set terminal %s\nset output ", terminals[format]);
	gnuplot_string(f, file);
	fputs("\nset encoding utf8\nset decimalsign '.'\nset title font \",13\"\nset border 3\nset tics "
	      "nomirror\n"
	      "set grid lt 1 lw 0.7 lc rgb \"#dddddd\"\nset bmargin 6\n"
	      "set key at screen 0.5, screen 0.02 center bottom horizontal Left reverse samplen 3\n",
		f);
}

/* Of a value twice gnuplot shows one. */
static void put_x_tics(const struct drawing *w)
{
	const char *sep = "";

	fputs("set logscale x 2\nset xtics (", w->script);
	for (size_t i = 0; i < w->d->n_cells; i++) {
		const struct cell *c = &w->d->cells[i];

		if (!on_curve(w, c, c->mode))
			continue;
		fprintf(w->script, "%s", sep);
		gnuplot_string(w->script,
			w->kind->over_threads ? figure_count(c->threads).s : figure_size(c->size).s);
		fprintf(w->script, " %" PRId64, w->kind->over_threads ? c->threads : c->size);
		sep = ", ";
	}
	fputs(")\nset offsets graph 0.03, graph 0.03, 0, 0\n", w->script);
}

static void put_axes(const struct drawing *w)
{
	const char *unit = w->measure->unit;

	fputs("set xlabel ", w->script);
	gnuplot_string(w->script, w->kind->x_label);
	fputs("\nset ylabel ", w->script);
	gnuplot_string(w->script, w->measure->title);
	if (*unit) {
		fputs(".\" in \".", w->script);
		gnuplot_string(w->script, unit);
	}
	fputc('\n', w->script);
	if (w->kind->log_y)
		fputs("set logscale y 10\n", w->script);
	if (!w->kind->draw)
		put_x_tics(w);
}

/* ---- curves ---- */

static void put_runs(FILE *f, const struct cell *c)
{
	for (size_t i = 0; i < c->n_runs; i++)
		fprintf(f, "%s%s", i ? " " : "", doc_text(c->runs[i], "id"));
	fputc('\n', f);
}

static void put_point(struct drawing *w, const struct cell *c, struct estimate e)
{
	int64_t x = w->kind->over_threads ? c->threads : c->size;
	double low = e.n > 1 ? e.low : e.median, high = e.n > 1 ? e.high : e.median;

	w->points++;
	w->most_runs = MAX(w->most_runs, e.n);
	if (w->script)
		fprintf(w->script, "%" PRId64 " %.17g %.17g %.17g\n", x, e.median, low, high);
	if (w->table) {
		fprintf(w->table, "%s\t%" PRId64 "\t%.17g\t%.17g\t%.17g\t%zu\t", c->mode, x, e.median, low,
			high, e.n);
		put_runs(w->table, c);
	}
}

static void put_curve_data(struct drawing *w, size_t mode)
{
	if (w->script)
		fprintf(w->script, "$d%zu << EOD\n", mode);
	for (size_t i = 0; i < w->d->n_cells; i++) {
		const struct cell *c = &w->d->cells[i];
		struct estimate e;

		if (!on_curve(w, c, w->modes[mode]))
			continue;
		e = cell_estimate(c, w->measure, w->d->seed);
		if (e.n)
			put_point(w, c, e);
		else if (w->script)
			fputc('\n', w->script); /* a gap */
	}
	if (w->script)
		fputs("EOD\n", w->script);
}

/* Two curves where both were measured. */
struct curves {
	struct cross_point *points;
	double **values; /* two a point, owned */
	size_t n;
};

static void curves_free(struct curves *c)
{
	for (size_t i = 0; c->values && i < 2 * c->n; i++)
		free(c->values[i]);
	free(c->values);
	free(c->points);
}

static void add_point(const struct drawing *w, struct curves *c, const struct cell *a, const struct cell *b)
{
	_cleanup_free_ double *va = NULL, *vb = NULL;
	const char *reason;
	ssize_t n_a, n_b;

	n_a = cell_values(a, w->measure, &va, &reason);
	n_b = cell_values(b, w->measure, &vb, &reason);
	if (n_a < 1 || n_b < 1)
		return;
	c->points[c->n] = (struct cross_point){(double)a->size, vb, va, (size_t)n_b, (size_t)n_a};
	c->values[2 * c->n] = TAKE_PTR(va);
	c->values[2 * c->n + 1] = TAKE_PTR(vb);
	c->n++;
}

static int make_curves(const struct drawing *w, const char *a, const char *b, struct curves *ret)
{
	*ret = (struct curves){
		.points = calloc(w->d->n_cells, sizeof(*ret->points)),
		.values = calloc(2 * w->d->n_cells, sizeof(*ret->values)),
	};
	if (!ret->points || !ret->values)
		return -ENOMEM;
	for (size_t i = 0; i < w->d->n_cells; i++) {
		const struct cell *from = &w->d->cells[i], *to;

		if (!on_curve(w, from, a))
			continue;
		to = dataset_cell(w->d, from->path, from->workload, b, from->size, from->threads);
		if (to)
			add_point(w, ret, from, to);
	}
	return 0;
}

/* Where one way gets cheaper than the one before it, as an upright line with the interval in its label. */
static void put_crossing(struct drawing *w, const char *a, const char *b, int row)
{
	struct crossover x;
	struct curves c;

	if (make_curves(w, a, b, &c) == 0 &&
		crossover_find(c.points, c.n, ESTIMATE_LEVEL, ESTIMATE_RESAMPLES, w->d->seed, &x) == 0 &&
		x.kind == CROSS_AT && x.at > 0 && isfinite(x.at)) {
		fprintf(w->script,
			"set arrow from %.17g, graph 0 to %.17g, graph 1 nohead dt 3 lc rgb \"#555555\"\n",
			x.at, x.at);
		fprintf(w->script,
			"set label \" %s cheaper than %s from %s\" at %.17g, graph %.2f font \",11\"\n", b, a,
			figure_mean_size(x.at).s, x.at, 0.97 - 0.05 * row);
	}
	curves_free(&c);
}

static void put_crossings(struct drawing *w)
{
	int row = 0;

	for (size_t i = 0; i < w->n_modes; i++)
		for (size_t k = i + 1; k < w->n_modes; k++)
			put_crossing(w, w->modes[i], w->modes[k], row++);
}

static void plot_curves(struct drawing *w)
{
	fputs("plot ", w->script);
	for (size_t i = 0; i < w->n_modes; i++) {
		const struct look *look = &looks[i % ARRAY_SIZE(looks)];

		fprintf(w->script,
			"%s$d%zu using 1:2:3:4 with yerrorlines lc rgb \"%s\" pt %d ps 1.1 dt %d lw 2 title ",
			i ? ", " : "", i, look->color, look->point, look->dash);
		gnuplot_string(w->script, w->modes[i]);
	}
	fputc('\n', w->script);
}

static void draw_curves(struct drawing *w)
{
	if (w->table)
		fprintf(w->table, "mode\t%s\tmedian_%s\tlow\thigh\tn\trun_ids\n",
			w->kind->over_threads ? "threads" : "size", w->measure->name);
	for (size_t i = 0; i < w->n_modes; i++)
		put_curve_data(w, i);
	if (w->script && w->kind->crossings)
		put_crossings(w);
}

/* ---- copies, stacked ---- */

static void put_bar(struct drawing *w, const struct cell *c, double x, const char *size, bool labelled)
{
	double from = 0;

	for (size_t i = 0; i < ARRAY_SIZE(stack_sites); i++) {
		struct estimate e = cell_estimate(c, measure_find(stack_sites[i].measure), w->d->seed);

		if (!e.n)
			continue;
		w->points++;
		w->most_runs = MAX(w->most_runs, e.n);
		if (w->table) {
			fprintf(w->table, "%s\t%" PRId64 "\t%s\t%.17g\t%.17g\t%.17g\t%zu\t", c->mode, c->size,
				stack_sites[i].measure + strlen("copies_per_byte."), e.median, e.low, e.high,
				e.n);
			put_runs(w->table, c);
		}
		if (w->script && e.median > 0)
			fprintf(w->script,
				"set object rect from %.3f,%.17g to %.3f,%.17g fc rgb \"%s\" fs solid 1 "
				"border lc rgb "
				"\"#444444\" lw 0.5\n",
				x - 0.45, from, x + 0.45, from + e.median, stack_sites[i].color);
		from += e.median;
	}
	if (!w->script)
		return;
	fprintf(w->script, "set label ");
	gnuplot_string(w->script, c->mode);
	fprintf(w->script, " at %.3f,%.17g rotate by 90 font \",9\" offset 0,0.4\n", x, from);
	if (labelled) {
		fputs("set label ", w->script);
		gnuplot_string(w->script, size);
		fprintf(w->script, " at %.3f,graph -0.05 center\n", x + ((double)w->n_modes - 1) / 2);
	}
}

static void draw_stack(struct drawing *w)
{
	int64_t last = 0, next;
	double x = 0;

	if (w->table)
		fputs("mode\tsize\tsite\tmedian\tlow\thigh\tn\trun_ids\n", w->table);
	for (;; last = next, x += 1) {
		next = INT64_MAX;
		for (size_t i = 0; i < w->d->n_cells; i++)
			if (on_curve(w, &w->d->cells[i], w->d->cells[i].mode) && w->d->cells[i].size > last)
				next = MIN(next, w->d->cells[i].size);
		if (next == INT64_MAX)
			break;
		for (size_t k = 0; k < w->n_modes; k++, x += 1) {
			const struct cell *c = dataset_cell(
				w->d, w->at->path, w->at->workload, w->modes[k], next, w->at->threads);

			if (c)
				put_bar(w, c, x, figure_size(next).s, k == 0);
		}
	}
	if (!w->script)
		return;
	fprintf(w->script,
		"unset xtics\nset xlabel offset 0,-1.8\nset bmargin 8\nset key maxcols 3\nset yrange "
		"[0:4.2]\nset xrange "
		"[-1:%.1f]\nplot ",
		x - 1);
	for (size_t i = 0; i < ARRAY_SIZE(stack_sites); i++) {
		fprintf(w->script, "%sNaN with boxes fs solid 1 lc rgb \"%s\" title ", i ? ", " : "",
			stack_sites[i].color);
		gnuplot_string(w->script, stack_sites[i].title);
	}
	fputc('\n', w->script);
}

/* ---- the latency's distribution ---- */

/* The buckets of all of a cell's runs together, as {low, count} by the upper end in ns. */
static json_object *pooled(const struct cell *c, double *ret_total)
{
	json_object *sum = json_object_new_object();

	*ret_total = 0;
	for (size_t i = 0; i < c->n_runs; i++) {
		json_object *buckets = doc_at(c->runs[i], "app.latency_us.buckets");

		for (size_t k = 0; k < doc_length(buckets); k++) {
			json_object *b = json_object_array_get_idx(buckets, k), *had;
			int64_t high = 0, count = 0;
			char key[24];

			doc_integer(b, "high_ns", &high);
			doc_integer(b, "count", &count);
			snprintf(key, sizeof(key), "%020" PRId64, high);
			if (json_object_object_get_ex(sum, key, &had))
				count += json_object_get_int64(had);
			json_object_object_add(sum, key, json_object_new_int64(count));
		}
	}
	json_object_object_foreach(sum, name, value)
	{
		(void)name;
		*ret_total += json_object_get_double(value);
	}
	return sum;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_distribution(struct drawing *w, const struct cell *c, size_t mode)
{
	double total, seen = 0;
	_cleanup_json_ json_object *sum = pooled(c, &total);
	_cleanup_free_ const char **keys = calloc(json_object_object_length(sum) + 1, sizeof(*keys));
	size_t n = 0;

	if (!keys)
		return;
	json_object_object_foreach(sum, name, value)
	{
		(void)value;
		keys[n++] = name;
	}
	qsort(keys, n, sizeof(*keys), by_text);
	if (w->script)
		fprintf(w->script, "$d%zu << EOD\n", mode);
	for (size_t i = 0; i < n; i++) {
		double us = strtod(keys[i], NULL) / 1000;

		seen += json_object_get_double(json_object_object_get(sum, keys[i]));
		w->points++;
		if (w->script)
			fprintf(w->script, "%.17g %.17g\n", us, seen / total);
		if (w->table)
			fprintf(w->table, "%s\t%.17g\t%.17g\n", c->mode, us, seen / total);
	}
	w->most_runs = MAX(w->most_runs, c->n_runs);
	if (w->script)
		fputs("EOD\n", w->script);
}

static void draw_cdf(struct drawing *w)
{
	const char *sep = "plot ";
	const struct cell *cells[MODES_MAX] = {};

	if (w->table)
		fputs("mode\tlatency_us\tshare\n", w->table);
	for (size_t i = 0; i < w->n_modes; i++) {
		cells[i] = dataset_cell(
			w->d, w->at->path, w->at->workload, w->modes[i], w->at->size, w->at->threads);
		if (cells[i])
			put_distribution(w, cells[i], i);
	}
	if (!w->script)
		return;
	fputs("set logscale x 10\nset xtics (\"1\" 1, \"10\" 10, \"100\" 100, \"1,000\" 1e3, \"10,000\" 1e4, "
	      "\"100,000\" 1e5, \"1,000,000\" 1e6)\nset ylabel \"share of the messages\"\nset yrange [0:1]\n",
		w->script);
	for (size_t i = 0; i < w->n_modes; i++) {
		const struct look *look = &looks[i % ARRAY_SIZE(looks)];

		if (!cells[i])
			continue;
		fprintf(w->script, "%s$d%zu using 1:2 with steps lc rgb \"%s\" dt %d lw 2 title ", sep, i,
			look->color, look->dash);
		gnuplot_string(w->script, w->modes[i]);
		sep = ", ";
	}
	fputc('\n', w->script);
}

/* ---- whole figures ---- */

static void set_up(struct drawing *w, const struct dataset *d, size_t kind, const struct figure_place *at)
{
	*w = (struct drawing){.d = d, .kind = &kinds[kind], .at = at};
	find_modes(w);
	find_measure(w);
}

static void draw_body(struct drawing *w)
{
	if (w->kind->draw)
		w->kind->draw(w);
	else
		draw_curves(w);
}

/* The number of runs stands in the title, before the data: so the data is gone through twice. */
static int write_script(
	struct drawing *w, enum figure_format format, const char *file, char **ret, struct fault *reterr)
{
	size_t size;

	draw_body(w);
	if (!w->points)
		return fault_set(reterr, -ENODATA, "no_data", "",
			"%s over %s, %s: no run has what the figure shows", w->kind->public.name, w->at->path,
			w->at->workload);
	w->script = open_memstream(ret, &size);
	if (!w->script)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	put_terminal(w->script, format, file);
	put_title(w);
	put_axes(w);
	draw_body(w);
	if (!w->kind->draw)
		plot_curves(w);
	return fclose(w->script) == 0 ? 0 : fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
}

int figure_draw(const struct dataset *d, size_t kind, const struct figure_place *at,
	enum figure_format format, const char *file, struct fault *reterr)
{
	_cleanup_free_ char *script = NULL;
	struct drawing w;
	int r;

	set_up(&w, d, kind, at);
	r = write_script(&w, format, file, &script, reterr);
	return r < 0 ? r : gnuplot_run(script, reterr);
}

int figure_table(const struct dataset *d, size_t kind, const struct figure_place *at, FILE *f)
{
	struct drawing w;

	set_up(&w, d, kind, at);
	w.table = f;
	draw_body(&w);
	return w.points ? 0 : -ENODATA;
}
