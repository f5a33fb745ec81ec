/* SPDX-License-Identifier: MIT */
/* What a run may take of the machine: open files, locked memory, message buffers. */
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "lane.h"
#include "resources.h"

#define SPARE_FDS 64

#define RING_BYTES (4u << 20) /* a lane, as far as the total allows */
#define RING_BYTES_ALL (256u << 20)
#define RING_MIN 16u
#define RING_MAX 16384u
#define PAGE 4096u
#define CALL_MAX (16u << 20) /* so that ids of sends and their bytes stay 32 bits wide */

uint32_t ring_slots(uint64_t size, uint32_t lanes, uint64_t memlock)
{
	uint64_t all = RING_BYTES_ALL / lanes, slots = MIN(RING_BYTES, all) / size;

	if (slots < RING_MIN)
		slots = MIN(RING_MIN, all / size);
	/* The kernel books a call as its whole pages and two more; half of what may be locked is left to
	 * others. */
	if (memlock != UINT64_MAX)
		slots = MIN(slots, memlock / 2 / PAGE / lanes / (size / PAGE + 2));
	/* Two large messages may be more than that all the same: then their calls, which are smaller, wait
	 * for each other. */
	return (uint32_t)MIN(MAX(slots, 2u), RING_MAX);
}

int resources_raise_limits(const struct lg_plan *plan, struct fault *reterr)
{
	struct rlimit limit, endless = {RLIM_INFINITY, RLIM_INFINITY};
	rlim_t need = plan->lanes * LG_SIDES * (1 + transfer_mode_find(plan->mode)->fds) + SPARE_FDS;

	/* Pinned pages are locked memory: without a limit where that is allowed, else as much as is allowed.
	 */
	if (setrlimit(RLIMIT_MEMLOCK, &endless) < 0 && getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &limit);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
		return 0;
	limit.rlim_cur = need;
	limit.rlim_max = MAX(limit.rlim_max, need);
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return fault_set(reterr, -EMFILE, "files", "threads",
			"%u lanes need %" PRIu64 " open files, more than RLIMIT_NOFILE's hard limit allows",
			plan->lanes, (uint64_t)need);
	return 0;
}

/* CAP_IPC_LOCK counts only in the first user namespace: the one in which every id stands for itself. */
static int may_lock_all(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
	_cleanup_fclose_ FILE *f = fopen("/proc/self/uid_map", "re");
	uint32_t inside, outside, count;

	if (!f || fscanf(f, "%" SCNu32 " %" SCNu32 " %" SCNu32, &inside, &outside, &count) != 3 || inside ||
		outside || count != UINT32_MAX)
		return 0;
	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1u << CAP_IPC_LOCK));
}

static int memlock_is_limited(struct rlimit *ret)
{
	return getrlimit(RLIMIT_MEMLOCK, ret) == 0 && ret->rlim_cur != RLIM_INFINITY;
}

static uint64_t memlock_limit(void)
{
	struct rlimit limit;

	return memlock_is_limited(&limit) && !may_lock_all() ? limit.rlim_cur : UINT64_MAX;
}

int resources_drop_privileges(struct fault *reterr)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct keep[_LINUX_CAPABILITY_U32S_3] = {};
	struct rlimit limit;

	/* Where even root is held to a small RLIMIT_MEMLOCK (some containers and VMs), pages of MSG_ZEROCOPY
	 * and SENDMSG_ZC are exempt from it by this capability only; the ring was made for that. */
	if (memlock_is_limited(&limit) && may_lock_all())
		keep[0].effective = keep[0].permitted = 1u << CAP_IPC_LOCK;
	/* Kernels before 4.3 have no ambient set to be cleared. */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, keep) < 0)
		return fault_set(reterr, -errno, "privileges", "", "cannot give up capabilities: capset: %s",
			strerror(errno));
	return 0;
}

/* A line "NAME: N kB" of a file of /proc, in kB. */
static int kilobytes(const char *file, const char *name, uint64_t *ret)
{
	_cleanup_fclose_ FILE *f = fopen(file, "re");
	size_t len = strlen(name);
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, len) == 0 && sscanf(line + len, ": %" SCNu64, ret) == 1)
			return 0;
	return -ENODATA;
}

uint64_t resources_huge_bytes(void)
{
	uint64_t kb;

	return kilobytes("/proc/self/smaps_rollup", "AnonHugePages", &kb) < 0 ? UINT64_MAX : kb * 1024;
}

static uint32_t senders_of(const struct lg_plan *plan)
{
	const struct workload *w = workload_find(plan->workload);

	return plan->lanes * ((w->sends[LG_SENDER] && lg_has_side(plan, LG_SENDER)) +
				     (w->sends[LG_RECEIVER] && lg_has_side(plan, LG_RECEIVER)));
}

size_t resources_pinned_call(const struct lg_plan *plan)
{
	/* Half of it for all, as for the rings; at most an eighth, so that few senders have several on their
	 * way. */
	uint64_t max = memlock_limit() / MAX(2 * senders_of(plan), 8u);

	return (size_t)MAX(MIN(CALL_MAX, max / PAGE * PAGE), (uint64_t)PAGE);
}

int resources_pins_are_limited(void)
{
	return memlock_limit() != UINT64_MAX;
}

int resources_ring(const struct lg_plan *plan, uint32_t *ret, struct fault *reterr)
{
	const struct transfer_mode *mode = transfer_mode_find(plan->mode);
	uint32_t senders = senders_of(plan);
	uint64_t lockable = mode->caps & MODE_PINS ? memlock_limit() : UINT64_MAX;
	uint32_t ring = mode->caps & MODE_DEFERRED && senders ? ring_slots(plan->size, senders, lockable) : 1;
	uint64_t buffers = ring + !!(mode->caps & MODE_PACKS), have = 0;
	uint64_t need = senders * plan->size * buffers / 1024;

	kilobytes("/proc/meminfo", "MemAvailable", &have);
	/* The out-of-memory killer has no sentence for people. */
	if (have && need > have - have / 4)
		return fault_set(reterr, -ENOMEM, "memory", "size",
			"the senders' buffers need %" PRIu64 " MiB, of %" PRIu64 " MiB available",
			need / 1024, have / 1024);
	*ret = ring;
	return 0;
}
