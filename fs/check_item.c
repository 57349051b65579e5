/* SPDX-License-Identifier: Apache-2.0 */
/* Items by type. They come in key order, so an inode's item comes before everything else of its object; sums over the
 * object (blocks, names) are compared when the object ends. What concerns two objects is left to check_links.c. */
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include "base/siphash.h"
#include "fs/check_impl.h"

#define HASH_SHIFT 9            /* 55 of 64 bits */
#define INODE_FLAGS INODE_TRUNCATE
#define MAX_SIZE (1ull << 60)         /* longest file, bytes */
#define LINKS_MAX 0x7fffffffu

uint64_t check_hash(const struct check *c, const void *name, size_t len)
{
	uint64_t h = siphash24(c->super.hash_key, name, len) >> HASH_SHIFT;

	return h ? h : 1;
}

static unsigned long long ull(uint64_t v)
{
	return v;
}

/* ---- the object ---- */

static void record_inode(struct check *c, const struct check_object *o)
{
	if (!check_grow(c, (void **)&c->inodes, c->ninodes, &c->inodes_cap, sizeof(*c->inodes)))
		return;
	c->inodes[c->ninodes++] = (struct inode_rec){ .ino = o->ino, .parent = o->parent, .nlink = o->nlink,
		.mode = o->mode, .truncate = o->flags & INODE_TRUNCATE };
}

void check_object_end(struct check *c)
{
	struct check_object *o = &c->obj;

	if (o->open && o->has_inode) {
		if (o->blocks != o->sum && !c->rep->incomplete)
			check_say(c, o->ino, "the inode says %llu blocks, its extents have %llu", ull(o->blocks),
				  ull(o->sum));
		if (S_ISDIR(o->mode) && o->entries != o->names && !c->rep->incomplete)
			check_say(c, o->ino, "the directory says %llu entries, %llu are there", ull(o->entries),
				  ull(o->names));
		if (S_ISLNK(o->mode) && !o->has_inline && !c->rep->incomplete)
			check_say(c, o->ino, "symbolic link without a target");
		record_inode(c, o);
	}
	o->open = false;
}

static void object_begin(struct check *c, uint64_t ino)
{
	check_object_end(c);
	c->obj = (struct check_object){ .ino = ino, .open = true };
}

/* An item other than INODE came: is there an inode before it? */
static bool object_has_inode(struct check *c, const struct check_key *k)
{
	char text[80];

	if (!c->obj.has_inode && !c->obj.orphan_items && !c->rep->incomplete) {
		check_say(c, k->object, "items without an inode, the first is %s",
			  check_key_print(k, text, sizeof(text)));
		c->obj.orphan_items = true;
	}
	return c->obj.has_inode;
}

/* ---- inode ---- */

static bool mode_good(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFCHR: case S_IFBLK: case S_IFIFO: case S_IFSOCK:
		return !(mode & ~(uint32_t)(S_IFMT | 07777));
	}
	return false;
}

static void count_type(struct check *c, uint32_t mode)
{
	c->rep->inodes++;
	if (S_ISDIR(mode))
		c->rep->directories++;
	else if (S_ISREG(mode))
		c->rep->files++;
	else if (S_ISLNK(mode))
		c->rep->symlinks++;
	else
		c->rep->specials++;
}

static void inode_fields(struct check *c, const struct inode_disk *d)
{
	const struct time_disk *t[] = { &d->atime, &d->mtime, &d->ctime, &d->btime };
	uint64_t ino = c->obj.ino;

	if (!mode_good(get32(d->mode)))
		check_say(c, ino, "mode %o is of no known type", get32(d->mode));
	if (get64(d->size) > MAX_SIZE)
		check_say(c, ino, "size %llu", ull(get64(d->size)));
	if (get32(d->nlink) > LINKS_MAX)
		check_say(c, ino, "link count %u", get32(d->nlink));
	if (get32(d->flags) & ~INODE_FLAGS)
		check_say(c, ino, "unknown flags %x", get32(d->flags));
	if (get32(d->compression))
		check_say(c, ino, "unknown compression %u", get32(d->compression));
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		if (get32(t[i]->ns) >= 1000000000)
			check_say(c, ino, "a time has %u nanoseconds", get32(t[i]->ns));
	}
	if (ino >= get64(c->super.ino_watermark))
		check_say(c, ino, "number not below the watermark %llu", ull(get64(c->super.ino_watermark)));
	if (ino != INO_ROOT && ino < INO_FIRST)
		check_say(c, ino, "reserved number");
}

