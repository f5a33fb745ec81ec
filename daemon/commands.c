// SPDX-License-Identifier: MIT
/* The table of methods and their handlers. */
#include <errno.h>
#include <inttypes.h>

#include "commands.h"
#include "fault.h"
#include "json_check.h"
#include "jsonx.h"
#include "limit.h"
#include "manager.h"
#include "member.h"
#include "mode.h"
#include "observe.h"
#include "pair.h"
#include "pathprobe.h"
#include "rfc3339.h"
#include "spec.h"
#include "store.h"
#include "sweeper.h"
#include "utf8.h"

#define INTERFACE "io.copyledger"
#define STANDARD "org.varlink.service"
#define VENDOR "copyledger"
#define URL "https://varlink.org/"

#define PROGRESS_NS 240000000LL /* at most four a second; a run tells each 250 ms */
#define TRACE_INTERVAL_MS 1000

static const char interface_text[] =
#include "varlink_text.h"
	;

/* As https://varlink.org/Service has it. */
static const char standard_text[] =
	"interface org.varlink.service\n"
	"\n"
	"method GetInfo() -> (\n"
	"  vendor: string, product: string, version: string, url: string, interfaces: []string\n"
	")\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n";

static const struct {
	const char *name, *text;
} interfaces[] = {
	{STANDARD, standard_text},
	{INTERFACE, interface_text},
};

struct command {
	const char *method;
	const struct member *members;
	int (*handler)(struct call *c, struct fault *reterr);
	enum access access;
	const char *summary;
};

struct call {
	struct watch watch; /* first: a watch is its call */
	bool watching, more, oneway, answered;
	struct manager *manager;
	const struct command *command;
	json_object *request, *parameters; /* parameters: borrowed from request */
	json_object *details;              /* what the error says beside field and message */
	call_reply_fn reply;
	void *userdata;
	sd_event_source *timer;
	uint64_t interval_usec;
	uid_t uid; /* of the peer */
	unsigned int access;
	struct observer *observer;
	struct pathprobe *pathprobe;
	json_object *probe; /* the rest of the reply that a look at a path completes */
	char id[RUN_ID_BYTES];
	char told_state[16];
	int64_t told_ns;
	uint32_t told_cells; /* of a sweep, that ended */
};

/* ---- replies ---- */

struct call *call_abandon(struct call *c)
{
	if (!c)
		return NULL;
	if (c->watching)
		manager_unwatch(c->manager, &c->watch);
	sd_event_source_disable_unref(c->timer);
	if (c->observer) {
		observe_free(c->observer);
		manager_say_status(c->manager);
	}
	pathprobe_free(c->pathprobe);
	json_drop(c->probe);
	json_drop(c->request);
	json_drop(c->details);
	free(c);
	return NULL;
}

static json_object *message_new(const char *error, json_object *parameters, bool final)
{
	_cleanup_json_ json_object *message = json_object_new_object(), *taken = parameters;

	if (!message || !parameters)
		return NULL;
	if ((error && json_add_str(message, "error", error) < 0) ||
		json_add(message, "parameters", TAKE_PTR(taken)) < 0 ||
		(!final && json_add_bool(message, "continues", true) < 0))
		return NULL;
	return TAKE_PTR(message);
}

/* Takes parameters over. */
static void send_message(struct call *c, const char *error, json_object *parameters, bool final)
{
	_cleanup_json_ json_object *message = message_new(error, parameters, final);

	c->answered = final || !message;
	if (!c->oneway)
		c->reply(message, c->answered, c->userdata);
}

/* The last reply of a handler; takes parameters over. */
static int reply(struct call *c, json_object *parameters)
{
	send_message(c, NULL, parameters, true);
	return 0;
}

/* One member, then the last reply. */
static int reply_with(struct call *c, const char *name, json_object *value)
{
	_cleanup_json_ json_object *parameters = json_object_new_object(), *taken = value;

	if (!parameters || json_add(parameters, name, TAKE_PTR(taken)) < 0)
		return -ENOMEM;
	return reply(c, TAKE_PTR(parameters));
}

static int detail_str(struct call *c, const char *name, const char *s)
{
	char text[72];

	if (!c->details)
		c->details = json_object_new_object();
	return c->details ? json_add_str(c->details, name, utf8_clean(text, sizeof(text), s)) : -ENOMEM;
}

static int detail_u64(struct call *c, const char *name, uint64_t v)
{
	if (!c->details)
		c->details = json_object_new_object();
	return c->details ? json_add_u64(c->details, name, v) : -ENOMEM;
}

/* ---- errors ---- */

enum error_parts {
	PART_FIELD = 1 << 0, /* null where no member is at fault */
	PART_CODE = 1 << 1,
	PART_MESSAGE = 1 << 2,
	PART_NAME = 1 << 3, /* the field, which may be the empty name */
};

/* What a fault's code is called on the wire; the last row stands for all others. */
static const struct error_row {
	const char *code, *error;
	unsigned int parts;
} error_rows[] = {
	{"invalid_request", INTERFACE ".InvalidRequest", PART_FIELD | PART_MESSAGE},
	{"out_of_range", INTERFACE ".OutOfRange", PART_NAME | PART_MESSAGE},
	{"unknown_name", INTERFACE ".UnknownName", PART_NAME | PART_MESSAGE},
	{"unknown_member", INTERFACE ".UnknownMember", PART_NAME | PART_MESSAGE},
	{"missing_member", INTERFACE ".MissingMember", PART_NAME | PART_MESSAGE},
	{"wrong_type", INTERFACE ".WrongType", PART_NAME | PART_MESSAGE},
	{"no_such_run", INTERFACE ".NoSuchRun", PART_MESSAGE},
	{"no_such_sweep", INTERFACE ".NoSuchSweep", PART_MESSAGE},
	{"not_running", INTERFACE ".NotRunning", PART_MESSAGE},
	{"queue_full", INTERFACE ".QueueFull", PART_MESSAGE},
	{"limit_exceeded", INTERFACE ".LimitExceeded", PART_MESSAGE},
	{"method_not_found", STANDARD ".MethodNotFound", 0},
	{"interface_not_found", STANDARD ".InterfaceNotFound", 0},
	{"invalid_parameter", STANDARD ".InvalidParameter", 0},
	{NULL, INTERFACE ".Failed", PART_CODE | PART_MESSAGE},
};

