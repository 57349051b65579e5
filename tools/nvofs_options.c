/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of nvofs and of mount.nvofs. An option of -o is one of: ours; libfuse's or the kernel's (handed on);
 * a key of the namespace's name (added to it); mount(8)'s own business (accepted, without effect). */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "tools/nvofs.h"

#define LONG_TIME (365.0 * 24 * 3600) /* nobody else changes what the kernel caches */
#define CACHE_DEFAULT (256 * MiB)
/* The smallest arena that there is (struct cache_conf). */
#define CACHE_LEAST (4 * MiB)
#define CACHE_MOST (64 * GiB)

static const char usage_text[] =
	"usage: nvofs NAMESPACE MOUNTPOINT [-o OPTION[,OPTION]...] [-f] [-v]\n"
	"       mount -t nvofs NAMESPACE MOUNTPOINT [-o OPTION[,OPTION]...]\n"
	"NAMESPACE is nvme+tcp://HOST[:PORT]/NQN[?nsid=N] or transport=tcp,traddr=HOST,nqn=NQN,...\n"
	"  -f  stay in the foreground          -v  log more\n"
	"options: ro, cache=SIZE, workers=N, commit=SECONDS, log=FILE, nowriteback, direct_io,\n"
	"  entry_timeout=S, negative_timeout=S, attr_timeout=S, allow_other, private, nopin,\n"
	"  suid, dev, noexec, sync, noatime, ..., and the keys of NAMESPACE (hdr-digest, data-digest,\n"
	"  keep-alive-tmo=S, ...). nvofs(8) has them all.\n";

/* address: the namespace's name with the keys from -o added to it. log_file and the like borrow argv. */
struct parser {
	struct nvofs_options *o;
	char address[1024];
	char *why;
	size_t why_len;
};

