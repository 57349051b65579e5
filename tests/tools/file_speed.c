/* SPDX-License-Identifier: Apache-2.0 */
/* file_speed create|stat|unlink FOLDER COUNT BYTES: that many small files, one after the other, by one thread; create and
 * unlink end with syncfs(2). Prints files per second and nothing else. Knows nothing of nvofs. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char data[65536];

static int create(const char *name, size_t bytes)
{
	int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);

	if (fd < 0)
		return -1;
	if (write(fd, data, bytes) != (ssize_t)bytes) {
		close(fd);
		return -1;
	}
	return close(fd);
}

static int one(char what, const char *name, size_t bytes)
{
	struct stat st;

	switch (what) {
	case 'c':
		return create(name, bytes);
	case 's':
		return stat(name, &st);
	default:
		return unlink(name);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* 0, or the first that failed has been told. */
static int all(char what, unsigned long count, size_t bytes)
{
	char name[32];
	int folder;

	for (unsigned long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "small-%lu", i);
		if (one(what, name, bytes)) {
			perror(name);
			return 1;
		}
	}
	if (what == 's')
		return 0;
	folder = open(".", O_RDONLY | O_DIRECTORY);
	if (folder < 0 || syncfs(folder)) {
		perror("syncfs");
		return 1;
	}
	return close(folder);
}

int main(int argc, char **argv)
{
	double begin;
	size_t bytes;

	if (argc != 5 || !strchr("csu", argv[1][0]) || chdir(argv[2])) {
		fprintf(stderr, "file_speed create|stat|unlink FOLDER COUNT BYTES\n");
		return 2;
	}
	bytes = strtoul(argv[4], NULL, 10);
	memset(data, 'x', sizeof(data));
	begin = now();
	if (bytes > sizeof(data) || all(argv[1][0], strtoul(argv[3], NULL, 10), bytes))
		return 1;
	printf("%.1f\n", strtod(argv[3], NULL) / (now() - begin));
	return 0;
}
