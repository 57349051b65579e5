/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of ns.h: the namespace, its lanes, and who may touch what.
 *
 * The association (control thread only):
 *
 *      LIVE --a wire died, or keep-alive--> STOPPING --every lane stopped its wire--> DOWN
 *        ^                                                                             | every reconnect-delay
 *        '---- hand over <-- rewrite unflushed <-- reclaim <-- identify <-- connect <--'
 *      any --ns_give_up, or another namespace answers--> GIVEN_UP
 *
 *  1. A wire belongs to its lane's thread from hand-over until the lane stopped it (lane.stopped_gen); before and after,
 *     to whoever holds ns.lock (idle queues) or to the control thread (connecting, recovery).
 *  2. A lane's fields are its thread's alone, but for the atomics, the mailbox, and `unflushed` while it has no wire:
 *     then the list is the control thread's (under ns.lock).
 *  3. Nothing is written on a new association before every wire of the old one is stopped.
 *  4. Ranges in doubt are noted before a lane reports that it stopped, so they are known before anything is handed over. */
#ifndef NVOFS_TRANSPORT_NS_IMPL_H
#define NVOFS_TRANSPORT_NS_IMPL_H

#include <pthread.h>
#include "base/mailbox.h"
#include "base/num.h"
#include "base/spin.h"
#include "transport/ctrl.h"
#include "transport/ns.h"
#include "transport/wire.h"

#define NS_CHUNKS 256              /* of NS_CHUNK_MAX: 64 GiB */
#define NS_CHUNK_MAX (256 * MiB)
#define AUDIT_NS (5 * NS_PER_S)
#define AUDITS 7u
#define SYNC_BLOCKS 256u           /* of the bounce buffer: 1 MiB */
#define LANE_FDS 2u                /* of a wire */

/* slot->state */
enum { SLOT_FREE, SLOT_READY, SLOT_SENT, SLOT_DELAYED };

enum ns_state { NS_LIVE, NS_STOPPING, NS_DOWN, NS_GIVEN_UP };

/* io->flags of the lane's own */
#define IO_TORN 0x80000000u        /* some pieces were answered on an association that was lost, the others were not */
#define IO_SAME_BYTES 0x40000000u  /* all pieces were sent once already */

/* What identifies a namespace; compared on reconnect. */
struct ns_ident {
	uint64_t nlbas;
	uint8_t lba_shift;
	uint8_t nguid[16], eui64[8], uuid[16];
};

struct ns_chunk {
	uintptr_t base;
	size_t len;
	struct wire_key fill, source; /* source.len is 0: fill is for both */
};

/* One I/O queue: its wire while no lane has it, and its lane. */
struct ns_queue {
	struct wire *wire;
	struct lane *lane;
	struct lane_stats stats;
	struct list stolen;        /* unflushed ios that the control thread writes again */
};

struct doubt {
	uint64_t block, nblocks;
	uint64_t dead_at;          /* UINT64_MAX: the association is not ended yet */
};

struct ns {
	struct ns_conf conf;       /* addr with identity */
	struct ns_info info;
	const struct wire_ops *ops;
	struct wire_domain *domain;
	struct ns_list_entry *list;
	unsigned nlist;
	struct ns_ident ident;
	uint32_t lba_per_block, max_zero_blocks, max_discard_blocks;
	uint32_t crdt_ms[4];       /* by CRD */

	/* control thread */
	struct ctrl *ctrl;
	enum ns_state state;
	uint64_t next_try, down_since, next_complaint, next_audit;
	pthread_t thread;
	pthread_t control;         /* who runs ns_control; valid while recovering */
	bool recovering, stepping; /* stepping: ns_control is running */
	struct wire *recovery_wire;
	void *recovery_mem;        /* SYNC_BLOCKS */
	int wake_fd;
	_Atomic bool stop;
	_Atomic uint64_t fresh_until; /* clock_now from which nothing may be sent on this association; 0: no keep-alive */
	_Atomic int lost;          /* 0, or the code with which a lane lost its wire */
	_Atomic int given_up;      /* 0, or the code for everything from now on */

	pthread_mutex_t lock;      /* queues, orphans, gen */
	struct ns_queue *queues;   /* nr_queues, and one more for the synchronous calls */
	unsigned nqueues;          /* with that one */
	_Atomic uint32_t gen;      /* association, counted from 1 */
	struct list orphans;       /* unflushed ios of closed lanes */
	_Atomic uint64_t orphan_bytes;

	_Atomic uint64_t seq;      /* completions of volatile writes */
	_Atomic uint64_t flushed;  /* every write up to this one is durable */
	_Atomic int write_lost;    /* an unflushed write could not be written again: every Flush fails */

	pthread_mutex_t doubt_lock;
	struct doubt *doubts;
	unsigned doubt_room;
	_Atomic unsigned ndoubts;

	struct ns_chunk chunks[NS_CHUNKS];
	_Atomic unsigned nchunks;
	pthread_mutex_t memory_lock;

	pthread_mutex_t sync_lock;
	struct lane *sync;
	void *sync_mem;
};

