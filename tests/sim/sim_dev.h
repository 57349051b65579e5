/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated NVMe device behind the in-process wire: an NVM subsystem with one namespace, under the virtual clock.
 *
 *      submit --> pending --exec_at: takes effect--> executed --done_at--> inproc_complete
 *                    '--- association lost: orphan: executed at once, later, or never
 *
 *  1. One thread; every latency, fate and fault comes from the device's own generator.
 *  2. Commands take effect in the order of exec_at and complete in the order of done_at, neither of which is the order in
 *     which they were sent.
 *  3. Once a queue is disconnected its slots and their memory are not touched again: orphans carry copies.
 *  4. Everything that changes the medium is an event; a recorded stream of events, applied to the state before it, gives
 *     the medium at any point of it. */
#ifndef NVOFS_TESTS_SIM_DEV_H
#define NVOFS_TESTS_SIM_DEV_H

#include <stdbool.h>
#include <stdint.h>
#include "transport/nvme_wire.h"
#include "tests/sim/rng.h"
#include "tests/sim/sim_media.h"

#define SIM_NQN "nqn.2026-01.org.nvofs:sim"
#define SIM_QUEUES 8u          /* I/O queues granted at most */
#define SIM_FAULTS 16u

struct sim_dev_conf {
	uint64_t bytes;
	uint32_t lba_size;     /* 512 or 4096 */
	bool vwc;              /* volatile write cache present */
	uint64_t seed;
	uint64_t latency_min, latency_max; /* ns from sending to taking effect, and again to completion */
	uint8_t mdts;          /* 2^n pages; 0: no limit */
	uint16_t queue_size;
	uint16_t cqt_ms;       /* command quiesce time */
};

enum sim_event_type { EV_WRITE, EV_ZERO, EV_DISCARD, EV_FLUSH, EV_DONE, EV_MARK };

struct sim_event {
	enum sim_event_type type;
	bool fua;
	uint32_t nlb;
	uint64_t lba;
	uint64_t cmd;          /* number of the command; EV_MARK: the caller's value */
	uint64_t stamp;        /* EV_FLUSH: of submission; EV_DONE: of completion; EV_MARK: the caller's kind */
	size_t data;           /* EV_WRITE: offset in the record's data */
};

enum sim_fault_type {
	FAULT_NONE,
	FAULT_ERROR,           /* completes with status sc, without effect */
	FAULT_ERROR_DONE,      /* completes with status sc, but a write has taken effect */
	FAULT_FLIP,            /* read: one bit of the data is wrong */
	FAULT_MISDIRECT,       /* read: the neighbour's data. write: lands on the neighbour */
	FAULT_STALE,           /* read: what the oldest snapshot has */
	FAULT_LOST_WRITE,      /* acknowledged, without effect */
	FAULT_LATE,            /* completes delay ns later */
	FAULT_SLOW,            /* takes effect, and completes, delay ns later */
	FAULT_LOSE,            /* the association is lost as the command arrives */
};

/* Hits commands of opcode in ops (bit 1 << opcode) that touch [first, last]: skips the first skip of them, then hits
 * count, each with chance per_mille. */
struct sim_fault {
	enum sim_fault_type type;
	uint32_t ops;
	uint64_t first, last;  /* LBAs */
	uint64_t skip, count;
	unsigned per_mille;
	uint16_t sc;           /* enum nvme_sc, NVME_STATUS_DNR */
	uint64_t delay;        /* ns; FAULT_LOSE: how long nothing can be connected */
	uint64_t hits;         /* so far */
};
#define SIM_OP(opcode) (1u << (opcode))

/* What becomes of commands in flight when their association dies. */
enum sim_fate { FATE_ANY, FATE_EXECUTED, FATE_NEVER, FATE_LATER, FATE_TORN /* some of its LBAs, at once */ };

struct sim_dev;
struct inproc_peer;

struct sim_dev *sim_dev_new(const struct sim_dev_conf *);
void sim_dev_free(struct sim_dev *); /* all queues must be freed */
struct media *sim_dev_media(struct sim_dev *);
const struct sim_dev_conf *sim_dev_conf(const struct sim_dev *);
/* For ns_addr.inproc. */
struct inproc_peer *sim_dev_peer(struct sim_dev *);

/* Does what is due by clock_now(); true if anything was. */
bool sim_dev_run(struct sim_dev *);
/* Time of the next thing to do; UINT64_MAX: none. */
uint64_t sim_dev_next(const struct sim_dev *);
/* From here on everything goes by this seed and the medium, whatever happened before. Nobody may be connected. */
void sim_dev_start_over(struct sim_dev *, uint64_t seed);
unsigned sim_dev_pending(const struct sim_dev *);  /* commands of living associations, without AERs */

/* ---- faults ---- */
void sim_dev_fault(struct sim_dev *, const struct sim_fault *);
void sim_dev_no_faults(struct sim_dev *);
void sim_dev_pause_faults(struct sim_dev *, bool pause);
uint64_t sim_dev_fault_hits(const struct sim_dev *);
/* All associations die now; connecting fails for down ns. */
void sim_dev_lose(struct sim_dev *, enum sim_fate, uint64_t down);
/* As above, and the power goes: the cache keeps what keep says; commands in flight never execute, or did just now, or a
 * part of them did. */
void sim_dev_power_cut(struct sim_dev *, enum media_keep, uint64_t down);
/* Until when commands of dead associations may take effect; 0: there are none. */
uint64_t sim_dev_orphans_until(const struct sim_dev *);
/* Drops them. */
void sim_dev_drop_orphans(struct sim_dev *);

/* ---- the stream of events ---- */
void sim_dev_record(struct sim_dev *, bool on);   /* on: starts with an empty record */
void sim_dev_mark(struct sim_dev *, uint64_t kind, uint64_t value);
size_t sim_dev_nevents(const struct sim_dev *);
const struct sim_event *sim_dev_event(const struct sim_dev *, size_t index);
/* Applies an event of the record to the medium. torn: a FUA write only reaches the cache. */
void sim_dev_apply(struct sim_dev *, size_t index, bool torn);

/* Counters for tests. */
struct sim_dev_stats {
	uint64_t reads, writes, flushes, zeroes, discards, fua_writes, orphans_executed, orphans_dropped, losses;
};
const struct sim_dev_stats *sim_dev_stats(const struct sim_dev *);

#endif
