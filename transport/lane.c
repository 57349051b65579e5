/* SPDX-License-Identifier: Apache-2.0 */
/* A lane: ios become slots, slots go to the wire, completions come back. Nothing here allocates or locks on the way of an
 * io, unless a range is in doubt.
 *
 *   slot:  FREE --build--> READY --send--> SENT --answer--> FREE
 *                            ^  ^            | |
 *                            |  '-- wire lost' '--retryable status--> DELAYED --due--> READY
 *
 *  1. An io stands on one list while it has blocks that are in no slot; io->left counts those and the blocks in slots.
 *  2. reserved slots are for IO_URGENT, so that journal and nodes get through when data fills the queue. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/ns_impl.h"

#define RETRIES 5
#define DIGEST_RETRIES 2
#define PATH_DELAY_MS 200u
#define LOGGED_ERRORS 20
#define POLL_BATCH 64

bool io_is_write(const struct io *io)
{
	return io->op == IO_WRITE || io->op == IO_ZERO;
}

static bool changes_blocks(const struct io *io)
{
	return io_is_write(io) || io->op == IO_DISCARD;
}

/* Written to a volatile cache, so that only a Flush makes it stable. */
bool io_is_volatile(const struct ns *ns, const struct io *io)
{
	return ns->info.vwc && io_is_write(io) && !(io->flags & IO_FUA) && io->stable;
}

/* ---- ending ---- */

void lane_end_io(struct lane *lane, struct io *io, int status)
{
	void (*stable)(struct io *) = io->stable;

	lane->nfinished++;
	if (status)
		stat_add(&lane->stats->errors, 1);
	if (!status && io_is_volatile(lane->ns, io)) {
		/* On the list before done(): a Flush that done() leads to has to cover it. */
		io->seq = atomic_fetch_add(&lane->ns->seq, 1) + 1;
		list_append(&lane->unflushed, &io->link);
		stat_add(&lane->unflushed_bytes, (uint64_t)io->nblocks * BLOCK_SIZE);
		io->done(io, 0);
		return;
	}
	io->done(io, status);
	if (stable)
		stable(io);
}

static void enqueue(struct lane *lane, struct io *io)
{
	list_append(io->flags & IO_URGENT ? &lane->urgent : &lane->normal, &io->link);
}

/* Takes the blocks that are in no slot out of the io. */
static void drop_rest(struct io *io)
{
	uint32_t rest = io->nblocks - io->next;

	if (!rest)
		return;
	io->left -= rest;
	io->next = io->nblocks;
	list_del(&io->link);
}

static void flush_succeeded(struct lane *lane, uint64_t mark)
{
	struct ns *ns = lane->ns;
	uint64_t flushed = atomic_load(&ns->flushed);

	while (flushed < mark && !atomic_compare_exchange_weak(&ns->flushed, &flushed, mark))
		;
	pthread_mutex_lock(&ns->lock);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct lane *other = ns->queues[i].lane;

		if (other && other != lane && atomic_load(&other->unflushed_bytes) &&
		    !atomic_exchange(&other->reap_posted, true))
			mailbox_post(&other->mailbox, &other->reap_letter);
	}
	pthread_mutex_unlock(&ns->lock);
	if (atomic_load_explicit(&ns->orphan_bytes, memory_order_relaxed))
		ns_wake(ns);
}

void lane_reap(struct lane *lane)
{
	uint64_t flushed = atomic_load(&lane->ns->flushed);

	lane->reaped = flushed;
	while (!list_empty(&lane->unflushed)) {
		struct io *io = list_entry(lane->unflushed.next, struct io, link);

		if (io->seq > flushed)
			break;
		list_del(&io->link);
		stat_add(&lane->unflushed_bytes, -(uint64_t)io->nblocks * BLOCK_SIZE);
		io->stable(io);
	}
}

static void free_slot(struct lane *lane, struct slot *s)
{
	s->state = SLOT_FREE;
	s->owner = NULL;
	lane->free[lane->nfree++] = get16(s->sqe.cid);
}

/* Pieces that were answered before the association was lost lay in its volatile cache: the whole io once more. Its
 * range may be in doubt, but with the same bytes. */
static void begin_again(struct lane *lane, struct io *io)
{
	io->flags = (io->flags & ~IO_TORN) | IO_SAME_BYTES;
	io->next = 0;
	io->left = io->nblocks;
	enqueue(lane, io);
}

