/* SPDX-License-Identifier: Apache-2.0 */
/* A whole nvofs on a simulated device, on one thread: device, namespace, cache, file system and its workers, and every
 * operation as a plain function call. Time passes only when nothing else can happen.
 *
 *      sim_new -> sim_format -> sim_mount -> operations -> sim_unmount | sim_crash -> sim_mount ... -> sim_free */
#ifndef NVOFS_TESTS_SIM_FS_H
#define NVOFS_TESTS_SIM_FS_H

#include <stdbool.h>
#include <stdint.h>
#include "fs/fs.h"
#include "fs/ops.h"
#include "tests/sim/model.h"
#include "tests/sim/sim_dev.h"

struct sim_conf {
	struct sim_dev_conf dev;
	uint64_t seed;
	unsigned workers;
	size_t cache_bytes, node_bytes;
	unsigned commit_ms, checkpoint_ms; /* 0: the defaults */
	unsigned kato_s, quiesce_s;
};

struct sim {
	struct sim_conf conf;
	struct sim_dev *dev;
	struct ns *ns;
	struct cache *cache;
	struct fs *fs;
	struct rng rng;
	uint64_t orphans;      /* that the last check found */
	uint64_t skip;         /* an inode whose contents sim_load leaves out; 0: none */
	uint64_t limit;        /* virtual ns that one operation may take; 0: a day */
	unsigned next_worker;
	struct list calls;     /* not ended */
	bool quiet;            /* failures are meant: say nothing */
	bool joined;           /* the device is another's */
	void (*idle)(struct sim *); /* called before time passes once there is a connection; may be NULL */
	void *idle_arg;
	uint64_t at_most;      /* ns that may pass at once; 0: any */
};

/* The usual device: 64 MiB with a write cache, latencies of 5 to 100 us. */
void sim_conf_init(struct sim_conf *, uint64_t seed);
struct sim *sim_new(const struct sim_conf *);
/* Another host of the same device (one of them sleeps at a time; idle runs the other). Freed before it. */
struct sim *sim_join(struct sim *);
void sim_free(struct sim *); /* whatever is mounted is abandoned */
/* Each returns 0 or a negative code, and says on stderr what failed. */
int sim_format(struct sim *);
int sim_mount(struct sim *);
int sim_mount_ro(struct sim *, bool offline);
int sim_unmount(struct sim *);
/* The daemon dies: nothing is written any more, commands in flight have fates of their own (sim_dev_lose). */
void sim_crash(struct sim *, enum sim_fate);
/* Checker over the committed state of the device / over what the journal makes of it (nothing mounted in the second case).
 * 0, or a negative code when it found something, which it says on stderr. */
int sim_check(struct sim *);
int sim_check_replayed(struct sim *);
/* One round of everything; false if nothing happened. sim_pass lets time pass to the next event. */
bool sim_step(struct sim *);
void sim_pass(struct sim *);
/* What clock_virtual_idle calls: arg is the struct sim that runs on. */
void sim_idle(void *arg, uint64_t ns);
/* Runs everything for ns of virtual time. */
void sim_run_for(struct sim *, uint64_t ns);
/* Until the file system may be written (the dead writer's rule); 0 or -ETIMEDOUT. */
int sim_wait_writable(struct sim *);

/* ---- operations, to their end ---- */
struct sim_call {              /* one under way; at its place until sim_end or sim_crash */
	struct list link;
	struct op *op;
	bool done;
	int status;
};
/* An op to be filled; worker round-robin. sim_start runs it as far as it goes, sim_finish to its end (its status; op
 * still there for results), sim_end frees it. */
void sim_call_init(struct sim *, struct sim_call *, int (*run)(struct op *));
void sim_start(struct sim *, struct sim_call *);
int sim_finish(struct sim *, struct sim_call *);
void sim_end(struct sim *, struct sim_call *);

int sim_lookup(struct sim *, uint64_t dir, const char *name, struct stat *);
int sim_getattr(struct sim *, uint64_t ino, struct stat *);
int sim_setattr(struct sim *, uint64_t ino, unsigned valid, const struct stat *in, struct stat *out);
int sim_readlink(struct sim *, uint64_t ino, char *buf, uint32_t len);     /* 0-terminated */
int sim_mknod(struct sim *, uint64_t dir, const char *name, uint32_t mode, uint64_t rdev, uint32_t uid, uint32_t gid,
	      struct stat *);
int sim_mkdir(struct sim *, uint64_t dir, const char *name, uint32_t mode, uint32_t uid, uint32_t gid, struct stat *);
int sim_symlink(struct sim *, uint64_t dir, const char *name, const char *target, struct stat *);
int sim_link(struct sim *, uint64_t ino, uint64_t dir, const char *name, struct stat *);
int sim_unlink(struct sim *, uint64_t dir, const char *name);
int sim_rmdir(struct sim *, uint64_t dir, const char *name);
int sim_rename(struct sim *, uint64_t dir, const char *name, uint64_t dir2, const char *name2, unsigned flags);
int sim_open_file(struct sim *, uint64_t ino, unsigned flags);
int sim_release(struct sim *, uint64_t ino);
int64_t sim_read(struct sim *, uint64_t ino, uint64_t off, void *buf, uint32_t len);
int64_t sim_write(struct sim *, uint64_t ino, uint64_t off, const void *data, uint32_t len, unsigned flags);
int sim_fallocate(struct sim *, uint64_t ino, unsigned mode, uint64_t off, uint64_t len);
int64_t sim_lseek(struct sim *, uint64_t ino, uint64_t off, unsigned whence);
int sim_fsync(struct sim *, uint64_t ino);
int sim_checkpoint(struct sim *);
int sim_readdir(struct sim *, uint64_t ino, unsigned per_call, struct mnode *into); /* adds the entries */
/* One call from *cookie on, at most n entries; moves *cookie. How many entries, or an error. */
int sim_readdir_some(struct sim *, uint64_t ino, uint64_t *cookie, unsigned n, struct mnode *into);
int64_t sim_getxattr(struct sim *, uint64_t ino, const char *name, void *buf, uint32_t len);
int sim_setxattr(struct sim *, uint64_t ino, const char *name, const void *value, uint32_t len, int flags);
int64_t sim_listxattr(struct sim *, uint64_t ino, char *buf, uint32_t len);
int sim_removexattr(struct sim *, uint64_t ino, const char *name);
/* For sim_write: prepares the call without starting it; -ENOMEM when there are no frames. */
int sim_write_prepare(struct sim *, struct sim_call *, uint64_t ino, uint64_t off, const void *data, uint32_t len);

/* The whole tree as the file system tells it, as a model (to be exited). 0 or the first error. */
int sim_load(struct sim *, struct model *);

#endif
