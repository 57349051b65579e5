/* SPDX-License-Identifier: Apache-2.0 */
/* A controller: the admin queue and what is said on it. Lives for one association; a new one is a new struct ctrl. All
 * calls on the control thread. Commands are executed one at a time (start-up, logs); Keep Alive and the asynchronous
 * event request have CIDs of their own beside them.
 *
 *      ctrl_open: {transport, Connect, properties, disable, enable, Identify, events, queues}
 *           |  ctrl_connect_io for each queue, ctrl_identify..., ctrl_tick for ever
 *      ctrl_close: orderly (CC.SHN, CSTS.SHST), then the admin connection; or at once when the association is dead
 *
 *  1. After ctrl_tick or ctrl_exec returned a code for which ctrl_lost is true, only ctrl_close may follow.
 *  2. A log is read before the next event is asked for, since reading clears the event. */
#ifndef NVOFS_TRANSPORT_CTRL_H
#define NVOFS_TRANSPORT_CTRL_H

#include "transport/fabrics.h"
#include "transport/wire.h"

#define CTRL_ADMIN_ENTRIES 32
#define CTRL_MAX_IO (1024 * 1024u)

enum { CTRL_CID_EXEC, CTRL_CID_KEEP_ALIVE, CTRL_CID_EVENT, CTRL_CIDS };

struct ctrl_conf {
	const struct wire_ops *ops;
	struct wire_domain *domain;
	const struct ns_addr *addr;   /* with identity; borrowed */
	unsigned nr_queues;           /* wanted; 0: none (admin only) */
	bool discovery;               /* a discovery controller is wanted, else refused */
	char *why;                    /* borrowed until ctrl_open returns */
	size_t why_len;
};

struct ctrl {
	const struct wire_ops *ops;
	struct wire_domain *domain;
	const struct ns_addr *addr;
	char *why;
	size_t why_len;
	unsigned wanted;
	bool discovery;
	uint64_t deadline;            /* of the connection attempt; 0 after it */

	struct wire *admin;
	struct slot slots[CTRL_CIDS];
	bool exec_done, keep_alive_out, event_out, event_in, alive;
	uint32_t event;               /* dw0 of the completion */
	uint64_t keep_alive_sent;
	uint16_t last_status;         /* of the last -E_NVME_STATUS */
	unsigned reached;             /* steps done */
	struct ctrl_page *page;       /* data of admin commands */

	/* learned */
	uint64_t cap;
	uint16_t cntlid;
	uint32_t kato_ms, cqt_ms;
	uint32_t max_io;              /* bytes of one command */
	uint32_t incapsule;           /* of an I/O queue */
	uint32_t max_zero, max_discard; /* LBA shift unknown yet: pages of MPSMIN as bytes, and LBAs; 0: no limit */
	uint32_t crdt_ms[4];          /* by CRD */
	uint32_t nn, oaes;
	uint16_t nr_queues, entries;  /* granted; of an I/O queue */
	bool vwc, can_discard, can_zero, traffic_based;
	char model[41], serial[21], firmware[9];
	bool ns_changed;              /* event: look at the namespace again; the owner clears it */
};

struct ctrl_page {
	uint8_t lent[4096];           /* what a target may write at any time, where the fabric maps memory; never parsed */
	uint8_t bytes[4096];
	struct wire_key key;          /* of lent */
	struct wire_key source;
};

/* All steps up to the queue count. 0, or a negative code and one line in conf->why. */
int ctrl_open(struct ctrl **, const struct ctrl_conf *);
/* Frees. orderly: after ctrl_shutdown. */
void ctrl_close(struct ctrl *, bool orderly);
/* Shuts the controller down, 5 s at most, if it is alive; then the I/O queues may be stopped, then ctrl_close. */
void ctrl_shutdown(struct ctrl *);
/* Stops the admin connection, nothing else: for when other queues still have to be stopped. Idempotent. */
void ctrl_stop(struct ctrl *);
/* One I/O queue, connected and known to the controller. Counters go to stats (may be NULL). */
int ctrl_connect_io(struct ctrl *, struct wire **, uint16_t qid, struct lane_stats *);
/* Executes the command in slot CTRL_CID_EXEC: len bytes (at most a page) to or from the page. 0, -E_NVME_STATUS
 * (last_status tells), or the association is lost. */
int ctrl_exec(struct ctrl *, enum slot_dir, uint32_t len);
struct sqe_wire *ctrl_sqe(struct ctrl *);
/* Data structure of any CNS into the page. */
int ctrl_identify(struct ctrl *, enum nvme_cns, uint32_t nsid, uint8_t csi);
/* len bytes of a log page at offset into the page. */
int ctrl_get_log(struct ctrl *, enum nvme_log, uint32_t nsid, uint64_t offset, uint32_t len);
/* Completions, keep-alive, events. < 0: lost. *due: ns until it wants to be called again. */
int ctrl_tick(struct ctrl *, uint64_t *due);
/* Sleeps on a wire until something may have arrived. 0, or -E_TIMEDOUT at the deadline. */
int wire_wait(struct wire *, uint64_t deadline);
/* Notes a line for the user while connecting; returns code. */
int ctrl_fail(struct ctrl *, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
