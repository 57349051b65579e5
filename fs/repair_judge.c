/* SPDX-License-Identifier: Apache-2.0 */
/* Object by object, in key order: which items make sense and stay, what each inode has to say of them, and whose the blocks
 * of extents are. Data decides about the inode, never the other way: an extent that makes sense stays. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "fs/repair_impl.h"

#define MAX_SIZE (1ull << 60)

static unsigned long long ull(uint64_t v)
{
	return v;
}

struct object {
	struct repair *r;
	uint64_t first, end;    /* references */
	uint64_t inode;         /* of them; end: none */
	uint64_t names, xattrs, extents, inlines;
	uint64_t data_end;      /* file block behind the last written extent */
	uint32_t inline_len;
};

static void drop(struct repair *r, struct ref *ref, const char *why)
{
	struct check_key k = { ref->object, ref->offset, ref->type };
	char text[80];

	ref->flags |= REF_DROP;
	repair_say(r, LOST, ref->object, "item %s %s: dropped", check_key_print(&k, text, sizeof(text)), why);
}

/* Drops all items of a type. */
static void drop_type(struct object *o, uint8_t type, const char *why)
{
	for (uint64_t i = o->first; i < o->end; i++) {
		struct ref *ref = repair_ref(o->r, i);

		if (ref->type == type && !(ref->flags & REF_DROP))
			drop(o->r, ref, why);
	}
}

/* ---- form ---- */

static bool extent_good(struct repair *r, uint64_t offset, const uint8_t *val, uint32_t len)
{
	const struct extent_disk *d = (const void *)val;
	unsigned n;

	if (len < sizeof(*d))
		return false;
	n = get16(d->nblocks);
	return n && n <= EXTENT_MAX && get16(d->stored_blocks) == n && d->encoding == ENCODING_NONE && !get32(d->stored_bytes) &&
	       !(d->flags & ~EXTENT_UNWRITTEN) && d->csum_type == CSUM_CRC32C && offset <= MAX_SIZE / FS_BLOCK - n &&
	       len == sizeof(*d) + (d->flags & EXTENT_UNWRITTEN ? 0 : 4 * n) && get64(d->block) &&
	       range_fits(get64(d->block), n, r->c.nblocks) && !check_fixed(&r->c, get64(d->block), n);
}

static bool same_name(struct repair *r, const struct ref *a, const struct ref *b)
{
	uint8_t copy[VALUE_MAX];
	size_t head = a->type == ITEM_DIRENT ? sizeof(struct dirent_disk) : sizeof(struct xattr_disk);
	uint32_t len;
	const uint8_t *v = repair_value(r, a, &len);
	unsigned n;

	if (!v)
		return false;
	memcpy(copy, v, len);
	v = repair_value(r, b, &len);
	if (!v)
		return false;
	n = a->type == ITEM_DIRENT ? ((const struct dirent_disk *)copy)->namelen : ((const struct xattr_disk *)copy)->namelen;
	return n == (a->type == ITEM_DIRENT ? ((const struct dirent_disk *)v)->namelen : ((const struct xattr_disk *)v)->namelen) &&
	       !memcmp(copy + head, v + head, n);
}

/* Names of one hash: each only once, each with a place of its own. */
static void bucket(struct object *o, uint64_t at)
{
	struct ref *ref = repair_ref(o->r, at), *last = NULL;
	uint64_t at_hash = ref->offset >> 8;

	for (uint64_t i = at; i-- > o->first;) {
		struct ref *b = repair_ref(o->r, i);

		if (b->type != ref->type || b->offset >> 8 != at_hash)
			break;
		if (b->flags & REF_DROP)
			continue;
		last = last ? last : b;
		if (same_name(o->r, b, ref)) {
			drop(o->r, ref, "has a name that is there already");
			return;
		}
	}
	if (!last || last->offset < ref->offset)
		return;
	if ((last->offset & 255) == 255) {
		drop(o->r, ref, "has no place left");
		return;
	}
	ref->offset = last->offset + 1;
	repair_say(o->r, OTHER, ref->object, "a name moves to a place of its own in its bucket");
}

