/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of namespace names. Both forms are a list of key=value pairs once the head of the short form is split off, so
 * one table of keys serves both. Every refusal is one line that quotes the wrong part. */
#include "transport/addr.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/num.h"
#include "base/uuid.h"

#define DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"

enum key_kind { KEY_TRANSPORT, KEY_HOST, KEY_TEXT, KEY_PORT, KEY_NQN, KEY_NUMBER, KEY_UUID, KEY_FLAG };

struct key {
	const char *name;
	enum key_kind kind;
	size_t offset, size;     /* of the field */
	size_t present;          /* KEY_UUID: offset of the has_ flag */
	uint32_t min, max;       /* KEY_NUMBER */
};

#define FIELD(f) offsetof(struct ns_addr, f), sizeof(((struct ns_addr *)0)->f)

static const struct key keys[] = {
	{ "transport", KEY_TRANSPORT, FIELD(transport) },
	{ "traddr", KEY_HOST, FIELD(host) },
	{ "trsvcid", KEY_PORT, FIELD(port) },
	{ "nqn", KEY_NQN, FIELD(nqn) },
	{ "nsid", KEY_NUMBER, FIELD(nsid), 0, 1, 0xfffffffe },
	{ "uuid", KEY_UUID, FIELD(uuid), offsetof(struct ns_addr, has_uuid) },
	{ "nguid", KEY_UUID, FIELD(nguid), offsetof(struct ns_addr, has_nguid) },
	{ "hostnqn", KEY_NQN, FIELD(hostnqn) },
	{ "hostid", KEY_UUID, FIELD(hostid), offsetof(struct ns_addr, has_hostid) },
	{ "host-traddr", KEY_HOST, FIELD(host_traddr) },
	{ "host-iface", KEY_TEXT, FIELD(host_iface) },
	{ "hdr-digest", KEY_FLAG, FIELD(hdr_digest) },
	{ "data-digest", KEY_FLAG, FIELD(data_digest) },
	{ "nr-io-queues", KEY_NUMBER, FIELD(nr_io_queues), 0, 1, 1024 },
	{ "queue-size", KEY_NUMBER, FIELD(queue_size), 0, 16, 1024 },
	{ "keep-alive-tmo", KEY_NUMBER, FIELD(keep_alive_tmo), 0, 1, 3600 },
	{ "reconnect-delay", KEY_NUMBER, FIELD(reconnect_delay), 0, 1, 3600 },
	{ "quiesce-time", KEY_NUMBER, FIELD(quiesce_time), 0, 0, 3600 },
	{ "connect-tmo", KEY_NUMBER, FIELD(connect_tmo), 0, 1, 3600 },
};

struct parser {
	struct ns_addr *addr;
	uint32_t seen;           /* bit per entry of keys[]; a key may come once */
	char *why;
	size_t why_len;
};

static int __attribute__((format(printf, 2, 3))) refuse(struct parser *p, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(p->why, p->why_len, format, ap);
	va_end(ap);
	return -EINVAL;
}

void ns_addr_init(struct ns_addr *a)
{
	memset(a, 0, sizeof(*a));
	a->keep_alive_tmo = 5;
	a->reconnect_delay = 1;
	a->connect_tmo = 5;
}

static int set_text(struct parser *p, const struct key *k, char *field, const char *value)
{
	if (!*value)
		return refuse(p, "%s is empty", k->name);
	if (strlen(value) >= k->size)
		return refuse(p, "%s is longer than %zu characters", k->name, k->size - 1);
	strcpy(field, value);
	return 0;
}

/* An address as nvme-cli writes it; brackets around IPv6 are allowed and dropped. */
static int set_host(struct parser *p, const struct key *k, char *field, char *value)
{
	size_t len = strlen(value);

	if (value[0] == '[') {
		if (value[len - 1] != ']')
			return refuse(p, "%s \"%s\" has no closing bracket", k->name, value);
		value[len - 1] = 0;
		value++;
	}
	for (const char *c = value; *c; c++) {
		if (!isgraph((unsigned char)*c) || strchr("[]/?", *c))
			return refuse(p, "%s \"%s\" is not a host name or address", k->name, value);
	}
	return set_text(p, k, field, value);
}

