/* SPDX-License-Identifier: Apache-2.0 */
/* One step of an online scrub: the next tree node or extent from a place in the key order on is read from the device and
 * compared with the checksums in what points at it. The caller goes on until done.
 *
 *  1. What is read goes into a private run and is given back: the cache neither answers nor keeps it.
 *  2. The op stays in its epoch while it reads, so what it looked up is not reused meanwhile; what was replaced since is
 *     still whole.
 *  3. Nodes that are dirty or on their way to the device are left out: there is nothing to compare with yet.
 *  4. Damage is reported and gone past; only a lack of frames or the loss of the namespace ends a step with an error. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/crc.h"
#include "base/err.h"
#include "fs/alloc_core.h"
#include "fs/ctl.h"
#include "fs/extent.h"
#include "fs/inode.h"
#include "fs/node.h"
#include "fs/ops.h"
#include "fs/scrub.h"

static_assert(SCRUB_LEVELS >= LEVELS_MAX, "ctl_scrub.seen");

enum { FIND, READING };

static struct key where(const struct ctl_scrub *c)
{
	return KEY(c->object, (uint8_t)c->type, c->offset);
}

static void go_on_at(struct ctl_scrub *c, const struct key *k)
{
	c->object = k->object;
	c->type = k->type;
	c->offset = k->offset;
}

/* Behind what is at k; key_next ends at the last key of all. */
static void go_on_behind(struct ctl_scrub *c, struct key k)
{
	if (++k.offset == 0 && ++k.type == 0 && ++k.object == 0)
		c->done = 1;
	go_on_at(c, &k);
}

static void report(struct op *op, struct scrub *s, uint64_t ino, uint64_t offset, uint64_t block, int code)
{
	struct ctl_scrub *c = &s->ctl;
	struct ctl_scrub_bad *bad;

	c->found++;
	if (c->nbad == SCRUB_BAD)
		return;
	bad = &c->bad[c->nbad++];
	*bad = (struct ctl_scrub_bad){ .ino = ino, .offset = offset, .block = block };
	snprintf(bad->error, sizeof(bad->error), "%s", err_text(code));
	if (ino)
		fs_path(op->worker->fs, ino, bad->path, sizeof(bad->path));
}

/* ---- what is next ---- */

static void want_node(struct scrub *s, const struct ptr *p)
{
	s->node = *p;
	s->is_node = true;
	s->block = p->block;
	s->n = NODE_BLOCKS;
	s->at = 0;
	s->step = NODE_BLOCKS;
}

static void want_extent(struct scrub *s, uint64_t ino, const struct extent *e)
{
	s->is_node = false;
	s->ino = ino;
	s->start = e->start;
	s->block = e->block;
	s->n = e->n;
	s->at = 0;
	s->step = e->n;
	for (uint32_t i = 0; i < e->n; i++)
		s->crcs[i] = extent_crc(e, i);
}

/* The first extent with data in the leaf, from the place on: true; the place is behind it then. */
static bool find_in_leaf(struct op *op, struct scrub *s, const struct node *leaf)
{
	struct key from = where(&s->ctl);
	bool exact;

	for (uint32_t i = node_search(leaf, &from, &exact); i < node_nitems(leaf); i++) {
		struct extent e;
		struct item it;
		int err;

		node_item(leaf, i, &it);
		if (it.key.type != ITEM_EXTENT || it.key.object == 0)
			continue;
		go_on_behind(&s->ctl, it.key);
		err = extent_parse(op->worker->fs, &it, &e);
		if (err)
			report(op, s, it.key.object, it.key.offset * FS_BLOCK, 0, err);
		if (err || e.unwritten)
			continue;
		want_extent(s, it.key.object, &e);
		return true;
	}
	return false;
}

static uint32_t child_index(const struct node *n, const struct key *k)
{
	bool exact;
	uint32_t i = node_search(n, k, &exact);

	return exact || i == 0 ? i : i - 1;
}

