// SPDX-License-Identifier: MIT
/* Figures of the host block that are read from one file of /proc or /sys. */
#include "host_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <linux/limits.h>
#include <stdarg.h>
#include <stdint.h>

#include "jsonx.h"

#define TEXT_MAX 16384 /* what is looked for in longer files (cpuinfo) stands in their first lines */

static json_object *absent(char *reason, const char *fmt, ...) _printf_(2, 3);
static json_object *absent(char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, HOST_REASON, fmt, ap);
	va_end(ap);
	return NULL;
}

static char *strip(char *s)
{
	size_t n;

	s += strspn(s, " \t\n");
	for (n = strlen(s); n > 0 && strchr(" \t\n", s[n - 1]); n--)
		s[n - 1] = '\0';
	return s;
}

/* The start of a file, its zero bytes made spaces, so that it is one string. */
static int text_read(const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t have = 0;

	if (fd < 0)
		return -errno;
	while (have < size - 1) {
		ssize_t n = read(fd, buf + have, size - 1 - have);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += n;
	}
	for (size_t i = 0; i < have; i++)
		if (!buf[i])
			buf[i] = ' ';
	buf[have] = '\0';
	return 0;
}

static bool source_read(const struct host_source *src, char *buf, char *reason)
{
	int r = text_read(src->file, buf, TEXT_MAX);

	if (r < 0)
		absent(reason, "cannot read %s: %s (%s)%s%s", src->file, strerror(-r), strerrorname_np(-r),
			src->hint ? ": " : "", src->hint ? src->hint : "");
	return r >= 0;
}

/* The value of the line that starts with the row's key (and blanks, and ':'), cut out of buf. */
static char *source_field(const struct host_source *src, char *buf, char *reason)
{
	size_t n = strlen(src->key);
	char *line, *save = NULL, *s;

	if (!source_read(src, buf, reason))
		return NULL;
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, src->key, n))
			continue;
		s = line + n + strspn(line + n, " \t");
		if (*s == ':')
			return strip(s + 1);
	}
	absent(reason, "%s has no line '%s'%s%s", src->file, src->key, src->hint ? ": " : "",
		src->hint ? src->hint : "");
	return NULL;
}

static json_object *integer(const struct host_source *src, const char *s, char *reason)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(s, &end, 10);
	if (end == s || errno)
		return absent(reason, "%s holds no integer: '%.40s'", src->file, s);
	if (str_eq(end, " kB"))
		v *= 1024;
	return json_object_new_int64(v);
}

json_object *host_text(const struct host_source *src, char *reason)
{
	char buf[TEXT_MAX];

	return source_read(src, buf, reason) ? json_object_new_string(strip(buf)) : NULL;
}

json_object *host_int(const struct host_source *src, char *reason)
{
	char buf[TEXT_MAX];

	return source_read(src, buf, reason) ? integer(src, strip(buf), reason) : NULL;
}

static json_object *number(const char *word)
{
	return strchr(word, '.') ? json_double(strtod(word, NULL))
				 : json_object_new_int64(strtoll(word, NULL, 10));
}

static json_object *array(
	const struct host_source *src, json_object *(*element)(const char *word), char *reason)
{
	_cleanup_json_ json_object *o = json_object_new_array();
	char buf[TEXT_MAX], *save = NULL, *word;
	int left = src->key ? atoi(src->key) : UINT16_MAX;

	if (!source_read(src, buf, reason))
		return NULL;
	for (word = strtok_r(buf, " \t\n", &save); o && word && left-- > 0;
		word = strtok_r(NULL, " \t\n", &save))
		if (json_push(o, element(word)) < 0)
			return NULL;
	return TAKE_PTR(o);
}

json_object *host_numbers(const struct host_source *src, char *reason)
{
	return array(src, number, reason);
}

json_object *host_words(const struct host_source *src, char *reason)
{
	return array(src, json_object_new_string, reason);
}

static json_object *boolean(const struct host_source *src, bool reverse, char *reason)
{
	char buf[TEXT_MAX], *s;

	if (!source_read(src, buf, reason))
		return NULL;
	s = strip(buf);
	if (!str_eq(s, "0") && !str_eq(s, "1"))
		return absent(reason, "%s holds neither 0 nor 1: '%.40s'", src->file, s);
	return json_object_new_boolean((*s == '1') != reverse);
}

json_object *host_bool(const struct host_source *src, char *reason)
{
	return boolean(src, false, reason);
}