static int set_port(struct parser *p, const struct key *k, char *field, const char *value)
{
	uint64_t n;

	if (u64_parse(value, 65535, &n) || n == 0)
		return refuse(p, "%s \"%s\" is not a port (1 to 65535)", k->name, value);
	snprintf(field, k->size, "%u", (unsigned)n);
	return 0;
}

static int set_nqn(struct parser *p, const struct key *k, char *field, const char *value)
{
	if (strncmp(value, "nqn.", 4) != 0)
		return refuse(p, "%s \"%s\" does not begin with \"nqn.\"", k->name, value);
	return set_text(p, k, field, value);
}

/* 32 hexadecimal digits, with or without dashes (nvme-cli prints an NGUID without). */
static int set_uuid(struct parser *p, const struct key *k, uint8_t *field, const char *value)
{
	char dashed[UUID_TEXT];

	if (strlen(value) == 32) {
		snprintf(dashed, sizeof(dashed), "%.8s-%.4s-%.4s-%.4s-%.12s", value, value + 8, value + 12, value + 16,
			 value + 20);
		value = dashed;
	}
	if (uuid_parse(value, field))
		return refuse(p, "%s \"%s\" is not a UUID (32 hexadecimal digits)", k->name, value);
	*((bool *)p->addr + k->present) = true;
	return 0;
}

static int set_number(struct parser *p, const struct key *k, void *field, const char *value)
{
	uint64_t n;
	uint32_t v;

	if (u64_parse(value, k->max, &n) || n < k->min)
		return refuse(p, "%s \"%s\" is not a number from %u to %u", k->name, value, k->min, k->max);
	v = (uint32_t)n;
	memcpy(field, &v, sizeof(v));
	return 0;
}

static int set_transport(struct parser *p, const char *value)
{
	if (!strcmp(value, "tcp"))
		p->addr->transport = TRANSPORT_TCP;
	else if (!strcmp(value, "rdma"))
		p->addr->transport = TRANSPORT_RDMA;
	else
		return refuse(p, "transport \"%s\" is not known (tcp and rdma are)", value);
	return 0;
}

static int set_value(struct parser *p, const struct key *k, char *value)
{
	void *field = (char *)p->addr + k->offset;

	switch (k->kind) {
	case KEY_TRANSPORT:
		return set_transport(p, value);
	case KEY_HOST:
		return set_host(p, k, field, value);
	case KEY_TEXT:
		return set_text(p, k, field, value);
	case KEY_PORT:
		return set_port(p, k, field, value);
	case KEY_NQN:
		return set_nqn(p, k, field, value);
	case KEY_NUMBER:
		return set_number(p, k, field, value);
	case KEY_UUID:
		return set_uuid(p, k, field, value);
	case KEY_FLAG:
		return 0;
	}
	return -EINVAL;
}

static int set_flag(struct parser *p, const struct key *k, const char *value)
{
	bool on = !value || !strcmp(value, "1") || !strcmp(value, "true") || !strcmp(value, "on");

	if (!on && strcmp(value, "0") && strcmp(value, "false") && strcmp(value, "off"))
		return refuse(p, "%s takes no value \"%s\" (on or off)", k->name, value);
	*((bool *)p->addr + k->offset) = on;
	return 0;
}

/* name is "key" or "key=value"; written to. */
static int set_key(struct parser *p, char *name)
{
	char *value = strchr(name, '=');

	if (value)
		*value++ = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(keys[i].name, name))
			continue;
		if (p->seen & 1u << i)
			return refuse(p, "%s is given twice", name);
		p->seen |= 1u << i;
		if (keys[i].kind == KEY_FLAG)
			return set_flag(p, &keys[i], value);
		if (!value)
			return refuse(p, "%s needs a value (%s=...)", name, name);
		return set_value(p, &keys[i], value);
	}
	return *name ? refuse(p, "key \"%s\" is not known", name) : refuse(p, "an empty key");
}

static int set_keys(struct parser *p, char *list, const char *separators)
{
	int r = 0;

	while (!r && list)
		r = set_key(p, strsep(&list, separators));
	return r;
}

