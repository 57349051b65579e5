/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe host on the simulated device: random reads, writes, flushes, zeroings and discards on several lanes, while
 * associations are lost and the device's power goes. Every block is written by one io at a time, so it is known what
 * a read must return, and what must be on the medium once a Flush was answered.
 *   test_ns [--seed N] [--steps N] [--runs N] [--trace] */
#include <assert.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "tests/sim/sim_dev.h"
#include "transport/inproc.h"
#include "transport/ns.h"

#define BLOCKS 256u
#define IOS 24u
#define IO_BLOCKS 40u
#define LANES 2u
#define ANYTHING UINT64_MAX     /* discarded: any content will do */

struct try {
	struct io io;
	struct bench *b;
	bool busy, stable;      /* with the lane; the namespace let its memory go */
	uint64_t versions[IO_BLOCKS]; /* read: what must come */
	uint64_t flush_at;      /* flush: versions completed before it count */
	uint8_t *mem;
};

struct block_state {
	uint64_t version;       /* last one written (0: zeros, ANYTHING) */
	uint64_t done_at;       /* order of its completion */
	uint64_t durable;       /* version that must be found after a power cut; or a newer one */
	unsigned readers;
	bool writing;
};

struct bench {
	struct sim_dev *dev;
	struct ns *ns;
	struct lane *lanes[LANES];
	struct rng rng;
	struct try tries[IOS];
	struct block_state blocks[BLOCKS];
	uint64_t order, version;
	uint64_t ios, failed;
	uint8_t *mem;
};

static bool bad, trace;

static void tell(const char *what, const struct io *io)
{
	if (trace)
		fprintf(stderr, "%" PRIu64 ": %s op %d flags %x blocks %" PRIu64 "..%" PRIu64 "\n", clock_now() / 1000, what, io->op,
			io->flags, io->block, io->block + io->nblocks - 1);
}

static void stamp(uint8_t *mem, uint64_t block, uint64_t version)
{
	uint64_t *w = (uint64_t *)mem;

	for (unsigned i = 0; i < BLOCK_SIZE / 8; i++)
		w[i] = version ? version * 1000003 + block * 31 + i : 0;
}

static bool is_stamped(const uint8_t *mem, uint64_t block, uint64_t version)
{
	uint8_t want[BLOCK_SIZE];

	stamp(want, block, version);
	return version == ANYTHING || memcmp(mem, want, BLOCK_SIZE) == 0;
}

static void complain(const char *what, uint64_t block)
{
	fprintf(stderr, "block %" PRIu64 ": %s\n", block, what);
	bad = true;
}

static void write_done(struct try *t)
{
	struct bench *b = t->b;

	for (uint32_t i = 0; i < t->io.nblocks; i++) {
		struct block_state *s = &b->blocks[t->io.block + i];

		s->version = t->io.op == IO_WRITE ? t->versions[i] : ANYTHING; /* zeroing and discarding are dropped when in doubt */
		s->done_at = ++b->order;
		s->writing = false;
		if (t->io.op == IO_WRITE && t->io.flags & IO_FUA)
			s->durable = s->version;
		if (t->io.op != IO_WRITE)
			s->durable = ANYTHING; /* not kept by anybody: a cut may bring back what was there */
	}
}

static void read_done(struct try *t)
{
	for (uint32_t i = 0; i < t->io.nblocks; i++) {
		t->b->blocks[t->io.block + i].readers--;
		if (!is_stamped(t->mem + i * BLOCK_SIZE, t->io.block + i, t->versions[i]))
			complain("read something else than was written", t->io.block + i);
	}
}

static void flush_done(struct try *t)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		struct block_state *s = &t->b->blocks[i];

		if (s->done_at <= t->flush_at && s->version != ANYTHING && s->version && s->durable != ANYTHING)
			s->durable = s->version;
	}
}

static void done(struct io *io, int status)
{
	struct try *t = container_of(io, struct try, io);

	tell("done", io);
	if (status) {
		fprintf(stderr, "io %d at %" PRIu64 ": %s\n", io->op, io->block, err_name(status));
		bad = true;
	}
	t->busy = false;
	t->b->ios++;
	if (io->op == IO_READ)
		read_done(t);
	else if (io->op == IO_FLUSH)
		flush_done(t);
	else
		write_done(t);
}

static void stable(struct io *io)
{
	container_of(io, struct try, io)->stable = true;
}

