/* SPDX-License-Identifier: Apache-2.0 */
/* The checker on file systems whose checksums are right and whose content is not: each four bytes of input change one byte of
 * a node, the bitmap or the superblock before its checksum is taken. It must end, and read nothing outside. */
#include <assert.h>
#include <stdio.h>
#include "tests/fuzz/fuzz.h"
#include "tests/unit/check_image.h"
#include "fs/check.h"

enum { IN_BITMAP = 0xf0, IN_SUPER = 0xf1 };
static const uint8_t *input;
static size_t input_len;

static void damage(unsigned where, void *mem, size_t len)
{
	for (size_t i = 0; i + 4 <= input_len; i += 4)
		if (input[i] == where)
			((uint8_t *)mem)[(input[i + 1] | input[i + 2] << 8) % len] = input[i + 3];
}

static void on_node(struct img *m, struct node_disk *d, unsigned index)
{
	(void)m;
	damage(index, d, NODE_SIZE);
}

static void on_bitmap(struct img *m, uint8_t *bitmap)
{
	(void)m;
	damage(IN_BITMAP, bitmap, FS_BLOCK);
}

/* The first KiB: what follows is reserved, and the L2 descriptors of other groups. */
static void on_super(struct img *m, struct super_disk *s)
{
	(void)m;
	damage(IN_SUPER, s, 1200);
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
}

void fuzz_one(const uint8_t *data, size_t len)
{
	struct check_report report;
	struct check_conf conf = { .found = on_found };
	struct img *m = img_new();

	input = data;
	input_len = len;
	m->per_node = 20;
	m->on_node = on_node;
	m->on_bitmap = on_bitmap;
	m->on_super = on_super;
	img_build(m);
	conf.source = (struct check_source){ image_read, m, IMG_BLOCKS };
	check_run(&conf, &report);
	if (!len)
		assert(report.errors == 0);
	img_free(m);
}

/* Seeds hit every structure near its start, where the fields are. */
size_t fuzz_seed(unsigned n, uint8_t *buf)
{
	if (n >= 12)
		return 0;
	for (unsigned i = 0; i < 3; i++) {
		buf[4 * i] = (uint8_t)(n < 10 ? n : n == 10 ? IN_BITMAP : IN_SUPER);
		buf[4 * i + 1] = (uint8_t)(20 + 37 * i);
		buf[4 * i + 2] = (uint8_t)(i == 2 ? 0x3f : 0);
		buf[4 * i + 3] = (uint8_t)(n * 16 + i);
	}
	return 12;
}
