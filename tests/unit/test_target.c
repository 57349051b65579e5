/* SPDX-License-Identifier: Apache-2.0 */
/* The controller core of nvofs-target without a fabric: capsules in, completions and data out. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/num.h"
#include "tools/target/target.h"

#define NQN "nqn.2026-11.io.nvofs:test"
#define HOST "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555"
#define RAM_BYTES (1 * MiB)
#define NBLOCKS (RAM_BYTES / 4096)

static struct target target;
static struct queue admin, io;
static unsigned disconnects, completions;
static struct cqe_wire last_completion;
static uint8_t data[64 * KiB];

static void front_disconnect(struct queue *q)
{
	disconnects++;
}

static void front_complete(struct queue *q, const struct cqe_wire *cqe)
{
	completions++;
	last_completion = *cqe;
}

static void front_address(struct queue *q, struct discovery_entry_wire *e)
{
	e->trtype = NVME_TRTYPE_TCP;
	memset(e->traddr, ' ', sizeof(e->traddr));
	memcpy(e->traddr, "192.0.2.1", 9);
}

static const struct queue_front front = { front_disconnect, front_complete, front_address };

static struct target_conf conf(void)
{
	return (struct target_conf){ .nqn = NQN, .lba_size = 4096, .mdts = 64 * KiB, .incapsule = 8192, .max_queues = 4,
				     .queue_size = 32, .vwc = -1 };
}

static void open_target(const struct target_conf *c, char *backing)
{
	char why[256] = "";

	ck_assert_msg(!target_init(&target, c, &backing, 1, why, sizeof(why)), "%s", why);
	queue_init(&admin, &target, &front);
	queue_init(&io, &target, &front);
	disconnects = completions = 0;
}

static void close_target(void)
{
	queue_exit(&io);
	queue_exit(&admin);
	ck_assert(list_empty(&target.ctrls));
	target_exit(&target);
	clock_virtual_set(0);
}

/* Runs a command to its end as a front does; data go from and to data[]. Its status, 0xffff: held. */
static uint16_t run(struct queue *q, const struct sqe_wire *sqe, struct request *r)
{
	r->sqe = *sqe;
	r->sqe.cid = put16(77);
	r->sqe.flags = NVME_SQE_PSDT_SGL;
	r->capsule_len = sqe->sgl.id == NVME_SGL_ID_INCAPSULE ? get32(sqe->sgl.len) : 0;
	request_begin(q, r);
	if (r->held)
		return 0xffff;
	if (!r->done) {
		ck_assert_uint_le(r->len, sizeof(data));
		request_execute(q, r, data);
		if (r->dir == REQUEST_TO_HOST && r->place && !cqe_status(&r->cqe))
			memcpy(data, r->place, r->len);
	}
	ck_assert(r->done);
	ck_assert_uint_eq(get16(r->cqe.cid), 77);
	return cqe_status(&r->cqe);
}

static uint16_t status_of(struct queue *q, struct sqe_wire sqe)
{
	struct request r;

	return NVME_STATUS_CODE(run(q, &sqe, &r));
}

static struct sqe_wire with_data(struct sqe_wire sqe, uint8_t sgl, uint32_t len)
{
	sqe.sgl = (struct sgl_wire){ .len = put32(len), .id = sgl };
	return sqe;
}

static struct sqe_wire connect_sqe(uint16_t qid, const char *subnqn, uint16_t cntlid)
{
	struct sqe_wire sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_CONNECT };
	struct connect_data_wire *d = (struct connect_data_wire *)data;

	memset(d, 0, sizeof(*d));
	d->cntlid = put16(cntlid);
	d->hostid[0] = 9;
	strcpy(d->subnqn, subnqn);
	strcpy(d->hostnqn, HOST);
	sqe.connect.qid = put16(qid);
	sqe.connect.sqsize = put16(31);
	sqe.connect.kato = put32(qid ? 0 : 5000);
	return with_data(sqe, NVME_SGL_ID_INCAPSULE, sizeof(*d));
}

