// SPDX-License-Identifier: MIT
/*
 * Perf counters on a monitoring unit that this test plays itself, since few VMs have one: groups, the order
 * of values in them, scaling when the unit is shared, and halves that the kernel refuses.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "jsonx.h"
#include "perf.h"

#define FDS 1024

/* A counter that was opened: its group is that of fd leader. */
struct counter {
	bool open;
	pid_t tid;
	int leader;
	struct perf_event_attr attr;
};

static struct {
	struct counter counter[FDS];
	bool enabled;
	uint64_t enabled_ns[2], running_ns[2]; /* by thread: the first tid seen, and the others */
	uint64_t unit;          /* a counter's value is unit x its event's number x 10 + its half */
	uint64_t refuse_config; /* of PERF_TYPE_HARDWARE */
	bool refuse_kernel, stands_still;
	pid_t first;
} pmu;

static uint64_t event_number(const struct perf_event_attr *attr)
{
	return attr->type * 100 + (attr->config & 0xff) + (attr->config >> 16) * 10 + 1;
}

static uint64_t counter_value(const struct counter *c)
{
	return pmu.stands_still ? 0 : pmu.unit * (event_number(&c->attr) * 10 + !c->attr.exclude_kernel);
}

static int pmu_open(const struct perf_event_attr *attr, pid_t tid, int leader)
{
	int members = 1, fd;

	if (attr->type == PERF_TYPE_HARDWARE && attr->config == pmu.refuse_config)
		return -ENOENT;
	if (!attr->exclude_kernel && pmu.refuse_kernel)
		return -EACCES;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && fd < FDS);
	for (int i = 0; leader >= 0 && i < FDS; i++)
		members += pmu.counter[i].open && pmu.counter[i].leader == leader;
	assert_true(attr->type == PERF_TYPE_SOFTWARE || members <= 4);
	assert_true(attr->disabled == (leader < 0));
	assert_true(leader < 0 || (pmu.counter[leader].open && pmu.counter[leader].tid == tid));
	pmu.counter[fd] = (struct counter){true, tid, leader < 0 ? fd : leader, *attr};
	return fd;
}

/* These five stand before the C library's, for the daemon's objects in this program. */
long syscall(long number, ...)
{
	long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall"), a[6];
	va_list ap;
	int r;

	va_start(ap, number);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number != SYS_perf_event_open)
		return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	assert_true(a[4] & PERF_FLAG_FD_CLOEXEC);
	r = pmu_open((const struct perf_event_attr *)a[0], a[1], a[3]);
	if (r >= 0)
		return r;
	errno = -r;
	return -1;
}

int ioctl(int fd, unsigned long request, ...)
{
	assert_true(pmu.counter[fd].open && pmu.counter[fd].leader == fd);
	pmu.enabled = request == PERF_EVENT_IOC_ENABLE;
	return 0;
}

int close(int fd)
{
	int (*real)(int) = dlsym(RTLD_NEXT, "close");

	if (fd >= 0 && fd < FDS)
		pmu.counter[fd].open = false;
	return real(fd);
}

ssize_t read(int fd, void *buf, size_t size)
{
	ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
	uint64_t *out = buf, n = 0;
	int who;

	if (fd < 0 || fd >= FDS || !pmu.counter[fd].open)
		return real(fd, buf, size);
	assert_int_equal(pmu.counter[fd].leader, fd);
	who = pmu.counter[fd].tid != pmu.first;
	/* Before the window 7 of everything, which must not be counted. */
	out[1] = 7 + (pmu.unit ? pmu.enabled_ns[who] : 0);
	out[2] = 7 + (pmu.unit ? pmu.running_ns[who] : 0);
	for (int i = fd; i < FDS; i++)
		if (pmu.counter[i].open && pmu.counter[i].leader == fd)
			out[3 + n++] = 7 + (pmu.running_ns[who] ? counter_value(&pmu.counter[i]) : 0);
	out[0] = n;
	return (3 + n) * sizeof(*out);
}

