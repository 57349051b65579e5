/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations against the reference model: results at every step, the whole tree at intervals and after every
 * remount, the space at the end.  test_model [--seed N] [--steps N] [--runs N] [--workers N] [--nodes N] [--trace] */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "tests/sim/world.h"

struct options {
	uint64_t seed, steps, runs, from;
	unsigned workers, nodes;
	bool trace;
};

/* A run's machine depends on its seed too: sizes of LBA, caches, transfers, time-outs. */
static void choose(struct sim_conf *c, uint64_t seed, const struct options *o)
{
	struct rng r = {seed ^ 0x6d6f64656cull};

	sim_conf_init(c, seed);
	c->dev.lba_size = rng_one_in(&r, 3) ? 512 : 4096;
	c->dev.vwc = !rng_one_in(&r, 4);
	c->dev.mdts = (uint8_t)(rng_one_in(&r, 3) ? 1 : rng_one_in(&r, 2) ? 5 : 0);
	c->dev.bytes = rng_one_in(&r, 3) ? 300 * MiB : rng_one_in(&r, 4) ? 40 * GiB : 64 * MiB;
	if (o->steps > 5000) /* the model knows no limit, and so many steps can leave more than 64 MiB behind */
		c->dev.bytes = MAX(c->dev.bytes, 300 * MiB);
	c->workers = o->workers ? o->workers : (unsigned)rng_range(&r, 1, 3);
	c->cache_bytes = rng_one_in(&r, 2) ? 4 * MiB : 16 * MiB;
	c->node_bytes = rng_one_in(&r, 2) ? 1 * MiB : 8 * MiB;
	c->checkpoint_ms = rng_one_in(&r, 2) ? 0 : 50;
	c->commit_ms = rng_one_in(&r, 2) ? 0 : 5;
}

/* Space that nobody owns any more must have come back, but for a few nodes of the tree. */
static int check_space(struct world *w, uint64_t free_at_start)
{
	struct fs_info info;

	if (world_empty(w) || sim_checkpoint(w->s))
		return -1;
	sim_run_for(w->s, 60 * NS_PER_S);
	if (world_remount(w))
		return -1;
	fs_info(w->s->fs, &info);
	if (info.free_blocks + 64 >= free_at_start && info.free_blocks <= free_at_start + 64)
		return 0;
	fprintf(stderr, "emptied, %" PRIu64 " blocks are free; in the beginning there were %" PRIu64 "\n", info.free_blocks,
		free_at_start);
	return -1;
}

static int run(uint64_t seed, const struct options *o)
{
	struct sim_conf conf;
	struct world w;
	struct fs_info info;
	int r;

	choose(&conf, seed, o);
	if (world_init(&w, &conf)) {
		world_exit(&w);
		return -1;
	}
	w.trace = o->trace;
	w.rng.state = seed;
	if (rng_one_in(&w.rng, 2))
		w.max_size = 40000;
	if (rng_one_in(&w.rng, 4))
		w.max_nodes = 400;
	if (o->nodes)
		w.max_nodes = o->nodes;
	if (rng_one_in(&w.rng, 2)) {
		struct sim_fault late = {.type = FAULT_LATE, .ops = SIM_OP(NVME_IO_READ), .last = UINT64_MAX, .count = UINT64_MAX,
					 .per_mille = 60, .delay = 2 * NS_PER_S};

		w.slow_reads = true;
		sim_dev_fault(w.s->dev, &late);
	}
	fs_info(w.s->fs, &info);
	r = 0;
	for (uint64_t i = 0; r == 0 && i < o->steps; i++) {
		r = world_step(&w);
		if (r == 0 && rng_one_in(&w.rng, 60))
			r = world_compare(&w);
		if (r == 0 && rng_one_in(&w.rng, 150))
			r = world_remount(&w);
	}
	if (r == 0)
		r = world_remount(&w);
	if (r == 0)
		r = check_space(&w, info.free_blocks);
	if (r == 0 && sim_unmount(w.s))
		r = -1;
	if (r)
		fprintf(stderr, "FAILED: test_model --seed %" PRIu64 " --steps %" PRIu64 " --runs 1\n", seed, o->steps);
	world_exit(&w);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"seed", 1, 0, 's'},  {"steps", 1, 0, 'n'}, {"runs", 1, 0, 'r'}, {"workers", 1, 0, 'w'},
		{"trace", 0, 0, 't'}, {"nodes", 1, 0, 'm'}, {0},
	};
	struct options o = {.seed = 1, .steps = 400, .runs = 20};
	int c, bad = 0;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's')
			o.seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			o.steps = strtoull(optarg, NULL, 0);
		else if (c == 'r')
			o.runs = strtoull(optarg, NULL, 0);
		else if (c == 'w')
			o.workers = (unsigned)atoi(optarg);
		else if (c == 'm')
			o.nodes = (unsigned)atoi(optarg);
		else if (c == 't')
			o.trace = true;
		else
			return 2;
	}
	log_init("test_model", o.trace ? LOG_L_DEBUG : LOG_L_ERROR);
	if (!o.trace) /* what goes wrong is meant to */
		log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	for (uint64_t i = 0; i < o.runs && !bad; i++)
		bad = run(o.seed + i, &o) != 0;
	printf("model: %" PRIu64 " runs of %" PRIu64 " steps from seed %" PRIu64 ": %s\n", o.runs, o.steps, o.seed,
	       bad ? "FAILED" : "ok");
	return bad;
}