static const struct error_row *find_error(const char *code)
{
	const struct error_row *row = error_rows;

	while (row->code && !str_eq(row->code, code))
		row++;
	return row;
}

static void reply_error(struct call *c, const struct fault *fault)
{
	const struct error_row *row = find_error(fault->code);
	json_object *parameters = c->details ? TAKE_PTR(c->details) : json_object_new_object();
	int r = parameters ? 0 : -ENOMEM;

	if (r == 0 && row->parts & PART_FIELD)
		r = json_add_str(parameters, "field", fault->field[0] ? fault->field : NULL);
	if (r == 0 && row->parts & PART_NAME)
		r = json_add_str(parameters, "field", fault->field);
	if (r == 0 && row->parts & PART_CODE)
		r = json_add_str(parameters, "code", fault->code);
	if (r == 0 && row->parts & PART_MESSAGE)
		r = json_add_str(parameters, "message", fault->text);
	if (r < 0)
		parameters = json_drop(parameters);
	send_message(c, row->error, parameters, true);
}

static int limit_fault(struct call *c, const char *limit, uint64_t value, uint64_t max, struct fault *reterr)
{
	detail_str(c, "limit", limit);
	detail_u64(c, "value", value);
	detail_u64(c, "max", max);
	return fault_set(reterr, -E2BIG, "limit_exceeded", "",
		"'%s' is limited to %" PRIu64 " here, this has %" PRIu64, limit, max, value);
}

struct bound {
	const char *limit;
	uint64_t value, max;
};

static int check_bounds(struct call *c, const struct bound *bounds, size_t n, struct fault *reterr)
{
	for (size_t i = 0; i < n; i++)
		if (bounds[i].value > bounds[i].max)
			return limit_fault(c, bounds[i].limit, bounds[i].value, bounds[i].max, reterr);
	return 0;
}

json_object *limit_error(const char *limit, uint64_t value, uint64_t max, const char *text)
{
	_cleanup_json_ json_object *parameters = json_object_new_object();

	if (!parameters || json_add_str(parameters, "limit", limit) < 0 ||
		json_add_u64(parameters, "value", value) < 0 || json_add_u64(parameters, "max", max) < 0 ||
		json_add_str(parameters, "message", text) < 0)
		return NULL;
	return message_new(INTERFACE ".LimitExceeded", TAKE_PTR(parameters), true);
}

/* ---- the standard interface ---- */

static int cmd_service_info(struct call *c, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = json_object_new_object(), *names = json_object_new_array();

	for (size_t i = 0; names && i < ARRAY_SIZE(interfaces); i++)
		if (json_push(names, json_object_new_string(interfaces[i].name)) < 0)
			return -ENOMEM;
	if (!obj || json_add_str(obj, "vendor", VENDOR) < 0 ||
		json_add_str(obj, "product", "copyledgerd") < 0 ||
		json_add_str(obj, "version", COPYLEDGER_VERSION) < 0 || json_add_str(obj, "url", URL) < 0 ||
		json_add(obj, "interfaces", TAKE_PTR(names)) < 0)
		return -ENOMEM;
	return reply(c, TAKE_PTR(obj));
}

struct describe_parameters {
	char interface[128];
};

static const struct member describe_members[] = {
	{"interface", MEMBER_STRING, MEMBER_FIELD(struct describe_parameters, interface), .required = true,
		.min = 1, .max = 127},
	{},
};

static int cmd_describe(struct call *c, struct fault *reterr)
{
	struct describe_parameters p = {0};
	int r = members_parse(describe_members, c->parameters, &p, reterr);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(interfaces); i++)
		if (str_eq(interfaces[i].name, p.interface))
			return reply_with(c, "description", json_object_new_string(interfaces[i].text));
	detail_str(c, "interface", p.interface);
	return fault_set(
		reterr, -ENOENT, "interface_not_found", "", "there is no interface '%s'", p.interface);
}

/* ---- what is ---- */

static int cmd_info(struct call *c, struct fault *reterr)
{
	json_object *info = manager_info(c->manager);

	return info ? reply(c, info) : -ENOMEM;
}

static int cmd_totals(struct call *c, struct fault *reterr)
{
	json_object *totals = manager_totals(c->manager);

	return totals ? reply(c, totals) : -ENOMEM;
}

struct list_parameters {
	uint32_t limit;
	char mode[32], label[LIMIT_LABEL * UTF8_MAX + 1], state[16], since[48], until[48];
};

/* What a row can show, and "running" for all between queued and the end. */
static const char *known_state(size_t i)
{
	static const char *const names[] = {"queued", "starting", "connected", "warmup", "ready", "measuring",
		"closing", "running", "done", "failed", "cancelled", NULL};

	return names[i];
}

#define LIST(f) .name = #f, MEMBER_FIELD(struct list_parameters, f)

static const struct member list_members[] = {
	{LIST(limit), .type = MEMBER_UINT, .min = 1, .max = LIMIT_LIST},
	{LIST(mode), .type = MEMBER_STRING, .min = 1, .max = 31, .known = spec_mode_name},
	{LIST(label), .type = MEMBER_STRING, .min = 1, .max = LIMIT_LABEL},
	{LIST(state), .type = MEMBER_STRING, .min = 1, .max = 15, .known = known_state},
	{LIST(since), .type = MEMBER_STRING, .min = 1, .max = 47},
	{LIST(until), .type = MEMBER_STRING, .min = 1, .max = 47},
	{},
};

static int parse_moment(const char *field, const char *text, int64_t *ret, struct fault *reterr)
{
	if (!*text)
		return 0;
	if (rfc3339_parse(text, ret) < 0)
		return fault_set(reterr, -EINVAL, "invalid_request", field,
			"'%s' must be a moment like 2026-01-31T23:59:59Z (RFC 3339), not \"%s\"", field,
			text);
	return 0;
}

