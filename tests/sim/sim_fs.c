/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated machine: start, stop, time, and running calls to their end. sim_ops.c has the operations. */
#include "tests/sim/sim_fs.h"

#include <assert.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/uuid.h"
#include "transport/inproc.h"

#define DAY (86400 * NS_PER_S)

void sim_conf_init(struct sim_conf *c, uint64_t seed)
{
	*c = (struct sim_conf){
		.dev = {
			.bytes = 64 * MiB,
			.lba_size = 4096,
			.vwc = true,
			.seed = seed ^ 0x64657669636531ull,
			.latency_min = 5000,
			.latency_max = 100000,
			.mdts = 5,
			.queue_size = 64,
			.cqt_ms = 50,
		},
		.seed = seed,
		.workers = 1,
		.cache_bytes = 8 * MiB,
		.node_bytes = 8 * MiB,
		.kato_s = 5,
	};
}

/* Somebody inside sleeps (mounting, connecting): the device and the connection go on meanwhile. */
void sim_idle(void *arg, uint64_t ns)
{
	struct sim *s = arg;
	uint64_t next = clock_now() + MIN(ns, DAY), now;

	if (sim_dev_run(s->dev))
		return;
	if (s->idle && s->ns && s->cache) /* not while connecting for the first time */
		s->idle(s);
	if (s->ns)
		next = MIN(next, clock_now() + MIN(ns_control(s->ns), DAY));
	next = MIN(next, sim_dev_next(s->dev));
	now = clock_now();
	next = s->at_most ? MIN(next, now + s->at_most) : next;
	clock_virtual_add(next > now ? next - now : 1000); /* something is due and did nothing: it wants a little time */
}

struct sim *sim_join(struct sim *other)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert(s);
	s->conf = other->conf;
	s->rng.state = other->rng.state ^ 1;
	s->dev = other->dev;
	s->joined = true;
	list_init(&s->calls);
	return s;
}

struct sim *sim_new(const struct sim_conf *conf)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert(s);
	mallopt(M_MMAP_THRESHOLD, 64 << 20); /* thousands of mounts a second: keep the memory */
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	s->conf = *conf;
	s->rng.state = conf->seed;
	list_init(&s->calls);
	clock_virtual_set(1000 * NS_PER_S);
	clock_virtual_idle(sim_idle, s);
	random_fixed(conf->seed | 1);
	s->dev = sim_dev_new(&conf->dev);
	return s;
}

static void disconnect(struct sim *s)
{
	struct ns *ns = s->ns;
	struct cache *cache = s->cache;

	s->ns = NULL; /* closing sleeps, and nobody else may drive it then */
	s->cache = NULL;
	if (ns)
		ns_close(ns);
	if (cache)
		cache_free(cache);
}

void sim_free(struct sim *s)
{
	if (s->fs)
		sim_crash(s, FATE_NEVER);
	disconnect(s);
	if (!s->joined) {
		sim_dev_free(s->dev);
		clock_virtual_set(0);
		clock_virtual_idle(NULL, NULL);
		random_fixed(0);
	}
	free(s);
}

static int connect_ns(struct sim *s)
{
	struct ns_conf conf = {.flags = NS_NO_THREAD, .nr_queues = s->conf.workers,
			       .reclaim = fs_reclaim, .reclaim_arg = &s->fs};
	struct cache_conf cache = {.bytes = s->conf.cache_bytes};
	unsigned tries = 0;
	char why[256] = "";
	size_t len;
	void *mem;
	int r;

	ns_addr_init(&conf.addr);
	conf.addr.transport = TRANSPORT_INPROC;
	conf.addr.inproc = sim_dev_peer(s->dev);
	conf.addr.keep_alive_tmo = s->conf.kato_s;
	conf.addr.quiesce_time = s->conf.quiesce_s;
	snprintf(conf.addr.nqn, sizeof(conf.addr.nqn), SIM_NQN);
	snprintf(conf.addr.hostnqn, sizeof(conf.addr.hostnqn), "nqn.2014-08.org.nvmexpress:uuid:sim");
	conf.addr.has_hostid = true;
	memset(conf.addr.hostid, 0x5a, 16);
	do /* it may be down for a while */
		r = ns_open(&s->ns, &conf, why, sizeof(why));
	while (r == -E_CONNECT_REFUSED && tries++ < 20 && (clock_sleep(NS_PER_S), true));
	if (r == 0)
		r = cache_new(&s->cache, &cache);
	if (r == 0) {
		mem = cache_memory(s->cache, &len);
		r = ns_add_memory(s->ns, mem, len);
	}
	if (r) {
		if (!s->quiet)
			fprintf(stderr, "sim: connecting: %s (%s)\n", why, err_name(r));
		disconnect(s);
	}
	return r;
}

