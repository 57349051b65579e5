/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that changes the medium, done and recorded, and applied again from the record. */
#include "tests/sim/sim_dev_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct sim_event *event_new(struct sim_dev *d, enum sim_event_type type)
{
	static struct sim_event unrecorded;
	struct sim_event *e = &unrecorded;

	if (d->recording) {
		if (d->nevents == d->events_cap) {
			d->events_cap = d->events_cap ? d->events_cap * 2 : 1024;
			d->events = realloc(d->events, d->events_cap * sizeof(*d->events));
			assert(d->events);
		}
		e = &d->events[d->nevents++];
	}
	*e = (struct sim_event){.type = type};
	return e;
}

static size_t record_data(struct sim_dev *d, const void *data, size_t len)
{
	size_t at = d->ndata;

	if (!d->recording)
		return 0;
	if (at + len > d->data_cap) {
		d->data_cap = (at + len) * 2;
		d->data = realloc(d->data, d->data_cap);
		assert(d->data);
	}
	memcpy(d->data + at, data, len);
	d->ndata += len;
	return at;
}

/* What a deallocated LBA reads as: not zeros, so that nobody relies on them. */
static void apply_discard(struct media *m, uint64_t lba, uint32_t nlb, bool vwc, uint64_t cmd)
{
	uint8_t garbage[MEDIA_PAGE];

	memset(garbage, 0xdd, sizeof(garbage));
	for (uint32_t i = 0; i < nlb; i++)
		media_write(m, lba + i, 1, garbage, vwc, cmd);
}

void sim_event_write(struct sim_dev *d, struct sim_cmd *c, uint64_t lba, uint32_t nlb, const void *data, bool fua)
{
	struct sim_event *e = event_new(d, EV_WRITE);

	e->fua = fua || !d->conf.vwc;
	e->lba = lba;
	e->nlb = nlb;
	e->cmd = c->num = ++d->next_num;
	e->data = record_data(d, data, (size_t)nlb * d->conf.lba_size);
	media_write(&d->media, lba, nlb, data, !e->fua, e->cmd);
}

void sim_event_zero(struct sim_dev *d, struct sim_cmd *c, enum sim_event_type type, uint64_t lba, uint32_t nlb)
{
	struct sim_event *e = event_new(d, type);

	e->fua = !d->conf.vwc;
	e->lba = lba;
	e->nlb = nlb;
	e->cmd = c->num = ++d->next_num;
	if (type == EV_DISCARD)
		apply_discard(&d->media, lba, nlb, d->conf.vwc, e->cmd);
	else
		media_write(&d->media, lba, nlb, NULL, d->conf.vwc, e->cmd);
}

void sim_event_flush(struct sim_dev *d, struct sim_cmd *c)
{
	struct sim_event *e = event_new(d, EV_FLUSH);

	e->stamp = c->submitted;
	c->num = ++d->next_num;
	media_flush(&d->media, c->submitted);
}

void sim_event_done(struct sim_dev *d, struct sim_cmd *c)
{
	struct sim_event *e;

	if (!c->num || !d->conf.vwc)
		return;
	e = event_new(d, EV_DONE);
	e->cmd = c->num;
	e->stamp = ++d->stamp;
	media_completed(&d->media, c->num, e->stamp);
}

void sim_dev_record(struct sim_dev *d, bool on)
{
	d->recording = on;
	if (on)
		d->nevents = d->ndata = 0;
}

void sim_dev_mark(struct sim_dev *d, uint64_t kind, uint64_t value)
{
	struct sim_event *e = event_new(d, EV_MARK);

	e->stamp = kind;
	e->cmd = value;
}

size_t sim_dev_nevents(const struct sim_dev *d)
{
	return d->nevents;
}

const struct sim_event *sim_dev_event(const struct sim_dev *d, size_t index)
{
	return &d->events[index];
}

void sim_dev_apply(struct sim_dev *d, size_t index, bool torn)
{
	const struct sim_event *e = &d->events[index];
	bool to_cache = torn || !e->fua;

	switch (e->type) {
	case EV_WRITE:
		media_write(&d->media, e->lba, e->nlb, d->data + e->data, to_cache, e->cmd);
		break;
	case EV_ZERO:
		media_write(&d->media, e->lba, e->nlb, NULL, to_cache, e->cmd);
		break;
	case EV_DISCARD:
		apply_discard(&d->media, e->lba, e->nlb, to_cache, e->cmd);
		break;
	case EV_FLUSH:
		media_flush(&d->media, e->stamp);
		break;
	case EV_DONE:
		media_completed(&d->media, e->cmd, e->stamp);
		break;
	case EV_MARK:
		break;
	}
}
