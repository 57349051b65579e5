/* SPDX-License-Identifier: Apache-2.0 */
/* Mounting, unmounting, and what goes on by the clock in between. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/uuid.h"
#include "fs/alloc_core.h"
#include "fs/checkpoint.h"
#include "fs/claim.h"
#include "fs/fill.h"
#include "fs/inode.h"
#include "fs/journal.h"
#include "fs/node.h"
#include "fs/ops.h"
#include "fs/replay.h"
#include "fs/super.h"
#include "fs/tree_edit.h"
#include "fs/txn_core.h"

#define SETTLE_NS (5 * NS_PER_S)

/* ---- small things ---- */

void fs_lock_shared(struct fs *fs)
{
	pthread_rwlock_rdlock(&fs->lock);
}

void fs_lock_excl(struct fs *fs)
{
	pthread_rwlock_wrlock(&fs->lock);
}

void fs_unlock(struct fs *fs)
{
	pthread_rwlock_unlock(&fs->lock);
}

struct worker *fs_worker(struct fs *fs, unsigned index)
{
	return &fs->workers[index];
}

unsigned fs_nworkers(const struct fs *fs)
{
	return fs->conf.nworkers;
}

struct ns *fs_ns(struct fs *fs)
{
	return fs->ns;
}

struct cache *fs_cache(struct fs *fs)
{
	return fs->cache;
}

void fs_freeze(struct fs *fs, int code, const char *what)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&fs->frozen, &none, code))
		log_error("%s: %s; the file system is read-only from now on, and every fsync fails", what, err_text(code));
}

bool fs_poll_all(struct fs *fs)
{
	bool any = false;

	for (unsigned i = 0; i < fs->conf.nworkers; i++)
		any |= worker_poll(&fs->workers[i]);
	return any;
}

void fs_info(struct fs *fs, struct fs_info *i)
{
	uint64_t deadline = claim_deadline(fs), now = clock_now();

	memset(i, 0, sizeof(*i));
	fs_lock_shared(fs);
	memcpy(i->uuid, fs->uuid, sizeof(i->uuid));
	memcpy(i->label, fs->super.label, sizeof(fs->super.label));
	i->nblocks = fs->nblocks;
	i->free_blocks = alloc_free_blocks(fs);
	i->avail_blocks = alloc_avail_blocks(fs);
	i->inodes = fs->inodes_used;
	i->gen = fs->gen;
	i->epoch = fs->epoch;
	i->nodes_cached = fs->nodes->count;
	i->nodes_dirty = atomic_load(&fs->nodes->ndirty);
	i->pending_frees = alloc_pending(fs);
	i->checkpoints = checkpoint_count(fs);
	i->journal_blocks = get64(fs->super.journal_len);
	fs_unlock(fs);
	journal_info(fs, &i->journal_used, &i->records);
	i->txns = atomic_load(&fs->txns);
	i->readonly = fs->conf.readonly;
	i->claimed = atomic_load(&fs->writable);
	i->frozen = atomic_load(&fs->frozen) != 0;
	i->wait_ns = deadline > now ? deadline - now : 0;
}

/* ---- the clock ---- */

static void reaped(struct op *op, int status)
{
	struct fs *fs = op->worker->fs;

	fs->reaping = false;
	fs->reap_retry = status ? clock_now() + NS_PER_S : 0;
	op_free(op);
}

static bool may_reap(struct fs *fs)
{
	return !fs->reaping && clock_now() >= fs->reap_retry && atomic_load(&fs->writable) && fs_reap_pending(fs);
}

/* Steps that wait for nothing follow each other, so that a removed tree's space is back in seconds; bounded, because this
 * worker has requests to serve. */
static void start_reaping(struct fs *fs)
{
	uint64_t end = clock_now() + NS_PER_MS;
	unsigned steps = 64;
	struct op *op;

	while (may_reap(fs) && steps-- && clock_now() <= end) {
		op = op_new(&fs->workers[0]);
		if (!op)
			return;
		fs->reaping = true;
		op->run = fs_reap;
		op->finish = reaped;
		op_start(op);
	}
}

static void wake_frozen(struct fs *fs)
{
	int code = atomic_load(&fs->frozen);
	struct list writable, space;

	fs_lock_excl(fs);
	waitq_take(&fs->wait_writable, &writable);
	alloc_release(fs, &space);
	fs_unlock(fs);
	waiters_wake(&writable, code);
	waiters_wake(&space, code);
	journal_wake(fs, code);
	checkpoint_wake(fs, code);
}

