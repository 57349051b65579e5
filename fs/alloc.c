/* SPDX-License-Identifier: Apache-2.0 */
/* Free space. See alloc.h for the states of a block and alloc_core.h for the calls of the core.
 *
 * Summaries are in memory for every chunk (256 groups) that was ever written; bitmaps are loaded when first touched and
 * stay (8 KiB for 128 MiB of device). */
#include "fs/alloc_core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/crc.h"
#include "base/log.h"
#include "fs/checkpoint.h"
#include "fs/epoch.h"
#include "fs/fill.h"
#include "fs/ranges.h"

struct desc {
	uint32_t crc, free, quads;
	uint8_t slot, flags;
};

struct group {
	uint64_t live[BITMAP_WORDS], busy[BITMAP_WORDS];
	uint64_t number;
	uint32_t avail, avail_quads; /* by busy */
	uint32_t cursor;             /* where the last search ended */
	uint32_t longest[2];         /* [whole_quads]: no run that bitmap_find may return is longer */
	bool dirty;
	struct list loaded, dirty_link;
};

struct chunk {
	struct desc desc[DESCS];
	struct group *group[DESCS];
	bool dirty;
};

#define BATCHES 8u
struct batch {
	struct ranges ranges;
	uint64_t epoch;
};

struct alloc {
	struct layout lay;
	struct desc *l1;             /* nchunks: of the L1 blocks */
	struct desc_super_disk l2[L2_MAX];
	struct chunk **chunks;       /* nchunks; NULL: never written */
	bool l2_dirty[L2_MAX];
	uint64_t free;               /* by live, exact */
	uint64_t quads;              /* wholly free quads: by busy where loaded, by summary elsewhere */
	uint64_t loaded_quads;
	struct list loaded, dirty;
	uint32_t ndirty;
	uint64_t data_group;
	struct group *node_group;
	bool sync;                   /* mount and replay: read at once */
	int error;                   /* of a blocking read in a place that cannot fail */
	struct ranges freed;         /* since the last cut */
	struct ranges cut;           /* before it, superblock not durable yet */
	struct batch limbo[BATCHES]; /* durable, waiting for their epoch */
	unsigned nlimbo;
	struct ranges deferred;      /* frees that wait for their bitmap */
	struct waitq space;
};

/* ---- groups ---- */

static struct chunk *chunk_get(struct alloc *a, uint64_t i)
{
	struct chunk *c = a->chunks[i];

	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	for (unsigned k = 0; k < DESCS && i * DESCS + k < a->lay.ngroups; k++) {
		layout_counts(&a->lay, i * DESCS + k, &c->desc[k].free, &c->desc[k].quads);
		c->desc[k].flags = DESC_UNINIT;
	}
	a->chunks[i] = c;
	return c;
}

static struct group *loaded_group(const struct alloc *a, uint64_t number)
{
	const struct chunk *c = a->chunks[number / DESCS];

	return c ? c->group[number % DESCS] : NULL;
}

/* Free blocks / quads of a group as far as is known. */
static uint32_t estimate(const struct alloc *a, uint64_t number, bool quads)
{
	const struct chunk *c = a->chunks[number / DESCS];
	const struct group *g = c ? c->group[number % DESCS] : NULL;
	uint32_t free, q;

	if (g)
		return quads ? g->avail_quads : g->avail;
	if (c)
		return quads ? c->desc[number % DESCS].quads : c->desc[number % DESCS].free;
	layout_counts(&a->lay, number, &free, &q);
	return quads ? q : free;
}

/* Puts a group with this live bitmap in place; NULL: no memory. */
static struct group *add_group(struct alloc *a, uint64_t number, const uint64_t *live)
{
	struct chunk *c = chunk_get(a, number / DESCS);
	struct group *g = c ? calloc(1, sizeof(*g)) : NULL;

