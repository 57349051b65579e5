/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of operations share: a fresh simulated file system for every test, and calls that must succeed. */
#ifndef NVOFS_TESTS_SIM_OPS_ENV_H
#define NVOFS_TESTS_SIM_OPS_ENV_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "base/num.h"
#include "tests/sim/sim_fs.h"

extern struct sim *s;
extern uint8_t buf[2 * MiB], buf2[2 * MiB];

void env_setup(void);
void env_teardown(void); /* unmounts and checks, if it is mounted */
/* Unmount, check, mount: nothing is in memory any more. */
void remount(void);
/* Messages go into a file until log_end, which says whether one has this text. */
void log_begin(void);
bool log_end(const char *text);
uint64_t file(const char *name);               /* in the root directory */
uint64_t dir(uint64_t parent, const char *name);
void fill(uint8_t *p, size_t n, unsigned seed);
struct stat attr(uint64_t ino);
void put(uint64_t ino, uint64_t off, const void *data, uint32_t len);
void expect(uint64_t ino, uint64_t off, const void *data, uint32_t len);
void resize(uint64_t ino, uint64_t size);
/* Keeps the look-up, as a kernel would. */
void look_up(uint64_t parent, const char *name);
uint64_t inodes(void);                         /* in use */

#endif
