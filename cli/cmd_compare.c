// SPDX-License-Identifier: MIT
/* copyledger compare: one set of results against another, cell by cell. */
#include <errno.h>
#include <math.h>

#include "commands.h"
#include "comparison.h"
#include "render.h"

/* "5%" or "5": percent. */
static int opt_percent(const char *arg, json_object **ret, struct fault *reterr)
{
	char *end;
	double value = strtod(arg, &end);
	bool number = end > arg;

	end += *end == '%';
	if (!number || *end || !(value >= 0 && value < 100) || strspn(arg, "0123456789.%") != strlen(arg))
		return fault_set(reterr, -EINVAL, "usage", "", "takes a percentage like 5%%, not '%s'", arg);
	*ret = json_object_new_double(value);
	return *ret ? 0 : -ENOMEM;
}

static const struct opt compare_options[] = {
	{"measure", 'm', "NAME", NULL, NULL, OPT_LOCAL,
		"throughput_gbps (the default), cpu_ns_per_byte, copies_per_byte, latency_p99_us, ..."},
	{"fail-if-worse", 0, "PERCENT", NULL, opt_percent, OPT_LOCAL,
		"exit status 1 if a cell is worse by more than this, as in 5%"},
	{"force", 0, NULL, NULL, NULL, OPT_LOCAL, "judge although the hosts differ"},
	{},
};

/* The names, for who asked for another one: more than a fault's text holds. */
static int no_measure(struct cli *cli, const struct fault *fault)
{
	int status = cli_fail(cli, fault);

	out_text(&cli->err, STYLE_NONE, "measures: ");
	for (size_t i = 0; measures[i].name; i++)
		out_text(&cli->err, STYLE_NONE, "%s%s", i ? ", " : "", measures[i].name);
	out_newline(&cli->err);
	return status;
}

static int settings_of(const struct cli *cli, struct comparison_settings *ret, struct fault *reterr)
{
	const char *name = doc_string(cli->values.local, "measure");

	ret->measure = measure_find(name ? name : "throughput_gbps");
	ret->force = doc_flag(cli->values.local, "force") == 1;
	ret->threshold_percent = NAN;
	doc_number(cli->values.local, "fail-if-worse", &ret->threshold_percent);
	if (!ret->measure)
		return fault_set(reterr, -EINVAL, "usage", "", "there is no measure '%s'", name);
	if (ret->measure->better == BETTER_NEITHER && isfinite(ret->threshold_percent))
		return fault_set(reterr, -EINVAL, "usage", "",
			"--fail-if-worse cannot judge '%s': neither more nor less of it is worse", name);
	return 0;
}

static int show(struct cli *cli, json_object *document)
{
	_cleanup_free_ char *why = NULL;
	int r = STATUS_OK;

	if (cli->json)
		r = cli_print_json(cli, document, true);
	else
		render_compare(&cli->out, document);
	if (r != STATUS_OK || !comparison_failed(document, &why))
		return r;
	out_line(&cli->err, STYLE_BAD, "copyledger: %s", why);
	return STATUS_FAILED;
}

static int cmd_compare(struct cli *cli)
{
	_cleanup_(dataset_freep) struct dataset *a = NULL, *b = NULL;
	_cleanup_json_ json_object *document = NULL;
	struct comparison_settings settings = {};
	struct fault fault = {};
	int r;

	r = settings_of(cli, &settings, &fault);
	if (!settings.measure)
		return no_measure(cli, &fault);
	if (r == 0)
		r = dataset_open(cli, cli->values.operands[0], &a, &fault);
	if (r == 0)
		r = dataset_open(cli, cli->values.operands[1], &b, &fault);
	if (r == 0)
		r = comparison_make(a, b, &settings, &document, &fault);
	return r < 0 ? cli_fail(cli, &fault) : show(cli, document);
}

const struct command command_compare = {
	.name = "compare",
	.operands = "A B",
	.summary =
		"compare two sets of results cell by cell: ratios, intervals, and what is more than chance",
	.details = "A and B are sources as 'copyledger export' takes them, as in last:mode=two-copy "
		   "last:mode=one-copy. Exit "
		   "status 1 also if they cannot be compared, or --fail-if-worse found what it looks for.",
	.options = compare_options,
	.min_operands = 2,
	.max_operands = 2,
	.run = cmd_compare,
};
