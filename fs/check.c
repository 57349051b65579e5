/* SPDX-License-Identifier: Apache-2.0 */
/* The checker's frame: memory, findings, and the order in which things are proved. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/crc.h"
#include "fs/check_impl.h"

static_assert((LEVELS_MAX + LEAF_BATCH + 1) * NODE_SIZE + DATA_BATCH * FS_BLOCK <= CHECK_MEM, "check_conf.mem");

void check_say(struct check *c, uint64_t ino, const char *format, ...)
{
	char line[1024];
	va_list args;

	c->rep->errors++;
	if (c->nfound >= CHECK_LINES || !check_grow(c, (void **)&c->found, c->nfound, &c->found_cap, sizeof(*c->found)))
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	c->found[c->nfound] = (struct found){ .ino = ino, .text = strdup(line) };
	if (!c->found[c->nfound].text)
		c->fatal = -ENOMEM;
	else
		c->nfound++;
}

bool check_grow(struct check *c, void **array, uint64_t n, uint64_t *cap, size_t size)
{
	uint64_t more = *cap ? *cap * 2 : 1024;
	void *p;

	if (c->fatal)
		return false;
	if (n < *cap)
		return true;
	p = more <= SIZE_MAX / 2 / size ? realloc(*array, more * size) : NULL;
	if (!p) {
		c->fatal = -ENOMEM;
		return false;
	}
	*array = p;
	*cap = more;
	return true;
}

int check_read_one(struct check *c, uint64_t block, uint32_t nblocks, void *buf)
{
	struct check_read r = { .block = block, .nblocks = nblocks, .buf = buf };

	c->conf->source.read(c->conf->source.arg, &r, 1);
	if (r.status)
		c->rep->read_errors++;
	return r.status;
}

bool check_stop(struct check *c)
{
	if (!c->fatal && c->conf->cancel && *c->conf->cancel)
		c->fatal = -ECANCELED;
	return c->fatal != 0;
}

void check_tick(struct check *c)
{
	if (c->conf->progress)
		c->conf->progress(c->conf->arg, MIN(c->rep->checked_blocks, c->total), c->total);
}

/* CRC of a structure whose own 4-byte field at crc_at counts as zero. */
uint32_t check_crc_zeroed(const void *data, size_t len, size_t crc_at)
{
	static const uint8_t zero[4];
	const uint8_t *p = data;
	uint32_t crc = crc32c(p, crc_at);

	crc = crc32c_more(crc, zero, sizeof(zero));
	return crc32c_more(crc, p + crc_at + 4, len - crc_at - 4);
}

int check_key_compare(const struct check_key *a, const struct check_key *b)
{
	if (a->object != b->object)
		return a->object < b->object ? -1 : 1;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	return a->offset == b->offset ? 0 : a->offset < b->offset ? -1 : 1;
}

const char *check_key_print(const struct check_key *k, char *buf, size_t len)
{
	static const char *const names[] = { [ITEM_INODE] = "INODE", [ITEM_XATTR] = "XATTR", [ITEM_INLINE] = "INLINE",
		[ITEM_DIRENT] = "DIRENT", [ITEM_EXTENT] = "EXTENT", [ITEM_ORPHAN] = "ORPHAN",
		[ITEM_REFCOUNT] = "REFCOUNT", [ITEM_SNAPSHOT] = "SNAPSHOT", [ITEM_DEADLIST] = "DEADLIST",
		[ITEM_QUOTA] = "QUOTA" };

	if (k->type < ARRAY_SIZE(names) && names[k->type])
		snprintf(buf, len, "(%llu, %s, %llu)", (unsigned long long)k->object, names[k->type],
			 (unsigned long long)k->offset);
	else
		snprintf(buf, len, "(%llu, %u, %llu)", (unsigned long long)k->object, k->type,
			 (unsigned long long)k->offset);
	return buf;
}

static int buffers_init(struct check *c)
{
	uint8_t *p = c->conf->mem;

	if (!p) {
		c->mem_own = aligned_alloc(FS_BLOCK, CHECK_MEM);
		p = c->mem_own;
	}
	c->cover = malloc(NODE_SIZE);
	c->reads = calloc(DATA_BATCH, sizeof(*c->reads));
	c->reqs = calloc(DATA_BATCH, sizeof(*c->reqs));
	c->crcs = calloc(DATA_BATCH, sizeof(*c->crcs));
	c->bucket_names = malloc(256 * 256);
	if (!p || !c->cover || !c->reads || !c->reqs || !c->crcs || !c->bucket_names)
		return -ENOMEM;
	c->mem = p;
	for (unsigned i = 0; i < LEVELS_MAX; i++, p += NODE_SIZE)
		c->node[i] = p;
	c->spare = p;
	c->leaves = p + NODE_SIZE;
	c->data = c->leaves + LEAF_BATCH * NODE_SIZE;
	return 0;
}

static void buffers_exit(struct check *c)
{
	free(c->mem_own);
	free(c->cover);
	free(c->reads);
	free(c->reqs);
	free(c->crcs);
	free(c->bucket_names);
	free(c->inodes);
	free(c->names);
	free(c->orphans);
	for (uint64_t i = 0; i < c->nfound; i++)
		free(c->found[i].text);
	free(c->found);
}

/* Tells what was found, now that paths are known. */
static void tell(struct check *c)
{
	char path[PATH_BYTES], line[PATH_BYTES + 1100];

	if (!c->conf->found)
		return;
	for (uint64_t i = 0; i < c->nfound; i++) {
		const struct found *f = &c->found[i];
		const char *at = f->ino ? check_path(c, f->ino, path, sizeof(path)) : "";

		if (!f->ino)
			snprintf(line, sizeof(line), "%s", f->text);
		else
			snprintf(line, sizeof(line), "inode %llu%s%s%s: %s", (unsigned long long)f->ino,
				 *at ? " (" : "", at, *at ? ")" : "", f->text);
		c->conf->found(c->conf->arg, line);
	}
	if (c->rep->errors > c->nfound) {
		snprintf(line, sizeof(line), "%llu more errors are not listed",
			 (unsigned long long)(c->rep->errors - c->nfound));
		c->conf->found(c->conf->arg, line);
	}
}

static int run(struct check *c)
{
	int r = buffers_init(c);

	if (!r)
		r = check_super(c);
	if (!r)
		r = check_alloc_init(c);
	if (r)
		return r;
	check_tree(c);
	check_data_flush(c);
	if (!check_stop(c))
		check_links(c);
	if (!check_stop(c))
		check_alloc(c);
	return c->fatal;
}

int check_walk(struct check *c, const struct check_conf *conf, struct check_report *report, struct repair *repair)
{
	int r;

	memset(report, 0, sizeof(*report));
	*c = (struct check){ .conf = conf, .rep = report, .repair = repair };
	r = buffers_init(c);
	if (!r)
		r = check_super(c);
	if (!r)
		r = check_alloc_init(c);
	if (r)
		return r;
	check_tree(c);
	if (!check_stop(c))
		check_links(c);
	return c->fatal;
}

void check_close(struct check *c)
{
	check_alloc_exit(c);
	buffers_exit(c);
}

int check_run(const struct check_conf *conf, struct check_report *report)
{
	struct check c = { .conf = conf, .rep = report };
	int r;

	memset(report, 0, sizeof(*report));
	r = run(&c);
	if (r != -ENOMEM && r != -ECANCELED)
		tell(&c);
	check_alloc_exit(&c);
	buffers_exit(&c);
	return r;
}
