#include "host/config_json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *bytes;
    size_t size, at;
    uint32_t line, depth;
    struct json_document *document;
    size_t texts_used;
    char *reason;
};

static int read_value(struct reader *r, const char *key, uint32_t line, uint32_t *ret);

__attribute__((format(printf, 2, 3))) static void give_reason(struct reader *r, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(r->reason, JSON_REASON_MAX + 1, format, arguments);
    va_end(arguments);
}

/* A macro, so that every analyzer sees at the place that what follows does not run. */
#define fail(r, ...) (give_reason(r, __VA_ARGS__), -EINVAL)

static int peek(const struct reader *r)
{
    return r->at < r->size ? (unsigned char)r->bytes[r->at] : -1;
}

static void skip_space(struct reader *r)
{
    for (int c; (c = peek(r)) == ' ' || c == '\t' || c == '\n' || c == '\r'; r->at++)
        r->line += c == '\n';
}

/* The next byte, as a person would name it. */
static const char *name_next(const struct reader *r, char *ret, size_t size)
{
    int c = peek(r);

    if (c < 0)
        snprintf(ret, size, "the end of the file");
    else if (c > 0x20 && c < 0x7f)
        snprintf(ret, size, "'%c'", c);
    else
        snprintf(ret, size, "byte 0x%02x", (unsigned)c);
    return ret;
}

/* Bytes of the valid UTF-8 sequence that stands at `s`, 0 where none does: no overlong form, surrogate, or beyond
 * U+10FFFF. */
static size_t utf8_length(const unsigned char *s, size_t size)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > size)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Four hexadecimal digits, or -1. */
static int32_t read_hex4(struct reader *r)
{
    int32_t v = 0;

    for (int i = 0; i < 4; i++, r->at++) {
        int c = peek(r);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

static size_t put_utf8(char *ret, uint32_t c)
{
    if (c < 0x80) {
        ret[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; c >>= 6)
        ret[i] = (char)(0x80 | (c & 0x3f));
    ret[0] = (char)((0xf00U >> n) | c);
    return n;
}

/* After "\u": the character goes to `ret`, its length is answered, or a negative errno. */
static int read_unicode_escape(struct reader *r, char *ret)
{
    int32_t high = read_hex4(r), low;

    if (high < 0)
        return fail(r, "\\u must be followed by four hexadecimal digits; write them");
    if (high == 0)
        return fail(r, "\\u0000 cannot stand in a string here; leave it out");
    if (high < 0xd800 || high > 0xdfff)
        return (int)put_utf8(ret, (uint32_t)high);
    if (high > 0xdbff || r->size - r->at < 6 || r->bytes[r->at] != '\\' || r->bytes[r->at + 1] != 'u')
        return fail(r, "\\u%04x is half a character; write both halves", (unsigned)high);
    r->at += 2;
    low = read_hex4(r);
    if (low < 0xdc00 || low > 0xdfff)
        return fail(r, "\\u%04x is half a character; write both halves", (unsigned)high);
    return (int)put_utf8(ret, 0x10000 + (((uint32_t)high & 0x3ff) << 10) + ((uint32_t)low & 0x3ff));
}

static int read_escape(struct reader *r, char *ret)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    int c = peek(r);
    const char *name = c > 0 ? strchr(names, c) : NULL;

    if (c == 'u') {
        r->at++;
        return read_unicode_escape(r, ret);
    }
    if (!name)
        return fail(r, "a backslash is followed by what is no escape of JSON; write \\\\ for a backslash");
    r->at++;
    *ret = meanings[name - names];
    return 1;
}

/* At the opening quote. The decoded text goes to the document's texts, which have room: it never is longer than its
 * source. */
static int read_string(struct reader *r, const char **ret)
{
    char *out = r->document->texts + r->texts_used, *start = out;

    r->at++;
    for (;;) {
        int c = peek(r), n;
        if (c < 0 || c == '\n')
            return fail(r, "a string is not closed on its line; write its closing \"");
        if (c == '"')
            break;
        if (c == '\\') {
            r->at++;
            n = read_escape(r, out);
            if (n < 0)
                return n;
        } else {
            if (c < 0x20)
                return fail(r, "a string holds the control character 0x%02x; write it as \\u%04x", (unsigned)c,
                            (unsigned)c);
            n = (int)utf8_length((const unsigned char *)r->bytes + r->at, r->size - r->at);
            if (n == 0)
                return fail(r, "byte 0x%02x is not valid UTF-8; save the file as UTF-8", (unsigned)c);
            memcpy(out, r->bytes + r->at, (size_t)n);
            r->at += (size_t)n;
        }
        out += n;
    }
    r->at++;
    *out = '\0';
    r->texts_used += (size_t)(out - start) + 1;
    *ret = start;
    return 0;
}

static bool skip_digits(struct reader *r)
{
    size_t start = r->at;

    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at > start;
}

static int read_number(struct reader *r, const char **ret)
{
    char *out = r->document->texts + r->texts_used;
    size_t start = r->at;
    bool ok;

    if (peek(r) == '-')
        r->at++;
    if (peek(r) == '0') {
        r->at++;
        ok = peek(r) < '0' || peek(r) > '9';
    } else {
        ok = skip_digits(r);
    }
    if (ok && peek(r) == '.') {
        r->at++;
        ok = skip_digits(r);
    }
    if (ok && (peek(r) == 'e' || peek(r) == 'E')) {
        r->at++;
        if (peek(r) == '+' || peek(r) == '-')
            r->at++;
        ok = skip_digits(r);
    }
    if (!ok)
        return fail(r, "a number is not written as JSON writes it; write decimal digits, without leading zeros");
    memcpy(out, r->bytes + start, r->at - start);
    out[r->at - start] = '\0';
    r->texts_used += r->at - start + 1;
    *ret = out;
    return 0;
}

static int read_word(struct reader *r, enum json_type *ret)
{
    static const struct {
        const char *word;
        enum json_type type;
    } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};
    char next[32];

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word);
        if (r->size - r->at >= n && memcmp(r->bytes + r->at, words[i].word, n) == 0) {
            r->at += n;
            *ret = words[i].type;
            return 0;
        }
    }
    return fail(r, "%s stands where a value is due; write a value", name_next(r, next, sizeof next));
}

