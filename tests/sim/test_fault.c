/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong while the file system runs: lost associations and target power cuts, killed daemons, read and write
 * errors, damaged and misplaced blocks, a full device.
 *   test_fault [--mode NAME] [--seed N] [--steps N] [--runs N] [--seconds N] [--trace] */
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
#include "tests/sim/history.h"
#include "tests/sim/world.h"

static uint64_t steps = 150;
static bool trace;

static void some_loss(struct world *w)
{
	uint64_t down = rng_one_in(&w->rng, 2) ? 0 : rng_below(&w->rng, 5 * NS_PER_S);

	if (rng_one_in(&w->rng, 2))
		sim_dev_power_cut(w->s->dev, (enum media_keep)rng_below(&w->rng, KEEP_CHOICES), down);
	else
		sim_dev_lose(w->s->dev, (enum sim_fate)rng_below(&w->rng, 4), down);
}

/* Called whenever nothing else goes on, so in the middle of operations. */
static void lose_now_and_then(struct sim *s)
{
	struct world *w = s->idle_arg;

	if (rng_one_in(&w->rng, 400))
		some_loss(w);
}

/* Associations are lost and the target's power goes; the file system lives on: nothing is lost, nothing fails. */
static int mode_loss(struct world *w)
{
	int r = 0;

	w->s->idle = lose_now_and_then;
	w->s->idle_arg = w;
	for (uint64_t i = 0; r == 0 && i < steps; i++) {
		r = world_step(w);
		if (r == 0 && rng_one_in(&w->rng, 50))
			r = world_compare(w);
	}
	if (r == 0)
		r = world_remount(w); /* which goes on under losses as well */
	w->s->idle = NULL;
	return r ? r : world_remount(w);
}

/* Takes over what is there after a crash. */
static int take_over(struct world *w, const struct history *h)
{
	struct model now;
	int64_t i;

	memset(w->open, 0, sizeof(w->open));
	if (sim_check(w->s) || sim_mount(w->s) || sim_load(w->s, &now))
		return -1;
	i = history_match(h, &now);
	if (i >= 0) {
		model_exit(&w->m);
		model_copy(&w->m, &now);
	}
	model_exit(&now);
	return i >= 0 ? 0 : -1;
}

static struct fs_info info_of(struct world *w)
{
	struct fs_info info;

	fs_info(w->s->fs, &info);
	return info;
}

static int kill_and_restart(struct world *w, const struct history *h)
{
	if (rng_one_in(&w->rng, 3)) /* with the target */
		sim_dev_power_cut(w->s->dev, (enum media_keep)rng_below(&w->rng, KEEP_CHOICES), 0);
	sim_crash(w->s, (enum sim_fate)rng_below(&w->rng, 4));
	world_drop_slow(w);
	world_list_drop(w);
	return take_over(w, h);
}

/* The daemon is killed again and again, and what it had sent may still be executed while the next one runs. Until that one
 * has claimed the file system what is found may still move on. */
static int mode_kill(struct world *w)
{
	struct history h;
	struct model taken;
	bool waiting = false;
	int r = 0;

	history_init(&h, &w->m);
	model_init_empty(&taken);
	for (uint64_t i = 0; r == 0 && i < steps; i++) {
		w->tolerant = waiting; /* late records together with a late heartbeat: it freezes, to be mounted again */
		r = world_step(w);
		if (waiting && info_of(w).claimed) { /* from here on it is what it was then */
			history_add(&h, &taken, false, true);
			waiting = false;
		}
		if (!waiting)
			history_add(&h, &w->m, w->parallel, w->synced);
		if (r == 0 && (info_of(w).frozen ? waiting : rng_one_in(&w->rng, 15))) {
			r = kill_and_restart(w, &h);
			waiting = true;
			model_exit(&taken);
			model_copy(&taken, &w->m);
		}
	}
	model_exit(&taken);
	history_exit(&h);
	return r ? r : world_remount(w);
}

