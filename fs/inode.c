/* SPDX-License-Identifier: Apache-2.0 */
/* The inode table: objects in buckets under sharded mutexes, and the queue of orphans. See inode.h for the states. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "fs/inode.h"
#include "fs/ops.h"
#include "fs/range.h"

#define SHARDS 64u
#define BUCKETS 1024u            /* of a shard */
#define RETRY_NS (10 * NS_PER_S)
#define PATH_DEPTH 512           /* deeper ones are named by number: a cycle of stale names ends here */

/* The mutex guards the bucket chains and everything in their inodes but ino (inode.h, invariant 3). */
struct shard {
	pthread_mutex_t mutex;
	struct inode *bucket[BUCKETS];
};

/* Lock order: fs lock, a shard's mutex, reap_mutex. No two shards are ever locked at once. */
struct inode_table {
	struct shard shard[SHARDS];
	pthread_mutex_t reap_mutex;      /* guards both queues; nests inside a shard's mutex */
	struct waitq retry;              /* ops in want of page frames */
	struct list reap;
	_Atomic unsigned queued;
	uint64_t scan; /* next number to look for (inodes_scan); worker 0 only */
	_Atomic bool scanning;
};

static uint64_t mix(uint64_t ino)
{
	return ino * 0x9e3779b97f4a7c15ull; /* Fibonacci hashing: numbers are dense */
}

/* Six bits of the product choose the shard, the ten below them the bucket: the upper ones are the mixed ones. */
static struct shard *shard_of(struct fs *fs, uint64_t ino)
{
	return &fs->inodes->shard[mix(ino) >> 58];
}

static struct inode **bucket_of(struct shard *s, uint64_t ino)
{
	return &s->bucket[mix(ino) >> 48 & (BUCKETS - 1)];
}

/* scanning is true from the start: whether the last mount left orphans is not known before the search is over. */
int inodes_init(struct fs *fs)
{
	struct inode_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	for (unsigned i = 0; i < SHARDS; i++)
		pthread_mutex_init(&t->shard[i].mutex, NULL);
	pthread_mutex_init(&t->reap_mutex, NULL);
	list_init(&t->reap);
	waitq_init(&t->retry);
	t->scan = 1;
	t->scanning = true;
	fs->inodes = t;
	return 0;
}

/* Out of its bucket already; outside of the mutex, since nobody can find it any more. */
static void inode_free(struct inode *in)
{
	free(in->name);
	free(in);
}

/* No op is left, so nobody holds a reference; lookups that the kernel never gave back do not matter now. */
void inodes_exit(struct fs *fs)
{
	struct inode_table *t = fs->inodes;

	if (!t)
		return;
	for (unsigned s = 0; s < SHARDS; s++) {
		for (unsigned b = 0; b < BUCKETS; b++) {
			while (t->shard[s].bucket[b]) {
				struct inode *in = t->shard[s].bucket[b];

				t->shard[s].bucket[b] = in->next;
				inode_free(in);
			}
		}
		pthread_mutex_destroy(&t->shard[s].mutex);
	}
	pthread_mutex_destroy(&t->reap_mutex);
	free(t);
	fs->inodes = NULL;
}

/* Shard's mutex held, here and in the three that follow. */
static struct inode *find(struct shard *s, uint64_t ino)
{
	struct inode *in = *bucket_of(s, ino);

	while (in && in->ino != ino)
		in = in->next;
	return in;
}

/* In state absent -> referenced: the caller counts a reference before it lets go of the mutex. */
static struct inode *insert(struct shard *s, uint64_t ino)
{
	struct inode *in = calloc(1, sizeof(*in)), **bucket = bucket_of(s, ino);

	if (!in)
		return NULL;
	in->ino = ino;
	list_init(&in->ranges);
	list_init(&in->reap);
	waitq_init(&in->range_wait);
	in->next = *bucket;
	*bucket = in;
	return in;
}

/* It must be there. */
static void unlink_inode(struct shard *s, struct inode *in)
{
	struct inode **p = bucket_of(s, in->ino);

	while (*p != in)
		p = &(*p)->next;
	*p = in->next;
}

