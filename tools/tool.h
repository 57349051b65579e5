/* SPDX-License-Identifier: Apache-2.0 */
/* What mkfs.nvofs and fsck.nvofs share: a connected namespace with a small cache, and a line of progress. */
#ifndef NVOFS_TOOLS_TOOL_H
#define NVOFS_TOOLS_TOOL_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct ns;
struct ns_info;
struct cache;
struct fs;

struct tool_ns {
	const char *text;       /* as the user wrote it; stands in messages */
	struct ns *ns;
	struct cache *cache;
	struct fs *_Atomic fs;  /* set by who mounts; for the namespace's reclaim call-back */
};

/* Parses text and connects, one I/O queue. 0, or a negative code after one line was logged. */
int tool_ns_open(struct tool_ns *, const char *text);
void tool_ns_close(struct tool_ns *);
/* SIGINT and SIGTERM set tool_cancelled; a second one ends the process as usual. */
void tool_catch_signals(void);
extern volatile sig_atomic_t tool_cancelled;

/* On a terminal (standard error): "what: 37 %", rewritten in place, at most 5 times a second. */
struct tool_progress {
	const char *what;
	bool on, drawn;
	uint64_t next_ns;
};
void tool_progress_init(struct tool_progress *, const char *what, bool wanted);
void tool_progress_show(struct tool_progress *, uint64_t done, uint64_t total);
/* Wipes the line. */
void tool_progress_end(struct tool_progress *);

#endif
