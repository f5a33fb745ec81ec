// SPDX-License-Identifier: MIT
/* Whole command lines against a small server that answers each method with a fixed reply: output and exit
 * status. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "samples.h"
#include "commands.h"

#define MAX_ARGS 12

struct answer {
	const char *method, *replies; /* messages divided by '\n' */
};

static struct server {
	char dir[32], path[64];
	pid_t pid;
} server;

static void answer_one(int fd, const struct answer *answers)
{
	char call[4096] = "", method[80];
	size_t n = 0;

	while (n < sizeof(call) - 1 && read(fd, call + n, 1) == 1 && call[n])
		n++;
	for (; answers->method; answers++) {
		snprintf(method, sizeof(method), "io.copyledger.%s\"", answers->method);
		if (!strstr(call, method))
			continue;
		for (const char *p = answers->replies; *p || p == answers->replies; p++) {
			char c = *p == '\n' ? '\0' : *p;

			if (write(fd, &c, 1) != 1)
				return;
		}
		if (write(fd, "", 1) != 1)
			return;
	}
}

static void serve(int listener, const struct answer *answers)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		/* two calls on a connection at most: StartRun, FollowRun */
		answer_one(fd, answers);
		answer_one(fd, answers);
		close(fd);
	}
}

static void server_start(const struct answer *answers)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(server.dir, "/tmp/copyledger-test-XXXXXX");
	assert_non_null(mkdtemp(server.dir));
	snprintf(server.path, sizeof(server.path), "%s/sock", server.dir);
	str_copy(sa.sun_path, server.path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 8), 0);
	server.pid = fork();
	if (server.pid == 0)
		serve(fd, answers);
	close(fd);
}

static void server_stop(void)
{
	kill(server.pid, SIGKILL);
	assert_int_equal(waitpid(server.pid, NULL, 0), server.pid);
	unlink(server.path);
	rmdir(server.dir);
}

struct done {
	int status;
	char *out, *err;
};

static void done_free(struct done *d)
{
	free(d->out);
	free(d->err);
}
#define _cleanup_done_ __attribute__((cleanup(done_free)))

static struct done copyledger(const char *args)
{
	_cleanup_free_ char *line = strdup(args);
	char *argv[MAX_ARGS + 1] = {(char *)"copyledger"};
	struct cli cli = {.socket = server.path};
	struct done d = {};
	int argc = 1;
	size_t size;

	for (char *word = strtok(line, " "); word && argc < MAX_ARGS; word = strtok(NULL, " "))
		argv[argc++] = word;
	cli.out = (struct out){.f = open_memstream(&d.out, &size), .utf8 = true};
	cli.err = (struct out){.f = open_memstream(&d.err, &size), .utf8 = true};
	d.status = commands_dispatch(&cli, argc, argv);
	options_free(&cli.values);
	fclose(cli.out.f);
	fclose(cli.err.f);
	return d;
}

/* Runs one command line against these answers. */
static struct done ask(const struct answer *answers, const char *args)
{
	struct done d;

	server_start(answers);
	d = copyledger(args);
	server_stop();
	return d;
}

static char *followed(json_object *result)
{
	char *text = NULL;

	assert_true(asprintf(&text,
			    "{\"parameters\":{\"progress\":{\"id\":\"run-1\",\"state\":\"measuring\","
			    "\"position\":0,"
			    "\"elapsed_ms\":1,\"remaining_ms\":1}},\"continues\":true}\n{\"parameters\":{"
			    "\"result\":%s}}",
			    json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN)) > 0);
	return text;
}

static struct done run_with(json_object *result, const char *args)
{
	_cleanup_free_ char *replies = followed(result);
	const struct answer answers[] = {{"StartRun", "{\"parameters\":{\"id\":\"run-1\",\"position\":0}}"},
		{"FollowRun", replies}, {}};

	return ask(answers, args);
}

static void a_run_that_balances(void **state)
{
	_cleanup_json_ json_object *result = sample();
	_cleanup_done_ struct done d = run_with(result, "run --mode zero-copy");

	assert_int_equal(d.status, STATUS_OK);
	assert_has(d.out, "copied after all: the path loops to a local socket\n");
	assert_string_equal(d.err, "");
}

