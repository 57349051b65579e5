/* SPDX-License-Identifier: Apache-2.0 */
/* JSON objects for status and reports; the only face of json-c. Running out of memory ends the report short, never
 * the process. */
#ifndef NVOFS_TOOLS_JSON_H
#define NVOFS_TOOLS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json; /* an object or an array */

struct json *json_new(void);
/* NULL: not an object. */
struct json *json_parse(const char *text);
void json_free(struct json *);

void json_add_text(struct json *, const char *key, const char *value);
void json_add_number(struct json *, const char *key, uint64_t value);
void json_add_bool(struct json *, const char *key, bool value);
/* An empty array under key / an empty object at the array's end; both belong to their parent. */
struct json *json_add_array(struct json *, const char *key);
struct json *json_append(struct json *array);

/* Text of the whole, one key a line; belongs to the object. */
const char *json_print(struct json *);
/* Missing keys are "", 0 and false. */
const char *json_text(struct json *, const char *key);
uint64_t json_number(struct json *, const char *key);
bool json_flag(struct json *, const char *key);
/* Calls each() for every element of the array under key. */
void json_each(struct json *, const char *key, void (*each)(struct json *, void *arg), void *arg);

#endif
