/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes. POSIX ACLs are refused: kept as mere bytes they would look as if they were enforced. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fuse_int.h"

/* NULL: already answered. name is NULL for a list. Checked before an op is taken: refusing needs none. */
static struct freq *xattr_new(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct freq *q;

	if (name && !strncmp(name, "system.posix_acl_", 17)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return NULL;
	}
	q = freq_new(req);
	if (!q || (name && !freq_name(q, q->name, name)))
		return NULL;
	q->op->ino = ino;
	q->op->name = q->name;
	return q;
}

/* Memory for what goes in or out, freed with the request; never of size 0. False: answered. */
static bool room(struct freq *q, size_t size)
{
	if (size > XATTR_SIZE_MAX) {
		freq_fail(q, -E2BIG);
		return false;
	}
	q->data = malloc(size + 1);
	if (!q->data) {
		freq_fail(q, -ENOMEM);
		return false;
	}
	return true;
}

/* A size of 0 asked how long it is (getxattr(2)), and gets a number instead of bytes. */
static void done_get(struct op *op, int status)
{
	struct freq *q = op->owner;

	if (status) {
		freq_fail(q, status);
		return;
	}
	if (op->len)
		fuse_reply_buf(q->req, op->out, op->result);
	else
		fuse_reply_xattr(q->req, op->result);
	freq_end(q);
}

/* The caller's size is bounded by what a value or list can be at all, not refused: it is only room. */
static void get(struct freq *q, size_t size, int (*run)(struct op *))
{
	if (size > XATTR_LIST_MAX)
		size = XATTR_LIST_MAX;
	if (!room(q, size))
		return;
	q->op->out = q->data;
	q->op->len = (uint32_t)size;
	freq_start(q, run, done_get);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct freq *q = xattr_new(req, ino, name);

	if (q)
		get(q, size, fs_getxattr);
}

/* Names of all namespaces; the kernel leaves out what the caller may not see. */
static void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct freq *q = xattr_new(req, ino, NULL);

	if (q)
		get(q, size, fs_listxattr);
}

/* flags are the kernel's XATTR_CREATE and XATTR_REPLACE. The value is copied out of the receive buffer. */
static void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct freq *q = xattr_new(req, ino, name);

	if (!q || !room(q, size))
		return;
	memcpy(q->data, value, size);
	q->op->in = q->data;
	q->op->len = (uint32_t)size;
	q->op->flags = (uint32_t)flags;
	freq_start(q, fs_setxattr, freq_done_status);
}

static void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct freq *q = xattr_new(req, ino, name);

	if (q)
		freq_start(q, fs_removexattr, freq_done_status);
}

/* Without these handlers libfuse would answer ENOSYS, and the kernel would not ask again. */
void fuse_xattr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = on_getxattr;
	ops->listxattr = on_listxattr;
	ops->setxattr = on_setxattr;
	ops->removexattr = on_removexattr;
}
