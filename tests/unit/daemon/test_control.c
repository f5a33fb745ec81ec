// SPDX-License-Identifier: MIT
/* Framing, order, queues and limits of the control socket, over real sockets in one thread. */
#include "fake_run.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../../../daemon/control.h" /* loadgen/ has one of that name too */
#include "limits.h"

struct bench {
	sd_event *event;
	struct manager *manager;
	struct control *control;
	char dir[64], path[96];
};

static struct control *new_control(struct bench *b, const struct limits *limits, int fd)
{
	struct control *c = NULL;

	assert_int_equal(control_new(b->event, b->manager, limits, fd, &c, NULL), 0);
	return c;
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct manager_config config = {.loadgen = "/loadgen", .limits = limits_default};

	strcpy(b->dir, "/tmp/copyledger-control-XXXXXX");
	if (!mkdtemp(b->dir) || sd_event_new(&b->event) < 0 ||
		manager_new(b->event, &fake_ops, &config, &b->manager, NULL) < 0)
		return -1;
	snprintf(b->path, sizeof(b->path), "%s/socket", b->dir);
	b->control = new_control(b, &limits_default, -1);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	control_free(b->control);
	manager_free(b->manager);
	sd_event_unref(b->event);
	fake_remove_dir(b->dir);
	free(b);
	return 0;
}

/* Our end of a new client's connection. */
static int client(struct bench *b)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(control_add(b->control, fds[1], ACCESS_READ | ACCESS_RUN), 0);
	return fds[0];
}

static void say(struct bench *b, int fd, const char *bytes, size_t n)
{
	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
	fake_pump(b->event);
}

/* A text with its NUL. */
static void say_text(struct bench *b, int fd, const char *text)
{
	say(b, fd, text, strlen(text) + 1);
}

/* The next reply that has come, or NULL: there is none, or the connection has ended. */
static json_object *hear(struct bench *b, int fd)
{
	static char text[4 << 20];
	size_t n = 0;
	ssize_t r;

	fake_pump(b->event);
	while ((r = recv(fd, text + n, MIN(sizeof(text) - n, 65536), MSG_PEEK)) > 0) {
		char *nul = memchr(text + n, 0, r);
		size_t take = nul ? (size_t)(nul + 1 - (text + n)) : (size_t)r;

		assert_int_equal(recv(fd, text + n, take, 0), take);
		if (nul)
			return json_tokener_parse(text);
		n += take;
		fake_pump(b->event); /* room for more of it */
	}
	return NULL;
}

static bool ended(struct bench *b, int fd)
{
	char c;

	fake_pump(b->event);
	return recv(fd, &c, 1, 0) == 0;
}

static void assert_heard(struct bench *b, int fd, const char *path, const char *value)
{
	_cleanup_json_ json_object *m = hear(b, fd);
	const char *got = json_object_get_string(json_at(m, path));

	if (!got || (value && !str_eq(got, value)))
		fail_msg("%s, not %s in %s", path, value, json_object_to_json_string(m));
}

#define INFO "{\"method\":\"io.copyledger.GetInfo\"}"
#define FOLLOW "{\"method\":\"io.copyledger.FollowRun\",\"parameters\":{\"id\":\"last\"},\"more\":true}"
#define START "{\"method\":\"io.copyledger.StartRun\",\"parameters\":{\"spec\":{\"mode\":\"two-copy\"}}}"

static void takes_a_message_byte_by_byte(void **state)
{
	int fd = client(*state);

	for (size_t i = 0; i < sizeof(INFO); i++) {
		assert_null(hear(*state, fd));
		say(*state, fd, &INFO[i], 1);
	}
	assert_heard(*state, fd, "parameters/state", "idle");
	close(fd);
}

