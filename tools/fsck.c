/* SPDX-License-Identifier: Apache-2.0 */
/* fsck.nvofs: checks the committed state, then what the journal makes of it. The journal is replayed in memory (-n) or
 * for real. What is damaged is repaired (fs/repair.h) unless -n; the new state is proven before a byte of it is written.
 *
 *      probe -> holder? -> committed state -> (journal) -> state after replay
 *                 |              '- errors ----------------------'-> plan -> checked in memory -> written -> checked again
 *                 |-n: committed state only, again while checkpoints replace it */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/uuid.h"
#include "fs/check.h"
#include "fs/fs.h"
#include "fs/repair.h"
#include "fs/super.h"
#include "tools/tool.h"
#include "transport/ns.h"

/* e2fsck's, of which these can happen. */
#define EXIT_CORRECTED 1
#define EXIT_UNCORRECTED 4
#define EXIT_OPERATIONAL 8
#define EXIT_USAGE 16
#define EXIT_CANCELLED 32

#define LIVE_TRIES 3u
#define CLAIM_WAIT_NS (120 * NS_PER_S)  /* a dead writer's time is far less */

struct fsck {
	bool no, preen, yes, verbose;
	bool repaired;                  /* something was written by repair */
	struct tool_ns t;
	struct check_ns *source;
	struct fs_probe probe;
	struct check_report report;     /* of the last check */
	struct tool_progress progress;
	char **lines;                   /* findings of the last check */
	size_t nlines, lines_cap;
};

static const char usage_text[] =
	"usage: fsck.nvofs [-n | -p | -y] [-f] [-v] NAMESPACE\n"
	"  -n  change nothing: replay the journal in memory    -f  accepted: everything is always checked\n"
	"  -p  repair what loses nothing, less output          -v  tell statistics\n"
	"  -y  repair everything, also what loses or moves something (without an option: as -p)\n"
	"exit code: 0 clean, 1 corrected or journal replayed, 4 errors left, 8 could not be checked, 16 wrong use,\n"
	"           32 cancelled\n";

/* ---- one check ---- */

static void lines_drop(struct fsck *f)
{
	for (size_t i = 0; i < f->nlines; i++)
		free(f->lines[i]);
	f->nlines = 0;
}

static void on_found(void *arg, const char *line)
{
	struct fsck *f = arg;

	if (f->nlines == f->lines_cap) {
		size_t cap = f->lines_cap ? f->lines_cap * 2 : 64;
		char **more = realloc(f->lines, cap * sizeof(*more));

		if (!more)
			return;
		f->lines = more;
		f->lines_cap = cap;
	}
	f->lines[f->nlines] = strdup(line);
	f->nlines += f->lines[f->nlines] != NULL;
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
	tool_progress_show(&((struct fsck *)arg)->progress, done, total);
}

/* 0 or 4 (errors were found), or 8, 32 after the reason was told. Findings are in f->lines. */
static int check(struct fsck *f, const struct check_source *source, const char *what)
{
	struct check_conf conf = { .source = *source, .mem = check_ns_memory(f->source), .found = on_found,
		.progress = on_progress, .arg = f, .cancel = &tool_cancelled };
	int r;

	lines_drop(f);
	tool_progress_init(&f->progress, what, !f->preen);
	r = check_run(&conf, &f->report);
	tool_progress_end(&f->progress);
	if (r == -E_BAD_SUPER) {
		f->report.errors += !f->report.errors;
		on_found(f, err_text(r));
		return EXIT_UNCORRECTED;
	}
	if (r == -ECANCELED) {
		log_error("cancelled");
		return EXIT_CANCELLED;
	}
	if (r) {
		log_error("%s: cannot be checked: %s", f->t.text, err_text(r));
		return EXIT_OPERATIONAL;
	}
	return f->report.errors ? EXIT_UNCORRECTED : 0;
}

static void tell_lines(const struct fsck *f)
{
	for (size_t i = 0; i < f->nlines; i++)
		printf("%s\n", f->lines[i]);
}