void lane_end_slot(struct lane *lane, struct slot *s, int status)
{
	struct io *io = s->owner;

	io->left -= s->nblocks;
	if (status && !io->status)
		io->status = status;
	if (status)
		drop_rest(io);
	if (io->op == IO_FLUSH && !status)
		flush_succeeded(lane, s->mark);
	free_slot(lane, s);
	if (!io->left && !io->status && io->flags & IO_TORN)
		begin_again(lane, io);
	else if (!io->left)
		lane_end_io(lane, io, io->status);
}

/* ---- answers ---- */

static void set_inflight(struct lane *lane, unsigned n)
{
	atomic_store_explicit(&lane->inflight, n, memory_order_relaxed);
}

static void log_failure(struct lane *lane, const struct slot *s, int code)
{
	static const char *const names[] = { "read", "write", "flush", "discard", "zeroing" };
	const struct io *io = s->owner;
	char text[64];

	if (atomic_load_explicit(&lane->stats->errors, memory_order_relaxed) > LOGGED_ERRORS)
		return;
	log_error("%s of %u blocks at block %llu failed: %s", names[io->op], s->nblocks, (unsigned long long)s->block,
		  s->status ? err_text(code) : status_print(cqe_status(&s->cqe), text, sizeof(text)));
}

static void make_ready(struct lane *lane, struct slot *s)
{
	s->state = SLOT_READY;
	lane->ready[lane->nready++] = s;
}

static void delay(struct lane *lane, struct slot *s, uint32_t ms)
{
	s->retries += s->retries < UINT8_MAX;
	stat_add(&lane->stats->reissued, 1);
	if (!ms) {
		make_ready(lane, s);
		return;
	}
	s->state = SLOT_DELAYED;
	s->due = clock_now() + ms * NS_PER_MS;
	lane->ndelayed++;
	lane->due = MIN(lane->due, s->due);
}

/* Whether the slot is tried again; *code is what its io gets else. */
static bool try_again(struct lane *lane, struct slot *s, int *code)
{
	uint16_t status = cqe_status(&s->cqe);
	uint32_t ms = lane->ns->crdt_ms[NVME_STATUS_CRD(status)];
	enum status_verdict verdict;

	if (s->status) { /* the wire's own: the data digest */
		*code = s->status;
		if (s->retries >= DIGEST_RETRIES)
			return false;
		delay(lane, s, 0);
		return true;
	}
	verdict = status_judge(status, code);
	if (verdict == STATUS_RETRY && s->retries < RETRIES)
		delay(lane, s, ms);
	else if (verdict == STATUS_WAIT)
		delay(lane, s, MAX(ms, PATH_DELAY_MS));
	else
		return false;
	return true;
}

static void count(struct lane *lane, const struct slot *s)
{
	const struct io *io = s->owner;
	struct lane_stats *st = lane->stats;

	if (io->op == IO_READ) {
		stat_add(&st->reads, 1);
		stat_add(&st->bytes_read, s->len);
	} else if (io->op == IO_WRITE) {
		stat_add(&st->writes, 1);
		stat_add(&st->bytes_written, s->len);
	} else if (io->op == IO_FLUSH) {
		stat_add(&st->flushes, 1);
	}
}

static void answered(struct lane *lane, struct slot *s)
{
	int code = 0;

	set_inflight(lane, lane_inflight(lane) - 1);
	if (s->status || cqe_status(&s->cqe)) {
		if (try_again(lane, s, &code))
			return;
		if (code)
			log_failure(lane, s, code);
	}
	if (!code)
		count(lane, s);
	lane_end_slot(lane, s, code);
}

static void take_answers(struct lane *lane)
{
	struct slot *done[POLL_BATCH];
	int n;

	do {
		n = lane->ops->poll(lane->wire, done, POLL_BATCH);
		for (int i = 0; i < n; i++)
			answered(lane, done[i]);
	} while (n == POLL_BATCH && lane->wire);
	if (n < 0 && lane->wire)
		lane_lose_wire(lane, n);
}

/* ---- issuing ---- */