static void answers_many_in_order(void **state)
{
	char text[8192];
	size_t n = 0;
	int fd = client(*state);

	for (int i = 0; i < 60; i++)
		n += sprintf(text + n,
			     "{\"method\":\"io.copyledger.GetRun\",\"parameters\":{\"id\":\"n%d\"}}", i) +
		     1;
	say(*state, fd, text, n);
	for (int i = 0; i < 60; i++) {
		char id[16];

		snprintf(id, sizeof(id), "n%d", i);
		assert_heard(*state, fd, "parameters/id", id);
	}
	assert_null(hear(*state, fd));
	close(fd);
}

static void goes_on_after_junk(void **state)
{
	static const char junk[] = "{\"method\":\0\xff\xfe\0\0null\0" INFO;
	int fd = client(*state);

	say(*state, fd, junk, sizeof(junk));
	for (int i = 0; i < 4; i++)
		assert_heard(*state, fd, "error", "io.copyledger.InvalidRequest");
	assert_heard(*state, fd, "parameters/state", "idle");
	close(fd);
}

/* What was asked behind a call that waits is answered behind it. */
static void keeps_the_order_while_waiting(void **state)
{
	static const char text[] = START "\0" FOLLOW "\0" INFO;
	struct bench *b = *state;
	int fd = client(b);

	say(b, fd, text, sizeof(text));
	assert_heard(b, fd, "parameters/id", NULL);
	assert_heard(b, fd, "parameters/progress/state", "starting");
	assert_null(hear(b, fd));
	fake_turn(b->event, "measuring");
	assert_heard(b, fd, "continues", "true");
	fake_end(b->event, "done");
	assert_heard(b, fd, "parameters/result/state", "done");
	assert_heard(b, fd, "parameters/state", "idle");
	close(fd);
}

static void closes_on_an_endless_message(void **state)
{
	struct bench *b = *state;
	static char text[1 << 20];
	int fd = client(b);
	size_t sent = 0;

	memset(text, '[', sizeof(text));
	while (sent < sizeof(text)) {
		ssize_t n = send(fd, text + sent, sizeof(text) - sent, MSG_NOSIGNAL);

		sent += n > 0 ? n : 0;
		fake_pump(b->event);
	}
	assert_heard(b, fd, "error", "io.copyledger.LimitExceeded");
	assert_true(ended(b, fd));
	close(fd);
	fake_pump(b->event);
	assert_int_equal(control_clients(b->control), 0);
}

static void takes_the_longest_message(void **state)
{
	static char text[LIMIT_MESSAGE + 2];
	struct bench *b = *state;
	int fd = client(b);

	memset(text, ' ', sizeof(text));
	memcpy(text, INFO, sizeof(INFO) - 1);
	text[LIMIT_MESSAGE] = 0;
	say_text(b, fd, text);
	assert_heard(b, fd, "parameters/state", "idle");
	text[LIMIT_MESSAGE] = ' ';
	text[LIMIT_MESSAGE + 1] = 0;
	say_text(b, fd, text);
	assert_heard(b, fd, "parameters/limit", "message");
	assert_true(ended(b, fd));
	close(fd);
}

static void forgets_clients_that_vanish(void **state)
{
	struct bench *b = *state;
	int fd = client(b), other = client(b);

	say_text(b, fd, START);
	say_text(b, fd, FOLLOW);
	say_text(b, other, FOLLOW);
	close(fd);
	fake_pump(b->event);
	assert_int_equal(control_clients(b->control), 1);
	assert_heard(b, other, "parameters/progress/state", "starting");
	fake_turn(b->event, "measuring");
	assert_heard(b, other, "parameters/progress/state", "measuring");
	fake_end(b->event, "done");
	assert_heard(b, other, "parameters/result/state", "done");
	close(other);
	fake_pump(b->event);
	assert_int_equal(control_clients(b->control), 0);
}

/* A client may close its sending side and still get what it asked for. */
static void serves_half_closed_clients(void **state)
{
	struct bench *b = *state;
	int fd = client(b);

	say_text(b, fd, START);
	say_text(b, fd, FOLLOW);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_heard(b, fd, "parameters/id", NULL);
	assert_heard(b, fd, "parameters/progress/state", "starting");
	fake_end(b->event, "done");
	assert_heard(b, fd, "parameters/result/state", "done");
	assert_true(ended(b, fd));
	close(fd);
}

