// SPDX-License-Identifier: MIT
/* Provenance: each kind of file is read for what it says, nothing absent is 0, and a change of the settings
 * is noticed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/utsname.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "host.h"
#include "host_source.h"
#include "jsonx.h"

/* What a reader makes of a file with this text, as JSON text; for an absent figure its reason after a '!'. */
static const char *reads_n(
	json_object *(*get)(const struct host_source *, char *), const char *key, const char *text, size_t n)
{
	static char out[1024];
	char path[] = "/tmp/copyledger-test-XXXXXX", reason[HOST_REASON] = "";
	const struct host_source src = {.path = "a/b", .get = get, .file = path, .key = key, .hint = "hint"};
	_cleanup_close_ int fd = mkstemp(path);
	_cleanup_json_ json_object *v = NULL;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	v = get(&src, reason);
	unlink(path);
	if (v) {
		assert_string_equal(reason, "");
		str_copy(out, json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN));
	} else {
		snprintf(out, sizeof(out), "!%s", reason);
	}
	return out;
}

static const char *reads(
	json_object *(*get)(const struct host_source *, char *), const char *key, const char *text)
{
	return reads_n(get, key, text, strlen(text));
}

static void plain_files(void **state)
{
	assert_string_equal(reads(host_text, NULL, "  a b\n"), "\"a b\"");
	assert_string_equal(reads_n(host_text, NULL, "a\0b\0", 4), "\"a b\"");
	assert_string_equal(reads(host_int, NULL, "131072\n"), "131072");
	assert_string_equal(reads(host_int, NULL, "-1\n"), "-1");
	assert_string_equal(reads(host_int, NULL, "4294967295\n"), "4294967295");
	assert_non_null(strstr(reads(host_int, NULL, "many\n"), "holds no integer: 'many'"));
	assert_non_null(strstr(reads(host_int, NULL, ""), "holds no integer"));
	assert_non_null(strstr(reads(host_int, NULL, "99999999999999999999\n"), "holds no integer"));
	assert_string_equal(reads(host_numbers, NULL, "4096\t16384\t4194304\n"), "[4096,16384,4194304]");
	assert_string_equal(reads(host_numbers, "3", "0.75 0.10 12.00 1/123 4567\n"), "[0.75,0.1,12.0]");
	assert_string_equal(reads(host_words, NULL, "reno cubic bbr\n"), "[\"reno\",\"cubic\",\"bbr\"]");
	assert_string_equal(reads(host_words, NULL, "\n"), "[]");
	assert_string_equal(reads(host_bool, NULL, "1\n"), "true");
	assert_string_equal(reads(host_not, NULL, "1\n"), "false");
	assert_string_equal(reads(host_not, NULL, "0\n"), "true");
	assert_non_null(strstr(reads(host_bool, NULL, "10\n"), "neither 0 nor 1"));
}

static void lists_and_choices(void **state)
{
	assert_string_equal(reads(host_choice, NULL, "always [madvise] never\n"), "\"madvise\"");
	assert_string_equal(reads(host_choice, NULL, "[none] integrity confidentiality\n"), "\"none\"");
	assert_non_null(strstr(reads(host_choice, NULL, "always madvise\n"), "marks no choice"));
	assert_string_equal(reads(host_count, NULL, "0\n"), "1");
	assert_string_equal(reads(host_count, NULL, "0-3,8,10-11\n"), "7");
	assert_non_null(strstr(reads(host_count, NULL, "all\n"), "no list of numbers"));
}

static void lines_with_keys(void **state)
{
	static const char cpuinfo[] =
		"model\t\t: 167\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu vme hypervisor2 sse\n";
	static const char status[] = "CapPrm:\t0000000000000000\nCapEff:\t000000c000001001\n";

	assert_string_equal(reads(host_field, "model name", cpuinfo), "\"Some CPU @ 2 GHz\"");
	assert_string_equal(reads(host_field_int, "model", cpuinfo), "167");
	assert_non_null(strstr(reads(host_field, "microcode", cpuinfo), "no line 'microcode': hint"));
	assert_string_equal(reads(host_flag, "sse", cpuinfo), "true");
	assert_string_equal(reads(host_flag, "hypervisor", cpuinfo), "false");
	assert_non_null(strstr(reads(host_flag, "sse", "Features : fp\n"), "no line 'flags'"));
	assert_string_equal(reads(host_field_int, "MemTotal", "MemTotal:       2048 kB\n"), "2097152");
	assert_string_equal(reads(host_field_int, "Mem", "MemTotal: 2048 kB\nMem: 3\n"), "3");
	assert_string_equal(reads(host_caps, "CapEff", status),
		"[\"CAP_CHOWN\",\"CAP_NET_ADMIN\",\"CAP_PERFMON\",\"CAP_BPF\"]");
	assert_string_equal(reads(host_caps, "CapPrm", status), "[]");
	assert_string_equal(reads(host_caps, "X", "X: 8000000000000000\n"), "[\"63\"]");
}

