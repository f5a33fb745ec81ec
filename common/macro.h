/* SPDX-License-Identifier: MIT */
/* Ownership by attribute: a variable tagged _cleanup_*_ is released when it leaves its scope; TAKE_* spells the escape. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CACHE_LINE 64

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))

/* Defines name##p(T *p) for _cleanup_: calls f on a value that is not NULL. */
#define DEFINE_CLEANUP(T, f)                                                                                \
	static inline void f##p(T *p)                                                                       \
	{                                                                                                   \
		if (*p)                                                                                     \
			f(*p);                                                                              \
	}

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline int close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
	return -1;
}

static inline void close_fdp(int *fd)
{
	close_fd(*fd);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(close_fdp)
#define _cleanup_fclose_ _cleanup_(fclosep)

#define TAKE_PTR(p)                                                                                         \
	({                                                                                                  \
		__typeof__(p) taken_ = (p);                                                                 \
		(p) = NULL;                                                                                 \
		taken_;                                                                                     \
	})
#define TAKE_FD(fd)                                                                                         \
	({                                                                                                  \
		int taken_ = (fd);                                                                          \
		(fd) = -1;                                                                                  \
		taken_;                                                                                     \
	})

/* Copies a string into a fixed array, always ended; false if it was cut. */
#define str_copy(array, s) str_copy_n((array), sizeof(array), (s))
static inline int str_copy_n(char *dst, size_t n, const char *s)
{
	size_t len = s ? strlen(s) : 0, room = MIN(len, n - 1);

	if (room)
		memcpy(dst, s, room);
	dst[room] = 0;
	return len < n;
}

static inline int str_eq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}