static void item_form(struct object *o, uint64_t i)
{
	struct repair *r = o->r;
	struct ref *ref = repair_ref(r, i), *before = i > o->first ? ref - 1 : NULL;
	uint32_t len;
	const uint8_t *val = repair_value(r, ref, &len);

	if (!val) {
		drop(r, ref, "cannot be read");
		return;
	}
	switch (ref->type) {
	case ITEM_INODE:
		if (ref->offset || len != sizeof(struct inode_disk) || o->inode != o->end)
			drop(r, ref, "is no inode");
		else
			o->inode = i;
		break;
	case ITEM_XATTR:
		bucket(o, i);
		o->xattrs += !(ref->flags & REF_DROP);
		break;
	case ITEM_INLINE:
		if (ref->offset || o->inlines) {
			drop(r, ref, "is no inline data");
			break;
		}
		o->inlines++;
		o->inline_len = len;
		break;
	case ITEM_DIRENT:
		bucket(o, i);
		o->names += !(ref->flags & REF_DROP);
		break;
	case ITEM_EXTENT:
		if (!extent_good(r, ref->offset, val, len))
			drop(r, ref, "is no extent of this device");
		else if (before && before->type == ITEM_EXTENT && before->offset == ref->offset && !(before->flags & REF_DROP))
			drop(r, ref, "is there twice");
		else
			o->extents++;
		break;
	default:
		drop(r, ref, "is of no known type");
	}
}

/* ---- what it is ---- */

static bool known_type(uint32_t mode)
{
	static const uint32_t types[] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK };

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if ((mode & S_IFMT) == types[i])
			return !(mode & ~(uint32_t)(S_IFMT | 07777));
	return false;
}

/* The type that fits to what is there. */
static uint32_t fit_mode(const struct object *o, uint64_t ino, uint32_t mode)
{
	bool data = o->extents || o->inlines;

	if (ino == INO_ROOT)
		return S_ISDIR(mode) && known_type(mode) ? mode : S_IFDIR | 0755;
	if (S_ISLNK(mode) && o->inlines && !o->extents && known_type(mode))
		return mode;
	if (data && !(o->names && S_ISDIR(mode)))
		return S_ISREG(mode) && known_type(mode) ? mode : S_IFREG | 0600;
	if (o->names)
		return S_ISDIR(mode) && known_type(mode) ? mode : S_IFDIR | 0700;
	return known_type(mode) ? mode : S_IFREG | 0600;
}

static void fit_items(struct object *o, uint32_t mode)
{
	if (!S_ISDIR(mode))
		drop_type(o, ITEM_DIRENT, "is in no directory");
	if (!S_ISREG(mode))
		drop_type(o, ITEM_EXTENT, "is in no file");
	if (!S_ISREG(mode) && !S_ISLNK(mode))
		drop_type(o, ITEM_INLINE, "is in no file");
	if (S_ISREG(mode) && o->extents && o->inlines) {
		drop_type(o, ITEM_INLINE, "lies besides extents");
		o->inlines = 0;
	}
}

/* ---- extents ---- */

bool repair_extent_part(const struct rino *in, uint64_t offset, unsigned blocks, uint64_t *end, unsigned *skip, unsigned *n)
{
	uint64_t from = MAX(offset, *end), to = offset + blocks;

	if (in->truncate) /* finished here */
		to = MIN(to, DIV_UP(in->size, FS_BLOCK));
	if (from >= to)
		return false;
	*skip = (unsigned)(from - offset);
	*n = (unsigned)(to - from);
	*end = to;
	return true;
}