/* What was freed and whose epoch has ended comes back. Returns ns until it is worth looking again. */
static uint64_t release(struct fs *fs)
{
	struct list space;
	bool more;

	fs_lock_excl(fs);
	more = !alloc_release(fs, &space);
	fs_unlock(fs);
	waiters_wake(&space, 0);
	return more ? 20 * NS_PER_MS : NS_PER_S;
}

uint64_t fs_tick(struct fs *fs)
{
	uint64_t next, now = clock_now();

	inodes_retry(fs);
	if (fs->conf.readonly)
		return NS_PER_S;
	next = claim_tick(fs);
	if (atomic_load(&fs->frozen)) {
		wake_frozen(fs);
		return NS_PER_S / 10;
	}
	checkpoint_tick(fs);
	if (!atomic_load(&fs->writable))
		return next;
	if (now - fs->last_commit >= fs->conf.commit_ms * NS_PER_MS) {
		fs->last_commit = now;
		journal_commit(&fs->workers[0]);
	}
	start_reaping(fs);
	if (fs->reaping || may_reap(fs) || checkpoint_running(fs))
		next = MIN(next, 2 * NS_PER_MS);
	next = MIN(next, release(fs));
	return MIN(next, fs->last_commit + fs->conf.commit_ms * NS_PER_MS - now + 1);
}

/* ---- mounting ---- */

/* What was read ahead, or for an operation that failed meanwhile, may be on its way still. */
static void settle_lanes(struct fs *fs)
{
	uint64_t end = clock_now() + SETTLE_NS;

	for (unsigned i = 0; fs->workers && i < fs->conf.nworkers; i++) {
		struct worker *w = &fs->workers[i];

		while (w->lane && !lane_idle(w->lane)) {
			if (clock_now() > end)
				ns_give_up(fs->ns, -E_LOST); /* nobody is there; nothing needs it any more */
			if (!worker_poll(w))
				worker_sleep(w, 10 * NS_PER_MS);
		}
	}
}

static void free_all(struct fs *fs)
{
	settle_lanes(fs);
	if (fs->inodes)
		inodes_exit(fs);
	checkpoint_free(fs);
	claim_free(fs);
	journal_free(fs);
	fills_free(fs->fills);
	for (unsigned i = 0; fs->workers && i < fs->conf.nworkers; i++) {
		worker_exit(&fs->workers[i]);
		if (fs->workers[i].lane)
			lane_close(fs->workers[i].lane);
	}
	free(fs->workers);
	txn_free(fs);
	nodes_free(fs->nodes);
	if (fs->alloc)
		alloc_close(fs);
	pthread_rwlock_destroy(&fs->lock);
	free(fs);
}

void fs_abandon(struct fs *fs)
{
	free_all(fs);
}

static int open_workers(struct fs *fs)
{
	fs->workers = calloc(fs->conf.nworkers, sizeof(*fs->workers));
	if (!fs->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < fs->conf.nworkers; i++) {
		struct lane *lane;
		int err = lane_open(&lane, fs->ns, i);

		if (err)
			return err;
		err = worker_init(&fs->workers[i], fs, lane, i); /* takes the lane in any case: free_all closes it */
		if (err)
			return err;
	}
	return 0;
}

/* Everything in memory for the superblock that fs->super holds. fresh: mkfs. */
static int build(struct fs *fs, bool fresh)
{
	int err = open_workers(fs);

	err = err ? err : txn_new(fs);
	err = err ? err : nodes_new(&fs->nodes, fs->conf.node_bytes);
	err = err ? err : fills_new(&fs->fills, fs);
	err = err ? err : alloc_open(fs, fresh);
	err = err ? err : journal_new(fs);
	err = err ? err : checkpoint_new(fs);
	err = err ? err : claim_new(fs);
	return err ? err : inodes_init(fs);
}

