/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe as it lies on the wire: commands, completions, SGLs, Fabrics capsules, data structures, codes. Sources: NVM
 * Express Base Specification 2.1 ("base"), NVM Command Set Specification 1.1 ("nvm"). Names follow the specification's
 * own abbreviations, so that they can be looked up. Shared by the host and the embedded target. */
#ifndef NVOFS_TRANSPORT_NVME_WIRE_H
#define NVOFS_TRANSPORT_NVME_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "base/le.h"

#define NVME_PACKED __attribute__((packed))
#define NVME_NQN_LEN 256             /* field on the wire; the text has at most 223 bytes and a final 0 */
#define NVME_DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"
#define NVME_NSID_ALL 0xffffffffu
#define NVME_CNTLID_DYNAMIC 0xffffu

/* ---- SGL descriptors (base 4.3.2): 16 bytes, the type in the last ---- */

#define NVME_SGL_DATA_BLOCK 0x0      /* address is absolute, or an offset into the capsule (subtype) */
#define NVME_SGL_BIT_BUCKET 0x1
#define NVME_SGL_SEGMENT 0x2
#define NVME_SGL_LAST_SEGMENT 0x3
#define NVME_SGL_KEYED_DATA_BLOCK 0x4
#define NVME_SGL_TRANSPORT_DATA_BLOCK 0x5
#define NVME_SGL_SUB_ADDRESS 0x0
#define NVME_SGL_SUB_OFFSET 0x1
#define NVME_SGL_SUB_TRANSPORT 0xa
#define NVME_SGL_SUB_INVALIDATE_KEY 0xf
#define NVME_SGL_ID(type, subtype) ((uint8_t)((type) << 4 | (subtype)))
#define NVME_SGL_ID_TYPE(id) ((id) >> 4)
#define NVME_SGL_ID_SUBTYPE(id) ((id)&0xf)
/* The three that fabrics use. */
#define NVME_SGL_ID_INCAPSULE NVME_SGL_ID(NVME_SGL_DATA_BLOCK, NVME_SGL_SUB_OFFSET)                   /* 01h */
#define NVME_SGL_ID_TRANSPORT NVME_SGL_ID(NVME_SGL_TRANSPORT_DATA_BLOCK, NVME_SGL_SUB_TRANSPORT)      /* 5Ah */
#define NVME_SGL_ID_KEYED NVME_SGL_ID(NVME_SGL_KEYED_DATA_BLOCK, NVME_SGL_SUB_ADDRESS)                /* 40h */

struct sgl_wire {
	le64 addr;                   /* in capsule: offset from the capsule's data */
	union {
		struct NVME_PACKED {
			le32 len;
			uint8_t reserved[3];
			uint8_t id;
		};
		struct NVME_PACKED {
			uint8_t len24[3];
			le32 key;
			uint8_t keyed_id;    /* same byte as id */
		};
	};
} NVME_PACKED;
static_assert(sizeof(struct sgl_wire) == 16, "sgl_wire");
static_assert(offsetof(struct sgl_wire, id) == 15 && offsetof(struct sgl_wire, keyed_id) == 15, "sgl id");

/* ---- Submission queue entry (base 3.3.3.1): 64 bytes ---- */

#define NVME_SQE_PSDT_SGL 0x40       /* flags: bits 7:6 = 01b, DPTR is an SGL; the only form on fabrics */
#define NVME_SQE_FUSE_MASK 0x03

