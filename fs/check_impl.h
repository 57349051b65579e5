/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the checker. One struct check lives for one check_run:
 *
 *      check_super -> check_tree (check_item for each, check_data in batches) -> check_links -> check_alloc -> lines
 *
 *  1. Every byte that is read is judged before it is used as a length, an offset or an address.
 *  2. A tree node is entered only if its blocks were unowned before: so the walk ends, whatever the pointers say.
 *  3. Findings are collected and told at the end, when the paths of inodes are known. */
#ifndef NVOFS_FS_CHECK_IMPL_H
#define NVOFS_FS_CHECK_IMPL_H

#include "base/err.h"
#include "fs/check.h"

#define LEAF_BATCH 64u          /* leaves read at once: 1 MiB */
#define DATA_BATCH 1024u        /* data blocks read at once: 4 MiB */
#define PATH_BYTES 4352u        /* a path in a message */

struct check_key {
	uint64_t object, offset;
	uint8_t type;
};

struct inode_rec {
	uint64_t ino, parent;
	uint32_t nlink, subdirs, names, mode;
	bool truncate, reached, visited;
};

struct name_rec {
	uint64_t ino, dir;
	uint64_t node;          /* block of the leaf where the name can be read again */
	uint16_t index;         /* item there */
	uint8_t dtype;
};

struct found {
	uint64_t ino;           /* whose path is wanted; 0: none */
	char *text;
};

/* An extent in the batch that is to be read. */
struct data_req {
	uint64_t ino, offset;   /* offset: file block */
	uint32_t tail;          /* bytes of the file in the last block; 0: all */
};

/* The object (inode) whose items are passing by. */
struct check_object {
	uint64_t ino;
	bool open, has_inode, has_inline, orphan_items;
	uint32_t mode, flags;
	uint64_t size, blocks, entries, parent;
	uint32_t nlink;
	uint64_t sum, names;    /* blocks and names seen */
	uint64_t extent_end;    /* first file block behind the extents seen */
	uint64_t bucket;        /* hash position of the names in bucket_names */
	uint8_t bucket_type;
	unsigned bucket_count;
};

struct check {
	const struct check_conf *conf;
	struct check_report *rep;
	struct super_disk super;
	uint64_t nblocks, ngroups;      /* in use by the file system: without a short last group */
	uint64_t gen, journal_start, journal_len, ring_b;
	int fatal;                      /* -ENOMEM, -ECANCELED: unwinds everything */
	/* check_alloc.c: a bitmap for each touched group, fixed blocks and bits past the end set */
	uint8_t **owned;
	/* findings */
	struct found *found;
	uint64_t nfound, found_cap;
	/* records of the walk */
	struct inode_rec *inodes;
	uint64_t ninodes, inodes_cap;
	struct name_rec *names;
	uint64_t nnames, names_cap;
	uint64_t *orphans;              /* inode numbers, as they come */
	uint64_t norphans, orphans_cap;
	bool names_sorted;
	struct check_object obj;
	uint8_t *bucket_names;          /* 256 names of the current bucket: length byte, then 255 */
	/* buffers, all in mem */
	void *mem, *mem_own;
	uint8_t *node[LEVELS_MAX];      /* one node a level */
	uint8_t *leaves;                /* LEAF_BATCH nodes; bitmaps later */
	uint8_t *spare;                 /* one node: names for paths */
	uint8_t *data;                  /* DATA_BATCH blocks */
	uint8_t *cover;                 /* NODE_SIZE flags: bytes of a node that a value uses */
	struct check_read *reads;       /* DATA_BATCH */
	struct data_req *reqs;          /* DATA_BATCH */
	uint32_t *crcs;                 /* DATA_BATCH: what each block must have */
	unsigned nreads;
	uint32_t data_used;             /* blocks of data in the batch */
	uint64_t total;                 /* for progress */
	uint64_t tree_errors;           /* findings of check_tree.c */
	/* repair_items.c looks on; NULL otherwise */
	struct repair *repair;
};

/* What a walk for repair is told (repair_items.c). The value may be kept as (node, index), not as a pointer. */
void repair_on_node(struct repair *, uint64_t block);
void repair_on_item(struct repair *, uint64_t node, unsigned index, const struct check_key *, const uint8_t *val, uint32_t len);
void repair_on_lost(struct repair *, uint64_t block, unsigned level, const struct check_key *first, const struct check_key *end);

/* check.c */
/* The walk without judging space and without telling: 0 or a code; check_close in any case. Records stay until then. */
int check_walk(struct check *, const struct check_conf *, struct check_report *, struct repair *);
void check_close(struct check *);
void check_say(struct check *, uint64_t ino, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Grows *array to hold one more; false (and fatal) without memory. */
bool check_grow(struct check *, void **array, uint64_t n, uint64_t *cap, size_t size);
int check_read_one(struct check *, uint64_t block, uint32_t nblocks, void *buf);
bool check_stop(struct check *);
void check_tick(struct check *);
uint32_t check_crc_zeroed(const void *data, size_t len, size_t crc_at);
int check_key_compare(const struct check_key *, const struct check_key *);
const char *check_key_print(const struct check_key *, char *buf, size_t len);

/* check_super.c: finds the superblock and judges it alone. */
int check_super(struct check *);

/* check_tree.c */
void check_tree(struct check *);
struct check_key check_key_get(const struct key_disk *);

/* check_item.c: one item of a leaf, in key order; check_object_end closes the last object. */
void check_item(struct check *, uint64_t node, uint64_t birth, unsigned index, const struct check_key *,
		const uint8_t *val, uint32_t len);
void check_object_end(struct check *);
/* Position of a name in its directory or attribute list (without the low 8 bits). */
uint64_t check_hash(const struct check *, const void *name, size_t len);

/* check_data.c: the extent's blocks are read and their checksums compared, now or at check_data_flush. */
void check_data_add(struct check *, uint64_t offset, const struct extent_disk *, const uint8_t *crcs);
void check_data_flush(struct check *);

/* check_alloc.c */
int check_alloc_init(struct check *);
void check_alloc_exit(struct check *);
/* Name of the fixed area that [block, block+n) touches, or NULL. */
const char *check_fixed(const struct check *, uint64_t block, uint64_t n);
/* Marks blocks (inside the file system) as owned; returns how many were before, *first is the first of those. */
uint32_t check_own(struct check *, uint64_t block, uint32_t n, uint64_t *first);
/* The bitmap of a group in which nothing but the fixed blocks is taken. */
void check_group_empty(const struct check *, uint64_t group, uint8_t *map);
/* Free blocks and wholly free quads of a bitmap. */
void check_count_map(const uint8_t *map, uint64_t *free, uint64_t *quads);
void check_alloc(struct check *);

/* check_links.c */
void check_links(struct check *);
/* "/a/b" or "" if the way up is not known. */
const char *check_path(struct check *, uint64_t ino, char *buf, size_t len);

#endif
