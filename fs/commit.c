/* SPDX-License-Identifier: Apache-2.0 */
/* From stored data to a changed file: the transactions of store_commit, inline data, and cut-off truncates. */
#include <string.h>
#include "fs/ops.h"
#include "fs/range.h"
#include "fs/store.h"
#include "fs/txn.h"

/* ---- pieces: what of the runs one transaction names ---- */

/* Runs that became neighbours on the device (a request has several) make one extent. */
static bool piece_joins(const struct piece *p, uint64_t fb, const struct run *run, uint32_t skip)
{
	return !skip && p->start + p->n == fb && p->block + p->n == run->block && p->birth == run->birth &&
	       p->n + run->npages <= EXTENT_MAX;
}

/* The first PLAN_PIECES + 1 pieces from file block from on (one more than fit tells where to cut). */
static unsigned pieces_build(const struct op *op, uint64_t from, struct piece *p)
{
	bool lead = op->scratch[S_LEAD] != STORE_NO_LEAD;
	uint64_t fb = lead ? op->scratch[S_LEAD] : op->scratch[S_FIRST];
	unsigned n = 0;

	for (unsigned i = 0; i < op->nruns; i++) {
		const struct run *run = op->runs[i];
		uint32_t skip = fb < from ? (uint32_t)MIN(from - fb, run->npages) : 0;

		if (skip < run->npages && n && piece_joins(&p[n - 1], fb, run, skip)) {
			p[n - 1].n += run->npages;
		} else if (skip < run->npages) {
			if (n == PLAN_PIECES + 1)
				break;
			p[n++] = (struct piece){ .start = fb + skip, .block = run->block + skip, .birth = run->birth,
				.n = run->npages - skip, .run = i, .page = skip };
		}
		fb = lead && !i ? op->scratch[S_FIRST] : fb + run->npages;
	}
	return n;
}

/* ---- one transaction ---- */

void change_inode(struct op *op, const struct change *c, struct inode_disk *d)
{
	inode_touch(d, c->mtime);
	if (c->kill_priv)
		inode_kill_priv(d);
	if (c->attrs)
		attr_apply(op, d);
}

/* A growing file grows with its transactions: what was not committed must not show as zeros within the size. A
 * shrinking one has its new size from the first on. */
static void change_size(const struct change *c, const struct plan *p, bool last, struct inode_disk *d)
{
	uint64_t size = c->size;

	if (c->how == SIZE_SET)
		d->size = put64(size);
	if (!last)
		size = MIN(size, p->end * FS_BLOCK);
	if (c->how == SIZE_GROW && size > inode_size(d))
		d->size = put64(size);
}

/* What belongs to one transaction besides extents. */
struct step {
	struct inode_disk inode;
	bool is_inline;            /* an INLINE item goes, since there are extents now */
	bool orphan_put, orphan_del;
};

static int key_present(struct op *op, const struct key *key, bool *present)
{
	struct item item;
	int r = tree_get(op, key, &item);

	*present = !r;
	return r == -ENOENT ? 0 : r;
}

/* ORPHAN stands as long as extents beyond the size do, or the file has no name. */
static int orphan_gather(struct op *op, const struct change *c, bool last, struct step *s)
{
	struct key key = KEY(0, ITEM_ORPHAN, op->ino);
	uint32_t flags = get32(s->inode.flags);
	bool present;
	int r;

	if (!c->steps || (last && !(flags & INODE_TRUNCATE)))
		return 0;
	r = key_present(op, &key, &present);
	s->orphan_put = !last && !present;
	s->orphan_del = last && present && get32(s->inode.nlink);
	s->inode.flags = put32(last ? flags & ~INODE_TRUNCATE : flags | INODE_TRUNCATE);
	return r;
}

static int step_gather(struct op *op, const struct change *c, struct plan *p, struct step *s)
{
	struct key key = KEY(op->ino, ITEM_INLINE, 0);
	int r = inode_load(op, op->ino, &s->inode);

	if (!r)
		r = plan_gather(op, p);
	if (!r && p->npieces && inode_size(&s->inode) <= INLINE_MAX)
		r = key_present(op, &key, &s->is_inline);
	return r ? r : orphan_gather(op, c, p->end == c->end, s);
}

