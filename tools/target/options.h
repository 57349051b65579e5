/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of nvofs-target. */
#ifndef NVOFS_TARGET_OPTIONS_H
#define NVOFS_TARGET_OPTIONS_H

#include "tools/target/tcp.h"

#define EXIT_USAGE 2

struct options {
	struct target_conf target;
	struct tcp_conf tcp;
	struct fault fault;
	const char *listen;
	char *const *backings;
	unsigned nr_backings;
	bool verbose, quiet;
};

/* 0: go on; else *exit_code is what to end with (--help, --version, wrong use), after having said so. Borrows argv. */
int options_parse(struct options *, int argc, char **argv, int *exit_code);

#endif
