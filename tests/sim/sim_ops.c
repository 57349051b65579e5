/* SPDX-License-Identifier: Apache-2.0 */
/* The operations as function calls (sim_fs.h). A counted look-up is given back at once: the kernel's cache is not
 * simulated, so every operation finds an inode that nobody holds but through its name or an open. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "tests/sim/sim_fs.h"

static int run(struct sim *s, struct sim_call *c)
{
	sim_start(s, c);
	return sim_finish(s, c);
}

/* For operations that answer with attributes and count a look-up. */
static int run_entry(struct sim *s, struct sim_call *c, struct stat *st)
{
	int r = run(s, c);
	uint64_t ino = c->op->attr.st_ino;

	if (r == 0 && st)
		*st = c->op->attr;
	sim_end(s, c);
	if (r == 0)
		fs_forget(s->fs, ino, 1);
	return r;
}

static int run_plain(struct sim *s, struct sim_call *c)
{
	int r = run(s, c);

	sim_end(s, c);
	return r;
}

/* For operations with a count: that, or the error. */
static int64_t run_count(struct sim *s, struct sim_call *c)
{
	int r = run(s, c);
	int64_t n = (int64_t)c->op->result;

	sim_end(s, c);
	return r ? r : n;
}

int sim_lookup(struct sim *s, uint64_t dir, const char *name, struct stat *st)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_lookup);
	c.op->ino = dir;
	c.op->name = name;
	return run_entry(s, &c, st);
}

int sim_getattr(struct sim *s, uint64_t ino, struct stat *st)
{
	struct sim_call c;
	int r;

	sim_call_init(s, &c, fs_getattr);
	c.op->ino = ino;
	r = run(s, &c);
	*st = c.op->attr;
	sim_end(s, &c);
	return r;
}

int sim_setattr(struct sim *s, uint64_t ino, unsigned valid, const struct stat *in, struct stat *out)
{
	struct sim_call c;
	int r;

	sim_call_init(s, &c, fs_setattr);
	c.op->ino = ino;
	c.op->valid = valid;
	c.op->mode = in->st_mode;
	c.op->uid = in->st_uid;
	c.op->gid = in->st_gid;
	c.op->off = (uint64_t)in->st_size;
	c.op->atime = in->st_atim;
	c.op->mtime = in->st_mtim;
	c.op->ctime = in->st_ctim;
	r = run(s, &c);
	if (out)
		*out = c.op->attr;
	sim_end(s, &c);
	return r;
}

int sim_readlink(struct sim *s, uint64_t ino, char *buf, uint32_t len)
{
	struct sim_call c;
	int64_t n;

	sim_call_init(s, &c, fs_readlink);
	c.op->ino = ino;
	c.op->out = buf;
	c.op->len = len - 1;
	n = run_count(s, &c);
	buf[n > 0 ? n : 0] = 0;
	return n < 0 ? (int)n : 0;
}

int sim_mknod(struct sim *s, uint64_t dir, const char *name, uint32_t mode, uint64_t rdev, uint32_t uid, uint32_t gid,
	      struct stat *st)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_mknod);
	c.op->ino = dir;
	c.op->name = name;
	c.op->mode = mode;
	c.op->rdev = rdev;
	c.op->uid = uid;
	c.op->gid = gid;
	return run_entry(s, &c, st);
}

int sim_mkdir(struct sim *s, uint64_t dir, const char *name, uint32_t mode, uint32_t uid, uint32_t gid, struct stat *st)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_mkdir);
	c.op->ino = dir;
	c.op->name = name;
	c.op->mode = mode;
	c.op->uid = uid;
	c.op->gid = gid;
	return run_entry(s, &c, st);
}

int sim_symlink(struct sim *s, uint64_t dir, const char *name, const char *target, struct stat *st)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_symlink);
	c.op->ino = dir;
	c.op->name = name;
	c.op->in = target;
	return run_entry(s, &c, st);
}

int sim_link(struct sim *s, uint64_t ino, uint64_t dir, const char *name, struct stat *st)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_link);
	c.op->ino = ino;
	c.op->ino2 = dir;
	c.op->name = name;
	return run_entry(s, &c, st);
}

int sim_unlink(struct sim *s, uint64_t dir, const char *name)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_unlink);
	c.op->ino = dir;
	c.op->name = name;
	return run_plain(s, &c);
}

int sim_rmdir(struct sim *s, uint64_t dir, const char *name)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_rmdir);
	c.op->ino = dir;
	c.op->name = name;
	return run_plain(s, &c);
}

int sim_rename(struct sim *s, uint64_t dir, const char *name, uint64_t dir2, const char *name2, unsigned flags)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_rename);
	c.op->ino = dir;
	c.op->name = name;
	c.op->ino2 = dir2;
	c.op->name2 = name2;
	c.op->flags = flags;
	return run_plain(s, &c);
}

int sim_open_file(struct sim *s, uint64_t ino, unsigned flags)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_open);
	c.op->ino = ino;
	c.op->flags = flags;
	return run_plain(s, &c);
}

int sim_release(struct sim *s, uint64_t ino)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_release);
	c.op->ino = ino;
	return run_plain(s, &c);
}

int64_t sim_read(struct sim *s, uint64_t ino, uint64_t off, void *buf, uint32_t len)
{
	struct sim_call c;
	uint64_t n = 0;
	int r;

	sim_call_init(s, &c, fs_read);
	c.op->ino = ino;
	c.op->off = off;
	c.op->len = len;
	r = run(s, &c);
	for (unsigned i = 0; r == 0 && i < c.op->niov; i++) {
		assert(n + c.op->iov[i].iov_len <= len);
		memcpy((char *)buf + n, c.op->iov[i].iov_base, c.op->iov[i].iov_len);
		n += c.op->iov[i].iov_len;
	}
	assert(r || n == c.op->result);
	sim_end(s, &c);
	return r ? r : (int64_t)n;
}

