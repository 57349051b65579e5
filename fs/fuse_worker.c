/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's loop: mail and ops, the lane, the kernel's requests; then, while its own I/O is under way, it gives way to
 * others for a moment (base/spin.h); then sleep. All workers wait for one descriptor with plain level-triggered epoll, so
 * that a request is usually taken on the CPU of its caller (measured 2 to 4 times better than EPOLLEXCLUSIVE, see
 * WORKERS in fs/DESIGN.md).
 *
 * Ending: the kernel lets go (unmounted) --> nothing is received any more --> every worker finishes its requests, and
 * goes on polling for the others, who may wait for its I/O --> all leave together. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/fuse_int.h"

#define ROUNDS_BLIND 8u              /* without sleeping, /dev/fuse is looked at every so many rounds */
#define MISSED_NS (20 * NS_PER_MS)
#define SLEEP_NS NS_PER_S            /* fuse_front_abort is noticed after that at the latest */
#define DRAIN_NS (10 * NS_PER_MS)

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

static int watch(int epoll_fd, int op, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };

	return epoll_ctl(epoll_fd, op, fd, &e) ? -errno : 0;
}

int fuse_worker_init(struct fuse_worker *fw, struct fuse_front *f, unsigned index)
{
	int err;

	fw->front = f;
	fw->index = index;
	fw->w = fs_worker(f->fs, index);
	list_init(&fw->free_reqs);
	fw->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (fw->epoll_fd < 0)
		return -errno;
	fw->reqs = calloc(WORKER_OPS, sizeof(*fw->reqs));
	if (!fw->reqs)
		return -ENOMEM;
	for (unsigned i = 0; i < WORKER_OPS; i++) {
		fw->reqs[i].fw = fw;
		list_append(&fw->free_reqs, &fw->reqs[i].link);
	}
	fw->fuse_wanted = true;
	err = watch(fw->epoll_fd, EPOLL_CTL_ADD, f->fd, EPOLLIN);
	if (!err)
		err = watch(fw->epoll_fd, EPOLL_CTL_ADD, fw->w->mailbox.fd, EPOLLIN);
	if (!err)
		err = watch(fw->epoll_fd, EPOLL_CTL_ADD, lane_fd(fw->w->lane), EPOLLIN);
	return err ? err : fuse_rx_init(fw);
}

void fuse_worker_exit(struct fuse_worker *fw)
{
	if (!fw->front)
		return;
	fuse_rx_exit(fw);
	free(fw->reqs);
	if (fw->epoll_fd >= 0)
		close(fw->epoll_fd);
	memset(fw, 0, sizeof(*fw));
}

void fuse_worker_end(struct fuse_front *f)
{
	if (atomic_exchange(&f->ending, true))
		return;
	fuse_session_exit(f->session);
	if (f->conf.ending)
		f->conf.ending(f->conf.arg);
}

/* The index-th of the CPUs this process may use. */
static void pin(unsigned index)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) || !CPU_COUNT(&all))
		return;
	index %= (unsigned)CPU_COUNT(&all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all) || index--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/* Worker 0 keeps the file system's timers. Returns ns until the next one. */
static uint64_t run_timers(struct fuse_worker *fw, uint64_t *tick, uint64_t now)
{
	uint64_t ns;

	if (fw->index)
		return SLEEP_NS;
	if (now < *tick)
		return *tick - now;
	ns = fs_tick(fw->front->fs);
	ns = MIN(ns, SLEEP_NS);
	*tick = now + ns;
	return ns;
}

static void want_fuse(struct fuse_worker *fw)
{
	bool full = fuse_rx_full(fw);

	if (fw->fuse_wanted == !full)
		return;
	fw->fuse_wanted = !full;
	watch(fw->epoll_fd, EPOLL_CTL_MOD, fw->front->fd, full ? 0 : EPOLLIN);
}

/* After a long sleep that only the clock ended: an answer that is there now and has not made the descriptor readable was slept
 * over. There must be none; status shows how many. */
static void look_for_missed(struct fuse_worker *fw)
{
	struct pollfd lane = { .fd = lane_fd(fw->w->lane), .events = POLLIN };

	if (lane_inflight(fw->w->lane) && !poll(&lane, 1, 0) && worker_poll(fw->w))
		atomic_fetch_add_explicit(&fw->missed, 1, memory_order_relaxed);
}