static void inode_check(struct check *c, const struct check_key *k, const uint8_t *val, uint32_t len)
{
	const struct inode_disk *d = (const struct inode_disk *)val;
	struct check_object *o = &c->obj;

	if (k->offset || len != sizeof(*d)) {
		check_say(c, k->object, "inode item at offset %llu with %u bytes", ull(k->offset), len);
		return;
	}
	o->has_inode = true;
	o->mode = get32(d->mode);
	o->flags = get32(d->flags);
	o->size = get64(d->size);
	o->blocks = get64(d->blocks);
	o->entries = get64(d->entries);
	o->parent = get64(d->parent);
	o->nlink = get32(d->nlink);
	inode_fields(c, d);
	count_type(c, o->mode);
}

/* ---- names and attributes ---- */

/* True if the same name was in this hash bucket already; else remembers it. */
static bool bucket_double(struct check *c, const struct check_key *k, const uint8_t *name, unsigned len)
{
	struct check_object *o = &c->obj;

	if (o->bucket != k->offset >> 8 || o->bucket_type != k->type)
		o->bucket_count = 0;
	o->bucket = k->offset >> 8;
	o->bucket_type = k->type;
	for (unsigned i = 0; i < o->bucket_count; i++) {
		const uint8_t *b = c->bucket_names + i * 256;

		if (b[0] == len && !memcmp(b + 1, name, len))
			return true;
	}
	if (o->bucket_count < 256) {
		uint8_t *b = c->bucket_names + o->bucket_count++ * 256;

		b[0] = (uint8_t)len;
		memcpy(b + 1, name, len);
	}
	return false;
}

/* Names are bytes: for a message only the printable ones are kept. */
static const char *name_print(const uint8_t *name, unsigned len, char buf[260])
{
	for (unsigned i = 0; i < len; i++)
		buf[i] = name[i] < ' ' || name[i] == 127 ? '?' : (char)name[i];
	buf[len] = 0;
	return buf;
}

static void name_check(struct check *c, const struct check_key *k, const uint8_t *name, unsigned len, const char *what)
{
	char text[260];

	name_print(name, len, text);
	if (k->offset >> 8 != check_hash(c, name, len))
		check_say(c, k->object, "%s '%s' lies at position %llx, its hash is %llx", what, text,
			  ull(k->offset >> 8), ull(check_hash(c, name, len)));
	if (bucket_double(c, k, name, len))
		check_say(c, k->object, "%s '%s' is there twice", what, text);
}

static void record_name(struct check *c, uint64_t node, unsigned index, uint64_t dir, const struct dirent_disk *d)
{
	if (!check_grow(c, (void **)&c->names, c->nnames, &c->names_cap, sizeof(*c->names)))
		return;
	c->names[c->nnames++] = (struct name_rec){ .ino = get64(d->ino), .dir = dir, .node = node,
		.index = (uint16_t)index, .dtype = d->type };
}

