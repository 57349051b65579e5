/* SPDX-License-Identifier: Apache-2.0 */
/* One line a message to stderr, or to syslog once the process is a daemon. Thread-safe. */
#ifndef NVOFS_BASE_LOG_H
#define NVOFS_BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>

enum log_level { LOG_L_ERROR, LOG_L_WARN, LOG_L_INFO, LOG_L_DEBUG };

/* name stands before every line ("mkfs.nvofs: ..."); borrowed for good. */
void log_init(const char *name, enum log_level level);
void log_set_level(enum log_level level);
/* From here on lines go to syslog(3) with the daemon facility as well as to stderr if keep_stderr. */
void log_to_syslog(bool keep_stderr);
/* Lines go to fd (which stays the caller's); for a log file. */
void log_to_fd(int fd);
/* At most so many lines a second from here on (0: all, as at first); how many were left out is told in the next second that
 * has a line. A program that reads a damaged block for ever is not to fill the host's log. */
void log_limit(unsigned lines);
void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(LOG_L_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_L_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_L_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_L_DEBUG, __VA_ARGS__)

#endif
