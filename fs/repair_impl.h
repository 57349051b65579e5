/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of repair.
 *
 *      repair.c        superblocks, the order of things, writing
 *      repair_items.c  what survived, and the journal's changes on top: one reference (32 bytes) for each key, sorted
 *      repair_judge.c  object by object: which items stay, and what the inode has to say
 *      repair_names.c  names against inodes, cycles, lost+found
 *      repair_build.c  the new tree, the bitmaps
 *
 * Values stay where they are until the new tree is built: a reference names the leaf and the item. */
#ifndef NVOFS_FS_REPAIR_IMPL_H
#define NVOFS_FS_REPAIR_IMPL_H

#include "fs/check_impl.h"
#include "fs/repair.h"

#define REPAIR_CACHE 64u        /* leaves kept for reading values */
#define INO_LAST (UINT64_MAX - (1ull << 32)) /* numbers above leave no room for new ones */
#define REF_MEM 1u              /* the value is in memory */
#define REF_DEL 2u              /* the journal deleted the key */
#define REF_DROP 4u             /* does not come into the new tree */
#define REF_CLONE 8u            /* an extent whose blocks belong to another one: gets its own */

struct ref {
	uint64_t object, offset;
	union {
		uint64_t node;          /* block of the leaf */
		const uint8_t *mem;     /* REF_MEM: in mems, or in a journal record */
	};
	uint32_t order;         /* of two with the same key the journal's later one counts */
	uint16_t index;         /* of the item; REF_MEM: length */
	uint8_t type, flags;
};
static_assert(sizeof(struct ref) == 32, "reference");

struct rino {                   /* an object that has an INODE item, or gets one */
	uint64_t ino, size, blocks, entries, parent;
	uint32_t mode, names, subdirs;
	uint32_t nlink;         /* as it was */
	bool truncate, orphan, gone, seen, reached;
};

struct rname {
	uint64_t dir, ino;
	uint64_t ref;           /* index in refs */
};

struct lost {
	struct check_key first, end;
	uint64_t block;
	unsigned level;
	bool bounded;
};

struct array {
	void *p;
	uint64_t n, cap;
};

struct builder {                /* one level of the new tree under construction */
	struct node_disk *node;
	struct check_key first;
	uint64_t made;          /* nodes that were finished */
};

struct repair {
	const struct repair_conf *conf;
	struct repair_report *rep;
	struct check c;
	struct check_conf check_conf;
	struct check_report check_report;
	struct check_source source;     /* the overlay over conf->source */
	struct check_overlay *overlay;
	struct super_disk super;        /* the new one */
	unsigned slot;                  /* for the new one */
	bool erase[2][RING_SLOTS];      /* superblocks that make no sense */
	uint64_t gen;
	struct array refs, inos, names, lost, nodes, writes, mems;
	struct array orphans;           /* inode numbers, sorted */
	uint64_t watermark;
	uint64_t lost_found;            /* inode; 0: not needed yet */
	bool tree;                      /* the tree is built anew */
	uint8_t **live, **busy;         /* bitmaps of groups; NULL: nothing but fixed blocks */
	uint64_t cursor;                /* where the last node went */
	struct builder level[LEVELS_MAX];
	struct { uint64_t block; uint8_t *data; } cache[REPAIR_CACHE];
	uint64_t reserved[16];          /* new numbers of inodes 2 to 15 */
	int error;
};

enum how { SAFE, OTHER, LOST };

/* repair.c */
void repair_say(struct repair *, enum how, uint64_t ino, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Room for one more of size; NULL (and error) without memory. */
void *repair_add(struct repair *, struct array *, size_t size);
int repair_write(struct repair *, uint64_t block, uint32_t nblocks, const void *);
/* Takes a copy that lives as long as r. */
const uint8_t *repair_keep(struct repair *, const void *, size_t);

/* repair_items.c */
int repair_collect(struct repair *);
void repair_sort(struct repair *);
/* NULL: it cannot be read any more. Valid until the next call. */
const uint8_t *repair_value(struct repair *, const struct ref *, uint32_t *len);
static inline struct ref *repair_ref(const struct repair *r, uint64_t i) { return (struct ref *)r->refs.p + i; }
/* Birth of the leaf it lies in. */
uint64_t repair_birth(struct repair *, const struct ref *);
/* First reference >= the key. */
uint64_t repair_find(const struct repair *, uint64_t object, uint8_t type, uint64_t offset);
/* The number by which inode ino goes. */
static inline uint64_t repair_ino(const struct repair *r, uint64_t ino) { return ino < 16 && r->reserved[ino] ? r->reserved[ino] : ino; }

/* repair_judge.c */
void repair_judge(struct repair *);
struct rino *repair_inode(const struct repair *, uint64_t ino);
/* The extent as it goes into the new tree: *skip blocks off its front, *n blocks long; false: nothing of it. */
bool repair_extent_part(const struct rino *, uint64_t offset, unsigned blocks, uint64_t *end, unsigned *skip, unsigned *n);

/* repair_names.c */
void repair_names(struct repair *);

/* repair_build.c */
uint8_t *repair_map(struct repair *, uint8_t **maps, uint64_t group);
/* Sets n bits from block on; how many were set already. */
uint32_t repair_take(struct repair *, uint8_t **maps, uint64_t block, uint32_t n);
void repair_build(struct repair *);
void repair_alloc(struct repair *);

#endif
