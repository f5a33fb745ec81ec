/* SPDX-License-Identifier: MIT */
/* copyledger-loadgen: the child in which a run's traffic lives, or a small program to be run by hand. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "byhand.h"
#include "course.h"

/* The daemon's dispositions and masks are inherited through exec, and are not meant for us. */
static void reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	/* Those that may not be changed, or are the C library's own, refuse. */
	for (int signo = 1; signo <= SIGRTMAX; signo++)
		signal(signo, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The memfd, if it is as large as its own plan says. */
static struct lg_shm *map_shm(int fd)
{
	struct lg_shm *shm;
	struct stat st;

	if (fstat(fd, &st) < 0 || (size_t)st.st_size < sizeof(*shm))
		return NULL;
	shm = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shm == MAP_FAILED || (size_t)st.st_size < lg_shm_size(shm->plan.lanes))
		return NULL;
	return shm;
}

static int daemon_main(void)
{
	struct lg_shm *shm;

	/* If the daemon died before this line, the pair is at its end and says so. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	reset_signals();
	shm = map_shm(LG_FD_SHM);
	if (!shm) {
		fprintf(stderr, "copyledger-loadgen: --daemon is for copyledgerd: no plan on fd %d\n",
			LG_FD_SHM);
		return 2;
	}
	return control_run(LG_FD_CONTROL, shm);
}

int main(int argc, char **argv)
{
	int status;

	if (argc == 2 && str_eq(argv[1], "--daemon"))
		status = daemon_main();
	else
		status = byhand_main(argc, argv);
	/* After a failure lanes may still be inside calls; nothing is left to be flushed but stdio. */
	fflush(NULL);
	_exit(status);
}
