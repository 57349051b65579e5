/* SPDX-License-Identifier: Apache-2.0 */
/* The one file that knows json-c. struct json is json_object under another name. */
#include "tools/json.h"

#include <json-c/json.h>

/* Never dereferenced as struct json: the two names keep json-c out of every other file. */
static struct json_object *in(struct json *j)
{
	return (struct json_object *)(void *)j;
}

static struct json *out(struct json_object *o)
{
	return (struct json *)(void *)o;
}

struct json *json_new(void)
{
	return out(json_object_new_object());
}

/* Anything but an object at the top is refused: all that we write are objects. The caller frees. */
struct json *json_parse(const char *text)
{
	struct json_object *o = json_tokener_parse(text);

	if (o && !json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		o = NULL;
	}
	return out(o);
}

/* NULL is fine; children go with their parent. */
void json_free(struct json *j)
{
	json_object_put(in(j));
}

/* Takes value, also where it cannot be added. A parent that could not be made (NULL) swallows it: the report ends
 * short. */
static void add(struct json *j, const char *key, struct json_object *value)
{
	if (!j || !value || json_object_object_add(in(j), key, value))
		json_object_put(value);
}

void json_add_text(struct json *j, const char *key, const char *value)
{
	add(j, key, json_object_new_string(value));
}

void json_add_number(struct json *j, const char *key, uint64_t value)
{
	add(j, key, json_object_new_uint64(value));
}

void json_add_bool(struct json *j, const char *key, bool value)
{
	add(j, key, json_object_new_boolean(value));
}

/* Borrowed from the parent that owns it; NULL (no memory) may be used further on. */
struct json *json_add_array(struct json *j, const char *key)
{
	struct json_object *a = json_object_new_array();

	if (!j || !a || json_object_object_add(in(j), key, a)) {
		json_object_put(a);
		return NULL;
	}
	return out(a);
}

/* As json_add_array. */
struct json *json_append(struct json *array)
{
	struct json_object *o = json_object_new_object();

	if (!array || !o || json_object_array_add(in(array), o)) {
		json_object_put(o);
		return NULL;
	}
	return out(o);
}

/* The text is the object's, good until it is printed again or freed. */
const char *json_print(struct json *j)
{
	const char *text = j ? json_object_to_json_string_ext(in(j), JSON_C_TO_STRING_PRETTY |
							      JSON_C_TO_STRING_NOSLASHESCAPE) : NULL;

	return text ? text : "{}";
}

/* Borrowed; NULL if j is NULL or has no such key. */
static struct json_object *get(struct json *j, const char *key)
{
	struct json_object *value = NULL;

	return j && json_object_object_get_ex(in(j), key, &value) ? value : NULL;
}

/* Borrowed. A value of another type is given as its JSON text. */
const char *json_text(struct json *j, const char *key)
{
	struct json_object *value = get(j, key);
	const char *text = value ? json_object_get_string(value) : NULL;

	return text ? text : "";
}

uint64_t json_number(struct json *j, const char *key)
{
	struct json_object *value = get(j, key);

	return value ? json_object_get_uint64(value) : 0;
}

bool json_flag(struct json *j, const char *key)
{
	struct json_object *value = get(j, key);

	return value && json_object_get_boolean(value);
}

/* In the array's order. No array under key: no call. */
void json_each(struct json *j, const char *key, void (*each)(struct json *, void *arg), void *arg)
{
	struct json_object *a = get(j, key);

	if (!a || !json_object_is_type(a, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(a); i++)
		each(out(json_object_array_get_idx(a, i)), arg);
}
