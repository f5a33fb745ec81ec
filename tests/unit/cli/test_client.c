// SPDX-License-Identifier: MIT
/* Framing and errors of the calling side, over a pair of sockets. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "samples.h"

struct pair {
	struct client *client;
	int peer;
};

static struct pair pair_new(void)
{
	struct pair p;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	p.client = client_new(fds[0]);
	p.peer = fds[1];
	assert_non_null(p.client);
	return p;
}

static void pair_free(struct pair *p)
{
	client_free(p->client);
	close_fd(p->peer);
}

/* What the daemon would say, lying ready before the call. */
static void say(const struct pair *p, const char *bytes, size_t n)
{
	assert_int_equal(write(p->peer, bytes, n), n);
}
#define SAY(p, text) say(p, text, sizeof(text)) /* with its NUL */

static void a_call_is_one_object_and_a_nul(void **state)
{
	_cleanup_json_ json_object *reply = NULL, *parameters = json_tokener_parse("{\"id\":\"x/y\"}"),
				   *sent = NULL;
	struct pair p = pair_new();
	struct fault fault = {};
	char buf[256] = "";
	ssize_t n;

	SAY(&p, "{\"parameters\":{\"id\":\"r\"}}");
	assert_int_equal(client_call(p.client, "GetRun", parameters, &reply, &fault), 0);
	assert_string_equal(doc_string(reply, "id"), "r");
	n = read(p.peer, buf, sizeof(buf) - 1);
	assert_true(n > 0);
	assert_int_equal(strlen(buf) + 1, n);
	sent = json_tokener_parse(buf);
	assert_string_equal(doc_string(sent, "method"), "io.copyledger.GetRun");
	assert_string_equal(doc_string(sent, "parameters.id"), "x/y");
	assert_null(doc_at(sent, "more"));
	pair_free(&p);
}

static void no_parameters_is_an_empty_object(void **state)
{
	_cleanup_json_ json_object *reply = NULL, *sent = NULL;
	struct pair p = pair_new();
	struct fault fault = {};
	char buf[256] = "";

	SAY(&p, "{}");
	assert_int_equal(client_call(p.client, "GetInfo", NULL, &reply, &fault), 0);
	assert_true(json_object_is_type(reply, json_type_object));
	assert_true(read(p.peer, buf, sizeof(buf) - 1) > 0);
	sent = json_tokener_parse(buf);
	assert_int_equal(json_object_object_length(doc_at(sent, "parameters")), 0);
	pair_free(&p);
}

struct seen {
	int64_t sum;
	unsigned int replies;
	int stop_at; /* refuse from this reply on; 0: never */
};

static int on_reply(json_object *parameters, void *userdata)
{
	struct seen *seen = userdata;
	int64_t n;

	assert_true(doc_integer(parameters, "n", &n));
	seen->sum += n;
	seen->replies++;
	return seen->stop_at && seen->replies >= (unsigned int)seen->stop_at ? -ECANCELED : 0;
}

static void more_replies_in_one_piece_and_in_many(void **state)
{
	static const char text[] =
		"{\"parameters\":{\"n\":1},\"continues\":true}\0"
		"{\"parameters\":{\"n\":20},\"continues\":true}\0{\"parameters\":{\"n\":300}}";
	struct pair p = pair_new();
	struct fault fault = {};
	struct seen seen = {};

	SAY(&p, text);
	assert_int_equal(client_call_more(p.client, "FollowRun", NULL, -1, on_reply, &seen, &fault), 0);
	assert_int_equal(seen.sum, 321);
	assert_int_equal(seen.replies, 3);
	pair_free(&p);
}

static void a_callback_can_end_it(void **state)
{
	struct pair p = pair_new();
	struct fault fault = {};
	struct seen seen = {.stop_at = 1};

	SAY(&p, "{\"parameters\":{\"n\":1},\"continues\":true}");
	assert_int_equal(
		client_call_more(p.client, "FollowRun", NULL, -1, on_reply, &seen, &fault), -ECANCELED);
	pair_free(&p);
}

