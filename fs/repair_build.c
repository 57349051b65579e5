/* SPDX-License-Identifier: Apache-2.0 */
/* The new state: items in key order packed into new nodes, level by level; then bitmaps, summaries and their counts from
 * what the tree names. What is on the device and right already is not written again. */
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include "base/crc.h"
#include "fs/alloc_core.h"
#include "fs/repair_impl.h"

static unsigned long long ull(uint64_t v)
{
	return v;
}

/* ---- space ---- */

uint8_t *repair_map(struct repair *r, uint8_t **maps, uint64_t group)
{
	if (!maps[group]) {
		maps[group] = malloc(FS_BLOCK);
		if (!maps[group]) {
			r->error = -ENOMEM;
			return NULL;
		}
		check_group_empty(&r->c, group, maps[group]);
	}
	return maps[group];
}

uint32_t repair_take(struct repair *r, uint8_t **maps, uint64_t block, uint32_t n)
{
	uint8_t *map = repair_map(r, maps, block / GROUP_BLOCKS);
	uint32_t twice = 0;

	for (uint64_t i = block % GROUP_BLOCKS; map && n--; i++) {
		twice += map[i / 8] >> i % 8 & 1;
		map[i / 8] |= (uint8_t)(1u << i % 8);
	}
	return twice;
}

/* n blocks in a row, align: a multiple of it; 0: there are none (block 0 is never free). Taken in both maps. */
static uint64_t find_space(struct repair *r, uint32_t n, uint32_t align)
{
	for (uint64_t k = 0; k < r->c.ngroups; k++) {
		uint64_t group = (r->cursor / GROUP_BLOCKS + k) % r->c.ngroups, at = k ? 0 : r->cursor % GROUP_BLOCKS;
		const uint8_t *map = repair_map(r, r->busy, group);
		uint32_t run = 0;

		for (at = align > 1 ? ROUND_UP(at, align) : at; map && at < GROUP_BLOCKS; at++) {
			if (!run && at % align)
				continue;
			run = map[at / 8] >> at % 8 & 1 ? 0 : run + 1;
			if (run < n)
				continue;
			at = group * GROUP_BLOCKS + at + 1 - n;
			repair_take(r, r->busy, at, n);
			repair_take(r, r->live, at, n);
			r->cursor = (at + n) % r->c.nblocks;
			return at;
		}
	}
	if (r->cursor) { /* what lies before it in its group */
		r->cursor = 0;
		return find_space(r, n, align);
	}
	return 0;
}

/* ---- nodes ---- */

static struct key_disk key_put(const struct check_key *k)
{
	return (struct key_disk){ .object = put64(k->object), .type = k->type, .offset = put64(k->offset) };
}

static void node_start(struct repair *r, struct builder *b, unsigned level, const struct check_key *first)
{
	memset(b->node, 0, NODE_SIZE);
	b->node->magic = put32(NODE_MAGIC);
	memcpy(b->node->uuid, r->super.uuid, sizeof(b->node->uuid));
	b->node->birth = put64(r->gen);
	b->node->level = (uint8_t)level;
	b->node->low = put16(NODE_SIZE);
	b->first = b->made ? *first : (struct check_key){ 0 }; /* the left edge is below everything */
	b->node->first = key_put(&b->first);
}

static struct ptr_disk node_finish(struct repair *r, struct builder *b)
{
	uint64_t block = find_space(r, NODE_BLOCKS, NODE_BLOCKS);

	if (!block) {
		r->error = r->error ? r->error : -E_NO_SPACE;
		return (struct ptr_disk){ .crc = put32(0) };
	}
	b->node->block = put64(block);
	b->node->crc = put32(check_crc_zeroed(b->node, NODE_SIZE, offsetof(struct node_disk, crc)));
	b->made++;
	repair_write(r, block, NODE_BLOCKS, b->node);
	return (struct ptr_disk){ .block = put64(block), .birth = put64(r->gen), .crc = b->node->crc };
}

