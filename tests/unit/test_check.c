/* SPDX-License-Identifier: Apache-2.0 */
/* The checker: finds nothing in a whole file system, and each kind of damage by its own line; no damage crashes it. */
#include <check.h>
#include <stdio.h>
#include "base/err.h"
#include "check_image.h"
#include "fs/check.h"

static char lines[65536];       /* findings of the last check, one a line */

static void on_found(void *arg, const char *line)
{
	size_t used = strlen(lines);

	snprintf(lines + used, sizeof(lines) - used, "%s\n", line);
}

static uint64_t bad_block;      /* reads of it fail; 0: none */

static void image_read(void *arg, struct check_read *reads, unsigned n)
{
	struct img *m = arg;

	for (unsigned i = 0; i < n; i++) {
		struct check_read *r = &reads[i];

		ck_assert(r->nblocks && range_fits(r->block, r->nblocks, IMG_BLOCKS));
		r->status = bad_block && bad_block >= r->block && bad_block < r->block + r->nblocks ? -E_MEDIA : 0;
		if (!r->status)
			memcpy(r->buf, img_block(m, r->block), (size_t)r->nblocks * FS_BLOCK);
	}
}

static int check(struct img *m, struct check_report *report)
{
	struct check_conf conf = { .source = { image_read, m, IMG_BLOCKS }, .found = on_found };

	lines[0] = 0;
	return check_run(&conf, report);
}

START_TEST(whole)
{
	struct img *m = img_new();
	struct check_report r;

	m->per_node = (unsigned)(_i ? 3 + _i : 200);
	img_build(m);
	ck_assert_int_eq(check(m, &r), 0);
	ck_assert_str_eq(lines, "");
	ck_assert_uint_eq(r.errors, 0);
	ck_assert_uint_eq(r.inodes, 67);
	ck_assert_uint_eq(r.directories, 3);
	ck_assert_uint_eq(r.symlinks, 1);
	ck_assert_uint_eq(r.names, 66);
	ck_assert_uint_eq(r.extents, 4);
	ck_assert_uint_eq(r.unwritten, 1);
	ck_assert_uint_eq(r.data_blocks, 7);
	ck_assert_uint_eq(r.orphans, 1);
	ck_assert_uint_eq(r.nodes, m->nnodes);
	img_free(m);
}
END_TEST

/* ---- damage before the image is made: right checksums, wrong content ---- */

static struct dirent_disk *entry(struct img *m, uint64_t dir, const char *name)
{
	return (struct dirent_disk *)img_find(m, dir, ITEM_DIRENT, img_hash(name))->val;
}
static struct extent_disk *extent(struct img *m, uint64_t ino, uint64_t at)
{
	return (struct extent_disk *)img_find(m, ino, ITEM_EXTENT, at)->val;
}

