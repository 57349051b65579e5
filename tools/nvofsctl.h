/* SPDX-License-Identifier: Apache-2.0 */
/* nvofsctl's answers for people, from the same JSON that --json prints. */
#ifndef NVOFS_TOOLS_NVOFSCTL_H
#define NVOFS_TOOLS_NVOFSCTL_H

#include <stdint.h>

struct json;

void show_status(struct json *);
void show_identify(struct json *);
void show_discover(struct json *);
void show_scrub(struct json *);

/* At most mb_s MB/s; 0: no limit. 0 or an errno; *out is the report so far (NULL: not begun). */
int scrub_run(const char *mountpoint, uint64_t mb_s, struct json **out, uint64_t *found);

#endif
