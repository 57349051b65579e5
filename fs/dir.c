/* SPDX-License-Identifier: Apache-2.0 */
/* Names to inodes. */
#include <dirent.h>
#include <string.h>
#include "base/log.h"
#include "base/siphash.h"
#include "fs/dir.h"
#include "fs/inode.h"
#include "fs/ops.h"
#include "fs/txn.h"

#define HASH_SHIFT 9             /* 55 of 64 bits, so that a cookie is a positive off_t */
#define BUCKET 256u
#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u
#define ATTR_BATCH 256u          /* entries a call with attributes: bounds what is gathered at once */

/* The kernel sends no such names; other callers (tests, tools) may. An empty one is what POSIX calls not there. */
int name_check(const char *name, size_t *len)
{
	*len = strnlen(name, NAME_BYTES + 1);
	if (!*len)
		return -ENOENT;
	if (*len > NAME_BYTES)
		return -ENAMETOOLONG;
	return memchr(name, '/', *len) ? -EINVAL : 0;
}

int name_check_new(const char *name, size_t *len)
{
	int r = name_check(name, len);

	return r ? r : !strcmp(name, ".") || !strcmp(name, "..") ? -EEXIST : 0;
}

/* SipHash with the file system's key (Aumasson and Bernstein, 2012): who does not know the key cannot make names
 * collide, so a bucket of 256 places does not fill. 0 becomes 1: keys below 256 could meet the cookies of the dots. */
struct key bucket_key(const struct fs *fs, uint64_t object, uint8_t type, const void *name, size_t len)
{
	uint64_t h = siphash24(fs->hash_key, name, len) >> HASH_SHIFT;

	return KEY(object, type, (h ? h : 1) << 8);
}

/* ---- buckets ---- */

/* next: the lowest offset that no item seen so far has. */
void bucket_start(struct bucket *b, const struct key *first)
{
	*b = (struct bucket){ .first = *first, .free_at = UINT64_MAX, .next = first->offset };
}

/* Items come in ascending order, so the first gap between them is the lowest free place; at the end of the bucket
 * what follows the last one is, if that is still inside. */
int bucket_next(struct bucket *b, struct op *op, struct item *item)
{
	int r = b->started ? cursor_next(&b->cursor, item) : cursor_first(&b->cursor, op, &b->first, item);

	b->started = true;
	if (r && r != -ENOENT)
		return r;
	if (r || item->key.object != b->first.object || item->key.type != b->first.type ||
	    item->key.offset >> 8 != b->first.offset >> 8) {
		if (b->free_at == UINT64_MAX && b->next < b->first.offset + BUCKET)
			b->free_at = b->next;
		return -ENOENT;
	}
	if (b->free_at == UINT64_MAX && item->key.offset > b->next)
		b->free_at = b->next;
	b->next = item->key.offset + 1;
	return 0;
}

/* ---- entries ---- */

/* DT_UNKNOWN is refused too: every entry was written with its type. */
static bool dtype_valid(uint8_t type)
{
	return type == DT_REG || type == DT_DIR || type == DT_LNK || type == DT_CHR || type == DT_BLK || type == DT_FIFO ||
	       type == DT_SOCK;
}

/* NULL: damaged. A name with a '/' or 0 in it would be a way out of the directory. */
static const char *dirent_parse(const struct item *item, size_t *len, uint64_t *ino, uint8_t *type)
{
	const struct dirent_disk *d = (const void *)item->val;
	const char *name = (const char *)item->val + sizeof(*d);

	if (item->len < sizeof(*d) || !d->namelen || item->len != sizeof(*d) + d->namelen)
		return NULL;
	*len = d->namelen;
	*ino = get64(d->ino);
	*type = d->type;
	if (!*ino || !dtype_valid(*type) || memchr(name, '/', *len) || memchr(name, 0, *len))
		return NULL;
	return name;
}

/* Looks at the whole bucket: with 55 bits of a keyed hash nearly always one entry or none. Not found, the free
 * place is looked up, so that its leaf is in memory for a put (gathering). */
