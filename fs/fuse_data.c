/* SPDX-License-Identifier: Apache-2.0 */
/* Files: open, create, read, write, and what belongs to them. The reply to a read is one writev(2) from the frames
 * themselves; a write's payload was received into frames and only changes its owner here. */
#define FUSE_USE_VERSION 314
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "fs/fuse_int.h"

#define WRITE_KILL_PRIV (1u << 2) /* FUSE_WRITE_KILL_SUIDGID */
#define OPEN_PARALLEL_WRITES (1u << 6) /* FOPEN_PARALLEL_DIRECT_WRITES: overlapping ones are ordered by fs/range.h */
#define OPEN_KILL_PRIV (1u << 0)  /* FUSE_OPEN_KILL_SUIDGID */


#define FULL_CHECK_NS (5 * NS_PER_MS)
#define NEAR_FULL (64 * MiB / FS_BLOCK)

/* The request as it came, for the fields that libfuse keeps to itself. */
static const void *raw_arg(void)
{
	return (const char *)fuse_self->rx.in + sizeof(struct fuse_in_header);
}

static void count_data(struct op *op)
{
	atomic_fetch_add_explicit(&op->worker->data_requests, 1, memory_order_relaxed);
}

/* ---- open ---- */

/* Asked at most every FULL_CHECK_NS; in between the last answer holds. close(2) makes the kernel write, so what it still
 * holds back is what is open now. */
static bool near_full(struct fuse_front *f)
{
	uint64_t now = clock_now(), limit;
	struct fs_info info;

	if (now - atomic_load_explicit(&f->full_checked, memory_order_relaxed) < FULL_CHECK_NS)
		return atomic_load_explicit(&f->near_full, memory_order_relaxed);
	atomic_store_explicit(&f->full_checked, now, memory_order_relaxed);
	fs_info(f->fs, &info);
	limit = MAX(MIN(NEAR_FULL, info.nblocks / 16), info.nblocks / 100);
	atomic_store_explicit(&f->near_full, info.avail_blocks < limit, memory_order_relaxed);
	return info.avail_blocks < limit;
}

/* Near a full device an error has to reach write(2), not close(2), where few programs look. Who asks for O_DIRECT gets
 * the kernel's direct path, on which several writes of a file can be under way; not where it would cost mmap(2). */
static bool opens_direct(struct fuse_front *f, int flags)
{
	if (f->conf.direct_io || ((flags & O_DIRECT) && f->direct_mmap))
		return true;
	return (flags & O_ACCMODE) != O_RDONLY && f->direct_mmap && near_full(f);
}

static void fill_info(const struct freq *q, struct fuse_file_info *fi)
{
	memset(fi, 0, sizeof(*fi));
	fi->flags = q->open_flags;
	fi->fh = (q->open_flags & O_ACCMODE) != O_RDONLY ? FUSE_HANDLE_WRITES : 0;
	fi->direct_io = opens_direct(q->fw->front, q->open_flags);
	q->fw->open_extra = fi->direct_io ? OPEN_PARALLEL_WRITES : 0;
	fi->keep_cache = 1;
}

static void done_open(struct op *op, int status)
{
	struct freq *q = op->owner;
	struct fuse_file_info fi;
	uint64_t ino = op->ino;

	if (status) {
		freq_fail(q, status);
		return;
	}
	fill_info(q, &fi);
	fuse_writers_opened(&q->fw->front->writers, ino, q->open_flags);
	/* On failure the kernel did not get it (the caller was interrupted) and will not release it. */
	if (fuse_reply_open(q->req, &fi))
		freq_give_back_open(q, ino);
	else
		freq_end(q);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fuse_open_in *arg = raw_arg();
	struct freq *q = freq_new(req);

	if (!q)
		return;
	q->open_flags = fi->flags;
	q->op->ino = ino;
	q->op->flags = (uint32_t)fi->flags;
	if ((fi->flags & O_TRUNC) && (arg->open_flags & OPEN_KILL_PRIV))
		q->op->valid |= SET_KILL_PRIV;
	freq_start(q, fs_open, done_open);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct freq *q = freq_new(req);

	if (!q)
		return;
	fuse_writers_closed(&q->fw->front->writers, ino, fi->flags);
	q->op->ino = ino;
	freq_start(q, fs_release, freq_done_status);
}

/* ---- create: mknod, then open; the file may be there already if O_EXCL was not asked for ---- */

static void done_create_open(struct op *op, int status)
{
	struct freq *q = op->owner;
	struct fuse_front *f = q->fw->front;
	struct fuse_entry_param e = { .ino = q->attr.st_ino, .attr = q->attr, .attr_timeout = f->conf.attr_timeout,
				      .entry_timeout = f->conf.entry_timeout };
	struct fuse_file_info fi;

	if (status) {
		fs_forget(f->fs, e.ino, 1);
		freq_fail(q, status);
		return;
	}
	fill_info(q, &fi);
	fuse_writers_opened(&f->writers, e.ino, q->open_flags);
	if (fuse_reply_create(q->req, &e, &fi)) {
		fs_forget(f->fs, e.ino, 1);
		freq_give_back_open(q, e.ino);
		return;
	}
	freq_end(q);
}

