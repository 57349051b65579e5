/* SPDX-License-Identifier: Apache-2.0 */
/* A lane's life: opening, closing, losing its wire and getting another, giving up, waiting. */
#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "transport/ns_impl.h"

#define WIRELESS_NS (20 * NS_PER_MS)

/* ---- the wire ---- */

/* The epoll descriptor follows the wire's; closing a descriptor takes it out by itself. */
void lane_watch(struct lane *lane)
{
	struct wire_fd now[LANE_FDS];
	int n = lane->wire ? lane->ops->fds(lane->wire, now, LANE_FDS) : 0;

	for (int i = 0; i < (int)LANE_FDS; i++) {
		struct wire_fd *old = &lane->watched[i], fd = i < n ? now[i] : (struct wire_fd){ -1, 0 };
		struct epoll_event ev = { .events = fd.events };

		if (fd.fd >= 0 && (fd.fd != old->fd || fd.events != old->events))
			epoll_ctl(lane->epfd, fd.fd == old->fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd.fd, &ev);
		*old = fd;
	}
}

/* After the descriptors were closed, or taken out. */
static void watch_nothing(struct lane *lane)
{
	for (unsigned i = 0; i < LANE_FDS; i++)
		lane->watched[i] = (struct wire_fd){ -1, 0 };
}

void lane_take_wire(struct lane *lane, struct wire *wire, uint32_t gen)
{
	assert(!lane->wire);
	lane->wire = wire;
	lane->gen = gen;
	lane_watch(lane);
	if (!list_empty(&lane->held))
		lane->due = 0; /* look at once */
}

static void mark_torn(const struct lane *lane, struct io *io)
{
	if (io->left < io->nblocks && io_is_volatile(lane->ns, io))
		io->flags |= IO_TORN;
}

static void mark_torn_list(const struct lane *lane, struct list *ios)
{
	list_for_each(l, ios)
		mark_torn(lane, list_entry(l, struct io, link));
}

void lane_lose_wire(struct lane *lane, int code)
{
	if (!lane->wire)
		return;
	lane->ops->stop(lane->wire);
	mark_torn_list(lane, &lane->urgent);
	mark_torn_list(lane, &lane->normal);
	mark_torn_list(lane, &lane->held);
	for (unsigned i = 0; i < lane->nslots; i++) {
		struct slot *s = &lane->slots[i];
		struct io *io = s->owner;

		if (s->state != SLOT_FREE)
			mark_torn(lane, io);
		if (s->state != SLOT_SENT)
			continue;
		if (io->op != IO_READ && io->op != IO_FLUSH)
			ns_doubt_add(lane->ns, s->block, s->nblocks);
		s->state = SLOT_READY;
		lane->ready[lane->nready++] = s;
		stat_add(&lane->stats->reissued, 1);
	}
	atomic_store(&lane->inflight, 0);
	lane->ops->free(lane->wire);
	lane->wire = NULL;
	watch_nothing(lane);
	ns_lost(lane->ns, code);
	atomic_store(&lane->stopped_gen, lane->gen);
	ns_wake(lane->ns);
}

void lane_audit(struct lane *lane)
{
	bool late = false;

	for (unsigned i = 0; lane->wire && i < lane->nslots; i++) {
		if (lane->slots[i].state == SLOT_SENT && ++lane->slots[i].age >= AUDITS)
			late = true;
	}
	if (late)
		lane_lose_wire(lane, -E_TIMEDOUT);
}

/* Without a wire the list is shared with the control thread. */
static void stabilize_all(struct lane *lane)
{
	struct list all, *l;

	list_init(&all);
	pthread_mutex_lock(&lane->ns->lock);
	list_splice(&all, &lane->unflushed);
	pthread_mutex_unlock(&lane->ns->lock);
	atomic_store(&lane->unflushed_bytes, 0);
	while ((l = list_pop(&all))) {
		struct io *io = list_entry(l, struct io, link);

		io->stable(io);
	}
}

static void fail_list(struct lane *lane, struct list *list)
{
	struct list *l;

	while ((l = list_pop(list))) {
		struct io *io = list_entry(l, struct io, link);

		io->left -= io->nblocks - io->next;
		io->next = io->nblocks;
		io->status = lane->given_up;
		if (!io->left)
			lane_end_io(lane, io, lane->given_up);
	}
}