static void sleep_until_work(struct fuse_worker *fw, uint64_t ns)
{
	struct epoll_event events[4];
	int n;

	fw->fuse_event = fw->lane_event = false;
	ns = MIN(MIN(ns, lane_timeout(fw->w->lane)), SLEEP_NS);
	want_fuse(fw);
	n = epoll_wait(fw->epoll_fd, events, ARRAY_SIZE(events), (int)DIV_UP(ns, NS_PER_MS));
	if (!n && ns >= MISSED_NS)
		look_for_missed(fw);
	for (int i = 0; i < n; i++) {
		if (events[i].data.fd == lane_fd(fw->w->lane))
			fw->lane_event = true;
		if (events[i].data.fd != fw->front->fd)
			continue;
		fw->fuse_event = true;
		if (events[i].events & (EPOLLERR | EPOLLHUP))
			fuse_worker_end(fw->front);
	}
}

static void check_interrupts(struct fuse_worker *fw, uint64_t now, uint64_t *next)
{
	if (now < *next)
		return;
	*next = now + SLEEP_NS;
	if (fw->inuse && !ns_info(fs_ns(fw->front->fs))->connected)
		freq_interrupts(fw);
}

/* True once all workers have finished their requests. */
static bool drained(struct fuse_worker *fw, bool *mine)
{
	if (!atomic_load(&fw->front->ending))
		return false;
	if (!*mine && !fw->inuse) {
		*mine = true;
		atomic_fetch_sub(&fw->front->draining, 1);
	}
	return !atomic_load(&fw->front->draining);
}

/* Nothing to do: true: others had the CPU for a moment, look again. Only while somebody waits for our I/O: read-ahead is in
 * no hurry. *now is set if the clock was read. */
static bool give_way(struct fuse_worker *fw, uint64_t *now)
{
	if (!fw->inuse || !lane_inflight(fw->w->lane)) {
		fw->spin.since = 0;
		return false;
	}
	*now = clock_now();
	if (!spin_again(&fw->spin, *now))
		return false;
	sched_yield();
	return true;
}

/* One round. What epoll has just found quiet is not asked again: each question is a system call, and most wake-ups are
 * for a request that the other workers are woken for, too. */
static bool work(struct fuse_worker *fw)
{
	bool busy = worker_run(fw->w);

	fw->rounds++;
	if (fw->fuse_event || fw->rx.backlog_count || fw->rounds % ROUNDS_BLIND == 0)
		busy = fuse_rx_pump(fw) || busy;
	if (busy || fw->lane_event || lane_inflight(fw->w->lane)) {
		fw->lane_event = false;
		busy = worker_poll(fw->w) || busy;
	}
	return busy;
}

/* The clock is read, and what hangs on it looked at, at every ROUNDS_BLIND-th round and before sleeping. */
static void loop(struct fuse_worker *fw)
{
	uint64_t interrupts = 0, tick = 0;
	bool mine = false, watching = true;

	while (!drained(fw, &mine)) {
		bool ending = atomic_load_explicit(&fw->front->ending, memory_order_relaxed);
		bool busy = work(fw);
		uint64_t now = 0, ns;

		if (busy && fw->spin.since)
			spin_end(&fw->spin, clock_now());
		busy = busy || give_way(fw, &now);
		if (busy && fw->rounds % ROUNDS_BLIND)
			continue;
		now = now ? now : clock_now();
		ns = run_timers(fw, &tick, now);
		check_interrupts(fw, now, &interrupts);
		if (ending && watching) { /* its EPOLLERR would not let us sleep */
			epoll_ctl(fw->epoll_fd, EPOLL_CTL_DEL, fw->front->fd, NULL);
			watching = false;
		}
		if (busy)
			continue;
		if (lane_arm(fw->w->lane)) { /* also what the timers queued */
			fw->lane_event = true;
			continue;
		}
		sleep_until_work(fw, ending ? MIN(ns, DRAIN_NS) : ns);
	}
}

void fuse_worker_run(struct fuse_worker *fw)
{
	fuse_self = fw;
	if (fw->front->conf.pin)
		pin(fw->index);
	/* The kernel must not wait for our own mount's dirty pages to give us memory. Needs privileges. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	loop(fw);
	fuse_self = NULL;
}
