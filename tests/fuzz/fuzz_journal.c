/* SPDX-License-Identifier: Apache-2.0 */
/* A journal record whose checksum is right and whose transactions are the input, on a file system that was not unmounted: repair
 * takes it into its plan, and what it plans is whole. */
#include <assert.h>
#include <stdio.h>
#include "base/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/check_image.h"
#include "fs/repair.h"

static void on_super(struct img *m, struct super_disk *s)
{
	(void)m;
	s->state = put32(0);
}

static void image_read(void *arg, struct check_read *reads, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert(reads[i].nblocks && range_fits(reads[i].block, reads[i].nblocks, IMG_BLOCKS));
		memcpy(reads[i].buf, img_block(arg, reads[i].block), (size_t)reads[i].nblocks * FS_BLOCK);
		reads[i].status = 0;
	}
}

static void on_found(void *arg, const char *line)
{
	(void)arg;
	assert(line[0] && !strchr(line, '\n'));
	if (getenv("FUZZ_TELL"))
		fprintf(stderr, "%s\n", line);
}

static void put_record(struct img *m, const uint8_t *data, size_t len)
{
	struct record_disk *h = img_block(m, JOURNAL_START);
	size_t head = sizeof(*h);

	*h = (struct record_disk){ .magic = put32(RECORD_MAGIC), .epoch = put64(2), .seq = put64(1), .length = put32((uint32_t)(head + len)),
		.count = put32(len ? data[0] % 4 + 1 : 0) };
	memcpy(h->uuid, img_uuid, sizeof(h->uuid));
	memcpy(h + 1, data, len);
	img_crc(h, head + len, &h->crc);
}

void fuzz_one(const uint8_t *data, size_t len)
{
	static uint8_t mem[CHECK_MEM] __attribute__((aligned(4096)));
	static uint8_t proof[CHECK_MEM] __attribute__((aligned(4096)));
	struct repair_conf conf = { .found = on_found, .mem = mem };
	struct check_conf check = { .mem = proof, .skip_data = true, .found = on_found };
	struct repair_report report;
	struct check_report whole;
	struct repair *r;
	struct img *m = img_new();
	int err;

	m->per_node = 20;
	m->on_super = on_super;
	img_build(m);
	put_record(m, data, len);
	conf.source = (struct check_source){ image_read, m, IMG_BLOCKS };
	err = repair_plan(&r, &conf, &report);
	assert(!err || err == -E_NO_SPACE);
	check.source = repair_source(r);
	if (!err)
		assert(!check_run(&check, &whole) && !whole.errors);
	repair_free(r);
	img_free(m);
}

/* One transaction of one or two operations. */
size_t fuzz_seed(unsigned n, uint8_t *buf)
{
	static const uint8_t types[] = { ITEM_INODE, ITEM_XATTR, ITEM_INLINE, ITEM_DIRENT, ITEM_EXTENT, ITEM_ORPHAN };
	static const uint16_t lens[] = { 144, 30, 11, 14, 36, 8 };
	size_t at = sizeof(struct txn_disk);

	if (n >= 12)
		return 0;
	memset(buf, 0, 512);
	for (unsigned i = 0; i < 2; i++) {
		unsigned t = (n + i) % 6;
		struct txnop_disk op = { .op = n < 6 ? OP_PUT : OP_DEL, .key = { put64(t == 5 ? 0 : 18), types[t], put64(0) },
			.len = put16(n < 6 ? lens[t] : 0) };

		memcpy(buf + at, &op, sizeof(op));
		at += sizeof(op);
		for (unsigned k = 0; n < 6 && k < lens[t]; k++)
			buf[at++] = (uint8_t)(k * 7 + t);
	}
	memcpy(buf, &(struct txn_disk){ .length = put32((uint32_t)at), .nops = put32(2), .ino_watermark = put64(2000) },
	       sizeof(struct txn_disk));
	return at;
}