int sim_format(struct sim *s)
{
	struct mkfs_conf conf = {.label = "sim"};
	char why[256] = "";
	int r = connect_ns(s);

	if (r)
		return r;
	conf.ns = s->ns;
	conf.cache = s->cache;
	uuid_random(conf.uuid);
	r = fs_format(&conf, why, sizeof(why));
	if (r && !s->quiet)
		fprintf(stderr, "sim: format: %s (%s)\n", why, err_name(r));
	disconnect(s);
	return r;
}

static int mount_as(struct sim *s, bool readonly, bool offline)
{
	struct fs_conf conf = {
		.nworkers = s->conf.workers,
		.readonly = readonly,
		.offline = offline,
		.commit_ms = s->conf.commit_ms,
		.checkpoint_ms = s->conf.checkpoint_ms,
		.node_bytes = s->conf.node_bytes,
		.hostid = {0x5a, 1},
	};
	char why[256] = "";
	int r = connect_ns(s);

	if (r)
		return r;
	conf.ns = s->ns;
	conf.cache = s->cache;
	r = fs_mount(&s->fs, &conf, why, sizeof(why));
	if (r) {
		if (!s->quiet)
			fprintf(stderr, "sim: mount: %s (%s)\n", why, err_name(r));
		s->fs = NULL;
		disconnect(s);
	}
	return r;
}

int sim_mount(struct sim *s)
{
	return mount_as(s, false, false);
}

int sim_mount_ro(struct sim *s, bool offline)
{
	return mount_as(s, true, offline);
}

int sim_unmount(struct sim *s)
{
	int r = fs_unmount(s->fs);

	s->fs = NULL;
	disconnect(s);
	if (r && !s->quiet)
		fprintf(stderr, "sim: unmount: %s\n", err_name(r));
	return r;
}

void sim_crash(struct sim *s, enum sim_fate fate)
{
	sim_dev_lose(s->dev, fate, 0);
	ns_give_up(s->ns, -E_LOST);
	for (int i = 0; i < 1000 && sim_step(s); i++) /* ios come back with the error; nothing reaches the device any more */
		;
	list_for_each_safe(l, &s->calls) { /* what was answered with an error meanwhile is ours to free */
		struct sim_call *c = list_entry(l, struct sim_call, link);

		list_del(&c->link);
		if (c->done)
			op_free(c->op);
		else /* it waits for frames, say, which nobody hands out any more: what it has goes with the process */
			op_unpin_runs(c->op);
		c->op = NULL;
	}
	fs_abandon(s->fs);
	s->fs = NULL;
	disconnect(s);
}

/* ---- time ---- */

bool sim_step(struct sim *s)
{
	bool any = sim_dev_run(s->dev);

	for (unsigned i = 0; s->fs && i < fs_nworkers(s->fs); i++)
		any |= worker_poll(fs_worker(s->fs, i));
	return any;
}

void sim_pass(struct sim *s)
{
	uint64_t left = DAY;

	if (s->fs) /* what happened meanwhile may have changed what is due */
		left = MIN(left, fs_tick(s->fs));
	for (unsigned i = 0; s->fs && i < fs_nworkers(s->fs); i++)
		left = MIN(left, lane_timeout(fs_worker(s->fs, i)->lane));
	sim_idle(s, left);
}

void sim_run_for(struct sim *s, uint64_t ns)
{
	uint64_t end = clock_now() + ns;

	while (clock_now() < end)
		if (!sim_step(s))
			sim_pass(s);
}

int sim_wait_writable(struct sim *s)
{
	uint64_t end = clock_now() + 3600 * NS_PER_S;
	struct fs_info info;

	for (;;) {
		fs_info(s->fs, &info);
		if (info.claimed)
			return 0;
		if (clock_now() > end)
			return -ETIMEDOUT;
		if (!sim_step(s))
			sim_pass(s);
	}
}

/* ---- calls ---- */

static void finish(struct op *op, int status)
{
	struct sim_call *c = op->owner;

	c->done = true;
	c->status = status;
}

void sim_call_init(struct sim *s, struct sim_call *c, int (*run)(struct op *))
{
	*c = (struct sim_call){0};
	list_append(&s->calls, &c->link);
	while (!(c->op = op_new(fs_worker(s->fs, s->next_worker++ % fs_nworkers(s->fs)))))
		if (!sim_step(s))
			sim_pass(s);
	c->op->run = run;
	c->op->owner = c;
	c->op->finish = finish;
}

void sim_start(struct sim *s, struct sim_call *c)
{
	op_start(c->op);
}

int sim_finish(struct sim *s, struct sim_call *c)
{
	uint64_t end = clock_now() + (s->limit ? s->limit : DAY);

	while (!c->done) {
		if (!sim_step(s))
			sim_pass(s);
		if (clock_now() > end) {
			fprintf(stderr, "sim: an operation does not end\n");
			abort(); /* its op is still linked in the file system: nothing sensible can follow */
		}
	}
	return c->status;
}

void sim_end(struct sim *s, struct sim_call *c)
{
	list_del(&c->link);
	op_free(c->op);
	c->op = NULL;
}
