// SPDX-License-Identifier: MIT
/* Command lines: what reaches the request, and what is refused with which sentence. */
#include "samples.h"
#include "commands.h"

#define MAX_ARGS 12

struct parsed {
	struct opt_values values;
	struct fault fault;
	int r;
};

/* Parses "run ARGS..." (words divided by single spaces) against the command's own table. line is cut up. */
static struct parsed parse(const struct command *c, char *line)
{
	const struct opt *const tables[] = {c->options, common_options};
	char *argv[MAX_ARGS + 1] = {(char *)c->name};
	struct parsed p = {};
	int argc = 1;

	for (char *word = strtok(line, " "); word && argc < MAX_ARGS; word = strtok(NULL, " "))
		argv[argc++] = word;
	p.r = options_parse(argc, argv, tables, false, &p.values, &p.fault);
	if (p.r == 0)
		p.r = options_require(c->options, &p.values, &p.fault);
	return p;
}

static void assert_request(const struct command *c, const char *args, const char *request)
{
	_cleanup_free_ char *line = strdup(args);
	_cleanup_json_ json_object *expected = json_tokener_parse(request);
	struct parsed p = parse(c, line);

	assert_int_equal(p.r, 0);
	if (!json_object_equal(p.values.request, expected))
		fail_msg("%s: %s", args, json_object_to_json_string(p.values.request));
	options_free(&p.values);
}

static void assert_refused(const struct command *c, const char *args, const char *sentence)
{
	_cleanup_free_ char *line = strdup(args);
	struct parsed p = parse(c, line);

	if (p.r >= 0)
		fail_msg("'%s' was taken", args);
	assert_string_equal(p.fault.code, "usage");
	assert_has(p.fault.text, sentence);
	options_free(&p.values);
}

static void requests(void **state)
{
	assert_request(&command_run, "--mode zero-copy", "{\"mode\":\"zero-copy\"}");
	assert_request(&command_run, "-m one-copy -s 64K -f 8 -t 4 -d 1.5s",
		"{\"mode\":\"one-copy\",\"size\":65536,\"fields\":8,\"threads\":4,\"duration_ms\":1500}");
	assert_request(&command_run, "--mode=a --warmup=250ms --verify --no-pin --no-perf --ipv6 --sndbuf 1M",
		"{\"mode\":\"a\",\"warmup_ms\":250,\"verify\":true,\"pin\":false,\"perf\":false,\"ip\":6,"
		"\"sndbuf\":1048576}");
	assert_request(&command_run, "-m a -t -1", "{\"mode\":\"a\",\"threads\":-1}");
	assert_request(&command_run, "-m a -m b", "{\"mode\":\"b\"}");
	assert_request(&command_list, "--limit 3 --label x", "{\"limit\":3,\"label\":\"x\"}");
}

static void a_list_of_paths(void **state)
{
	assert_request(&command_sweep, "--paths loopback,netns:a,b,veth,netns:c,d",
		"{\"paths\":[\"loopback\",\"netns:a,b\",\"veth\",\"netns:c,d\"]}");
	assert_request(&command_sweep, "--paths netns:a,b", "{\"paths\":[\"netns:a,b\"]}");
	assert_request(
		&command_sweep, "--paths netns:a", "{\"paths\":[\"netns:a\"]}"); /* the daemon says why not */
	assert_refused(&command_sweep, "--paths veth,,loopback", "takes a list like a,b");
	assert_refused(&command_sweep, "--paths netns:a,b,", "takes a list like a,b");
}

static void local_options_stay_here(void **state)
{
	assert_request(&command_run, "-m a --detach --json --no-color --socket /x", "{\"mode\":\"a\"}");
	assert_request(&command_probe, "--hooks", "{}");
	assert_request(&command_probe, "-p veth", "{\"path\":\"veth\"}");
}

static void refusals(void **state)
{
	assert_refused(&command_run, "", "'--mode MODE' is needed");
	assert_refused(&command_run, "-m a --size 64Q", "'--size' takes bytes");
	assert_refused(&command_run, "-m a --size 1.5K", "'1.5K'");
	assert_refused(&command_run, "-m a --size -1", "'-1'");
	assert_refused(&command_run, "-m a --size 99999999999G", "cannot be as large");
	assert_refused(&command_run, "-m a --size 18446744073709551615", "cannot be as large");
	assert_refused(&command_run, "-m a --duration -1", "'--duration' takes a time");
	assert_refused(&command_run, "-m a --duration nan", "'nan'");
	assert_refused(&command_run, "-m a --threads four", "'--threads' takes a whole number, not 'four'");
	assert_refused(&command_run, "-m a --threads 4x", "'4x'");
	assert_refused(&command_run, "-m a --threads 99999999999999999999", "64 bits");
	assert_refused(&command_run, "-m a --nonsense", "unknown option '--nonsense'");
	assert_refused(&command_run, "-m a -Z", "unknown option '-Z'");
	assert_refused(&command_run, "-m", "'--mode' needs an argument: MODE");
	assert_refused(&command_run, "-m a --verify=yes", "'--verify' takes no argument");
}

static void operands(void **state)
{
	char line[] = "--json abc -- -x";
	struct parsed p = parse(&command_show, line);

	assert_int_equal(p.r, 0);
	assert_int_equal(p.values.n_operands, 2);
	assert_string_equal(p.values.operands[0], "abc");
	assert_string_equal(p.values.operands[1], "-x");
	assert_int_equal(doc_flag(p.values.local, "json"), 1);
	options_free(&p.values);
}

/* Every option of every command: in the help, and no name or letter twice. */
static void tables_are_sound(void **state)
{
	for (size_t c = 0; commands[c]; c++) {
		const struct opt *tables[] = {commands[c]->options, common_options};
		bool letters[128] = {};
		char *help = NULL;
		size_t size;
		struct out out = {.f = open_memstream(&help, &size), .utf8 = true};

		help_command(&out, commands[c]);
		fclose(out.f);
		for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
			for (const struct opt *o = tables[t]; o && o->name; o++) {
				char name[64];

				snprintf(name, sizeof(name), "--%s ", o->name);
				assert_has(help, name);
				assert_has(help, o->help);
				assert_false(letters[(int)o->letter]);
				letters[(int)o->letter] = o->letter != 0;
			}
		free(help);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(a_list_of_paths),
		cmocka_unit_test(local_options_stay_here),
		cmocka_unit_test(refusals),
		cmocka_unit_test(operands),
		cmocka_unit_test(tables_are_sound),
	};

	return cmocka_run_group_tests(tests, use_utf8, NULL);
}
