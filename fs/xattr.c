/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes of all namespaces, as bytes; name and value share one item, so that a value may have VALUE_MAX
 * less the name and 4 bytes (-ENOSPC beyond, as ext4 answers when a value outgrows its block). ACLs are stored like
 * all others: nothing is derived from them or inherited. */
#include <string.h>
#include <sys/xattr.h>
#include "fs/dir.h"
#include "fs/inode.h"
#include "fs/ops.h"
#include "fs/txn.h"

#define VALUE_LIMIT 65536u        /* the kernel's own (XATTR_SIZE_MAX) */

/* Points into the item: good as long as its node is pinned and unchanged. */
struct xattr {
	const char *name;
	const uint8_t *value;
	uint32_t namelen, len;
};

/* 0, or -E_BAD_ITEM: lengths that do not add up, or a zero byte in the name, which would make two of one in a list. */
static int xattr_parse(const struct item *item, struct xattr *x)
{
	const struct xattr_disk *d = (const void *)item->val;

	if (item->len < sizeof(*d) || !d->namelen || item->len != sizeof(*d) + d->namelen + get16(d->len))
		return -E_BAD_ITEM;
	x->name = (const char *)item->val + sizeof(*d);
	x->namelen = d->namelen;
	x->value = item->val + sizeof(*d) + d->namelen;
	x->len = get16(d->len);
	return memchr(x->name, 0, x->namelen) ? -E_BAD_ITEM : 0;
}

/* ERANGE is the kernel's own answer to names that are too long. */
static int xattr_name_check(const char *name, size_t *len)
{
	*len = strnlen(name, NAME_BYTES + 1);
	return *len && *len <= NAME_BYTES ? 0 : -ERANGE;
}

/* 0 and the attribute; -ENODATA and a free place in *key, whose leaf is in memory. -E_NO_SPACE: not there, and the
 * bucket has no place left. */
static int xattr_find(struct op *op, const char *name, size_t len, struct key *key, struct xattr *x)
{
	struct key first = bucket_key(op->worker->fs, op->ino, ITEM_XATTR, name, len);
	struct item item;
	struct bucket b;
	int r;

	bucket_start(&b, &first);
	while (!(r = bucket_next(&b, op, &item))) {
		r = xattr_parse(&item, x);
		if (r)
			return r;
		*key = item.key;
		if (x->namelen == len && !memcmp(x->name, name, len))
			return 0;
	}
	if (r != -ENOENT)
		return r;
	if (b.free_at == UINT64_MAX)
		return -E_NO_SPACE;
	*key = first;
	key->offset = b.free_at;
	r = tree_get(op, key, &item);
	return r == -ENOENT ? -ENODATA : r ? r : -E_BAD_ITEM;
}

/* ---- reading ---- */

/* A length of 0 asks for the size only (getxattr(2)). A full bucket without the name: it is not there. */
static int get_locked(struct op *op, size_t len)
{
	struct inode_disk d;
	struct xattr x;
	struct key key;
	int r = inode_load(op, op->ino, &d);

	if (!r)
		r = xattr_find(op, op->name, len, &key, &x);
	if (r)
		return r == -E_NO_SPACE ? -ENODATA : r;
	op->result = x.len;
	if (!op->len)
		return 0;
	if (x.len > op->len)
		return -ERANGE;
	memcpy(op->out, x.value, x.len);
	return 0;
}

/* Permissions and namespaces were the kernel's to judge before it asked. */
int fs_getxattr(struct op *op)
{
	struct fs *fs = op->worker->fs;
	size_t len;
	int r = xattr_name_check(op->name, &len);

	if (r)
		return r;
	fs_lock_shared(fs);
	r = get_locked(op, len);
	fs_unlock(fs);
	return r;
}

/* In the order of their hashes: stable, and nobody may expect more. Each name ends in a zero byte (listxattr(2)). A
 * park starts it again from the top, and nothing was given away yet. */
