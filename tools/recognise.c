/* SPDX-License-Identifier: Apache-2.0 */
/* libblkid reads files, so it gets one: a sparse file in memory as long as the namespace, with its first and last
 * megabytes in place. All signatures that libblkid knows lie there: the farthest from the start is LUKS2's second
 * header (4 MiB), the farthest from the end are ZFS' labels (512 KiB) and RAID metadata (up to 1 MiB). So the time does
 * not depend on the size. */
#include "tools/recognise.h"

#include <blkid/blkid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/err.h"
#include "base/num.h"

#define TAIL_BLOCKS (4 * MiB / BLOCK_SIZE)
#define STEP 128u

/* Blocks [first, end) of the namespace into the file. */
static int copy_range(struct ns *ns, int fd, uint64_t first, uint64_t end, char *what, size_t len)
{
	uint8_t *buf = malloc(STEP * BLOCK_SIZE);
	int r = buf ? 0 : -ENOMEM;

	if (r)
		snprintf(what, len, "out of memory");
	for (uint64_t b = first; b < end && !r; b += STEP) {
		uint32_t n = (uint32_t)MIN((uint64_t)STEP, end - b);
		ssize_t bytes = (ssize_t)n * BLOCK_SIZE;

		r = ns_read_sync(ns, b, n, buf);
		if (r) {
			snprintf(what, len, "cannot read blocks %llu to %llu to see what is there: %s",
				 (unsigned long long)b, (unsigned long long)b + n - 1, err_text(r));
		} else if (pwrite(fd, buf, (size_t)bytes, (off_t)(b * BLOCK_SIZE)) != bytes) {
			r = -ENOMEM;
			snprintf(what, len, "out of memory");
		}
	}
	free(buf);
	return r;
}

static int image_make(struct ns *ns, char *what, size_t len)
{
	uint64_t n = ns_info(ns)->nblocks, head = MIN(n, RECOGNISE_HEAD);
	int fd = memfd_create("nvofs-recognise", MFD_CLOEXEC), r;

	if (fd < 0 || ftruncate(fd, (off_t)(n * BLOCK_SIZE))) {
		r = -errno;
		snprintf(what, len, "a memory file of the namespace's size: %s", err_text(r));
	} else {
		r = copy_range(ns, fd, 0, head, what, len);
		if (!r)
			r = copy_range(ns, fd, MAX(head, n > TAIL_BLOCKS ? n - TAIL_BLOCKS : 0), n, what, len);
	}
	if (r && fd >= 0)
		close(fd);
	return r ? r : fd;
}

static const char *value(blkid_probe probe, const char *name)
{
	const char *text;

	return blkid_probe_lookup_value(probe, name, &text, NULL) ? NULL : text;
}

static void describe(blkid_probe probe, char *what, size_t len)
{
	const char *type = value(probe, "TYPE"), *table = value(probe, "PTTYPE"), *label = value(probe, "LABEL");
	const char *usage = value(probe, "USAGE");

	if (type)
		snprintf(what, len, "%s%s%s%s%s", type, usage && !strcmp(usage, "filesystem") ? " file system" :
			 usage && !strcmp(usage, "raid") ? " member of an array or a volume group" : "",
			 label ? " labelled '" : "", label ? label : "", label ? "'" : "");
	else
		snprintf(what, len, "%s partition table", table ? table : "unknown");
}

/* One pass with one sector size: GPT lies in other places on 4096-byte sectors. The first of several signatures
 * counts. */
static int probe_with(int fd, unsigned sector, char *what, size_t len)
{
	blkid_probe probe = blkid_new_probe();
	int r = -EIO;

	snprintf(what, len, "libblkid cannot judge what is there");
	if (!probe)
		return -ENOMEM;
	if (blkid_probe_set_device(probe, fd, 0, 0) || blkid_probe_set_sectorsize(probe, sector))
		goto out;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_LABEL |
					  BLKID_SUBLKS_BADCSUM);
	blkid_probe_enable_partitions(probe, 1);
	switch (blkid_do_probe(probe)) {
	case 0:
		describe(probe, what, len);
		r = 1;
		break;
	case 1:
		r = 0;
		break;
	}
out:
	blkid_free_probe(probe);
	return r;
}

int recognise(struct ns *ns, char *what, size_t len)
{
	const unsigned sectors[] = { ns_info(ns)->lba_size, 512, 4096 };
	int fd = image_make(ns, what, len), r = 0;

	if (fd < 0)
		return fd;
	for (unsigned i = 0; i < ARRAY_SIZE(sectors) && !r; i++)
		r = probe_with(fd, sectors[i], what, len);
	close(fd);
	return r;
}