static uint16_t set_cc(uint32_t cc)
{
	struct sqe_wire sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_PROPERTY_SET };

	sqe.prop.offset = put32(NVME_PROP_CC);
	sqe.prop.value = put64(cc);
	return status_of(&admin, sqe);
}

static uint64_t property(uint32_t offset, bool wide)
{
	struct sqe_wire sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_PROPERTY_GET };
	struct request r;

	sqe.prop.offset = put32(offset);
	sqe.prop.attrib = wide;
	ck_assert_uint_eq(run(&admin, &sqe, &r), 0);
	return get64(r.cqe.value);
}

#define ENABLE (NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT)

static void associate(void)
{
	ck_assert_uint_eq(status_of(&admin, connect_sqe(0, NQN, NVME_CNTLID_DYNAMIC)), 0);
	ck_assert_uint_eq(set_cc(ENABLE), 0);
	ck_assert_uint_eq(property(NVME_PROP_CSTS, false), NVME_CSTS_RDY);
	ck_assert_uint_eq(status_of(&io, connect_sqe(1, NQN, admin.ctrl->cntlid)), 0);
}

static void setup(void)
{
	struct target_conf c = conf();

	open_target(&c, (char *)"ram:1M");
	associate();
}

static struct sqe_wire rw(uint8_t opcode, uint64_t slba, uint32_t n)
{
	struct sqe_wire sqe = { .opcode = opcode, .nsid = put32(1) };

	sqe.rw.slba = put64(slba);
	sqe.rw.nlb = put16((uint16_t)(n - 1));
	return with_data(sqe, NVME_SGL_ID_TRANSPORT, n * 4096);
}

START_TEST(connect_errors)
{
	struct target_conf c = conf();
	struct request r;
	struct sqe_wire sqe;

	c.hosts[c.nr_hosts++] = "nqn.2014-08.org.nvmexpress:other";
	open_target(&c, (char *)"ram:1M");
	sqe = (struct sqe_wire){ .opcode = NVME_ADMIN_KEEP_ALIVE };
	ck_assert_uint_eq(status_of(&admin, sqe), NVME_SC_SEQUENCE);
	sqe = connect_sqe(0, "nqn.2026-11.io.nvofs:nowhere", NVME_CNTLID_DYNAMIC);
	ck_assert_uint_eq(run(&admin, &sqe, &r), NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR);
	ck_assert_uint_eq(get16(r.cqe.connect_bad.ipo), 256);
	ck_assert_uint_eq(r.cqe.connect_bad.iattr, 1);
	ck_assert_uint_eq(status_of(&admin, connect_sqe(0, NQN, NVME_CNTLID_DYNAMIC)), NVME_SC_CONNECT_INVALID_HOST);
	target.conf.nr_hosts = 0;
	sqe = connect_sqe(0, NQN, NVME_CNTLID_DYNAMIC);
	sqe.connect.sqsize = put16(32);
	ck_assert_uint_eq(run(&admin, &sqe, &r), NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR);
	ck_assert_uint_eq(get16(r.cqe.connect_bad.ipo), 44);
	ck_assert_uint_eq(r.cqe.connect_bad.iattr, 0);
	sqe.connect.sqsize = put16(31);
	sqe.connect.recfmt = put16(1);
	ck_assert_uint_eq(status_of(&admin, sqe), NVME_SC_CONNECT_FORMAT);
	ck_assert_uint_eq(status_of(&admin, connect_sqe(0, NQN, 3)), NVME_SC_CONNECT_INVALID_PARAM);
	ck_assert_uint_eq(status_of(&io, connect_sqe(1, NQN, 1)), NVME_SC_CONNECT_INVALID_PARAM);
	ck_assert_uint_eq(status_of(&admin, connect_sqe(0, NQN, NVME_CNTLID_DYNAMIC)), 0);
	ck_assert_uint_eq(status_of(&admin, connect_sqe(0, NQN, NVME_CNTLID_DYNAMIC)), NVME_SC_SEQUENCE);
	/* I/O queues only once the controller is ready, with a number that was granted, and from the same host. */
	ck_assert_uint_eq(status_of(&io, connect_sqe(1, NQN, admin.ctrl->cntlid)), NVME_SC_SEQUENCE);
	ck_assert_uint_eq(set_cc(ENABLE), 0);
	ck_assert_uint_eq(status_of(&io, connect_sqe(5, NQN, admin.ctrl->cntlid)), NVME_SC_CONNECT_INVALID_PARAM);
	sqe = connect_sqe(1, NQN, admin.ctrl->cntlid);
	((struct connect_data_wire *)data)->hostid[0] = 8;
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_CONNECT_INVALID_PARAM);
	ck_assert_uint_eq(status_of(&io, connect_sqe(1, NQN, admin.ctrl->cntlid)), 0);
}
END_TEST