static void emit(struct repair *r, unsigned level, const struct check_key *k, const void *val, uint32_t len)
{
	struct builder *b = &r->level[level];
	struct item_disk *it;
	struct ptr_disk p;
	unsigned n, low;

	if (r->error)
		return;
	if (!b->node) {
		b->node = calloc(1, NODE_SIZE);
		if (!b->node) {
			r->error = -ENOMEM;
			return;
		}
		node_start(r, b, level, k);
	}
	n = get16(b->node->nitems);
	low = get16(b->node->low);
	if (sizeof(*b->node) + (n + 1) * sizeof(*it) + len > low) {
		if (level + 1 == LEVELS_MAX) {
			r->error = -E_NO_SPACE;
			return;
		}
		p = node_finish(r, b);
		emit(r, level + 1, &b->first, &p, sizeof(p));
		node_start(r, b, level, k);
		n = 0;
		low = NODE_SIZE;
	}
	low -= len;
	it = (struct item_disk *)(b->node + 1) + n;
	*it = (struct item_disk){ .key = key_put(k), .off = put16((uint16_t)low), .len = put16((uint16_t)len) };
	memcpy((uint8_t *)b->node + low, val, len);
	b->node->nitems = put16((uint16_t)(n + 1));
	b->node->low = put16((uint16_t)low);
}

/* All levels are closed from below; the first that has one node only is the root. */
static void tree_finish(struct repair *r)
{
	for (unsigned level = 0; level < LEVELS_MAX && !r->error; level++) {
		struct builder *b = &r->level[level];
		bool root = !b->made;
		struct ptr_disk p = node_finish(r, b);

		if (root) {
			r->super.root = p;
			r->super.root_level = (uint8_t)level;
			return;
		}
		emit(r, level + 1, &b->first, &p, sizeof(p));
	}
}

/* ---- items ---- */

static void changed(struct repair *r)
{
	r->tree = true;
}

static void number(struct repair *r, uint64_t ino, const char *what, uint64_t was, uint64_t is, bool lost)
{
	if (was == is)
		return;
	changed(r);
	if (lost)
		repair_say(r, LOST, ino, "%llu of its %llu %s are lost", ull(was - is), ull(was), what);
	else
		repair_say(r, SAFE, ino, "%s: %llu becomes %llu", what, ull(was), ull(is));
}

static void time_fix(struct repair *r, uint64_t ino, struct time_disk *t)
{
	if (get32(t->ns) < 1000000000)
		return;
	t->ns = put32(0);
	repair_say(r, OTHER, ino, "a time had more than 999999999 nanoseconds");
}

static void emit_inode(struct repair *r, const struct check_key *k, const uint8_t *val, bool made)
{
	struct rino *in = repair_inode(r, k->object);
	uint32_t links;
	struct inode_disk d;
	bool part = r->check_report.incomplete && !made;

	memcpy(&d, val, sizeof(d));
	links = S_ISDIR(in->mode) ? 2 + in->subdirs : in->names;
	number(r, k->object, "links", get32(d.nlink), links, false);
	if (!made)
		number(r, k->object, "data blocks", get64(d.blocks), in->blocks, part && get64(d.blocks) > in->blocks && !in->truncate);
	if (S_ISDIR(in->mode)) {
		if (!made)
			number(r, k->object, "entries", get64(d.entries), in->entries, part && get64(d.entries) > in->entries);
		number(r, k->object, "parent", get64(d.parent), in->parent, false);
	}
	if (get32(d.flags) || get32(d.compression)) {
		changed(r);
		repair_say(r, get32(d.flags) & ~INODE_TRUNCATE || get32(d.compression) ? OTHER : SAFE, k->object, "flags are cleared");
	}
	time_fix(r, k->object, &d.atime);
	time_fix(r, k->object, &d.mtime);
	time_fix(r, k->object, &d.ctime);
	time_fix(r, k->object, &d.btime);
	d.flags = d.compression = put32(0);
	d.mode = put32(in->mode);
	d.nlink = put32(links);
	d.size = put64(in->size);
	d.blocks = put64(in->blocks);
	if (S_ISDIR(in->mode)) {
		d.parent = put64(in->parent);
		d.entries = put64(in->entries);
	}
	emit(r, 0, k, &d, sizeof(d));
}