static int cmd_list(struct call *c, struct fault *reterr)
{
	struct list_parameters p = {.limit = 100};
	struct store_filter filter = {0};
	json_object *runs;
	int r;

	r = members_parse(list_members, c->parameters, &p, reterr);
	if (r == 0)
		r = parse_moment("since", p.since, &filter.since, reterr);
	if (r == 0)
		r = parse_moment("until", p.until, &filter.until, reterr);
	if (r < 0)
		return r;
	filter.limit = p.limit;
	filter.mode = *p.mode ? p.mode : NULL;
	filter.label = *p.label ? p.label : NULL;
	filter.state = *p.state ? p.state : NULL;
	r = manager_list(c->manager, &filter, &runs, reterr);
	return r < 0 ? r : reply_with(c, "runs", runs);
}

/* ---- one run ---- */

struct run_parameters {
	char id[65];
	uint32_t interval_ms;
};

static const struct member run_members[] = {
	{"id", MEMBER_STRING, MEMBER_FIELD(struct run_parameters, id), .required = true, .min = 1, .max = 64},
	{},
};

/* Fills c->id from a whole id, a prefix or "last". */
static int find_run(struct call *c, const char *ident, struct fault *reterr)
{
	int r = manager_find(c->manager, ident, c->id, reterr);

	if (r < 0)
		detail_str(c, "id", ident);
	return r;
}

static int parse_run(struct call *c, struct fault *reterr)
{
	struct run_parameters p = {0};
	int r = members_parse(run_members, c->parameters, &p, reterr);

	return r < 0 ? r : find_run(c, p.id, reterr);
}

static int document(struct call *c, json_object **ret, struct fault *reterr)
{
	int r = manager_document(c->manager, c->id, ret, reterr);

	if (r < 0)
		detail_str(c, "id", c->id);
	return r;
}

static int cmd_get(struct call *c, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = json_object_new_object(), *doc = NULL;
	const char *state;
	int r;

	r = parse_run(c, reterr);
	if (r == 0)
		r = document(c, &doc, reterr);
	if (r < 0)
		return r;
	state = manager_state(c->manager, c->id);
	if (!obj || json_add_str(obj, "id", c->id) < 0 ||
		json_add_str(obj, "state", state ? state : json_object_get_string(json_at(doc, "state"))) <
			0 ||
		(!state && json_add(obj, "result", TAKE_PTR(doc)) < 0))
		return -ENOMEM;
	return reply(c, TAKE_PTR(obj));
}

static int cmd_cancel(struct call *c, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = json_object_new_object();
	const char *state;
	int r;

	r = parse_run(c, reterr);
	if (r < 0)
		return r;
	r = manager_cancel(c->manager, c->id, &state, reterr);
	if (r < 0) {
		detail_str(c, "id", c->id);
		return r;
	}
	if (!obj || json_add_str(obj, "id", c->id) < 0 || json_add_str(obj, "state", state) < 0)
		return -ENOMEM;
	return reply(c, TAKE_PTR(obj));
}

static int cmd_continue(struct call *c, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = json_object_new_object();
	const char *state;
	int r;

	r = parse_run(c, reterr);
	if (r == 0) {
		r = manager_continue(c->manager, c->id, &state, reterr);
		if (r == -ESRCH)
			detail_str(c, "id", c->id);
	}
	if (r < 0)
		return r;
	if (!obj || json_add_str(obj, "id", c->id) < 0 || json_add_str(obj, "state", state) < 0)
		return -ENOMEM;
	return reply(c, TAKE_PTR(obj));
}

struct start_parameters {
	json_object *spec, *pair;
};

static const struct member start_members[] = {
	{"spec", MEMBER_OBJECT, MEMBER_FIELD(struct start_parameters, spec), .required = true},
	{"pair", MEMBER_OBJECT, MEMBER_FIELD(struct start_parameters, pair)},
	{},
};

/* The limits that an administrator lowered. */
static int check_limits(struct call *c, const struct spec *spec, struct fault *reterr)
{
	const struct limits *limits = manager_limits(c->manager);
	const struct bound bounds[] = {
		{"size_max", spec->size, limits->size_max},
		{"fields_max", spec->fields, limits->fields_max},
		{"threads_max", spec->threads, limits->threads_max},
		{"warmup_ms_max", spec->warmup_ms, limits->warmup_ms_max},
		{"duration_ms_max", spec->duration_ms, limits->duration_ms_max},
		{"sockbuf_max", MAX(spec->sndbuf, spec->rcvbuf), limits->sockbuf_max},
	};

	return check_bounds(c, bounds, ARRAY_SIZE(bounds), reterr);
}

static int parse_start(struct call *c, struct spec *ret, struct fault *reterr)
{
	struct start_parameters p = {0};
	struct fault fault;
	int r;

	r = members_parse(start_members, c->parameters, &p, reterr);
	if (r < 0)
		return r;
	r = spec_parse(p.spec, ret, &fault);
	if (r < 0) {
		c->details = spec_details(p.spec, &fault);
		*reterr = fault;
		return r;
	}
	r = p.pair ? pair_parse(p.pair, ret, &fault) : 0;
	if (r < 0) {
		c->details = pair_details(p.pair, &fault);
		*reterr = fault;
		return r;
	}
	return check_limits(c, ret, reterr);
}

static int cmd_start(struct call *c, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = json_object_new_object();
	_cleanup_close_ int listener = -1;
	struct fault fault = {0};
	uint64_t position;
	struct spec spec;
	int r;

	r = parse_start(c, &spec, reterr);
	if (r == 0)
		r = pair_open(&spec, &listener, reterr);
	if (r < 0)
		return r;
	r = manager_submit(c->manager, &spec, c->id, &position, &fault);
	if (r < 0) {
		if (str_eq(fault.code, "queue_full"))
			detail_u64(c, "limit", manager_limits(c->manager)->run_queue);
		*reterr = fault;
		return r;
	}
	if (!obj || json_add_str(obj, "id", c->id) < 0 || json_add_u64(obj, "position", position) < 0 ||
		(listener >= 0 && pair_invite(&spec, obj) < 0))
		return -ENOMEM;
	return reply(c, TAKE_PTR(obj));
}

