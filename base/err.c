/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <string.h>

static const struct {
	int parent;
	const char *name, *text;
} table[] = {
#define X(name, parent, text) { parent, #name, text },
	NVOFS_ERRORS(X)
#undef X
};

static int index_of(int code)
{
	code = code < 0 ? -code : code;
	return code > NVOFS_ERROR_BASE && code < NVOFS_ERROR_END ? code - NVOFS_ERROR_BASE - 1 : -1;
}

int err_errno(int code)
{
	int i = index_of(code);

	return i >= 0 ? -table[i].parent : code;
}

const char *err_text(int code)
{
	int i = index_of(code);

	return i >= 0 ? table[i].text : strerrordesc_np(code < 0 ? -code : code) ?: "unknown error";
}

const char *err_name(int code)
{
	int i = index_of(code);

	return i >= 0 ? table[i].name : strerrorname_np(code < 0 ? -code : code) ?: "?";
}
