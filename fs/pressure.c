/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/pressure.h"

#include "fs/fs_core.h"

static void flushed(struct io *io, int status)
{
	struct fs *fs = container_of(io, struct fs, pressure_flush);

	atomic_store(&fs->pressure, false); /* a failure shows again where durability is asked for */
}

void pressure_check(struct worker *w, bool starved)
{
	struct fs *fs = w->fs;
	uint64_t unflushed = ns_unflushed(fs->ns);
	size_t arena;

	if (unflushed == 0)
		return;
	cache_memory(fs->cache, &arena);
	if ((!starved && unflushed < arena / 4) || atomic_exchange(&fs->pressure, true))
		return;
	fs->pressure_flush = (struct io){ .op = IO_FLUSH, .flags = IO_URGENT, .done = flushed };
	lane_submit(w->lane, &fs->pressure_flush);
}