/* A oneway request counts although its sender is gone when it is read. */
static void hears_last_words(void **state)
{
	struct bench *b = *state;
	static const char text[] =
		"{\"method\":\"io.copyledger.StartRun\",\"oneway\":true,\"parameters\":{\"spec\":{\"mode\":"
		"\"two-copy\"}}}";
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(send(fds[0], text, sizeof(text), 0), sizeof(text));
	close(fds[0]);
	assert_int_equal(control_add(b->control, fds[1], ACCESS_READ | ACCESS_RUN), 0);
	fake_pump(b->event);
	assert_int_equal(control_clients(b->control), 0);
	assert_non_null(fake_running);
	fake_end(b->event, "done");
}

/* Asks without ever reading, until the daemon has enough of it. */
static void closes_those_who_never_read(void **state)
{
	struct bench *b = *state;
	int fd = client(b), other = client(b);
	struct pollfd gone = {.fd = fd};

	while (send(fd, INFO, sizeof(INFO), MSG_NOSIGNAL) == sizeof(INFO))
		fake_pump(b->event);
	assert_int_equal(errno, EAGAIN);
	say_text(b, other, INFO); /* nobody else suffers */
	assert_heard(b, other, "parameters/state", "idle");
	while (control_clients(b->control) == 2)
		assert_true(sd_event_run(b->event, UINT64_MAX) > 0);
	assert_int_equal(poll(&gone, 1, 0), 1);
	assert_true(gone.revents & POLLHUP);
	close(fd);
	close(other);
}

/* A follower that does not read loses the connection when its queue is full; the others and the run go on. */
static void bounds_the_queue_of_a_stream(void **state)
{
	struct bench *b = *state;
	struct limits limits = limits_default;
	int fd, small = 4096;
	unsigned int turns = 0;

	limits.client_queue = LIMIT_MESSAGE;
	control_free(b->control);
	b->control = new_control(b, &limits, -1);
	fd = client(b);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	say_text(b, fd, START);
	say_text(b, fd, FOLLOW);
	while (control_clients(b->control) == 1) {
		fake_turn(b->event, turns % 2 ? "warmup" : "measuring"); /* each change is told at once */
		assert_true(++turns < 100000);
	}
	assert_true(turns > 10);
	fake_end(b->event, "done");
	close(fd);
}

/* One reply may be larger than the queue, if the queue is empty. */
static void passes_a_large_reply(void **state)
{
	struct bench *b = *state;
	struct limits limits = limits_default;
	int fd;

	limits.client_queue = LIMIT_MESSAGE;
	control_free(b->control);
	b->control = new_control(b, &limits, -1);
	fd = client(b);
	say_text(b, fd, START);
	assert_heard(b, fd, "parameters/id", NULL);
	fake_blob = 2 << 20;
	fake_end(b->event, "done");
	fake_blob = 0;
	say_text(b, fd, "{\"method\":\"io.copyledger.GetRun\",\"parameters\":{\"id\":\"last\"}}");
	say_text(b, fd,
		"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":"
		"\"io.copyledger\"}}");
	assert_heard(b, fd, "parameters/result/state", "done");
	assert_heard(b, fd, "parameters/description", NULL);
	close(fd);
}

static void closes_idle_clients(void **state)
{
	struct bench *b = *state;
	struct limits limits = limits_default;
	int idle, waiting, dripping;

	limits.idle_ms = 100;
	control_free(b->control);
	b->control = new_control(b, &limits, -1);
	waiting = client(b);
	say_text(b, waiting, START);
	say_text(b, waiting, FOLLOW);
	idle = client(b);
	dripping = client(b);
	while (control_clients(b->control) > 1) {
		assert_true(sd_event_run(b->event, 10000) >= 0);
		if (send(dripping, " ", 1, MSG_NOSIGNAL) < 0) /* half a message is no request */
			assert_int_equal(errno, EPIPE);
	}
	assert_true(ended(b, idle));
	fake_end(b->event, "done");
	assert_heard(b, waiting, "parameters/id", NULL);
	assert_heard(b, waiting, "parameters/progress/state", "starting");
	assert_heard(b, waiting, "parameters/result/state", "done");
	while (control_clients(b->control) > 0)
		assert_true(sd_event_run(b->event, UINT64_MAX) > 0);
	assert_int_equal(sd_event_run(b->event, 0), 0); /* nobody is left: nothing wakes us */
	close(idle);
	close(waiting);
	close(dripping);
}