static void tell_statistics(const struct fsck *f)
{
	const struct check_report *r = &f->report;
	char uuid[UUID_TEXT];

#define N(x) ((unsigned long long)(x))
	printf("  UUID %s, label '%.64s', generation %llu, epoch %llu, %s\n", uuid_print(r->super.uuid, uuid),
	       r->super.label, N(get64(r->super.gen)), N(get64(r->super.epoch)),
	       get32(r->super.state) & SUPER_CLEAN ? "unmounted cleanly" : "not unmounted");
	printf(
	    "  %llu inodes: %llu directories, %llu files, %llu symbolic links, %llu others; %llu names, %llu orphans\n",
	    N(r->inodes), N(r->directories), N(r->files), N(r->symlinks), N(r->specials), N(r->names), N(r->orphans));
	printf("  %llu tree nodes (%llu leaves) in %u levels, %llu items: %llu extents (%llu unwritten), %llu inline, "
	       "%llu attributes\n", N(r->nodes), N(r->leaves), r->levels, N(r->items), N(r->extents), N(r->unwritten),
	       N(r->inlines), N(r->xattrs));
	printf("  %llu data blocks; %llu blocks read and verified; %llu of %llu groups never written\n",
	       N(r->data_blocks), N(r->checked_blocks), N(r->groups_uninit), N(r->groups));
}

/* The last line. */
static void tell_result(const struct fsck *f, int code)
{
	const struct check_report *r = &f->report;

	if (code & EXIT_UNCORRECTED)
		printf("%s: %s%llu error%s left\n", f->t.text, f->repaired ? "repaired, " : "", N(r->errors),
		       r->errors == 1 ? "" : "s");
	else
		printf("%s: %s, %llu inodes, %llu of %llu blocks used\n", f->t.text,
		       f->repaired ? "repaired" : code & EXIT_CORRECTED ? "journal replayed" : "clean", N(r->inodes), N(r->used_blocks),
		       N(get64(r->super.nblocks)));
	if (f->verbose && !(code & EXIT_OPERATIONAL))
		tell_statistics(f);
#undef N
}

/* ---- the device, one user of lane 0 at a time ---- */

static int check_device(struct fsck *f, const char *what)
{
	struct check_source source = check_ns_source(f->source);
	int r = check_ns_start(f->source);

	if (r) {
		log_error("%s: %s", f->t.text, err_text(r));
		return EXIT_OPERATIONAL;
	}
	r = check(f, &source, what);
	check_ns_stop(f->source);
	return r;
}

/* A mounted file system: its newest checkpoint, which the next two replace. */
static int check_live(struct fsck *f, const char *who)
{
	struct fs_probe now;
	int r = 0;

	printf("%s: %s\n%s: it is mounted: checking its newest checkpoint, without what came later\n", f->t.text, who,
	       f->t.text);
	for (unsigned i = 0; i < LIVE_TRIES; i++) {
		r = check_device(f, "checking");
		if (r != EXIT_UNCORRECTED)
			break;
		if (!fs_probe(f->t.ns, &now) && get64(now.super.gen) == get64(f->report.super.gen))
			break;
		if (i + 1 == LIVE_TRIES) {
			log_error("%s: it changes faster than it can be checked; unmount it first", f->t.text);
			lines_drop(f);
			return EXIT_OPERATIONAL;
		}
	}
	return r;
}

/* ---- the journal ---- */

static int mount_failed(struct fsck *f, int r, const char *why)
{
	if (r == -E_IN_USE) {
		log_error("%s: %s", f->t.text, why);
		return EXIT_OPERATIONAL;
	}
	f->report.errors++;
	printf("the journal cannot be replayed: %s\n", why);
	return EXIT_UNCORRECTED;
}

/* In memory: the checkpoint that a mount would write, checked from an overlay. */
static int replay_check(struct fsck *f)
{
	struct fs_conf conf = { .ns = f->t.ns, .cache = f->t.cache, .nworkers = 1, .readonly = true, .offline = true };
	struct check_overlay *overlay;
	struct check_source base = check_ns_source(f->source), source;
	char why[512];
	struct fs *fs;
	int r;

	r = fs_mount(&fs, &conf, why, sizeof(why));
	if (r)
		return mount_failed(f, r, why);
	r = check_overlay_new(&overlay);
	if (!r)
		r = fs_checkpoint_to(fs, check_overlay_write, overlay);
	fs_unmount(fs);
	if (!r)
		r = check_ns_start(f->source);
	if (r) {
		log_error("%s: replaying the journal in memory: %s", f->t.text, err_text(r));
		r = EXIT_OPERATIONAL;
	} else {
		source = check_overlay_source(overlay, &base);
		r = check(f, &source, "checking with the journal");
		check_ns_stop(f->source);
	}
	check_overlay_free(overlay);
	return r;
}