START_TEST(properties)
{
	uint64_t cap = property(NVME_PROP_CAP, true);
	struct sqe_wire sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_PROPERTY_GET };

	ck_assert_uint_eq(NVME_CAP_MQES(cap), 31);
	ck_assert(cap & NVME_CAP_CSS_NVM);
	ck_assert_uint_eq(property(NVME_PROP_VS, false), NVME_VS(2, 1, 0));
	sqe.prop.offset = put32(NVME_PROP_CAP); /* 8 bytes read as 4 */
	ck_assert_uint_eq(status_of(&admin, sqe), NVME_SC_INVALID_FIELD);
	sqe.prop.offset = put32(0x44);
	ck_assert_uint_eq(status_of(&admin, sqe), NVME_SC_INVALID_FIELD);
	set_cc(ENABLE | NVME_CC_SHN_NORMAL);
	ck_assert_uint_eq(property(NVME_PROP_CSTS, false), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
	set_cc(0);
	ck_assert_uint_eq(property(NVME_PROP_CSTS, false), 0);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 0, 1)), NVME_SC_SEQUENCE);
	set_cc(ENABLE & ~(0xfu << NVME_CC_IOSQES_SHIFT));
	ck_assert_uint_eq(property(NVME_PROP_CSTS, false), NVME_CSTS_CFS);
}
END_TEST

static uint16_t identify(uint8_t cns, uint32_t nsid)
{
	struct sqe_wire sqe = { .opcode = NVME_ADMIN_IDENTIFY, .nsid = put32(nsid) };

	sqe.identify.cns = cns;
	memset(data, 0xee, sizeof(data));
	return status_of(&admin, with_data(sqe, NVME_SGL_ID_TRANSPORT, 4096));
}

START_TEST(identifies)
{
	const struct id_ctrl_wire *c = (const void *)data;
	const struct id_ns_wire *n = (const void *)data;
	uint8_t nguid[16];

	ck_assert_uint_eq(identify(NVME_CNS_CTRL, 0), 0);
	ck_assert_str_eq(c->subnqn, NQN);
	ck_assert_uint_eq(c->mdts, 4);
	ck_assert_uint_eq(get32(c->ioccsz), (8192 + 64) / 16);
	ck_assert_uint_eq(get32(c->nn), 1);
	ck_assert_uint_eq(c->vwc & 1, 0); /* memory only */
	ck_assert_uint_eq(c->vendor[1023], 0);
	ck_assert_uint_eq(identify(NVME_CNS_NS, 1), 0);
	ck_assert_uint_eq(get64(n->nsze), NBLOCKS);
	ck_assert_uint_eq(n->lbaf[0].lbads, 12);
	memcpy(nguid, n->nguid, 16);
	ck_assert_uint_eq(identify(NVME_CNS_NS_DESC, 1), 0);
	ck_assert_uint_eq(data[0], NVME_NIDT_EUI64);
	ck_assert_uint_eq(data[12], NVME_NIDT_NGUID);
	ck_assert_mem_eq(data + 16, nguid, 16);
	ck_assert_uint_eq(identify(NVME_CNS_ACTIVE_NS, 0), 0);
	ck_assert_uint_eq(data[0], 1);
	ck_assert_uint_eq(data[4], 0);
	ck_assert_uint_eq(identify(NVME_CNS_NS, 2), NVME_SC_INVALID_NS);
	ck_assert_uint_eq(identify(NVME_CNS_NS, 0), NVME_SC_INVALID_NS);
	ck_assert_uint_eq(identify(NVME_CNS_NS, NVME_NSID_ALL), NVME_SC_INVALID_NS);
	ck_assert_uint_eq(identify(0x55, 1), NVME_SC_INVALID_FIELD);
}
END_TEST

