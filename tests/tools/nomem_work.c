/* SPDX-License-Identifier: Apache-2.0 */
/* Drives nvofs_nomem (nomem.c) through its control file.
 *
 *   nomem_work set CONTROL N [COUNT]      from now on the N-th allocation fails (and COUNT - 1 more); 0: none
 *   nomem_work get CONTROL                prints how many there were, how many failed, and where
 *   nomem_work run CONTROL DIRECTORY FIRST STEP ROUNDS
 *       rounds of many operations in DIRECTORY; in the first the allocation number FIRST fails, in the second number
 *       FIRST + STEP and some after it, and so on, until a round had fewer or ROUNDS are done
 *   nomem_work check DIRECTORY            what all rounds synced is there
 *
 * An operation that fails with ENOMEM (for fsync and close also EIO, which the kernel makes of it) must have done nothing:
 * it is done again, and then has to succeed. Exit code 1 when something is not so. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "fs/ctl.h"
#include "tests/tools/nomem.h"

enum { SMALL = 700, LARGE = 70000, LINK_TARGET = 300, MANY = 50 };

static struct nomem *control;
static unsigned round_no;
static uint64_t number;
static char dir[64], value[4000];

static void tell(const char *what, int line)
{
	fprintf(stderr, "nomem_work: round %u, allocation %llu, line %d: %s: %s\n", round_no, (unsigned long long)number, line, what,
		strerror(errno));
	if (control)
		for (unsigned i = 0; i < control->failed && i < NOMEM_PLACES; i++)
			fprintf(stderr, "  failed at %#llx\n", (unsigned long long)control->place[i]);
	exit(1);
}

#define CHECK(x) do { if (!(x)) tell(#x, __LINE__); } while (0)

/* x does something and is true if it could; the second time there is memory. */
#define TWICE(x) do { \
	if (!(x)) { \
		uint64_t from = control->from; \
		if (errno != ENOMEM) \
			tell(#x, __LINE__); \
		control->from = 0; \
		if (!(x)) \
			tell("again, " #x, __LINE__); \
		control->from = from; \
	} } while (0)

static const char *path(const char *name)
{
	static char text[4][128];
	static unsigned turn;
	char *p = text[turn++ % 4];

	snprintf(p, sizeof(text[0]), "%s/%s", dir, name);
	return p;
}

static void fill(unsigned char *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)((i * 2654435761u + seed * 40503u) >> 11);
}

/* A failed fsync leaves the kernel's pages clean: they are written again. One failure may be told by the fsync and then by the
 * next write as well (fs/fuse_writers.c). */
static bool write_synced(int fd, size_t len, off_t off, unsigned seed)
{
	static unsigned char buf[LARGE];
	bool good;

	fill(buf, len, seed);
	good = pwrite(fd, buf, len, off) == (ssize_t)len;
	if (!good && errno == ENOMEM)
		good = pwrite(fd, buf, len, off) == (ssize_t)len;
	good = good && fsync(fd) == 0;
	if (!good && errno == EIO)
		errno = ENOMEM;
	return good;
}

static bool has(int fd, size_t len, off_t off, unsigned seed)
{
	static unsigned char want[LARGE], buf[LARGE];

	fill(want, len, seed);
	for (size_t at = 0; at < len;) {
		ssize_t n = pread(fd, buf + at, len - at, off + (off_t)at);

		if (n <= 0) {
			errno = n ? errno : ENODATA;
			return false;
		}
		at += (size_t)n;
	}
	errno = EBADMSG;
	return !memcmp(want, buf, len);
}

