/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "fs/alloc_core.h"
#include "fs/fill.h"

/* ---- memory of nodes ---- */

static struct node *make(void)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->mem = aligned_alloc(FS_BLOCK, NODE_SIZE);
	if (!n->mem) {
		free(n);
		return NULL;
	}
	list_init(&n->link);
	return n;
}

static struct node *pool_get(struct node_cache *c)
{
	struct list *l;

	pthread_mutex_lock(&c->pool_mutex);
	l = list_pop(&c->pool);
	if (l)
		c->npool--;
	pthread_mutex_unlock(&c->pool_mutex);
	return l ? list_entry(l, struct node, link) : make();
}

/* What a transaction took is made up for by the next one, from the pool if there is something. */
int nodes_ready(struct fs *fs, uint64_t count)
{
	struct node_cache *c = fs->nodes;

	while (c->nreserve < count) {
		struct node *n = pool_get(c);

		if (!n)
			return -ENOMEM;
		pthread_mutex_lock(&c->pool_mutex);
		list_push(&c->reserve, &n->link);
		c->nreserve++;
		pthread_mutex_unlock(&c->pool_mutex);
	}
	return 0;
}

static void pool_put(struct node_cache *c, struct node *n)
{
	bool keep;

	pthread_mutex_lock(&c->pool_mutex);
	keep = c->npool < 256;
	if (keep) {
		list_push(&c->pool, &n->link);
		c->npool++;
	}
	pthread_mutex_unlock(&c->pool_mutex);
	if (!keep) {
		free(n->mem);
		free(n);
	}
}

static struct node *pool_must_get(struct node_cache *c)
{
	struct list *l;

	/* In the middle of a transaction there is no way back. */
	pthread_mutex_lock(&c->pool_mutex);
	l = list_pop(&c->reserve);
	assert(l); /* nodes_ready */
	c->nreserve--;
	pthread_mutex_unlock(&c->pool_mutex);
	return list_entry(l, struct node, link);
}

int nodes_new(struct node_cache **out, size_t bytes)
{
	struct node_cache *c = calloc(1, sizeof(*c));
	uint64_t buckets = 64;

	if (!c)
		return -ENOMEM;
	c->limit = (uint32_t)MAX(bytes / NODE_SIZE, 64);
	while (buckets < c->limit)
		buckets *= 2;
	c->mask = buckets - 1;
	c->buckets = calloc(buckets, sizeof(*c->buckets));
	if (!c->buckets) {
		free(c);
		return -ENOMEM;
	}
	list_init(&c->ring);
	list_init(&c->dirty);
	list_init(&c->pool);
	list_init(&c->reserve);
	pthread_mutex_init(&c->pool_mutex, NULL);
	*out = c;
	return 0;
}

static void destroy(struct node *n)
{
	free(n->mem);
	free(n);
}

void nodes_free(struct node_cache *c)
{
	if (!c)
		return;
	for (uint64_t b = 0; b <= c->mask; b++)
		for (struct node *n = c->buckets[b], *next; n; n = next) {
			next = n->hash_next;
			destroy(n);
		}
	list_for_each_safe(l, &c->pool)
		destroy(list_entry(l, struct node, link));
	list_for_each_safe(l, &c->reserve)
		destroy(list_entry(l, struct node, link));
	pthread_mutex_destroy(&c->pool_mutex);
	free(c->buckets);
	free(c);
}

/* ---- hash ---- */

static struct node **bucket(struct node_cache *c, uint64_t block)
{
	return &c->buckets[(block / NODE_BLOCKS * 0x9e3779b97f4a7c15ull >> 24) & c->mask];
}

struct node *node_find(struct fs *fs, uint64_t block, uint64_t birth)
{
	for (struct node *n = *bucket(fs->nodes, block); n; n = n->hash_next)
		if (n->block == block && n->birth == birth)
			return n;
	return NULL;
}

static void unhash(struct node_cache *c, struct node *n)
{
	struct node **p = bucket(c, n->block);

	while (*p != n)
		p = &(*p)->hash_next;
	*p = n->hash_next;
	c->count--;
}

void node_ref(struct node *n)
{
	atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
}

void node_unref(struct fs *fs, struct node *n)
{
	if (atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) == 1)
		pool_put(fs->nodes, n);
}

/* One turn of the clock hand over clean nodes until the count is within the limit. */
static void evict(struct fs *fs)
{
	struct node_cache *c = fs->nodes;

	if (c->hold)
		return;
	for (uint32_t turns = 2 * c->count; c->count > c->limit && turns > 0 && !list_empty(&c->ring); turns--) {
		struct node *n = list_entry(c->ring.next, struct node, link);

		list_del(&n->link);
		if (atomic_exchange_explicit(&n->hot, false, memory_order_relaxed) || atomic_load(&n->refs) > 1) {
			list_append(&c->ring, &n->link);
			continue;
		}
		unhash(c, n);
		node_unref(fs, n);
	}
}