static void d_nlink(struct img *m) { img_inode(m, 16)->nlink = put32(3); }
static void d_nlink_dir(struct img *m) { img_inode(m, 17)->nlink = put32(2); }
static void d_entries(struct img *m) { img_inode(m, 17)->entries = put64(5); }
static void d_blocks(struct img *m) { img_inode(m, 16)->blocks = put64(4); }
static void d_mode(struct img *m) { img_inode(m, 18)->mode = put32(0xf000); }
static void d_flags(struct img *m) { img_inode(m, 18)->flags = put32(0x80); }
static void d_time(struct img *m) { img_inode(m, 18)->mtime.ns = put32(1000000000); }
static void d_size(struct img *m) { img_inode(m, 18)->size = put64(UINT64_MAX); }
static void d_parent(struct img *m) { img_inode(m, 20)->parent = put64(1); }
static void d_root_parent(struct img *m) { img_inode(m, 1)->parent = put64(17); }
static void d_no_root(struct img *m) { img_find(m, 1, ITEM_INODE, 0)->object = 900; }
static void d_watermark(struct img *m) { img_mknod(m, 1000, S_IFREG, 1, 0, 0), img_link(m, 1, "x", 1000); }
static void d_reserved(struct img *m) { img_mknod(m, 2, S_IFREG, 1, 0, 0), img_link(m, 1, "x", 2); }
static void d_unnamed(struct img *m) { img_mknod(m, 99, S_IFREG, 1, 0, 0); }
static void d_unnamed_dir(struct img *m) { img_mknod(m, 99, S_IFDIR, 2, 0, 1); }
static void d_dangling(struct img *m) { entry(m, 17, "small")->ino = put64(77); }
static void d_dtype(struct img *m) { entry(m, 17, "small")->type = DT_DIR; }
static void d_name_len(struct img *m) { entry(m, 17, "small")->namelen = 9; }
static void d_name_slash(struct img *m) { img_link(m, 17, "a/b", 18), img_inode(m, 18)->nlink = put32(2); }
static void d_name_dot(struct img *m) { img_link(m, 17, "..", 18), img_inode(m, 18)->nlink = put32(2); }
static void d_hash(struct img *m) { img_find(m, 17, ITEM_DIRENT, img_hash("small"))->offset += 256; }
static void d_twice(struct img *m)
{
	img_link(m, 17, "small", 18);
	m->items[m->nitems - 1].offset++;
	img_inode(m, 18)->nlink = put32(2);
}
static void d_two_parents(struct img *m)
{
	img_link(m, 1, "second", 20);
	img_inode(m, 1)->nlink = put32(4);
}
static void d_cycle(struct img *m) /* 30 and 31 hold each other */
{
	img_mknod(m, 30, S_IFDIR, 3, 0, 31);
	img_mknod(m, 31, S_IFDIR, 3, 0, 30);
	img_link(m, 30, "a", 31);
	img_link(m, 31, "b", 30);
}
static void d_root_named(struct img *m) { img_link(m, 17, "r", 1), img_inode(m, 17)->nlink = put32(4); }
static void d_entry_in_file(struct img *m)
{
	img_link(m, 18, "x", 16);
	img_inode(m, 16)->nlink = put32(3);
}
static void d_no_orphan(struct img *m) { img_find(m, 0, ITEM_ORPHAN, 21)->offset = 22; }
static void d_orphan_linked(struct img *m)
{
	struct orphan_disk o = { .size = put64(0) };

	img_put(m, 0, ITEM_ORPHAN, 18, &o, sizeof(o));
}
static void d_truncate(struct img *m) { img_inode(m, 16)->flags = put32(INODE_TRUNCATE); }
static void d_reserved_item(struct img *m) { img_put(m, 0, ITEM_SNAPSHOT, 4, "x", 1); }
static void d_foreign_item(struct img *m) { img_put(m, 18, 9, 0, "x", 1); }
static void d_no_inode(struct img *m) { img_put(m, 50, ITEM_INLINE, 0, "x", 1); }
static void d_xattr(struct img *m) { img_find(m, 16, ITEM_XATTR, UINT64_MAX)->len--; }
static void d_xattr_hash(struct img *m) { img_find(m, 16, ITEM_XATTR, UINT64_MAX)->offset += 256; }
static void d_symlink(struct img *m) { img_find(m, 19, ITEM_INLINE, 0)->len = 4; }
static void d_symlink_none(struct img *m) { img_find(m, 19, ITEM_INLINE, 0)->object = 18, m->nitems--; }
static void d_inline(struct img *m) { img_inode(m, 18)->size = put64(5); }
static void d_inline_big(struct img *m) { img_inode(m, 18)->size = put64(INLINE_MAX + 1); }
static void d_inline_extent(struct img *m) { img_extent(m, 18, 0, 1, 11, 0); }
static void d_inode_len(struct img *m) { img_find(m, 18, ITEM_INODE, 0)->len = 100; }
static void d_overlap(struct img *m) { img_find(m, 16, ITEM_EXTENT, 5)->offset = 1; }
static void d_shared_block(struct img *m)
{
	extent(m, 21, 0)->block = put64(get64(extent(m, 16, 0)->block) + 1);
}
static void d_beyond(struct img *m) { extent(m, 21, 0)->block = put64(IMG_BLOCKS - 1); }
static void d_in_journal(struct img *m) { extent(m, 21, 0)->block = put64(JOURNAL_START + 3); }
static void d_in_ring(struct img *m) { extent(m, 21, 0)->block = put64(IMG_RING_B); }
static void d_extent_birth(struct img *m) { extent(m, 16, 0)->birth = put64(6); }
static void d_extent_shared(struct img *m) { extent(m, 16, 0)->flags = EXTENT_SHARED; }
static void d_extent_encoding(struct img *m) { extent(m, 16, 0)->encoding = 1; }
static void d_extent_zero(struct img *m) { extent(m, 16, 0)->nblocks = extent(m, 16, 0)->stored_blocks = put16(0); }
static void d_extent_crcs(struct img *m) { img_find(m, 16, ITEM_EXTENT, 0)->len -= 4; }
static void d_eof(struct img *m) { img_inode(m, 21)->size = put64(FS_BLOCK); }
static void d_tail(struct img *m) { img_inode(m, 16)->size = put64(5 * FS_BLOCK + 99); }
static void d_dir_extent(struct img *m) { img_extent(m, 17, 0, 1, 0, EXTENT_UNWRITTEN); }

