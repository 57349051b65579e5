/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's ring and its RECORDS buffers: building, writing, waiting. journal.h has the states and what holds.
 *  1. A record is in exactly one place: idle, open, closed (a queue in order of seq) or flying.
 *  2. tail <= head, both without wrapping; head - tail <= len. head moves when a record is closed, tail when a
 *     checkpoint is durable.
 *  3. Buffers are taken at mount and kept: that something gets durable must not depend on free frames.
 *  4. The mutex is held for memory work only; I/O and wake-ups come after it. */
#include "fs/journal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/crc.h"
#include "base/log.h"
#include "fs/checkpoint.h"
#include "fs/txn.h"

/* Open, flying, and two between: so that transactions go on while the device is slow, for a while. */
#define RECORDS 4u
#define RECORD_BLOCKS (RECORD_MAX / FS_BLOCK)

struct record {
	struct list link;
	struct run *run;           /* RECORD_BLOCKS pages, for good */
	struct io io;
	struct fs *fs;
	uint64_t seq, total;       /* total: position without wrapping, set when closed */
	uint32_t len, count;
};

/* want_seq: up to where somebody waits. committed_gen goes into each record: a mount that finds an older superblock
 * knows that the newer one has rotted. */
struct journal {
	pthread_mutex_t mutex;     /* everything here */
	struct record record[RECORDS];
	struct record *open, *flying;
	struct list closed, idle;
	uint64_t start, len;       /* blocks */
	uint64_t head, tail;       /* positions without wrapping */
	uint64_t next_seq, durable_seq, want_seq;
	uint64_t committed_gen, written;
	uint32_t prev_crc;
	struct waitq waiters;      /* for durability and for room */
	struct io flush;
	struct worker *flusher;
};

/* On failure journal_free takes what there is. */
int journal_new(struct fs *fs)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	fs->journal = j;
	pthread_mutex_init(&j->mutex, NULL);
	list_init(&j->closed);
	list_init(&j->idle);
	waitq_init(&j->waiters);
	j->start = get64(fs->super.journal_start);
	j->len = get64(fs->super.journal_len);
	for (unsigned i = 0; i < RECORDS; i++) {
		struct record *r = &j->record[i];

		list_init(&r->link);
		r->fs = fs;
		r->run = run_new(fs->cache, RECORD_BLOCKS);
		if (!r->run)
			return -E_NO_FRAMES;
		list_append(&j->idle, &r->link);
	}
	return 0;
}

/* After all I/O has ended: a record in flight would be written from memory that is somebody else's. */
void journal_free(struct fs *fs)
{
	struct journal *j = fs->journal;

	if (!j)
		return;
	for (unsigned i = 0; i < RECORDS; i++)
		if (j->record[i].run)
			run_unpin(j->record[i].run);
	pthread_mutex_destroy(&j->mutex);
	free(j);
	fs->journal = NULL;
}

/* The sequence number is given when a record is opened, so that waiters can name it. Mutex held. */
static void open_record(struct journal *j)
{
	struct list *l = list_pop(&j->idle);

	assert(l); /* journal_ready */
	j->open = list_entry(l, struct record, link);
	j->open->seq = j->next_seq++;
	j->open->len = sizeof(struct record_disk);
	j->open->count = 0;
}

/* Before anybody else runs. Position 0 of the counting is the ring's start, so that pos is one, too. */
void journal_restart(struct fs *fs, uint64_t pos, uint64_t seq, uint32_t prev_crc)
{
	struct journal *j = fs->journal;

	j->head = j->tail = pos;
	j->next_seq = seq;
	j->durable_seq = seq - 1;
	j->want_seq = seq - 1;
	j->prev_crc = prev_crc;
	j->committed_gen = get64(fs->super.gen);
	open_record(j);
}

/* ---- building ---- */

/* The open record gets its header and its place, and joins the queue. Mutex held. */
static void close_record(struct journal *j)
{
	struct record *r = j->open;
	struct record_disk *h = r->run->mem;
	uint64_t blocks = DIV_UP(r->len, FS_BLOCK), offset = j->head % j->len;

	memset((uint8_t *)r->run->mem + r->len, 0, blocks * FS_BLOCK - r->len);
	*h = (struct record_disk){ .magic = put32(RECORD_MAGIC), .epoch = put64(r->fs->epoch), .seq = put64(r->seq),
				   .committed_gen = put64(j->committed_gen), .prev_crc = put32(j->prev_crc),
				   .length = put32(r->len), .count = put32(r->count) };
	memcpy(h->uuid, r->fs->uuid, sizeof(h->uuid));
	h->crc = put32(crc32c(h, r->len));
	j->prev_crc = get32(h->crc);
	/* A record does not wrap: the blocks to the end of the ring are skipped, and count as used until released. */
	if (offset + blocks > j->len)
		j->head += j->len - offset;
	r->total = j->head;
	j->head += blocks;
	list_append(&j->closed, &r->link);
	j->open = NULL;
}

