/* SPDX-License-Identifier: Apache-2.0 */
/* The admin queue of a living controller: executing commands, keep-alive, events, shutdown. */
#include "transport/ctrl.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"

/* A controller may take RTD3E for its shutdown; a user who unmounts will not. What matters was flushed before. */
#define SHUTDOWN_NS (5 * NS_PER_S)

int ctrl_fail(struct ctrl *c, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (c->why)
		vsnprintf(c->why, c->why_len, format, ap);
	va_end(ap);
	return code;
}

/* Arming comes before sleeping, or what arrives between the caller's last poll and the sleep would not wake it. 0
 * says nothing about what has arrived: the caller polls again, and gets the time-out here when it comes back too
 * late. */
int wire_wait(struct wire *w, uint64_t deadline)
{
	struct wire_fd fds[4];
	struct pollfd p[4];
	uint64_t now = clock_now();
	int n;

	if (w->ops->arm(w))
		return 0;
	if (now >= deadline)
		return -E_TIMEDOUT;
	n = w->ops->fds(w, fds, ARRAY_SIZE(fds));
	if (n <= 0) { /* in-process: only time can bring something */
		clock_poll(NULL, 0, MIN(deadline - now, NS_PER_MS));
		return 0;
	}
	for (int i = 0; i < n; i++)
		p[i] = (struct pollfd){ fds[i].fd, (short)((fds[i].events & EPOLLIN ? POLLIN : 0) |
							  (fds[i].events & EPOLLOUT ? POLLOUT : 0)), 0 };
	poll(p, (nfds_t)n, (int)MIN(DIV_UP(deadline - now, NS_PER_MS), 60000));
	return 0;
}

/* Of the one slot that ctrl_exec uses: to be built anew before each call. */
struct sqe_wire *ctrl_sqe(struct ctrl *c)
{
	return &c->slots[CTRL_CID_EXEC].sqe;
}

/* The admin queue has room for all of CTRL_CIDS, so one that is not accepted whole is a wire that is no good any
 * more. The page has a key to be filled and one to be read from: a target that is to read cannot write. */
static int submit(struct ctrl *c, unsigned cid, enum slot_dir dir, uint32_t len)
{
	struct slot *s = &c->slots[cid];
	int r;

	s->sqe.cid = put16((uint16_t)cid);
	s->dir = dir;
	s->len = len;
	s->mem = len ? c->page->lent : NULL;
	s->key = dir == SLOT_TO_CTRL ? &c->page->source : &c->page->key;
	r = c->ops->send(c->admin, &s, 1);
	return r < 0 ? r : r == 1 ? 0 : -E_LOST;
}

/* A failed Keep Alive does not end the association here: a controller whose timer ran out ends it itself. */
static void keep_alive_done(struct ctrl *c, struct slot *s)
{
	c->keep_alive_out = false;
	if (cqe_status(&s->cqe))
		log_warn("Keep Alive failed with status %03xh", NVME_STATUS_CODE(cqe_status(&s->cqe)));
}

/* An AER that failed (Asynchronous Event Request Limit Exceeded, say) is no event; tick_events asks again. */
static void event_done(struct ctrl *c, struct slot *s)
{
	c->event_out = false;
	c->event_in = !cqe_status(&s->cqe);
	c->event = get32(s->cqe.dw0);
}

/* Takes what has arrived. */
static int collect(struct ctrl *c)
{
	struct slot *done[CTRL_CIDS];
	int n = c->ops->poll(c->admin, done, CTRL_CIDS);

	for (int i = 0; i < n; i++) {
		if (done[i] == &c->slots[CTRL_CID_EXEC])
			c->exec_done = true;
		else if (done[i] == &c->slots[CTRL_CID_KEEP_ALIVE])
			keep_alive_done(c, done[i]);
		else
			event_done(c, done[i]);
	}
	return n;
}