/* ---- hooks ---- */

static void n_level(struct img *m, struct node_disk *d, unsigned i) { d->level += i == 1; }
static void n_uuid(struct img *m, struct node_disk *d, unsigned i) { d->uuid[0] ^= i == 1; }
static void n_block(struct img *m, struct node_disk *d, unsigned i)
{
	d->block = put64(get64(d->block) + (i == 1) * 4);
}
static void n_magic(struct img *m, struct node_disk *d, unsigned i) { d->magic = put32(get32(d->magic) + (i == 1)); }
static void n_birth(struct img *m, struct node_disk *d, unsigned i) { d->birth = i == 1 ? put64(IMG_GEN) : d->birth; }
static void n_gen(struct img *m, struct node_disk *d, unsigned i) { d->birth = put64(IMG_GEN + 1); }
static void n_items(struct img *m, struct node_disk *d, unsigned i) { d->nitems = i == 1 ? put16(900) : d->nitems; }
static void n_low(struct img *m, struct node_disk *d, unsigned i) { d->low = i == 1 ? put16(NODE_SIZE + 1) : d->low; }
static void n_dead(struct img *m, struct node_disk *d, unsigned i) { d->dead = i == 1 ? put16(5) : d->dead; }
static void n_first(struct img *m, struct node_disk *d, unsigned i)
{
	d->first.object = i == 1 ? put64(3) : d->first.object;
}
static struct item_disk *item(struct node_disk *d, unsigned i) { return (struct item_disk *)(d + 1) + i; }
static void n_value(struct img *m, struct node_disk *d, unsigned i)
{
	item(d, 2)->off = i == 1 ? put16(40) : item(d, 2)->off;
}
static void n_value_end(struct img *m, struct node_disk *d, unsigned i)
{
	item(d, 2)->off = i == 1 ? put16(NODE_SIZE - 1) : item(d, 2)->off;
}
static void n_value_twice(struct img *m, struct node_disk *d, unsigned i)
{
	item(d, 2)->off = i == 1 ? item(d, 1)->off : item(d, 2)->off;
}
static void n_order(struct img *m, struct node_disk *d, unsigned i)
{
	struct item_disk x = *item(d, 2);

	if (i != 1)
		return;
	*item(d, 2) = *item(d, 3);
	*item(d, 3) = x;
}
static void n_bounds(struct img *m, struct node_disk *d, unsigned i)
{
	if (i == 1)
		item(d, get16(d->nitems) - 1u)->key.object = put64(800);
}
static void n_pointer(struct img *m, struct node_disk *d, unsigned i)
{
	if (d->level == 1)
		item(d, 1)->len = put16(19);
}
/* Values of level 1 nodes: pointers. */
static struct ptr_disk *pointer(struct node_disk *d, unsigned i)
{
	return (struct ptr_disk *)((uint8_t *)d + get16(item(d, i)->off));
}
static void n_odd(struct img *m, struct node_disk *d, unsigned i)
{
	if (d->level == 1)
		pointer(d, 1)->block = put64(get64(pointer(d, 1)->block) + 1);
}
static void n_outside(struct img *m, struct node_disk *d, unsigned i)
{
	if (d->level == 1)
		pointer(d, 1)->block = put64(1ull << 60);
}
static void n_same(struct img *m, struct node_disk *d, unsigned i)
{
	if (d->level == 1)
		*pointer(d, 1) = *pointer(d, 0);
}
static void n_fixed(struct img *m, struct node_disk *d, unsigned i)
{
	if (d->level == 1)
		pointer(d, 1)->block = put64(JOURNAL_START + 4);
}

