/* SPDX-License-Identifier: Apache-2.0 */
/* Fabrics commands: Connect, Property Get, Property Set (base chapter 6). */
#include "base/log.h"
#include "base/num.h"
#include "tools/target/target.h"

/* Where a wrong parameter stands: bit 16 says in the data, not in the SQE. */
#define IN_DATA(field) (1u << 16 | (uint32_t)offsetof(struct connect_data_wire, field))
#define IN_SQE(field) ((uint32_t)offsetof(struct sqe_wire, connect.field))

/* Connect Invalid Parameters: IPO and IATTR tell the host which one (base 6.3). */
static uint16_t wrong(struct request *r, uint32_t param)
{
	r->cqe.connect_bad.ipo = put16((uint16_t)param);
	r->cqe.connect_bad.iattr = (uint8_t)(param >> 16);
	return NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR;
}

/* SQSIZE is 0-based, and a queue of one entry could hold nothing. An admin queue may have 32 entries whatever
 * --queue-size says. */
static uint16_t connect_begin(struct queue *q, struct request *r)
{
	uint16_t sqsize = get16(r->sqe.connect.sqsize), entries = q->target->conf.queue_size;

	if (!get16(r->sqe.connect.qid))
		entries = MAX(entries, TARGET_ADMIN_ENTRIES);
	if (get16(r->sqe.connect.recfmt))
		return NVME_SC_CONNECT_FORMAT | NVME_STATUS_DNR;
	if (!sqsize || sqsize >= entries)
		return wrong(r, IN_SQE(sqsize));
	return request_wants(r, REQUEST_TO_CTRL, sizeof(struct connect_data_wire));
}

/* No list: all hosts. */
static bool host_allowed(const struct target *t, const char *hostnqn)
{
	for (unsigned i = 0; i < t->conf.nr_hosts; i++)
		if (!strcmp(t->conf.hosts[i], hostnqn))
			return true;
	return !t->conf.nr_hosts;
}

/* At most 223 bytes and a zero byte: after this it can be used as a string. */
static bool nqn_good(const char *nqn)
{
	return memchr(nqn, 0, 224) && !strncmp(nqn, "nqn.", 4);
}

/* Dynamic controllers only: a host that asks for a certain one gets none. Discovery is open to all hosts. */
static uint16_t connect_admin(struct queue *q, struct request *r, const struct connect_data_wire *data)
{
	bool discovery = !strcmp(data->subnqn, NVME_DISCOVERY_NQN);

	if (get16(data->cntlid) != NVME_CNTLID_DYNAMIC)
		return wrong(r, IN_DATA(cntlid));
	if (!discovery && !host_allowed(q->target, data->hostnqn))
		return NVME_SC_CONNECT_INVALID_HOST | NVME_STATUS_DNR;
	if (!ctrl_new(q, data, get32(r->sqe.connect.kato), discovery))
		return NVME_SC_INTERNAL;
	return 0;
}

static uint16_t connect_io(struct queue *q, struct request *r, const struct connect_data_wire *data)
{
	uint32_t param = 0;
	uint16_t qid = get16(r->sqe.connect.qid), status;

	/* Before it joins: another thread may disconnect it as soon as it has. */
	q->qid = qid;
	status = ctrl_join(q, qid, data, &param);
	if (status)
		q->qid = 0;
	if (NVME_STATUS_CODE(status) == NVME_SC_CONNECT_INVALID_PARAM)
		return wrong(r, param);
	if (!status)
		q->incapsule = q->target->conf.incapsule;
	return status;
}

/* The data are checked in the order of their use; what is told to the host is the first that is wrong. */
static uint16_t connect_execute(struct queue *q, struct request *r, void *buf)
{
	const struct connect_data_wire *data = buf;
	bool to_discovery;
	uint16_t status;

	if (!nqn_good(data->subnqn))
		return wrong(r, IN_DATA(subnqn));
	if (!nqn_good(data->hostnqn))
		return wrong(r, IN_DATA(hostnqn));
	to_discovery = !strcmp(data->subnqn, NVME_DISCOVERY_NQN);
	if (!to_discovery && strcmp(data->subnqn, q->target->conf.nqn)) {
		log_info("a host asked for %s, which is not here", data->subnqn);
		return wrong(r, IN_DATA(subnqn));
	}
	status = get16(r->sqe.connect.qid) ? connect_io(q, r, data) : connect_admin(q, r, data);
	if (status)
		return status;
	q->size = (uint16_t)(get16(r->sqe.connect.sqsize) + 1);
	q->sqhd = 1; /* the Connect itself */
	q->no_flow = r->sqe.connect.cattr & NVME_CATTR_NO_SQ_FLOW;
	r->cqe.connect.cntlid = put16(q->ctrl->cntlid);
	return 0;
}

/* Admin queue only; the size that is asked for must be the property's own (base 6.5). */
static uint16_t property_get(struct queue *q, struct request *r, void *data)
{
	const struct ctrl *c = q->ctrl;
	bool wide = r->sqe.prop.attrib & NVME_PROP_SIZE_8;
	uint64_t value;

	if (q->qid)
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	switch (get32(r->sqe.prop.offset)) {
	case NVME_PROP_CAP:
		r->cqe.value = put64(ctrl_cap(q->target));
		return wide ? 0 : INVALID_FIELD;
	case NVME_PROP_VS:
		value = NVME_VS(2, 1, 0);
		break;
	case NVME_PROP_CC:
		value = c->cc;
		break;
	case NVME_PROP_CSTS:
		value = c->csts;
		break;
	case NVME_PROP_CRTO:
		value = NVME_CAP_TO(ctrl_cap(q->target));
		break;
	default:
		return INVALID_FIELD;
	}
	r->cqe.value = put64(value);
	return wide ? INVALID_FIELD : 0;
}

/* CC is the only one that a host may write here. */
static uint16_t property_set(struct queue *q, struct request *r, void *data)
{
	if (q->qid)
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	if (get32(r->sqe.prop.offset) != NVME_PROP_CC || (r->sqe.prop.attrib & NVME_PROP_SIZE_8))
		return INVALID_FIELD;
	return ctrl_set_cc(q->ctrl, (uint32_t)get64(r->sqe.prop.value));
}

/* A command without data is begun here and done by the front's request_execute. */
const struct command fabrics_commands[] = {
	{ NVME_FABRICS_CONNECT, true, connect_begin, connect_execute },
	{ NVME_FABRICS_PROPERTY_GET, true, NULL, property_get },
	{ NVME_FABRICS_PROPERTY_SET, true, NULL, property_set },
	{ 0 },
};