void lane_build(struct ns *ns, struct slot *s, const struct io *io, uint64_t block, uint32_t n, struct dsm_range_wire *range)
{
	uint64_t lba = block * ns->lba_per_block;
	uint32_t nlb = n * ns->lba_per_block;
	bool fua = ns->info.vwc && !io_is_volatile(ns, io);
	le16 cid = s->sqe.cid;

	s->block = block;
	s->nblocks = n;
	s->dir = SLOT_NONE;
	s->len = 0;
	s->mem = NULL;
	if (io->op == IO_READ || io->op == IO_WRITE) {
		s->dir = io->op == IO_READ ? SLOT_TO_HOST : SLOT_TO_CTRL;
		s->len = n * BLOCK_SIZE;
		s->mem = (uint8_t *)io->mem + (block - io->block) * BLOCK_SIZE;
		s->key = ns_key(ns, s->mem, s->dir);
		io_build_rw(&s->sqe, io->op == IO_READ ? NVME_IO_READ : NVME_IO_WRITE, ns->info.nsid, lba, nlb,
			    fua && io->op == IO_WRITE);
	} else if (io->op == IO_ZERO) {
		io_build_rw(&s->sqe, NVME_IO_WRITE_ZEROES, ns->info.nsid, lba, nlb, fua);
	} else if (io->op == IO_DISCARD) {
		s->dir = SLOT_TO_CTRL;
		s->len = sizeof(*range);
		s->mem = range;
		io_build_deallocate(&s->sqe, range, ns->info.nsid, lba, nlb);
	} else {
		io_build_flush(&s->sqe, ns->info.nsid);
		s->mark = atomic_load(&ns->seq);
	}
	s->sqe.cid = cid;
}

static uint32_t most_blocks(const struct ns *ns, const struct io *io)
{
	return io->op == IO_ZERO ? ns->max_zero_blocks :
	       io->op == IO_DISCARD ? ns->max_discard_blocks : ns->info.max_io_blocks;
}

/* Rule 4 of ns.h. */
static bool hold_back(struct lane *lane, struct io *io)
{
	uint64_t until;

	if (!atomic_load_explicit(&lane->ns->ndoubts, memory_order_acquire) || !changes_blocks(io) ||
	    io->flags & IO_SAME_BYTES)
		return false;
	until = ns_doubt_check(lane->ns, io->block + io->next, io->nblocks - io->next);
	if (!until)
		return false;
	list_del(&io->link);
	list_append(&lane->held, &io->link);
	lane->due = MIN(lane->due, MIN(until, clock_now() + NS_PER_S));
	return true;
}

/* The next piece of an io gets a slot. */
static void take_piece(struct lane *lane, struct io *io)
{
	uint32_t n = MIN(io->nblocks - io->next, most_blocks(lane->ns, io));
	uint16_t cid = lane->free[--lane->nfree];
	struct slot *s = &lane->slots[cid];

	if (io->op == IO_READ || io->op == IO_WRITE)
		n = ns_same_key(lane->ns, (uint8_t *)io->mem + (size_t)io->next * BLOCK_SIZE, n);
	s->owner = io;
	s->retries = 0;
	lane_build(lane->ns, s, io, io->block + io->next, n, &lane->ranges[cid]);
	if (io->op == IO_DISCARD)
		s->key = &lane->ranges_key;
	io->next += n;
	if (io->next == io->nblocks)
		list_del(&io->link);
	make_ready(lane, s);
}

static bool can_take(const struct lane *lane)
{
	return (!list_empty(&lane->urgent) && lane->nfree) || (!list_empty(&lane->normal) && lane->nfree > lane->reserved);
}

static void send_ready(struct lane *lane)
{
	int n = lane->ops->send(lane->wire, lane->ready, lane->nready);

	if (n < 0) { /* some may have left: all of them are treated so */
		for (unsigned i = 0; i < lane->nready; i++)
			lane->ready[i]->state = SLOT_SENT;
		set_inflight(lane, lane_inflight(lane) + lane->nready);
		lane->nready = 0;
		lane_lose_wire(lane, n);
		return;
	}
	for (int i = 0; i < n; i++) {
		lane->ready[i]->state = SLOT_SENT;
		lane->ready[i]->age = 0;
	}
	set_inflight(lane, lane_inflight(lane) + (unsigned)n);
	stat_add(&lane->stats->commands, (uint64_t)n);
	lane->nready -= (unsigned)n;
	memmove(lane->ready, lane->ready + n, lane->nready * sizeof(*lane->ready));
}

static void issue(struct lane *lane)
{
	while (can_take(lane)) {
		struct list *from = list_empty(&lane->urgent) ? &lane->normal : &lane->urgent;
		struct io *io = list_entry(from->next, struct io, link);

		if (!hold_back(lane, io))
			take_piece(lane, io);
	}
	if (lane->nready)
		send_ready(lane);
}