/* Until this mount may write and its first checkpoint is durable. 0 or a code. */
static int claim_wait(struct fs *fs, bool tell)
{
	struct worker *w = fs_worker(fs, 0);
	uint64_t end = clock_now() + CLAIM_WAIT_NS;
	struct fs_info info;

	fs_info(fs, &info);
	if (tell && info.wait_ns > NS_PER_S)
		printf("waiting %llu s: until then commands of the dead mount may still execute\n",
		       (unsigned long long)DIV_UP(info.wait_ns, NS_PER_S));
	fflush(stdout);
	for (;;) {
		uint64_t wait = fs_tick(fs);

		fs_info(fs, &info);
		if (info.claimed || info.frozen)
			return info.frozen ? -E_FROZEN : 0;
		if (tool_cancelled)
			return -ECANCELED;
		if (clock_now() > end)
			return -E_TIMEDOUT;
		if (!fs_poll_all(fs))
			worker_sleep(w, MIN(wait, 100 * NS_PER_MS));
	}
}

/* For real: a mount and an unmount. */
static int replay_write(struct fsck *f)
{
	struct fs_conf conf = { .ns = f->t.ns, .cache = f->t.cache, .nworkers = 1 };
	char why[512];
	struct fs *fs;
	int r, ended;

	memcpy(conf.hostid, ns_info(f->t.ns)->hostid, sizeof(conf.hostid));
	r = fs_mount(&fs, &conf, why, sizeof(why));
	if (r)
		return mount_failed(f, r, why);
	f->t.fs = fs;
	r = claim_wait(fs, !f->preen);
	f->t.fs = NULL;
	ended = fs_unmount(fs);
	r = r ? r : ended;
	if (r == -ECANCELED)
		return EXIT_CANCELLED;
	if (!r)
		return 0;
	log_error("%s: replaying the journal: %s", f->t.text, err_text(r));
	return EXIT_OPERATIONAL;
}

/* ---- repair ---- */

/* The dead writer's rule: nothing is written before its commands cannot execute any more. 0 or a code. */
static int dead_wait(struct fsck *f)
{
	struct fs_probe p, again;
	uint64_t end;
	int r = fs_probe(f->t.ns, &p);

	if (r || !p.valid || (p.heartbeat_valid ? !heartbeat_held(&p.heartbeat) : get32(p.super.state) & SUPER_CLEAN))
		return r;
	end = clock_now() + (p.heartbeat_valid ? MIN(get32(p.heartbeat.quiesce_ms), 120000) : ns_info(f->t.ns)->dead_ms) * NS_PER_MS;
	if (!f->preen)
		printf("waiting %llu s: until then commands of the dead mount may still execute\n",
		       (unsigned long long)DIV_UP(end - clock_now(), NS_PER_S));
	fflush(stdout);
	while (!tool_cancelled && clock_now() < end)
		clock_sleep(MIN(end - clock_now() + 1, NS_PER_S));
	r = tool_cancelled ? -ECANCELED : fs_probe(f->t.ns, &again);
	if (!r && memcmp(&p.heartbeat, &again.heartbeat, sizeof(p.heartbeat)))
		r = -E_IN_USE;
	return r;
}

/* Our own heartbeat, so that nobody mounts meanwhile; renewed while we write. */
struct repair_writer {
	struct ns *ns;
	struct heartbeat_disk beat;
	uint64_t next;
};

static int beat(struct repair_writer *w)
{
	w->next = clock_now() + NS_PER_S;
	w->beat.counter = put64(get64(w->beat.counter) + 1);
	heartbeat_seal(&w->beat);
	return ns_write_sync(w->ns, HEARTBEAT_BLOCK, 1, &w->beat, IO_FUA);
}

static int repair_write(void *arg, uint64_t block, uint32_t n, const void *data, bool fua)
{
	struct repair_writer *w = arg;
	int r = clock_now() >= w->next ? beat(w) : 0;

	return r ? r : ns_write_sync(w->ns, block, n, data, fua ? IO_FUA : 0);
}

static int repair_flush(void *arg)
{
	return ns_flush_sync(((struct repair_writer *)arg)->ns);
}

