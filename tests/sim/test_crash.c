/* SPDX-License-Identifier: Apache-2.0 */
/* Power cuts. A seeded workload is recorded as the stream of what reached the device; then the device is put into the
 * state of a cut after an event, with one of many choices of what its cache kept, mounted, and compared: what is there
 * must be the state after some prefix of the operations, not before the last acknowledged fsync and not after the
 * last operation begun. Then recovery itself is cut.
 *
 *   test_crash [--seed N] [--workloads N] [--ops N] [--cuts N per workload] [--seconds N] [--trace]
 *   test_crash --exhaustive K [--seed N] [--workloads N] [--states N] [--seconds N]
 *
 * Exhaustive: every workload of K operations of a small set (world_ace.c), each followed by nothing, fsync or a
 * checkpoint, cut after every event; the seed is the number of the first workload, taken in a scattered order.
 *
 *  1. What is done in a crash state depends on the state alone, not on those before it: so a failure is repeated by its
 *     workload alone, and a device that was looked at once (seen.h) need not be mounted again.
 *  2. Workloads that begin with the same operations share everything up to the last: the device's chances go by those.
 * So "distinct" states are what was mounted; the others were cuts whose device was, to the bit, one that had been. */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/uuid.h"
#include "tests/sim/history.h"
#include "tests/sim/seen.h"
#include "tests/sim/world.h"

enum { MARK_BEGUN = 1, MARK_SYNCED };

struct options {
	uint64_t seed, workloads, states, ops, cuts, seconds, exhaustive;
	bool trace;
};

struct crash {
	const struct options *o;
	uint64_t seed;
	struct world w;
	struct rng rng;            /* of the workload; then of the state that is looked at */
	struct seen *seen;         /* borrowed; of all workloads */
	uint64_t shared;           /* seed of everything that chance decides */
	uint64_t clock;            /* after the workload */
	struct hstate *after;      /* after[i]: the model after operation i; after[0]: before the first */
	struct model found;        /* what was mounted */
	uint64_t n;                /* operations */
	uint64_t synced, begun;    /* at the event that is looked at */
	uint64_t states, distinct;
	size_t at;                 /* event */
	enum media_keep keep;
	const char *what;
};

static uint64_t real_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec;
}

static int failed(struct crash *c, const char *why)
{
	static const char *const keeps[] = {"none", "all", "lbas", "commands", "all but one", "only one"};

	fprintf(stderr, "cut after event %zu of %zu (operations %" PRIu64 "..%" PRIu64 " may be last), cache kept %s, %s: %s\n",
		c->at, sim_dev_nevents(c->w.s->dev), c->synced, c->begun, keeps[c->keep], c->what, why);
	return -1;
}

/* The operation after which the file system was as now; -1: none of those that may be. */
static int64_t match(struct crash *c, struct model *now)
{
	struct history may = {&c->after[c->synced], c->begun - c->synced + 1, 0};
	int64_t r = history_match(&may, now);

	for (uint64_t i = 0; r < 0 && i <= c->n; i++)
		if (model_hash(&c->after[i].m) == model_hash(now))
			fprintf(stderr, "it is the state after operation %" PRIu64 "\n", i);
	return r < 0 ? r : r + (int64_t)c->synced;
}

/* Mounts and says which operation was the last one. */
static int64_t look(struct crash *c)
{
	int64_t r;

	if (sim_mount(c->w.s))
		return failed(c, "cannot be mounted");
	model_exit(&c->found);
	r = sim_load(c->w.s, &c->found);
	if (r == 0)
		r = match(c, &c->found);
	else
		failed(c, "cannot be read");
	return r;
}

/* What was found once is there for good: through recovery, cut again anywhere in it, and a clean unmount. */
static int again(struct crash *c)
{
	struct sim *s = c->w.s;
	struct model now;
	char why[400] = "";
	int r;

	if (rng_one_in(&c->rng, 2)) {
		c->what = "cut again in recovery";
		sim_run_for(s, rng_below(&c->rng, rng_one_in(&c->rng, 2) ? 30 * NS_PER_S : 20 * NS_PER_MS));
		sim_crash(s, FATE_NEVER);
		media_cut(sim_dev_media(s->dev), (enum media_keep)rng_below(&c->rng, KEEP_CHOICES), &c->rng);
	} else {
		c->what = "recovered and unmounted";
		if (sim_wait_writable(s) || sim_unmount(s))
			return failed(c, "recovery does not end");
	}
	if (sim_check(s) || sim_check_replayed(s))
		return failed(c, "the checker is not content");
	if (sim_mount(s) || sim_load(s, &now))
		return failed(c, "cannot be mounted and read");
	r = model_equal(&now, &c->found, why, sizeof(why)) ? 0 : failed(c, why);
	model_exit(&now);
	return r;
}

