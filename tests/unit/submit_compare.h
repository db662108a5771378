/* Whether both ways of reading a Submit say the same about some bytes: for a test with a seed, and for the fuzzer. */
#ifndef TESTS_UNIT_SUBMIT_COMPARE_H
#define TESTS_UNIT_SUBMIT_COMPARE_H

#include <string.h>

#include "wire/varlink.h"
#include "wire/varlink_submit.h"

static inline bool submit_same_string(const cJSON *parameters, const char *key, const struct varlink_string *s)
{
    const char *parsed = NULL;
    return varlink_get_string(parameters, key, &parsed) && (parsed != NULL) == (s->bytes != NULL) &&
           (parsed == NULL || (strlen(parsed) == s->size && memcmp(parsed, s->bytes, s->size) == 0));
}

static inline bool submit_same_number(const cJSON *parameters, const char *key, int64_t n)
{
    int64_t parsed = -1;
    return varlink_get_int(parameters, key, 0, INT64_MAX, &parsed) && parsed == n;
}

/* True also where the short way does not take them. *ret_plain: it does. */
static inline bool submit_is_same(const char *bytes, size_t size, bool *ret_plain)
{
    static const char *const known[] = {"text", "author", "key", "since", "timeout_ms", NULL};
    char reason[VARLINK_REASON_MAX + 1];
    struct varlink_submit s;
    struct varlink_call call;
    *ret_plain = varlink_submit_read(bytes, size, &s);
    if (!*ret_plain)
        return true;
    cJSON *tree = varlink_parse(bytes, size, reason);
    bool same =
        tree != NULL && varlink_call_read(tree, &call) && strcmp(call.method, "org.mpaxos.Replica.Submit") == 0 &&
        !call.more && !call.oneway && varlink_unknown_key(call.parameters, known) == NULL &&
        submit_same_string(call.parameters, "text", &s.text) &&
        submit_same_string(call.parameters, "author", &s.author) &&
        submit_same_string(call.parameters, "key", &s.key) && submit_same_number(call.parameters, "since", s.since) &&
        submit_same_number(call.parameters, "timeout_ms", s.timeout_ms);
    cJSON_Delete(tree);
    return same;
}

#endif
