/* SPDX-License-Identifier: Apache-2.0 */
/* The controller core of nvofs-target: a subsystem with its namespaces, the discovery subsystem, the controllers that
 * hosts have made, their queues, and what each command does. It knows no fabric: a front (target/tcp_*.c) brings
 * capsules and moves data.
 *
 *      queue_init --> { request_begin --> [data arrive] --> request_execute --> CQE }* --> queue_exit
 *
 *  1. A queue and its requests belong to one thread, the front's. Between queues only ctrl's atomics and what
 *     target->lock guards is shared.
 *  2. request_begin decides everything that does not need the data: after it either r->done (the CQE is final), or
 *     r->held (no CQE now: an asynchronous event request), or r->dir and r->len say what has to be moved.
 *  3. Nothing a host sends is trusted: every length and every offset is checked here before a backing sees it.
 *  4. A controller lives as long as its last queue; when its admin queue goes, all its others are disconnected. */
#ifndef NVOFS_TARGET_TARGET_H
#define NVOFS_TARGET_TARGET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "base/list.h"
#include "tools/target/backing.h"
#include "tools/target/fault.h"
#include "transport/nvme_wire.h"

#define TARGET_NS_MAX 64
#define TARGET_HOSTS_MAX 16
#define TARGET_QUEUES_MAX 128
#define TARGET_AER_MAX 4
#define TARGET_ADMIN_ENTRIES 32          /* of an admin queue, at least (base 5.1.12.3.1, ASQSZ) */
#define TARGET_ADMIN_INCAPSULE 8192u /* NVMe/TCP 3.3.2: always allowed on the admin queue */

struct target_conf {
	const char *nqn;
	const char *hosts[TARGET_HOSTS_MAX]; /* allowed host NQNs; none: all */
	unsigned nr_hosts;
	uint32_t lba_size;           /* 512 or 4096 */
	uint32_t mdts;               /* bytes, a power of two of at least 4096 */
	uint32_t incapsule;          /* bytes of data in an I/O capsule */
	uint16_t max_queues;         /* I/O queues of one controller */
	uint16_t queue_size;         /* entries */
	int vwc;                     /* 1, 0; -1: if a file is there */
	bool losing;                 /* files get a cache that a killed process loses */
	bool touch;                  /* have all memory of ram: from the beginning */
};

struct target_ns {
	uint32_t nsid;
	struct backing backing;
	uint64_t nblocks;            /* LBAs */
	uint8_t nguid[16], uuid[16], eui64[8];
};

struct target {
	struct target_conf conf;
	unsigned lba_shift;
	bool vwc;
	char serial[21];
	struct target_ns ns[TARGET_NS_MAX];
	unsigned nr_ns;
	struct fault fault;
	_Atomic uint64_t reads, writes, blocks_read, blocks_written;
	pthread_mutex_t lock;        /* guards: */
	struct list ctrls;
	uint16_t last_cntlid;
};

struct queue;

struct ctrl {
	struct list link;
	struct target *target;
	uint16_t cntlid;
	bool discovery;
	uint8_t hostid[16];
	char hostnqn[NVME_NQN_LEN];
	_Atomic uint32_t cc, csts;
	_Atomic uint32_t kato_ms;
	_Atomic uint64_t seen;       /* clock_now() when the host was last heard */
	_Atomic bool write_cache;    /* feature 06h */
	uint32_t aer_config;
	uint8_t host_behavior[512];
	le16 aer[TARGET_AER_MAX];    /* command identifiers, the admin queue's thread only */
	unsigned nr_aer;
	/* under target->lock */
	struct queue *queues[TARGET_QUEUES_MAX + 1];
	unsigned refs;               /* queues; the last frees */
	bool dead;                   /* admin queue gone: no queue may join */
};

/* What a front does for the core. */
struct queue_front {
	/* Any thread, under target->lock: makes the queue's thread end the connection soon. */
	void (*disconnect)(struct queue *);
	/* The queue's thread: sends a completion that belongs to no current request. */
	void (*complete)(struct queue *, const struct cqe_wire *);
	/* Where the host reached us, for the discovery log: fills trtype, adrfam, traddr, trsvcid, tsas. */
	void (*address)(struct queue *, struct discovery_entry_wire *);
};

struct queue {
	struct target *target;
	const struct queue_front *front;
	struct ctrl *ctrl;           /* NULL before Connect */
	uint16_t qid;
	uint16_t size;               /* entries; 0 before Connect */
	uint16_t sqhd;
	bool no_flow;                /* SQ flow control disabled */
	uint32_t incapsule;          /* bytes of data that a capsule may have */
};

