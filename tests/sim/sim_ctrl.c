/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of the simulated controller do. The least that a host needs: Connect, properties, Identify,
 * features, AER, keep-alive, and Read, Write, Flush, Write Zeroes, Dataset Management (NVMe base 2.1, NVM 1.1). */
#include "tests/sim/sim_dev_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static uint16_t connect_admin(struct sim_dev *d, struct sim_cmd *c)
{
	struct sim_ctrl *ctrl = calloc(1, sizeof(*ctrl));

	assert(ctrl);
	list_init(&ctrl->queues);
	ctrl->cntlid = ++d->next_cntlid;
	ctrl->kato_ms = get32(c->sqe.connect.kato);
	ctrl->last_rx = clock_now();
	list_append(&d->ctrls, &ctrl->link);
	ctrl->refs = 2; /* the queue and this command */
	c->ctrl = c->queue->ctrl = ctrl;
	list_append(&ctrl->queues, &c->queue->link);
	return 0;
}

static uint16_t connect_io(struct sim_dev *d, struct sim_cmd *c, uint16_t cntlid)
{
	list_for_each(l, &d->ctrls) {
		struct sim_ctrl *ctrl = list_entry(l, struct sim_ctrl, link);

		if (ctrl->cntlid != cntlid || ctrl->dead || !(ctrl->csts & NVME_CSTS_RDY))
			continue;
		ctrl->refs += 2;
		c->ctrl = c->queue->ctrl = ctrl;
		list_append(&ctrl->queues, &c->queue->link);
		return 0;
	}
	return NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR;
}

static uint16_t do_connect(struct sim_dev *d, struct sim_cmd *c, const void *mem)
{
	const struct connect_data_wire *data = mem;
	uint16_t status, qid = get16(c->sqe.connect.qid);

	if (!mem || c->len < sizeof(*data) || c->queue->connected || qid != c->queue->qid)
		return NVME_SC_SEQUENCE | NVME_STATUS_DNR;
	if (strncmp(data->subnqn, SIM_NQN, NVME_NQN_LEN) || qid > SIM_QUEUES)
		return NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR;
	status = qid == 0 ? connect_admin(d, c) : connect_io(d, c, get16(data->cntlid));
	if (status)
		return status;
	c->queue->connected = true;
	c->cqe.connect.cntlid = put16(c->ctrl->cntlid);
	return 0;
}

static uint64_t prop_get(const struct sim_dev *d, const struct sim_ctrl *ctrl, uint32_t offset)
{
	switch (offset) {
	case NVME_PROP_CAP:
		return (uint64_t)(d->conf.queue_size - 1) | NVME_CAP_CQR | 2ull << NVME_CAP_TO_SHIFT | NVME_CAP_CSS_NVM;
	case NVME_PROP_VS:
		return NVME_VS(2, 1, 0);
	case NVME_PROP_CC:
		return ctrl->cc;
	case NVME_PROP_CSTS:
		return ctrl->csts;
	default:
		return 0;
	}
}

static uint16_t prop_set(struct sim_ctrl *ctrl, const struct sqe_wire *sqe)
{
	uint32_t value = (uint32_t)get64(sqe->prop.value);

	if (get32(sqe->prop.offset) != NVME_PROP_CC)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	ctrl->cc = value;
	ctrl->csts = value & NVME_CC_EN ? NVME_CSTS_RDY : 0;
	if (value & NVME_CC_SHN_MASK)
		ctrl->csts |= NVME_CSTS_SHST_COMPLETE;
	return 0;
}

static uint16_t fabrics(struct sim_dev *d, struct sim_cmd *c, const void *mem)
{
	switch (c->sqe.fctype) {
	case NVME_FABRICS_CONNECT:
		return do_connect(d, c, mem);
	case NVME_FABRICS_PROPERTY_GET:
		c->cqe.value = put64(prop_get(d, c->ctrl, get32(c->sqe.prop.offset)));
		return 0;
	case NVME_FABRICS_PROPERTY_SET:
		return prop_set(c->ctrl, &c->sqe);
	case NVME_FABRICS_DISCONNECT:
		return 0;
	default:
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	}
}

static void pad(char *field, size_t len, const char *text)
{
	memset(field, ' ', len);
	memcpy(field, text, MIN(len, strlen(text)));
}