static int create(const char *name)
{
	int fd = -1;

	TWICE((fd = open(path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) >= 0);
	return fd;
}

/* A write-back that failed meanwhile may be told here. */
static void close_file(int fd)
{
	CHECK(close(fd) == 0 || errno == ENOMEM || errno == EIO);
}

static bool list(const char *name, unsigned want)
{
	DIR *d = opendir(name);
	unsigned n = 0;
	int err;

	if (!d)
		return false;
	errno = 0;
	while (readdir(d))
		n++;
	err = errno;
	closedir(d);
	errno = err ? err : EBADMSG;
	return !err && n == want;
}

static bool status(void)
{
	static struct ctl_status s;
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r, err;

	if (fd < 0)
		return false;
	r = ioctl(fd, CTL_STATUS, &s);
	err = errno;
	close(fd);
	errno = err;
	return r == 0 && s.json[0] == '{';
}

static void do_files(void)
{
	int fd = create("a");

	TWICE(write_synced(fd, 5000, 0, round_no));
	TWICE(write_synced(fd, LARGE, 8192, round_no + 1));
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	TWICE(has(fd, LARGE, 8192, round_no + 1));
	TWICE(ftruncate(fd, 30000) == 0);
	TWICE(ftruncate(fd, 8192 + LARGE) == 0);
	TWICE(write_synced(fd, LARGE, 8192, round_no + 2));
	TWICE(write_synced(fd, 777, 20000, round_no + 3));
	close_file(fd);
	fd = create("b");
	TWICE(write_synced(fd, SMALL, 0, round_no));
	close_file(fd);
}

static void do_names(void)
{
	char target[LINK_TARGET + 1];
	struct statvfs st;
	struct stat s;
	int fd;

	TWICE(rename(path("b"), path("c")) == 0);
	TWICE(link(path("a"), path("l")) == 0);
	memset(target, 't', LINK_TARGET);
	target[LINK_TARGET] = 0;
	TWICE(symlink(target, path("s")) == 0);
	TWICE(mkdir(path("sub"), 0755) == 0);
	close_file(create("sub/x"));
	TWICE(rename(path("sub/x"), path("x")) == 0);
	TWICE(rmdir(path("sub")) == 0);
	/* open and without a name: reaped when it is closed */
	TWICE((fd = open(path("x"), O_RDWR | O_CLOEXEC)) >= 0);
	TWICE(write_synced(fd, LARGE, 0, 1));
	TWICE(unlink(path("x")) == 0);
	TWICE(has(fd, LARGE, 0, 1));
	close_file(fd);
	TWICE(stat(path("c"), &s) == 0);
	CHECK(s.st_size == SMALL && s.st_nlink == 1);
	TWICE(chmod(path("c"), 0600) == 0);
	TWICE(statvfs(dir, &st) == 0);
	TWICE(list(dir, 6)); /* a, c, l, s, . and .. */
}

static void do_attributes(void)
{
	char text[5000];

	TWICE(setxattr(path("a"), "user.one", value, 100, 0) == 0);
	TWICE(setxattr(path("a"), "user.two", value, sizeof(value), XATTR_CREATE) == 0);
	TWICE(getxattr(path("a"), "user.two", text, sizeof(text)) == sizeof(value));
	TWICE(listxattr(path("a"), text, sizeof(text)) > 0);
	TWICE(removexattr(path("a"), "user.one") == 0);
	TWICE(status());
}

static bool readlink_right(void)
{
	char text[512];
	ssize_t n = readlink(path("s"), text, sizeof(text));

	if (n >= 0)
		errno = EBADMSG;
	return n == LINK_TARGET && text[n - 1] == 't';
}

/* What the round has left: everything was synced, the directory last. */
static void verify(void)
{
	char text[5000];
	struct stat s;
	int fd;

	CHECK((fd = open(path("a"), O_RDONLY | O_CLOEXEC)) >= 0);
	CHECK(has(fd, 5000, 0, round_no));
	CHECK(has(fd, 20000 - 8192, 8192, round_no + 2));
	CHECK(has(fd, 777, 20000, round_no + 3));
	CHECK(fstat(fd, &s) == 0 && s.st_size == 8192 + LARGE && s.st_nlink == 2);
	CHECK(fgetxattr(fd, "user.two", text, sizeof(text)) == sizeof(value) && !memcmp(text, value, sizeof(value)));
	CHECK(fgetxattr(fd, "user.one", text, sizeof(text)) < 0 && errno == ENODATA);
	close(fd);
	CHECK((fd = open(path("c"), O_RDONLY | O_CLOEXEC)) >= 0);
	CHECK(has(fd, SMALL, 0, round_no));
	close(fd);
	CHECK(readlink_right());
	CHECK(list(dir, 6));
}

static void arm(uint64_t n, uint64_t count)
{
	control->from = 0;
	control->seen = control->failed = 0;
	control->count = count;
	control->from = n;
}

static bool sync_dir(void)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r, err;

	if (fd < 0)
		return false;
	r = fsync(fd);
	err = errno;
	close(fd);
	errno = err == EIO ? ENOMEM : err;
	return r == 0;
}

static void one_round(void)
{
	arm(number, round_no % 2 ? MANY : 1);
	snprintf(dir, sizeof(dir), "d.%u", round_no);
	TWICE(mkdir(dir, 0755) == 0);
	do_files();
	do_names();
	do_attributes();
	TWICE(readlink_right());
	TWICE(sync_dir());
	control->from = 0;
	verify();
}

static int run(char **argv)
{
	unsigned rounds = (unsigned)atoi(argv[4]), left = rounds;
	uint64_t step = strtoull(argv[3], NULL, 0);
	bool reached = true;

	CHECK(chdir(argv[1]) == 0);
	number = strtoull(argv[2], NULL, 0);
	while (access((snprintf(dir, sizeof(dir), "d.%u", round_no), dir), F_OK) == 0)
		round_no++;
	for (; reached && left; left--, round_no++, number += step) {
		one_round();
		reached = control->seen >= number;
	}
	printf("%u rounds, the last with allocation %llu of %llu\n", rounds - left, (unsigned long long)(number - step),
	       (unsigned long long)control->seen);
	return 0;
}

static int check(const char *where)
{
	CHECK(chdir(where) == 0);
	for (round_no = 0;; round_no++) {
		snprintf(dir, sizeof(dir), "d.%u", round_no);
		if (access(dir, F_OK))
			break;
		verify();
	}
	CHECK(errno == ENOENT);
	printf("%u rounds are there\n", round_no);
	return 0;
}

static void attach(const char *file)
{
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && ftruncate(fd, sizeof(*control)) == 0);
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(control != MAP_FAILED);
	close(fd);
}

static int get(void)
{
	printf("%llu %llu", (unsigned long long)control->seen, (unsigned long long)control->failed);
	for (unsigned i = 0; i < control->failed && i < NOMEM_PLACES; i++)
		printf(" %#llx", (unsigned long long)control->place[i]);
	printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	memset(value, 'v', sizeof(value));
	if (!strcmp(verb, "check"))
		return check(argv[2]);
	if (*verb)
		attach(argv[2]);
	if (!strcmp(verb, "set") && argc > 3)
		arm(strtoull(argv[3], NULL, 0), argc > 4 ? strtoull(argv[4], NULL, 0) : 1);
	else if (!strcmp(verb, "get"))
		return get();
	else if (!strcmp(verb, "run") && argc == 7)
		return run(argv + 2);
	else
		return 2;
	return 0;
}