static void emit_name(struct repair *r, const struct check_key *k, const uint8_t *val, uint32_t len)
{
	uint8_t copy[sizeof(struct dirent_disk) + NAME_BYTES];
	struct dirent_disk d;
	const struct rino *in;
	uint64_t ino;

	memcpy(copy, val, len);
	memcpy(&d, val, sizeof(d));
	ino = repair_ino(r, get64(d.ino));
	in = repair_inode(r, ino);
	if (!in) {
		r->error = -E_BAD_ITEM;
		return;
	}
	if (ino != get64(d.ino) || d.type != IFTODT(in->mode)) {
		changed(r);
		repair_say(r, SAFE, k->object, "the entry of inode %llu gets its type", ull(ino));
	}
	d.ino = put64(ino);
	d.type = (uint8_t)IFTODT(in->mode);
	memcpy(copy, &d, sizeof(d));
	emit(r, 0, k, copy, len);
}

/* The blocks of a shared extent, copied elsewhere; what cannot be read fails its checksum there. False: no room. */
static bool copy_blocks(struct repair *r, struct extent_disk *d, unsigned n)
{
	uint64_t to = find_space(r, n, 1);
	int err = 0;

	if (to && !(d->flags & EXTENT_UNWRITTEN))
		err = check_read_one(&r->c, get64(d->block), n, r->c.data);
	if (to && !err && !(d->flags & EXTENT_UNWRITTEN))
		repair_write(r, to, n, r->c.data);
	if (to)
		d->block = put64(to);
	return to;
}

static void emit_extent(struct repair *r, const struct ref *ref, struct check_key k, const uint8_t *val, uint64_t *end)
{
	struct rino *in = repair_inode(r, k.object);
	uint8_t copy[sizeof(struct extent_disk) + 4 * EXTENT_MAX];
	struct extent_disk d;
	unsigned skip, n, crcs;

	memcpy(&d, val, sizeof(d));
	if (!repair_extent_part(in, k.offset, get16(d.nblocks), end, &skip, &n))
		return;
	crcs = d.flags & EXTENT_UNWRITTEN ? 0 : n;
	memcpy(copy + sizeof(d), val + sizeof(d) + (crcs ? 4 * skip : 0), 4 * crcs);
	if (skip || n != get16(d.nblocks) || !get64(d.birth) || get64(d.birth) > r->gen)
		changed(r);
	if (!get64(d.birth) || get64(d.birth) > r->gen) /* told by repair_judge */
		d.birth = put64(r->gen);
	k.offset += skip;
	d.block = put64(get64(d.block) + skip);
	d.nblocks = d.stored_blocks = put16((uint16_t)n);
	if (!(ref->flags & REF_CLONE)) {
		repair_take(r, r->live, get64(d.block), n);
	} else if (!copy_blocks(r, &d, n)) {
		r->error = r->error ? r->error : -E_NO_SPACE;
		return;
	}
	memcpy(copy, &d, sizeof(d));
	emit(r, 0, &k, copy, (uint32_t)sizeof(d) + 4 * crcs);
}

static void emit_all(struct repair *r)
{
	uint64_t end = 0, object = 0;

	for (uint64_t i = 0; i < r->refs.n && !r->error && !check_stop(&r->c); i++) {
		const struct ref *ref = repair_ref(r, i);
		struct check_key k = { ref->object, ref->offset, ref->type };
		uint32_t len;
		const uint8_t *val;

		if (ref->object != object)
			end = 0;
		object = ref->object;
		if (ref->flags & REF_DROP)
			continue;
		val = repair_value(r, ref, &len);
		if (!val || !repair_inode(r, ref->object)) {
			r->error = r->error ? r->error : -E_BAD_ITEM;
			return;
		}
		if (ref->type == ITEM_INODE)
			emit_inode(r, &k, val, ref->flags & REF_MEM && ref->index == sizeof(struct inode_disk) && !get64(((const struct inode_disk *)val)->blocks));
		else if (ref->type == ITEM_DIRENT)
			emit_name(r, &k, val, len);
		else if (ref->type == ITEM_EXTENT)
			emit_extent(r, ref, k, val, &end);
		else
			emit(r, 0, &k, val, ref->type == ITEM_INLINE && S_ISREG(repair_inode(r, object)->mode) ? MIN(len, INLINE_MAX) : len);
	}
}

