// SPDX-License-Identifier: MIT
/* Drives an overhead measurement: slice by slice through the daemon, as ordinary runs that share a label. */
#include "overhead.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "follow.h"
#include "limit.h"

struct drive {
	struct cli *cli;
	struct client *c;
	struct overhead o;
	json_object *spec; /* of a slice; its ledger is set slice by slice */
	int signals;
	struct fault fault;
	char label[4 * LIMIT_LABEL + 1], before[80];
};

/* ---- what is asked ---- */

static int refuse(struct fault *reterr, const char *text)
{
	return fault_set(reterr, -EINVAL, "usage", "", "%s", text);
}

static int check_usage(const struct cli *cli, struct fault *reterr)
{
	json_object *local = cli->values.local;
	int64_t pairs = OVERHEAD_PAIRS_DEFAULT;

	if (doc_flag(local, "overhead") != 1)
		return refuse(reterr, "--pairs is of --overhead: it needs that, too");
	if (doc_string(local, "peer") || doc_string(local, "via") || doc_string(local, "peer-address"))
		return refuse(reterr,
			"--overhead does not go with two hosts (--peer, --via, --peer-address): "
			"measure each alone");
	if (doc_flag(local, "detach") == 1)
		return refuse(reterr,
			"--overhead does not go with --detach: its runs are started from here, one by one");
	if (str_eq(doc_text(cli->values.request, "ledger"), "off"))
		return refuse(reterr, "--overhead compares a ledger with none: --ledger may be auto, fentry "
				      "or tracepoint, not off");
	if (doc_at(local, "pairs") &&
		(!doc_integer(local, "pairs", &pairs) || pairs < 1 || pairs > OVERHEAD_PAIRS_MAX))
		return fault_set(reterr, -EINVAL, "usage", "", "'--pairs' must be from 1 to %d, not %s",
			OVERHEAD_PAIRS_MAX, json_object_get_string(doc_at(local, "pairs")));
	return 0;
}

/* What all slices have in common, so that 'copyledger list --label' finds them. */
static void make_label(struct drive *d)
{
	const char *given = doc_string(d->spec, "label");
	char moment[32] = "";
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	if (gmtime_r(&now.tv_sec, &utc))
		strftime(moment, sizeof(moment), "%Y%m%d-%H%M%S", &utc);
	if (given && *given)
		snprintf(d->label, sizeof(d->label), "%s", given);
	else
		snprintf(d->label, sizeof(d->label), "overhead-%s-%03ld", moment, now.tv_nsec / 1000000);
	d->o.label = d->label;
	/* as it was given: a label that is too long is the daemon's to refuse */
	if (!given || !*given)
		json_object_object_add(d->spec, "label", json_object_new_string(d->label));
}

static int prepare(struct drive *d)
{
	json_object *request = d->cli->values.request;
	int64_t total = OVERHEAD_TOTAL_MS, pairs = OVERHEAD_PAIRS_DEFAULT;

	doc_integer(d->cli->values.local, "pairs", &pairs);
	doc_integer(request, "duration_ms", &total);
	d->o.asked = (size_t)pairs;
	d->o.slice_ms = MAX(total / (SLICES * pairs), OVERHEAD_SLICE_MS_MIN);
	d->o.pairs = calloc(d->o.asked, sizeof(*d->o.pairs));
	d->spec = json_object_new_object();
	if (!d->o.pairs || !d->spec)
		return fault_set(&d->fault, -ENOMEM, "no_memory", "", "out of memory");
	json_object_object_foreach(request, name, value)
		json_object_object_add(d->spec, name, json_object_get(value));
	json_object_object_add(d->spec, "duration_ms", json_object_new_int64(d->o.slice_ms));
	if (!doc_at(request, "warmup_ms"))
		json_object_object_add(d->spec, "warmup_ms", json_object_new_int64(OVERHEAD_WARMUP_MS));
	make_label(d);
	return 0;
}

/* ---- the course ---- */

/* A Ctrl-C between two runs. */
static bool interrupted(const struct drive *d)
{
	struct pollfd fd = {.fd = d->signals, .events = POLLIN};

	return poll(&fd, 1, 0) > 0;
}

