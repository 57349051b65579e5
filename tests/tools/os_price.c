/* SPDX-License-Identifier: Apache-2.0 */
/* os_price syscall|clock|wake COUNT, os_price request COUNT FILE: what the machine takes for it, in microseconds, on average
 * of COUNT. syscall: getppid(2). clock: clock_gettime(CLOCK_BOOTTIME), a system call where there is no vDSO. wake: a byte to
 * a process that sleeps in read(2) on a pipe, until it has it (a write, a read and a change of process). request: asking for
 * an extended attribute that FILE lacks; no kernel remembers that for a FUSE file system, so it is a request and a reply,
 * without data and without I/O. Prints one number. Knows nothing of nvofs. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static bool syscalls(unsigned long count)
{
	while (count--)
		syscall(SYS_getppid);
	return true;
}

static bool clocks(unsigned long count)
{
	struct timespec t;

	while (count--)
		if (clock_gettime(CLOCK_BOOTTIME, &t))
			return false;
	return true;
}

static bool requests(int fd, unsigned long count)
{
	char value[16];

	while (count--)
		if (fgetxattr(fd, "user.none", value, sizeof(value)) >= 0 || errno != ENODATA)
			return false;
	return true;
}

/* Returns each byte that it gets, until the other end is closed. */
static void echo(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1)
		;
	_exit(0);
}

/* COUNT messages, every other one is the answer. */
static bool wakes(unsigned long count)
{
	int there[2], back[2];
	bool ok = true;
	char byte = 0;
	pid_t pid;

	if (pipe(there) || pipe(back) || (pid = fork()) < 0)
		return false;
	if (!pid) {
		close(there[1]);
		echo(there[0], back[1]);
	}
	for (unsigned long i = 0; ok && i < count; i += 2)
		ok = write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1;
	close(there[1]);
	return waitpid(pid, NULL, 0) == pid && ok;
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	int fd = argc > 3 ? open(argv[3], O_RDONLY) : -1;
	double begin = now();
	bool ok;

	if (!count || (argv[1][0] == 'r') != (argc == 4) || !strchr("scwr", argv[1][0])) {
		fprintf(stderr, "usage: os_price syscall|clock|wake COUNT, os_price request COUNT FILE\n");
		return 2;
	}
	switch (argv[1][0]) {
	case 's': ok = syscalls(count); break;
	case 'c': ok = clocks(count); break;
	case 'w': ok = wakes(count); break;
	default: ok = requests(fd, count); break;
	}
	if (!ok) {
		fprintf(stderr, "os_price %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	printf("%.2f\n", (now() - begin) / (double)count);
	return 0;
}