/* What read() becomes under _FORTIFY_SOURCE where the compiler cannot see the buffer's size. */
ssize_t __read_chk(int fd, void *buf, size_t size, size_t room);
ssize_t __read_chk(int fd, void *buf, size_t size, size_t room)
{
	assert_true(size <= room);
	return read(fd, buf, size);
}

static pid_t other_thread(void)
{
	return getppid(); /* any thread with a /proc entry will do */
}

static void pmu_reset(void)
{
	memset(&pmu, 0, sizeof(pmu));
	pmu.refuse_config = UINT64_MAX;
	pmu.first = getpid();
	for (int i = 0; i < 2; i++)
		pmu.enabled_ns[i] = pmu.running_ns[i] = 1000;
}

/* Counts a window with threads on one role; in the window a counter goes from 7 to 7 + unit x its number. */
static json_object *measure(size_t threads, struct perf **ret)
{
	pid_t tids[2] = {getpid(), other_thread()};
	int roles[2] = {0, 0};

	assert_int_equal(perf_open(tids, roles, threads, ret), 0);
	pmu.unit = 0;
	assert_int_equal(perf_enable(*ret), 0);
	assert_true(pmu.enabled);
	pmu.unit = 3;
	assert_int_equal(perf_disable(*ret), 0);
	assert_false(pmu.enabled);
	return perf_to_json(*ret);
}

static json_object *at(json_object *root, const char *event, const char *member)
{
	char path[128];

	snprintf(path, sizeof(path), "sender/%s/%s", event, member);
	return json_at(root, path);
}

static int64_t int_at(json_object *root, const char *event, const char *member)
{
	json_object *v = at(root, event, member);

	assert_true(json_object_is_type(v, json_type_int));
	return json_object_get_int64(v);
}

static const char *reason_at(json_object *root, const char *event)
{
	assert_null(at(root, event, "value"));
	assert_non_null(at(root, event, "reason"));
	return json_object_get_string(at(root, event, "reason"));
}

/* Number of an event as the fake unit has it: 100 x type + id + 10 x (result: access 0, miss 1) + 1. */
static const struct {
	const char *name;
	int64_t number;
} expected[] = {
	{"cycles", 1 + PERF_COUNT_HW_CPU_CYCLES},
	{"instructions", 1 + PERF_COUNT_HW_INSTRUCTIONS},
	{"llc_references", 1 + PERF_COUNT_HW_CACHE_REFERENCES},
	{"llc_misses", 1 + PERF_COUNT_HW_CACHE_MISSES},
	{"branches", 1 + PERF_COUNT_HW_BRANCH_INSTRUCTIONS},
	{"branch_misses", 1 + PERF_COUNT_HW_BRANCH_MISSES},
	{"l1d_references", 301},
	{"l1d_misses", 311},
};

static void every_event_gets_its_own_value(void **state)
{
	_cleanup_(perf_closep) struct perf *p = NULL;
	_cleanup_json_ json_object *o = NULL;
	double v;

	pmu_reset();
	o = measure(1, &p);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const char *name = expected[i].name;

		assert_int_equal(int_at(o, name, "user"), 30 * expected[i].number);
		assert_int_equal(int_at(o, name, "kernel"), 30 * expected[i].number + 3);
		assert_int_equal(int_at(o, name, "value"), 60 * expected[i].number + 3);
		assert_true(json_object_get_double(at(o, name, "running_ratio")) == 1);
		assert_null(at(o, name, "scaled"));
		assert_int_equal(perf_total(p, name, &v), 0);
		assert_true(v == 60 * expected[i].number + 3);
	}
}