	if (!g)
		return NULL;
	memcpy(g->live, live, sizeof(g->live));
	memcpy(g->busy, live, sizeof(g->busy));
	g->number = number;
	g->avail = GROUP_BLOCKS - bitmap_count(g->busy, 0, GROUP_BLOCKS);
	g->avail_quads = bitmap_quads(g->busy);
	g->longest[false] = g->longest[true] = g->avail;
	list_init(&g->dirty_link);
	list_append(&a->loaded, &g->loaded);
	a->loaded_quads += g->avail_quads;
	c->group[number % DESCS] = g;
	return g;
}

/* The bitmap block against its summary. data is private memory. */
static int judge_bitmap(struct alloc *a, uint64_t number, const void *data, uint64_t *live)
{
	const struct desc *d = &a->chunks[number / DESCS]->desc[number % DESCS];
	uint64_t fixed[BITMAP_WORDS];

	if (crc32c(data, FS_BLOCK) != d->crc)
		return -E_BAD_BITMAP;
	bitmap_load(live, data);
	layout_bitmap(&a->lay, number, fixed);
	for (unsigned i = 0; i < BITMAP_WORDS; i++)
		if ((live[i] & fixed[i]) != fixed[i])
			return -E_BAD_BITMAP;
	if (GROUP_BLOCKS - bitmap_count(live, 0, GROUP_BLOCKS) != d->free || bitmap_quads(live) != d->quads)
		return -E_BAD_BITMAP;
	return 0;
}

static int fill_judge(struct fs *fs, struct fill *f, const void *data)
{
	f->priv = malloc(FS_BLOCK);
	if (!f->priv)
		return -ENOMEM;
	memcpy(f->priv, data, FS_BLOCK);
	return 0;
}

static void apply_deferred(struct fs *);

static void fill_install(struct fs *fs, struct fill *f, int status)
{
	uint64_t number = f->args[0], live[BITMAP_WORDS];

	if (!status && !loaded_group(fs->alloc, number)) {
		status = judge_bitmap(fs->alloc, number, f->priv, live);
		if (!status && !add_group(fs->alloc, number, live))
			status = -ENOMEM;
	}
	free(f->priv);
	f->priv = NULL;
	if (status && status != -ENOMEM) /* without memory it is read again when it is wanted again */
		fs_freeze(fs, status, "reading the allocation bitmap");
	apply_deferred(fs);
}

static uint64_t bitmap_block(const struct alloc *a, uint64_t number)
{
	return layout_l0(number, a->chunks[number / DESCS]->desc[number % DESCS].slot);
}

static bool uninit(const struct alloc *a, uint64_t number)
{
	const struct chunk *c = a->chunks[number / DESCS];

	return !c || c->desc[number % DESCS].flags & DESC_UNINIT;
}

static int load_sync(struct fs *fs, uint64_t number, struct group **g)
{
	struct alloc *a = fs->alloc;
	uint64_t live[BITMAP_WORDS];
	uint8_t data[FS_BLOCK];
	int err = ns_read_sync(fs->ns, bitmap_block(a, number), 1, data);

	if (!err)
		err = judge_bitmap(a, number, data, live);
	if (err) {
		a->error = err;
		return err;
	}
	*g = add_group(a, number, live);
	a->error = *g ? a->error : -ENOMEM;
	return *g ? 0 : -ENOMEM;
}

static struct fill wanted(struct alloc *a, uint64_t number)
{
	return (struct fill){ .block = bitmap_block(a, number), .nblocks = 1, .judge = fill_judge,
			      .install = fill_install, .args = { number } };
}

/* The group in memory: 0, or -E_PARKED, or a code. op may be NULL while reads block. */
static int group_get(struct fs *fs, struct op *op, uint64_t number, struct group **g)
{
	struct alloc *a = fs->alloc;
	uint64_t live[BITMAP_WORDS];
	struct fill f;

	*g = loaded_group(a, number);
	if (*g)
		return 0;
	if (uninit(a, number)) {
		layout_bitmap(&a->lay, number, live);
		*g = add_group(a, number, live);
		if (!*g && a->sync)
			a->error = -ENOMEM;
		return *g ? 0 : -ENOMEM;
	}
	if (a->sync)
		return load_sync(fs, number, g);
	f = wanted(a, number);
	return fill_start(op, &f);
}

