// SPDX-License-Identifier: MIT
/* Writes beside the file and renames over it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "output.h"

struct output {
	FILE *f;
	char *path;               /* as it was given; NULL: standard output */
	char *target, *temporary; /* the file's own name, behind all links; NULL: written directly */
	bool own;                 /* f is ours to close */
};

static struct output *output_free(struct output *o)
{
	if (o->own && o->f)
		fclose(o->f);
	free(o->path);
	free(o->target);
	free(o->temporary);
	free(o);
	return NULL;
}

struct output *output_abandon(struct output *o)
{
	if (o && o->temporary)
		unlink(o->temporary);
	return o ? output_free(o) : NULL;
}

static int refuse(const char *path, int r, struct fault *reterr)
{
	return fault_set(reterr, r, "output", "", "cannot write %s%s%s: %s", path ? "'" : "",
		path ? path : "to standard output", path ? "'" : "", strerror(-r));
}

static FILE *open_temporary(struct output *o)
{
	mode_t mask = umask(0);
	FILE *f;
	int fd;

	umask(mask);
	if (asprintf(&o->temporary, "%s.XXXXXX", o->target) < 0) {
		o->temporary = NULL;
		return NULL;
	}
	fd = mkstemp(o->temporary);
	if (fd < 0) {
		free(o->temporary);
		o->temporary = NULL;
		return NULL;
	}
	f = fchmod(fd, 0666 & ~mask) == 0 ? fdopen(fd, "w") : NULL;
	if (!f)
		close(fd);
	return f;
}

/* Whether the path leads to what standard output already is, as /dev/stdout does. Opened once more that would
 * be cut, and written from its start. */
static bool is_stream(const char *path, FILE *f)
{
	struct stat a, b;

	return f && stat(path, &a) == 0 && fstat(fileno(f), &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* What the path leads to, or a negative errno. -ELOOP: over a link of /proc/PID/fd, behind which is a file
 * that somebody has open: another one under its name would not be that. */
static int look(const char *path)
{
	const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* The name of an open regular file, owned by the caller; NULL: it is none, or its name cannot be known. */
static char *name_of(int fd)
{
	char link[64], name[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, name, sizeof(name));
	return n > 0 && n < (ssize_t)sizeof(name) && name[0] == '/' ? strndup(name, (size_t)n) : NULL;
}

/* The name to be renamed to, owned by the caller; NULL: the path is to be written directly. The links are the
 * kernel's to follow: it knows which of them a user may have laid out in /tmp. */
static char *find_target(const char *path)
{
	_cleanup_close_ int fd = look(path);
	struct stat st;

	if (fd >= 0)
		return name_of(fd);
	return fd == -ENOENT && lstat(path, &st) < 0 ? strdup(path) : NULL;
}

int output_open(const char *path, FILE *standard, struct output **ret, struct fault *reterr)
{
	_cleanup_(output_abandonp) struct output *o = calloc(1, sizeof(*o));

	if (!o)
		return refuse(path, -ENOMEM, reterr);
	if (!path || (standard && str_eq(path, "-")) || is_stream(path, standard)) {
		o->f = standard;
		*ret = TAKE_PTR(o);
		return 0;
	}
	o->own = true;
	o->path = strdup(path);
	if (!o->path)
		return refuse(path, -ENOMEM, reterr);
	o->target = find_target(path);
	errno = 0;
	o->f = o->target ? open_temporary(o) : fopen(path, "we");
	if (!o->f)
		return refuse(path, errno ? -errno : -EIO, reterr);
	*ret = TAKE_PTR(o);
	return 0;
}

bool output_is_standard(const struct output *o)
{
	return !o->own;
}

FILE *output_stream(struct output *o)
{
	return o->f;
}

/* To the disk and under its name. */
static int commit(struct output *o)
{
	int r = 0;

	errno = 0;
	if (fflush(o->f) != 0 || ferror(o->f))
		return errno ? -errno : -EIO;
	if (o->temporary && fsync(fileno(o->f)) < 0)
		return -errno;
	if (o->own) {
		r = fclose(o->f) == 0 ? 0 : -errno;
		o->f = NULL;
	}
	if (r == 0 && o->temporary && rename(o->temporary, o->target) < 0)
		r = -errno;
	return r;
}

int output_finish(struct output *o, int r, struct fault *reterr)
{
	if (r == 0)
		r = commit(o);
	if (r < 0) {
		r = refuse(o->path, r, reterr);
	} else {
		free(o->temporary);
		o->temporary = NULL;
	}
	output_abandon(o);
	return r;
}
