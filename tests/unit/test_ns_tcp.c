/* SPDX-License-Identifier: Apache-2.0 */
/* The whole host with its threads against nvofs-target over loopback: workers read, write and flush with checks of every
 * byte while the target is killed and started again, then while it is stopped and goes on. Also what a user is told when
 * something is wrong, and discovery. NVOFS_TARGET names the program; it is skipped without. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "transport/discovery.h"
#include "transport/ns.h"

#define NQN "nqn.2026-11.io.nvofs:target"
#define WORKERS 3
#define DEPTH 8
#define RANGE 512u           /* blocks of a worker */
#define MOST 40u             /* blocks of one io; a command has 16 */

static const char *program;
static char dir[64], port[8];
static pid_t target;

/* ---- the target ---- */

static void start_target(const char *listen, const char *extra)
{
	char backing[128], line[128] = "", file[96];
	int p[2];
	FILE *f;

	snprintf(file, sizeof(file), "%s/disk", dir);
	snprintf(backing, sizeof(backing), access(file, F_OK) ? "file:%s:16M" : "file:%s", file);
	ck_assert(!pipe(p));
	target = fork();
	if (!target) {
		dup2(p[1], 1);
		close(p[0]);
		close(p[1]);
		execl(program, program, "--listen", listen, "--mdts", "64K", "--vwc", "on", "--lba-size", "512", backing,
		      "ram:1M", extra, NULL);
		_exit(127);
	}
	close(p[1]);
	f = fdopen(p[0], "r");
	ck_assert(fgets(line, sizeof(line), f) && strrchr(line, ':'));
	fclose(f);
	snprintf(port, sizeof(port), "%u", (unsigned)atoi(strrchr(line, ':') + 1));
}

static void kill_target(int sig)
{
	kill(target, sig);
	waitpid(target, NULL, 0);
}

static void restart_target(void)
{
	char listen[32];

	snprintf(listen, sizeof(listen), "127.0.0.1:%s", port);
	start_target(listen, NULL);
}

static void setup(void)
{
	strcpy(dir, "/tmp/nvofs-ns-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	start_target("127.0.0.1:0", NULL);
	log_to_fd(getenv("V") ? 2 : -1);
	if (getenv("V"))
		log_set_level(LOG_L_DEBUG);
}

static void teardown(void)
{
	char command[96];

	kill_target(SIGTERM);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	ck_assert(!system(command));
}

static struct ns_conf conf_of(const char *options)
{
	struct ns_conf c = { .nr_queues = WORKERS };
	char text[512], why[256];
	int n;

	n = snprintf(text, sizeof(text), "nvme+tcp://127.0.0.1:%s/" NQN, port);
	if (*options)
		snprintf(text + n, sizeof(text) - (size_t)n, "?%s", options);
	ck_assert_msg(!ns_addr_parse(&c.addr, text, false, why, sizeof(why)), "%s", why);
	return c;
}

/* ---- workers ---- */

struct task {
	struct io io;
	struct worker *w;
	bool busy, stable;
	uint32_t version;
};

struct worker {
	struct ns *ns;
	struct lane *lane;
	pthread_t thread;
	unsigned index;
	uint64_t random, ios;
	struct task tasks[DEPTH];
	uint32_t versions[RANGE];    /* what a block holds; 0: zeros */
	bool used[RANGE];            /* by a task */
	uint8_t *mem;
	unsigned busy;
	const char *wrong;
};

static _Atomic bool finish;

static uint64_t roll(struct worker *w, uint64_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % below;
}

static void stamp(uint8_t *mem, uint64_t block, uint32_t version)
{
	uint64_t *p = (uint64_t *)mem;

	for (unsigned i = 0; i < BLOCK_SIZE / 8; i++)
		p[i] = version ? (uint64_t)version << 32 ^ (block * 8191 + i) : 0;
}

static uint64_t first_of(const struct task *t)
{
	return t->io.block - (uint64_t)t->w->index * RANGE;
}

static void release(struct task *t)
{
	for (uint32_t i = 0; t->io.op != IO_FLUSH && i < t->io.nblocks; i++)
		t->w->used[first_of(t) + i] = false;
}

static void task_done(struct io *io, int status)
{
	struct task *t = container_of(io, struct task, io);
	struct worker *w = t->w;
	uint8_t want[BLOCK_SIZE];

	w->busy--;
	w->ios++;
	t->busy = false;
	if (status)
		w->wrong = err_text(status);
	for (uint32_t i = 0; !status && io->op != IO_FLUSH && i < io->nblocks; i++) {
		uint32_t *version = &w->versions[first_of(t) + i];

		if (io->op == IO_WRITE)
			*version = t->version;
		stamp(want, io->block + i, *version);
		if (io->op == IO_READ && memcmp(want, (uint8_t *)io->mem + (size_t)i * BLOCK_SIZE, BLOCK_SIZE))
			w->wrong = "read other bytes than were written";
	}
}

/* Blocks are free again when nothing of ours may be written again over them. */
static void task_stable(struct io *io)
{
	struct task *t = container_of(io, struct task, io);

	release(t);
	t->stable = true;
}

static void start_task(struct worker *w, struct task *t)
{
	static const enum io_op ops[] = { IO_READ, IO_READ, IO_WRITE, IO_WRITE, IO_FLUSH };
	enum io_op op = ops[roll(w, ARRAY_SIZE(ops))];
	uint32_t n = 1 + (uint32_t)roll(w, MOST);
	uint64_t first = roll(w, RANGE - n + 1);

	for (uint32_t i = 0; op != IO_FLUSH && i < n; i++) {
		if (w->used[first + i])
			return;
	}
	t->io = (struct io){ .op = op, .flags = roll(w, 4) ? 0 : IO_FUA, .block = w->index * RANGE + first, .nblocks = n,
			     .mem = w->mem + (size_t)(t - w->tasks) * MOST * BLOCK_SIZE, .done = task_done,
			     .stable = task_stable };
	list_init(&t->io.link);
	t->version++;
	t->busy = true;
	t->stable = false;
	for (uint32_t i = 0; op != IO_FLUSH && i < n; i++) {
		w->used[first + i] = true;
		if (op == IO_WRITE)
			stamp((uint8_t *)t->io.mem + (size_t)i * BLOCK_SIZE, t->io.block + i, t->version);
	}
	w->busy++;
	lane_submit(w->lane, &t->io);
}

static void pass(struct worker *w)
{
	struct pollfd p = { lane_fd(w->lane), POLLIN, 0 };

	if (!lane_poll(w->lane) && !lane_arm(w->lane))
		poll(&p, 1, (int)MIN(lane_timeout(w->lane) / NS_PER_MS, 20ull));
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&finish) && !w->wrong) {
		for (unsigned i = 0; i < DEPTH; i++) {
			if (!w->tasks[i].busy && w->tasks[i].stable && roll(w, 2))
				start_task(w, &w->tasks[i]);
		}
		pass(w);
		if (w->busy == 0 && !w->wrong && !roll(w, 4)) { /* all tasks may wait for a Flush */
			int err = ns_flush_sync(w->ns);

			ck_assert_msg(!err || err == -E_NOT_OURS, "%s", err_text(err)); /* given up meanwhile */
			pass(w);
			if (err)
				break;
		}
	}
	while (w->busy)
		pass(w);
	return NULL;
}