static void done_create_entry(struct op *op, int status)
{
	struct freq *q = op->owner;
	uint64_t parent = op->ino;
	bool made;

	if (status == -EEXIST && !(q->open_flags & O_EXCL) && op->run != fs_lookup) {
		op = freq_next_op(q);
		op->ino = parent;
		op->name = q->name;
		freq_start(q, fs_lookup, done_create_entry);
		return;
	}
	if (status) {
		freq_fail(q, status);
		return;
	}
	q->attr = op->attr;
	made = op->run == fs_mknod;
	op = freq_next_op(q);
	op->ino = q->attr.st_ino;
	op->flags = (uint32_t)q->open_flags & ~(made ? (uint32_t)O_TRUNC : 0); /* what is new is empty */
	freq_start(q, fs_open, done_create_open);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct freq *q = freq_new(req);

	if (!q || !freq_name(q, q->name, name))
		return;
	q->creating = true;
	q->open_flags = fi->flags;
	q->op->ino = parent;
	q->op->name = q->name;
	q->op->mode = S_IFREG | (mode & 07777);
	freq_start(q, fs_mknod, done_create_entry);
}

/* ---- read and write ---- */

/* header and data in one writev(2), without libfuse's copy of the vector. */
static void reply_data(struct freq *q)
{
	struct op *op = q->op;
	struct fuse_out_header head = { .len = (uint32_t)(sizeof(head) + op->result), .unique = q->unique };
	struct iovec iov[OP_IOVS + 1];

	iov[0] = (struct iovec){ .iov_base = &head, .iov_len = sizeof(head) };
	memcpy(iov + 1, op->iov, op->niov * sizeof(iov[0]));
	if (writev(q->fw->front->fd, iov, (int)op->niov + 1) < 0 && errno != ENOENT && errno != ENODEV) {
		log_error("FUSE did not take the reply to a read of %u bytes: %s", op->len, strerror(errno));
		fuse_reply_err(q->req, EIO);
		return;
	}
	fuse_reply_none(q->req); /* frees the request and sends nothing */
}

static void done_read(struct op *op, int status)
{
	struct freq *q = op->owner;

	if (status) {
		freq_fail(q, status);
		return;
	}
	reply_data(q);
	freq_end(q);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct freq *q = freq_new(req);

	if (!q)
		return;
	count_data(q->op);
	q->op->ino = ino;
	q->op->off = (uint64_t)off;
	q->op->len = (uint32_t)size;
	freq_start(q, fs_read, done_read);
}

static void done_write(struct op *op, int status)
{
	struct freq *q = op->owner;

	if (status) {
		if (q->cached_write)
			fuse_writers_failed(q, err_errno(status));
		freq_fail(q, status);
		return;
	}
	fuse_reply_write(q->req, op->result);
	freq_end(q);
}

static void on_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *payload, off_t off,
			 struct fuse_file_info *fi)
{
	const struct fuse_write_in *arg = raw_arg();
	size_t size = payload->buf[0].size;
	struct freq *q;
	struct op *op;

	if (!size) {
		fuse_reply_write(req, 0);
		return;
	}
	q = freq_new(req);
	if (!q)
		return;
	op = q->op;
	count_data(op);
	op->ino = ino;
	op->off = (uint64_t)off; /* also for O_APPEND: the one kernel that writes here knows the size */
	op->len = (uint32_t)size;
	if (arg->write_flags & WRITE_KILL_PRIV)
		op->valid |= SET_KILL_PRIV;
	op->nruns = fuse_rx_take(q->fw, op->runs);
	q->cached_write = arg->write_flags & FUSE_WRITE_CACHE;
	freq_start(q, fs_write, done_write);
}

/* ---- the rest ---- */

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct freq *q = freq_new(req);

	if (!q)
		return;
	q->op->ino = ino;
	freq_start(q, fs_fsync, freq_done_status);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t length, struct fuse_file_info *fi)
{
	struct freq *q = freq_new(req);

	if (!q)
		return;
	q->op->ino = ino;
	q->op->off = (uint64_t)off;
	q->op->rdev = (uint64_t)length;
	q->op->mode = (uint32_t)mode;
	freq_start(q, fs_fallocate, freq_done_status);
}

static void done_lseek(struct op *op, int status)
{
	struct freq *q = op->owner;

	if (status) {
		freq_fail(q, status);
		return;
	}
	fuse_reply_lseek(q->req, (off_t)op->result);
	freq_end(q);
}

static void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct freq *q;

	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	q = freq_new(req);
	if (!q)
		return;
	q->op->ino = ino;
	q->op->off = (uint64_t)off;
	q->op->flags = (uint32_t)whence;
	fuse_writers_flush_then(q, fs_lseek, done_lseek);
}

void fuse_data_ops(struct fuse_lowlevel_ops *ops)
{
	ops->open = on_open;
	ops->create = on_create;
	ops->release = on_release;
	ops->read = on_read;
	ops->write_buf = on_write_buf;
	ops->fsync = on_fsync;
	ops->fsyncdir = on_fsync;
	ops->fallocate = on_fallocate;
	ops->lseek = on_lseek;
}
