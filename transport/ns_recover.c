/* SPDX-License-Identifier: Apache-2.0 */
/* On a fresh association, before any lane has its wire: reading for reclaim(), and writing again what was acknowledged but
 * not flushed (rule 3 of ns.h). Runs on the control thread on the wire of the synchronous queue, and keeps the controller
 * alive meanwhile. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/ns_impl.h"

#define DEPTH 16
#define ANSWER_NS (30 * NS_PER_S)
#define RETRIES 5
#define RETRY_PAUSE (100 * NS_PER_MS)

struct recovery {
	struct ns *ns;
	struct slot slots[DEPTH];    /* owner: the io while in use */
	unsigned depth;              /* at most DEPTH; a queue of n entries takes n - 1 commands */
	unsigned inflight;
	int failed;                  /* final status of a command; the association is fine */
};

static void recovery_init(struct recovery *rc, struct ns *ns)
{
	memset(rc, 0, sizeof(*rc));
	rc->ns = ns;
	rc->depth = MIN(DEPTH, ns->info.queue_size - 1u);
	for (unsigned i = 0; i < DEPTH; i++)
		rc->slots[i].sqe.cid = put16((uint16_t)i);
}

static int send_slot(struct recovery *rc, struct slot *s)
{
	uint64_t due;
	int r = ctrl_tick(rc->ns->ctrl, &due); /* also after having been stopped: then nothing is sent */

	if (r < 0)
		return r;
	r = rc->ns->ops->send(rc->ns->recovery_wire, &s, 1);
	if (r == 1)
		rc->inflight++;
	return r < 0 ? r : r == 1 ? 0 : -E_LOST;
}

/* An answer: done, failed, or sent again. */
static int answered(struct recovery *rc, struct slot *s)
{
	int code = s->status;
	enum status_verdict verdict = code ? STATUS_RETRY : status_judge(cqe_status(&s->cqe), &code);

	rc->inflight--;
	if (verdict == STATUS_WAIT || (verdict == STATUS_RETRY && s->retries++ < RETRIES)) {
		clock_sleep(RETRY_PAUSE);
		return send_slot(rc, s);
	}
	s->owner = NULL;
	if (code && !rc->failed)
		rc->failed = code;
	return 0;
}

/* Until at most n commands are in flight. */
static int drain(struct recovery *rc, unsigned n)
{
	uint64_t deadline = clock_now() + ANSWER_NS, due;

	while (rc->inflight > n) {
		struct slot *s;
		int r = rc->ns->ops->poll(rc->ns->recovery_wire, &s, 1);

		if (r > 0)
			r = answered(rc, s);
		else if (!r)
			r = wire_wait(rc->ns->recovery_wire, MIN(deadline, clock_now() + 100 * NS_PER_MS));
		if (r == -E_TIMEDOUT && clock_now() < deadline)
			r = 0;
		if (!r)
			r = ctrl_tick(rc->ns->ctrl, &due);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool overlaps(const struct recovery *rc, uint64_t block, uint32_t n)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		const struct slot *s = &rc->slots[i];

		if (s->owner && block < s->block + s->nblocks && s->block < block + n)
			return true;
	}
	return false;
}

static struct slot *free_slot(struct recovery *rc)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		if (!rc->slots[i].owner)
			return &rc->slots[i];
	}
	return NULL;
}

static int submit_piece(struct recovery *rc, struct io *io, uint64_t block, uint32_t n)
{
	struct slot *s;
	int r = drain(rc, overlaps(rc, block, n) ? 0 : rc->depth - 1); /* overlapping writes keep their order */

	if (r)
		return r;
	s = free_slot(rc);
	s->owner = io;
	s->retries = 0;
	lane_build(rc->ns, s, io, block, n, NULL);
	return send_slot(rc, s);
}

static int submit_all(struct recovery *rc, struct io *io)
{
	const struct ns *ns = rc->ns;
	uint32_t most = io->op == IO_ZERO ? ns->max_zero_blocks : ns->info.max_io_blocks;
	int r = 0;

	for (uint32_t at = 0, n; !r && at < io->nblocks; at += n) {
		n = MIN(most, io->nblocks - at);
		if (io->op != IO_ZERO)
			n = ns_same_key(ns, (uint8_t *)io->mem + (size_t)at * BLOCK_SIZE, n);
		r = submit_piece(rc, io, io->block + at, n);
	}
	return r;
}