/* Blocks that may be needed before anything is released: the open record, a following one, and the ring's end. */
static bool ring_full(const struct journal *j)
{
	return j->head + 4 * RECORD_BLOCKS - j->tail > j->len;
}

/* Room for TXN_MAX at least, in the ring and in a buffer. Only a checkpoint frees the ring; buffers come back by
 * themselves, as records become durable. */
int journal_ready(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct journal *j = fs->journal;
	bool full, ready;

	pthread_mutex_lock(&j->mutex);
	full = ring_full(j);
	ready = !full && (!list_empty(&j->idle) || (j->open && j->open->len + TXN_MAX <= RECORD_MAX));
	if (!ready) {
		struct waiter *w = op_wait_idle(op);

		if (w)
			waitq_add(&j->waiters, w);
	}
	pthread_mutex_unlock(&j->mutex);
	if (full)
		checkpoint_request(fs);
	return ready ? 0 : -E_PARKED;
}

static void pump(struct journal *, struct worker *);

/* journal_ready has made sure that there is an idle record if this one is full. */
void journal_append(struct worker *w, const void *txn, uint32_t len)
{
	struct fs *fs = w->fs;
	struct journal *j = fs->journal;
	bool half, full = false;

	pthread_mutex_lock(&j->mutex);
	if (j->open && j->open->len + len > RECORD_MAX) {
		close_record(j);
		full = true;
	}
	if (!j->open)
		open_record(j);
	memcpy((uint8_t *)j->open->run->mem + j->open->len, txn, len);
	j->open->len += len;
	j->open->count++;
	half = (j->head - j->tail) * 2 > j->len;
	pthread_mutex_unlock(&j->mutex);
	if (full) /* on its way at once: its room is needed for the next */
		pump(j, w);
	if (half)
		checkpoint_request(fs);
}

/* All that is committed is in records up to cut->seq; recovery begins with the next one, at cut->pos. Those records
 * may still be under way: they need not become durable for the checkpoint, which holds their changes itself. */
void journal_cut(struct fs *fs, struct journal_cut *cut)
{
	struct journal *j = fs->journal;

	pthread_mutex_lock(&j->mutex);
	if (j->open && j->open->count > 0) {
		close_record(j);
		if (!list_empty(&j->idle))
			open_record(j);
	}
	cut->total = j->head;
	cut->pos = j->head % j->len;
	cut->seq = j->open ? j->open->seq - 1 : j->next_seq - 1;
	cut->prev_crc = j->prev_crc;
	pthread_mutex_unlock(&j->mutex);
}

/* Waiters for room look again. */
void journal_release(struct fs *fs, const struct journal_cut *cut, uint64_t gen)
{
	struct journal *j = fs->journal;
	struct list wake;

	pthread_mutex_lock(&j->mutex);
	j->tail = cut->total;
	j->committed_gen = gen;
	waitq_take(&j->waiters, &wake);
	pthread_mutex_unlock(&j->mutex);
	waiters_wake(&wake, 0);
}

/* ---- writing ---- */

/* Call-back of the lane that pump used. A record that could not be written freezes: what follows it in the ring
 * would never be found. The buffer goes back in either case. */
static void record_done(struct io *io, int status)
{
	struct record *r = container_of(io, struct record, io);
	struct fs *fs = r->fs;
	struct journal *j = fs->journal;
	struct worker *w = j->flusher;
	struct list wake;

	if (status)
		fs_freeze(fs, status, "writing the journal");
	pthread_mutex_lock(&j->mutex);
	if (!status) {
		j->durable_seq = r->seq;
		j->written++;
	}
	j->flying = NULL;
	list_append(&j->idle, &r->link);
	if (!j->open)
		open_record(j);
	waitq_take(&j->waiters, &wake);
	pthread_mutex_unlock(&j->mutex);
	waiters_wake(&wake, status);
	if (!status)
		pump(j, w);
}

/* IO_URGENT: slots are kept for it, or data that waits for a commit could keep the commit waiting. */
static void write_record(struct journal *j, struct worker *w)
{
	struct record *r = j->flying;

	memset(&r->io, 0, sizeof(r->io));
	r->io.op = IO_WRITE;
	r->io.flags = IO_FUA | IO_URGENT;
	r->io.block = j->start + r->total % j->len;
	r->io.nblocks = (uint32_t)DIV_UP(r->len, FS_BLOCK);
	r->io.mem = r->run->mem;
	r->io.done = record_done;
	lane_submit(w->lane, &r->io);
}

/* The data is durable: now the record may be (journal.h, invariant 3). A Flush that failed is as bad as a write. */
static void flushed(struct io *io, int status)
{
	struct journal *j = container_of(io, struct journal, flush);

	if (status)
		record_done(&j->flying->io, status);
	else
		write_record(j, j->flusher);
}

/* Sends the next record if none is in flight. No locks held. An open record is closed early only if somebody waits
 * for it and nothing older is queued: so those who commit during one write share the next (group commit). */
