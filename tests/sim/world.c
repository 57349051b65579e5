/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations on a simulated file system and on the model (world.h). */
#include "tests/sim/world.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include "base/clock.h"
#include "base/err.h"

/* ---- choosing ---- */

/* A live inode for which (mode & S_IFMT) == type (0: any); 0 if there is none. */
static uint64_t some_inode(struct world *w, uint32_t type)
{
	size_t start = rng_below(&w->rng, w->m.n);

	for (size_t i = 0; i < w->m.n; i++) {
		const struct mnode *n = w->m.nodes[(start + i) % w->m.n];

		if (n->nlink && n->ino != w->s->skip && (!type || (n->mode & S_IFMT) == type))
			return n->ino;
	}
	return 0;
}

/* A regular file: linked, or (sometimes) one that is only open. */
static uint64_t some_file(struct world *w)
{
	uint64_t ino = w->open[rng_below(&w->rng, WORLD_OPEN)];

	return ino && rng_one_in(&w->rng, 2) ? ino : some_inode(w, S_IFREG);
}

static uint64_t some_dir(struct world *w)
{
	return rng_one_in(&w->rng, 3) ? INO_ROOT : some_inode(w, S_IFDIR);
}

/* Names: mostly from a small set, so that they meet; sometimes long or odd. */
static const char *some_name(struct world *w, char *buf)
{
	unsigned n = (unsigned)rng_below(&w->rng, 12);

	if (rng_one_in(&w->rng, 30))
		n = 100 + (unsigned)rng_below(&w->rng, 400);
	if (rng_one_in(&w->rng, 25)) {
		unsigned len = rng_one_in(&w->rng, 2) ? 255 : 200;

		memset(buf, 'L', len);
		buf[0] = (char)('a' + n % 26);
		buf[len] = 0;
	} else {
		sprintf(buf, "n%u", n);
	}
	return buf;
}

/* A name that exists, as often as not. */
static const char *old_name(struct world *w, uint64_t dir, char *buf)
{
	const struct mnode *d = model_get(&w->m, dir);

	if (d->nentries && !rng_one_in(&w->rng, 5)) {
		const struct mentry *e = &d->entries[rng_below(&w->rng, d->nentries)];

		if (e->ino != w->s->skip)
			return strcpy(buf, e->name);
	}
	return some_name(w, buf);
}

/* A number near one that matters, at most max. */
static uint64_t some_size(struct world *w, uint64_t max)
{
	static const uint32_t edges[] = {0, 1, 100, 2048, 4096, 8192, 12288, 65536, 128 * 4096, 129 * 4096, 256 * 4096};
	uint64_t n;

	switch (rng_below(&w->rng, 4)) {
	case 0:
		n = rng_below(&w->rng, 3000);
		break;
	case 1:
		n = rng_below(&w->rng, max + 1);
		break;
	default:
		n = edges[rng_below(&w->rng, ARRAY_SIZE(edges))] + rng_below(&w->rng, 5) - 2;
		if (rng_one_in(&w->rng, 3))
			n = rng_below(&w->rng, max / MPAGE + 1) * MPAGE;
	}
	return n > max ? (n + 2 < 4 ? 0 : max) : n; /* -1 and -2 are 0 */
}

static void fill(struct world *w, uint32_t len)
{
	uint64_t word = w->steps << 32;

	for (uint32_t i = 0; i < len; i += 8) {
		uint64_t v = word + i + 1;

		memcpy(w->buf + i, &v, MIN(8u, len - i));
	}
	if (rng_one_in(&w->rng, 8))
		memset(w->buf + rng_below(&w->rng, len + 1) / 2, 0, len / 2); /* zeros that were written */
}

/* ---- judging ---- */

static int wrong(struct world *w, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "step %" PRIu64 ": %s: ", w->steps, w->what);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	return -1;
}

static bool is_fault(const struct world *w, int r)
{
	r = err_errno(r);
	return (w->tolerant && (r == -EIO || r == -EROFS || r == -ENOTCONN)) || (w->full && r == -ENOSPC) ||
	       (w->nomem && r == -ENOMEM);
}

