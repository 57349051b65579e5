/* SPDX-License-Identifier: Apache-2.0 */
/* Queues, time and fates of commands of the simulated device (sim_dev.h). */
#include "tests/sim/sim_dev_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"

struct sim_dev *sim_dev_new(const struct sim_dev_conf *conf)
{
	struct sim_dev *d = calloc(1, sizeof(*d));

	assert(d);
	d->conf = *conf;
	d->rng.state = conf->seed;
	list_init(&d->ctrls);
	list_init(&d->cmds);
	media_init(&d->media, conf->bytes, conf->lba_size);
	return d;
}

static void ctrl_put(struct sim_ctrl *c)
{
	if (!c || --c->refs)
		return;
	list_del(&c->link);
	free(c);
}

static void cmd_free(struct sim_cmd *c)
{
	list_del(&c->link);
	ctrl_put(c->ctrl);
	free(c->data);
	free(c);
}

void sim_dev_free(struct sim_dev *d)
{
	sim_dev_drop_orphans(d);
	assert(list_empty(&d->cmds) && list_empty(&d->ctrls));
	media_exit(&d->media);
	free(d->events);
	free(d->data);
	free(d);
}

struct media *sim_dev_media(struct sim_dev *d) { return &d->media; }
const struct sim_dev_conf *sim_dev_conf(const struct sim_dev *d) { return &d->conf; }
const struct sim_dev_stats *sim_dev_stats(const struct sim_dev *d) { return &d->stats; }

/* ---- fates ---- */

/* Until when the controller may still execute what it had received (base 9.6): it notices the loss two keep-alive times
 * after it last heard of the host, then quiesces. */
static uint64_t late_limit(const struct sim_dev *d, const struct sim_ctrl *c)
{
	return c->last_rx + 2ull * c->kato_ms * NS_PER_MS + d->conf.cqt_ms * NS_PER_MS;
}

/* The power goes in the middle of a write. */
static void tear(struct sim_dev *d, struct sim_cmd *c)
{
	uint64_t lba = get64(c->sqe.rw.slba);
	uint32_t size = d->conf.lba_size, percent = (uint32_t)rng_below(&d->rng, 101);

	if (c->sqe.opcode != NVME_IO_WRITE || !range_fits(lba, c->len / size, d->conf.bytes / size))
		return;
	for (uint32_t i = 0; i < c->len / size; i++)
		if (rng_below(&d->rng, 100) < percent)
			sim_event_write(d, c, lba + i, 1, (const uint8_t *)c->slot->mem + (size_t)i * size, true);
}

static void orphan(struct sim_dev *d, struct sim_cmd *c, enum sim_fate fate)
{
	uint64_t now = clock_now(), limit = late_limit(d, c->ctrl);

	if (c->executed || c->parked || c->queue->qid == 0) {
		cmd_free(c);
		return;
	}
	if (fate == FATE_TORN) {
		tear(d, c);
		fate = FATE_NEVER;
	}
	if (c->slot->dir == SLOT_TO_CTRL && c->len) {
		c->data = malloc(c->len);
		assert(c->data);
		memcpy(c->data, c->slot->mem, c->len);
	}
	c->slot = NULL;
	c->queue = NULL;
	if (fate == FATE_ANY)
		fate = (enum sim_fate)(FATE_EXECUTED + rng_below(&d->rng, 3));
	c->exec_at = fate == FATE_LATER && limit > now ? now + rng_below(&d->rng, limit - now) : now;
	if (fate == FATE_NEVER) {
		d->stats.orphans_dropped++;
		cmd_free(c);
	}
}

static void orphan_queue(struct sim_queue *q, enum sim_fate fate)
{
	list_for_each_safe(l, &q->dev->cmds) {
		struct sim_cmd *c = list_entry(l, struct sim_cmd, link);

		if (c->queue == q)
			orphan(q->dev, c, fate);
	}
	q->dead = true;
	inproc_break(q->iq);
}

