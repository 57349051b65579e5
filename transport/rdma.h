/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe over RDMA: one queue pair is one queue. Private to the rdma_*.c files.
 *
 * A slot on a connection:
 *
 *   send: POSTED --send completion--> RDMA_SENT --.
 *           |                                     +--> both: done list --> returned by poll
 *           '-----response capsule--> RDMA_ANSWERED '
 *
 *  1. slots[cid] is set from send until the slot is put on the done list, which is when the target has answered *and*
 *     the device has let go of what was sent. A response for any other CID ends the connection.
 *  2. There is a posted receive for every command in flight and one more: a receive is posted again before its slot can
 *     be used again, so the target never finds none.
 *  3. Responses are copied out of their receive buffers before these are posted again, and judged then.
 *  4. When stop returns the queue pair is destroyed: only that keeps the device from writing into our memory. Memory
 *     regions outlive it; they belong to the domain, which outlives all its connections.
 *  5. Giving back an identifier of the connection manager may wait for the network: the lane's thread only puts the
 *     connection on its domain's list, and the control thread ends it before it connects again.
 *  6. Keys change only while no queue of the domain is connected (another device, see rdma_domain.c). */
#ifndef NVOFS_TRANSPORT_RDMA_H
#define NVOFS_TRANSPORT_RDMA_H

#include <infiniband/verbs.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include "base/list.h"
#include "base/num.h"
#include "transport/rdma_capsule.h"
#include "transport/wire.h"

/* slot->flags */
#define RDMA_SENT 1u
#define RDMA_ANSWERED 2u

#define RDMA_RECV (1ull << 32)       /* wr_id: a receive; the rest is its buffer. Else the CID of a send. */
#define RDMA_WCS 32

/* ---- rdma_cm.c: the connection manager ---- */

struct rdma_cm {
	struct rdma_event_channel *channel; /* non-blocking */
	struct rdma_cm_id *id;
};

/* An event with what is kept of it. */
struct rdma_news {
	enum rdma_cm_event_type event;
	int status;
	uint8_t data[64];            /* private data, as much as NVMe defines */
	size_t len;
};

int rdma_fail(const struct wire_conf *, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Has found the device that leads to the address: cm->id->verbs. One line in conf->why. */
int rdma_cm_open(struct rdma_cm *, const struct wire_conf *, uint64_t deadline);
int rdma_cm_resolve_route(struct rdma_cm *, const struct wire_conf *, uint64_t deadline);
/* With a queue pair in place. crqsize: the controller's receives. */
int rdma_cm_connect(struct rdma_cm *, const struct wire_conf *, struct rdma_conn_param *, uint64_t deadline,
		    uint16_t *crqsize);
/* 1: an event, 0: none there, < 0. */
int rdma_cm_next(struct rdma_cm *, struct rdma_news *);
void rdma_cm_close(struct rdma_cm *);

/* ---- rdma_domain.c ---- */

/* The only fabric that has a device defines what a domain is. */
struct wire_domain {
	struct rdma_cm cm;           /* keeps the device open, and hears when it goes */
	struct ibv_pd *pd;
	struct ibv_device_attr attr;
	pthread_mutex_t lock;
	struct list regions;
	pthread_mutex_t dead_lock;   /* held for a moment only */
	struct list dead;            /* rdma_conn.link: freed but for their identifiers */
	bool gone;                   /* the device: regions wait for another one */
	bool fresh;                  /* just opened: nobody has to look again */
};

int rdma_domain_open(struct wire_domain **, const struct ns_addr *, char *why, size_t why_len);
void rdma_domain_close(struct wire_domain *);
int rdma_map(struct wire_domain *, void *mem, size_t len, unsigned access, struct wire_key *);
void rdma_unmap(struct wire_domain *, struct wire_key *);
/* Before the first queue of an association: the device that leads to the address now is the domain's, with all memory
 * registered there. */
int rdma_domain_renew(struct wire_domain *, const struct wire_conf *, uint64_t deadline);

/* ---- rdma_conn.c, rdma_io.c ---- */

/* Ends what rdma_free left. May wait. */
void rdma_bury(struct wire_domain *);

struct rdma_conn {
	struct wire wire;
	struct list link;            /* in domain.dead */
	struct wire_domain *domain;
	struct rdma_cm cm;
	struct ibv_comp_channel *events;
	struct ibv_cq *cq;
	struct ibv_qp *qp;           /* of cm.id; NULL after stop */
	int dead;                    /* 0, or why nothing moves any more */
	uint16_t qid, depth;         /* depth: SQSIZE */
	uint16_t limit;              /* commands in flight: depth, or what the controller has receives for */
	uint32_t incapsule, max_inline;
	unsigned inflight, unacked;  /* unacked: completion events */
	bool armed;                  /* the next completion makes an event, or has made one that is not read yet */
	bool polled;                 /* completions were taken since: then it is probably there */
	unsigned again;              /* times that the owner wanted to sleep since */
	uint64_t looked_at;
	struct slot **slots;         /* depth + 1, by CID */
	struct slot *done, **done_tail;

	/* One region: commands as they are sent, responses as they come. */
	void *ring;
	struct ibv_mr *ring_mr;
	struct sqe_wire *sqes;       /* by CID */
	struct cqe_wire *cqes;       /* depth + 1 receives */
	struct ibv_send_wr *sends;   /* depth */
	struct ibv_sge *send_sges;   /* 2 each */
	struct ibv_recv_wr *recvs;   /* depth + 1, built once */
	struct ibv_sge *recv_sges;
};

static inline struct rdma_conn *rdma_conn(const struct wire *w) { return container_of(w, struct rdma_conn, wire); }

int rdma_send(struct wire *, struct slot *const *, unsigned n);
int rdma_poll(struct wire *, struct slot **done, unsigned max);
int rdma_arm(struct wire *);

#endif