/* ---- following ---- */

/* Replies from the event loop, outside of call_begin(). Takes parameters over; c is gone afterwards if final.
 */
static void reply_later(struct call *c, json_object *parameters, bool final)
{
	send_message(c, NULL, parameters, final);
	if (c->answered)
		call_abandon(c);
}

static void fail_later(struct call *c, const struct fault *fault)
{
	reply_error(c, fault);
	call_abandon(c);
}

static void start_watching(struct call *c, void (*changed)(struct watch *w))
{
	c->watch.changed = changed;
	c->watching = true;
	manager_watch(c->manager, &c->watch);
}

static json_object *wrap(const char *name, json_object *value)
{
	_cleanup_json_ json_object *obj = json_object_new_object(), *taken = value;

	if (!obj || json_add(obj, name, TAKE_PTR(taken)) < 0)
		return NULL;
	return TAKE_PTR(obj);
}

static int64_t loop_now_ns(struct call *c)
{
	uint64_t usec = 0;

	sd_event_now(manager_event(c->manager), CLOCK_MONOTONIC, &usec);
	return usec * 1000;
}

/* The progress of a run that has not ended, if it is time for it; NULL if not. */
static json_object *due_progress(struct call *c, const char *state)
{
	int64_t now = loop_now_ns(c);

	if (str_eq(state, c->told_state) && now - c->told_ns < PROGRESS_NS)
		return NULL;
	str_copy(c->told_state, state);
	c->told_ns = now;
	return manager_progress(c->manager, c->id);
}

static void follow_changed(struct watch *w)
{
	struct call *c = (struct call *)w;
	const char *state = manager_state(c->manager, c->id);
	json_object *doc, *progress;
	struct fault fault;

	if (!state) {
		if (document(c, &doc, &fault) < 0)
			fail_later(c, &fault);
		else
			reply_later(c, wrap("result", doc), true);
		return;
	}
	progress = c->more ? due_progress(c, state) : NULL;
	if (progress)
		reply_later(c, wrap("progress", progress), false);
}

static int cmd_follow(struct call *c, struct fault *reterr)
{
	const char *state;
	json_object *doc, *progress;
	int r;

	r = parse_run(c, reterr);
	if (r < 0)
		return r;
	state = manager_state(c->manager, c->id);
	if (!state) {
		r = document(c, &doc, reterr);
		return r < 0 ? r : reply_with(c, "result", doc);
	}
	start_watching(c, follow_changed);
	progress = c->more ? due_progress(c, state) : NULL;
	if (progress)
		send_message(c, NULL, wrap("progress", progress), false);
	return 0;
}

static int copy_member(json_object *into, const char *name, json_object *value)
{
	return value ? json_add(into, name, json_object_get(value)) : json_add_null(into, name);
}

/* ---- probes ---- */

struct probe_parameters {
	char path[80];
};

static const struct member probe_members[] = {
	{"path", MEMBER_STRING, MEMBER_FIELD(struct probe_parameters, path), .min = 1, .max = 79,
		.known = spec_path_name, .also = netpath_known},
	{},
};

/* A new object with the members of a probe, which others share. */
static json_object *probe_with_path(json_object *probe, json_object *path)
{
	_cleanup_json_ json_object *obj = json_object_new_object(), *taken = path;

	json_object_object_foreach(probe, name, value)
	{
		if (!obj || copy_member(obj, name, value) < 0)
			return NULL;
	}
	if (!obj || json_add(obj, "path", TAKE_PTR(taken)) < 0)
		return NULL;
	return TAKE_PTR(obj);
}

static void path_looked_at(json_object *path, const struct fault *fault, void *userdata)
{
	struct call *c = userdata;

	if (path)
		reply_later(c, probe_with_path(c->probe, path), true);
	else
		fail_later(c, fault);
}

/* A look at a path starts a load generator, as a run does. */
static int cmd_probe(struct call *c, struct fault *reterr)
{
	const uint64_t most = manager_limits(c->manager)->path_probes;
	struct probe_parameters p = {};
	int r;

	r = members_parse(probe_members, c->parameters, &p, reterr);
	if (r == 0 && *p.path && !(c->access & ACCESS_RUN))
		r = fault_set(reterr, -EACCES, "permission_denied", "path",
			"to look at a path is for root, the daemon's own user and members of the socket's "
			"group");
	if (r == 0)
		r = manager_probe(c->manager, &c->probe, reterr);
	if (r < 0)
		return r;
	if (!*p.path)
		return reply(c, TAKE_PTR(c->probe));
	if (pathprobe_count() >= most)
		return limit_fault(c, "path_probes", pathprobe_count() + 1, most, reterr);
	return pathprobe_start(manager_event(c->manager), manager_loadgen(c->manager), p.path, path_looked_at,
		c, &c->pathprobe, reterr);
}

struct trace_parameters {
	char id[65];
	uint32_t interval_ms;
};

static const struct member trace_members[] = {
	{"id", MEMBER_STRING, MEMBER_FIELD(struct trace_parameters, id), .min = 1, .max = 64},
	{"interval_ms", MEMBER_UINT, MEMBER_FIELD(struct trace_parameters, interval_ms),
		.min = LIMIT_TRACE_INTERVAL_MS_MIN, .max = LIMIT_TRACE_INTERVAL_MS_MAX},
	{},
};

/* From the first byte to the end, as far as the document says it. */
static int64_t document_elapsed_ms(json_object *doc)
{
	const char *started = json_object_get_string(json_at(doc, "started"));
	const char *ended = json_object_get_string(json_at(doc, "ended"));
	int64_t from, to;

	if (!started || !ended || rfc3339_parse(started, &from) < 0 || rfc3339_parse(ended, &to) < 0 ||
		to < from)
		return 0;
	return (to - from) / 1000000;
}

