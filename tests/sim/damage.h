/* SPDX-License-Identifier: Apache-2.0 */
/* A file system image on the simulated medium, opened for surgery: its newest superblock and the nodes of its tree are
 * found by following pointers that are right (so: before anything is damaged), then anything is changed in place and the
 * checksums above it are made right again, up to both superblocks. Shares only format.h with fs/. */
#ifndef NVOFS_TESTS_SIM_DAMAGE_H
#define NVOFS_TESTS_SIM_DAMAGE_H

#include "fs/format.h"
#include "tests/sim/sim_media.h"

#define DMG_NODES 2048u

struct dmg_node {
	uint64_t block;
	int parent;             /* index in nodes; -1: the root */
	unsigned index;         /* item of the parent */
	unsigned level;
};

struct dmg {
	struct media *m;
	uint64_t nblocks;
	unsigned slot;          /* of the newest superblock */
	struct dmg_node nodes[DMG_NODES];
	unsigned n;             /* nodes[0] is the root */
};

/* 0, or -1 if there is no whole tree. */
int dmg_open(struct dmg *, struct media *, uint64_t bytes);
/* Memory of a block, n of them in a row; saved for media_restore first. */
void *dmg_block(struct dmg *, uint64_t block, unsigned n);
struct super_disk *dmg_super(struct dmg *);     /* in ring A */
struct node_disk *dmg_node(struct dmg *, unsigned i);
static inline struct item_disk *dmg_item(struct node_disk *n, unsigned i) { return (struct item_disk *)(n + 1) + i; }
static inline uint8_t *dmg_value(struct node_disk *n, unsigned i) { return (uint8_t *)n + get16(dmg_item(n, i)->off); }
/* Checksums from node i up to the superblock. */
void dmg_seal(struct dmg *, unsigned i);
/* Of the superblock, into both rings. */
void dmg_seal_super(struct dmg *);
/* The bitmap of group 0, and after a change: its descriptors, and their descriptors. */
uint8_t *dmg_bitmap(struct dmg *);
void dmg_seal_bitmap(struct dmg *);
/* First item of this type in any leaf from leaf number from on (wrapping): node and item, or false. */
bool dmg_find(struct dmg *, uint8_t type, unsigned from, unsigned *node, unsigned *item);
/* A block that is free in group 0, in a free quad. */
uint64_t dmg_free_quad(struct dmg *, unsigned skip);

#endif