static void a_shared_unit_scales_thread_by_thread(void **state)
{
	_cleanup_(perf_closep) struct perf *p = NULL;
	_cleanup_json_ json_object *o = NULL;

	pmu_reset();
	pmu.running_ns[0] = 250;
	o = measure(2, &p);
	/* four times the first thread's 30, and the second's 30 */
	assert_int_equal(int_at(o, "cycles", "user"), 5 * 30);
	assert_int_equal(int_at(o, "cycles", "value"), 5 * 63);
	assert_true(json_object_get_boolean(at(o, "cycles", "scaled")));
	assert_true(json_object_get_double(at(o, "cycles", "running_ratio")) == 0.625);
}

static void a_thread_never_counted_is_like_the_others(void **state)
{
	_cleanup_(perf_closep) struct perf *p = NULL;
	_cleanup_json_ json_object *o = NULL;

	pmu_reset();
	pmu.running_ns[1] = 0;
	pmu.enabled_ns[1] = 3000;
	o = measure(2, &p);
	assert_int_equal(int_at(o, "cycles", "user"), 4 * 30);
	assert_true(json_object_get_boolean(at(o, "cycles", "scaled")));
	assert_true(json_object_get_double(at(o, "cycles", "running_ratio")) == 0.25);
}

static void never_on_the_unit_is_null(void **state)
{
	_cleanup_(perf_closep) struct perf *p = NULL;
	_cleanup_json_ json_object *o = NULL;
	double v;

	pmu_reset();
	pmu.running_ns[0] = 0;
	o = measure(1, &p);
	assert_non_null(strstr(reason_at(o, "cycles"), "never on the CPU's monitoring unit"));
	assert_null(at(o, "cycles", "user"));
	assert_int_equal(perf_total(p, "cycles", &v), -ENODATA);
}

static void a_counter_that_stands_still_is_null(void **state)
{
	_cleanup_(perf_closep) struct perf *p = NULL;
	_cleanup_json_ json_object *o = NULL;

	pmu_reset();
	pmu.stands_still = true;
	o = measure(1, &p);
	assert_non_null(strstr(reason_at(o, "cycles"), "stood still"));
	assert_non_null(strstr(reason_at(o, "branches"), "stood still"));
	/* No misses at all is possible. */
	assert_int_equal(int_at(o, "llc_misses", "value"), 0);
}

static void one_missing_event_leaves_its_group(void **state)
{
	_cleanup_(perf_closep) struct perf *p = NULL;
	_cleanup_json_ json_object *o = NULL;

	pmu_reset();
	pmu.refuse_config = PERF_COUNT_HW_CPU_CYCLES; /* the leader of its group */
	o = measure(2, &p);
	assert_string_equal(reason_at(o, "cycles"), "the CPU offers no such event to this machine (ENOENT)");
	assert_int_equal(int_at(o, "instructions", "user"), 2 * 60);
	assert_int_equal(int_at(o, "instructions", "kernel"), 2 * 63);
}

static void without_privilege_the_user_half_stays(void **state)
{
	_cleanup_(perf_closep) struct perf *p = NULL;
	_cleanup_json_ json_object *o = NULL;
	double v;

	pmu_reset();
	pmu.refuse_kernel = true;
	o = measure(1, &p);
	assert_non_null(strstr(reason_at(o, "cycles"), "kernel.perf_event_paranoid is "));
	assert_non_null(strstr(reason_at(o, "context_switches"), "EACCES"));
	assert_int_equal(int_at(o, "cycles", "user"), 30);
	assert_null(at(o, "cycles", "kernel"));
	assert_int_equal(perf_total(p, "cycles", &v), -ENODATA);
	/* The task clock ignores the exclusion, so that it needs no privilege. */
	assert_true(int_at(o, "task_clock_ns", "value") > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_event_gets_its_own_value),
		cmocka_unit_test(a_shared_unit_scales_thread_by_thread),
		cmocka_unit_test(a_thread_never_counted_is_like_the_others),
		cmocka_unit_test(never_on_the_unit_is_null),
		cmocka_unit_test(a_counter_that_stands_still_is_null),
		cmocka_unit_test(one_missing_event_leaves_its_group),
		cmocka_unit_test(without_privilege_the_user_half_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