static int no_ledger(const char *id, json_object *doc, struct fault *reterr)
{
	const char *why = json_object_get_string(json_at(doc, "ledger_reason"));

	return fault_set(reterr, -ENODATA, "no_ledger", "", "run %s has no ledger: %s", id,
		why ? why : "it is off, or could not be had");
}

/* The final Trace of a run that has ended, from its document. */
static int final_trace(struct call *c, json_object **ret, struct fault *reterr)
{
	_cleanup_json_ json_object *doc = NULL, *obj = json_object_new_object();
	json_object *sites, *delivered;
	int r;

	r = document(c, &doc, reterr);
	if (r < 0)
		return r;
	sites = json_at(doc, "ledger/sites");
	if (!sites)
		return no_ledger(c->id, doc, reterr);
	delivered = json_at(doc, "ledger/delivered");
	if (!delivered)
		delivered = json_at(doc, "app/bytes_received");
	if (!obj || json_add_str(obj, "id", c->id) < 0 ||
		copy_member(obj, "state", json_at(doc, "state")) < 0 ||
		json_add_i64(obj, "elapsed_ms", document_elapsed_ms(doc)) < 0 ||
		copy_member(obj, "sites", sites) < 0 || copy_member(obj, "delivered", delivered) < 0 ||
		copy_member(obj, "copies_per_byte", json_at(doc, "ledger/copies_per_byte/total")) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(obj);
	return 0;
}

static void trace_changed(struct watch *w)
{
	struct call *c = (struct call *)w;
	json_object *trace;
	struct fault fault = {.code = "no_memory", .text = "out of memory"};

	if (manager_state(c->manager, c->id))
		return;
	if (final_trace(c, &trace, &fault) < 0)
		fail_later(c, &fault);
	else
		reply_later(c, wrap("trace", trace), true);
}

/* Its end is about to be told, with the final figures. */
static bool is_over(const char *state)
{
	return str_eq(state, "done") || str_eq(state, "failed") || str_eq(state, "cancelled");
}

/* What to say of a run now: its ledger or, while it waits, its progress; NULL: nothing before its end. */
static int trace_now(struct call *c, const char *state, json_object **ret, struct fault *reterr)
{
	bool waits = str_eq(state, "queued");
	json_object *now = waits ? manager_progress(c->manager, c->id) : manager_trace(c->manager, c->id);

	if (!now && !waits && !is_over(state))
		return no_ledger(c->id, NULL, reterr);
	if (now) {
		now = wrap(waits ? "progress" : "trace", now);
		if (!now)
			return -ENOMEM;
	}
	*ret = now;
	return 0;
}

/* A client takes a daemon that says nothing for long for one that hangs: a run that waits is told of too. */
static int on_trace_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct call *c = userdata;
	struct fault fault = {.code = "no_memory", .text = "out of memory"};
	json_object *now = NULL;

	sd_event_source_set_time_relative(source, c->interval_usec);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	if (trace_now(c, manager_state(c->manager, c->id), &now, &fault) < 0)
		fail_later(c, &fault);
	else if (now)
		reply_later(c, now, false);
	return 0;
}

/* Of a run that waits or measures. */
static int live_trace(struct call *c, const char *state, struct fault *reterr)
{
	json_object *now = NULL;
	int r;

	if (!c->more && str_eq(state, "queued")) {
		detail_str(c, "id", c->id);
		return fault_set(reterr, -ESRCH, "not_running", "", "run %s waits for its turn", c->id);
	}
	r = trace_now(c, state, &now, reterr);
	if (r < 0)
		return r;
	if (!c->more && now)
		return reply(c, now);
	r = sd_event_add_time_relative(manager_event(c->manager), &c->timer, CLOCK_MONOTONIC,
		c->interval_usec, 1000, on_trace_timer, c);
	if (r < 0) {
		json_drop(now);
		return r;
	}
	start_watching(c, trace_changed);
	if (now)
		send_message(c, NULL, now, false);
	return 0;
}

static int cmd_trace(struct call *c, struct fault *reterr)
{
	struct trace_parameters p = {.interval_ms = TRACE_INTERVAL_MS};
	const char *running = manager_running(c->manager), *state;
	json_object *trace = NULL;
	int r;

	r = members_parse(trace_members, c->parameters, &p, reterr);
	if (r < 0)
		return r;
	c->interval_usec = p.interval_ms * 1000ULL;
	if (!*p.id && !running)
		return fault_set(
			reterr, -ESRCH, "not_running", "", "no run is measuring: give the id of one");
	r = find_run(c, *p.id ? p.id : running, reterr);
	if (r < 0)
		return r;
	state = manager_state(c->manager, c->id);
	if (state)
		return live_trace(c, state, reterr);
	r = final_trace(c, &trace, reterr);
	return r < 0 ? r : reply_with(c, "trace", trace);
}

/* ---- watches ---- */

static const char *view_kind(size_t i)
{
	static const char *const names[] = {"process", "socket", NULL};

	return names[i];
}

#define WATCH(f) .name = #f, MEMBER_FIELD(struct observe_spec, f)

static const struct member watch_members[] = {
	{WATCH(all), .type = MEMBER_BOOL},
	{WATCH(pid), .type = MEMBER_UINT, .min = 1, .max = INT32_MAX},
	{WATCH(port), .type = MEMBER_UINT, .min = 1, .max = UINT16_MAX},
	{WATCH(cgroup), .type = MEMBER_STRING, .min = 1, .max = 255},
	{WATCH(netns), .type = MEMBER_STRING, .min = 1, .max = 63},
	{WATCH(by), .type = MEMBER_STRING, .min = 1, .max = 15, .known = view_kind},
	{WATCH(ledger), .type = MEMBER_STRING, .min = 1, .max = 15, .known = spec_tier_name},
	{WATCH(interval_ms), .type = MEMBER_UINT, .min = LIMIT_TRACE_INTERVAL_MS_MIN,
		.max = LIMIT_TRACE_INTERVAL_MS_MAX},
	{WATCH(duration_ms), .type = MEMBER_UINT, .min = LIMIT_DURATION_MS_MIN, .max = LIMIT_DURATION_MS_MAX},
	{WATCH(top), .type = MEMBER_UINT, .min = 1, .max = LIMIT_WATCH_TOP},
	{},
};

