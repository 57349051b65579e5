/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

static struct {
	const char *name;
	enum log_level level;
	bool syslog;
	int fd; /* -1: none */
} log_state = { "nvofs", LOG_L_INFO, false, STDERR_FILENO };

void log_init(const char *name, enum log_level level)
{
	log_state.name = name;
	log_state.level = level;
}

void log_set_level(enum log_level level)
{
	log_state.level = level;
}

void log_to_syslog(bool keep_stderr)
{
	openlog(log_state.name, LOG_PID, LOG_DAEMON);
	log_state.syslog = true;
	if (!keep_stderr)
		log_state.fd = -1;
}

void log_to_fd(int fd)
{
	log_state.fd = fd;
}

void log_at(enum log_level level, const char *format, ...)
{
	static const int priority[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
	char line[1024];
	va_list ap;

	if (level > log_state.level)
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (log_state.syslog)
		syslog(priority[level], "%s", line);
	if (log_state.fd >= 0)
		dprintf(log_state.fd, "%s: %s\n", log_state.name, line); /* one write(2): lines do not mix */
}
