// SPDX-License-Identifier: MIT
/* copyledger plot: figures of measured results, each with the table of its values. */
#include <errno.h>
#include <sys/stat.h>

#include "commands.h"
#include "figures.h"
#include "output.h"

static const struct opt plot_options[] = {
	{"output", 'o', "DIR", NULL, NULL, OPT_LOCAL,
		"the folder for the files, made if it is missing (default: plots)"},
	{"format", 0, "NAME", NULL, NULL, OPT_LOCAL, "svg, png or both (the default)"},
	{"figure", 0, "NAME", NULL, NULL, OPT_LOCAL,
		"only this one: throughput_size, latency_threads, cache_misses_size, cycles_per_byte_size, "
		"cost_size, "
		"copies_size or latency_cdf"},
	{"threads", 't', "N", NULL, opt_integer, OPT_LOCAL,
		"of the figures over size (default 4, or the nearest that was measured)"},
	{"size", 's', "BYTES", NULL, opt_size, OPT_LOCAL,
		"of the figures over threads and of the distribution (default 1K, or the nearest)"},
	{},
};

static const struct {
	const char *name, *ending;
} formats[] = {
	[FIGURE_SVG] = {"svg", "svg"},
	[FIGURE_PNG] = {"png", "png"},
};

struct plotting {
	struct cli *cli;
	const struct dataset *d;
	const char *dir, *format, *figure;
	int64_t threads, size;
	size_t drawn;
	bool several; /* paths or workloads: the files' names say which */
};

/* dir/name[-path-workload].ending; owned by the caller. Of a path's name only what fits a file's name is
 * taken. */
static char *file_name(
	const struct plotting *p, size_t kind, const struct figure_place *at, const char *ending)
{
	char *file = NULL, *s;

	if (asprintf(&file, "%s/%s%s%s%s%s.%s", p->dir, figure_kind(kind)->name, p->several ? "-" : "",
		    p->several ? at->path : "", p->several ? "-" : "", p->several ? at->workload : "",
		    ending) < 0)
		return NULL;
	for (s = file + strlen(p->dir) + 1; *s; s++)
		if (*s == '/' || *s == ':' || *s == ',')
			*s = '-';
	return file;
}

static int write_table(
	const struct plotting *p, size_t kind, const struct figure_place *at, struct fault *reterr)
{
	_cleanup_(output_abandonp) struct output *o = NULL;
	_cleanup_free_ char *file = file_name(p, kind, at, "tsv");
	int r = file ? output_open(file, NULL, &o, reterr) : -ENOMEM;

	if (r < 0)
		return r;
	figure_table(p->d, kind, at, output_stream(o));
	return output_finish(TAKE_PTR(o), 0, reterr);
}

static int plot_format(struct plotting *p, size_t kind, const struct figure_place *at,
	enum figure_format format, struct fault *reterr)
{
	_cleanup_free_ char *file = file_name(p, kind, at, formats[format].ending);
	int r = file ? figure_draw(p->d, kind, at, format, file, reterr) : -ENOMEM;
	struct stat st;

	/* gnuplot does not tell when it cannot write */
	if (r == 0 && (stat(file, &st) < 0 || st.st_size == 0))
		r = fault_set(reterr, -EIO, "output", "", "cannot write '%s': %s", file,
			errno ? strerror(errno) : "it is empty");
	if (r == 0)
		out_line(&p->cli->out, STYLE_NONE, "%s", file);
	return r;
}

static int plot_one(struct plotting *p, size_t kind, const struct figure_place *at, struct fault *reterr)
{
	int r = 0;

	for (size_t f = 0; f < ARRAY_SIZE(formats) && r == 0; f++)
		if (str_eq(p->format, "both") || str_eq(p->format, formats[f].name))
			r = plot_format(p, kind, at, f, reterr);
	if (r == -ENODATA) { /* the others can be drawn all the same */
		out_line(&p->cli->err, STYLE_NONE, "%s", reterr->text);
		return 0;
	}
	p->drawn += r == 0;
	return r < 0 ? r : write_table(p, kind, at, reterr);
}

static int plot_all(struct plotting *p, struct fault *reterr)
{
	struct figure_place at;
	int r = 0;

	p->several = figure_place(p->d, 1, p->threads, p->size, &at);
	for (size_t i = 0; r == 0 && figure_place(p->d, i, p->threads, p->size, &at); i++)
		for (size_t kind = 0; kind < figure_kinds() && r == 0; kind++)
			if (!p->figure || str_eq(p->figure, figure_kind(kind)->name))
				r = plot_one(p, kind, &at, reterr);
	if (r == 0 && !p->drawn)
		r = fault_set(reterr, -ENODATA, "no_data", "", "'%s' has nothing to draw", p->d->source);
	return r;
}

static int check_names(const struct plotting *p, struct fault *reterr)
{
	bool known = !p->figure;

	for (size_t i = 0; i < figure_kinds(); i++)
		known |= p->figure && str_eq(p->figure, figure_kind(i)->name);
	if (!known)
		return fault_set(reterr, -EINVAL, "usage", "",
			"there is no figure '%s'; 'copyledger plot --help' lists them", p->figure);
	if (str_eq(p->format, "svg") || str_eq(p->format, "png") || str_eq(p->format, "both"))
		return 0;
	return fault_set(reterr, -EINVAL, "usage", "", "'--format' is svg, png or both, not '%s'", p->format);
}

static int make_dir(const char *dir, struct fault *reterr)
{
	if (mkdir(dir, 0777) == 0 || errno == EEXIST)
		return 0;
	return fault_set(
		reterr, -errno, "output", "", "cannot make the folder '%s': %s", dir, strerror(errno));
}

static int cmd_plot(struct cli *cli)
{
	const char *source = cli->values.n_operands ? cli->values.operands[0] : "last";
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	json_object *v = cli->values.local;
	struct plotting p = {.cli = cli,
		.dir = doc_string(v, "output"),
		.format = doc_string(v, "format"),
		.figure = doc_string(v, "figure")};
	struct fault fault = {};
	int r;

	p.dir = p.dir ? p.dir : "plots";
	p.format = p.format ? p.format : "both";
	doc_integer(v, "threads", &p.threads);
	doc_integer(v, "size", &p.size);
	r = check_names(&p, &fault);
	if (r == 0)
		r = dataset_open(cli, source, &d, &fault);
	if (r == 0)
		r = dataset_check_alike(d, &fault);
	if (r == 0)
		r = figure_check(d, p.threads, p.size, &fault);
	if (r == 0)
		r = make_dir(p.dir, &fault);
	p.d = d;
	if (r == 0)
		r = plot_all(&p, &fault);
	return r < 0 ? cli_fail(cli, &fault) : STATUS_OK;
}

const struct command command_plot = {
	.name = "plot",
	.operands = "[SOURCE]",
	.summary = "draw measured results as SVG and PNG (by gnuplot)",
	.details = "SOURCE is what 'copyledger export' takes, by default the newest sweep. Beside each "
		   "figure lies NAME.tsv "
		   "with its values and the ids of their runs.",
	.options = plot_options,
	.max_operands = 1,
	.run = cmd_plot,
};