static void identify_ctrl(const struct sim_dev *d, const struct sim_ctrl *ctrl, struct id_ctrl_wire *id)
{
	pad(id->sn, sizeof(id->sn), "SIM0001");
	pad(id->mn, sizeof(id->mn), "nvofs simulated device");
	pad(id->fr, sizeof(id->fr), "1");
	id->cmic = NVME_CMIC_MULTI_CTRL;
	id->mdts = d->conf.mdts;
	id->cntlid = put16(ctrl->cntlid);
	id->ver = put32(NVME_VS(2, 1, 0));
	id->oaes = put32(NVME_OAES_NS_ATTR);
	id->ctratt = put32(NVME_CTRATT_HOSTID_128);
	id->cntrltype = NVME_CNTRLTYPE_IO;
	id->acl = id->aerl = 3;
	id->kas = put16(1);
	id->cqt = put16(d->conf.cqt_ms);
	id->sqes = 0x66;
	id->cqes = 0x44;
	id->maxcmd = put16(d->conf.queue_size);
	id->nn = put32(1);
	id->mnan = put32(1);
	id->oncs = put16(NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES);
	id->vwc = d->conf.vwc ? NVME_VWC_PRESENT | NVME_VWC_NSID_ALL : NVME_VWC_NSID_ALL;
	id->sgls = put32(NVME_SGLS_SUPPORTED | NVME_SGLS_KEYED | NVME_SGLS_OFFSET);
	strncpy(id->subnqn, SIM_NQN, NVME_NQN_LEN - 1);
	id->ioccsz = put32((64 + 8192) / 16);
	id->iorcsz = put32(1);
	id->msdbd = 1;
}

static const uint8_t sim_nguid[16] = "nvofs-simulated";

static void identify_ns(const struct sim_dev *d, struct id_ns_wire *id)
{
	id->nsze = id->ncap = id->nuse = put64(d->conf.bytes / d->conf.lba_size);
	id->nmic = NVME_NMIC_SHARED;
	id->lbaf[0].lbads = d->conf.lba_size == 512 ? 9 : 12;
	memcpy(id->nguid, sim_nguid, 16);
}

static uint16_t identify(const struct sim_dev *d, const struct sim_cmd *c, void *mem)
{
	uint8_t buf[NVME_IDENTIFY_LEN] = {0};
	struct ns_desc_wire desc = {.nidt = NVME_NIDT_NGUID, .nidl = 16};
	le32 one = put32(1);

	switch (c->sqe.identify.cns) {
	case NVME_CNS_CTRL:
		identify_ctrl(d, c->ctrl, (struct id_ctrl_wire *)buf);
		break;
	case NVME_CNS_NS:
		if (get32(c->sqe.nsid) == 1)
			identify_ns(d, (struct id_ns_wire *)buf);
		break;
	case NVME_CNS_ACTIVE_NS:
		if (get32(c->sqe.nsid) == 0)
			memcpy(buf, &one, 4);
		break;
	case NVME_CNS_NS_DESC:
		memcpy(buf, &desc, sizeof(desc));
		memcpy(buf + sizeof(desc), sim_nguid, 16);
		break;
	case NVME_CNS_CSI_CTRL:
		break; /* no limits */
	default:
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	}
	memcpy(mem, buf, MIN(c->len, sizeof(buf)));
	return 0;
}

static uint16_t features(struct sim_cmd *c, bool set)
{
	uint32_t n, v = get32(c->sqe.features.cdw11);

	switch (c->sqe.features.fid) {
	case NVME_FEAT_NUM_QUEUES:
		n = set ? MIN(v & 0xffff, SIM_QUEUES - 1) : SIM_QUEUES - 1;
		c->cqe.dw0 = put32(n | n << 16);
		return 0;
	case NVME_FEAT_KATO:
		if (set)
			c->ctrl->kato_ms = v;
		c->cqe.dw0 = put32(c->ctrl->kato_ms);
		return 0;
	case NVME_FEAT_AER_CONFIG:
	case NVME_FEAT_VWC:
	case NVME_FEAT_HOST_BEHAVIOR:
		return 0;
	default:
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	}
}

static uint16_t admin(struct sim_dev *d, struct sim_cmd *c, void *mem)
{
	switch (c->sqe.opcode) {
	case NVME_ADMIN_IDENTIFY:
		return mem ? identify(d, c, mem) : NVME_SC_INVALID_FIELD;
	case NVME_ADMIN_SET_FEATURES:
	case NVME_ADMIN_GET_FEATURES:
		return features(c, c->sqe.opcode == NVME_ADMIN_SET_FEATURES);
	case NVME_ADMIN_AER:
		c->parked = true;
		return 0;
	case NVME_ADMIN_GET_LOG:
		if (mem)
			memset(mem, 0, c->len);
		return 0;
	case NVME_ADMIN_KEEP_ALIVE:
		return 0;
	default:
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	}
}

/* ---- the NVM command set ---- */

static uint64_t nlbas(const struct sim_dev *d)
{
	return d->conf.bytes / d->conf.lba_size;
}

static void do_read(struct sim_dev *d, const struct sim_cmd *c, const struct sim_fault *f, void *mem)
{
	uint64_t lba = get64(c->sqe.rw.slba);
	uint32_t nlb = get16(c->sqe.rw.nlb) + 1u;

	if (f && f->type == FAULT_MISDIRECT)
		lba = lba >= nlb ? lba - nlb : MIN(lba + nlb, nlbas(d) - nlb);
	memcpy(mem, media_at(&d->media, lba), c->len);
	if (f && f->type == FAULT_FLIP)
		((uint8_t *)mem)[rng_below(&d->rng, c->len)] ^= (uint8_t)(1u << rng_below(&d->rng, 8));
	if (f && f->type == FAULT_STALE)
		media_read_old(&d->media, lba, nlb, mem);
	d->stats.reads++;
}