static void b_used(struct img *m, uint8_t *map) { img_take(m, 12000, 3); }
static void b_free(struct img *m, uint8_t *map) { map[8192 / 8] &= 0xf0; }
static void b_end(struct img *m, uint8_t *map) { map[GROUP_BLOCKS / 8 - 1] = 0; }

static void s_inodes(struct img *m, struct super_disk *s) { s->inodes = put64(5); }
static void s_free(struct img *m, struct super_disk *s) { s->free_blocks = put64(get64(s->free_blocks) + 1); }
static void s_l2_free(struct img *m, struct super_disk *s) { s->l2[0].quads = put64(get64(s->l2[0].quads) + 1); }
static void s_l2_crc(struct img *m, struct super_disk *s) { s->l2[0].crc = put32(1); }
static void s_l2_slot(struct img *m, struct super_disk *s) { s->l2[0].slot = 2; }
static void s_uninit(struct img *m, struct super_disk *s) { s->l2[0].flags = DESC_UNINIT; }
static void s_root_crc(struct img *m, struct super_disk *s) { s->root.crc = put32(get32(s->root.crc) ^ 1); }
static void s_root_level(struct img *m, struct super_disk *s) { s->root_level++; }
static void s_pos(struct img *m, struct super_disk *s) { s->journal_pos = s->journal_len; }
static void s_label(struct img *m, struct super_disk *s) { s->label[20] = 'x'; }
static void s_snapshot(struct img *m, struct super_disk *s) { s->newest_snapshot = put64(3); }

/* ---- after the image is made ---- */

static void i_data(struct img *m) { ((uint8_t *)img_block(m, JOURNAL_START + JOURNAL_MIN + 1))[17] ^= 4; }
static void i_leaf(struct img *m) { ((uint8_t *)img_block(m, m->nodes[1]))[9000] ^= 1; }
static void i_zero_leaf(struct img *m) { memset(img_block(m, m->nodes[1]), 0, NODE_SIZE); }
static void i_bitmap(struct img *m) { ((uint8_t *)img_block(m, L0_SLOT + 1))[2000] ^= 1; }
static void i_l1(struct img *m) { ((uint8_t *)img_block(m, L1_SLOT))[5] ^= 1; }
static void i_ring_a(struct img *m) { memset(img_block(m, RING_A), 0, RING_BLOCKS * FS_BLOCK); }
static void i_ring_b(struct img *m) { ((uint8_t *)img_block(m, IMG_RING_B))[300] ^= 1; }
static void i_rings_differ(struct img *m)
{
	struct super_disk *s = img_block(m, IMG_RING_B);

	s->mount_time = put64(5);
	img_crc(s, sizeof(*s), &s->crc);
}
static void i_media(struct img *m) { bad_block = JOURNAL_START + JOURNAL_MIN; }
static void i_media_leaf(struct img *m) { bad_block = m->nodes[0] + 2; }
static void i_media_l0(struct img *m) { bad_block = L0_SLOT + 1; }

