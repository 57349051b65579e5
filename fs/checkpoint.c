/* SPDX-License-Identifier: Apache-2.0 */
/* The checkpoint's state machine, on worker 0. checkpoint.h has the states.
 *  1. state is moved by worker 0 only; others read it to know whether one is running.
 *  2. Frozen nodes are not changed: who wants to change one copies it (fs/tree_edit.c). Each has a reference of
 *     ours until it is written.
 *  3. super is complete at the cut; fs->super stays the committed one until finish(). So nothing that fails in
 *     between has to be undone, and the slots that fs->super names are not written.
 *  4. No step but the cut and finish() holds the fs lock for longer than list work. */
#include "fs/checkpoint.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "fs/alloc_core.h"
#include "fs/journal.h"
#include "fs/node.h"
#include "fs/pressure.h"
#include "fs/super.h"
#include "fs/tree_edit.h"

enum state { IDLE, WRITING, FLUSHING, SUPER_A, SUPER_B };

/* Writes under way at once; neighbouring nodes share one of up to RUN_MAX pages. */
#define BATCHES 8u
#define BATCH_NODES (RUN_MAX / NODE_BLOCKS)

struct batch {                     /* one write: neighbours on the device */
	struct checkpoint *cp;
	struct node *node[BATCH_NODES];
	unsigned nnodes;
	struct run *run;               /* NULL: free */
};

struct checkpoint {
	struct fs *fs;
	_Atomic enum state state;      /* worker 0 moves it */
	struct list frozen;            /* nodes to be written; the checkpoint has a reference to each */
	struct alloc_image *images;
	int nimages, next_image;
	struct super_disk super;
	struct journal_cut cut;
	unsigned inflight;
	int error;
	bool starved;                  /* no frames: the tick tries again */
	struct batch batch[BATCHES];
	struct io flush;
	struct run *super_run[2];      /* for ring A, for ring B */
	struct waitq waiters;          /* guarded by the fs lock */
	uint64_t last, count;
	_Atomic bool requested;
	struct letter letter;
	_Atomic bool posted;
};

static void step(struct checkpoint *);

/* posted goes down first: a request that comes while the tick runs posts again. */
static void delivered(struct letter *l)
{
	struct checkpoint *cp = container_of(l, struct checkpoint, letter);

	atomic_store(&cp->posted, false);
	checkpoint_tick(cp->fs);
}

/* On failure checkpoint_free takes what there is. */
int checkpoint_new(struct fs *fs)
{
	struct checkpoint *cp = calloc(1, sizeof(*cp));

	if (!cp)
		return -ENOMEM;
	fs->checkpoint = cp;
	cp->fs = fs;
	cp->letter.deliver = delivered;
	cp->last = clock_now();
	list_init(&cp->frozen);
	waitq_init(&cp->waiters);
	for (unsigned i = 0; i < BATCHES; i++)
		cp->batch[i].cp = cp;
	/* Kept for good: the last step must not depend on free frames. */
	for (unsigned i = 0; i < 2; i++) {
		cp->super_run[i] = run_new(fs->cache, SUPER_BLOCKS);
		if (!cp->super_run[i])
			return -E_NO_FRAMES;
	}
	return 0;
}

/* After the lanes have stopped. Nodes that were never written lose our reference; they die with the tree. */
void checkpoint_free(struct fs *fs)
{
	struct checkpoint *cp = fs->checkpoint;

	if (!cp)
		return;
	list_for_each_safe(l, &cp->frozen)
		node_written(fs, list_entry(l, struct node, link));
	for (unsigned i = 0; i < BATCHES; i++) { /* abandoned in mid-write */
		for (unsigned k = 0; cp->batch[i].run && k < cp->batch[i].nnodes; k++)
			node_written(fs, cp->batch[i].node[k]);
		if (cp->batch[i].run)
			run_unpin(cp->batch[i].run);
	}
	free(cp->images);
	for (unsigned i = 0; i < 2; i++)
		if (cp->super_run[i])
			run_unpin(cp->super_run[i]);
	free(cp);
	fs->checkpoint = NULL;
}

/* requested stays up until one starts; posted only says that the letter is on its way. */
void checkpoint_request(struct fs *fs)
{
	struct checkpoint *cp = fs->checkpoint;

	if (atomic_exchange(&cp->requested, true))
		return;
	if (!atomic_exchange(&cp->posted, true))
		mailbox_post(&fs->workers[0].mailbox, &cp->letter);
}

bool checkpoint_running(const struct fs *fs)
{
	return fs->checkpoint->state != IDLE;
}