/* A read-only mount tells the same, and writes nothing. */
static int look_only(struct crash *c)
{
	struct sim *s = c->w.s;
	struct sim_dev_stats before = *sim_dev_stats(s->dev);
	const struct sim_dev_stats *after = sim_dev_stats(s->dev);
	struct model now;
	int r;

	c->what = "mounted read-only";
	if (sim_mount_ro(s, rng_one_in(&c->rng, 2)) || sim_load(s, &now))
		return failed(c, "cannot be mounted and read");
	r = match(c, &now) < 0 ? failed(c, "no operation left this state") : 0;
	model_exit(&now);
	sim_unmount(s);
	if (after->writes != before.writes || after->zeroes != before.zeroes || after->discards != before.discards)
		r = failed(c, "something was written");
	return r;
}

/* Chance and time as if this state were the first one. */
static void start_over(struct crash *c, uint64_t hash)
{
	struct sim *s = c->w.s;

	c->rng.state = hash;
	s->rng.state = hash + 1;
	s->next_worker = 0;
	sim_dev_start_over(s->dev, hash + 2);
	random_fixed(hash | 1);
	clock_virtual_set(c->clock);
}

/* The state was looked at before, and what was found is one of those that may be now. */
static bool known(struct crash *c, uint64_t hash)
{
	uint64_t found = seen_get(c->seen, hash);

	for (uint64_t i = c->synced; found && i <= c->begun; i++)
		if (model_hash(&c->after[i].m) == found)
			return true;
	return false;
}

/* The device is in a crash state. */
static int verify(struct crash *c)
{
	struct sim *s = c->w.s;
	uint64_t hash = media_hash(sim_dev_media(s->dev)) ^ s->conf.seed * 0x9e3779b97f4a7c15ull;
	int64_t last;
	int r = 0;

	c->what = "mounted";
	c->states++;
	if (known(c, hash))
		return 0;
	c->distinct++;
	start_over(c, hash);
	if (sim_check(s))
		return failed(c, "the committed state is damaged");
	if (rng_one_in(&c->rng, 10) && look_only(c))
		return -1;
	c->what = "mounted";
	last = look(c);
	if (last < 0)
		r = failed(c, "no operation left this state");
	if (r == 0 && rng_one_in(&c->rng, 4))
		r = again(c);
	if (s->fs)
		sim_crash(s, FATE_NEVER);
	sim_dev_drop_orphans(s->dev);
	if (r == 0)
		seen_put(c->seen, hash, model_hash(&c->found));
	return r;
}

static int cut(struct crash *c, enum media_keep keep)
{
	struct media *m = sim_dev_media(c->w.s->dev);
	int r;

	struct rng chance = {c->shared ^ (c->at * KEEP_CHOICES + keep) * 0x9e3779b97f4a7c15ull};

	c->keep = keep;
	media_push(m);
	media_cut(m, keep, &chance);
	r = verify(c);
	media_restore(m);
	media_pop(m);
	return r;
}

/* After event at: as it is, with several choices; and with the event itself torn if it was meant to be durable. */
static int cuts_at(struct crash *c, bool all)
{
	const struct sim_event *e = sim_dev_event(c->w.s->dev, c->at);
	struct media *m = sim_dev_media(c->w.s->dev);
	int r = 0;

	if (e->type == EV_WRITE && e->fua && e->nlb > 1) {
		media_push(m);
		sim_dev_apply(c->w.s->dev, c->at, true);
		r = cut(c, KEEP_LBAS);
		media_restore(m);
		media_pop(m);
	}
	sim_dev_apply(c->w.s->dev, c->at, false);
	if (!media_unflushed(m)) /* no choice */
		return r ? r : cut(c, KEEP_NONE);
	for (unsigned keep = 0; r == 0 && keep < KEEP_CHOICES; keep++)
		if (all || rng_one_in(&c->rng, 3))
			r = cut(c, (enum media_keep)keep);
	return r;
}

static void choose(struct sim_conf *conf, uint64_t seed)
{
	struct rng r = {seed ^ 0x6372617368ull};

	sim_conf_init(conf, seed);
	conf->dev.lba_size = rng_one_in(&r, 3) ? 512 : 4096;
	conf->dev.mdts = (uint8_t)(rng_one_in(&r, 3) ? 1 : 5);
	conf->dev.vwc = !rng_one_in(&r, 6);
	conf->cache_bytes = 4 * MiB;
	conf->workers = (unsigned)rng_range(&r, 1, 2);
	conf->commit_ms = rng_one_in(&r, 2) ? 1 : 0;
	conf->checkpoint_ms = rng_one_in(&r, 2) ? 3 : 0;
}

