/* A strict JSON reader that remembers where everything stood, for error messages that name the line.
 *
 * RFC 8259, and stricter where readers differ: invalid UTF-8, repeated keys, \u0000, lone surrogates and anything after
 * the value are errors. Numbers keep their own text, so integers stay exact. cJSON does none of this. Pure but for the
 * heap. */
#ifndef HOST_CONFIG_JSON_H
#define HOST_CONFIG_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JSON_DEPTH_MAX = 8,
    JSON_VALUES_MAX = 65536, /* of one document                                          */
    JSON_KEYS_MAX = 64,      /* of one object                                            */
    JSON_REASON_MAX = 200,
    JSON_NONE = 0, /* as .child or .next: the document's own value is nobody's */
};

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_value {
    enum json_type type;
    uint32_t line;        /* of its key where it has one, else of its first byte */
    uint32_t child, next; /* first member or element, next one: indexes          */
    const char *key;      /* NULL: it is no member of an object                  */
    const char *text;     /* of a string, decoded, or a number, as it stands     */
};

struct json_document {
    struct json_value *values; /* [0] is the document's own value */
    uint32_t n_values, capacity;
    char *texts;
};

/* 0; -EINVAL with the line and a reason (JSON_REASON_MAX + 1 bytes: what is wrong; what to write); -ENOMEM. */
int json_read(const char *bytes, size_t size, struct json_document *ret, uint32_t *ret_line, char *ret_reason);
void json_free(struct json_document *d);

/* The member of an object, or NULL. */
const struct json_value *json_member(const struct json_document *d, const struct json_value *object, const char *key);

/* False where it is not an integer within [0, 2^64 - 1], written without fraction and exponent. */
bool json_get_uint(const struct json_value *v, uint64_t *ret);

/* Copies `text` so that it can stand in a one-line message: cut to what fits, control characters and what is cut off
 * from a UTF-8 sequence replaced. Answers `ret`. */
const char *json_show(const char *text, char *ret, size_t size);

#endif
