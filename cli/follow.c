// SPDX-License-Identifier: MIT
/* One run from its start to its result, with a line of progress and an ear for Ctrl-C. */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "follow.h"

static int on_reply(json_object *reply, void *userdata)
{
	struct follow *f = userdata;
	json_object *result = doc_at(reply, "result"), *progress = doc_at(reply, "progress");

	if (json_object_is_type(result, json_type_object) && !f->result)
		f->result = json_object_get(result);
	else if (progress)
		progress_show(&f->progress, progress);
	return 0;
}

static int on_cancelled(json_object *reply, void *userdata)
{
	struct follow *f = userdata;

	f->cancelled = true;
	return 0;
}

/* The first Ctrl-C asks the daemon to end the run; its result still comes. The second one does not wait for a
 * daemon that hangs, here either. */
static void cancel(struct follow *f, json_object *id)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct fault fault = {};
	int r;

	progress_clear(&f->progress);
	out_line(&f->cli->err, STYLE_NONE, "cancelling run %s; once more leaves without waiting for it",
		f->id);
	r = client_connect(f->cli->socket, &c, &fault);
	if (r == 0)
		r = client_call_more(c, "CancelRun", id, f->signals, on_cancelled, f, &fault);
	if (r < 0 && r != -EINTR)
		cli_fail(f->cli, &fault);
}

static void say_left(struct follow *f)
{
	progress_clear(&f->progress);
	out_line(&f->cli->err, STYLE_NONE,
		f->cancelled ? "left: run %s was told to stop, 'copyledger show %s' has what it measured"
			     : "left: run %s goes on, 'copyledger cancel %s' ends it",
		f->id, f->id);
}

static void take_signal(struct follow *f)
{
	struct signalfd_siginfo info;

	if (read(f->signals, &info, sizeof(info)) == sizeof(info))
		f->interrupts++;
}

/* Follows to the end, through interruptions. 0, -EINTR: left behind, or what client_follow() returns. */
static int follow_through(struct follow *f, struct client *c, json_object *id, struct fault *reterr)
{
	int r;

	r = client_call_more(c, "FollowRun", id, f->signals, on_reply, f, reterr);
	while (r == -EINTR && f->interrupts < 2) {
		take_signal(f);
		if (f->interrupts == 1)
			cancel(f, id);
		if (f->interrupts < 2)
			r = client_follow(c, f->signals, on_reply, f, reterr);
	}
	progress_clear(&f->progress);
	return r;
}

int follow_run(struct follow *f, struct client *c, struct fault *reterr)
{
	_cleanup_json_ json_object *parameters = json_object_new_object();
	int r;

	json_object_object_add(parameters, "id", json_object_new_string(f->id));
	r = follow_through(f, c, parameters, reterr);
	if (r == -EINTR)
		say_left(f);
	if (r == 0 && !f->result)
		return fault_set(
			reterr, -EBADMSG, "bad_reply", "", "the daemon ended run %s without a result", f->id);
	return r;
}

int follow_start(struct client *c, json_object *spec, json_object **ret, struct fault *reterr)
{
	_cleanup_json_ json_object *parameters = json_object_new_object(), *reply = NULL;
	int r;

	json_object_object_add(parameters, "spec", json_object_get(spec));
	r = client_call(c, "StartRun", parameters, &reply, reterr);
	if (r < 0)
		return r;
	if (!doc_string(reply, "id"))
		return fault_set(reterr, -EBADMSG, "bad_reply", "", "the daemon started a run without an id");
	*ret = TAKE_PTR(reply);
	return 0;
}