struct sqe_wire {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	union {
		struct NVME_PACKED {
			le32 nsid;
			le32 cdw2, cdw3;
			le64 mptr;
		};
		struct NVME_PACKED {         /* Fabrics commands */
			uint8_t fctype;
			uint8_t fabrics_reserved[19];
		};
	};
	struct sgl_wire sgl;
	union {
		struct NVME_PACKED {
			le32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
		};
		struct NVME_PACKED {         /* Read, Write, Compare, Write Zeroes (nvm 3.3) */
			le64 slba;
			le16 nlb;            /* 0-based */
			le16 control;        /* NVME_RW_* */
			le32 dsm;
			le32 ilbrt;
			le16 lbat, lbatm;
		} rw;
		struct NVME_PACKED {
			uint8_t cns;
			uint8_t reserved;
			le16 cntid;
			le16 cnssid;
			uint8_t reserved6;
			uint8_t csi;
			uint8_t reserved8[8];
			le32 uuid_index;
			le32 reserved20;
		} identify;
		struct NVME_PACKED {
			uint8_t fid;
			uint8_t sel;         /* Get: bits 2:0 */
			uint8_t reserved2;
			uint8_t save;        /* Set: bit 7 */
			le32 cdw11, cdw12, cdw13, cdw14, cdw15;
		} features;
		struct NVME_PACKED {
			uint8_t lid;
			uint8_t lsp;         /* bits 6:0; bit 7: retain asynchronous event */
			le16 numdl;          /* dwords, 0-based */
			le16 numdu;
			le16 lsi;
			le64 offset;         /* bytes */
			le32 uuid_index;
		} log;
		struct NVME_PACKED {
			le32 nr;             /* ranges, 0-based, bits 7:0 */
			le32 attributes;     /* NVME_DSM_* */
			uint8_t reserved[16];
		} dsm;
		struct NVME_PACKED {         /* Connect (base 6.3) */
			le16 recfmt;
			le16 qid;
			le16 sqsize;         /* 0-based */
			uint8_t cattr;       /* NVME_CATTR_* */
			uint8_t reserved;
			le32 kato;           /* milliseconds */
			uint8_t reserved12[12];
		} connect;
		struct NVME_PACKED {         /* Property Get and Set (base 6.5, 6.6) */
			uint8_t attrib;      /* NVME_PROP_SIZE_* */
			uint8_t reserved[3];
			le32 offset;
			le64 value;          /* Set */
			uint8_t reserved16[8];
		} prop;
		struct NVME_PACKED {
			le16 sqid;
			le16 cid;
		} abort;
	};
} NVME_PACKED;
static_assert(sizeof(struct sqe_wire) == 64, "sqe_wire");
static_assert(offsetof(struct sqe_wire, sgl) == 24 && offsetof(struct sqe_wire, cdw10) == 40, "sqe_wire fields");
static_assert(offsetof(struct sqe_wire, rw.nlb) == 48 && offsetof(struct sqe_wire, log.offset) == 48, "sqe_wire cdw12");
static_assert(offsetof(struct sqe_wire, connect.kato) == 48 && offsetof(struct sqe_wire, prop.value) == 48, "fabrics");
static_assert(offsetof(struct sqe_wire, identify.csi) == 47, "sqe_wire.csi");
static_assert(offsetof(struct sqe_wire, identify.uuid_index) == 56, "sqe_wire.uuid_index");

#define NVME_RW_LR 0x8000            /* limited retry */
#define NVME_RW_FUA 0x4000           /* force unit access */
#define NVME_RW_PRINFO_MASK 0x3c00
#define NVME_RW_DEAC 0x0200          /* Write Zeroes: deallocate */
#define NVME_DSM_IDR 0x1
#define NVME_DSM_IDW 0x2
#define NVME_DSM_AD 0x4              /* deallocate */

struct dsm_range_wire {
	le32 cattr;
	le32 nlb;                    /* 1-based: the count itself */
	le64 slba;
} NVME_PACKED;
static_assert(sizeof(struct dsm_range_wire) == 16, "dsm_range_wire");
#define NVME_DSM_RANGES_MAX 256

/* ---- Completion queue entry (base 3.3.3.2): 16 bytes ---- */

struct cqe_wire {
	union {
		struct NVME_PACKED {
			le32 dw0, dw1;
		};
		le64 value;                  /* Property Get */
		struct NVME_PACKED {
			le16 cntlid;
			le16 authreq;        /* NVME_AUTHREQ_* */
		} connect;
		struct NVME_PACKED {         /* status Connect Invalid Parameters */
			le16 ipo;            /* offset of the wrong parameter */
			uint8_t iattr;       /* bit 0: in the data, else in the SQE */
			uint8_t reserved;
		} connect_bad;
	};
	le16 sqhd;
	le16 sqid;                   /* reserved on fabrics */
	le16 cid;
	le16 status;                 /* bit 0 phase (0 on fabrics), then NVME_STATUS() << 1 */
} NVME_PACKED;
static_assert(sizeof(struct cqe_wire) == 16, "cqe_wire");
#define NVME_SQHD_DISABLED 0xffffu   /* with SQ flow control disabled */
#define NVME_AUTHREQ_ATR 0x0002      /* in-band authentication required */
#define NVME_AUTHREQ_ASCR 0x0004

/* Status without the phase bit: SC 7:0, SCT 10:8, CRD 12:11, More 13, DNR 14. */
#define NVME_STATUS(sct, sc) ((uint16_t)((sct) << 8 | (sc)))
#define NVME_STATUS_SC(s) ((s)&0xff)
#define NVME_STATUS_SCT(s) ((s) >> 8 & 0x7)
#define NVME_STATUS_CRD(s) ((s) >> 11 & 0x3)
#define NVME_STATUS_CODE(s) ((s)&0x7ff)  /* SCT and SC */
#define NVME_STATUS_MORE 0x2000
#define NVME_STATUS_DNR 0x4000
#define NVME_SCT_GENERIC 0
#define NVME_SCT_SPECIFIC 1
#define NVME_SCT_MEDIA 2
#define NVME_SCT_PATH 3
#define NVME_SCT_VENDOR 7