void lane_fail_all(struct lane *lane)
{
	lane_lose_wire(lane, lane->given_up);
	lane->nready = lane->ndelayed = 0;
	lane->due = UINT64_MAX;
	for (unsigned i = 0; i < lane->nslots; i++) {
		if (lane->slots[i].state != SLOT_FREE)
			lane_end_slot(lane, &lane->slots[i], lane->given_up);
	}
	fail_list(lane, &lane->urgent);
	fail_list(lane, &lane->normal);
	fail_list(lane, &lane->held);
	stabilize_all(lane);
}

/* ---- letters ---- */

static void deliver_audit(struct letter *l)
{
	struct lane *lane = container_of(l, struct lane, audit_letter);

	atomic_store(&lane->audit_posted, false);
	lane_audit(lane);
}

static void deliver_stop(struct letter *l)
{
	struct lane *lane = container_of(l, struct lane, stop_letter);

	atomic_store(&lane->stop_posted, false);
	lane_lose_wire(lane, -E_LOST);
}

/* Its association may be lost again by now, and the letter about that be the one before this. */
static void deliver_wire(struct letter *l)
{
	struct lane *lane = container_of(l, struct lane, wire_letter);

	lane_take_wire(lane, lane->fresh, lane->fresh_gen);
	lane->fresh = NULL;
	if (atomic_load(&lane->ns->lost))
		lane_lose_wire(lane, -E_LOST);
}

static void deliver_reap(struct letter *l)
{
	struct lane *lane = container_of(l, struct lane, reap_letter);

	atomic_store(&lane->reap_posted, false);
	if (lane->given_up)
		stabilize_all(lane);
	else if (lane->wire)
		lane_reap(lane);
}

static void deliver_give_up(struct letter *l)
{
	struct lane *lane = container_of(l, struct lane, give_up_letter);

	lane->given_up = atomic_load(&lane->ns->given_up);
	lane_fail_all(lane);
}

/* ---- opening and closing ---- */

static int alloc_slots(struct lane *lane)
{
	unsigned n = lane->nslots;

	lane->slots = calloc(n, sizeof(*lane->slots));
	lane->free = calloc(n, sizeof(*lane->free));
	lane->ready = calloc(n, sizeof(*lane->ready));
	lane->ranges = aligned_alloc(4096, ROUND_UP(n * sizeof(*lane->ranges), 4096));
	if (!lane->slots || !lane->free || !lane->ready || !lane->ranges)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		lane->slots[i].sqe.cid = put16((uint16_t)i);
		lane->free[n - 1 - i] = (uint16_t)i;
	}
	lane->nfree = n;
	lane->reserved = n >= 8 ? 2 : 0;
	if (!lane->ops->map)
		return 0;
	return lane->ops->map(lane->ns->domain, lane->ranges, ROUND_UP(n * sizeof(*lane->ranges), 4096), WIRE_REMOTE_READ,
			      &lane->ranges_key);
}

static void lane_free(struct lane *lane)
{
	if (lane->ops->unmap && lane->ranges_key.len)
		lane->ops->unmap(lane->ns->domain, &lane->ranges_key);
	if (lane->mailbox.fd >= 0)
		mailbox_exit(&lane->mailbox);
	if (lane->epfd >= 0)
		close(lane->epfd);
	free(lane->slots);
	free(lane->free);
	free(lane->ready);
	free(lane->ranges);
	free(lane);
}

static int init_fds(struct lane *lane)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int r = mailbox_init(&lane->mailbox);

	if (r)
		return r;
	lane->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (lane->epfd < 0)
		return -errno;
	return epoll_ctl(lane->epfd, EPOLL_CTL_ADD, lane->mailbox.fd, &ev) ? -errno : 0;
}

static struct lane *lane_new(struct ns *ns, unsigned index)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	*lane = (struct lane){ .ns = ns, .index = index, .ops = ns->ops, .epfd = -1, .due = UINT64_MAX,
			       .nslots = ns->info.queue_size - 1u, .stats = &ns->queues[index].stats };
	lane->mailbox.fd = -1;
	watch_nothing(lane);
	list_init(&lane->urgent);
	list_init(&lane->normal);
	list_init(&lane->held);
	list_init(&lane->finished);
	list_init(&lane->unflushed);
	lane->audit_letter.deliver = deliver_audit;
	lane->stop_letter.deliver = deliver_stop;
	lane->wire_letter.deliver = deliver_wire;
	lane->reap_letter.deliver = deliver_reap;
	lane->give_up_letter.deliver = deliver_give_up;
	return lane;
}

