/* SPDX-License-Identifier: Apache-2.0 */
/* The medium of the simulated device: blocks, a volatile write cache over them, cheap snapshots.
 *
 *      media_write --> cache (readable, not durable) --media_flush--> durable
 *                         '---------- media_cut: per LBA the old or a newer content
 *
 *  1. mem is what a read returns: the newest content, durable or not.
 *  2. The log holds, for every LBA written and not yet durable, what it replaced; so any mix of lost and kept writes can
 *     be built by taking some of them back.
 *  3. A flush makes durable what was completed when the flush was submitted, and nothing else that could be lost. */
#ifndef NVOFS_TESTS_SIM_MEDIA_H
#define NVOFS_TESTS_SIM_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/sim/rng.h"

#define MEDIA_PAGE 4096u
#define MEDIA_LEVELS 6u

/* What a power cut leaves of what was not durable. */
enum media_keep {
	KEEP_NONE,         /* nothing */
	KEEP_ALL,          /* everything */
	KEEP_LBAS,         /* each LBA for itself, any of its versions: reordered and torn writes */
	KEEP_COMMANDS,     /* whole commands, each for itself */
	KEEP_BUT_ONE,      /* everything but one command */
	KEEP_ONLY_ONE,     /* nothing but one command */
	KEEP_CHOICES
};

struct vlog_entry {
	uint64_t lba;
	uint64_t cmd;      /* number of the command that wrote it */
	uint64_t done;     /* stamp of that command's completion; 0: not completed */
};

struct vlog {              /* oldest first; shared by snapshots until changed */
	unsigned refs;
	size_t n, cap;
	struct vlog_entry *entries;
	uint8_t *old;      /* lba_size bytes each */
};

struct media_level {       /* since a snapshot: what pages held then */
	uint64_t *saved;   /* bitmap of pages */
	size_t n, cap;
	uint64_t *pages;
	uint8_t *old;
	struct vlog *log;  /* as it was */
};

struct media {
	uint8_t *mem;      /* mapped, sparse */
	uint64_t bytes;
	uint32_t lba_size;
	struct vlog *log;
	struct media_level levels[MEDIA_LEVELS];
	unsigned nlevels;
	uint64_t hash;     /* of all pages but the stale ones */
	uint64_t *page_hash;
	uint64_t *stale;   /* bitmap of pages written since media_hash, and a list of them */
	uint64_t *stale_pages;
	size_t nstale, stale_cap;
};

void media_init(struct media *, uint64_t bytes, uint32_t lba_size);
void media_exit(struct media *);
/* Writes nlb LBAs; data NULL: zeros. volatile_: into the cache, as command cmd; else durable at once. */
void media_write(struct media *, uint64_t lba, uint32_t nlb, const void *data, bool volatile_, uint64_t cmd);
/* Command cmd (numbers grow in the order of writing) was completed towards the host; stamps grow, from 1. */
void media_completed(struct media *, uint64_t cmd, uint64_t stamp);
/* A flush that was submitted at stamp. */
void media_flush(struct media *, uint64_t stamp);
/* The power goes: the cache keeps what keep and chance say, all of that is durable then. */
void media_cut(struct media *, enum media_keep keep, struct rng *);
const uint8_t *media_at(const struct media *, uint64_t lba);
/* What [lba, lba+nlb) was at the oldest snapshot. */
void media_read_old(const struct media *, uint64_t lba, uint32_t nlb, void *out);
/* Changes content behind the device's back (damage); undone by snapshots like everything else. */
uint8_t *media_poke(struct media *, uint64_t lba);
/* 64 bits over what media_at shows of everything. Costs what changed since the last call. */
uint64_t media_hash(struct media *);
uint64_t media_unflushed(const struct media *); /* LBA versions in the log */

/* A stack of states: push keeps the present one, restore goes back to it (it stays on the stack), pop forgets it without
 * changing anything. */
void media_push(struct media *);
void media_restore(struct media *);
void media_pop(struct media *);

#endif