static inline uint16_t cqe_status(const struct cqe_wire *c) { return get16(c->status) >> 1; }
static inline void cqe_set_status(struct cqe_wire *c, uint16_t status) { c->status = put16((uint16_t)(status << 1)); }

enum nvme_sc {
	NVME_SC_SUCCESS = 0x000,
	NVME_SC_INVALID_OPCODE = 0x001,
	NVME_SC_INVALID_FIELD = 0x002,
	NVME_SC_CID_CONFLICT = 0x003,
	NVME_SC_DATA_TRANSFER = 0x004,
	NVME_SC_POWER_LOSS = 0x005,
	NVME_SC_INTERNAL = 0x006,
	NVME_SC_ABORTED = 0x007,
	NVME_SC_ABORTED_SQ_DELETION = 0x008,
	NVME_SC_INVALID_NS = 0x00b,
	NVME_SC_SEQUENCE = 0x00c,
	NVME_SC_SGL_SEGMENT = 0x00d,
	NVME_SC_SGL_COUNT = 0x00e,
	NVME_SC_SGL_DATA_LEN = 0x00f,
	NVME_SC_SGL_TYPE = 0x011,
	NVME_SC_SGL_OFFSET = 0x016,
	NVME_SC_HOSTID_INCONSISTENT = 0x018,
	NVME_SC_KATO_EXPIRED = 0x019,
	NVME_SC_KATO_INVALID = 0x01a,
	NVME_SC_ABORTED_PREEMPT = 0x01b,
	NVME_SC_SANITIZE_IN_PROGRESS = 0x01d,
	NVME_SC_NS_WRITE_PROTECTED = 0x020,
	NVME_SC_INTERRUPTED = 0x021,
	NVME_SC_TRANSIENT_TRANSPORT = 0x022,
	NVME_SC_LBA_RANGE = 0x080,
	NVME_SC_CAPACITY = 0x081,
	NVME_SC_NS_NOT_READY = 0x082,
	NVME_SC_RESERVATION_CONFLICT = 0x083,

	NVME_SC_CQ_INVALID = 0x100,
	NVME_SC_QID_INVALID = 0x101,
	NVME_SC_QUEUE_SIZE = 0x102,
	NVME_SC_ABORT_LIMIT = 0x103,
	NVME_SC_AER_LIMIT = 0x105,
	NVME_SC_INVALID_LOG_PAGE = 0x109,
	NVME_SC_INVALID_FORMAT = 0x10a,
	NVME_SC_FID_NOT_SAVEABLE = 0x10d,
	NVME_SC_FID_NOT_CHANGEABLE = 0x10e,
	NVME_SC_FID_NOT_PER_NS = 0x10f,
	NVME_SC_CONFLICTING_ATTRIBUTES = 0x180,
	NVME_SC_READ_ONLY = 0x182,
	NVME_SC_SIZE_LIMIT = 0x183,

	/* Fabrics commands (base figure "Fabrics Command Specific Status"); the same numbers mean else for others. */
	NVME_SC_CONNECT_FORMAT = 0x180,
	NVME_SC_CONNECT_BUSY = 0x181,
	NVME_SC_CONNECT_INVALID_PARAM = 0x182,
	NVME_SC_CONNECT_RESTART_DISCOVERY = 0x183,
	NVME_SC_CONNECT_INVALID_HOST = 0x184,
	NVME_SC_DISCOVERY_RESTART = 0x190,
	NVME_SC_AUTH_REQUIRED = 0x191,

	NVME_SC_WRITE_FAULT = 0x280,
	NVME_SC_READ_ERROR = 0x281,
	NVME_SC_GUARD_CHECK = 0x282,
	NVME_SC_COMPARE_FAILED = 0x285,
	NVME_SC_ACCESS_DENIED = 0x286,
	NVME_SC_UNWRITTEN = 0x287,

	NVME_SC_PATH_INTERNAL = 0x300,
	NVME_SC_ANA_PERSISTENT_LOSS = 0x301,
	NVME_SC_ANA_INACCESSIBLE = 0x302,
	NVME_SC_ANA_TRANSITION = 0x303,
	NVME_SC_CTRL_PATH = 0x360,
	NVME_SC_HOST_PATH = 0x370,
	NVME_SC_HOST_ABORTED = 0x371,
};