static struct fs *fs_alloc(const struct fs_conf *conf)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	pthread_rwlockattr_t attr;

	if (!fs)
		return NULL;
	fs->conf = *conf;
	fs->conf.commit_ms = conf->commit_ms ? conf->commit_ms : 1000;
	fs->conf.checkpoint_ms = conf->checkpoint_ms ? conf->checkpoint_ms : 5000;
	fs->conf.node_bytes = conf->node_bytes ? conf->node_bytes : 64 * MiB;
	fs->conf.nworkers = MAX(conf->nworkers, 1);
	fs->conf.readonly |= conf->offline;
	fs->ns = conf->ns;
	fs->cache = conf->cache;
	fs->mounted_at = fs->last_commit = clock_now();
	atomic_store(&fs->op_epoch, 4); /* so that older ones exist as numbers */
	/* A steady stream of readers must not keep writers out. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&fs->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	waitq_init(&fs->wait_writable);
	return fs;
}

static int read_state(struct fs *fs, struct fs_probe *p, char *why, size_t len)
{
	int err = fs_probe(fs->ns, p);

	if (!err && !p->valid)
		err = -E_NOT_NVOFS;
	if (!err)
		err = super_read(fs->ns, &fs->super, &fs->super_slot);
	if (!err && get64(fs->super.ro_compat) && !fs->conf.readonly)
		err = -E_NEWER;
	if (err) {
		snprintf(why, len, "%s", err_text(err));
		return err;
	}
	memcpy(fs->uuid, fs->super.uuid, sizeof(fs->uuid));
	memcpy(fs->hash_key, fs->super.hash_key, sizeof(fs->hash_key));
	fs->nblocks = get64(fs->super.nblocks);
	fs->gen = get64(fs->super.gen) + 3; /* above every birth that a dead session may have put on the device */
	fs->epoch = get64(fs->super.epoch);
	fs->ino_next = get64(fs->super.ino_watermark);
	fs->inodes_used = get64(fs->super.inodes);
	fs->root = (struct ptr){ .block = get64(fs->super.root.block), .birth = get64(fs->super.root.birth),
				 .crc = get32(fs->super.root.crc), .level = fs->super.root_level };
	return 0;
}

/* Nobody else writes, and the state as it is then: a holder that was there at first may have made checkpoints since, or
 * have unmounted. *since: no command of his was sent later. */
static int await_holder(struct fs *fs, struct fs_probe *p, uint64_t *since, char *why, size_t len)
{
	struct heartbeat_disk first;
	int err = fs_probe(fs->ns, p);

	*since = clock_now();
	first = p->heartbeat;
	if (!err && !fs->conf.offline) {
		err = fs_holder(fs->ns, p, why, len);
		if (err == -E_IN_USE)
			return err;
	}
	if (err) {
		snprintf(why, len, "%s", err_text(err));
		return err;
	}
	err = read_state(fs, p, why, len);
	if (!err && memcmp(&first, &p->heartbeat, sizeof(first)))
		*since = clock_now();
	return err;
}

static int recover(struct fs *fs, char *why, size_t len)
{
	struct replay r;
	int err = replay_journal(fs, &r);

	if (err) {
		snprintf(why, len, "replaying the journal: %s", err_text(err));
		return err;
	}
	if (r.txns > 0)
		log_info("replayed %llu transactions in %llu journal records", (unsigned long long)r.txns,
			 (unsigned long long)r.records);
	alloc_go_async(fs);
	journal_restart(fs, r.next_pos, r.next_seq, r.prev_crc);
	fs->recovered = r;
	return 0;
}

/* Waits for the claim where nothing stands in its way, so that a mount that cannot write says so. */
static int claim_now(struct fs *fs, char *why, size_t len)
{
	while (!claim_done(fs) && !claim_failed(fs) && !atomic_load(&fs->frozen)) {
		uint64_t ns = fs_tick(fs);

		if (!fs_poll_all(fs))
			worker_sleep(&fs->workers[0], ns);
	}
	if (claim_done(fs))
		return 0;
	snprintf(why, len, "claiming the file system: %s", err_text(atomic_load(&fs->frozen)));
	return atomic_load(&fs->frozen);
}

