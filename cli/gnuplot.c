// SPDX-License-Identifier: MIT
/* Starts gnuplot, feeds it, and reports what it complained of. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "gnuplot.h"
#include "out.h"

extern char **environ;

void gnuplot_string(FILE *f, const char *text)
{
	_cleanup_free_ char *clean = text_clean(text, true);

	fputc('\'', f);
	for (const char *s = clean ? clean : ""; *s; s++) {
		if (*s == '\'')
			fputc('\'', f);
		fputc(*s, f);
	}
	fputc('\'', f);
}

static int memory_file(const char *text)
{
	int fd = memfd_create("gnuplot", MFD_CLOEXEC);
	size_t n = strlen(text);

	if (fd < 0 || write(fd, text, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) < 0) {
		int r = -errno;

		close_fd(fd);
		return r;
	}
	return fd;
}

/* Both are files in memory, so that no pipe can be full: nothing has to be read while it runs. */
static int spawn(int in, int err, pid_t *ret)
{
	char *argv[] = {"gnuplot", "-", NULL};
	posix_spawn_file_actions_t actions;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
	r = posix_spawnp(ret, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int complain(int err, int status, struct fault *reterr)
{
	char text[300] = "";
	ssize_t n = pread(err, text, sizeof(text) - 1, 0);
	char *line = text + strspn(text, "\r\n \t");

	text[MAX(n, 0)] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	return fault_set(reterr, -EIO, "gnuplot", "", "gnuplot failed (status %d): %s", status,
		*line ? line : "it says nothing");
}

int gnuplot_run(const char *script, struct fault *reterr)
{
	_cleanup_close_ int in = memory_file(script), err = memory_file("");
	int status = 0, r;
	pid_t pid;

	if (in < 0 || err < 0)
		return fault_set(reterr, MIN(in, err), "gnuplot", "", "cannot hand gnuplot its script: %s",
			strerror(-MIN(in, err)));
	r = spawn(in, err, &pid);
	if (r == -ENOENT)
		return fault_set(reterr, r, "no_gnuplot", "",
			"there is no gnuplot, which draws the figures: install the package gnuplot-nox");
	if (r < 0)
		return fault_set(reterr, r, "gnuplot", "", "cannot start gnuplot: %s", strerror(-r));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fault_set(reterr, -errno, "gnuplot", "", "cannot wait for gnuplot: %s",
				strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return complain(err, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), reterr);
}
