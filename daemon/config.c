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

const struct limits limits_default = {
	.clients = LIMIT_CLIENTS,
	.client_queue = LIMIT_CLIENT_QUEUE,
	.idle_ms = LIMIT_IDLE_MS,
	.run_queue = LIMIT_RUN_QUEUE,
	.threads_max = LIMIT_THREADS_MAX,
	.duration_ms_max = LIMIT_DURATION_MS_MAX,
};

#define SETTABLE(f, low, high)                                                                               \
	{                                                                                                    \
		.name = #f, .settable = true, .offset = offsetof(struct limits, f), .min = low, .max = high  \
	}
#define FIXED(n, value)                                                                                      \
	{                                                                                                    \
		.name = n, .max = value                                                                      \
	}

static const struct row {
	const char *name;
	bool settable;
	size_t offset; /* of a uint64_t in struct limits */
	uint64_t min, max;
} rows[] = {
	SETTABLE(clients, 1, LIMIT_CLIENTS),
	SETTABLE(client_queue, LIMIT_MESSAGE, LIMIT_CLIENT_QUEUE),
	SETTABLE(idle_ms, 100, LIMIT_IDLE_MS),
	SETTABLE(run_queue, 1, LIMIT_RUN_QUEUE),
	SETTABLE(threads_max, LIMIT_THREADS_MIN, LIMIT_THREADS_MAX),
	SETTABLE(duration_ms_max, LIMIT_DURATION_MS_MIN, LIMIT_DURATION_MS_MAX),
	FIXED("size_min", LIMIT_SIZE_MIN),
	FIXED("size_max", LIMIT_SIZE_MAX),
	FIXED("fields_min", LIMIT_FIELDS_MIN),
	FIXED("fields_max", LIMIT_FIELDS_MAX),
	FIXED("threads_min", LIMIT_THREADS_MIN),
	FIXED("warmup_ms_max", LIMIT_WARMUP_MS_MAX),
	FIXED("duration_ms_min", LIMIT_DURATION_MS_MIN),
	FIXED("sockbuf_max", LIMIT_SOCKBUF_MAX),
	FIXED("label", LIMIT_LABEL),
	FIXED("message", LIMIT_MESSAGE),
	FIXED("depth", LIMIT_DEPTH),
	FIXED("values", LIMIT_VALUES),
	FIXED("list", LIMIT_LIST),
	FIXED("sweep_list", LIMIT_SWEEP_LIST),
	FIXED("sweep_cells", LIMIT_SWEEP_CELLS),
	FIXED("sweep_repeat", LIMIT_SWEEP_REPEAT),
	FIXED("sweep_runs", LIMIT_SWEEP_RUNS),
	FIXED("sweep_queue", LIMIT_SWEEP_QUEUE),
	FIXED("watches", LIMIT_WATCHES),
	FIXED("path_probes", LIMIT_PATH_PROBES),
	FIXED("watch_top", LIMIT_WATCH_TOP),
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
		if (rows[i].settable && str_eq(rows[i].name, name))
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
		return fault_set(reterr, -EIO, "config", "", "cannot read %s", path);
	*ret = limits;
	return 0;
}

json_object *limits_to_json(const struct limits *limits)
{
	_cleanup_json_ json_object *obj = json_object_new_object();

	for (size_t i = 0; obj && i < ARRAY_SIZE(rows); i++) {
		uint64_t v = rows[i].settable ? *field(&rows[i], (struct limits *)limits) : rows[i].max;

		if (json_add_u64(obj, rows[i].name, v) < 0)
			return NULL;
	}
	return TAKE_PTR(obj);
}