static const struct damage {
	void (*before)(struct img *);
	void (*node)(struct img *, struct node_disk *, unsigned);
	void (*bitmap)(struct img *, uint8_t *);
	void (*super)(struct img *, struct super_disk *);
	void (*after)(struct img *);
	const char *line;       /* part of a finding */
	bool alone;             /* and the only one */
} damages[] = {
	{ .before = d_nlink, .line = "inode 16 (/file): link count is 3, 2 names were found", .alone = true },
	{ .before = d_nlink_dir, .line = "inode 17 (/dir): link count is 2, should be 3", .alone = true },
	{ .before = d_entries, .line = "inode 17 (/dir): the directory says 5 entries, 4 are there", .alone = true },
	{ .before = d_blocks, .line = "inode 16 (/file): the inode says 4 blocks, its extents have 5", .alone = true },
	{ .before = d_mode, .line = "inode 18 (/dir/small): mode 170000 is of no known type" },
	{ .before = d_flags, .line = "inode 18 (/dir/small): unknown flags 80", .alone = true },
	{ .before = d_time, .line = "inode 18 (/dir/small): a time has 1000000000 nanoseconds", .alone = true },
	{ .before = d_size, .line = "inode 18 (/dir/small): size 18446744073709551615" },
	{ .before = d_parent,
	  .line = "inode 20 (/dir/sub): the directory says its parent is 1, but its name is in 17", .alone = true },
	{ .before = d_root_parent, .line = "inode 1 (/): the root directory's parent is 17", .alone = true },
	{ .before = d_no_root, .line = "there is no root directory" },
	{ .before = d_watermark, .line = "inode 1000 (/x): number not below the watermark 1000", .alone = true },
	{ .before = d_reserved, .line = "inode 2 (/x): reserved number", .alone = true },
	{ .before = d_unnamed, .line = "inode 99: inode without a name" },
	{ .before = d_unnamed_dir, .line = "inode 99: directory without a name", .alone = true },
	{ .before = d_dangling,
	  .line = "inode 17 (/dir): directory entry 'small' means inode 77, which does not exist" },
	{ .before = d_dtype,
	  .line = "inode 17 (/dir): directory entry 'small' says type 4, inode 18 is of type 8", .alone = true },
	{ .before = d_name_len, .line = "has 15 bytes" },
	{ .before = d_name_slash, .line = "inode 17 (/dir): directory entry 'a/b': not a name", .alone = true },
	{ .before = d_name_dot, .line = "inode 17 (/dir): directory entry '..': not a name", .alone = true },
	{ .before = d_hash, .line = "inode 17 (/dir): directory entry 'small' lies at position", .alone = true },
	{ .before = d_twice, .line = "inode 17 (/dir): directory entry 'small' is there twice", .alone = true },
	{ .before = d_two_parents, .line = "): the directory has 2 names" },
	{ .before = d_cycle, .line = "inode 30: directory not reachable from the root" },
	{ .before = d_root_named, .line = "the root directory has a name" },
	{ .before = d_entry_in_file, .line = "inode 18 (/dir/small): has directory entries and is no directory" },
	{ .before = d_no_orphan, .line = "inode 21: link count is 0, but there is no ORPHAN item" },
	{ .before = d_no_orphan, .line = "ORPHAN item of inode 22, which does not exist" },
	{ .before = d_orphan_linked,
	  .line = "inode 18 (/dir/small): has an ORPHAN item, but its link count is 1", .alone = true },
	{ .before = d_truncate, .line = "inode 16 (/file): is to be truncated, but has no ORPHAN item", .alone = true },
	{ .before = d_reserved_item, .line = "item (0, SNAPSHOT, 4): this version knows no such item", .alone = true },
	{ .before = d_foreign_item, .line = "item (18, 9, 0): this version knows no such item", .alone = true },
	{ .before = d_no_inode,
	  .line = "inode 50: items without an inode, the first is (50, INLINE, 0)", .alone = true },
	{ .before = d_xattr, .line = "inode 16 (/file): extended attribute", .alone = true },
	{ .before = d_xattr_hash,
	  .line = "inode 16 (/file): extended attribute 'user.colour' lies at position", .alone = true },
	{ .before = d_symlink,
	  .line = "inode 19 (/dir/link): target of 4 bytes in a symbolic link of size 5", .alone = true },
	{ .before = d_symlink_none, .line = "inode 19 (/dir/link): symbolic link without a target" },
	{ .before = d_inline, .line = "inode 18 (/dir/small): 11 bytes inline in a file of size 5", .alone = true },
	{ .before = d_inline_big, .line = "11 bytes inline in a file of size 2049", .alone = true },
	{ .before = d_inline_extent, .line = "extent at file block 0: besides inline data", .alone = true },
	{ .before = d_inode_len, .line = "inode 18 (/dir/small): inode item at offset 0 with 100 bytes" },
	{ .before = d_overlap,
	  .line = "inode 16 (/file): extent at file block 1: overlaps the one before it, which ends at 2" },
	{ .before = d_shared_block, .line = "inode 21: extent at file block 0: 2 of its device blocks" },
	{ .before = d_beyond, .line = "inode 21: extent at file block 0: device blocks 16383+2 are outside" },
	{ .before = d_in_journal, .line = "are inside the journal" },
	{ .before = d_in_ring, .line = "are inside the superblock ring B" },
	{ .before = d_extent_birth,
	  .line = "inode 16 (/file): extent at file block 0: birth 6, its node's is 5", .alone = true },
	{ .before = d_extent_shared, .line = "extent at file block 0 has unknown flags" },
	{ .before = d_extent_encoding, .line = "extent at file block 0 has an unknown encoding" },
	{ .before = d_extent_zero, .line = "extent at file block 0 has a bad length" },
	{ .before = d_extent_crcs, .line = "extent at file block 0 has the wrong number of checksums" },
	{ .before = d_eof, .line = "inode 21: extent at file block 0: data beyond the end of the file", .alone = true },
	{ .before = d_tail, .line = "bytes beyond the end of the file are not zero", .alone = true },
	{ .before = d_dir_extent, .line = "inode 17 (/dir): has extents and is no file", .alone = true },
	{ .node = n_level, .line = "level 1, expected 0" },
	{ .node = n_uuid, .line = "of another file system (uuid)" },
	{ .node = n_block, .line = "what is there belongs to block" },
	{ .node = n_magic, .line = "no node is there" },
	{ .node = n_birth, .line = "birth 7, but its parent's is 6", .alone = true },
	{ .node = n_gen, .line = "birth 8, but its parent's is 7", .alone = true },
	{ .node = n_items, .line = "900 items and values from byte" },
	{ .node = n_low, .line = "values from byte 16385 do not fit" },
	{ .node = n_dead, .line = "5 dead bytes, should be 0", .alone = true },
	{ .node = n_first, .line = "first key (3, ", .alone = true },
	{ .node = n_value, .line = "lies outside or in another" },
	{ .node = n_value_end, .line = "lies outside or in another" },
	{ .node = n_value_twice, .line = "lies outside or in another" },
	{ .node = n_order, .line = "is not above" },
	{ .node = n_bounds, .line = "is not below its parent's bound" },
	{ .node = n_pointer, .line = "is no pointer (19 bytes)" },
	{ .node = n_odd, .line = "not a place for a node" },
	{ .node = n_outside, .line = "pointer to a node at block 1152921504606846976: not a place for a node" },
	{ .node = n_same, .line = "is already used by something else" },
	{ .node = n_fixed, .line = "that is inside the journal" },
	{ .bitmap = b_used, .line = "group 0: blocks 12000+3 are used in the bitmap, but by nothing", .alone = true },
	{ .bitmap = b_free, .line = "group 0: blocks 8192+4 are used, but free in the bitmap", .alone = true },
	{ .bitmap = b_end, .line = "group 0: blocks 32760+8 are used, but free in the bitmap", .alone = true },
	{ .super = s_inodes, .line = "superblock: 5 inodes, 67 were found", .alone = true },
	{ .super = s_free, .line = "free blocks, the summaries have", .alone = true },
	{ .super = s_l2_free, .line = "summary L2 0: the descriptor says", .alone = true },
	{ .super = s_l2_crc, .line = "summary L2 0 (slot 1): checksum mismatch", .alone = true },
	{ .super = s_l2_slot, .line = "summary L2 0: the descriptor has slot 2 and flags 0", .alone = true },
	{ .super = s_uninit, .line = "are used, but free in the bitmap" },
	{ .super = s_root_crc, .line = "checksum mismatch (computed" },
	{ .super = s_root_level, .line = ", expected " },
	{ .super = s_pos, .line = "journal position 1024 is behind the journal's end", .alone = true },
	{ .super = s_label, .line = "the label is not padded with zeros", .alone = true },
	{ .super = s_snapshot, .line = "names a snapshot", .alone = true },
	{ .after = i_data, .alone = true,
	  .line = "inode 16 (/file): data at offset 4096 (1 block at device block 1057): checksum mismatch" },
	{ .after = i_leaf, .line = "checksum mismatch (computed" },
	{ .after = i_zero_leaf, .line = "no node is there (magic 00000000)" },
	{ .after = i_bitmap, .line = "bitmap of group 0 (slot 1): checksum mismatch", .alone = true },
	{ .after = i_l1, .line = "summary L1 0 (slot 0): checksum mismatch", .alone = true },
	{ .after = i_ring_a, .line = "superblock ring A at block 8 has no valid superblock", .alone = true },
	{ .after = i_ring_b, .line = "superblock ring B has no valid superblock", .alone = true },
	{ .after = i_rings_differ, .line = "superblocks of generation 7 in ring A and ring B differ", .alone = true },
	{ .after = i_media,
	  .line = "inode 16 (/file): data at offset 0 (2 blocks at device block 1056) cannot be read" },
	{ .after = i_media_leaf, .line = "cannot be read: unrecovered" },
	{ .after = i_media_l0, .line = "bitmap of group 0 cannot be read", .alone = true },
};

