// SPDX-License-Identifier: MIT
/* Limits as a table: what GetInfo shows and what the configuration file may lower. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

#include "config.h"
#include "jsonx.h"
#include "limit.h"
#include "utf8.h"

#define LINE_BYTES 256
#define RESULTS_MOST 1000000

const struct limits limits_default = {
	.clients = LIMIT_CLIENTS,
	.client_queue = LIMIT_CLIENT_QUEUE,
	.idle_ms = LIMIT_IDLE_MS,
	.run_queue = LIMIT_RUN_QUEUE,
	.results_max = LIMIT_RESULTS_MAX,
	.size_max = LIMIT_SIZE_MAX,
	.fields_max = LIMIT_FIELDS_MAX,
	.threads_max = LIMIT_THREADS_MAX,
	.warmup_ms_max = LIMIT_WARMUP_MS_MAX,
	.duration_ms_max = LIMIT_DURATION_MS_MAX,
	.sockbuf_max = LIMIT_SOCKBUF_MAX,
	.sweep_queue = LIMIT_SWEEP_QUEUE,
	.sweep_cells = LIMIT_SWEEP_CELLS,
	.sweep_repeat = LIMIT_SWEEP_REPEAT,
	.sweep_runs = LIMIT_SWEEP_RUNS,
	.watches = LIMIT_WATCHES,
	.watch_top = LIMIT_WATCH_TOP,
	.path_probes = LIMIT_PATH_PROBES,
};

#define SETTABLE(f, low, high, text)                                                                         \
	{                                                                                                    \
		.name = #f, .meaning = text, .offset = offsetof(struct limits, f), .min = low, .max = high   \
	}
#define FIXED(n, value)                                                                                      \
	{                                                                                                    \
		.name = n, .max = value                                                                      \
	}

static const struct row {
	const char *name, *meaning; /* no meaning: it cannot be lowered */
	size_t offset;              /* of a uint64_t in struct limits */
	uint64_t min, max;
} rows[] = {
	SETTABLE(clients, 1, LIMIT_CLIENTS,
		"clients at a time; one more takes the place of the longest idle one"),
	SETTABLE(client_queue, LIMIT_MESSAGE, LIMIT_CLIENT_QUEUE,
		"bytes of replies that a client has not read yet; with more it is closed"),
	SETTABLE(idle_ms, 100, LIMIT_IDLE_MS,
		"milliseconds after which a client that neither asks nor waits is closed"),
	SETTABLE(run_queue, 1, LIMIT_RUN_QUEUE, "runs that wait"),
	SETTABLE(results_max, 1, RESULTS_MOST,
		"results that the state directory keeps; the oldest ones make room for new ones"),
	SETTABLE(size_max, LIMIT_SIZE_MIN, LIMIT_SIZE_MAX, "bytes of a message"),
	SETTABLE(fields_max, LIMIT_FIELDS_MIN, LIMIT_FIELDS_MAX, "fields of a message"),
	SETTABLE(threads_max, LIMIT_THREADS_MIN, LIMIT_THREADS_MAX,
		"lanes of a run: two threads and a connection each"),
	SETTABLE(warmup_ms_max, 0, LIMIT_WARMUP_MS_MAX, "milliseconds of a run's warm-up"),
	SETTABLE(duration_ms_max, LIMIT_DURATION_MS_MIN, LIMIT_DURATION_MS_MAX,
		"milliseconds that a run measures"),
	SETTABLE(sockbuf_max, 0, LIMIT_SOCKBUF_MAX, "bytes of SO_SNDBUF and SO_RCVBUF that a run asks for"),
	SETTABLE(sweep_queue, 1, LIMIT_SWEEP_QUEUE, "sweeps under way, one of them running"),
	SETTABLE(sweep_cells, 1, LIMIT_SWEEP_CELLS, "cells of a sweep"),
	SETTABLE(sweep_repeat, 1, LIMIT_SWEEP_REPEAT, "runs of a sweep's cell"),
	SETTABLE(sweep_runs, 1, LIMIT_SWEEP_RUNS, "runs of a sweep: its cells times their repeats"),
	SETTABLE(watches, 1, LIMIT_WATCHES, "watches at a time"),
	SETTABLE(watch_top, 1, LIMIT_WATCH_TOP, "rows of a watch's document"),
	SETTABLE(path_probes, 1, LIMIT_PATH_PROBES, "paths that are probed at a time"),
	FIXED("size_min", LIMIT_SIZE_MIN),
	FIXED("fields_min", LIMIT_FIELDS_MIN),
	FIXED("threads_min", LIMIT_THREADS_MIN),
	FIXED("duration_ms_min", LIMIT_DURATION_MS_MIN),
	FIXED("label", LIMIT_LABEL),
	FIXED("message", LIMIT_MESSAGE),
	FIXED("depth", LIMIT_DEPTH),
	FIXED("values", LIMIT_VALUES),
	FIXED("list", LIMIT_LIST),
	FIXED("sweep_list", LIMIT_SWEEP_LIST),
	FIXED("trace_interval_ms_min", LIMIT_TRACE_INTERVAL_MS_MIN),
	FIXED("trace_interval_ms_max", LIMIT_TRACE_INTERVAL_MS_MAX),
};