static void columns_and_pressure(void **state)
{
	static const char psi[] = "some avg10=0.50 avg60=1.00 avg300=0.00 total=123\nfull avg10=0.00\n";

	assert_string_equal(reads(host_column, "8", "cpu  1 2 3 4 5 6 7 42 0 0\ncpu0 9\n"), "42");
	assert_non_null(strstr(reads(host_column, "8", "cpu  1 2 3\n4 5 6 7 8\n"), "no column 8"));
	assert_string_equal(reads(host_pressure, NULL, psi),
		"{\"some_avg10_percent\":0.5,\"some_avg60_percent\":1.0,"
		"\"some_avg300_percent\":0.0,\"some_total_us\":123}");
	assert_non_null(strstr(reads(host_pressure, NULL, "nothing"), "does not read as expected"));
}

static void an_absent_file_says_so(void **state)
{
	const struct host_source src = {.file = "/proc/no-such-file", .key = "k", .hint = "the hint"};
	char reason[HOST_REASON] = "";

	assert_null(host_int(&src, reason));
	assert_string_equal(
		reason, "cannot read /proc/no-such-file: No such file or directory (ENOENT): the hint");
	assert_null(host_same(&src, reason));
	assert_non_null(strstr(reason, "no readable file"));
	assert_null(host_directory(&src, reason));
	assert_non_null(strstr(reason, "ENOENT"));
	assert_null(host_field(&src, reason));
	assert_null(host_cgroup(&src, reason));
	assert_non_null(strstr(reason, "no file"));
}

/* No figure is null without its reason; returns how many leaves there are. */
static int check_leaves(json_object *o)
{
	json_object *reason;
	int n = 0;

	if (!json_object_is_type(o, json_type_object))
		return 1;
	if (json_object_object_get_ex(o, "reason", &reason)) {
		assert_null(json_at(o, "value"));
		assert_true(json_object_get_string_len(reason) > 10);
		return 1;
	}
	json_object_object_foreach(o, key, v)
	{
		assert_true(key[0]);
		assert_non_null(v);
		n += check_leaves(v);
	}
	return n;
}

static void this_host(void **state)
{
	_cleanup_json_ json_object *o = host_snapshot();
	json_object *memlock;
	struct utsname u;
	int64_t bytes;

	assert_non_null(o);
	assert_true(check_leaves(o) > 60);
	uname(&u);
	assert_string_equal(json_object_get_string(json_at(o, "kernel/release")), u.release);
	assert_int_equal(json_object_get_int64(json_at(o, "process/uid")), geteuid());
	assert_int_equal(json_object_get_int64(json_at(o, "cpu/online")), sysconf(_SC_NPROCESSORS_ONLN));
	bytes = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	assert_int_equal(json_object_get_int64(json_at(o, "memory/total_bytes")), bytes);
	assert_string_equal(json_object_get_string(json_at(o, "software/copyledger")), COPYLEDGER_VERSION);
	assert_int_equal(json_object_array_length(json_at(o, "sysctl/net.ipv4.tcp_wmem")), 3);
	memlock = json_at(o, "process/rlimit_memlock/soft");
	assert_true(json_object_is_type(memlock, json_type_int) ||
		    json_object_is_type(memlock, json_type_string));
	assert_int_equal(json_object_array_length(json_at(o, "noise/load_average")), 3);
	assert_int_equal(
		json_object_get_string_len(json_at(o, "time/utc")), strlen("2000-01-01T00:00:00.000Z"));
}

static void set_int(json_object *root, const char *group, const char *name, int v)
{
	json_object_object_add(json_at(root, group), name, json_object_new_int(v));
}

