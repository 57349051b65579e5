/* SPDX-License-Identifier: Apache-2.0 */
/* posix_check DIRECTORY [NAME...]: checks what programs rely on, each check in a process and a directory of its own
 * below DIRECTORY. Prints a line for each; exit code 1 when one failed. It holds on ext4 too: run it there when in doubt
 * about a check. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/tools/posix_check.h"

enum { EXIT_SKIP = 77 };

void check_failed(const char *file, int line, const char *what)
{
	const char *base = strrchr(file, '/');

	printf("  %s:%d: %s (errno: %s)\n", base ? base + 1 : file, line, what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

void check_skip(const char *why)
{
	printf("  %s\n", why);
	fflush(stdout);
	_exit(EXIT_SKIP);
}

int file_open(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		check_failed(__FILE__, __LINE__, name);
	return fd;
}

static unsigned char pattern(size_t at, unsigned seed)
{
	return (unsigned char)((at * 2654435761u + seed * 40503u) >> 11);
}

void file_fill(int fd, size_t from, size_t len, unsigned seed)
{
	unsigned char buf[65536];

	while (len) {
		size_t n = len < sizeof(buf) ? len : sizeof(buf);

		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(from + i, seed);
		CHECK(pwrite(fd, buf, n, (off_t)from) == (ssize_t)n);
		from += n;
		len -= n;
	}
}

int file_has(int fd, size_t from, size_t len, unsigned seed)
{
	unsigned char buf[65536];

	while (len) {
		size_t n = len < sizeof(buf) ? len : sizeof(buf);

		if (pread(fd, buf, n, (off_t)from) != (ssize_t)n)
			return 0;
		for (size_t i = 0; i < n; i++)
			if (buf[i] != pattern(from + i, seed))
				return 0;
		from += n;
		len -= n;
	}
	return 1;
}

/* Returns whether the check passed or was skipped. */
static bool run_check(const struct check *c)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		CHECK(mkdir(c->name, 0755) == 0 && chdir(c->name) == 0);
		umask(022);
		c->run();
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return false;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
		printf("skipped %s\n", c->name);
		return true;
	}
	printf("%s %s\n", status == 0 ? "ok" : "FAILED", c->name);
	return status == 0;
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const struct check *lists[] = { file_checks, name_checks };
	bool good = true;

	if (argc < 2 || chdir(argv[1])) {
		fprintf(stderr, "usage: posix_check DIRECTORY [NAME...]\n");
		return 2;
	}
	for (unsigned i = 0; i < 2; i++)
		for (const struct check *c = lists[i]; c->name; c++)
			if (wanted(c->name, argv + 2))
				good &= run_check(c);
	return !good;
}
