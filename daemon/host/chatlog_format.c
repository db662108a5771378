/* One message as one line, whatever its text: the bytes are the same on every replica. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/chatlog.h"

/* The longest that one byte becomes: \u001f. */
enum { ESCAPE_BYTES_MAX = 6, BLOCK_BYTES = 64, USEC_PER_SEC = 1000000 };

/* Room for `size` bytes more. */
static bool reserve(struct line_buffer *b, size_t size)
{
    size_t capacity = b->capacity ? b->capacity : 4096;
    char *bytes;

    while (capacity - b->size < size)
        if (__builtin_mul_overflow(capacity, 2U, &capacity))
            return false;
    if (capacity == b->capacity)
        return true;
    bytes = realloc(b->bytes, capacity);
    if (!bytes)
        return false;
    b->bytes = bytes;
    b->capacity = capacity;
    return true;
}

static void put(struct line_buffer *b, const void *bytes, size_t size)
{
    memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
}

static unsigned is_special(unsigned char c, unsigned char quote)
{
    return (c < 0x20) | (c == 0x7f) | (c == '\\') | (c == quote);
}

/* Without a branch, so that the compiler takes many bytes at once. */
static bool is_plain_block(const char *text, unsigned char quote)
{
    unsigned special = 0;
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        special |= is_special((unsigned char)text[i], quote);
    return special == 0;
}

/* Puts what stands for itself from text[i] on, and answers where that ends. Not byte by byte: a log that lets a
 * gigabyte go has as much to write. */
static size_t put_run(struct line_buffer *b, const char *text, size_t i, size_t size, unsigned char quote)
{
    size_t from = i;
    while (size - i >= BLOCK_BYTES && is_plain_block(text + i, quote))
        i += BLOCK_BYTES;
    while (i < size && !is_special((unsigned char)text[i], quote))
        i++;
    if (i > from)
        put(b, text + from, i - from);
    return i;
}

/* For full and plain. */
static void put_escaped(struct line_buffer *b, const char *text, size_t size)
{
    static const char from[] = "\\\t\n\r", to[] = "\\tnr", hex[] = "0123456789abcdef";

    for (size_t i = 0; (i = put_run(b, text, i, size, '\\')) < size; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *special = c ? strchr(from, c) : NULL;
        if (special)
            put(b, (char[]){'\\', to[special - from]}, 2);
        else
            put(b, (char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
    }
}

static void put_json_string(struct line_buffer *b, const char *text, size_t size)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt", hex[] = "0123456789abcdef";

    put(b, "\"", 1);
    for (size_t i = 0; (i = put_run(b, text, i, size, '"')) < size; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *special = c ? strchr(from, c) : NULL;
        if (special)
            put(b, (char[]){'\\', to[special - from]}, 2);
        else if (c < 0x20)
            put(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        else
            put(b, &c, 1);
    }
    put(b, "\"", 1);
}

static void put_time(struct line_buffer *b, uint64_t time_usec)
{
    time_t seconds = (time_t)(time_usec / USEC_PER_SEC);
    struct tm tm;
    char text[64];
    int n;

    gmtime_r(&seconds, &tm);
    n = snprintf(text, sizeof text, "%04lld-%02d-%02dT%02d:%02d:%02d.%06uZ", tm.tm_year + 1900LL, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(time_usec % USEC_PER_SEC));
    put(b, text, (size_t)n);
}

int chatlog_format(struct line_buffer *b, enum log_format format, const struct log_message *m)
{
    char head[128];

    if (!reserve(b, ESCAPE_BYTES_MAX * (m->author_size + m->text_size) + 2 * sizeof head))
        return -ENOMEM;
    switch (format) {
    case LOG_FORMAT_FULL:
        put(b, head, (size_t)snprintf(head, sizeof head, "%llu\t", (unsigned long long)m->slot));
        put_time(b, m->time_usec);
        put(b, "\t", 1);
        put_escaped(b, m->author, m->author_size);
        put(b, "\t", 1);
        put_escaped(b, m->text, m->text_size);
        break;
    case LOG_FORMAT_PLAIN:
        put_escaped(b, m->text, m->text_size);
        break;
    case LOG_FORMAT_JSON:
        put(b, head,
            (size_t)snprintf(head, sizeof head, "{\"slot\":%llu,\"time_usec\":%llu,\"author\":",
                             (unsigned long long)m->slot, (unsigned long long)m->time_usec));
        put_json_string(b, m->author, m->author_size);
        put(b, ",\"text\":", 8);
        put_json_string(b, m->text, m->text_size);
        put(b, "}", 1);
        break;
    }
    put(b, "\n", 1);
    return 0;
}
