/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the FUSE translation, for fs/fuse*.c alone.
 *
 *      /dev/fuse --fuse_rx--> libfuse --handler--> fuse_req + op --run--> finish --reply--> /dev/fuse
 *                    |                    ^
 *                    '---- backlog -------'   no op or no frames are to be had just now
 *
 *  1. A request is read by whichever worker gets it, and stays with that worker to its reply.
 *  2. Every fuse_req has an op; there are as many of them as ops, so having an op is enough.
 *  3. A handler copies what it was given (names, values): libfuse's memory is the receive buffer.
 *  4. INTERRUPT and FORGET need no op: they are read and answered however many requests are waiting.
 *  5. An operation cannot be stopped. While the target is away, one that changes nothing is answered with EINTR if its
 *     caller got a signal (so that it can be killed), and what it brings later is given back. */
#ifndef NVOFS_FS_FUSE_INT_H
#define NVOFS_FS_FUSE_INT_H

#include <pthread.h>
#include "base/spin.h"
#include "fs/fs.h"
#include "fs/fuse_front.h"
#include "fs/ops.h"

#define FUSE_RX_HEADER 80u      /* fuse_in_header and fuse_write_in: where a WRITE's payload begins */
#define FUSE_RX_RUNS 2u         /* 1 MiB in runs of 512 KiB */
#define FUSE_BACKLOG_MAX 512u   /* requests; beyond it /dev/fuse is left alone */
#define FUSE_BACKLOG_BYTES (64 * MiB)
#define FUSE_HANDLE_WRITES 1u   /* fi->fh of an open that can write */

struct fuse_req;
struct fuse_session;
struct fuse_worker;
struct fuse_dir;

struct freq {                      /* a request of the kernel that is being worked on */
	struct fuse_req *req;      /* NULL: answered already, invariant 5 */
	struct fuse_worker *fw;
	struct op *op;             /* NULL: not in use */
	void (*finish)(struct op *, int status);
	struct list link;          /* fw->free_reqs */
	uint64_t unique;           /* the kernel's number of it */
	void *data;                /* heap, freed with the request; or NULL */
	struct fuse_dir *dir;      /* readdir */
	struct stat attr;          /* create: the new file, while it is being opened */
	int open_flags;
	bool cached_write;         /* the kernel writes what its cache has taken; no program waits for this answer */
	bool creating;             /* several operations, the first of which changed something */
	int (*run)(struct op *);   /* what is to be started once letter is delivered, and thread has ended */
	struct letter letter;
	pthread_t thread;
	char name[NAME_BYTES + 1], name2[NAME_BYTES + 1];
};

struct writer;
#define FUSE_WRITER_BUCKETS 256u
struct fuse_writers {              /* inodes that are open for writing (fuse_writers.c) */
	pthread_mutex_t lock;
	struct writer *buckets[FUSE_WRITER_BUCKETS];
	bool unknown;              /* memory for one was missing */
};

struct fuse_rx_letter {            /* a request that has to wait, with its bytes behind it */
	struct list link;
	size_t size;
	char bytes[];
};

struct fuse_rx {
	char *spill;               /* FUSE_RX_HEADER + max_write bytes of ordinary memory; begins with the header */
	size_t spill_len;
	struct run *runs[FUSE_RX_RUNS]; /* OWNED: where the next payload goes; NULL: none to be had */
	unsigned nruns;            /* that a payload of max_write needs */
	uint32_t pages[FUSE_RX_RUNS];
	struct run *given[FUSE_RX_RUNS]; /* payload of the WRITE being processed, until its handler takes it */
	unsigned ngiven;
	const void *in;            /* the request being processed, as it came */
	struct list backlog;
	unsigned backlog_count;
	size_t backlog_bytes;
	struct fuse_rx_letter *spare_letter, *spare; /* OWNED, room for any request; NULL while it is in the backlog */
};

struct fuse_worker {
	struct fuse_front *front;
	struct worker *w;
	unsigned index;
	pthread_t thread;
	bool started;
	int epoll_fd;
	bool fuse_event, lane_event; /* epoll saw them ready, and they were not found empty since */
	unsigned rounds;
	struct spin spin;
	bool fuse_wanted;          /* /dev/fuse is in the epoll set for input */
	struct fuse_rx rx;
	struct freq *reqs;
	struct list free_reqs;
	unsigned inuse;
	/* FOPEN_ flags that libfuse does not know, for the reply to the open being answered */
	uint32_t open_extra;
	_Atomic uint64_t spilled, missed;
};

