/* SPDX-License-Identifier: Apache-2.0 */
/* posix_check: the contents of files: sparse, direct, mapped, truncated, unlinked while open, and their times. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "tests/tools/posix_check.h"

static int all_zero(int fd, off_t from, size_t len)
{
	char buf[4096];

	for (; len; len -= sizeof(buf), from += sizeof(buf)) {
		if (pread(fd, buf, sizeof(buf), from) != sizeof(buf))
			return 0;
		for (unsigned i = 0; i < sizeof(buf); i++)
			if (buf[i])
				return 0;
	}
	return 1;
}

/* Writes at odd places far apart; what lies between is zero and takes no space. */
static void sparse(void)
{
	int fd = file_open("f", O_RDWR | O_CREAT);
	struct stat st;

	file_fill(fd, 10000000001ull, 12345, 1);
	file_fill(fd, 4095, 2, 2);
	file_fill(fd, 1048576 + 17, 70000, 3);
	CHECK(fsync(fd) == 0);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 10000000001ll + 12345);
	close(fd); /* FUSE with write-back asks for the blocks again only then */
	fd = file_open("f", O_RDONLY);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 10000000001ll + 12345);
	CHECK(st.st_blocks * 512 < 1024 * 1024 && st.st_blocks > 0);
	CHECK(file_has(fd, 10000000001ull, 12345, 1) && file_has(fd, 4095, 2, 2) && file_has(fd, 1048576 + 17, 70000, 3));
	CHECK(all_zero(fd, 8192, 65536) && all_zero(fd, 5000000000ll, 65536));
}

/* What was written a moment ago is data to whoever looks for holes, though no block of it was allocated yet. */
static void seek_unwritten(void)
{
	int fd = file_open("f", O_RDWR | O_CREAT), ro;
	const off_t at = 1 << 20;

	file_fill(fd, (size_t)at, 5000, 1);
	ro = open("f", O_RDONLY);
	CHECK(ro >= 0 && lseek(ro, 0, SEEK_DATA) >= 0 && lseek(ro, 0, SEEK_DATA) <= at);
	CHECK(lseek(ro, at, SEEK_HOLE) >= at + 5000);
	file_fill(fd, 8192, 10, 2);
	CHECK(lseek(ro, 0, SEEK_DATA) <= 8192);
	CHECK(file_has(ro, (size_t)at, 5000, 1) && file_has(ro, 8192, 10, 2));
}

/* Every length and offset around block borders, overlapping; the last writer wins byte by byte. */
static void overwrite(void)
{
	static unsigned char model[40000], buf[40000];
	int fd = file_open("f", O_RDWR | O_CREAT);
	unsigned seed = 12345;
	size_t size = 0;

	for (unsigned n = 0; n < 400; n++) {
		size_t at = (seed = seed * 1103515245 + 12345) % 30000, len = 1 + (seed >> 8) % 9000;

		memset(model + at, (int)(1 + n % 255), len);
		memset(buf, (int)(1 + n % 255), len);
		CHECK(pwrite(fd, buf, len, (off_t)at) == (ssize_t)len);
		size = size > at + len ? size : at + len;
		if (n % 50 == 49)
			CHECK(fdatasync(fd) == 0);
	}
	CHECK(pread(fd, buf, sizeof(buf), 0) == (ssize_t)size && memcmp(buf, model, size) == 0);
}

/* Bytes beyond a shorter end never come back. */
static void truncated(void)
{
	int fd = file_open("f", O_RDWR | O_CREAT);
	struct stat st;
	char c;

	file_fill(fd, 0, 200000, 1);
	CHECK(ftruncate(fd, 5000) == 0 && ftruncate(fd, 200000) == 0);
	CHECK(file_has(fd, 0, 5000, 1) && all_zero(fd, 5000, 4096 * 40));
	CHECK(ftruncate(fd, 100) == 0 && pwrite(fd, "x", 1, 10000) == 1);
	CHECK(all_zero(fd, 100, 8192) && fstat(fd, &st) == 0 && st.st_size == 10001);
	close(fd);
	fd = file_open("f", O_RDWR | O_TRUNC);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 0 && read(fd, &c, 1) == 0);
	CHECK(truncate("f", 3ll << 40) == 0 && stat("f", &st) == 0 && st.st_size == 3ll << 40);
	CHECK(st.st_blocks < 64);
}

