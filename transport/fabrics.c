/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of commands and the meaning of statuses. Nothing here has state or can fail, but for the two that say why.
 *  1. Every builder clears the whole SQE first: slots are used again and reserved fields have to be zero.
 *  2. Counts in the calls are what they say; that the wire's are 0-based (NLB, SQSIZE, NUMD, NR) stays in this
 *     file.
 *  3. CID and SGL are not set here (transport/fabrics.h). */
#include "transport/fabrics.h"

#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/num.h"

static void clear(struct sqe_wire *sqe, uint8_t opcode)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
}

/* All Fabrics commands share opcode 7Fh; which one it is stands where an NSID would be (base 6). */
static void clear_fabrics(struct sqe_wire *sqe, enum nvme_fctype type)
{
	clear(sqe, NVME_FABRICS);
	sqe->fctype = (uint8_t)type;
}

/* Base 6.3. KATO is in milliseconds; 0 on an I/O queue, where the field has no meaning. */
void fabrics_build_connect(struct sqe_wire *sqe, uint16_t qid, uint16_t entries, uint32_t kato_ms)
{
	clear_fabrics(sqe, NVME_FABRICS_CONNECT);
	sqe->connect.qid = put16(qid);
	sqe->connect.sqsize = put16((uint16_t)(entries - 1));
	sqe->connect.kato = put32(kato_ms);
}

/* NQNs end in a zero byte inside their 256; the clearing above strncpy sees to that. */
void fabrics_build_connect_data(struct connect_data_wire *data, const struct ns_addr *addr, uint16_t cntlid)
{
	memset(data, 0, sizeof(*data));
	memcpy(data->hostid, addr->hostid, sizeof(data->hostid));
	data->cntlid = put16(cntlid);
	strncpy(data->subnqn, addr->nqn, sizeof(data->subnqn) - 1);
	strncpy(data->hostnqn, addr->hostnqn, sizeof(data->hostnqn) - 1);
}

/* CAP is the only property of 8 bytes that is read here; a wrong size is refused by the controller (base 6.5). */
void fabrics_build_property_get(struct sqe_wire *sqe, enum nvme_property property)
{
	clear_fabrics(sqe, NVME_FABRICS_PROPERTY_GET);
	sqe->prop.attrib = property == NVME_PROP_CAP ? NVME_PROP_SIZE_8 : NVME_PROP_SIZE_4;
	sqe->prop.offset = put32(property);
}

void fabrics_build_property_set(struct sqe_wire *sqe, enum nvme_property property, uint32_t value)
{
	clear_fabrics(sqe, NVME_FABRICS_PROPERTY_SET);
	sqe->prop.attrib = NVME_PROP_SIZE_4;
	sqe->prop.offset = put32(property);
	sqe->prop.value = put64(value);
}

/* Invalid Parameters says where the wrong one lies (base 6.3, IPO and IATTR). */
static int invalid_parameter(const struct cqe_wire *cqe, const struct ns_addr *addr, char *why, size_t why_len)
{
	uint16_t offset = get16(cqe->connect_bad.ipo);
	bool in_data = cqe->connect_bad.iattr & 1;

	if (in_data && offset == offsetof(struct connect_data_wire, subnqn))
		snprintf(why, why_len, "the target knows no subsystem \"%s\"", addr->nqn);
	else if (in_data && offset == offsetof(struct connect_data_wire, hostnqn))
		snprintf(why, why_len, "the target does not accept the host NQN \"%s\"", addr->hostnqn);
	else if (in_data && offset == offsetof(struct connect_data_wire, hostid))
		snprintf(why, why_len, "the target does not accept the host identifier");
	else
		snprintf(why, why_len, "the controller refused Connect: invalid parameter at offset %u of the %s", offset,
			 in_data ? "data" : "command");
	return -E_BAD_NQN;
}

