#include "wire/varlink_submit.h"

#include <string.h>

#include "wire/varlink_scan.h"

enum { DIGITS_MAX = 18 }; /* fewer than INT64_MAX has */

struct cursor {
    const char *p, *end;
};

static bool take(struct cursor *c, const char *literal, size_t size)
{
    if ((size_t)(c->end - c->p) < size || memcmp(c->p, literal, size) != 0)
        return false;
    c->p += size;
    return true;
}

#define TAKE(c, literal) take((c), (literal), sizeof(literal) - 1)

static void take_blank(struct cursor *c)
{
    TAKE(c, " ");
}

/* Whether all eight bytes are what a string may hold as they are and ASCII: no control character, quote or backslash.
 */
static bool are_plain(const char *p)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t word;
    memcpy(&word, p, sizeof word);
    uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
    return ((word | (word - ones * 0x20) | (quote - ones) | (backslash - ones)) & highs) == 0;
}

/* Up to the closing quote. */
static bool take_string(struct cursor *c, struct varlink_string *ret)
{
    if (!TAKE(c, "\""))
        return false;
    const char *begin = c->p;
    for (;;) {
        while (c->end - c->p >= 8 && are_plain(c->p))
            c->p += 8;
        if (c->p == c->end)
            return false;
        unsigned char b = (unsigned char)*c->p;
        if (b == '"')
            break;
        if (b < 0x20 || b == '\\')
            return false;
        size_t n = varlink_utf8_length((const unsigned char *)c->p, (const unsigned char *)c->end);
        if (n == 0)
            return false;
        c->p += n;
    }
    *ret = (struct varlink_string){.bytes = begin, .size = (size_t)(c->p - begin)};
    c->p++;
    return true;
}

static bool take_number(struct cursor *c, int64_t *ret)
{
    const char *begin = c->p;
    uint64_t v = 0; /* one digit too many still fits */
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9' && c->p - begin <= DIGITS_MAX)
        v = 10 * v + (uint64_t)(*c->p++ - '0');
    size_t size = (size_t)(c->p - begin);
    if (size == 0 || size > DIGITS_MAX || (*begin == '0' && size > 1))
        return false;
    *ret = (int64_t)v;
    return true;
}

static bool take_parameter(struct cursor *c, struct varlink_submit *s)
{
    struct varlink_string key;
    if (!take_string(c, &key) || !TAKE(c, ":"))
        return false;
    take_blank(c);
    struct {
        const char *name;
        struct varlink_string *string;
        int64_t *number;
    } const known[] = {{"text", &s->text, NULL},
                       {"key", &s->key, NULL},
                       {"author", &s->author, NULL},
                       {"since", NULL, &s->since},
                       {"timeout_ms", NULL, &s->timeout_ms}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].name) != key.size || memcmp(known[i].name, key.bytes, key.size) != 0)
            continue;
        if (known[i].string != NULL)
            return known[i].string->bytes == NULL && take_string(c, known[i].string);
        return *known[i].number < 0 && take_number(c, known[i].number);
    }
    return false;
}

bool varlink_submit_read(const char *bytes, size_t size, struct varlink_submit *ret)
{
    struct cursor c = {.p = bytes, .end = bytes + size};
    struct varlink_submit s = {.since = -1, .timeout_ms = -1};
    if (!TAKE(&c, "{\"method\":"))
        return false;
    take_blank(&c);
    if (!TAKE(&c, "\"org.mpaxos.Replica.Submit\","))
        return false;
    take_blank(&c);
    if (!TAKE(&c, "\"parameters\":"))
        return false;
    take_blank(&c);
    if (!TAKE(&c, "{"))
        return false;
    do {
        take_blank(&c);
        if (!take_parameter(&c, &s))
            return false;
    } while (TAKE(&c, ","));
    if (!TAKE(&c, "}}") || c.p != c.end)
        return false;
    *ret = s;
    return true;
}