/* What the file system said against what the model said. 0: go on. */
static int judge(struct world *w, int got, int expected)
{
	if (is_fault(w, got)) {
		if (w->trace)
			fprintf(stderr, "  failed: %s\n", err_name(got));
		w->errors++;
		return 0;
	}
	if (err_errno(got) == expected)
		return 0;
	return wrong(w, "%s (%d), expected %d", err_name(got), got, expected);
}

#define WHAT(...) \
	do { \
		snprintf(w->what, sizeof(w->what), __VA_ARGS__); \
		if (w->trace) \
			fprintf(stderr, "%" PRIu64 ": %s\n", w->steps, w->what); \
	} while (0)

/* Does the model's operation: on the model if the file system did it, else on a copy, to know what should have come. */
#define MODEL(got, expected, call) \
	do { \
		struct model scratch, *m = &w->m; \
		if (got) { \
			model_copy(&scratch, &w->m); \
			m = &scratch; \
		} \
		expected = call; \
		if (got) \
			model_exit(&scratch); \
		w->changed |= !(got); \
	} while (0)

static bool before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static int learn_time(struct world *w, uint64_t ino, const char *which, bool stamped, struct timespec start,
		      struct timespec got, struct timespec *known)
{
	if (!stamped && (got.tv_sec != known->tv_sec || got.tv_nsec != known->tv_nsec))
		return wrong(w, "inode %" PRIu64 ": %s changed from %ld.%09ld to %ld.%09ld", ino, which, known->tv_sec,
			     known->tv_nsec, got.tv_sec, got.tv_nsec);
	if (stamped && (before(got, start) || before(clock_wall(), got)))
		return wrong(w, "inode %" PRIu64 ": %s is %ld.%09ld, not between %ld.%09ld and now", ino, which, got.tv_sec,
			     got.tv_nsec, start.tv_sec, start.tv_nsec);
	*known = got;
	return 0;
}

static bool is_open(const struct world *w, uint64_t ino)
{
	for (unsigned i = 0; i < WORLD_OPEN; i++)
		if (w->open[i] == ino)
			return true;
	return false;
}

/* Asks for the attributes of what was stamped since start, and takes the times over. */
static int learn(struct world *w, struct timespec start)
{
	for (size_t i = 0; i < w->m.n; i++) {
		struct mnode *n = w->m.nodes[i];
		struct stat st;
		unsigned t = n->stamped;
		int r;

		if (!t)
			continue;
		n = model_edit(&w->m, n->ino);
		n->stamped = 0;
		if (!n->nlink && !is_open(w, n->ino))
			continue;
		sim_dev_pause_faults(w->s->dev, true);
		r = sim_getattr(w->s, n->ino, &st);
		sim_dev_pause_faults(w->s->dev, false);
		if (r && w->damaged && is_fault(w, r))
			continue;
		if (r)
			return wrong(w, "getattr of inode %" PRIu64 ": %s", n->ino, err_name(r));
		if (learn_time(w, n->ino, "atime", t & M_ATIME, start, st.st_atim, &n->atime) ||
		    learn_time(w, n->ino, "mtime", t & M_MTIME, start, st.st_mtim, &n->mtime) ||
		    learn_time(w, n->ino, "ctime", t & M_CTIME, start, st.st_ctim, &n->ctime))
			return -1;
		if (st.st_mode != n->mode || st.st_nlink != n->nlink || (!S_ISDIR(n->mode) && (uint64_t)st.st_size != n->size))
			return wrong(w, "inode %" PRIu64 ": mode %o nlink %lu size %ld, expected %o %u %" PRIu64, n->ino, st.st_mode,
				     st.st_nlink, st.st_size, n->mode, n->nlink, n->size);
	}
	return 0;
}

/* Forgets inodes without names that nobody has open. */
static void sweep(struct world *w)
{
	for (size_t i = w->m.n; i-- > 0;)
		if (!w->m.nodes[i]->nlink && !is_open(w, w->m.nodes[i]->ino))
			model_forget(&w->m, w->m.nodes[i]->ino);
}

int world_settle(struct world *w, struct timespec start)
{
	if (learn(w, start))
		return -1;
	sweep(w);
	return 0;
}

/* ---- the operations ---- */