START_TEST(damaged)
{
	const struct damage *d = &damages[_i];
	struct img *m = img_new();
	struct check_report r;

	if (d->before)
		d->before(m);
	m->on_node = d->node;
	m->on_bitmap = d->bitmap;
	m->on_super = d->super;
	img_build(m);
	if (d->after)
		d->after(m);
	ck_assert_int_eq(check(m, &r), 0);
	bad_block = 0;
	ck_assert_msg(strstr(lines, d->line) != NULL, "no '%s' in:\n%s", d->line, lines);
	ck_assert_msg(!d->alone || r.errors == 1, "not only '%s' in:\n%s", d->line, lines);
	img_free(m);
}
END_TEST

/* ---- what cannot be checked at all ---- */

static void s_version(struct img *m, struct super_disk *s) { s->version = put32(FORMAT_VERSION + 1); }
static void s_incompat(struct img *m, struct super_disk *s) { s->incompat = put64(1); }
static void s_blocks(struct img *m, struct super_disk *s) { s->nblocks = put64(IMG_BLOCKS + 1); }
static void s_journal(struct img *m, struct super_disk *s) { s->journal_len = put64(1ull << 40); }
static void s_level(struct img *m, struct super_disk *s) { s->root_level = LEVELS_MAX; }

static int run_super(void (*hook)(struct img *, struct super_disk *), void (*after)(struct img *))
{
	struct img *m = img_new();
	struct check_report r;
	int code;

	m->on_super = hook;
	img_build(m);
	if (after)
		after(m);
	code = check(m, &r);
	bad_block = 0;
	img_free(m);
	return code;
}

