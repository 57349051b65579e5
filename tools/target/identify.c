/* SPDX-License-Identifier: Apache-2.0 */
/* Identify (base 5.1.13): controllers, namespaces and their lists. */
#include <stdio.h>
#include "base/num.h"
#include "tools/target/target.h"

/* ASCII fields of fixed length are padded with spaces. */
static void pad(char *field, size_t len, const char *text)
{
	size_t n = strlen(text);

	memset(field, ' ', len);
	memcpy(field, text, MIN(n, len));
}

/* What an I/O and a discovery controller have in common. MDTS is a power of two in pages of CAP.MPSMIN (4096
 * bytes). */
static void id_common(const struct queue *q, struct id_ctrl_wire *id)
{
	const struct target *t = q->target;

	pad(id->sn, sizeof(id->sn), t->serial);
	pad(id->mn, sizeof(id->mn), "nvofs-target");
	pad(id->fr, sizeof(id->fr), NVOFS_VERSION);
	id->mdts = (uint8_t)(order_up(t->conf.mdts) - 12);
	id->cntlid = put16(q->ctrl->cntlid);
	id->ver = put32(NVME_VS(2, 1, 0));
	id->ctratt = put32(NVME_CTRATT_HOSTID_128);
	id->acl = 3;
	id->aerl = TARGET_AER_MAX - 1;
	id->lpa = NVME_LPA_COMMANDS | NVME_LPA_EXTENDED;
	id->kas = put16(1); /* 100 ms */
	id->cqt = put16(100); /* ms: a connection's end is seen at the next command; only the one at hand goes on */
	id->maxcmd = put16(t->conf.queue_size);
	id->sgls = put32(NVME_SGLS_SUPPORTED | NVME_SGLS_OFFSET | NVME_SGLS_TRANSPORT);
	id->iorcsz = put32(sizeof(struct cqe_wire) / 16);
	id->msdbd = 1;
}

/* IOCCSZ counts 16 bytes; a discovery controller takes no data in an I/O capsule, having no I/O queues. */
static void id_discovery(const struct queue *q, struct id_ctrl_wire *id)
{
	id_common(q, id);
	id->cntrltype = NVME_CNTRLTYPE_DISCOVERY;
	id->ioccsz = put32(sizeof(struct sqe_wire) / 16);
	snprintf(id->subnqn, sizeof(id->subnqn), "%s", NVME_DISCOVERY_NQN);
}

/* SQES and CQES: 2^6 and 2^4 bytes, required and maximum. RTD3E is in microseconds, temperatures in kelvin. */
static void id_ctrl(const struct queue *q, struct id_ctrl_wire *id)
{
	const struct target *t = q->target;

	id_common(q, id);
	id->cntrltype = NVME_CNTRLTYPE_IO;
	id->cmic = NVME_CMIC_MULTI_CTRL; /* a controller for each host that comes */
	id->rtd3e = put32(1000000);
	id->frmw = 0x03; /* one slot, read-only */
	id->wctemp = put16(343);
	id->cctemp = put16(353);
	id->sqes = 0x66;
	id->cqes = 0x44;
	id->nn = put32(t->nr_ns);
	id->mnan = put32(t->nr_ns);
	id->oncs = put16(NVME_ONCS_COMPARE | NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES);
	id->vwc = NVME_VWC_NSID_ALL | (t->vwc ? NVME_VWC_PRESENT : 0);
	snprintf(id->subnqn, sizeof(id->subnqn), "%s", t->conf.nqn);
	id->ioccsz = put32((uint32_t)(sizeof(struct sqe_wire) + t->conf.incapsule) / 16);
}

/* Preferred sizes are 4096 bytes, in LBAs and 0-based: what the backing's page cache works with. */
static void id_ns(const struct target *t, const struct target_ns *ns, struct id_ns_wire *id)
{
	uint16_t page = (uint16_t)(4096 / t->conf.lba_size - 1);

	id->nsze = id->ncap = id->nuse = put64(ns->nblocks);
	id->nsfeat = NVME_NSFEAT_OPTPERF;
	id->npwg = id->npwa = id->npdg = id->npda = id->nows = put16(page);
	id->nmic = NVME_NMIC_SHARED;
	id->dlfeat = NVME_DLFEAT_ZEROES | NVME_DLFEAT_WZ_DEAC;
	memcpy(id->nguid, ns->nguid, sizeof(id->nguid));
	memcpy(id->eui64, ns->eui64, sizeof(id->eui64));
	id->lbaf[0].lbads = (uint8_t)t->lba_shift;
}