static void watch_reported(json_object *document, bool final, void *userdata)
{
	struct call *c = userdata;

	if (final || c->more)
		reply_later(c, wrap("watch", document), final);
	else
		json_drop(document);
}

/* Root may watch everybody, a member of the group the processes of its own uid. */
static int cmd_watch(struct call *c, struct fault *reterr)
{
	const struct limits *limits = manager_limits(c->manager);
	struct observe_spec spec = {.by = "process",
		.ledger = "auto",
		.interval_ms = TRACE_INTERVAL_MS,
		.top = MIN(50, limits->watch_top)};
	int r;

	r = members_parse(watch_members, c->parameters, &spec, reterr);
	if (r == 0)
		r = check_bounds(c,
			(struct bound[]){{"watch_top", spec.top, limits->watch_top},
				{"watches", observe_count(manager_observers(c->manager)) + 1,
					limits->watches}},
			2, reterr);
	if (r < 0)
		return r;
	if (!c->more && !spec.duration_ms)
		return fault_set(reterr, -EINVAL, "invalid_request", "duration_ms",
			"a watch without \"more\" gives one document: say after which 'duration_ms'");
	if (!c->more)
		spec.interval_ms = spec.duration_ms;
	spec.only_uid = c->uid != 0;
	spec.uid = c->uid;
	r = observe_start(manager_event(c->manager), manager_observers(c->manager), &spec, watch_reported, c,
		&c->observer, reterr);
	manager_say_status(c->manager);
	return r;
}

/* ---- sweeps ---- */

_Static_assert(RUN_ID_BYTES == SWEEP_ID_BYTES, "a call has room for the id of either");

struct sweep_parameters {
	json_object *spec;
	char resume[65];
};

static const struct member start_sweep_members[] = {
	{"spec", MEMBER_OBJECT, MEMBER_FIELD(struct sweep_parameters, spec)},
	{"resume", MEMBER_STRING, MEMBER_FIELD(struct sweep_parameters, resume), .min = 1, .max = 64},
	{},
};

static int find_sweep(struct call *c, const char *ident, struct fault *reterr)
{
	int r = sweeper_find(manager_sweeper(c->manager), ident, c->id, reterr);

	if (r < 0)
		detail_str(c, "id", ident);
	return r;
}

static int parse_sweep(struct call *c, struct fault *reterr)
{
	struct run_parameters p = {0};
	int r = members_parse(run_members, c->parameters, &p, reterr);

	return r < 0 ? r : find_sweep(c, p.id, reterr);
}

/* The limits that an administrator lowered, of the sweep and of every cell. */
static int check_plan(struct call *c, const struct sweep_plan *plan, struct fault *reterr)
{
	const struct limits *limits = manager_limits(c->manager);
	const uint64_t cells = sweep_plan_cells(plan);
	const struct bound bounds[] = {
		{"sweep_cells", cells, limits->sweep_cells},
		{"sweep_repeat", plan->repeat, limits->sweep_repeat},
		{"sweep_runs", cells * plan->repeat, limits->sweep_runs},
	};
	struct spec spec;
	int r = check_bounds(c, bounds, ARRAY_SIZE(bounds), reterr);

	for (uint32_t i = 0; r == 0 && i < sweep_plan_cells(plan); i++) {
		sweep_plan_spec(plan, i, &spec);
		r = check_limits(c, &spec, reterr);
	}
	return r;
}

static int start_new_sweep(struct call *c, json_object *spec, uint32_t *ret_position, struct fault *reterr)
{
	_cleanup_free_ struct sweep_plan *plan = malloc(sizeof(*plan));
	json_object *details = NULL;
	int r;

	if (!plan)
		return -ENOMEM;
	r = sweep_plan_parse(spec, plan, reterr, &details);
	if (details)
		c->details = details;
	if (r == 0)
		r = check_plan(c, plan, reterr);
	if (r == 0)
		r = sweeper_start(manager_sweeper(c->manager), plan, c->id, ret_position, reterr);
	return r;
}

static int resume_sweep(struct call *c, const char *ident, uint32_t *ret_position, struct fault *reterr)
{
	int r = find_sweep(c, ident, reterr);

	return r < 0 ? r : sweeper_resume(manager_sweeper(c->manager), c->id, ret_position, reterr);
}

static int sweep_summary(struct call *c, json_object **ret, struct fault *reterr)
{
	_cleanup_json_ json_object *doc = NULL;
	int r = sweeper_document(manager_sweeper(c->manager), c->id, false, &doc, reterr);

	if (r < 0)
		return r;
	*ret = json_object_get(json_at(doc, "sweep"));
	return 0;
}

static int cmd_start_sweep(struct call *c, struct fault *reterr)
{
	_cleanup_json_ json_object *obj = json_object_new_object(), *summary = NULL;
	struct sweep_parameters p = {0};
	uint32_t position = 0;
	int r;

	r = members_parse(start_sweep_members, c->parameters, &p, reterr);
	if (r < 0)
		return r;
	if (p.spec && *p.resume)
		return fault_set(reterr, -EINVAL, "invalid_request", "spec",
			"a sweep that is resumed has its spec already: give 'spec' or 'resume', not both");
	r = *p.resume ? resume_sweep(c, p.resume, &position, reterr)
		      : start_new_sweep(c, p.spec, &position, reterr);
	if (r < 0 && str_eq(reterr->code, "queue_full"))
		detail_u64(c, "limit", manager_limits(c->manager)->sweep_queue);
	if (r == 0)
		r = sweep_summary(c, &summary, reterr);
	if (r < 0)
		return r;
	if (!obj || json_add(obj, "sweep", TAKE_PTR(summary)) < 0 || json_add_str(obj, "id", c->id) < 0 ||
		json_add_u64(obj, "position", position) < 0)
		return -ENOMEM;
	return reply(c, TAKE_PTR(obj));
}