json_object *host_not(const struct host_source *src, char *reason)
{
	return boolean(src, true, reason);
}

json_object *host_choice(const struct host_source *src, char *reason)
{
	char buf[TEXT_MAX], *from, *to;

	if (!source_read(src, buf, reason))
		return NULL;
	from = strchr(buf, '[');
	to = from ? strchr(from, ']') : NULL;
	if (!to)
		return absent(reason, "%s marks no choice: '%.60s'", src->file, strip(buf));
	return json_object_new_string_len(from + 1, to - from - 1);
}

json_object *host_count(const struct host_source *src, char *reason)
{
	char buf[TEXT_MAX], *save = NULL, *part;
	unsigned int from, to;
	int64_t n = 0;

	if (!source_read(src, buf, reason))
		return NULL;
	for (part = strtok_r(buf, ", \n", &save); part; part = strtok_r(NULL, ", \n", &save))
		switch (sscanf(part, "%u-%u", &from, &to)) {
		case 2:
			n += (int64_t)to - from + 1;
			break;
		case 1:
			n++;
			break;
		default:
			return absent(reason, "%s is no list of numbers: '%.40s'", src->file, part);
		}
	return json_object_new_int64(n);
}

json_object *host_field(const struct host_source *src, char *reason)
{
	char buf[TEXT_MAX], *s = source_field(src, buf, reason);

	return s ? json_object_new_string(s) : NULL;
}

json_object *host_field_int(const struct host_source *src, char *reason)
{
	char buf[TEXT_MAX], *s = source_field(src, buf, reason);

	return s ? integer(src, s, reason) : NULL;
}

json_object *host_flag(const struct host_source *src, char *reason)
{
	const struct host_source flags = {.file = src->file, .key = "flags", .hint = src->hint};
	char buf[TEXT_MAX], *s = source_field(&flags, buf, reason), *save = NULL, *word;

	if (!s)
		return NULL;
	for (word = strtok_r(s, " ", &save); word; word = strtok_r(NULL, " ", &save))
		if (str_eq(word, src->key))
			return json_object_new_boolean(true);
	return json_object_new_boolean(false);
}

/* By number, as include/uapi/linux/capability.h has them. */
static const char *const capability_names[] = {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH",
	"CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
	"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE"};

json_object *host_caps(const struct host_source *src, char *reason)
{
	_cleanup_json_ json_object *o = json_object_new_array();
	char buf[TEXT_MAX], number[16], *s = source_field(src, buf, reason);
	uint64_t mask;

	if (!s || !o)
		return NULL;
	mask = strtoull(s, NULL, 16);
	for (unsigned int i = 0; i < 64; i++) {
		if (!(mask >> i & 1))
			continue;
		snprintf(number, sizeof(number), "%u", i);
		if (json_push(o, json_object_new_string(i < ARRAY_SIZE(capability_names) ? capability_names[i]
											 : number)) < 0)
			return NULL;
	}
	return TAKE_PTR(o);
}

json_object *host_pressure(const struct host_source *src, char *reason)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	double avg10, avg60, avg300;
	char buf[TEXT_MAX];
	uint64_t total;

	if (!source_read(src, buf, reason))
		return NULL;
	if (sscanf(buf, "some avg10=%lf avg60=%lf avg300=%lf total=%" SCNu64, &avg10, &avg60, &avg300,
		    &total) != 4)
		return absent(reason, "%s does not read as expected: '%.60s'", src->file, strip(buf));
	if (!o || json_add_double(o, "some_avg10_percent", avg10) < 0 ||
		json_add_double(o, "some_avg60_percent", avg60) < 0 ||
		json_add_double(o, "some_avg300_percent", avg300) < 0 ||
		json_add_u64(o, "some_total_us", total) < 0)
		return NULL;
	return TAKE_PTR(o);
}

json_object *host_column(const struct host_source *src, char *reason)
{
	char buf[TEXT_MAX], *save = NULL, *word;
	int column = atoi(src->key);

	if (!source_read(src, buf, reason))
		return NULL;
	buf[strcspn(buf, "\n")] = '\0';
	word = strtok_r(buf, " ", &save);
	while (word && column-- > 0)
		word = strtok_r(NULL, " ", &save);
	if (!word)
		return absent(reason, "the first line of %s has no column %s", src->file, src->key);
	return integer(src, word, reason);
}

