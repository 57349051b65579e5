/* SPDX-License-Identifier: Apache-2.0 */
/* nvofsctl: asks. identify a namespace and what is on it, discover what a target has, status of a running mount, scrub. Every
 * answer is made as JSON first; people get the same, laid out by nvofsctl_show.c. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "base/uuid.h"
#include "fs/ctl.h"
#include "fs/fs.h"
#include "tools/json.h"
#include "tools/nvofsctl.h"
#include "transport/discovery.h"
#include "transport/ns.h"

#define EXIT_USAGE 1
#define EXIT_FAILED 2
#define EXIT_DAMAGED 4             /* as fsck's */

static const char usage_text[] =
	"usage: nvofsctl identify NAMESPACE [--json]\n"
	"       nvofsctl discover ADDRESS [--json]\n"
	"       nvofsctl status MOUNTPOINT [--json]\n"
	"       nvofsctl scrub MOUNTPOINT [--rate MB/s] [--json]\n"
	"NAMESPACE is nvme+tcp://HOST[:PORT]/NQN[?nsid=N] or transport=tcp,traddr=HOST,nqn=NQN,...;\n"
	"ADDRESS the same without NQN, or just HOST[:PORT]\n";

static int fail(const char *line)
{
	fprintf(stderr, "nvofsctl: %s\n", line);
	return EXIT_FAILED;
}

static int wrong_use(const char *line)
{
	fail(line);
	return EXIT_USAGE;
}

static int fail_ioctl(const char *mountpoint, int err)
{
	/* Everything else that can be mounted does not know the number, in its own words. */
	bool foreign = err == ENOTTY || err == EINVAL || err == ENOSYS;
	char line[4400];

	snprintf(line, sizeof(line), "%.4096s: %s", mountpoint,
		 foreign ? "is not the root of an nvofs mount" : strerror(err));
	return fail(line);
}

/* ---- scrub ---- */

static uint64_t rate; /* MB/s */

static int scrub(const char *mountpoint, struct json **out)
{
	uint64_t found = 0;
	int err = scrub_run(mountpoint, rate, out, &found);

	if (err)
		return fail_ioctl(mountpoint, err);
	return found ? EXIT_DAMAGED : 0;
}

static bool parse_rate(const char *text)
{
	char *end;

	errno = 0;
	rate = strtoull(text, &end, 10);
	return !errno && *text >= '0' && *text <= '9' && !*end && rate > 0 && rate < 1000000;
}

/* ---- status ---- */

static int status(const char *mountpoint, struct json **out)
{
	static struct ctl_status s;
	char line[4400];
	int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0) {
		snprintf(line, sizeof(line), "%.4096s: %s", mountpoint, strerror(errno));
		return fail(line);
	}
	err = ioctl(fd, CTL_STATUS, &s) ? errno : 0;
	close(fd);
	if (err)
		return fail_ioctl(mountpoint, err);
	s.json[sizeof(s.json) - 1] = 0;
	*out = json_parse(s.json);
	return *out ? 0 : fail("the daemon's answer is not JSON");
}

/* ---- identify ---- */

static void add_id(struct json *j, const char *key, const uint8_t *id, size_t len)
{
	char text[UUID_TEXT], *to = text;
	bool any = false;

	for (size_t i = 0; i < len; i++) {
		to += sprintf(to, "%02x", id[i]);
		any = any || id[i];
	}
	json_add_text(j, key, any ? text : "");
}

static void add_uuid(struct json *j, const uint8_t uuid[16])
{
	static const uint8_t none[16];
	char text[UUID_TEXT];

	json_add_text(j, "ns_uuid", memcmp(uuid, none, 16) ? uuid_print(uuid, text) : "");
}

static void add_info(struct json *j, const struct ns_info *i)
{
	char uuid[UUID_TEXT];

	json_add_text(j, "transport", i->transport);
	json_add_text(j, "address", i->address);
	json_add_text(j, "nqn", i->subnqn);
	json_add_text(j, "hostnqn", i->hostnqn);
	json_add_text(j, "hostid", uuid_print(i->hostid, uuid));
	json_add_text(j, "model", i->model);
	json_add_text(j, "serial", i->serial);
	json_add_text(j, "firmware", i->firmware);
	json_add_number(j, "cntlid", i->cntlid);
	json_add_number(j, "nsid", i->nsid);
	json_add_number(j, "lba_size", i->lba_size);
	json_add_number(j, "nblocks", i->nblocks);
	json_add_number(j, "bytes", i->nblocks * BLOCK_SIZE);
	add_id(j, "nguid", i->nguid, sizeof(i->nguid));
	add_id(j, "eui64", i->eui64, sizeof(i->eui64));
	add_uuid(j, i->uuid);
	json_add_number(j, "max_io_bytes", (uint64_t)i->max_io_blocks * BLOCK_SIZE);
	json_add_number(j, "kato_ms", i->kato_ms);
	json_add_bool(j, "vwc", i->vwc);
	json_add_bool(j, "can_discard", i->can_discard);
	json_add_bool(j, "can_zero", i->can_zero);
}

static void add_holder(struct json *j, const struct heartbeat_disk *h)
{
	static const uint8_t nobody[16];
	char host[sizeof(h->host) + 1] = "";

	if (!memcmp(h->token, nobody, sizeof(nobody)))
		return;
	memcpy(host, h->host, sizeof(h->host));
	json_add_text(j, "holder", host);
	json_add_number(j, "holder_pid", get32(h->pid));
	json_add_number(j, "holder_since", get64(h->since));
}