static void extents_judge(struct object *o, struct rino *in)
{
	uint64_t end = 0, old_end;
	unsigned skip, n, twice;

	for (uint64_t i = o->first; i < o->end; i++) {
		struct ref *ref = repair_ref(o->r, i);
		const struct extent_disk *d;
		uint32_t len;

		if (ref->type != ITEM_EXTENT || ref->flags & REF_DROP)
			continue;
		d = (const void *)repair_value(o->r, ref, &len);
		old_end = end;
		if (!d || !repair_extent_part(in, ref->offset, get16(d->nblocks), &end, &skip, &n)) {
			if (in->truncate && ref->offset >= DIV_UP(in->size, FS_BLOCK))
				ref->flags |= REF_DROP;
			else
				drop(o->r, ref, "lies wholly over the one before");
			continue;
		}
		if (!get64(d->birth) || get64(d->birth) > repair_birth(o->r, ref))
			repair_say(o->r, OTHER, in->ino, "extent at file block %llu: birth %llu", ull(ref->offset), ull(get64(d->birth)));
		if (skip)
			repair_say(o->r, LOST, in->ino, "extent at file block %llu: the first %u blocks lie over the one before, which ends "
				   "at %llu: cut off", ull(ref->offset), skip, ull(old_end));
		twice = repair_take(o->r, o->r->live, get64(d->block) + skip, n);
		if (repair_take(o->r, o->r->busy, get64(d->block) + skip, n) > twice)
			repair_say(o->r, OTHER, in->ino, "extent at file block %llu lies over nodes of the tree, which are built anew",
				   ull(ref->offset));
		if (twice) {
			repair_say(o->r, OTHER, in->ino, "extent at file block %llu: %u of its blocks are another one's: it gets a copy",
				   ull(ref->offset), twice);
			ref->flags |= REF_CLONE;
		}
		in->blocks += n;
		if (!(d->flags & EXTENT_UNWRITTEN))
			o->data_end = end;
	}
}

/* ---- the inode ---- */

static void fit_size(struct object *o, struct rino *in, uint64_t size)
{
	if (S_ISREG(in->mode) && !o->inlines && (size > MAX_SIZE || o->data_end > DIV_UP(size, FS_BLOCK)))
		in->size = o->data_end * FS_BLOCK;
	else if (S_ISREG(in->mode) && o->inlines)
		in->size = size > INLINE_MAX || size < o->inline_len ? MIN(o->inline_len, INLINE_MAX) : size;
	else if (S_ISLNK(in->mode) && o->inlines)
		in->size = o->inline_len;
	else if (size > MAX_SIZE)
		in->size = 0;
	else
		in->size = size;
	if (in->size != size)
		repair_say(o->r, OTHER, in->ino, "size %llu becomes %llu", ull(size), ull(in->size));
}

/* A target without zeros, shorter than a block. */
static bool target_good(struct object *o)
{
	for (uint64_t i = o->first; i < o->end; i++) {
		const struct ref *ref = repair_ref(o->r, i);
		const uint8_t *val;
		uint32_t len;

		if (ref->type != ITEM_INLINE || ref->flags & REF_DROP)
			continue;
		val = repair_value(o->r, ref, &len);
		return val && len && len < VALUE_MAX && !memchr(val, 0, len);
	}
	return false;
}

/* What names say of an inode that is lost: is it a link? */
static uint32_t guess_mode(const struct object *o)
{
	if (o->names)
		return S_IFDIR | 0700;
	return S_IFREG | 0600;
}

/* The lost inode is made anew from what is left of it. */
static void inode_make(struct object *o, uint64_t ino, uint64_t order)
{
	struct inode_disk d = { .mode = put32(guess_mode(o)), .nlink = put32(1), .size = put64(o->inline_len) };
	const uint8_t *mem = repair_keep(o->r, &d, sizeof(d));
	struct ref *ref = mem ? repair_add(o->r, &o->r->refs, sizeof(*ref)) : NULL;

	if (!ref)
		return;
	*ref = (struct ref){ .object = ino, .type = ITEM_INODE, .mem = mem, .index = sizeof(d), .flags = REF_MEM,
			     .order = (uint32_t)order };
	repair_say(o->r, OTHER, ino, "its inode is lost: owner, mode, times and size are made anew");
}

static void drop_object(struct object *o)
{
	for (uint64_t i = o->first; i < o->end; i++)
		repair_ref(o->r, i)->flags |= REF_DROP;
}

