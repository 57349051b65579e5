/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: transactions collected into records, written one after the other to a ring of blocks.
 *
 *      append --> open record --close--> closed (queue) --Flush--> flying --FUA--> durable
 *                  full, a waiter, the timer, a cut          data first
 *
 *  1. One record is in flight; records become durable in sequence, so a waiter for record s knows of all before it.
 *  2. A record holds whole transactions and chains to the one before by its checksum, sequence number and epoch.
 *  3. Data that a record's transactions name was written before they were appended; the Flush between makes it durable
 *     before the record is.
 *  4. Positions are counted without wrapping; a record that does not fit before the end of the ring starts at its head,
 *     and a reader that finds no successor looks there too.
 *  5. The room of a record is taken again only after a checkpoint that contains it is durable. */
#ifndef NVOFS_FS_JOURNAL_H
#define NVOFS_FS_JOURNAL_H

#include "fs/fs_core.h"

struct journal_cut {
	uint64_t total;            /* position without wrapping: what a checkpoint releases */
	uint64_t pos, seq;         /* for the superblock */
	uint32_t prev_crc;
};

int journal_new(struct fs *);
void journal_free(struct fs *);
/* After replay: the next record gets seq and goes to pos (an offset in blocks). */
void journal_restart(struct fs *, uint64_t pos, uint64_t seq, uint32_t prev_crc);

/* Exclusive fs lock: is there room for one more transaction? Else parks op. */
int journal_ready(struct op *);
/* Exclusive fs lock, journal_ready: bytes of one whole transaction. Submits on w's lane when a record is full. */
void journal_append(struct worker *w, const void *txn, uint32_t len);
/* Exclusive fs lock: closes the open record; what a checkpoint made now contains. */
void journal_cut(struct fs *, struct journal_cut *);
/* The checkpoint with that cut is durable as generation gen. */
void journal_release(struct fs *, const struct journal_cut *, uint64_t gen);
/* Starts what is due on the calling worker: everything committed so far is to become durable. */
void journal_commit(struct worker *);
/* The fs froze: those who wait hear it. */
void journal_wake(struct fs *, int status);
bool journal_idle(struct fs *);
void journal_info(struct fs *, uint64_t *used_blocks, uint64_t *records);

/* Bytes from the device: is this record seq of fs after prev_crc? 0 or a code; *txns points at the transactions. */
int record_check(const void *data, size_t len, const uint8_t uuid[16], uint64_t epoch, uint64_t seq, uint32_t prev_crc);

#endif
