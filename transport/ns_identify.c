/* SPDX-License-Identifier: Apache-2.0 */
/* Which namespace is meant, and what it is: the Identify commands for namespaces and the checks of what they say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "transport/ns_impl.h"

#define LBA_SHIFT_MIN 9
#define LBA_SHIFT_MAX 12

static int said(struct ctrl *c, int r, const char *what)
{
	char text[64];

	if (r == -E_NVME_STATUS)
		return ctrl_fail(c, r, "%s failed: %s", what, status_print(c->last_status, text, sizeof(text)));
	return r ? ctrl_fail(c, r, "%s failed: %s", what, err_text(r)) : 0;
}

static int no_such(struct ctrl *c, uint32_t nsid)
{
	return ctrl_fail(c, -E_NO_NSID, "the subsystem has no namespace %u (for this host)", nsid);
}

/* Identifiers, as a list of {type, length, bytes}; a controller older than 1.3 does not know it. */
static int read_descriptors(struct ctrl *c, uint32_t nsid, struct ns_ident *ident)
{
	int r = ctrl_identify(c, NVME_CNS_NS_DESC, nsid, 0);

	if (r)
		return r == -E_NVME_STATUS ? 0 : said(c, r, "Identify namespace descriptors");
	for (size_t at = 0; at + sizeof(struct ns_desc_wire) <= NVME_IDENTIFY_LEN;) {
		const struct ns_desc_wire *d = (const struct ns_desc_wire *)(c->page->bytes + at);

		at += sizeof(*d) + d->nidl;
		if (!d->nidl || at > NVME_IDENTIFY_LEN)
			break;
		if (d->nidt == NVME_NIDT_EUI64 && d->nidl == 8)
			memcpy(ident->eui64, d->nid, 8);
		else if (d->nidt == NVME_NIDT_NGUID && d->nidl == 16)
			memcpy(ident->nguid, d->nid, 16);
		else if (d->nidt == NVME_NIDT_UUID && d->nidl == 16)
			memcpy(ident->uuid, d->nid, 16);
		else if (d->nidt == NVME_NIDT_CSI && d->nidl == 1 && d->nid[0] != NVME_CSI_NVM)
			return ctrl_fail(c, -E_LBA_FORMAT, "namespace %u is not of the NVM command set (but %u)", nsid,
					 d->nid[0]);
	}
	return 0;
}

static int check_format(struct ctrl *c, uint32_t nsid, const struct id_ns_wire *id, struct ns_ident *ident)
{
	const struct lbaf_wire *f = &id->lbaf[NVME_FLBAS_INDEX(id->flbas, id->nlbaf)];

	ident->lba_shift = f->lbads;
	ident->nlbas = get64(id->nsze);
	if (f->lbads < LBA_SHIFT_MIN || f->lbads > LBA_SHIFT_MAX)
		return ctrl_fail(c, -E_LBA_FORMAT, "namespace %u has LBAs of 2^%u bytes (512 to 4096 are supported)", nsid,
				 f->lbads);
	if (get16(f->ms) || id->dps & 7)
		return ctrl_fail(c, -E_LBA_FORMAT, "namespace %u is formatted with %u bytes of metadata for each LBA", nsid,
				 get16(f->ms));
	if (ident->nlbas > UINT64_MAX >> f->lbads)
		return ctrl_fail(c, -E_LBA_FORMAT, "namespace %u claims an impossible size", nsid);
	return 0;
}

int ns_identify(struct ctrl *c, uint32_t nsid, struct ns_ident *ident)
{
	const struct id_ns_wire *id = (const struct id_ns_wire *)c->page->bytes;
	int r = ctrl_identify(c, NVME_CNS_NS, nsid, 0);

	memset(ident, 0, sizeof(*ident));
	if (r == -E_NVME_STATUS && NVME_STATUS_CODE(c->last_status) == NVME_SC_INVALID_NS)
		return no_such(c, nsid);
	if (r)
		return said(c, r, "Identify namespace");
	if (!get64(id->nsze)) /* an inactive one is all zeros */
		return no_such(c, nsid);
	r = check_format(c, nsid, id, ident);
	if (r)
		return r;
	memcpy(ident->nguid, id->nguid, sizeof(ident->nguid));
	memcpy(ident->eui64, id->eui64, sizeof(ident->eui64));
	return read_descriptors(c, nsid, ident);
}

