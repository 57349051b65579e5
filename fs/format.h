/* SPDX-License-Identifier: Apache-2.0 */
/* Every structure on the device, to the bit. FORMAT.md beside this file is the prose; where they differ, one of them
 * has a bug. All integers little-endian, all checksums CRC32C over the whole structure with the crc field zero. */
#ifndef NVOFS_FS_FORMAT_H
#define NVOFS_FS_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include "base/le.h"
#include "base/num.h"

#define FORMAT_VERSION 1u
#define FS_BLOCK 4096u
#define MIN_BLOCKS (64 * MiB / FS_BLOCK)

/* ---- layout (in blocks) ---- */
#define GROUP_BLOCKS 32768u     /* one bitmap block's worth: 128 MiB */
#define GROUP_FIXED 8u          /* reserved at the head of every group */
#define GROUP_MIN 64u           /* a shorter last group is ignored */
#define L0_SLOT 0u              /* 0/1: bitmap slots of the group */
#define L1_SLOT 2u              /* 2/3: in every 256th group */
#define L2_SLOT 4u              /* 4/5: in every 65536th */
#define DESCS 256u              /* descriptors in an L1 or L2 block */
#define L2_MAX 64u              /* descriptors in the superblock: 512 TiB */
#define RING_SLOTS 4u
#define SUPER_BLOCKS 2u
#define RING_A 8u               /* 8..15 */
#define HEARTBEAT_BLOCK 16u
#define JOURNAL_START 32u
#define RING_BLOCKS (RING_SLOTS * SUPER_BLOCKS)
#define JOURNAL_MIN (4 * MiB / FS_BLOCK)
#define JOURNAL_MAX (64 * MiB / FS_BLOCK)

#define SUPER_MAGIC 0x31305346464f564eull /* "NVOFFS01" */
#define NODE_MAGIC 0x444e564eu            /* "NVND" */
#define RECORD_MAGIC 0x4c4a564eu          /* "NVJL" */
#define HEARTBEAT_MAGIC 0x4248564eu       /* "NVHB" */

/* ---- allocation ---- */
#define DESC_UNINIT 1u          /* never written: everything free but the fixed blocks */
struct desc_disk {              /* in L1 (of an L0 block) and L2 (of an L1 block) */
	le32 crc;
	le32 free;              /* blocks */
	le32 quads;             /* aligned, wholly free runs of 4 */
	uint8_t slot, flags, pad[2];
};
static_assert(sizeof(struct desc_disk) == 16, "descriptor");

struct desc_super_disk {        /* in the superblock (of an L2 block) */
	le64 free, quads;
	le32 crc;
	uint8_t slot, flags, pad[10];
};
static_assert(sizeof(struct desc_super_disk) == 32, "descriptor in the superblock");

/* ---- pointers, superblock, heartbeat ---- */
struct ptr_disk {               /* to a node; all of block, birth and crc must match what is there */
	le64 block, birth;
	le32 crc;
};
static_assert(sizeof(struct ptr_disk) == 20, "pointer");

#define SUPER_CLEAN 1u          /* state: unmounted, the journal is empty */
#define CSUM_CRC32C 1u

struct super_disk {             /* 8 KiB */
	le64 magic;
	le32 version;
	le32 crc;
	uint8_t uuid[16];
	char label[64];         /* UTF-8, zero-padded */
	le64 nblocks;           /* of the namespace when formatted or grown */
	le64 compat, ro_compat, incompat;
	le32 csum_type, node_size, block_size, state;
	uint8_t hash_key[16];
	le64 gen, epoch;        /* epoch: one more at every read-write mount */
	struct ptr_disk root;
	uint8_t root_level, pad0[3];
	le64 journal_start, journal_len;           /* blocks */
	le64 journal_pos, cut_seq;                 /* where the first record after the cut lies (offset); the last one before it */
	le32 prev_crc;          /* of record cut_seq */
	le32 grace_ms;
	le64 free_blocks;       /* exact, reserve included */
	le64 ino_watermark;     /* inode numbers below were given out */
	le64 inodes;            /* in use */
	le64 newest_snapshot, safe_gen;
	le64 ring_b;            /* first block of ring B */
	le64 reserve_quads;     /* kept for nodes */
	le64 mkfs_time, mount_time; /* seconds since 1970 */
	uint8_t pad1[736];
	struct desc_super_disk l2[L2_MAX];
	uint8_t pad2[5096];
};
static_assert(sizeof(struct super_disk) == 8192, "superblock");
static_assert(offsetof(struct super_disk, l2) == 1048, "superblock");

struct heartbeat_disk {         /* 4 KiB, its own block */
	le32 magic, crc;
	uint8_t uuid[16];       /* of the file system */
	uint8_t token[16];      /* of the mount; zero: nobody */
	le64 epoch, counter;
	uint8_t hostid[16];
	char host[64];          /* node name, zero-padded */
	le64 since;             /* seconds since 1970 */
	le32 interval_ms, quiesce_ms; /* quiesce: how long commands of this mount may still execute once it is dead */
	le32 pid, pad0;
	uint8_t pad1[3936];
};
static_assert(sizeof(struct heartbeat_disk) == 4096, "heartbeat");

