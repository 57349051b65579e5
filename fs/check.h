/* SPDX-License-Identifier: Apache-2.0 */
/* The checker: proves that the state which the newest superblock names is whole (FORMAT.md, "What the checker proves").
 * It shares no code with tree.c and alloc.c, because it must not trust what it checks: only format.h and its own walk.
 *
 * It changes nothing and needs no mount. Memory: one bit a block of touched groups, some 40 bytes an inode and a
 * name. check_ns.c has a source on a namespace, check_overlay.c one with a replayed journal on top. */
#ifndef NVOFS_FS_CHECK_H
#define NVOFS_FS_CHECK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include "fs/format.h"

/* One range to be read. */
struct check_read {
	uint64_t block;
	uint32_t nblocks;
	void *buf;              /* inside check_conf.mem */
	int status;             /* result: 0 or a negative code */
};

/* Where the blocks come from. */
struct check_source {
	/* Reads all n ranges, in any order and as many at once as it likes; returns when each has its status. */
	void (*read)(void *arg, struct check_read *reads, unsigned n);
	void *arg;
	uint64_t nblocks;       /* of the namespace */
};

#define CHECK_MEM (6 * MiB)     /* bytes of check_conf.mem */
#define CHECK_LINES 1000u       /* findings that are told one by one; the rest are only counted */

struct check_conf {
	struct check_source source;
	void *mem;              /* CHECK_MEM bytes, page-aligned, borrowed: all reads go there. NULL: allocated */
	bool skip_data;         /* do not read the data blocks (metadata only) */
	void (*found)(void *arg, const char *line);                       /* one finding; may be NULL */
	void (*progress)(void *arg, uint64_t done, uint64_t total);       /* blocks; may be NULL */
	void *arg;
	const volatile sig_atomic_t *cancel;                              /* non-zero: stop; may be NULL */
};

struct check_report {
	uint64_t errors;        /* findings */
	uint64_t read_errors;   /* those of them that are blocks which could not be read */
	uint64_t data_errors;   /* those of them that concern data blocks alone: nothing can bring them back */
	bool incomplete;        /* tree nodes were missing: space and links could not be judged in full */
	struct super_disk super;/* the superblock that was checked */
	/* statistics */
	uint64_t nodes, leaves, items, inodes, directories, files, symlinks, specials, names, orphans;
	uint64_t xattrs, inlines, extents, unwritten, data_blocks, checked_blocks, used_blocks;
	uint64_t groups, groups_uninit;
	unsigned levels;
};

/* 0: checked, report->errors says with what result. Negative: it could not be checked: -E_NOT_NVOFS, -E_BAD_SUPER,
 * -E_NEWER, a read error of the superblocks, -ENOMEM, -ECANCELED. */
int check_run(const struct check_conf *, struct check_report *report);

/* ---- a source on a namespace (check_ns.c) ---- */

struct ns;
struct check_ns;
/* Takes memory and registers it with ns; no lane yet. */
int check_ns_new(struct check_ns **, struct ns *);
/* Opens lane 0 / gives it back (a mount of the same namespace needs it meanwhile). */
int check_ns_start(struct check_ns *);
void check_ns_stop(struct check_ns *);
void *check_ns_memory(struct check_ns *);
struct check_source check_ns_source(struct check_ns *);
/* After ns_close: the memory is registered until then. */
void check_ns_free(struct check_ns *);

/* ---- blocks in memory in front of a source (check_overlay.c) ---- */

struct check_overlay;
int check_overlay_new(struct check_overlay **);
void check_overlay_free(struct check_overlay *);
/* The call-back of fs_checkpoint_to: keeps copies. 0 or -ENOMEM. */
int check_overlay_write(void *overlay, uint64_t block, uint32_t nblocks, const void *buf);
uint64_t check_overlay_blocks(const struct check_overlay *);
/* What reads see from now on: the overlay's blocks, and base's where there is none. */
struct check_source check_overlay_source(struct check_overlay *, const struct check_source *base);

#endif