static void mark_dirty(struct alloc *a, struct group *g)
{
	if (g->dirty)
		return;
	g->dirty = true;
	list_append(&a->dirty, &g->dirty_link);
	a->ndirty++;
}

static void set_busy(struct alloc *a, struct group *g, uint32_t bit, uint32_t n)
{
	uint32_t fresh = n - bitmap_count(g->busy, bit, n), quads = bitmap_set(g->busy, bit, n);

	g->avail -= fresh;
	if (quads) /* the rest of a quad that is broken now, at one end or the other */
		g->longest[false] = MIN(g->longest[false] + NODE_BLOCKS - 1, GROUP_BLOCKS);
	g->avail_quads -= quads;
	a->quads -= quads;
	a->loaded_quads -= quads;
}

static void clear_busy(struct alloc *a, struct group *g, uint32_t bit, uint32_t n)
{
	uint32_t gone = bitmap_count(g->busy, bit, n), quads = bitmap_clear(g->busy, bit, n);

	g->avail += gone;
	for (int i = 0; i < 2; i++) /* at best it joined two of the longest */
		g->longest[i] = MIN(2 * g->longest[i] + n, GROUP_BLOCKS);
	g->avail_quads += quads;
	a->quads += quads;
	a->loaded_quads += quads;
}

/* ---- data ---- */

#define TRIES 4u

/* Nodes need quads, so the last of those are not for data. */
static bool may_break_quads(const struct alloc *a)
{
	return a->quads > a->lay.reserve_quads;
}

/* Of a run of at least `least` blocks, up to want. False: there is none, which longest remembers: so a strewn group is
 * searched in vain once for every time that blocks of it become free, not once for every allocation. */
static bool take(struct alloc *a, struct group *g, uint32_t from, uint32_t least, uint32_t want, uint64_t *block,
		 uint32_t *got)
{
	bool whole_quads = may_break_quads(a);
	uint32_t bit, n;

	if (whole_quads)
		want = (uint32_t)MIN(want, (a->quads - a->lay.reserve_quads) * NODE_BLOCKS);
	least = MIN(least, want);
	n = bitmap_find(g->busy, from, least, want, whole_quads, &bit);
	if (n < least) {
		g->longest[whole_quads] = n;
		return false;
	}
	set_busy(a, g, bit, n);
	g->cursor = (bit + n) % GROUP_BLOCKS;
	a->data_group = g->number;
	*block = g->number * GROUP_BLOCKS + bit;
	*got = n;
	return true;
}

/* Whether a look at the group's bitmap can be worth it. */
static bool promising(const struct alloc *a, uint64_t number, uint32_t least)
{
	const struct group *g = loaded_group(a, number);

	return estimate(a, number, false) >= least && (!g || g->longest[may_break_quads(a)] >= least);
}

/* Of the first group from goal's on that has a run of at least `least`; 1: none. Gives up after TRIES bitmaps, unless
 * any block will do. */
static int alloc_run(struct op *op, uint64_t goal, uint32_t least, uint32_t want, uint64_t *block, uint32_t *got)
{
	struct fs *fs = op->worker->fs;
	struct alloc *a = fs->alloc;
	uint64_t start = goal && goal < a->lay.nblocks ? goal / GROUP_BLOCKS : a->data_group;
	unsigned tries = 0;

	for (uint64_t k = 0; k < a->lay.ngroups && (tries < TRIES || least == 1); k++) {
		uint64_t number = (start + k) % a->lay.ngroups;
		struct group *g;
		int err;

		if (!promising(a, number, least))
			continue;
		err = group_get(fs, op, number, &g);
		if (err)
			return err;
		if (take(a, g, k == 0 && goal ? (uint32_t)(goal % GROUP_BLOCKS) : g->cursor, least, want, block, got))
			return 0;
		tries++; /* strewn, or only reserved quads here */
	}
	return 1;
}