static void hash_in(struct fs *fs, struct node *n, uint8_t state)
{
	struct node_cache *c = fs->nodes;
	struct node **b = bucket(c, n->block);

	n->hash_next = *b;
	*b = n;
	n->state = state;
	atomic_store(&n->refs, 1);
	atomic_store_explicit(&n->hot, true, memory_order_relaxed);
	list_append(state == NODE_DIRTY ? &c->dirty : &c->ring, &n->link);
	if (state == NODE_DIRTY)
		atomic_fetch_add_explicit(&c->ndirty, 1, memory_order_relaxed);
	c->count++;
	evict(fs);
}

/* ---- filling ---- */

static int judge(struct fs *fs, struct fill *f, const void *data)
{
	struct ptr p = { .block = f->block, .birth = f->args[0], .crc = (uint32_t)f->args[1],
			 .level = (uint8_t)f->args[2] };
	struct node *n = pool_get(fs->nodes);
	int err;

	if (!n)
		return -ENOMEM;
	memcpy(n->mem, data, NODE_SIZE); /* copied out first, then judged */
	err = node_check(n->mem, fs->uuid, &p);
	if (err) {
		log_error("%s: tree node at block %llu, birth %llu, level %u", err_text(err), (unsigned long long)p.block,
			  (unsigned long long)p.birth, p.level);
		pool_put(fs->nodes, n);
		return err;
	}
	n->block = p.block;
	n->birth = p.birth;
	f->priv = n;
	return 0;
}

static void install(struct fs *fs, struct fill *f, int status)
{
	struct node *n = f->priv;

	if (status)
		return;
	if (node_find(fs, n->block, n->birth))
		pool_put(fs->nodes, n);
	else
		hash_in(fs, n, NODE_CLEAN);
}

int node_get(struct op *op, const struct ptr *p, struct node **out)
{
	struct fs *fs = op->worker->fs;
	struct node *n = node_find(fs, p->block, p->birth);

	if (!n) {
		struct fill f = { .block = p->block, .nblocks = NODE_BLOCKS, .judge = judge, .install = install,
				  .args = { p->birth, p->crc, p->level } };

		/* What is born in the running generation is in memory only. */
		if (p->block % NODE_BLOCKS || !alloc_range_ok(fs, p->block, NODE_BLOCKS) || p->birth >= fs->gen) {
			log_error("pointer to a node at block %llu is damaged", (unsigned long long)p->block);
			return -E_BAD_NODE;
		}
		return fill_start(op, &f);
	}
	/* A damaged inner node could name one of our own nodes at the wrong level. */
	if (n->mem->level != p->level)
		return -E_BAD_NODE;
	if (!atomic_load_explicit(&n->hot, memory_order_relaxed))
		atomic_store_explicit(&n->hot, true, memory_order_relaxed);
	op_pin_node(op, n);
	*out = n;
	return 0;
}

/* ---- changing ---- */

struct node *node_create(struct fs *fs, uint64_t block, uint8_t level, const struct key *first)
{
	struct node *n = pool_must_get(fs->nodes);

	memset(n->mem, 0, NODE_SIZE);
	n->mem->magic = put32(NODE_MAGIC);
	memcpy(n->mem->uuid, fs->uuid, sizeof(n->mem->uuid));
	n->mem->block = put64(block);
	n->mem->birth = put64(fs->gen);
	n->mem->level = level;
	n->mem->low = put16(NODE_SIZE);
	node_set_first(n, first);
	n->block = block;
	n->birth = fs->gen;
	hash_in(fs, n, NODE_DIRTY);
	return n;
}

struct node *node_copy(struct fs *fs, const struct node *from, uint64_t block)
{
	struct node *n = pool_must_get(fs->nodes);

	memcpy(n->mem, from->mem, NODE_SIZE);
	n->mem->block = put64(block);
	n->mem->birth = put64(fs->gen);
	n->block = block;
	n->birth = fs->gen;
	hash_in(fs, n, NODE_DIRTY);
	return n;
}

void node_forget(struct fs *fs, struct node *n)
{
	unhash(fs->nodes, n);
	if (n->state == NODE_DIRTY)
		atomic_fetch_sub_explicit(&fs->nodes->ndirty, 1, memory_order_relaxed);
	if (n->state != NODE_FROZEN) /* a frozen one stays on the checkpoint's list, which holds a reference */
		list_del(&n->link);
	else
		n->hash_next = n; /* out of the hash: for node_written */
	node_unref(fs, n);
}

void node_written(struct fs *fs, struct node *n)
{
	assert(n->state == NODE_FROZEN);
	list_del(&n->link);
	n->state = NODE_CLEAN;
	if (n->hash_next != n)
		list_append(&fs->nodes->ring, &n->link);
	node_unref(fs, n);
}