START_TEST(reads_and_writes)
{
	for (unsigned i = 0; i < 8192; i++)
		data[i] = (uint8_t)(i * 7);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_WRITE, 3, 2)), 0);
	memset(data, 0, 8192);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 4, 1)), 0);
	ck_assert_uint_eq(data[5], (uint8_t)(4101 * 7));
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_COMPARE, 4, 1)), 0);
	data[4095] ^= 1;
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_COMPARE, 4, 1)), NVME_SC_COMPARE_FAILED);
	ck_assert_uint_eq(status_of(&io, with_data(rw(NVME_IO_WRITE_ZEROES, 4, 1), 0, 0)), 0);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 3, 2)), 0);
	ck_assert_uint_eq(data[5], (uint8_t)35);
	ck_assert_uint_eq(data[4101], 0);
	ck_assert_uint_eq(status_of(&io, (struct sqe_wire){ .opcode = NVME_IO_FLUSH, .nsid = put32(1) }), 0);
	ck_assert_uint_eq(status_of(&io, (struct sqe_wire){ .opcode = NVME_IO_FLUSH, .nsid = put32(NVME_NSID_ALL) }), 0);
	ck_assert_uint_eq(status_of(&io, (struct sqe_wire){ .opcode = NVME_IO_FLUSH, .nsid = put32(2) }),
			  NVME_SC_INVALID_NS);
}
END_TEST

START_TEST(io_errors)
{
	struct sqe_wire sqe;

	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, NBLOCKS - 1, 1)), 0);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, NBLOCKS - 1, 2)), NVME_SC_LBA_RANGE);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, NBLOCKS, 1)), NVME_SC_LBA_RANGE);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_WRITE, UINT64_MAX, 2)), NVME_SC_LBA_RANGE);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_WRITE_ZEROES, 1, 65536)), NVME_SC_LBA_RANGE);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 0, 17)), NVME_SC_INVALID_FIELD); /* MDTS */
	ck_assert_uint_eq(status_of(&io, rw(0x77, 0, 1)), NVME_SC_INVALID_OPCODE);
	ck_assert_uint_eq(status_of(&admin, (struct sqe_wire){ .opcode = 0x80 }), NVME_SC_INVALID_OPCODE);
	sqe = with_data(rw(NVME_IO_READ, 0, 1), NVME_SGL_ID_TRANSPORT, 8192);
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_SGL_DATA_LEN);
	sqe = with_data(rw(NVME_IO_READ, 0, 1), NVME_SGL_ID_INCAPSULE, 4096);
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_SGL_TYPE);
	sqe = with_data(rw(NVME_IO_READ, 0, 1), NVME_SGL_ID_KEYED, 4096);
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_SGL_TYPE);
	sqe = with_data(rw(NVME_IO_WRITE, 0, 1), NVME_SGL_ID_INCAPSULE, 4096);
	sqe.sgl.addr = put64(1); /* behind the capsule's end */
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_SGL_OFFSET);
	sqe.sgl.addr = put64(UINT64_MAX);
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_SGL_OFFSET);
	sqe = rw(NVME_IO_READ, 0, 1);
	sqe.nsid = put32(2);
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_INVALID_NS);
}
END_TEST

