/* SPDX-License-Identifier: Apache-2.0 */
/* Operations: waiting, running again, ending; and the workers' loop around them. op.h has the states and what
 * holds.
 *  1. op->pending counts awaited events plus one for run() itself. Whoever takes it to 0 sends the op on, so this
 *     happens once, after run() has returned and all events have come.
 *  2. ops[] is allocated once; an op in free_ops keeps its worker and its letter's call-back.
 *  3. ready, free_ops and all of an op but pending, wake_status, letter and waiters belong to the worker's thread. */
#include "fs/op.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "fs/epoch.h"
#include "fs/fs_core.h"
#include "fs/inode.h"
#include "fs/node.h"

/* ---- wait queues ---- */

void waitq_init(struct waitq *q)
{
	list_init(&q->list);
	atomic_init(&q->some, false);
}

/* some is a hint for those who look without the lock; they must not need an exact answer. */
void waitq_add(struct waitq *q, struct waiter *w)
{
	list_append(&q->list, &w->link);
	atomic_store_explicit(&q->some, true, memory_order_relaxed);
}

void waitq_take(struct waitq *q, struct list *out)
{
	list_init(out);
	list_splice(out, &q->list);
	atomic_store_explicit(&q->some, false, memory_order_relaxed);
}

/* Each is off the list before it is woken: its op may be run and use the waiter again at once. */
void waiters_wake(struct list *waiters, int status)
{
	struct list *l;

	while ((l = list_pop(waiters))) {
		struct waiter *w = list_entry(l, struct waiter, link);

		w->wake(w, status);
	}
}

/* ---- operations ---- */

/* Whose thread this is, if any worker's. */
static __thread struct worker *here;

/* From mailbox_deliver, on the worker's thread. */
static void op_deliver(struct letter *l)
{
	struct op *op = container_of(l, struct op, letter);

	list_append(&op->worker->ready, &op->link);
}

/* One awaited event less; the last one sends the op home to its worker. Any thread; at home already, no mail is needed. */
static void event_done(struct op *op)
{
	if (atomic_fetch_sub_explicit(&op->pending, 1, memory_order_acq_rel) != 1)
		return;
	if (op->worker == here)
		list_append(&here->ready, &op->link);
	else
		mailbox_post(&op->worker->mailbox, &op->letter);
}

/* The first failure counts: later ones are often its consequence. It is set before the count goes down, since with
 * the last one the op may run. */
static void wake_op(struct waiter *w, int status)
{
	struct op_waiter *ow = container_of(w, struct op_waiter, w);
	struct op *op = ow->op;
	int none = 0;

	if (status)
		atomic_compare_exchange_strong(&op->wake_status, &none, status);
	event_done(op);
}

/* Relaxed: run() holds a count of its own, so it cannot reach 0 while waiters are being taken. NULL is no error:
 * the op parks with those it has, and asks for the rest when it runs again. */
static struct waiter *take_waiter(struct op *op)
{
	for (unsigned i = 0; i < OP_WAITS; i++) {
		struct op_waiter *ow = &op->waits[i];

		if (ow->op)
			continue;
		ow->op = op;
		ow->w.wake = wake_op;
		list_init(&ow->w.link);
		atomic_fetch_add_explicit(&op->pending, 1, memory_order_relaxed);
		return &ow->w;
	}
	return NULL;
}

struct waiter *op_wait(struct op *op)
{
	op->fills = true;
	return take_waiter(op);
}

/* Leaves fills as it is: one waiter for a block is enough to stay in the epoch. */
struct waiter *op_wait_idle(struct op *op)
{
	return take_waiter(op);
}

void op_unwait(struct op *op, struct waiter *w)
{
	container_of(w, struct op_waiter, w)->op = NULL;
	/* run() itself holds one, so this cannot be the last. */
	atomic_fetch_sub_explicit(&op->pending, 1, memory_order_relaxed);
}

/* Full, the oldest goes: an op that walks far needs the near past only, and what it lost is read again at worst. */
void op_pin_node(struct op *op, struct node *n)
{
	for (unsigned i = 0; i < op->nnodes; i++)
		if (op->nodes[i] == n)
			return;
	node_ref(n);
	if (op->nnodes < OP_NODES) {
		op->nodes[op->nnodes++] = n;
		return;
	}
	node_unref(op->worker->fs, op->nodes[op->node_next]);
	op->nodes[op->node_next] = n;
	op->node_next = (op->node_next + 1) % OP_NODES;
}

static void unpin_nodes(struct op *op)
{
	for (unsigned i = 0; i < op->nnodes; i++)
		node_unref(op->worker->fs, op->nodes[i]);
	op->nnodes = op->node_next = 0;
}

bool op_pin_run(struct op *op, struct run *run)
{
	if (op->nruns == OP_RUNS)
		return false;
	op->runs[op->nruns++] = run;
	return true;
}

/* A NULL in the array is a run that its owner has taken out. */
void op_unpin_runs(struct op *op)
{
	for (unsigned i = 0; i < op->nruns; i++)
		if (op->runs[i])
			run_unpin(op->runs[i]);
	op->nruns = 0;
}

struct op *op_new(struct worker *w)
{
	struct list *l = list_pop(&w->free_ops);
	struct op *op;

