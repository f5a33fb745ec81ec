// SPDX-License-Identifier: MIT
/* Starts the load generator with its two descriptors, and turns what it says and how it ends into calls. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

struct child {
	const struct child_ops *ops;
	void *userdata;
	struct lg_shm *shm;
	size_t shm_size;
	int control, pidfd;
	sd_event_source *control_source, *pid_source;
	pid_t pid;       /* 0: reaped */
	uint64_t cpu_ns; /* at its end */
};

static void drop_fds(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* One message with its fds; returns 1, 0 at the end, or a negative errno. */
static int receive(int fd, struct lg_message *ret, int *ret_fds, size_t *ret_n)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * LG_FDS_PER_MESSAGE)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {ret, sizeof(*ret)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*ret_n = 0;
	if (n <= 0)
		return n < 0 ? -errno : 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		*ret_n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(ret_fds, CMSG_DATA(c), *ret_n * sizeof(int));
	}
	if (n == sizeof(*ret) && !(msg.msg_flags & MSG_CTRUNC))
		return 1;
	drop_fds(ret_fds, *ret_n);
	return -EPROTO;
}

/* Delivers all that is there; returns as receive() does, -EAGAIN when there is no more for now. */
static int deliver(struct child *c)
{
	int fds[LG_FDS_PER_MESSAGE], r;
	struct lg_message m;
	size_t n;

	while ((r = receive(c->control, &m, fds, &n)) > 0) {
		m.text[sizeof(m.text) - 1] = 0;
		c->ops->message(&m, fds, n, c->userdata);
	}
	return r;
}

static int on_control(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct child *c = userdata;
	int r = deliver(c);

	/* The end of the pair is not the end of the story: how the process ended tells the rest. */
	if (r != -EAGAIN)
		sd_event_source_set_enabled(s, SD_EVENT_OFF);
	if (r == -EPROTO)
		child_kill(c);
	return 0;
}

static int on_end(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct child *c = userdata;
	siginfo_t how = {};

	sd_event_source_set_enabled(s, SD_EVENT_OFF);
	c->cpu_ns = child_cpu_ns(c); /* while its clock is still there */
	if (waitid(P_PIDFD, c->pidfd, &how, WEXITED) < 0)
		return 0;
	c->pid = 0;
	deliver(c);
	c->ops->ended(&how, c->userdata);
	return 0;
}

static int make_shm(const struct lg_plan *plan, struct child *c)
{
	_cleanup_close_ int fd = memfd_create("copyledger-run", MFD_CLOEXEC);

	c->shm_size = lg_shm_size(plan->lanes);
	if (fd < 0 || ftruncate(fd, c->shm_size) < 0)
		return -errno;
	c->shm = mmap(NULL, c->shm_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c->shm == MAP_FAILED) {
		c->shm = NULL;
		return -errno;
	}
	c->shm->plan = *plan;
	return TAKE_FD(fd);
}

/* The child gets a clean signal mask and dispositions, whatever the daemon has set for itself. */
static int spawn(const char *program, int control, int shm, int listener, pid_t *ret)
{
	char *argv[] = {(char *)program, "--daemon", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	r = posix_spawn_file_actions_adddup2(&actions, control, LG_FD_CONTROL);
	if (!r)
		r = posix_spawn_file_actions_adddup2(&actions, shm, LG_FD_SHM);
	if (!r && listener >= 0)
		r = posix_spawn_file_actions_adddup2(&actions, listener, LG_FD_LISTENER);
	if (!r)
		r = posix_spawn(ret, program, &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* Above the numbers that the child expects, so that no dup2 overwrites another's source. */
static int move_up(int fd)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, LG_FD_LISTENER + 1);

	close_fd(fd);
	return up;
}

static int watch(sd_event *event, struct child *c)
{
	int r;

	c->pidfd = pidfd_open(c->pid, 0);
	if (c->pidfd < 0)
		return -errno;
	r = sd_event_add_io(event, &c->control_source, c->control, EPOLLIN, on_control, c);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, &c->pid_source, c->pidfd, EPOLLIN, on_end, c);
	if (r < 0)
		return r;
	/* What the child said comes before that it ended. */
	return sd_event_source_set_priority(c->pid_source, SD_EVENT_PRIORITY_IDLE);
}

int child_start(sd_event *event, const char *program, const struct lg_plan *plan, int listener,
	const struct child_ops *ops, void *userdata, struct child **ret, struct fault *reterr)
{
	_cleanup_(child_freep) struct child *c = calloc(1, sizeof(*c));
	_cleanup_close_ int theirs = -1, shm = -1, door = -1;
	int pair[2], r;

	if (!c)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	*c = (struct child){.ops = ops, .userdata = userdata, .control = -1, .pidfd = -1};
	shm = make_shm(plan, c);
	if (shm < 0)
		return fault_set(reterr, shm, "no_memory", "",
			"shared memory for %u lanes cannot be made: %s", plan->lanes, strerror(-shm));
	shm = move_up(shm);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fault_set(
			reterr, -errno, "no_socket", "", "a socket pair cannot be made: %s", strerror(errno));
	c->control = pair[0];
	theirs = move_up(pair[1]);
	door = listener < 0 ? -1 : move_up(dup(listener));
	r = spawn(program, theirs, shm, door, &c->pid);
	if (r < 0) {
		c->pid = 0;
		return fault_set(reterr, r, "no_loadgen", "", "the load generator %s cannot be started: %s",
			program, strerror(-r));
	}
	r = watch(event, c);
	if (r < 0)
		return fault_set(reterr, r, "no_loadgen", "", "the load generator cannot be watched: %s",
			strerror(-r));
	*ret = TAKE_PTR(c);
	return 0;
}

struct child *child_free(struct child *c)
{
	if (!c)
		return NULL;
	sd_event_source_disable_unref(c->control_source);
	sd_event_source_disable_unref(c->pid_source);
	close_fd(c->control);
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
	}
	close_fd(c->pidfd);
	if (c->shm)
		munmap(c->shm, c->shm_size);
	free(c);
	return NULL;
}

int child_tell(struct child *c, enum lg_message_type type)
{
	struct lg_message m = {.type = type};

	if (send(c->control, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

void child_kill(struct child *c)
{
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
}

uint64_t child_cpu_ns(const struct child *c)
{
	struct timespec t;
	clockid_t clock;

	if (c->pid <= 0)
		return c->cpu_ns;
	if (clock_getcpuclockid(c->pid, &clock) || clock_gettime(clock, &t) < 0)
		return 0;
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

struct lg_shm *child_shm(const struct child *c)
{
	return c->shm;
}