/* A message in two halves with an interruption between them is still one message. */
static void an_interruption_loses_nothing(void **state)
{
	static const char first[] = "{\"parameters\":{\"n\":1},\"cont",
			  second[] = "inues\":true}\0{\"parameters\":{\"n\":2}}";
	struct pair p = pair_new();
	struct fault fault = {};
	struct seen seen = {};
	int wake[2];
	char c;

	assert_int_equal(pipe2(wake, O_CLOEXEC), 0);
	say(&p, first, sizeof(first) - 1);
	assert_int_equal(write(wake[1], "x", 1), 1);
	assert_int_equal(
		client_call_more(p.client, "FollowRun", NULL, wake[0], on_reply, &seen, &fault), -EINTR);
	assert_int_equal(read(wake[0], &c, 1), 1);
	SAY(&p, second);
	assert_int_equal(client_follow(p.client, wake[0], on_reply, &seen, &fault), 0);
	assert_int_equal(seen.sum, 3);
	close(wake[0]);
	close(wake[1]);
	pair_free(&p);
}

static void a_call_that_was_woken_goes_on(void **state)
{
	_cleanup_json_ json_object *reply = NULL;
	struct pair p = pair_new();
	struct fault fault = {};
	int wake[2];
	char c;

	assert_int_equal(pipe2(wake, O_CLOEXEC), 0);
	assert_int_equal(write(wake[1], "x", 1), 1);
	assert_int_equal(client_call_waking(p.client, "GetRun", NULL, wake[0], &reply, &fault), -EINTR);
	assert_null(reply);
	assert_int_equal(read(wake[0], &c, 1), 1);
	SAY(&p, "{\"parameters\":{\"n\":7}}");
	assert_int_equal(client_await(p.client, wake[0], &reply, &fault), 0);
	assert_non_null(doc_at(reply, "n"));
	close(wake[0]);
	close(wake[1]);
	pair_free(&p);
}

static int call_fails(const char *reply, size_t n, struct fault *reterr)
{
	_cleanup_json_ json_object *parameters = NULL;
	struct pair p = pair_new();
	int r;

	say(&p, reply, n);
	shutdown(p.peer, SHUT_WR);
	r = client_call(p.client, "GetInfo", NULL, &parameters, reterr);
	assert_null(parameters);
	pair_free(&p);
	return r;
}
#define CALL_FAILS(reply, fault) call_fails(reply, sizeof(reply), fault)

static void typed_errors(void **state)
{
	struct fault fault = {};

	assert_int_equal(
		CALL_FAILS("{\"error\":\"io.copyledger.OutOfRange\",\"parameters\":{\"field\":\"threads\","
			   "\"message\":\"'threads' must be from 1 to 1000, not 0\"}}",
			&fault),
		-EREMOTEIO);
	assert_string_equal(fault.code, "OutOfRange");
	assert_string_equal(fault.field, "threads");
	assert_string_equal(fault.text, "'threads' must be from 1 to 1000, not 0");
}

static void errors_of_varlink_get_a_sentence(void **state)
{
	struct fault fault = {};

	assert_int_equal(CALL_FAILS("{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{"
				    "\"method\":\"X\"}}",
				 &fault),
		-EREMOTEIO);
	assert_string_equal(fault.code, "MethodNotFound");
	assert_has(fault.text, "does not know the method X");
	assert_int_equal(CALL_FAILS("{\"error\":\"some.other.Thing\"}", &fault), -EREMOTEIO);
	assert_true(*fault.text);
}

static void broken_replies(void **state)
{
	struct fault fault = {};

	assert_int_equal(CALL_FAILS("[1]", &fault), -EBADMSG);
	assert_int_equal(CALL_FAILS("", &fault), -EBADMSG);
	assert_int_equal(CALL_FAILS("{\"a\":", &fault), -EBADMSG);
	assert_int_equal(CALL_FAILS("{} {}", &fault), -EBADMSG);
	assert_int_equal(CALL_FAILS("nonsense", &fault), -EBADMSG);
	assert_int_equal(call_fails("{\"parameters\"", 13, &fault), -ECONNRESET);
	assert_string_equal(fault.code, "unreachable");
}

