/* SPDX-License-Identifier: Apache-2.0 */
/* The checker over the simulated medium: the committed state straight from the device's memory, and what the journal
 * makes of it through an offline mount. */
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "fs/check.h"
#include "tests/sim/sim_fs.h"

static void read_media(void *arg, struct check_read *reads, unsigned n)
{
	const struct media *m = sim_dev_media(arg);

	for (unsigned i = 0; i < n; i++) {
		uint64_t from = reads[i].block * FS_BLOCK, len = (uint64_t)reads[i].nblocks * FS_BLOCK;

		reads[i].status = range_fits(from, len, m->bytes) ? 0 : -EINVAL;
		if (!reads[i].status)
			memcpy(reads[i].buf, m->mem + from, len);
	}
}

static void found(void *arg, const char *line)
{
	fprintf(stderr, "check: %s\n", line);
}

static int check(struct sim *s, const struct check_source *source)
{
	static uint8_t mem[CHECK_MEM] __attribute__((aligned(4096)));
	struct check_conf conf = {.source = *source, .found = found, .mem = mem};
	struct check_report report;
	int r = check_run(&conf, &report);

	s->orphans = report.orphans;
	return r ? r : report.errors ? -E_BAD_ITEM : 0;
}

int sim_check(struct sim *s)
{
	struct check_source media = {.read = read_media, .arg = s->dev, .nblocks = s->conf.dev.bytes / FS_BLOCK};

	return check(s, &media);
}

int sim_check_replayed(struct sim *s)
{
	struct check_source media = {.read = read_media, .arg = s->dev, .nblocks = s->conf.dev.bytes / FS_BLOCK}, source;
	struct check_overlay *overlay;
	int r = sim_mount_ro(s, true);

	if (r)
		return r;
	r = check_overlay_new(&overlay);
	if (r == 0) {
		r = fs_checkpoint_to(s->fs, check_overlay_write, overlay);
		source = check_overlay_source(overlay, &media);
		if (r == 0)
			r = check(s, &source);
		check_overlay_free(overlay);
	}
	sim_unmount(s);
	return r;
}
