/* SPDX-License-Identifier: Apache-2.0 */
/* Laying out nvofsctl's answers: a word, then what there is to say. */
#include "tools/nvofsctl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/num.h"
#include "tools/json.h"

/* An empty word continues the row above. */
static void __attribute__((format(printf, 2, 3))) row(const char *word, const char *format, ...)
{
	va_list ap;

	printf("%-12s ", word);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

/* A size as text, by value: lives to the end of the printf that uses it, any number of them at once. */
struct size_text {
	char text[32];
};

static struct size_text size(uint64_t bytes)
{
	struct size_text s;

	size_print(bytes, s.text, sizeof(s.text));
	return s;
}
/* Missing keys are 0, false and "" (json.h): an older daemon's answer shows as such. */
#define SIZE(j, key) (size(json_number(j, key)).text)
#define N(j, key) json_number(j, key)

/* 0 of nothing, for a mount that is new. */
static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

/* The worst state is named first: frozen beats read-only, which beats not having claimed yet. */
static void show_space(struct json *j)
{
	uint64_t unit = N(j, "block_size"), all = N(j, "nblocks") * unit, avail = N(j, "avail_blocks") * unit;

	row("file system", "%s%s%s, generation %" PRIu64 ", %s", json_text(j, "uuid"),
	    *json_text(j, "label") ? " " : "", json_text(j, "label"), N(j, "gen"),
	    json_flag(j, "frozen") ? "frozen after a write error" :
	    json_flag(j, "readonly") ? "read-only" : json_flag(j, "claimed") ? "read-write" : "waiting to write");
	if (N(j, "wait_ms"))
		row("", "writing begins in %.1f s, when the former mount's commands cannot execute any more",
		    (double)N(j, "wait_ms") / 1000);
	row("space", "%s of %s available (%.1f %%), %" PRIu64 " inodes", size(avail).text, size(all).text,
	    percent(avail, all), N(j, "inodes"));
	row("journal", "%s of %s used, %" PRIu64 " records, %" PRIu64 " checkpoints",
	    size(N(j, "journal_used") * unit).text, size(N(j, "journal_blocks") * unit).text, N(j, "records"),
	    N(j, "checkpoints"));
}

/* "again" are commands that were sent once more after a loss of the association, or a status that allows it. */
static void show_link(struct json *j)
{
	row("target", "%s, %s, %" PRIu64 " reconnects", json_text(j, "address"),
	    json_flag(j, "connected") ? "connected" : "NOT CONNECTED", N(j, "reconnects"));
	row("queues", "%" PRIu64 " of %" PRIu64 " commands, %" PRIu64 " workers, keep-alive %" PRIu64 " s%s%s%s",
	    N(j, "queues"), N(j, "queue_size"), N(j, "workers"), N(j, "kato_ms") / 1000,
	    json_flag(j, "hdr_digest") ? ", header digest" : "",
	    json_flag(j, "data_digest") ? ", data digest" : "", json_flag(j, "vwc") ? ", volatile write cache" : "");
	row("I/O", "%" PRIu64 " commands (%" PRIu64 " reads of %s, %" PRIu64 " writes of %s, %" PRIu64 " flushes), "
	    "%" PRIu64 " again, %" PRIu64 " errors", N(j, "commands"), N(j, "read_commands"), SIZE(j, "bytes_read"),
	    N(j, "write_commands"), SIZE(j, "bytes_written"), N(j, "flush_commands"), N(j, "reissued"),
	    N(j, "io_errors"));
}

/* hits count runs that were found, not bytes; a reader that had to wait counts as a miss only (cache/cache.h). */
static void show_work(struct json *j)
{
	uint64_t hits = N(j, "cache_hits"), misses = N(j, "cache_misses");

	row("requests", "%" PRIu64 ", of which data %" PRIu64 "; %" PRIu64 " replays, %" PRIu64 " parked, "
	    "%" PRIu64 " spilled",
	    N(j, "requests"), N(j, "data_requests"), N(j, "replays"), N(j, "parked"), N(j, "spilled"));
	row("copied", "%s read, %s written; staged by TCP %s; %" PRIu64 " allocations", SIZE(j, "copied_read"),
	    SIZE(j, "copied_written"), SIZE(j, "staged_read"), N(j, "allocs"));
	row("cache", "%s, %s free, %s pinned; %" PRIu64 " hits, %" PRIu64 " misses (%.1f %%)", SIZE(j, "cache_bytes"),
	    SIZE(j, "cache_free_bytes"), SIZE(j, "cache_pinned_bytes"), hits, misses, percent(hits, hits + misses));
	row("read-ahead", "%" PRIu64 " asked, %" PRIu64 " used, %" PRIu64 " wasted; %" PRIu64 " checksum errors",
	    N(j, "readahead_issued"), N(j, "readahead_hit"), N(j, "readahead_wasted"), N(j, "checksum_errors"));
}

/* j: what nvofs_status built. Rows may grow, scripts are to ask for JSON. */
void show_status(struct json *j)
{
	row("mount", "%s on %s", json_text(j, "address"), json_text(j, "mountpoint"));
	row("daemon", "pid %" PRIu64 ", nvofs %s, up %" PRIu64 " s", N(j, "pid"), json_text(j, "version"),
	    N(j, "uptime_s"));
	show_space(j);
	show_link(j);
	show_work(j);
}

/* One namespace of the subsystem. */
static void show_list(struct json *namespace, void *arg)
{
	row("", "nsid %" PRIu64 ", %s, blocks of %" PRIu64, N(namespace, "nsid"), SIZE(namespace, "bytes"),
	    N(namespace, "lba_size"));
}

/* "clean" is the superblock's word; a holder is named only if the heartbeat block names one, alive or not. Times
 * are local ones: they are for the person in front of it. */
static void show_fs(struct json *j)
{
	time_t since = (time_t)N(j, "holder_since");
	char when[32] = "";
	struct tm tm;

	if (!json_flag(j, "nvofs")) {
		row("file system", "%s", *json_text(j, "error") ? json_text(j, "error") : "none of nvofs");
		return;
	}
	row("file system", "nvofs %s%s%s, %s", json_text(j, "uuid"), *json_text(j, "label") ? " " : "",
	    json_text(j, "label"), json_flag(j, "clean") ? "clean" : "in use or not unmounted");
	row("", "generation %" PRIu64 ", %s free, %" PRIu64 " inodes", N(j, "gen"),
	    size(N(j, "free_blocks") * 4096).text, N(j, "inodes"));
	if (*json_text(j, "holder") && localtime_r(&since, &tm) && strftime(when, sizeof(when), "%F %T", &tm))
		row("holder", "%s, pid %" PRIu64 ", since %s", json_text(j, "holder"), N(j, "holder_pid"), when);
}

/* NGUID and UUID only where the namespace has them. */
void show_identify(struct json *j)
{
	row("controller", "%s, serial %s, firmware %s, number %" PRIu64, json_text(j, "model"), json_text(j, "serial"),
	    json_text(j, "firmware"), N(j, "cntlid"));
	row("subsystem", "%s at %s", json_text(j, "nqn"), json_text(j, "address"));
	row("namespace", "%" PRIu64 ", %s, blocks of %" PRIu64 ", %s at a time%s%s%s", N(j, "nsid"), SIZE(j, "bytes"),
	    N(j, "lba_size"), SIZE(j, "max_io_bytes"), json_flag(j, "vwc") ? ", volatile write cache" : "",
	    json_flag(j, "can_discard") ? ", discard" : "", json_flag(j, "can_zero") ? ", write zeroes" : "");
	if (*json_text(j, "nguid"))
		row("", "NGUID %s", json_text(j, "nguid"));
	if (*json_text(j, "ns_uuid"))
		row("", "UUID %s", json_text(j, "ns_uuid"));
	row("host", "%s, %s", json_text(j, "hostnqn"), json_text(j, "hostid"));
	show_fs(j);
	row("namespaces", "of this subsystem:");
	json_each(j, "namespaces", show_list, NULL);
}

/* One line an entry; arg counts them. */
static void show_entry(struct json *e, void *arg)
{
	unsigned *n = arg;

	++*n;
	printf("%s %s:%s %s (%s)%s\n", json_text(e, "transport"), json_text(e, "traddr"), json_text(e, "trsvcid"),
	       json_text(e, "nqn"), json_text(e, "subtype"), json_flag(e, "needs_tls") ? ", TLS required" : "");
}

/* A discovery log may well be empty: said, so that nobody takes it for a failure. */
void show_discover(struct json *j)
{
	unsigned n = 0;

	json_each(j, "entries", show_entry, &n);
	if (!n)
		puts("no entries");
}

static void show_bad(struct json *j, void *arg)
{
	const char *path = json_text(j, "path"); /* of what was looked up lately; else "inode N" as in the log */

	if (N(j, "inode"))
		row("bad", "%s, inode %" PRIu64 ", offset %" PRIu64 " (block %" PRIu64 "): %s", path[0] == '/' ? path : "a file (find -inum)",
		    N(j, "inode"), N(j, "offset"), N(j, "block"), json_text(j, "error"));
	else
		row("bad", "tree node at block %" PRIu64 ": %s", N(j, "block"), json_text(j, "error"));
}

void show_scrub(struct json *j)
{
	json_each(j, "bad", show_bad, NULL);
	row("verified", "%s of data, %s of tree nodes in %.1f s", SIZE(j, "data_bytes"), SIZE(j, "node_bytes"),
	    (double)N(j, "milliseconds") / 1000);
	row("found", "%" PRIu64 " bad block%s", N(j, "found"), N(j, "found") == 1 ? "" : "s");
}
