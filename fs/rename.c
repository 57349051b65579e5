/* SPDX-License-Identifier: Apache-2.0 */
/* Rename: one transaction over at most two directories, two entries, two inodes and an orphan. */
#include <stdio.h>
#include <string.h>
#include "fs/dir.h"
#include "fs/inode.h"
#include "fs/namei.h"
#include "fs/ops.h"
#include "fs/txn.h"

#define DEPTH_MAX (1u << 20)     /* more levels than that are a cycle */

/* One end of a rename: a name in a directory, and what it names if it is there. */
struct side {
	uint64_t dir;
	const char *name;
	size_t len;
	struct inode_disk *dir_inode; /* both sides share one if the directories are the same */
	struct dir_entry de;
	struct inode_disk d;       /* of what the entry names */
	bool found, is_dir;
};

struct renaming {
	struct side from, to;
	struct inode_disk dirs[2];
	bool replaces_last;        /* the target's last name goes */
};

/* ---- gathering ---- */

/* -ENOENT leaves a free place for the new entry in s->de.key. An entry that names nothing is damage, not absence. */
static int side_load(struct op *op, struct side *s)
{
	int r = dir_find(op, s->dir, s->name, s->len, &s->de);

	s->found = !r;
	if (r)
		return r;
	r = inode_load(op, s->de.ino, &s->d);
	if (r)
		return r == -ENOENT ? -E_BAD_ITEM : r;
	s->is_dir = S_ISDIR(inode_mode(&s->d));
	return 0;
}

/* One copy for one directory: two would be stored one after the other, and the second would undo the first's
 * counts. */
static int dirs_load(struct op *op, struct renaming *m)
{
	int r = dir_load(op, m->from.dir, &m->dirs[0]);

	m->from.dir_inode = m->to.dir_inode = &m->dirs[0];
	if (r || m->from.dir == m->to.dir)
		return r;
	m->to.dir_inode = &m->dirs[1];
	return dir_load(op, m->to.dir, &m->dirs[1]);
}

/* -EINVAL if dir lies below (or is) the directory ino, which is to be moved into it. Goes up by the parents in the
 * inodes, which the exclusive lock keeps still; each step may park, and what was read stays pinned. */
static int cycle_check(struct op *op, uint64_t ino, uint64_t dir)
{
	struct inode_disk d;

	for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
		int r;

		if (dir == ino)
			return -EINVAL;
		if (dir == INO_ROOT)
			return 0;
		r = inode_load(op, dir, &d);
		if (r)
			return r == -ENOENT ? -E_BAD_ITEM : r;
		dir = get64(d.parent);
	}
	return -E_BAD_ITEM;
}

/* May the target be replaced by the source? A directory's only name is its last one. */
static int replace_check(struct op *op, struct renaming *m)
{
	if (m->from.is_dir && !m->to.is_dir)
		return -ENOTDIR;
	if (!m->from.is_dir && m->to.is_dir)
		return -EISDIR;
	if (!get32(m->to.d.nlink))
		return -E_BAD_ITEM;
	m->replaces_last = m->to.is_dir || get32(m->to.d.nlink) == 1;
	return m->to.is_dir ? dir_empty(op, m->to.de.ino) : 0;
}

/* An exchange moves two things, so both ways are looked at. In one directory nothing changes its parent. */
static int cycles_check(struct op *op, const struct renaming *m)
{
	int r = 0;

	if (m->from.dir == m->to.dir)
		return 0;
	if (m->from.is_dir)
		r = cycle_check(op, m->from.de.ino, m->to.dir);
	if (!r && op->flags & RENAME_EXCHANGE && m->to.is_dir)
		r = cycle_check(op, m->to.de.ino, m->from.dir);
	return r;
}

/* Whether it is there does not matter, only that its leaf is in memory. */
static int orphan_key_gather(struct op *op, uint64_t ino)
{
	struct key key = KEY(0, ITEM_ORPHAN, ino);
	struct item item;
	int r = tree_get(op, &key, &item);

	return r == -ENOENT ? 0 : r;
}

/* The order of errors is the kernel's: what exists or not comes before what lies below what. 1: nothing to do, both
 * names are the same file's, which rename(2) leaves as they are. Eight keys at most: two entries, two directories,
 * two inodes, an ORPHAN, and one to spare. */