/* While connecting: what is left of the attempt. Later: KATO, since a controller that takes longer than that for an
 * admin command would have to be given up anyway; a second at least, for keep-alive switched off. */
static uint64_t exec_deadline(const struct ctrl *c)
{
	return c->deadline ? c->deadline : clock_now() + MAX(c->kato_ms, 1000u) * NS_PER_MS;
}

/* Data goes through page->lent, the only memory a target can reach, and is copied to page->bytes before anybody
 * parses it. A time-out leaves the slot with the wire: hence invariant 1, nothing but ctrl_close after it. */
int ctrl_exec(struct ctrl *c, enum slot_dir dir, uint32_t len)
{
	uint64_t deadline = exec_deadline(c);
	struct slot *s = &c->slots[CTRL_CID_EXEC];
	int r;

	if (dir == SLOT_TO_CTRL)
		memcpy(c->page->lent, c->page->bytes, len);
	c->exec_done = false;
	r = submit(c, CTRL_CID_EXEC, dir, len);
	while (r >= 0 && !c->exec_done) {
		r = collect(c);
		if (!r)
			r = wire_wait(c->admin, deadline);
	}
	if (r < 0) {
		c->alive = false;
		return r;
	}
	if (s->status)
		return s->status;
	if (dir == SLOT_TO_HOST)
		memcpy(c->page->bytes, c->page->lent, len);
	c->last_status = cqe_status(&s->cqe);
	return NVME_STATUS_CODE(c->last_status) ? -E_NVME_STATUS : 0;
}

int ctrl_identify(struct ctrl *c, enum nvme_cns cns, uint32_t nsid, uint8_t csi)
{
	admin_build_identify(ctrl_sqe(c), cns, nsid, csi);
	return ctrl_exec(c, SLOT_TO_HOST, NVME_IDENTIFY_LEN);
}

/* len is a multiple of 4 and at most a page; offset too is in bytes. */
int ctrl_get_log(struct ctrl *c, enum nvme_log lid, uint32_t nsid, uint64_t offset, uint32_t len)
{
	admin_build_get_log(ctrl_sqe(c), lid, nsid, offset, len);
	return ctrl_exec(c, SLOT_TO_HOST, len);
}

/* Reads the log that an event names, which clears the event, and says what is worth saying. */
static int handle_event(struct ctrl *c)
{
	unsigned type = NVME_AER_TYPE(c->event), info = NVME_AER_INFO(c->event), log = NVME_AER_LOG(c->event);
	uint32_t len = log == NVME_LOG_CHANGED_NS ? NVME_LOG_CHANGED_NS_LEN : NVME_LOG_SMART_LEN;
	int r = 0;

	c->event_in = false;
	if (type == NVME_AER_TYPE_ERROR || type == NVME_AER_TYPE_SMART)
		log_warn("the controller reports an event: type %u, information %02xh, log %02xh", type, info, log);
	if (log)
		r = ctrl_get_log(c, (enum nvme_log)log, NVME_NSID_ALL, 0, len);
	if (r == -E_NVME_STATUS)
		r = 0; /* not clearing one event is no reason to end the association */
	if (type == NVME_AER_TYPE_NOTICE && info == NVME_AER_NOTICE_NS_CHANGED)
		c->ns_changed = true;
	return r;
}

/* One AER outstanding is enough: events of one kind are held back by the controller until their log is read. */
static int arm_event(struct ctrl *c)
{
	int r;

	admin_build_simple(&c->slots[CTRL_CID_EVENT].sqe, NVME_ADMIN_AER);
	r = submit(c, CTRL_CID_EVENT, SLOT_NONE, 0);
	c->event_out = !r;
	return r;
}

/* The log first, then the next AER: in the other order the same event would come back at once. Not asked for where
 * nothing was configured (step_events): the command would never complete, or fail. */
static int tick_events(struct ctrl *c)
{
	int r = c->event_in ? handle_event(c) : 0;

	if (r || c->discovery || c->event_out || !c->oaes)
		return r;
	return arm_event(c);
}