static void a_large_reply_arrives_whole(void **state)
{
	_cleanup_json_ json_object *reply = NULL;
	_cleanup_free_ char *text = NULL;
	const size_t n = 3 << 20;
	struct pair p = pair_new();
	struct fault fault = {};
	pid_t pid;

	text = malloc(n + 64);
	assert_non_null(text);
	memset(text, 'x', n + 64);
	memcpy(text, "{\"parameters\":{\"s\":\"", 20);
	memcpy(text + 20 + n, "\"}}", 4);
	pid = fork();
	if (pid == 0) {
		for (size_t at = 0; at < n + 24;) {
			ssize_t written = write(p.peer, text + at, n + 24 - at);

			if (written <= 0)
				_exit(1);
			at += (size_t)written;
		}
		_exit(0);
	}
	assert_int_equal(client_call(p.client, "GetRun", NULL, &reply, &fault), 0);
	assert_int_equal(json_object_get_string_len(doc_at(reply, "s")), n);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	pair_free(&p);
}

static int connect_fails(const char *path, struct fault *reterr)
{
	struct client *c = NULL;
	int r = client_connect(path, &c, reterr);

	assert_null(c);
	assert_string_equal(reterr->code, "unreachable");
	return r;
}

static void nobody_there(void **state)
{
	char dir[] = "/tmp/copyledger-test-XXXXXX", path[64], longest[200];
	struct fault fault = {};

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	assert_int_equal(connect_fails(path, &fault), -ENOENT);
	assert_has(fault.text, path);
	assert_has(fault.text, "systemctl start");
	rmdir(dir);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(connect_fails(longest, &fault), -ENAMETOOLONG);
}

static int listen_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(str_copy(sa.sun_path, path));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 0), 0);
	return fd;
}

/* One that takes no connection any more, one that takes the call and says nothing, one that says too much. */
static void bounds_hold(void **state)
{
	char dir[] = "/tmp/copyledger-test-XXXXXX", path[64];
	struct client_bounds bounds = {.ms = 50, .reply = 1 << 20};
	struct client *c = NULL, *second = NULL;
	struct fault fault = {};
	json_object *reply = NULL;
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	fd = listen_at(path);
	assert_int_equal(client_connect_within(path, &bounds, &c, &fault), 0);
	assert_int_equal(client_call(c, "GetInfo", NULL, &reply, &fault), -ETIME);
	assert_int_equal(client_connect_within(path, &bounds, &second, &fault), -ETIME);
	assert_string_equal(fault.code, "unreachable");
	client_free(c);
	close(fd);
	unlink(path);
	rmdir(dir);
}

static void a_reply_has_its_bound(void **state)
{
	char dir[] = "/tmp/copyledger-test-XXXXXX", path[64], chunk[4096];
	struct client_bounds bounds = {.ms = 10000, .reply = 1 << 16};
	struct client *c = NULL;
	struct fault fault = {};
	json_object *reply = NULL;
	int fd, peer;

	memset(chunk, 'x', sizeof(chunk));
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	fd = listen_at(path);
	assert_int_equal(client_connect_within(path, &bounds, &c, &fault), 0);
	peer = accept(fd, NULL, NULL);
	for (size_t n = 0; n < 2 * bounds.reply; n += sizeof(chunk))
		assert_int_equal(send(peer, chunk, sizeof(chunk), 0), sizeof(chunk));
	assert_int_equal(client_call(c, "GetInfo", NULL, &reply, &fault), -EBADMSG);
	client_free(c);
	close(peer);
	close(fd);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_is_one_object_and_a_nul),
		cmocka_unit_test(no_parameters_is_an_empty_object),
		cmocka_unit_test(more_replies_in_one_piece_and_in_many),
		cmocka_unit_test(a_callback_can_end_it),
		cmocka_unit_test(an_interruption_loses_nothing),
		cmocka_unit_test(a_call_that_was_woken_goes_on),
		cmocka_unit_test(typed_errors),
		cmocka_unit_test(errors_of_varlink_get_a_sentence),
		cmocka_unit_test(broken_replies),
		cmocka_unit_test(a_large_reply_arrives_whole),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(a_reply_has_its_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
