// SPDX-License-Identifier: MIT
/* Writes log lines to the journal or to stderr. */
#include <stdarg.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>

#include "log.h"
#include "utf8.h"

#define LINE_MAX_BYTES 1024
#define ID_BYTES 64
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

static const struct {
	const char *prefix, *field;
} abouts[] = {
	[LOG_ABOUT_DAEMON] = {"", NULL},
	[LOG_ABOUT_RUN] = {"run ", "COPYLEDGER_RUN="},
	[LOG_ABOUT_SWEEP] = {"sweep ", "COPYLEDGER_SWEEP="},
};

static bool journal; /* stderr is its stream */
static bool fields;  /* it has a socket for more than lines */

void log_init(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	/* systemd.exec(5): device and inode, decimal, of the stream that a service got */
	journal = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
		  st.st_dev == dev && st.st_ino == ino;
	/* sd_journal_sendv(3) says nothing of a journal that is not there. */
	fields = journal && access(JOURNAL_SOCKET, W_OK) == 0;
}

static const char *word(int priority)
{
	static const char *const words[] = {
		[LOG_ERR] = "error: ",
		[LOG_WARNING] = "warning: ",
	};

	return priority < (int)ARRAY_SIZE(words) && words[priority] ? words[priority] : "";
}

/* With fields, if the journal takes them. sd_journal_sendv(3): no '\n' ends a field, and the names are ours.
 */
static bool to_journal(int priority, enum log_about about, const char *id, const char *text)
{
	char message[LINE_MAX_BYTES + 8], level[16], field[ID_BYTES + 32];
	char *const parts[] = {message, level, field};
	struct iovec iov[ARRAY_SIZE(parts)];
	int n = abouts[about].field ? 3 : 2;

	snprintf(message, sizeof(message), "MESSAGE=%s", text);
	snprintf(level, sizeof(level), "PRIORITY=%d", priority);
	if (abouts[about].field)
		snprintf(field, sizeof(field), "%s%.*s", abouts[about].field, ID_BYTES, id);
	for (int i = 0; i < n; i++)
		iov[i] = (struct iovec){parts[i], strlen(parts[i])};
	return sd_journal_sendv(iov, n) >= 0;
}

static void to_stderr(int priority, const char *text)
{
	char line[LINE_MAX_BYTES + 32];
	int n;

	if (journal) /* sd-daemon(3): the priority in front */
		n = snprintf(line, sizeof(line), "<%d>%s\n", priority, text);
	else
		n = snprintf(line, sizeof(line), "copyledgerd: %s%s\n", word(priority), text);
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nobody is left who could be told */
}

void log_line(int priority, enum log_about about, const char *id, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES], clean[LINE_MAX_BYTES];
	va_list ap;
	int n = 0;

	if (about != LOG_ABOUT_DAEMON)
		n = snprintf(text, sizeof(text), "%s%.*s: ", abouts[about].prefix, ID_BYTES, id);
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
	utf8_clean(clean, sizeof(clean), text);
	if (!fields || !to_journal(priority, about, id, clean))
		to_stderr(priority, clean);
}
