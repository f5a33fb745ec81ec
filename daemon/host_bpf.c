// SPDX-License-Identifier: MIT
/* Lists the BPF programs of others that may run on the measured path: they cost time there that is not the
 * transfer's. */
#include "host_source.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdint.h>

#include "jsonx.h"

#define OWN_MAX 256   /* programs of this process that are told apart */
#define LISTED_MAX 64 /* programs that are listed; all are counted */

/* Types that run on a socket's, a packet's or a traced kernel function's way. */
static const enum bpf_prog_type path_types[] = {BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_KPROBE,
	BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SCHED_ACT, BPF_PROG_TYPE_TRACEPOINT, BPF_PROG_TYPE_XDP,
	BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_CGROUP_SKB, BPF_PROG_TYPE_CGROUP_SOCK, BPF_PROG_TYPE_LWT_XMIT,
	BPF_PROG_TYPE_SOCK_OPS, BPF_PROG_TYPE_SK_SKB, BPF_PROG_TYPE_SK_MSG, BPF_PROG_TYPE_RAW_TRACEPOINT,
	BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, BPF_PROG_TYPE_CGROUP_SOCKOPT,
	BPF_PROG_TYPE_TRACING, BPF_PROG_TYPE_STRUCT_OPS, BPF_PROG_TYPE_EXT, BPF_PROG_TYPE_LSM};

struct own_programs {
	uint32_t id[OWN_MAX];
	size_t n;
};

static bool on_path(uint32_t type)
{
	for (size_t i = 0; i < ARRAY_SIZE(path_types); i++)
		if (path_types[i] == type)
			return true;
	return false;
}

/* A program's or a link's fdinfo has a line "prog_id:". */
static void own_add(struct own_programs *own, const char *fd)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[300], line[128];
	uint32_t id;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "prog_id: %u", &id) == 1 && own->n < OWN_MAX)
			own->id[own->n++] = id;
}

static void own_read(struct own_programs *own)
{
	DIR *dir = opendir("/proc/self/fdinfo");
	struct dirent *d;

	own->n = 0;
	while (dir && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			own_add(own, d->d_name);
	if (dir)
		closedir(dir);
}

static bool own_has(const struct own_programs *own, uint32_t id)
{
	for (size_t i = 0; i < own->n; i++)
		if (own->id[i] == id)
			return true;
	return false;
}

/* The kernel function or tracepoint that a tracing program is attached to; NULL: the kernel does not tell.
 * *btf is a cache. */
static const char *hook_name(const struct bpf_prog_info *info, struct btf **btf)
{
	static const char tracepoint[] = "btf_trace_"; /* the type of a tracepoint's handler */
	const struct btf_type *t;
	const char *name;

	if (!info->attach_btf_id)
		return NULL;
	if (!*btf)
		*btf = btf__load_vmlinux_btf();
	t = *btf ? btf__type_by_id(*btf, info->attach_btf_id) : NULL;
	name = t ? btf__name_by_offset(*btf, t->name_off) : NULL;
	return name && !strncmp(name, tracepoint, strlen(tracepoint)) ? name + strlen(tracepoint) : name;
}

static json_object *program_json(const struct bpf_prog_info *info, struct btf **btf)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	const char *type = libbpf_bpf_prog_type_str(info->type);

	if (!o || json_add_u64(o, "id", info->id) < 0 ||
		json_add_str(o, "type", type ? type : "unknown") < 0 ||
		json_add_str(o, "name", info->name) < 0 || json_add_str(o, "hook", hook_name(info, btf)) < 0)
		return NULL;
	return TAKE_PTR(o);
}

/* Adds program id to the list, if it is another's and on the path. Returns 1 if so, 0 if not, or a negative
 * errno. */
static int program_add(json_object *list, uint32_t id, const struct own_programs *own, struct btf **btf)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	/* A program that went meanwhile is none. */
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	if (!on_path(info.type) || own_has(own, id))
		return 0;
	if (json_object_array_length(list) < LISTED_MAX && json_push(list, program_json(&info, btf)) < 0)
		return -ENOMEM;
	return 1;
}

json_object *host_bpf_programs(const struct host_source *src, char *reason)
{
	_cleanup_json_ json_object *o = json_object_new_object(), *list = json_object_new_array();
	struct own_programs own;
	struct btf *btf = NULL;
	uint32_t id = 0, n = 0;
	int r = 0;

	own_read(&own);
	while (o && list && r >= 0) {
		r = bpf_prog_get_next_id(id, &id);
		if (r < 0)
			break;
		r = program_add(list, id, &own, &btf);
		n += r > 0;
	}
	btf__free(btf);
	if (r < 0 && r != -ENOENT) {
		snprintf(reason, HOST_REASON,
			"the kernel does not list BPF programs to this process (%s)%s%s", strerrorname_np(-r),
			src->hint ? ": " : "", src->hint ? src->hint : "");
		return NULL;
	}
	if (!o || !list || json_add_u64(o, "count", n) < 0 || json_add(o, "programs", TAKE_PTR(list)) < 0)
		return NULL;
	return TAKE_PTR(o);
}