static void lose_ctrl(struct sim_ctrl *c, enum sim_fate fate)
{
	if (c->dead)
		return;
	c->dead = true;
	list_for_each_safe(l, &c->queues)
		orphan_queue(list_entry(l, struct sim_queue, link), fate);
}

void sim_dev_lose(struct sim_dev *d, enum sim_fate fate, uint64_t down)
{
	d->stats.losses++;
	list_for_each_safe(l, &d->ctrls) {
		struct sim_ctrl *c = list_entry(l, struct sim_ctrl, link);

		c->refs++; /* its last command may go */
		lose_ctrl(c, fate);
		ctrl_put(c);
	}
	d->down_until = clock_now() + down;
	sim_dev_run(d);
}

void sim_dev_power_cut(struct sim_dev *d, enum media_keep keep, uint64_t down)
{
	static const enum sim_fate fates[] = {FATE_NEVER, FATE_ANY, FATE_TORN};

	sim_dev_lose(d, fates[rng_below(&d->rng, 3)], down);
	sim_dev_drop_orphans(d);
	media_cut(&d->media, keep, &d->rng);
}

uint64_t sim_dev_orphans_until(const struct sim_dev *d)
{
	uint64_t until = 0;

	list_for_each(l, &d->cmds) {
		const struct sim_cmd *c = list_entry(l, struct sim_cmd, link);

		if (!c->queue)
			until = MAX(until, c->exec_at);
	}
	return until;
}

void sim_dev_drop_orphans(struct sim_dev *d)
{
	list_for_each_safe(l, &d->cmds) {
		struct sim_cmd *c = list_entry(l, struct sim_cmd, link);

		if (c->queue)
			continue;
		d->stats.orphans_dropped++;
		cmd_free(c);
	}
}

/* ---- faults ---- */

void sim_dev_fault(struct sim_dev *d, const struct sim_fault *f)
{
	assert(d->nfaults < SIM_FAULTS);
	d->faults[d->nfaults++] = *f;
}

void sim_dev_no_faults(struct sim_dev *d)
{
	d->nfaults = 0;
}

void sim_dev_pause_faults(struct sim_dev *d, bool pause)
{
	d->faults_paused = pause;
}

uint64_t sim_dev_fault_hits(const struct sim_dev *d)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < d->nfaults; i++)
		n += d->faults[i].hits;
	return n;
}

static struct sim_fault *fault_for(struct sim_dev *d, const struct sim_cmd *c)
{
	uint8_t op = c->sqe.opcode;
	uint64_t first = get64(c->sqe.rw.slba), last = first + get16(c->sqe.rw.nlb);

	for (unsigned i = 0; i < d->nfaults && !d->faults_paused; i++) {
		struct sim_fault *f = &d->faults[i];

		if (op > 31 || !(f->ops & SIM_OP(op)) || f->hits >= f->count)
			continue;
		if (op != NVME_IO_FLUSH && op != NVME_IO_DSM && (last < f->first || first > f->last))
			continue;
		if (f->skip) {
			f->skip--;
			continue;
		}
		if (rng_below(&d->rng, 1000) >= f->per_mille)
			continue;
		f->hits++;
		return f;
	}
	return NULL;
}

/* ---- time ---- */

static struct sim_cmd *first_due(const struct sim_dev *d, uint64_t *when)
{
	struct sim_cmd *first = NULL;

	*when = UINT64_MAX;
	list_for_each(l, &d->cmds) {
		struct sim_cmd *c = list_entry(l, struct sim_cmd, link);
		uint64_t at = c->parked ? UINT64_MAX : c->executed ? c->done_at : c->exec_at;

		if (at < *when) {
			*when = at;
			first = c;
		}
	}
	return first;
}

uint64_t sim_dev_next(const struct sim_dev *d)
{
	uint64_t when;

	first_due(d, &when);
	return when;
}

void sim_dev_start_over(struct sim_dev *d, uint64_t seed)
{
	d->rng.state = seed;
	d->down_until = 0;
	d->next_cntlid = 1;
	d->stamp = d->next_num = 1ull << 40; /* behind those of a record, which may be applied later */
}