/* ---- Opcodes ---- */

enum nvme_admin_opcode {
	NVME_ADMIN_GET_LOG = 0x02,
	NVME_ADMIN_IDENTIFY = 0x06,
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09,
	NVME_ADMIN_GET_FEATURES = 0x0a,
	NVME_ADMIN_AER = 0x0c,
	NVME_ADMIN_KEEP_ALIVE = 0x18,
};
enum nvme_io_opcode {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
	NVME_IO_COMPARE = 0x05,
	NVME_IO_WRITE_ZEROES = 0x08,
	NVME_IO_DSM = 0x09,
	NVME_IO_RESV_REGISTER = 0x0d,
	NVME_IO_RESV_REPORT = 0x0e,
	NVME_IO_RESV_ACQUIRE = 0x11,
	NVME_IO_RESV_RELEASE = 0x15,
};
#define NVME_FABRICS 0x7f            /* opcode of all Fabrics commands; fctype tells which */
enum nvme_fctype {
	NVME_FABRICS_PROPERTY_SET = 0x00,
	NVME_FABRICS_CONNECT = 0x01,
	NVME_FABRICS_PROPERTY_GET = 0x04,
	NVME_FABRICS_AUTH_SEND = 0x05,
	NVME_FABRICS_AUTH_RECEIVE = 0x06,
	NVME_FABRICS_DISCONNECT = 0x08,
};

/* ---- Connect (base 6.3) ---- */

#define NVME_CATTR_PRIORITY_MASK 0x03
#define NVME_CATTR_NO_SQ_FLOW 0x04   /* disable SQ flow control */
#define NVME_CATTR_IOSQ_PER 0x08

struct connect_data_wire {
	uint8_t hostid[16];
	le16 cntlid;
	uint8_t reserved18[238];
	char subnqn[NVME_NQN_LEN];
	char hostnqn[NVME_NQN_LEN];
	uint8_t reserved768[256];
} NVME_PACKED;
static_assert(sizeof(struct connect_data_wire) == 1024, "connect_data_wire");
static_assert(offsetof(struct connect_data_wire, subnqn) == 256, "connect_data_wire.subnqn");
static_assert(offsetof(struct connect_data_wire, hostnqn) == 512, "connect_data_wire.hostnqn");

/* ---- Controller properties (base 3.1.4) ---- */

#define NVME_PROP_SIZE_4 0
#define NVME_PROP_SIZE_8 1
enum nvme_property {
	NVME_PROP_CAP = 0x00,        /* 8 bytes */
	NVME_PROP_VS = 0x08,
	NVME_PROP_CC = 0x14,
	NVME_PROP_CSTS = 0x1c,
	NVME_PROP_NSSR = 0x20,
	NVME_PROP_CRTO = 0x68,
};
#define NVME_VS(major, minor, patch) ((uint32_t)((major) << 16 | (minor) << 8 | (patch)))

#define NVME_CAP_MQES(cap) ((uint16_t)((cap)&0xffff))         /* 0-based */
#define NVME_CAP_CQR (1ull << 16)
#define NVME_CAP_TO(cap) ((unsigned)((cap) >> 24 & 0xff))     /* units of 500 ms */
#define NVME_CAP_TO_SHIFT 24
#define NVME_CAP_NSSRS (1ull << 36)
#define NVME_CAP_CSS_NVM (1ull << 37)
#define NVME_CAP_CSS_IOCS (1ull << 43)
#define NVME_CAP_CSS_ADMIN (1ull << 44)
#define NVME_CAP_MPSMIN(cap) ((unsigned)((cap) >> 48 & 0xf))  /* page = 2 ^ (12 + n) */
#define NVME_CAP_MPSMAX(cap) ((unsigned)((cap) >> 52 & 0xf))

#define NVME_CC_EN 0x1u
#define NVME_CC_CSS_SHIFT 4
#define NVME_CC_CSS_MASK 0x70u
#define NVME_CC_CSS_NVM 0u
#define NVME_CC_CSS_ALL 6u
#define NVME_CC_CSS_ADMIN 7u
#define NVME_CC_MPS_SHIFT 7
#define NVME_CC_MPS(cc) ((cc) >> 7 & 0xf)
#define NVME_CC_AMS_SHIFT 11
#define NVME_CC_SHN_MASK 0xc000u
#define NVME_CC_SHN_NORMAL 0x4000u
#define NVME_CC_SHN_ABRUPT 0x8000u
#define NVME_CC_IOSQES_SHIFT 16
#define NVME_CC_IOCQES_SHIFT 20
#define NVME_CC_IOSQES(cc) ((cc) >> 16 & 0xf)
#define NVME_CC_IOCQES(cc) ((cc) >> 20 & 0xf)

