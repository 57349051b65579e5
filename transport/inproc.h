/* SPDX-License-Identifier: Apache-2.0 */
/* The in-process fabric, for tests: a peer takes commands by function call and answers when it likes, so that a simulated
 * controller under a virtual clock can delay, reorder, corrupt and lose. Everything above the wire (Connect, properties,
 * Identify, splitting, retrying, reconnecting) is the real thing. One thread; open the namespace with NS_NO_THREAD, with
 * addr.transport = TRANSPORT_INPROC and addr.inproc = the peer.
 *
 *      connect(q) --> submit(q, slot)... inproc_complete(q, slot)... --> disconnect(q)
 *
 *  1. A slot belongs to the peer from submit until inproc_complete, or until disconnect returns: then it is the host's
 *     again and must not be touched.
 *  2. inproc_complete may be called inside submit, inside poll, or at any time between. */
#ifndef NVOFS_TRANSPORT_INPROC_H
#define NVOFS_TRANSPORT_INPROC_H

#include "transport/wire.h"

struct inproc_peer;

struct inproc_queue {
	struct wire wire;
	struct inproc_peer *peer;
	uint16_t qid, entries;
	int dead;                    /* 0, or the code that the host gets */
	struct slot *done, **done_tail;
	unsigned inflight;
	void *priv;                  /* the peer's */
};

struct inproc_peer {
	/* A connection is made (before Fabrics Connect comes as a command). 0, or a negative code: nobody there. */
	int (*connect)(struct inproc_peer *, struct inproc_queue *);
	/* A command. slot->mem is to be read or filled now or later (slot->dir, slot->len). */
	void (*submit)(struct inproc_peer *, struct inproc_queue *, struct slot *);
	/* The host looks for completions: the time to complete what is due. May be NULL. */
	void (*poll)(struct inproc_peer *, struct inproc_queue *);
	/* The host dropped the connection. May be NULL. */
	void (*disconnect)(struct inproc_peer *, struct inproc_queue *);
};

/* The answer: status as NVME_STATUS(), 0 for success; value goes to the first 8 bytes of the CQE. */
void inproc_complete(struct inproc_queue *, struct slot *, uint16_t status, uint64_t value);
/* The wire itself refuses the data (a digest that did not match): code is negative. */
void inproc_fail(struct inproc_queue *, struct slot *, int code);
/* The connection is lost; the host notices when it looks next. */
void inproc_break(struct inproc_queue *);

#endif