static bool range_free(struct bench *b, struct io *io)
{
	for (uint32_t i = 0; i < io->nblocks; i++)
		if (b->blocks[io->block + i].writing || (io->op != IO_READ && b->blocks[io->block + i].readers))
			return false;
	return true;
}

/* A write that was not flushed yet must be at most one per block (the file system never writes a place twice without
 * a checkpoint between): so blocks with an unstable write are not written again, by the caller's rule. */
static bool unstable(struct bench *b, const struct io *io)
{
	for (unsigned i = 0; i < IOS; i++) {
		const struct try *t = &b->tries[i];

		if ((t->io.op == IO_WRITE || t->io.op == IO_ZERO) && !t->stable && t->io.block < io->block + io->nblocks &&
		    io->block < t->io.block + t->io.nblocks)
			return true;
	}
	return false;
}

static void start(struct bench *b)
{
	static const enum io_op ops[] = {IO_READ, IO_READ, IO_WRITE, IO_WRITE, IO_WRITE, IO_FLUSH, IO_DISCARD, IO_ZERO};
	struct try *t = &b->tries[rng_below(&b->rng, IOS)];
	struct io io = {.op = ops[rng_below(&b->rng, ARRAY_SIZE(ops))], .done = done, .stable = stable, .mem = t->mem};

	if (t->busy || !t->stable)
		return;
	if (io.op != IO_FLUSH) {
		io.nblocks = (uint32_t)rng_range(&b->rng, 1, rng_one_in(&b->rng, 2) ? 2 : IO_BLOCKS);
		io.block = rng_below(&b->rng, BLOCKS - io.nblocks + 1);
	}
	if (!range_free(b, &io) || (io.op != IO_READ && io.op != IO_FLUSH && unstable(b, &io)))
		return;
	if (io.op == IO_WRITE && rng_one_in(&b->rng, 4))
		io.flags = IO_FUA;
	t->io = io;
	t->busy = true;
	t->stable = false;
	t->flush_at = b->order;
	for (uint32_t i = 0; i < io.nblocks; i++) {
		struct block_state *s = &b->blocks[io.block + i];

		t->versions[i] = io.op == IO_READ ? s->version : ++b->version;
		s->readers += io.op == IO_READ;
		s->writing = io.op != IO_READ;
		if (io.op == IO_WRITE)
			stamp(t->mem + i * BLOCK_SIZE, io.block + i, t->versions[i]);
	}
	tell("submit", &io);
	lane_submit(b->lanes[rng_below(&b->rng, LANES)], &t->io);
}

static void pass(struct bench *b)
{
	uint64_t next = sim_dev_next(b->dev), now = clock_now(), control = ns_control(b->ns);

	next = MIN(next, now + MIN(control, NS_PER_S));
	for (unsigned i = 0; i < LANES; i++)
		next = MIN(next, now + MIN(lane_timeout(b->lanes[i]), NS_PER_S));
	now = clock_now();
	clock_virtual_add(next > now ? next - now : 1000);
}

static void poll_all(struct bench *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LANES; i++)
		n += lane_poll(b->lanes[i]);
	if (!n)
		pass(b);
}

static bool any_busy(const struct bench *b, bool until_stable)
{
	for (unsigned i = 0; i < IOS; i++)
		if (b->tries[i].busy || (until_stable && !b->tries[i].stable))
			return true;
	return false;
}

static void drain(struct bench *b)
{
	uint64_t end = clock_now() + 600 * NS_PER_S;

	while (any_busy(b, false) && clock_now() < end)
		poll_all(b);
	if (any_busy(b, false)) {
		fprintf(stderr, "an io does not end\n");
		abort();
	}
}

static void open_ns(struct bench *b)
{
	struct ns_conf conf = {.flags = NS_NO_THREAD, .nr_queues = LANES};
	char why[256];

	ns_addr_init(&conf.addr);
	conf.addr.transport = TRANSPORT_INPROC;
	conf.addr.inproc = sim_dev_peer(b->dev);
	snprintf(conf.addr.nqn, sizeof(conf.addr.nqn), SIM_NQN);
	conf.addr.has_hostid = true;
	snprintf(conf.addr.hostnqn, sizeof(conf.addr.hostnqn), "nqn.2014-08.org.nvmexpress:uuid:sim");
	if (ns_open(&b->ns, &conf, why, sizeof(why))) {
		fprintf(stderr, "open: %s\n", why);
		abort();
	}
	if (ns_add_memory(b->ns, b->mem, (size_t)IOS * IO_BLOCKS * BLOCK_SIZE))
		abort();
	for (unsigned i = 0; i < LANES; i++)
		if (lane_open(&b->lanes[i], b->ns, i))
			abort();
}

