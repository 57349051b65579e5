/* SPDX-License-Identifier: Apache-2.0 */
/* io_speed read|write|randread|randwrite FILE BLOCK COUNT[:SECONDS] [THREADS [direct]]: COUNT blocks, or as many as there is
 * time for, by THREADS threads (each has one request under way), over the whole file. io_speed memcpy - BLOCK COUNT: what
 * memory allows. Prints "MB/s IOPS" and nothing else. Sequential threads take turns block by block. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct job {
	int fd;
	bool write, random;
	uint64_t blocks; /* that fit into the file */
	uint64_t count;
	double seconds; /* limit; 0: none */
	double end;
	size_t block;
	_Atomic uint64_t next, done;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *memory(size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (mem == MAP_FAILED) {
		perror("io_speed");
		exit(1);
	}
	return mem;
}

/* SplitMix64: the n-th place is the same in every run. */
static uint64_t place(uint64_t n)
{
	n = (n + 1) * 0x9e3779b97f4a7c15ull;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9ull;
	n = (n ^ n >> 27) * 0x94d049bb133111ebull;
	return n ^ n >> 31;
}

static void *work(void *arg)
{
	struct job *j = arg;
	char *mem = memory(j->block);
	uint64_t n;

	memset(mem, 0x5a, j->block);
	while ((n = atomic_fetch_add(&j->next, 1)) < j->count) {
		off_t at = (off_t)((j->random ? place(n) % j->blocks : n % j->blocks) * j->block);
		ssize_t did = j->write ? pwrite(j->fd, mem, j->block, at) : pread(j->fd, mem, j->block, at);

		if (did != (ssize_t)j->block) {
			fprintf(stderr, "io_speed: at %lld: %s\n", (long long)at, did < 0 ? strerror(errno) : "short");
			exit(1);
		}
		atomic_fetch_add(&j->done, 1);
		if (j->seconds > 0 && now() > j->end)
			break;
	}
	munmap(mem, j->block);
	return NULL;
}

static void report(double seconds, size_t block, uint64_t count)
{
	printf("%.1f %.0f\n", (double)block * (double)count / seconds / 1e6, (double)count / seconds);
}

/* Source and destination are larger than the caches, like the data of a long copy. */
static void copy_memory(size_t block, uint64_t count)
{
	size_t len = 256u << 20;
	char *from = memory(len), *to = memory(len);
	double start;

	memset(from, 1, len);
	memset(to, 2, len);
	start = now();
	for (uint64_t n = 0; n < count; n++) {
		size_t at = n % (len / block) * block;

		memcpy(to + at, from + at, block);
	}
	report(now() - start, block, count);
}

static int run(struct job *j, unsigned threads)
{
	pthread_t ids[256];
	double start = now();

	j->end = start + j->seconds;
	if (threads == 1)
		work(j);
	else
		for (unsigned i = 0; i < threads; i++)
			if (pthread_create(&ids[i], NULL, work, j))
				return 1;
	for (unsigned i = 0; threads > 1 && i < threads; i++)
		pthread_join(ids[i], NULL);
	if (j->write && fsync(j->fd)) {
		perror("io_speed: fsync");
		return 1;
	}
	report(now() - start, j->block, j->done);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned threads = argc > 5 ? (unsigned)atoi(argv[5]) : 1;
	struct job j = { 0 };
	char *end;

	if (argc < 5 || argc > 7 || threads < 1 || threads > 256) {
		fprintf(stderr, "usage: io_speed read|write|randread|randwrite|memcpy FILE BLOCK COUNT[:SECONDS] [THREADS [direct]]\n");
		return 2;
	}
	j.block = strtoull(argv[3], NULL, 10);
	j.count = strtoull(argv[4], &end, 10);
	j.seconds = *end == ':' ? strtod(end + 1, NULL) : 0;
	if (strcmp(argv[1], "memcpy") == 0) {
		copy_memory(j.block, j.count);
		return 0;
	}
	j.write = strstr(argv[1], "write") != NULL;
	j.random = strncmp(argv[1], "rand", 4) == 0;
	j.fd = open(argv[2], (j.write ? O_RDWR : O_RDONLY) | (argc > 6 ? O_DIRECT : 0));
	if (j.fd < 0) {
		perror(argv[2]);
		return 1;
	}
	j.blocks = (uint64_t)lseek(j.fd, 0, SEEK_END) / j.block; /* st_size of a block device is 0 */
	if (!j.blocks) {
		fprintf(stderr, "io_speed: %s is shorter than a block\n", argv[2]);
		return 1;
	}
	return run(&j, threads);
}