uint64_t checkpoint_count(const struct fs *fs)
{
	return fs->checkpoint->count;
}

/* ---- the cut ---- */

/* Checksums first, bottom-up, since a parent's covers those of its children (tree_seal). Exclusive lock. */
static void freeze_nodes(struct fs *fs, struct list *frozen)
{
	tree_seal(fs);
	list_splice(frozen, &fs->nodes->dirty);
	list_for_each(l, frozen) {
		struct node *n = list_entry(l, struct node, link);

		n->state = NODE_FROZEN;
		node_ref(n);
	}
	atomic_store_explicit(&fs->nodes->ndirty, 0, memory_order_relaxed);
}

/* Exclusive lock. Everything that a checkpoint writes, frozen; the running generation moves on. */
static int make_cut(struct fs *fs, struct checkpoint *cp, bool clean)
{
	struct super_disk *s = &cp->super;
	int n;

	*s = fs->super;
	/* First, since it is the one thing that can fail: so far nothing has changed. */
	n = alloc_cut(fs, s, &cp->images);
	if (n < 0)
		return n;
	cp->nimages = n;
	cp->next_image = 0;
	freeze_nodes(fs, &cp->frozen);
	journal_cut(fs, &cp->cut);
	s->gen = put64(fs->gen);
	s->epoch = put64(fs->epoch);
	s->root = (struct ptr_disk){ .block = put64(fs->root.block), .birth = put64(fs->root.birth),
				     .crc = put32(fs->root.crc) };
	s->root_level = fs->root.level;
	s->journal_pos = put64(cp->cut.pos);
	s->cut_seq = put64(cp->cut.seq);
	s->prev_crc = put32(cp->cut.prev_crc);
	s->ino_watermark = put64(fs->ino_next);
	s->inodes = put64(fs->inodes_used);
	s->safe_gen = s->gen;
	s->state = put32(clean ? SUPER_CLEAN : 0);
	s->mount_time = put64((uint64_t)clock_wall().tv_sec);
	super_seal(s);
	fs->gen++;
	return 0;
}

/* Frees count too: they become reusable only with a checkpoint. */
static bool anything_new(struct fs *fs)
{
	return atomic_load_explicit(&fs->nodes->ndirty, memory_order_relaxed) > 0 || alloc_pending(fs) > 0;
}

/* Does nothing if one is running: requested stays up, and the tick starts it then. The record that the cut closed
 * goes out at the same time, so that waiters for it do not wait for the checkpoint. */
void checkpoint_start(struct fs *fs, bool force, bool clean)
{
	struct checkpoint *cp = fs->checkpoint;
	int err;

	if (cp->state != IDLE || fs->conf.readonly || atomic_load(&fs->frozen))
		return;
	fs_lock_excl(fs);
	atomic_store(&cp->requested, false);
	cp->last = clock_now();
	/* Waiters have what they want; those who wait for space may find some whose epoch has passed. */
	if (!force && !anything_new(fs)) {
		struct list wake, space;

		waitq_take(&cp->waiters, &wake);
		alloc_release(fs, &space);
		fs_unlock(fs);
		waiters_wake(&wake, 0);
		waiters_wake(&space, 0);
		return;
	}
	err = alloc_can_cut(fs) ? make_cut(fs, cp, clean) : -EAGAIN;
	fs_unlock(fs);
	if (err) { /* the tick tries again */
		atomic_store(&cp->requested, true);
		return;
	}
	cp->state = WRITING;
	cp->error = 0;
	journal_commit(&fs->workers[0]);
	step(cp);
}

/* ---- writing ---- */

/* NULL: as many writes as may be are under way; a completion comes back here. */
static struct batch *free_batch(struct checkpoint *cp)
{
	for (unsigned i = 0; i < BATCHES; i++)
		if (!cp->batch[i].run)
			return &cp->batch[i];
	return NULL;
}

/* Also after an error: the others still have to come home before fail(). */
static void batch_done(struct run *run, int status)
{
	struct batch *b = run->owner;
	struct checkpoint *cp = b->cp;

	if (b->nnodes > 0) {
		fs_lock_excl(cp->fs);
		for (unsigned i = 0; i < b->nnodes; i++) {
			list_init(&b->node[i]->link);
			node_written(cp->fs, b->node[i]);
		}
		fs_unlock(cp->fs);
	}
	b->run = NULL;
	run_unpin(run);
	cp->inflight--;
	if (status && !cp->error)
		cp->error = status;
	step(cp);
}

