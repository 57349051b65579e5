/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target is fuzz_one and its seeds. With -Dfuzz=true (clang) libFuzzer drives it; always there is fuzz_NAME, which runs
 * inputs made from the seeds by a generator with a fixed seed, for the suite "fuzz". */
#ifndef NVOFS_TESTS_FUZZ_H
#define NVOFS_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_MAX 4096

/* Must return for any bytes; what has to hold is asserted. */
void fuzz_one(const uint8_t *data, size_t len);
/* The n-th seed into buf (FUZZ_MAX bytes); its length, 0 when there is no such seed. Seed 0 exists. */
size_t fuzz_seed(unsigned n, uint8_t *buf);

#endif
