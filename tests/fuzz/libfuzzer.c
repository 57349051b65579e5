/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer's entry, for -Dfuzz=true. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	fuzz_one(data, len);
	return 0;
}
