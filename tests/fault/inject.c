// SPDX-License-Identifier: MIT
/*
 * Preloaded: the n-th call of one function fails, or every call from the n-th on, as FAULT_CALL, FAULT_AT and
 * FAULT_FOR say ("malloc", "17", "1"; FAULT_FOR 0: all further ones). With FAULT_LOG a line with the numbers
 * of calls and of failures goes into that file when the process ends. FAULT_PROGRAM names the program that it is for.
 * "bpf_attach" is bpf(), but only what attaches a program to a tracepoint: how often depends on no time. "bpf_iter" is
 * read(), but only of a BPF iterator.
 * Calls from json-c and from the loader are let through: json-c's tokener cannot bear a malloc() that fails; and so are
 * writes to what is neither file nor socket: those to an eventfd cannot fail.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum call {
	CALL_MALLOC,
	CALL_OPEN,
	CALL_SOCKET,
	CALL_BPF,
	CALL_ATTACH,
	CALL_ITERATOR,
	CALL_PERF,
	CALL_THREAD,
	CALL_WRITE,
	CALL_MAX
};

static const struct {
	const char *name;
	int error;
} calls[CALL_MAX] = {
	[CALL_MALLOC] = {"malloc", ENOMEM},
	[CALL_OPEN] = {"open", EMFILE},
	[CALL_SOCKET] = {"socket", EMFILE},
	[CALL_BPF] = {"bpf", EPERM},
	[CALL_ATTACH] = {"bpf_attach", EPERM},
	[CALL_ITERATOR] = {"bpf_iter", ENOMEM},
	[CALL_PERF] = {"perf_event_open", EMFILE},
	[CALL_THREAD] = {"pthread_create", EAGAIN},
	[CALL_WRITE] = {"write", ENOSPC},
};

static atomic_ulong counted, failed;
static unsigned long at, last;
static int wanted = -1;
static _Thread_local bool inside;

static unsigned long number(const char *name, unsigned long otherwise)
{
	const char *s = getenv(name);

	return s ? strtoul(s, NULL, 10) : otherwise;
}

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("FAULT_CALL"), *program = getenv("FAULT_PROGRAM");

	if (program && strcmp(program, program_invocation_short_name) != 0)
		return;
	at = number("FAULT_AT", 0);
	last = number("FAULT_FOR", 1);
	last = last ? at + last - 1 : -1UL;
	for (int i = 0; name && i < CALL_MAX; i++)
		if (strcmp(name, calls[i].name) == 0)
			wanted = i;
}

/* One line a process, after its name: the test reads the daemon's. */
__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("FAULT_LOG");
	char line[96];
	int n, fd;

	if (!path || wanted < 0)
		return;
	inside = true;
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	n = snprintf(line, sizeof(line), "%s %lu %lu\n", program_invocation_short_name, atomic_load(&counted),
		atomic_load(&failed));
	if (fd >= 0)
		syscall(SYS_write, fd, line, n);
}

static bool spared(const void *caller)
{
	const char *base;
	Dl_info info;

	if (!dladdr(caller, &info) || !info.dli_fname)
		return true;
	base = strrchr(info.dli_fname, '/');
	base = base ? base + 1 : info.dli_fname;
	return strncmp(base, "libjson-c", 9) == 0 || strncmp(base, "ld-", 3) == 0 || strncmp(base, "libc.", 5) == 0;
}

/* Whether this call is the one; errno is set then. */
static bool fails(enum call call, const void *caller)
{
	unsigned long n;
	bool no;

	if ((int)call != wanted || inside)
		return false;
	inside = true;
	no = spared(caller);
	inside = false;
	if (no)
		return false;
	n = atomic_fetch_add(&counted, 1) + 1;
	if (!at || n < at || n > last)
		return false;
	atomic_fetch_add(&failed, 1);
	errno = calls[call].error;
	return true;
}

