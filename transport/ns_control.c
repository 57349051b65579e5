/* SPDX-License-Identifier: Apache-2.0 */
/* The control thread's work: keeping the association alive, noticing its end, getting another one. ns_impl.h has the
 * states. One step is ns_control(); it blocks only while connecting. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/ns_impl.h"

#define STOPPING_POLL (10 * NS_PER_MS)
#define COMPLAINT_NS (30 * NS_PER_S)

void ns_wake(struct ns *ns)
{
	uint64_t one = 1;

	if (ns->wake_fd >= 0)
		(void)!write(ns->wake_fd, &one, sizeof(one));
}

void ns_lost(struct ns *ns, int code)
{
	int none = 0;

	atomic_compare_exchange_strong(&ns->lost, &none, code);
}

/* ---- the end of an association ---- */

static void stop_idle_wires(struct ns *ns)
{
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct wire **w = &ns->queues[i].wire;

		if (*w) {
			ns->ops->stop(*w);
			ns->ops->free(*w);
			*w = NULL;
		}
	}
}

/* Asks every lane to stop its wire. Without threads this thread is everybody's and does it itself. */
static void stop_lanes(struct ns *ns)
{
	uint32_t gen = atomic_load(&ns->gen);

	pthread_mutex_lock(&ns->lock);
	stop_idle_wires(ns);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct lane *lane = ns->queues[i].lane;

		if (!lane || atomic_load(&lane->stopped_gen) == gen)
			continue;
		if (ns->conf.flags & NS_NO_THREAD)
			lane_lose_wire(lane, -E_LOST);
		else if (!atomic_exchange(&lane->stop_posted, true))
			mailbox_post(&lane->mailbox, &lane->stop_letter);
	}
	pthread_mutex_unlock(&ns->lock);
}

static void begin_stopping(struct ns *ns, int code)
{
	char addr[NQN_MAX + 300];

	ns_lost(ns, code);
	log_warn("connection to %s lost (%s); trying again every %u s", ns_addr_print(&ns->conf.addr, addr, sizeof(addr)),
		 err_text(atomic_load(&ns->lost)), ns->conf.addr.reconnect_delay);
	atomic_store(&ns->info.connected, false);
	ns->down_since = clock_now();
	ns->state = NS_STOPPING;
	ctrl_stop(ns->ctrl);
	stop_lanes(ns);
	if (ns->conf.event)
		ns->conf.event(ns->conf.event_arg, ns, false);
}

/* The synchronous queue's lane has an owner only while somebody is in a call. */
static void poll_sync_lane(struct ns *ns)
{
	if (!ns->sync || pthread_mutex_trylock(&ns->sync_lock))
		return;
	lane_poll(ns->sync);
	pthread_mutex_unlock(&ns->sync_lock);
}

static bool all_stopped(struct ns *ns)
{
	uint32_t gen = atomic_load(&ns->gen);
	bool all = true;

	pthread_mutex_lock(&ns->lock);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct lane *lane = ns->queues[i].lane;

		if (lane && atomic_load(&lane->stopped_gen) != gen)
			all = false;
	}
	if (all)
		stop_idle_wires(ns);
	pthread_mutex_unlock(&ns->lock);
	return all;
}

/* Rule 3 of ns_impl.h holds from here on. */
static void end_association(struct ns *ns)
{
	ctrl_close(ns->ctrl, false);
	ns->ctrl = NULL;
	ns_doubt_seal(ns);
	ns->state = NS_DOWN;
	ns->next_try = clock_now();
	ns->next_complaint = 0;
}

/* ---- the next one ---- */

static void hand_over(struct ns *ns, struct wire **wires)
{
	uint32_t gen;

	pthread_mutex_lock(&ns->lock);
	stop_idle_wires(ns); /* of a lane that was closed meanwhile */
	atomic_store(&ns->lost, 0);
	ns_refresh(ns);
	gen = atomic_fetch_add(&ns->gen, 1) + 1;
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct lane *lane = ns->queues[i].lane;

		if (!lane) {
			ns->queues[i].wire = wires[i];
			continue;
		}
		lane->fresh = wires[i];
		lane->fresh_gen = gen;
		if (ns->conf.flags & NS_NO_THREAD)
			lane->wire_letter.deliver(&lane->wire_letter);
		else
			mailbox_post(&lane->mailbox, &lane->wire_letter);
	}
	pthread_mutex_unlock(&ns->lock);
}

