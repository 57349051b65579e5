/* SPDX-License-Identifier: Apache-2.0 */
/* nvofs, the daemon: options, the process in the foreground or background, the mount, its status. */
#ifndef NVOFS_TOOLS_NVOFS_H
#define NVOFS_TOOLS_NVOFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "transport/addr.h"

struct ns;
struct cache;
struct fs;
struct fuse_front;

/* Exit codes, as mount(8) has them; nvofs.8 has the table. */
#define EXIT_USAGE 1
#define EXIT_SYSTEM 2
#define EXIT_INTERNAL 4
#define EXIT_INTERRUPTED 8
#define EXIT_NOT_WRITTEN 16 /* unmounted, but the last state could not be written */
#define EXIT_MOUNT 32

#define LINE_MAX_BYTES 768

struct nvofs_options {
	struct ns_addr addr;
	char source[512];          /* the namespace's short form: what mount(8) shows */
	char mountpoint[4096];     /* absolute, or /dev/fd/N */
	bool helper;               /* called as mount.nvofs */
	bool foreground, fake, sloppy, verbose, debug;
	bool readonly, nowriteback, direct_io, allow_other, pin;
	uint64_t cache_bytes;
	unsigned workers, commit_ms;
	double entry_timeout, negative_timeout, attr_timeout;
	const char *log_file;      /* in argv, or NULL */
	char fuse[2048];           /* options for libfuse and the kernel */
};

/* ---- nvofs_options.c ---- */
/* 0: go on; 1: done (help, version, fake); negative: refused, with one line in why. */
int nvofs_options_parse(struct nvofs_options *, int argc, char **argv, char *why, size_t why_len);

/* ---- nvofs_mountinfo.c ---- */
struct mountinfo {
	char mountpoint[4096], source[4096], type[64];
	unsigned major, minor;
};
/* The last (topmost) mount of type fuse.nvofs at mountpoint, or (mountpoint NULL) the first of source. */
bool mountinfo_find(const char *mountpoint, const char *source, struct mountinfo *);
/* What INIT can only lower and the defaults of FUSE keep small: read-ahead and the share of dirty pages. Root only;
 * failure is silent. */
void mountinfo_tune(const char *mountpoint);

/* ---- nvofs_daemon.c ---- */
/* Mounts and serves until unmounted; returns the exit code. report is called once when it is decided: code 0 when the
 * mount is usable, else with one line. */
int nvofs_daemon(const struct nvofs_options *, void (*report)(int code, const char *line));

/* ---- nvofs_signal.c ---- */
/* Blocks the signals that end the daemon, for this thread and all it makes. Before any thread. */
void nvofs_signals_block(void);
enum nvofs_state { NVOFS_MOUNTING, NVOFS_RUNNING, NVOFS_ENDING };
/* Starts the thread that receives them: unmounts; a second signal ends without asking the kernel. Once the kernel has
 * let go after a signal and the target stays away, gives up. */
int nvofs_signals_start(const char *mountpoint);
/* The state, and what may be touched in it: front while RUNNING, ns from MOUNTING on. */
void nvofs_signals_state(enum nvofs_state, struct fuse_front *, struct ns *);

/* ---- nvofs_status.c ---- */
struct nvofs_running {
	const struct nvofs_options *options;
	struct ns *ns;
	struct cache *cache;
	struct fs *fs;
	struct fuse_front *front;
	uint64_t since;            /* clock_now() */
};
void nvofs_status(const struct nvofs_running *, char *buf, size_t len);

#endif