static void some_errors(struct world *w, uint16_t flags)
{
	static const uint32_t ops[] = {SIM_OP(NVME_IO_READ), SIM_OP(NVME_IO_WRITE), SIM_OP(NVME_IO_FLUSH),
				       SIM_OP(NVME_IO_READ) | SIM_OP(NVME_IO_WRITE)};
	struct sim_fault f = {
		.type = rng_one_in(&w->rng, 3) ? FAULT_ERROR_DONE : FAULT_ERROR,
		.ops = ops[rng_below(&w->rng, ARRAY_SIZE(ops))],
		.last = UINT64_MAX,
		.skip = rng_below(&w->rng, 300),
		.count = rng_range(&w->rng, 1, 20),
		.per_mille = rng_one_in(&w->rng, 2) ? 1000 : 100,
	};

	f.sc = (uint16_t)(f.ops & SIM_OP(NVME_IO_READ) ? NVME_SC_READ_ERROR : NVME_SC_WRITE_FAULT) | flags;
	sim_dev_fault(w->s->dev, &f);
}

/* Errors of the medium: every one of them reaches the caller or is got over; after a restart everything that was
 * acknowledged as durable is there. */
static int mode_error(struct world *w)
{
	struct history h;
	struct fs_info info = {0};
	int r = 0;

	history_init(&h, &w->m);
	w->tolerant = true;
	some_errors(w, rng_one_in(&w->rng, 2) ? NVME_STATUS_DNR : 0);
	for (uint64_t i = 0; r == 0 && i < steps && !info.frozen; i++) {
		r = world_step(w);
		history_add(&h, &w->m, w->parallel, w->synced);
		fs_info(w->s->fs, &info);
	}
	sim_dev_no_faults(w->s->dev);
	if (r == 0 && info.frozen && sim_fsync(w->s, INO_ROOT) == 0) {
		fprintf(stderr, "frozen, and fsync succeeds\n");
		r = -1;
	}
	if (r == 0 && !info.frozen)
		r = world_compare(w);
	if (r == 0) {
		sim_crash(w->s, FATE_ANY);
		world_drop_slow(w);
		world_list_drop(w);
		r = take_over(w, &h);
	}
	history_exit(&h);
	w->tolerant = false;
	return r ? r : world_remount(w);
}

/* Wrong bytes: they are never returned. What is lost by them is lost. */
static int mode_damage(struct world *w)
{
	static const enum sim_fault_type types[] = {FAULT_FLIP, FAULT_MISDIRECT, FAULT_STALE, FAULT_LOST_WRITE};
	struct sim_fault f = {.type = types[rng_below(&w->rng, ARRAY_SIZE(types))], .last = UINT64_MAX, .count = 5};
	struct model now;
	int r = 0;

	media_push(sim_dev_media(w->s->dev));
	w->tolerant = w->damaged = w->s->quiet = true;
	f.ops = f.type == FAULT_LOST_WRITE || (f.type == FAULT_MISDIRECT && rng_one_in(&w->rng, 2)) ? SIM_OP(NVME_IO_WRITE) :
												   SIM_OP(NVME_IO_READ);
	f.skip = rng_below(&w->rng, 300);
	f.per_mille = 50;
	sim_dev_fault(w->s->dev, &f);
	for (uint64_t i = 0; r == 0 && i < steps; i++)
		r = world_step(w);
	sim_dev_no_faults(w->s->dev);
	sim_crash(w->s, FATE_ANY);
	world_drop_slow(w);
	world_list_drop(w);
	if (r || sim_mount(w->s))
		return r;
	sim_load(w->s, &now); /* reads may fail */
	model_exit(&now);
	sim_crash(w->s, FATE_ANY);
	return r;
}

/* The device fills up; what fits is kept, deletion works, the space comes back. */
static int mode_full(struct world *w)
{
	struct fs_info before, after;
	int r = 0;

	fs_info(w->s->fs, &before);
	w->full = true;
	w->max_nodes = 300;
	w->max_size = 1000 * KiB;
	for (uint64_t i = 0; r == 0 && i < steps * 10; i++)
		r = world_step(w);
	if (r == 0)
		r = world_compare(w);
	if (r == 0)
		r = world_remount(w);
	if (r == 0)
		r = world_empty(w);
	w->full = false;
	if (r == 0 && sim_checkpoint(w->s))
		r = -1;
	sim_run_for(w->s, 30 * NS_PER_S);
	if (r == 0)
		r = world_remount(w);
	fs_info(w->s->fs, &after);
	if (r == 0 && after.free_blocks + 64 < before.free_blocks) {
		fprintf(stderr, "%" PRIu64 " blocks are free, before there were %" PRIu64 "\n", after.free_blocks, before.free_blocks);
		r = -1;
	}
	return r;
}

