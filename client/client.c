// SPDX-License-Identifier: MIT
/* Speaks Varlink to copyledgerd. */
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "client.h"
#include "clock.h"

#define READ_CHUNK 65536
#define REPLY_DEPTH 32
#define BRIDGE_END_MS 1000
#define GROUP "copyledger"
#define NS_PER_MS 1000000ULL

struct client {
	int fd;
	pid_t bridge;      /* 0: none */
	uint64_t deadline; /* CLOCK_MONOTONIC, ns; 0: none but CLIENT_TIMEOUT_MS between replies */
	size_t reply_max;  /* bytes */
	char *buf;         /* received: one message or more, the last perhaps in part */
	size_t used, allocated;
};

struct client *client_new(int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c) {
		close_fd(fd);
		return NULL;
	}
	c->fd = fd;
	c->reply_max = CLIENT_REPLY_MAX;
	return c;
}

/* It ends when its input does: after a moment for that it is told. */
static void end_bridge(pid_t pid)
{
	if (pid <= 0)
		return;
	for (int i = 0; i < BRIDGE_END_MS / 10; i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return;
		poll(NULL, 0, 10);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

struct client *client_free(struct client *c)
{
	if (!c)
		return NULL;
	close_fd(c->fd);
	end_bridge(c->bridge);
	free(c->buf);
	free(c);
	return NULL;
}

/* The group that may use the socket; the packaged one's name where the socket cannot be seen; NULL: only root
 * may. */
static const char *socket_group(const char *path)
{
	struct group *group;
	struct stat st;

	if (stat(path, &st) < 0)
		return GROUP;
	group = getgrgid(st.st_gid);
	return st.st_gid == 0 || !group ? NULL : group->gr_name;
}

static int not_allowed(const char *path, int error, struct fault *reterr)
{
	const char *group = socket_group(path);

	if (!group)
		return fault_set(reterr, error, "unreachable", "", "%s may only be used by root", path);
	return fault_set(reterr, error, "unreachable", "",
		"%s may only be used by root and members of group %s: 'usermod -aG %s USER' as root, then "
		"log in again",
		path, group, group);
}

static int unreachable(const char *path, int error, struct fault *reterr)
{
	static const char start[] =
		"Start it with 'systemctl start copyledgerd.socket', or by hand with 'copyledgerd "
		"--socket PATH --state-dir DIR' and name the same PATH here by --socket or "
		"COPYLEDGER_SOCKET";

	switch (-error) {
	case ENOENT:
		return fault_set(reterr, error, "unreachable", "",
			"no daemon at %s: there is no such socket. %s", path, start);
	case ECONNREFUSED:
		return fault_set(reterr, error, "unreachable", "",
			"no daemon at %s: nobody listens on this socket. %s", path, start);
	case EACCES:
	case EPERM:
		return not_allowed(path, error, reterr);
	default:
		return fault_set(reterr, error, "unreachable", "", "cannot reach the daemon at %s: %s", path,
			strerror(-error));
	}
}

static int late(unsigned int ms, struct fault *reterr)
{
	return fault_set(
		reterr, -ETIME, "unreachable", "", "the daemon has not answered for %u s", ms / 1000);
}

/* A daemon whose queue of connections is full lets connect() wait: for as long as a send may take. ms: 0: for
 * ever. */
static int open_socket(const char *path, unsigned int ms, int *ret, struct fault *reterr)
{
	const struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (!str_copy(sa.sun_path, path))
		return fault_set(reterr, -ENAMETOOLONG, "unreachable", "",
			"the socket's path has %zu characters, a Unix socket's at most %zu", strlen(path),
			sizeof(sa.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return unreachable(path, -errno, reterr);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return errno == EAGAIN ? late(ms, reterr) : unreachable(path, -errno, reterr);
	*ret = TAKE_FD(fd);
	return 0;
}

int client_socket(const char *path, int *ret, struct fault *reterr)
{
	return open_socket(path, 0, ret, reterr);
}

int client_connect(const char *path, struct client **ret, struct fault *reterr)
{
	static const struct client_bounds none = {.reply = CLIENT_REPLY_MAX};

	return client_connect_within(path, &none, ret, reterr);
}

int client_connect_within(
	const char *path, const struct client_bounds *bounds, struct client **ret, struct fault *reterr)
{
	uint64_t deadline = bounds->ms ? clock_now_ns() + bounds->ms * NS_PER_MS : 0;
	int fd, r = open_socket(path, bounds->ms, &fd, reterr);

	if (r < 0)
		return r;
	*ret = client_new(fd);
	if (!*ret)
		return fault_set(reterr, -ENOMEM, "memory", "", "out of memory");
	(*ret)->deadline = deadline;
	(*ret)->reply_max = bounds->reply;
	return 0;
}

/* The command on both ends of fd, without the signals that are blocked here: it could not be told to end. */
static int spawn(char *const argv[], int fd, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int r;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
	r = posix_spawnp(ret, argv[0], &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return r;
}

int client_spawn(char *const argv[], struct client **ret, struct fault *reterr)
{
	int pair[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fault_set(reterr, -errno, "unreachable", "", "socketpair: %s", strerror(errno));
	r = spawn(argv, pair[1], &pid);
	close(pair[1]);
	if (r) {
		close(pair[0]);
		return fault_set(reterr, -r, "unreachable", "", "cannot run %s: %s", argv[0], strerror(r));
	}
	*ret = client_new(pair[0]);
	if (!*ret) {
		end_bridge(pid);
		return fault_set(reterr, -ENOMEM, "memory", "", "out of memory");
	}
	(*ret)->bridge = pid;
	return 0;
}

static int lost(int error, struct fault *reterr)
{
	return fault_set(reterr, -ECONNRESET, "unreachable", "", "the connection to the daemon broke: %s",
		error ? strerror(-error) : "it closed the connection");
}

static int send_all(int fd, const char *p, size_t n, struct fault *reterr)
{
	ssize_t sent;

	for (; n > 0; p += sent, n -= (size_t)sent) {
		sent = send(fd, p, n, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			sent = 0;
		if (sent < 0)
			return lost(-errno, reterr);
	}
	return 0;
}

static int client_send(
	struct client *c, const char *method, json_object *parameters, bool more, struct fault *reterr)
{
	_cleanup_json_ json_object *call = json_object_new_object();
	char name[80];
	const char *text;
	size_t length;

	snprintf(name, sizeof(name), CLIENT_INTERFACE ".%s", method);
	json_object_object_add(call, "method", json_object_new_string(name));
	json_object_object_add(
		call, "parameters", parameters ? json_object_get(parameters) : json_object_new_object());
	if (more)
		json_object_object_add(call, "more", json_object_new_boolean(true));
	text = json_object_to_json_string_length(call, JSON_C_TO_STRING_PLAIN, &length);
	if (!text)
		return fault_set(reterr, -ENOMEM, "memory", "", "out of memory");
	return send_all(c->fd, text, length + 1, reterr); /* with its NUL: that ends a message */
}

/* Milliseconds that the next reply may take. */
static int patience(const struct client *c)
{
	uint64_t now = clock_now_ns();

	if (!c->deadline)
		return CLIENT_TIMEOUT_MS;
	return c->deadline > now ? (int)((c->deadline - now + NS_PER_MS - 1) / NS_PER_MS) : 0;
}

/* 0 when something can be read; -EINTR: wake_fd can. */
static int client_wait(struct client *c, int wake_fd, struct fault *reterr)
{
	struct pollfd p[] = {{.fd = c->fd, .events = POLLIN}, {.fd = wake_fd, .events = POLLIN}};
	int r;

	do
		r = poll(p, ARRAY_SIZE(p), patience(c));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return lost(-errno, reterr);
	if (r == 0 && c->deadline)
		return fault_set(reterr, -ETIME, "unreachable", "", "the daemon has not answered in time");
	if (r == 0)
		return late(CLIENT_TIMEOUT_MS, reterr);
	if (p[1].revents)
		return fault_set(reterr, -EINTR, "interrupted", "", "interrupted");
	return 0;
}

static int client_read(struct client *c, struct fault *reterr)
{
	char *buf = c->buf;
	ssize_t n;

	if (c->used >= c->reply_max)
		return fault_set(reterr, -EBADMSG, "bad_reply", "",
			"the daemon's reply is longer than %zu MiB", c->reply_max >> 20);
	if (c->allocated - c->used < READ_CHUNK) {
		size_t size = 2 * c->allocated + READ_CHUNK;

		buf = realloc(c->buf, size);
		if (!buf)
			return fault_set(reterr, -ENOMEM, "memory", "", "out of memory");
		c->buf = buf;
		c->allocated = size;
	}
	n = read(c->fd, c->buf + c->used, c->allocated - c->used);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return lost(n < 0 ? -errno : 0, reterr);
	c->used += (size_t)n;
	return 0;
}

/* The text up to the NUL as an object; NULL: it is none, or something stands behind it. */
static json_object *parse_object(const char *text, size_t length)
{
	struct json_tokener *tok = json_tokener_new_ex(REPLY_DEPTH);
	json_object *o;
	size_t end;

	if (!tok)
		return NULL;
	o = json_tokener_parse_ex(
		tok, text, (int)length + 1); /* with the NUL; CLIENT_REPLY_MAX fits an int */
	end = json_tokener_get_parse_end(tok);
	json_tokener_free(tok);
	if (json_object_is_type(o, json_type_object) && end + strspn(text + end, " \t\r\n") >= length)
		return o;
	json_object_put(o);
	return NULL;
}

/* The next whole message. */
static int client_message(struct client *c, int wake_fd, json_object **ret, struct fault *reterr)
{
	size_t seen = 0;
	char *end;
	int r;

	while (!(end = c->used > seen ? memchr(c->buf + seen, '\0', c->used - seen) : NULL)) {
		seen = c->used;
		r = client_wait(c, wake_fd, reterr);
		if (r == 0)
			r = client_read(c, reterr);
		if (r < 0)
			return r;
	}
	*ret = parse_object(c->buf, (size_t)(end - c->buf));
	c->used -= (size_t)(end + 1 - c->buf);
	memmove(c->buf, end + 1, c->used);
	if (!*ret)
		return fault_set(
			reterr, -EBADMSG, "bad_reply", "", "the daemon's reply is not a JSON object");
	return 0;
}

/* The errors of Varlink itself carry no sentence. */
static const struct standard_error {
	const char *name, *text, *detail;
} standard_errors[] = {
	{"org.varlink.service.InterfaceNotFound", "the daemon does not know the interface", "interface"},
	{"org.varlink.service.MethodNotFound",
		"the daemon, perhaps of another version, does not know the method", "method"},
	{"org.varlink.service.MethodNotImplemented", "the daemon has not implemented the method", "method"},
	{"org.varlink.service.InvalidParameter", "the daemon refuses the parameter", "parameter"},
	{"org.varlink.service.PermissionDenied",
		"the daemon does not allow this to you: starting and cancelling is for "
		"root and members of the socket's group",
		""},
	{"org.varlink.service.ExpectedMore", "the daemon answers this method only with \"more\"", ""},
};

static int remote_error(const char *name, json_object *parameters, struct fault *reterr)
{
	const char *field = doc_string(parameters, "field"), *message = doc_string(parameters, "message"),
		   *detail;

	for (size_t i = 0; i < ARRAY_SIZE(standard_errors); i++) {
		const struct standard_error *e = &standard_errors[i];

		if (!str_eq(name, e->name))
			continue;
		detail = *e->detail ? doc_string(parameters, e->detail) : NULL;
		return fault_set(reterr, -EREMOTEIO, strrchr(name, '.') + 1, "", "%s%s%s", e->text,
			detail ? " " : "", detail ? detail : "");
	}
	if (strncmp(name, CLIENT_INTERFACE ".", strlen(CLIENT_INTERFACE ".")) == 0)
		name += strlen(CLIENT_INTERFACE ".");
	if (str_eq(name, "Failed") && doc_string(parameters, "code"))
		name = doc_string(parameters, "code"); /* says more */
	return fault_set(reterr, -EREMOTEIO, name, field ? field : "", "%s",
		message ? message : "the daemon refuses without a sentence");
}

static int client_receive(
	struct client *c, int wake_fd, json_object **ret, bool *ret_more, struct fault *reterr)
{
	_cleanup_json_ json_object *message = NULL;
	json_object *parameters;
	const char *error;
	int r;

	r = client_message(c, wake_fd, &message, reterr);
	if (r < 0)
		return r;
	parameters = doc_at(message, "parameters");
	error = doc_string(message, "error");
	if (error)
		return remote_error(error, parameters, reterr);
	*ret_more = doc_flag(message, "continues") == 1;
	*ret = parameters ? json_object_get(parameters) : json_object_new_object();
	return 0;
}

int client_await(struct client *c, int wake_fd, json_object **ret, struct fault *reterr)
{
	bool more;

	return client_receive(c, wake_fd, ret, &more, reterr);
}

int client_call_waking(struct client *c, const char *method, json_object *parameters, int wake_fd,
	json_object **ret, struct fault *reterr)
{
	int r;

	r = client_send(c, method, parameters, false, reterr);
	return r < 0 ? r : client_await(c, wake_fd, ret, reterr);
}

int client_call(struct client *c, const char *method, json_object *parameters, json_object **ret,
	struct fault *reterr)
{
	return client_call_waking(c, method, parameters, -1, ret, reterr);
}

int client_call_more(struct client *c, const char *method, json_object *parameters, int wake_fd,
	client_reply_fn reply, void *userdata, struct fault *reterr)
{
	int r;

	r = client_send(c, method, parameters, true, reterr);
	if (r < 0)
		return r;
	return client_follow(c, wake_fd, reply, userdata, reterr);
}

int client_follow(struct client *c, int wake_fd, client_reply_fn reply, void *userdata, struct fault *reterr)
{
	bool more = true;
	int r = 0;

	while (more && r >= 0) {
		_cleanup_json_ json_object *parameters = NULL;

		r = client_receive(c, wake_fd, &parameters, &more, reterr);
		if (r == 0)
			r = reply(parameters, userdata);
	}
	return MIN(r, 0);
}
