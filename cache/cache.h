/* SPDX-License-Identifier: Apache-2.0 */
/* The page cache: one arena of page-aligned memory, cut into runs of 1 to 128 contiguous pages, and an index from
 * (device block, birth generation) to the page that holds it.
 *
 * A block's content is named for ever by (block, birth): a page is filled once, checked once, and never written
 * again. A run is the unit of memory, I/O, pinning and eviction; it holds consecutive blocks of one birth.
 *
 *            run_new                 run_fill                  good
 *      FREE ---------> OWNED -------------------> FILLING -----------> VALID
 *        ^               |  cache_insert (written data) -----------------^ |
 *        |               | last pin gone                    bad: FAILED    | evicted: no pins, not wanted
 *        '---------------'---------------------<---------------'----<------'
 *
 *  1. A pinned run is never evicted, moved or filled again. Whoever lends its memory to an io holds a pin until
 *     io.stable().
 *  2. A FILLING run is in the index, so that a block is read once however many wait for it.
 *  3. A FAILED run leaves the index as it fails; its waiters get the status, the next reader reads again.
 *  4. Pages of an OWNED run belong to their owner alone: they are nobody's content yet.
 *
 * One mutex guards index, lists and buddy allocator; it is held for memory work only (no I/O, checksums, call-backs).
 * All functions may be called by any thread, except that run_fill and run_write submit on the calling worker's lane. */
#ifndef NVOFS_CACHE_CACHE_H
#define NVOFS_CACHE_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "transport/ns.h"

#define RUN_MAX 128u /* pages: 512 KiB, also the longest extent */

struct cache;

enum run_state { RUN_FREE, RUN_OWNED, RUN_FILLING, RUN_VALID, RUN_FAILED };

/* Whoever waits for a run. Embedded in the waiter's object; wake is called once, without locks, on the thread
 * whose lane finished the run (so it must only post or queue). */
struct waiter {
	struct list link;
	void (*wake)(struct waiter *, int status);
};

struct run {
	struct io io;              /* its one I/O: the fill, or the write */
	void *mem;                 /* page-aligned, inside the arena; constant while the run lives */
	uint32_t *crcs;            /* per page: what a fill must find; what a write computed. npages of them */
	uint64_t block, birth;     /* key of the first page, once in the index */
	uint32_t npages;
	_Atomic uint32_t pins;
	_Atomic uint8_t state;     /* enum run_state */
	bool speculative;          /* filled by read-ahead and not hit yet; set by the owner before run_fill */
	int status;                /* FAILED: why */
	uint32_t bad_page;         /* FAILED with -E_CHECKSUM: the first page that does not match */
	uint8_t heat;              /* eviction policy's */
	struct list lru;
	struct list waiters;
	struct cache *cache;
	void (*done)(struct run *, int status); /* run_write: the owner's call-back */
	void *owner;               /* free for whoever owns the run */
};

struct cache_conf {
	size_t bytes;              /* of the arena; rounded down to whole 2 MiB, at least 4 MiB */
	bool huge_pages;           /* try MAP_HUGETLB, else MADV_HUGEPAGE, else plain */
};

struct cache_stats { /* relaxed reads; all but bytes count runs or look-ups */
	/* hits: valid when found; the reader that missed and comes back after the fill is not counted again */
	_Atomic uint64_t hits, misses, fills, evictions, ra_issued, ra_hit, ra_wasted, checksum_errors;
	uint64_t bytes, free_bytes, pinned_bytes;
};

int cache_new(struct cache **, const struct cache_conf *);
void cache_free(struct cache *); /* no pins, no I/O may be left */
/* The arena, to be registered with ns_add_memory. */
void *cache_memory(const struct cache *, size_t *len);
void cache_stats(const struct cache *, struct cache_stats *out);
/* A page of zeros inside the arena (holes). */
void *cache_zero_page(const struct cache *);

/* ---- runs as plain memory ---- */

/* A run of exactly npages (1..RUN_MAX) in state OWNED with one pin, evicting what is cold. NULL if pinned runs leave no
 * aligned window that is long enough: a shorter run may still be had. */
struct run *run_new(struct cache *, uint32_t npages);
/* Gives back the pages behind the first npages (>= 1) of an OWNED run at once. */
void run_trim(struct run *, uint32_t npages);
/* Cuts an OWNED run in two without a copy: the first npages (fewer than all) stay, the others come back as an OWNED run
 * of their own with one pin. */
struct run *run_split(struct run *, uint32_t npages);
void run_pin(struct run *);
/* Drops a pin; the last one frees an OWNED or FAILED run, and makes a VALID one evictable. */
void run_unpin(struct run *);

/* ---- runs as content ---- */

/* The run that holds (block, birth), pinned, and in *page the block's place in it; NULL: a miss. It may be FILLING:
 * then wait with run_wait. heat: counts as a use (false for checks and read-ahead). */
struct run *cache_find(struct cache *, uint64_t block, uint64_t birth, uint32_t *page, bool heat);
/* How many consecutive blocks from (block, birth) are absent, at most max (0: the first one is there). */
uint32_t cache_missing(struct cache *, uint64_t block, uint64_t birth, uint32_t max);
/* Queues w until the run leaves FILLING; false (w not queued) if it already has: look at its state again. */
bool run_wait(struct run *, struct waiter *w);

/* Puts an OWNED run into the index as FILLING under (block, birth) and reads it on lane. crcs[] must be set. Takes a
 * pin of its own until the fill is done. -EEXIST, with nothing done, if any of its blocks is there already (somebody
 * was faster: look again). When the data is in memory every page's CRC32C is compared: VALID, or FAILED with status
 * -E_CHECKSUM and bad_page for the report. */
int run_fill(struct run *, struct lane *, uint64_t block, uint64_t birth);
/* As run_fill without index and without checksum: private reading of something that the caller checks itself
 * (nodes, bitmaps, journal). done is called on the lane's thread; the run stays OWNED. */
void run_read(struct run *, struct lane *, uint64_t block, unsigned flags, void (*done)(struct run *, int status));
/* Writes the run's npages to block from where they lie. done is called when the data is on the target (not yet
 * flushed); a pin is held until io.stable. */
void run_write(struct run *, struct lane *, uint64_t block, unsigned flags, void (*done)(struct run *, int status));
/* Computes crcs[] of an OWNED run's pages from its memory. */
void run_checksum(struct run *);
/* An OWNED run whose pages hold the content of (block, birth...): VALID and found from now on. Replaces what other
 * births the index has there. */
void cache_insert(struct run *, uint64_t block, uint64_t birth);
/* The blocks were freed: forget them (pins keep the memory, not the index entry). */
void cache_drop(struct cache *, uint64_t block, uint32_t nblocks);

/* ---- read-ahead: one per open stream; pure bookkeeping in file blocks ---- */

struct readahead {
	uint64_t next;     /* block after the last read: what a sequential reader asks next */
	uint64_t ahead;    /* blocks before this one were asked for already */
	uint32_t window;   /* blocks to keep ahead; 0: random */
};
/* Whether a read of [first, first+n) belongs to the stream (a new one: begins at block 0). */
bool readahead_continues(const struct readahead *, uint64_t first, uint32_t n);
/* A read of [first, first+n): returns how many blocks to read ahead and from where (*start); 0: none. eof in blocks.
 * Grows from 32 to max_window blocks on sequential access, falls to nothing on random. */
uint32_t readahead_next(struct readahead *, uint64_t first, uint32_t n, uint64_t eof, uint32_t max_window,
			uint64_t *start);

#endif
