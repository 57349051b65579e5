/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says about mounts (proc(5), mountinfo), without touching them: a stat of our own mount point from
 * our own thread would wait for ourselves. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/nvofs.h"

/* \040 and the like, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; to++) {
		unsigned c;

		if (*text == '\\' && sscanf(text + 1, "%3o", &c) == 1) {
			*to = (char)c;
			text += 4;
		} else {
			*to = *text++;
		}
	}
	*to = 0;
}

static bool parse_line(char *line, struct mountinfo *m)
{
	char *dash = strstr(line, " - ");

	if (!dash || sscanf(line, "%*u %*u %u:%u %*s %4095s", &m->major, &m->minor, m->mountpoint) != 3 ||
	    sscanf(dash + 3, "%63s %4095s", m->type, m->source) != 2)
		return false;
	unescape(m->mountpoint);
	unescape(m->source);
	return true;
}

bool mountinfo_find(const char *mountpoint, const char *source, struct mountinfo *found)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mountinfo m;
	char line[10240];
	bool any = false;

	while (file && fgets(line, sizeof(line), file)) {
		if (!parse_line(line, &m) || strcmp(m.mountpoint, mountpoint ? mountpoint : m.mountpoint))
			continue;
		/* Whatever is mounted on top hides what is below. */
		if (mountpoint)
			any = false;
		if (strcmp(m.type, "fuse.nvofs") || (source && strcmp(m.source, source)))
			continue;
		*found = m;
		any = true;
		if (!mountpoint)
			break;
	}
	if (file)
		fclose(file);
	return any;
}

static void tune(const struct mountinfo *m, const char *name, const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s", m->major, m->minor, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, value, strlen(value)) < 0) {
		/* allowed to fail: it is only faster with it */
	}
	close(fd);
}

void mountinfo_tune(const char *mountpoint)
{
	struct mountinfo m;

	if (!mountinfo_find(mountpoint, NULL, &m))
		return;
	tune(&m, "read_ahead_kb", "2048");
	tune(&m, "strict_limit", "0");
	tune(&m, "max_ratio", "40");
}