static void do_write(struct sim_dev *d, struct sim_cmd *c, const struct sim_fault *f, const void *mem)
{
	uint64_t lba = get64(c->sqe.rw.slba);
	uint32_t nlb = get16(c->sqe.rw.nlb) + 1u;
	bool fua = get16(c->sqe.rw.control) & NVME_RW_FUA;

	if (f && f->type == FAULT_MISDIRECT)
		lba = lba >= nlb ? lba - nlb : MIN(lba + nlb, nlbas(d) - nlb);
	if (!f || f->type != FAULT_LOST_WRITE)
		sim_event_write(d, c, lba, nlb, mem, fua);
	d->stats.writes++;
	d->stats.fua_writes += fua;
}

static uint16_t do_dsm(struct sim_dev *d, struct sim_cmd *c, const void *mem)
{
	const struct dsm_range_wire *r = mem;
	unsigned n = (get32(c->sqe.dsm.nr) & 0xff) + 1;

	if (!mem || n * sizeof(*r) > c->len)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	d->stats.discards++;
	for (unsigned i = 0; i < n; i++)
		if (!range_fits(get64(r[i].slba), get32(r[i].nlb), nlbas(d)))
			return NVME_SC_LBA_RANGE | NVME_STATUS_DNR;
	for (unsigned i = 0; i < n && get32(c->sqe.dsm.attributes) & NVME_DSM_AD; i++)
		if (get32(r[i].nlb))
			sim_event_zero(d, c, EV_DISCARD, get64(r[i].slba), get32(r[i].nlb));
	return 0;
}

static uint16_t check_range(const struct sim_dev *d, const struct sim_cmd *c, const void *mem)
{
	uint32_t nlb = get16(c->sqe.rw.nlb) + 1u;

	if (!range_fits(get64(c->sqe.rw.slba), nlb, nlbas(d)))
		return NVME_SC_LBA_RANGE | NVME_STATUS_DNR;
	if (c->sqe.opcode == NVME_IO_WRITE_ZEROES)
		return 0;
	if (!mem || c->len != nlb * d->conf.lba_size)
		return NVME_SC_SGL_DATA_LEN | NVME_STATUS_DNR;
	if (d->conf.mdts && c->len > 4096u << d->conf.mdts)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	return 0;
}

static uint16_t nvm(struct sim_dev *d, struct sim_cmd *c, const struct sim_fault *f, void *mem)
{
	uint8_t op = c->sqe.opcode;
	uint16_t status;

	if (get32(c->sqe.nsid) != 1 && !(op == NVME_IO_FLUSH && get32(c->sqe.nsid) == NVME_NSID_ALL))
		return NVME_SC_INVALID_NS | NVME_STATUS_DNR;
	if (op == NVME_IO_READ || op == NVME_IO_WRITE || op == NVME_IO_WRITE_ZEROES) {
		status = check_range(d, c, mem);
		if (status)
			return status;
	}
	if (f && f->type == FAULT_ERROR)
		return f->sc;
	if (f && f->type == FAULT_LATE)
		c->done_at += f->delay;
	switch (op) {
	case NVME_IO_READ:
		do_read(d, c, f, mem);
		break;
	case NVME_IO_WRITE:
		do_write(d, c, f, mem);
		break;
	case NVME_IO_FLUSH:
		d->stats.flushes++;
		sim_event_flush(d, c);
		break;
	case NVME_IO_WRITE_ZEROES:
		d->stats.zeroes++;
		sim_event_zero(d, c, EV_ZERO, get64(c->sqe.rw.slba), get16(c->sqe.rw.nlb) + 1u);
		break;
	case NVME_IO_DSM:
		status = do_dsm(d, c, mem);
		if (status)
			return status;
		break;
	default:
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	}
	return f && f->type == FAULT_ERROR_DONE ? f->sc : 0;
}

void sim_ctrl_execute(struct sim_dev *d, struct sim_cmd *c, const struct sim_fault *f, void *mem)
{
	uint16_t status;

	c->cqe = (struct cqe_wire){.cid = c->sqe.cid};
	if (!c->len)
		mem = NULL;
	if (c->sqe.opcode == NVME_FABRICS && (c->ctrl || c->sqe.fctype == NVME_FABRICS_CONNECT))
		status = fabrics(d, c, mem);
	else if (!c->ctrl)
		status = NVME_SC_SEQUENCE | NVME_STATUS_DNR;
	else if (c->queue && c->queue->qid == 0)
		status = admin(d, c, mem);
	else
		status = nvm(d, c, f, mem);
	cqe_set_status(&c->cqe, status);
}
