/* SPDX-License-Identifier: Apache-2.0 */
/* A file system image in memory, made without the code of fs/ (but format.h), so that the checker is tested against a
 * second reading of FORMAT.md. Items are collected, then img_build packs them into nodes, bitmaps and superblocks. Hooks see
 * each structure before its checksum is taken: so damage can be made that only rules, not checksums, show. */
#ifndef NVOFS_TESTS_CHECK_IMAGE_H
#define NVOFS_TESTS_CHECK_IMAGE_H

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/crc.h"
#include "base/siphash.h"
#include "fs/format.h"

#define IMG_BLOCKS (MIN_BLOCKS)
#define IMG_ITEMS 512
#define IMG_GEN 7u
#define IMG_RING_B (IMG_BLOCKS - RING_BLOCKS)

struct img_item {
	uint64_t object, offset;
	uint8_t type;
	uint16_t len;
	uint8_t val[VALUE_MAX];
};

struct img {
	uint8_t *mem;                   /* IMG_BLOCKS */
	struct img_item items[IMG_ITEMS];
	unsigned nitems, per_node;      /* items in a node at most */
	uint64_t next_block, next_node; /* allocation: data upwards, nodes above */
	uint64_t inodes;
	uint8_t bitmap[FS_BLOCK];
	uint64_t nodes[64];             /* blocks of the nodes, leaves first */
	unsigned nnodes;
	/* before the checksum is taken; NULL: none */
	void (*on_node)(struct img *, struct node_disk *, unsigned index);
	void (*on_bitmap)(struct img *, uint8_t *bitmap);
	void (*on_super)(struct img *, struct super_disk *);
	unsigned long arg;              /* the hook's */
};

static const uint8_t img_uuid[16] = "0123456789abcde";
static const uint8_t img_hash_key[16] = "fedcba987654321";

static inline void *img_block(struct img *m, uint64_t block)
{
	return m->mem + block * FS_BLOCK;
}

static inline struct img_item *img_find(struct img *m, uint64_t object, uint8_t type, uint64_t offset)
{
	for (unsigned i = 0; i < m->nitems; i++) {
		struct img_item *it = &m->items[i];

		if (it->object == object && it->type == type && (it->offset == offset || offset == UINT64_MAX))
			return it;
	}
	abort();
}

static inline struct img_item *img_put(struct img *m, uint64_t object, uint8_t type, uint64_t offset, const void *val,
				       size_t len)
{
	struct img_item *it = &m->items[m->nitems++];

	*it = (struct img_item){ .object = object, .type = type, .offset = offset, .len = (uint16_t)len };
	if (len)
		memcpy(it->val, val, len);
	return it;
}

static inline struct inode_disk *img_inode(struct img *m, uint64_t ino)
{
	return (struct inode_disk *)img_find(m, ino, ITEM_INODE, 0)->val;
}

static inline void img_mknod(struct img *m, uint64_t ino, uint32_t mode, uint32_t nlink, uint64_t size, uint64_t parent)
{
	struct inode_disk d = {
	    .mode = put32(mode), .nlink = put32(nlink), .size = put64(size), .parent = put64(parent)};

	img_put(m, ino, ITEM_INODE, 0, &d, sizeof(d));
	m->inodes++;
}

static inline uint64_t img_hash(const char *name)
{
	uint64_t h = siphash24(img_hash_key, name, strlen(name)) >> 9;

	return (h ? h : 1) << 8;
}

static inline void img_link(struct img *m, uint64_t dir, const char *name, uint64_t ino)
{
	uint32_t mode = get32(img_inode(m, ino)->mode);
	struct inode_disk *d = img_inode(m, dir);
	uint8_t val[sizeof(struct dirent_disk) + 255];
	struct dirent_disk e = { .ino = put64(ino), .type = (uint8_t)IFTODT(mode), .namelen = (uint8_t)strlen(name) };

	memcpy(val, &e, sizeof(e));
	memcpy(val + sizeof(e), name, strlen(name));
	img_put(m, dir, ITEM_DIRENT, img_hash(name), val, sizeof(e) + strlen(name));
	d->entries = put64(get64(d->entries) + 1);
}

/* n blocks of file data at file block at; the last one holds tail bytes (0: all). */
static inline struct img_item *img_extent(struct img *m, uint64_t ino, uint64_t at, unsigned n, unsigned tail,
					  unsigned flags)
{
	struct inode_disk *d = img_inode(m, ino);
	uint8_t val[sizeof(struct extent_disk) + 4 * EXTENT_MAX];
	struct extent_disk e = { .block = put64(m->next_block), .birth = put64(3), .nblocks = put16((uint16_t)n),
		.stored_blocks = put16((uint16_t)n), .flags = (uint8_t)flags, .csum_type = CSUM_CRC32C };

	memcpy(val, &e, sizeof(e));
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = img_block(m, m->next_block + i);
		le32 crc;

		memset(p, 'a' + (int)(m->next_block + i) % 26, i + 1 == n && tail ? tail : FS_BLOCK);
		crc = put32(crc32c(p, FS_BLOCK));
		memcpy(val + sizeof(e) + 4 * i, &crc, 4);
	}
	m->next_block += n;
	d->blocks = put64(get64(d->blocks) + n);
	return img_put(m, ino, ITEM_EXTENT, at, val, sizeof(e) + (flags & EXTENT_UNWRITTEN ? 0 : 4 * n));
}

