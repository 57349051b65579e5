/* SPDX-License-Identifier: Apache-2.0 */
/* The session: mounting, the worker threads, the end. */
#define FUSE_USE_VERSION 314
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_log.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/fuse_int.h"

/* ---- what libfuse and fusermount3 say while mounting becomes the reason of the failure ---- */

/* The first line of what was said, of one mount at a time: a process has one. */
static char said[512];
static bool capturing;

/* libfuse ends its lines itself; ours may not have a line break in them. */
static void on_log(enum fuse_log_level level, const char *format, va_list args)
{
	char line[512];

	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = 0;
	if (capturing && !said[0])
		snprintf(said, sizeof(said), "%s", line);
	if (!capturing && line[0])
		log_at(level <= FUSE_LOG_ERR ? LOG_L_ERROR : level <= FUSE_LOG_WARNING ? LOG_L_WARN : LOG_L_DEBUG, "%s",
		       line);
}

/* Puts stderr aside; fusermount3 is a program of its own and writes there. -1 in either place: it stays as it was,
 * and the reason goes to the terminal. */
static int stderr_aside(int *saved)
{
	int memory = memfd_create("said", MFD_CLOEXEC);

	*saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (memory >= 0 && *saved >= 0)
		dup2(memory, STDERR_FILENO);
	return memory;
}

/* libfuse's own line, if there was one, is the better one. */
static void stderr_back(int memory, int saved)
{
	char line[sizeof(said)] = "";
	ssize_t n = memory >= 0 ? pread(memory, line, sizeof(line) - 1, 0) : 0;

	line[n > 0 ? strcspn(line, "\n") : 0] = 0;
	if (line[0] && !said[0])
		snprintf(said, sizeof(said), "%.*s", (int)sizeof(said) - 1, line);
	if (saved >= 0) {
		dup2(saved, STDERR_FILENO);
		close(saved);
	}
	if (memory >= 0)
		close(memory);
}

/* Without the prefix that the program has anyway. Static memory: copied by the callers at once. */
static const char *said_plain(void)
{
	const char *line = said;

	if (!strncmp(line, "fuse: ", 6))
		line += 6;
	return line[0] ? line : "no reason given";
}

/* ---- session ---- */

/* libfuse copies the table; static only since it is large. */
static const struct fuse_lowlevel_ops *all_ops(void)
{
	static struct fuse_lowlevel_ops ops;

	fuse_init_ops(&ops);
	fuse_meta_ops(&ops);
	fuse_data_ops(&ops);
	fuse_dir_ops(&ops);
	fuse_xattr_ops(&ops);
	return &ops;
}

/* A string that is built up; full: something did not fit, so it is of no use. */
struct text {
	char bytes[4096];
	size_t len;
	bool full;
};

/* Room for one escaped byte and the end is kept, so a text that is not full is whole. */
static void add(struct text *t, const char *from, bool escape)
{
	for (; *from; from++) {
		if (t->len + 3 > sizeof(t->bytes)) {
			t->full = true;
			return;
		}
		if (escape && (*from == ',' || *from == '\\')) /* a comma in a value would begin the next option */
			t->bytes[t->len++] = '\\';
		t->bytes[t->len++] = *from;
	}
	t->bytes[t->len] = 0;
}

/* default_permissions makes the kernel check modes and owners: no handler here does. */
static bool options_text(struct text *t, const struct fuse_front_conf *c)
{
	*t = (struct text){ .len = 0 };
	add(t, "default_permissions,subtype=nvofs", false);
	if (c->readonly)
		add(t, ",ro", false);
	if (c->allow_other)
		add(t, ",allow_other", false);
	if (c->options && c->options[0]) {
		add(t, ",", false);
		add(t, c->options, false);
	}
	add(t, ",fsname=", false);
	add(t, c->source, true);
	return !t->full;
}

/* libfuse has put its reason on its log by then; that is what the user gets to read. */
static int session_new(struct fuse_front *f, char *why, size_t why_len)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct text options;

	if (!options_text(&options, &f->conf)) {
		snprintf(why, why_len, "too many mount options");
		return -EINVAL;
	}
	if (!fuse_opt_add_arg(&args, "nvofs") && !fuse_opt_add_arg(&args, "-o") &&
	    !fuse_opt_add_arg(&args, options.bytes))
		f->session = fuse_session_new(&args, all_ops(), sizeof(struct fuse_lowlevel_ops), f);
	fuse_opt_free_args(&args);
	if (f->session)
		return 0;
	snprintf(why, why_len, "%s", said_plain());
	return -EINVAL;
}

/* For replies only: requests are read by fuse_rx. libfuse asks for both. */
static ssize_t no_read(int fd, void *buf, size_t len, void *userdata)
{
	return read(fd, buf, len);
}

static const struct fuse_custom_io session_io = { .writev = fuse_init_writev, .read = no_read };

/* The descriptor is made non-blocking, because all workers wait for it with epoll and only one of them gets a
 * request. Replies go through fuse_init_writev. */