static void step_apply(struct op *op, const struct change *c, const struct plan *p, struct step *s)
{
	struct key inline_key = KEY(op->ino, ITEM_INLINE, 0), orphan_key = KEY(0, ITEM_ORPHAN, op->ino);
	struct orphan_disk orphan = { .size = put64(c->size) };
	uint64_t blocks = get64(s->inode.blocks);

	plan_apply(op, p);
	if (s->is_inline)
		txn_del(op, &inline_key);
	if (s->orphan_put)
		txn_put(op, &orphan_key, &orphan, sizeof(orphan), NULL, 0);
	if (s->orphan_del)
		txn_del(op, &orphan_key);
	s->inode.blocks = put64(blocks + p->added - MIN(p->freed, blocks + p->added));
	if (!op->scratch[S_NEXT])
		change_inode(op, c, &s->inode);
	change_size(c, p, p->end == c->end, &s->inode);
	inode_store(op, op->ino, &s->inode);
}

/* The inode's times and attributes change with the first transaction only: between two of them the lock is free, and
 * somebody may set others. */
int store_commit_step(struct op *op, const struct change *c)
{
	struct piece pieces[PLAN_PIECES + 1];
	struct plan p = { .ino = op->ino, .first = MAX(c->first, op->scratch[S_NEXT]), .end = c->end, .pieces = pieces };
	struct step s = { .is_inline = false };
	int r;

	/* Everything that can park or fail is above txn_begin; nothing was changed if it does. */
	p.npieces = c->no_data ? 0 : pieces_build(op, p.first, pieces);
	r = step_gather(op, c, &p, &s);
	if (!r)
		r = txn_begin(op, plan_keys(&p) + 3, c->frees);
	if (r)
		return r;
	step_apply(op, c, &p, &s);
	txn_commit(op);
	plan_forget(op, &p);
	op->scratch[S_NEXT] = p.end;
	if (s.orphan_put)
		inode_orphan(op->worker->fs, op->inode); /* should this op fail on its way, reaping goes on */
	return p.end < c->end;
}

int store_commit(struct op *op, const struct change *c)
{
	struct fs *fs = op->worker->fs;
	int r;

	do { /* let others in between */
		fs_lock_excl(fs);
		r = store_commit_step(op, c);
		fs_unlock(fs);
	} while (r > 0);
	return r;
}

int truncate_finish(struct op *op, const struct inode_disk *d)
{
	struct change c = { .first = DIV_UP(inode_size(d), FS_BLOCK), .end = FILE_BLOCKS, .how = SIZE_KEEP, .no_data = true,
		.frees = true, .steps = true };
	int r = store_commit(op, &c);

	if (!r)
		op->scratch[S_NEXT] = 0;
	return r;
}

/* ---- inline data ---- */

int file_view_locked(struct op *op, struct file_view *v)
{
	struct key key = KEY(op->ino, ITEM_INLINE, 0);
	struct item item;
	int r = inode_load(op, op->ino, &v->inode);

	v->is_inline = false;
	v->len = 0;
	if (r)
		return r;
	if (!S_ISREG(inode_mode(&v->inode)))
		return S_ISDIR(inode_mode(&v->inode)) ? -EISDIR : -EINVAL;
	if (get64(v->inode.blocks) || inode_size(&v->inode) > INLINE_MAX)
		return 0;
	r = tree_get(op, &key, &item);
	if (r)
		return r == -ENOENT ? 0 : r;
	if (item.len > inode_size(&v->inode))
		return -E_BAD_ITEM;
	v->is_inline = true;
	v->len = item.len;
	memcpy(v->bytes, item.val, item.len);
	memset(v->bytes + item.len, 0, INLINE_MAX - item.len);
	return 0;
}

int file_view(struct op *op, struct file_view *v)
{
	struct fs *fs = op->worker->fs;
	int r;

	fs_lock_shared(fs);
	r = file_view_locked(op, v);
	fs_unlock(fs);
	return r;
}

/* The caller has locked the whole file: inline data and extents never exclude each other half-way. */
static int inline_commit(struct op *op, const uint8_t *bytes, uint32_t len, const struct change *c)
{
	struct key key = KEY(op->ino, ITEM_INLINE, 0);
	struct inode_disk d;
	bool present;
	int r = inode_load(op, op->ino, &d);

	if (!r)
		r = key_present(op, &key, &present);
	if (!r)
		r = txn_begin(op, 2, !len);
	if (r)
		return r;
	if (len)
		txn_put(op, &key, bytes, len, NULL, 0);
	else if (present)
		txn_del(op, &key);
	change_inode(op, c, &d);
	d.size = put64(c->size);
	inode_store(op, op->ino, &d);
	txn_commit(op);
	return 0;
}

int inline_store(struct op *op, const uint8_t *bytes, uint32_t len, const struct change *c)
{
	struct fs *fs = op->worker->fs;
	int r;

	fs_lock_excl(fs);
	r = inline_commit(op, bytes, len, c);
	fs_unlock(fs);
	return r;
}
