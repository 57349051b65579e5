/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of nvofs-target; see nvofs-target(1). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include "base/num.h"
#include "tools/target/options.h"

/* Long options without a letter begin beyond what a char can be. */
enum {
	OPT_LISTEN = 256, OPT_NQN, OPT_HOST, OPT_LBA_SIZE, OPT_MDTS, OPT_INCAPSULE, OPT_MAX_QUEUES, OPT_QUEUE_SIZE, OPT_VWC,
	OPT_LOSING, OPT_TOUCH,
	OPT_NO_HDR_DIGEST, OPT_NO_DATA_DIGEST, OPT_CPDA, OPT_MAXH2CDATA, OPT_R2T, OPT_C2H, OPT_SPIN, OPT_CONGESTION,
	OPT_FAULT, OPT_VERSION,
};

static const struct option table[] = {
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "nqn", required_argument, NULL, OPT_NQN },
	{ "host", required_argument, NULL, OPT_HOST },
	{ "lba-size", required_argument, NULL, OPT_LBA_SIZE },
	{ "touch", no_argument, NULL, OPT_TOUCH },
	{ "mdts", required_argument, NULL, OPT_MDTS },
	{ "incapsule", required_argument, NULL, OPT_INCAPSULE },
	{ "max-queues", required_argument, NULL, OPT_MAX_QUEUES },
	{ "queue-size", required_argument, NULL, OPT_QUEUE_SIZE },
	{ "vwc", required_argument, NULL, OPT_VWC },
	{ "lose-cache", no_argument, NULL, OPT_LOSING },
	{ "no-hdr-digest", no_argument, NULL, OPT_NO_HDR_DIGEST },
	{ "no-data-digest", no_argument, NULL, OPT_NO_DATA_DIGEST },
	{ "cpda", required_argument, NULL, OPT_CPDA },
	{ "maxh2cdata", required_argument, NULL, OPT_MAXH2CDATA },
	{ "r2t-size", required_argument, NULL, OPT_R2T },
	{ "c2h-size", required_argument, NULL, OPT_C2H },
	{ "spin-us", required_argument, NULL, OPT_SPIN },
	{ "congestion", required_argument, NULL, OPT_CONGESTION },
	{ "fault", required_argument, NULL, OPT_FAULT },
	{ "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 },
};

static const char help[] =
"Usage: nvofs-target [OPTION...] BACKING...\n"
"Exports memory or files as NVMe namespaces over NVMe/TCP; for trying and testing.\n"
"\n"
"BACKING is ram:SIZE or file:PATH[:SIZE]; each becomes a namespace (1, 2, ...). SIZE takes K, M, G, T.\n"
"\n"
"  --listen ADDRESS:PORT   where hosts connect; port 0 takes any (127.0.0.1:4420)\n"
"  --nqn NQN               of the subsystem (nqn.2026-11.io.nvofs:target)\n"
"  --host NQN              allow this host only; may be repeated\n"
"  --lba-size N            512 or 4096 (4096)\n"
"  --vwc on|off            volatile write cache (on if there is a file)\n"
"  --lose-cache            keep unflushed writes in memory only, so that a kill loses them\n"
"  --touch                 have all memory of ram: before listening\n"
"  --mdts SIZE             data of one command, 4K to 16M (1M)\n"
"  --incapsule SIZE        data in a command capsule, 0 to 64K (8K)\n"
"  --max-queues N          I/O queues of a host, 1 to 128 (64)\n"
"  --queue-size N          entries of a queue, 2 to 1024 (128)\n"
"  --no-hdr-digest, --no-data-digest   refuse what a host asks for\n"
"  --cpda N, --maxh2cdata SIZE, --r2t-size SIZE, --c2h-size SIZE   shape of the PDUs\n"
"  --spin-us N             polling before sleeping (40)\n"
"  --congestion NAME       TCP congestion control\n"
"  --fault FAULT           see nvofs-target(1); may be repeated\n"
"  -q, --quiet; -v, --verbose; -h, --help; --version\n";

/* Exactly one %s in format. */
static int usage(const char *format, const char *text)
{
	fputs("nvofs-target: ", stderr);
	fprintf(stderr, format, text);
	fputs(" (--help tells more)\n", stderr);
	return -EINVAL;
}

/* A number or size (K, M, G, T) in [min, max]; else it says so. *value is only good with 0. */
static int number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	char why[160];

	if (!size_parse(text, value) && *value >= min && *value <= max)
		return 0;
	snprintf(why, sizeof(why), "%s %.40s: from %llu to %llu", name, text, (unsigned long long)min,
		 (unsigned long long)max);
	return usage("%s", why);
}

/* MDTS is an exponent on the wire; the sizes of PDUs keep to powers of two as well, so that they divide it. */
static int power_of_two(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	int err = number(name, text, min, max, value);

	return err ? err : (*value & (*value - 1)) ? usage("%s: not a power of two", name) : 0;
}

/* The discovery NQN is well-known and cannot be anybody's own. */
static int nqn(const char *name, const char *text)
{
	if (strlen(text) < 224 && !strncmp(text, "nqn.", 4) && strcmp(text, NVME_DISCOVERY_NQN))
		return 0;
	return usage("%s: not an NQN (nqn.YYYY-MM.domain:name, at most 223 bytes)", text);
}

/* Options of the subsystem and its controllers; 1: not one of them. Values are stored even if they are refused: the
 * process ends then. */
