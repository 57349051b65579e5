/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and files as the medium of a namespace; see backing.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "base/num.h"
#include "tools/target/backing.h"
#include "tools/target/volatile.h"

#define PAGE 4096ull

__attribute__((format(printf, 4, 5)))
/* One line in why; returns err. */
static int refuse(int err, char *why, size_t len, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(why, len, format, ap);
	va_end(ap);
	return err;
}

/* NORESERVE: a namespace may be larger than memory as long as it is mostly empty. Memory has no name of its own, so
 * two ram: of a target differ by their numbers only (target.c, identity). */
static int open_ram(struct backing *b, const char *spec, char *why, size_t why_len)
{
	if (size_parse(spec, &b->size) || !b->size)
		return refuse(-EINVAL, why, why_len, "ram:%s: not a size (a number and K, M, G or T)", spec);
	b->ram = mmap(NULL, ROUND_UP(b->size, PAGE), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->ram == MAP_FAILED) {
		b->ram = NULL;
		return refuse(-errno, why, why_len, "ram:%s: %s", spec, strerror(errno));
	}
	madvise(b->ram, ROUND_UP(b->size, PAGE), MADV_HUGEPAGE); /* a wish: failing costs speed only */
	b->name = strdup("ram");
	return b->name ? 0 : -ENOMEM;
}

/* An existing file keeps its size; a new one gets what was asked for and is sparse. want 0: must exist. A size that
 * differs from what is there is refused: it may be another file than was meant. */
