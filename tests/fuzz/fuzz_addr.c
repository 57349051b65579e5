/* SPDX-License-Identifier: Apache-2.0 */
/* Names of namespaces from anybody: what parses, prints to something that parses to the same; what does not, is refused in
 * one line. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "base/uuid.h"
#include "tests/fuzz/fuzz.h"
#include "transport/addr.h"

static const char *const seeds[] = {
	"nvme+tcp://host.example.org:4420/nqn.2026-11.io.nvofs:test?nsid=3&hdr-digest&nr-io-queues=4",
	"nvme+tcp://[fe80::1%eth0]:4420/nqn.2014-08.org.nvmexpress:uuid:01234567-89ab-cdef-0123-456789abcdef",
	"nvme+rdma://10.0.0.1/nqn.2026-11.io.nvofs:test?hostnqn=nqn.2026-11.io.nvofs:host&keep-alive-tmo=5",
	"transport=tcp,traddr=127.0.0.1,trsvcid=4420,nqn=nqn.2026-11.io.nvofs:test,nsid=1,hdr-digest,data-digest",
	"transport=tcp,traddr=::1,nqn=nqn.a:b,hostid=01234567-89ab-cdef-0123-456789abcdef,reconnect-delay=2,queue-size=64",
};

size_t fuzz_seed(unsigned n, uint8_t *buf)
{
	if (n >= ARRAY_SIZE(seeds))
		return 0;
	memcpy(buf, seeds[n], strlen(seeds[n]));
	return strlen(seeds[n]);
}

static void parse(const char *text, bool discovery)
{
	char why[200] = "", printed[1024];
	struct ns_addr a, b;
	int r = ns_addr_parse(&a, text, discovery, why, sizeof(why));

	assert(memchr(why, 0, sizeof(why)));
	if (r) {
		assert(r < 0 && why[0] && !strchr(why, '\n'));
		return;
	}
	assert(memchr(a.host, 0, sizeof(a.host)) && memchr(a.nqn, 0, sizeof(a.nqn)) && memchr(a.port, 0, sizeof(a.port)));
	assert(a.host[0]);
	if (strpbrk(a.host, "/?[]") || strpbrk(a.nqn, "?")) /* possible in nvme-cli's form; the short form is for messages */
		return;
	ns_addr_print(&a, printed, sizeof(printed));
	if (ns_addr_parse(&b, printed, discovery, why, sizeof(why)))
		fprintf(stderr, "%s -> %s: %s\n", text, printed, why), abort();
	assert(!strcmp(a.host, b.host) && !strcmp(a.nqn, b.nqn) && !strcmp(a.port, b.port) && a.nsid == b.nsid);
}

void fuzz_one(const uint8_t *data, size_t len)
{
	char text[FUZZ_MAX + 1];
	uint8_t uuid[16];
	uint64_t bytes;

	memcpy(text, data, len);
	text[len] = 0;
	parse(text, false);
	parse(text, true);
	size_parse(text, &bytes);
	uuid_parse(text, uuid);
}
