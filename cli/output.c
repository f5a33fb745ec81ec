// SPDX-License-Identifier: MIT
/* Writes beside the file and renames over it. */
#include <errno.h>
#include <sys/stat.h>

#include "output.h"

struct output {
	FILE *f;
	char *path, *temporary; /* temporary NULL: written directly */
	bool own;               /* f is ours to close */
};

static struct output *output_free(struct output *o)
{
	if (o->own && o->f)
		fclose(o->f);
	free(o->path);
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
	if (asprintf(&o->temporary, "%s.XXXXXX", o->path) < 0) {
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

int output_open(const char *path, FILE *fallback, struct output **ret, struct fault *reterr)
{
	_cleanup_(output_abandonp) struct output *o = calloc(1, sizeof(*o));
	struct stat st;

	if (!o)
		return refuse(path, -ENOMEM, reterr);
	if (!path) {
		o->f = fallback;
		*ret = TAKE_PTR(o);
		return 0;
	}
	o->own = true;
	o->path = strdup(path);
	if (!o->path)
		return refuse(path, -ENOMEM, reterr);
	errno = 0;
	o->f = stat(path, &st) == 0 && !S_ISREG(st.st_mode) ? fopen(path, "we") : open_temporary(o);
	if (!o->f)
		return refuse(path, errno ? -errno : -EIO, reterr);
	*ret = TAKE_PTR(o);
	return 0;
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
	if (r == 0 && o->temporary && rename(o->temporary, o->path) < 0)
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
