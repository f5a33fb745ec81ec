// SPDX-License-Identifier: MIT
/* copyledger export: measured results in the formats of other programs. */
#include <errno.h>

#include "commands.h"
#include "dataset.h"
#include "export.h"
#include "output.h"

static const struct opt export_options[] = {
	{"csv", 0, NULL, NULL, NULL, OPT_LOCAL, "a row a cell, medians over its runs (RFC 4180)"},
	{"jsonl", 0, NULL, NULL, NULL, OPT_LOCAL,
		"a result document a line, which every command reads back as a source"},
	{"openmetrics", 0, NULL, NULL, NULL, OPT_LOCAL,
		"samples with the time of their run, for 'promtool tsdb create-blocks-from openmetrics'"},
	{"runs", 0, NULL, NULL, NULL, OPT_LOCAL, "with --csv: a row a run"},
	{"output", 'o', "FILE", NULL, NULL, OPT_LOCAL,
		"write to a file, whole or not at all; - is standard output"},
	{},
};

static int export_jsonl(FILE *f, const struct dataset *d)
{
	int r = 0;

	for (size_t i = 0; i < doc_length(d->documents) && r == 0; i++)
		r = doc_print(f, json_object_array_get_idx(d->documents, i), false);
	return r;
}

static const struct format {
	const char *name;
	int (*write)(FILE *f, const struct dataset *d);
	int (*write_runs)(FILE *f, const struct dataset *d); /* NULL: the same */
} formats[] = {
	{"csv", export_csv_cells, export_csv_runs},
	{"jsonl", export_jsonl, NULL},
	{"openmetrics", export_openmetrics, NULL},
};

static int format_of(const struct cli *cli, const struct format **ret, struct fault *reterr)
{
	bool runs = doc_flag(cli->values.local, "runs") == 1;
	const struct format *found = NULL;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (doc_flag(cli->values.local, formats[i].name) == 1) {
			found = &formats[i];
			n++;
		}
	if (n != 1)
		return fault_set(
			reterr, -EINVAL, "usage", "", "one of --csv, --jsonl and --openmetrics is needed");
	if (runs && !found->write_runs)
		return fault_set(reterr, -EINVAL, "usage", "", "'--runs' goes with --csv only");
	*ret = found;
	return 0;
}

static int write_out(
	struct cli *cli, const struct format *format, const struct dataset *d, struct fault *reterr)
{
	_cleanup_(output_abandonp) struct output *o = NULL;
	bool runs = doc_flag(cli->values.local, "runs") == 1;
	int r;

	r = output_open(doc_string(cli->values.local, "output"), cli->out.f, &o, reterr);
	if (r < 0)
		return r;
	r = (runs ? format->write_runs : format->write)(output_stream(o), d);
	return output_finish(TAKE_PTR(o), r, reterr);
}

static int cmd_export(struct cli *cli)
{
	const char *source = cli->values.n_operands ? cli->values.operands[0] : "last";
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	const struct format *format = NULL;
	struct fault fault = {};
	int r;

	r = format_of(cli, &format, &fault);
	if (r == 0)
		r = dataset_open(cli, source, &d, &fault);
	if (r == 0)
		r = write_out(cli, format, d, &fault);
	return r < 0 ? cli_fail(cli, &fault) : STATUS_OK;
}

const struct command command_export = {
	.name = "export",
	.operands = "[SOURCE]",
	.summary = "write results as CSV, as JSON lines or as OpenMetrics",
	.details =
		"SOURCE is a sweep, a run, label:TEXT, last, a file or -, with a selection behind it, as in "
		"last:mode=one-copy,size=64K. What was not measured is an empty field.",
	.options = export_options,
	.max_operands = 1,
	.run = cmd_export,
};