static int read_key(struct reader *r, uint32_t object, uint32_t n_keys, const char **ret)
{
    const struct json_document *d = r->document;
    char next[32], shown[40];
    int error;

    if (peek(r) != '"')
        return fail(r,
                    "%s stands where a key is due; write the key in double quotes, and no comma after the last member",
                    name_next(r, next, sizeof next));
    error = read_string(r, ret);
    if (error < 0)
        return error;
    for (uint32_t i = d->values[object].child; i != JSON_NONE; i = d->values[i].next)
        if (strcmp(d->values[i].key, *ret) == 0)
            return fail(r, "\"%s\" stands twice, first on line %u; leave one of them out",
                        json_show(*ret, shown, sizeof shown), d->values[i].line);
    if (n_keys >= JSON_KEYS_MAX)
        return fail(r, "an object has more than %d keys; write fewer", JSON_KEYS_MAX);
    skip_space(r);
    if (peek(r) != ':')
        return fail(r, "%s follows the key \"%s\"; write ':' and a value", name_next(r, next, sizeof next),
                    json_show(*ret, shown, sizeof shown));
    r->at++;
    return 0;
}

/* After the opening bracket or brace of value `parent`. */
// NOLINTNEXTLINE(misc-no-recursion): not deeper than JSON_DEPTH_MAX
static int read_members(struct reader *r, uint32_t parent, bool is_object)
{
    const char *inside = is_object ? "an object" : "a list", close = is_object ? '}' : ']';
    uint32_t last = JSON_NONE, n = 0, opened = r->line, index, line;
    char next[32];

    skip_space(r);
    if (peek(r) == close)
        return r->at++, 0;
    for (;; n++) {
        const char *key = NULL;
        int error;

        skip_space(r);
        line = r->line;
        if (is_object && (error = read_key(r, parent, n, &key)) < 0)
            return error;
        skip_space(r);
        error = read_value(r, key, is_object ? line : r->line, &index);
        if (error < 0)
            return error;
        if (last == JSON_NONE)
            r->document->values[parent].child = index;
        else
            r->document->values[last].next = index;
        last = index;
        line = r->line;
        skip_space(r);
        if (peek(r) == close)
            return r->at++, 0;
        if (peek(r) < 0)
            return fail(r, "%s that begins on line %u is not closed; write '%c'", inside, opened, close);
        if (peek(r) != ',') {
            name_next(r, next, sizeof next);
            r->line = line; /* where the comma belongs */
            return fail(r, "%s follows a value in %s; write ',' between, or '%c' at its end", next, inside, close);
        }
        r->at++;
    }
}