static int do_make(struct world *w)
{
	static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR};
	uint64_t dir = some_dir(w), rdev = 0;
	uint32_t type = types[rng_below(&w->rng, ARRAY_SIZE(types))], mode = type | (rng_below(&w->rng, 010000) & 07777);
	uint32_t uid = (uint32_t)rng_below(&w->rng, 3) * 1000, gid = (uint32_t)rng_below(&w->rng, 3) * 1000;
	char name[300], target[4096] = "";
	struct stat st = {0};
	int r, e;

	some_name(w, name);
	if (type == S_IFCHR)
		rdev = 0x0501;
	if (type == S_IFLNK) {
		memset(target, 't', 1 + some_size(w, 4000));
		mode = S_IFLNK | 0777;
	}
	WHAT("make %o '%s' in %" PRIu64, mode, name, dir);
	if (type == S_IFDIR)
		r = sim_mkdir(w->s, dir, name, mode & 07777, uid, gid, &st);
	else if (type == S_IFLNK)
		r = sim_symlink(w->s, dir, name, target, &st), uid = gid = 0;
	else
		r = sim_mknod(w->s, dir, name, mode, rdev, uid, gid, &st);
	if (r == 0 && model_get(&w->m, st.st_ino))
		return wrong(w, "inode number %" PRIu64 " was given out again", (uint64_t)st.st_ino);
	MODEL(r, e, model_mknod(m, dir, name, r ? UINT64_MAX : st.st_ino, mode, rdev, uid, gid, *target ? target : NULL));
	return judge(w, r, e);
}

static int do_link(struct world *w)
{
	uint64_t dir = some_dir(w), ino = some_inode(w, rng_one_in(&w->rng, 4) ? S_IFLNK : S_IFREG);
	char name[300];
	int r, e;

	some_name(w, name);
	if (!ino)
		return 0;
	WHAT("link %" PRIu64 " as '%s' in %" PRIu64, ino, name, dir);
	r = sim_link(w->s, ino, dir, name, NULL);
	MODEL(r, e, model_link(m, ino, dir, name));
	return judge(w, r, e);
}

static int do_remove(struct world *w)
{
	uint64_t dir = some_dir(w), ino;
	char name[300];
	bool rmdir;
	int r, e;

	old_name(w, dir, name);
	ino = model_lookup(&w->m, dir, name);
	rmdir = ino ? S_ISDIR(model_get(&w->m, ino)->mode) : rng_one_in(&w->rng, 2);
	WHAT("%s '%s' (%" PRIu64 ") in %" PRIu64, rmdir ? "rmdir" : "unlink", name, ino, dir);
	r = rmdir ? sim_rmdir(w->s, dir, name) : sim_unlink(w->s, dir, name);
	MODEL(r, e, rmdir ? model_rmdir(m, dir, name) : model_unlink(m, dir, name));
	return judge(w, r, e);
}

