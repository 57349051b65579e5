/* SPDX-License-Identifier: Apache-2.0 */
/* What `nvofsctl status` tells, as one flat JSON object; nvofsctl(8) explains the keys. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "cache/cache.h"
#include "fs/fs.h"
#include "fs/fuse_front.h"
#include "tools/json.h"
#include "tools/nvofs.h"
#include "transport/ns.h"

/* Counters of running workers: each is exact, together they are a moment's blur. */
#define READ(counter) atomic_load_explicit(&(counter), memory_order_relaxed)

/* Blocks are counted, not bytes; block_size says of how many. */
static void add_fs(struct json *j, struct fs *fs)
{
	struct fs_info i;
	char text[UUID_TEXT];

	fs_info(fs, &i);
	json_add_text(j, "uuid", uuid_print(i.uuid, text));
	json_add_text(j, "label", i.label);
	json_add_bool(j, "readonly", i.readonly);
	json_add_bool(j, "claimed", i.claimed);
	json_add_bool(j, "frozen", i.frozen);
	json_add_number(j, "wait_ms", i.wait_ns / NS_PER_MS);
	json_add_number(j, "block_size", FS_BLOCK);
	json_add_number(j, "nblocks", i.nblocks);
	json_add_number(j, "free_blocks", i.free_blocks);
	json_add_number(j, "avail_blocks", i.avail_blocks);
	json_add_number(j, "inodes", i.inodes);
	json_add_number(j, "gen", i.gen);
	json_add_number(j, "epoch", i.epoch);
	json_add_number(j, "checkpoints", i.checkpoints);
	json_add_number(j, "records", i.records);
	json_add_number(j, "txns", i.txns);
	json_add_number(j, "journal_blocks", i.journal_blocks);
	json_add_number(j, "journal_used", i.journal_used);
	json_add_number(j, "nodes_cached", i.nodes_cached);
	json_add_number(j, "nodes_dirty", i.nodes_dirty);
	json_add_number(j, "pending_frees", i.pending_frees);
}

/* kato_ms 0: no keep-alive. dead_ms: how long after a loss commands may still execute (base 9.6). */
static void add_ns(struct json *j, const struct ns *ns)
{
	const struct ns_info *i = ns_info(ns);

	json_add_text(j, "nqn", i->subnqn);
	json_add_text(j, "hostnqn", i->hostnqn);
	json_add_text(j, "model", i->model);
	json_add_number(j, "nsid", i->nsid);
	json_add_number(j, "cntlid", i->cntlid);
	json_add_bool(j, "connected", i->connected);
	json_add_number(j, "reconnects", i->reconnects);
	json_add_number(j, "queues", i->nr_queues);
	json_add_number(j, "queue_size", i->queue_size);
	json_add_number(j, "lba_size", i->lba_size);
	json_add_number(j, "max_io_bytes", (uint64_t)i->max_io_blocks * BLOCK_SIZE);
	json_add_number(j, "kato_ms", i->kato_ms);
	json_add_number(j, "dead_ms", i->dead_ms);
	json_add_bool(j, "vwc", i->vwc);
	json_add_bool(j, "hdr_digest", i->hdr_digest);
	json_add_bool(j, "data_digest", i->data_digest);
	json_add_number(j, "map_ms", i->map_ns / NS_PER_MS);
	json_add_number(j, "unflushed_bytes", ns_unflushed(ns));
}

/* In bytes, but for hits and the like, which count runs or look-ups. */
static void add_cache(struct json *j, const struct cache *cache)
{
	struct cache_stats s;

	cache_stats(cache, &s);
	json_add_number(j, "cache_bytes", s.bytes);
	json_add_number(j, "cache_free_bytes", s.free_bytes);
	json_add_number(j, "cache_pinned_bytes", s.pinned_bytes);
	json_add_number(j, "cache_hits", READ(s.hits));
	json_add_number(j, "cache_misses", READ(s.misses));
	json_add_number(j, "cache_fills", READ(s.fills));
	json_add_number(j, "cache_evictions", READ(s.evictions));
	json_add_number(j, "readahead_issued", READ(s.ra_issued));
	json_add_number(j, "readahead_hit", READ(s.ra_hit));
	json_add_number(j, "readahead_wasted", READ(s.ra_wasted));
	json_add_number(j, "checksum_errors", READ(s.checksum_errors));
}

