/* SPDX-License-Identifier: MIT */
/*
 * The calling side of Varlink: JSON objects ended by a NUL over a stream socket. One call at a time on a
 * connection.
 *
 * Failures: -EREMOTEIO is a typed error of the daemon (fault.code its name without "io.copyledger.",
 * fault.field, fault.text its sentence); -ETIME, -ECONNRESET and -EBADMSG mean that the connection is of no
 * more use; the rest is connect()'s errno.
 */
#pragma once

#include "doc.h"
#include "fault.h"

#define CLIENT_SOCKET "/run/copyledger/control.sock"
#define CLIENT_INTERFACE "io.copyledger"
#define CLIENT_REPLY_MAX (64U << 20) /* bytes: 1000 lanes' result is below 1 MiB */
#define CLIENT_TIMEOUT_MS 90000 /* without any reply; a trace or a watch replies once a minute at least */

struct client;

/* How long and how much a caller bears that cannot wait as a person does. */
struct client_bounds {
	unsigned int ms; /* from the connecting to the end of the last reply; then -ETIME */
	size_t reply;    /* bytes */
};

/* A connected socket of the daemon's, the caller's. */
int client_socket(const char *path, int *ret, struct fault *reterr);
int client_connect(const char *path, struct client **ret, struct fault *reterr);
int client_connect_within(
	const char *path, const struct client_bounds *bounds, struct client **ret, struct fault *reterr);
/* The daemon of another host, at the other end of a command's standard input and output. The command ends
 * when its input does. No signal is blocked there; SIGINT is ignored if it is here. */
int client_spawn(char *const argv[], struct client **ret, struct fault *reterr);
struct client *client_new(int fd); /* takes the fd, also on failure (NULL: out of memory) */
struct client *client_free(struct client *c);
DEFINE_CLEANUP(struct client *, client_free)

/* parameters is borrowed; NULL: none. *ret is the reply's parameters, an object, owned by the caller. */
int client_call(struct client *c, const char *method, json_object *parameters, json_object **ret,
	struct fault *reterr);

/* The same, but -EINTR as soon as wake_fd is readable: go on with client_await(), or leave. */
int client_call_waking(struct client *c, const char *method, json_object *parameters, int wake_fd,
	json_object **ret, struct fault *reterr);
int client_await(struct client *c, int wake_fd, json_object **ret, struct fault *reterr);

/* parameters is borrowed. A negative return ends the call with it. */
typedef int (*client_reply_fn)(json_object *parameters, void *userdata);

/*
 * Calls with "more" and hands over each reply; returns 0 after the last. -EINTR as soon as wake_fd (-1: none)
 * is readable: go on with client_follow(), or leave.
 */
int client_call_more(struct client *c, const char *method, json_object *parameters, int wake_fd,
	client_reply_fn reply, void *userdata, struct fault *reterr);
int client_follow(struct client *c, int wake_fd, client_reply_fn reply, void *userdata, struct fault *reterr);