static int do_rename(struct world *w)
{
	static const unsigned kinds[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned flags = kinds[rng_below(&w->rng, ARRAY_SIZE(kinds))];
	uint64_t dir = some_dir(w), dir2 = rng_one_in(&w->rng, 2) ? dir : some_dir(w);
	char name[300], name2[300];
	int r, e;

	old_name(w, dir, name);
	if (rng_one_in(&w->rng, 2))
		old_name(w, dir2, name2);
	else
		some_name(w, name2);
	WHAT("rename '%s' in %" PRIu64 " to '%s' in %" PRIu64 " flags %u", name, dir, name2, dir2, flags);
	r = sim_rename(w->s, dir, name, dir2, name2, flags);
	MODEL(r, e, model_rename(m, dir, name, dir2, name2, flags));
	return judge(w, r, e);
}

static int do_write(struct world *w)
{
	uint64_t ino = some_file(w), off;
	uint32_t len = (uint32_t)some_size(w, w->max_size < WORLD_BUF - 4096 ? w->max_size : WORLD_BUF - 4096);
	bool append = rng_one_in(&w->rng, 6);
	int64_t r;
	int e;

	if (!ino)
		return 0;
	off = append ? model_get(&w->m, ino)->size : some_size(w, w->max_size);
	if (rng_one_in(&w->rng, 200) && !append)
		off += 70 * MiB; /* far behind a hole */
	len += !len;
	if (off + len > 2 * w->max_size && off < 70 * MiB)
		return 0;
	fill(w, len);
	WHAT("write %" PRIu64 " %u bytes at %" PRIu64 "%s", ino, len, off, append ? " (append)" : "");
	r = sim_write(w->s, ino, append ? 0 : off, w->buf, len, append ? O_APPEND : 0);
	if (r == -ENOMEM) { /* a small arena in pieces between the pages of slow reads: the daemon would ask for less */
		if (world_finish_slow(w))
			return -1;
		r = sim_write(w->s, ino, append ? 0 : off, w->buf, len, append ? O_APPEND : 0);
	}
	if (r >= 0 && r != len && !(w->full && r > 0))
		return wrong(w, "%" PRId64 " of %u bytes written", r, len);
	len = r > 0 ? (uint32_t)r : len;
	r = MIN(r, 0);
	MODEL(r, e, model_write(m, ino, off, w->buf, len));
	return judge(w, (int)r, e);
}

static int do_read(struct world *w)
{
	uint64_t ino = some_file(w), off = some_size(w, w->max_size);
	uint32_t len = (uint32_t)some_size(w, WORLD_BUF - 1) + 1;
	const struct mnode *n = ino ? model_get(&w->m, ino) : NULL;
	uint64_t expected;
	int64_t r;

	if (!n)
		return 0;
	expected = off >= n->size ? 0 : MIN(n->size - off, (uint64_t)len);
	WHAT("read %" PRIu64 " %u bytes at %" PRIu64, ino, len, off);
	r = sim_read(w->s, ino, off, w->buf, len);
	if (r < 0)
		return judge(w, (int)r, 0);
	if ((uint64_t)r != expected)
		return wrong(w, "%" PRId64 " bytes read, expected %" PRIu64, r, expected);
	model_read(n, off, w->buf2, (uint32_t)r);
	for (int64_t i = 0; i < r; i++)
		if (w->buf[i] != w->buf2[i])
			return wrong(w, "byte %" PRIu64 " is %02x, expected %02x", off + (uint64_t)i, w->buf[i], w->buf2[i]);
	return 0;
}

static int do_truncate(struct world *w)
{
	uint64_t ino = some_file(w), size = some_size(w, w->max_size);
	struct stat in = {.st_size = (off_t)size};
	int r, e;

	if (!ino)
		return 0;
	if (rng_one_in(&w->rng, 4))
		in.st_size = (off_t)(size = MIN(size, model_get(&w->m, ino)->size));
	WHAT("truncate %" PRIu64 " from %" PRIu64 " to %" PRIu64, ino, model_get(&w->m, ino)->size, size);
	r = sim_setattr(w->s, ino, SET_SIZE, &in, NULL);
	MODEL(r, e, model_truncate(m, ino, size));
	return judge(w, r, e);
}

static int do_fallocate(struct world *w)
{
	static const unsigned modes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
					 FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	uint64_t ino = some_file(w), off = some_size(w, w->max_size), len = 1 + some_size(w, w->max_size);
	unsigned mode = modes[rng_below(&w->rng, ARRAY_SIZE(modes))];
	int r, e;

	if (!ino)
		return 0;
	WHAT("fallocate %" PRIu64 " mode %u at %" PRIu64 " for %" PRIu64, ino, mode, off, len);
	r = sim_fallocate(w->s, ino, mode, off, len);
	if (r == -EOPNOTSUPP)
		return 0;
	MODEL(r, e, model_zero(m, ino, off, len, mode & FALLOC_FL_KEEP_SIZE));
	return judge(w, r, e);
}

static struct timespec some_time(struct world *w)
{
	static const int64_t seconds[] = {0, -1, -2000000000, 1, 1700000000, 4294967296, 17179869183};

	return (struct timespec){seconds[rng_below(&w->rng, ARRAY_SIZE(seconds))], (long)rng_below(&w->rng, NS_PER_S)};
}

static int do_setattr(struct world *w)
{
	uint64_t ino = some_inode(w, 0);
	unsigned valid = (unsigned)rng_below(&w->rng, 128) & ~SET_SIZE;
	struct stat in = {.st_mode = rng_below(&w->rng, 010000), .st_uid = rng_below(&w->rng, 5), .st_gid = rng_below(&w->rng, 5)};
	struct mnode *n;
	int r;

	in.st_atim = some_time(w);
	in.st_mtim = some_time(w);
	in.st_ctim = some_time(w);
	if (S_ISLNK(model_get(&w->m, ino)->mode))
		valid &= ~SET_MODE;
	if (!valid)
		return 0;
	WHAT("setattr %" PRIu64 " valid %x mode %o", ino, valid, in.st_mode);
	r = sim_setattr(w->s, ino, valid, &in, NULL);
	if (r)
		return judge(w, r, 0);
	n = model_edit(&w->m, ino);
	n->mode = valid & SET_MODE ? (n->mode & S_IFMT) | in.st_mode : n->mode;
	n->uid = valid & SET_UID ? in.st_uid : n->uid;
	n->gid = valid & SET_GID ? in.st_gid : n->gid;
	n->atime = valid & SET_ATIME ? in.st_atim : n->atime;
	n->mtime = valid & SET_MTIME ? in.st_mtim : n->mtime;
	if (valid & SET_CTIME)
		n->ctime = in.st_ctim;
	else
		model_stamp(n, M_CTIME);
	w->changed = true;
	return 0;
}

static int do_xattr(struct world *w)
{
	static const char *const names[] = {"user.a", "user.b", "user.c", "trusted.x", "security.selinux", "user.long"};
	static const int kinds[] = {0, 0, XATTR_CREATE, XATTR_REPLACE};
	uint64_t ino = some_inode(w, rng_one_in(&w->rng, 3) ? 0 : S_IFREG);
	const char *name = names[rng_below(&w->rng, ARRAY_SIZE(names))];
	uint32_t len = (uint32_t)some_size(w, 3000);
	int r, e, flags = kinds[rng_below(&w->rng, ARRAY_SIZE(kinds))];

	if (!ino)
		return 0;
	if (rng_one_in(&w->rng, 3)) {
		WHAT("removexattr %" PRIu64 " %s", ino, name);
		r = sim_removexattr(w->s, ino, name);
		MODEL(r, e, model_removexattr(m, ino, name));
		return judge(w, r, e);
	}
	fill(w, len);
	WHAT("setxattr %" PRIu64 " %s %u bytes flags %d", ino, name, len, flags);
	r = sim_setxattr(w->s, ino, name, w->buf, len, flags);
	MODEL(r, e, model_setxattr(m, ino, name, w->buf, len, flags));
	return judge(w, r, e);
}

static int do_open(struct world *w)
{
	unsigned i = (unsigned)rng_below(&w->rng, WORLD_OPEN);
	bool trunc = rng_one_in(&w->rng, 10);
	uint64_t ino;
	int r, e;

	if (w->open[i]) {
		WHAT("release %" PRIu64, w->open[i]);
		r = sim_release(w->s, w->open[i]);
		w->open[i] = 0;
		return judge(w, r, 0);
	}
	ino = some_file(w);
	if (!ino || (trunc && !model_get(&w->m, ino)->nlink))
		return 0;
	WHAT("open %" PRIu64 "%s", ino, trunc ? " O_TRUNC" : "");
	r = sim_open_file(w->s, ino, O_RDWR | (trunc ? O_TRUNC : 0));
	if (r == 0)
		w->open[i] = ino;
	if (trunc) {
		MODEL(r, e, model_truncate(m, ino, 0));
		return judge(w, r, e);
	}
	return judge(w, r, 0);
}

static int do_seek(struct world *w)
{
	uint64_t ino = some_file(w), off = some_size(w, w->max_size), end;
	const struct mnode *n = ino ? model_get(&w->m, ino) : NULL;
	bool data = rng_one_in(&w->rng, 2);
	int64_t r;

	if (!n)
		return 0;
	WHAT("lseek %" PRIu64 " %s from %" PRIu64, ino, data ? "data" : "hole", off);
	r = sim_lseek(w->s, ino, off, data ? SEEK_DATA : SEEK_HOLE);
	if (r < 0 && (r != -ENXIO || (!data && off < n->size)))
		return judge(w, (int)r, off >= n->size ? -ENXIO : 0);
	if (r >= 0 && ((uint64_t)r < off || (uint64_t)r > n->size || off >= n->size))
		return wrong(w, "%" PRId64 " is no possible answer", r);
	if (!data)
		return 0;
	end = r < 0 ? n->size : (uint64_t)r; /* what was skipped must be zeros */
	for (uint64_t page = off / MPAGE; page * MPAGE < end && page < n->npages; page++) {
		uint64_t low = MAX(off, page * MPAGE), high = MIN(end, (page + 1) * MPAGE);

		for (uint64_t at = low; n->pages[page] && at < high; at++)
			if (n->pages[page]->bytes[at % MPAGE])
				return wrong(w, "skipped data at %" PRIu64, at);
	}
	return 0;
}

static int do_sync(struct world *w)
{
	uint64_t ino = some_inode(w, 0);
	bool whole = rng_one_in(&w->rng, 4);
	int r;

	if (w->no_sync)
		return 0;
	WHAT("%s %" PRIu64, whole ? "checkpoint" : "fsync", ino);
	r = whole ? sim_checkpoint(w->s) : sim_fsync(w->s, ino);
	w->synced = r == 0;
	return judge(w, r, 0);
}

static int do_pass(struct world *w)
{
	uint64_t ns = rng_below(&w->rng, 3 * NS_PER_S);

	WHAT("%" PRIu64 " ms pass", (uint64_t)(ns / NS_PER_MS));
	sim_run_for(w->s, ns);
	return 0;
}

static int do_lookup(struct world *w)
{
	uint64_t dir = some_dir(w), ino;
	struct stat st;
	char name[300];
	int r;

	old_name(w, dir, name);
	ino = model_lookup(&w->m, dir, name);
	WHAT("lookup '%s' in %" PRIu64, name, dir);
	r = sim_lookup(w->s, dir, name, &st);
	if (r == 0 && ino != st.st_ino)
		return wrong(w, "inode %" PRIu64 ", expected %" PRIu64, (uint64_t)st.st_ino, ino);
	return judge(w, r, ino ? 0 : -ENOENT);
}

/* ---- several at once ---- */

#define PARALLEL 4u

struct parallel {
	struct sim_call call;
	uint64_t ino, off;
	uint32_t len;
	enum { P_WRITE, P_TRUNCATE, P_FSYNC } what;
	uint8_t *data;
};

static void parallel_prepare(struct world *w, struct parallel *p)
{
	p->what = rng_one_in(&w->rng, 5) ? P_FSYNC : rng_one_in(&w->rng, 4) ? P_TRUNCATE : P_WRITE;
	p->off = some_size(w, w->max_size);
	p->len = (uint32_t)some_size(w, MIN(w->max_size, w->s->conf.cache_bytes / 32)) + 1; /* as the daemon's max_write */
	if (p->what == P_WRITE) {
		w->steps += 1ull << 31; /* bytes of its own */
		fill(w, p->len);
		w->steps -= 1ull << 31;
		p->data = malloc(p->len);
		assert(p->data);
		memcpy(p->data, w->buf, p->len);
		if (sim_write_prepare(w->s, &p->call, p->ino, p->off, p->data, p->len))
			abort();
		return;
	}
	sim_call_init(w->s, &p->call, p->what == P_FSYNC ? fs_fsync : fs_setattr);
	p->call.op->ino = p->ino;
	p->call.op->valid = SET_SIZE;
	p->call.op->off = p->off;
}

static int parallel_judge(struct world *w, struct parallel *p)
{
	int r = sim_finish(w->s, &p->call);
	uint64_t n = p->call.op->result;

	sim_end(w->s, &p->call);
	if (r)
		return judge(w, r, 0);
	if (p->what == P_FSYNC)
		return 0;
	if (p->what == P_WRITE && n != p->len && !(w->full && n > 0))
		return wrong(w, "%" PRIu64 " of %u bytes written to %" PRIu64, n, p->len, p->ino);
	if (p->what == P_WRITE)
		model_write(&w->m, p->ino, p->off, p->data, (uint32_t)n);
	else
		model_truncate(&w->m, p->ino, p->off);
	w->changed = true;
	return 0;
}

static int do_parallel(struct world *w)
{
	struct parallel all[PARALLEL] = {0};
	unsigned n = 0;
	int r = 0;

	if (w->no_parallel)
		return 0;
	for (unsigned tries = 0; tries < 2 * PARALLEL && n < PARALLEL; tries++) {
		uint64_t ino = some_inode(w, S_IFREG);
		bool taken = !ino;

		for (unsigned i = 0; i < n; i++)
			taken |= all[i].ino == ino;
		if (!taken)
			all[n++].ino = ino;
	}
	for (unsigned i = 0; i < n; i++)
		parallel_prepare(w, &all[i]);
	WHAT("%u at once:%s", n, "");
	for (unsigned i = 0; i < n; i++) {
		if (w->trace)
			fprintf(stderr, "   %s %" PRIu64 " at %" PRIu64 " for %u\n",
				all[i].what == P_FSYNC ? "fsync" : all[i].what == P_WRITE ? "write" : "truncate", all[i].ino,
				all[i].off, all[i].len);
		sim_start(w->s, &all[i].call);
		for (uint64_t k = rng_below(&w->rng, 4); k > 0; k--)
			if (!sim_step(w->s) && rng_one_in(&w->rng, 2))
				sim_pass(w->s);
	}
	for (unsigned i = 0; i < n; i++) {
		if (parallel_judge(w, &all[i]))
			r = -1;
		free(all[i].data);
	}
	w->parallel = true;
	return r;
}

static int do_slow_read(struct world *w)
{
	uint64_t ino = some_file(w), off = some_size(w, w->max_size);
	uint32_t len = (uint32_t)some_size(w, w->s->conf.cache_bytes / 16 - 1) + 1; /* pinned until the step after it is done */

	if (!w->slow_reads)
		return 0;
	WHAT("slow read %" PRIu64 " %u bytes at %" PRIu64, ino, len, off);
	world_slow_start(w, ino, off, len);
	return 0;
}

static const struct {
	int (*run)(struct world *);
	unsigned weight;
} operations[] = {
	{do_make, 14}, {do_link, 4},      {do_remove, 9},  {do_rename, 8}, {do_write, 22}, {do_read, 8},  {do_truncate, 8},
	{do_xattr, 6}, {do_setattr, 5},   {do_open, 6},    {do_seek, 2},   {do_sync, 5},   {do_pass, 1},  {do_lookup, 4},
	{do_fallocate, 3}, {do_parallel, 10}, {do_slow_read, 6},
};

int world_step(struct world *w)
{
	struct timespec start = clock_wall();
	unsigned total = 0, pick;

	w->steps++;
	w->synced = w->changed = w->parallel = false;
	strcpy(w->what, "nothing");
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		total += operations[i].weight;
	pick = (unsigned)rng_below(&w->rng, total);
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		if (pick < operations[i].weight) {
			int (*run)(struct world *) = operations[i].run;

			if (run == do_make && w->m.n > w->max_nodes)
				run = do_remove;
			if (run(w))
				return -1;
			break;
		}
		pick -= operations[i].weight;
	}
	return world_settle(w, start) || world_list_step(w) ? -1 : world_slow_step(w);
}