/* Every sentence is what a user can act on: wrong NQN, host not allowed, or somebody else's fault. */
int fabrics_connect_refused(const struct cqe_wire *cqe, const struct ns_addr *addr, char *why, size_t why_len)
{
	uint16_t status = cqe_status(cqe);
	char text[64];

	switch (NVME_STATUS_CODE(status)) {
	case NVME_SC_CONNECT_INVALID_PARAM:
		return invalid_parameter(cqe, addr, why, why_len);
	case NVME_SC_CONNECT_INVALID_HOST:
		snprintf(why, why_len, "the target does not let this host (%s) use \"%s\"", addr->hostnqn, addr->nqn);
		return -E_BAD_NQN;
	case NVME_SC_CONNECT_BUSY:
		snprintf(why, why_len, "the controller is busy");
		return -E_CONNECT_REFUSED;
	case NVME_SC_AUTH_REQUIRED:
		snprintf(why, why_len, "the target asks for authentication, which this build does not have");
		return -EACCES;
	}
	snprintf(why, why_len, "the controller refused Connect: %s", status_print(status, text, sizeof(text)));
	return -E_CONNECT_REFUSED;
}

void admin_build_identify(struct sqe_wire *sqe, enum nvme_cns cns, uint32_t nsid, uint8_t csi)
{
	clear(sqe, NVME_ADMIN_IDENTIFY);
	sqe->nsid = put32(nsid);
	sqe->identify.cns = (uint8_t)cns;
	sqe->identify.csi = csi;
}

void admin_build_set_feature(struct sqe_wire *sqe, enum nvme_feature fid, uint32_t cdw11)
{
	clear(sqe, NVME_ADMIN_SET_FEATURES);
	sqe->features.fid = (uint8_t)fid;
	sqe->features.cdw11 = put32(cdw11);
}

/* RAE stays 0: reading the log clears the event that named it, so that the controller may report the next one. */
void admin_build_get_log(struct sqe_wire *sqe, enum nvme_log lid, uint32_t nsid, uint64_t offset, uint32_t len)
{
	uint32_t dwords = len / 4 - 1;

	clear(sqe, NVME_ADMIN_GET_LOG);
	sqe->nsid = put32(nsid);
	sqe->log.lid = (uint8_t)lid;
	sqe->log.numdl = put16((uint16_t)dwords);
	sqe->log.numdu = put16((uint16_t)(dwords >> 16));
	sqe->log.offset = put64(offset);
}

void admin_build_simple(struct sqe_wire *sqe, enum nvme_admin_opcode opcode)
{
	clear(sqe, (uint8_t)opcode);
}

/* Also Write Zeroes, whose SLBA, NLB and FUA lie at the same place. */
void io_build_rw(struct sqe_wire *sqe, enum nvme_io_opcode opcode, uint32_t nsid, uint64_t lba, uint32_t nlb, bool fua)
{
	clear(sqe, (uint8_t)opcode);
	sqe->nsid = put32(nsid);
	sqe->rw.slba = put64(lba);
	sqe->rw.nlb = put16((uint16_t)(nlb - 1));
	sqe->rw.control = put16(fua ? NVME_RW_FUA : 0);
}

void io_build_flush(struct sqe_wire *sqe, uint32_t nsid)
{
	clear(sqe, NVME_IO_FLUSH);
	sqe->nsid = put32(nsid);
}

/* One range a command. It is data, 16 bytes at range, which the caller lends until the command is done. */
void io_build_deallocate(struct sqe_wire *sqe, struct dsm_range_wire *range, uint32_t nsid, uint64_t lba, uint32_t nlb)
{
	clear(sqe, NVME_IO_DSM);
	sqe->nsid = put32(nsid);
	sqe->dsm.nr = put32(0);
	sqe->dsm.attributes = put32(NVME_DSM_AD);
	*range = (struct dsm_range_wire){ .nlb = put32(nlb), .slba = put64(lba) };
}

/* What is worth another try. RETRY is for what may be a passing fault of this command; WAIT for what says nothing
 * about the command (the path, an ANA state, a namespace that is not ready yet): giving up on those would turn an
 * outage into errors, which the kernel answers by dropping dirty pages. FINAL is what another try cannot change. A
 * status that is not listed is judged by its type, in status_judge. */
