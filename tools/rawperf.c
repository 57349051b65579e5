/* SPDX-License-Identifier: Apache-2.0 */
/* nvofs-rawperf: what the initiator alone can do, with nothing above it: the yardstick for the file system's benchmarks.
 * One thread and one lane a queue; each keeps --qd ios in flight and waits as a mount's workers do
 * (base/spin.h). Prints one line of key=value. Not installed. Writes destroy what is on the namespace. */
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "base/spin.h"
#include "transport/ns.h"

#define BUCKETS 65536 /* of 100 ns: 6.5 ms */
#define BUCKET_NS 100

struct options {
	bool write, random;
	uint64_t bs, seconds, qd, queues, memory;
	uint64_t rounds; /* buffers of each job, used in turn */
};

struct worker {
	const struct options *opt;
	struct ns *ns;
	struct lane *lane;
	unsigned index;
	pthread_t thread;
	struct job *jobs;
	uint64_t next, span, first, random; /* in ios */
	uint64_t end, finished, sum_ns;
	uint32_t *histogram;
	unsigned inflight;
	struct spin spin;
	int error;
};

struct job {
	struct io io;
	struct worker *w;
	uint8_t *mem;
	uint64_t start, turn;
};

static void usage(void)
{
	fprintf(stderr, "usage: nvofs-rawperf NAMESPACE --rw=read|write|randread|randwrite --bs=SIZE --qd=N --seconds=S "
			"[--queues=N] [--memory=SIZE]\n"
			"--memory: go round in this much memory, as a cache does, instead of using the same bs * qd again and again\n");
	exit(2);
}

static uint64_t next_io(struct worker *w)
{
	if (!w->opt->random)
		return w->first + w->next++ % w->span;
	w->random ^= w->random << 13; /* xorshift64 */
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->first + w->random % w->span;
}

static void start(struct job *j, uint64_t now)
{
	struct worker *w = j->w;

	j->start = now;
	j->io.block = next_io(w) * j->io.nblocks;
	j->io.mem = j->mem + j->turn++ % w->opt->rounds * w->opt->qd * w->opt->bs;
	w->inflight++;
	lane_submit(w->lane, &j->io);
}

/* Latencies of volatile writes end at done(); the memory comes back at stable(), after a Flush that nobody sends here,
 * so writes are made with FUA unless the namespace has no volatile cache. */
static void io_done(struct io *io, int status)
{
	struct job *j = container_of(io, struct job, io);
	struct worker *w = j->w;
	uint64_t now = clock_now(), ns = now - j->start;

	w->inflight--;
	if (status) {
		w->error = status;
		return;
	}
	w->finished++;
	w->sum_ns += ns;
	w->histogram[MIN(ns / BUCKET_NS, BUCKETS - 1ull)]++;
	if (now < w->end && !w->error)
		start(j, now);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	uint64_t now = clock_now();

	w->end = now + w->opt->seconds * NS_PER_S;
	for (unsigned i = 0; i < w->opt->qd; i++)
		start(&w->jobs[i], now);
	while (w->inflight) {
		struct pollfd p = { lane_fd(w->lane), POLLIN, 0 };

		if (lane_poll(w->lane)) {
			if (w->spin.since)
				spin_end(&w->spin, clock_now());
		} else if (spin_again(&w->spin, clock_now())) {
			sched_yield();
		} else if (!lane_arm(w->lane)) {
			poll(&p, 1, 1000);
		}
	}
	return NULL;
}

static int worker_init(struct worker *w, struct ns *ns, const struct options *opt, unsigned index, uint8_t *mem)
{
	uint64_t total = ns_info(ns)->nblocks * BLOCK_SIZE / opt->bs;

	*w = (struct worker){ .opt = opt, .ns = ns, .index = index, .random = 88172645463325252ull * (index + 1) };
	w->span = total / opt->queues;
	w->first = w->span * index;
	w->jobs = calloc(opt->qd, sizeof(*w->jobs));
	w->histogram = calloc(BUCKETS, sizeof(*w->histogram));
	if (!w->span || !w->jobs || !w->histogram)
		return -ENOMEM;
	for (unsigned i = 0; i < opt->qd; i++) {
		struct io *io = &w->jobs[i].io;

		w->jobs[i].w = w;
		w->jobs[i].mem = mem + (index * opt->rounds * opt->qd + i) * opt->bs;
		*io = (struct io){ .op = opt->write ? IO_WRITE : IO_READ, .nblocks = (uint32_t)(opt->bs / BLOCK_SIZE),
				   .done = io_done };
		list_init(&io->link);
	}
	return lane_open(&w->lane, ns, index);
}

static double percentile_us(const struct worker *ws, uint64_t n, uint64_t finished, double part)
{
	uint64_t sum = 0, target = (uint64_t)((double)finished * part);

	for (unsigned b = 0; b < BUCKETS; b++) {
		for (uint64_t i = 0; i < n; i++)
			sum += ws[i].histogram[b];
		if (sum > target)
			return b * BUCKET_NS / 1e3;
	}
	return 0;
}