int dir_find(struct op *op, uint64_t dir, const char *name, size_t len, struct dir_entry *d)
{
	struct key first = bucket_key(op->worker->fs, dir, ITEM_DIRENT, name, len);
	struct bucket b;
	struct item item;
	int r;

	bucket_start(&b, &first);
	while (!(r = bucket_next(&b, op, &item))) {
		size_t n;
		const char *found = dirent_parse(&item, &n, &d->ino, &d->type);

		if (!found)
			return -E_BAD_ITEM;
		d->key = item.key;
		if (n == len && !memcmp(found, name, n))
			return 0;
	}
	if (r != -ENOENT)
		return r;
	if (b.free_at == UINT64_MAX)
		return -E_NO_SPACE;
	d->key = first;
	d->key.offset = b.free_at;
	r = tree_get(op, &d->key, &item);
	return r ? r : -E_BAD_ITEM; /* -ENOENT it is */
}

/* The key is of a place that dir_find gave: free, or the entry that is to be replaced. */
void dir_put(struct op *op, const struct key *key, uint64_t ino, uint8_t type, const char *name, size_t len)
{
	struct dirent_disk d = { .ino = put64(ino), .type = type, .namelen = (uint8_t)len };

	txn_put(op, key, &d, sizeof(d), name, (uint32_t)len);
}

/* Looks for an entry, not at the count in the inode: a wrong count must not lose files. */
int dir_empty(struct op *op, uint64_t dir)
{
	struct key key = KEY(dir, ITEM_DIRENT, 0);
	struct item item;
	int r = tree_ceil(op, &key, &item);

	if (r)
		return r == -ENOENT ? 0 : r;
	return item.key.object == dir && item.key.type == ITEM_DIRENT ? -ENOTEMPTY : 0;
}

/* A directory without links is being reaped: nothing may be made in it any more, though it may still be open. */
int dir_load(struct op *op, uint64_t dir, struct inode_disk *d)
{
	int r = inode_load(op, dir, d);

	if (r)
		return r;
	if (!S_ISDIR(inode_mode(d)))
		return -ENOTDIR;
	return get32(d->nlink) ? 0 : -ENOENT;
}

/* ---- lookup ---- */

/* "." and ".." are no entries: ".." is what the inode has as its parent (the root's is itself). */
static int lookup_find(struct op *op, size_t len, struct dir_entry *d)
{
	struct inode_disk dir;
	int r = inode_load(op, op->ino, &dir);

	if (r)
		return r;
	if (!S_ISDIR(inode_mode(&dir)))
		return -ENOTDIR;
	if (strcmp(op->name, ".") && strcmp(op->name, ".."))
		return dir_find(op, op->ino, op->name, len, d);
	d->ino = op->name[1] ? get64(dir.parent) : op->ino;
	return 0;
}

/* Counts the look-up before the lock is released: until the kernel knows the inode nobody can reap it. */
static int lookup_locked(struct op *op, size_t len)
{
	struct fs *fs = op->worker->fs;
	struct inode_disk child;
	struct inode *in;
	struct dir_entry d;
	int r = lookup_find(op, len, &d);

	if (!r)
		r = inode_load(op, d.ino, &child);
	else
		return r;
	if (r)
		return r == -ENOENT ? -E_BAD_ITEM : r; /* a name of nothing */
	in = inode_get(fs, d.ino, NULL);
	if (!in)
		return -ENOMEM;
	inode_stat(d.ino, &child, &op->attr);
	/* These are not names to show in messages. */
	if (op->name[0] == '.' && (len == 1 || (len == 2 && op->name[1] == '.')))
		inode_looked_up(fs, in, 0, NULL, 0);
	else
		inode_looked_up(fs, in, op->ino, op->name, len);
	inode_put(fs, in);
	return 0;
}

int fs_lookup(struct op *op)
{
	struct fs *fs = op->worker->fs;
	size_t len;
	int r = name_check(op->name, &len);

	if (r)
		return r;
	fs_lock_shared(fs);
	r = lookup_locked(op, len);
	fs_unlock(fs);
	return r;
}

/* ---- readdir ---- */

/* First pass with attributes: the inodes of the next entries come into memory, all misses at once. Damaged ones are
 * left to the second pass. */
static int attrs_gather(struct op *op, uint64_t from)
{
	struct key key = KEY(op->ino, ITEM_DIRENT, from);
	struct inode_disk d;
	struct cursor c;
	struct item item;
	unsigned n = 0;
	bool parked = false;
	int r;

	for (r = cursor_first(&c, op, &key, &item); !r && n++ < ATTR_BATCH; r = cursor_next(&c, &item)) {
		uint64_t ino;
		uint8_t type;
		size_t len;

		if (item.key.object != op->ino || item.key.type != ITEM_DIRENT)
			break;
		if (dirent_parse(&item, &len, &ino, &type) && inode_load(op, ino, &d) == -E_PARKED)
			parked = true;
	}
	if (r && r != -ENOENT)
		return r;
	return parked ? -E_PARKED : 0;
}