/* Sums over the workers; the order of the keys is that of the table. */
enum sum {
	REQUESTS, DATA_REQUESTS, REPLAYS, PARKED, ALLOCS, COPIED_READ, COPIED_WRITTEN, STAGED_READ, COMMANDS, READS,
	WRITES, FLUSHES, BYTES_READ, BYTES_WRITTEN, REISSUED, IO_ERRORS, NR_SUMS
};

static const char *const sum_names[NR_SUMS] = {
	"requests", "data_requests", "replays", "parked", "allocs", "copied_read", "copied_written", "staged_read",
	"commands", "read_commands", "write_commands", "flush_commands", "bytes_read", "bytes_written",
	"reissued", "io_errors",
};

/* copied_written includes what the lanes copied; copied_read does not include staged_read: that is the wire's, and
 * counted apart since it depends on the fabric. */
static void add_workers(struct json *j, struct fs *fs)
{
	uint64_t sum[NR_SUMS] = { 0 };

	for (unsigned i = 0; i < fs_nworkers(fs); i++) {
		const struct worker *w = fs_worker(fs, i);
		const struct lane_stats *l = lane_stats(w->lane);

		sum[REQUESTS] += READ(w->requests);
		sum[DATA_REQUESTS] += READ(w->data_requests);
		sum[REPLAYS] += READ(w->replays);
		sum[PARKED] += READ(w->parked);
		sum[ALLOCS] += READ(w->allocs);
		sum[COPIED_READ] += READ(w->copied_read);
		sum[COPIED_WRITTEN] += READ(w->copied_written) + READ(l->copied_written);
		sum[STAGED_READ] += READ(l->copied_read);
		sum[COMMANDS] += READ(l->commands);
		sum[READS] += READ(l->reads);
		sum[WRITES] += READ(l->writes);
		sum[FLUSHES] += READ(l->flushes);
		sum[BYTES_READ] += READ(l->bytes_read);
		sum[BYTES_WRITTEN] += READ(l->bytes_written);
		sum[REISSUED] += READ(l->reissued);
		sum[IO_ERRORS] += READ(l->errors);
	}
	for (unsigned i = 0; i < NR_SUMS; i++)
		json_add_number(j, sum_names[i], sum[i]);
}

/* The locks it takes are never held across I/O, so it answers while the target is away. Keys that were given out once
 * stay: scripts read them. What does not fit gives an empty object, never half of one. */
void nvofs_status(const struct nvofs_running *r, char *buf, size_t len)
{
	struct json *j = json_new();
	struct fuse_front_stats front;
	int n;

	fuse_front_stats(r->front, &front);
	json_add_number(j, "pid", (uint64_t)getpid());
	json_add_text(j, "version", NVOFS_VERSION);
	json_add_text(j, "address", r->options->source);
	json_add_text(j, "mountpoint", r->options->mountpoint);
	json_add_number(j, "uptime_s", (clock_now() - r->since) / NS_PER_S);
	add_fs(j, r->fs);
	add_ns(j, r->ns);
	json_add_number(j, "workers", front.workers);
	json_add_number(j, "max_write", front.max_write);
	json_add_number(j, "spilled", front.spilled);
	json_add_number(j, "missed_events", front.missed);
	add_workers(j, r->fs);
	add_cache(j, r->cache);
	n = snprintf(buf, len, "%s", json_print(j));
	if (n < 0 || (size_t)n >= len)
		snprintf(buf, len, "{}");
	json_free(j);
}