static void start_workers(struct ns *ns, struct worker *ws)
{
	atomic_store(&finish, false);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &ws[i];

		*w = (struct worker){ .ns = ns, .index = i, .random = 0x9e3779b97f4a7c15ull * (i + 1) };
		w->mem = aligned_alloc(4096, (size_t)DEPTH * MOST * BLOCK_SIZE);
		memset(w->mem, 0, (size_t)DEPTH * MOST * BLOCK_SIZE);
		for (unsigned j = 0; j < DEPTH; j++) {
			w->tasks[j].w = w;
			w->tasks[j].stable = true;
		}
		ck_assert(!ns_add_memory(ns, w->mem, (size_t)DEPTH * MOST * BLOCK_SIZE));
		ck_assert(!lane_open(&w->lane, ns, i));
		pthread_create(&w->thread, NULL, worker_main, w);
	}
}

static void end_workers(struct ns *ns, struct worker *ws)
{
	atomic_store(&finish, true);
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(ws[i].thread, NULL);
		ck_assert_msg(!ws[i].wrong, "worker %u: %s", i, ws[i].wrong);
		ck_assert_uint_gt(ws[i].ios, 0);
	}
	ck_assert(!ns_flush_sync(ns));
	for (unsigned i = 0; i < WORKERS; i++) {
		lane_poll(ws[i].lane);
		lane_close(ws[i].lane);
		free(ws[i].mem);
	}
	ck_assert_uint_eq(ns_unflushed(ns), 0);
}

static void ms(unsigned n)
{
	clock_sleep(n * NS_PER_MS);
}

static void open_ns(struct ns **ns, const char *options)
{
	struct ns_conf c = conf_of(options);
	char why[512];

	ck_assert_msg(!ns_open(ns, &c, why, sizeof(why)), "%s", why);
	ck_assert_uint_eq(ns_info(*ns)->nr_queues, WORKERS);
}

START_TEST(killed_and_restarted)
{
	struct worker ws[WORKERS];
	struct ns *ns;

	open_ns(&ns, _i ? "nsid=1&keep-alive-tmo=1&hdr-digest&data-digest" : "nsid=1&keep-alive-tmo=1");
	start_workers(ns, ws);
	for (unsigned i = 0; i < 3; i++) {
		ms(400);
		kill_target(SIGKILL);
		ms(i * 200);
		restart_target();
		ms(500);
		/* Half a second at a desk; a shared machine takes what it takes. */
		for (unsigned k = 0; k < 150 && atomic_load(&ns_info(ns)->reconnects) < i + 1; k++)
			ms(100);
		ck_assert_uint_eq(atomic_load(&ns_info(ns)->reconnects), i + 1);
	}
	end_workers(ns, ws);
	ns_close(ns);
}
END_TEST

