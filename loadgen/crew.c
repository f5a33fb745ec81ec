/* SPDX-License-Identifier: MIT */
/* The crew: threads of all lanes, the gate they are released by, and the eventfd that says they are back. */
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "lane.h"

#define STACK_SIZE (256u << 10) /* address space; pages are used as they are touched */

static int run_workload(struct lane *ln)
{
	int r;

	ln->last_move = clock_stamp();
	ln->in.ended = 0;
	__atomic_store_n(&ln->running, 1, __ATOMIC_RELEASE);
	r = ln->crew->workload->run[ln->role](ln);
	__atomic_store_n(&ln->running, 0, __ATOMIC_RELEASE);
	return r;
}

static int (*const orders[CREW_ORDERS])(struct lane *) = {
	[CREW_RUN] = run_workload,
	[CREW_CLOSE] = lane_close,
};

static void signal_event(struct crew *crew)
{
	uint64_t one = 1;

	if (write(crew->event, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable anyway */
}

static void leave(struct crew *crew)
{
	if (__atomic_sub_fetch(&crew->busy, 1, __ATOMIC_ACQ_REL) == 0)
		signal_event(crew);
}

/*
 * Returns the generation that released this lane, and its order. A futex, and no condition variable: from
 * that each lane would wake with a mutex, one after the other, and each behind those that already move bytes
 * on its CPU. Of 256 lanes on two CPUs, 200 had not begun after a second.
 */
static uint32_t park(struct crew *crew, uint32_t generation, enum crew_order *ret_order)
{
	leave(crew);
	while (__atomic_load_n(&crew->generation, __ATOMIC_ACQUIRE) == generation)
		syscall(SYS_futex, &crew->generation, FUTEX_WAIT_PRIVATE, generation, NULL, NULL, 0);
	*ret_order = crew->order;
	return generation + 1;
}

static void unblock_kicks(void)
{
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

static void *lane_thread(void *arg)
{
	struct lane *ln = arg;
	enum crew_order order = CREW_RUN;
	uint32_t generation = 0;
	int r;

	ln->side->tid = (uint32_t)gettid();
	unblock_kicks();
	r = lane_set_up(ln);
	if (r < 0)
		lane_fail(ln, r, ln->call);
	while (r >= 0 && order != CREW_CLOSE) {
		generation = park(ln->crew, generation, &order);
		r = orders[order](ln);
	}
	/* After an error a lane does not park: the run is lost, and the event tells the control thread to
	 * look. */
	if (r < 0)
		signal_event(ln->crew);
	else
		leave(ln->crew);
	return NULL;
}

static void ignore_kick(int signo)
{
}

/* A handler without SA_RESTART: its only effect is that a blocked call returns EINTR. */
static void prepare_kicks(void)
{
	struct sigaction action = {.sa_handler = ignore_kick};
	sigset_t kick;

	sigaction(SIGUSR1, &action, NULL);
	/* sendfile() and splice() know no MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&kick);
	sigaddset(&kick, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &kick, NULL);
}

static int start_threads(struct crew *crew, struct fault *reterr)
{
	pthread_attr_t attr;
	int r = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_JOINABLE);
	for (uint32_t i = 0; i < crew->lanes && !r; i++) {
		if (!crew_has(crew, i))
			continue;
		r = pthread_create(&crew->lane[i].thread, &attr, lane_thread, &crew->lane[i]);
		if (r)
			fault_set(reterr, -r, "threads", "threads", "cannot start thread %u of %u: %s", i + 1,
				crew->lanes, strerror(r));
	}
	pthread_attr_destroy(&attr);
	return -r;
}

static uint32_t usable_cpus(void)
{
	cpu_set_t allowed;

	return sched_getaffinity(0, sizeof(allowed), &allowed) < 0 ? 1 : (uint32_t)CPU_COUNT(&allowed);
}

int crew_start(struct crew *crew, struct lg_shm *shm, const int *fds, struct fault *reterr)
{
	*crew = (struct crew){.shm = shm, .lanes = shm->plan.lanes * 2};
	crew->mode = transfer_mode_find(shm->plan.mode);
	crew->receive = receive_mode_find(shm->plan.receive);
	crew->workload = workload_find(shm->plan.workload);
	crew->split = shm->plan.role != LG_ROLE_BOTH;
	crew->active = crew->split ? shm->plan.lanes : crew->lanes;
	crew->busy = crew->active;
	crew->cpus = usable_cpus();
	message_layout_init(&crew->layout, shm->plan.size, shm->plan.fields);
	crew->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	crew->lane = aligned_alloc(CACHE_LINE, crew->lanes * sizeof(*crew->lane));
	if (crew->event < 0 || !crew->lane)
		return fault_set(reterr, -ENOMEM, "memory", "", "no memory for %u lanes", shm->plan.lanes);
	memset(crew->lane, 0, crew->lanes * sizeof(*crew->lane));
	for (uint32_t i = 0; i < crew->lanes; i++) {
		struct lane *ln = &crew->lane[i];

		ln->fd = fds[i];
		ln->connection = i / LG_SIDES;
		ln->role = i % LG_SIDES;
		ln->mode = crew->mode;
		ln->receive = crew->receive;
		ln->side = &shm->lane[ln->connection].side[ln->role];
		ln->side->cpu = -1;
		ln->peer = &crew->lane[i ^ 1];
		ln->crew = crew;
		ln->layout = &crew->layout;
	}
	prepare_kicks();
	return start_threads(crew, reterr);
}

void crew_release(struct crew *crew, enum crew_order order)
{
	for (uint32_t i = 0; i < crew->lanes; i++)
		crew->lane[i].total_valid = 0;
	__atomic_store_n(&crew->stop, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&crew->busy, crew->active, __ATOMIC_RELAXED);
	crew->order = order;
	__atomic_add_fetch(&crew->generation, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &crew->generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void crew_stop(struct crew *crew)
{
	__atomic_store_n(&crew->stop, 1, __ATOMIC_RELAXED);
}

/* Parked lanes and those that still send are not disturbed: only a receiver sleeps on bytes that may never
 * come. */
void crew_kick(struct crew *crew)
{
	for (uint32_t i = LG_RECEIVER; i < crew->lanes && !crew->split; i += LG_SIDES)
		if (__atomic_load_n(&crew->lane[i ^ 1].total_valid, __ATOMIC_ACQUIRE) &&
			__atomic_load_n(&crew->lane[i].running, __ATOMIC_ACQUIRE))
			pthread_kill(crew->lane[i].thread, SIGUSR1);
}

void crew_join(struct crew *crew)
{
	for (uint32_t i = 0; i < crew->lanes; i++)
		if (crew_has(crew, i))
			pthread_join(crew->lane[i].thread, NULL);
	free(TAKE_PTR(crew->lane));
	crew->event = close_fd(crew->event);
}

uint32_t crew_busy(const struct crew *crew)
{
	return __atomic_load_n(&crew->busy, __ATOMIC_ACQUIRE);
}

int crew_error(const struct crew *crew, struct fault *reterr)
{
	static const char *const roles[LG_SIDES] = {"sender", "receiver"};

	for (uint32_t i = 0; i < crew->lanes; i++) {
		const struct lg_side *side = crew->lane[i].side;
		int error = __atomic_load_n(&side->error, __ATOMIC_ACQUIRE);

		if (error)
			return fault_set(reterr, error, "lane", "", "lane %u %s: %s", i / LG_SIDES,
				roles[i % LG_SIDES], side->error_text);
	}
	return 0;
}