START_TEST(deallocate)
{
	struct dsm_range_wire *ranges = (struct dsm_range_wire *)data;
	struct sqe_wire sqe = { .opcode = NVME_IO_DSM, .nsid = put32(1) };

	memset(data, 0x5a, 12288);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_WRITE, 0, 3)), 0);
	sqe.dsm.nr = put32(1);
	sqe.dsm.attributes = put32(NVME_DSM_AD);
	sqe = with_data(sqe, NVME_SGL_ID_TRANSPORT, 4096); /* more than two ranges, as Linux does */
	memset(data, 0xff, 4096);
	ranges[0] = (struct dsm_range_wire){ .nlb = put32(1), .slba = put64(1) };
	ranges[1] = (struct dsm_range_wire){ .nlb = put32(2), .slba = put64(NBLOCKS - 1) };
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_LBA_RANGE);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 1, 1)), 0);
	ck_assert_uint_eq(data[0], 0x5a); /* nothing was done */
	ranges[0] = (struct dsm_range_wire){ .nlb = put32(1), .slba = put64(1) };
	ranges[1] = (struct dsm_range_wire){ .nlb = put32(0), .slba = put64(0) };
	ck_assert_uint_eq(status_of(&io, sqe), 0);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 0, 3)), 0);
	ck_assert_uint_eq(data[4095], 0x5a);
	ck_assert_uint_eq(data[4096], 0);
	ck_assert_uint_eq(data[8191], 0);
	ck_assert_uint_eq(data[8192], 0x5a);
	sqe.sgl.len = put32(16); /* fewer than two ranges */
	ck_assert_uint_eq(status_of(&io, sqe), NVME_SC_SGL_DATA_LEN);
}
END_TEST

START_TEST(events_and_abort)
{
	struct sqe_wire sqe = { .opcode = NVME_ADMIN_AER };
	struct request r;

	for (unsigned i = 0; i < TARGET_AER_MAX; i++)
		ck_assert_uint_eq(run(&admin, &sqe, &r), 0xffff);
	ck_assert_uint_eq(status_of(&admin, sqe), NVME_SC_AER_LIMIT);
	sqe = (struct sqe_wire){ .opcode = NVME_ADMIN_ABORT };
	sqe.abort.cid = put16(78);
	ck_assert_uint_eq(run(&admin, &sqe, &r), 0);
	ck_assert_uint_eq(get32(r.cqe.dw0), 1);
	sqe.abort.cid = put16(77);
	ck_assert_uint_eq(run(&admin, &sqe, &r), 0);
	ck_assert_uint_eq(get32(r.cqe.dw0), 0);
	ck_assert_uint_eq(completions, 1);
	ck_assert_uint_eq(cqe_status(&last_completion), NVME_SC_ABORTED);
	ck_assert_uint_eq(get16(last_completion.cid), 77);
}
END_TEST

static uint16_t feature(uint8_t opcode, uint8_t fid, uint32_t value, uint32_t *dw0)
{
	struct sqe_wire sqe = { .opcode = opcode };
	struct request r;
	uint16_t status;

	sqe.features.fid = fid;
	sqe.features.cdw11 = put32(value);
	status = run(&admin, &sqe, &r);
	*dw0 = get32(r.cqe.dw0);
	return NVME_STATUS_CODE(status);
}