static const struct status_kind {
	uint16_t status;
	enum status_verdict verdict; /* unless DNR */
	int code;
	const char *text;
} kinds[] = {
	{ NVME_SC_INVALID_OPCODE, STATUS_FINAL, -EOPNOTSUPP, "Invalid Command Opcode" },
	{ NVME_SC_INVALID_FIELD, STATUS_FINAL, -E_NVME_STATUS, "Invalid Field in Command" },
	{ NVME_SC_DATA_TRANSFER, STATUS_RETRY, -E_NVME_STATUS, "Data Transfer Error" },
	{ NVME_SC_INTERNAL, STATUS_RETRY, -E_NVME_STATUS, "Internal Error" },
	{ NVME_SC_ABORTED, STATUS_RETRY, -E_NVME_STATUS, "Command Abort Requested" },
	{ NVME_SC_INVALID_NS, STATUS_FINAL, -E_NO_NSID, "Invalid Namespace or Format" },
	{ NVME_SC_NS_WRITE_PROTECTED, STATUS_FINAL, -EROFS, "Namespace is Write Protected" },
	{ NVME_SC_SANITIZE_IN_PROGRESS, STATUS_WAIT, -E_NVME_STATUS, "Sanitize In Progress" },
	{ NVME_SC_INTERRUPTED, STATUS_WAIT, -E_NVME_STATUS, "Command Interrupted" },
	{ NVME_SC_TRANSIENT_TRANSPORT, STATUS_RETRY, -E_NVME_STATUS, "Transient Transport Error" },
	{ NVME_SC_LBA_RANGE, STATUS_FINAL, -E_NVME_STATUS, "LBA Out of Range" },
	{ NVME_SC_CAPACITY, STATUS_FINAL, -E_NO_SPACE, "Capacity Exceeded" },
	{ NVME_SC_NS_NOT_READY, STATUS_WAIT, -E_NVME_STATUS, "Namespace Not Ready" },
	{ NVME_SC_RESERVATION_CONFLICT, STATUS_FINAL, -E_IN_USE, "Reservation Conflict" },
	{ NVME_SC_READ_ONLY, STATUS_FINAL, -EROFS, "Attempted Write to Read Only Range" },
	{ NVME_SC_WRITE_FAULT, STATUS_RETRY, -E_MEDIA, "Write Fault" },
	{ NVME_SC_READ_ERROR, STATUS_RETRY, -E_MEDIA, "Unrecovered Read Error" },
	{ NVME_SC_UNWRITTEN, STATUS_FINAL, -E_MEDIA, "Deallocated or Unwritten Logical Block" },
	{ NVME_SC_ANA_PERSISTENT_LOSS, STATUS_FINAL, -E_NVME_STATUS, "ANA Persistent Loss" },
	{ NVME_SC_PATH_INTERNAL, STATUS_WAIT, -E_NVME_STATUS, "Internal Path Error" },
	{ NVME_SC_ANA_INACCESSIBLE, STATUS_WAIT, -E_NVME_STATUS, "ANA Inaccessible" },
	{ NVME_SC_ANA_TRANSITION, STATUS_WAIT, -E_NVME_STATUS, "ANA Transition" },
	{ NVME_SC_CTRL_PATH, STATUS_WAIT, -E_NVME_STATUS, "Controller Pathing Error" },
	{ NVME_SC_HOST_PATH, STATUS_WAIT, -E_NVME_STATUS, "Host Pathing Error" },
	{ NVME_SC_HOST_ABORTED, STATUS_WAIT, -E_NVME_STATUS, "Command Aborted by Host" },
};

/* By type and code alone: DNR, CRD and More are taken off. NULL: not listed. */
static const struct status_kind *kind_of(uint16_t status)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].status == NVME_STATUS_CODE(status))
			return &kinds[i];
	}
	return NULL;
}

/* DNR beats the table: the controller says that the same command will fail again. What is unknown of
 * type Path Related waits, like its relatives; what is unknown elsewhere is tried again. */
enum status_verdict status_judge(uint16_t status, int *code)
{
	const struct status_kind *kind = kind_of(status);

	if (!NVME_STATUS_CODE(status)) {
		*code = 0;
		return STATUS_OK;
	}
	*code = kind ? kind->code : NVME_STATUS_SCT(status) == NVME_SCT_MEDIA ? -E_MEDIA : -E_NVME_STATUS;
	if (status & NVME_STATUS_DNR)
		return STATUS_FINAL;
	if (!kind && NVME_STATUS_SCT(status) == NVME_SCT_PATH)
		return STATUS_WAIT;
	return kind ? kind->verdict : STATUS_RETRY;
}

const char *status_print(uint16_t status, char *buf, size_t len)
{
	const struct status_kind *kind = kind_of(status);

	snprintf(buf, len, "%s (%03xh%s)", kind ? kind->text : "status", NVME_STATUS_CODE(status),
		 status & NVME_STATUS_DNR ? ", do not retry" : "");
	return buf;
}