static void append(void)
{
	int a = file_open("f", O_WRONLY | O_CREAT | O_APPEND), b = file_open("f", O_WRONLY | O_APPEND);
	char buf[13] = { 0 };

	CHECK(write(a, "one ", 4) == 4 && write(b, "two ", 4) == 4 && write(a, "three", 4) == 4);
	CHECK(pread(file_open("f", O_RDONLY), buf, 13, 0) == 12 && strcmp(buf, "one two thre") == 0);
}

/* Aligned direct I/O agrees with the page cache in both directions. */
static void direct(void)
{
	size_t len = 1 << 20;
	int fd = file_open("f", O_RDWR | O_CREAT), raw = open("f", O_RDWR | O_DIRECT);
	unsigned char *mem;

	if (raw < 0)
		check_skip("no O_DIRECT here");
	CHECK(posix_memalign((void **)&mem, 4096, len) == 0);
	file_fill(fd, 0, len, 1);
	CHECK(pread(raw, mem, len, 0) == (ssize_t)len);
	CHECK(pwrite(raw, mem, len, (off_t)len) == (ssize_t)len);
	CHECK(file_has(fd, 0, len, 1));
	memset(mem, 'd', 8192);
	CHECK(pwrite(raw, mem, 8192, 4096) == 8192 && pread(fd, mem, 4096, 4096) == 4096 && mem[0] == 'd' && mem[4095] == 'd');
	CHECK(pread(raw, mem, 4096, (off_t)(2 * len)) == 0);
	CHECK(ftruncate(fd, 6000) == 0 && pread(raw, mem, 8192, 0) == 6000);
}

/* Two shared mappings, the file, and a reader through another descriptor see the same bytes. */
static void mapped(void)
{
	size_t len = 300000;
	int fd = file_open("f", O_RDWR | O_CREAT), other;
	unsigned char *a, *b, c;

	file_fill(fd, 0, len, 1);
	a = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	b = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(a != MAP_FAILED && b != MAP_FAILED);
	memset(a + 5000, 'm', 100000);
	CHECK(b[5000] == 'm' && b[104999] == 'm');
	CHECK(msync(a, len, MS_SYNC) == 0);
	other = file_open("f", O_RDONLY);
	CHECK(pread(other, &c, 1, 104999) == 1 && c == 'm');
	CHECK(file_has(other, 0, 5000, 1) && file_has(other, 105000, len - 105000, 1));
	CHECK(pwrite(fd, "W", 1, 7) == 1 && a[7] == 'W');
	CHECK(munmap(a, len) == 0 && munmap(b, len) == 0);
	a = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(a != MAP_FAILED && a[5000] == 'm');
	a[5000] = 'p';
	CHECK(pread(fd, a, 1, 5000) == 1 && a[0] == 'm');
}

static void unlinked(void)
{
	int fd = file_open("f", O_RDWR | O_CREAT);
	struct stat st;

	file_fill(fd, 0, 500000, 1);
	CHECK(unlink("f") == 0 && access("f", F_OK) == -1);
	CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 500000);
	file_fill(fd, 500000, 100000, 1);
	CHECK(file_has(fd, 0, 600000, 1) && fsync(fd) == 0);
	close(file_open("f", O_WRONLY | O_CREAT | O_EXCL));
	CHECK(stat("f", &st) == 0 && st.st_size == 0);
}

