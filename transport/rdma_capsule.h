/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/RDMA as bytes: private data of connecting, and the SGL of a command. Pure functions, without verbs. Source: NVM
 * Express RDMA Transport Specification 1.1 ("rdma"). */
#ifndef NVOFS_TRANSPORT_RDMA_CAPSULE_H
#define NVOFS_TRANSPORT_RDMA_CAPSULE_H

#include <stdbool.h>
#include "transport/wire.h"

/* Private data of the connection request (rdma 3.2). */
struct rdma_request_wire {
	le16 recfmt;                 /* 0 */
	le16 qid;
	le16 hrqsize;                /* receives that the host posts, 1-based */
	le16 hsqsize;                /* as SQSIZE of Connect, 0-based */
	le16 cntlid;                 /* I/O queues; 0 on the admin queue */
	uint8_t reserved[22];
} NVME_PACKED;
static_assert(sizeof(struct rdma_request_wire) == 32, "rdma_request_wire");

struct rdma_accept_wire {
	le16 recfmt;
	le16 crqsize;                /* receives of the controller */
	uint8_t reserved[28];
} NVME_PACKED;
static_assert(sizeof(struct rdma_accept_wire) == 32, "rdma_accept_wire");

struct rdma_reject_wire {
	le16 recfmt;
	le16 status;                 /* enum rdma_reject */
} NVME_PACKED;
static_assert(sizeof(struct rdma_reject_wire) == 4, "rdma_reject_wire");

enum rdma_reject {
	RDMA_REJECT_LENGTH = 1,
	RDMA_REJECT_RECFMT,
	RDMA_REJECT_QID,
	RDMA_REJECT_HSQSIZE,
	RDMA_REJECT_HRQSIZE,
	RDMA_REJECT_RESOURCES,
	RDMA_REJECT_IRD,
	RDMA_REJECT_ORD,
};

#define RDMA_SGL_MAX 0xffffffu       /* bytes of a keyed descriptor: its length has 24 bits */

/* entries: of the queue, 1-based. */
void rdma_build_request(struct rdma_request_wire *, uint16_t qid, uint16_t entries, uint16_t cntlid);
/* The controller's answer: 0 and the number of its receives, or -E_BAD_CAPSULE. */
int rdma_check_accept(const void *data, size_t len, uint16_t *crqsize);
/* What private data of a rejection say; NULL: nothing that NVMe knows. */
const char *rdma_reject_text(const void *data, size_t len);
/* Makes the slot's SGL: in the capsule (returns true; the data follow the SQE) when the command writes at most incapsule
 * bytes, else keyed; a command without data has a keyed descriptor of length 0. slot->key is asserted to cover the data. */
bool rdma_build_sgl(struct slot *, uint32_t incapsule);

#endif
