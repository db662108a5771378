#include "wire/varlink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/varlink_scan.h"

/* The next number's text at or after *p, outside of strings; the bytes were scanned, so there is no other way to meet a
 * digit. */
static size_t next_number(const char **p, const char *end, const char **ret)
{
    for (; *p < end && **p != '-' && (**p < '0' || **p > '9'); (*p)++)
        if (**p == '"')
            for ((*p)++; **p != '"'; (*p)++)
                if (**p == '\\')
                    (*p)++;
    const char *begin = *p;
    // NOLINTNEXTLINE(bugprone-not-null-terminated-result): a NUL is not one of them
    while (*p < end && memchr("+-.0123456789Ee", **p, 15) != NULL)
        (*p)++;
    *ret = begin;
    return (size_t)(*p - begin);
}

static bool has_repeated_key(const cJSON *object)
{
    for (const cJSON *a = object->child; a != NULL; a = a->next)
        for (const cJSON *b = a->next; b != NULL; b = b->next)
            if (strcmp(a->string, b->string) == 0)
                return true;
    return false;
}

/* Gives every number below `item` its own text, in the order in which the text has them, and refuses repeated keys:
 * here and not in the scan, because a key may be written in more than one way. */
// NOLINTNEXTLINE(misc-no-recursion): not deeper than VARLINK_DEPTH_MAX, which the scan has seen to
static const char *settle_values(cJSON *item, const char **p, const char *end)
{
    if (cJSON_IsObject(item) && has_repeated_key(item))
        return "a repeated key";
    if (cJSON_IsNumber(item)) {
        const char *text;
        size_t size = next_number(p, end, &text);
        char *copy = cJSON_malloc(size + 1);
        if (copy == NULL)
            return "out of memory";
        memcpy(copy, text, size);
        copy[size] = 0;
        item->type = cJSON_Raw;
        item->valuestring = copy;
    }
    for (cJSON *child = item->child; child != NULL; child = child->next) {
        const char *reason = settle_values(child, p, end);
        if (reason != NULL)
            return reason;
    }
    return NULL;
}

cJSON *varlink_parse(const char *bytes, size_t size, char ret_reason[VARLINK_REASON_MAX + 1])
{
    const char *reason = NULL;
    cJSON *tree = NULL;
    if (varlink_scan(bytes, size, &reason)) {
        const char *p = bytes;
        tree = cJSON_ParseWithLength(bytes, size);
        reason = tree != NULL ? settle_values(tree, &p, bytes + size) : "out of memory";
    }
    if (reason == NULL)
        return tree;
    snprintf(ret_reason, VARLINK_REASON_MAX + 1, "%s", reason);
    cJSON_Delete(tree);
    return NULL;
}

bool varlink_call_read(const cJSON *message, struct varlink_call *ret)
{
    struct varlink_call call = {0};
    if (!cJSON_IsObject(message))
        return false;
    for (const cJSON *item = message->child; item != NULL; item = item->next) {
        if (strcmp(item->string, "method") == 0 && cJSON_IsString(item))
            call.method = item->valuestring;
        else if (strcmp(item->string, "parameters") == 0 && (cJSON_IsObject(item) || cJSON_IsNull(item)))
            call.parameters = cJSON_IsObject(item) ? item : NULL;
        else if (strcmp(item->string, "oneway") == 0 && cJSON_IsBool(item))
            call.oneway = cJSON_IsTrue(item);
        else if (strcmp(item->string, "more") == 0 && cJSON_IsBool(item))
            call.more = cJSON_IsTrue(item);
        else if (strcmp(item->string, "upgrade") != 0 || !cJSON_IsFalse(item))
            return false;
    }
    if (call.method == NULL || (call.more && call.oneway))
        return false;
    *ret = call;
    return true;
}

/* NULL where the key is absent or null. */
static const cJSON *find(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNull(item) ? NULL : item;
}

bool varlink_int_read(const cJSON *item, int64_t min, int64_t max, int64_t *ret)
{
    if (!cJSON_IsRaw(item))
        return false;
    const char *text = item->valuestring;
    if (text[0] != '-' && (text[0] < '0' || text[0] > '9'))
        return false;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || v < min || v > max)
        return false;
    *ret = v;
    return true;
}

bool varlink_get_int(const cJSON *object, const char *key, int64_t min, int64_t max, int64_t *ret)
{
    const cJSON *item = find(object, key);
    return item == NULL || varlink_int_read(item, min, max, ret);
}

bool varlink_get_bool(const cJSON *object, const char *key, bool *ret)
{
    const cJSON *item = find(object, key);
    if (item != NULL && !cJSON_IsBool(item))
        return false;
    if (item != NULL)
        *ret = cJSON_IsTrue(item);
    return true;
}

bool varlink_get_string(const cJSON *object, const char *key, const char **ret)
{
    const cJSON *item = find(object, key);
    if (item != NULL && !cJSON_IsString(item))
        return false;
    if (item != NULL)
        *ret = item->valuestring;
    return true;
}

bool varlink_has(const cJSON *object, const char *key)
{
    return find(object, key) != NULL;
}

const char *varlink_unknown_key(const cJSON *object, const char *const *known)
{
    const cJSON *item = object != NULL ? object->child : NULL;
    for (; item != NULL; item = item->next) {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], item->string) != 0)
            i++;
        if (known[i] == NULL)
            return item->string;
    }
    return NULL;
}

cJSON *varlink_int(int64_t v)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, v);
    return cJSON_CreateRaw(text);
}

char *varlink_call(const char *method, cJSON *parameters, bool more, bool oneway, size_t *ret_size)
{
    cJSON *call = cJSON_CreateObject();
    char *bytes = NULL;
    if (parameters == NULL)
        parameters = cJSON_CreateObject();
    if (cJSON_AddStringToObject(call, "method", method) == NULL ||
        !cJSON_AddItemToObject(call, "parameters", parameters)) {
        cJSON_Delete(parameters);
        goto done;
    }
    if ((more && cJSON_AddTrueToObject(call, "more") == NULL) ||
        (oneway && cJSON_AddTrueToObject(call, "oneway") == NULL))
        goto done;
    bytes = cJSON_PrintUnformatted(call);
    if (bytes != NULL)
        *ret_size = strlen(bytes) + 1;
done:
    cJSON_Delete(call);
    return bytes;
}