static int report(const struct worker *ws, const struct options *opt, uint64_t elapsed)
{
	uint64_t finished = 0, sum = 0, copied = 0, bytes;

	for (uint64_t i = 0; i < opt->queues; i++) {
		if (ws[i].error) {
			log_error("%s", err_text(ws[i].error));
			return 1;
		}
		finished += ws[i].finished;
		sum += ws[i].sum_ns;
		copied += atomic_load(&lane_stats(ws[i].lane)->copied_read);
	}
	bytes = finished * opt->bs;
	printf("rw=%s%s bs=%llu qd=%llu queues=%llu MB/s=%.1f IOPS=%.0f mean_us=%.1f p50_us=%.1f p99_us=%.1f copied=%.4f\n",
	       opt->random ? "rand" : "", opt->write ? "write" : "read", (unsigned long long)opt->bs,
	       (unsigned long long)opt->qd, (unsigned long long)opt->queues, (double)bytes * 1e3 / (double)elapsed,
	       (double)finished * 1e9 / (double)elapsed, finished ? (double)sum / 1e3 / (double)finished : 0,
	       percentile_us(ws, opt->queues, finished, 0.5), percentile_us(ws, opt->queues, finished, 0.99),
	       bytes ? (double)copied / (double)bytes : 0);
	return 0;
}

static int run(struct ns *ns, const struct options *opt)
{
	size_t len = opt->bs * opt->qd * opt->queues * opt->rounds;
	struct worker *ws = calloc(opt->queues, sizeof(*ws));
	uint8_t *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	uint64_t begin;
	int r;

	if (!ws || mem == MAP_FAILED || (r = ns_add_memory(ns, mem, len)))
		return 1;
	memset(mem, 0x5a, len);
	for (uint64_t i = 0; i < opt->queues; i++) {
		r = worker_init(&ws[i], ns, opt, (unsigned)i, mem);
		if (r) {
			log_error("%s", err_text(r));
			return 1;
		}
	}
	begin = clock_now();
	for (uint64_t i = 0; i < opt->queues; i++)
		pthread_create(&ws[i].thread, NULL, worker_main, &ws[i]);
	for (uint64_t i = 0; i < opt->queues; i++)
		pthread_join(ws[i].thread, NULL);
	r = report(ws, opt, clock_now() - begin);
	for (uint64_t i = 0; i < opt->queues; i++) {
		lane_close(ws[i].lane);
		free(ws[i].jobs);
		free(ws[i].histogram);
	}
	munmap(mem, len);
	free(ws);
	return r;
}

static void parse_rw(struct options *opt, const char *rw)
{
	opt->random = !strncmp(rw, "rand", 4);
	rw += opt->random ? 4 : 0;
	opt->write = !strcmp(rw, "write");
	if (!opt->write && strcmp(rw, "read"))
		usage();
}

static void parse(struct options *opt, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "rw", 1, NULL, 'r' }, { "bs", 1, NULL, 'b' }, { "qd", 1, NULL, 'q' }, { "seconds", 1, NULL, 's' },
		{ "queues", 1, NULL, 'n' }, { "memory", 1, NULL, 'm' }, { "debug", 0, NULL, 'd' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'r')
			parse_rw(opt, optarg);
		else if (c == 'd')
			log_set_level(LOG_L_DEBUG);
		else if (c == '?' || (c == 'b' && size_parse(optarg, &opt->bs)) ||
			 (c == 'q' && u64_parse(optarg, 1024, &opt->qd)) ||
			 (c == 's' && u64_parse(optarg, 86400, &opt->seconds)) ||
			 (c == 'n' && u64_parse(optarg, 64, &opt->queues)) ||
			 (c == 'm' && size_parse(optarg, &opt->memory)))
			usage();
	}
	if (optind + 1 != argc || !opt->bs || opt->bs % BLOCK_SIZE || !opt->qd || !opt->queues || !opt->seconds)
		usage();
}

int main(int argc, char **argv)
{
	struct options opt = { .bs = 4096, .qd = 1, .seconds = 3, .queues = 1 };
	struct ns_conf conf = { 0 };
	char why[1024];
	struct ns *ns;
	int r;

	log_init("nvofs-rawperf", LOG_L_INFO);
	parse(&opt, argc, argv);
	conf.nr_queues = (unsigned)opt.queues;
	if (ns_addr_parse(&conf.addr, argv[optind], false, why, sizeof(why)) || ns_open(&ns, &conf, why, sizeof(why))) {
		log_error("%s", why);
		return 1;
	}
	if (opt.queues > ns_info(ns)->nr_queues) {
		log_warn("the controller grants %u queues", ns_info(ns)->nr_queues);
		opt.queues = ns_info(ns)->nr_queues;
	}
	opt.rounds = MAX(opt.memory / (opt.bs * opt.qd * opt.queues), 1);
	r = run(ns, &opt);
	ns_close(ns);
	return r;
}