/* All of it in one piece, near the goal or elsewhere; else a good part of it; at last any block. A device that lies full
 * of small holes would otherwise be written in as many small commands, while there is room beside them. */
int alloc_data(struct op *op, uint64_t goal, uint32_t want, uint64_t *block, uint32_t *got)
{
	for (uint32_t least = want;; least = MAX(least / 4, 1)) {
		int r = alloc_run(op, goal, least, want, block, got);

		if (r <= 0)
			return r;
		if (least == 1)
			return alloc_wait(op);
	}
}

void alloc_cancel(struct fs *fs, uint64_t block, uint32_t n)
{
	/* Through the same gate as what was live: a command of unknown fate may still write there. */
	ranges_add(&fs->alloc->freed, block, n);
}

int alloc_wait(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct waiter *w;

	if (fs->alloc->sync || alloc_pending(fs) == 0 || op->tries >= 8)
		return -E_NO_SPACE;
	op->tries++;
	w = op_wait_idle(op);
	if (w)
		waitq_add(&fs->alloc->space, w);
	checkpoint_request(fs);
	return -E_PARKED;
}

/* ---- nodes ---- */

uint64_t alloc_node(struct fs *fs)
{
	struct alloc *a = fs->alloc;
	struct group *g = a->node_group;
	uint32_t bit;

	if (!g || g->avail_quads == 0) {
		g = NULL;
		list_for_each(l, &a->loaded) {
			struct group *c = list_entry(l, struct group, loaded);

			if (c->avail_quads > 0 && (!g || c->avail_quads > g->avail_quads))
				g = c;
		}
		assert(g); /* alloc_ready */
		a->node_group = g;
	}
	bit = bitmap_find_quad(g->busy, g->cursor);
	assert(bit < GROUP_BLOCKS);
	set_busy(a, g, bit, NODE_BLOCKS);
	bitmap_set(g->live, bit, NODE_BLOCKS);
	a->free -= NODE_BLOCKS;
	mark_dirty(a, g);
	return g->number * GROUP_BLOCKS + bit;
}

int alloc_ready(struct op *op, uint64_t quads, uint64_t leave)
{
	struct fs *fs = op->worker->fs;
	struct alloc *a = fs->alloc;

	if (a->quads < quads + leave)
		return alloc_wait(op);
	/* What a transaction frees: nodes, and extents in a few pieces for each of its keys. */
	if (ranges_ready(&a->freed, 4 * quads) || ranges_ready(&a->deferred, 4 * quads))
		return -ENOMEM;
	for (uint64_t number = 0; a->loaded_quads < quads && number < a->lay.ngroups; number++) {
		struct group *g;
		int err;

		if (loaded_group(a, number) || estimate(a, number, true) == 0)
			continue;
		err = group_get(fs, op, number, &g);
		if (err)
			return err;
	}
	return a->loaded_quads < quads ? alloc_wait(op) : 0;
}

/* ---- what transactions do ---- */

void alloc_use(struct fs *fs, uint64_t block, uint32_t n)
{
	struct alloc *a = fs->alloc;
	uint32_t bit = (uint32_t)(block % GROUP_BLOCKS);
	struct group *g;

	if (group_get(fs, NULL, block / GROUP_BLOCKS, &g)) /* replay alone can fail here; it asks alloc_error */
		return;
	set_busy(a, g, bit, n);
	a->free -= n - bitmap_count(g->live, bit, n);
	bitmap_set(g->live, bit, n);
	mark_dirty(a, g);
}

/* Each block comes back once. One that is not live had two owners in a damaged image, and may be somebody else's by now
 * (given out, its write in flight): it is left alone. */