/* queued keeps the object until the reaper has done with it, also when it is looked up once more meanwhile. */
static void queue(struct fs *fs, struct inode *in)
{
	struct inode_table *t = fs->inodes;

	in->queued = true;
	pthread_mutex_lock(&t->reap_mutex);
	list_append(&t->reap, &in->reap);
	atomic_fetch_add(&t->queued, 1);
	pthread_mutex_unlock(&t->reap_mutex);
}

/* Under the shard's mutex: what becomes of an object that lost a user. Returns it if it is to be freed. */
static struct inode *settle(struct fs *fs, struct shard *s, struct inode *in)
{
	if (in->refs || in->lookups || in->opens || in->queued)
		return NULL;
	if (in->orphan) {
		queue(fs, in);
		return NULL;
	}
	unlink_inode(s, in);
	return in;
}

/* An object says nothing about whether there is such an inode in the tree; callers have looked that up. */
struct inode *inode_get(struct fs *fs, uint64_t ino, struct worker *w)
{
	struct shard *s = shard_of(fs, ino);
	struct inode *in;

	pthread_mutex_lock(&s->mutex);
	in = find(s, ino);
	if (!in) {
		in = insert(s, ino);
		if (w)
			atomic_fetch_add_explicit(&w->allocs, 1, memory_order_relaxed);
	}
	if (in)
		in->refs++;
	pthread_mutex_unlock(&s->mutex);
	return in;
}

void inode_put(struct fs *fs, struct inode *in)
{
	struct shard *s = shard_of(fs, in->ino);

	pthread_mutex_lock(&s->mutex);
	assert(in->refs);
	in->refs--;
	in = settle(fs, s, in);
	pthread_mutex_unlock(&s->mutex);
	if (in)
		inode_free(in);
}

/* Once for all replays: op_free gives it back. The inode must be the same one in each, since range locks hang on
 * it. */
int inode_hold(struct op *op, bool data)
{
	if (op->inode)
		return 0;
	op->inode = inode_get(op->worker->fs, op->ino, data ? op->worker : NULL);
	return op->inode ? 0 : -ENOMEM;
}

/* Waits until some op has ended (and given its pins back), or the next tick. */
int op_retry_later(struct op *op, uint64_t *deadline)
{
	struct inode_table *t = op->worker->fs->inodes;
	uint64_t now = clock_now();
	struct waiter *w;

	/* The clock runs only while there is somebody who could give frames back. */
	if (!*deadline || !atomic_load(&ns_info(op->worker->fs->ns)->connected))
		*deadline = now + RETRY_NS;
	if (now > *deadline)
		return -E_NO_FRAMES;
	w = op_wait_idle(op);
	if (w) {
		pthread_mutex_lock(&t->reap_mutex);
		waitq_add(&t->retry, w);
		pthread_mutex_unlock(&t->reap_mutex);
	}
	return -E_PARKED;
}

/* The flag is read without the mutex, since this runs at each op's end: a waiter that is missed by a hair is woken
 * by the next end, or the next tick. */
static void retry_wake(struct inode_table *t)
{
	struct list wake;

	if (!atomic_load_explicit(&t->retry.some, memory_order_relaxed))
		return;
	pthread_mutex_lock(&t->reap_mutex);
	waitq_take(&t->retry, &wake);
	pthread_mutex_unlock(&t->reap_mutex);
	waiters_wake(&wake, 0);
}

void inodes_retry(struct fs *fs)
{
	retry_wake(fs->inodes);
}

/* The range goes first: it is linked into the inode, which may go with its last reference. */
void inode_op_ended(struct op *op)
{
	struct inode *in = op->inode;

	retry_wake(op->worker->fs->inodes);
	if (!in)
		return;
	range_unlock(op);
	op->inode = NULL;
	inode_put(op->worker->fs, in);
}

/* Of its shard, so of other inodes too: for short memory work only. */
void inode_lock(struct fs *fs, const struct inode *in)
{
	pthread_mutex_lock(&shard_of(fs, in->ino)->mutex);
}