/* A target that does not answer for longer than the keep-alive time-out. */
START_TEST(stopped_and_continued)
{
	struct worker ws[WORKERS];
	struct ns *ns;

	open_ns(&ns, "nsid=1&keep-alive-tmo=1&connect-tmo=1");
	start_workers(ns, ws);
	ms(300);
	kill(target, SIGSTOP);
	ms(2500);
	for (unsigned k = 0; k < 150 && atomic_load(&ns_info(ns)->connected); k++)
		ms(100);
	ck_assert(!atomic_load(&ns_info(ns)->connected));
	kill(target, SIGCONT);
	for (unsigned k = 0; k < 200 && !atomic_load(&ns_info(ns)->connected); k++)
		ms(100);
	ck_assert(atomic_load(&ns_info(ns)->connected));
	end_workers(ns, ws);
	ns_close(ns);
}
END_TEST

START_TEST(giving_up_during_an_outage)
{
	struct worker ws[WORKERS];
	struct ns *ns;

	open_ns(&ns, "nsid=1");
	start_workers(ns, ws);
	ms(200);
	kill_target(SIGKILL);
	ms(100);
	ns_give_up(ns, -E_NOT_OURS);
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(ws[i].thread, NULL);
		lane_close(ws[i].lane);
		free(ws[i].mem);
	}
	ns_close(ns);
	restart_target();
}
END_TEST

/* ---- messages ---- */

static int open_error(struct ns_conf *c, const char *part)
{
	char why[512] = "";
	struct ns *ns;
	int r = ns_open(&ns, c, why, sizeof(why));

	ck_assert_ptr_null(ns);
	ck_assert_msg(strstr(why, part) && !strchr(why, '\n'), "\"%s\" lacks \"%s\"", why, part);
	return r;
}

START_TEST(what_the_user_is_told)
{
	struct ns_conf c = conf_of("nsid=9");

	ck_assert_int_eq(open_error(&c, "no namespace 9"), -E_NO_NSID);
	c = conf_of("nsid=1");
	strcpy(c.addr.nqn, "nqn.nobody");
	ck_assert_int_eq(open_error(&c, "no subsystem \"nqn.nobody\""), -E_BAD_NQN);
	c = conf_of("connect-tmo=2");
	ck_assert_int_eq(open_error(&c, "2 namespaces (1, 2)"), -EINVAL);
	strcpy(c.addr.port, "1");
	ck_assert_int_eq(open_error(&c, "refused"), -ECONNREFUSED);
	strcpy(c.addr.host, "host.invalid");
	ck_assert_int_eq(open_error(&c, "no such host"), -EHOSTUNREACH);
	c = conf_of("nsid=1");
	c.addr.transport = TRANSPORT_RDMA;
	ck_assert_int_lt(open_error(&c, "RDMA"), 0); /* not built in, no device, or nobody there */
	c = conf_of("uuid=00112233-4455-6677-8899-aabbccddeeff");
	ck_assert_int_eq(open_error(&c, "UUID"), -E_NO_NSID);
}
END_TEST

START_TEST(admin_only)
{
	struct ns_conf c = conf_of("");
	const struct ns_list_entry *list;
	char why[512];
	struct ns *ns;

	c.flags = NS_ADMIN_ONLY;
	ck_assert_msg(!ns_open(&ns, &c, why, sizeof(why)), "%s", why);
	ck_assert_uint_eq(ns_list(ns, &list), 2);
	ck_assert(list[0].nsid == 1 && list[0].bytes == 16 * MiB && list[0].lba_size == 512 && list[1].bytes == MiB);
	ck_assert_uint_eq(ns_info(ns)->nsid, 0);
	ns_close(ns);
}
END_TEST

static int count_entry(void *arg, const struct discovery_entry *e)
{
	unsigned *found = arg;

	ck_assert_str_eq(e->transport, "tcp");
	*found += !strcmp(e->subnqn, NQN) && !strcmp(e->trsvcid, port) && !strcmp(e->traddr, "127.0.0.1");
	return 0;
}

START_TEST(discovery)
{
	char text[64], why[512] = "";
	unsigned found = 0;
	struct ns_addr a;

	snprintf(text, sizeof(text), "nvme+tcp://127.0.0.1:%s", port);
	ck_assert(!ns_addr_parse(&a, text, true, why, sizeof(why)));
	ck_assert_msg(!discover(&a, count_entry, &found, why, sizeof(why)), "%s", why);
	ck_assert_uint_eq(found, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ns_tcp");
	TCase *t = tcase_create("ns_tcp");
	SRunner *r;
	int failed;

	program = getenv("NVOFS_TARGET");
	if (!program) {
		puts("skipped: NVOFS_TARGET names no nvofs-target");
		return 77;
	}
	tcase_set_timeout(t, 90);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, killed_and_restarted, 0, 2);
	tcase_add_test(t, stopped_and_continued);
	tcase_add_test(t, giving_up_during_an_outage);
	tcase_add_test(t, what_the_user_is_told);
	tcase_add_test(t, admin_only);
	tcase_add_test(t, discovery);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
