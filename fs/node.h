/* SPDX-License-Identifier: Apache-2.0 */
/* Tree nodes in memory: the hash of nodes by address, their life, and the slotted page that a node is.
 *
 *      (fill) -> CLEAN --copied on change--> DIRTY --cut--> FROZEN --written--> CLEAN --evicted-->
 *                  '------------------------- freed: out of the hash, gone with the last reference
 *
 *  1. refs counts the hash's own reference (1) and pins. A node out of the hash with refs 0 is freed.
 *  2. The memory of a CLEAN or FROZEN node never changes; that of a DIRTY one only under the exclusive fs lock.
 *  3. Only CLEAN nodes with no reference but the hash's are evicted.
 * The node functions need the exclusive fs lock unless they say otherwise. */
#ifndef NVOFS_FS_NODE_H
#define NVOFS_FS_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/list.h"
#include "fs/fs_core.h"

enum node_state { NODE_CLEAN, NODE_DIRTY, NODE_FROZEN };

struct node {
	struct node_disk *mem;     /* NODE_SIZE bytes */
	uint64_t block, birth;
	_Atomic uint32_t refs;
	uint8_t state;
	_Atomic bool hot;          /* used since the eviction hand passed */
	struct node *hash_next;
	struct list link;          /* CLEAN: eviction ring; DIRTY: dirty list; FROZEN: the checkpoint's list */
};

struct node_cache {
	struct node **buckets;
	uint64_t mask;
	uint32_t count, limit;     /* nodes in the hash; wanted at most */
	bool hold;                 /* a transaction is open: nothing is evicted */
	_Atomic uint32_t ndirty;
	struct list ring, dirty;
	pthread_mutex_t pool_mutex;/* pool: may be returned to without the fs lock */
	struct list pool;
	uint32_t npool;
	struct list reserve;       /* for transactions alone; guarded by pool_mutex too */
	uint32_t nreserve;
};

int nodes_new(struct node_cache **, size_t bytes);
void nodes_free(struct node_cache *);

/* Fs lock (exclusive): memory for n nodes is set aside, so that what follows cannot fail for want of it; or -ENOMEM. */
int nodes_ready(struct fs *, uint64_t n);
/* Fs lock (any): the node that p names, pinned to op; or -E_PARKED, or a damage code. */
int node_get(struct op *, const struct ptr *p, struct node **);
/* The node in memory or NULL; takes no reference. Fs lock (any). */
struct node *node_find(struct fs *, uint64_t block, uint64_t birth);
void node_ref(struct node *);                 /* any thread that has one or the lock */
void node_unref(struct fs *, struct node *);  /* any thread */
/* A new dirty, empty node at block, born in the running generation, in the hash. From what nodes_ready set aside. */
struct node *node_create(struct fs *, uint64_t block, uint8_t level, const struct key *first);
/* A dirty copy of n at block. */
struct node *node_copy(struct fs *, const struct node *n, uint64_t block);
/* The node left the tree. */
void node_forget(struct fs *, struct node *);
/* FROZEN and written: CLEAN, evictable; drops the checkpoint's reference. */
void node_written(struct fs *, struct node *);

/* ---- the page ---- */

/* Is mem a well-formed node for this pointer in this file system? Bytes from the device: 0 or a code. */
int node_check(const struct node_disk *mem, const uint8_t uuid[16], const struct ptr *p);
static inline uint32_t node_nitems(const struct node *n) { return get16(n->mem->nitems); }
static inline struct item_disk *node_items(const struct node_disk *m) { return (struct item_disk *)(uintptr_t)(m + 1); }
void node_item(const struct node *, uint32_t index, struct item *);
struct key node_key(const struct node *, uint32_t index);
/* Index of the first item with key >= *k; nitems if none. *exact: it is equal. */
uint32_t node_search(const struct node *, const struct key *k, bool *exact);
/* Child pointer of an inner node's item (validated by node_check). */
struct ptr node_child(const struct node *, uint32_t index);
void node_set_child(struct node *, uint32_t index, const struct ptr *p);
void node_set_key(struct node *, uint32_t index, const struct key *k);
void node_set_first(struct node *, const struct key *k);
struct key node_first(const struct node *);
/* Bytes that an item with a value of len needs / that are there (after compaction) / that are used. */
static inline uint32_t node_need(uint32_t len) { return (uint32_t)sizeof(struct item_disk) + len; }
uint32_t node_room(const struct node *);
uint32_t node_used(const struct node *);
/* There must be room. head||tail is the value. */
void node_insert(struct node *, uint32_t index, const struct key *k, const void *head, uint32_t head_len,
		 const void *tail, uint32_t tail_len);
void node_remove(struct node *, uint32_t index);
/* Moves items [from, nitems) to the (empty) node to / appends all of from's items to to. */
void node_move(struct node *n, uint32_t from, struct node *to);
/* Fills in the checksum and returns it. */
uint32_t node_seal(struct node *);

struct key key_load(const struct key_disk *k);
struct key_disk key_store(const struct key *k);

#endif