unsigned sim_dev_pending(const struct sim_dev *d)
{
	unsigned n = 0;

	list_for_each(l, &d->cmds) {
		const struct sim_cmd *c = list_entry(l, struct sim_cmd, link);

		n += c->queue && !c->parked;
	}
	return n;
}

static void step(struct sim_dev *d, struct sim_cmd *c)
{
	struct sim_fault *f;

	if (!c->queue) { /* whose data is a copy; nobody hears of it */
		if (c->sqe.opcode != NVME_IO_READ)
			sim_ctrl_execute(d, c, NULL, c->data);
		d->stats.orphans_executed++;
		cmd_free(c);
	} else if (!c->executed) {
		f = c->queue->qid ? fault_for(d, c) : NULL;
		if (f && f->type == FAULT_LOSE) {
			sim_dev_lose(d, FATE_ANY, f->delay);
			return; /* c is an orphan, or gone */
		}
		if (f && f->type == FAULT_SLOW) {
			c->exec_at += f->delay;
			c->done_at += f->delay;
			return;
		}
		c->executed = true;
		sim_ctrl_execute(d, c, f, c->slot->mem);
	} else {
		sim_event_done(d, c);
		inproc_complete(c->queue->iq, c->slot, cqe_status(&c->cqe), get64(c->cqe.value));
		cmd_free(c);
	}
}

bool sim_dev_run(struct sim_dev *d)
{
	bool any = false;

	for (;;) {
		uint64_t when;
		struct sim_cmd *c = first_due(d, &when);

		if (!c || when > clock_now())
			return any;
		step(d, c);
		any = true;
	}
}

/* ---- the peer of the in-process wire ---- */

static int peer_connect(struct inproc_peer *peer, struct inproc_queue *iq)
{
	struct sim_dev *d = container_of(peer, struct sim_dev, peer);
	struct sim_queue *q;

	if (clock_now() < d->down_until)
		return -E_CONNECT_REFUSED;
	q = calloc(1, sizeof(*q));
	assert(q);
	q->dev = d;
	q->iq = iq;
	q->qid = iq->qid;
	list_init(&q->link);
	iq->priv = q;
	return 0;
}

static void peer_submit(struct inproc_peer *peer, struct inproc_queue *iq, struct slot *s)
{
	struct sim_dev *d = container_of(peer, struct sim_dev, peer);
	struct sim_queue *q = iq->priv;
	struct sim_cmd *c = calloc(1, sizeof(*c));
	uint64_t spread = d->conf.latency_max - d->conf.latency_min + 1;

	assert(c && !q->dead);
	c->queue = q;
	c->slot = s;
	c->sqe = s->sqe;
	c->len = s->len;
	c->submitted = ++d->stamp;
	c->exec_at = clock_now() + d->conf.latency_min + rng_below(&d->rng, spread);
	c->done_at = c->exec_at + d->conf.latency_min + rng_below(&d->rng, spread);
	c->ctrl = q->ctrl;
	if (c->ctrl) {
		c->ctrl->refs++;
		c->ctrl->last_rx = clock_now();
	}
	list_append(&d->cmds, &c->link);
}

static void peer_poll(struct inproc_peer *peer, struct inproc_queue *iq)
{
	sim_dev_run(container_of(peer, struct sim_dev, peer));
}

static void peer_disconnect(struct inproc_peer *peer, struct inproc_queue *iq)
{
	struct sim_queue *q = iq->priv;

	if (!q->dead)
		orphan_queue(q, FATE_ANY);
	if (q->ctrl && q->qid == 0)
		lose_ctrl(q->ctrl, FATE_ANY);
	list_del(&q->link);
	ctrl_put(q->ctrl);
	free(q);
}

struct inproc_peer *sim_dev_peer(struct sim_dev *d)
{
	d->peer = (struct inproc_peer){
		.connect = peer_connect, .submit = peer_submit, .poll = peer_poll, .disconnect = peer_disconnect};
	return &d->peer;
}