/* Everything that has to be right before a lane may send. */
static int recover(struct ns *ns, struct wire **wires)
{
	int r = 0;

	ns->recovery_wire = wires[ns->nqueues - 1];
	ns->control = pthread_self();
	ns->recovering = true;
	if (ns->conf.reclaim) {
		r = ns->conf.reclaim(ns->conf.reclaim_arg, ns);
		if (r < 0 && !atomic_load(&ns->lost)) {
			log_error("the namespace is given up: %s", err_text(r));
			ns_give_up(ns, r);
		}
	}
	if (r >= 0)
		r = ns_rewrite(ns);
	ns->recovering = false;
	return r;
}

/* The first failure, then one line now and then. */
static void complain(struct ns *ns, const char *why)
{
	uint64_t now = clock_now();

	if (now < ns->next_complaint) {
		log_debug("still not connected: %s", why);
		return;
	}
	ns->next_complaint = now + COMPLAINT_NS;
	log_warn("still not connected after %llu s: %s", (unsigned long long)((now - ns->down_since) / NS_PER_S), why);
}

static void drop_attempt(struct ns *ns, struct wire **wires)
{
	for (unsigned i = 0; i < ns->nqueues; i++) {
		ns->ops->stop(wires[i]);
		ns->ops->free(wires[i]);
	}
	ctrl_close(ns->ctrl, false);
	ns->ctrl = NULL;
	ns_doubt_seal(ns);
	atomic_store(&ns->lost, 0);
}

static void went_live(struct ns *ns)
{
	log_info("connected again after %llu ms", (unsigned long long)((clock_now() - ns->down_since) / NS_PER_MS));
	ns->state = NS_LIVE;
	atomic_fetch_add(&ns->info.reconnects, 1);
	atomic_store(&ns->info.connected, true);
	if (ns->conf.event)
		ns->conf.event(ns->conf.event_arg, ns, true);
}

static int attempt(struct ns *ns, struct wire **wires)
{
	char why[512] = "";
	int r = ns_connect_again(ns, wires, why, sizeof(why));

	if (r == -E_ID_CHANGED) {
		log_error("%s; the namespace is given up", why);
		ns_give_up(ns, r);
	}
	if (r) {
		complain(ns, *why ? why : err_text(r));
		return r;
	}
	atomic_store(&ns->lost, 0);
	r = recover(ns, wires);
	if (!r)
		r = atomic_load(&ns->given_up);
	if (r < 0) {
		complain(ns, err_text(r));
		drop_attempt(ns, wires);
		return r;
	}
	hand_over(ns, wires);
	return 0;
}

static void try_connect(struct ns *ns)
{
	struct wire **wires = calloc(ns->nqueues, sizeof(*wires));

	if (wires && !attempt(ns, wires))
		went_live(ns);
	else
		ns->next_try = clock_now() + ns->conf.addr.reconnect_delay * NS_PER_S;
	free(wires);
}

/* ---- events ---- */

/* The controller said that a namespace changed: is ours still there, and the same? */
static int look_again(struct ns *ns)
{
	struct ns_ident ident;
	int r;

	ns->ctrl->ns_changed = false;
	r = ns_identify(ns->ctrl, ns->info.nsid, &ident);
	if (r == -E_NO_NSID) {
		log_warn("namespace %u went away at the controller", ns->info.nsid);
		return r;
	}
	if (r || ident.nlbas == ns->ident.nlbas)
		return r;
	log_info("namespace %u has %llu LBAs now; the size is looked at when it is mounted", ns->info.nsid,
		 (unsigned long long)ident.nlbas);
	return 0;
}

static void reap_orphans(struct ns *ns)
{
	struct list now;
	struct list *l;

	if (!atomic_load_explicit(&ns->orphan_bytes, memory_order_relaxed))
		return;
	list_init(&now);
	pthread_mutex_lock(&ns->lock);
	list_for_each_safe(o, &ns->orphans) {
		struct io *io = list_entry(o, struct io, link);

		if (io->seq > atomic_load(&ns->flushed) && !atomic_load(&ns->given_up))
			continue;
		atomic_fetch_sub(&ns->orphan_bytes, (uint64_t)io->nblocks * BLOCK_SIZE);
		list_del(&io->link);
		list_append(&now, &io->link);
	}
	pthread_mutex_unlock(&ns->lock);
	while ((l = list_pop(&now))) {
		struct io *io = list_entry(l, struct io, link);

		io->stable(io);
	}
}

/* ---- one step ---- */

/* The keep-alive says that the controller lives; this notices a single queue, or command, that it forgot. */
static uint64_t audit(struct ns *ns)
{
	uint64_t now = clock_now();

	if (now < ns->next_audit)
		return ns->next_audit - now;
	ns->next_audit = now + AUDIT_NS;
	pthread_mutex_lock(&ns->lock);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct lane *lane = ns->queues[i].lane;

		if (!lane || !lane_inflight(lane))
			continue;
		if (ns->conf.flags & NS_NO_THREAD)
			lane_audit(lane);
		else if (!atomic_exchange(&lane->audit_posted, true))
			mailbox_post(&lane->mailbox, &lane->audit_letter);
	}
	pthread_mutex_unlock(&ns->lock);
	return AUDIT_NS;
}