START_TEST(features)
{
	uint32_t dw0;

	ck_assert_uint_eq(feature(NVME_ADMIN_SET_FEATURES, NVME_FEAT_NUM_QUEUES, 0x00070007, &dw0), 0);
	ck_assert_uint_eq(dw0, 0x00030003);
	ck_assert_uint_eq(feature(NVME_ADMIN_SET_FEATURES, NVME_FEAT_NUM_QUEUES, 0xffff, &dw0), NVME_SC_INVALID_FIELD);
	ck_assert_uint_eq(feature(NVME_ADMIN_SET_FEATURES, NVME_FEAT_KATO, 9000, &dw0), 0);
	ck_assert_uint_eq(feature(NVME_ADMIN_GET_FEATURES, NVME_FEAT_KATO, 0, &dw0), 0);
	ck_assert_uint_eq(dw0, 9000);
	ck_assert_uint_eq(feature(NVME_ADMIN_GET_FEATURES, 0xee, 0, &dw0), NVME_SC_INVALID_FIELD);
	ck_assert_uint_eq(feature(NVME_ADMIN_GET_FEATURES, NVME_FEAT_VWC, 0, &dw0), NVME_SC_INVALID_FIELD);
}
END_TEST

static uint16_t get_log(uint8_t lid, uint64_t offset, uint32_t len)
{
	struct sqe_wire sqe = { .opcode = NVME_ADMIN_GET_LOG };

	sqe.log.lid = lid;
	sqe.log.numdl = put16((uint16_t)(len / 4 - 1));
	sqe.log.offset = put64(offset);
	memset(data, 0xee, sizeof(data));
	return status_of(&admin, with_data(sqe, NVME_SGL_ID_TRANSPORT, len));
}

START_TEST(logs)
{
	ck_assert_uint_eq(get_log(NVME_LOG_SMART, 0, 512), 0);
	ck_assert_uint_eq(get_log(NVME_LOG_COMMANDS, 1024, 4), 0); /* I/O opcode 0: Flush */
	ck_assert_uint_eq(data[0], 1);
	ck_assert_uint_eq(get_log(NVME_LOG_SMART, 508, 512), 0); /* behind the end */
	ck_assert_uint_eq(data[4], 0);
	ck_assert_uint_eq(get_log(NVME_LOG_SMART, 516, 4), NVME_SC_INVALID_FIELD);
	ck_assert_uint_eq(get_log(NVME_LOG_SMART, UINT64_MAX - 3, 4), NVME_SC_INVALID_FIELD);
	ck_assert_uint_eq(get_log(NVME_LOG_DISCOVERY, 0, 1024), NVME_SC_INVALID_LOG_PAGE);
	ck_assert_uint_eq(get_log(0xc5, 0, 512), NVME_SC_INVALID_LOG_PAGE);
}
END_TEST

START_TEST(discovery)
{
	struct target_conf c = conf();
	struct discovery_log_wire *log = (void *)data;
	struct discovery_entry_wire *e = (void *)(log + 1);

	open_target(&c, (char *)"ram:1M");
	ck_assert_uint_eq(status_of(&admin, connect_sqe(0, NVME_DISCOVERY_NQN, NVME_CNTLID_DYNAMIC)), 0);
	ck_assert_uint_eq(set_cc(NVME_CC_EN), 0);
	ck_assert_uint_eq(identify(NVME_CNS_CTRL, 0), 0);
	ck_assert_uint_eq(((struct id_ctrl_wire *)data)->cntrltype, NVME_CNTRLTYPE_DISCOVERY);
	ck_assert_uint_eq(identify(NVME_CNS_NS, 1), NVME_SC_INVALID_FIELD);
	ck_assert_uint_eq(get_log(NVME_LOG_DISCOVERY, 0, 16), 0);
	ck_assert_uint_eq(get64(log->numrec), 2);
	ck_assert_uint_eq(get_log(NVME_LOG_DISCOVERY, 0, 3072), 0);
	ck_assert_uint_eq(e[0].subtype, NVME_SUBTYPE_CURRENT_DISCOVERY);
	ck_assert_uint_eq(e[1].subtype, NVME_SUBTYPE_NVM);
	ck_assert_str_eq(e[1].subnqn, NQN);
	ck_assert_mem_eq(e[1].traddr, "192.0.2.1 ", 10);
	ck_assert_uint_eq(status_of(&io, connect_sqe(1, NVME_DISCOVERY_NQN, admin.ctrl->cntlid)),
			  NVME_SC_CONNECT_INVALID_PARAM);
}
END_TEST