/* ---- as a whole ---- */

int world_init(struct world *w, const struct sim_conf *conf)
{
	struct stat st;
	int r;

	*w = (struct world){.max_size = 1200 * KiB, .max_nodes = 40};
	w->rng.state = conf->seed;
	w->buf = calloc(1, WORLD_BUF);
	w->buf2 = calloc(1, WORLD_BUF);
	w->s = sim_new(conf);
	assert(w->buf && w->buf2);
	model_init_empty(&w->m);
	r = sim_format(w->s);
	if (r == 0)
		r = sim_mount(w->s);
	if (r == 0)
		r = sim_getattr(w->s, INO_ROOT, &st);
	if (r == 0)
		model_init(&w->m, &st);
	return r;
}

static int learn_all(struct world *w, uint64_t ino)
{
	struct mnode *n = model_edit(&w->m, ino);
	struct stat st;
	int r = sim_getattr(w->s, ino, &st);

	n->atime = st.st_atim;
	n->mtime = st.st_mtim;
	n->ctime = st.st_ctim;
	n->stamped = 0;
	return r;
}

int world_ballast(struct world *w, uint64_t leave)
{
	struct stat st;
	struct fs_info info;
	int64_t n = 1;
	int r = sim_mknod(w->s, INO_ROOT, "ballast", S_IFREG | 0600, 0, 0, 0, &st);
	uint64_t off = 0;

	if (r)
		return r;
	model_mknod(&w->m, INO_ROOT, "ballast", st.st_ino, S_IFREG | 0600, 0, 0, 0, NULL);
	w->s->skip = st.st_ino;
	memset(w->buf, 0xba, WORLD_BUF);
	for (fs_info(w->s->fs, &info); n > 0 && info.avail_blocks > leave; fs_info(w->s->fs, &info)) {
		n = sim_write(w->s, st.st_ino, off, w->buf, (uint32_t)MIN(WORLD_BUF, (info.avail_blocks - leave) * MPAGE), 0);
		off += (uint64_t)MAX(n, 0);
	}
	model_edit(&w->m, st.st_ino)->size = off;
	if (n <= 0 || sim_checkpoint(w->s) || learn_all(w, st.st_ino) || learn_all(w, INO_ROOT))
		return -1;
	w->full = true;
	return 0;
}