static int same(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static void times(void)
{
	struct timespec set[2] = { { 1234567890, 123456789 }, { -86400 * 365, 987654321 } };
	struct timespec far[2] = { { 4102444800, 1 }, { 0, UTIME_OMIT } };
	int fd = file_open("f", O_RDWR | O_CREAT);
	struct stat a, b;

	CHECK(futimens(fd, set) == 0 && fstat(fd, &a) == 0);
	CHECK(same(a.st_atim, set[0]) && same(a.st_mtim, set[1]));
	CHECK(utimensat(AT_FDCWD, "f", far, 0) == 0 && stat("f", &b) == 0);
	CHECK(same(b.st_atim, far[0]) && same(b.st_mtim, set[1]));
	CHECK(symlink("f", "l") == 0 && utimensat(AT_FDCWD, "l", set, AT_SYMLINK_NOFOLLOW) == 0);
	CHECK(lstat("l", &b) == 0 && same(b.st_mtim, set[1]) && stat("f", &b) == 0 && same(b.st_atim, far[0]));
	usleep(20000);
	CHECK(fchmod(fd, 0600) == 0 && fstat(fd, &b) == 0 && same(b.st_mtim, a.st_mtim) && !same(b.st_ctim, a.st_ctim));
	CHECK(write(fd, "x", 1) == 1 && fsync(fd) == 0 && fstat(fd, &b) == 0 && !same(b.st_mtim, a.st_mtim));
}

static void directory_times(void)
{
	struct stat a, b;

	CHECK(mkdir("d", 0755) == 0 && stat("d", &a) == 0 && a.st_nlink == 2);
	usleep(20000);
	close(file_open("d/f", O_CREAT | O_WRONLY));
	CHECK(stat("d", &b) == 0 && !same(a.st_mtim, b.st_mtim) && !same(a.st_ctim, b.st_ctim));
	CHECK(mkdir("d/e", 0755) == 0 && stat("d", &b) == 0 && b.st_nlink == 3);
	CHECK(rmdir("d/e") == 0 && stat("d", &b) == 0 && b.st_nlink == 2);
}

/* A file of n MiB takes n MiB (and little more) of the free space and gives all of it back; the two changes take place
 * within the time an implementation may need to free in the background. */
static void space(void)
{
	enum { MB = 8 };
	struct statvfs before, during, after;
	int fd = file_open("f", O_RDWR | O_CREAT);
	unsigned tries = 0;
	long long used;

	CHECK(statvfs(".", &before) == 0 && before.f_bsize >= 512 && before.f_frsize >= 512 && before.f_namemax == 255);
	CHECK(before.f_bavail <= before.f_bfree && before.f_bfree <= before.f_blocks && before.f_blocks > 0);
	file_fill(fd, 0, MB << 20, 1);
	CHECK(fsync(fd) == 0 && statvfs(".", &during) == 0);
	used = (long long)(before.f_bfree - during.f_bfree) * (long long)before.f_frsize;
	if (used < 0 || used > (long long)(MB + 8) << 20)
		check_skip("somebody else is writing here");
	CHECK(used >= (long long)MB << 20);
	CHECK(close(fd) == 0 && unlink("f") == 0);
	do {
		usleep(200000);
		CHECK(statvfs(".", &after) == 0);
	} while (after.f_bfree * after.f_frsize + (1 << 20) < before.f_bfree * before.f_frsize && tries++ < 100);
	CHECK(tries < 100);
}

static void access_modes(void)
{
	int fd = file_open("f", O_WRONLY | O_CREAT), ro;
	char c = 'x';

	CHECK(write(fd, "hello world", 11) == 11);
	CHECK_ERR(read(fd, &c, 1), EBADF);
	CHECK(pwrite(fd, "J", 1, 0) == 1); /* a partial page through a descriptor that may not read */
	ro = file_open("f", O_RDONLY);
	CHECK_ERR(write(ro, &c, 1), EBADF);
	CHECK(read(ro, &c, 1) == 1 && c == 'J' && lseek(ro, 0, SEEK_END) == 11);
	CHECK_ERR(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	CHECK_ERR(open("f", O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
	CHECK_ERR(open("f/x", O_RDONLY), ENOTDIR);
	CHECK_ERR(open("missing", O_RDONLY), ENOENT);
	CHECK_ERR(open(".", O_RDWR), EISDIR);
}

static void allocate(void)
{
	int fd = file_open("f", O_RDWR | O_CREAT);
	struct stat st;

	if (posix_fallocate(fd, 0, 1 << 20) != 0)
		check_skip("no fallocate here");
	CHECK(fstat(fd, &st) == 0 && st.st_size == 1 << 20 && all_zero(fd, 0, 1 << 20));
}

const struct check file_checks[] = {
	{ "sparse", sparse },
	{ "seek_unwritten", seek_unwritten },
	{ "overwrite", overwrite },
	{ "truncated", truncated },
	{ "append", append },
	{ "direct", direct },
	{ "mapped", mapped },
	{ "unlinked", unlinked },
	{ "times", times },
	{ "directory_times", directory_times },
	{ "space", space },
	{ "access_modes", access_modes },
	{ "allocate", allocate },
	{ NULL, NULL },
};