/* Takes neighbours from the head of the list of frozen nodes: in order of birth they mostly lie side by side. */
static unsigned take_nodes(struct checkpoint *cp, struct node **node)
{
	unsigned n = 0;

	while (n < BATCH_NODES && !list_empty(&cp->frozen)) {
		struct node *next = list_entry(cp->frozen.next, struct node, link);

		if (n > 0 && next->block != node[n - 1]->block + NODE_BLOCKS)
			break;
		list_del(&next->link);
		node[n++] = next;
	}
	return n;
}

/* Nodes are copied into the arena, which is registered; their own memory is not (fs/node.h). False: no frames. */
static bool send_nodes(struct checkpoint *cp, struct batch *b)
{
	struct worker *w = &cp->fs->workers[0];
	struct run *run;

	/* The list links belong to the fs lock: node_forget of a frozen node leaves them alone, nothing else touches them. */
	b->nnodes = take_nodes(cp, b->node);
	run = run_new(cp->fs->cache, b->nnodes * NODE_BLOCKS);
	if (!run) {
		while (b->nnodes > 0)
			list_push(&cp->frozen, &b->node[--b->nnodes]->link);
		return false;
	}
	for (unsigned i = 0; i < b->nnodes; i++)
		memcpy((uint8_t *)run->mem + (size_t)i * NODE_SIZE, b->node[i]->mem, NODE_SIZE);
	b->run = run;
	run->owner = b;
	cp->inflight++;
	run_write(run, w->lane, b->node[0]->block, IO_URGENT, batch_done);
	return true;
}

/* One bitmap or summary block, to the slot that its parent does not name yet. */
static bool send_image(struct checkpoint *cp, struct batch *b)
{
	struct run *run = run_new(cp->fs->cache, 1);

	if (!run)
		return false;
	b->nnodes = 0;
	b->run = run;
	run->owner = b;
	memcpy(run->mem, cp->images[cp->next_image].data, FS_BLOCK);
	cp->inflight++;
	run_write(run, cp->fs->workers[0].lane, cp->images[cp->next_image++].block, IO_URGENT, batch_done);
	return true;
}

/* Keeps batches on the way; true when everything is written, or all have ended after an error. Without frames a
 * completion tries again; if none is to come (starved), the tick does. */
static bool write_more(struct checkpoint *cp)
{
	struct batch *b;

	cp->starved = false;
	while (!cp->error && (b = free_batch(cp))) {
		bool sent;

		if (!list_empty(&cp->frozen))
			sent = send_nodes(cp, b);
		else if (cp->next_image < cp->nimages)
			sent = send_image(cp, b);
		else
			break;
		if (!sent) {
			cp->starved = cp->inflight == 0;
			pressure_check(&cp->fs->workers[0], true);
			return false;
		}
	}
	return cp->inflight == 0 && (cp->error || (list_empty(&cp->frozen) && cp->next_image == cp->nimages));
}

/* An error is looked at in step(), like that of a write. */
static void flush_done(struct io *io, int status)
{
	struct checkpoint *cp = container_of(io, struct checkpoint, flush);

	cp->error = status;
	cp->state = SUPER_A;
	step(cp);
}

/* IDLE here only means that both rings are written: step() goes on to finish(). */
static void super_done(struct run *run, int status)
{
	struct checkpoint *cp = run->owner;

	cp->error = status;
	if (!status)
		cp->state = cp->state == SUPER_A ? SUPER_B : IDLE;
	step(cp);
}

/* The slot after the committed one, the same in both rings. FUA: durable at its completion, without another Flush. */
static void write_super(struct checkpoint *cp, struct run *run, uint64_t ring)
{
	unsigned slot = (cp->fs->super_slot + 1) % RING_SLOTS;

	memcpy(run->mem, &cp->super, sizeof(cp->super));
	run->owner = cp;
	run_write(run, cp->fs->workers[0].lane, ring + slot * SUPER_BLOCKS, IO_FUA | IO_URGENT, super_done);
}

/* Ring B is written too: only now the old superblock's journal and blocks are given up. */
static void finish(struct checkpoint *cp)
{
	struct fs *fs = cp->fs;
	struct list wake, space;

	fs_lock_excl(fs);
	fs->super = cp->super;
	fs->super_slot = (fs->super_slot + 1) % RING_SLOTS;
	alloc_committed(fs);
	alloc_release(fs, &space);
	waitq_take(&cp->waiters, &wake);
	cp->count++;
	fs_unlock(fs);
	journal_release(fs, &cp->cut, get64(cp->super.gen));
	free(cp->images);
	cp->images = NULL;
	waiters_wake(&wake, 0);
	waiters_wake(&space, 0);
}