enum request_dir { REQUEST_NONE, REQUEST_TO_HOST, REQUEST_TO_CTRL };

struct command;

struct request {
	struct sqe_wire sqe;         /* in */
	uint32_t capsule_len;        /* in: bytes of data that came in the capsule */
	struct cqe_wire cqe;         /* out, when done */
	bool done, held;
	enum request_dir dir;
	uint32_t len;                /* bytes to be moved; > 0 unless dir is NONE */
	bool in_capsule;             /* TO_CTRL: the data are in the capsule, */
	uint32_t capsule_off;        /* from here */
	void *place;                 /* may be NULL: the data may be received here or sent from here without a copy */
	/* the core's */
	const struct command *command;
	struct target_ns *ns;
	uint64_t offset;             /* in the backing */
	bool durable, corrupt;
};

/* ---- target.c ---- */
/* Opens the backings; 0, or negative and one line in why. conf is copied, its strings are borrowed. */
int target_init(struct target *, const struct target_conf *, char *const *backings, unsigned nr, char *why,
		size_t why_len);
/* All queues are gone. Flushes and closes the backings. */
void target_exit(struct target *);
/* Ends associations whose keep-alive timer ran out. Returns ms until it wants to be called again, -1: not before a host
 * comes. */
int target_tick(struct target *);
/* Ends all associations. */
void target_drop_all(struct target *);
struct target_ns *target_find_ns(struct target *, uint32_t nsid);
/* A status for a backing's error. */
uint16_t target_status(int err, bool write);

/* ---- ctrl.c ---- */
/* Makes a controller with q as its admin queue; NULL without memory. */
struct ctrl *ctrl_new(struct queue *q, const struct connect_data_wire *, uint32_t kato_ms, bool discovery);
/* Adds an I/O queue; a status. */
uint16_t ctrl_join(struct queue *q, uint16_t qid, const struct connect_data_wire *, uint32_t *bad_param);
/* Takes q off its controller. */
void ctrl_leave(struct queue *q);
uint16_t ctrl_set_cc(struct ctrl *, uint32_t cc);
static inline bool ctrl_ready(const struct ctrl *c)
{
	return atomic_load_explicit(&c->csts, memory_order_relaxed) & NVME_CSTS_RDY;
}
/* CAP as it is for all controllers of this target. */
uint64_t ctrl_cap(const struct target *);

/* ---- queue.c ---- */
void queue_init(struct queue *, struct target *, const struct queue_front *);
void queue_exit(struct queue *);
/* r->sqe and r->capsule_len are filled in, the rest is not read. */
void request_begin(struct queue *, struct request *);
/* TO_CTRL: data are r->len received bytes; TO_HOST: a buffer to fill, unused if r->place is set; else NULL. */
void request_execute(struct queue *, struct request *, void *data);
/* Ends a request whose data could not be moved. */
void request_fail(struct queue *, struct request *, uint16_t status);
/* Checks the SGL: exactly len bytes, of a type that the front can move. A status. */
uint16_t request_wants(struct request *, enum request_dir, uint32_t len);
/* The host was heard. */
void queue_seen(struct queue *);

/* One command: begin checks and calls request_wants if there are data; execute does it. Either may be NULL. */
struct command {
	uint8_t opcode;              /* or Fabrics command type */
	bool discovery;              /* known to discovery controllers */
	uint16_t (*begin)(struct queue *, struct request *);
	uint16_t (*execute)(struct queue *, struct request *, void *data);
	uint32_t effects;            /* for the commands log */
};
extern const struct command admin_commands[], io_commands[], fabrics_commands[]; /* end: no begin and no execute */

/* ---- identify.c, log_page.c, features.c ---- */
uint16_t identify_begin(struct queue *, struct request *);
uint16_t identify_execute(struct queue *, struct request *, void *data);
uint16_t log_page_begin(struct queue *, struct request *);
uint16_t log_page_execute(struct queue *, struct request *, void *data);
uint16_t get_features_begin(struct queue *, struct request *);
uint16_t get_features_execute(struct queue *, struct request *, void *data);
uint16_t set_features_begin(struct queue *, struct request *);
uint16_t set_features_execute(struct queue *, struct request *, void *data);

#define INVALID_FIELD (NVME_SC_INVALID_FIELD | NVME_STATUS_DNR)

#endif