static int list_locked(struct op *op)
{
	struct key key = KEY(op->ino, ITEM_XATTR, 0);
	struct inode_disk d;
	struct cursor c;
	struct item item;
	uint64_t total = 0;
	int r = inode_load(op, op->ino, &d);

	if (r)
		return r;
	for (r = cursor_first(&c, op, &key, &item); !r; r = cursor_next(&c, &item)) {
		struct xattr x;

		if (item.key.object != op->ino || item.key.type != ITEM_XATTR)
			break;
		if (xattr_parse(&item, &x))
			return -E_BAD_ITEM;
		if (op->len && total + x.namelen + 1 > op->len)
			return -ERANGE;
		if (op->len) {
			memcpy((char *)op->out + total, x.name, x.namelen);
			((char *)op->out)[total + x.namelen] = 0;
		}
		total += x.namelen + 1;
	}
	op->result = total;
	return r == -ENOENT ? 0 : r;
}

/* op->len 0: only op->result, the length of the list, is wanted. */
int fs_listxattr(struct op *op)
{
	struct fs *fs = op->worker->fs;
	int r;

	fs_lock_shared(fs);
	r = list_locked(op);
	fs_unlock(fs);
	return r;
}

/* ---- changing ---- */

/* The place of an old value of that name is used again; the item may have another length. XATTR_CREATE and
 * XATTR_REPLACE decide on what the bucket says under this lock, so two that race cannot both win. */
static int set_locked(struct op *op, size_t len)
{
	struct xattr_disk head = { .namelen = (uint8_t)len, .len = put16((uint16_t)op->len) };
	uint8_t name[sizeof(head) + NAME_BYTES];
	struct inode_disk d;
	struct xattr x;
	struct key key;
	int r = inode_load(op, op->ino, &d);

	if (!r)
		r = xattr_find(op, op->name, len, &key, &x);
	if (!r && op->flags & XATTR_CREATE)
		return -EEXIST;
	if (r == -ENODATA && !(op->flags & XATTR_REPLACE))
		r = 0;
	if (!r)
		r = txn_begin(op, 2, false);
	if (r)
		return r;
	memcpy(name, &head, sizeof(head));
	memcpy(name + sizeof(head), op->name, len);
	txn_put(op, &key, name, (uint32_t)(sizeof(head) + len), op->in, op->len);
	inode_touch(&d, false);
	inode_store(op, op->ino, &d);
	txn_commit(op);
	return 0;
}

/* E2BIG for what no file system takes, ENOSPC for what does not fit into one item here. */
int fs_setxattr(struct op *op)
{
	struct fs *fs = op->worker->fs;
	size_t len;
	int r = xattr_name_check(op->name, &len);

	if (!r && op->len > VALUE_LIMIT)
		r = -E2BIG;
	if (!r && sizeof(struct xattr_disk) + len + op->len > VALUE_MAX)
		r = -ENOSPC;
	if (!r)
		r = fs_may_write(fs);
	if (r)
		return r;
	fs_lock_excl(fs);
	r = set_locked(op, len);
	fs_unlock(fs);
	return r;
}

/* May use the reserve: it gives space back. A full bucket without the name means that it is not there. */
static int remove_locked(struct op *op, size_t len)
{
	struct inode_disk d;
	struct xattr x;
	struct key key;
	int r = inode_load(op, op->ino, &d);

	if (!r)
		r = xattr_find(op, op->name, len, &key, &x);
	if (!r)
		r = txn_begin(op, 2, true);
	if (r)
		return r == -E_NO_SPACE ? -ENODATA : r;
	txn_del(op, &key);
	inode_touch(&d, false);
	inode_store(op, op->ino, &d);
	txn_commit(op);
	return 0;
}

/* -ENODATA if there is none of that name, as removexattr(2) has it. */
int fs_removexattr(struct op *op)
{
	struct fs *fs = op->worker->fs;
	size_t len;
	int r = xattr_name_check(op->name, &len);

	if (!r)
		r = fs_may_write(fs);
	if (r)
		return r;
	fs_lock_excl(fs);
	r = remove_locked(op, len);
	fs_unlock(fs);
	return r;
}