/* ---- tree ---- */
#define NODE_SIZE 16384u
#define NODE_BLOCKS 4u
#define VALUE_MAX 4096u
#define LEVELS_MAX 8u

struct key_disk {
	le64 object;
	uint8_t type;
	le64 offset;
};
static_assert(sizeof(struct key_disk) == 17, "key");

struct item_disk {
	struct key_disk key;
	le16 off, len;          /* of the value, from the node's start */
};
static_assert(sizeof(struct item_disk) == 21, "item");

struct node_disk {              /* then nitems items ascending; values are packed from the end downwards */
	le32 magic, crc;
	uint8_t uuid[8];        /* first half of the file system's */
	le64 block, birth;
	uint8_t level, pad0;
	le16 nitems;
	le16 low;               /* offset of the lowest value byte (NODE_SIZE if none) */
	le16 dead;              /* bytes between low and the end that no item uses */
	struct key_disk first;  /* lower bound of the keys here: the parent's key, zero at the left edge */
	uint8_t pad1[7];
};
static_assert(sizeof(struct node_disk) == 64, "node");

/* Item types, ascending within an object. A level > 0 item's value is a ptr_disk. */
enum item_type {
	ITEM_INODE = 1, ITEM_XATTR = 2, ITEM_INLINE = 3, ITEM_DIRENT = 4, ITEM_EXTENT = 5,
	/* object 0: */
	ITEM_ORPHAN = 16, ITEM_REFCOUNT = 17, ITEM_SNAPSHOT = 18, ITEM_DEADLIST = 19, ITEM_QUOTA = 20,
};

#define INO_ROOT 1u
#define INO_FIRST 16u           /* first number given out */
#define INLINE_MAX 2048u        /* bytes of file data in an INLINE item; a symlink target may be VALUE_MAX-1 */
#define NAME_BYTES 255u

struct time_disk {
	le64 s;                 /* two's complement seconds since 1970 */
	le32 ns;
};
static_assert(sizeof(struct time_disk) == 12, "time");

#define INODE_TRUNCATE 1u       /* flags: extents beyond size may be left; finish before growing */

struct inode_disk {             /* key (ino, INODE, 0) */
	le32 mode, uid, gid, nlink;
	le32 project, flags, compression, pad0;
	le64 size;
	le64 blocks;            /* 4096-byte blocks of data allocated */
	le64 rdev;
	struct time_disk atime, mtime, ctime, btime;
	le64 parent;            /* directories */
	le64 entries;           /* directories: names in it */
	uint8_t pad1[24];
};
static_assert(sizeof(struct inode_disk) == 144, "inode");

struct dirent_disk {            /* key (directory, DIRENT, hash << 8 | i); the name follows, without a final 0 */
	le64 ino;
	uint8_t type;           /* DT_* */
	uint8_t namelen;
};
static_assert(sizeof(struct dirent_disk) == 10, "directory entry");

struct xattr_disk {             /* key (ino, XATTR, hash << 8 | i); name, then value follow */
	uint8_t namelen, pad;
	le16 len;
};
static_assert(sizeof(struct xattr_disk) == 4, "extended attribute");

#define EXTENT_MAX 128u
#define EXTENT_UNWRITTEN 1u
#define EXTENT_SHARED 2u
#define ENCODING_NONE 0u
struct extent_disk {            /* key (ino, EXTENT, file block); then stored_blocks le32 checksums */
	le64 block, birth;
	le16 nblocks;           /* of the file */
	le16 stored_blocks;     /* on the device; = nblocks unless encoded */
	le32 stored_bytes;      /* of an encoded extent, else 0 */
	uint8_t flags, encoding, csum_type, pad[5];
};
static_assert(sizeof(struct extent_disk) == 32, "extent");

struct orphan_disk {            /* key (0, ORPHAN, ino) */
	le64 size;              /* truncate to this; with nlink 0 the inode goes too */
};

/* ---- journal ---- */
#define RECORD_MAX (256 * KiB)  /* one record, header included; a multiple of FS_BLOCK */
#define TXN_MAX (64 * KiB)
struct record_disk {            /* at a block border; transactions follow */
	le32 magic, crc;        /* crc over length bytes, this field zero */
	uint8_t uuid[8];
	le64 epoch, seq;
	le64 committed_gen;     /* newest durable superblock when this was closed */
	le32 prev_crc;          /* of record seq-1 */
	le32 length;            /* bytes, header included */
	le32 count;             /* transactions */
	uint8_t pad[12];
};
static_assert(sizeof(struct record_disk) == 64, "journal record");

struct txn_disk {               /* then nops operations */
	le32 length;            /* bytes, this header included */
	le32 nops;
	le64 ino_watermark;     /* after this transaction */
};
static_assert(sizeof(struct txn_disk) == 16, "transaction");

enum { OP_PUT = 1, OP_DEL = 2 };
struct txnop_disk {             /* then len bytes of value (OP_PUT) */
	uint8_t op;
	struct key_disk key;
	le16 len;
};
static_assert(sizeof(struct txnop_disk) == 20, "operation");

#endif
