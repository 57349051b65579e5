/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's mailbox: any thread posts letters, one thread reads them. Letters are embedded in their senders'
 * objects (no allocation) and belong to the mailbox until they are taken. The eventfd is readable while there is mail;
 * the owner who polls without sleeping pays one relaxed load. */
#ifndef NVOFS_BASE_MAILBOX_H
#define NVOFS_BASE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

struct letter {
	struct letter *next;
	void (*deliver)(struct letter *); /* called by the owner's thread */
};

struct mailbox {
	_Atomic(struct letter *) head; /* a stack; taken whole and reversed */
	int fd;                        /* eventfd, non-blocking */
};

int mailbox_init(struct mailbox *);
void mailbox_exit(struct mailbox *);
/* Any thread. Wakes the owner if the mailbox was empty. */
void mailbox_post(struct mailbox *, struct letter *);
/* Owner: delivers everything that was posted, oldest first; returns whether there was any. */
bool mailbox_deliver(struct mailbox *);

#endif
