/* SPDX-License-Identifier: Apache-2.0 */
/* Commands as bytes, and statuses as decisions: pure functions, the same for every fabric. A builder fills the whole SQE
 * but for CID and SGL, which the queue's owner and the wire add. */
#ifndef NVOFS_TRANSPORT_FABRICS_H
#define NVOFS_TRANSPORT_FABRICS_H

#include <stdbool.h>
#include "transport/addr.h"
#include "transport/nvme_wire.h"

/* ---- Fabrics ---- */

/* entries is the queue's size; 0-based on the wire. kato_ms for the admin queue only. */
void fabrics_build_connect(struct sqe_wire *, uint16_t qid, uint16_t entries, uint32_t kato_ms);
/* addr with identity filled in. cntlid: NVME_CNTLID_DYNAMIC for the admin queue. */
void fabrics_build_connect_data(struct connect_data_wire *, const struct ns_addr *, uint16_t cntlid);
void fabrics_build_property_get(struct sqe_wire *, enum nvme_property);
void fabrics_build_property_set(struct sqe_wire *, enum nvme_property, uint32_t value);
/* What a refused Connect means, in one line; the code that goes with it. */
int fabrics_connect_refused(const struct cqe_wire *, const struct ns_addr *, char *why, size_t why_len);

/* ---- Admin ---- */

void admin_build_identify(struct sqe_wire *, enum nvme_cns, uint32_t nsid, uint8_t csi);
void admin_build_set_feature(struct sqe_wire *, enum nvme_feature, uint32_t cdw11);
/* len is a multiple of 4. */
void admin_build_get_log(struct sqe_wire *, enum nvme_log, uint32_t nsid, uint64_t offset, uint32_t len);
void admin_build_simple(struct sqe_wire *, enum nvme_admin_opcode); /* AER, Keep Alive */

/* ---- I/O; lba and nlb in LBAs, nlb 1-based ---- */

void io_build_rw(struct sqe_wire *, enum nvme_io_opcode, uint32_t nsid, uint64_t lba, uint32_t nlb, bool fua);
void io_build_flush(struct sqe_wire *, uint32_t nsid);
void io_build_deallocate(struct sqe_wire *, struct dsm_range_wire *, uint32_t nsid, uint64_t lba, uint32_t nlb);

/* ---- Status ---- */

enum status_verdict {
	STATUS_OK,
	STATUS_FINAL,        /* the code is the answer */
	STATUS_RETRY,        /* a few times, after the delay that CRD names */
	STATUS_WAIT,         /* the path, not the command: for as long as it takes */
};

/* status as cqe_status gives it; *code gets 0 or the negative code that the caller sees if it is not tried again. */
enum status_verdict status_judge(uint16_t status, int *code);
/* "Read Error (281h)" into buf; returns buf. */
const char *status_print(uint16_t status, char *buf, size_t len);

#endif