int world_age_journal(struct world *w, unsigned n)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < n; i++) {
		struct stat in = {.st_atim = {.tv_nsec = i}};

		r = sim_setattr(w->s, INO_ROOT, SET_ATIME, &in, NULL);
		if (r == 0)
			r = sim_fsync(w->s, INO_ROOT);
	}
	return r ? r : learn_all(w, INO_ROOT);
}

void world_exit(struct world *w)
{
	sim_free(w->s);
	world_drop_slow(w);
	world_list_drop(w);
	model_exit(&w->m);
	free(w->buf);
	free(w->buf2);
}

int world_close_all(struct world *w)
{
	if (world_finish_slow(w))
		return -1;
	for (unsigned i = 0; i < WORLD_OPEN; i++) {
		int r = w->open[i] ? sim_release(w->s, w->open[i]) : 0;

		w->open[i] = 0;
		if (r)
			return wrong(w, "release: %s", err_name(r));
	}
	sweep(w);
	return 0;
}

int world_compare(struct world *w)
{
	struct model now;
	char why[400] = "";
	int r = sim_load(w->s, &now);

	if (r == 0 && !model_equal(&now, &w->m, why, sizeof(why)))
		r = -1;
	model_exit(&now);
	return r ? wrong(w, "the tree is not the model's: %s", why) : 0;
}

