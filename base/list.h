/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked list with a head of the same type. A link that is on no list points at itself. */
#ifndef NVOFS_BASE_LIST_H
#define NVOFS_BASE_LIST_H

#include <stdbool.h>
#include "base/num.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_insert(struct list *l, struct list *prev, struct list *next)
{
	l->prev = prev;
	l->next = next;
	prev->next = l;
	next->prev = l;
}
static inline void list_push(struct list *head, struct list *l) { list_insert(l, head, head->next); }   /* front */
static inline void list_append(struct list *head, struct list *l) { list_insert(l, head->prev, head); } /* back */
static inline void list_del(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}
static inline struct list *list_pop(struct list *head) /* front, or NULL */
{
	struct list *l = head->next;

	if (l == head)
		return NULL;
	list_del(l);
	return l;
}
/* Moves all of from to the back of to. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}
#define list_entry(l, type, member) container_of(l, type, member)
#define list_for_each(l, head) for (struct list *l = (head)->next; l != (head); l = l->next)
#define list_for_each_safe(l, head) \
	for (struct list *l = (head)->next, *l##_next = l->next; l != (head); l = l##_next, l##_next = l->next)

#endif