static uint64_t *field(const struct row *row, struct limits *limits)
{
	return (uint64_t *)((char *)limits + row->offset);
}

static const struct row *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].meaning && str_eq(rows[i].name, name))
			return &rows[i];
	return NULL;
}

/* Cuts white space off both ends, in place. */
static char *strip(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = 0;
	return s;
}

/* Digits only: neither a sign nor a unit. */
static int parse_number(const char *s, uint64_t *ret)
{
	unsigned long long v;
	char *end;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int set(
	struct limits *limits, const char *name, const char *text, const char *where, struct fault *reterr)
{
	const struct row *row = find(name);
	char clean[64];
	uint64_t v;

	if (!row)
		return fault_set(reterr, -EINVAL, "config", "", "%s: there is no setting '%s'", where,
			utf8_clean(clean, sizeof(clean), name));
	if (parse_number(text, &v) < 0 || v < row->min || v > row->max)
		return fault_set(reterr, -ERANGE, "config", row->name,
			"%s: '%s' must be a number from %" PRIu64 " to %" PRIu64 ", not \"%s\"", where,
			row->name, row->min, row->max, utf8_clean(clean, sizeof(clean), text));
	*field(row, limits) = v;
	return 0;
}

static int read_line(struct limits *limits, char *line, const char *where, struct fault *reterr)
{
	char *text = strip(line), *equals = strchr(text, '=');

	if (!*text || *text == '#')
		return 0;
	if (!equals)
		return fault_set(reterr, -EINVAL, "config", "", "%s: a line must read name = number", where);
	*equals = 0;
	return set(limits, strip(text), strip(equals + 1), where, reterr);
}

int limits_read(const char *path, struct limits *ret, struct fault *reterr)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	struct limits limits = *ret;
	char line[LINE_BYTES], where[200];
	int r;

	if (!f)
		return fault_set(reterr, -errno, "config", "", "cannot read %s: %m", path);
	for (unsigned int n = 1; fgets(line, sizeof(line), f); n++) {
		snprintf(where, sizeof(where), "%.180s:%u", path, n);
		if (!strchr(line, '\n') && strlen(line) == sizeof(line) - 1)
			return fault_set(reterr, -EINVAL, "config", "",
				"%s: a line may have %u bytes at most", where, LINE_BYTES - 2);
		r = read_line(&limits, line, where, reterr);
		if (r < 0)
			return r;
	}
	if (ferror(f))
		return fault_set(reterr, -errno, "config", "", "cannot read %s: %m", path);
	*ret = limits;
	return 0;
}

json_object *limits_to_json(const struct limits *limits)
{
	_cleanup_json_ json_object *obj = json_object_new_object();

	for (size_t i = 0; obj && i < ARRAY_SIZE(rows); i++) {
		uint64_t v = rows[i].meaning ? *field(&rows[i], (struct limits *)limits) : rows[i].max;

		if (json_add_u64(obj, rows[i].name, v) < 0)
			return NULL;
	}
	return TAKE_PTR(obj);
}

void limits_print(void)
{
	struct limits limits = limits_default;

	printf("# copyledgerd.conf: limits of copyledgerd(8), a line each: name = number. What is not set "
	       "has the default\n"
	       "# that its line shows. Read at the start and on SIGHUP (systemctl reload copyledgerd); "
	       "checked by\n"
	       "# copyledgerd --check-config --config FILE.\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].meaning)
			printf("\n# %c%s.\n# From %" PRIu64 " to %" PRIu64 ".\n#%s = %" PRIu64 "\n",
				toupper((unsigned char)rows[i].meaning[0]), rows[i].meaning + 1, rows[i].min,
				rows[i].max, rows[i].name, *field(&rows[i], &limits));
}
