/* SPDX-License-Identifier: Apache-2.0 */
/* A namespace: the one face of transport/ that the rest of the house sees. Units are blocks of 4096 bytes, whatever
 * the LBA size. Memory is the caller's (registered with ns_add_memory) and is lent with an io.
 *
 *      ns_open -> lane_open (one a worker) -> lane_submit / lane_poll / lane_arm -> lane_close -> ns_close
 *
 * An io's life, and who owns its memory:
 *
 *      submit --> queued --> on the wire --> done(status) --> stable()
 *                   ^            |
 *                   '-- IN_DOUBT <'  association lost: issued again, same bytes
 *
 *  1. Between lane_submit and done the memory and the io belong to the lane. A time-out alone never gives it back.
 *  2. A write without IO_FUA on a namespace with a volatile write cache is kept until a Flush on the same association
 *     succeeded: the io and its memory (which must not change) belong to the namespace until stable(). In all other cases
 *     stable() follows done() at once. A failed io gets done(status) and stable().
 *  3. Losing the target is an event, not an error: ios wait, the control thread reconnects, unflushed writes are written
 *     again (before any Flush counts), then what was in flight. done() sees only final statuses.
 *  4. A range with a write of unknown fate is in doubt until the old association is dead: a write with other bytes,
 *     a discard or a zeroing of it is held back by the lane until then (WIRE.md section 4 has the rule; same for all
 *     callers, so none has to know). */
#ifndef NVOFS_TRANSPORT_NS_H
#define NVOFS_TRANSPORT_NS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/list.h"
#include "transport/addr.h"

#define BLOCK_SIZE 4096u
#define BLOCK_SHIFT 12

struct ns;
struct lane;

enum io_op { IO_READ, IO_WRITE, IO_FLUSH, IO_DISCARD, IO_ZERO };
#define IO_FUA 1u      /* write: durable when done */
#define IO_URGENT 2u   /* journal and nodes: may use the slots that are kept for them */

struct io {
	enum io_op op;
	unsigned flags;
	uint64_t block;        /* first block; unused for IO_FLUSH */
	uint32_t nblocks;      /* any number: the lane splits */
	void *mem;             /* nblocks * BLOCK_SIZE, page-aligned, inside memory that ns_add_memory knows; borrowed */
	void (*done)(struct io *, int status);  /* on the lane's thread; 0 or a negative code (base/err.h) */
	/* On the lane's thread (after lane_close: any), so keep it short. NULL: the write is made with FUA, so that there
	 * is nothing to wait for. */
	void (*stable)(struct io *);
	/* below: the lane's */
	struct list link;      /* lane queue, or the namespace's unflushed list */
	uint32_t next;         /* blocks handed to slots so far */
	uint32_t left;         /* slots and blocks not yet finished */
	int status;
	uint64_t seq;          /* order of completion, for Flush */
};

/* What is known of the namespace; constant while it is open, but for the last lines. */
struct ns_info {
	uint64_t nblocks;          /* of 4096 bytes; a partial one at the end is left out */
	uint32_t lba_size;
	uint32_t max_io_blocks;    /* of one command */
	uint32_t nsid;
	bool vwc;                  /* volatile write cache present */
	bool can_discard, can_zero;
	uint8_t nguid[16], eui64[8], uuid[16];
	char model[41], serial[21], firmware[9], subnqn[224], hostnqn[224], address[128], transport[8];
	uint8_t hostid[16];
	uint16_t cntlid;
	uint16_t nr_queues;        /* I/O queues granted */
	uint16_t queue_size;
	uint32_t kato_ms;
	uint32_t dead_ms;          /* an association is dead this long after its last transmission (WIRE.md section 4) */
	bool hdr_digest, data_digest;
	uint64_t map_ns;           /* time spent registering memory */
	/* change: */
	_Atomic uint32_t reconnects;
	_Atomic bool connected;
};

struct ns_list_entry {
	uint32_t nsid, lba_size;
	uint64_t bytes;
	uint8_t nguid[16], eui64[8], uuid[16];
};

