/* SPDX-License-Identifier: Apache-2.0 */
/* Names and attributes: what the kernel asks about inodes and directories' entries, handed to fs/ops.h. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "fs/ctl.h"
#include "fs/fuse_int.h"
#include "fs/scrub.h"

/* What fuse_session_new was given. */
static struct fuse_front *front_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Names that are not there are asked for again and again (search paths): the kernel is told to remember. */
static void done_lookup(struct op *op, int status)
{
	struct freq *q = op->owner;
	struct fuse_front *f = q->fw->front;

	/* Inode number 0 lets the kernel remember that there is none. */
	if (err_errno(status) == -ENOENT && f->conf.negative_timeout > 0) {
		struct fuse_entry_param e = { .ino = 0, .entry_timeout = f->conf.negative_timeout };

		fuse_reply_entry(q->req, &e);
		freq_end(q);
		return;
	}
	freq_done_entry(op, status);
}

/* A new op for a request about NAME in a directory; NULL: already answered. The name is copied: libfuse's lies in
 * the receive buffer, which is used again while the op is parked. */
static struct freq *named(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct freq *q = freq_new(req);

	if (!q || !freq_name(q, q->name, name))
		return NULL;
	q->op->ino = parent;
	q->op->name = q->name;
	return q;
}

/* Each answer is one look-up more, until the kernel gives it back with FORGET. */
static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct freq *q = named(req, parent, name);

	if (q)
		freq_start(q, fs_lookup, done_lookup);
}

/* Without an op, so that it never waits for one: what the kernel forgets gives memory back. There is no reply. */
static void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	fs_forget(front_of(req)->fs, ino, nlookup);
	fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		fs_forget(front_of(req)->fs, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* Node numbers are inode numbers, and an open file's inode stays. With a handle that can write it is write(2) that asks,
 * which is told of earlier failures here (fuse_writers.c). */
static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct freq *q = freq_new(req);
	int err = 0;

	if (!q)
		return;
	q->op->ino = ino;
	if (fi && fi->fh == FUSE_HANDLE_WRITES)
		err = fuse_writers_take_error(&q->fw->front->writers, ino);
	if (err) {
		freq_fail(q, err);
		return;
	}
	freq_start(q, fs_getattr, freq_done_attr);
}

/* "Now" is read from the clock that stamps all other changes made here. The change time comes from the kernel only
 * with the write-back cache, where it keeps times itself. */
static void set_times(struct op *op, const struct stat *attr, int to_set)
{
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) {
		op->valid |= SET_ATIME;
		op->atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? clock_wall() : attr->st_atim;
	}
	if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
		op->valid |= SET_MTIME;
		op->mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? clock_wall() : attr->st_mtim;
	}
	if (to_set & FUSE_SET_ATTR_CTIME) {
		op->valid |= SET_CTIME;
		op->ctime = attr->st_ctim;
	}
}

/* Permissions were checked by the kernel (default_permissions). op->uid and gid, the caller's at first, are what is
 * to be set from here on, if valid says so. */
static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct freq *q = freq_new(req);
	struct op *op;

	if (!q)
		return;
	op = q->op;
	op->ino = ino;
	if (to_set & FUSE_SET_ATTR_MODE) {
		op->valid |= SET_MODE;
		op->mode = attr->st_mode;
	}
	if (to_set & FUSE_SET_ATTR_UID) {
		op->valid |= SET_UID;
		op->uid = attr->st_uid;
	}
	if (to_set & FUSE_SET_ATTR_GID) {
		op->valid |= SET_GID;
		op->gid = attr->st_gid;
	}
	if (to_set & FUSE_SET_ATTR_SIZE) {
		op->valid |= SET_SIZE;
		op->off = (uint64_t)attr->st_size;
	}
	/* HANDLE_KILLPRIV_V2: a size change says so itself (bit 11), an owner change always does it; a mode that comes
	 * along was chosen by the caller. */
	if ((to_set & FUSE_SET_ATTR_KILL_SUID) ||
	    ((to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) && !(to_set & FUSE_SET_ATTR_MODE)))
		op->valid |= SET_KILL_PRIV;
	set_times(op, attr, to_set);
	freq_start(q, fs_setattr, freq_done_attr);
}

/* fuse_reply_readlink wants a string; on_readlink has kept a byte for its end. */
static void done_readlink(struct op *op, int status)
{
	struct freq *q = op->owner;
	char *target = q->data;

	if (status) {
		freq_fail(q, status);
		return;
	}
	target[op->result] = 0;
	fuse_reply_readlink(q->req, target);
	freq_end(q);
}

/* A target is one inline item, so VALUE_MAX bounds it. */
static void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct freq *q = freq_new(req);

	if (!q)
		return;
	q->data = malloc(VALUE_MAX + 1);
	if (!q->data) {
		freq_fail(q, -ENOMEM);
		return;
	}
	q->op->ino = ino;
	q->op->out = q->data;
	q->op->len = VALUE_MAX;
	freq_start(q, fs_readlink, done_readlink);
}

