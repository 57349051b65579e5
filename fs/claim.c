/* SPDX-License-Identifier: Apache-2.0 */
/* The heartbeat's owner, on worker 0's tick; claim.h has the states.
 *  1. One I/O at a time (busy), from and to the one page run: state moves in its call-back or in the tick, never in
 *     both.
 *  2. own is what we wrote last, seen what we go by until then. own keeps its token to the end, also after release.
 *  3. fs_reclaim runs on the control thread: it reads state, seen and own, and changes nothing but through
 *     fs_freeze. */
#include "fs/claim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/uuid.h"
#include "fs/checkpoint.h"
#include "fs/replay.h"
#include "fs/super.h"

enum claim_state { NONE, WAIT, CHECK, WRITE, VERIFY, SETTLE, CHECKPOINT, CLAIMED, FAILED };

/* Two that claim at the same time: each has checked before the other's beat landed, at most that long ago. */
#define VERIFY_MS 100u

struct claim {
	struct fs *fs;
	_Atomic int state;         /* worker 0 moves it; fs_reclaim (control thread) reads it */
	uint64_t deadline, next;
	struct heartbeat_disk seen, own;
	struct run *run;           /* one page, for good */
	bool busy;                 /* run is on its way */
	_Atomic bool releasing;    /* the heartbeat is being given back */
	bool moved;                /* the heartbeat changed while we waited, once */
};

/* On failure claim_free takes what there is. */
int claim_new(struct fs *fs)
{
	struct claim *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	fs->claim = c;
	c->fs = fs;
	c->run = run_new(fs->cache, 1);
	return c->run ? 0 : -E_NO_FRAMES;
}

void claim_free(struct fs *fs)
{
	if (!fs->claim)
		return;
	if (fs->claim->run)
		run_unpin(fs->claim->run);
	free(fs->claim);
	fs->claim = NULL;
}

bool claim_failed(const struct fs *fs)
{
	return fs->claim->state == FAILED;
}

/* From the first beat on the block may hold our token: an unmount has to give it back. */
bool claim_writing(const struct fs *fs)
{
	return fs->claim->state >= WRITE && fs->claim->state < CLAIMED;
}

bool claim_done(const struct fs *fs)
{
	return fs->claim->state == CLAIMED;
}

uint64_t claim_deadline(const struct fs *fs)
{
	return fs->claim->state == WAIT ? fs->claim->deadline : 0;
}

/* deadline is of clock_now(). Copies seen. */
void claim_begin(struct fs *fs, const struct heartbeat_disk *seen, bool held, uint64_t deadline)
{
	struct claim *c = fs->claim;

	c->seen = *seen;
	c->deadline = deadline;
	c->state = WAIT;
	if (held && deadline > clock_now())
		log_info("%.64s did not unmount; writing begins in %.1f s, reading works now", seen->host,
			 (double)(deadline - clock_now()) / NS_PER_S);
}

/* For good: another mount has to be made to write again. */
static void fail(struct claim *c, int code, const char *what)
{
	c->state = FAILED;
	fs_freeze(c->fs, code, what);
}

/* A random token is what makes the beat ours: host, pid and time are for people to read. quiesce_ms tells the next
 * mount how long commands of this session may execute after it is dead. */
static void build(struct claim *c)
{
	struct heartbeat_disk *h = &c->own;
	struct fs *fs = c->fs;

	memset(h, 0, sizeof(*h));
	h->magic = put32(HEARTBEAT_MAGIC);
	memcpy(h->uuid, fs->uuid, 16);
	random_bytes(h->token, 16);
	h->epoch = put64(fs->epoch);
	memcpy(h->hostid, fs->conf.hostid, 16);
	gethostname(h->host, sizeof(h->host) - 1);
	h->since = put64((uint64_t)clock_wall().tv_sec);
	h->interval_ms = put32(HEARTBEAT_MS);
	h->quiesce_ms = put32(ns_info(fs->ns)->dead_ms);
	h->pid = put32((uint32_t)getpid());
}

/* VERIFY reads back after a while, not at once: somebody else's beat may be on its way (VERIFY_MS). */
static void beat_done(struct run *run, int status)
{
	struct claim *c = run->owner;

	c->busy = false;
	if (status)
		fail(c, status, "writing the heartbeat");
	else if (c->state == WRITE)
		c->state = VERIFY;
	c->next = clock_now() + (c->state == VERIFY ? VERIFY_MS : HEARTBEAT_MS) * NS_PER_MS;
}

