/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"

static struct {
	const char *name;
	enum log_level level;
	bool syslog;
	int fd; /* -1: none */
	unsigned limit;
	_Atomic uint64_t second; /* since which lines and left_out count; approximate between threads, by design */
	_Atomic unsigned lines, left_out;
} log_state = { .name = "nvofs", .level = LOG_L_INFO, .fd = STDERR_FILENO };

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

void log_limit(unsigned lines)
{
	log_state.limit = lines;
}

static void put_line(enum log_level level, const char *line)
{
	static const int priority[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

	if (log_state.syslog)
		syslog(priority[level], "%s", line);
	if (log_state.fd >= 0)
		dprintf(log_state.fd, "%s: %s\n", log_state.name, line); /* one write(2): lines do not mix */
}

/* Whether the second that runs has room for one line more. */
static bool admit(void)
{
	uint64_t second = clock_now() / NS_PER_S, before = atomic_load(&log_state.second);
	char line[64];
	unsigned n;

	if (!log_state.limit)
		return true;
	if (second != before && atomic_compare_exchange_strong(&log_state.second, &before, second)) {
		atomic_store(&log_state.lines, 0);
		n = atomic_exchange(&log_state.left_out, 0);
		snprintf(line, sizeof(line), "%u lines were left out here", n);
		if (n)
			put_line(LOG_L_WARN, line);
	}
	if (atomic_fetch_add(&log_state.lines, 1) < log_state.limit)
		return true;
	atomic_fetch_add(&log_state.left_out, 1);
	return false;
}

void log_at(enum log_level level, const char *format, ...)
{
	char line[1024];
	va_list ap;

	if (level > log_state.level || !admit())
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	put_line(level, line);
}