static void free_in(struct fs *fs, struct group *g, uint64_t block, uint32_t n)
{
	struct alloc *a = fs->alloc;
	uint32_t bit = (uint32_t)(block % GROUP_BLOCKS), live = bitmap_count(g->live, bit, n);

	if (live < n)
		fs_freeze(fs, -E_BAD_BITMAP, "freeing what is free already");
	for (uint32_t i = 0; live < n && i < n; i++)
		if (bitmap_test(g->live, bit + i))
			ranges_add(&a->freed, block + i, 1);
	if (live == n)
		ranges_add(&a->freed, block, n);
	a->free += live;
	bitmap_clear(g->live, bit, n);
	mark_dirty(a, g);
}

void alloc_free(struct fs *fs, uint64_t block, uint32_t n)
{
	struct alloc *a = fs->alloc;
	struct group *g = loaded_group(a, block / GROUP_BLOCKS);
	struct fill f;

	cache_drop(fs->cache, block, n);
	if (!g && (a->sync || uninit(a, block / GROUP_BLOCKS)) && group_get(fs, NULL, block / GROUP_BLOCKS, &g))
		return;
	if (g) {
		free_in(fs, g, block, n);
		return;
	}
	ranges_add(&a->deferred, block, n);
	f = wanted(a, block / GROUP_BLOCKS);
	fill_start_nowait(&fs->workers[0], &f); /* alloc_can_cut starts it again if that failed */
}

static void apply_deferred(struct fs *fs)
{
	struct alloc *a = fs->alloc;
	size_t kept = 0;
	uint64_t blocks = 0;

	for (size_t i = 0; i < a->deferred.n; i++) {
		struct range r = a->deferred.r[i];
		struct group *g = loaded_group(a, r.block / GROUP_BLOCKS);

		if (g) {
			free_in(fs, g, r.block, r.n);
		} else {
			a->deferred.r[kept++] = r;
			blocks += r.n;
		}
	}
	a->deferred.n = kept;
	a->deferred.blocks = blocks;
}

int alloc_hold(struct fs *fs, uint64_t block, uint32_t n)
{
	struct group *g;
	int err = group_get(fs, NULL, block / GROUP_BLOCKS, &g);

	if (!err)
		set_busy(fs->alloc, g, (uint32_t)(block % GROUP_BLOCKS), n);
	return err;
}

bool alloc_range_ok(const struct fs *fs, uint64_t block, uint32_t n)
{
	const struct layout *l = &fs->alloc->lay;
	uint64_t in = block % GROUP_BLOCKS;

	if (n == 0 || !range_fits(block, n, l->nblocks) || in < GROUP_FIXED || in + n > GROUP_BLOCKS)
		return false;
	return block >= GROUP_BLOCKS || (block >= JOURNAL_START + l->journal_len && block + n <= l->ring_b);
}

/* ---- checkpoint ---- */

bool alloc_can_cut(struct fs *fs)
{
	struct alloc *a = fs->alloc;

	if (a->deferred.n > 0) {
		struct fill f = wanted(a, a->deferred.r[0].block / GROUP_BLOCKS);

		fill_start_nowait(&fs->workers[0], &f);
	}
	return a->deferred.n == 0;
}

static struct desc_disk desc_store(const struct desc *d)
{
	return (struct desc_disk){ .crc = put32(d->crc), .free = put32(d->free), .quads = put32(d->quads),
				   .slot = d->slot, .flags = d->flags };
}

/* The next state of a descriptor whose block is written anew: the other slot, except the first time. */
static void flip(uint8_t *slot, uint8_t *flags)
{
	*slot = *flags & DESC_UNINIT ? 0 : *slot ^ 1;
	*flags &= (uint8_t)~DESC_UNINIT;
}

static void image_l0(struct alloc *a, struct group *g, struct alloc_image *im)
{
	struct chunk *c = a->chunks[g->number / DESCS];
	struct desc *d = &c->desc[g->number % DESCS];

	flip(&d->slot, &d->flags);
	im->block = layout_l0(g->number, d->slot);
	bitmap_store(g->live, im->data);
	d->crc = crc32c(im->data, FS_BLOCK);
	d->free = GROUP_BLOCKS - bitmap_count(g->live, 0, GROUP_BLOCKS);
	d->quads = bitmap_quads(g->live);
	c->dirty = true;
	g->dirty = false;
	list_del(&g->dirty_link);
}