#define NVME_CSTS_RDY 0x1u
#define NVME_CSTS_CFS 0x2u
#define NVME_CSTS_SHST_MASK 0xcu
#define NVME_CSTS_SHST_OCCURRING 0x4u
#define NVME_CSTS_SHST_COMPLETE 0x8u

/* ---- Identify (base 5.1.13) ---- */

#define NVME_IDENTIFY_LEN 4096
enum nvme_cns {
	NVME_CNS_NS = 0x00,
	NVME_CNS_CTRL = 0x01,
	NVME_CNS_ACTIVE_NS = 0x02,
	NVME_CNS_NS_DESC = 0x03,
	NVME_CNS_CSI_NS = 0x05,
	NVME_CNS_CSI_CTRL = 0x06,
	NVME_CNS_CSI_ACTIVE_NS = 0x07,
	NVME_CNS_NS_CSI_INDEPENDENT = 0x08,
	NVME_CNS_IO_COMMAND_SETS = 0x1c,
};
#define NVME_CSI_NVM 0

struct id_power_state_wire {
	le16 mp;
	uint8_t reserved[30];
} NVME_PACKED;
static_assert(sizeof(struct id_power_state_wire) == 32, "id_power_state_wire");

struct id_ctrl_wire {
	le16 vid, ssvid;
	char sn[20], mn[40], fr[8];  /* padded with spaces */
	uint8_t rab, ieee[3];
	uint8_t cmic;
	uint8_t mdts;                /* 2^n pages of CAP.MPSMIN; 0: no limit */
	le16 cntlid;
	le32 ver, rtd3r, rtd3e;
	le32 oaes;                   /* NVME_OAES_* */
	le32 ctratt;                 /* NVME_CTRATT_* */
	le16 rrls;
	uint8_t reserved102[9];
	uint8_t cntrltype;           /* NVME_CNTRLTYPE_* */
	uint8_t fguid[16];
	le16 crdt[3];                /* command retry delay times, 100 ms */
	uint8_t reserved134[119];
	uint8_t nvmsr, vwci, mec;
	le16 oacs;
	uint8_t acl;                 /* 0-based */
	uint8_t aerl;                /* 0-based */
	uint8_t frmw, lpa, elpe, npss, avscc, apsta;
	le16 wctemp, cctemp, mtfa;
	le32 hmpre, hmmin;
	uint8_t tnvmcap[16], unvmcap[16];
	le32 rpmbs;
	le16 edstt;
	uint8_t dsto, fwug;
	le16 kas;                    /* granularity of KATO, 100 ms; 0: no Keep Alive */
	le16 hctma, mntmt, mxtmt;
	le32 sanicap, hmminds;
	le16 hmmaxd, nsetidmax, endgidmax;
	uint8_t anatt, anacap;
	le32 anagrpmax, nanagrpid, pels;
	le16 domainid;
	uint8_t reserved358[10];
	uint8_t megcap[16];
	uint8_t tmpthha, reserved385;
	le16 cqt;                    /* command quiesce time, ms */
	uint8_t reserved388[124];
	uint8_t sqes, cqes;          /* minimum 3:0, maximum 7:4, powers of two */
	le16 maxcmd;                 /* outstanding commands of a queue; 0: not told */
	le32 nn;
	le16 oncs;                   /* NVME_ONCS_* */
	le16 fuses;
	uint8_t fna;
	uint8_t vwc;                 /* bit 0: present */
	le16 awun, awupf;
	uint8_t icsvscc, nwpc;
	le16 acwu, cdfs;
	le32 sgls;                   /* NVME_SGLS_* */
	le32 mnan;
	uint8_t maxdna[16];
	le32 maxcna, oaqd;
	uint8_t rhiri, hirt;
	le16 cmmrtd, nmmrtd;
	uint8_t minmrtg, maxmrtg, trattr, reserved577;
	le16 mcudmq, mnsudmq, mcmr, nmcmr, mcdqpc;
	uint8_t reserved588[180];
	char subnqn[NVME_NQN_LEN];
	uint8_t reserved1024[768];
	le32 ioccsz;                 /* command capsule, units of 16 bytes */
	le32 iorcsz;                 /* response capsule, units of 16 bytes */
	le16 icdoff;                 /* in-capsule data offset, units of 16 bytes */
	uint8_t fcatt;               /* bit 0: 0 = dynamic controllers */
	uint8_t msdbd;               /* SGL data block descriptors of a command; 0: no limit */
	le16 ofcs;                   /* bit 0: Disconnect */
	uint8_t dctype;
	uint8_t reserved1807[241];
	struct id_power_state_wire psd[32];
	uint8_t vendor[1024];
} NVME_PACKED;
static_assert(sizeof(struct id_ctrl_wire) == 4096, "id_ctrl_wire");
static_assert(offsetof(struct id_ctrl_wire, cmic) == 76 && offsetof(struct id_ctrl_wire, ver) == 80, "id_ctrl");
static_assert(offsetof(struct id_ctrl_wire, cntrltype) == 111 && offsetof(struct id_ctrl_wire, crdt) == 128, "id_ctrl");
static_assert(offsetof(struct id_ctrl_wire, oacs) == 256 && offsetof(struct id_ctrl_wire, kas) == 320, "id_ctrl");
static_assert(offsetof(struct id_ctrl_wire, anatt) == 342 && offsetof(struct id_ctrl_wire, domainid) == 356, "id_ctrl");
static_assert(offsetof(struct id_ctrl_wire, cqt) == 386 && offsetof(struct id_ctrl_wire, sqes) == 512, "id_ctrl");
static_assert(offsetof(struct id_ctrl_wire, vwc) == 525 && offsetof(struct id_ctrl_wire, sgls) == 536, "id_ctrl");
static_assert(offsetof(struct id_ctrl_wire, subnqn) == 768 && offsetof(struct id_ctrl_wire, ioccsz) == 1792, "id_ctrl");
static_assert(offsetof(struct id_ctrl_wire, psd) == 2048, "id_ctrl");