static inline void img_xattr(struct img *m, uint64_t ino, const char *name, const char *value)
{
	struct xattr_disk x = { .namelen = (uint8_t)strlen(name), .len = put16((uint16_t)strlen(value)) };
	uint8_t val[512];

	memcpy(val, &x, sizeof(x));
	memcpy(val + sizeof(x), name, strlen(name));
	memcpy(val + sizeof(x) + strlen(name), value, strlen(value));
	img_put(m, ino, ITEM_XATTR, img_hash(name), val, sizeof(x) + strlen(name) + strlen(value));
}

/*
 * /                    1
 * /file  /dir/again    16   3 blocks with a tail, a hole, 2 blocks preallocated behind the end; an attribute
 * /dir                 17
 * /dir/small           18   inline
 * /dir/link            19   symbolic link
 * /dir/sub             20
 * (none)               21   orphan with 2 blocks
 * /dir/sub/nN          100+N, empty files
 */
static inline void img_fill(struct img *m)
{
	struct orphan_disk o = { .size = put64(0) };
	char name[16];

	img_mknod(m, 1, S_IFDIR | 0755, 3, 0, 1);
	img_mknod(m, 16, S_IFREG | 0644, 2, 5 * FS_BLOCK + 100, 0);
	img_mknod(m, 17, S_IFDIR | 0755, 3, 0, 1);
	img_mknod(m, 18, S_IFREG | 0644, 1, 11, 0);
	img_mknod(m, 19, S_IFLNK | 0777, 1, 5, 0);
	img_mknod(m, 20, S_IFDIR | 0755, 2, 0, 17);
	img_mknod(m, 21, S_IFREG | 0644, 0, 2 * FS_BLOCK, 0);
	img_link(m, 1, "file", 16);
	img_link(m, 1, "dir", 17);
	img_link(m, 17, "again", 16);
	img_link(m, 17, "small", 18);
	img_link(m, 17, "link", 19);
	img_link(m, 17, "sub", 20);
	img_extent(m, 16, 0, 2, 0, 0);
	img_extent(m, 16, 5, 1, 100, 0);
	img_extent(m, 16, 6, 2, 0, EXTENT_UNWRITTEN);
	img_extent(m, 21, 0, 2, 0, 0);
	img_xattr(m, 16, "user.colour", "green");
	img_put(m, 18, ITEM_INLINE, 0, "hello world", 11);
	img_put(m, 19, ITEM_INLINE, 0, "small", 5);
	img_put(m, 0, ITEM_ORPHAN, 21, &o, sizeof(o));
	for (uint64_t i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "n%u", (unsigned)i);
		img_mknod(m, 100 + i, S_IFREG | 0600, 1, 0, 0);
		img_link(m, 20, name, 100 + i);
	}
}