/* One line for the user; always -EINVAL. */
static int __attribute__((format(printf, 2, 3))) refuse(struct parser *p, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(p->why, p->why_len, format, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- one option of -o ---- */

/* By name, with or without a value. */
static bool listed(const char *const *list, size_t n, const char *option, size_t name_len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(list[i]) == name_len && !strncmp(list[i], option, name_len))
			return true;
	return false;
}

/* Accepted without effect: mount(8) passes on what stands in fstab. Access times, for one, are never kept here. */
static bool is_mounts_business(const char *option, size_t name_len)
{
	static const char *const names[] = {
		"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev",
		"comment",
		"rw", "atime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
		"diratime", "silent", "loud", "iversion", "noiversion", "mand", "nomand", "uhelper", "helper",
		"nosymfollow",
		"fsname", "subtype", "default_permissions", "nonempty", "writeback", "pin",
	};

	return !strncmp(option, "x-", 2) || !strncmp(option, "X-", 2) ||
	       listed(names, ARRAY_SIZE(names), option, name_len);
}

/* Handed on: libfuse sorts out which of these are its own and which the kernel's. */
static bool is_fuses(const char *option, size_t name_len)
{
	static const char *const names[] = { "suid", "nosuid", "dev", "nodev", "exec", "noexec", "async", "sync",
					     "noatime", "dirsync", "allow_root", "auto_unmount", "context", "fscontext",
					     "defcontext", "rootcontext" };

	return listed(names, ARRAY_SIZE(names), option, name_len);
}

/* nvme-cli's names. What identifies the target (transport, traddr, nqn) belongs into NAMESPACE only. */
static bool is_namespaces(const char *option, size_t name_len)
{
	static const char *const names[] = { "nsid", "uuid", "nguid", "hostnqn", "hostid", "host-traddr", "host-iface",
					     "hdr-digest", "data-digest", "nr-io-queues", "queue-size",
					     "keep-alive-tmo", "reconnect-delay", "quiesce-time", "connect-tmo" };

	return listed(names, ARRAY_SIZE(names), option, name_len);
}

/* Refuses, rather than cuts off: half an option would mean something else. */
static int append(struct parser *p, char *to, size_t len, const char *separator, const char *text)
{
	size_t at = strlen(to);

	if (at + strlen(separator) + strlen(text) + 1 > len)
		return refuse(p, "the options are too long");
	snprintf(to + at, len - at, "%s%s", separator, text);
	return 0;
}

/* Both forms of a name take keys, with separators of their own; ns_addr_parse judges the value. */
static int add_key(struct parser *p, const char *option)
{
	bool uri = !strncmp(p->address, "nvme+", 5);

	return append(p, p->address, sizeof(p->address), !uri ? "," : strchr(p->address, '?') ? "&" : "?", option);
}

/* value is NULL without a '='. */
static int take_number(struct parser *p, const char *name, const char *value, uint64_t least, uint64_t most,
		       uint64_t *out)
{
	if (!value || u64_parse(value, most, out) || *out < least)
		return refuse(p, "option %s: a number from %llu to %llu is wanted, not '%s'", name,
			      (unsigned long long)least,
			      (unsigned long long)most, value ? value : "");
	return 0;
}

/* Negative ones and NaN fail the comparison. */
static int take_seconds(struct parser *p, const char *name, const char *value, double *out)
{
	char *end = NULL;

	*out = value ? strtod(value, &end) : -1;
	if (!value || !*value || *end || !(*out >= 0 && *out <= 1e9))
		return refuse(p, "option %s: seconds are wanted, not '%s'", name, value ? value : "");
	return 0;
}

static int take_cache(struct parser *p, const char *value)
{
	if (!value || size_parse(value, &p->o->cache_bytes) || p->o->cache_bytes < CACHE_LEAST ||
	    p->o->cache_bytes > CACHE_MOST)
		return refuse(p, "option cache: a size from 4M to 64G is wanted, not '%s'", value ? value : "");
	return 0;
}

/* Ours: 1 if it is none of them. */
static int take_valued(struct parser *p, const char *name, const char *value)
{
	struct nvofs_options *o = p->o;
	uint64_t n;
	int err;

	if (!strcmp(name, "cache"))
		return take_cache(p, value);
	if (!strcmp(name, "workers")) {
		err = take_number(p, name, value, 1, 256, &n);
		o->workers = (unsigned)n;
		return err;
	}
	if (!strcmp(name, "commit")) {
		err = take_number(p, name, value, 1, 300, &n);
		o->commit_ms = (unsigned)n * 1000;
		return err;
	}
	if (!strcmp(name, "log")) {
		o->log_file = value;
		return value && *value ? 0 : refuse(p, "option log: a file is wanted");
	}
	if (!strcmp(name, "entry_timeout"))
		return take_seconds(p, name, value, &o->entry_timeout);
	if (!strcmp(name, "negative_timeout"))
		return take_seconds(p, name, value, &o->negative_timeout);
	if (!strcmp(name, "attr_timeout"))
		return take_seconds(p, name, value, &o->attr_timeout);
	return 1;
}

/* Exact words only. The last one of a pair wins, as in fstab. */
static bool take_flag(struct nvofs_options *o, const char *option)
{
	const struct {
		const char *name;
		bool *flag, value;
	} flags[] = {
		{ "ro", &o->readonly, true }, { "rw", &o->readonly, false },
		{ "nowriteback", &o->nowriteback, true }, { "writeback", &o->nowriteback, false },
		{ "direct_io", &o->direct_io, true },
		{ "allow_other", &o->allow_other, true }, { "private", &o->allow_other, false },
		{ "pin", &o->pin, true }, { "nopin", &o->pin, false }, { "debug", &o->debug, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		if (strcmp(flags[i].name, option))
			continue;
		*flags[i].flag = flags[i].value;
		return true;
	}
	return false;
}

/* Ours before the others', for some names are in several lists (rw, writeback, pin). */
static int take_option(struct parser *p, char *option)
{
	size_t name_len = strcspn(option, "=");
	char name[32];
	int err;

	if (take_flag(p->o, option))
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)MIN(name_len, sizeof(name) - 1), option);
	err = take_valued(p, name, option[name_len] ? option + name_len + 1 : NULL);
	if (err <= 0)
		return err;
	if (is_namespaces(option, name_len))
		return add_key(p, option);
	if (is_fuses(option, name_len))
		return append(p, p->o->fuse, sizeof(p->o->fuse), p->o->fuse[0] ? "," : "", option);
	if (is_mounts_business(option, name_len) || p->o->sloppy)
		return 0;
	return refuse(p, "option '%s' is not known", option);
}

/* Changes list (argv), in which values stay borrowed. */
static int take_options(struct parser *p, char *list)
{
	int err = 0;

	for (char *option; !err && (option = strsep(&list, ","));)
		if (*option)
			err = take_option(p, option);
	return err;
}

/* ---- the whole ---- */

/* An eighth of memory at most, since it is locked where a fabric registers it. allow_other needs root or
 * user_allow_other in fuse.conf, so it is root's default only. */
