/* SPDX-License-Identifier: Apache-2.0 */
/* The subsystem: its namespaces with identities that survive a restart, and the end of associations. */
#include <errno.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "base/siphash.h"
#include "tools/target/target.h"

/* 64 bits from what makes the namespace the same one after a restart: NQN, backing, number. */
static uint64_t identity(const struct target *t, const struct target_ns *ns, uint8_t salt)
{
	const uint8_t key[16] = { 'n', 'v', 'o', 'f', 's', '-', 't', 'a', 'r', 'g', 'e', 't', salt };
	char text[8192];
	int len = snprintf(text, sizeof(text), "%s\n%s\n%u", t->conf.nqn, ns->backing.name, ns->nsid);

	return siphash24(key, text, MIN((size_t)len, sizeof(text) - 1));
}

/* Three identifiers, each with the bits that its own standard wants; a host compares them after a reconnect. */
static void name_ns(const struct target *t, struct target_ns *ns)
{
	uint64_t a = identity(t, ns, 1), b = identity(t, ns, 2), c = identity(t, ns, 3), d = identity(t, ns, 4);

	memcpy(ns->uuid, &a, 8);
	memcpy(ns->uuid + 8, &b, 8);
	ns->uuid[6] = (ns->uuid[6] & 0x0f) | 0x80; /* version 8: made by us (RFC 9562) */
	ns->uuid[8] = (ns->uuid[8] & 0x3f) | 0x80;
	memcpy(ns->nguid, &c, 8);
	memcpy(ns->nguid + 8, &d, 8);
	ns->nguid[0] |= 1; /* never all zeros, which would mean none */
	memcpy(ns->eui64, &d, 8);
	ns->eui64[0] = (uint8_t)((ns->eui64[0] | 2) & ~1); /* locally administered */
}

/* Counted (nr_ns) as soon as its backing is open, so that target_exit closes it. A rest smaller than an LBA is not
 * used. With --vwc left open, one file makes all of it have a cache: VWC is the controller's, not a namespace's. */
static int add_ns(struct target *t, const char *spec, char *why, size_t why_len)
{
	struct target_ns *ns = &t->ns[t->nr_ns];
	int err = backing_open(&ns->backing, spec, t->conf.losing, why, why_len);

	if (err)
		return err;
	ns->nsid = ++t->nr_ns;
	ns->nblocks = ns->backing.size >> t->lba_shift;
	if (!ns->nblocks) {
		snprintf(why, why_len, "%s: smaller than one block of %u bytes", spec, t->conf.lba_size);
		return -ENOSPC;
	}
	name_ns(t, ns);
	if (t->conf.touch)
		backing_touch(&ns->backing);
	if (!ns->backing.ram && t->conf.vwc < 0)
		t->vwc = true;
	return 0;
}

int target_init(struct target *t, const struct target_conf *conf, char *const *backings, unsigned nr, char *why,
		size_t why_len)
{
	memset(t, 0, sizeof(*t));
	t->conf = *conf;
	t->lba_shift = order_up(conf->lba_size);
	t->vwc = conf->vwc > 0;
	list_init(&t->ctrls);
	pthread_mutex_init(&t->lock, NULL);
	for (unsigned i = 0; i < nr; i++) {
		int err = add_ns(t, backings[i], why, why_len);

		if (err) {
			target_exit(t);
			return err;
		}
	}
	if (nr)
		snprintf(t->serial, sizeof(t->serial), "%016llx", (unsigned long long)identity(t, &t->ns[0], 5));
	return 0;
}

/* No queue is left, so nothing can come between the flush and the end. */
void target_exit(struct target *t)
{
	for (unsigned i = 0; i < t->nr_ns; i++) {
		if (t->ns[i].backing.fd >= 0 && backing_flush(&t->ns[i].backing))
			log_error("%s: flushing failed", t->ns[i].backing.name);
		backing_close(&t->ns[i].backing);
	}
	t->nr_ns = 0;
	pthread_mutex_destroy(&t->lock);
}

struct target_ns *target_find_ns(struct target *t, uint32_t nsid)
{
	return nsid && nsid <= t->nr_ns ? &t->ns[nsid - 1] : NULL;
}

/* target->lock held: queues leave under it, so none of these goes meanwhile. */
static void disconnect_all(struct ctrl *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(c->queues); i++)
		if (c->queues[i])
			c->queues[i]->front->disconnect(c->queues[i]);
}

void target_drop_all(struct target *t)
{
	pthread_mutex_lock(&t->lock);
	list_for_each(l, &t->ctrls)
		disconnect_all(list_entry(l, struct ctrl, link));
	pthread_mutex_unlock(&t->lock);
}

/* A host that is late is disconnected, and its controller goes with its queues; until they have left it is found
 * expired again, which does no harm. In ms, rounded up. */
int target_tick(struct target *t)
{
	uint64_t now = clock_now(), next = UINT64_MAX;

	pthread_mutex_lock(&t->lock);
	list_for_each(l, &t->ctrls) {
		struct ctrl *c = list_entry(l, struct ctrl, link);
		uint64_t due = c->seen + c->kato_ms * NS_PER_MS;

		if (!c->kato_ms || c->dead)
			continue;
		if (due <= now) {
			log_warn("controller %u: keep-alive timer of %u ms expired, host %s", c->cntlid, c->kato_ms,
				 c->hostnqn);
			disconnect_all(c);
		}
		next = MIN(next, due > now ? due - now : NS_PER_S);
	}
	pthread_mutex_unlock(&t->lock);
	return next == UINT64_MAX ? -1 : (int)MIN(next / NS_PER_MS + 1, 1000);
}

/* No DNR where another try may help (space can be made); media errors are left to the host to judge. */
uint16_t target_status(int err, bool write)
{
	switch (err) {
	case 0:
		return 0;
	case -ENOSPC:
	case -EDQUOT:
		return NVME_SC_CAPACITY;
	case -EROFS:
		return NVME_SC_NS_WRITE_PROTECTED | NVME_STATUS_DNR;
	case -ENOMEM:
		return NVME_SC_INTERNAL;
	default:
		return write ? NVME_SC_WRITE_FAULT : NVME_SC_READ_ERROR;
	}
}