static void json_is_the_document_and_nothing_else(void **state)
{
	_cleanup_json_ json_object *result = sample(), *printed = NULL;
	_cleanup_done_ struct done d = run_with(result, "run --mode zero-copy --json");

	assert_int_equal(d.status, STATUS_OK);
	printed = json_tokener_parse(d.out);
	assert_true(json_object_equal(printed, result));
	assert_string_equal(d.err, "");
}

static void statuses_of_runs(void **state)
{
	_cleanup_json_ json_object *unbalanced = sample(), *failed = sample(), *cancelled = sample();
	_cleanup_done_ struct done a = {}, b = {}, c = {};

	change(unbalanced, "ledger.balanced", "false");
	change(failed, "state", "\"failed\"");
	change(cancelled, "state", "\"cancelled\"");
	a = run_with(unbalanced, "run -m zero-copy --json");
	b = run_with(failed, "run -m zero-copy --json");
	c = run_with(cancelled, "run -m zero-copy");
	assert_int_equal(a.status, STATUS_UNBALANCED);
	assert_int_equal(b.status, STATUS_FAILED);
	assert_int_equal(c.status, STATUS_FAILED);
}

static void detached(void **state)
{
	_cleanup_json_ json_object *result = sample();
	_cleanup_done_ struct done d = run_with(result, "run -m zero-copy --detach");

	assert_int_equal(d.status, STATUS_OK);
	assert_string_equal(d.out, "run-1\n");
}

static void a_daemon_that_goes_away(void **state)
{
	static const struct answer answers[] = {
		{"StartRun", "{\"parameters\":{\"id\":\"run-1\",\"position\":0}}"}, {}};
	_cleanup_done_ struct done d = ask(answers, "run -m zero-copy");

	assert_int_equal(d.status, STATUS_UNREACHABLE);
	assert_has(d.err, "'copyledger show run-1'");
	assert_string_equal(d.out, "");
}

static void refused_parameters(void **state)
{
	static const struct answer answers[] = {
		{"StartRun", "{\"error\":\"io.copyledger.UnknownName\",\"parameters\":"
			     "{\"field\":\"mode\",\"message\":\"'mode' must be x\"}}"},
		{}};
	_cleanup_done_ struct done d = ask(answers, "run -m zap");

	assert_int_equal(d.status, STATUS_USAGE);
	assert_string_equal(d.err, "copyledger: 'mode' must be x\n");
	assert_string_equal(d.out, "");
}

static void statuses_of_errors(void **state)
{
	static const struct {
		const char *error;
		int status;
	} cases[] = {{"io.copyledger.NoSuchRun", STATUS_USAGE}, {"io.copyledger.QueueFull", STATUS_FAILED},
		{"io.copyledger.Failed", STATUS_FAILED}, {"io.copyledger.OutOfRange", STATUS_USAGE},
		{"org.varlink.service.PermissionDenied", STATUS_UNREACHABLE}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *reply = NULL;
		struct answer answers[] = {{"GetRun", NULL}, {}};
		_cleanup_done_ struct done d = {};

		assert_true(asprintf(&reply, "{\"error\":\"%s\",\"parameters\":{\"message\":\"m\"}}",
				    cases[i].error) > 0);
		answers[0].replies = reply;
		d = ask(answers, "show abc");
		assert_int_equal(d.status, cases[i].status);
	}
}

static void show_a_run_without_result(void **state)
{
	static const struct answer answers[] = {
		{"GetRun", "{\"parameters\":{\"id\":\"run-1\",\"state\":\"measuring\"}}"}, {}};
	_cleanup_done_ struct done d = ask(answers, "show run-1");

	assert_int_equal(d.status, STATUS_FAILED);
	assert_has(d.err, "run run-1 is measuring and has no result yet");
}