#define CALLER __builtin_return_address(0)
#define REAL(f)                                                                                              \
	static __typeof__(f) *real;                                                                          \
	if (!real)                                                                                           \
	real = (__typeof__(f) *)dlsym(RTLD_NEXT, #f)

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
	return fails(CALL_MALLOC, CALLER) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails(CALL_MALLOC, CALLER) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails(CALL_MALLOC, CALLER) ? NULL : __libc_realloc(p, n);
}

#define OPEN(name, ...)                                                                                      \
	{                                                                                                    \
		mode_t mode = 0;                                                                             \
		va_list ap;                                                                                  \
		if (flags & (O_CREAT | __O_TMPFILE)) {                                                       \
			va_start(ap, flags);                                                                 \
			mode = va_arg(ap, mode_t);                                                           \
			va_end(ap);                                                                          \
		}                                                                                            \
		return fails(CALL_OPEN, CALLER) ? -1 : (int)syscall(SYS_openat, __VA_ARGS__, flags, mode);   \
	}

int open(const char *path, int flags, ...) OPEN(open, AT_FDCWD, path)
int open64(const char *path, int flags, ...) OPEN(open64, AT_FDCWD, path)
int openat(int dir, const char *path, int flags, ...) OPEN(openat, dir, path)
int openat64(int dir, const char *path, int flags, ...) OPEN(openat64, dir, path)

FILE *fopen(const char *path, const char *mode)
{
	REAL(fopen);
	return fails(CALL_OPEN, CALLER) ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
	REAL(fopen64);
	return fails(CALL_OPEN, CALLER) ? NULL : real(path, mode);
}

int socket(int domain, int type, int protocol)
{
	REAL(socket);
	return fails(CALL_SOCKET, CALLER) ? -1 : real(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
	REAL(socketpair);
	return fails(CALL_SOCKET, CALLER) ? -1 : real(domain, type, protocol, fds);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	REAL(accept4);
	return fails(CALL_SOCKET, CALLER) ? -1 : real(fd, addr, len, flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	REAL(pthread_create);
	return fails(CALL_THREAD, CALLER) ? EAGAIN : real(thread, attr, start, arg);
}

static bool is_iterator(int fd)
{
	char path[32], target[32] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && strcmp(target, "anon_inode:bpf_iter") == 0;
}

ssize_t read(int fd, void *buf, size_t n)
{
	REAL(read);
	return wanted == CALL_ITERATOR && is_iterator(fd) && fails(CALL_ITERATOR, CALLER) ? -1 : real(fd, buf, n);
}

static bool can_be_full(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode));
}

ssize_t write(int fd, const void *buf, size_t n)
{
	REAL(write);
	return can_be_full(fd) && fails(CALL_WRITE, CALLER) ? -1 : real(fd, buf, n);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
	REAL(pwrite64);
	return fails(CALL_WRITE, CALLER) ? -1 : real(fd, buf, n, offset);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	REAL(sendmsg);
	return fails(CALL_WRITE, CALLER) ? -1 : real(fd, m, flags);
}

/* The load generator ends by this one, which calls no destructor. */
void _exit(int status)
{
	end();
	for (;;)
		syscall(SYS_exit_group, status);
}

/* To a tracepoint; an iterator is a link, too. */
static bool attaches(long command, const union bpf_attr *attr)
{
	return command == BPF_RAW_TRACEPOINT_OPEN ||
		(command == BPF_LINK_CREATE && attr->link_create.attach_type == BPF_TRACE_RAW_TP);
}

/* bpf() and perf_event_open() have no function of their own. */
long syscall(long nr, ...)
{
	static long (*real)(long, ...);
	long a[6];
	va_list ap;

	va_start(ap, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	if ((nr == SYS_bpf && fails(CALL_BPF, CALLER)) || (nr == SYS_perf_event_open && fails(CALL_PERF, CALLER)))
		return -1;
	if (nr == SYS_bpf && attaches(a[0], (const union bpf_attr *)a[1]) && fails(CALL_ATTACH, CALLER))
		return -1;
	return real(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
