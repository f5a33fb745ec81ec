// SPDX-License-Identifier: MIT
/* Bytes as a client may send them, cut into pieces anywhere: each reply must be one JSON object, and the
 * daemon's side must go on. */
#include "../unit/daemon/fake_run.h"

#include <assert.h>
#include <poll.h>
#include <sys/socket.h>

#include "../../daemon/control.h"
#include "fuzz.h"

static sd_event *event;
static struct manager *manager;
static struct control *control;

static void set_up(void)
{
	struct manager_config config = {.loadgen = "/loadgen", .limits = limits_default};

	assert(sd_event_new(&event) >= 0);
	assert(manager_new(event, &fake_ops, &config, &manager, NULL) == 0);
	assert(control_new(event, manager, &limits_default, -1, &control, NULL) == 0);
}

/* What the client has got: whole messages, and at most the beginning of one more. */
static void check_replies(const char *text, size_t len)
{
	const char *end;

	for (; (end = memchr(text, 0, len)); len -= end + 1 - text, text = end + 1) {
		json_object *o = json_tokener_parse(text);

		assert(json_object_is_type(o, json_type_object));
		json_object_put(o);
	}
}

static size_t hear(int fd, char *text, size_t room)
{
	size_t len = 0;
	ssize_t r;

	while (len < room && (r = recv(fd, text + len, room - len, 0)) > 0) {
		len += r;
		fake_pump(event);
	}
	return len;
}

/* No run stays: what the bytes started is ended. */
static void end_runs(void)
{
	for (int i = 0; fake_running && i < 128; i++)
		fake_end(event, "cancelled");
}

/* A closed socket ends with the last look at it, which may be another process's, through /proc: the daemon's
 * side hears of it a little later then. */
static void wait_for_end(void)
{
	for (int i = 0; control_clients(control) && i < 2000; i++) {
		poll(NULL, 0, 1);
		fake_pump(event);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[8 << 20];
	int fds[2];

	if (!event)
		set_up();
	if (size < 2)
		return 0;
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	if (control_add(control, fds[1], data[0] & (ACCESS_READ | ACCESS_RUN)) == 0) {
		/* the second byte says how long the pieces are */
		for (size_t at = 2, n; at < size; at += n) {
			n = MIN(size - at, data[1] ? data[1] * 16U : size);
			if (send(fds[0], data + at, n, MSG_NOSIGNAL) < 0)
				break;
			fake_pump(event);
		}
		check_replies(text, hear(fds[0], text, sizeof(text)));
	}
	close(fds[0]);
	fake_pump(event);
	end_runs();
	wait_for_end();
	assert(control_clients(control) == 0);
	return 0;
}