int fs_mount(struct fs **out, const struct fs_conf *conf, char *why, size_t len)
{
	struct fs *fs = fs_alloc(conf);
	uint64_t begun, quiesce_ms;
	struct fs_probe p;
	bool held;
	int err;

	*out = NULL;
	if (!fs)
		return -ENOMEM;
	err = await_holder(fs, &p, &begun, why, len);
	if (err)
		goto out_free;
	err = build(fs, false);
	if (err) {
		snprintf(why, len, "%s", err_text(err));
		goto out_free;
	}
	err = recover(fs, why, len);
	if (err)
		goto out_free;
	/* A torn heartbeat of an unclean end has no figures, but there was somebody. */
	held = p.heartbeat_valid ? heartbeat_held(&p.heartbeat) : !(get32(p.super.state) & SUPER_CLEAN);
	quiesce_ms = !held ? 0 : p.heartbeat_valid ? get32(p.heartbeat.quiesce_ms) : ns_info(fs->ns)->dead_ms;
	if (conf->self)
		atomic_store(conf->self, fs);
	if (!fs->conf.readonly) {
		claim_begin(fs, &p.heartbeat, held, begun + quiesce_ms * NS_PER_MS);
		if (!held)
			err = claim_now(fs, why, len);
		if (err)
			goto out_free;
	}
	*out = fs;
	return 0;
out_free:
	claim_forget_self(fs);
	free_all(fs);
	return err;
}

/* ---- unmounting ---- */

static void run_until(struct fs *fs, bool (*done)(struct fs *))
{
	while (!done(fs) && !atomic_load(&fs->frozen)) {
		uint64_t ns = fs_tick(fs);

		if (!fs_poll_all(fs))
			worker_sleep(&fs->workers[0], ns);
	}
}

static bool reaped_all(struct fs *fs)
{
	return !fs->reaping && (!fs_reap_pending(fs) || clock_now() > fs->reap_deadline || fs->reap_retry);
}

static bool quiet(struct fs *fs)
{
	return !checkpoint_running(fs) && journal_idle(fs) && claim_tick(fs) > 2 * NS_PER_MS;
}

static bool cleaned(struct fs *fs)
{
	if (get32(fs->super.state) & SUPER_CLEAN)
		return !checkpoint_running(fs) && journal_idle(fs);
	if (!checkpoint_running(fs))
		checkpoint_start(fs, true, true);
	return false;
}

static bool claim_ended(struct fs *fs)
{
	return !claim_writing(fs);
}

static bool no_doubts(struct fs *fs)
{
	return !ns_in_doubt(fs->ns);
}

int fs_unmount(struct fs *fs)
{
	int err = 0;

	run_until(fs, claim_ended);
	if (!fs->conf.readonly && claim_done(fs)) {
		inodes_forget_all(fs);
		fs->reap_deadline = clock_now() + 5 * NS_PER_S; /* the rest is resumed by the next mount */
		run_until(fs, reaped_all);
		fs->reap_retry = UINT64_MAX; /* none after the last cut */
		run_until(fs, cleaned);
		/* Once the heartbeat is given back, anybody may write: not while a write of ours may still land. */
		run_until(fs, no_doubts);
		run_until(fs, quiet);
		err = atomic_load(&fs->frozen);
		if (!err)
			err = claim_release(fs);
	}
	claim_forget_self(fs);
	free_all(fs);
	return err;
}

/* ---- making ---- */

static void super_fresh(const struct mkfs_conf *conf, struct fs *fs)
{
	struct super_disk *s = &fs->super;
	struct layout l;

	layout_of(ns_info(conf->ns)->nblocks, &l);
	memset(s, 0, sizeof(*s));
	s->magic = put64(SUPER_MAGIC);
	s->version = put32(FORMAT_VERSION);
	memcpy(s->uuid, conf->uuid, 16);
	snprintf(s->label, sizeof(s->label), "%s", conf->label ? conf->label : "");
	s->nblocks = put64(l.nblocks);
	s->csum_type = put32(CSUM_CRC32C);
	s->node_size = put32(NODE_SIZE);
	s->block_size = put32(FS_BLOCK);
	random_bytes(s->hash_key, sizeof(s->hash_key));
	s->journal_start = put64(JOURNAL_START);
	s->journal_len = put64(l.journal_len);
	s->ring_b = put64(l.ring_b);
	s->reserve_quads = put64(l.reserve_quads);
	s->mkfs_time = put64((uint64_t)clock_wall().tv_sec);
	memcpy(fs->uuid, s->uuid, sizeof(fs->uuid));
	memcpy(fs->hash_key, s->hash_key, sizeof(fs->hash_key));
	fs->super_slot = RING_SLOTS - 1; /* the first one goes to slot 0 */
	fs->nblocks = l.nblocks;
	fs->gen = 1;
	fs->ino_next = INO_FIRST;
}