#define NVME_CNTRLTYPE_IO 1
#define NVME_CNTRLTYPE_DISCOVERY 2
#define NVME_CMIC_MULTI_PORT 0x1
#define NVME_CMIC_MULTI_CTRL 0x2
#define NVME_CMIC_ANA 0x8
#define NVME_OAES_NS_ATTR (1u << 8)
#define NVME_OAES_ANA (1u << 11)
#define NVME_OAES_DISCOVERY (1u << 31)
#define NVME_CTRATT_HOSTID_128 (1u << 0)
#define NVME_CTRATT_TBKAS (1u << 6)     /* traffic based keep-alive */
#define NVME_ONCS_COMPARE 0x0001
#define NVME_ONCS_WRITE_UNC 0x0002
#define NVME_ONCS_DSM 0x0004
#define NVME_ONCS_WRITE_ZEROES 0x0008
#define NVME_ONCS_SAVE 0x0010
#define NVME_ONCS_RESERVATIONS 0x0020
#define NVME_VWC_PRESENT 0x01
#define NVME_VWC_NSID_ALL 0x06          /* bits 2:1 = 11b: Flush takes NSID FFFFFFFFh */
#define NVME_SGLS_SUPPORTED 0x1u        /* bits 1:0 = 01b, no alignment asked */
#define NVME_SGLS_KEYED (1u << 2)
#define NVME_SGLS_OFFSET (1u << 20)     /* address may be an offset: data in the capsule */
#define NVME_SGLS_TRANSPORT (1u << 21)
#define NVME_LPA_SMART_PER_NS 0x01
#define NVME_LPA_COMMANDS 0x02
#define NVME_LPA_EXTENDED 0x04          /* log offset and NUMDU */

struct lbaf_wire {
	le16 ms;                     /* bytes of metadata */
	uint8_t lbads;               /* 2^n bytes */
	uint8_t rp;
} NVME_PACKED;
static_assert(sizeof(struct lbaf_wire) == 4, "lbaf_wire");