void ns_refresh(struct ns *ns)
{
	uint64_t kato = ns->ctrl->kato_ms * NS_PER_MS;

	atomic_store(&ns->fresh_until, kato ? ns->ctrl->keep_alive_sent + kato : 0);
}

static uint64_t step_live(struct ns *ns)
{
	uint64_t due = UINT64_MAX, next = audit(ns);
	int r = ctrl_tick(ns->ctrl, &due);

	if (!r)
		ns_refresh(ns);
	if (!r && ns->ctrl->ns_changed)
		r = look_again(ns);
	if (!r)
		r = atomic_load(&ns->lost);
	if (r < 0) {
		begin_stopping(ns, r);
		return 0;
	}
	reap_orphans(ns);
	return MIN(due, next);
}

static uint64_t step_stopping(struct ns *ns)
{
	poll_sync_lane(ns);
	if (!all_stopped(ns))
		return STOPPING_POLL;
	end_association(ns);
	return 0;
}

static uint64_t step_down(struct ns *ns)
{
	uint64_t now = clock_now();

	if (now < ns->next_try)
		return ns->next_try - now;
	try_connect(ns);
	return 0;
}

static void enter_given_up(struct ns *ns)
{
	if (ns->ctrl)
		ctrl_stop(ns->ctrl);
	pthread_mutex_lock(&ns->lock);
	stop_idle_wires(ns);
	pthread_mutex_unlock(&ns->lock);
	atomic_store(&ns->info.connected, false);
	ns->state = NS_GIVEN_UP;
}

static uint64_t step(struct ns *ns)
{
	if (atomic_load(&ns->given_up)) {
		if (ns->state != NS_GIVEN_UP)
			enter_given_up(ns);
		poll_sync_lane(ns);
		reap_orphans(ns);
		return NS_PER_S;
	}
	switch (ns->state) {
	case NS_LIVE:
		return step_live(ns);
	case NS_STOPPING:
		return step_stopping(ns);
	case NS_DOWN:
		return step_down(ns);
	case NS_GIVEN_UP:
		break;
	}
	return NS_PER_S;
}

uint64_t ns_control(struct ns *ns)
{
	uint64_t due;

	if (ns->stepping) /* on one thread: called from within a step that waits */
		return NS_PER_MS;
	ns->stepping = true;
	due = step(ns);
	ns->stepping = false;
	return due;
}

/* ---- the thread ---- */

static void sleep_until_due(struct ns *ns, uint64_t due)
{
	struct wire_fd fds[3];
	struct pollfd p[4] = { { ns->wake_fd, POLLIN, 0 } };
	nfds_t n = 1;
	uint64_t count;

	if (ns->ctrl && ns->state == NS_LIVE) {
		int m = ns->ops->arm(ns->ctrl->admin) ? -1 : ns->ops->fds(ns->ctrl->admin, fds, ARRAY_SIZE(fds));

		if (m < 0)
			return;
		for (int i = 0; i < m; i++)
			p[n++] = (struct pollfd){ fds[i].fd, (short)(fds[i].events & EPOLLOUT ? POLLIN | POLLOUT : POLLIN), 0 };
	}
	poll(p, n, (int)MIN(DIV_UP(due, NS_PER_MS), 60000));
	if (p[0].revents)
		(void)!read(ns->wake_fd, &count, sizeof(count));
}

static void *control_main(void *arg)
{
	struct ns *ns = arg;

	while (!atomic_load(&ns->stop)) {
		uint64_t due = ns_control(ns);

		if (due && !atomic_load(&ns->stop))
			sleep_until_due(ns, MIN(due, 3600 * NS_PER_S));
	}
	return NULL;
}

int ns_control_start(struct ns *ns)
{
	int r;

	ns->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ns->wake_fd < 0)
		return -errno;
	if (ns->conf.flags & NS_NO_THREAD)
		return 0;
	r = pthread_create(&ns->thread, NULL, control_main, ns);
	return -r;
}

void ns_control_stop(struct ns *ns)
{
	if (ns->wake_fd < 0)
		return;
	if (!(ns->conf.flags & NS_NO_THREAD)) {
		atomic_store(&ns->stop, true);
		ns_wake(ns);
		pthread_join(ns->thread, NULL);
	}
	close(ns->wake_fd);
	ns->wake_fd = -1;
}