static int put_root(struct fs *fs, const struct mkfs_conf *conf)
{
	struct timespec now = clock_wall();
	struct time_disk t = { .s = put64((uint64_t)now.tv_sec), .ns = put32((uint32_t)now.tv_nsec) };
	struct inode_disk root = { .mode = put32(S_IFDIR | 0755), .uid = put32(conf->root_uid), .gid = put32(conf->root_gid),
				   .nlink = put32(2), .atime = t, .mtime = t, .ctime = t, .btime = t,
				   .parent = put64(INO_ROOT) };
	int err;

	fs_lock_excl(fs);
	/* The root node comes from group 0: have its bitmap at hand. */
	err = alloc_hold(fs, JOURNAL_START + get64(fs->super.journal_len), 0);
	err = err ? err : nodes_ready(fs, tree_cost(fs, 1));
	if (err)
		goto out_unlock;
	txn_replay_begin(fs);
	txn_put_fs(fs, &KEY(INO_ROOT, ITEM_INODE, 0), &root, sizeof(root), NULL, 0);
	txn_replay_commit(fs);
out_unlock:
	fs_unlock(fs);
	return err;
}

/* Nothing of an older file system may be found later: both rings, the heartbeat, the head and the journal's start. Cut
 * anywhere, the older one is whole or gone: first go the superblocks before its newest, whose blocks may have been used
 * again since, then that one, and then what it refers to. */
static int erase(struct ns *ns, const struct layout *l)
{
	static const uint8_t zeros[64 * FS_BLOCK];
	const uint64_t ring[] = { RING_A, l->ring_b };
	struct super_disk old;
	unsigned newest;
	int err = 0;

	if (super_read(ns, &old, &newest))
		newest = RING_SLOTS; /* none */
	for (unsigned i = 0; i < 2 * RING_SLOTS && !err; i++)
		if (i % RING_SLOTS != newest)
			err = ns_write_sync(ns, ring[i / RING_SLOTS] + i % RING_SLOTS * SUPER_BLOCKS, SUPER_BLOCKS, zeros, 0);
	err = err ? err : ns_flush_sync(ns);
	for (unsigned i = 0; i < 2 && !err; i++)
		err = ns_write_sync(ns, ring[i], RING_BLOCKS, zeros, 0);
	err = err ? err : ns_flush_sync(ns);
	err = err ? err : ns_write_sync(ns, 0, JOURNAL_START + 32, zeros, 0);
	return err ? err : ns_flush_sync(ns);
}

static bool made(struct fs *fs)
{
	if (get64(fs->super.gen) > 0)
		return !checkpoint_running(fs) && journal_idle(fs);
	if (!checkpoint_running(fs))
		checkpoint_start(fs, true, true);
	return false;
}

static void tell(const struct mkfs_conf *conf, unsigned done)
{
	if (conf->progress)
		conf->progress(conf->progress_arg, done, 3);
}

int fs_format(const struct mkfs_conf *conf, char *why, size_t len)
{
	struct fs_conf fc = { .ns = conf->ns, .cache = conf->cache, .nworkers = 1 };
	struct layout l;
	struct fs *fs;
	int err = -E_TOO_SMALL;

	layout_of(ns_info(conf->ns)->nblocks, &l);
	if (l.nblocks < MIN_BLOCKS || l.nl2 > L2_MAX) {
		snprintf(why, len, l.nblocks < MIN_BLOCKS ? "the namespace is too small: at least 64 MiB are needed"
							  : "the namespace is too large: at most 512 TiB are supported");
		return l.nblocks < MIN_BLOCKS ? -E_TOO_SMALL : -EFBIG;
	}
	fs = fs_alloc(&fc);
	if (!fs)
		return -ENOMEM;
	tell(conf, 0);
	err = erase(conf->ns, &l);
	if (err)
		goto out_free;
	tell(conf, 1);
	super_fresh(conf, fs);
	err = build(fs, true);
	err = err ? err : put_root(fs, conf);
	if (err)
		goto out_free;
	journal_restart(fs, 0, 1, 0);
	tell(conf, 2);
	while (!made(fs) && !atomic_load(&fs->frozen))
		if (!fs_poll_all(fs))
			worker_sleep(&fs->workers[0], NS_PER_MS);
	err = atomic_load(&fs->frozen);
	tell(conf, 3);
out_free:
	free_all(fs);
	if (err)
		snprintf(why, len, "%s", err_text(err));
	return err;
}
