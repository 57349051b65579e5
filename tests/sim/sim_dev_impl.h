/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the simulated device: sim_dev.c (queues, time, fates), sim_ctrl.c (what commands do), sim_events.c. */
#ifndef NVOFS_TESTS_SIM_DEV_IMPL_H
#define NVOFS_TESTS_SIM_DEV_IMPL_H

#include "base/list.h"
#include "tests/sim/sim_dev.h"
#include "transport/inproc.h"

/* A controller: one association. */
struct sim_ctrl {
	struct list link;
	struct list queues;
	uint16_t cntlid;
	bool dead;             /* association lost or ended */
	uint32_t cc, csts, kato_ms;
	uint64_t last_rx;      /* ns: when it last received anything */
	unsigned refs;         /* queues and commands */
};

struct sim_queue {
	struct sim_dev *dev;
	struct sim_ctrl *ctrl; /* of an I/O queue only after its Connect */
	struct list link;      /* ctrl->queues */
	struct inproc_queue *iq; /* the host's end */
	uint16_t qid;
	bool connected, dead;
};

struct sim_cmd {
	struct list link;      /* dev->cmds */
	struct sim_queue *queue; /* NULL: orphan */
	struct sim_ctrl *ctrl;
	struct slot *slot;     /* not of orphans */
	struct sqe_wire sqe;
	void *data;            /* orphans: a copy of what was to be written; else NULL */
	uint32_t len;
	bool executed, parked; /* parked: an AER */
	uint64_t exec_at, done_at, submitted; /* ns, ns, stamp */
	uint64_t num;          /* once executed: the order of execution */
	struct cqe_wire cqe;
};

struct sim_dev {
	struct inproc_peer peer;
	struct sim_dev_conf conf;
	struct media media;
	struct rng rng;
	struct list ctrls;
	struct list cmds;
	uint64_t stamp, next_num;
	uint64_t down_until;
	uint16_t next_cntlid;
	struct sim_fault faults[SIM_FAULTS];
	unsigned nfaults;
	bool faults_paused;
	struct sim_dev_stats stats;
	bool recording;
	struct sim_event *events;
	size_t nevents, events_cap;
	uint8_t *data;         /* of the events */
	size_t ndata, data_cap;
};

/* sim_ctrl.c: the command takes effect; fills cmd->cqe. mem: its data, NULL if there are none. f: what goes wrong, or
 * NULL. A Connect of the admin queue makes queue->ctrl. */
void sim_ctrl_execute(struct sim_dev *, struct sim_cmd *, const struct sim_fault *f, void *mem);

/* sim_events.c */
void sim_event_write(struct sim_dev *, struct sim_cmd *, uint64_t lba, uint32_t nlb, const void *data, bool fua);
void sim_event_zero(struct sim_dev *, struct sim_cmd *, enum sim_event_type, uint64_t lba, uint32_t nlb);
void sim_event_flush(struct sim_dev *, struct sim_cmd *);
void sim_event_done(struct sim_dev *, struct sim_cmd *);

#endif