struct id_ns_wire {
	le64 nsze, ncap, nuse;
	uint8_t nsfeat;              /* NVME_NSFEAT_* */
	uint8_t nlbaf;               /* 0-based */
	uint8_t flbas;               /* format: 3:0, and 6:5 above it when nlbaf > 15; bit 4: metadata inline */
	uint8_t mc, dpc, dps, nmic, rescap, fpi;
	uint8_t dlfeat;              /* NVME_DLFEAT_* */
	le16 nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
	uint8_t nvmcap[16];
	le16 npwg, npwa, npdg, npda, nows; /* 0-based, in LBAs */
	le16 mssrl;
	le32 mcl;
	uint8_t msrc, kpios, nulbaf, reserved83;
	le32 kpiodaag;
	uint8_t reserved88[4];
	le32 anagrpid;
	uint8_t reserved96[3];
	uint8_t nsattr;              /* bit 0: write protected */
	le16 nvmsetid, endgid;
	uint8_t nguid[16], eui64[8];
	struct lbaf_wire lbaf[64];
	uint8_t vendor[3712];
} NVME_PACKED;
static_assert(sizeof(struct id_ns_wire) == 4096, "id_ns_wire");
static_assert(offsetof(struct id_ns_wire, dlfeat) == 33 && offsetof(struct id_ns_wire, nvmcap) == 48, "id_ns 33");
static_assert(offsetof(struct id_ns_wire, anagrpid) == 92 && offsetof(struct id_ns_wire, nguid) == 104, "id_ns 92");
static_assert(offsetof(struct id_ns_wire, lbaf) == 128, "id_ns 128");
#define NVME_FLBAS_INDEX(flbas, nlbaf) (((flbas)&0xf) | ((nlbaf) > 15 ? (flbas) >> 1 & 0x30 : 0))
#define NVME_NSFEAT_THIN 0x01
#define NVME_NSFEAT_OPTPERF 0x10        /* npwg..nows are valid */
#define NVME_NMIC_SHARED 0x01
#define NVME_DLFEAT_ZEROES 0x01         /* deallocated blocks read as zeros */
#define NVME_DLFEAT_WZ_DEAC 0x08        /* Write Zeroes knows DEAC */

/* Identify controller of the NVM command set (CNS 06h, nvm 4.1.5.4): limits in units of MPSMIN pages or counts. */
struct id_ctrl_nvm_wire {
	uint8_t vsl, wzsl, wusl, dmrl;
	le32 dmrsl;
	le64 dmsl;
	uint8_t kpiocap, wzdsl;
	le16 aocs;
	le32 ver;
	uint8_t lbamqf;
	uint8_t reserved25[4071];
} NVME_PACKED;
static_assert(sizeof(struct id_ctrl_nvm_wire) == 4096, "id_ctrl_nvm_wire");

/* CNS 08h: what does not depend on the command set. */
struct id_ns_indep_wire {
	uint8_t nsfeat, nmic, rescap, fpi;
	le32 anagrpid;
	uint8_t nsattr, reserved9;
	le16 nvmsetid, endgid;
	uint8_t nstat;               /* bit 0: ready */
	uint8_t reserved15[4081];
} NVME_PACKED;
static_assert(sizeof(struct id_ns_indep_wire) == 4096, "id_ns_indep_wire");

/* CNS 03h: a list of these, ended by length 0. */
struct ns_desc_wire {
	uint8_t nidt;                /* NVME_NIDT_* */
	uint8_t nidl;
	uint8_t reserved[2];
	uint8_t nid[];
} NVME_PACKED;
static_assert(sizeof(struct ns_desc_wire) == 4, "ns_desc_wire");
#define NVME_NIDT_EUI64 1
#define NVME_NIDT_NGUID 2
#define NVME_NIDT_UUID 3
#define NVME_NIDT_CSI 4

#define NVME_NS_LIST_MAX 1024        /* le32 each, ascending, 0 ends */

/* ---- Features (base 5.1.25) ---- */

enum nvme_feature {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER = 0x02,
	NVME_FEAT_TEMPERATURE = 0x04,
	NVME_FEAT_VWC = 0x06,
	NVME_FEAT_NUM_QUEUES = 0x07,
	NVME_FEAT_WRITE_ATOMICITY = 0x0a,
	NVME_FEAT_AER_CONFIG = 0x0b,
	NVME_FEAT_KATO = 0x0f,
	NVME_FEAT_HOST_BEHAVIOR = 0x16,
	NVME_FEAT_IO_COMMAND_SET = 0x19,
	NVME_FEAT_HOSTID = 0x81,
	NVME_FEAT_RESV_NOTIFY_MASK = 0x82,
	NVME_FEAT_RESV_PERSIST = 0x83,
	NVME_FEAT_WRITE_PROTECT = 0x84,
};
#define NVME_FEAT_SEL_CURRENT 0
#define NVME_FEAT_SEL_DEFAULT 1
#define NVME_FEAT_SEL_SAVED 2
#define NVME_FEAT_SEL_SUPPORTED 3
#define NVME_FEAT_SAVE 0x80
#define NVME_FEAT_HOSTID_EXHID 0x1      /* cdw11: 128-bit form */

/* ---- Log pages (base 5.1.12) ---- */

