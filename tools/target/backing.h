/* SPDX-License-Identifier: Apache-2.0 */
/* What a namespace's bytes lie in: anonymous memory (ram:SIZE) or a sparse file (file:PATH[:SIZE]). Any number of
 * threads may read and write at once; two writes of the same bytes at once leave either, as NVMe has it. */
#ifndef NVOFS_TARGET_BACKING_H
#define NVOFS_TARGET_BACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct volatile_cache;

struct backing {
	uint64_t size;
	uint8_t *ram;     /* NULL for a file */
	int fd;           /* -1 for memory */
	struct volatile_cache *cache; /* NULL: the kernel's page cache, which a killed process does not lose */
	char *name;       /* "ram" or the file's absolute path: what the namespace's identity is derived from */
};

/* spec as on the command line; losing: put a volatile cache in front of a file. 0, or a negative errno (-EINVAL:
 * it is no such specification) and one line in why. A file stays locked (flock) while open. */
int backing_open(struct backing *, const char *spec, bool losing, char *why, size_t why_len);
/* Memory that is not there yet comes with its first use, at the price of a page fault in somebody's write: all of it now,
 * for those who measure. Files are left alone. */
void backing_touch(struct backing *);
void backing_close(struct backing *);
/* All ranges lie inside size (the caller checked). 0 or -errno. */
int backing_read(struct backing *, uint64_t offset, void *data, uint32_t len);
/* durable: on the medium when this returns. data may be the place itself (backing_place): then nothing is moved. */
int backing_write(struct backing *, uint64_t offset, const void *data, uint32_t len, bool durable);
int backing_flush(struct backing *);
/* The range reads as zeros afterwards; memory is given back where possible. */
int backing_zero(struct backing *, uint64_t offset, uint64_t len, bool durable);
/* Where the bytes are in memory, or NULL. */
static inline void *backing_place(const struct backing *b, uint64_t offset)
{
	return b->ram ? b->ram + offset : NULL;
}

#endif