static void image_descs(const struct desc *descs, uint64_t n, struct alloc_image *im, uint64_t *free, uint64_t *quads)
{
	memset(im->data, 0, FS_BLOCK);
	*free = *quads = 0;
	for (uint64_t i = 0; i < n; i++) {
		struct desc_disk d = desc_store(&descs[i]);

		memcpy(im->data + i * sizeof(d), &d, sizeof(d));
		*free += descs[i].free;
		*quads += descs[i].quads;
	}
}

static void image_l1(struct alloc *a, uint64_t i, struct alloc_image *im)
{
	struct desc *d = &a->l1[i];
	uint64_t free, quads;

	flip(&d->slot, &d->flags);
	im->block = layout_l1(i, d->slot);
	image_descs(a->chunks[i]->desc, MIN(a->lay.ngroups - i * DESCS, DESCS), im, &free, &quads);
	d->crc = crc32c(im->data, FS_BLOCK);
	d->free = (uint32_t)free;
	d->quads = (uint32_t)quads;
	a->chunks[i]->dirty = false;
	a->l2_dirty[i / DESCS] = true;
}

static void image_l2(struct alloc *a, uint64_t i, struct alloc_image *im)
{
	struct desc_super_disk *d = &a->l2[i];
	uint64_t free, quads;

	flip(&d->slot, &d->flags);
	im->block = layout_l2(i, d->slot);
	image_descs(&a->l1[i * DESCS], MIN(a->lay.nchunks - i * DESCS, DESCS), im, &free, &quads);
	d->crc = put32(crc32c(im->data, FS_BLOCK));
	d->free = put64(free);
	d->quads = put64(quads);
	a->l2_dirty[i] = false;
}

int alloc_cut(struct fs *fs, struct super_disk *s, struct alloc_image **images)
{
	struct alloc *a = fs->alloc;
	/* Each dirty group dirties at most one L1 and one L2 block. */
	uint64_t room = a->ndirty + MIN(a->ndirty, a->lay.nchunks) + MIN(a->ndirty, a->lay.nl2);
	struct alloc_image *im = NULL;
	int n = 0;

	*images = NULL;
	if (room > 0) {
		im = malloc(room * sizeof(*im));
		if (!im)
			return -ENOMEM;
	}
	while (!list_empty(&a->dirty))
		image_l0(a, list_entry(a->dirty.next, struct group, dirty_link), &im[n++]);
	a->ndirty = 0;
	for (uint64_t i = 0; i < a->lay.nchunks; i++)
		if (a->chunks[i] && a->chunks[i]->dirty)
			image_l1(a, i, &im[n++]);
	for (uint64_t i = 0; i < a->lay.nl2; i++)
		if (a->l2_dirty[i])
			image_l2(a, i, &im[n++]);
	memcpy(s->l2, a->l2, sizeof(s->l2));
	s->free_blocks = put64(a->free);
	assert(a->cut.n == 0);
	struct ranges empty = a->cut;
	a->cut = a->freed;
	a->freed = empty;
	*images = im;
	return n;
}

void alloc_committed(struct fs *fs)
{
	struct alloc *a = fs->alloc;
	struct batch *b;
	struct ranges old;

	if (a->cut.n == 0)
		return;
	if (a->nlimbo == BATCHES) { /* a reader that takes its time: join the youngest */
		b = &a->limbo[BATCHES - 1];
		for (size_t i = 0; i < a->cut.n; i++)
			ranges_add(&b->ranges, a->cut.r[i].block, a->cut.r[i].n);
		ranges_empty(&a->cut);
	} else {
		b = &a->limbo[a->nlimbo++];
		old = b->ranges;
		b->ranges = a->cut;
		a->cut = old;
		ranges_empty(&a->cut);
	}
	b->epoch = epoch_stamp(fs);
}