/* Non-zero: it did not fit. Attributes in a directory listing count as a look-up, but only if the entry got into
 * the reply; the reference keeps the inode between the two. */
static int emit_attr(struct op *op, const char *name, size_t len, uint64_t ino, uint8_t type, uint64_t cookie)
{
	struct fs *fs = op->worker->fs;
	struct inode_disk d;
	struct inode *in;
	struct stat st;
	int r;

	if (inode_load(op, ino, &d))
		return op->emit(op, name, len, ino, type, NULL, cookie); /* damaged: the name at least */
	in = inode_get(fs, ino, NULL);
	if (!in)
		return op->emit(op, name, len, ino, type, NULL, cookie);
	inode_stat(ino, &d, &st);
	r = op->emit(op, name, len, ino, type, &st, cookie);
	if (!r)
		inode_looked_up(fs, in, op->ino, name, len);
	inode_put(fs, in);
	return r;
}

/* A damaged entry costs itself, not the rest of the directory. The cookie that goes with an entry is its own key:
 * reading goes on behind it, whatever was made or removed meanwhile. */
static int emit_entries(struct op *op, uint64_t from)
{
	struct key key = KEY(op->ino, ITEM_DIRENT, from);
	bool plus = op->flags & 1;
	struct cursor c;
	struct item item;
	unsigned n = 0;
	int r;

	for (r = cursor_first(&c, op, &key, &item); !r; r = cursor_next(&c, &item)) {
		const char *name;
		uint64_t ino;
		uint8_t type;
		size_t len;

		if (item.key.object != op->ino || item.key.type != ITEM_DIRENT || (plus && n++ == ATTR_BATCH))
			return 0;
		name = dirent_parse(&item, &len, &ino, &type);
		if (!name) {
			log_error("damaged entry %llx in directory %llu is left out", (unsigned long long)item.key.offset,
				  (unsigned long long)op->ino);
			continue;
		}
		if (plus ? emit_attr(op, name, len, ino, type, item.key.offset) :
		    op->emit(op, name, len, ino, type, NULL, item.key.offset))
			return 0;
	}
	return r == -ENOENT ? 0 : r;
}

/* "." and ".." are no entries; their attributes are no look-ups. True: does not fit. */
static bool emit_dots(struct op *op, const struct inode_disk *dir)
{
	struct stat st;

	inode_stat(op->ino, dir, &st);
	if (op->off < COOKIE_DOT && op->emit(op, ".", 1, op->ino, DT_DIR, op->flags & 1 ? &st : NULL, COOKIE_DOT))
		return true;
	st.st_ino = get64(dir->parent);
	return op->off < COOKIE_DOTDOT &&
	       op->emit(op, "..", 2, st.st_ino, DT_DIR, op->flags & 1 ? &st : NULL, COOKIE_DOTDOT);
}

/* With attributes every node is in memory before the first entry is emitted, so that no look-up is counted twice.
 * Without them a miss in the middle parks, and reset() empties what was emitted. A removed directory that is still
 * open lists nothing but its dots. */
static int readdir_locked(struct op *op)
{
	uint64_t from = MAX(op->off, COOKIE_DOTDOT) + 1;
	struct inode_disk dir;
	int r = inode_load(op, op->ino, &dir);

	if (!r && !S_ISDIR(inode_mode(&dir)))
		r = -ENOTDIR;
	if (!r && op->flags & 1)
		r = attrs_gather(op, from);
	if (r)
		return r;
	if (op->reset)
		op->reset(op);
	if (emit_dots(op, &dir) || !get32(dir.nlink))
		return 0;
	return emit_entries(op, from);
}

/* op->off is a cookie from the kernel; those that no entry can have end the listing. */
int fs_readdir(struct op *op)
{
	struct fs *fs = op->worker->fs;
	int r;

	if (op->off > INT64_MAX - 1)
		return 0;
	fs_lock_shared(fs);
	r = readdir_locked(op);
	fs_unlock(fs);
	return r;
}