static void pump(struct journal *j, struct worker *w)
{
	struct fs *fs = w->fs;

	pthread_mutex_lock(&j->mutex);
	if (j->flying || atomic_load(&fs->frozen)) {
		pthread_mutex_unlock(&j->mutex);
		return;
	}
	if (list_empty(&j->closed) && j->open && j->open->count > 0 && j->want_seq >= j->open->seq &&
	    !list_empty(&j->idle)) {
		close_record(j);
		open_record(j);
	}
	if (list_empty(&j->closed)) {
		pthread_mutex_unlock(&j->mutex);
		return;
	}
	j->flying = list_entry(list_pop(&j->closed), struct record, link);
	j->flusher = w;
	pthread_mutex_unlock(&j->mutex);
	/* Without a volatile cache, or with nothing in it that matters, completed writes are durable. */
	if (!ns_info(fs->ns)->vwc || ns_unflushed(fs->ns) == 0) {
		write_record(j, w);
		return;
	}
	memset(&j->flush, 0, sizeof(j->flush));
	j->flush.op = IO_FLUSH;
	j->flush.flags = IO_URGENT;
	j->flush.done = flushed;
	lane_submit(w->lane, &j->flush);
}

/* No error and no waiting: txn_sync is for those who want to know. */
void journal_commit(struct worker *w)
{
	struct journal *j = w->fs->journal;

	pthread_mutex_lock(&j->mutex);
	if (j->open && j->open->count > 0)
		j->want_seq = MAX(j->want_seq, j->open->seq);
	pthread_mutex_unlock(&j->mutex);
	pump(j, w);
}

/* The flag is read without the mutex: who registers after fs->frozen was set sees that itself. */
void journal_wake(struct fs *fs, int status)
{
	struct journal *j = fs->journal;
	struct list wake;

	if (!atomic_load_explicit(&j->waiters.some, memory_order_relaxed))
		return;
	pthread_mutex_lock(&j->mutex);
	waitq_take(&j->waiters, &wake);
	pthread_mutex_unlock(&j->mutex);
	waiters_wake(&wake, status);
}

/* The open record may still have content; nothing of it is under way. */
bool journal_idle(struct fs *fs)
{
	struct journal *j = fs->journal;
	bool idle;

	pthread_mutex_lock(&j->mutex);
	idle = !j->flying && list_empty(&j->closed);
	pthread_mutex_unlock(&j->mutex);
	return idle;
}

void journal_info(struct fs *fs, uint64_t *used_blocks, uint64_t *records)
{
	struct journal *j = fs->journal;

	pthread_mutex_lock(&j->mutex);
	*used_blocks = j->head - j->tail;
	*records = j->written;
	pthread_mutex_unlock(&j->mutex);
}

/* The target is fixed at the first run: transactions that come later do not delay this one. An open record without
 * content does not count. */
int txn_sync(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct journal *j = fs->journal;
	uint64_t *target = &op->scratch[7]; /* sequence number + 1; 0: not known yet */
	bool durable;

	if (fs->conf.readonly)
		return 0;
	pthread_mutex_lock(&j->mutex);
	if (*target == 0)
		*target = (j->open && j->open->count > 0 ? j->open->seq : (j->open ? j->open->seq : j->next_seq) - 1) + 1;
	durable = j->durable_seq >= *target - 1;
	if (!durable && !atomic_load(&fs->frozen)) {
		struct waiter *w = op_wait_idle(op);

		j->want_seq = MAX(j->want_seq, *target - 1);
		if (w)
			waitq_add(&j->waiters, w);
	}
	pthread_mutex_unlock(&j->mutex);
	if (atomic_load(&fs->frozen)) /* every fsync fails, even if it has nothing to wait for */
		return atomic_load(&fs->frozen);
	if (durable)
		return 0;
	pump(j, op->worker);
	return -E_PARKED;
}

/* ---- reading ---- */

/* Everything that chains is compared before the checksum, which is over the record's own length only: what lies
 * behind it is of older records. Any failure means that the chain ends here; it need not be damage. */
int record_check(const void *data, size_t len, const uint8_t uuid[16], uint64_t epoch, uint64_t seq, uint32_t prev_crc)
{
	const struct record_disk *h = data;
	struct record_disk copy;
	uint32_t length, crc;

	if (len < sizeof(*h))
		return -E_BAD_ITEM;
	copy = *h;
	length = get32(copy.length);
	if (get32(copy.magic) != RECORD_MAGIC || memcmp(copy.uuid, uuid, sizeof(copy.uuid)) || get64(copy.epoch) != epoch ||
	    get64(copy.seq) != seq || get32(copy.prev_crc) != prev_crc || length < sizeof(*h) || length > RECORD_MAX ||
	    length > len)
		return -E_BAD_ITEM;
	copy.crc = put32(0);
	crc = crc32c_more(crc32c(&copy, sizeof(copy)), h + 1, length - sizeof(*h));
	return crc == get32(h->crc) ? 0 : -E_CHECKSUM;
}
