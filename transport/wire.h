/* SPDX-License-Identifier: Apache-2.0 */
/* What a fabric has to do, and nothing more: register memory, connect one queue, carry slots, stop. Everything above
 * it (properties, Fabrics commands, admin commands, splitting, retrying) is written once for all fabrics.
 *
 *      connect --> send/poll/arm ... --> stop --> free
 *
 *  1. After stop() nothing remote can touch our memory any more. It says nothing about execution at the target: slots
 *     that were sent and not answered are IN_DOUBT.
 *  2. A slot comes back from poll() once, when its response arrived and its send is finished; only then may its CID be
 *     used again.
 *  3. send, poll, arm and stop are called by the owner's thread only; stop is idempotent and never waits for the peer. */
#ifndef NVOFS_TRANSPORT_WIRE_H
#define NVOFS_TRANSPORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "transport/addr.h"
#include "transport/nvme_wire.h"

struct wire_ops;
struct wire_domain;
struct lane_stats;

/* Head of every fabric's own structure. */
struct wire {
	const struct wire_ops *ops;
};

enum slot_dir { SLOT_NONE, SLOT_TO_HOST, SLOT_TO_CTRL };

/* One command on its way. Slots are an array of a queue, the index is the CID (sqe.cid is set by the owner). */
struct slot {
	struct sqe_wire sqe;      /* the wire fills in dptr (SGL) at send */
	struct cqe_wire cqe;      /* filled when poll returns the slot */
	enum slot_dir dir;
	uint32_t len;             /* bytes of data */
	void *mem;                /* contiguous, registered; borrowed until poll or stop */
	const struct wire_key *key; /* of the chunk that holds mem; NULL where the fabric has no keys */
	int status;               /* 0, or a negative code if the wire itself refuses (digest of the data did not match) */
	/* the wire's */
	uint32_t moved;           /* bytes of data received or sent so far */
	uint32_t crc;             /* running data digest */
	uint8_t flags;
	struct slot *next;
	/* the owner's */
	void *owner;
	uint64_t block;           /* for the log and for ranges in doubt: in units of 4096 bytes */
	uint32_t nblocks;
	uint8_t retries, state, age;
	uint64_t due, mark;       /* time of the next try; sequence a Flush vouches for */
};

struct wire_key {
	uint64_t base;            /* virtual address of the chunk */
	uint64_t len;
	uint32_t lkey, rkey;
	void *handle;
};
#define WIRE_REMOTE_WRITE 1u  /* a target fills it (our reads) */
#define WIRE_REMOTE_READ 2u   /* a target reads from it (our writes) */

struct wire_conf {
	const struct ns_addr *addr;
	uint16_t cntlid;          /* for I/O queues, RDMA private data */
	bool hdr_digest, data_digest;
	uint32_t connect_ms;      /* limit for connecting */
	uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT */
	char *why;                /* one line on failure */
	size_t why_len;
};

struct wire_limits {
	uint32_t incapsule;       /* bytes of data that fit into a command capsule beyond the SQE; from IOCCSZ, set by the owner */
	uint32_t max_sge;         /* data descriptors per command */
	bool hdr_digest, data_digest; /* as negotiated */
};

struct wire_fd {
	int fd;
	uint32_t events;          /* EPOLLIN | EPOLLOUT wanted while armed */
};

struct wire_ops {
	const char *name;
	bool poll_sends;          /* poll may send: data of slots that were accepted earlier, when the target asks for them */
	/* Connects nothing, but may look for the device that leads to the address. One line in why on failure. */
	int (*domain_open)(struct wire_domain **, const struct ns_addr *, char *why, size_t why_len);
	void (*domain_close)(struct wire_domain *);
	/* NULL where the fabric registers nothing. The key stays where it is until unmap: the fabric may change it while no
	 * queue is connected (another device). -E_MEMLOCK: beyond what may be locked. */
	int (*map)(struct wire_domain *, void *mem, size_t len, unsigned access, struct wire_key *);
	void (*unmap)(struct wire_domain *, struct wire_key *);
	/* Blocking up to conf->connect_ms. stats may be NULL (admin queue). */
	int (*connect)(struct wire **, struct wire_domain *, struct lane_stats *stats, uint16_t qid, uint16_t sqsize,
		       const struct wire_conf *, struct wire_limits *);
	/* In-capsule size became known after Identify. */
	void (*set_limits)(struct wire *, const struct wire_limits *);
	int (*fds)(const struct wire *, struct wire_fd *, unsigned max);
	/* Accepts 0..n slots; short = back-pressure; < 0: dead. One doorbell (or sendmsg) for all. */
	int (*send)(struct wire *, struct slot *const *, unsigned n);
	/* Finished slots, at most max; < 0: dead. */
	int (*poll)(struct wire *, struct slot **done, unsigned max);
	int (*arm)(struct wire *);
	void (*stop)(struct wire *);
	void (*free)(struct wire *);
};

extern const struct wire_ops wire_tcp, wire_inproc;
#ifdef NVOFS_RDMA
extern const struct wire_ops wire_rdma;
#endif

/* NULL, and one line in why: this build cannot do it. */
const struct wire_ops *wire_find(enum transport_type, char *why, size_t why_len);

#endif