	if (!l)
		return NULL;
	op = list_entry(l, struct op, link);
	/* Only what run functions and callers look at; the arrays are counted. */
	memset(op, 0, offsetof(struct op, iov));
	op->niov = op->nruns = op->nnodes = op->node_next = op->phase = op->tries = 0;
	op->emit = NULL;
	op->reset = NULL;
	op->error = 0;
	op->own_errors = op->ending = op->started = op->range_held = op->range_queued = op->in_epoch = op->fills = false;
	op->inode = NULL;
	memset(op->scratch, 0, sizeof(op->scratch));
	op->patience = 0;
	atomic_store_explicit(&op->wake_status, 0, memory_order_relaxed);
	list_init(&op->link);
	list_init(&op->range);
	return op;
}

/* LIFO: the op that was used last is the one that is still in the processor's caches. */
void op_free(struct op *op)
{
	op_unpin_runs(op);
	unpin_nodes(op);
	inode_op_ended(op);
	list_push(&op->worker->free_ops, &op->link);
}

/* finish() may free the op, which may be another one by the time it returns: nothing of it is touched after. */
static void complete(struct op *op, int status)
{
	epoch_leave(op);
	unpin_nodes(op);
	op->finish(op, status);
}

/* Runs op until it is finished or parked. op->ending: it is decided, but a waiter was still registered somewhere;
 * run() is not called again, and finish() not before the last of them has come, for it may free the op. */
static void advance(struct op *op)
{
	for (;;) {
		int status;

		op->error = atomic_exchange(&op->wake_status, 0);
		if (op->ending) {
			complete(op, op->end_status);
			return;
		}
		if (op->error && !op->own_errors) {
			complete(op, op->error);
			return;
		}
		for (unsigned i = 0; i < OP_WAITS; i++)
			op->waits[i].op = NULL;
		op->fills = false;
		atomic_store_explicit(&op->pending, 1, memory_order_relaxed);
		/* Again each time, and before anything is looked up: an op that waited idly has left. */
		epoch_enter(op);
		status = op->run(op);
		if (status != -E_PARKED && atomic_load_explicit(&op->pending, memory_order_acquire) == 1) {
			complete(op, status);
			return;
		}
		if (status != -E_PARKED) { /* decided, but its waiters are still on somebody's list */
			op->ending = true;
			op->end_status = status;
		}
		atomic_fetch_add_explicit(&op->worker->replays, 1, memory_order_relaxed);
		if (!op->fills)
			epoch_leave(op);
		/* From the decrement on the op may be on its way back already: nothing of it is touched after it. */
		if (atomic_fetch_sub_explicit(&op->pending, 1, memory_order_acq_rel) != 1)
			return;
	}
}

/* On the worker's thread, outside of any fs lock. */
void op_start(struct op *op)
{
	op->started = true;
	atomic_fetch_add_explicit(&op->worker->requests, 1, memory_order_relaxed);
	advance(op);
}

struct sync_wait {
	bool finished;
	int status;
};

static void sync_finish(struct op *op, int status)
{
	struct sync_wait *s = op->owner;

	s->finished = true;
	s->status = status;
}

/* Polls all workers of the fs, not only the op's: in tools one thread drives them all, and what the op waits for
 * may be another's I/O. */
int op_run_sync(struct op *op)
{
	struct sync_wait s = { 0 };
	struct worker *w = op->worker;

	op->owner = &s;
	op->finish = sync_finish;
	op_start(op);
	while (!s.finished)
		if (!fs_poll_all(w->fs) && !s.finished)
			worker_sleep(w, fs_tick(w->fs));
	return s.status;
}

/* ---- workers ---- */

/* Borrows fs and lane. -ENOMEM, or what the mailbox could not get (descriptors). */
int worker_init(struct worker *w, struct fs *fs, struct lane *lane, unsigned index)
{
	int err;

	memset(w, 0, sizeof(*w));
	w->fs = fs;
	w->lane = lane;
	w->index = index;
	list_init(&w->ready);
	list_init(&w->free_ops);
	w->ops = calloc(WORKER_OPS, sizeof(*w->ops));
	if (!w->ops)
		return -ENOMEM;
	err = mailbox_init(&w->mailbox);
	if (err) {
		free(w->ops);
		w->ops = NULL;
		return err;
	}
	for (unsigned i = 0; i < WORKER_OPS; i++) {
		w->ops[i].worker = w;
		w->ops[i].letter.deliver = op_deliver;
		list_append(&w->free_ops, &w->ops[i].link);
	}
	return 0;
}

void worker_exit(struct worker *w)
{
	if (!w->ops)
		return;
	mailbox_exit(&w->mailbox);
	free(w->ops);
	w->ops = NULL;
}

/* Also what becomes ready meanwhile: a wake at home goes to this list. */
static bool run_ready(struct worker *w)
{
	struct list *l;
	bool any = false;

	while ((l = list_pop(&w->ready))) {
		any = true;
		advance(list_entry(l, struct op, link));
	}
	return any;
}

/* here is set on each call, since the thread that drives a worker may change (mount, tools, tests). */
bool worker_run(struct worker *w)
{
	bool any;

	here = w;
	any = mailbox_deliver(&w->mailbox);
	return run_ready(w) || any;
}

bool worker_poll(struct worker *w)
{
	bool any = worker_run(w);

	any = lane_poll(w->lane) > 0 || any;
	return run_ready(w) || any;
}

/* lane_arm says whether something has come already. A tenth of a second at most, whatever the time-outs say. */
void worker_sleep(struct worker *w, uint64_t timeout_ns)
{
	struct pollfd fds[2] = { { .fd = w->mailbox.fd, .events = POLLIN }, { .fd = lane_fd(w->lane), .events = POLLIN } };
	uint64_t lane_ns = lane_timeout(w->lane);

	if (lane_arm(w->lane))
		return;
	clock_poll(fds, 2, MIN(MIN(timeout_ns, lane_ns), NS_PER_S / 10));
}