/* Sets one key from outside the list, as if it had been in it. */
static int set_named(struct parser *p, const char *name, const char *value)
{
	char pair[700];

	if (snprintf(pair, sizeof(pair), "%s=%s", name, value) >= (int)sizeof(pair))
		return refuse(p, "%s is too long", name);
	return set_key(p, pair);
}

/* HOST[:PORT], HOST may be [IPv6]. */
static int parse_authority(struct parser *p, char *text)
{
	char *end = text[0] == '[' ? strchr(text, ']') : NULL, *port = strchr(end ? end : text, ':');
	int r;

	if (!*text)
		return refuse(p, "there is no host after \"//\"");
	if (text[0] == '[' && !end)
		return refuse(p, "\"%s\" has no closing bracket", text);
	if (port && !end && strchr(port + 1, ':'))
		return refuse(p, "\"%s\": an IPv6 address stands in brackets here", text);
	if (end && end[1] && end + 1 != port)
		return refuse(p, "\"%s\": only a port may follow the bracket", text);
	if (port)
		*port++ = 0;
	r = set_named(p, "traddr", text);
	return r || !port ? r : set_named(p, "trsvcid", port);
}

/* Behind "nvme+": TRANSPORT://HOST[:PORT][/NQN][?key=value&...]. */
static int parse_short(struct parser *p, char *text)
{
	char *host = strstr(text, "://"), *query, *nqn;
	int r;

	if (!host)
		return refuse(p, "\"://\" is missing after \"nvme+\"");
	*host = 0;
	host += 3;
	query = strchr(host, '?');
	if (query)
		*query++ = 0;
	nqn = strchr(host, '/');
	if (nqn)
		*nqn++ = 0;
	r = set_named(p, "transport", text);
	if (!r)
		r = parse_authority(p, host);
	if (!r && nqn && *nqn)
		r = set_named(p, "nqn", nqn);
	if (!r && query)
		r = set_keys(p, query, "&");
	return r;
}

static bool seen(const struct parser *p, const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!strcmp(keys[i].name, name))
			return p->seen & 1u << i;
	}
	return false;
}

static int complete(struct parser *p, bool discovery)
{
	struct ns_addr *a = p->addr;

	if (!seen(p, "transport"))
		return refuse(p, "transport= is missing");
	if (!a->host[0])
		return refuse(p, "traddr= is missing");
	if (!a->nqn[0] && !discovery)
		return refuse(p, "the subsystem's NQN is missing");
	if (!a->nqn[0])
		strcpy(a->nqn, DISCOVERY_NQN);
	if (!a->port[0])
		strcpy(a->port, discovery && !strcmp(a->nqn, DISCOVERY_NQN) ? "8009" : "4420");
	return 0;
}

int ns_addr_parse(struct ns_addr *a, const char *text, bool discovery, char *why, size_t why_len)
{
	struct parser p = { .addr = a, .why = why, .why_len = why_len };
	char copy[2048];
	int r;

	ns_addr_init(a);
	if (strlen(text) >= sizeof(copy))
		return refuse(&p, "the name of the namespace is too long");
	for (const char *c = text; *c; c++) /* it is repeated in messages, which are one line */
		if (*(const unsigned char *)c < ' ' || *c == 0x7f)
			return refuse(&p, "the name of the namespace holds a control character");
	strcpy(copy, text);
	if (!strncmp(copy, "nvme+", 5))
		r = parse_short(&p, copy + 5);
	else if (strchr(copy, '='))
		r = set_keys(&p, copy, ",");
	else
		r = refuse(&p, "\"%s\" names no namespace (nvme+tcp://HOST[:PORT]/NQN, or transport=tcp,traddr=...)", copy);
	return r ? r : complete(&p, discovery);
}

const char *ns_addr_print(const struct ns_addr *a, char *buf, size_t len)
{
	static const char *const names[] = { "tcp", "rdma", "inproc" };
	bool v6 = strchr(a->host, ':');
	int n = snprintf(buf, len, "nvme+%s://%s%s%s:%s/%s", names[a->transport], v6 ? "[" : "", a->host, v6 ? "]" : "", a->port,
			 a->nqn);

	if (a->nsid && n >= 0 && (size_t)n < len)
		snprintf(buf + n, len - (size_t)n, "?nsid=%u", a->nsid);
	return buf;
}