static void limits_clients(void **state)
{
	struct bench *b = *state;
	struct limits limits = limits_default;
	int fd[4], pair[2];

	limits.clients = 4;
	control_free(b->control);
	b->control = new_control(b, &limits, -1);
	for (int i = 0; i < 4; i++)
		fd[i] = client(b);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(control_add(b->control, pair[1], ACCESS_READ), -EMFILE);
	assert_heard(b, pair[0], "parameters/max", "4");
	assert_true(ended(b, pair[0]));
	close(pair[0]);
	close(fd[0]);
	fake_pump(b->event);
	fd[0] = client(b); /* a place is free again */
	say_text(b, fd[0], INFO);
	assert_heard(b, fd[0], "parameters/state", "idle");
	for (int i = 0; i < 4; i++)
		close(fd[i]);
}

static int try_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	str_copy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -errno;
}

static void listens_on_a_file(void **state)
{
	struct bench *b = *state;
	struct fault fault;
	struct stat st;
	int listening = control_listen(b->path, &fault), fd;

	assert_true(listening >= 0);
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	control_free(b->control);
	b->control = new_control(b, &limits_default, listening);
	fd = try_connect(b->path);
	assert_true(fd >= 0);
	say_text(b, fd, START); /* our own uid may */
	assert_heard(b, fd, "parameters/id", NULL);
	fake_end(b->event, "done");
	close(fd);
	assert_int_equal(control_listen(b->path, &fault), -EADDRINUSE); /* a living one is left alone */
	assert_string_equal(fault.code, "socket_in_use");
	control_unlisten(b->path);
	assert_int_equal(access(b->path, F_OK), 0);
	b->control = control_free(b->control);
	control_unlisten(b->path);
	assert_int_equal(access(b->path, F_OK), -1);
}

static void replaces_a_dead_socket_only(void **state)
{
	struct bench *b = *state;
	struct fault fault;
	char longer[200];
	int fd = control_listen(b->path, &fault), file;

	assert_true(fd >= 0);
	close(fd); /* as a SIGKILL leaves it */
	fd = control_listen(b->path, &fault);
	assert_true(fd >= 0);
	close(fd);
	unlink(b->path);
	file = open(b->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(control_listen(b->path, &fault), -EADDRINUSE);
	control_unlisten(b->path);
	assert_int_equal(access(b->path, F_OK), 0); /* no socket: not ours */
	memset(longer, 'x', sizeof(longer));
	longer[0] = '/';
	longer[sizeof(longer) - 1] = 0;
	assert_int_equal(control_listen(longer, &fault), -ENAMETOOLONG);
	assert_non_null(strstr(fault.text, "107"));
	assert_true(control_listen("/proc/nothing-can-be-made-here/socket", &fault) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(takes_a_message_byte_by_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(answers_many_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(goes_on_after_junk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_the_order_while_waiting, set_up, tear_down),
		cmocka_unit_test_setup_teardown(closes_on_an_endless_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_the_longest_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(forgets_clients_that_vanish, set_up, tear_down),
		cmocka_unit_test_setup_teardown(serves_half_closed_clients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(hears_last_words, set_up, tear_down),
		cmocka_unit_test_setup_teardown(closes_those_who_never_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bounds_the_queue_of_a_stream, set_up, tear_down),
		cmocka_unit_test_setup_teardown(passes_a_large_reply, set_up, tear_down),
		cmocka_unit_test_setup_teardown(closes_idle_clients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(limits_clients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(listens_on_a_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(replaces_a_dead_socket_only, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
