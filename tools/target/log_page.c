/* SPDX-License-Identifier: Apache-2.0 */
/* Get Log Page (base 5.1.12). A page is built whole and the part that the host wants is cut out of it; what lies behind
 * its end reads as zeros. */
#include <stdlib.h>
#include "base/num.h"
#include "tools/target/target.h"

#define DISCOVERY_LEN (sizeof(struct discovery_log_wire) + 2 * sizeof(struct discovery_entry_wire))
#define PAGE_MAX_LEN 4096u
static_assert(DISCOVERY_LEN <= PAGE_MAX_LEN, "all pages fit");

/* The page is zeroed, so the upper half is. */
static void put128(uint8_t out[16], uint64_t value)
{
	le64 low = put64(value);

	memcpy(out, &low, sizeof(low));
}

/* Data units are thousands of 512 bytes, rounded up. 300 K is a temperature that worries nobody. */
static void smart(const struct queue *q, void *page)
{
	const struct target *t = q->target;
	struct smart_log_wire *log = page;

	log->temperature = put16(300);
	log->available_spare = 100;
	log->spare_threshold = 10;
	put128(log->data_units_read, DIV_UP(t->blocks_read, 1000));
	put128(log->data_units_written, DIV_UP(t->blocks_written, 1000));
	put128(log->host_reads, t->reads);
	put128(log->host_writes, t->writes);
}

/* Revisions are 8 bytes, padded with spaces; that of slot 1 stands at byte 8. */
static void firmware(const struct queue *q, void *page)
{
	uint8_t *log = page;

	log[0] = 1; /* slot 1 is active */
	memset(log + 8, ' ', 8);
	memcpy(log + 8, NVOFS_VERSION, MIN(strlen(NVOFS_VERSION), (size_t)8));
}

/* Commands Supported and Effects: 256 dwords for admin opcodes, then 256 for I/O; Fabrics commands are not in it. */
static void commands(const struct queue *q, void *page)
{
	le32 *log = page;

	for (const struct command *c = admin_commands; c->begin || c->execute; c++)
		if (c->discovery || !q->ctrl->discovery)
			log[c->opcode] = put32(c->effects);
	for (const struct command *c = io_commands; (c->begin || c->execute) && !q->ctrl->discovery; c++)
		log[256 + c->opcode] = put32(c->effects);
}

/* The address is the one that this host has reached us at, so it is right from where the host stands. */
static void discovery_entry(const struct queue *q, struct discovery_entry_wire *e, uint8_t subtype, const char *nqn)
{
	q->front->address((struct queue *)q, e);
	e->subtype = subtype;
	e->treq = NVME_TREQ_NO_SQ_FLOW;
	e->portid = put16(1);
	e->cntlid = put16(NVME_CNTLID_DYNAMIC);
	e->asqsz = put16(32);
	if (subtype == NVME_SUBTYPE_CURRENT_DISCOVERY)
		e->eflags = put16(NVME_EFLAGS_DUPRETINFO | NVME_EFLAGS_EPCSD);
	memcpy(e->subnqn, nqn, strlen(nqn) + 1);
}

/* GENCTR never changes, since what is exported does not while the target runs. */
static void discovery(const struct queue *q, void *page)
{
	struct discovery_log_wire *log = page;
	struct discovery_entry_wire *entries = (struct discovery_entry_wire *)(log + 1);

	log->genctr = put64(1);
	log->numrec = put64(2);
	discovery_entry(q, &entries[0], NVME_SUBTYPE_CURRENT_DISCOVERY, NVME_DISCOVERY_NQN);
	discovery_entry(q, &entries[1], NVME_SUBTYPE_NVM, q->target->conf.nqn);
}

static void supported(const struct queue *q, void *page);

static const struct log_page {
	uint8_t lid;
	bool on_io, on_discovery;    /* kinds of controller that have it */
	uint32_t len;
	void (*build)(const struct queue *, void *page); /* NULL: all zeros, which says that nothing happened */
} pages[] = {
	{ NVME_LOG_SUPPORTED, true, true, NVME_LOG_SUPPORTED_LEN, supported },
	{ NVME_LOG_ERROR, true, true, NVME_LOG_ERROR_ENTRY_LEN, NULL },
	{ NVME_LOG_SMART, true, false, NVME_LOG_SMART_LEN, smart },
	{ NVME_LOG_FIRMWARE, true, false, NVME_LOG_FIRMWARE_LEN, firmware },
	{ NVME_LOG_CHANGED_NS, true, false, NVME_LOG_CHANGED_NS_LEN, NULL },
	{ NVME_LOG_COMMANDS, true, false, NVME_LOG_COMMANDS_LEN, commands },
	{ NVME_LOG_DISCOVERY, false, true, DISCOVERY_LEN, discovery },
};

static bool has(const struct queue *q, const struct log_page *p)
{
	return q->ctrl->discovery ? p->on_discovery : p->on_io;
}

static void supported(const struct queue *q, void *page)
{
	le32 *log = page;

	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (has(q, &pages[i]))
			log[pages[i].lid] = put32(1);
}

static const struct log_page *find(const struct queue *q, uint8_t lid)
{
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (pages[i].lid == lid && has(q, &pages[i]))
			return &pages[i];
	return NULL;
}

/* NUMD is 0-based and in dwords. An offset at the end is fine (zeros follow), one behind it is not. */
uint16_t log_page_begin(struct queue *q, struct request *r)
{
	const struct log_page *p = find(q, r->sqe.log.lid);
	uint64_t dwords = ((uint64_t)get16(r->sqe.log.numdu) << 16 | get16(r->sqe.log.numdl)) + 1;

	if (!p)
		return NVME_SC_INVALID_LOG_PAGE | NVME_STATUS_DNR;
	if (dwords * 4 > q->target->conf.mdts || get64(r->sqe.log.offset) > p->len || get64(r->sqe.log.offset) % 4)
		return INVALID_FIELD;
	return request_wants(r, REQUEST_TO_HOST, (uint32_t)dwords * 4);
}

/* log_page_begin has found the page and checked the offset; the controller is the same. */
uint16_t log_page_execute(struct queue *q, struct request *r, void *data)
{
	const struct log_page *p = find(q, r->sqe.log.lid);
	uint32_t offset = (uint32_t)get64(r->sqe.log.offset);
	uint8_t page[PAGE_MAX_LEN] = { 0 };

	if (p->build)
		p->build(q, page);
	memset(data, 0, r->len);
	memcpy(data, page + offset, MIN(r->len, p->len - offset));
	return 0;
}