struct fuse_front {
	struct fuse_front_conf conf;
	struct fs *fs;
	struct fuse_session *session;
	int fd;
	bool foreign_mount;        /* /dev/fd/N */
	unsigned nworkers;
	struct fuse_worker *workers;
	size_t max_write;
	uint64_t init_unique;      /* of the INIT request being answered, else 0 */
	uint64_t init_flags;       /* what the kernel offers, flags2 in the upper half */
	bool direct_mmap;          /* the kernel can map files that are open for direct I/O */
	struct fuse_writers writers;
	_Atomic bool usable, ending, near_full;
	_Atomic uint64_t full_checked; /* clock_now() */
	_Atomic unsigned draining; /* workers with requests left, once ending */
};

/* ---- fuse_init.c ---- */
/* libfuse's reply to INIT goes through here, to add what the library does not know yet. */
ssize_t fuse_init_writev(int fd, struct iovec *iov, int count, void *front);
void fuse_init_seen(struct fuse_front *, const void *request, size_t size);

/* ---- fuse_rx.c ---- */
int fuse_rx_init(struct fuse_worker *);
void fuse_rx_exit(struct fuse_worker *);
/* Reads and processes a batch; true if there was any. Sets front->ending when the kernel has let go. */
bool fuse_rx_pump(struct fuse_worker *);
/* Whether one more request could be taken in. */
bool fuse_rx_ready(const struct fuse_worker *);
/* No request may be taken in just now: too many wait already. */
bool fuse_rx_full(const struct fuse_worker *);
/* Moves the payload of the WRITE being processed to runs[]; returns their number. */
unsigned fuse_rx_take(struct fuse_worker *, struct run **runs);

/* ---- fuse_req.c ---- */
extern __thread struct fuse_worker *fuse_self; /* the worker whose thread this is */
/* With an op; NULL (and the request is answered with ENOMEM) is our own bug: the loop asks fuse_rx_ready first. */
struct freq *freq_new(struct fuse_req *);
/* Copies a name into one of q's; false (and the request is answered and ended) if it is too long. */
bool freq_name(struct freq *, char *to, const char *name);
/* Starts q->op with run; finish gets it back, unless the request was answered before. */
void freq_start(struct freq *, int (*run)(struct op *), void (*finish)(struct op *, int status));
/* A second operation for the same request, in place of the first, whose finish this is called from. */
struct op *freq_next_op(struct freq *);
/* In place of an open that succeeded and that nobody will close; ends q. */
void freq_give_back_open(struct freq *, uint64_t ino);
/* Ends q and its op; the request must have been answered. */
void freq_end(struct freq *);
/* Answers the interrupted requests of a worker, as far as invariant 5 has it. */
void freq_interrupts(struct fuse_worker *);
/* Answers with an error (a negative code) and ends q. */
void freq_fail(struct freq *, int status);
/* finish functions: status alone; status or attributes; status or an entry. */
void freq_done_status(struct op *, int status);
void freq_done_attr(struct op *, int status);
void freq_done_entry(struct op *, int status);

/* fuse_dir.c: what readdir collected is given back, look-ups included. */
void fuse_dir_abandon(struct freq *);

/* ---- fuse_writers.c ---- */
void fuse_writers_init(struct fuse_writers *);
void fuse_writers_exit(struct fuse_writers *);
/* flags: those of open(2). Before the reply to an open, after the request to release. */
void fuse_writers_opened(struct fuse_writers *, uint64_t ino, int flags);
void fuse_writers_closed(struct fuse_writers *, uint64_t ino, int flags);
/* A write from the kernel's cache failed (negative errno): the next write(2) to the file is to tell. */
void fuse_writers_failed(struct freq *, int err);
/* What is to be told, once; 0: nothing. */
int fuse_writers_take_error(struct fuse_writers *, uint64_t ino);
/* freq_start, after the kernel has written what it holds of q->op->ino. */
void fuse_writers_flush_then(struct freq *, int (*run)(struct op *), void (*finish)(struct op *, int status));

/* ---- tables of handlers, filled in by their files ---- */
struct fuse_lowlevel_ops;
void fuse_meta_ops(struct fuse_lowlevel_ops *);
void fuse_data_ops(struct fuse_lowlevel_ops *);
void fuse_dir_ops(struct fuse_lowlevel_ops *);
void fuse_xattr_ops(struct fuse_lowlevel_ops *);
void fuse_init_ops(struct fuse_lowlevel_ops *);

/* ---- fuse_worker.c ---- */
int fuse_worker_init(struct fuse_worker *, struct fuse_front *, unsigned index);
void fuse_worker_exit(struct fuse_worker *);
void fuse_worker_run(struct fuse_worker *);
/* The kernel has let go; once, whoever notices first. */
void fuse_worker_end(struct fuse_front *);

#endif
