/* SPDX-License-Identifier: Apache-2.0 */
/* Reading directories. An open directory has a buffer of its own, which grows to the largest reply asked for; entries
 * are packed into it as the operation emits them. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fuse_int.h"

struct fuse_dir {
	/* The open handle's, and one for each request that uses it: as soon as the last reply is written, another
	 * thread may release the handle. */
	_Atomic unsigned refs;
	atomic_flag busy;          /* two threads may read through one descriptor */
	char *buf;
	size_t cap;
	/* of the request that holds it: */
	size_t size, used;
	bool plus;
};

static struct fuse_dir *dir_new(void)
{
	struct fuse_dir *d = calloc(1, sizeof(*d));

	if (d) {
		atomic_flag_clear(&d->busy);
		atomic_init(&d->refs, 1);
	}
	return d;
}

static void dir_unref(struct fuse_dir *d)
{
	if (atomic_fetch_sub(&d->refs, 1) > 1)
		return;
	free(d->buf);
	free(d);
}

static void dir_put(struct fuse_dir *d)
{
	atomic_flag_clear_explicit(&d->busy, memory_order_release);
	dir_unref(d);
}

/* The handle's buffer, or one for this request alone; NULL: no memory. */
static struct fuse_dir *dir_get(struct fuse_dir *d, size_t size)
{
	if (atomic_flag_test_and_set_explicit(&d->busy, memory_order_acquire)) {
		d = dir_new();
		if (!d)
			return NULL;
	} else {
		atomic_fetch_add(&d->refs, 1);
	}
	if (d->cap < size) {
		char *buf = realloc(d->buf, size);

		if (!buf) {
			dir_put(d);
			return NULL;
		}
		d->buf = buf;
		d->cap = size;
	}
	d->size = size;
	d->used = 0;
	return d;
}

static void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_dir *d = dir_new();

	if (!d) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi->fh = (uintptr_t)d;
	fi->keep_cache = fi->cache_readdir = 1;
	if (fuse_reply_open(req, fi))
		dir_unref(d);
}

static void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	dir_unref((struct fuse_dir *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static bool is_dots(const char *name, size_t len)
{
	return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

static int emit(struct op *op, const char *name, size_t namelen, uint64_t ino, unsigned dtype, const struct stat *attr,
		uint64_t next_cookie)
{
	struct freq *q = op->owner;
	struct fuse_front *f = q->fw->front;
	struct fuse_dir *d = q->dir;
	size_t room = d->size - d->used, need;

	memcpy(q->name, name, namelen);
	q->name[namelen] = 0;
	if (d->plus) {
		struct fuse_entry_param e = { .attr_timeout = f->conf.attr_timeout,
					      .entry_timeout = f->conf.entry_timeout };

		if (attr)
			e.attr = *attr;
		e.attr.st_ino = ino;
		if (!attr)
			e.attr.st_mode = (mode_t)dtype << 12;
		/* Number 0: an entry without attributes, of which no look-up was counted. */
		e.ino = attr && !is_dots(name, namelen) ? ino : 0;
		need = fuse_add_direntry_plus(q->req, d->buf + d->used, room, q->name, &e, (off_t)next_cookie);
	} else {
		struct stat st = { .st_ino = ino, .st_mode = (mode_t)dtype << 12 };

		need = fuse_add_direntry(q->req, d->buf + d->used, room, q->name, &st, (off_t)next_cookie);
	}
	if (need > room)
		return 1;
	d->used += need;
	return 0;
}

static void reset(struct op *op)
{
	struct freq *q = op->owner;

	q->dir->used = 0;
}

/* The reply did not arrive: give back the look-ups that its entries counted. */
static void forget_entries(struct fs *fs, const struct fuse_dir *d)
{
	size_t at = 0;

	while (at + FUSE_NAME_OFFSET_DIRENTPLUS < d->used) {
		const struct fuse_direntplus *e = (const void *)(d->buf + at);

		if (e->entry_out.nodeid)
			fs_forget(fs, e->entry_out.nodeid, 1);
		at += FUSE_DIRENTPLUS_SIZE(e);
	}
}

void fuse_dir_abandon(struct freq *q)
{
	if (q->dir->plus)
		forget_entries(q->fw->front->fs, q->dir);
	dir_put(q->dir);
}

static void done_readdir(struct op *op, int status)
{
	struct freq *q = op->owner;
	struct fuse_dir *d = q->dir;

	if (status)
		fuse_reply_err(q->req, -err_errno(status));
	if ((status || fuse_reply_buf(q->req, d->buf, d->used)) && d->plus)
		forget_entries(q->fw->front->fs, d);
	dir_put(d);
	freq_end(q);
}

static void read_entries(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct freq *q = freq_new(req);

	if (!q)
		return;
	q->dir = dir_get((struct fuse_dir *)(uintptr_t)fi->fh, size);
	if (!q->dir) {
		freq_fail(q, -ENOMEM);
		return;
	}
	q->dir->plus = plus;
	q->op->ino = ino;
	q->op->off = (uint64_t)off;
	q->op->flags = plus;
	q->op->emit = emit;
	q->op->reset = reset;
	freq_start(q, fs_readdir, done_readdir);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_entries(req, ino, size, off, fi, false);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_entries(req, ino, size, off, fi, true);
}

void fuse_dir_ops(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = on_opendir;
	ops->releasedir = on_releasedir;
	ops->readdir = on_readdir;
	ops->readdirplus = on_readdirplus;
}
