/* SPDX-License-Identifier: Apache-2.0 */
/* A directory read in many small calls while names come and go (world.h): a name that was there all the time is found
 * exactly once, whatever else happened; others at most once more than they were made. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "tests/sim/world.h"

void world_list_drop(struct world *w)
{
	if (!w->listing)
		return;
	free(w->listing->entries);
	free(w->listing);
	free(w->changed_names);
	model_exit(&w->listed_from);
	w->listing = NULL;
	w->changed_names = NULL;
	w->nchanged = 0;
	w->cookie = 0;
}

static const struct mentry *find(const struct mnode *dir, const char *name)
{
	for (size_t i = 0; i < dir->nentries; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

static bool has_changed(const struct world *w, const char *name)
{
	for (size_t i = 0; i < w->nchanged; i++)
		if (strcmp(w->changed_names[i], name) == 0)
			return true;
	return false;
}

static void note(struct world *w, const char *name)
{
	if (has_changed(w, name))
		return;
	w->changed_names = realloc(w->changed_names, (w->nchanged + 1) * sizeof(*w->changed_names));
	strcpy(w->changed_names[w->nchanged++], name);
}

/* What is different now from when the reading began. */
static void note_changes(struct world *w, const struct mnode *then, const struct mnode *now)
{
	for (size_t i = 0; i < then->nentries; i++) {
		const struct mentry *e = find(now, then->entries[i].name);

		if (!e || e->ino != then->entries[i].ino)
			note(w, then->entries[i].name);
	}
	for (size_t i = 0; i < now->nentries; i++)
		if (!find(then, now->entries[i].name))
			note(w, now->entries[i].name);
}

static int wrong(const struct world *w, const char *what, const char *name)
{
	fprintf(stderr, "step %" PRIu64 ": reading directory %" PRIu64 " while it changes: '%s' %s\n", w->steps, w->listing->ino,
		name, what);
	return -1;
}

static int judge(const struct world *w, const struct mnode *then)
{
	for (size_t i = 0; i < then->nentries; i++) {
		const char *name = then->entries[i].name;
		unsigned found = 0;

		for (size_t k = 0; k < w->listing->nentries; k++)
			found += strcmp(w->listing->entries[k].name, name) == 0;
		if (!has_changed(w, name) && found != 1)
			return wrong(w, found ? "is found twice" : "is not found", name);
	}
	for (size_t k = 0; k < w->listing->nentries; k++)
		if (!find(then, w->listing->entries[k].name) && !has_changed(w, w->listing->entries[k].name))
			return wrong(w, "was never there", w->listing->entries[k].name);
	return 0;
}

static void start(struct world *w)
{
	size_t i = rng_below(&w->rng, w->m.n);
	const struct mnode *n = rng_one_in(&w->rng, 2) ? model_get(&w->m, INO_ROOT) : w->m.nodes[i];

	if (!S_ISDIR(n->mode) || !n->nlink)
		return;
	w->listing = calloc(1, sizeof(*w->listing));
	w->listing->ino = n->ino;
	model_copy(&w->listed_from, &w->m);
}

int world_list_step(struct world *w)
{
	const struct mnode *then, *now;
	int r;

	if (!w->listing) {
		if (rng_one_in(&w->rng, 10))
			start(w);
		return 0;
	}
	then = model_get(&w->listed_from, w->listing->ino);
	now = model_get(&w->m, w->listing->ino);
	if (!now || !now->nlink) {
		world_list_drop(w);
		return 0;
	}
	note_changes(w, then, now);
	r = sim_readdir_some(w->s, w->listing->ino, &w->cookie, (unsigned)rng_range(&w->rng, 1, 3), w->listing);
	if (r > 0)
		return 0;
	if (r == 0)
		r = judge(w, then);
	else
		r = w->tolerant ? 0 : wrong(w, err_name(r), "(the directory)");
	world_list_drop(w);
	return r;
}
