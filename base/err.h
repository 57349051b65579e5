/* SPDX-License-Identifier: Apache-2.0 */
/* Private error codes. A function returns 0 or a negative code: either a plain -errno, or one of ours, which has a
 * parent errno for callers (err_errno) and a sentence for people (err_text). Ours start at 10000, above every errno. */
#ifndef NVOFS_BASE_ERR_H
#define NVOFS_BASE_ERR_H

#include <errno.h>

/*      name                 parent         sentence */
#define NVOFS_ERRORS(X) \
	X(E_PARKED,          EAGAIN,        "waiting for a block") \
	X(E_AGAIN_ALONE,     EAGAIN,        "to be tried again alone") \
	X(E_BAD_PDU,         EPROTO,        "malformed PDU") \
	X(E_BAD_CAPSULE,     EPROTO,        "malformed capsule") \
	X(E_HEADER_DIGEST,   EIO,           "header digest mismatch") \
	X(E_DATA_DIGEST,     EIO,           "data digest mismatch") \
	X(E_LOST,            ENOTCONN,      "association with the target lost") \
	X(E_TIMEDOUT,        ETIMEDOUT,     "no answer in time") \
	X(E_NO_NSID,         ENXIO,         "no such namespace on the controller") \
	X(E_BAD_NQN,         ENOENT,        "the target does not know this NQN, or this host may not use it") \
	X(E_CONNECT_REFUSED, ECONNREFUSED,  "the controller refused the connection") \
	X(E_NVME_STATUS,     EIO,           "the controller answered with an error status") \
	X(E_MEDIA,           EIO,           "unrecovered read or write error on the medium") \
	X(E_LBA_FORMAT,      ENOTSUP,       "LBA format not supported (512 to 4096 bytes without metadata is)") \
	X(E_ID_CHANGED,      ESTALE,        "the namespace is not the one that was connected before") \
	X(E_NOT_OURS,        ESTALE,        "another host took over the file system") \
	X(E_CHECKSUM,        EIO,           "checksum mismatch") \
	X(E_BAD_NODE,        EIO,           "damaged tree node") \
	X(E_BAD_ITEM,        EIO,           "damaged item in a tree node") \
	X(E_BAD_BITMAP,      EIO,           "damaged allocation bitmap") \
	X(E_NOT_NVOFS,       EMEDIUMTYPE,   "not formatted as nvofs") \
	X(E_NEWER,           ENOTSUP,       "formatted by a newer version of nvofs") \
	X(E_BAD_SUPER,       EIO,           "no valid superblock; the namespace was nvofs once and is damaged") \
	X(E_ROTTEN_SUPER,    EIO,           "the journal is newer than the superblock; run fsck.nvofs") \
	X(E_TOO_SMALL,       ENOSPC,        "the namespace is too small") \
	X(E_IN_USE,          EBUSY,         "in use by another mount") \
	X(E_MOVED,           EBUSY,         "the former writer changed it after it was read; mount again") \
	X(E_READ_ONLY,       EROFS,         "the file system is read-only") \
	X(E_FROZEN,          EROFS,         "the file system froze after a write error") \
	X(E_NO_FRAMES,       ENOMEM,        "no free page frames") \
	X(E_MEMLOCK,         ENOMEM,        "memory cannot be locked within RLIMIT_MEMLOCK") \
	X(E_NO_SPACE,        ENOSPC,        "no space left on the file system")

enum nvofs_error {
	NVOFS_ERROR_BASE = 10000,
#define X(name, parent, text) name,
	NVOFS_ERRORS(X)
#undef X
	NVOFS_ERROR_END
};

/* The negative errno that a caller outside sees for any negative code; 0 stays 0. */
int err_errno(int code);
/* A sentence without a full stop for any code, negative or not. Never NULL; static storage. */
const char *err_text(int code);
/* The code's own name ("E_CHECKSUM"), or strerrorname's. */
const char *err_name(int code);

#endif
