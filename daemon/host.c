// SPDX-License-Identifier: MIT
/* The host block of a result: one table of what is recorded, where it comes from and whether it may move
 * during a run. */
#include "host.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "host_source.h"
#include "jsonx.h"

#define CPU "/sys/devices/system/cpu/"
#define SYSCTL(name, get, file)                                                                              \
	{                                                                                                    \
		"sysctl/" name, get, "/proc/sys/" file, NULL, NULL, false                                    \
	}

static json_object *uname_release(const struct host_source *src, char *reason)
{
	struct utsname u;

	return uname(&u) < 0 ? NULL : json_object_new_string(u.release);
}

static json_object *uname_version(const struct host_source *src, char *reason)
{
	struct utsname u;

	return uname(&u) < 0 ? NULL : json_object_new_string(u.version);
}

static json_object *uname_machine(const struct host_source *src, char *reason)
{
	struct utsname u;

	return uname(&u) < 0 ? NULL : json_object_new_string(u.machine);
}

static json_object *own_version(const struct host_source *src, char *reason)
{
	return json_object_new_string(COPYLEDGER_VERSION);
}

/* The library that runs, not the one that was built against. */
static json_object *libbpf_version(const struct host_source *src, char *reason)
{
	return json_object_new_string(libbpf_version_string());
}

static json_object *json_version(const struct host_source *src, char *reason)
{
	return json_object_new_string(json_c_version());
}

static json_object *process_uid(const struct host_source *src, char *reason)
{
	return json_object_new_int64(geteuid());
}

static json_object *limit_json(rlim_t v)
{
	return v == RLIM_INFINITY ? json_object_new_string("unlimited") : json_object_new_uint64(v);
}

static json_object *limits(int resource, char *reason)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	struct rlimit l;

	if (getrlimit(resource, &l) < 0) {
		snprintf(reason, HOST_REASON, "getrlimit: %s", strerrorname_np(errno));
		return NULL;
	}
	if (!o || json_add(o, "soft", limit_json(l.rlim_cur)) < 0 ||
		json_add(o, "hard", limit_json(l.rlim_max)) < 0)
		return NULL;
	return TAKE_PTR(o);
}

static json_object *limit_memlock(const struct host_source *src, char *reason)
{
	return limits(RLIMIT_MEMLOCK, reason);
}

static json_object *limit_nofile(const struct host_source *src, char *reason)
{
	return limits(RLIMIT_NOFILE, reason);
}

/* A hypervisor names itself in CPUID leaf 0x40000000: "KVMKVMKVM", "Microsoft Hv", "TCGTCGTCGTCG". */
static json_object *hypervisor_name(const struct host_source *src, char *reason)
{
#if defined(__x86_64__) || defined(__i386__)
	union {
		unsigned int reg[4];
		char text[17];
	} id = {};
	unsigned int a, b, c = 0, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && c & 1U << 31) {
		__cpuid(0x40000000, a, id.reg[0], id.reg[1], id.reg[2]);
		return json_object_new_string(id.text[0] ? id.text : "unnamed");
	}
	snprintf(reason, HOST_REASON, "none: the CPU reports no hypervisor");
#else
	snprintf(reason, HOST_REASON, "this architecture has no common way to ask");
#endif
	return NULL;
}

/* intel_pstate has a switch of its own, the other way round. */
static json_object *turbo(const struct host_source *src, char *reason)
{
	const struct host_source intel = {.file = CPU "intel_pstate/no_turbo"};
	json_object *o = host_not(&intel, reason);

	return o ? o : host_bool(src, reason);
}

static json_object *time_utc(const struct host_source *src, char *reason)
{
	struct timespec ts;
	struct tm tm;
	char day[32], text[64];

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "%s.%03ldZ", day, ts.tv_nsec / 1000000);
	return json_object_new_string(text);
}

static json_object *time_monotonic(const struct host_source *src, char *reason)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return json_object_new_int64(ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec);
}

static const char no_securityfs[] = "securityfs is not mounted, or the kernel has no lockdown";
static const char no_cpufreq[] = "no CPU frequency driver; in a VM the host scales";
static const char no_thp[] = "the kernel has no transparent huge pages";
static const char no_psi[] = "the kernel has no pressure figures, or they are off (psi=1)";
static const char no_dmi[] = "the firmware gives no DMI tables";
static const char no_bpf_list[] = "it takes CAP_SYS_ADMIN";

