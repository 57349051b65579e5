/* SPDX-License-Identifier: Apache-2.0 */
/* Names against inodes: a name without an inode goes, an inode without a name gets one in lost+found (but what was unlinked is
 * released), a directory keeps one name, and every directory hangs on the root. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "fs/repair_impl.h"

static unsigned long long ull(uint64_t v)
{
	return v;
}

static void collect(struct repair *r)
{
	for (uint64_t i = 0; i < r->refs.n; i++) {
		const struct ref *ref = repair_ref(r, i);
		struct dirent_disk d;
		const uint8_t *val;
		struct rname *to;
		uint32_t len;

		if (ref->type != ITEM_DIRENT || !ref->object || ref->flags & REF_DROP)
			continue;
		val = repair_value(r, ref, &len);
		to = val ? repair_add(r, &r->names, sizeof(*to)) : NULL;
		if (!to)
			return;
		memcpy(&d, val, sizeof(d));
		*to = (struct rname){ .dir = ref->object, .ino = repair_ino(r, get64(d.ino)), .ref = i };
	}
}

static void name_drop(struct repair *r, struct rname *name, const char *why)
{
	struct ref *ref = repair_ref(r, name->ref);
	uint32_t len;
	const uint8_t *val = repair_value(r, ref, &len);

	repair_say(r, LOST, name->dir, "entry '%.*s' (inode %llu) %s: dropped", val ? (int)(len - sizeof(struct dirent_disk)) : 0,
		   val ? (const char *)val + sizeof(struct dirent_disk) : "", ull(name->ino), why);
	ref->flags |= REF_DROP;
	name->ino = 0;
}

static int by_ino(const void *a, const void *b)
{
	const struct rname *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->ref < y->ref ? -1 : x->ref > y->ref;
}

static void sort(struct repair *r)
{
	if (r->names.n)
		qsort(r->names.p, r->names.n, sizeof(struct rname), by_ino);
}

/* Names of ino: the first one and how many; NULL: none. Sorted. */
static struct rname *names_of(struct repair *r, uint64_t ino, uint64_t *n)
{
	struct rname *p = r->names.p;
	uint64_t low = 0, high = r->names.n;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (p[mid].ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	for (*n = 0; low + *n < r->names.n && p[low + *n].ino == ino; (*n)++)
		;
	return *n ? p + low : NULL;
}

static void drop_bad(struct repair *r)
{
	struct rname *p = r->names.p;

	for (uint64_t i = 0; i < r->names.n; i++) {
		const struct rino *dir = repair_inode(r, p[i].dir);

		if (!repair_inode(r, p[i].ino))
			name_drop(r, &p[i], "is lost");
		else if (p[i].ino == INO_ROOT)
			name_drop(r, &p[i], "names the root directory");
		else if (!dir)
			name_drop(r, &p[i], "is in no directory");
	}
	sort(r);
}

/* A directory has one name: where it says that its parent is, else the first. */
static void drop_doubles(struct repair *r)
{
	struct rino *in = r->inos.p;

	for (uint64_t i = 0; i < r->inos.n; i++, in++) {
		uint64_t n, keep = 0;
		struct rname *p = S_ISDIR(in->mode) && !in->gone ? names_of(r, in->ino, &n) : NULL;

		if (!p)
			continue;
		for (uint64_t k = n; k-- > 0;)
			if (p[k].dir == in->parent)
				keep = k;
		for (uint64_t k = 0; k < n; k++)
			if (k != keep)
				name_drop(r, &p[k], "is a second name of a directory");
	}
	sort(r);
}

/* Cycles of directories: one name of each goes, and that directory has none then. */
static void drop_cycles(struct repair *r)
{
	struct rino *in = r->inos.p;

	for (uint64_t i = 0; i < r->inos.n; i++) {
		struct rino *p = &in[i];
		struct rname *name = NULL;
		uint64_t n;

		if (!S_ISDIR(p->mode) || p->gone)
			continue;
		/* Up to what is known to hang on the root, or to have no name; what was passed on this way is marked seen. */
		while (p && !p->reached && !p->seen && p->ino != INO_ROOT) {
			p->seen = true;
			name = names_of(r, p->ino, &n);
			p = name ? repair_inode(r, name->dir) : NULL;
		}
		if (p && p->seen && !p->reached && p->ino != INO_ROOT) {
			name = names_of(r, p->ino, &n);
			name_drop(r, name, "is a name of a directory below itself");
			sort(r);
		}
		for (p = &in[i]; p && p->seen && !p->reached; p = name ? repair_inode(r, name->dir) : NULL) {
			p->reached = true;
			name = names_of(r, p->ino, &n);
		}
	}
}

/* ---- lost+found ---- */

static void put(struct repair *r, uint64_t object, uint8_t type, uint64_t offset, const void *val, size_t len)
{
	const uint8_t *mem = repair_keep(r, val, len);
	struct ref *ref = mem ? repair_add(r, &r->refs, sizeof(*ref)) : NULL;

	if (ref)
		*ref = (struct ref){ .object = object, .type = type, .offset = offset, .mem = mem, .index = (uint16_t)len,
				     .flags = REF_MEM, .order = (uint32_t)r->refs.n };
}

/* Is something in the bucket of this name? *same: the very name, of inode *ino. References are sorted up to n. */
static bool bucket_used(struct repair *r, uint64_t n, uint64_t dir, const char *name, bool *same, uint64_t *ino)
{
	uint64_t hash = check_hash(&r->c, name, strlen(name)), all = r->refs.n, i;
	bool used = false;

	r->refs.n = n;
	i = repair_find(r, dir, ITEM_DIRENT, hash << 8);
	r->refs.n = all;
	for (*same = false; i < n; i++) {
		const struct ref *ref = repair_ref(r, i);
		const struct dirent_disk *d;
		uint32_t len;

		if (ref->object != dir || ref->type != ITEM_DIRENT || ref->offset >> 8 != hash)
			break;
		used = true;
		d = ref->flags & REF_DROP ? NULL : (const void *)repair_value(r, ref, &len);
		if (!d || d->namelen != strlen(name) || memcmp(d + 1, name, d->namelen))
			continue;
		*same = true;
		*ino = repair_ino(r, get64(d->ino));
	}
	return used;
}

static void link_to(struct repair *r, uint64_t dir, const char *name, struct rino *in)
{
	uint8_t val[sizeof(struct dirent_disk) + NAME_BYTES];
	struct dirent_disk d = { .ino = put64(in->ino), .type = (uint8_t)IFTODT(in->mode), .namelen = (uint8_t)strlen(name) };

	memcpy(val, &d, sizeof(d));
	memcpy(val + sizeof(d), name, strlen(name));
	put(r, dir, ITEM_DIRENT, check_hash(&r->c, name, strlen(name)) << 8, val, sizeof(d) + strlen(name));
	in->names++;
	in->parent = dir;
	repair_inode(r, dir)->entries++;
	if (S_ISDIR(in->mode))
		repair_inode(r, dir)->subdirs++;
}

/* The directory that is there, or a new one. References are sorted up to n. */
static void lost_found(struct repair *r, uint64_t n)
{
	struct inode_disk d = { .mode = put32(S_IFDIR | 0700), .nlink = put32(2) };
	char name[32] = "lost+found";
	struct rino *in;
	bool same;

	for (unsigned i = 1; bucket_used(r, n, INO_ROOT, name, &same, &r->lost_found); i++) {
		in = same ? repair_inode(r, r->lost_found) : NULL;
		if (in && S_ISDIR(in->mode))
			return;
		snprintf(name, sizeof(name), "lost+found.%u", i);
	}
	r->lost_found = r->watermark++;
	in = repair_add(r, &r->inos, sizeof(*in)); /* greater than all others: sorted still */
	if (!in)
		return;
	*in = (struct rino){ .ino = r->lost_found, .mode = S_IFDIR | 0700, .nlink = 2, .parent = INO_ROOT, .reached = true };
	put(r, r->lost_found, ITEM_INODE, 0, &d, sizeof(d));
	link_to(r, INO_ROOT, name, in);
}

static void save(struct repair *r, uint64_t n, uint64_t ino)
{
	char name[48];
	uint64_t other;
	bool same;

	if (!r->lost_found)
		lost_found(r, n);
	if (r->error)
		return;
	snprintf(name, sizeof(name), "#%llu", ull(ino));
	while (bucket_used(r, n, r->lost_found, name, &same, &other) && strlen(name) < sizeof(name) - 2)
		strcat(name, ".");
	link_to(r, r->lost_found, name, repair_inode(r, ino));
	r->rep->saved++;
	repair_say(r, OTHER, ino, "is without a name: linked as lost+found/%s", name);
}

static void release(struct repair *r, struct rino *in)
{
	for (uint64_t i = repair_find(r, in->ino, 0, 0); i < r->refs.n && repair_ref(r, i)->object == in->ino; i++)
		repair_ref(r, i)->flags |= REF_DROP;
	in->gone = true;
}

/* ---- */

static void count(struct repair *r)
{
	const struct rname *p = r->names.p;

	for (uint64_t i = 0; i < r->names.n; i++) {
		struct rino *in = p[i].ino ? repair_inode(r, p[i].ino) : NULL, *dir = in ? repair_inode(r, p[i].dir) : NULL;

		if (!dir)
			continue;
		in->names++;
		dir->entries++;
		if (S_ISDIR(in->mode)) {
			dir->subdirs++;
			in->parent = p[i].dir;
		}
	}
}

/* What the walk can no more say how many there were: told by repair_build, which sees the old figures. */
void repair_names(struct repair *r)
{
	struct rino *in = r->inos.p;
	uint64_t n = r->refs.n, ninos = r->inos.n;

	collect(r);
	sort(r);
	drop_bad(r);
	drop_doubles(r);
	drop_cycles(r);
	for (uint64_t i = 0; i < ninos; i++) {
		in[i].entries = in[i].subdirs = 0;
		if (in[i].ino == INO_ROOT)
			in[i].parent = INO_ROOT;
	}
	count(r);
	for (uint64_t i = 0; i < ninos && !r->error && !check_stop(&r->c); i++) {
		in = (struct rino *)r->inos.p + i;
		if (in->names || in->gone || in->ino == INO_ROOT)
			continue;
		if (!in->nlink && in->orphan)
			release(r, in);
		else
			save(r, n, in->ino);
	}
	repair_sort(r);
}