/* The kernel has applied the umask already, here and in mkdir. */
static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct freq *q = named(req, parent, name);

	if (!q)
		return;
	q->op->mode = mode;
	q->op->rdev = rdev;
	freq_start(q, fs_mknod, freq_done_entry);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct freq *q = named(req, parent, name);

	if (!q)
		return;
	q->op->mode = mode;
	freq_start(q, fs_mkdir, freq_done_entry);
}

/* The target is copied for the same reason as the name; freq_end frees it. */
static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct freq *q = named(req, parent, name);

	if (!q)
		return;
	q->data = strdup(target);
	if (!q->data) {
		freq_fail(q, -ENOMEM);
		return;
	}
	q->op->in = q->data;
	freq_start(q, fs_symlink, freq_done_entry);
}

/* op->ino is what gets the name, op->ino2 the directory (fs/ops.h). */
static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	struct freq *q = named(req, ino, newname);

	if (!q)
		return;
	q->op->ino2 = newparent;
	freq_start(q, fs_link, freq_done_entry);
}

/* What the name meant may live on, open: see fs/namei.c. */
static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct freq *q = named(req, parent, name);

	if (q)
		freq_start(q, fs_unlink, freq_done_status);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct freq *q = named(req, parent, name);

	if (q)
		freq_start(q, fs_rmdir, freq_done_status);
}

/* flags: RENAME_NOREPLACE and RENAME_EXCHANGE are understood, others come back as EINVAL. */
static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
		      unsigned int flags)
{
	struct freq *q = named(req, parent, name);

	if (!q || !freq_name(q, q->name2, newname))
		return;
	q->op->ino2 = newparent;
	q->op->name2 = q->name2;
	q->op->flags = flags;
	freq_start(q, fs_rename, freq_done_status);
}

/* Answered from counters in memory, without an op: it works while the target is away, too. */
static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs_info info;
	struct statvfs st = { .f_bsize = FS_BLOCK, .f_frsize = FS_BLOCK, .f_namemax = NAME_BYTES };

	fs_info(front_of(req)->fs, &info);
	st.f_blocks = info.nblocks;
	st.f_bfree = info.free_blocks;
	st.f_bavail = info.avail_blocks;
	/* Inodes are made as needed and their numbers never end: as many more as would fit. */
	st.f_ffree = st.f_favail = info.avail_blocks * 4;
	st.f_files = info.inodes + st.f_ffree;
	fuse_reply_statfs(req, &st);
}

/* The op has filled s->ctl, which freq_end frees with q->data. */
static void scrub_done(struct op *op, int status)
{
	struct freq *q = op->owner;
	struct scrub *s = q->data;

	if (status) {
		freq_fail(q, status);
		return;
	}
	fuse_reply_ioctl(q->req, 0, &s->ctl, sizeof(s->ctl));
	freq_end(q);
}

/* For root and for whoever runs the daemon: it reads everything, at the cost of the others. in lies in the receive
 * buffer, so it is copied; its size was checked, its content is fs_scrub's to judge. */
static void on_scrub(fuse_req_t req, const void *in, size_t in_len, size_t out_len)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	struct freq *q;
	struct scrub *s;

	if (in_len != sizeof(s->ctl) || out_len != sizeof(s->ctl) || (uid != 0 && uid != geteuid())) {
		fuse_reply_err(req, uid != 0 && uid != geteuid() ? EPERM : EINVAL);
		return;
	}
	q = freq_new(req);
	if (!q)
		return;
	q->data = s = calloc(1, sizeof(*s));
	if (!s) {
		freq_fail(q, -ENOMEM);
		return;
	}
	memcpy(&s->ctl, in, sizeof(s->ctl));
	s->ctl.nbad = 0;
	q->op->out = s;
	freq_start(q, fs_scrub, scrub_done);
}

/* The controls, on the root, for nvofsctl: status as JSON, and scrubbing. A directory's
 * ioctl is let through by the kernel only because INIT asked for it; anything else is not known here. */
static void on_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
		     unsigned flags, const void *in, size_t in_len, size_t out_len)
{
	struct fuse_front *f = front_of(req);
	struct ctl_status *status;

	if (cmd == (unsigned int)CTL_SCRUB && ino == INO_ROOT) {
		on_scrub(req, in, in_len, out_len);
		return;
	}
	if (cmd != (unsigned int)CTL_STATUS || ino != INO_ROOT || !f->conf.status) {
		fuse_reply_err(req, ENOTTY);
		return;
	}
	if (out_len < sizeof(*status)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	status = calloc(1, sizeof(*status));
	if (!status) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	f->conf.status(f->conf.arg, status->json, sizeof(status->json));
	fuse_reply_ioctl(req, 0, status, sizeof(*status));
	free(status);
}

void fuse_meta_ops(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = on_lookup;
	ops->forget = on_forget;
	ops->forget_multi = on_forget_multi;
	ops->getattr = on_getattr;
	ops->setattr = on_setattr;
	ops->readlink = on_readlink;
	ops->mknod = on_mknod;
	ops->mkdir = on_mkdir;
	ops->symlink = on_symlink;
	ops->link = on_link;
	ops->unlink = on_unlink;
	ops->rmdir = on_rmdir;
	ops->rename = on_rename;
	ops->statfs = on_statfs;
	ops->ioctl = on_ioctl;
}