/* Up to NVME_NS_LIST_MAX active namespaces above `after`. */
static int active_list(struct ctrl *c, uint32_t after, uint32_t *nsids, unsigned *count)
{
	int r = said(c, ctrl_identify(c, NVME_CNS_ACTIVE_NS, after, 0), "Identify active namespaces");

	*count = 0;
	for (unsigned i = 0; !r && i < NVME_NS_LIST_MAX; i++) {
		le32 nsid;

		memcpy(&nsid, c->page->bytes + 4 * i, sizeof(nsid));
		if (!get32(nsid) || get32(nsid) <= after) /* the end, or not ascending */
			break;
		after = nsids[i] = get32(nsid);
		*count = i + 1;
	}
	return r;
}

static int several(struct ctrl *c, const uint32_t *nsids, unsigned count)
{
	char list[64] = "";
	int at = 0;

	for (unsigned i = 0; i < MIN(count, 5u); i++)
		at += snprintf(list + at, sizeof(list) - (size_t)at, "%s%u", i ? ", " : "", nsids[i]);
	return ctrl_fail(c, -EINVAL, "the subsystem has %u namespaces (%s%s): say which with nsid=", count, list,
			 count > 5 ? ", ..." : "");
}

static bool matches(const struct ns_addr *a, const struct ns_ident *ident)
{
	return (!a->has_uuid || !memcmp(a->uuid, ident->uuid, 16)) && (!a->has_nguid || !memcmp(a->nguid, ident->nguid, 16));
}

/* One of the list that has the identifier the address asks for. */
static int find_identifier(struct ctrl *c, const struct ns_addr *a, const uint32_t *nsids, unsigned count, uint32_t *nsid)
{
	for (unsigned i = 0; i < count; i++) {
		struct ns_ident ident;
		int r = ns_identify(c, nsids[i], &ident);

		if (r && r != -E_NO_NSID && r != -E_LBA_FORMAT)
			return r;
		if (!r && matches(a, &ident)) {
			*nsid = nsids[i];
			return 0;
		}
	}
	return ctrl_fail(c, -E_NO_NSID, "the subsystem has no namespace with that %s", a->has_uuid ? "UUID" : "NGUID");
}

int ns_find(struct ctrl *c, const struct ns_addr *a, uint32_t *nsid)
{
	uint32_t nsids[NVME_NS_LIST_MAX];
	unsigned count;
	int r;

	if (a->nsid && (a->has_uuid || a->has_nguid))
		return find_identifier(c, a, &a->nsid, 1, nsid);
	*nsid = a->nsid;
	if (a->nsid)
		return 0;
	r = active_list(c, 0, nsids, &count);
	if (r)
		return r;
	if (a->has_uuid || a->has_nguid)
		return find_identifier(c, a, nsids, count, nsid);
	if (count == 0)
		return ctrl_fail(c, -E_NO_NSID, "the subsystem has no namespace (for this host)");
	*nsid = nsids[0];
	return count == 1 ? 0 : several(c, nsids, count);
}

int ns_identify_all(struct ctrl *c, struct ns_list_entry **list, unsigned *count)
{
	uint32_t nsids[NVME_NS_LIST_MAX];
	unsigned n;
	int r = active_list(c, 0, nsids, &n);

	*count = 0;
	*list = r ? NULL : calloc(n + 1, sizeof(**list));
	if (!*list)
		return r ? r : -ENOMEM;
	for (unsigned i = 0; !r && i < n; i++) {
		struct ns_list_entry *e = &(*list)[*count];
		struct ns_ident ident;

		r = ns_identify(c, nsids[i], &ident);
		if (r == -E_NO_NSID || r == -E_LBA_FORMAT) { /* went away, or listed with what is known of its size */
			r = 0;
			if (!ident.nlbas)
				continue;
		}
		*e = (struct ns_list_entry){ .nsid = nsids[i], .lba_size = 1u << (ident.lba_shift & 31),
					     .bytes = ident.nlbas << (ident.lba_shift & 31) };
		memcpy(e->nguid, ident.nguid, 16);
		memcpy(e->eui64, ident.eui64, 8);
		memcpy(e->uuid, ident.uuid, 16);
		(*count)++;
	}
	return r;
}