static int repair_commit_ns(struct fsck *f, struct repair *r, const struct super_disk *s)
{
	struct repair_writer w = { .ns = f->t.ns };
	struct timespec now = clock_wall();
	int err, ended;

	w.beat = (struct heartbeat_disk){ .magic = put32(HEARTBEAT_MAGIC), .host = "fsck.nvofs", .epoch = put64(get64(s->epoch) + 1),
		.since = put64((uint64_t)now.tv_sec), .interval_ms = put32(1000), .quiesce_ms = put32(ns_info(f->t.ns)->dead_ms),
		.pid = put32((uint32_t)getpid()) };
	memcpy(w.beat.uuid, s->uuid, sizeof(w.beat.uuid));
	memcpy(w.beat.hostid, ns_info(f->t.ns)->hostid, sizeof(w.beat.hostid));
	random_bytes(w.beat.token, sizeof(w.beat.token));
	err = beat(&w);
	if (!err)
		err = repair_commit(r, repair_write, repair_flush, &w);
	memset(w.beat.token, 0, sizeof(w.beat.token));
	ended = err ? 0 : beat(&w);
	return err ? err : ended;
}

/* Is the planned state whole? Data is not read: it is where it was. */
static bool plan_whole(struct fsck *f, struct repair *r)
{
	struct check_report report;
	struct check_conf conf = { .source = repair_source(r), .mem = check_ns_memory(f->source), .skip_data = true, .found = on_found,
		.arg = f, .cancel = &tool_cancelled };
	size_t kept = f->nlines;

	if (check_run(&conf, &report) == 0 && !report.errors) {
		f->report.super = report.super;
		return true;
	}
	while (f->nlines > kept)
		free(f->lines[--f->nlines]);
	return false;
}

/* What was found and what is done about it, in f->lines. 0: written; EXIT_UNCORRECTED: left as it is; or another code. */
static int repair_planned(struct fsck *f, struct repair *r, const struct repair_report *rep)
{
	int err;

	if (rep->other && !f->yes) {
		printf("%s: to repair this something has to be given up, moved or guessed (%llu changes): -y does it\n", f->t.text,
		       (unsigned long long)rep->other);
		return EXIT_UNCORRECTED;
	}
	if (!plan_whole(f, r)) {
		printf("%s: the repaired state would not be whole: nothing was changed\n", f->t.text);
		return EXIT_UNCORRECTED;
	}
	err = tool_cancelled ? -ECANCELED : repair_commit_ns(f, r, &f->report.super);
	if (!err) {
		f->repaired = true;
		printf("%s: repaired: %llu changes, %llu of them losses, %llu inodes in lost+found\n", f->t.text,
		       (unsigned long long)(rep->safe + rep->other), (unsigned long long)rep->lost, (unsigned long long)rep->saved);
		return 0;
	}
	log_error("%s: repairing: %s", f->t.text, err_text(err));
	return err == -ECANCELED ? EXIT_CANCELLED : EXIT_OPERATIONAL;
}

static void on_repair(void *arg, const char *line)
{
	printf("%s\n", line);
}

/* code: of the check before. Lines of it were told. */
static int repair(struct fsck *f, int code)
{
	struct repair_conf conf = { .source = check_ns_source(f->source), .mem = check_ns_memory(f->source), .found = on_repair, .arg = f,
		.cancel = &tool_cancelled };
	struct repair_report rep;
	struct repair *r = NULL;
	int err = dead_wait(f);

	if (err && err != -E_BAD_SUPER) {
		log_error("%s: %s", f->t.text, err_text(err));
		return err == -ECANCELED ? EXIT_CANCELLED : EXIT_OPERATIONAL;
	}
	tell_lines(f);
	lines_drop(f);
	err = check_ns_start(f->source);
	if (!err) {
		printf("%s: what repair does about it:\n", f->t.text);
		err = repair_plan(&r, &conf, &rep);
		if (err)
			printf("%s: cannot be repaired: %s\n", f->t.text, err == -E_BAD_NODE ? "the root of the tree is lost" : err_text(err));
		else if (rep.safe + rep.other)
			code = repair_planned(f, r, &rep);
		else
			printf("nothing: data blocks are lost where they are\n");
		repair_free(r);
		check_ns_stop(f->source);
	}
	fflush(stdout);
	return err == -ECANCELED ? EXIT_CANCELLED : err && !code ? EXIT_OPERATIONAL : code;
}

