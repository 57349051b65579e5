/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/rdma_capsule.h"

#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "base/num.h"

void rdma_build_request(struct rdma_request_wire *w, uint16_t qid, uint16_t entries, uint16_t cntlid)
{
	*w = (struct rdma_request_wire){ .recfmt = put16(0), .qid = put16(qid), .hrqsize = put16(entries),
					 .hsqsize = put16((uint16_t)(entries - 1)), .cntlid = put16(qid ? cntlid : 0) };
}

/* InfiniBand pads private data with zeros, iWARP cuts them where they end. */
int rdma_check_accept(const void *data, size_t len, uint16_t *crqsize)
{
	struct rdma_accept_wire w = { 0 };

	if (!data || len < offsetof(struct rdma_accept_wire, reserved))
		return -E_BAD_CAPSULE;
	memcpy(&w, data, MIN(len, sizeof(w)));
	*crqsize = get16(w.crqsize);
	return get16(w.recfmt) ? -E_BAD_CAPSULE : 0;
}

const char *rdma_reject_text(const void *data, size_t len)
{
	static const char *const text[] = {
		[RDMA_REJECT_LENGTH] = "private data of the wrong length",
		[RDMA_REJECT_RECFMT] = "record format not known",
		[RDMA_REJECT_QID] = "invalid queue number (no such queue, or it is connected already)",
		[RDMA_REJECT_HSQSIZE] = "send queue of the host too large (try a smaller queue-size)",
		[RDMA_REJECT_HRQSIZE] = "receive queue of the host too small",
		[RDMA_REJECT_RESOURCES] = "no resources for another queue, or the port is not in use by any subsystem",
		[RDMA_REJECT_IRD] = "too many incoming RDMA reads asked for",
		[RDMA_REJECT_ORD] = "too many outgoing RDMA reads asked for",
	};
	struct rdma_reject_wire w;
	uint16_t status;

	if (!data || len < sizeof(w))
		return NULL;
	memcpy(&w, data, sizeof(w));
	status = get16(w.status);
	return get16(w.recfmt) || status >= ARRAY_SIZE(text) ? NULL : text[status];
}

static void put_keyed(struct sgl_wire *sgl, uint64_t addr, uint32_t len, uint32_t key)
{
	*sgl = (struct sgl_wire){ .addr = put64(addr), .len24 = { (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16) } };
	sgl->key = put32(key);
	sgl->keyed_id = NVME_SGL_ID_KEYED;
}

bool rdma_build_sgl(struct slot *s, uint32_t incapsule)
{
	uint64_t addr = (uintptr_t)s->mem;

	s->sqe.flags = (uint8_t)((s->sqe.flags & NVME_SQE_FUSE_MASK) | NVME_SQE_PSDT_SGL);
	if (s->dir == SLOT_NONE || !s->len) {
		put_keyed(&s->sqe.sgl, 0, 0, 0);
		return false;
	}
	assert(s->key && s->len <= RDMA_SGL_MAX && addr >= s->key->base);
	assert(range_fits(addr - s->key->base, s->len, s->key->len));
	if (s->dir == SLOT_TO_CTRL && s->len <= incapsule) {
		s->sqe.sgl = (struct sgl_wire){ .len = put32(s->len), .id = NVME_SGL_ID_INCAPSULE };
		return true;
	}
	put_keyed(&s->sqe.sgl, addr, s->len, s->key->rkey);
	return false;
}
