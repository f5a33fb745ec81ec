// SPDX-License-Identifier: MIT
/* Writes log lines to stderr. */
#include <stdarg.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "log.h"
#include "utf8.h"

#define LINE_MAX_BYTES 1024

static bool journal;

void log_init(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	/* systemd.exec(5): device and inode, decimal, of the stream that a service got */
	journal = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
		  st.st_dev == dev && st.st_ino == ino;
}

static const char *word(int priority)
{
	static const char *const words[] = {
		[LOG_ERR] = "error: ",
		[LOG_WARNING] = "warning: ",
	};

	return priority < (int)ARRAY_SIZE(words) && words[priority] ? words[priority] : "";
}

void log_line(int priority, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES], clean[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 32];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	utf8_clean(clean, sizeof(clean), text);
	if (journal)
		n = snprintf(line, sizeof(line), "<%d>%s\n", priority, clean);
	else
		n = snprintf(line, sizeof(line), "copyledgerd: %s%s\n", word(priority), clean);
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nobody is left who could be told */
}