static void changes_are_settings_only(void **state)
{
	_cleanup_json_ json_object *a = host_snapshot(), *b = NULL, *none = NULL, *some = NULL;

	assert_int_equal(json_object_deep_copy(a, &b, NULL), 0);
	set_int(b, "noise", "load_average", 99);
	set_int(b, "noise", "steal_ticks", 123456789);
	set_int(b, "time", "monotonic_ns", 1);
	set_int(b, "memory", "available_bytes", 1);
	none = host_changes(a, b);
	assert_int_equal(json_object_array_length(none), 0);

	set_int(b, "sysctl", "net.core.optmem_max", 1);
	json_object_object_del(json_at(b, "cpu"), "governor");
	set_int(b, "noise", "bpf_programs", 3);
	some = host_changes(a, b);
	assert_string_equal(
		json_object_to_json_string_ext(some, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		"[\"sysctl/net.core.optmem_max\",\"cpu/governor\",\"noise/bpf_programs\"]");
}

static void an_unchanged_host_has_no_changes(void **state)
{
	_cleanup_json_ json_object *a = host_snapshot(), *b = host_snapshot(), *c = host_changes(a, b);

	/* Another's BPF programs may come and go on a shared machine. */
	for (size_t i = 0; i < json_object_array_length(c); i++)
		assert_string_equal(
			json_object_get_string(json_object_array_get_idx(c, i)), "noise/bpf_programs");
}

/* An absent figure, read by nobody: the reason, not the privileged value, and still a whole document. */
static void works_without_privilege(void **state)
{
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		print_message("only root can become somebody else\n");
		skip();
	}
	pid = fork();
	if (pid == 0) {
		_cleanup_json_ json_object *o = NULL;

		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(99);
		o = host_snapshot();
		if (!o || json_object_get_int64(json_at(o, "process/uid")) != 65534)
			_exit(1);
		if (json_object_array_length(json_at(o, "process/capabilities")) != 0)
			_exit(2);
		_exit(json_at(o, "noise/bpf_programs/reason") ? 0 : 3);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* 1: program id is listed as another's; 0: it is not; -1: cannot be told, since there are no rights, or more
 * programs on this machine than the list takes. */
static int try_is_foreign(uint32_t id)
{
	const struct host_source src = {.path = "noise/bpf_programs"};
	char reason[HOST_REASON] = "";
	_cleanup_json_ json_object *o = host_bpf_programs(&src, reason);
	json_object *list = o ? json_at(o, "programs") : NULL;

	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		if (json_object_get_uint64(json_at(json_object_array_get_idx(list, i), "id")) == id)
			return 1;
	return o && json_object_get_uint64(json_at(o, "count")) == json_object_array_length(list) ? 0 : -1;
}

/* Other tests run beside this one, whose daemons have programs: for a while there may be too many. */
static int is_foreign(uint32_t id)
{
	int r = try_is_foreign(id);

	for (int i = 0; i < 400 && r < 0; i++) {
		poll(NULL, 0, 50);
		r = try_is_foreign(id);
	}
	return r;
}

/* A program of this process is not foreign; the same program held only by another process is. */
static void own_bpf_programs_are_told_apart(void **state)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "test", "MIT", insns, ARRAY_SIZE(insns), NULL);
	int end[2];
	pid_t pid;

	if (fd < 0 || is_foreign(0) < 0) {
		print_message("no rights to list programs, or too many of them for 20 s: %s\n",
			fd < 0 ? strerror(-fd) : "listing");
		skip();
	}
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	assert_int_equal(is_foreign(info.id), 0);
	assert_int_equal(pipe(end), 0);
	pid = fork();
	if (pid == 0) {
		char c;

		close(end[1]);
		_exit(read(end[0], &c, 1) != 0);
	}
	close(fd);
	assert_int_equal(is_foreign(info.id), 1);
	close(end[0]);
	close(end[1]);
	waitpid(pid, NULL, 0);
}

static const char *text_of(double v)
{
	static char out[64];
	_cleanup_json_ json_object *o = json_double(v);

	str_copy(out, json_object_to_json_string(o));
	return out;
}

static void doubles_are_short_and_exact(void **state)
{
	assert_string_equal(text_of(0.1), "0.1");
	assert_string_equal(text_of(2), "2.0");
	assert_string_equal(text_of(0.1 + 0.2), "0.30000000000000004");
	assert_string_equal(text_of(1e300), "1e+300");
	assert_string_equal(text_of(-12345678.5), "-12345678.5");
}

static void helpers_for_json(void **state)
{
	_cleanup_json_ json_object *o = json_object_new_object();

	assert_int_equal(json_add_u64(o, "u", UINT64_MAX), 0);
	assert_int_equal(json_add_double(o, "d", 1.0 / 0.0), 0);
	assert_int_equal(json_add_str(o, "s", NULL), 0);
	assert_int_equal(json_add_strf(o, "f", "%d/%s", 3, "x"), 0);
	assert_int_equal(json_add_null_reason(o, "n", "lacks %s", "it"), 0);
	assert_int_equal(json_add(o, "gone", NULL), -ENOMEM);
	assert_string_equal(
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		"{\"u\":18446744073709551615,\"d\":null,\"s\":null,\"f\":\"3/x\","
		"\"n\":{\"value\":null,\"reason\":\"lacks it\"}}");
	assert_string_equal(json_object_get_string(json_at(o, "n/reason")), "lacks it");
	assert_null(json_at(o, "n/none"));
	assert_null(json_at(o, "u/deeper"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_files),
		cmocka_unit_test(lists_and_choices),
		cmocka_unit_test(lines_with_keys),
		cmocka_unit_test(columns_and_pressure),
		cmocka_unit_test(an_absent_file_says_so),
		cmocka_unit_test(this_host),
		cmocka_unit_test(changes_are_settings_only),
		cmocka_unit_test(an_unchanged_host_has_no_changes),
		cmocka_unit_test(works_without_privilege),
		cmocka_unit_test(own_bpf_programs_are_told_apart),
		cmocka_unit_test(doubles_are_short_and_exact),
		cmocka_unit_test(helpers_for_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