START_TEST(keep_alive)
{
	clock_virtual_set(NS_PER_S);
	setup();
	ck_assert_int_gt(target_tick(&target), 0);
	clock_virtual_add(4900 * NS_PER_MS);
	queue_seen(&io);
	target_tick(&target);
	clock_virtual_add(4900 * NS_PER_MS);
	target_tick(&target);
	ck_assert_uint_eq(disconnects, 0);
	clock_virtual_add(100 * NS_PER_MS);
	target_tick(&target);
	ck_assert_uint_eq(disconnects, 2);
}
END_TEST

/* The admin queue goes: the others are told to go, and no new one may join. */
START_TEST(admin_queue_ends)
{
	uint16_t cntlid = admin.ctrl->cntlid;
	struct queue late;

	queue_exit(&admin);
	ck_assert_uint_eq(disconnects, 1);
	queue_init(&late, &target, &front);
	ck_assert_uint_eq(status_of(&late, connect_sqe(2, NQN, cntlid)), NVME_SC_CONNECT_INVALID_PARAM);
	queue_exit(&late);
}
END_TEST

START_TEST(flow_control)
{
	struct sqe_wire sqe = { .opcode = NVME_IO_FLUSH, .nsid = put32(1) };
	struct request r;

	for (unsigned i = 0; i < 40; i++) {
		ck_assert_uint_eq(run(&io, &sqe, &r), 0);
		ck_assert_uint_eq(get16(r.cqe.sqhd), (i + 2) % 32);
	}
}
END_TEST

START_TEST(faults)
{
	char why[200];

	ck_assert_int_eq(fault_parse(&target.fault, "error-status=3:281", why, sizeof(why)), 0);
	ck_assert_int_eq(fault_parse(&target.fault, "corrupt-data=2", why, sizeof(why)), 0);
	ck_assert_int_eq(fault_parse(&target.fault, "drop-after=7", why, sizeof(why)), 0);
	ck_assert_int_ne(fault_parse(&target.fault, "error-status=3", why, sizeof(why)), 0);
	ck_assert_int_ne(fault_parse(&target.fault, "drop-after=0", why, sizeof(why)), 0);
	ck_assert_int_ne(fault_parse(&target.fault, "nonsense", why, sizeof(why)), 0);
	memset(data, 0, 4096);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_WRITE, 0, 1)), 0);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 0, 1)), 0);
	ck_assert_uint_eq(data[4096 / 3], 0);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 0, 1)), NVME_SC_READ_ERROR);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 0, 1)), 0);
	ck_assert_uint_eq(data[4096 / 3], 0x10);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 0, 1)), 0);
	ck_assert_uint_eq(data[4096 / 3], 0);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 0, 1)), NVME_SC_READ_ERROR);
	status_of(&io, rw(NVME_IO_READ, 0, 1));
	ck_assert_uint_eq(disconnects, 2);
}
END_TEST

/* A file keeps its content and its identity over a restart; a second target on it is refused. */
START_TEST(file_backing)
{
	struct target_conf c = conf();
	char path[] = "/tmp/nvofs-test-target.XXXXXX", spec[100], plain[100], why[256];
	struct backing second;
	uint8_t uuid[16];

	close(mkstemp(path));
	snprintf(spec, sizeof(spec), "file:%s:1M", path);
	snprintf(plain, sizeof(plain), "file:%s", path);
	ck_assert_int_ne(backing_open(&second, plain, false, why, sizeof(why)), 0); /* empty */
	open_target(&c, spec);
	ck_assert(target.vwc);
	ck_assert_int_ne(backing_open(&second, plain, false, why, sizeof(why)), 0);
	memcpy(uuid, target.ns[0].uuid, 16);
	associate();
	memset(data, 0x77, 4096);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_WRITE, 9, 1)), 0);
	close_target();
	open_target(&c, plain);
	ck_assert_mem_eq(uuid, target.ns[0].uuid, 16);
	associate();
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 9, 1)), 0);
	ck_assert_uint_eq(data[100], 0x77);
	ck_assert_uint_eq(status_of(&io, with_data(rw(NVME_IO_WRITE_ZEROES, 9, 1), 0, 0)), 0);
	ck_assert_uint_eq(status_of(&io, rw(NVME_IO_READ, 9, 1)), 0);
	ck_assert_uint_eq(data[100], 0);
	close_target();
	snprintf(spec, sizeof(spec), "file:%s:2M", path);
	ck_assert_int_ne(backing_open(&second, spec, false, why, sizeof(why)), 0); /* another size */
	unlink(path);
	ck_assert_int_ne(backing_open(&second, plain, false, why, sizeof(why)), 0); /* not there */
}
END_TEST