/* Fs lock shared. 1: something is to be read; 0: gone on without; or -E_PARKED. */
static int find(struct op *op, struct scrub *s)
{
	struct fs *fs = op->worker->fs;
	struct key k = where(&s->ctl), right = k;
	struct ptr p = fs->root;
	bool has_right = false;
	struct node *n;
	int err = 0;

	while (p.block) {
		err = node_get(op, &p, &n);
		if (err == -E_PARKED || err == -E_NO_FRAMES)
			return err;
		if (err) {
			report(op, s, 0, 0, p.block, err);
			break;
		}
		if (p.level < SCRUB_LEVELS && s->ctl.seen[p.level] != p.block) {
			s->ctl.seen[p.level] = p.block;
			if (n->state == NODE_CLEAN && p.birth < fs->gen) {
				want_node(s, &p);
				return 1;
			}
		}
		if (p.level == 0) {
			if (find_in_leaf(op, s, n))
				return 1;
			break;
		}
		uint32_t i = child_index(n, &k);
		if (i + 1 < node_nitems(n)) {
			right = node_key(n, i + 1);
			has_right = key_compare(&right, &k) > 0;
		}
		p = node_child(n, i);
	}
	if (has_right)
		go_on_at(&s->ctl, &right);
	else
		s->ctl.done = 1;
	return 0;
}

/* ---- reading it ---- */

static void arrived(struct run *run, int status)
{
	struct waiter *w = run->owner;

	w->wake(w, status);
}

static int start_reading(struct op *op, struct scrub *s)
{
	uint32_t n = MIN(s->step, s->n - s->at);
	struct run *run = run_new(op->worker->fs->cache, n);
	struct waiter *w;

	while (!run && n > 1 && !s->is_node)
		run = run_new(op->worker->fs->cache, n /= 2);
	if (!run)
		return op_retry_later(op, &op->patience);
	w = op_wait(op);
	assert(w); /* it waits for nothing else */
	run->owner = w;
	s->step = n;
	op_pin_run(op, run);
	run_read(run, op->worker->lane, s->block + s->at, 0, arrived);
	return -E_PARKED;
}

static void judge_node(struct op *op, struct scrub *s, const struct run *run)
{
	int err;

	memcpy(s->copy, run->mem, NODE_SIZE); /* out of what the target can write, then judged */
	err = node_check((const void *)s->copy, op->worker->fs->uuid, &s->node);
	if (err)
		report(op, s, 0, 0, s->block, err);
}

/* What arrived, or why it did not. */
static void judge(struct op *op, struct scrub *s, const struct run *run, int status)
{
	if (status && s->step > 1 && !s->is_node) { /* which of them? */
		s->step = 1;
		return;
	}
	if (status)
		report(op, s, s->is_node ? 0 : s->ino, (s->start + s->at) * FS_BLOCK, s->block + s->at, status);
	else if (s->is_node)
		judge_node(op, s, run);
	else
		for (uint32_t i = 0; i < run->npages; i++)
			if (crc32c((uint8_t *)run->mem + (size_t)i * FS_BLOCK, FS_BLOCK) != s->crcs[s->at + i])
				report(op, s, s->ino, (s->start + s->at + i) * FS_BLOCK, s->block + s->at + i, -E_CHECKSUM);
	*(s->is_node ? &s->ctl.node_blocks : &s->ctl.data_blocks) += run->npages;
	s->at += run->npages;
}

static bool is_final(int status)
{
	return status == -E_LOST || status == -E_NO_FRAMES || status == -EINTR;
}

int fs_scrub(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct scrub *s = op->out;
	int r = 0, status = op->error;

	op->own_errors = true;
	op->error = 0;
	if (op->phase == FIND) {
		if (status && status != -ENOMEM && !is_final(status))
			status = 0; /* a node that cannot be read: find() meets it again and says so */
		if (status)
			return status;
		fs_lock_shared(fs);
		r = find(op, s);
		fs_unlock(fs);
		if (r <= 0)
			return r;
		op->phase = READING;
	} else if (op->nruns) {
		if (!is_final(status))
			judge(op, s, op->runs[0], status);
		op_unpin_runs(op);
		if (is_final(status))
			return status;
	}
	return s->at < s->n ? start_reading(op, s) : 0;
}