static int add_value(struct reader *r, const char *key, uint32_t line, uint32_t *ret)
{
    struct json_document *d = r->document;

    if (d->n_values == JSON_VALUES_MAX)
        return fail(r, "the file holds more than %d values; write fewer", JSON_VALUES_MAX);
    if (d->n_values == d->capacity) {
        uint32_t capacity = d->capacity ? 2 * d->capacity : 64;
        struct json_value *values = realloc(d->values, capacity * sizeof *values);
        if (!values)
            return -ENOMEM;
        d->values = values;
        d->capacity = capacity;
    }
    *ret = d->n_values++;
    d->values[*ret] = (struct json_value){.line = line, .key = key};
    return 0;
}

// NOLINTNEXTLINE(misc-no-recursion): not deeper than JSON_DEPTH_MAX
static int read_value(struct reader *r, const char *key, uint32_t line, uint32_t *ret)
{
    enum json_type type = JSON_NULL;
    const char *text = NULL;
    int c = peek(r), error = add_value(r, key, line, ret);

    if (error < 0)
        return error;
    if (c == '{' || c == '[') {
        r->document->values[*ret].type = c == '{' ? JSON_OBJECT : JSON_ARRAY;
        if (r->depth == JSON_DEPTH_MAX)
            return fail(r, "it is nested deeper than %d; write it flatter", JSON_DEPTH_MAX);
        r->at++;
        r->depth++;
        error = read_members(r, *ret, c == '{');
        r->depth--;
        return error;
    }
    if (c == '"') {
        type = JSON_STRING;
        error = read_string(r, &text);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        type = JSON_NUMBER;
        error = read_number(r, &text);
    } else {
        error = read_word(r, &type);
    }
    r->document->values[*ret].type = type;
    r->document->values[*ret].text = text;
    return error;
}

int json_read(const char *bytes, size_t size, struct json_document *ret, uint32_t *ret_line, char *ret_reason)
{
    struct json_document d = {0};
    struct reader r = {.bytes = bytes, .size = size, .line = 1, .document = &d, .reason = ret_reason};
    uint32_t root;
    char next[32];
    int error;

    /* A number of one digit takes two bytes with its NUL; every value but the last has a separator, too. */
    d.texts = malloc(size + 2);
    if (!d.texts)
        return -ENOMEM;
    skip_space(&r);
    error = read_value(&r, NULL, r.line, &root);
    if (error == 0) {
        skip_space(&r);
        if (r.at < size)
            error = fail(&r, "%s follows the end of the configuration; leave out what follows",
                         name_next(&r, next, sizeof next));
    }
    if (error < 0) {
        *ret_line = r.line;
        json_free(&d);
        return error;
    }
    *ret = d;
    return 0;
}

void json_free(struct json_document *d)
{
    free(d->values);
    free(d->texts);
    *d = (struct json_document){0};
}

const struct json_value *json_member(const struct json_document *d, const struct json_value *object, const char *key)
{
    for (uint32_t i = object->child; i != JSON_NONE; i = d->values[i].next)
        if (strcmp(d->values[i].key, key) == 0)
            return &d->values[i];
    return NULL;
}

bool json_get_uint(const struct json_value *v, uint64_t *ret)
{
    uint64_t n = 0;

    if (v->type != JSON_NUMBER || strspn(v->text, "0123456789") != strlen(v->text))
        return false;
    for (const char *p = v->text; *p; p++)
        if (__builtin_mul_overflow(n, 10U, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
            return false;
    *ret = n;
    return true;
}

const char *json_show(const char *text, char *ret, size_t size)
{
    size_t n = strlen(text), out = 0;

    for (size_t i = 0; i < n;) {
        size_t length = utf8_length((const unsigned char *)text + i, n - i);
        bool plain = length > 1 || (length == 1 && text[i] >= 0x20 && text[i] != 0x7f);
        if (length == 0)
            length = 1;
        if (out + length >= size)
            break;
        memcpy(ret + out, plain ? text + i : "?", length);
        out += length;
        i += length;
    }
    ret[out] = '\0';
    return ret;
}
