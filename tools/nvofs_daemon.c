/* SPDX-License-Identifier: Apache-2.0 */
/* From a namespace to a served mount and back, step by step; each step has its undo. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "cache/cache.h"
#include "fs/fs.h"
#include "fs/fuse_front.h"
#include "tools/nvofs.h"
#include "transport/ns.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define POPULATE_STEP (4 * MiB)
#define POPULATE_WAIT 1 /* seconds that a mount waits for it */

#define LOST_TEXT "the target went away while mounting"

/* A target lost before the mount is there is told to who mounts; afterwards it is waited for, from the moment on at which the
 * kernel shows the mount, for programs may be at work in it before anything here has noticed. */
enum { MOUNTING, MOUNTED, LOST };

struct daemon {
	struct fs *_Atomic self;   /* for fs_reclaim, on the control thread */
	struct nvofs_running r;
	void (*report)(int code, const char *line);
	_Atomic int phase;      /* from MOUNTING to one of the others, once */
	_Atomic bool usable, ending;
	bool populating;
	pthread_t populate;
	char why[LINE_MAX_BYTES];
};

/* ---- call-backs ---- */

static void on_status(void *arg, char *buf, size_t len)
{
	struct daemon *d = arg;

	nvofs_status(&d->r, buf, len);
}

/* Touching a page for the first time costs more than filling it from the network (1 GB/s in a virtual machine), and beside
 * the first requests it would take a whole CPU from them: done while the file system is being mounted; of a large cache
 * the rest follows beside them, a bit at a time. */
static void *populate(void *arg)
{
	struct daemon *d = arg;
	size_t len;
	char *mem = cache_memory(d->r.cache, &len);

	for (size_t at = 0; at < len && !d->ending; at += POPULATE_STEP)
		if (madvise(mem + at, MIN(len - at, POPULATE_STEP), MADV_POPULATE_WRITE))
			break; /* an older kernel: it happens when it happens */
	return NULL;
}

static void populate_wait(struct daemon *d)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += POPULATE_WAIT;
	if (d->populating && !pthread_timedjoin_np(d->populate, NULL, &until))
		d->populating = false;
}

static void on_ready(void *arg)
{
	struct daemon *d = arg;

	d->usable = true;
	mountinfo_tune(d->r.options->mountpoint);
	nvofs_signals_state(NVOFS_RUNNING, d->r.front, d->r.ns);
	populate_wait(d);
	log_info("%s mounted on %s", d->r.options->source, d->r.options->mountpoint);
	d->report(0, "");
}

static void on_ending(void *arg)
{
	struct daemon *d = arg;

	d->ending = true;
	nvofs_signals_state(NVOFS_ENDING, NULL, d->r.ns);
}

static bool phase_move(struct daemon *d, int to)
{
	int from = MOUNTING;

	return atomic_compare_exchange_strong(&d->phase, &from, to);
}

/* The control thread's. While mounting nobody is to wait for a target that may never come back. */
static void on_event(void *arg, struct ns *ns, bool connected)
{
	struct daemon *d = arg;

	if (connected) {
		log_info("%s is connected again", d->r.options->source);
		return;
	}
	log_warn("%s: connection lost", d->r.options->source);
	if (phase_move(d, LOST))
		ns_give_up(ns, -E_LOST);
}

/* ---- steps ---- */

static int connect_step(struct daemon *d)
{
	const struct nvofs_options *o = d->r.options;
	struct ns_conf conf = { .addr = o->addr, .nr_queues = o->workers, .reclaim = fs_reclaim,
				.reclaim_arg = &d->self,
				.event = on_event, .event_arg = d };

	if (o->addr.nr_io_queues)
		conf.nr_queues = MIN(conf.nr_queues, o->addr.nr_io_queues);
	return ns_open(&d->r.ns, &conf, d->why, sizeof(d->why));
}

static int cache_step(struct daemon *d)
{
	struct cache_conf conf = { .bytes = d->r.options->cache_bytes, .huge_pages = true };
	char text[256];
	size_t len;
	void *mem;
	int err = cache_new(&d->r.cache, &conf);

	if (!err) {
		mem = cache_memory(d->r.cache, &len);
		err = ns_add_memory(d->r.ns, mem, len);
	}
	if (err)
		snprintf(d->why, sizeof(d->why), "a cache of %llu MiB: %s", (unsigned long long)(conf.bytes / MiB),
			 ns_memory_text(d->r.ns, err, conf.bytes, text, sizeof(text)));
	else
		d->populating = !pthread_create(&d->populate, NULL, populate, d);
	return err;
}

