/* SPDX-License-Identifier: Apache-2.0 */
/* Command capsules as nvofs-target gets them: an input is a first byte (bit 0: on a controller that is set up already)
 * and pieces of 64 bytes SQE, a byte for the queue (bit 0) and one for what the data are filled with. Data buffers are
 * exactly as long as the core asked for, so that a sanitizer sees whatever goes beyond. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/num.h"
#include "tests/fuzz/fuzz.h"
#include "tools/target/target.h"

#define NQN "nqn.2026-11.io.nvofs:fuzz"
#define HOST "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555"
#define MDTS (64 * KiB)
#define PIECE (sizeof(struct sqe_wire) + 2)

static struct target target;
static struct queue queues[2];
static bool gone[2];

static void front_disconnect(struct queue *q)
{
	gone[q - queues] = true;
}

static void front_complete(struct queue *q, const struct cqe_wire *cqe) { }

static void front_address(struct queue *q, struct discovery_entry_wire *e)
{
	e->trtype = NVME_TRTYPE_TCP;
}

static const struct queue_front front = { front_disconnect, front_complete, front_address };

/* data: for a connect command, else NULL and the buffer is filled. */
static void run(struct queue *q, const struct sqe_wire *sqe, uint8_t fill, const void *data)
{
	struct request r = { .sqe = *sqe };
	uint32_t claimed = get32(sqe->sgl.len);
	uint8_t *buf;

	r.capsule_len = sqe->sgl.id == NVME_SGL_ID_INCAPSULE && claimed <= q->incapsule ? claimed : 0;
	request_begin(q, &r);
	if (r.held || r.done)
		return;
	assert(r.len <= MDTS || q->qid == 0);
	assert(!r.in_capsule || (uint64_t)r.capsule_off + r.len <= r.capsule_len);
	buf = malloc(MAX(r.len, 1u));
	assert(buf);
	if (data)
		memcpy(buf, data, r.len);
	else
		memset(buf, fill, r.len);
	request_execute(q, &r, buf);
	assert(r.done);
	free(buf);
}

static struct sqe_wire connect_sqe(uint16_t qid)
{
	struct sqe_wire sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_CONNECT, .flags = NVME_SQE_PSDT_SGL };

	sqe.connect.qid = put16(qid);
	sqe.connect.sqsize = put16(31);
	sqe.connect.kato = put32(qid ? 0 : 5000);
	sqe.sgl = (struct sgl_wire){ .len = put32(sizeof(struct connect_data_wire)), .id = NVME_SGL_ID_INCAPSULE };
	return sqe;
}

static struct sqe_wire enable_sqe(void)
{
	struct sqe_wire sqe = { .opcode = NVME_FABRICS, .fctype = NVME_FABRICS_PROPERTY_SET, .flags = NVME_SQE_PSDT_SGL };

	sqe.prop.offset = put32(NVME_PROP_CC);
	sqe.prop.value = put64(NVME_CC_EN | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT);
	return sqe;
}

static void associate(void)
{
	struct connect_data_wire d = { .cntlid = put16(NVME_CNTLID_DYNAMIC), .hostid = { 9 }, .subnqn = NQN, .hostnqn = HOST };
	struct sqe_wire admin = connect_sqe(0), io = connect_sqe(1), enable = enable_sqe();

	run(&queues[0], &admin, 0, &d);
	assert(queues[0].ctrl);
	run(&queues[0], &enable, 0, NULL);
	d.cntlid = put16(queues[0].ctrl->cntlid);
	run(&queues[1], &io, 0, &d);
	assert(queues[1].ctrl);
}

void fuzz_one(const uint8_t *data, size_t len)
{
	struct target_conf conf = { .nqn = NQN, .lba_size = 4096, .mdts = MDTS, .incapsule = 8192, .max_queues = 4,
				    .queue_size = 32, .vwc = -1 };
	char *backing = "ram:1M", why[256];

	if (!len)
		return;
	if (target_init(&target, &conf, &backing, 1, why, sizeof(why)))
		abort();
	for (unsigned i = 0; i < 2; i++)
		queue_init(&queues[i], &target, &front);
	gone[0] = gone[1] = false;
	if (data[0] & 1)
		associate();
	for (size_t at = 1; at + PIECE <= len; at += PIECE) {
		unsigned q = data[at + PIECE - 2] & 1;
		struct sqe_wire sqe;

		memcpy(&sqe, data + at, sizeof(sqe));
		if (!gone[q])
			run(&queues[q], &sqe, data[at + PIECE - 1], NULL);
	}
	queue_exit(&queues[1]);
	queue_exit(&queues[0]);
	target_exit(&target);
}

/* A queue number and an opcode each; of every sort one that is right. */
static const struct {
	uint8_t queue, opcode, sgl;
	uint32_t cdw[6], len;
} seeds[] = {
	{ 0, NVME_ADMIN_IDENTIFY, NVME_SGL_ID_TRANSPORT, { 1 }, 4096 },
	{ 0, NVME_ADMIN_IDENTIFY, NVME_SGL_ID_TRANSPORT, { 0 }, 4096 },
	{ 0, NVME_ADMIN_IDENTIFY, NVME_SGL_ID_TRANSPORT, { 3 }, 4096 },
	{ 0, NVME_ADMIN_GET_LOG, NVME_SGL_ID_TRANSPORT, { 127u << 16 | 2 }, 512 },
	{ 0, NVME_ADMIN_GET_LOG, NVME_SGL_ID_TRANSPORT, { 1023u << 16 | 0x70 }, 4096 },
	{ 0, NVME_ADMIN_GET_FEATURES, NVME_SGL_ID_TRANSPORT, { 7 }, 0 },
	{ 0, NVME_ADMIN_SET_FEATURES, NVME_SGL_ID_TRANSPORT, { 7, 3 << 16 | 3 }, 0 },
	{ 1, NVME_IO_READ, NVME_SGL_ID_TRANSPORT, { 3, 0, 1 }, 8192 },
	{ 1, NVME_IO_WRITE, NVME_SGL_ID_INCAPSULE, { 255, 0, 0 }, 4096 },
	{ 1, NVME_IO_WRITE_ZEROES, NVME_SGL_ID_TRANSPORT, { 0, 0, 255 }, 0 },
	{ 1, NVME_IO_DSM, NVME_SGL_ID_INCAPSULE, { 0, 4 }, 16 },
	{ 1, NVME_IO_FLUSH, NVME_SGL_ID_TRANSPORT, { 0 }, 0 },
};

size_t fuzz_seed(unsigned n, uint8_t *buf)
{
	struct sqe_wire sqe = { 0 };

	if (n >= ARRAY_SIZE(seeds))
		return 0;
	sqe.opcode = seeds[n].opcode;
	sqe.flags = NVME_SQE_PSDT_SGL;
	sqe.nsid = put32(1);
	sqe.sgl = (struct sgl_wire){ .len = put32(seeds[n].len), .id = seeds[n].sgl };
	for (unsigned i = 0; i < 6; i++) {
		le32 cdw = put32(seeds[n].cdw[i]);

		memcpy((uint8_t *)&sqe + 40 + 4 * i, &cdw, sizeof(cdw)); /* CDW10 and on */
	}
	buf[0] = n % 4 != 3;
	memcpy(buf + 1, &sqe, sizeof(sqe));
	buf[1 + sizeof(sqe)] = seeds[n].queue;
	buf[2 + sizeof(sqe)] = 0x5a;
	memcpy(buf + 1 + PIECE, buf + 1, PIECE);
	return 1 + 2 * PIECE;
}
