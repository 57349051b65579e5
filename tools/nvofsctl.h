/* SPDX-License-Identifier: Apache-2.0 */
/* nvofsctl's answers for people, from the same JSON that --json prints. */
#ifndef NVOFS_TOOLS_NVOFSCTL_H
#define NVOFS_TOOLS_NVOFSCTL_H

struct json;

void show_status(struct json *);
void show_identify(struct json *);
void show_discover(struct json *);

#endif