static int rename_gather(struct op *op, struct renaming *m)
{
	int r = dirs_load(op, m);

	if (!r)
		r = side_load(op, &m->from);
	if (r)
		return r == -E_NO_SPACE ? -ENOENT : r;
	r = side_load(op, &m->to);
	if (r && (r != -ENOENT || op->flags & RENAME_EXCHANGE))
		return r;
	if (m->to.found && op->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (m->to.found && m->to.de.ino == m->from.de.ino)
		return 1;
	r = cycles_check(op, m);
	if (!r && m->to.found && !(op->flags & RENAME_EXCHANGE))
		r = replace_check(op, m);
	if (!r && m->replaces_last)
		r = orphan_key_gather(op, m->to.de.ino);
	if (!r && m->from.is_dir && m->from.dir != m->to.dir && get32(m->to.dir_inode->nlink) >= LINKS_MAX)
		r = -EMLINK;
	return r ? r : txn_begin(op, 8, false);
}

/* ---- applying ---- */

/* The inode of a side stands under another directory now. Its change time moves, as on most file systems. */
static void moved(struct op *op, struct side *s, uint64_t dir)
{
	if (s->is_dir)
		s->d.parent = put64(dir);
	inode_touch(&s->d, false);
	inode_store(op, s->de.ino, &s->d);
}

/* Counts by side; within one directory they add up, and it is stored once. */
static void dirs_store(struct op *op, struct renaming *m, int entries_from, int entries_to, int subs_from, int subs_to)
{
	if (m->from.dir == m->to.dir) {
		dir_changed(op, m->from.dir, m->from.dir_inode, entries_from + entries_to, subs_from + subs_to);
		return;
	}
	dir_changed(op, m->from.dir, m->from.dir_inode, entries_from, subs_from);
	dir_changed(op, m->to.dir, m->to.dir_inode, entries_to, subs_to);
}

/* Both entries keep their keys, so their number does not change; the number of subdirectories does if a directory
 * trades places with something else. */
static void exchange_apply(struct op *op, struct renaming *m)
{
	int subs = m->to.is_dir - m->from.is_dir;

	dir_put(op, &m->from.de.key, m->to.de.ino, m->to.de.type, m->from.name, m->from.len);
	dir_put(op, &m->to.de.key, m->from.de.ino, m->from.de.type, m->to.name, m->to.len);
	moved(op, &m->from, m->to.dir);
	moved(op, &m->to, m->from.dir);
	dirs_store(op, m, 0, 0, subs, -subs);
}

/* The target's entry keeps its key: whoever is reading the directory sees the name once, before or after. */
static void rename_apply(struct op *op, struct renaming *m)
{
	txn_del(op, &m->from.de.key);
	dir_put(op, &m->to.de.key, m->from.de.ino, m->from.de.type, m->to.name, m->to.len);
	moved(op, &m->from, m->to.dir);
	if (m->to.found)
		inode_drop_name(op, m->to.de.ino, &m->to.d, m->replaces_last);
	dirs_store(op, m, -1, m->to.found ? 0 : 1, m->from.is_dir ? -1 : 0,
		   (m->from.is_dir ? 1 : 0) - (m->to.found && m->to.is_dir ? 1 : 0));
}

/* After the commit, under the same lock: names for messages, and the orphan, which may be reaped from now on. */
static void rename_known(struct op *op, const struct renaming *m)
{
	struct fs *fs = op->worker->fs;

	inode_named(fs, m->from.de.ino, m->to.dir, m->to.name, m->to.len);
	if (op->flags & RENAME_EXCHANGE) {
		inode_named(fs, m->to.de.ino, m->from.dir, m->from.name, m->from.len);
		return;
	}
	if (m->to.found)
		inode_unnamed(fs, m->to.de.ino, m->to.dir, m->to.name, m->to.len);
	if (m->replaces_last)
		orphan_known(fs, m->to.de.ino);
}

static int rename_locked(struct op *op, struct renaming *m)
{
	int r = rename_gather(op, m);

	if (r)
		return r == 1 ? 0 : r;
	if (op->flags & RENAME_EXCHANGE)
		exchange_apply(op, m);
	else
		rename_apply(op, m);
	txn_commit(op);
	rename_known(op, m);
	return 0;
}

/* RENAME_WHITEOUT is not offered. Both flags at once contradict each other (renameat2(2)). */
static int rename_check(struct op *op, struct renaming *m)
{
	int r = name_check(op->name, &m->from.len);

	if (!r)
		r = name_check(op->name2, &m->to.len);
	if (!r && (!strcmp(op->name, ".") || !strcmp(op->name, "..") || !strcmp(op->name2, ".") || !strcmp(op->name2, "..")))
		r = -EBUSY;
	if (!r && (op->flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
		   (op->flags & RENAME_NOREPLACE && op->flags & RENAME_EXCHANGE)))
		r = -EINVAL;
	return r ? r : fs_may_write(op->worker->fs);
}

int fs_rename(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct renaming m = { .from = { .dir = op->ino, .name = op->name }, .to = { .dir = op->ino2, .name = op->name2 } };
	int r = rename_check(op, &m);

	if (r)
		return r;
	fs_lock_excl(fs);
	r = rename_locked(op, &m);
	fs_unlock(fs);
	return r;
}
