/* SPDX-License-Identifier: Apache-2.0 */
/* The common part of the tools that work on a namespace without mounting it for others. */
#include "tools/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "cache/cache.h"
#include "fs/fs.h"
#include "transport/ns.h"

/* These tools have one queue and read little at a time; what may be locked decides between the two. */
#define CACHE_BYTES (16 * MiB)
#define CACHE_LEAST (4 * MiB)        /* fits into the memlock of 8 MiB that many systems give */

/* The signal's number, or 0. Loops look at it between steps. */
volatile sig_atomic_t tool_cancelled;

/* On failure there is no cache. */
static int make_cache(struct tool_ns *t, size_t bytes)
{
	struct cache_conf conf = { .bytes = bytes };
	int r = cache_new(&t->cache, &conf);
	size_t len;
	void *mem;

	if (r)
		return r;
	mem = cache_memory(t->cache, &len);
	r = ns_add_memory(t->ns, mem, len);
	if (r) {
		cache_free(t->cache);
		t->cache = NULL;
	}
	return r;
}

/* text is borrowed for good. Without the right to lock much, a smaller cache is tried. fs_reclaim finds &t->fs,
 * which is NULL until something is mounted: then there is nothing to defend after a reconnect. On failure nothing
 * is left open. */
int tool_ns_open(struct tool_ns *t, const char *text)
{
	struct ns_conf conf = { .nr_queues = 1, .reclaim = fs_reclaim, .reclaim_arg = &t->fs };
	char why[512];
	int r;

	*t = (struct tool_ns){ .text = text };
	r = ns_addr_parse(&conf.addr, text, false, why, sizeof(why));
	if (!r)
		r = ns_open(&t->ns, &conf, why, sizeof(why));
	if (r) {
		log_error("%s", why);
		return r;
	}
	r = make_cache(t, CACHE_BYTES);
	if (r == -E_MEMLOCK)
		r = make_cache(t, CACHE_LEAST);
	if (r) {
		log_error("%s: memory for input and output: %s", text, ns_memory_text(t->ns, r, CACHE_LEAST, why, sizeof(why)));
		tool_ns_close(t);
	}
	return r;
}

/* The namespace first: until its wires are stopped the target may reach the cache's memory. */
void tool_ns_close(struct tool_ns *t)
{
	if (t->ns)
		ns_close(t->ns);
	if (t->cache)
		cache_free(t->cache);
	t->ns = NULL;
	t->cache = NULL;
}

static void on_signal(int signal_number)
{
	tool_cancelled = signal_number;
}

/* SA_RESETHAND is what makes the second signal end the process, if a step hangs. */
void tool_catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

/* Silent where nobody looks: a log does not want a line that is rewritten. what is borrowed. */
void tool_progress_init(struct tool_progress *p, const char *what, bool wanted)
{
	*p = (struct tool_progress){ .what = what, .on = wanted && isatty(STDERR_FILENO) };
}

/* The clock is not read without a terminal: this is called in inner loops. */
void tool_progress_show(struct tool_progress *p, uint64_t done, uint64_t total)
{
	uint64_t now = p->on ? clock_now() : 0;

	if (!p->on || now < p->next_ns)
		return;
	p->next_ns = now + 200 * NS_PER_MS;
	p->drawn = true;
	fprintf(stderr, "\r%s: %3u %%", p->what, total ? (unsigned)(done * 100.0 / total) : 100);
	fflush(stderr);
}

/* Before any message, or it would stand behind the percentage. " 100 %" and the colon are 7 characters. */
void tool_progress_end(struct tool_progress *p)
{
	if (p->drawn)
		fprintf(stderr, "\r%*s\r", (int)strlen(p->what) + 8, "");
	p->drawn = false;
}