/* Counters of one lane; written by its thread only, read by anyone (relaxed). */
struct lane_stats {
	_Atomic uint64_t commands, reads, writes, flushes, bytes_read, bytes_written;
	_Atomic uint64_t copied_read;   /* payload bytes that our own code copied (staging), by the wire */
	_Atomic uint64_t copied_written;
	_Atomic uint64_t reissued, errors;
};

#define NS_NO_THREAD 1u   /* no control thread: the caller calls ns_control (tests, virtual clock) */
#define NS_ADMIN_ONLY 2u  /* identify and discover: no I/O queues */

struct ns_conf {
	struct ns_addr addr;
	unsigned flags;
	unsigned nr_queues;        /* wanted, one a worker */
	/* Called on the control thread after every reconnect and before anything is written: may read with
	 * ns_read_sync. < 0: the namespace is given up for good, all ios fail with that code. May be NULL. */
	int (*reclaim)(void *arg, struct ns *);
	void *reclaim_arg;
	/* Namespace went away / came back (for the log, status); control thread. May be NULL. */
	void (*event)(void *arg, struct ns *, bool connected);
	void *event_arg;
};

/* Connects (blocking, all of WIRE.md's table). On failure *ns is NULL and why has one line that a user understands
 * (names the address, what was tried and what the answer was). */
int ns_open(struct ns **ns, const struct ns_conf *, char *why, size_t why_len);
/* Orderly: lanes must be closed. Shuts the controller down (5 s at most), frees all. */
void ns_close(struct ns *);
const struct ns_info *ns_info(const struct ns *);
/* Registers [mem, mem+len) for I/O: before the first io that uses it; stays until ns_close. */
int ns_add_memory(struct ns *, void *mem, size_t len);
/* Why that failed with code, in one line: what has to be locked and how to get it, or err_text. Returns buf. */
const char *ns_memory_text(const struct ns *, int code, size_t len, char *buf, size_t buf_len);
/* The active namespaces of the subsystem, as found by ns_open with NS_ADMIN_ONLY. How many; *list is the namespace's own. */
unsigned ns_list(const struct ns *, const struct ns_list_entry **list);
/* Reads or writes blocks through a private bounce buffer and a queue of its own, blocking; writes are made with FUA. Any
 * thread. Reads also inside reclaim(). For tools and mount. */
int ns_read_sync(struct ns *, uint64_t block, uint32_t nblocks, void *buf);
int ns_write_sync(struct ns *, uint64_t block, uint32_t nblocks, const void *buf, unsigned flags);
int ns_flush_sync(struct ns *);
/* Without a control thread: does what is due (keep-alive, reconnect); returns ns until it wants to be called again. */
uint64_t ns_control(struct ns *);
/* Fails everything from now on with code (a takeover was seen, or the user gave up). Any thread. */
void ns_give_up(struct ns *, int code);

/* One per worker, index 0 .. nr_queues-1. All calls below on the owner's thread. */
int lane_open(struct lane **, struct ns *, unsigned index);
void lane_close(struct lane *); /* waits for nothing: no io may be outstanding but unflushed ones */
void lane_submit(struct lane *, struct io *);
/* Sends what is queued (one doorbell), takes completions, calls done(). Returns how many ios finished. */
unsigned lane_poll(struct lane *);
/* 1: poll again, something came meanwhile; 0: sleeping on lane_fd is safe. */
int lane_arm(struct lane *);
/* Readable when the lane wants lane_poll; one descriptor for the lane's whole life. */
int lane_fd(const struct lane *);
/* Is no io outstanding but unflushed ones, so that lane_close may be called? */
bool lane_idle(const struct lane *);
/* Commands in flight (not ios waiting for a connection). */
unsigned lane_inflight(const struct lane *);
/* ns until a time-out of the lane itself matters (held-back writes); UINT64_MAX: none. */
uint64_t lane_timeout(const struct lane *);
const struct lane_stats *lane_stats(const struct lane *);
/* For tools and tests: polls and sleeps until *pending is 0. Without a control thread also runs ns_control. */
void lane_wait(struct lane *, const unsigned *pending);

/* Is there a write of unknown fate whose association may still execute it? As long as there is, nobody else may be told
 * that the namespace is free. */
bool ns_in_doubt(struct ns *);
/* Bytes of completed writes that wait for a Flush; when it grows the owner should flush. */
uint64_t ns_unflushed(const struct ns *);

#endif
