/* SPDX-License-Identifier: Apache-2.0 */
/* What nvofs_nomem and the test that drives it share: a file of this, mapped by both. */
#ifndef NVOFS_TESTS_NOMEM_H
#define NVOFS_TESTS_NOMEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define NOMEM_PLACES 8

struct nomem {
	_Atomic uint64_t from;     /* the number of the first that fails; 0: none does, none is counted */
	_Atomic uint64_t count;    /* how many in a row */
	_Atomic uint64_t seen, failed;
	_Atomic uint64_t place[NOMEM_PLACES]; /* of the first that failed, for addr2line */
};

#endif
