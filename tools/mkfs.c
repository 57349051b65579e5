/* SPDX-License-Identifier: Apache-2.0 */
/* mkfs.nvofs: makes a file system on a namespace, unless something is there. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/log.h"
#include "base/uuid.h"
#include "fs/fs.h"
#include "tools/recognise.h"
#include "tools/tool.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define LABEL_BYTES 63u

struct mkfs {
	const char *label;
	uint8_t uuid[16];
	bool has_uuid, dry, quiet, verbose, force;
	bool wipe;              /* something foreign is there */
	struct tool_ns t;
	struct tool_progress progress;
};

static const char usage_text[] =
	"usage: mkfs.nvofs [-L LABEL] [-U UUID] [-n] [-q] [-v] [-f] NAMESPACE\n"
	"  -L LABEL  at most 63 bytes of UTF-8      -n  dry run: write nothing\n"
	"  -U UUID   instead of a random one        -q  no output but errors\n"
	"  -f        even if something is there     -v  tell the layout\n"
	"NAMESPACE is nvme+tcp://HOST[:PORT]/NQN[?nsid=N] or transport=tcp,traddr=HOST,nqn=NQN,...\n";

/* Valid UTF-8 (RFC 3629: no surrogates, no overlong forms) without control characters. */
static bool label_valid(const char *text)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const uint8_t *p = (const uint8_t *)text;

	while (*p) {
		unsigned more = *p < 0x80 ? 0 : *p < 0xc2 ? 9 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : 9;
		uint32_t c = more ? *p & (0x3fu >> more) : *p;

		if (more == 9)
			return false;
		p++;
		for (unsigned i = 0; i < more; i++, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*p & 0x3f);
		}
		if (c < 0x20 || c == 0x7f || c < least[more] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
			return false;
	}
	return true;
}

static int option_take(struct mkfs *m, int option)
{
	switch (option) {
	case 'L':
		m->label = optarg;
		if (strlen(optarg) <= LABEL_BYTES && label_valid(optarg))
			return 0;
		log_error("-L: a label is at most %u bytes of UTF-8 without control characters", LABEL_BYTES);
		return -EINVAL;
	case 'U':
		m->has_uuid = strcmp(optarg, "random") != 0;
		if (!m->has_uuid || !uuid_parse(optarg, m->uuid))
			return 0;
		log_error("-U: '%s' is not a UUID", optarg);
		return -EINVAL;
	case 'n':
		m->dry = true;
		return 0;
	case 'q':
		m->quiet = true;
		return 0;
	case 'v':
		m->verbose = true;
		return 0;
	case 'f':
		m->force = true;
		return 0;
	}
	return -EINVAL;
}

/* 0, or the exit code plus 1 if the program is to end here. */
static int options_parse(struct mkfs *m, int argc, char **argv)
{
	static const struct option longs[] = { { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 } };
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":L:U:nqvfFhV", longs, NULL)) != -1) {
		if (option == 'h' || option == 'V') {
			fputs(option == 'h' ? usage_text : "mkfs.nvofs " NVOFS_VERSION "\n", stdout);
			return 1;
		}
		if (option == '?' || option == ':') {
			log_error(option == ':' ? "option %s needs a value (--help tells more)" :
				  "unknown option %s (--help tells more)", argv[optind - 1]);
			return EXIT_USAGE + 1;
		}
		if (option_take(m, option == 'F' ? 'f' : option))
			return EXIT_USAGE + 1;
	}
	if (optind + 1 == argc)
		return 0;
	log_error(optind == argc ? "no NAMESPACE was given (--help tells more)" : "more than one NAMESPACE was given");
	return EXIT_USAGE + 1;
}

/* An nvofs file system, or what is left of one? 0: none, or -f; the holder of a mounted one is never overridden. */
static int refuse_own(struct mkfs *m)
{
	struct fs_probe probe;
	char text[UUID_TEXT], who[256];
	int r = fs_probe(m->t.ns, &probe);

	if (r && r != -E_NEWER && r != -E_BAD_SUPER) {
		log_error("%s: cannot read what is there: %s", m->t.text, err_text(r));
		return r;
	}
	if (probe.valid || probe.heartbeat_valid) {
		int held = fs_holder(m->t.ns, &probe, who, sizeof(who));

		if (held) {
			log_error("%s: not formatted: %s", m->t.text, held == -E_IN_USE ? who : err_text(held));
			return held;
		}
	}
	if (m->force || (!r && !probe.valid))
		return 0;
	if (r)
		log_error("%s: %s (an nvofs file system; -f formats all the same)", m->t.text, err_text(r));
	else
		log_error("%s: contains an nvofs file system%s%.64s%s, %s (-f formats all the same)", m->t.text,
			  probe.super.label[0] ? " labelled '" : "", probe.super.label, probe.super.label[0] ? "'" : "",
			  uuid_print(probe.super.uuid, text));
	return -EEXIST;
}

