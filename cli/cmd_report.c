// SPDX-License-Identifier: MIT
/* copyledger report: measured results as one HTML file. */
#include <errno.h>

#include "commands.h"
#include "output.h"
#include "report.h"

static const struct opt report_options[] = {
	{"output", 'o', "FILE", NULL, NULL, OPT_LOCAL,
		"the file to write, - for standard output (default: report.html)"},
	{},
};

static int write_report(struct cli *cli, const struct dataset *d, const char *file, struct fault *reterr)
{
	_cleanup_(output_abandonp) struct output *o = NULL;
	char no_figures[sizeof(((struct fault *)NULL)->text)] = "";
	bool to_file;
	int r;

	r = output_open(file, cli->out.f, &o, reterr);
	if (r < 0)
		return r;
	to_file = !output_is_standard(o);
	r = report_write(d, output_stream(o), no_figures, sizeof(no_figures));
	r = output_finish(TAKE_PTR(o), r, reterr);
	if (r == 0 && *no_figures)
		out_line(&cli->err, STYLE_NONE, "the report has no figures: %s", no_figures);
	if (r == 0 && to_file)
		out_line(&cli->out, STYLE_NONE, "%s", file);
	return r;
}

static int cmd_report(struct cli *cli)
{
	const char *source = cli->values.n_operands ? cli->values.operands[0] : "last";
	const char *file = doc_string(cli->values.local, "output");
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	struct fault fault = {};
	int r;

	r = dataset_open(cli, source, &d, &fault);
	if (r == 0)
		r = dataset_check_alike(d, &fault);
	if (r == 0)
		r = write_report(cli, d, file ? file : "report.html", &fault);
	return r < 0 ? cli_fail(cli, &fault) : STATUS_OK;
}

const struct command command_report = {
	.name = "report",
	.operands = "[SOURCE]",
	.summary = "write measured results as one HTML file that needs nothing else",
	.details = "SOURCE is what 'copyledger export' takes, by default the newest sweep: the answers of "
		   "explain, the flow of "
		   "bytes, figures, tables, documents.",
	.options = report_options,
	.max_operands = 1,
	.run = cmd_report,
};
