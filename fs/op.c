/* SPDX-License-Identifier: Apache-2.0 */
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

static void wake_op(struct waiter *w, int status)
{
	struct op_waiter *ow = container_of(w, struct op_waiter, w);
	struct op *op = ow->op;
	int none = 0;

	if (status)
		atomic_compare_exchange_strong(&op->wake_status, &none, status);
	event_done(op);
}

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

void op_free(struct op *op)
{
	op_unpin_runs(op);
	unpin_nodes(op);
	inode_op_ended(op);
	list_push(&op->worker->free_ops, &op->link);
}

static void complete(struct op *op, int status)
{
	epoch_leave(op);
	unpin_nodes(op);
	op->finish(op, status);
}

/* Runs op until it is finished or parked. */
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

void worker_sleep(struct worker *w, uint64_t timeout_ns)
{
	struct pollfd fds[2] = { { .fd = w->mailbox.fd, .events = POLLIN }, { .fd = lane_fd(w->lane), .events = POLLIN } };
	uint64_t lane_ns = lane_timeout(w->lane);

	if (lane_arm(w->lane))
		return;
	clock_poll(fds, 2, MIN(MIN(timeout_ns, lane_ns), NS_PER_S / 10));
}