static void release_range(struct alloc *a, const struct range *r)
{
	uint64_t block = r->block, end = r->block + r->n;

	while (block < end) { /* merged ranges may cross groups */
		struct group *g = loaded_group(a, block / GROUP_BLOCKS);
		uint32_t bit = (uint32_t)(block % GROUP_BLOCKS), n = (uint32_t)MIN(end - block, GROUP_BLOCKS - bit);

		if (bitmap_count(g->live, bit, n) == 0)
			clear_busy(a, g, bit, n);
		else /* a damaged image had two owners for it */
			for (uint32_t i = 0; i < n; i++)
				if (!bitmap_test(g->live, bit + i))
					clear_busy(a, g, bit + i, 1);
		block += n;
	}
}

bool alloc_release(struct fs *fs, struct list *wake)
{
	struct alloc *a = fs->alloc;
	uint64_t oldest;
	unsigned n = 0;

	list_init(wake);
	if (a->nlimbo > 0) {
		oldest = epoch_oldest(fs);
		while (n < a->nlimbo && a->limbo[n].epoch < oldest) {
			for (size_t i = 0; i < a->limbo[n].ranges.n; i++)
				release_range(a, &a->limbo[n].ranges.r[i]);
			ranges_empty(&a->limbo[n].ranges);
			n++;
		}
	}
	for (unsigned i = n; n > 0 && i < a->nlimbo; i++) {
		struct batch t = a->limbo[i - n];

		a->limbo[i - n] = a->limbo[i];
		a->limbo[i] = t;
	}
	a->nlimbo -= n;
	/* Also when there is nothing to come any more: those who wait must hear it. */
	if (n == 0 && alloc_pending(fs) > 0 && !atomic_load(&fs->frozen))
		return false;
	waitq_take(&a->space, wake);
	return true;
}

uint64_t alloc_pending(const struct fs *fs)
{
	const struct alloc *a = fs->alloc;
	uint64_t n = a->freed.blocks + a->cut.blocks + a->deferred.blocks;

	for (unsigned i = 0; i < a->nlimbo; i++)
		n += a->limbo[i].ranges.blocks;
	return n;
}

uint64_t alloc_free_blocks(const struct fs *fs)
{
	return fs->alloc->free;
}

uint64_t alloc_avail_blocks(const struct fs *fs)
{
	uint64_t reserve = fs->alloc->lay.reserve_quads * NODE_BLOCKS;

	return fs->alloc->free > reserve ? fs->alloc->free - reserve : 0;
}

uint64_t alloc_free_quads(const struct fs *fs)
{
	return fs->alloc->quads;
}

/* ---- opening ---- */

static int read_checked(struct fs *fs, uint64_t block, uint32_t crc, uint8_t *data)
{
	int err = ns_read_sync(fs->ns, block, 1, data);

	if (!err && crc32c(data, FS_BLOCK) != crc)
		err = -E_BAD_BITMAP;
	return err;
}

static void load_descs(const uint8_t *data, struct desc *to, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct desc_disk d;

		memcpy(&d, data + i * sizeof(d), sizeof(d));
		to[i] = (struct desc){ .crc = get32(d.crc), .free = get32(d.free), .quads = get32(d.quads),
				       .slot = d.slot & 1, .flags = d.flags };
	}
}

static int load_l1(struct fs *fs, struct alloc *a, uint64_t i)
{
	uint8_t data[FS_BLOCK];
	int err;

	if (a->l1[i].flags & DESC_UNINIT)
		return 0;
	err = read_checked(fs, layout_l1(i, a->l1[i].slot), a->l1[i].crc, data);
	if (err)
		return err;
	if (!chunk_get(a, i))
		return -ENOMEM;
	load_descs(data, a->chunks[i]->desc, MIN(a->lay.ngroups - i * DESCS, DESCS));
	return 0;
}