/* With -f what is there is wiped later; what cannot be read then does not matter. */
static int refuse_others(struct mkfs *m)
{
	char what[256];
	int r = recognise(m->t.ns, what, sizeof(what));

	m->wipe = r != 0;
	if (m->force)
		return 0;
	if (r == 1)
		log_error("%s: contains: %s (-f formats all the same)", m->t.text, what);
	else if (r < 0)
		log_error("%s: %s", m->t.text, what);
	return r == 1 ? -EEXIST : r;
}

static void progress(void *arg, unsigned done, unsigned total)
{
	tool_progress_show(arg, done, total);
}

static void tell(const struct mkfs *m)
{
	const struct ns_info *info = ns_info(m->t.ns);
	char size[32], uuid[UUID_TEXT];
	uint64_t groups = DIV_UP(info->nblocks, GROUP_BLOCKS);

	if (m->quiet)
		return;
	printf("%s: %s %s, UUID %s%s%s%s\n", m->t.text,
	       m->dry ? "would make a file system of" : "made a file system of",
	       size_print(info->nblocks * FS_BLOCK, size, sizeof(size)), uuid_print(m->uuid, uuid),
	       m->label ? ", label '" : "", m->label ? m->label : "", m->label ? "'" : "");
	if (!m->verbose)
		return;
	printf("  %llu blocks of %u bytes in %llu groups of %u; LBAs of %u bytes; nodes of %u KiB\n",
	       (unsigned long long)info->nblocks, FS_BLOCK, (unsigned long long)groups, GROUP_BLOCKS, info->lba_size,
	       NODE_SIZE / 1024);
	printf("  %s %s, %s volatile write cache\n", info->model, info->serial, info->vwc ? "with a" : "without");
}

/* Zeros where libblkid finds signatures, so that nothing takes the namespace for what it was: the head, and the end,
 * where backup headers and RAID metadata lie. fs_format clears only what nvofs itself would look at. */
static int wipe(struct mkfs *m, char *why, size_t len)
{
	static const uint8_t zeros[1 * MiB];
	const uint32_t n = sizeof(zeros) / BLOCK_SIZE;
	uint64_t nblocks = ns_info(m->t.ns)->nblocks;
	int r = ns_write_sync(m->t.ns, nblocks - n, n, zeros, 0);

	for (uint64_t b = 0; b < RECOGNISE_HEAD && !r; b += n)
		r = ns_write_sync(m->t.ns, b, n, zeros, 0);
	if (!r)
		r = ns_flush_sync(m->t.ns);
	if (r)
		snprintf(why, len, "wiping what was there: %s", err_text(r));
	return r;
}

static int format(struct mkfs *m)
{
	struct mkfs_conf conf = { .ns = m->t.ns, .cache = m->t.cache, .label = m->label ? m->label : "",
		.root_uid = getuid(), .root_gid = getgid(), .progress = progress, .progress_arg = &m->progress };
	char why[512];
	int r;

	memcpy(conf.uuid, m->uuid, sizeof(conf.uuid));
	tool_progress_init(&m->progress, "formatting", !m->quiet);
	r = m->wipe ? wipe(m, why, sizeof(why)) : 0;
	if (!r)
		r = fs_format(&conf, why, sizeof(why));
	tool_progress_end(&m->progress);
	if (r)
		log_error("%s: %s", m->t.text, why);
	return r;
}

static int run(struct mkfs *m)
{
	uint64_t nblocks = ns_info(m->t.ns)->nblocks;
	char has[32];
	int r;

	if (nblocks < MIN_BLOCKS) {
		log_error("%s: too small: it has %s, a file system needs %llu MiB", m->t.text,
			  size_print(nblocks * FS_BLOCK, has, sizeof(has)), MIN_BLOCKS * FS_BLOCK / MiB);
		return -E_TOO_SMALL;
	}
	r = refuse_own(m);
	if (!r)
		r = refuse_others(m);
	if (!r && !m->dry)
		r = format(m);
	if (!r)
		tell(m);
	return r;
}

int main(int argc, char **argv)
{
	struct mkfs m = { 0 };
	int r;

	log_init("mkfs.nvofs", LOG_L_WARN);
	r = options_parse(&m, argc, argv);
	if (r)
		return r - 1;
	if (!m.has_uuid)
		uuid_random(m.uuid);
	r = tool_ns_open(&m.t, argv[optind]);
	if (r)
		return r == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	r = run(&m);
	tool_ns_close(&m.t);
	return r ? EXIT_FAILED : 0;
}