/* The counter is what others watch. Copied to the run, for own is read by fs_reclaim. */
static void beat(struct claim *c)
{
	c->own.counter = put64(get64(c->own.counter) + 1);
	heartbeat_seal(&c->own);
	memcpy(c->run->mem, &c->own, sizeof(c->own));
	c->run->owner = c;
	c->busy = true;
	run_write(c->run, c->fs->workers[0].lane, HEARTBEAT_BLOCK, IO_FUA | IO_URGENT, beat_done);
}

/* Is it still what was seen when the mount began? (Any thread; h is private memory.) */
static bool same_as_seen(const struct claim *c, const struct heartbeat_disk *h)
{
	return !memcmp(h->token, c->seen.token, 16) && get64(h->counter) == get64(c->seen.counter) &&
	       get64(h->epoch) == get64(c->seen.epoch);
}

/* The heartbeat is not the one that the mount began with: a late command of a dead mount (which is the last one: they were
 * all sent before), or somebody who lives, whose next beat will come long before the same time is over. */
static void wait_again(struct claim *c, const struct heartbeat_disk *now)
{
	uint32_t ms = ns_info(c->fs->ns)->dead_ms;

	c->moved = true;
	c->seen = *now;
	if (heartbeat_valid(now, c->fs->super.uuid))
		ms = MAX(ms, get32(now->quiesce_ms));
	c->deadline = clock_now() + ms * NS_PER_MS;
	c->state = WAIT;
	log_info("the heartbeat changed meanwhile; writing begins in %.1f s if it does not change again", ms / 1000.0);
}

/* The epoch goes up here, in memory; our heartbeat carries it next, and the first checkpoint makes it the file
 * system's. The block is copied out of the run before it is judged, since a target may write to that. */
static void check_done(struct run *run, int status)
{
	struct claim *c = run->owner;
	struct heartbeat_disk now;

	c->busy = false;
	memcpy(&now, run->mem, sizeof(now));
	if (status) {
		fail(c, status, "reading the heartbeat");
	} else if (!same_as_seen(c, &now) && !c->moved) {
		wait_again(c, &now);
	} else if (!same_as_seen(c, &now)) {
		fail(c, -E_NOT_OURS, "claiming the file system");
	} else {
		c->fs->epoch++;
		build(c);
		c->state = WRITE;
	}
}

/* Blocks worker 0 while it reads and perhaps erases, once a mount: what else it has to do waits. For want of memory it is done
 * again from the start. */
static void settle(struct claim *c)
{
	/* Who beat meanwhile may have been alive after we read: what he wrote then he may have acknowledged. */
	int err = replay_settle(c->fs, !c->moved);

	if (err == -ENOMEM)
		return;
	if (err)
		fail(c, err, "claiming the file system");
	else
		c->state = CHECKPOINT;
}

/* Two may have checked before either wrote; the later beat stands, and the other one finds it here. */
static void verify_done(struct run *run, int status)
{
	struct claim *c = run->owner;
	const struct heartbeat_disk *now = run->mem;

	c->busy = false;
	if (status)
		fail(c, status, "reading the heartbeat");
	else if (memcmp(now->token, c->own.token, 16))
		fail(c, -E_NOT_OURS, "claiming the file system");
	else
		c->state = SETTLE;
}

static void read_beat(struct claim *c, void (*done)(struct run *, int))
{
	c->busy = true;
	c->run->owner = c;
	run_read(c->run, c->fs->workers[0].lane, HEARTBEAT_BLOCK, IO_URGENT, done);
}

/* The owner looks before each beat: a token that is not its own means that somebody took over, rightly or not. */
static void still_ours(struct run *run, int status)
{
	struct claim *c = run->owner;
	const struct heartbeat_disk *now = run->mem;

	c->busy = false;
	if (!status && memcmp(now->token, c->own.token, 16))
		fail(c, -E_NOT_OURS, "the heartbeat names another mount");
	else
		beat(c); /* also over a block that cannot be read */
}