/* Durable bytes survive the loss of the process, the others at most by chance; until then all are as written. */
START_TEST(losing_cache)
{
	char path[] = "/tmp/nvofs-test-target.XXXXXX", spec[100], why[256];
	uint8_t block[4096], model[64], all[64];
	unsigned lost = 0;
	struct backing b;
	int fd = mkstemp(path);

	snprintf(spec, sizeof(spec), "file:%s:256K", path);
	ck_assert_int_eq(backing_open(&b, spec, true, why, sizeof(why)), 0);
	for (unsigned i = 0; i < 64; i++) {
		memset(block, (int)(model[i] = (uint8_t)(i + 1)), sizeof(block));
		ck_assert_int_eq(backing_write(&b, i * 4096, block, 4096, i % 8 == 0), 0);
	}
	memset(block, 0xee, 512); /* a part of a page */
	ck_assert_int_eq(backing_write(&b, 5 * 4096 + 512, block, 512, false), 0);
	ck_assert_int_eq(backing_zero(&b, 7 * 4096, 4096, false), 0);
	model[7] = 0;
	for (unsigned i = 0; i < 64; i++) {
		ck_assert_int_eq(backing_read(&b, i * 4096, block, 4096), 0);
		ck_assert_uint_eq(block[0], model[i]);
		ck_assert_uint_eq(block[512], i == 5 ? 0xee : model[i]);
		ck_assert_int_eq(pread(fd, &all[i], 1, i * 4096), 1); /* what a kill would leave */
		if (i % 8 == 0)
			ck_assert_uint_eq(all[i], model[i]);
		lost += all[i] != model[i];
	}
	ck_assert_uint_gt(lost, 10);
	ck_assert_uint_lt(lost, 50);
	ck_assert_int_eq(backing_flush(&b), 0);
	for (unsigned i = 0; i < 64; i++) {
		ck_assert_int_eq(pread(fd, block, 4096, i * 4096), 4096);
		ck_assert_uint_eq(block[0], model[i]);
		ck_assert_uint_eq(block[1024], model[i]);
	}
	backing_close(&b);
	close(fd);
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("target");
	TCase *associated = tcase_create("associated"), *bare = tcase_create("bare"), *alone = tcase_create("alone");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(associated, setup, close_target);
	tcase_add_test(associated, properties);
	tcase_add_test(associated, identifies);
	tcase_add_test(associated, reads_and_writes);
	tcase_add_test(associated, io_errors);
	tcase_add_test(associated, deallocate);
	tcase_add_test(associated, events_and_abort);
	tcase_add_test(associated, features);
	tcase_add_test(associated, logs);
	tcase_add_test(associated, admin_queue_ends);
	tcase_add_test(associated, flow_control);
	tcase_add_test(associated, faults);
	tcase_add_checked_fixture(bare, NULL, close_target);
	tcase_add_test(bare, connect_errors);
	tcase_add_test(bare, discovery);
	tcase_add_test(bare, keep_alive);
	tcase_add_test(alone, file_backing);
	tcase_add_test(alone, losing_cache);
	suite_add_tcase(s, associated);
	suite_add_tcase(s, bare);
	suite_add_tcase(s, alone);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
