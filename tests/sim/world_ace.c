/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of the bounded exhaustive workloads (after CrashMonkey's ACE, OSDI 2018): each does one thing to a small
 * tree: /a (three blocks), /b (small, inline), /c (hard link of /d/c), /d. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "tests/sim/world.h"

static int same(struct world *w, const char *what, int got, int expected)
{
	if (err_errno(got) == expected)
		return 0;
	fprintf(stderr, "%s: %s, expected %d\n", what, err_name(got), expected);
	return -1;
}

static int make(struct world *w, uint64_t dir, const char *name, uint32_t mode)
{
	struct stat st = {0};
	int r = S_ISDIR(mode) ? sim_mkdir(w->s, dir, name, mode & 07777, 0, 0, &st) :
		S_ISLNK(mode) ? sim_symlink(w->s, dir, name, "target", &st) :
				sim_mknod(w->s, dir, name, mode, 0, 0, 0, &st);
	uint64_t ino = r ? UINT64_MAX : st.st_ino;

	if (r && model_lookup(&w->m, dir, name))
		return same(w, "make", r, -EEXIST);
	return same(w, "make", r, model_mknod(&w->m, dir, name, ino, mode, 0, 0, 0, S_ISLNK(mode) ? "target" : NULL));
}

static int put(struct world *w, uint64_t ino, uint64_t off, uint32_t len)
{
	int64_t r;

	if (!ino)
		return 0;
	memset(w->buf, (int)(1 + w->steps % 250), len);
	r = sim_write(w->s, ino, off, w->buf, len, 0);
	model_write(&w->m, ino, off, w->buf, len);
	return same(w, "write", r == len ? 0 : (int)MIN(r, -1), 0);
}

static int cut(struct world *w, uint64_t ino, uint64_t size)
{
	struct stat in = {.st_size = (off_t)size};

	if (!ino)
		return 0;
	model_truncate(&w->m, ino, size);
	return same(w, "truncate", sim_setattr(w->s, ino, SET_SIZE, &in, NULL), 0);
}

static int hole(struct world *w, uint64_t ino, uint64_t off, uint64_t len)
{
	if (!ino)
		return 0;
	model_zero(&w->m, ino, off, len, true);
	return same(w, "punch", sim_fallocate(w->s, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len), 0);
}

static int move(struct world *w, uint64_t dir, const char *name, uint64_t dir2, const char *name2, unsigned flags)
{
	if (!dir || !dir2)
		return 0;
	return same(w, "rename", sim_rename(w->s, dir, name, dir2, name2, flags),
		    model_rename(&w->m, dir, name, dir2, name2, flags));
}

static int drop(struct world *w, uint64_t dir, const char *name)
{
	if (!dir)
		return 0;
	return same(w, "unlink", sim_unlink(w->s, dir, name), model_unlink(&w->m, dir, name));
}

static int attr(struct world *w, uint64_t ino, uint32_t len)
{
	if (!ino)
		return 0;
	memset(w->buf, (int)(1 + w->steps % 250), len);
	return same(w, "setxattr", sim_setxattr(w->s, ino, "user.x", w->buf, len, 0),
		    model_setxattr(&w->m, ino, "user.x", w->buf, len, 0));
}

static int mode(struct world *w, uint64_t ino)
{
	struct stat in = {.st_mode = 0421};
	struct mnode *n = model_edit(&w->m, ino);

	if (!n)
		return 0;
	n->mode = (n->mode & S_IFMT) | 0421;
	model_stamp(n, M_CTIME);
	return same(w, "chmod", sim_setattr(w->s, ino, SET_MODE, &in, NULL), 0);
}

static int run(struct world *w, unsigned op)
{
	uint64_t a = model_lookup(&w->m, INO_ROOT, "a"), b = model_lookup(&w->m, INO_ROOT, "b");
	uint64_t d = model_lookup(&w->m, INO_ROOT, "d");

	switch (op) {
	case 0: return make(w, INO_ROOT, "n", S_IFREG | 0644);
	case 1: return make(w, INO_ROOT, "e", S_IFDIR | 0755);
	case 2: return make(w, INO_ROOT, "s", S_IFLNK | 0777);
	case 3: return put(w, a, 0, 100);              /* part of the first block */
	case 4: return put(w, a, 4000, 300);           /* over a border */
	case 5: return put(w, a, 4096, 4096);          /* a whole block */
	case 6: return put(w, a, 12000, 9000);         /* append, unaligned */
	case 7: return put(w, a, 600000, 10);          /* beyond a hole */
	case 8: return put(w, b, 10, 50);              /* inline */
	case 9: return put(w, b, 100, 3000);           /* out of the inode */
	case 10: return cut(w, a, 0);
	case 11: return cut(w, a, 5000);
	case 12: return cut(w, a, 100000);
	case 13: return cut(w, b, 3);
	case 14: return hole(w, a, 1000, 6000);
	case 15: return a ? same(w, "link", sim_link(w->s, a, INO_ROOT, "l", NULL), model_link(&w->m, a, INO_ROOT, "l")) : 0;
	case 16: return drop(w, INO_ROOT, "a");
	case 17: return drop(w, d, "c");
	case 18: return drop(w, INO_ROOT, "c");
	case 19: return move(w, INO_ROOT, "a", INO_ROOT, "b", 0);
	case 20: return move(w, INO_ROOT, "b", d, "a", 0);
	case 21: return move(w, INO_ROOT, "a", INO_ROOT, "b", RENAME_EXCHANGE);
	case 22: return same(w, "rmdir", sim_rmdir(w->s, INO_ROOT, "d"), model_rmdir(&w->m, INO_ROOT, "d"));
	case 23: return attr(w, a, 20);
	case 24: return attr(w, b, 3000);
	default: return mode(w, b);
	}
}

int world_ace_op(struct world *w, unsigned op, unsigned after)
{
	struct timespec start = clock_wall();
	int r;

	w->steps++;
	snprintf(w->what, sizeof(w->what), "exhaustive operation %u, then %u", op, after);
	w->synced = false;
	if (run(w, op) || world_settle(w, start))
		return -1;
	r = after == 0 ? 0 : after == 1 ? sim_fsync(w->s, INO_ROOT) : sim_checkpoint(w->s);
	w->synced = after && r == 0;
	return r;
}

int world_ace_init(struct world *w)
{
	struct timespec start = clock_wall();
	uint64_t c;

	if (make(w, INO_ROOT, "a", S_IFREG | 0644) || make(w, INO_ROOT, "b", S_IFREG | 0644) ||
	    make(w, INO_ROOT, "c", S_IFREG | 0644) || make(w, INO_ROOT, "d", S_IFDIR | 0755))
		return -1;
	c = model_lookup(&w->m, INO_ROOT, "c");
	if (put(w, model_lookup(&w->m, INO_ROOT, "a"), 0, 12000) || put(w, model_lookup(&w->m, INO_ROOT, "b"), 0, 200) ||
	    same(w, "link", sim_link(w->s, c, model_lookup(&w->m, INO_ROOT, "d"), "c", NULL),
		 model_link(&w->m, c, model_lookup(&w->m, INO_ROOT, "d"), "c")))
		return -1;
	return world_settle(w, start) ? -1 : sim_checkpoint(w->s);
}