/* Descriptors lie one behind the other; a length of 0 (the page is zeroed) ends the list. */
static uint8_t *add_desc(uint8_t *out, uint8_t type, const void *id, uint8_t len)
{
	struct ns_desc_wire head = { .nidt = type, .nidl = len };

	memcpy(out, &head, sizeof(head));
	memcpy(out + sizeof(head), id, len);
	return out + sizeof(head) + len;
}

static void ns_descs(const struct target_ns *ns, uint8_t *out)
{
	uint8_t csi = NVME_CSI_NVM;

	out = add_desc(out, NVME_NIDT_EUI64, ns->eui64, sizeof(ns->eui64));
	out = add_desc(out, NVME_NIDT_NGUID, ns->nguid, sizeof(ns->nguid));
	out = add_desc(out, NVME_NIDT_UUID, ns->uuid, sizeof(ns->uuid));
	add_desc(out, NVME_NIDT_CSI, &csi, sizeof(csi));
}

/* Ascending, above the NSID that was given; all fit into one page, TARGET_NS_MAX being 64. */
static uint16_t ns_list(const struct target *t, uint32_t after, le32 *out)
{
	if (after >= NVME_NSID_ALL - 1)
		return NVME_SC_INVALID_NS | NVME_STATUS_DNR;
	for (unsigned i = 0; i < t->nr_ns; i++)
		if (t->ns[i].nsid > after)
			*out++ = put32(t->ns[i].nsid);
	return 0;
}

static void id_ctrl_nvm(const struct target *t, struct id_ctrl_nvm_wire *id)
{
	id->dmrl = NVME_DSM_RANGES_MAX - 1;
	id->ver = put32(NVME_VS(1, 1, 0));
	/* No limit to Write Zeroes and deallocation but the command's own fields. */
}

static void id_ns_indep(struct id_ns_indep_wire *id)
{
	id->nmic = NVME_NMIC_SHARED;
	id->nstat = 1;
}

/* Forms that name a namespace. */
static uint16_t one_ns(struct queue *q, struct request *r, void *data)
{
	struct target_ns *ns = target_find_ns(q->target, get32(r->sqe.nsid));

	if (!ns)
		return NVME_SC_INVALID_NS | NVME_STATUS_DNR;
	switch (r->sqe.identify.cns) {
	case NVME_CNS_NS:
		id_ns(q->target, ns, data);
		break;
	case NVME_CNS_NS_DESC:
		ns_descs(ns, data);
		break;
	case NVME_CNS_NS_CSI_INDEPENDENT:
		id_ns_indep(data);
		break;
	default: /* NVME_CNS_CSI_NS: extended LBA formats, of which there are none */
		break;
	}
	return 0;
}

static uint16_t id_any(struct queue *q, struct request *r, void *data)
{
	switch (r->sqe.identify.cns) {
	case NVME_CNS_CTRL:
		id_ctrl(q, data);
		return 0;
	case NVME_CNS_ACTIVE_NS:
		return ns_list(q->target, get32(r->sqe.nsid), data);
	case NVME_CNS_IO_COMMAND_SETS: /* vectors of 8 bytes; the only one has NVM */
		*(le64 *)data = put64(1);
		return 0;
	case NVME_CNS_CSI_CTRL:
	case NVME_CNS_CSI_ACTIVE_NS:
	case NVME_CNS_CSI_NS:
		if (r->sqe.identify.csi != NVME_CSI_NVM)
			return INVALID_FIELD;
		if (r->sqe.identify.cns == NVME_CNS_CSI_ACTIVE_NS)
			return ns_list(q->target, get32(r->sqe.nsid), data);
		if (r->sqe.identify.cns == NVME_CNS_CSI_NS)
			return one_ns(q, r, data);
		id_ctrl_nvm(q->target, data);
		return 0;
	case NVME_CNS_NS:
	case NVME_CNS_NS_DESC:
	case NVME_CNS_NS_CSI_INDEPENDENT:
		return one_ns(q, r, data);
	default:
		return INVALID_FIELD;
	}
}

/* Always a whole page of 4096 bytes, whatever is in it. */
uint16_t identify_begin(struct queue *q, struct request *r)
{
	if (q->ctrl->discovery && r->sqe.identify.cns != NVME_CNS_CTRL)
		return INVALID_FIELD;
	return request_wants(r, REQUEST_TO_HOST, NVME_IDENTIFY_LEN);
}

uint16_t identify_execute(struct queue *q, struct request *r, void *data)
{
	memset(data, 0, NVME_IDENTIFY_LEN);
	if (!q->ctrl->discovery)
		return id_any(q, r, data);
	id_discovery(q, data);
	return 0;
}