static uint64_t nworkloads(const struct options *o)
{
	uint64_t n = 1;

	for (uint64_t i = 0; i < o->exhaustive; i++)
		n *= WORLD_ACE * 3;
	return n;
}

/* What workload number c->seed does. A step that has no common divisor with their number (26 * 3) ^ K visits each once. */
static uint64_t code_of(const struct crash *c)
{
	return c->seed * 1000003 % nworkloads(c->o);
}

/* One of its K operations. */
static int exhaustive_op(struct crash *c, uint64_t i)
{
	uint64_t code = code_of(c);

	for (; i > 0; i--)
		code /= WORLD_ACE * 3;
	return world_ace_op(&c->w, code % WORLD_ACE, code / WORLD_ACE % 3);
}

static int prepare(struct crash *c)
{
	struct sim_conf conf;
	int r;

	choose(&conf, c->shared);
	r = world_init(&c->w, &conf);
	if (r)
		return r;
	c->w.trace = c->o->trace;
	if (c->o->exhaustive)
		return world_ace_init(&c->w);
	c->w.max_size = rng_one_in(&c->rng, 3) ? 1000000 : 30000;
	c->w.max_nodes = 15;
	if (rng_one_in(&c->rng, 5))
		r = world_ballast(&c->w, 1200);
	if (r == 0 && rng_one_in(&c->rng, 8))
		r = world_age_journal(&c->w, (unsigned)rng_range(&c->rng, 940, 1020));
	for (uint64_t i = 0; r == 0 && i < rng_below(&c->rng, 40); i++)
		r = world_step(&c->w);
	return r ? r : sim_checkpoint(c->w.s);
}

/* Runs the workload with the record on. */
static int record(struct crash *c)
{
	int r = prepare(c);

	if (!c->w.s->fs)
		return -1;
	media_push(sim_dev_media(c->w.s->dev));
	sim_dev_record(c->w.s->dev, true);
	model_copy(&c->after[0].m, &c->w.m);
	for (c->n = 0; r == 0 && c->n < c->o->ops; c->n++) {
		sim_dev_mark(c->w.s->dev, MARK_BEGUN, c->n + 1);
		r = c->o->exhaustive ? exhaustive_op(c, c->n) : world_step(&c->w);
		model_copy(&c->after[c->n + 1].m, &c->w.m);
		c->after[c->n + 1].parallel = c->w.parallel;
		if (c->w.synced)
			sim_dev_mark(c->w.s->dev, MARK_SYNCED, c->n + 1);
	}
	if (r == 0 && rng_one_in(&c->rng, 2)) {
		if (world_close_all(&c->w) || sim_unmount(c->w.s))
			r = -1;
		sim_dev_mark(c->w.s->dev, MARK_SYNCED, c->n);
	} else {
		sim_crash(c->w.s, FATE_NEVER);
		world_drop_slow(&c->w);
		world_list_drop(&c->w);
	}
	sim_dev_record(c->w.s->dev, false);
	c->clock = clock_now();
	return r;
}

/* The one idea: outside the areas that are fixed, nothing is written twice with different bytes unless a superblock came
 * between. */
static int check_stream(struct crash *c)
{
	struct sim_dev *d = c->w.s->dev;
	uint64_t nblocks = c->w.s->conf.dev.bytes / FS_BLOCK;
	uint64_t *when = calloc(nblocks, sizeof(*when)), supers = 1;
	uint32_t lbas = FS_BLOCK / c->w.s->conf.dev.lba_size;
	int r = 0;

	for (size_t i = 0; i < sim_dev_nevents(d); i++) {
		const struct sim_event *e = sim_dev_event(d, i);

		if (e->type != EV_WRITE || e->lba % lbas || e->nlb % lbas)
			continue;
		for (uint64_t b = e->lba / lbas; b < (e->lba + e->nlb) / lbas; b++) {
			uint64_t in = b % GROUP_BLOCKS;

			if (in < GROUP_FIXED || b < JOURNAL_START + nblocks / 64 + JOURNAL_MIN || b >= nblocks - RING_BLOCKS)
				supers += b == e->lba / lbas && b >= RING_A && b < RING_A + RING_BLOCKS;
			else if (when[b] == supers && !r)
				r = failed(c, "a block was written twice between two superblocks");
			else
				when[b] = supers;
		}
	}
	free(when);
	return r;
}