static void inodes_count(struct repair *r)
{
	const struct rino *in = r->inos.p;
	uint64_t n = 0;

	for (uint64_t i = 0; i < r->inos.n; i++)
		n += !in[i].gone;
	if (n != get64(r->super.inodes))
		repair_say(r, SAFE, 0, "superblock: %llu inodes becomes %llu", ull(get64(r->super.inodes)), ull(n));
	r->super.inodes = put64(n);
	if (r->watermark != get64(r->super.ino_watermark)) {
		repair_say(r, SAFE, 0, "superblock: inode watermark %llu becomes %llu", ull(get64(r->super.ino_watermark)), ull(r->watermark));
		r->super.ino_watermark = put64(r->watermark);
	}
}

static void live_clear(struct repair *r)
{
	for (uint64_t g = 0; g < r->c.ngroups; g++) {
		free(r->live[g]);
		r->live[g] = NULL;
	}
}

/* Is the old tree kept, so are its nodes, and what was built meanwhile is forgotten. */
void repair_build(struct repair *r)
{
	const uint64_t *node = r->nodes.p;

	live_clear(r); /* only what is emitted counts */
	emit_all(r);
	inodes_count(r);
	if (r->rep->other || r->refs.n == 0)
		changed(r);
	if (r->tree && !r->error)
		tree_finish(r);
	if (r->tree || r->error)
		return;
	r->super.root = r->c.super.root;
	r->super.root_level = r->c.super.root_level;
	live_clear(r);
	r->writes.n = 0;
	for (uint64_t i = 0; i < r->nodes.n; i++)
		repair_take(r, r->live, node[i], NODE_BLOCKS);
	for (uint64_t i = 0; i < r->refs.n; i++) {
		const struct ref *ref = repair_ref(r, i);
		const struct extent_disk *d;
		uint32_t len;

		if (ref->type != ITEM_EXTENT || ref->flags & REF_DROP)
			continue;
		d = (const void *)repair_value(r, ref, &len);
		if (d)
			repair_take(r, r->live, get64(d->block), get16(d->nblocks));
	}
}

/* ---- bitmaps ---- */

/* A block of the allocation state as it is: false: it is not what d says. */
static bool old_image(struct repair *r, uint64_t block, uint32_t crc, unsigned flags, uint8_t *buf)
{
	return !(flags & DESC_UNINIT) && !check_read_one(&r->c, block, 1, buf) && crc32c(buf, FS_BLOCK) == crc;
}

static unsigned other_slot(bool known, unsigned flags, unsigned slot)
{
	return !known || flags & DESC_UNINIT ? 0 : !(slot & 1);
}

/* One group: its descriptor as it is to be. old NULL: unknown. Returns whether it differs. */
static bool group_alloc(struct repair *r, uint64_t group, const struct desc_disk *old, struct desc_disk *d)
{
	uint8_t *image = r->c.data, empty[FS_BLOCK];
	const uint8_t *map = r->live[group];
	uint64_t nfree, quads;
	bool uninit = old && old->flags & DESC_UNINIT, same;

	check_group_empty(&r->c, group, empty);
	if (!map)
		map = empty;
	check_count_map(map, &nfree, &quads);
	if (old && !(old->flags & ~DESC_UNINIT) && old->slot <= 1) {
		same = uninit ? !memcmp(map, empty, FS_BLOCK) :
		       old_image(r, layout_l0(group, old->slot), get32(old->crc), 0, image) && !memcmp(map, image, FS_BLOCK);
		if (same && get32(old->free) == nfree && get32(old->quads) == quads) {
			*d = *old;
			return false;
		}
	}
	*d = (struct desc_disk){ .free = put32((uint32_t)nfree), .quads = put32((uint32_t)quads) };
	if (!memcmp(map, empty, FS_BLOCK)) {
		d->flags = DESC_UNINIT;
		return true;
	}
	d->slot = (uint8_t)other_slot(old, old ? old->flags : 0, old ? old->slot : 0);
	d->crc = put32(crc32c(map, FS_BLOCK));
	repair_write(r, layout_l0(group, d->slot), 1, map);
	return true;
}

