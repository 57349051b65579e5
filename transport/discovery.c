/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the discovery log page with an admin queue and nothing else.
 *  1. The page can change between two Get Log Page commands. GENCTR in its head tells: it is read before and after
 *     the records, and equal means that they belong together (base 5.1.12.3.1).
 *  2. Bytes of the page are the target's: counts are bounded before memory is taken, text is cut and cleaned before
 *     it is shown to anybody. */
#include "transport/discovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/num.h"
#include "transport/ctrl.h"
#include "transport/identity.h"

/* Readings of a page that keeps changing; then -EAGAIN goes to the caller. */
#define TRIES 10
/* 64 MiB of records: more is taken for nonsense. */
#define RECORDS_MAX 65536u
#define PIECE 4096u          /* of one Get Log Page: the controller's data page */

/* entries is owned, count records and one to spare: calloc of 0 may be NULL. */
struct page {
	struct discovery_entry_wire *entries;
	uint64_t generation, count;
};

/* The code is the target's byte; gaps in the tables are reserved codes. */
static const char *name_of(const char *const *names, unsigned n, uint8_t code)
{
	return code < n && names[code] ? names[code] : "unknown";
}

/* Fixed-width text, padded with spaces or zeros; whatever could not be printed becomes '?'. */
static void copy_text(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	to[len] = 0;
	len = strlen(to);
	while (len && to[len - 1] == ' ')
		to[--len] = 0;
	for (size_t i = 0; i < len; i++) {
		if (to[i] < ' ' || to[i] > '~')
			to[i] = '?';
	}
}

/* needs_tls: any SECTYPE but 0 of the TCP transport's TSAS asks for TLS. */
static void convert(const struct discovery_entry_wire *w, struct discovery_entry *e)
{
	static const char *const transports[] = { [1] = "rdma", [2] = "fc", [3] = "tcp", [254] = "loop" };
	static const char *const families[] = { "pcie", "ipv4", "ipv6", "ib", "fibre-channel", [254] = "loop" };
	static const char *const subtypes[] = { [1] = "referral", [2] = "nvme subsystem",
						[3] = "current discovery subsystem" };

	*e = (struct discovery_entry){ .transport = name_of(transports, ARRAY_SIZE(transports), w->trtype),
				       .family = name_of(families, ARRAY_SIZE(families), w->adrfam),
				       .subtype = name_of(subtypes, ARRAY_SIZE(subtypes), w->subtype),
				       .portid = get16(w->portid), .cntlid = get16(w->cntlid), .asqsz = get16(w->asqsz),
				       .needs_tls = w->trtype == NVME_TRTYPE_TCP && w->sectype };
	copy_text(e->traddr, w->traddr, sizeof(w->traddr));
	copy_text(e->trsvcid, w->trsvcid, sizeof(w->trsvcid));
	copy_text(e->subnqn, w->subnqn, sizeof(w->subnqn));
}

/* -EPROTO: a record format that is not 0 (its records may be of another size), or more records than anybody has. */
static int read_head(struct ctrl *c, uint64_t *generation, uint64_t *count)
{
	const struct discovery_log_wire *head = (const struct discovery_log_wire *)c->page->bytes;
	int r = ctrl_get_log(c, NVME_LOG_DISCOVERY, 0, 0, sizeof(*head));

	if (r)
		return r;
	*generation = get64(head->genctr);
	*count = get64(head->numrec);
	if (get16(head->recfmt) || *count > RECORDS_MAX)
		return -EPROTO;
	return 0;
}

/* Piece by piece: the controller's data page is all that a target may write to. */
static int read_entries(struct ctrl *c, struct page *p)
{
	uint64_t len = p->count * sizeof(*p->entries);

	for (uint64_t at = 0; at < len; at += PIECE) {
		uint32_t n = (uint32_t)MIN(len - at, PIECE);
		int r = ctrl_get_log(c, NVME_LOG_DISCOVERY, 0, sizeof(struct discovery_log_wire) + at, n);

		if (r)
			return r;
		memcpy((uint8_t *)p->entries + at, c->page->bytes, n);
	}
	return 0;
}

/* One reading. -EAGAIN: the page changed under it. */
static int read_once(struct ctrl *c, struct page *p)
{
	uint64_t generation, count;
	int r = read_head(c, &p->generation, &p->count);

	if (r)
		return r;
	/* Of the reading before, whose count may have been another. */
	free(p->entries);
	p->entries = calloc(p->count + 1, sizeof(*p->entries));
	if (!p->entries)
		return -ENOMEM;
	r = read_entries(c, p);
	if (!r)
		r = read_head(c, &generation, &count);
	return r ? r : generation != p->generation || count != p->count ? -EAGAIN : 0;
}

/* Whatever is not a change of the page ends it at once. */
static int read_page(struct ctrl *c, struct page *p)
{
	int r = -EAGAIN;

	for (unsigned i = 0; r == -EAGAIN && i < TRIES; i++)
		r = read_once(c, p);
	return r;
}

/* e is lent to each() for the call. */
static int tell(const struct page *p, int (*each)(void *, const struct discovery_entry *), void *arg)
{
	int r = 0;

	for (uint64_t i = 0; !r && i < p->count; i++) {
		struct discovery_entry e;

		convert(&p->entries[i], &e);
		r = each(arg, &e);
	}
	return r;
}

int discover(const struct ns_addr *addr, int (*each)(void *, const struct discovery_entry *), void *arg, char *why,
	     size_t why_len)
{
	struct ns_addr a = *addr;
	char reason[512] = "", name[NQN_MAX + 300];
	struct ctrl_conf conf = { .addr = &a, .discovery = true, .why = reason, .why_len = sizeof(reason) };
	struct page page = { 0 };
	struct ctrl *c = NULL;
	int r;

	conf.ops = wire_find(a.transport, reason, sizeof(reason));
	r = conf.ops ? identity_fill(&a, "", reason, sizeof(reason)) : -EPROTONOSUPPORT;
	if (!r)
		r = conf.ops->domain_open(&conf.domain, &a, reason, sizeof(reason));
	if (!r)
		r = ctrl_open(&c, &conf);
	if (!r) {
		/* What ctrl_open left of its deadline may be little: reading the log gets a full one of its own. */
		c->deadline = clock_now() + a.connect_tmo * NS_PER_S;
		r = read_page(c, &page);
		ctrl_close(c, true);
		if (r)
			snprintf(reason, sizeof(reason), "reading the discovery log failed: %s", err_text(r));
	}
	/* After ctrl_close, which unregisters its page there. */
	if (conf.domain)
		conf.ops->domain_close(conf.domain);
	if (r)
		snprintf(why, why_len, "%s: %s", ns_addr_print(addr, name, sizeof(name)), *reason ? reason : err_text(r));
	else
		r = tell(&page, each, arg);
	free(page.entries);
	return r;
}
