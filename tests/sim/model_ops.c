/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of the reference model (model.h). */
#include "tests/sim/model.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include "base/num.h"

void model_stamp(struct mnode *n, unsigned times)
{
	n->stamped |= times;
}

static struct mentry *entry(const struct mnode *dir, const char *name)
{
	for (size_t i = 0; i < dir->nentries; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

uint64_t model_lookup(const struct model *m, uint64_t dir, const char *name)
{
	const struct mnode *d = model_get(m, dir);
	const struct mentry *e = d ? entry(d, name) : NULL;

	return e ? e->ino : 0;
}

static void remove_entry(struct mnode *dir, const char *name)
{
	struct mentry *e = entry(dir, name);

	*e = dir->entries[--dir->nentries];
}

/* 0 if name may be made in dir. */
static int may_make(const struct model *m, uint64_t dir, const char *name)
{
	const struct mnode *d = model_get(m, dir);

	if (!d || d->nlink == 0)
		return -ENOENT;
	if (!S_ISDIR(d->mode))
		return -ENOTDIR;
	if (strlen(name) > 255)
		return -ENAMETOOLONG;
	return entry(d, name) ? -EEXIST : 0;
}

int model_mknod(struct model *m, uint64_t dir, const char *name, uint64_t ino, uint32_t mode, uint64_t rdev, uint32_t uid,
		uint32_t gid, const char *target)
{
	int r = may_make(m, dir, name);
	struct mnode *n, *d;

	if (r)
		return r;
	d = model_edit(m, dir);
	n = model_add(m, ino);
	n->mode = mode | (S_ISDIR(mode) ? d->mode & S_ISGID : 0);
	n->uid = uid;
	n->gid = d->mode & S_ISGID ? d->gid : gid; /* a set-group-ID directory hands its group down */
	n->rdev = rdev;
	n->nlink = S_ISDIR(mode) ? 2 : 1;
	n->parent = S_ISDIR(mode) ? dir : 0;
	n->target = target ? strdup(target) : NULL;
	n->size = target ? strlen(target) : 0;
	model_stamp(n, M_ATIME | M_MTIME | M_CTIME);
	d->nlink += S_ISDIR(mode);
	model_add_entry(d, name, ino);
	model_stamp(d, M_MTIME | M_CTIME);
	return 0;
}

int model_link(struct model *m, uint64_t ino, uint64_t dir, const char *name)
{
	const struct mnode *n = model_get(m, ino);
	struct mnode *d;
	int r = may_make(m, dir, name);

	if (r)
		return r;
	if (S_ISDIR(n->mode))
		return -EPERM;
	if (!n->nlink)
		return -ENOENT;
	d = model_edit(m, dir);
	model_add_entry(d, name, ino);
	model_stamp(d, M_MTIME | M_CTIME);
	model_edit(m, ino)->nlink++;
	model_stamp(model_edit(m, ino), M_CTIME);
	return 0;
}

/* A name of it is gone. */
static void drop_link(struct model *m, uint64_t ino)
{
	struct mnode *n = model_edit(m, ino);

	n->nlink = S_ISDIR(n->mode) ? 0 : n->nlink - 1;
	model_stamp(n, M_CTIME);
}

int model_unlink(struct model *m, uint64_t dir, const char *name)
{
	uint64_t ino = model_lookup(m, dir, name);
	struct mnode *d;

	if (!ino)
		return -ENOENT;
	if (S_ISDIR(model_get(m, ino)->mode))
		return -EISDIR;
	d = model_edit(m, dir);
	remove_entry(d, name);
	model_stamp(d, M_MTIME | M_CTIME);
	drop_link(m, ino);
	return 0;
}

int model_rmdir(struct model *m, uint64_t dir, const char *name)
{
	uint64_t ino = model_lookup(m, dir, name);
	struct mnode *d;

	if (!ino)
		return -ENOENT;
	if (!S_ISDIR(model_get(m, ino)->mode))
		return -ENOTDIR;
	if (model_get(m, ino)->nentries)
		return -ENOTEMPTY;
	d = model_edit(m, dir);
	remove_entry(d, name);
	d->nlink--;
	model_stamp(d, M_MTIME | M_CTIME);
	drop_link(m, ino);
	return 0;
}

static bool is_inside(const struct model *m, uint64_t dir, uint64_t ancestor)
{
	for (;;) {
		const struct mnode *d = model_get(m, dir);

		if (dir == ancestor)
			return true;
		if (d->parent == dir)
			return false;
		dir = d->parent;
	}
}

/* The order of the errors is Linux's. */
static int may_rename(const struct model *m, uint64_t dir, uint64_t from, uint64_t dir2, const char *name2, uint64_t to,
		      unsigned flags)
{
	const struct mnode *a = model_get(m, from), *b = to ? model_get(m, to) : NULL;

	if (strlen(name2) > 255)
		return -ENAMETOOLONG;
	if (model_get(m, dir2)->nlink == 0 || (flags & RENAME_EXCHANGE && !b))
		return -ENOENT;
	if (b && flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (S_ISDIR(a->mode) && is_inside(m, dir2, from))
		return -EINVAL;
	if (flags & RENAME_EXCHANGE && S_ISDIR(b->mode) && is_inside(m, dir, to))
		return -EINVAL;
	if (!b || from == to || flags & RENAME_EXCHANGE)
		return 0;
	if (S_ISDIR(a->mode) && !S_ISDIR(b->mode))
		return -ENOTDIR;
	if (!S_ISDIR(a->mode) && S_ISDIR(b->mode))
		return -EISDIR;
	return S_ISDIR(b->mode) && b->nentries ? -ENOTEMPTY : 0;
}

/* The directory ino has moved from one parent to another. */
static void reparent(struct model *m, uint64_t ino, uint64_t from, uint64_t to)
{
	if (!S_ISDIR(model_get(m, ino)->mode) || from == to)
		return;
	model_edit(m, from)->nlink--;
	model_edit(m, to)->nlink++;
	model_edit(m, ino)->parent = to;
}

int model_rename(struct model *m, uint64_t dir, const char *name, uint64_t dir2, const char *name2, unsigned flags)
{
	uint64_t from = model_lookup(m, dir, name), to = model_lookup(m, dir2, name2);
	int r;

	if (!from)
		return -ENOENT;
	r = may_rename(m, dir, from, dir2, name2, to, flags);
	if (r)
		return r;
	if (from == to)
		return 0;
	if (flags & RENAME_EXCHANGE) {
		entry(model_edit(m, dir), name)->ino = to;
		entry(model_edit(m, dir2), name2)->ino = from;
		reparent(m, to, dir2, dir);
		model_stamp(model_edit(m, to), M_CTIME);
	} else {
		if (to) {
			remove_entry(model_edit(m, dir2), name2);
			if (S_ISDIR(model_get(m, to)->mode))
				model_edit(m, dir2)->nlink--;
			drop_link(m, to);
		}
		remove_entry(model_edit(m, dir), name);
		model_add_entry(model_edit(m, dir2), name2, from);
	}
	reparent(m, from, dir, dir2);
	model_stamp(model_edit(m, from), M_CTIME);
	model_stamp(model_edit(m, dir), M_MTIME | M_CTIME);
	model_stamp(model_edit(m, dir2), M_MTIME | M_CTIME);
	return 0;
}

/* ---- contents ---- */

void model_read(const struct mnode *n, uint64_t off, void *out, uint32_t len)
{
	uint8_t *to = out;

	while (len) {
		uint64_t page = off / MPAGE;
		uint32_t in = (uint32_t)(off % MPAGE), k = MIN(len, MPAGE - in);

		if (page < n->npages && n->pages[page])
			memcpy(to, n->pages[page]->bytes + in, k);
		else
			memset(to, 0, k);
		to += k;
		off += k;
		len -= k;
	}
}

/* data NULL: zeros */
static void put_bytes(struct mnode *n, uint64_t off, const uint8_t *data, uint64_t len)
{
	while (len) {
		uint64_t page = off / MPAGE;
		uint32_t in = (uint32_t)(off % MPAGE), k = (uint32_t)MIN(len, (uint64_t)(MPAGE - in));
		uint8_t bytes[MPAGE];

		model_read(n, page * MPAGE, bytes, MPAGE);
		if (data)
			memcpy(bytes + in, data, k);
		else
			memset(bytes + in, 0, k);
		model_set_page(n, page, bytes);
		data = data ? data + k : NULL;
		off += k;
		len -= k;
	}
}

int model_write(struct model *m, uint64_t ino, uint64_t off, const void *data, uint32_t len)
{
	struct mnode *n = model_edit(m, ino);

	if (!len)
		return 0;
	put_bytes(n, off, data, len);
	n->size = MAX(n->size, off + len);
	model_stamp(n, M_MTIME | M_CTIME);
	return 0;
}

int model_truncate(struct model *m, uint64_t ino, uint64_t size)
{
	struct mnode *n = model_edit(m, ino);
	uint64_t end = MIN(n->size, n->npages * (uint64_t)MPAGE);

	if (size < end)
		put_bytes(n, size, NULL, end - size);
	n->size = size;
	model_stamp(n, M_MTIME | M_CTIME);
	return 0;
}

int model_zero(struct model *m, uint64_t ino, uint64_t off, uint64_t len, bool keep_size)
{
	struct mnode *n = model_edit(m, ino);
	uint64_t end = MIN(off + len, n->npages * (uint64_t)MPAGE);

	if (off < end)
		put_bytes(n, off, NULL, end - off);
	if (!keep_size)
		n->size = MAX(n->size, off + len);
	model_stamp(n, M_MTIME | M_CTIME);
	return 0;
}

/* ---- extended attributes ---- */

static struct mentry *xattr(const struct mnode *n, const char *name)
{
	for (size_t i = 0; i < n->nxattrs; i++)
		if (strcmp(n->xattrs[i].name, name) == 0)
			return &n->xattrs[i];
	return NULL;
}

const struct mentry *model_getxattr(const struct mnode *n, const char *name)
{
	return xattr(n, name);
}

int model_setxattr(struct model *m, uint64_t ino, const char *name, const void *value, uint32_t len, int flags)
{
	struct mnode *n = model_edit(m, ino);
	struct mentry *x = xattr(n, name);

	if (x && flags & XATTR_CREATE)
		return -EEXIST;
	if (!x && flags & XATTR_REPLACE)
		return -ENODATA;
	if (!x) {
		n->xattrs = realloc(n->xattrs, (n->nxattrs + 1) * sizeof(*n->xattrs));
		assert(n->xattrs);
		x = &n->xattrs[n->nxattrs++];
		*x = (struct mentry){0};
		snprintf(x->name, sizeof(x->name), "%s", name);
	}
	free(x->value);
	x->value = malloc(len + 1);
	assert(x->value);
	memcpy(x->value, value, len);
	x->len = len;
	model_stamp(n, M_CTIME);
	return 0;
}

int model_removexattr(struct model *m, uint64_t ino, const char *name)
{
	struct mnode *n = model_edit(m, ino);
	struct mentry *x = xattr(n, name);

	if (!x)
		return -ENODATA;
	free(x->value);
	*x = n->xattrs[--n->nxattrs];
	model_stamp(n, M_CTIME);
	return 0;
}
