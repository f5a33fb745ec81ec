// SPDX-License-Identifier: MIT
/* The members of a run's spec as a table, its defaults, and its way back to JSON. */
#include <errno.h>

#include "jsonx.h"
#include "member.h"
#include "mode.h"
#include "spec.h"

const char *spec_mode_name(size_t i)
{
	return transfer_modes[i] ? transfer_modes[i]->name : NULL;
}

static const char *known_receive(size_t i)
{
	return receive_modes[i] ? receive_modes[i]->name : NULL;
}

static const char *known_workload(size_t i)
{
	return workload_names[i];
}

const char *spec_path_name(size_t i)
{
	return path_names[i];
}

const char *spec_tier_name(size_t i)
{
	static const char *const names[] = {"auto", "fentry", "tracepoint", NULL};

	return names[i];
}

static const char *known_ledger(size_t i)
{
	static const char *const names[] = {"auto", "fentry", "tracepoint", "off", NULL};

	return names[i];
}

/* What the kernel's module names of congestion controls are made of. */
static bool valid_congestion(const char *s)
{
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0;
}

#define F(f) .name = #f, MEMBER_FIELD(struct spec, f)

static const struct member spec_members[] = {
	{F(mode), .type = MEMBER_STRING, .required = true, .min = 1, .max = 31, .known = spec_mode_name},
	{F(receive), .type = MEMBER_STRING, .min = 1, .max = 31, .known = known_receive},
	{F(workload), .type = MEMBER_STRING, .min = 1, .max = 15, .known = known_workload},
	{F(path), .type = MEMBER_STRING, .min = 1, .max = 79, .known = spec_path_name, .also = netpath_known},
	{F(size), .type = MEMBER_UINT, .min = LIMIT_SIZE_MIN, .max = LIMIT_SIZE_MAX},
	{F(fields), .type = MEMBER_UINT, .min = LIMIT_FIELDS_MIN, .max = LIMIT_FIELDS_MAX},
	{F(threads), .type = MEMBER_UINT, .min = LIMIT_THREADS_MIN, .max = LIMIT_THREADS_MAX},
	{F(warmup_ms), .type = MEMBER_UINT, .min = 0, .max = LIMIT_WARMUP_MS_MAX},
	{F(duration_ms), .type = MEMBER_UINT, .min = LIMIT_DURATION_MS_MIN, .max = LIMIT_DURATION_MS_MAX},
	{F(verify), .type = MEMBER_BOOL},
	{F(pin), .type = MEMBER_BOOL},
	{F(perf), .type = MEMBER_BOOL},
	{F(ledger), .type = MEMBER_STRING, .min = 1, .max = 15, .known = known_ledger},
	{F(hook_times), .type = MEMBER_BOOL},
	{F(nodelay), .type = MEMBER_BOOL},
	{F(ip), .type = MEMBER_UINT, .min = 4, .max = 6},
	{F(congestion), .type = MEMBER_STRING, .min = 0, .max = 15, .valid = valid_congestion,
		.form = "a name of a-z, 0-9 and _"},
	{F(sndbuf), .type = MEMBER_UINT, .min = 0, .max = LIMIT_SOCKBUF_MAX},
	{F(rcvbuf), .type = MEMBER_UINT, .min = 0, .max = LIMIT_SOCKBUF_MAX},
	{F(label), .type = MEMBER_STRING, .min = 0, .max = LIMIT_LABEL},
	{},
};

static const struct spec defaults = {
	.receive = "recv",
	.workload = "stream",
	.path = "loopback",
	.ledger = "auto",
	.size = 65536,
	.fields = 8,
	.threads = 1,
	.warmup_ms = 500,
	.duration_ms = 5000,
	.ip = 4,
	.pin = true,
	.perf = true,
	.pair = {.listener = -1},
};

/* Members that are each right and do not go together. */
static int check_receive(const struct spec *spec, struct fault *reterr)
{
	unsigned int caps = receive_mode_find(spec->receive)->caps;

	if (caps & RECEIVE_STREAM_ONLY && !str_eq(spec->workload, "stream"))
		return fault_set(reterr, -EINVAL, "invalid_request", "receive",
			"'receive' \"%s\" does not go with 'workload' \"%s\", only with \"stream\"",
			spec->receive, spec->workload);
	if (caps & RECEIVE_DISCARDS && spec->verify)
		return fault_set(reterr, -EINVAL, "invalid_request", "receive",
			"'receive' \"%s\" does not go with 'verify': the receiver never sees the bytes",
			spec->receive);
	return 0;
}

int spec_parse(json_object *obj, struct spec *ret, struct fault *reterr)
{
	struct spec spec = defaults;
	int r;

	r = members_parse(spec_members, obj, &spec, reterr);
	if (r < 0)
		return r;
	if (spec.ip == 5)
		return fault_set(reterr, -ERANGE, "out_of_range", "ip", "'ip' must be 4 or 6, not 5");
	r = check_receive(&spec, reterr);
	if (r < 0)
		return r;
	*ret = spec;
	return 0;
}

json_object *spec_details(json_object *obj, const struct fault *fault)
{
	return members_details(spec_members, obj, fault);
}

static json_object *member_value(const struct member *m, const struct spec *spec)
{
	const void *field = (const char *)spec + m->offset;

	if (m->type == MEMBER_BOOL)
		return json_object_new_boolean(*(const bool *)field);
	if (m->type == MEMBER_STRING)
		return json_object_new_string(field);
	return json_object_new_uint64(
		m->size == sizeof(uint32_t) ? *(const uint32_t *)field : *(const uint64_t *)field);
}

json_object *spec_to_json(const struct spec *spec)
{
	_cleanup_json_ json_object *obj = json_object_new_object();

	for (const struct member *m = spec_members; obj && m->name; m++)
		if (json_add(obj, m->name, member_value(m, spec)) < 0)
			return NULL;
	return TAKE_PTR(obj);
}
