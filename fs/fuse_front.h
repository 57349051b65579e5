/* SPDX-License-Identifier: Apache-2.0 */
/* A mounted file system (fs/fs.h) as a directory: the FUSE session and its worker threads.
 *
 *      fuse_front_mount --> fuse_front_run ... unmounted --> fuse_front_free
 *
 *  1. After fuse_front_mount the kernel has the mount; requests are served once fuse_front_run runs.
 *  2. fuse_front_run returns when the kernel has let go (unmounted or aborted) and every request has been finished, so
 *     that fs_unmount may follow. */
#ifndef NVOFS_FS_FUSE_FRONT_H
#define NVOFS_FS_FUSE_FRONT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;
struct fuse_front;

struct fuse_front_conf {
	struct fs *fs;             /* borrowed */
	const char *mountpoint;    /* absolute, or /dev/fd/N: mounted by somebody else; borrowed for good */
	const char *source;        /* what mount(8) and df(1) show; borrowed for the call */
	const char *options;       /* comma-separated, for libfuse and the kernel; borrowed for the call */
	bool readonly, writeback, direct_io, allow_other;
	bool pin;                  /* each worker to a CPU of its own */
	double entry_timeout, negative_timeout, attr_timeout; /* seconds */
	size_t arena_bytes;        /* bounds one write request */
	/* Fills buf with JSON text for CTL_STATUS. A worker's thread. */
	void (*status)(void *arg, char *buf, size_t len);
	/* The kernel has finished its handshake: the mount is usable. A worker's thread, once. */
	void (*ready)(void *arg);
	/* The kernel has let go; what is under way is being finished. A worker's thread, once. */
	void (*ending)(void *arg);
	void *arg;
};

struct fuse_front_stats {
	uint64_t spilled;          /* requests received into ordinary memory */
	uint64_t missed;           /* answers that woke nobody; 0 unless a wire has a bug */
	unsigned workers;
	size_t max_write;
};

/* 0, or a negative code and one line in why. */
int fuse_front_mount(struct fuse_front **, const struct fuse_front_conf *, char *why, size_t why_len);
/* Serves; the calling thread is worker 0, the others are started and joined. 0, or a negative code if a thread could
 * not be started (then the connection is closed). */
int fuse_front_run(struct fuse_front *);
/* Any thread: ends the session without asking the kernel first (the last resort; dirty pages are lost). */
void fuse_front_abort(struct fuse_front *);
/* Unmounts if still mounted, closes the descriptor, frees. */
void fuse_front_free(struct fuse_front *);
void fuse_front_stats(const struct fuse_front *, struct fuse_front_stats *);

#endif