enum nvme_log {
	NVME_LOG_SUPPORTED = 0x00,
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED_NS = 0x04,
	NVME_LOG_COMMANDS = 0x05,
	NVME_LOG_ANA = 0x0c,
	NVME_LOG_DISCOVERY = 0x70,
};
#define NVME_LOG_RAE 0x80               /* lsp: retain asynchronous event */
#define NVME_LOG_SUPPORTED_LEN 1024
#define NVME_LOG_ERROR_ENTRY_LEN 64
#define NVME_LOG_SMART_LEN 512
#define NVME_LOG_FIRMWARE_LEN 512
#define NVME_LOG_CHANGED_NS_LEN 4096
#define NVME_LOG_COMMANDS_LEN 4096      /* 256 admin, 256 I/O le32, rest reserved */
#define NVME_CSE_CSUPP 0x1u             /* commands log: supported */
#define NVME_CSE_LBCC 0x2u              /* changes logical block content */

struct smart_log_wire {
	uint8_t critical_warning;
	le16 temperature;            /* kelvin */
	uint8_t available_spare, spare_threshold, percentage_used, egcws;
	uint8_t reserved7[25];
	uint8_t data_units_read[16], data_units_written[16]; /* thousands of 512 bytes */
	uint8_t host_reads[16], host_writes[16], busy_minutes[16], power_cycles[16], power_on_hours[16];
	uint8_t unsafe_shutdowns[16], media_errors[16], error_entries[16];
	uint8_t reserved192[320];
} NVME_PACKED;
static_assert(sizeof(struct smart_log_wire) == 512, "smart_log_wire");

/* Discovery log page (base 5.1.12.3.1): a head and numrec entries, 1024 bytes each. */
struct discovery_log_wire {
	le64 genctr, numrec;
	le16 recfmt;
	uint8_t reserved[1006];
} NVME_PACKED;
static_assert(sizeof(struct discovery_log_wire) == 1024, "discovery_log_wire");

struct discovery_entry_wire {
	uint8_t trtype;              /* NVME_TRTYPE_* */
	uint8_t adrfam;              /* NVME_ADRFAM_* */
	uint8_t subtype;             /* NVME_SUBTYPE_* */
	uint8_t treq;                /* bits 1:0 secure channel, bit 2: SQ flow control may be disabled */
	le16 portid, cntlid, asqsz;  /* asqsz: 1-based, at least 32 */
	le16 eflags;
	uint8_t reserved12[20];
	char trsvcid[32];            /* padded with spaces */
	uint8_t reserved64[192];
	char subnqn[NVME_NQN_LEN];
	char traddr[256];            /* padded with spaces */
	union {
		uint8_t tsas[256];
		uint8_t sectype;     /* TCP: 0 none, 1 TLS 1.2, 2 TLS 1.3 */
	};
} NVME_PACKED;
static_assert(sizeof(struct discovery_entry_wire) == 1024, "discovery_entry_wire");
static_assert(offsetof(struct discovery_entry_wire, trsvcid) == 32, "discovery_entry.trsvcid");
static_assert(offsetof(struct discovery_entry_wire, traddr) == 512, "discovery_entry.traddr");
#define NVME_TRTYPE_RDMA 1
#define NVME_TRTYPE_TCP 3
#define NVME_TRTYPE_LOOP 254
#define NVME_ADRFAM_IPV4 1
#define NVME_ADRFAM_IPV6 2
#define NVME_SUBTYPE_REFERRAL 1
#define NVME_SUBTYPE_NVM 2
#define NVME_SUBTYPE_CURRENT_DISCOVERY 3
#define NVME_TREQ_NOT_REQUIRED 0x2
#define NVME_TREQ_NO_SQ_FLOW 0x4
#define NVME_EFLAGS_EPCSD 0x2           /* explicit persistent connection supported */
#define NVME_EFLAGS_DUPRETINFO 0x1

/* ---- Asynchronous events (base 5.1.2): dw0 of the completion ---- */

#define NVME_AER_TYPE(dw0) ((dw0)&0x7)
#define NVME_AER_INFO(dw0) ((dw0) >> 8 & 0xff)
#define NVME_AER_LOG(dw0) ((dw0) >> 16 & 0xff)
#define NVME_AER_RESULT(type, info, log) ((uint32_t)(type) | (uint32_t)(info) << 8 | (uint32_t)(log) << 16)
#define NVME_AER_TYPE_ERROR 0
#define NVME_AER_TYPE_SMART 1
#define NVME_AER_TYPE_NOTICE 2
#define NVME_AER_TYPE_IO 6
#define NVME_AER_NOTICE_NS_CHANGED 0x00
#define NVME_AER_NOTICE_ANA 0x03
#define NVME_AER_NOTICE_DISCOVERY 0xf0

#endif