static void dirent_check(struct check *c, uint64_t node, unsigned index, const struct check_key *k, const uint8_t *val,
			 uint32_t len)
{
	const struct dirent_disk *d = (const struct dirent_disk *)val;
	const uint8_t *name = val + sizeof(*d);
	char text[260];

	if (object_has_inode(c, k) && !S_ISDIR(c->obj.mode))
		check_say(c, k->object, "has directory entries and is no directory");
	if (len < sizeof(*d) || !d->namelen || len != sizeof(*d) + d->namelen) {
		check_say(c, k->object, "directory entry %llx has %u bytes", ull(k->offset), len);
		return;
	}
	c->obj.names++;
	c->rep->names++;
	if (memchr(name, '/', d->namelen) || memchr(name, 0, d->namelen) ||
	    (name[0] == '.' && (d->namelen == 1 || (d->namelen == 2 && name[1] == '.'))))
		check_say(c, k->object, "directory entry '%s': not a name", name_print(name, d->namelen, text));
	name_check(c, k, name, d->namelen, "directory entry");
	record_name(c, node, index, k->object, d);
}

static void xattr_check(struct check *c, const struct check_key *k, const uint8_t *val, uint32_t len)
{
	const struct xattr_disk *d = (const struct xattr_disk *)val;

	object_has_inode(c, k);
	if (len < sizeof(*d) || !d->namelen || len != sizeof(*d) + d->namelen + get16(d->len)) {
		check_say(c, k->object, "extended attribute %llx has %u bytes", ull(k->offset), len);
		return;
	}
	c->rep->xattrs++;
	name_check(c, k, val + sizeof(*d), d->namelen, "extended attribute");
}

/* ---- content ---- */

static void inline_check(struct check *c, const struct check_key *k, const uint8_t *val, uint32_t len)
{
	struct check_object *o = &c->obj;
	bool has = object_has_inode(c, k);

	c->rep->inlines++;
	o->has_inline = true;
	if (k->offset)
		check_say(c, k->object, "inline data at offset %llu", ull(k->offset));
	else if (has && S_ISLNK(o->mode) && (len != o->size || !len || len >= VALUE_MAX || memchr(val, 0, len)))
		check_say(c, k->object, "target of %u bytes in a symbolic link of size %llu", len, ull(o->size));
	else if (has && S_ISREG(o->mode) && (len > INLINE_MAX || len > o->size || o->size > INLINE_MAX))
		check_say(c, k->object, "%u bytes inline in a file of size %llu", len, ull(o->size));
	else if (has && !S_ISREG(o->mode) && !S_ISLNK(o->mode))
		check_say(c, k->object, "has inline data and is neither file nor symbolic link");
}

/* The value's form: no more than this version writes. */
static const char *extent_form(const struct extent_disk *d, uint32_t len)
{
	unsigned n, crcs;

	if (len < sizeof(*d))
		return "is too short";
	n = get16(d->nblocks);
	crcs = d->flags & EXTENT_UNWRITTEN ? 0 : get16(d->stored_blocks);
	if (!n || n > EXTENT_MAX)
		return "has a bad length";
	if (d->encoding != ENCODING_NONE || get32(d->stored_bytes))
		return "has an unknown encoding";
	if (get16(d->stored_blocks) != n)
		return "has another length on the device";
	if (d->flags & ~EXTENT_UNWRITTEN)
		return "has unknown flags";
	if (d->csum_type != CSUM_CRC32C)
		return "has an unknown checksum type";
	return len == sizeof(*d) + crcs * 4 ? NULL : "has the wrong number of checksums";
}

/* Place on the device: inside, not fixed, nobody else's. */
static bool extent_place(struct check *c, const struct check_key *k, const struct extent_disk *d)
{
	uint64_t block = get64(d->block), first;
	unsigned n = get16(d->stored_blocks);
	const char *fixed;
	uint32_t twice;

	if (!block || !range_fits(block, n, c->nblocks)) {
		check_say(c, k->object, "extent at file block %llu: device blocks %llu+%u are outside", ull(k->offset),
			  ull(block), n);
		return false;
	}
	fixed = check_fixed(c, block, n);
	if (fixed) {
		check_say(c, k->object, "extent at file block %llu: device blocks %llu+%u are inside the %s",
			  ull(k->offset), ull(block), n, fixed);
		return false;
	}
	twice = c->repair ? 0 : check_own(c, block, n, &first); /* repair judges it: no node may get lost by it */
	if (twice)
		check_say(c, k->object,
			  "extent at file block %llu: %u of its device blocks %llu+%u are used by something else "
			  "too, the first is %llu",
			  ull(k->offset), twice, ull(block), n, ull(first));
	return true;
}

