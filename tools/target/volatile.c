/* SPDX-License-Identifier: Apache-2.0 */
/* Which bytes are where, under lock: a dirty page's are in pages, all others in the file.
 *  1. A page becomes dirty only with all its bytes there: a part of one is completed from the file first.
 *  2. dirty pages lie in [first, last); the bounds only grow until a flush resets them.
 *  3. Readers share the lock; everything that changes takes it alone, file I/O included. It is a tool for tests:
 *     slow and simple. */
/* A volatile write cache in front of a file; see volatile.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/num.h"
#include "tools/target/volatile.h"

#define PAGE 4096ull

/* The seed of chance is fixed, so that a run can be repeated. */
int volatile_init(struct volatile_cache *v, int fd, uint64_t size)
{
	uint64_t nr = DIV_UP(size, PAGE);

	*v = (struct volatile_cache){ .fd = fd, .size = size, .first = nr, .chance = 88172645463325252ull };
	v->dirty = calloc(1, DIV_UP(nr, 8));
	v->pages = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!v->dirty || v->pages == MAP_FAILED) {
		free(v->dirty);
		if (v->pages != MAP_FAILED)
			munmap(v->pages, nr * PAGE);
		return -ENOMEM;
	}
	pthread_rwlock_init(&v->lock, NULL);
	return 0;
}

/* Without a flush, what is dirty is lost; the caller has flushed if it wanted to (target_exit). */
void volatile_exit(struct volatile_cache *v)
{
	munmap(v->pages, ROUND_UP(v->size, PAGE));
	free(v->dirty);
	pthread_rwlock_destroy(&v->lock);
}

static bool is_dirty(const struct volatile_cache *v, uint64_t page)
{
	return v->dirty[page / 8] >> page % 8 & 1;
}

static void set_dirty(struct volatile_cache *v, uint64_t page, bool dirty)
{
	v->dirty[page / 8] &= (uint8_t)~(1 << page % 8);
	v->dirty[page / 8] |= (uint8_t)(dirty << page % 8);
	if (!dirty)
		return;
	v->first = MIN(v->first, page);
	v->last = MAX(v->last, page + 1);
}

static bool any_dirty(const struct volatile_cache *v, uint64_t offset, uint64_t len)
{
	for (uint64_t p = offset / PAGE; p < DIV_UP(offset + len, PAGE); p++)
		if (is_dirty(v, p))
			return true;
	return false;
}

/* Into the kernel's page cache: that survives the death of a process, which is the death that is played here. */
static int file_io(struct volatile_cache *v, uint64_t offset, void *data, uint64_t len, bool write)
{
	while (len) {
		ssize_t n = write ? pwrite(v->fd, data, len, (off_t)offset) : pread(v->fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		data = (uint8_t *)data + n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* Bytes of a page; the last may be short. */
static uint64_t page_len(const struct volatile_cache *v, uint64_t page)
{
	return MIN(PAGE, v->size - page * PAGE);
}

/* Writes the dirty pages of [first, last) to the file. */
static int write_back(struct volatile_cache *v, uint64_t first, uint64_t last)
{
	for (uint64_t p = first; p < last; p++) {
		int err = is_dirty(v, p) ? file_io(v, p * PAGE, v->pages + p * PAGE, page_len(v, p), true) : 0;

		if (err)
			return err;
		set_dirty(v, p, false);
	}
	return 0;
}

/* Page by page, since each may be in the other place. */
int volatile_read(struct volatile_cache *v, uint64_t offset, void *data, uint32_t len)
{
	int err = 0;

	pthread_rwlock_rdlock(&v->lock);
	while (len && !err) {
		uint32_t n = (uint32_t)MIN(len, PAGE - offset % PAGE);

		if (is_dirty(v, offset / PAGE))
			memcpy(data, v->pages + offset, n);
		else
			err = file_io(v, offset, data, n, false);
		data = (uint8_t *)data + n;
		offset += n;
		len -= n;
	}
	pthread_rwlock_unlock(&v->lock);
	return err;
}

/* Pages that are written only in part are completed from the file first. */
static int cache_write(struct volatile_cache *v, uint64_t offset, const void *data, uint32_t len)
{
	int err = 0;

	while (len && !err) {
		uint64_t page = offset / PAGE;
		uint32_t n = (uint32_t)MIN(len, PAGE - offset % PAGE);

		if (n < page_len(v, page) && !is_dirty(v, page))
			err = file_io(v, page * PAGE, v->pages + page * PAGE, page_len(v, page), false);
		if (err)
			break;
		memcpy(v->pages + offset, data, n);
		set_dirty(v, page, true);
		data = (const uint8_t *)data + n;
		offset += n;
		len -= n;
	}
	return err;
}

/* Half of the calls. Lock held alone. */
static bool by_chance(struct volatile_cache *v)
{
	v->chance ^= v->chance << 13; /* xorshift */
	v->chance ^= v->chance >> 7;
	v->chance ^= v->chance << 17;
	return v->chance >> 40 & 1;
}

/* A write straight to the file may not pass by a dirty page: its older bytes would win at the next flush. Durable
 * ones go through the cache for the same reason, and out of it at once. */
int volatile_write(struct volatile_cache *v, uint64_t offset, const void *data, uint32_t len, bool durable)
{
	int err;

	pthread_rwlock_wrlock(&v->lock);
	if (!durable && by_chance(v) && !any_dirty(v, offset, len)) {
		err = file_io(v, offset, (void *)data, len, true);
		goto out_unlock;
	}
	err = cache_write(v, offset, data, len);
	if (err || !durable)
		goto out_unlock;
	err = write_back(v, offset / PAGE, DIV_UP(offset + len, PAGE));
	if (!err && fdatasync(v->fd))
		err = -errno;
out_unlock:
	pthread_rwlock_unlock(&v->lock);
	return err;
}

/* What reached the file by chance needs the fdatasync as well. */
int volatile_flush(struct volatile_cache *v)
{
	int err = 0;

	pthread_rwlock_wrlock(&v->lock);
	if (v->first < v->last)
		err = write_back(v, v->first, v->last);
	if (!err) {
		v->first = DIV_UP(v->size, PAGE);
		v->last = 0;
	}
	pthread_rwlock_unlock(&v->lock);
	return err ? err : fdatasync(v->fd) ? -errno : 0;
}

int volatile_forget(struct volatile_cache *v, uint64_t offset, uint64_t len)
{
	int err;

	pthread_rwlock_wrlock(&v->lock);
	/* What else is in the pages at the ends has to stay. */
	err = write_back(v, offset / PAGE, offset / PAGE + 1);
	if (!err)
		err = write_back(v, (offset + len - 1) / PAGE, (offset + len - 1) / PAGE + 1);
	for (uint64_t p = offset / PAGE; p < DIV_UP(offset + len, PAGE); p++)
		set_dirty(v, p, false);
	pthread_rwlock_unlock(&v->lock);
	return err;
}