static int fit_file(struct backing *b, const char *path, uint64_t want, bool created, char *why, size_t why_len)
{
	struct stat st;

	if (fstat(b->fd, &st))
		return refuse(-errno, why, why_len, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(-ENODEV, why, why_len, "%s: not a regular file", path);
	b->size = (uint64_t)st.st_size;
	if (created || (want && !b->size)) {
		if (ftruncate(b->fd, (off_t)want))
			return refuse(-errno, why, why_len, "%s: cannot make it %llu bytes long: %s", path,
				      (unsigned long long)want, strerror(errno));
		b->size = want;
	}
	if (want && b->size != want)
		return refuse(-EEXIST, why, why_len, "%s: has %llu bytes, not the %llu asked for", path,
			      (unsigned long long)b->size, (unsigned long long)want);
	if (!b->size)
		return refuse(-ENODATA, why, why_len, "%s: is empty; give a size (file:%s:SIZE)", path, path);
	return 0;
}

/* O_EXCL, so that only a file which was really made here is cut to size. The lock goes with the descriptor. On
 * failure backing_open closes what is open. */
static int open_path(struct backing *b, const char *path, uint64_t want, char *why, size_t why_len)
{
	bool created = false;

	b->fd = open(path, O_RDWR | O_CLOEXEC);
	if (b->fd < 0 && errno == ENOENT && want) {
		b->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		created = b->fd >= 0;
	}
	if (b->fd < 0)
		return refuse(-errno, why, why_len, "%s: %s%s", path, strerror(errno),
			      errno == ENOENT && !want ? " (give a size to create it)" : "");
	/* Two targets on one file would each believe in their own cache. */
	if (flock(b->fd, LOCK_EX | LOCK_NB))
		return refuse(-errno, why, why_len, "%s: in use by another process", path);
	b->name = realpath(path, NULL);
	if (!b->name)
		return refuse(-errno, why, why_len, "%s: %s", path, strerror(errno));
	return fit_file(b, path, want, created, why, why_len);
}

/* "PATH:SIZE" if what follows the last colon is a size, else all of it is the path. -EINVAL is for the form of spec
 * only. */
static int open_file(struct backing *b, const char *spec, char *why, size_t why_len)
{
	const char *colon = strrchr(spec, ':');
	uint64_t want = 0;
	char *path;
	int err;

	if (colon && !size_parse(colon + 1, &want) && !want)
		return refuse(-EINVAL, why, why_len, "file:%s: size 0", spec);
	path = strndup(spec, want ? (size_t)(colon - spec) : strlen(spec));
	if (!path)
		return -ENOMEM;
	err = *path ? open_path(b, path, want, why, why_len)
		    : refuse(-EINVAL, why, why_len, "file:%s: no path", spec);
	free(path);
	return err;
}

/* Owned by b; it borrows the descriptor. */
static int add_cache(struct backing *b)
{
	struct volatile_cache *v = malloc(sizeof(*v));
	int err = v ? volatile_init(v, b->fd, b->size) : -ENOMEM;

	if (err)
		free(v);
	else
		b->cache = v;
	return err;
}

int backing_open(struct backing *b, const char *spec, bool losing, char *why, size_t why_len)
{
	int err;

	*b = (struct backing){ .fd = -1 };
	if (!strncmp(spec, "ram:", 4))
		err = open_ram(b, spec + 4, why, why_len);
	else if (!strncmp(spec, "file:", 5))
		err = open_file(b, spec + 5, why, why_len);
	else
		err = refuse(-EINVAL, why, why_len, "%s: neither ram:SIZE nor file:PATH[:SIZE]", spec);
	if (!err && losing && !b->ram)
		err = add_cache(b);
	if (err)
		backing_close(b);
	return err;
}

void backing_touch(struct backing *b)
{
	if (b->ram)
		memset(b->ram, 0, b->size);
}

/* Takes what backing_open left half done, too. Closing the descriptor releases the lock. */
void backing_close(struct backing *b)
{
	if (b->ram)
		munmap(b->ram, ROUND_UP(b->size, PAGE));
	if (b->cache)
		volatile_exit(b->cache);
	free(b->cache);
	if (b->fd >= 0)
		close(b->fd);
	free(b->name);
	*b = (struct backing){ .fd = -1 };
}

/* Memory needs no call at all where the front sends from its place (backing_place). */
int backing_read(struct backing *b, uint64_t offset, void *data, uint32_t len)
{
	if (b->ram) {
		memcpy(data, b->ram + offset, len);
		return 0;
	}
	if (b->cache)
		return volatile_read(b->cache, offset, data, len);
	while (len) {
		ssize_t n = pread(b->fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* shorter than it was: somebody cut the file */
			return n ? -errno : -EIO;
		data = (char *)data + n;
		offset += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

/* RWF_DSYNC makes this write durable without flushing what others left in the page cache. Memory is never durable,
 * and says nothing: who tests with it knows. */
int backing_write(struct backing *b, uint64_t offset, const void *data, uint32_t len, bool durable)
{
	if (b->ram) {
		if (data != b->ram + offset)
			memcpy(b->ram + offset, data, len);
		return 0;
	}
	if (b->cache)
		return volatile_write(b->cache, offset, data, len, durable);
	while (len) {
		struct iovec iov = { (void *)data, len };
		ssize_t n = pwritev2(b->fd, &iov, 1, (off_t)offset, durable ? RWF_DSYNC : 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		data = (const char *)data + n;
		offset += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

int backing_flush(struct backing *b)
{
	if (b->cache)
		return volatile_flush(b->cache);
	return b->ram || !fdatasync(b->fd) ? 0 : -errno;
}

/* Whole pages go back to the kernel, which hands out zeroed ones; the ends are cleared. */
static void zero_ram(struct backing *b, uint64_t offset, uint64_t len)
{
	uint64_t first = ROUND_UP(offset, PAGE), last = ROUND_DOWN(offset + len, PAGE);

	if (first >= last || madvise(b->ram + first, last - first, MADV_DONTNEED)) {
		memset(b->ram + offset, 0, len);
		return;
	}
	memset(b->ram + offset, 0, first - offset);
	memset(b->ram + last, 0, offset + len - last);
}

/* For file systems that cannot punch holes. */
static int zero_by_writing(struct backing *b, uint64_t offset, uint64_t len)
{
	static const uint8_t zeros[64 * KiB];
	int err = 0;

	while (len && !err) {
		uint32_t n = (uint32_t)MIN(len, sizeof(zeros));

		err = pwrite(b->fd, zeros, n, (off_t)offset) == (ssize_t)n ? 0 : -EIO;
		offset += n;
		len -= n;
	}
	return err;
}

/* The cache is emptied first, or its dirty pages would bring the old bytes back later. */
int backing_zero(struct backing *b, uint64_t offset, uint64_t len, bool durable)
{
	int err = 0;

	if (!len)
		return 0;
	if (b->ram) {
		zero_ram(b, offset, len);
		return 0;
	}
	err = b->cache ? volatile_forget(b->cache, offset, len) : 0;
	if (err)
		return err;
	if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len)) {
		if (errno != EOPNOTSUPP)
			return -errno;
		err = zero_by_writing(b, offset, len);
	}
	return err || !durable ? err : backing_flush(b);
}