/* Under the lock, so that no op adds itself to the waiters after it has found writable false. */
static void claimed(struct claim *c)
{
	struct fs *fs = c->fs;
	struct list wake;

	c->state = CLAIMED;
	c->next = clock_now() + HEARTBEAT_MS * NS_PER_MS;
	fs_lock_excl(fs);
	atomic_store(&fs->writable, true);
	waitq_take(&fs->wait_writable, &wake);
	fs_unlock(fs);
	waiters_wake(&wake, 0);
}

/* Moves one step at most; the return value says when to come again, in ns. */
uint64_t claim_tick(struct fs *fs)
{
	struct claim *c = fs->claim;
	uint64_t now = clock_now();

	if (c->busy)
		return 2 * NS_PER_MS;
	if (c->state == NONE || c->state == FAILED || atomic_load(&fs->frozen))
		return NS_PER_S;
	if (c->state == WAIT) {
		if (now < c->deadline)
			return c->deadline - now;
		c->state = CHECK;
		read_beat(c, check_done);
	} else if (c->state == WRITE) {
		beat(c);
	} else if (c->state == VERIFY && now >= c->next) {
		read_beat(c, verify_done);
	} else if (c->state == SETTLE) {
		settle(c);
	} else if (c->state == CHECKPOINT) {
		/* The first checkpoint makes the epoch, and what was replayed, durable; the journal starts behind it. */
		if (get64(fs->super.epoch) == fs->epoch)
			claimed(c);
		else if (!checkpoint_running(fs))
			checkpoint_start(fs, true, false);
	} else if (c->state == CLAIMED && now >= c->next) {
		read_beat(c, still_ours);
	} else {
		return c->next - now;
	}
	return NS_PER_MS;
}

/* A token of zeros: nobody holds it, and the next mount need not wait. */
int claim_release(struct fs *fs)
{
	struct claim *c = fs->claim;
	struct heartbeat_disk free_beat;

	if (c->state != CLAIMED)
		return 0;
	/* own stays what it was: until this is answered the block may hold either (fs_reclaim). */
	free_beat = c->own;
	memset(free_beat.token, 0, 16);
	heartbeat_seal(&free_beat);
	atomic_store(&c->releasing, true);
	return ns_write_sync(fs->ns, HEARTBEAT_BLOCK, 1, &free_beat, IO_FUA);
}

/* The control thread may ask while the last worker takes the file system down. */
static pthread_mutex_t reclaim_mutex = PTHREAD_MUTEX_INITIALIZER;

/* With the mutex: after this returns the control thread is not inside reclaim() with this fs. */
void claim_forget_self(struct fs *fs)
{
	if (!fs->conf.self)
		return;
	pthread_mutex_lock(&reclaim_mutex);
	atomic_store(fs->conf.self, NULL);
	pthread_mutex_unlock(&reclaim_mutex);
}

/* After a reconnect, before anything is written again (DESIGN, "Two mounts"). A read error is returned, and freezes
 * nothing. */
static int reclaim(struct fs *fs, struct ns *ns)
{
	struct heartbeat_disk h;
	struct claim *c;
	int err, state;

	if (!fs || fs->conf.readonly)
		return 0;
	c = fs->claim;
	state = c->state;
	if (state < WRITE || state == FAILED) /* nothing of ours is written before the check */
		return 0;
	err = ns_read_sync(ns, HEARTBEAT_BLOCK, 1, &h);
	if (err)
		return err;
	/* Until our own first beat, or the last one, is answered the block may hold either. */
	if (heartbeat_valid(&h, fs->uuid) &&
	    (!memcmp(h.token, c->own.token, 16) || (state == WRITE && same_as_seen(c, &h)) ||
	     (atomic_load(&c->releasing) && !heartbeat_held(&h) && get64(h.epoch) == get64(c->own.epoch))))
		return 0;
	fs_freeze(fs, -E_NOT_OURS, "after a reconnect: the heartbeat names another mount");
	return -E_NOT_OURS;
}

int fs_reclaim(void *arg, struct ns *ns)
{
	int err;

	pthread_mutex_lock(&reclaim_mutex);
	err = reclaim(atomic_load((struct fs *_Atomic *)arg), ns);
	pthread_mutex_unlock(&reclaim_mutex);
	return err;
}