/* Up to DESCS descriptors below one block; the sums go into d. child works out descriptor i of them. */
static bool l1_alloc(struct repair *r, uint64_t l1, const struct desc_disk *old, struct desc_disk *d)
{
	struct desc_disk *now = (struct desc_disk *)r->c.node[2];
	uint64_t first = l1 * DESCS, nfree = 0, quads = 0;
	bool known = old && old_image(r, layout_l1(l1, old->slot & 1), get32(old->crc), old->flags, r->c.node[1]), any = false, diff;
	bool fresh = old && old->flags & DESC_UNINIT;
	struct desc_disk blank = { .flags = DESC_UNINIT };

	memset(now, 0, FS_BLOCK);
	diff = !known && !fresh;
	for (unsigned i = 0; i < DESCS && first + i < r->c.ngroups && !r->error; i++) {
		const struct desc_disk *was = known ? (const struct desc_disk *)r->c.node[1] + i : NULL;

		if (fresh) { /* what it says of an empty group */
			uint8_t empty[FS_BLOCK];
			uint64_t f, q;

			check_group_empty(&r->c, first + i, empty);
			check_count_map(empty, &f, &q);
			blank.free = put32((uint32_t)f);
			blank.quads = put32((uint32_t)q);
			was = &blank;
		}
		diff |= group_alloc(r, first + i, was, &now[i]);
		any |= !(now[i].flags & DESC_UNINIT);
		nfree += get32(now[i].free);
		quads += get32(now[i].quads);
	}
	if (!diff && get32(old->free) == nfree && get32(old->quads) == quads) {
		*d = *old;
		return false;
	}
	*d = (struct desc_disk){ .free = put32((uint32_t)nfree), .quads = put32((uint32_t)quads), .flags = any ? 0 : DESC_UNINIT };
	if (!any)
		return true;
	d->slot = (uint8_t)other_slot(old, old ? old->flags : 0, old ? old->slot : 0);
	d->crc = put32(crc32c(now, FS_BLOCK));
	repair_write(r, layout_l1(l1, d->slot), 1, now);
	return true;
}

static bool l2_alloc(struct repair *r, uint64_t l2, const struct desc_super_disk *old, struct desc_super_disk *d)
{
	struct desc_disk was[DESCS], now[DESCS];
	uint64_t first = l2 * DESCS, nl1 = DIV_UP(r->c.ngroups, DESCS), nfree = 0, quads = 0;
	bool sane = old->slot <= 1 && !(old->flags & ~DESC_UNINIT), any = false, diff;
	bool known = sane && old_image(r, layout_l2(l2, old->slot), get32(old->crc), old->flags, (uint8_t *)was);
	bool fresh = sane && old->flags & DESC_UNINIT;

	memset(now, 0, sizeof(now));
	diff = !known && !fresh;
	for (unsigned i = 0; i < DESCS && first + i < nl1 && !r->error; i++) {
		diff |= l1_alloc(r, first + i, known && !(was[i].flags & ~DESC_UNINIT) && was[i].slot <= 1 ? &was[i] : NULL, &now[i]);
		any |= !(now[i].flags & DESC_UNINIT);
		nfree += get32(now[i].free);
		quads += get32(now[i].quads);
	}
	if (fresh && !any) /* it was never written, and need not be */
		diff = false;
	if (!diff && get64(old->free) == nfree && get64(old->quads) == quads) {
		*d = *old;
		return false;
	}
	*d = (struct desc_super_disk){ .free = put64(nfree), .quads = put64(quads), .flags = any ? 0 : DESC_UNINIT };
	if (any) {
		d->slot = (uint8_t)other_slot(sane, old->flags, old->slot);
		d->crc = put32(crc32c(now, FS_BLOCK));
		repair_write(r, layout_l2(l2, d->slot), 1, now);
	}
	return true;
}

void repair_alloc(struct repair *r)
{
	uint64_t nl2 = DIV_UP(r->c.ngroups, DESCS * DESCS), nfree = 0;
	struct desc_super_disk now;
	bool diff = false;

	for (uint64_t i = 0; i < nl2 && !r->error; i++) {
		diff |= l2_alloc(r, i, &r->c.super.l2[i], &now);
		r->super.l2[i] = now;
		nfree += get64(now.free);
	}
	diff |= nfree != get64(r->super.free_blocks);
	r->super.free_blocks = put64(nfree);
	if (diff && !r->tree)
		repair_say(r, SAFE, 0, "space: the bitmaps and counts are made anew from the tree");
}