/* What was delayed and is due; held ios look again. */
static void wake_delayed(struct lane *lane)
{
	uint64_t now = clock_now();
	struct list *l;

	lane->due = UINT64_MAX;
	for (unsigned i = 0; lane->ndelayed && i < lane->nslots; i++) {
		struct slot *s = &lane->slots[i];

		if (s->state != SLOT_DELAYED)
			continue;
		if (s->due > now) {
			lane->due = MIN(lane->due, s->due);
			continue;
		}
		lane->ndelayed--;
		make_ready(lane, s);
	}
	while ((l = list_pop(&lane->held)))
		enqueue(lane, list_entry(l, struct io, link));
}

/* What needs no command: its status, or > 0 if it needs one. */
static int without_command(struct lane *lane, const struct io *io)
{
	const struct ns_info *info = &lane->ns->info;

	if (lane->given_up)
		return lane->given_up;
	if (io->op == IO_FLUSH)
		return atomic_load_explicit(&lane->ns->write_lost, memory_order_relaxed) ?: info->vwc ? 1 : 0;
	if (!range_fits(io->block, io->nblocks, info->nblocks))
		return -EINVAL;
	if ((io->op == IO_DISCARD && !info->can_discard) || (io->op == IO_ZERO && !info->can_zero))
		return -EOPNOTSUPP;
	return io->nblocks ? 1 : 0;
}

void lane_submit(struct lane *lane, struct io *io)
{
	int status = without_command(lane, io);

	if (io->op == IO_FLUSH) {
		io->block = 0;
		io->nblocks = 1;
	}
	io->next = 0;
	io->left = io->nblocks;
	io->flags &= ~(IO_TORN | IO_SAME_BYTES);
	io->status = status < 0 ? status : 0;
	io->seq = 0;
	if (status > 0)
		enqueue(lane, io);
	else
		list_append(&lane->finished, &io->link);
}

/* ---- polling ---- */

static void end_finished(struct lane *lane)
{
	struct list now, *l;

	list_init(&now);
	list_splice(&now, &lane->finished); /* what done() adds has its turn next time */
	while ((l = list_pop(&now))) {
		struct io *io = list_entry(l, struct io, link);

		lane_end_io(lane, io, io->status);
	}
}

/* Were we stopped (SIGSTOP, suspend) for so long that the target may have given the association up, and another host may
 * have taken over? Then nothing goes out on it any more, neither commands nor the data of older ones (where we send them:
 * over RDMA the target fetches them). */
static bool is_stale(const struct lane *lane)
{
	uint64_t until = atomic_load_explicit(&lane->ns->fresh_until, memory_order_relaxed);

	return until && ((lane->ops->poll_sends && lane_inflight(lane)) || lane->nready || can_take(lane)) &&
	       clock_now() > until;
}

unsigned lane_poll(struct lane *lane)
{
	lane->nfinished = 0;
	atomic_store_explicit(&lane->owner, pthread_self(), memory_order_relaxed);
	mailbox_deliver(&lane->mailbox);
	if (lane->wire && is_stale(lane))
		lane_lose_wire(lane, -E_TIMEDOUT);
	if (lane->due != UINT64_MAX && clock_now() >= lane->due)
		wake_delayed(lane);
	if (lane->wire && (lane->nready || can_take(lane)))
		issue(lane);
	if (lane->wire)
		take_answers(lane);
	if (!list_empty(&lane->finished))
		end_finished(lane);
	if (lane->wire && (lane->nready || can_take(lane))) /* what done() submitted */
		issue(lane);
	if (lane->wire && lane->reaped != atomic_load_explicit(&lane->ns->flushed, memory_order_relaxed))
		lane_reap(lane);
	return lane->nfinished;
}

int lane_arm(struct lane *lane)
{
	if (atomic_load_explicit(&lane->mailbox.head, memory_order_acquire) || !list_empty(&lane->finished))
		return 1;
	if (!lane->wire)
		return 0;
	if (lane->ops->arm(lane->wire) || can_take(lane))
		return 1;
	lane_watch(lane);
	return 0;
}

int lane_fd(const struct lane *lane)
{
	return lane->epfd;
}

unsigned lane_inflight(const struct lane *lane)
{
	return atomic_load_explicit(&lane->inflight, memory_order_relaxed);
}

uint64_t lane_timeout(const struct lane *lane)
{
	uint64_t now;

	if (lane->due == UINT64_MAX)
		return UINT64_MAX;
	now = clock_now();
	return lane->due > now ? lane->due - now : 0;
}

const struct lane_stats *lane_stats(const struct lane *lane)
{
	return lane->stats;
}