/* Cells that ended since the last time, as far as the sweep's end is not told yet. */
static void tell_cells(struct call *c)
{
	json_object *row;

	while (c->more && (row = sweeper_ended_cell(manager_sweeper(c->manager), c->id, c->told_cells))) {
		c->told_cells++;
		send_message(c, NULL, wrap("cell", row), false);
	}
}

static json_object *due_sweep_progress(struct call *c)
{
	int64_t now = loop_now_ns(c);

	if (!c->more || (c->told_ns && now - c->told_ns < PROGRESS_NS))
		return NULL;
	c->told_ns = now;
	return sweeper_progress(manager_sweeper(c->manager), c->id);
}

static void sweep_changed(struct watch *w)
{
	struct call *c = (struct call *)w;
	json_object *summary = NULL, *progress;
	struct fault fault;

	tell_cells(c);
	if (c->answered) { /* there was no memory for a reply */
		call_abandon(c);
		return;
	}
	if (!sweeper_under_way(manager_sweeper(c->manager), c->id)) {
		if (sweep_summary(c, &summary, &fault) < 0)
			fail_later(c, &fault);
		else
			reply_later(c, wrap("summary", summary), true);
		return;
	}
	progress = due_sweep_progress(c);
	if (progress)
		reply_later(c, wrap("progress", progress), false);
}

static int cmd_follow_sweep(struct call *c, struct fault *reterr)
{
	json_object *summary = NULL, *progress;
	int r;

	r = parse_sweep(c, reterr);
	if (r < 0)
		return r;
	if (!sweeper_under_way(manager_sweeper(c->manager), c->id)) {
		r = sweep_summary(c, &summary, reterr);
		return r < 0 ? r : reply_with(c, "summary", summary);
	}
	tell_cells(c);
	if (c->answered)
		return 0;
	start_watching(c, sweep_changed);
	progress = due_sweep_progress(c);
	if (progress)
		send_message(c, NULL, wrap("progress", progress), false);
	return 0;
}

static int cmd_get_sweep(struct call *c, struct fault *reterr)
{
	json_object *doc = NULL;
	int r;

	r = parse_sweep(c, reterr);
	if (r == 0)
		r = sweeper_document(manager_sweeper(c->manager), c->id, true, &doc, reterr);
	return r < 0 ? r : reply(c, doc);
}

static const struct member list_sweeps_members[] = {
	{LIST(limit), .type = MEMBER_UINT, .min = 1, .max = LIMIT_LIST},
	{},
};

static int cmd_list_sweeps(struct call *c, struct fault *reterr)
{
	struct list_parameters p = {.limit = 100};
	json_object *sweeps = NULL;
	int r;

	r = members_parse(list_sweeps_members, c->parameters, &p, reterr);
	if (r == 0)
		r = sweeper_list(manager_sweeper(c->manager), p.limit, &sweeps, reterr);
	return r < 0 ? r : reply_with(c, "sweeps", sweeps);
}

static int cmd_cancel_sweep(struct call *c, struct fault *reterr)
{
	json_object *summary = NULL;
	int r;

	r = parse_sweep(c, reterr);
	if (r < 0)
		return r;
	r = sweeper_cancel(manager_sweeper(c->manager), c->id, reterr);
	if (r < 0)
		detail_str(c, "id", c->id);
	if (r == 0)
		r = sweep_summary(c, &summary, reterr);
	return r < 0 ? r : reply_with(c, "sweep", summary);
}

/* ---- the table ---- */

static const struct member no_members[] = {{}};

static const struct command commands[] = {
	{STANDARD ".GetInfo", no_members, cmd_service_info, ACCESS_READ, "what this service is"},
	{STANDARD ".GetInterfaceDescription", describe_members, cmd_describe, ACCESS_READ,
		"the text of an interface"},
	{INTERFACE ".GetInfo", no_members, cmd_info, ACCESS_READ, "version, state and limits of the daemon"},
	{INTERFACE ".GetTotals", no_members, cmd_totals, ACCESS_READ, "sums since the daemon started"},
	{INTERFACE ".Probe", probe_members, cmd_probe, ACCESS_READ,
		"what this machine can show, and why not the rest"},
	{INTERFACE ".StartRun", start_members, cmd_start, ACCESS_RUN, "queue a measured transfer"},
	{INTERFACE ".ListRuns", list_members, cmd_list, ACCESS_READ, "runs, newest first"},
	{INTERFACE ".GetRun", run_members, cmd_get, ACCESS_READ, "a run's result"},
	{INTERFACE ".FollowRun", run_members, cmd_follow, ACCESS_READ, "a run's progress, then its result"},
	{INTERFACE ".ContinueRun", run_members, cmd_continue, ACCESS_RUN,
		"let a run of two hosts go on, now that the other host is as far"},
	{INTERFACE ".CancelRun", run_members, cmd_cancel, ACCESS_RUN,
		"end a run early, or take it out of the queue"},
	{INTERFACE ".TraceStats", trace_members, cmd_trace, ACCESS_READ, "each copy site's figures, live"},
	{INTERFACE ".StartSweep", start_sweep_members, cmd_start_sweep, ACCESS_RUN,
		"measure a grid of runs, or go on with one"},
	{INTERFACE ".FollowSweep", run_members, cmd_follow_sweep, ACCESS_READ,
		"a sweep's progress and cells, then its summary"},
	{INTERFACE ".GetSweep", run_members, cmd_get_sweep, ACCESS_READ, "a sweep's cells with their runs"},
	{INTERFACE ".ListSweeps", list_sweeps_members, cmd_list_sweeps, ACCESS_READ, "sweeps, newest first"},
	{INTERFACE ".CancelSweep", run_members, cmd_cancel_sweep, ACCESS_RUN, "end a sweep early"},
	{INTERFACE ".Watch", watch_members, cmd_watch, ACCESS_RUN, "the ledger of sockets that are not ours"},
};

