#include "wire/varlink_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/varlink_scan.h"

static bool reserve(struct varlink_writer *w, size_t size)
{
    if (w->failed)
        return false;
    if (w->capacity - w->size >= size)
        return true;
    size_t capacity = w->capacity > 0 ? w->capacity : 512;
    while (capacity - w->size < size)
        capacity *= 2;
    char *bytes = realloc(w->bytes, capacity);
    if (bytes == NULL) {
        w->failed = true;
        return false;
    }
    w->bytes = bytes;
    w->capacity = capacity;
    return true;
}

void varlink_write_bytes(struct varlink_writer *w, const char *bytes, size_t size)
{
    if (size == 0 || !reserve(w, size))
        return;
    memcpy(w->bytes + w->size, bytes, size);
    w->size += size;
}

static void write_literal(struct varlink_writer *w, const char *text)
{
    varlink_write_bytes(w, text, strlen(text));
}

/* The last byte tells whether something stands before: brackets and the NUL of the message before open a place. */
static void write_key(struct varlink_writer *w, const char *key)
{
    if (w->size > 0 && memchr("{[:", w->bytes[w->size - 1], 4) == NULL)
        write_literal(w, ",");
    if (key != NULL) {
        write_literal(w, "\"");
        write_literal(w, key);
        write_literal(w, "\":");
    }
}

void varlink_write_open(struct varlink_writer *w, const char *key, char bracket)
{
    write_key(w, key);
    varlink_write_bytes(w, &bracket, 1);
}

void varlink_write_close(struct varlink_writer *w, char bracket)
{
    varlink_write_bytes(w, &bracket, 1);
}

void varlink_write_int(struct varlink_writer *w, const char *key, int64_t v)
{
    char text[24], *p = text + sizeof(text);
    uint64_t left = v < 0 ? -(uint64_t)v : (uint64_t)v;
    write_key(w, key);
    do
        *--p = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (v < 0)
        *--p = '-';
    varlink_write_bytes(w, p, (size_t)(text + sizeof(text) - p));
}

void varlink_write_uint(struct varlink_writer *w, const char *key, uint64_t v)
{
    varlink_write_int(w, key, v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

void varlink_write_bool(struct varlink_writer *w, const char *key, bool v)
{
    write_key(w, key);
    write_literal(w, v ? "true" : "false");
}

void varlink_write_string(struct varlink_writer *w, const char *key, const char *v)
{
    varlink_write_text(w, key, v, strlen(v));
}

static void write_escaped(struct varlink_writer *w, unsigned char c)
{
    char text[8];
    const char *short_forms = "\"\"\\\\\nn\tt\rr\bb\ff";
    for (const char *p = short_forms; *p != 0; p += 2)
        if ((unsigned char)*p == c) {
            snprintf(text, sizeof(text), "\\%c", p[1]);
            write_literal(w, text);
            return;
        }
    snprintf(text, sizeof(text), "\\u%04x", c);
    write_literal(w, text);
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void varlink_write_text(struct varlink_writer *w, const char *key, const char *bytes, size_t size)
{
    const unsigned char *p = (const unsigned char *)bytes, *end = p + size;
    write_key(w, key);
    write_literal(w, "\"");
    while (p < end) {
        const unsigned char *begin = p;
        while (p < end && is_plain(*p))
            p++;
        varlink_write_bytes(w, (const char *)begin, (size_t)(p - begin));
        if (p == end)
            break;
        size_t n = varlink_utf8_length(p, end);
        if (n == 0)
            write_literal(w, "\xef\xbf\xbd");
        else if (n == 1)
            write_escaped(w, *p);
        else
            varlink_write_bytes(w, (const char *)p, n);
        p += n == 0 ? 1 : n;
    }
    write_literal(w, "\"");
}