static void i_no_rings(struct img *m) { i_ring_a(m), memset(img_block(m, IMG_RING_B), 0, 8192); }
static void i_torn_rings(struct img *m) { i_ring_b(m), ((uint8_t *)img_block(m, RING_A + 4))[300] ^= 1; }
static void i_unreadable(struct img *m) { i_ring_b(m), bad_block = RING_A; }

START_TEST(hopeless)
{
	ck_assert_int_eq(run_super(s_version, NULL), -E_NEWER);
	ck_assert_int_eq(run_super(s_incompat, NULL), -E_NEWER);
	ck_assert_int_eq(run_super(s_blocks, NULL), -E_BAD_SUPER);
	ck_assert_int_eq(run_super(s_journal, NULL), -E_BAD_SUPER);
	ck_assert_int_eq(run_super(s_level, NULL), -E_BAD_SUPER);
	ck_assert_int_eq(run_super(NULL, i_no_rings), -E_NOT_NVOFS);
	ck_assert_int_eq(run_super(NULL, i_torn_rings), -E_BAD_SUPER);
	ck_assert_int_eq(run_super(NULL, i_unreadable), -E_MEDIA);
}
END_TEST

/* The newer one of both rings counts; ring A is written first, so its copy must have rotted. */
START_TEST(newest)
{
	struct img *m = img_new();
	struct check_report r;
	struct super_disk *s;

	img_build(m);
	s = img_block(m, IMG_RING_B + SUPER_BLOCKS);
	memcpy(s, img_block(m, IMG_RING_B), sizeof(*s));
	s->gen = put64(IMG_GEN + 1);
	img_crc(s, sizeof(*s), &s->crc);
	ck_assert_int_eq(check(m, &r), 0);
	ck_assert_uint_eq(get64(r.super.gen), IMG_GEN + 1);
	ck_assert_uint_eq(r.errors, 1);
	ck_assert_ptr_nonnull(strstr(lines, "superblock of generation 8 is in ring B only"));
	img_free(m);
}
END_TEST