int sim_write_prepare(struct sim *s, struct sim_call *c, uint64_t ino, uint64_t off, const void *data, uint32_t len)
{
	uint32_t head = rng_one_in(&s->rng, 4) ? (uint32_t)rng_below(&s->rng, 512) * 8 : 0; /* the payload's place in its run */
	uint64_t left = (uint64_t)head + len, at = head;
	const uint8_t *from = data;

	sim_call_init(s, c, fs_write);
	c->op->ino = ino;
	c->op->off = off;
	c->op->len = len;
	c->op->scratch[0] = head;
	for (unsigned tries = 0; left;) {
		uint32_t n = (uint32_t)MIN(left, (uint64_t)RUN_MAX * BLOCK_SIZE);
		struct run *run = run_new(s->cache, (uint32_t)DIV_UP(n, BLOCK_SIZE));

		if (!run) { /* all pinned: what is under way gives some back */
			if (++tries > 100000)
				return -ENOMEM;
			if (!sim_step(s))
				sim_pass(s);
			continue;
		}
		memset(run->mem, 0xee, (size_t)run->npages * BLOCK_SIZE); /* what is not payload must not be seen */
		memcpy((char *)run->mem + at, from, n - at);
		from += n - at;
		at = 0;
		left -= n;
		c->op->runs[c->op->nruns++] = run;
	}
	return 0;
}

int64_t sim_write(struct sim *s, uint64_t ino, uint64_t off, const void *data, uint32_t len, unsigned flags)
{
	struct sim_call c;
	int r = sim_write_prepare(s, &c, ino, off, data, len);

	if (r) {
		sim_end(s, &c);
		return r;
	}
	c.op->flags = flags;
	return run_count(s, &c);
}

int sim_fallocate(struct sim *s, uint64_t ino, unsigned mode, uint64_t off, uint64_t len)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_fallocate);
	c.op->ino = ino;
	c.op->off = off;
	c.op->rdev = len;
	c.op->mode = mode;
	return run_plain(s, &c);
}

int64_t sim_lseek(struct sim *s, uint64_t ino, uint64_t off, unsigned whence)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_lseek);
	c.op->ino = ino;
	c.op->off = off;
	c.op->flags = whence;
	return run_count(s, &c);
}

int sim_fsync(struct sim *s, uint64_t ino)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_fsync);
	c.op->ino = ino;
	return run_plain(s, &c);
}

int sim_checkpoint(struct sim *s)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_checkpoint);
	return run_plain(s, &c);
}

/* ---- directories ---- */

struct listing {
	struct sim_call call;
	struct mnode *into;
	size_t from;           /* entries before this call */
	unsigned room, n;      /* of one call */
	uint64_t next;
};

static int emit(struct op *op, const char *name, size_t namelen, uint64_t ino, unsigned dtype, const struct stat *attr,
		uint64_t next_cookie)
{
	struct listing *l = (struct listing *)op->owner;
	char text[256];

	if (l->n == l->room)
		return 1;
	assert(namelen > 0 && namelen <= 255 && (!attr || attr->st_ino == ino));
	l->n++;
	l->next = next_cookie;
	memcpy(text, name, namelen);
	text[namelen] = 0;
	if (strcmp(text, ".") && strcmp(text, ".."))
		model_add_entry(l->into, text, ino);
	return 0;
}

static void reset(struct op *op)
{
	struct listing *l = (struct listing *)op->owner;

	l->into->nentries = l->from;
	l->n = 0;
	l->next = op->off;
}

int sim_readdir_some(struct sim *s, uint64_t ino, uint64_t *cookie, unsigned n, struct mnode *into)
{
	struct listing l = {.into = into, .room = n, .from = into->nentries, .next = *cookie};
	unsigned plus = (unsigned)rng_below(&s->rng, 2);
	int r;

	sim_call_init(s, &l.call, fs_readdir);
	l.call.op->ino = ino;
	l.call.op->off = *cookie;
	l.call.op->flags = plus;
	l.call.op->emit = emit;
	l.call.op->reset = reset;
	r = run_plain(s, &l.call);
	for (size_t i = l.from; r == 0 && plus && i < into->nentries; i++)
		fs_forget(s->fs, into->entries[i].ino, 1);
	*cookie = l.next;
	return r ? r : (int)l.n;
}

int sim_readdir(struct sim *s, uint64_t ino, unsigned per_call, struct mnode *into)
{
	uint64_t cookie = 0;
	int r;

	do
		r = sim_readdir_some(s, ino, &cookie, per_call, into);
	while (r > 0);
	return r;
}

/* ---- extended attributes ---- */

int64_t sim_getxattr(struct sim *s, uint64_t ino, const char *name, void *buf, uint32_t len)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_getxattr);
	c.op->ino = ino;
	c.op->name = name;
	c.op->out = buf;
	c.op->len = len;
	return run_count(s, &c);
}

int sim_setxattr(struct sim *s, uint64_t ino, const char *name, const void *value, uint32_t len, int flags)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_setxattr);
	c.op->ino = ino;
	c.op->name = name;
	c.op->in = value;
	c.op->len = len;
	c.op->flags = (uint32_t)flags;
	return run_plain(s, &c);
}

int64_t sim_listxattr(struct sim *s, uint64_t ino, char *buf, uint32_t len)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_listxattr);
	c.op->ino = ino;
	c.op->out = buf;
	c.op->len = len;
	return run_count(s, &c);
}

int sim_removexattr(struct sim *s, uint64_t ino, const char *name)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_removexattr);
	c.op->ino = ino;
	c.op->name = name;
	return run_plain(s, &c);
}