static int replay(struct crash *c, uint64_t deadline)
{
	struct sim_dev *d = c->w.s->dev;
	size_t cuts = 0, n = sim_dev_nevents(d);
	int r = 0;

	media_restore(sim_dev_media(d));
	for (size_t i = 0; i < n; i++)
		cuts += sim_dev_event(d, i)->type < EV_DONE;
	for (c->at = 0; r == 0 && c->at < n; c->at++) {
		const struct sim_event *e = sim_dev_event(d, c->at);

		if (e->type == EV_MARK)
			*(e->stamp == MARK_BEGUN ? &c->begun : &c->synced) = e->cmd;
		if (real_seconds() >= deadline)
			break;
		/* every event if there are few, else by chance */
		if (e->type < EV_DONE && (c->o->exhaustive || rng_below(&c->rng, cuts) < c->o->cuts / 3 + 1))
			r = cuts_at(c, c->o->exhaustive || cuts * KEEP_CHOICES <= c->o->cuts);
		else
			sim_dev_apply(d, c->at, false);
	}
	return r;
}

struct totals {
	uint64_t workloads, states, distinct;
};

static int run(uint64_t seed, const struct options *o, uint64_t deadline, struct seen *seen, struct totals *t)
{
	struct crash c = {.o = o, .seed = seed, .shared = seed, .rng = {seed * 77 + 1}, .seen = seen, .what = ""};
	int r;

	if (o->exhaustive) { /* all but the last operation */
		c.shared = 1 + code_of(&c) % (nworkloads(o) / (WORLD_ACE * 3));
		c.rng.state = c.shared * 77 + 1;
	}
	c.after = calloc(o->ops + 1, sizeof(*c.after));
	r = record(&c);
	if (r == 0)
		r = check_stream(&c);
	if (r == 0)
		r = replay(&c, deadline);
	t->workloads++;
	t->states += c.states;
	t->distinct += c.distinct;
	if (r)
		fprintf(stderr, "FAILED: test_crash --exhaustive %" PRIu64 " --seed %" PRIu64 " --ops %" PRIu64 " --cuts %" PRIu64 " --workloads 1\n",
			o->exhaustive, seed, o->ops, o->cuts);
	for (uint64_t i = 0; i <= o->ops; i++)
		model_exit(&c.after[i].m);
	free(c.after);
	model_exit(&c.found);
	world_exit(&c.w);
	return r;
}

static void say(const struct totals *t, uint64_t seconds, uint64_t seed, const char *how)
{
	printf("crash: %" PRIu64 " workloads, %" PRIu64 " crash states (%" PRIu64 " distinct) in %" PRIu64 " s from seed %" PRIu64 ": %s\n",
	       t->workloads, t->states, t->distinct, seconds, seed, how);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"seed", 1, 0, 's'}, {"workloads", 1, 0, 'w'}, {"ops", 1, 0, 'n'}, {"cuts", 1, 0, 'c'}, {"seconds", 1, 0, 't'},
		{"trace", 0, 0, 'x'}, {"exhaustive", 1, 0, 'e'}, {"states", 1, 0, 'k'}, {0},
	};
	struct options o = {.seed = 1, .workloads = UINT64_MAX, .states = UINT64_MAX, .ops = 40, .cuts = 100, .seconds = 30};
	struct totals t = {0};
	struct seen seen;
	uint64_t start = real_seconds(), said = start, now;
	int c, bad = 0;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's')
			o.seed = strtoull(optarg, NULL, 0);
		else if (c == 'w')
			o.workloads = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			o.ops = strtoull(optarg, NULL, 0);
		else if (c == 'c')
			o.cuts = strtoull(optarg, NULL, 0);
		else if (c == 't')
			o.seconds = strtoull(optarg, NULL, 0);
		else if (c == 'e')
			o.exhaustive = strtoull(optarg, NULL, 0);
		else if (c == 'k')
			o.states = strtoull(optarg, NULL, 0);
		else if (c == 'x')
			o.trace = true;
		else
			return 2;
	}
	log_init("test_crash", o.trace ? LOG_L_DEBUG : LOG_L_ERROR);
	if (!o.trace) /* what goes wrong is meant to */
		log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	if (o.exhaustive) {
		o.ops = o.exhaustive;
		o.workloads = MIN(o.workloads, nworkloads(&o));
	}
	seen_init(&seen);
	while (t.workloads < o.workloads && t.states < o.states && !bad && (now = real_seconds()) < start + o.seconds) {
		bad = run(o.seed + t.workloads, &o, start + o.seconds, &seen, &t) != 0;
		if (now >= said + 60) { /* a long run says where it is */
			said = now;
			say(&t, now - start, o.seed, "so far");
		}
	}
	say(&t, real_seconds() - start, o.seed, bad ? "FAILED" : "ok");
	seen_exit(&seen);
	return bad;
}
