/* SPDX-License-Identifier: Apache-2.0 */
/* -ENOMEM at the N-th allocation of the program, for every N: of mkfs, of a mount that replays a journal, of many operations,
 * of an unmount. Every failure is an errno to whoever asked, whatever was acknowledged is there after a crash, and what
 * failed succeeds the second time. Only allocations of nvofs itself fail: the linker turns its calls into those below
 * (--wrap), and the simulator is built again with the real ones.
 *
 *   test_nomem [--first N] [--step N] [--count N] [--steps N] [--seed N] [--seconds N] [--trace]
 *
 * first: the first N; step: 1 is every one; count: how many in a row fail; steps: operations. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/err.h"
#include "base/log.h"
#include "tests/sim/history.h"
#include "tests/sim/world.h"

static uint64_t allocations, fail_from, fail_count = 1, nsteps = 120;
static bool armed, trace;

/* The next allocation is one of those that fail. */
static bool fails(void)
{
	if (!armed)
		return false;
	allocations++;
	return allocations >= fail_from && allocations < fail_from + fail_count;
}

void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);

/* In this file malloc and so on are the real ones already (meson.build). */
void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : aligned_alloc(align, n);
}

/* What mmap(2) is called with 64-bit offsets; the header has given that name to the real one, too. */
void *__wrap_mmap64(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	if (!fails())
		return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, off);
	errno = ENOMEM;
	return MAP_FAILED;
}

static int unexpected(const char *what, int r)
{
	fprintf(stderr, "%s: %s\n", what, err_name(r));
	return -1;
}

/* Does it, and if memory ran out does it again. */
static int twice(struct sim *s, const char *what, int (*call)(struct sim *))
{
	int r = call(s);

	if (err_errno(r) == -ENOMEM) {
		armed = false;
		r = call(s);
		armed = true;
	}
	return r ? unexpected(what, r) : 0;
}

/* Something to replay. */
static int leave_journal(struct world *w, struct history *h)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < 30; i++) {
		r = world_step(w);
		history_add(h, &w->m, w->parallel, w->synced);
	}
	if (r == 0)
		r = sim_fsync(w->s, INO_ROOT);
	history_add(h, &w->m, false, true);
	sim_crash(w->s, FATE_NEVER);
	memset(w->open, 0, sizeof(w->open));
	return r;
}

static int operate(struct world *w, struct history *h)
{
	struct fs_info info = {0};
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < nsteps && !info.frozen; i++) {
		r = world_step(w);
		history_add(h, &w->m, w->parallel, w->synced);
		fs_info(w->s->fs, &info);
	}
	world_list_drop(w);
	return r == 0 && info.frozen ? unexpected("want of memory froze the file system", -E_FROZEN) : r;
}

static int settle(struct world *w, struct history *h)
{
	int r = world_close_all(w);

	history_add(h, &w->m, false, false);
	if (r)
		return r;
	r = sim_unmount(w->s);
	if (r == 0)
		history_add(h, &w->m, false, true);
	return 0; /* not everything could be written: then it is as after a crash */
}

/* What is on the device is what it may be. */
static int judge(struct world *w, const struct history *h)
{
	struct model now;
	int r;

	if (sim_check(w->s) || sim_check_replayed(w->s) || sim_mount(w->s))
		return -1;
	r = sim_load(w->s, &now);
	if (r == 0 && history_match(h, &now) < 0)
		r = -1;
	model_exit(&now);
	if (r == 0)
		r = sim_wait_writable(w->s);
	return r ? r : sim_unmount(w->s);
}

static int one(uint64_t seed, uint64_t n)
{
	struct sim_conf conf;
	struct history h;
	struct world w;
	int r;

	sim_conf_init(&conf, seed);
	conf.cache_bytes = 4 * MiB;
	conf.node_bytes = 2 * MiB;
	conf.commit_ms = 1;
	conf.checkpoint_ms = 5;
	armed = false;
	r = world_init(&w, &conf);
	if (r)
		return unexpected("the first mount", r);
	w.trace = trace;
	w.nomem = w.s->quiet = w.no_parallel = true;
	w.max_size = 300000;
	w.max_nodes = 20;
	history_init(&h, &w.m);
	r = leave_journal(&w, &h);
	allocations = 0;
	fail_from = n;
	armed = true;
	if (r == 0)
		r = twice(w.s, "mount", sim_mount);
	if (r == 0)
		r = operate(&w, &h);
	if (r == 0)
		r = settle(&w, &h);
	armed = false;
	if (w.s->fs)
		sim_crash(w.s, FATE_NEVER);
	if (r == 0)
		r = judge(&w, &h);
	history_exit(&h);
	world_exit(&w);
	return r;
}

static int one_format(uint64_t seed, uint64_t n)
{
	struct sim_conf conf;
	struct sim *s;
	int r;

	sim_conf_init(&conf, seed);
	s = sim_new(&conf);
	s->quiet = true;
	allocations = 0;
	fail_from = n;
	armed = true;
	r = twice(s, "mkfs", sim_format);
	armed = false;
	if (r == 0)
		r = sim_check(s) || sim_mount(s) || sim_unmount(s);
	sim_free(s);
	return r;
}

static uint64_t real_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec;
}

/* Until a run had fewer allocations than the one that was to fail. */
static int every(const char *what, int (*run)(uint64_t, uint64_t), uint64_t seed, uint64_t first, uint64_t step, uint64_t seconds)
{
	uint64_t n, runs = 0, end = real_seconds() + seconds;
	int bad = 0;

	for (n = first; !bad && real_seconds() < end; n += step) {
		if (trace)
			fprintf(stderr, "allocation %" PRIu64 "\n", n);
		bad = run(seed, n) != 0;
		runs++;
		if (allocations < n)
			break;
	}
	printf("nomem: %s: %" PRIu64 " runs, the failing one from %" PRIu64 " to %" PRIu64 " of %" PRIu64 " allocations, seed %" PRIu64 ": %s\n",
	       what, runs, first, n, allocations, seed, bad ? "FAILED" : "ok");
	fflush(stdout);
	if (bad)
		fprintf(stderr, "FAILED: test_nomem --seed %" PRIu64 " --first %" PRIu64 " --count %" PRIu64 " --steps %" PRIu64 "\n", seed, n,
			fail_count, nsteps);
	return bad;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"first", 1, 0, 'f'}, {"step", 1, 0, 'p'}, {"count", 1, 0, 'c'}, {"steps", 1, 0, 'n'}, {"seed", 1, 0, 's'},
		{"seconds", 1, 0, 't'}, {"trace", 0, 0, 'x'}, {0},
	};
	uint64_t first = 1, step = 1, seed = 1, seconds = 60;
	int c, bad;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t value = optarg ? strtoull(optarg, NULL, 0) : 0;

		if (c == 'f')
			first = value;
		else if (c == 'p')
			step = value;
		else if (c == 'c')
			fail_count = value;
		else if (c == 'n')
			nsteps = value;
		else if (c == 's')
			seed = value;
		else if (c == 't')
			seconds = value;
		else if (c == 'x')
			trace = true;
		else
			return 2;
	}
	log_init("test_nomem", trace ? LOG_L_DEBUG : LOG_L_ERROR);
	if (!trace) /* what goes wrong is meant to */
		log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	bad = every("mkfs", one_format, seed, 1, step, seconds);
	return every("mount, operations, unmount", one, seed, first, step, seconds) || bad;
}