/* Every KATO/2; one without an answer for KATO (also because we were stopped for that long) ends the association. */
static int tick_keep_alive(struct ctrl *c, uint64_t now, uint64_t *due)
{
	uint64_t kato = c->kato_ms * NS_PER_MS, since = now - c->keep_alive_sent;
	int r;

	if (!kato)
		return 0;
	if (since > kato)
		return -E_TIMEDOUT;
	if (since >= kato / 2 && !c->keep_alive_out) {
		admin_build_simple(&c->slots[CTRL_CID_KEEP_ALIVE].sqe, NVME_ADMIN_KEEP_ALIVE);
		r = submit(c, CTRL_CID_KEEP_ALIVE, SLOT_NONE, 0);
		if (r)
			return r;
		c->keep_alive_out = true;
		c->keep_alive_sent = now;
		since = 0;
	}
	*due = MIN(*due, since >= kato / 2 ? kato - since + 1 : kato / 2 - since);
	return 0;
}

/* Keep-alive before events: reading a log waits for an answer, and a late Keep Alive costs the association. */
int ctrl_tick(struct ctrl *c, uint64_t *due)
{
	int r = collect(c);

	*due = UINT64_MAX;
	if (r >= 0)
		r = tick_keep_alive(c, clock_now(), due);
	if (!r)
		r = tick_events(c);
	if (r < 0)
		c->alive = false;
	return r;
}

/* Quiet, unlike get_property of ctrl_open.c: while shutting down there is nobody to tell. Properties travel in SQE
 * and CQE, without data (base 6.5). */
static int read_property(struct ctrl *c, enum nvme_property property, uint64_t *value)
{
	int r;

	fabrics_build_property_get(ctrl_sqe(c), property);
	r = ctrl_exec(c, SLOT_NONE, 0);
	*value = get64(c->slots[CTRL_CID_EXEC].cqe.value);
	return r;
}

/* WIRE: CC.SHN, then CSTS.SHST until it is complete. */
void ctrl_shutdown(struct ctrl *c)
{
	uint64_t deadline = clock_now() + SHUTDOWN_NS, csts = 0, cc;

	if (!c->alive || !c->admin)
		return;
	/* Not again by ctrl_close, and not by anybody while this one waits. */
	c->alive = false;
	c->deadline = deadline;
	if (read_property(c, NVME_PROP_CC, &cc))
		return;
	/* The rest of CC stays as it is: clearing EN here would be a reset instead. */
	fabrics_build_property_set(ctrl_sqe(c), NVME_PROP_CC, ((uint32_t)cc & ~NVME_CC_SHN_MASK) | NVME_CC_SHN_NORMAL);
	if (ctrl_exec(c, SLOT_NONE, 0))
		return;
	while (!read_property(c, NVME_PROP_CSTS, &csts) && clock_now() < deadline) {
		if ((csts & NVME_CSTS_SHST_MASK) == NVME_CSTS_SHST_COMPLETE || csts & NVME_CSTS_CFS)
			return;
		clock_sleep(10 * NS_PER_MS);
	}
}

void ctrl_stop(struct ctrl *c)
{
	if (c->admin)
		c->ops->stop(c->admin);
	c->alive = false;
}

/* stop before unmap: until then the target may write to the page by its key (wire.h, invariant 1). unmap of a key
 * that was never mapped does nothing, so this undoes any number of steps. */
void ctrl_close(struct ctrl *c, bool orderly)
{
	if (!c)
		return;
	if (orderly)
		ctrl_shutdown(c);
	if (c->admin) {
		c->ops->stop(c->admin);
		c->ops->free(c->admin);
	}
	if (c->page && c->ops->unmap) {
		c->ops->unmap(c->domain, &c->page->key);
		c->ops->unmap(c->domain, &c->page->source);
	}
	free(c->page);
	free(c);
}