static int session_mount(struct fuse_front *f, char *why, size_t why_len)
{
	int saved, memory = stderr_aside(&saved);
	int err = fuse_session_mount(f->session, f->conf.mountpoint);

	stderr_back(memory, saved);
	if (err) {
		snprintf(why, why_len, "%s", said_plain());
		return -EIO;
	}
	f->fd = fuse_session_fd(f->session);
	f->foreign_mount = !strncmp(f->conf.mountpoint, "/dev/fd/", 8);
	err = fcntl(f->fd, F_SETFL, fcntl(f->fd, F_GETFL) | O_NONBLOCK) ? -errno : 0;
	if (!err)
		err = fuse_session_custom_io(f->session, &session_io, f->fd);
	if (err)
		snprintf(why, why_len, "%s", err_text(err));
	return err;
}

/* Partly done work is undone by fuse_front_free: fuse_worker_exit takes a worker that was never initialised, too. */
static int workers_init(struct fuse_front *f, char *why, size_t why_len)
{
	int err = 0;

	f->workers = calloc(f->nworkers, sizeof(*f->workers));
	if (!f->workers)
		err = -ENOMEM;
	for (unsigned i = 0; !err && i < f->nworkers; i++)
		err = fuse_worker_init(&f->workers[i], f, i);
	if (err)
		snprintf(why, why_len, "worker threads: %s", err_text(err));
	return err;
}

/* A write request takes at most a 32nd of the arena, so that a small one works too. */
static size_t choose_max_write(size_t arena)
{
	size_t bytes = ROUND_DOWN(arena / 32, BLOCK_SIZE);

	return MIN(MAX(bytes, 64 * KiB), 1 * MiB);
}

/* From session_mount on the kernel has a mount, whose requests queue up until fuse_front_run. */
int fuse_front_mount(struct fuse_front **front, const struct fuse_front_conf *conf, char *why, size_t why_len)
{
	struct fuse_front *f = calloc(1, sizeof(*f));
	int err;

	*front = NULL;
	if (!f) {
		snprintf(why, why_len, "%s", err_text(-ENOMEM));
		return -ENOMEM;
	}
	f->conf = *conf;
	f->fs = conf->fs;
	f->fd = -1;
	f->nworkers = fs_nworkers(conf->fs);
	f->max_write = choose_max_write(conf->arena_bytes);
	atomic_init(&f->draining, f->nworkers);
	fuse_writers_init(&f->writers);
	said[0] = 0;
	capturing = true;
	fuse_set_log_func(on_log);
	err = session_new(f, why, why_len);
	if (!err)
		err = session_mount(f, why, why_len);
	capturing = false;
	if (!err)
		err = workers_init(f, why, why_len);
	if (err) {
		fuse_front_free(f);
		return err;
	}
	*front = f;
	return 0;
}

/* Borrows its worker from f->workers. */
static void *thread_main(void *arg)
{
	fuse_worker_run(arg);
	return NULL;
}

/* Worker 0 is the calling thread. If a thread does not start, those that did are sent home at once: nobody else
 * polls the lane of a worker that is missing. */
int fuse_front_run(struct fuse_front *f)
{
	int err = 0;

	for (unsigned i = 1; !err && i < f->nworkers; i++) {
		struct fuse_worker *fw = &f->workers[i];
		char name[16];

		err = -pthread_create(&fw->thread, NULL, thread_main, fw);
		if (err)
			break;
		fw->started = true;
		snprintf(name, sizeof(name), "nvofs-%u", i & 0xfff);
		pthread_setname_np(fw->thread, name);
	}
	/* draining counts workers that still have to end; those that never were will not. */
	if (err) {
		log_error("worker threads: %s", err_text(err));
		for (unsigned i = 1; i < f->nworkers; i++)
			if (!f->workers[i].started)
				atomic_fetch_sub(&f->draining, 1);
		fuse_worker_end(f);
	}
	fuse_worker_run(&f->workers[0]);
	for (unsigned i = 1; i < f->nworkers; i++)
		if (f->workers[i].started)
			pthread_join(f->workers[i].thread, NULL);
	return err;
}

void fuse_front_abort(struct fuse_front *f)
{
	fuse_worker_end(f);
}

/* Any thread; the counters are relaxed. */
void fuse_front_stats(const struct fuse_front *f, struct fuse_front_stats *out)
{
	*out = (struct fuse_front_stats){ .workers = f->nworkers, .max_write = f->max_write };
	for (unsigned i = 0; i < f->nworkers; i++) {
		out->spilled += atomic_load_explicit(&f->workers[i].spilled, memory_order_relaxed);
		out->missed += atomic_load_explicit(&f->workers[i].missed, memory_order_relaxed);
	}
}

/* Workers first: they give back requests, whose replies need the session. Unmounting may find that the kernel has
 * let go already. */
void fuse_front_free(struct fuse_front *f)
{
	for (unsigned i = 0; f->workers && i < f->nworkers; i++)
		fuse_worker_exit(&f->workers[i]);
	free(f->workers);
	if (f->session) {
		if (f->fd >= 0)
			fuse_session_unmount(f->session);
		fuse_session_destroy(f->session);
	}
	fuse_writers_exit(&f->writers);
	free(f);
}
