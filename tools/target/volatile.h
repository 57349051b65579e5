/* SPDX-License-Identifier: Apache-2.0 */
/* A volatile write cache in front of a file, which a killed process really loses: that is what it is for. Completed
 * writes that were not asked to be durable lie in memory until a flush; some, chosen by chance, reach the file at once,
 * so that what a power cut leaves behind is in no order. */
#ifndef NVOFS_TARGET_VOLATILE_H
#define NVOFS_TARGET_VOLATILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct volatile_cache {
	int fd;                      /* borrowed */
	uint64_t size;
	uint8_t *pages;              /* as large as the file; only dirty pages mean anything */
	uint8_t *dirty;              /* a bit per page of 4096 bytes */
	uint64_t first, last;        /* dirty pages lie in [first, last) */
	uint64_t chance;
	pthread_rwlock_t lock;       /* guards all of it */
};

int volatile_init(struct volatile_cache *, int fd, uint64_t size);
void volatile_exit(struct volatile_cache *);
/* As backing_*. */
int volatile_read(struct volatile_cache *, uint64_t offset, void *data, uint32_t len);
int volatile_write(struct volatile_cache *, uint64_t offset, const void *data, uint32_t len, bool durable);
int volatile_flush(struct volatile_cache *);
/* Before the file's range is zeroed: forgets what the cache has of it. */
int volatile_forget(struct volatile_cache *, uint64_t offset, uint64_t len);

#endif