static int load_l2(struct fs *fs, struct alloc *a, uint64_t i)
{
	uint64_t first = i * DESCS, n = MIN(a->lay.nchunks - first, DESCS);
	uint8_t data[FS_BLOCK];
	int err;

	if (a->l2[i].flags & DESC_UNINIT)
		return 0; /* l1 was made UNINIT */
	err = read_checked(fs, layout_l2(i, a->l2[i].slot & 1), get32(a->l2[i].crc), data);
	if (err)
		return err;
	load_descs(data, &a->l1[first], n);
	for (uint64_t k = first; k < first + n && !err; k++)
		err = load_l1(fs, a, k);
	return err;
}

static void counts_fresh(struct alloc *a)
{
	for (uint64_t i = 0; i < a->lay.nchunks; i++) {
		uint64_t free = 0, quads = 0, n = MIN(a->lay.ngroups - i * DESCS, DESCS);

		if (i > 0 && i + 1 < a->lay.nchunks) { /* all alike */
			free = n * (GROUP_BLOCKS - GROUP_FIXED);
			quads = free / NODE_BLOCKS;
		} else {
			for (uint64_t k = 0; k < n; k++) {
				uint32_t f, q;

				layout_counts(&a->lay, i * DESCS + k, &f, &q);
				free += f;
				quads += q;
			}
		}
		a->l1[i] = (struct desc){ .free = (uint32_t)free, .quads = (uint32_t)quads, .flags = DESC_UNINIT };
	}
	for (uint64_t i = 0; i < a->lay.nl2; i++) {
		uint64_t free = 0, quads = 0;

		for (uint64_t k = i * DESCS; k < MIN((i + 1) * DESCS, a->lay.nchunks); k++) {
			free += a->l1[k].free;
			quads += a->l1[k].quads;
		}
		a->l2[i] = (struct desc_super_disk){ .free = put64(free), .quads = put64(quads), .flags = DESC_UNINIT };
	}
}

int alloc_open(struct fs *fs, bool fresh)
{
	struct alloc *a = calloc(1, sizeof(*a));
	int err = 0;

	if (!a)
		return -ENOMEM;
	fs->alloc = a;
	layout_of(fs->nblocks, &a->lay);
	list_init(&a->loaded);
	list_init(&a->dirty);
	waitq_init(&a->space);
	a->sync = true;
	a->l1 = calloc(a->lay.nchunks, sizeof(*a->l1));
	a->chunks = calloc(a->lay.nchunks, sizeof(*a->chunks));
	if (!a->l1 || !a->chunks)
		return -ENOMEM;
	counts_fresh(a);
	if (!fresh) {
		memcpy(a->l2, fs->super.l2, sizeof(a->l2));
		a->lay.reserve_quads = MIN(get64(fs->super.reserve_quads), fs->nblocks / 16);
		for (uint64_t i = 0; i < a->lay.nl2 && !err; i++)
			err = load_l2(fs, a, i);
	}
	for (uint64_t i = 0; i < a->lay.nl2; i++) {
		a->free += get64(a->l2[i].free);
		a->quads += get64(a->l2[i].quads);
	}
	return err;
}

void alloc_close(struct fs *fs)
{
	struct alloc *a = fs->alloc;

	if (!a)
		return;
	list_for_each_safe(l, &a->loaded)
		free(list_entry(l, struct group, loaded));
	for (uint64_t i = 0; a->chunks && i < a->lay.nchunks; i++)
		free(a->chunks[i]);
	for (unsigned i = 0; i < BATCHES; i++)
		free(a->limbo[i].ranges.r);
	free(a->freed.r);
	free(a->cut.r);
	free(a->deferred.r);
	free(a->chunks);
	free(a->l1);
	free(a);
	fs->alloc = NULL;
}

int alloc_error(const struct fs *fs)
{
	return fs->alloc->error;
}

void alloc_go_async(struct fs *fs)
{
	fs->alloc->sync = false;
}

const struct layout *alloc_layout(const struct fs *fs)
{
	return &fs->alloc->lay;
}