void inode_unlock(struct fs *fs, const struct inode *in)
{
	pthread_mutex_unlock(&shard_of(fs, in->ino)->mutex);
}

/* Without memory the name is simply not known: it is for messages. A name that is there already is kept, so that
 * looking up the same one again allocates nothing. */
static void set_name(struct inode *in, uint64_t parent, const char *name, size_t len)
{
	if (in->name && in->parent == parent && strlen(in->name) == len && !memcmp(in->name, name, len))
		return;
	free(in->name);
	in->name = malloc(len + 1); /* name is not terminated: it may lie in a tree node */
	if (in->name) {
		memcpy(in->name, name, len);
		in->name[len] = 0;
	}
	in->parent = parent;
}

/* Under the fs lock, shared at least, so that a removal (exclusive) sees it counted or comes first. */
void inode_looked_up(struct fs *fs, struct inode *in, uint64_t parent, const char *name, size_t len)
{
	inode_lock(fs, in);
	in->lookups++;
	if (name)
		set_name(in, parent, name, len);
	inode_unlock(fs, in);
}

/* No object, nothing to do: nobody has it in use, and the next look-up brings the name. */
void inode_named(struct fs *fs, uint64_t ino, uint64_t parent, const char *name, size_t len)
{
	struct shard *s = shard_of(fs, ino);
	struct inode *in;

	pthread_mutex_lock(&s->mutex);
	in = find(s, ino);
	if (in)
		set_name(in, parent, name, len);
	pthread_mutex_unlock(&s->mutex);
}

/* Of several names only the last known is kept; removing another one leaves it. */
void inode_unnamed(struct fs *fs, uint64_t ino, uint64_t parent, const char *name, size_t len)
{
	struct shard *s = shard_of(fs, ino);
	struct inode *in;

	pthread_mutex_lock(&s->mutex);
	in = find(s, ino);
	if (in && in->name && in->parent == parent && strlen(in->name) == len && !memcmp(in->name, name, len)) {
		free(in->name);
		in->name = NULL;
		in->parent = 0;
	}
	pthread_mutex_unlock(&s->mutex);
}

/* Opens count beside look-ups: a file that was unlinked while open is forgotten only after its last release. */
void inode_opened(struct fs *fs, struct inode *in)
{
	inode_lock(fs, in);
	in->opens++;
	inode_unlock(fs, in);
}

/* The kernel counts look-ups for us: FORGET gives back how many it was told of.
 * Takes users away; more than there are (a confused caller) counts as all. */
static void lose(struct fs *fs, uint64_t ino, uint64_t lookups, uint32_t opens)
{
	struct shard *s = shard_of(fs, ino);
	struct inode *in;

	pthread_mutex_lock(&s->mutex);
	in = find(s, ino);
	if (in) {
		in->lookups -= MIN(lookups, in->lookups);
		in->opens -= MIN(opens, in->opens);
		in = settle(fs, s, in);
	}
	pthread_mutex_unlock(&s->mutex);
	if (in)
		inode_free(in);
}

void inode_closed(struct fs *fs, uint64_t ino)
{
	lose(fs, ino, 0, 1);
}

void fs_forget(struct fs *fs, uint64_t ino, uint64_t nlookup)
{
	lose(fs, ino, nlookup, 0);
}

/* Not queued here: the caller has a reference, and inode_put queues it if nobody else does. */
void inode_orphan(struct fs *fs, struct inode *in)
{
	inode_lock(fs, in);
	in->orphan = true;
	inode_unlock(fs, in);
}

/* Locks shard by shard: nobody else is active any more. */
void inodes_forget_all(struct fs *fs)
{
	struct inode_table *t = fs->inodes;

	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shard[i];

		pthread_mutex_lock(&s->mutex);
		for (unsigned b = 0; b < BUCKETS; b++) {
			struct inode *next;

			for (struct inode *in = s->bucket[b]; in; in = next) {
				next = in->next;
				in->lookups = 0;
				in->opens = 0;
				in = settle(fs, s, in);
				if (in)
					inode_free(in);
			}
		}
		pthread_mutex_unlock(&s->mutex);
	}
}