void checkpoint_wake(struct fs *fs, int status)
{
	struct list wake;

	fs_lock_excl(fs);
	waitq_take(&fs->checkpoint->waiters, &wake);
	fs_unlock(fs);
	waiters_wake(&wake, status);
}

/* Waiters hear the error. Between ring A and ring B the new state may be the one that a later mount finds, which is
 * as good: the journal of both is still there. */
static void fail(struct checkpoint *cp)
{
	fs_freeze(cp->fs, cp->error, "writing a checkpoint");
	cp->state = IDLE;
	checkpoint_wake(cp->fs, cp->error);
}

/* Does what can be done now. Called at the start and by each completion. */
static void step(struct checkpoint *cp)
{
	struct fs *fs = cp->fs;

	if (cp->state == WRITING) {
		if (!write_more(cp))
			return;
		cp->state = FLUSHING;
		if (!cp->error && ns_info(fs->ns)->vwc) {
			memset(&cp->flush, 0, sizeof(cp->flush));
			cp->flush.op = IO_FLUSH;
			cp->flush.flags = IO_URGENT;
			cp->flush.done = flush_done;
			lane_submit(fs->workers[0].lane, &cp->flush);
			return;
		}
		cp->state = SUPER_A;
	}
	if (!cp->error && cp->state == SUPER_A) /* what froze meanwhile (another owner, say) is not committed */
		cp->error = atomic_load(&fs->frozen);
	if (cp->error)
		fail(cp);
	else if (cp->state == SUPER_A)
		write_super(cp, cp->super_run[0], RING_A);
	else if (cp->state == SUPER_B)
		write_super(cp, cp->super_run[1], get64(fs->super.ring_b));
	else
		finish(cp);
}

/* Not before the claim is through, which starts the first one itself (fs/claim.c). */
void checkpoint_tick(struct fs *fs)
{
	struct checkpoint *cp = fs->checkpoint;
	bool due = clock_now() - cp->last >= fs->conf.checkpoint_ms * NS_PER_MS;

	if (cp->state == WRITING && cp->starved)
		step(cp);
	else if (cp->state == IDLE && atomic_load(&fs->writable) && (due || atomic_load(&cp->requested)))
		checkpoint_start(fs, false, false);
}

/* Waits for a superblock that holds all that is committed now. The target is fixed at the first run. */
int fs_checkpoint(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct checkpoint *cp = fs->checkpoint;
	struct waiter *w;
	bool done;

	if (atomic_load(&fs->frozen))
		return atomic_load(&fs->frozen);
	fs_lock_excl(fs);
	if (op->phase == 0) {
		op->phase = 1;
		op->scratch[0] = fs->gen; /* what is committed now is in this generation, or older */
		if (!anything_new(fs)) /* at most in the one that is being written */
			op->scratch[0] = fs->gen - 1;
	}
	done = fs->conf.readonly || get64(fs->super.gen) >= op->scratch[0] ||
	       (cp->state == IDLE && !anything_new(fs)); /* all that was pending came back without one */
	if (!done) {
		w = op_wait_idle(op);
		if (w)
			waitq_add(&cp->waiters, w);
	}
	fs_unlock(fs);
	if (done)
		return 0;
	checkpoint_request(fs);
	return -E_PARKED;
}

/* For tools: the same cut, handed block by block to write() instead of the device. Superblocks last. */
int fs_checkpoint_to(struct fs *fs, int (*write)(void *, uint64_t, uint32_t, const void *), void *arg)
{
	struct checkpoint *cp = fs->checkpoint;
	unsigned slot = (fs->super_slot + 1) % RING_SLOTS;
	int err;

	fs_lock_excl(fs);
	err = make_cut(fs, cp, false);
	fs_unlock(fs);
	list_for_each_safe(l, &cp->frozen) {
		struct node *n = list_entry(l, struct node, link);

		if (!err)
			err = write(arg, n->block, NODE_BLOCKS, n->mem);
		node_written(fs, n);
	}
	for (int i = 0; !err && i < cp->nimages; i++)
		err = write(arg, cp->images[i].block, 1, cp->images[i].data);
	free(cp->images);
	cp->images = NULL;
	if (!err)
		err = write(arg, RING_A + slot * SUPER_BLOCKS, SUPER_BLOCKS, &cp->super);
	if (!err)
		err = write(arg, get64(fs->super.ring_b) + slot * SUPER_BLOCKS, SUPER_BLOCKS, &cp->super);
	return err;
}