/* ---- anything ---- */

static uint64_t random_next(unsigned long *state)
{
	*state = *state * 6364136223846793005ul + 1442695040888963407ul;
	return *state >> 33;
}

/* A few bytes of one node change before its checksum is taken; mostly in header and items, where it hurts. */
static void n_random(struct img *m, struct node_disk *d, unsigned i)
{
	if (random_next(&m->arg) % 4)
		return;
	for (unsigned k = 0; k < 1 + random_next(&m->arg) % 4; k++) {
		unsigned at = 0, n = get16(d->nitems);

		switch (random_next(&m->arg) % 3) {
		case 0:
			at = 32 + (unsigned)(random_next(&m->arg) % 32);
			break;
		case 1:
			at = 64 + (unsigned)(random_next(&m->arg) % MIN(n * 21u + 1, 16000u));
			break;
		case 2:
			at = MIN(get16(d->low), NODE_SIZE - 1);
			at += (unsigned)(random_next(&m->arg) % (NODE_SIZE - at));
			break;
		}
		((uint8_t *)d)[at] ^= (uint8_t)(random_next(&m->arg) % 2 ? 1u << random_next(&m->arg) % 8 :
						random_next(&m->arg));
	}
}

static void s_random(struct img *m, struct super_disk *s)
{
	unsigned at = 200 + (unsigned)(random_next(&m->arg) % 200);

	if (random_next(&m->arg) % 8 == 0)
		((uint8_t *)s)[at] ^= (uint8_t)random_next(&m->arg);
}

START_TEST(fuzz)
{
	struct img *m = img_new(), *copy = malloc(sizeof(*copy));
	struct check_report r;
	unsigned found = 0, rounds = 400;

	*copy = *m;
	for (unsigned round = 0; round < rounds; round++) {
		*m = *copy;
		m->arg = (unsigned long)_i * rounds + round;
		m->on_node = n_random;
		m->on_super = s_random;
		m->per_node = (unsigned)(4 + random_next(&m->arg) % 60);
		img_build(m);
		found += check(m, &r) != 0 || r.errors;
	}
	ck_assert_uint_gt(found, rounds / 4);
	free(copy);
	img_free(m);
}
END_TEST

/* ---- overlay ---- */

START_TEST(overlay)
{
	struct img *m = img_new(), *next = img_new();
	struct check_source base = { image_read, m, IMG_BLOCKS };
	struct check_conf conf = { .found = on_found };
	struct check_overlay *o;
	struct check_report r;

	img_build(m);
	img_mknod(next, 300, S_IFREG, 1, 0, 0);
	img_link(next, 1, "new", 300);
	next->next_node = 9000;
	img_build(next);
	ck_assert_int_eq(check_overlay_new(&o), 0);
	for (uint64_t b = 0; b < IMG_BLOCKS; b++) {
		if (memcmp(img_block(m, b), img_block(next, b), FS_BLOCK))
			ck_assert_int_eq(check_overlay_write(o, b, 1, img_block(next, b)), 0);
	}
	ck_assert_uint_gt(check_overlay_blocks(o), 5);
	conf.source = check_overlay_source(o, &base);
	lines[0] = 0;
	ck_assert_int_eq(check_run(&conf, &r), 0);
	ck_assert_str_eq(lines, "");
	ck_assert_uint_eq(r.inodes, 68);
	ck_assert_int_eq(check(m, &r), 0);
	ck_assert_uint_eq(r.inodes, 67);
	for (uint64_t b = 1; b < 5000; b++) /* it grows */
		ck_assert_int_eq(check_overlay_write(o, b << 32, 1, lines), 0);
	ck_assert_uint_gt(check_overlay_blocks(o), 4999);
	check_overlay_free(o);
	img_free(m);
	img_free(next);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("check");
	TCase *t = tcase_create("check");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 100);
	tcase_add_loop_test(t, whole, 0, 12);
	tcase_add_loop_test(t, damaged, 0, (int)ARRAY_SIZE(damages));
	tcase_add_test(t, hopeless);
	tcase_add_test(t, newest);
	tcase_add_loop_test(t, fuzz, 0, 4);
	tcase_add_test(t, overlay);
	suite_add_tcase(suite, t);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
