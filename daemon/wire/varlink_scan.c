#include "wire/varlink_scan.h"

#include <stdint.h>
#include <string.h>

#include "wire/varlink.h"

struct scan {
    const unsigned char *p, *end;
    unsigned depth, n_values;
    const char *reason;
};

static bool scan_value(struct scan *s);

static bool fail(struct scan *s, const char *reason)
{
    if (s->reason == NULL)
        s->reason = reason;
    return false;
}

static int peek(const struct scan *s)
{
    return s->p < s->end ? *s->p : -1;
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool take(struct scan *s, char c)
{
    if (peek(s) != c)
        return false;
    s->p++;
    return true;
}

size_t varlink_utf8_length(const unsigned char *p, const unsigned char *end)
{
    if (p >= end)
        return 0;
    if (p[0] < 0x80)
        return 1;

    /* The second byte's range is what keeps out overlong forms, surrogates and what lies above U+10FFFF. */
    size_t size;
    unsigned char low = 0x80, high = 0xbf;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        size = 2;
    } else if ((p[0] & 0xf0) == 0xe0) {
        size = 3;
        if (p[0] == 0xe0)
            low = 0xa0;
        if (p[0] == 0xed)
            high = 0x9f;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        size = 4;
        if (p[0] == 0xf0)
            low = 0x90;
        if (p[0] == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if ((size_t)(end - p) < size || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

bool varlink_utf8_valid(const char *bytes, size_t size)
{
    const unsigned char *p = (const unsigned char *)bytes, *end = p + size;
    while (p < end) {
        size_t n = varlink_utf8_length(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

/* The four digits after \u; -1: they are not there. */
static int32_t scan_hex(struct scan *s)
{
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(s);
        if (c >= '0' && c <= '9')
            code = code * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            code = code * 16 + ((c | 0x20) - 'a' + 10);
        else
            return -1;
        s->p++;
    }
    return code;
}

static bool scan_escape(struct scan *s)
{
    int c = peek(s);
    if (c < 0 || c == 0 || strchr("\"\\/bfnrtu", c) == NULL)
        return fail(s, "an unknown escape in a string");
    s->p++;
    if (c != 'u')
        return true;
    int32_t code = scan_hex(s);
    if (code < 0)
        return fail(s, "\\u without four hexadecimal digits");
    if (code == 0)
        return fail(s, "\\u0000 in a string");
    if (code >= 0xdc00 && code <= 0xdfff)
        return fail(s, "a lone surrogate in a string");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!take(s, '\\') || !take(s, 'u'))
            return fail(s, "a lone surrogate in a string");
        code = scan_hex(s);
        if (code < 0xdc00 || code > 0xdfff)
            return fail(s, "a lone surrogate in a string");
    }
    return true;
}

static bool scan_string(struct scan *s)
{
    if (!take(s, '"'))
        return fail(s, "a string is missing");
    while (s->p < s->end) {
        unsigned char c = *s->p;
        if (c == '"') {
            s->p++;
            return true;
        }
        if (c < 0x20)
            return fail(s, "a control character in a string");
        if (c == '\\') {
            s->p++;
            if (!scan_escape(s))
                return false;
            continue;
        }
        size_t n = c < 0x80 ? 1 : varlink_utf8_length(s->p, s->end);
        if (n == 0)
            return fail(s, "invalid UTF-8");
        s->p += n;
    }
    return fail(s, "a string without an end");
}

static bool scan_digits(struct scan *s)
{
    const unsigned char *begin = s->p;
    while (peek(s) >= '0' && peek(s) <= '9')
        s->p++;
    return s->p > begin;
}

static bool scan_number(struct scan *s)
{
    const unsigned char *begin = s->p;
    take(s, '-');
    if (!take(s, '0') && !scan_digits(s))
        return fail(s, "not a JSON value");
    if (take(s, '.') && !scan_digits(s))
        return fail(s, "a number without digits after its point");
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->p++;
        if (!take(s, '+'))
            take(s, '-');
        if (!scan_digits(s))
            return fail(s, "a number without digits in its exponent");
    }
    if (s->p - begin > VARLINK_NUMBER_MAX)
        return fail(s, "a number with too many digits");
    return true;
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(s->end - s->p) < size || memcmp(s->p, word, size) != 0)
        return fail(s, "not a JSON value");
    s->p += size;
    return true;
}

// NOLINTBEGIN(misc-no-recursion): not deeper than VARLINK_DEPTH_MAX
static bool scan_object(struct scan *s)
{
    unsigned n_keys = 0;
    s->p++;
    skip_space(s);
    if (take(s, '}'))
        return true;
    do {
        if (++n_keys > VARLINK_KEYS_MAX)
            return fail(s, "an object with too many keys");
        skip_space(s);
        if (!scan_string(s))
            return false;
        skip_space(s);
        if (!take(s, ':'))
            return fail(s, "a key without a colon");
        if (!scan_value(s))
            return false;
    } while (take(s, ','));
    return take(s, '}') || fail(s, "an object without an end");
}

static bool scan_array(struct scan *s)
{
    s->p++;
    skip_space(s);
    if (take(s, ']'))
        return true;
    do {
        if (!scan_value(s))
            return false;
    } while (take(s, ','));
    return take(s, ']') || fail(s, "an array without an end");
}

static bool scan_container(struct scan *s)
{
    if (s->depth == VARLINK_DEPTH_MAX)
        return fail(s, "nested too deeply");
    s->depth++;
    bool ok = *s->p == '{' ? scan_object(s) : scan_array(s);
    s->depth--;
    return ok;
}

/* One value and the white space on both sides of it. */
static bool scan_value(struct scan *s)
{
    bool ok;
    skip_space(s);
    if (++s->n_values > VARLINK_VALUES_MAX)
        return fail(s, "too many values");
    switch (peek(s)) {
    case '{':
    case '[':
        ok = scan_container(s);
        break;
    case '"':
        ok = scan_string(s);
        break;
    case 't':
        ok = scan_word(s, "true");
        break;
    case 'f':
        ok = scan_word(s, "false");
        break;
    case 'n':
        ok = scan_word(s, "null");
        break;
    default:
        ok = scan_number(s);
        break;
    }
    skip_space(s);
    return ok;
}
// NOLINTEND(misc-no-recursion)

bool varlink_scan(const char *bytes, size_t size, const char **ret_reason)
{
    struct scan s = {.p = (const unsigned char *)bytes, .end = (const unsigned char *)bytes + size};
    skip_space(&s);
    bool ok = peek(&s) == '{' || fail(&s, "not a JSON object");
    ok = ok && scan_value(&s) && (s.p == s.end || fail(&s, "bytes after the object"));
    if (!ok)
        *ret_reason = s.reason;
    return ok;
}