static int fs_step(struct daemon *d)
{
	const struct nvofs_options *o = d->r.options;
	const struct ns_info *info = ns_info(d->r.ns);
	struct fs_conf conf = { .ns = d->r.ns, .cache = d->r.cache, .nworkers = MIN(o->workers, info->nr_queues),
				.readonly = o->readonly, .commit_ms = o->commit_ms, .self = &d->self };
	int err;

	memcpy(conf.hostid, info->hostid, sizeof(conf.hostid));
	err = fs_mount(&d->r.fs, &conf, d->why, sizeof(d->why));
	if (err && d->phase == LOST)
		snprintf(d->why, sizeof(d->why), LOST_TEXT);
	return err;
}

static int front_step(struct daemon *d)
{
	const struct nvofs_options *o = d->r.options;
	size_t arena;
	struct fuse_front_conf conf = {
		.fs = d->r.fs, .mountpoint = o->mountpoint, .source = o->source, .options = o->fuse,
		.readonly = o->readonly, .writeback = !o->nowriteback, .direct_io = o->direct_io,
		.allow_other = o->allow_other, .pin = o->pin, .entry_timeout = o->entry_timeout,
		.negative_timeout = o->negative_timeout, .attr_timeout = o->attr_timeout,
		.status = on_status, .ready = on_ready, .ending = on_ending, .arg = d,
	};

	cache_memory(d->r.cache, &arena);
	conf.arena_bytes = arena;
	if (!phase_move(d, MOUNTED)) {
		snprintf(d->why, sizeof(d->why), LOST_TEXT);
		return -E_LOST;
	}
	return fuse_front_mount(&d->r.front, &conf, d->why, sizeof(d->why));
}

/* Two daemons on one namespace find out by its heartbeat; on one machine the kernel knows at once. */
static int mounted_step(struct daemon *d)
{
	const struct nvofs_options *o = d->r.options;
	struct mountinfo m;

	if (mountinfo_find(o->mountpoint, NULL, &m)) {
		snprintf(d->why, sizeof(d->why), "%.200s is mounted there already", m.source);
		return -EBUSY;
	}
	if (!o->readonly && mountinfo_find(NULL, o->source, &m)) {
		snprintf(d->why, sizeof(d->why), "already mounted on %.400s", m.mountpoint);
		return -EBUSY;
	}
	return 0;
}

static int take_down(struct daemon *d)
{
	int err = 0;

	d->ending = true;
	if (d->populating)
		pthread_join(d->populate, NULL);
	if (d->r.front)
		fuse_front_free(d->r.front);
	if (d->r.fs)
		err = fs_unmount(d->r.fs);
	d->r.fs = NULL;
	nvofs_signals_state(NVOFS_ENDING, NULL, NULL);
	if (d->r.ns)
		ns_close(d->r.ns);
	if (d->r.cache)
		cache_free(d->r.cache);
	return err;
}

static int exit_code(int err)
{
	return err == -ENOMEM || err == -EMFILE || err == -ENFILE ? EXIT_SYSTEM : EXIT_MOUNT;
}

int nvofs_daemon(const struct nvofs_options *o, void (*report)(int code, const char *line))
{
	static int (*const steps[])(struct daemon *) = { mounted_step, connect_step, cache_step, fs_step, front_step };
	struct daemon d = { .r = { .options = o, .since = clock_now() }, .report = report };
	char line[LINE_MAX_BYTES + sizeof(o->source) + 64];
	int err = 0;

	for (unsigned i = 0; !err && i < ARRAY_SIZE(steps); i++) {
		nvofs_signals_state(NVOFS_MOUNTING, NULL, d.r.ns);
		err = steps[i](&d);
	}
	if (err) {
		snprintf(line, sizeof(line), "cannot mount %s on %.200s: %s", o->source, o->mountpoint, d.why);
		take_down(&d);
		report(exit_code(err), line);
		return exit_code(err);
	}
	err = fuse_front_run(d.r.front);
	if (!d.usable)
		report(EXIT_MOUNT, "unmounted before it was usable");
	log_info("%s unmounted, finishing", o->mountpoint);
	if (take_down(&d)) {
		log_error("%s: not everything could be written; what was synced is safe", o->source);
		return EXIT_NOT_WRITTEN;
	}
	log_info("%s: done", o->source);
	return err ? EXIT_SYSTEM : 0;
}