static void trace_prints_a_document_a_line(void **state)
{
	static const struct answer answers[] = {
		{"TraceStats",
			"{\"parameters\":{\"trace\":{\"id\":\"run-1\",\"sites\":[]}},\"continues\":true}\n"
			"{\"parameters\":{\"trace\":{\"id\":\"run-1\",\"sites\":[]}}}"},
		{}};
	_cleanup_done_ struct done d = ask(answers, "trace --json");

	assert_int_equal(d.status, STATUS_OK);
	assert_string_equal(d.out, "{\"id\":\"run-1\",\"sites\":[]}\n{\"id\":\"run-1\",\"sites\":[]}\n");
}

static void small_commands(void **state)
{
	static const struct answer answers[] = {
		{"CancelRun", "{\"parameters\":{\"id\":\"run-1\",\"state\":\"measuring\"}}"},
		{"GetInfo", "{\"parameters\":{\"version\":\"1.2\",\"pid\":7,\"state\":\"idle\",\"queued\":0,"
			    "\"limits\":{\"threads_max\":1000},\"warnings\":[\"w\"]}}"},
		{"ListRuns", "{\"parameters\":{\"runs\":[]}}"},
		{"Probe", "{\"parameters\":{\"sites\":[],\"summary\":[\"nothing\"]}}"},
		{},
	};
	_cleanup_done_ struct done cancel = ask(answers, "cancel run-1"), info = ask(answers, "info"),
				   list = ask(answers, "list --json"), probe = ask(answers, "probe");

	assert_has(cancel.out, "run run-1: asked to stop while measuring\n");
	assert_has(info.out, "copyledgerd 1.2, process 7, idle\n");
	assert_has(info.out, "threads_max  1,000\n");
	assert_has(list.out, "\"runs\"");
	assert_has(probe.out, "nothing\n");
	assert_int_equal(cancel.status | info.status | list.status | probe.status, STATUS_OK);
}

static void wrong_usage(void **state)
{
	static const char *const lines[] = {"", "frob", "run", "run -m a --size x", "cancel", "list extra",
		"--frob", "show a b", "help frob"};

	str_copy(server.path, "/nonexistent/copyledger.sock");
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		_cleanup_done_ struct done d = copyledger(lines[i]);

		assert_int_equal(d.status, STATUS_USAGE);
		assert_string_equal(d.out, "");
		assert_true(*d.err);
	}
}

static void help_and_version_need_no_daemon(void **state)
{
	_cleanup_done_ struct done help = copyledger("--help"), run = copyledger("run --help"),
				   before = copyledger("--help run"), command = copyledger("help run"),
				   version = copyledger("--version");

	for (size_t i = 0; commands[i]; i++)
		assert_has(help.out, commands[i]->name);
	assert_has(run.out, "--congestion NAME");
	assert_string_equal(run.out, before.out);
	assert_string_equal(run.out, command.out);
	assert_string_equal(version.out, "copyledger " COPYLEDGER_VERSION "\n");
	assert_int_equal(help.status | run.status | version.status, STATUS_OK);
}

static void no_daemon(void **state)
{
	_cleanup_done_ struct done d = copyledger("--socket /nonexistent/a.sock list"),
				   behind = copyledger("list --socket /nonexistent/b.sock");

	assert_int_equal(d.status, STATUS_UNREACHABLE);
	assert_has(d.err, "no daemon at /nonexistent/a.sock");
	assert_has(behind.err, "no daemon at /nonexistent/b.sock");
	assert_string_equal(d.out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_that_balances),
		cmocka_unit_test(json_is_the_document_and_nothing_else),
		cmocka_unit_test(statuses_of_runs),
		cmocka_unit_test(detached),
		cmocka_unit_test(a_daemon_that_goes_away),
		cmocka_unit_test(refused_parameters),
		cmocka_unit_test(statuses_of_errors),
		cmocka_unit_test(show_a_run_without_result),
		cmocka_unit_test(trace_prints_a_document_a_line),
		cmocka_unit_test(small_commands),
		cmocka_unit_test(wrong_usage),
		cmocka_unit_test(help_and_version_need_no_daemon),
		cmocka_unit_test(no_daemon),
	};

	return cmocka_run_group_tests(tests, use_utf8, NULL);
}
