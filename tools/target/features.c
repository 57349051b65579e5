/* SPDX-License-Identifier: Apache-2.0 */
/* Get Features and Set Features (base 5.1.11, 5.1.25). Nothing is saveable. */
#include "tools/target/target.h"

#define CHANGEABLE 0x4u              /* dw0 of Get Features, SEL 3 */
#define HOST_BEHAVIOR_LEN 512

/* Get: bytes of data that go with a feature. */
static uint32_t data_len(const struct request *r)
{
	switch (r->sqe.features.fid) {
	case NVME_FEAT_HOST_BEHAVIOR:
		return HOST_BEHAVIOR_LEN;
	case NVME_FEAT_HOSTID:
		return get32(r->sqe.features.cdw11) & NVME_FEAT_HOSTID_EXHID ? 16 : 8;
	default:
		return 0;
	}
}

/* What there is: less for a discovery controller; the write cache's feature only if there is a cache. */
static bool known(const struct queue *q, uint8_t fid)
{
	switch (fid) {
	case NVME_FEAT_AER_CONFIG:
	case NVME_FEAT_KATO:
	case NVME_FEAT_HOST_BEHAVIOR:
		return true;
	case NVME_FEAT_ARBITRATION:
	case NVME_FEAT_POWER:
	case NVME_FEAT_TEMPERATURE:
	case NVME_FEAT_NUM_QUEUES:
	case NVME_FEAT_WRITE_ATOMICITY:
	case NVME_FEAT_HOSTID:
		return !q->ctrl->discovery;
	case NVME_FEAT_VWC:
		return !q->ctrl->discovery && q->target->vwc;
	default:
		return false;
	}
}

/* Of those that are known. */
static bool changeable(uint8_t fid)
{
	return fid != NVME_FEAT_HOSTID && fid != NVME_FEAT_ARBITRATION && fid != NVME_FEAT_WRITE_ATOMICITY;
}

uint16_t get_features_begin(struct queue *q, struct request *r)
{
	uint8_t sel = r->sqe.features.sel & 7;
	uint32_t len = data_len(r);

	if (!known(q, r->sqe.features.fid) || sel > NVME_FEAT_SEL_SUPPORTED)
		return INVALID_FIELD;
	/* Over fabrics the host identifier has its 128-bit form only. */
	if (r->sqe.features.fid == NVME_FEAT_HOSTID && len != 16)
		return INVALID_FIELD;
	return len && sel != NVME_FEAT_SEL_SUPPORTED ? request_wants(r, REQUEST_TO_HOST, len) : 0;
}

static uint32_t queues_granted(const struct queue *q)
{
	uint32_t n = q->target->conf.max_queues - 1u; /* 0-based, for submission and for completion queues */

	return n | n << 16;
}

/* Default and saved values are the same (original), since nothing is saved. */
static uint32_t current(const struct queue *q, uint8_t fid, bool original)
{
	const struct ctrl *c = q->ctrl;

	switch (fid) {
	case NVME_FEAT_VWC:
		return original || c->write_cache;
	case NVME_FEAT_NUM_QUEUES:
		return queues_granted(q);
	case NVME_FEAT_AER_CONFIG:
		return original ? 0 : c->aer_config;
	case NVME_FEAT_KATO:
		return original ? 0 : c->kato_ms;
	case NVME_FEAT_TEMPERATURE:
		return 0xffff;
	default:
		return 0;
	}
}

/* Capabilities (SEL 3) come in dw0 without data, whatever the feature. */
uint16_t get_features_execute(struct queue *q, struct request *r, void *data)
{
	uint8_t fid = r->sqe.features.fid, sel = r->sqe.features.sel & 7;

	if (sel == NVME_FEAT_SEL_SUPPORTED) {
		r->cqe.dw0 = put32(changeable(fid) ? CHANGEABLE : 0);
		return 0;
	}
	if (fid == NVME_FEAT_HOSTID)
		memcpy(data, q->ctrl->hostid, 16);
	else if (fid == NVME_FEAT_HOST_BEHAVIOR)
		memcpy(data, q->ctrl->host_behavior, HOST_BEHAVIOR_LEN);
	else
		r->cqe.dw0 = put32(current(q, fid, sel != NVME_FEAT_SEL_CURRENT));
	return 0;
}

/* Each way of refusing has a status of its own (base 5.1.25). */
uint16_t set_features_begin(struct queue *q, struct request *r)
{
	uint8_t fid = r->sqe.features.fid;

	if (!known(q, fid))
		return INVALID_FIELD;
	if (r->sqe.features.save & NVME_FEAT_SAVE)
		return NVME_SC_FID_NOT_SAVEABLE | NVME_STATUS_DNR;
	if (fid == NVME_FEAT_HOSTID) /* it came with Connect and stays (base 5.1.25.1.28.1) */
		return NVME_SC_SEQUENCE | NVME_STATUS_DNR;
	if (!changeable(fid))
		return NVME_SC_FID_NOT_CHANGEABLE | NVME_STATUS_DNR;
	return fid == NVME_FEAT_HOST_BEHAVIOR ? request_wants(r, REQUEST_TO_CTRL, HOST_BEHAVIOR_LEN) : 0;
}

/* What is granted does not depend on what was asked for: a host takes the smaller of both. FFFFh is not a count. */
static uint16_t set_queues(struct queue *q, struct request *r, uint32_t value)
{
	if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff)
		return INVALID_FIELD;
	r->cqe.dw0 = put32(queues_granted(q));
	return 0;
}

/* KATO takes effect at the next target_tick. */
uint16_t set_features_execute(struct queue *q, struct request *r, void *data)
{
	struct ctrl *c = q->ctrl;
	uint32_t value = get32(r->sqe.features.cdw11);

	switch (r->sqe.features.fid) {
	case NVME_FEAT_NUM_QUEUES:
		return set_queues(q, r, value);
	case NVME_FEAT_VWC:
		c->write_cache = value & 1;
		/* What was written before may still be in the cache that is now said to be off. */
		for (unsigned i = 0; i < q->target->nr_ns && !(value & 1); i++)
			if (backing_flush(&q->target->ns[i].backing))
				return NVME_SC_WRITE_FAULT;
		return 0;
	case NVME_FEAT_AER_CONFIG:
		c->aer_config = value;
		return 0;
	case NVME_FEAT_KATO:
		c->kato_ms = value;
		return 0;
	case NVME_FEAT_HOST_BEHAVIOR:
		memcpy(c->host_behavior, data, HOST_BEHAVIOR_LEN);
		return 0;
	default: /* power state and temperature threshold: accepted, without an effect */
		return 0;
	}
}
