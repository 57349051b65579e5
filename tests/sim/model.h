/* SPDX-License-Identifier: Apache-2.0 */
/* The reference model: what a file system is, as plainly as possible. Inodes in a table, directories as lists of names,
 * contents as pages of bytes. No device, no cache, no errors of its own making: the results of operations are the errnos
 * of POSIX, and everything happens at once.
 *
 *  1. A model is a value: model_copy is cheap (inodes and pages are shared until changed), so a test can keep the state
 *     after every operation.
 *  2. A page of zeros is NULL, so equal contents have equal form.
 *  3. Times are learned: an operation says which of an inode's times it changes, the test asks the file system, checks
 *     that the answer is plausible, and tells the model. */
#ifndef NVOFS_TESTS_SIM_MODEL_H
#define NVOFS_TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define MPAGE 4096u
#define M_ATIME 1u
#define M_MTIME 2u
#define M_CTIME 4u
#define M_BTIME 8u

struct mpage {
	unsigned refs;
	uint64_t hash;         /* of bytes; 0: not known */
	uint8_t bytes[MPAGE];
};

struct mentry {                /* of a directory, or an extended attribute */
	char name[256];
	uint64_t ino;
	uint8_t *value;        /* extended attribute */
	uint32_t len;
};

struct mnode {
	unsigned refs;
	uint64_t ino;
	uint32_t mode, uid, gid, nlink;
	uint64_t rdev, size;   /* size of directories: 0, it means nothing */
	struct timespec atime, mtime, ctime;
	unsigned stamped;      /* M_*: times that the last operation changed, not learned yet */
	uint64_t hash;         /* of all but stamped; 0: not known */
	char *target;          /* symlink */
	struct mentry *entries, *xattrs;
	size_t nentries, nxattrs;
	struct mpage **pages;
	size_t npages;
	uint64_t parent;       /* directory */
};

struct model {
	struct mnode **nodes;  /* ascending by ino */
	size_t n;
	uint64_t hash;         /* of all linked nodes; 0: not known */
};

void model_init(struct model *, const struct stat *root);
void model_init_empty(struct model *);
void model_exit(struct model *);
void model_copy(struct model *to, const struct model *from);
uint64_t model_hash(struct model *);
/* true if all linked inodes are equal; else why says what differs first. */
bool model_equal(const struct model *, const struct model *, char *why, size_t why_len);
/* true if every linked inode of m is as in a or as in b. */
bool model_between(const struct model *m, const struct model *a, const struct model *b);
void model_print(const struct model *);

const struct mnode *model_get(const struct model *, uint64_t ino); /* NULL if there is none */
/* To be changed: a copy of its own if shared. */
struct mnode *model_edit(struct model *, uint64_t ino);
struct mnode *model_add(struct model *, uint64_t ino);
void model_forget(struct model *, uint64_t ino); /* an unlinked inode that nobody has open any more */
uint64_t model_lookup(const struct model *, uint64_t dir, const char *name); /* 0: none */

/* Each returns 0 or -errno, and changes nothing in the second case. ino: the number of the new inode, as told by the
 * file system. */
int model_mknod(struct model *, uint64_t dir, const char *name, uint64_t ino, uint32_t mode, uint64_t rdev, uint32_t uid,
		uint32_t gid, const char *target);
int model_link(struct model *, uint64_t ino, uint64_t dir, const char *name);
int model_unlink(struct model *, uint64_t dir, const char *name);
int model_rmdir(struct model *, uint64_t dir, const char *name);
int model_rename(struct model *, uint64_t dir, const char *name, uint64_t dir2, const char *name2, unsigned flags);
int model_write(struct model *, uint64_t ino, uint64_t off, const void *data, uint32_t len);
int model_truncate(struct model *, uint64_t ino, uint64_t size);
int model_zero(struct model *, uint64_t ino, uint64_t off, uint64_t len, bool keep_size); /* punch, zero range */
void model_read(const struct mnode *, uint64_t off, void *out, uint32_t len); /* zeros beyond the end */
int model_setxattr(struct model *, uint64_t ino, const char *name, const void *value, uint32_t len, int flags);
int model_removexattr(struct model *, uint64_t ino, const char *name);
const struct mentry *model_getxattr(const struct mnode *, const char *name);
void model_stamp(struct mnode *, unsigned times);
/* Used when a model is built from what a file system says. */
void model_add_entry(struct mnode *, const char *name, uint64_t ino);
void model_set_page(struct mnode *, size_t index, const uint8_t *bytes);

#endif