bool command_describe(size_t i, const char **ret_method, const char **ret_summary)
{
	if (i >= ARRAY_SIZE(commands))
		return false;
	*ret_method = commands[i].method;
	*ret_summary = commands[i].summary;
	return true;
}

/* ---- from text to a handler ---- */

struct request {
	char method[128];
	json_object *parameters;
	bool more, oneway, upgrade;
};

#define REQUEST(f) .name = #f, MEMBER_FIELD(struct request, f)

static const struct member request_members[] = {
	{REQUEST(method), .type = MEMBER_STRING, .required = true, .min = 1, .max = 127},
	{REQUEST(parameters), .type = MEMBER_OBJECT},
	{REQUEST(more), .type = MEMBER_BOOL},
	{REQUEST(oneway), .type = MEMBER_BOOL},
	{REQUEST(upgrade), .type = MEMBER_BOOL},
	{},
};

static int check_text(struct call *c, const char *text, size_t len, struct fault *reterr)
{
	struct json_flaw flaw;
	int r = json_check(text, len, LIMIT_DEPTH, LIMIT_VALUES, &flaw);

	if (r == -EOVERFLOW)
		return limit_fault(c, "depth", LIMIT_DEPTH + 1, LIMIT_DEPTH, reterr);
	if (r == -E2BIG)
		return limit_fault(c, "values", LIMIT_VALUES + 1, LIMIT_VALUES, reterr);
	if (r < 0)
		return fault_set(reterr, r, "invalid_request", "",
			"not a JSON message: %s, at byte %zu of %zu", flaw.reason, flaw.offset, len);
	return 0;
}

static json_object *parse_text(const char *text, size_t len)
{
	json_tokener *tok = json_tokener_new_ex(LIMIT_DEPTH + 1);
	json_object *obj = NULL;

	if (!tok)
		return NULL;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	obj = json_tokener_parse_ex(tok, text, len);
	json_tokener_free(tok);
	return obj;
}

static int parse_request(
	struct call *c, const char *text, size_t len, struct request *ret, struct fault *reterr)
{
	struct fault fault;
	int r;

	if (len > LIMIT_MESSAGE)
		return limit_fault(c, "message", len, LIMIT_MESSAGE, reterr);
	r = check_text(c, text, len, reterr);
	if (r < 0)
		return r;
	c->request = parse_text(text, len);
	if (!json_object_is_type(c->request, json_type_object))
		return fault_set(reterr, -EINVAL, "invalid_request", "", "a message must be a JSON object");
	r = members_parse(request_members, c->request, ret, &fault);
	if (r < 0) {
		c->details = members_details(request_members, c->request, &fault);
		*reterr = fault;
		return r;
	}
	if (ret->upgrade)
		return fault_set(
			reterr, -EOPNOTSUPP, "invalid_request", "upgrade", "'upgrade' is not supported");
	return 0;
}

static int method_unknown(struct call *c, const char *method, struct fault *reterr)
{
	const char *dot = strrchr(method, '.');
	size_t n = dot ? dot - method : 0;
	char name[sizeof(((struct request *)0)->method)];

	for (size_t i = 0; i < ARRAY_SIZE(interfaces); i++)
		if (strlen(interfaces[i].name) == n && strncmp(interfaces[i].name, method, n) == 0) {
			detail_str(c, "method", method);
			return fault_set(reterr, -ENOENT, "method_not_found", "", "no such method");
		}
	snprintf(name, sizeof(name), "%.*s", dot ? (int)n : (int)strlen(method), method);
	detail_str(c, "interface", name);
	return fault_set(reterr, -ENOENT, "interface_not_found", "", "no such interface");
}

static const struct command *find_command(const char *method)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (str_eq(commands[i].method, method))
			return &commands[i];
	return NULL;
}

/* The errors of the standard interface know of a wrong parameter only its name. */
static void standard_fault(struct call *c, struct fault *fault)
{
	if (strncmp(c->command->method, STANDARD ".", sizeof(STANDARD)) != 0 || !fault->field[0])
		return;
	json_drop(c->details);
	c->details = NULL;
	detail_str(c, "parameter", fault->field);
	str_copy(fault->code, "invalid_parameter");
}

/* What a handler's own table knows about a parameter at fault. */
static void add_details(struct call *c, struct fault *fault)
{
	if (!c->details)
		c->details = members_details(c->command->members, c->parameters, fault);
	standard_fault(c, fault);
}

static int dispatch(struct call *c, unsigned int access, const char *text, size_t len, struct fault *reterr)
{
	struct request request = {0};
	int r;

	r = parse_request(c, text, len, &request, reterr);
	if (r < 0)
		return r;
	c->more = request.more;
	c->oneway = request.oneway;
	c->parameters = request.parameters;
	c->command = find_command(request.method);
	if (!c->command)
		return method_unknown(c, request.method, reterr);
	if (!(access & c->command->access))
		return fault_set(reterr, -EACCES, "permission_denied", "",
			"%s is for root, the daemon's own user and members of the socket's group",
			c->command->method);
	/* a handler checks against this table itself, where it needs the values */
	if (c->command->members == no_members)
		r = members_parse(no_members, c->parameters, NULL, reterr);
	if (r == 0)
		r = c->command->handler(c, reterr);
	if (r < 0)
		add_details(c, reterr);
	return r;
}

struct call *call_begin(struct manager *m, unsigned int access, uid_t uid, const char *text, size_t len,
	call_reply_fn reply_fn, void *userdata)
{
	_cleanup_(call_abandonp) struct call *c = calloc(1, sizeof(*c));
	struct fault fault = {.code = "no_memory", .text = "out of memory"};
	int r;

	if (!c) {
		reply_fn(NULL, true, userdata);
		return NULL;
	}
	c->manager = m;
	c->uid = uid;
	c->access = access;
	c->reply = reply_fn;
	c->userdata = userdata;
	r = dispatch(c, access, text, len, &fault);
	if (r < 0)
		reply_error(c, &fault);
	return c->answered || c->oneway ? NULL : TAKE_PTR(c);
}
