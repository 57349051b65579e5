/* SPDX-License-Identifier: Apache-2.0 */
/* SEEK_DATA and SEEK_HOLE under the kernel's write-back cache. The kernel asks us without writing its dirty pages
 * first, so that what a program has just written would look like a hole, and cp(1) would skip it. Before such a
 * question is answered about a file that is open for writing, the kernel is told to let go of the file's pages, which
 * makes it write the dirty ones. (Without a writable open there are none: the kernel writes them before it sends
 * RELEASE, and a mapping keeps its file open.)
 *
 * The notification waits for our workers to serve those writes, so it is sent by a thread of its own.
 *
 * Errors under the write-back cache. write(2) only fills the cache; that writing it out failed is told by fsync and
 * close, and a program that fills a device until write(2) fails would never end. But before each such write the kernel
 * asks for the file's mode if its attributes are invalid, with the handle (FUSE_GETATTR_FH), and fails the write with the
 * answer's error (fuse_cache_write_iter). So after a failed write of the cache the attributes are made invalid, and the
 * next GETATTR by a handle that can write gets the error, once. fstat(2) comes without a handle; a read
 * beyond the end of the file by such a handle asks in the same way, and may get the error instead. */
#define FUSE_USE_VERSION 314
#include <assert.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>

#include "base/log.h"
#include "fs/fuse_int.h"

struct writer {
	struct writer *next;
	uint64_t ino;
	unsigned opens;
	int error;             /* of a write from the kernel's cache, not told yet; 0 or a negative errno */
};

static struct writer **find(struct fuse_writers *w, uint64_t ino)
{
	struct writer **at = &w->buckets[ino % FUSE_WRITER_BUCKETS];

	while (*at && (*at)->ino != ino)
		at = &(*at)->next;
	return at;
}

static bool writable(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

void fuse_writers_init(struct fuse_writers *w)
{
	pthread_mutex_init(&w->lock, NULL);
}

void fuse_writers_exit(struct fuse_writers *w)
{
	for (unsigned i = 0; i < FUSE_WRITER_BUCKETS; i++) {
		struct writer *one;

		while ((one = w->buckets[i])) {
			w->buckets[i] = one->next;
			free(one);
		}
	}
	pthread_mutex_destroy(&w->lock);
}

void fuse_writers_opened(struct fuse_writers *w, uint64_t ino, int flags)
{
	struct writer **at;

	if (!writable(flags))
		return;
	pthread_mutex_lock(&w->lock);
	at = find(w, ino);
	if (!*at) {
		*at = calloc(1, sizeof(**at));
		if (*at)
			(*at)->ino = ino;
		else
			w->unknown = true; /* from now on every file may have writers */
	}
	if (*at)
		(*at)->opens++;
	pthread_mutex_unlock(&w->lock);
}

void fuse_writers_closed(struct fuse_writers *w, uint64_t ino, int flags)
{
	struct writer **at, *gone = NULL;

	if (!writable(flags))
		return;
	pthread_mutex_lock(&w->lock);
	at = find(w, ino);
	if (*at && !--(*at)->opens) {
		gone = *at;
		*at = gone->next;
	}
	pthread_mutex_unlock(&w->lock);
	free(gone);
}

static bool has_writers(struct fuse_writers *w, uint64_t ino)
{
	bool any;

	pthread_mutex_lock(&w->lock);
	any = w->unknown || *find(w, ino);
	pthread_mutex_unlock(&w->lock);
	return any;
}

/* ---- errors ---- */

void fuse_writers_failed(struct freq *q, int err)
{
	struct fuse_writers *w = &q->fw->front->writers;
	struct writer *one;

	pthread_mutex_lock(&w->lock);
	one = *find(w, q->op->ino);
	if (one)
		one->error = err;
	pthread_mutex_unlock(&w->lock);
	/* Attributes only (offset -1): unlike pages they are let go without waiting for anybody. */
	if (one)
		fuse_lowlevel_notify_inval_inode(q->fw->front->session, q->op->ino, -1, 0);
}

int fuse_writers_take_error(struct fuse_writers *w, uint64_t ino)
{
	struct writer *one;
	int err = 0;

	pthread_mutex_lock(&w->lock);
	one = *find(w, ino);
	if (one) {
		err = one->error;
		one->error = 0;
	}
	pthread_mutex_unlock(&w->lock);
	return err;
}

/* ---- making the kernel write ---- */

static void *flush_main(void *arg)
{
	struct freq *q = arg;

	/* A failure means that the kernel does not know the inode any more, or has let go of us. */
	fuse_lowlevel_notify_inval_inode(q->fw->front->session, q->op->ino, 0, 0);
	mailbox_post(&q->fw->w->mailbox, &q->letter);
	return NULL;
}

static void flushed(struct letter *l)
{
	struct freq *q = container_of(l, struct freq, letter);

	pthread_join(q->thread, NULL);
	freq_start(q, q->run, q->finish);
}

void fuse_writers_flush_then(struct freq *q, int (*run)(struct op *), void (*finish)(struct op *, int status))
{
	struct fuse_front *f = q->fw->front;

	if (!f->conf.writeback || f->conf.readonly || !has_writers(&f->writers, q->op->ino)) {
		freq_start(q, run, finish);
		return;
	}
	q->run = run;
	q->finish = finish;
	q->letter.deliver = flushed;
	if (pthread_create(&q->thread, NULL, flush_main, q))
		freq_fail(q, -ENOMEM);
}