static bool orphan(const struct repair *r, uint64_t ino)
{
	const uint64_t *p = r->orphans.p;

	for (uint64_t low = 0, high = r->orphans.n; low < high;) {
		uint64_t mid = low + (high - low) / 2;

		if (p[mid] == ino)
			return true;
		if (p[mid] < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

static void judge_object(struct object *o)
{
	struct repair *r = o->r;
	uint64_t ino = repair_ref(r, o->first)->object, size;
	struct inode_disk d = { .mode = put32(0) };
	struct rino *in;
	const uint8_t *val = NULL;
	uint32_t len;

	o->inode = o->end;
	if (ino > INO_LAST) {
		for (uint64_t i = o->first; i < o->end; i++)
			drop(r, repair_ref(r, i), "has no possible inode number");
		return;
	}
	for (uint64_t i = o->first; i < o->end && !r->error; i++)
		if (!(repair_ref(r, i)->flags & REF_DROP))
			item_form(o, i);
	if (o->inode != o->end)
		val = repair_value(r, repair_ref(r, o->inode), &len);
	if (!val && !o->names && !o->extents && !o->inlines && ino != INO_ROOT) {
		drop_type(o, ITEM_XATTR, "belongs to nothing");
		return;
	}
	in = repair_add(r, &r->inos, sizeof(*in));
	if (!in)
		return;
	if (val)
		memcpy(&d, val, sizeof(d));
	else
		d.mode = put32(guess_mode(o));
	*in = (struct rino){ .ino = ino, .mode = fit_mode(o, ino, get32(d.mode)), .nlink = get32(d.nlink), .entries = get64(d.entries),
			     .parent = repair_ino(r, get64(d.parent)), .orphan = orphan(r, ino) };
	if (val && in->mode != get32(d.mode))
		repair_say(r, OTHER, ino, "mode %o becomes %o", get32(d.mode), in->mode);
	size = val ? get64(d.size) : o->inline_len;
	in->truncate = get32(d.flags) & INODE_TRUNCATE && in->nlink;
	in->size = size;
	r->watermark = MAX(r->watermark, ino + 1);
	fit_items(o, in->mode);
	extents_judge(o, in);
	fit_size(o, in, size);
	if (S_ISLNK(in->mode) && !target_good(o)) {
		repair_say(r, LOST, ino, "symbolic link without a proper target: dropped");
		in->gone = true;
		drop_object(o);
	} else if (!val) {
		inode_make(o, ino, r->refs.n);
	}
}

/* ORPHAN items: what they ask for is done here, so none comes into the new tree. */
static void orphans_take(struct repair *r)
{
	for (uint64_t i = 0; i < r->refs.n; i++) {
		struct ref *ref = repair_ref(r, i);
		uint64_t *to;

		if (ref->object)
			break;
		if (ref->flags & REF_DROP)
			continue;
		if (ref->type != ITEM_ORPHAN) {
			drop(r, ref, "is of no known type");
			continue;
		}
		ref->flags |= REF_DROP;
		r->tree = true;
		repair_say(r, SAFE, 0, "orphaned inode %llu: released, or its truncation completed", ull(ref->offset));
		to = repair_add(r, &r->orphans, sizeof(*to));
		if (to)
			*to = ref->offset;
	}
}

static int by_ino(const void *a, const void *b)
{
	uint64_t x = ((const struct rino *)a)->ino, y = ((const struct rino *)b)->ino;

	return x < y ? -1 : x > y;
}

struct rino *repair_inode(const struct repair *r, uint64_t ino)
{
	struct rino key = { .ino = ino }, *in = r->inos.n ? bsearch(&key, r->inos.p, r->inos.n, sizeof(key), by_ino) : NULL;

	return in && !in->gone ? in : NULL;
}

static void root_make(struct repair *r)
{
	struct object o = { .r = r, .names = 1 };
	struct rino *in;

	if (r->inos.n && ((struct rino *)r->inos.p)->ino == INO_ROOT)
		return;
	in = repair_add(r, &r->inos, sizeof(*in));
	if (!in)
		return;
	*in = (struct rino){ .ino = INO_ROOT, .mode = S_IFDIR | 0755, .nlink = 2, .parent = INO_ROOT };
	inode_make(&o, INO_ROOT, r->refs.n);
	qsort(r->inos.p, r->inos.n, sizeof(*in), by_ino);
}

void repair_judge(struct repair *r)
{
	uint64_t n = r->refs.n; /* what is made anew comes behind */

	orphans_take(r);
	for (uint64_t i = 0, end; i < n && !r->error && !check_stop(&r->c); i = end) {
		struct object o = { .r = r, .first = i };

		for (end = i; end < n && repair_ref(r, end)->object == repair_ref(r, i)->object; end++)
			;
		o.end = end;
		if (repair_ref(r, i)->object)
			judge_object(&o);
	}
	root_make(r);
	repair_sort(r);
}
