/* SPDX-License-Identifier: MIT */
/* A run without load: the test says when its state changes. For programs that test what stands above run.h.
 */
#pragma once

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "commands.h"
#include "jsonx.h"
#include "manager.h"

struct run {
	char id[RUN_ID_BYTES];
	struct spec spec;
	char state[16];
	bool finished, cancelled;
	run_changed_fn changed;
	void *userdata;
	json_object *result;
};

static struct run *fake_running;    /* the run that was started last and is not freed yet */
static int fake_starts, fake_frees; /* counted */
static int fake_refuses;            /* so many of the next starts fail */
static int fake_probes;
static size_t fake_blob; /* bytes by which the next results are larger */

static inline int fake_start(sd_event *event, const char *loadgen, const char *id, const struct spec *spec,
	run_changed_fn changed, void *userdata, struct run **ret, struct fault *reterr)
{
	struct run *r;

	if (fake_refuses > 0) {
		fake_refuses--;
		return fault_set(reterr, -ENOENT, "no_loadgen", "", "cannot start %s", loadgen);
	}
	assert_null(fake_running); /* one at a time */
	r = calloc(1, sizeof(*r));
	assert_non_null(r);
	str_copy(r->id, id);
	str_copy(r->state, "starting");
	r->spec = *spec;
	r->changed = changed;
	r->userdata = userdata;
	fake_running = r;
	fake_starts++;
	*ret = r;
	return 0;
}

static inline void fake_cancel(struct run *r)
{
	r->cancelled = true;
}

static inline struct run *fake_free(struct run *r)
{
	if (!r)
		return NULL;
	if (r == fake_running)
		fake_running = NULL;
	fake_frees++;
	json_drop(r->result);
	free(r);
	return NULL;
}

static inline bool fake_finished(const struct run *r)
{
	return r->finished;
}

static inline const char *fake_state(const struct run *r)
{
	return r->state;
}

static inline json_object *fake_progress(const struct run *r)
{
	json_object *o = json_object_new_object();

	json_add_str(o, "id", r->id);
	json_add_str(o, "state", r->state);
	json_add_u64(o, "position", 0);
	return o;
}

static inline json_object *fake_trace(struct run *r)
{
	json_object *o;

	if (r->finished || str_eq(r->spec.ledger, "off"))
		return NULL;
	o = json_object_new_object();
	json_add_str(o, "id", r->id);
	json_add_str(o, "state", r->state);
	json_add(o, "sites", json_object_new_array());
	return o;
}

static inline json_object *fake_result(struct run *r)
{
	return r->result;
}

static inline int fake_ledger_probe(
	json_object **ret_sites, json_object **ret_hooks, json_object **ret_summary)
{
	fake_probes++;
	*ret_sites = json_object_new_array();
	*ret_hooks = json_object_new_array();
	*ret_summary = json_object_new_array();
	return 0;
}

static inline json_object *fake_host(void)
{
	return json_object_new_object();
}

static inline json_object *fake_events(void)
{
	return json_object_new_array();
}

static const struct run_ops fake_ops = {
	.start = fake_start,
	.cancel = fake_cancel,
	.free = fake_free,
	.finished = fake_finished,
	.state = fake_state,
	.progress = fake_progress,
	.trace = fake_trace,
	.result = fake_result,
	.ledger_probe = fake_ledger_probe,
	.perf_probe = fake_events,
	.host_snapshot = fake_host,
};

/* Everything that is due without waiting. */
static inline void fake_pump(sd_event *event)
{
	while (sd_event_get_state(event) != SD_EVENT_FINISHED && sd_event_run(event, 0) > 0)
		;
}

static inline void fake_turn(sd_event *event, const char *state)
{
	assert_non_null(fake_running);
	str_copy(fake_running->state, state);
	fake_running->changed(fake_running, fake_running->userdata);
	fake_pump(event);
}

/* Ends the running run with a small document, which the daemon does not take before its next turn. */
static inline void fake_finish(const char *state)
{
	struct run *r = fake_running;

	assert_non_null(r);
	r->result = json_tokener_parse(
		"{\"schema\":\"copyledger/result/"
		"1\",\"started\":\"2026-01-01T10:00:00.000Z\",\"ended\":\"2026-01-01T10:00:02.500Z\","
		"\"app\":{\"bytes_received\":100,\"throughput_gbps\":1.5},\"ledger\":{\"sites\":[{\"site\":"
		"\"tx_copy\",\"bytes\":100}],"
		"\"delivered\":100,\"copies_per_byte\":{\"total\":2.0},\"balanced\":true,\"exact\":true},"
		"\"warnings\":[]}");
	json_add_str(r->result, "id", r->id);
	json_add_str(r->result, "state", state);
	json_add(r->result, "spec", spec_to_json(&r->spec));
	if (str_eq(r->spec.ledger, "off")) {
		json_add_null(r->result, "ledger");
		json_add_str(r->result, "ledger_reason", "the ledger was turned off");
	}
	if (fake_blob) {
		_cleanup_free_ char *blob = calloc(1, fake_blob + 1);

		assert_non_null(blob);
		memset(blob, 'x', fake_blob);
		json_add_str(r->result, "blob", blob);
	}
	r->finished = true;
	str_copy(r->state, state);
	r->changed(r, r->userdata);
}

static inline void fake_end(sd_event *event, const char *state)
{
	fake_finish(state);
	fake_pump(event);
}

static inline int fake_remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

static inline void fake_remove_dir(const char *dir)
{
	nftw(dir, fake_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}