static int target_option(struct options *o, int opt, uint64_t *n)
{
	struct target_conf *c = &o->target;
	int err = 0;

	switch (opt) {
	case OPT_NQN:
		c->nqn = optarg;
		return nqn("--nqn", optarg);
	case OPT_HOST:
		if (c->nr_hosts == TARGET_HOSTS_MAX)
			return usage("too many --host%s", "");
		c->hosts[c->nr_hosts++] = optarg;
		return nqn("--host", optarg);
	case OPT_LBA_SIZE:
		err = number("--lba-size", optarg, 512, 4096, n);
		c->lba_size = (uint32_t)*n;
		return err ? err : *n != 512 && *n != 4096 ? usage("--lba-size %s: 512 or 4096", optarg) : 0;
	case OPT_MDTS:
		err = power_of_two("--mdts", optarg, 4096, 16 * MiB, n);
		c->mdts = (uint32_t)*n;
		return err;
	case OPT_INCAPSULE:
		err = number("--incapsule", optarg, 0, 64 * KiB, n);
		c->incapsule = (uint32_t)*n;
		return err ? err : *n % 16 ? usage("--incapsule %s: not a multiple of 16", optarg) : 0;
	case OPT_MAX_QUEUES:
		err = number("--max-queues", optarg, 1, TARGET_QUEUES_MAX, n);
		c->max_queues = (uint16_t)*n;
		return err;
	case OPT_QUEUE_SIZE:
		err = number("--queue-size", optarg, 2, 1024, n);
		c->queue_size = (uint16_t)*n;
		return err;
	case OPT_LOSING:
		c->losing = true;
		return 0;
	case OPT_TOUCH:
		c->touch = true;
		return 0;
	case OPT_VWC:
		c->vwc = !strcmp(optarg, "on");
		return c->vwc || !strcmp(optarg, "off") ? 0 : usage("--vwc %s: on or off", optarg);
	default:
		return 1;
	}
}

/* Options of NVMe/TCP; 1: not one of them. Sizes of PDUs are for tests of a host: the defaults send as much as
 * fits. */
static int tcp_option(struct options *o, int opt, uint64_t *n)
{
	struct tcp_conf *c = &o->tcp;
	int err = 0;

	switch (opt) {
	case OPT_NO_HDR_DIGEST:
		c->hdr_digest = false;
		return 0;
	case OPT_NO_DATA_DIGEST:
		c->data_digest = false;
		return 0;
	case OPT_CPDA:
		err = number("--cpda", optarg, 0, TCP_PDU_PDA_MAX, n);
		c->cpda = (uint8_t)*n;
		return err;
	case OPT_MAXH2CDATA:
		err = power_of_two("--maxh2cdata", optarg, TCP_PDU_MAXH2CDATA_MIN, 16 * MiB, n);
		c->max_h2c = (uint32_t)*n;
		return err;
	case OPT_R2T:
		err = power_of_two("--r2t-size", optarg, 512, 16 * MiB, n);
		c->r2t_len = (uint32_t)*n;
		return err;
	case OPT_C2H:
		err = power_of_two("--c2h-size", optarg, 512, 16 * MiB, n);
		c->c2h_len = (uint32_t)*n;
		return err;
	case OPT_SPIN:
		err = number("--spin-us", optarg, 0, 1000, n);
		c->spin_us = (unsigned)*n;
		return err;
	case OPT_CONGESTION:
		c->congestion = optarg;
		return 0;
	default:
		return 1;
	}
}

/* -ECANCELED: all has been said, end with *exit_code. */
static int one_option(struct options *o, int opt, int *exit_code)
{
	char why[256];
	uint64_t n = 0;
	int err;

	switch (opt) {
	case OPT_LISTEN:
		o->listen = optarg;
		return 0;
	case OPT_FAULT:
		return fault_parse(&o->fault, optarg, why, sizeof(why)) ? usage("%s", why) : 0;
	case 'q':
	case 'v':
		o->quiet = opt == 'q';
		o->verbose = opt == 'v';
		return 0;
	case 'h':
	case OPT_VERSION:
		fputs(opt == 'h' ? help : "nvofs-target " NVOFS_VERSION "\n", stdout);
		*exit_code = 0;
		return -ECANCELED;
	}
	err = target_option(o, opt, &n);
	return err <= 0 ? err : tcp_option(o, opt, &n);
}

/* getopt's own messages are off (opterr), since they would not name --help. */
int options_parse(struct options *o, int argc, char **argv, int *exit_code)
{
	int opt;

	*o = (struct options){
		.listen = "127.0.0.1:4420",
		.target = { .nqn = "nqn.2026-11.io.nvofs:target", .lba_size = 4096, .mdts = MiB, .incapsule = 8 * KiB,
			    .max_queues = 64, .queue_size = 128, .vwc = -1 },
		.tcp = { .hdr_digest = true, .data_digest = true, .max_h2c = MiB, .r2t_len = 16 * MiB,
			 .c2h_len = 16 * MiB, .spin_us = 40 },
	};
	*exit_code = EXIT_USAGE;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "qvh", table, NULL)) >= 0) {
		int err = opt == '?' ? usage("%s: unknown option, or its value is missing", argv[optind - 1])
				     : one_option(o, opt, exit_code);

		if (err)
			return err;
	}
	o->backings = argv + optind;
	o->nr_backings = (unsigned)(argc - optind);
	if (!o->nr_backings)
		return usage("no BACKING: ram:SIZE or file:PATH[:SIZE]%s", "");
	if (o->nr_backings > TARGET_NS_MAX)
		return usage("too many BACKINGs%s", "");
	return 0;
}
