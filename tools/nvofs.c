/* SPDX-License-Identifier: Apache-2.0 */
/* nvofs: mounts a remote namespace. In the background the process forks before anything that does not survive it
 * (threads, connections, registered memory); the parent waits for one message and passes it on. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "tools/nvofs.h"

struct message {
	int code;
	char line[LINE_MAX_BYTES + 1024];
};

static int report_fd = -1;

static void say(const char *line)
{
	fprintf(stderr, "nvofs: %s\n", line);
}

static void report_foreground(int code, const char *line)
{
	if (code)
		say(line);
}

static void null_stdio(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

/* To the waiting parent; then nothing of the terminal is kept. */
static void report_background(int code, const char *line)
{
	struct message m = { .code = code };

	snprintf(m.line, sizeof(m.line), "%s", line);
	if (code)
		log_error("%s", line);
	if (write(report_fd, &m, sizeof(m)) != sizeof(m)) {
		log_error("interrupted: nobody waits for the mount any more");
		kill(getpid(), SIGTERM);
	}
	close(report_fd);
	null_stdio();
}

#define LOG_LINES 100 /* a second */

static int log_open(const struct nvofs_options *o)
{
	int fd;

	log_set_level(o->debug ? LOG_L_DEBUG : o->verbose ? LOG_L_INFO : o->foreground ? LOG_L_WARN : LOG_L_INFO);
	log_limit(LOG_LINES);
	if (!o->foreground)
		log_to_syslog(false);
	if (!o->log_file)
		return 0;
	fd = open(o->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (fd < 0) {
		fprintf(stderr, "nvofs: log file %s: %s\n", o->log_file, strerror(errno));
		return -errno;
	}
	log_to_fd(fd);
	return 0;
}

static int serve(const struct nvofs_options *o, void (*report)(int, const char *))
{
	nvofs_signals_block();
	if (nvofs_signals_start(o->mountpoint)) {
		report(EXIT_SYSTEM, "a thread cannot be started");
		return EXIT_SYSTEM;
	}
	return nvofs_daemon(o, report);
}

/* The parent's end of the pipe: the child's message, or its death. */
static int await(int fd, pid_t child)
{
	struct message m;
	ssize_t n;
	int status = 0;

	do
		n = read(fd, &m, sizeof(m));
	while (n < 0 && errno == EINTR);
	if (n == sizeof(m)) {
		if (m.code)
			say(m.line);
		return m.code;
	}
	waitpid(child, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_INTERRUPTED) {
		say("interrupted");
		return EXIT_INTERRUPTED;
	}
	say("the daemon died while mounting");
	return EXIT_INTERNAL;
}

static int background(const struct nvofs_options *o)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC)) {
		say(strerror(errno));
		return EXIT_SYSTEM;
	}
	child = fork();
	if (child < 0) {
		say(strerror(errno));
		return EXIT_SYSTEM;
	}
	if (child) {
		close(fds[1]);
		return await(fds[0], child);
	}
	close(fds[0]);
	report_fd = fds[1];
	setsid();
	if (chdir("/"))
		log_warn("chdir: %s", strerror(errno));
	return serve(o, report_background);
}

int main(int argc, char **argv)
{
	static struct nvofs_options o;
	char why[LINE_MAX_BYTES];
	int err;

	log_init("nvofs", LOG_L_INFO);
	err = nvofs_options_parse(&o, argc, argv, why, sizeof(why));
	if (err > 0)
		return 0;
	if (err) {
		say(why);
		return err == -EINVAL ? EXIT_USAGE : EXIT_MOUNT;
	}
	if (log_open(&o))
		return EXIT_USAGE;
	return o.foreground ? serve(&o, report_foreground) : background(&o);
}