static const struct host_source sources[] = {
	{"kernel/release", uname_release, NULL, NULL, NULL, false},
	{"kernel/version", uname_version, NULL, NULL, NULL, false},
	{"kernel/machine", uname_machine, NULL, NULL, NULL, false},
	{"kernel/cmdline", host_text, "/proc/cmdline", NULL, NULL, false},
	{"kernel/lockdown", host_choice, "/sys/kernel/security/lockdown", NULL, no_securityfs, false},
	{"kernel/tainted", host_int, "/proc/sys/kernel/tainted", NULL, NULL, false},

	{"software/copyledger", own_version, NULL, NULL, NULL, false},
	{"software/libbpf", libbpf_version, NULL, NULL, NULL, false},
	{"software/json_c", json_version, NULL, NULL, NULL, false},

	{"process/uid", process_uid, NULL, NULL, NULL, false},
	{"process/capabilities", host_caps, "/proc/self/status", "CapEff", NULL, false},
	{"process/affinity", host_field, "/proc/self/status", "Cpus_allowed_list", NULL, false},
	{"process/rlimit_memlock", limit_memlock, NULL, NULL, NULL, false},
	{"process/rlimit_nofile", limit_nofile, NULL, NULL, NULL, false},

	SYSCTL("kernel.perf_event_paranoid", host_int, "kernel/perf_event_paranoid"),
	SYSCTL("kernel.unprivileged_bpf_disabled", host_int, "kernel/unprivileged_bpf_disabled"),
	SYSCTL("kernel.bpf_stats_enabled", host_int, "kernel/bpf_stats_enabled"),
	SYSCTL("kernel.unprivileged_userns_clone", host_int, "kernel/unprivileged_userns_clone"),
	SYSCTL("user.max_user_namespaces", host_int, "user/max_user_namespaces"),
	SYSCTL("net.core.bpf_jit_enable", host_int, "net/core/bpf_jit_enable"),
	SYSCTL("net.core.optmem_max", host_int, "net/core/optmem_max"),
	SYSCTL("net.core.rmem_max", host_int, "net/core/rmem_max"),
	SYSCTL("net.core.wmem_max", host_int, "net/core/wmem_max"),
	SYSCTL("net.core.max_skb_frags", host_int, "net/core/max_skb_frags"),
	SYSCTL("net.core.high_order_alloc_disable", host_int, "net/core/high_order_alloc_disable"),
	SYSCTL("net.core.default_qdisc", host_text, "net/core/default_qdisc"),
	SYSCTL("net.core.busy_poll", host_int, "net/core/busy_poll"),
	SYSCTL("net.core.busy_read", host_int, "net/core/busy_read"),
	SYSCTL("net.ipv4.tcp_rmem", host_numbers, "net/ipv4/tcp_rmem"),
	SYSCTL("net.ipv4.tcp_wmem", host_numbers, "net/ipv4/tcp_wmem"),
	SYSCTL("net.ipv4.tcp_mem", host_numbers, "net/ipv4/tcp_mem"),
	SYSCTL("net.ipv4.tcp_congestion_control", host_text, "net/ipv4/tcp_congestion_control"),
	SYSCTL("net.ipv4.tcp_available_congestion_control", host_words,
		"net/ipv4/tcp_available_congestion_control"),
	SYSCTL("net.ipv4.tcp_moderate_rcvbuf", host_int, "net/ipv4/tcp_moderate_rcvbuf"),
	SYSCTL("net.ipv4.tcp_notsent_lowat", host_int, "net/ipv4/tcp_notsent_lowat"),
	SYSCTL("net.ipv4.tcp_limit_output_bytes", host_int, "net/ipv4/tcp_limit_output_bytes"),
	SYSCTL("net.ipv4.tcp_autocorking", host_int, "net/ipv4/tcp_autocorking"),
	SYSCTL("net.ipv4.ip_local_port_range", host_numbers, "net/ipv4/ip_local_port_range"),

	{"cpu/model", host_field, "/proc/cpuinfo", "model name", "this architecture names no model", false},
	{"cpu/microcode", host_field, "/proc/cpuinfo", "microcode", "this architecture has none", false},
	{"cpu/online", host_count, CPU "online", NULL, NULL, false},
	{"cpu/online_list", host_text, CPU "online", NULL, NULL, false},
	{"cpu/smt_active", host_bool, CPU "smt/active", NULL, NULL, false},
	{"cpu/numa_nodes", host_count, "/sys/devices/system/node/online", NULL, "the kernel has no NUMA",
		false},
	{"cpu/governor", host_same, CPU "cpufreq/policy*/scaling_governor", NULL, no_cpufreq, false},
	{"cpu/frequency_driver", host_same, CPU "cpufreq/policy*/scaling_driver", NULL, no_cpufreq, false},
	{"cpu/turbo", turbo, CPU "cpufreq/boost", NULL, no_cpufreq, false},
	{"cpu/cgroup_limit_cpus", host_cgroup, "cpu.max", NULL, NULL, false},
	{"cpu/mitigations", host_directory, CPU "vulnerabilities", NULL, NULL, false},

	{"virtualization/hypervisor_flag", host_flag, "/proc/cpuinfo", "hypervisor",
		"this architecture has no flags line", false},
	{"virtualization/hypervisor", hypervisor_name, NULL, NULL, NULL, false},
	{"virtualization/vendor", host_text, "/sys/class/dmi/id/sys_vendor", NULL, no_dmi, false},
	{"virtualization/product", host_text, "/sys/class/dmi/id/product_name", NULL, no_dmi, false},
	{"virtualization/container", host_text, "/run/systemd/container", NULL,
		"no container manager says that it runs this", false},

	{"memory/total_bytes", host_field_int, "/proc/meminfo", "MemTotal", NULL, false},
	{"memory/available_bytes", host_field_int, "/proc/meminfo", "MemAvailable", NULL, true},
	{"memory/transparent_hugepage", host_choice, "/sys/kernel/mm/transparent_hugepage/enabled", NULL,
		no_thp, false},
	{"memory/transparent_hugepage_defrag", host_choice, "/sys/kernel/mm/transparent_hugepage/defrag",
		NULL, no_thp, false},
	{"memory/hugepages_total", host_field_int, "/proc/meminfo", "HugePages_Total",
		"the kernel has no huge pages", false},
	{"memory/hugepage_bytes", host_field_int, "/proc/meminfo", "Hugepagesize",
		"the kernel has no huge pages", false},
	{"memory/cgroup_limit_bytes", host_cgroup, "memory.max", NULL, NULL, false},

	{"noise/load_average", host_numbers, "/proc/loadavg", "3", NULL, true},
	{"noise/pressure_cpu", host_pressure, "/proc/pressure/cpu", NULL, no_psi, true},
	{"noise/pressure_memory", host_pressure, "/proc/pressure/memory", NULL, no_psi, true},
	/* "cpu user nice system idle iowait irq softirq steal ..." in ticks of 1/100 s */
	{"noise/steal_ticks", host_column, "/proc/stat", "8", NULL, true},
	{"noise/bpf_programs", host_bpf_programs, NULL, NULL, no_bpf_list, false},

	{"time/utc", time_utc, NULL, NULL, NULL, true},
	{"time/monotonic_ns", time_monotonic, NULL, NULL, NULL, true},
	{"time/clocksource", host_text, "/sys/devices/system/clocksource/clocksource0/current_clocksource",
		NULL, NULL, false},
};

