// SPDX-License-Identifier: MIT
/* A look at a path: the child's messages and end become one answer. */
#include "pathprobe.h"

#include <errno.h>

#include "child.h"
#include "limit.h"
#include "path.h"

#define PROBE_USEC (15 * 1000000ULL) /* after which a child that does not end is killed; as a run waits */

static unsigned int probes;

struct pathprobe {
	struct child *child;
	sd_event_source *limit, *told;
	pathprobe_fn done;
	void *userdata;
	struct fault fault;
	char path[80];
};

static void child_said(const struct lg_message *m, const int *fds, size_t n, void *userdata)
{
	struct pathprobe *p = userdata;

	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	if (m->type == LG_FAILED)
		fault_set(&p->fault, m->error < 0 ? m->error : -EIO, "path", "path", "%s", m->text);
}

static int on_limit(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct pathprobe *p = userdata;

	fault_set(&p->fault, -ETIMEDOUT, "path", "path", "path %s could not be opened in time", p->path);
	child_kill(p->child);
	return 0;
}

/* Outside of the child's own callback, which the child must survive. */
static int on_told(sd_event_source *s, void *userdata)
{
	struct pathprobe *p = userdata;
	json_object *status = p->fault.error ? NULL : path_json(p->path, child_shm(p->child)->device);

	p->done(status, &p->fault, p->userdata);
	return 0;
}

static void child_ended(const siginfo_t *how, void *userdata)
{
	struct pathprobe *p = userdata;

	if (!p->fault.error && (how->si_code != CLD_EXITED || child_shm(p->child)->phase != LG_DONE))
		fault_set(&p->fault, -EPROTO, "path", "path",
			"the load generator ended (status %d) before it had looked at path %s",
			how->si_status, p->path);
	sd_event_source_set_enabled(p->told, SD_EVENT_ONESHOT);
}

static int make_sources(sd_event *event, struct pathprobe *p)
{
	int r;

	r = sd_event_add_time_relative(event, &p->limit, CLOCK_MONOTONIC, PROBE_USEC, 0, on_limit, p);
	if (r < 0)
		return r;
	r = sd_event_add_defer(event, &p->told, on_told, p);
	return r < 0 ? r : sd_event_source_set_enabled(p->told, SD_EVENT_OFF);
}

unsigned int pathprobe_count(void)
{
	return probes;
}

int pathprobe_start(sd_event *event, const char *loadgen, const char *path, pathprobe_fn done, void *userdata,
	struct pathprobe **ret, struct fault *reterr)
{
	static const struct child_ops ops = {child_said, child_ended};
	_cleanup_(pathprobe_freep) struct pathprobe *p = calloc(1, sizeof(*p));
	struct lg_plan plan = {.version = LG_VERSION,
		.lanes = 1,
		.size = 1,
		.fields = 1,
		.flags = LG_LOOK,
		.mode = "one-copy",
		.receive = "recv",
		.workload = "stream"};
	int r;

	if (!p)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	probes++; /* pathprobe_free() takes it back, also after a failure */
	str_copy(plan.path, path);
	str_copy(p->path, path);
	p->done = done;
	p->userdata = userdata;
	r = make_sources(event, p);
	if (r < 0)
		return fault_set(reterr, r, "event", "", "a path cannot be looked at: %s", strerror(-r));
	r = child_start(event, loadgen, &plan, -1, &ops, p, &p->child, reterr);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

struct pathprobe *pathprobe_free(struct pathprobe *p)
{
	if (!p)
		return NULL;
	sd_event_source_disable_unref(p->limit);
	sd_event_source_disable_unref(p->told);
	child_free(p->child);
	free(p);
	probes--;
	return NULL;
}