static int img_by_key(const void *a, const void *b)
{
	const struct img_item *x = a, *y = b;

	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static inline void img_take(struct img *m, uint64_t first, uint64_t n)
{
	for (uint64_t b = first; b < first + n; b++)
		m->bitmap[b / 8] |= (uint8_t)(1u << b % 8);
}

static inline uint32_t img_crc(void *p, size_t len, le32 *crc)
{
	*crc = put32(0);
	*crc = put32(crc32c(p, len));
	return get32(*crc);
}

/* Writes one node of items [0, n); *ptr becomes the item its parent holds for it. */
static inline void img_node(struct img *m, unsigned level, const struct img_item *items, unsigned n, bool left_edge,
			    struct img_item *ptr)
{
	uint64_t block = m->next_node;
	struct node_disk *d = img_block(m, block);
	struct item_disk *it = (struct item_disk *)(d + 1);
	unsigned low = NODE_SIZE;
	struct ptr_disk p;

	memset(d, 0, NODE_SIZE);
	m->next_node += NODE_BLOCKS;
	*d = (struct node_disk){
	    .magic = put32(NODE_MAGIC), .block = put64(block), .birth = put64(5), .level = (uint8_t)level};
	if (level)
		d->birth = put64(level == 1 ? 6 : IMG_GEN);
	memcpy(d->uuid, img_uuid, sizeof(d->uuid));
	for (unsigned i = 0; i < n; i++) {
		struct key_disk k = { put64(items[i].object), items[i].type, put64(items[i].offset) };

		low -= items[i].len;
		memcpy((uint8_t *)d + low, items[i].val, items[i].len);
		it[i] = (struct item_disk){ .key = k, .off = put16((uint16_t)low), .len = put16(items[i].len) };
	}
	if (!left_edge)
		d->first = it[0].key;
	d->nitems = put16((uint16_t)n);
	d->low = put16((uint16_t)low);
	*ptr = (struct img_item){ .len = sizeof(p) };
	if (!left_edge) {
		ptr->object = items[0].object;
		ptr->type = items[0].type;
		ptr->offset = items[0].offset;
	}
	if (m->on_node)
		m->on_node(m, d, m->nnodes);
	p = (struct ptr_disk){ .block = put64(block), .birth = d->birth };
	p.crc = put32(img_crc(d, NODE_SIZE, &d->crc));
	memcpy(ptr->val, &p, sizeof(p));
	m->nodes[m->nnodes++] = block;
	img_take(m, block, NODE_BLOCKS);
}

/* All levels; returns the root's level. */
static inline unsigned img_tree(struct img *m, struct ptr_disk *root)
{
	struct img_item *in = m->items, *out = NULL;
	unsigned n = m->nitems, level = 0, made;

	qsort(m->items, n, sizeof(*in), img_by_key);
	for (;; level++) {
		out = calloc(DIV_UP(n, m->per_node), sizeof(*out));
		made = 0;
		for (unsigned i = 0; i < n; i += m->per_node)
			img_node(m, level, in + i, MIN(m->per_node, n - i), i == 0, &out[made++]);
		if (in != m->items)
			free(in);
		in = out;
		n = made;
		if (made == 1)
			break;
	}
	memcpy(root, out[0].val, sizeof(*root));
	free(out);
	return level;
}

static inline void img_counts(const uint8_t *map, uint32_t *free_blocks, uint32_t *quads)
{
	*free_blocks = *quads = 0;
	for (unsigned i = 0; i < GROUP_BLOCKS; i += 4) {
		unsigned nibble = map[i / 8] >> i % 8 & 15;

		*free_blocks += 4 - (unsigned)__builtin_popcount(nibble);
		*quads += !nibble;
	}
}

/* L0 in slot 1, L1 in slot 0, L2 in slot 1. */
static inline void img_bitmaps(struct img *m, struct super_disk *s)
{
	struct desc_disk *l1 = img_block(m, L1_SLOT + 0), *l2 = img_block(m, L2_SLOT + 1);
	uint32_t n, quads;

	if (m->on_bitmap)
		m->on_bitmap(m, m->bitmap);
	img_counts(m->bitmap, &n, &quads);
	memcpy(img_block(m, L0_SLOT + 1), m->bitmap, FS_BLOCK);
	memset(l1, 0, FS_BLOCK);
	memset(l2, 0, FS_BLOCK);
	l1[0] = (struct desc_disk){
	    .crc = put32(crc32c(m->bitmap, FS_BLOCK)), .free = put32(n), .quads = put32(quads), .slot = 1};
	l2[0] =
	    (struct desc_disk){.crc = put32(crc32c(l1, FS_BLOCK)), .free = put32(n), .quads = put32(quads), .slot = 0};
	s->l2[0] = (struct desc_super_disk){
	    .crc = put32(crc32c(l2, FS_BLOCK)), .free = put64(n), .quads = put64(quads), .slot = 1};
	s->free_blocks = put64(n);
}

static inline void img_build(struct img *m)
{
	struct super_disk s = { .magic = put64(SUPER_MAGIC), .version = put32(FORMAT_VERSION), .label = "image",
		.nblocks = put64(IMG_BLOCKS), .csum_type = put32(CSUM_CRC32C), .node_size = put32(NODE_SIZE),
		.block_size = put32(FS_BLOCK), .state = put32(SUPER_CLEAN), .gen = put64(IMG_GEN), .epoch = put64(2),
		.journal_start = put64(JOURNAL_START), .journal_len = put64(JOURNAL_MIN), .ino_watermark = put64(1000),
		.ring_b = put64(IMG_RING_B), .reserve_quads = put64(256) };

	memcpy(s.uuid, img_uuid, 16);
	memcpy(s.hash_key, img_hash_key, 16);
	img_take(m, 0, JOURNAL_START + JOURNAL_MIN);
	img_take(m, IMG_RING_B, GROUP_BLOCKS - IMG_RING_B);
	img_take(m, JOURNAL_START + JOURNAL_MIN, m->next_block - JOURNAL_START - JOURNAL_MIN);
	s.root_level = (uint8_t)img_tree(m, &s.root);
	img_bitmaps(m, &s);
	s.inodes = put64(m->inodes);
	if (m->on_super)
		m->on_super(m, &s);
	img_crc(&s, sizeof(s), &s.crc);
	memcpy(img_block(m, RING_A + 2 * SUPER_BLOCKS), &s, sizeof(s));
	memcpy(img_block(m, IMG_RING_B), &s, sizeof(s));
}

static inline struct img *img_new(void)
{
	struct img *m = calloc(1, sizeof(*m));

	m->mem = calloc(IMG_BLOCKS, FS_BLOCK);
	m->per_node = 12;
	m->next_block = JOURNAL_START + JOURNAL_MIN;
	m->next_node = 8192;
	img_fill(m);
	return m;
}

static inline void img_free(struct img *m)
{
	free(m->mem);
	free(m);
}

#endif