static int directory_add(json_object *o, const char *dir, const char *name)
{
	char path[PATH_MAX], buf[TEXT_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	r = text_read(path, buf, sizeof(buf));
	if (r < 0)
		return json_add_null_reason(o, name, "cannot read %s: %s", path, strerrorname_np(-r));
	return json_add_str(o, name, strip(buf));
}

json_object *host_directory(const struct host_source *src, char *reason)
{
	_cleanup_json_ json_object *o = json_object_new_object();
	struct dirent **list = NULL;
	int n = scandir(src->file, &list, NULL, alphasort), r = 0;

	if (n < 0)
		return absent(reason, "cannot read %s: %s (%s)", src->file, strerror(errno),
			strerrorname_np(errno));
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.' && o && r == 0)
			r = directory_add(o, src->file, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return r == 0 ? TAKE_PTR(o) : NULL;
}

/* Appends ", text" unless the list holds it; cut where the list is full. */
static void list_add(char *list, size_t size, const char *text)
{
	size_t n = strlen(list);

	if (!strstr(list, text))
		snprintf(list + n, size - n, "%s%s", n ? ", " : "", text);
}

json_object *host_same(const struct host_source *src, char *reason)
{
	char list[256] = "", buf[TEXT_MAX];
	glob_t found = {};

	if (glob(src->file, 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++)
			if (text_read(found.gl_pathv[i], buf, sizeof(buf)) == 0)
				list_add(list, sizeof(list), strip(buf));
	globfree(&found);
	if (!list[0])
		return absent(reason, "no readable file %s%s%s", src->file, src->hint ? ": " : "",
			src->hint ? src->hint : "");
	return json_object_new_string(list);
}

/* Version 2 has one hierarchy; version 1 one for each controller, with file names and a word for "no limit"
 * of its own. */
static const struct {
	const char *file, *mount, *controller, *name;
} cgroup_files[] = {
	{"memory.max", "/sys/fs/cgroup", "", "memory.max"},
	{"memory.max", "/sys/fs/cgroup/unified", "", "memory.max"},
	{"memory.max", "/sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes"},
	{"cpu.max", "/sys/fs/cgroup", "", "cpu.max"},
	{"cpu.max", "/sys/fs/cgroup/unified", "", "cpu.max"},
};

/*
 * One level's limit: "max 100000" and "max" (version 2), -1 and INT64_MAX rounded down to pages (version 1)
 * are none. A quota with its period beside it is a number of CPUs.
 */
static double limit_parse(const char *text)
{
	long long quota, period;
	int n = sscanf(text, "%lld %lld", &quota, &period);

	if (n < 1 || quota < 0 || quota > INT64_MAX - (1 << 20))
		return -1;
	return n == 2 && period > 0 ? (double)quota / period : quota;
}

/* The process's group in the hierarchy that has the controller ("" is version 2's), as a path below the
 * mount; "": none. */
static void cgroup_path(const char *controller, char *ret, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX], *list, *path;

	*ret = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		list = strchr(line, ':');
		path = list ? strchr(list + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (str_eq(list + 1, controller) && snprintf(ret, size, "%s", path) >= (int)size)
			*ret = '\0';
	}
}

/* The smallest limit from a group up to the root, -1: none; *ret_seen: whether any level had the file. */
static double cgroup_walk(const char *mount, char *path, const char *file, bool *ret_seen)
{
	char full[2 * PATH_MAX], buf[TEXT_MAX], *slash;
	double least = -1, v;

	for (;;) {
		snprintf(full, sizeof(full), "%s%s/%s", mount, path, file);
		if (text_read(full, buf, sizeof(buf)) == 0) {
			*ret_seen = true;
			v = limit_parse(buf);
			if (v >= 0 && (least < 0 || v < least))
				least = v;
		}
		slash = strrchr(path, '/');
		if (!slash)
			return least;
		*slash = '\0';
	}
}

json_object *host_cgroup(const struct host_source *src, char *reason)
{
	char path[PATH_MAX];
	bool seen = false;
	double v = -1;

	for (size_t i = 0; i < ARRAY_SIZE(cgroup_files) && !seen; i++) {
		if (!str_eq(cgroup_files[i].file, src->file))
			continue;
		cgroup_path(cgroup_files[i].controller, path, sizeof(path));
		v = cgroup_walk(cgroup_files[i].mount, path, cgroup_files[i].name, &seen);
	}
	if (!seen)
		return absent(
			reason, "no file %s on the way up from this process's control group", src->file);
	if (v < 0)
		return absent(reason, "no limit: no control group up to the root sets one (%s)", src->file);
	return v == (double)(int64_t)v ? json_object_new_int64(v) : json_double(v);
}