int ns_recover_read(struct ns *ns, uint64_t block, uint32_t nblocks, void *buf)
{
	struct recovery rc;
	int r = 0;

	recovery_init(&rc, ns);
	for (uint32_t at = 0; !r && at < nblocks; at += SYNC_BLOCKS) {
		struct io io = { .op = IO_READ, .block = block + at, .nblocks = MIN(nblocks - at, SYNC_BLOCKS),
				 .mem = ns->recovery_mem };

		r = submit_all(&rc, &io);
		if (!r)
			r = drain(&rc, 0);
		if (!r)
			r = rc.failed;
		if (!r)
			memcpy((uint8_t *)buf + (size_t)at * BLOCK_SIZE, ns->recovery_mem, (size_t)io.nblocks * BLOCK_SIZE);
	}
	if (r < 0 && r != rc.failed)
		ns_lost(ns, r);
	return r;
}

/* ---- unflushed writes ---- */

/* The lanes have no wires, so their lists are ours; taken away, so that a lane may be closed meanwhile. */
static void steal(struct ns *ns)
{
	pthread_mutex_lock(&ns->lock);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		if (ns->queues[i].lane)
			list_splice(&ns->queues[i].stolen, &ns->queues[i].lane->unflushed);
	}
	list_splice(&ns->queues[ns->nqueues - 1].stolen, &ns->orphans); /* that queue's own lane only writes with FUA */
	pthread_mutex_unlock(&ns->lock);
}

static void give_back(struct ns *ns)
{
	pthread_mutex_lock(&ns->lock);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct ns_queue *q = &ns->queues[i];
		bool own = q->lane && i + 1 < ns->nqueues;
		struct list *to = own ? &q->lane->unflushed : &ns->orphans;

		list_splice(&q->stolen, to); /* nothing younger is there, but keep the order by seq in any case */
		list_splice(to, &q->stolen);
		if (own && atomic_load(&ns->given_up) && !atomic_exchange(&q->lane->reap_posted, true))
			mailbox_post(&q->lane->mailbox, &q->lane->reap_letter);
	}
	pthread_mutex_unlock(&ns->lock);
}

/* The oldest io that no queue's cursor has passed; NULL: all done. */
static struct io *next_oldest(struct ns *ns, struct list **cursors)
{
	unsigned best = ns->nqueues;
	struct io *oldest = NULL;

	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct io *io = list_entry(cursors[i], struct io, link);

		if (cursors[i] == &ns->queues[i].stolen || (oldest && io->seq > oldest->seq))
			continue;
		oldest = io;
		best = i;
	}
	if (oldest)
		cursors[best] = cursors[best]->next;
	return oldest;
}

static int rewrite_stolen(struct recovery *rc, struct list **cursors)
{
	struct ns *ns = rc->ns;
	uint64_t flushed = atomic_load(&ns->flushed), bytes = 0;
	struct io *io;
	int r = 0;

	for (unsigned i = 0; i < ns->nqueues; i++)
		cursors[i] = ns->queues[i].stolen.next;
	while (!r && !atomic_load(&ns->given_up) && (io = next_oldest(ns, cursors))) {
		if (io->seq <= flushed)
			continue;
		bytes += (uint64_t)io->nblocks * BLOCK_SIZE;
		r = submit_all(rc, io);
	}
	if (!r)
		r = drain(rc, 0);
	if (!r && bytes)
		log_info("wrote %llu bytes again that had not been flushed", (unsigned long long)bytes);
	return r;
}

int ns_rewrite(struct ns *ns)
{
	struct list **cursors = calloc(ns->nqueues, sizeof(*cursors));
	struct recovery rc;
	int r;

	if (!cursors)
		return -ENOMEM;
	recovery_init(&rc, ns);
	steal(ns);
	r = rewrite_stolen(&rc, cursors);
	for (unsigned i = 0; r && i < DEPTH; i++) { /* lost again: these may execute later */
		if (rc.slots[i].owner)
			ns_doubt_add(ns, rc.slots[i].block, rc.slots[i].nblocks);
	}
	if (!r && rc.failed) {
		log_error("a write that was not flushed could not be written again: %s", err_text(rc.failed));
		atomic_store(&ns->write_lost, rc.failed);
	}
	/* Memory may go back to its owners only when nothing is in flight on this wire. */
	if (r)
		ns->ops->stop(ns->recovery_wire);
	give_back(ns);
	free(cursors);
	return r;
}