static void add_probe(struct json *j, struct ns *ns)
{
	struct fs_probe *p = calloc(1, sizeof(*p));
	char uuid[UUID_TEXT], label[sizeof(p->super.label) + 1] = "";
	int err = p ? fs_probe(ns, p) : -ENOMEM;

	json_add_bool(j, "nvofs", !err && p->valid);
	if (err)
		json_add_text(j, "error", err_text(err));
	if (!err && p->valid) {
		memcpy(label, p->super.label, sizeof(p->super.label));
		json_add_text(j, "uuid", uuid_print(p->super.uuid, uuid));
		json_add_text(j, "label", label);
		json_add_number(j, "version", get32(p->super.version));
		json_add_number(j, "gen", get64(p->super.gen));
		json_add_number(j, "epoch", get64(p->super.epoch));
		json_add_bool(j, "clean", get32(p->super.state) & SUPER_CLEAN);
		json_add_number(j, "free_blocks", get64(p->super.free_blocks));
		json_add_number(j, "inodes", get64(p->super.inodes));
		if (p->heartbeat_valid)
			add_holder(j, &p->heartbeat);
	}
	free(p);
}

static void add_list(struct json *j, const struct ns_addr *addr)
{
	struct ns_conf conf = { .addr = *addr, .flags = NS_ADMIN_ONLY };
	struct json *array = json_add_array(j, "namespaces");
	const struct ns_list_entry *list;
	char why[512];
	struct ns *ns;
	unsigned n;

	if (ns_open(&ns, &conf, why, sizeof(why)))
		return;
	n = ns_list(ns, &list);
	for (unsigned i = 0; i < n; i++) {
		struct json *e = json_append(array);

		json_add_number(e, "nsid", list[i].nsid);
		json_add_number(e, "bytes", list[i].bytes);
		json_add_number(e, "lba_size", list[i].lba_size);
		add_id(e, "nguid", list[i].nguid, sizeof(list[i].nguid));
		add_id(e, "eui64", list[i].eui64, sizeof(list[i].eui64));
		add_uuid(e, list[i].uuid);
	}
	ns_close(ns);
}

static int identify(const char *text, struct json **out)
{
	struct ns_conf conf = { .nr_queues = 1 };
	char why[512];
	struct ns *ns;

	if (ns_addr_parse(&conf.addr, text, false, why, sizeof(why)))
		return wrong_use(why);
	if (ns_open(&ns, &conf, why, sizeof(why)))
		return fail(why);
	*out = json_new();
	add_info(*out, ns_info(ns));
	add_probe(*out, ns);
	ns_close(ns);
	add_list(*out, &conf.addr);
	return 0;
}

/* ---- discover ---- */

static int add_entry(void *arg, const struct discovery_entry *e)
{
	struct json *j = json_append(arg);

	json_add_text(j, "transport", e->transport);
	json_add_text(j, "family", e->family);
	json_add_text(j, "subtype", e->subtype);
	json_add_text(j, "traddr", e->traddr);
	json_add_text(j, "trsvcid", e->trsvcid);
	json_add_text(j, "nqn", e->subnqn);
	json_add_number(j, "portid", e->portid);
	json_add_number(j, "cntlid", e->cntlid);
	json_add_bool(j, "needs_tls", e->needs_tls);
	return 0;
}

/* HOST[:PORT] and [IPv6][:PORT] alone mean TCP. */
static const char *full_address(const char *text, char *buf, size_t len)
{
	if (!strstr(text, "://") && !strchr(text, '=')) {
		snprintf(buf, len, "nvme+tcp://%s", text);
		return buf;
	}
	return text;
}

static int discover_all(const char *text, struct json **out)
{
	struct ns_addr addr;
	char why[512], buf[1024];

	if (ns_addr_parse(&addr, full_address(text, buf, sizeof(buf)), true, why, sizeof(why)))
		return wrong_use(why);
	*out = json_new();
	if (discover(&addr, add_entry, json_add_array(*out, "entries"), why, sizeof(why)))
		return fail(why);
	return 0;
}

/* ---- main ---- */

static const struct command {
	const char *name;
	int (*ask)(const char *text, struct json **out);
	void (*show)(struct json *);
} commands[] = {
	{ "status", status, show_status },
	{ "scrub", scrub, show_scrub },
	{ "identify", identify, show_identify },
	{ "discover", discover_all, show_discover },
};

static int run(const struct command *c, const char *text, bool json)
{
	struct json *j = NULL;
	int code = c->ask(text, &j);
	bool answered = !code || code == EXIT_DAMAGED;

	if (answered && json)
		puts(json_print(j));
	else if (answered)
		c->show(j);
	json_free(j);
	if (answered && fflush(stdout))
		code = fail(strerror(errno));
	return code;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL, 'j' }, { "rate", required_argument, NULL, 'r' }, { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'V' }, { 0 } };
	bool json = false;
	int c;

	log_init("nvofsctl", LOG_L_ERROR);
	opterr = 0;
	while ((c = getopt_long(argc, argv, "jr:hV", longs, NULL)) != -1) {
		if (c == 'h')
			return fputs(usage_text, stdout) < 0;
		if (c == 'V')
			return printf("nvofsctl %s\n", NVOFS_VERSION) < 0;
		if (c != 'j' && (c != 'r' || !parse_rate(optarg)))
			return wrong_use("wrong use; 'nvofsctl --help' shows how");
		json |= c == 'j';
	}
	for (size_t i = 0; argc - optind == 2 && i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[optind], commands[i].name))
			return run(&commands[i], argv[optind + 1], json);
	return wrong_use("wrong use; 'nvofsctl --help' shows how");
}