/* After a check that ended with code. */
static int repair_check(struct fsck *f, int code)
{
	int corrected = code & EXIT_CORRECTED, r;

	if (f->no || code & ~(EXIT_CORRECTED | EXIT_UNCORRECTED) || (!(code & EXIT_UNCORRECTED) && !f->report.orphans))
		return code;
	r = repair(f, code & EXIT_UNCORRECTED);
	if (!f->repaired)
		return r | corrected;
	return check_device(f, "checking after the repair") | EXIT_CORRECTED;
}

/* ---- everything ---- */

static int check_unmounted(struct fsck *f)
{
	int r = check_device(f, "checking"), replayed;

	if (get32(f->report.super.state) & SUPER_CLEAN)
		return repair_check(f, r);
	if (r == EXIT_UNCORRECTED && f->no)
		on_found(f, "it was not unmounted, and the journal was not replayed because of these errors");
	if (r)
		return repair_check(f, r);
	if (!f->preen)
		printf("%s: was not unmounted: replaying the journal%s\n", f->t.text,
		       f->no ? " in memory (nothing is written)" : "");
	fflush(stdout);
	if (f->no)
		return replay_check(f);
	replayed = replay_write(f);
	if (replayed)
		return repair_check(f, replayed);
	return repair_check(f, check_device(f, "checking after the replay") | EXIT_CORRECTED);
}

static int run(struct fsck *f)
{
	char who[256];
	int r = fs_probe(f->t.ns, &f->probe);

	if (!r && !f->probe.valid)
		r = -E_NOT_NVOFS;
	if (r && r != -E_BAD_SUPER) {
		log_error("%s: %s", f->t.text, err_text(r));
		return EXIT_OPERATIONAL;
	}
	if (!r)
		r = fs_holder(f->t.ns, &f->probe, who, sizeof(who));
	if (r == -E_IN_USE && !f->no) {
		log_error("%s: %s (-n checks without changing anything)", f->t.text, who);
		return EXIT_OPERATIONAL;
	}
	if (r && r != -E_IN_USE && r != -E_BAD_SUPER) {
		log_error("%s: %s", f->t.text, err_text(r));
		return EXIT_OPERATIONAL;
	}
	r = r == -E_IN_USE ? check_live(f, who) : check_unmounted(f);
	tell_lines(f);
	if (!(r & (EXIT_OPERATIONAL | EXIT_CANCELLED)))
		tell_result(f, r);
	return r;
}

static int option_take(struct fsck *f, int option)
{
	switch (option) {
	case 'n':
		f->no = true;
		return 0;
	case 'a':
	case 'p':
		f->preen = true;
		return 0;
	case 'y':
		f->yes = true;
		return 0;
	case 'v':
		f->verbose = true;
		return 0;
	case 'f':
		return 0;
	}
	log_error("unknown option %s (--help tells more)", optarg);
	return -EINVAL;
}

/* 0, or the exit code plus 1 if the program is to end here. */
static int options_parse(struct fsck *f, int argc, char **argv)
{
	static const struct option longs[] = { { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 } };
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "napyvfhV", longs, NULL)) != -1) {
		if (option == 'h' || option == 'V') {
			fputs(option == 'h' ? usage_text : "fsck.nvofs " NVOFS_VERSION "\n", stdout);
			return 1;
		}
		optarg = argv[optind - 1];
		if (option_take(f, option))
			return EXIT_USAGE + 1;
	}
	if (f->no + f->preen + f->yes > 1)
		log_error("only one of -n, -p and -y makes sense");
	else if (optind + 1 != argc)
		log_error(optind == argc ? "no NAMESPACE was given (--help tells more)" :
			  "more than one NAMESPACE was given");
	else
		return 0;
	return EXIT_USAGE + 1;
}

int main(int argc, char **argv)
{
	struct fsck f = { 0 };
	int r;

	log_init("fsck.nvofs", LOG_L_WARN);
	r = options_parse(&f, argc, argv);
	if (r)
		return r - 1;
	tool_catch_signals();
	r = tool_ns_open(&f.t, argv[optind]);
	if (r)
		return r == -EINVAL ? EXIT_USAGE : EXIT_OPERATIONAL;
	r = check_ns_new(&f.source, f.t.ns);
	if (r) {
		log_error("%s: %s", f.t.text, err_text(r));
		r = EXIT_OPERATIONAL;
	} else {
		r = run(&f);
	}
	tool_ns_close(&f.t);
	check_ns_free(f.source);
	lines_drop(&f);
	free(f.lines);
	return r;
}
