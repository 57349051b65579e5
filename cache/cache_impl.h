/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of cache/ share; nobody outside includes it. Everything here is guarded by cache->lock unless a
 * comment says otherwise, and functions named arena_, index_, evict_ and frame_ want it held.
 *
 *      cache.c   life and counters          arena.c   pages: memory, buddy allocator
 *      run.c     runs: new, trim, pins      index.c   (block, birth) -> run
 *      fill.c    I/O and checksums          evict.c   who goes when memory is wanted
 *
 * Cost of bookkeeping, a page of 4096 bytes: 20 bytes touched always; up to 312 more when every run is a single page.
 * Tables are mapped for the worst case and touched as they are used, so that nothing is allocated after cache_new. */
#ifndef NVOFS_CACHE_CACHE_IMPL_H
#define NVOFS_CACHE_CACHE_IMPL_H

#include <pthread.h>
#include "cache/cache.h"

#define CHUNK_PAGES RUN_MAX     /* no run and no free piece crosses a multiple of this */
#define CHUNK_ORDER 7u
#define NR_ORDERS (CHUNK_ORDER + 1)
#define PAGE_NONE UINT32_MAX
#define LEAF_SHIFT 4
#define LEAF_BLOCKS (1u << LEAF_SHIFT)

enum evict_home { HOME_SMALL, HOME_MAIN, HOME_PASSED, NR_HOMES };

/* A run and what only cache/ has to know of it. Its number + 1 stands for it in tables; 0 is nobody. */
struct frame {
	struct run run;        /* first: frame_of */
	uint32_t first;        /* its first page in the arena */
	uint32_t indexed;      /* how many of its blocks the index still gives to it */
	uint32_t last;         /* page of the last use, plus 1; 0: not used since the fill */
	uint32_t next_free;    /* frame number + 1, while FREE */
	uint8_t home;          /* list it is on, or comes back to (enum evict_home) */
	bool streamed;         /* came by read-ahead and was hit */
	bool fresh;            /* filled on demand; the first hit is the reader that missed */
};

struct arena {
	uint8_t *mem;
	size_t bytes;
	uint32_t npages, free_pages;
	uint32_t head[NR_ORDERS];              /* first pages of free pieces */
	struct page_link { uint32_t next, prev; } *link;
	uint8_t *piece;                        /* order + 1 at the first page of a free piece, else 0 */
	uint32_t *owner;                       /* frame number + 1 at the first page of a run */
};

struct leaf {
	uint64_t key;                          /* block >> LEAF_SHIFT */
	uint32_t next;                         /* leaf number + 1: chain, or free leaves */
	uint32_t used;
	uint32_t frame[LEAF_BLOCKS];           /* frame number + 1 */
};

struct index {
	uint32_t *head;                        /* leaf number + 1 */
	uint32_t head_mask;
	struct leaf *leaf;
	uint32_t nr_leaves, free_leaf;         /* touched so far; LIFO of released ones */
};

struct ghost_bucket { /* a cache line */
	struct ghost { uint32_t tag, when; } ghost[8]; /* of (block, birth), 0: none; evict.evicted at that time */
};

struct evict {
	struct list list[NR_HOMES];
	uint32_t pages[NR_HOMES];              /* of the runs on each list */
	uint32_t evicted;                      /* pages so far, wraps */
	uint32_t hand;                         /* chunk at which the next search for a window starts */
	struct ghost_bucket *ghosts;
	uint32_t bucket_mask;
};

struct cache {
	pthread_mutex_t lock;
	struct arena arena;
	struct index index;
	struct evict evict;
	struct frame *frame;                   /* one a page at most */
	uint32_t nr_frames, free_frame;        /* touched so far; LIFO of released ones */
	uint32_t *crcs;                        /* a page */
	uint16_t *held;                        /* a chunk: its pages in pinned runs (and the page of zeros) */
	uint32_t held_pages;                   /* all of them, without the page of zeros */
	void *zero_page;
	struct cache_stats stats;
};

static inline struct frame *frame_of(struct run *run) { return container_of(run, struct frame, run); }
static inline struct frame *frame_by_id(struct cache *c, uint32_t id) { return &c->frame[id - 1]; }
static inline uint32_t frame_id(const struct frame *f) { return (uint32_t)(f - f->run.cache->frame) + 1; }

/* Counters are written under the lock only, so an addition need not be one atomic step. */
static inline void stat_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t mix64(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15ull; /* 2^64 / golden ratio */
	return x ^ x >> 32;
}

/* Zeroed memory that costs nothing until it is touched; NULL. Given back with munmap(p, bytes). */
void *arena_map_table(size_t bytes);
int arena_init(struct arena *, size_t bytes, bool huge_pages);
void arena_exit(struct arena *);
/* npages in one piece; false: no free piece is large enough. */
bool arena_alloc(struct arena *, uint32_t npages, uint32_t *first);
/* Frees any pages inside one chunk. */
void arena_free(struct arena *, uint32_t first, uint32_t npages);

int index_init(struct index *, uint32_t npages);
void index_exit(struct index *, uint32_t npages);
struct frame *index_get(struct cache *, uint64_t block);
/* Makes run.block... find this frame; whoever had a block before loses it (and is freed with its last one). */
void index_insert(struct cache *, struct frame *);
/* Takes all its entries away; that frees a frame without pins. */
void index_remove(struct cache *, struct frame *);
/* run_fill's first half, takes the lock itself: OWNED -> FILLING; false: a block of it is there already. */
bool index_begin_fill(struct run *, uint64_t block, uint64_t birth);

int evict_init(struct evict *, uint32_t npages);
void evict_exit(struct evict *);
/* arena_alloc, evicting until it succeeds; false: pinned runs leave no place of that size. */
bool evict_alloc(struct cache *, uint32_t npages, uint32_t *first);
/* A demand fill begins: where will the run live? */
void evict_admit(struct cache *, struct frame *);
/* The last pin of a VALID run is gone. */
void evict_idle(struct cache *, struct frame *);
/* A use of the run's page; pinned: somebody held the run already. */
void evict_used(struct cache *, struct frame *, uint32_t page, bool pinned);
void evict_forget(struct cache *, struct frame *);

/* One more pin; true: there were others. */
bool frame_pin(struct cache *, struct frame *);
/* Frees the pages and the frame. No pins, not in the index. */
void frame_free(struct cache *, struct frame *);

#endif