/* 0, 1: interrupted, or a negative errno with d->fault set. */
static int measure_slice(struct drive *d, int slice)
{
	const char *tier = doc_string(d->cli->values.request, "ledger");
	_cleanup_json_ json_object *started = NULL;
	struct follow f = {.cli = d->cli, .signals = d->signals, .progress = progress_new(&d->cli->err)};
	int r;

	if (interrupted(d))
		return 1;
	json_object_object_add(d->spec, "ledger",
		json_object_new_string(slice == SLICE_OFF ? "off"
				       : tier             ? tier
							  : "auto"));
	r = follow_start(d->c, d->spec, &started, &d->fault);
	if (r < 0)
		return r;
	snprintf(d->before, sizeof(d->before), "pair %zu of %zu, ledger %s", d->o.n, d->o.asked,
		slice == SLICE_OFF ? "off" : "on");
	f.progress.before = d->before;
	f.id = doc_text(started, "id");
	r = follow_run(&f, d->c, &d->fault);
	d->o.pairs[d->o.n - 1].result[slice] = f.result;
	return r == -EINTR || f.interrupts ? 1 : r;
}

static int measure_pair(struct drive *d)
{
	int first = overhead_first(d->o.n++), r;

	r = measure_slice(d, first);
	return r ? r : measure_slice(d, !first);
}

static bool hopeless(const struct overhead *o)
{
	for (size_t i = 0; i < o->n; i++) {
		_cleanup_free_ char *left_out = overhead_left_out(&o->pairs[i]);

		if (!left_out)
			return false;
	}
	return o->n == OVERHEAD_HOPELESS && o->n < o->asked;
}

/* What its hooks cost is in the slices without a ledger as well. */
static void look_for_watches(struct drive *d)
{
	_cleanup_json_ json_object *totals = NULL;
	struct fault fault;

	if (client_call(d->c, "GetTotals", NULL, &totals, &fault) == 0)
		d->o.watched |= doc_length(doc_at(totals, "watches")) > 0;
}

static int course(struct drive *d)
{
	int r = client_connect(d->cli->socket, &d->c, &d->fault);

	if (r < 0)
		return r;
	look_for_watches(d);
	d->o.state = "done";
	while (r == 0 && d->o.n < d->o.asked && !hopeless(&d->o))
		r = measure_pair(d);
	if (r > 0)
		d->o.state = "interrupted";
	else if (r < 0)
		d->o.state = "failed";
	else if (hopeless(&d->o))
		d->o.state = "given_up";
	if (r == 0) /* a daemon that hangs is not asked once more */
		look_for_watches(d);
	return MIN(r, 0);
}

/* ---- the end ---- */

static bool has_result(const struct overhead *o)
{
	for (size_t i = 0; i < o->n; i++)
		for (int s = 0; s < SLICES; s++)
			if (o->pairs[i].result[s])
				return true;
	return false;
}

static int show(struct drive *d)
{
	_cleanup_json_ json_object *document = overhead_document(&d->o);
	int r = STATUS_OK;

	if (d->cli->json)
		r = cli_print_json(d->cli, document, true);
	else
		render_overhead(&d->cli->out, document);
	return r == STATUS_OK ? overhead_status(document) : r;
}

static void drive_free(struct drive *d)
{
	for (size_t i = 0; i < d->o.n; i++)
		for (int s = 0; s < SLICES; s++)
			json_object_put(d->o.pairs[i].result[s]);
	free(d->o.pairs);
	client_free(d->c);
	json_object_put(d->spec);
}

int overhead_run(struct cli *cli)
{
	_cleanup_(drive_free) struct drive d = {.cli = cli};
	_cleanup_close_ int signals = -1;
	int r, shown = STATUS_OK;

	r = check_usage(cli, &d.fault);
	if (r == 0)
		r = prepare(&d);
	if (r < 0)
		return cli_fail(cli, &d.fault);
	d.signals = signals = cli_catch_signals();
	r = course(&d);
	if (has_result(&d.o))
		shown = show(&d);
	else if (r == 0)
		r = fault_set(&d.fault, -EINTR, "interrupted", "", "interrupted before a run had ended");
	return r < 0 ? cli_fail(cli, &d.fault) : shown;
}