static void extent_check(struct check *c, uint64_t birth, const struct check_key *k, const uint8_t *val, uint32_t len)
{
	const struct extent_disk *d = (const struct extent_disk *)val;
	struct check_object *o = &c->obj;
	const char *form = extent_form(d, len);
	bool has = object_has_inode(c, k);
	uint64_t end, eof = DIV_UP(o->size, FS_BLOCK);

	if (form) {
		check_say(c, k->object, "extent at file block %llu %s (%u bytes)", ull(k->offset), form, len);
		return;
	}
	end = k->offset + get16(d->nblocks);
	if (end < k->offset || end > MAX_SIZE / FS_BLOCK)
		check_say(c, k->object, "extent at file block %llu: beyond the largest file", ull(k->offset));
	if (k->offset < o->extent_end)
		check_say(c, k->object, "extent at file block %llu: overlaps the one before it, which ends at %llu",
			  ull(k->offset), ull(o->extent_end));
	if (has && !S_ISREG(o->mode))
		check_say(c, k->object, "has extents and is no file");
	if (o->has_inline)
		check_say(c, k->object, "extent at file block %llu: besides inline data", ull(k->offset));
	if (has && end > eof && !(d->flags & EXTENT_UNWRITTEN) && !(o->flags & INODE_TRUNCATE))
		check_say(c, k->object, "extent at file block %llu: data beyond the end of the file", ull(k->offset));
	if (!get64(d->birth) || get64(d->birth) > birth)
		check_say(c, k->object, "extent at file block %llu: birth %llu, its node's is %llu", ull(k->offset),
			  ull(get64(d->birth)), ull(birth));
	o->extent_end = MAX(o->extent_end, end);
	o->sum += get16(d->stored_blocks);
	c->rep->extents++;
	c->rep->data_blocks += get16(d->stored_blocks);
	if (d->flags & EXTENT_UNWRITTEN)
		c->rep->unwritten++;
	if (extent_place(c, k, d))
		check_data_add(c, k->offset, d, val + sizeof(*d));
}

/* ---- object 0 ---- */

static void zero_check(struct check *c, const struct check_key *k, uint32_t len)
{
	char text[80];

	if (k->type != ITEM_ORPHAN) {
		check_say(c, 0, "item %s: this version knows no such item", check_key_print(k, text, sizeof(text)));
		return;
	}
	if (len != sizeof(struct orphan_disk))
		check_say(c, 0, "item %s has %u bytes", check_key_print(k, text, sizeof(text)), len);
	c->rep->orphans++;
	if (check_grow(c, (void **)&c->orphans, c->norphans, &c->orphans_cap, sizeof(*c->orphans)))
		c->orphans[c->norphans++] = k->offset;
}

void check_item(struct check *c, uint64_t node, uint64_t birth, unsigned index, const struct check_key *k,
		const uint8_t *val, uint32_t len)
{
	char text[80];

	if (k->object == 0) {
		zero_check(c, k, len);
		return;
	}
	if (!c->obj.open || c->obj.ino != k->object)
		object_begin(c, k->object);
	switch (k->type) {
	case ITEM_INODE:
		inode_check(c, k, val, len);
		break;
	case ITEM_XATTR:
		xattr_check(c, k, val, len);
		break;
	case ITEM_INLINE:
		inline_check(c, k, val, len);
		break;
	case ITEM_DIRENT:
		dirent_check(c, node, index, k, val, len);
		break;
	case ITEM_EXTENT:
		extent_check(c, birth, k, val, len);
		break;
	default:
		check_say(c, 0, "item %s: this version knows no such item", check_key_print(k, text, sizeof(text)));
	}
}