/* The queue's mutex nests inside the shard's, so the number is taken first and looked up then. Only the reaper takes
 * inodes out of the queue, and there is one, so it is still there. */
struct inode *inode_reap_next(struct fs *fs)
{
	struct inode_table *t = fs->inodes;
	struct inode *in = NULL;
	uint64_t ino = 0;

	pthread_mutex_lock(&t->reap_mutex);
	if (!list_empty(&t->reap))
		ino = list_entry(t->reap.next, struct inode, reap)->ino;
	pthread_mutex_unlock(&t->reap_mutex);
	if (ino)
		in = inode_get(fs, ino, NULL); /* queued ones stay in the table */
	return in;
}

/* The reaper still has its reference: inode_put after this frees the object if nobody uses it. */
void inode_reaped(struct fs *fs, struct inode *in)
{
	struct inode_table *t = fs->inodes;

	inode_lock(fs, in);
	in->orphan = false;
	if (in->queued) {
		in->queued = false;
		pthread_mutex_lock(&t->reap_mutex);
		list_del(&in->reap);
		atomic_fetch_sub(&t->queued, 1);
		pthread_mutex_unlock(&t->reap_mutex);
	}
	inode_unlock(fs, in);
}

/* fs_may_write is an error code: anything but 0 means that this mount changes nothing. */
bool fs_reap_pending(struct fs *fs)
{
	struct inode_table *t = fs->inodes;

	if (fs_may_write(fs) || !atomic_load(&fs->writable))
		return false;
	return atomic_load(&t->scanning) || atomic_load(&t->queued);
}

/* Not under a lock: the reaper is one op at a time. */
uint64_t *inodes_scan(struct fs *fs)
{
	struct inode_table *t = fs->inodes;

	if (!t->scan)
		atomic_store(&t->scanning, false);
	return &t->scan;
}

/* Name and parent of ino; false: not known. Appends before *at, downwards in buf. */
static bool path_prepend(struct fs *fs, uint64_t *ino, char *buf, size_t *at)
{
	struct shard *s = shard_of(fs, *ino);
	bool known = false;
	struct inode *in;
	size_t len;

	pthread_mutex_lock(&s->mutex);
	in = find(s, *ino);
	len = in && in->name ? strlen(in->name) : 0;
	if (len && len < *at) {
		*at -= len;
		memcpy(buf + *at, in->name, len);
		buf[--*at] = '/';
		*ino = in->parent;
		known = true;
	}
	pthread_mutex_unlock(&s->mutex);
	return known;
}

/* For messages: as last known, without a lock over all of it, so a concurrent rename may mix old and new names.
 * Built from the end of buf to its front, then moved. "inode N" if some name on the way is not known, or buf is too
 * short. */
const char *fs_path(struct fs *fs, uint64_t ino, char *buf, size_t len)
{
	uint64_t at_ino = ino;
	size_t at = len - 1;
	int depth = 0;

	assert(len > 1);
	buf[at] = 0;
	while (at_ino != INO_ROOT && depth++ < PATH_DEPTH && path_prepend(fs, &at_ino, buf, &at))
		;
	if (at_ino != INO_ROOT) {
		snprintf(buf, len, "inode %llu", (unsigned long long)ino);
		return buf;
	}
	if (at == len - 1)
		buf[--at] = '/';
	memmove(buf, buf + at, len - at);
	return buf;
}

/* Cheap and without a lock; txn_begin asks again under it. */
int fs_may_write(struct fs *fs)
{
	if (fs->conf.readonly || fs->conf.offline)
		return -E_READ_ONLY;
	return atomic_load(&fs->frozen) ? -E_FROZEN : 0;
}

/* claimed() takes the waiters under the exclusive lock: nobody can be added after it looked. */
int fs_wait_writable(struct op *op)
{
	struct fs *fs = op->worker->fs;
	struct waiter *w;
	int r = fs_may_write(fs);

	if (r || atomic_load(&fs->writable))
		return r;
	w = op_wait_idle(op);
	if (w)
		waitq_add(&fs->wait_writable, w);
	return -E_PARKED;
}
