/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mailbox.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *m)
{
	atomic_init(&m->head, NULL);
	m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return m->fd < 0 ? -errno : 0;
}

void mailbox_exit(struct mailbox *m)
{
	close(m->fd);
}

static void kick(struct mailbox *m)
{
	uint64_t one = 1;

	while (write(m->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void mailbox_post(struct mailbox *m, struct letter *l)
{
	struct letter *head = atomic_load_explicit(&m->head, memory_order_relaxed);

	do
		l->next = head;
	while (!atomic_compare_exchange_weak_explicit(&m->head, &head, l, memory_order_acq_rel, memory_order_relaxed));
	if (!head) /* whoever made it non-empty wakes; later letters ride along */
		kick(m);
}

bool mailbox_deliver(struct mailbox *m)
{
	struct letter *stack, *fifo = NULL;
	uint64_t count;

	if (!atomic_load_explicit(&m->head, memory_order_relaxed))
		return false;
	/* Drain the eventfd first: a letter posted after the exchange below kicks again. */
	while (read(m->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	stack = atomic_exchange_explicit(&m->head, NULL, memory_order_acq_rel);
	while (stack) {
		struct letter *l = stack;

		stack = l->next;
		l->next = fifo;
		fifo = l;
	}
	while (fifo) {
		struct letter *l = fifo;

		fifo = l->next;
		l->deliver(l);
	}
	return true;
}