int world_remount(struct world *w)
{
	int r;

	/* Not claimed yet, it would leave the device as it is, and late commands of a killed daemon could still change it. */
	if (world_close_all(w) || sim_wait_writable(w->s))
		return -1;
	r = sim_unmount(w->s);
	if (r)
		return wrong(w, "unmount: %s", err_name(r));
	r = sim_check(w->s);
	if (r)
		return wrong(w, "the checker is not content: %s", err_name(r));
	if (w->s->orphans)
		return wrong(w, "%" PRIu64 " orphans are left after an orderly end", w->s->orphans);
	r = sim_mount(w->s);
	if (r)
		return wrong(w, "mount: %s", err_name(r));
	return world_compare(w);
}

static int empty_dir(struct world *w, uint64_t dir)
{
	const struct mnode *d;

	while ((d = model_get(&w->m, dir))->nentries) {
		char name[256];
		uint64_t ino = d->entries[0].ino;
		bool is_dir = S_ISDIR(model_get(&w->m, ino)->mode);
		int r;

		strcpy(name, d->entries[0].name);
		if (is_dir && empty_dir(w, ino))
			return -1;
		snprintf(w->what, sizeof(w->what), "removing '%.255s'", name);
		r = is_dir ? sim_rmdir(w->s, dir, name) : sim_unlink(w->s, dir, name);
		if (r)
			return wrong(w, "%s", err_name(r));
		r = is_dir ? model_rmdir(&w->m, dir, name) : model_unlink(&w->m, dir, name);
		assert(r == 0);
	}
	return 0;
}

int world_empty(struct world *w)
{
	struct timespec start = clock_wall();

	if (world_close_all(w) || empty_dir(w, INO_ROOT) || learn(w, start))
		return -1;
	sweep(w);
	return 0;
}