/* The object of a row's first part, made when it is missing. */
static json_object *parent(json_object *root, const char *path, const char **ret_name)
{
	const char *slash = strchr(path, '/');
	char key[32];
	json_object *o;

	snprintf(key, sizeof(key), "%.*s", (int)(slash - path), path);
	*ret_name = slash + 1;
	if (json_object_object_get_ex(root, key, &o))
		return o;
	o = json_object_new_object();
	return json_add(root, key, o) < 0 ? NULL : o;
}

static int snapshot_add(json_object *root, const struct host_source *src)
{
	char reason[HOST_REASON] = "";
	const char *name;
	json_object *o = parent(root, src->path, &name), *v;

	if (!o)
		return -ENOMEM;
	v = src->get(src, reason);
	if (!v && reason[0])
		return json_add_null_reason(o, name, "%s", reason);
	return json_add(o, name, v);
}

json_object *host_snapshot(void)
{
	_cleanup_json_ json_object *root = json_object_new_object();

	for (size_t i = 0; root && i < ARRAY_SIZE(sources); i++)
		if (snapshot_add(root, &sources[i]) < 0)
			return NULL;
	return TAKE_PTR(root);
}

json_object *host_changes(json_object *before, json_object *after)
{
	_cleanup_json_ json_object *list = json_object_new_array();

	for (size_t i = 0; list && i < ARRAY_SIZE(sources); i++) {
		const char *path = sources[i].path;

		if (sources[i].moves || json_object_equal(json_at(before, path), json_at(after, path)))
			continue;
		if (json_push(list, json_object_new_string(path)) < 0)
			return NULL;
	}
	return TAKE_PTR(list);
}