static void defaults(struct nvofs_options *o)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	memset(o, 0, sizeof(*o));
	o->cache_bytes = MAX(MIN(CACHE_DEFAULT, memory / 8), CACHE_LEAST);
	o->workers = cpus > 0 ? (unsigned)MIN(cpus, 64) : 1;
	o->entry_timeout = o->negative_timeout = o->attr_timeout = LONG_TIME;
	o->allow_other = !geteuid();
	o->pin = true;
}

/* Absolute, since the daemon leaves its directory. ENOTCONN is what a mount point without its daemon answers. */
static int take_mountpoint(struct parser *p, const char *path)
{
	struct nvofs_options *o = p->o;
	char full[PATH_MAX];
	struct stat st;

	if (!strncmp(path, "/dev/fd/", 8)) {
		snprintf(o->mountpoint, sizeof(o->mountpoint), "%s", path);
		return 0;
	}
	if (!realpath(path, full) || stat(full, &st)) {
		if (errno == ENOTCONN)
			refuse(p, "mount point %s: the daemon of a former mount is gone; fusermount3 -u %s first", path,
			       path);
		else
			refuse(p, "mount point %s: %s", path, strerror(errno));
		return -ENOENT;
	}
	if (!S_ISDIR(st.st_mode)) {
		refuse(p, "mount point %s is not a directory", path);
		return -ENOTDIR;
	}
	snprintf(o->mountpoint, sizeof(o->mountpoint), "%s", full);
	return 0;
}

/* Both letters of f: foreground for us, "fake" for mount(8). 0: go on; 1: all is done (-h, -V); negative: wrong. */
static int take_letter(struct parser *p, int c)
{
	struct nvofs_options *o = p->o;

	switch (c) {
	case 'f':
		*(o->helper ? &o->fake : &o->foreground) = true;
		return 0;
	case 's':
		o->sloppy = true;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	case 'd':
		o->debug = o->foreground = true;
		return 0;
	case 'n': case 't': case 'N': /* mount(8)'s: no mtab, type, namespace */
		return 0;
	case 'o':
		return take_options(p, optarg);
	case 'h':
		fputs(usage_text, stdout);
		return 1;
	case 'V':
		printf("nvofs %s\n", NVOFS_VERSION);
		return 1;
	default:
		return refuse(p, "wrong use; 'nvofs --help' shows how");
	}
}

/* -s changes what the other options mean, and may come after them. What follows -o is a value, not letters. */
static bool has_sloppy(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-o"))
			i++;
		else if (argv[i][0] == '-' && argv[i][1] != '-' && argv[i][1] != 'o' && strchr(argv[i], 's'))
			return true;
	}
	return false;
}

/* The name decides whose helper it is: mount(8) runs mount.nvofs with letters of its own. 0: mount; 1: nothing is
 * to be done; negative with one line in why. */
int nvofs_options_parse(struct nvofs_options *o, int argc, char **argv, char *why, size_t why_len)
{
	static const struct option longs[] = { { "help", no_argument, NULL, 'h' },
					       { "version", no_argument, NULL, 'V' }, { 0 } };
	struct parser p = { .o = o, .why = why, .why_len = why_len };
	const char *slash = strrchr(argv[0], '/');
	int c, err = 0;

	defaults(o);
	o->helper = !strcmp(slash ? slash + 1 : argv[0], "mount.nvofs");
	o->sloppy = has_sloppy(argc, argv);
	opterr = 0;
	/* The namespace is needed by options (keys are added to it), so it is looked for first. */
	for (int pass = 0; pass < 2; pass++) {
		optind = 1;
		while ((c = getopt_long(argc, argv, "o:fsnvdt:N:hV", longs, NULL)) != -1)
			if (pass && (err = take_letter(&p, c)))
				return err;
			else if (!pass && (c == 'h' || c == 'V'))
				return take_letter(&p, c);
		if (argc - optind != 2)
			return refuse(&p, "wrong use; 'nvofs --help' shows how");
		if (!pass && append(&p, p.address, sizeof(p.address), "", argv[optind]))
			return refuse(&p, "the name of the namespace is too long");
	}
	err = ns_addr_parse(&o->addr, p.address, false, why, why_len);
	if (err)
		return err;
	ns_addr_print(&o->addr, o->source, sizeof(o->source));
	err = take_mountpoint(&p, argv[optind + 1]);
	return err ? err : o->fake ? 1 : 0;
}
