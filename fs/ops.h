/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of the file system, as run functions of struct op (op->run = fs_lookup; op_start(op)). Arguments and
 * results are op's fields; statuses are negative codes. Permissions are the kernel's business (default_permissions);
 * names are checked here (length, '/', empty). Every operation that changes something is one transaction unless it says
 * so, and stamps ctime/mtime as POSIX has it.
 *
 * Reference counts: lookup, mknod, mkdir, symlink, link, create and readdirplus' entries count one lookup of the inode
 * (fs_forget gives them back); an unlinked inode is reaped when lookups and opens are gone. */
#ifndef NVOFS_FS_OPS_H
#define NVOFS_FS_OPS_H

#include "fs/op.h"

/*  run function                      in                                          out */
int fs_lookup(struct op *);        /* ino, name                                   attr (.st_ino); counts a lookup */
int fs_getattr(struct op *);       /* ino                                         attr */
int fs_setattr(struct op *);       /* ino, valid, mode, uid, gid, off (size), atime, mtime, ctime   attr */
int fs_readlink(struct op *);      /* ino, out, len                               result = length */
int fs_mknod(struct op *);         /* ino (parent), name, mode (with S_IFMT), rdev, uid, gid     attr; also S_IFREG, create */
int fs_mkdir(struct op *);         /* ino, name, mode, uid, gid                   attr */
int fs_symlink(struct op *);       /* ino, name, in (target, 0-terminated), uid, gid   attr */
int fs_link(struct op *);          /* ino (of the file), ino2 (new parent), name  attr */
int fs_unlink(struct op *);        /* ino, name */
int fs_rmdir(struct op *);         /* ino, name */
int fs_rename(struct op *);        /* ino, name, ino2, name2, flags (RENAME_NOREPLACE, RENAME_EXCHANGE) */
int fs_open(struct op *);          /* ino, flags (O_TRUNC honoured)               counts an open */
int fs_release(struct op *);       /* ino                                         gives an open back */
/* Reads [off, off+len), cut at EOF: iov[niov] into pinned runs[] and the zero page; result = bytes. */
int fs_read(struct op *);          /* ino, off, len */
/* Writes len bytes at off. The payload lies in runs[0..nruns) (OWNED, pinned by the caller, taken over here), beginning
 * at byte scratch[0] of runs[0]'s memory (0 for the page-aligned payloads of the receive path); every run but the last
 * is full. result = bytes. flags: O_APPEND. */
int fs_write(struct op *);         /* ino, off, len, runs, nruns, valid (SET_KILL_PRIV) */
int fs_fallocate(struct op *);     /* ino, off, rdev (length), mode: 0 is -EOPNOTSUPP unless KEEP_SIZE|PUNCH_HOLE or ZERO_RANGE */
int fs_lseek(struct op *);         /* ino, off, flags (SEEK_DATA, SEEK_HOLE)      result = offset */
int fs_fsync(struct op *);         /* ino: the file's changes, and all before them, durable (files and directories) */
int fs_readdir(struct op *);       /* ino, off (cookie; 0 from the start), emit, reset, flags: 1 = with attributes (counts lookups) */
int fs_getxattr(struct op *);      /* ino, name, out, len (0: size only)          result = length; -ENODATA, -ERANGE */
int fs_setxattr(struct op *);      /* ino, name, in, len, flags (XATTR_CREATE, XATTR_REPLACE) */
int fs_listxattr(struct op *);     /* ino, out, len (0: size only)                result = length; names, each with its 0 */
int fs_removexattr(struct op *);   /* ino, name */

/* nlookup lookups fewer; never parks; an unlinked inode that nobody needs is queued for reaping. */
void fs_forget(struct fs *, uint64_t ino, uint64_t nlookup);
/* One bounded step of background work (orphans); run function of an op of fs_tick. result: 1 = there is more. */
int fs_reap(struct op *);
/* Path of an inode as far as look-ups made it known, else "inode N"; returns buf. */
const char *fs_path(struct fs *, uint64_t ino, char *buf, size_t len);

#endif