/* With ns.lock held. */
static int lane_attach(struct lane *lane)
{
	struct ns_queue *q = &lane->ns->queues[lane->index];
	uint32_t gen = atomic_load(&lane->ns->gen);

	if (q->lane)
		return -EBUSY;
	q->lane = lane;
	lane->given_up = atomic_load(&lane->ns->given_up);
	if (q->wire)
		lane_take_wire(lane, q->wire, gen);
	else
		atomic_store(&lane->stopped_gen, gen);
	q->wire = NULL;
	return 0;
}

int lane_open(struct lane **out, struct ns *ns, unsigned index)
{
	struct lane *lane;
	int r;

	if (index >= ns->nqueues)
		return -EINVAL;
	lane = lane_new(ns, index);
	if (!lane)
		return -ENOMEM;
	r = init_fds(lane);
	if (!r)
		r = alloc_slots(lane);
	if (!r) {
		pthread_mutex_lock(&ns->lock);
		r = lane_attach(lane);
		pthread_mutex_unlock(&ns->lock);
	}
	if (r) {
		lane_free(lane);
		return r;
	}
	*out = lane;
	return 0;
}

/* The wire goes back if it is of the present association; nothing is in flight on it. */
static void give_back(struct lane *lane)
{
	struct ns *ns = lane->ns;
	struct ns_queue *q = &ns->queues[lane->index];

	pthread_mutex_lock(&ns->lock);
	list_splice(&ns->orphans, &lane->unflushed);
	atomic_fetch_add(&ns->orphan_bytes, atomic_load(&lane->unflushed_bytes));
	if (lane->wire && lane->gen == atomic_load(&ns->gen) && !q->wire && !atomic_load(&ns->lost)) {
		q->wire = lane->wire;
		lane->wire = NULL;
	}
	pthread_mutex_unlock(&ns->lock);
	if (lane->wire) {
		lane->ops->stop(lane->wire);
		lane->ops->free(lane->wire);
	}
}

bool lane_idle(const struct lane *lane)
{
	return !lane_inflight(lane) && lane->nfree == lane->nslots && list_empty(&lane->normal) && list_empty(&lane->urgent) &&
	       list_empty(&lane->held) && list_empty(&lane->finished);
}

void lane_close(struct lane *lane)
{
	struct ns *ns = lane->ns;

	/* First nobody writes letters any more, then those that are there are read. */
	pthread_mutex_lock(&ns->lock);
	ns->queues[lane->index].lane = NULL;
	pthread_mutex_unlock(&ns->lock);
	mailbox_deliver(&lane->mailbox);
	assert(lane_idle(lane));
	for (unsigned i = 0; i < LANE_FDS; i++) {
		if (lane->watched[i].fd >= 0)
			epoll_ctl(lane->epfd, EPOLL_CTL_DEL, lane->watched[i].fd, NULL);
	}
	give_back(lane);
	lane_free(lane);
}

/* ---- waiting ---- */

/* A thread that waits on one lane does not poll the others it owns; but no connection comes back before all have stopped
 * the old one, so it does that much for them. Calls no done() and no stable(). */
static void stop_siblings(struct lane *lane)
{
	struct ns *ns = lane->ns;

	if (!atomic_load(&ns->lost))
		return;
	pthread_mutex_lock(&ns->lock);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct lane *other = ns->queues[i].lane;

		if (other && other != lane && atomic_load(&other->owner) == pthread_self())
			lane_lose_wire(other, -E_LOST);
	}
	pthread_mutex_unlock(&ns->lock);
}

static void sleep_on(struct lane *lane, uint64_t ns)
{
	struct epoll_event ev;

	if (clock_is_virtual())
		clock_poll(NULL, 0, MIN(ns, NS_PER_MS));
	else
		epoll_wait(lane->epfd, &ev, 1, ns > 3600 * NS_PER_S ? -1 : (int)DIV_UP(ns, NS_PER_MS));
}

void lane_wait(struct lane *lane, const unsigned *pending)
{
	bool threaded = !(lane->ns->conf.flags & NS_NO_THREAD);

	lane->spin.since = 0; /* a wait before this one may have ended without an answer */
	while (*pending) {
		uint64_t due;

		if (lane_poll(lane)) {
			if (lane->spin.since)
				spin_end(&lane->spin, clock_now());
			continue;
		}
		due = threaded ? UINT64_MAX : ns_control(lane->ns);
		if (threaded && lane_inflight(lane) && spin_again(&lane->spin, clock_now())) {
			sched_yield();
			continue;
		}
		if (!lane->wire) {
			stop_siblings(lane);
			due = MIN(due, WIRELESS_NS);
		}
		if (*pending && !lane_arm(lane))
			sleep_on(lane, MIN(due, lane_timeout(lane)));
	}
}