static const struct mode {
	const char *name;
	int (*run)(struct world *);
	bool ballast;          /* also on a device with little space left */
} modes[] = {{"loss", mode_loss, true}, {"kill", mode_kill, true}, {"error", mode_error, true}, {"damage", mode_damage, false},
	     {"full", mode_full, false}};

static int run(uint64_t seed, const struct mode *mode)
{
	struct sim_conf conf;
	struct world w;
	struct rng r = {seed ^ 0x6661756c74ull};
	int bad;

	sim_conf_init(&conf, seed);
	conf.dev.lba_size = rng_one_in(&r, 3) ? 512 : 4096;
	conf.dev.vwc = !rng_one_in(&r, 5);
	conf.workers = (unsigned)rng_range(&r, 1, 2);
	conf.cache_bytes = rng_one_in(&r, 2) ? 4 * MiB : 8 * MiB;
	conf.node_bytes = 2 * MiB;
	if (mode->run != mode_full && rng_one_in(&r, 6))
		conf.dev.bytes = rng_one_in(&r, 2) ? 300 * MiB : 40 * GiB;
	conf.commit_ms = rng_one_in(&r, 2) ? 2 : 0;
	conf.checkpoint_ms = rng_one_in(&r, 2) ? 10 : 0;
	bad = world_init(&w, &conf);
	if (!bad) {
		w.trace = trace;
		w.slow_reads = rng_one_in(&r, 2);
		w.max_size = rng_one_in(&r, 2) ? 30000 : 600000;
		if (mode->ballast && conf.dev.bytes == 64 * MiB && rng_one_in(&r, 3)) {
			w.max_size = 300000;
			bad = world_ballast(&w, 1200);
		}
		if (!bad)
			bad = mode->run(&w);
	}
	if (bad)
		fprintf(stderr, "FAILED: test_fault --mode %s --seed %" PRIu64 " --steps %" PRIu64 " --runs 1\n", mode->name, seed,
			steps);
	world_exit(&w);
	return bad;
}

static uint64_t real_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec;
}

static int run_mode(const struct mode *mode, uint64_t seed, uint64_t runs, uint64_t seconds)
{
	uint64_t end = real_seconds() + seconds, i;
	int bad = 0;

	for (i = 0; i < runs && !bad && real_seconds() < end; i++)
		bad = run(seed + i, mode);
	printf("fault %s: %" PRIu64 " runs of %" PRIu64 " steps from seed %" PRIu64 ": %s\n", mode->name, i, steps, seed,
	       bad ? "FAILED" : "ok");
	fflush(stdout);
	return bad;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"mode", 1, 0, 'm'}, {"seed", 1, 0, 's'}, {"steps", 1, 0, 'n'}, {"runs", 1, 0, 'r'}, {"seconds", 1, 0, 't'},
		{"trace", 0, 0, 'x'}, {0},
	};
	const char *mode = NULL;
	uint64_t seed = 1, runs = UINT64_MAX, seconds = 6;
	int c, bad = 0;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'm')
			mode = optarg;
		else if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			steps = strtoull(optarg, NULL, 0);
		else if (c == 'r')
			runs = strtoull(optarg, NULL, 0);
		else if (c == 't')
			seconds = strtoull(optarg, NULL, 0);
		else if (c == 'x')
			trace = true;
		else
			return 2;
	}
	log_init("test_fault", trace ? LOG_L_DEBUG : LOG_L_ERROR);
	if (!trace) /* what goes wrong is meant to */
		log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!mode || strcmp(mode, modes[i].name) == 0)
			bad |= run_mode(&modes[i], seed, runs, seconds);
	return bad;
}