struct lane {
	struct ns *ns;
	unsigned index;
	const struct wire_ops *ops;
	struct wire *wire;         /* NULL: none at the moment */
	uint32_t gen;              /* association of the wire */
	struct mailbox mailbox;
	int epfd;
	struct wire_fd watched[LANE_FDS];
	struct spin spin;          /* of lane_wait */

	struct slot *slots;        /* nslots, the index is the CID */
	unsigned nslots, nfree, reserved;
	_Atomic unsigned inflight; /* written by the owner, looked at by the control thread */
	uint16_t *free;            /* stack of CIDs */
	struct slot **ready;       /* nready, to be sent */
	unsigned nready, ndelayed;
	struct dsm_range_wire *ranges; /* one a slot */
	struct wire_key ranges_key;

	struct list urgent, normal; /* ios with blocks not yet in slots */
	struct list held;          /* ios that touch a range in doubt */
	struct list finished;      /* ios that need no command */
	struct list unflushed;     /* by seq */
	uint64_t reaped;
	uint64_t due;              /* clock_now of the next delayed slot or held io */
	unsigned nfinished;        /* of the current poll */
	int given_up;

	_Atomic uint64_t unflushed_bytes;
	_Atomic uint32_t stopped_gen; /* the wire of this association is stopped */
	_Atomic pthread_t owner;   /* who polled it last */
	_Atomic bool audit_posted, stop_posted, reap_posted, give_up_posted;
	struct letter audit_letter, stop_letter, wire_letter, reap_letter, give_up_letter;
	struct wire *fresh;        /* with wire_letter */
	uint32_t fresh_gen;
	struct lane_stats *stats;
};

/* ns_identify.c: on the admin queue; one line in the controller's why */
/* Which namespace the address means. */
int ns_find(struct ctrl *, const struct ns_addr *, uint32_t *nsid);
/* 0, -E_NO_NSID, -E_LBA_FORMAT, or the association is lost. */
int ns_identify(struct ctrl *, uint32_t nsid, struct ns_ident *);
/* All active namespaces into a new array. */
int ns_identify_all(struct ctrl *, struct ns_list_entry **, unsigned *count);

/* ns_connect.c */
/* First connection: fills info, queues and wires. */
int ns_connect_first(struct ns *, char *why, size_t why_len);
/* A new controller and a wire for each queue (an array of nqueues, the caller's), the same namespace as before. Nothing
 * was written yet. -E_ID_CHANGED: never again. */
int ns_connect_again(struct ns *, struct wire **wires, char *why, size_t why_len);

/* ns_control.c */
/* The controller heard from us: its association may be used for KATO from then. */
void ns_refresh(struct ns *);
void ns_wake(struct ns *);
int ns_control_start(struct ns *);
void ns_control_stop(struct ns *);
/* The association is over. Any thread; the first code is the reason that is told. */
void ns_lost(struct ns *, int code);

/* ns_recover.c: on the control thread, on a fresh wire that no lane has yet */
int ns_recover_read(struct ns *, uint64_t block, uint32_t nblocks, void *buf);
int ns_rewrite(struct ns *);

/* ns_doubt.c */
void ns_doubt_add(struct ns *, uint64_t block, uint64_t nblocks);
/* The association that the open ranges belong to has ended just now. */
void ns_doubt_seal(struct ns *);
/* 0, or the time at which the last range that overlaps is dead (UINT64_MAX: not known yet). */
uint64_t ns_doubt_check(struct ns *, uint64_t block, uint64_t nblocks);
/* The time at which all are dead; 0: none. */
uint64_t ns_doubt_last(struct ns *);

/* ns_memory.c */
void ns_memory_exit(struct ns *);
/* Memory that is only copied to and from: one key for both directions. */
int ns_add_bounce(struct ns *, void *mem, size_t len);
/* How many of n blocks from mem on have the same key. */
uint32_t ns_same_key(const struct ns *, const void *mem, uint32_t n);
const struct wire_key *ns_key(const struct ns *, const void *mem, enum slot_dir);

/* lane.c */
/* Fills the command of a slot for blocks of an io. */
void lane_build(struct ns *, struct slot *, const struct io *, uint64_t block, uint32_t nblocks, struct dsm_range_wire *);
void lane_reap(struct lane *);
bool io_is_write(const struct io *);
bool io_is_volatile(const struct ns *, const struct io *);

/* lane_wire.c: letters, losing a wire and getting another */
void lane_take_wire(struct lane *, struct wire *, uint32_t gen);
void lane_lose_wire(struct lane *, int code);
void lane_fail_all(struct lane *);
void lane_watch(struct lane *);
/* Every AUDIT_NS: a command that was not answered for AUDITS of them ends the association. */
void lane_audit(struct lane *);
/* lane.c, for lane_wire.c */
void lane_end_slot(struct lane *, struct slot *, int status);
void lane_end_io(struct lane *, struct io *, int status);

static inline void stat_add(_Atomic uint64_t *counter, uint64_t n) /* one writer: no locked instruction needed */
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

#endif