/* Everything over; power goes; what was flushed must be there. */
static void check_media(struct bench *b)
{
	struct media *m = sim_dev_media(b->dev);

	sim_dev_drop_orphans(b->dev);
	media_cut(m, (enum media_keep)rng_below(&b->rng, KEEP_CHOICES), &b->rng);
	for (unsigned i = 0; i < BLOCKS; i++) {
		struct block_state *s = &b->blocks[i];
		const uint8_t *is = m->mem + i * BLOCK_SIZE;

		/* versions grow, so the first word tells whether it is the durable one or a newer one */
		if (s->durable && s->durable != ANYTHING && *(const uint64_t *)is < s->durable * 1000003 + i * 31)
			complain("flushed, and lost", i);
	}
}

static void run(uint64_t seed, uint64_t steps)
{
	struct sim_dev_conf conf = {.bytes = 8 * MiB, .lba_size = 4096, .vwc = true, .seed = seed, .latency_min = 5000,
				    .latency_max = 200000, .mdts = 3, .queue_size = 16, .cqt_ms = 20};
	struct bench *b = calloc(1, sizeof(*b));

	b->rng.state = seed ^ 0x6e73;
	conf.lba_size = rng_one_in(&b->rng, 2) ? 512 : 4096;
	conf.vwc = !rng_one_in(&b->rng, 4);
	clock_virtual_set(1000 * NS_PER_S);
	b->dev = sim_dev_new(&conf);
	b->mem = mmap(NULL, (size_t)IOS * IO_BLOCKS * BLOCK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < IOS; i++) {
		b->tries[i].b = b;
		b->tries[i].stable = true;
		b->tries[i].mem = b->mem + (size_t)i * IO_BLOCKS * BLOCK_SIZE;
	}
	open_ns(b);
	for (uint64_t i = 0; i < steps && !bad; i++) {
		if (rng_one_in(&b->rng, 3))
			start(b);
		else
			poll_all(b);
		if (rng_one_in(&b->rng, 2000))
			sim_dev_lose(b->dev, FATE_ANY, rng_below(&b->rng, 3 * NS_PER_S));
		if (rng_one_in(&b->rng, 2000))
			sim_dev_power_cut(b->dev, (enum media_keep)rng_below(&b->rng, KEEP_CHOICES), rng_below(&b->rng, NS_PER_S));
		if (rng_one_in(&b->rng, 500))
			drain(b);
	}
	drain(b);
	for (unsigned i = 0; i < LANES; i++)
		lane_close(b->lanes[i]);
	ns_close(b->ns);
	if (any_busy(b, true)) {
		fprintf(stderr, "ns_close did not give all memory back\n");
		bad = true;
	}
	check_media(b);
	if (bad)
		fprintf(stderr, "FAILED: test_ns --seed %" PRIu64 " --steps %" PRIu64 " --runs 1\n", seed, steps);
	sim_dev_free(b->dev);
	munmap(b->mem, (size_t)IOS * IO_BLOCKS * BLOCK_SIZE);
	free(b);
	clock_virtual_set(0);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"seed", 1, 0, 's'}, {"steps", 1, 0, 'n'}, {"runs", 1, 0, 'r'}, {"trace", 0, 0, 't'}, {0}};
	uint64_t seed = 1, steps = 20000, runs = 60, i;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			steps = strtoull(optarg, NULL, 0);
		else if (c == 'r')
			runs = strtoull(optarg, NULL, 0);
		else if (c == 't')
			trace = true;
		else
			return 2;
	}
	log_init("test_ns", trace ? LOG_L_DEBUG : LOG_L_ERROR);
	if (!trace) /* what goes wrong is meant to */
		log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	for (i = 0; i < runs && !bad; i++)
		run(seed + i, steps);
	printf("ns: %" PRIu64 " runs of %" PRIu64 " steps from seed %" PRIu64 ": %s\n", i, steps, seed, bad ? "FAILED" : "ok");
	return bad;
}
