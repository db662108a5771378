#include "ctl/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static bool reserve(struct buffer *b, size_t more)
{
    if (b->failed)
        return false;
    if (b->size + more + 1 <= b->capacity)
        return true;
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity < b->size + more + 1)
        capacity *= 2;
    char *bytes = realloc(b->bytes, capacity);
    if (!bytes) {
        b->failed = true;
        return false;
    }
    b->bytes = bytes;
    b->capacity = capacity;
    return true;
}

void buffer_add(struct buffer *b, const char *bytes, size_t size)
{
    if (!reserve(b, size))
        return;
    memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
    b->bytes[b->size] = '\0';
}

void buffer_add_text(struct buffer *b, const char *text)
{
    buffer_add(b, text, strlen(text));
}

void buffer_addf(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !reserve(b, (size_t)n))
        return;
    va_start(args, format);
    vsnprintf(b->bytes + b->size, (size_t)n + 1, format, args);
    va_end(args);
    b->size += (size_t)n;
}

void buffer_add_json(struct buffer *b, const char *bytes, size_t size)
{
    buffer_add(b, "\"", 1);
    size_t plain = 0; /* bytes from here to i need no escape */
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool c1 = i + 1 < size && text_is_c1(bytes + i);
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && !c1)
            continue;
        buffer_add(b, bytes + plain, i - plain);
        if (c1)
            c = (unsigned char)bytes[++i]; /* the second byte is the code point */
        plain = i + 1;
        if (c == '"' || c == '\\')
            buffer_add(b, (char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            buffer_add(b, "\\n", 2);
        else if (c == '\t')
            buffer_add(b, "\\t", 2);
        else
            buffer_addf(b, "\\u%04x", c);
    }
    buffer_add(b, bytes + plain, size - plain);
    buffer_add(b, "\"", 1);
}

void buffer_done(struct buffer *b)
{
    free(b->bytes);
    *b = (struct buffer){0};
}

bool number_read(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    if (!*text)
        return false;
    uint64_t n = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9')
            return false;
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*c - '0'), &n))
            return false;
    }
    if (n < min || n > max)
        return false;
    *ret = n;
    return true;
}

bool seconds_read(const char *text, uint64_t *ret_msec)
{
    if (!((*text >= '0' && *text <= '9') || *text == '.'))
        return false;
    for (const char *c = text; *c; c++)
        if (!((*c >= '0' && *c <= '9') || *c == '.'))
            return false;
    char *end;
    double seconds = strtod(text, &end);
    if (*end || !(seconds >= 0.001 && seconds <= 3600000.0))
        return false;
    *ret_msec = (uint64_t)(seconds * 1000.0 + 0.5);
    return true;
}

bool text_is_utf8(const char *bytes, size_t size, bool nul)
{
    const unsigned char *p = (const unsigned char *)bytes, *end = p + size;
    while (p < end) {
        unsigned c = *p++;
        if (c < 0x80) {
            if (c == 0 && !nul)
                return false;
            continue;
        }
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || end - p < more)
            return false;
        uint32_t point = c & (0x3fU >> more);
        for (int i = 0; i < more; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (p[i] & 0x3fU);
        }
        if ((more == 2 && (point < 0x800 || (point >= 0xd800 && point < 0xe000))) ||
            (more == 3 && (point < 0x10000 || point > 0x10ffff)))
            return false;
        p += more;
    }
    return true;
}

size_t text_columns(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

bool text_is_c1(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    return p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
}

void text_print(FILE *f, const char *text, bool terminal)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (terminal && text_is_c1(text)) {
            fprintf(f, "\\xc2\\x%02x", (unsigned char)*++text);
            continue;
        }
        switch (c) {
        case '\\':
            fputs("\\\\", f);
            break;
        case '\t':
            fputs("\\t", f);
            break;
        case '\n':
            fputs("\\n", f);
            break;
        case '\r':
            fputs("\\r", f);
            break;
        default:
            if (c < 0x20 || c == 0x7f)
                fprintf(f, "\\x%02x", c);
            else
                putc(c, f);
        }
    }
}

void text_show(FILE *f, const char *text, bool lines)
{
    for (; *text; text++) {
        bool c1 = text_is_c1(text), control = c1 || (unsigned char)*text < 0x20 || *text == 0x7f;
        putc(control && !(lines && *text == '\n') ? '?' : *text, f);
        text += c1;
    }
}

void time_format(int64_t time_usec, bool brief, char ret[TEXT_TIME_MAX])
{
    time_t seconds = (time_t)(time_usec / 1000000);
    struct tm tm;
    if (time_usec < 0 || !gmtime_r(&seconds, &tm)) {
        snprintf(ret, TEXT_TIME_MAX, "-");
        return;
    }
    size_t n = strftime(ret, TEXT_TIME_MAX, brief ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%dT%H:%M:%S", &tm);
    if (!brief)
        snprintf(ret + n, TEXT_TIME_MAX - n, ".%06dZ", (int)(time_usec % 1000000));
}

void clock_format(int64_t time_usec, int64_t now_usec, char ret[TEXT_TIME_MAX])
{
    time_t seconds = (time_t)(time_usec / 1000000);
    struct tm tm;
    if (time_usec < 0 || !localtime_r(&seconds, &tm)) {
        snprintf(ret, TEXT_TIME_MAX, "-");
        return;
    }
    bool today = now_usec - time_usec < INT64_C(86400000000);
    strftime(ret, TEXT_TIME_MAX, today ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
}

void duration_format(int64_t usec, char ret[TEXT_SHORT_MAX])
{
    double ms = (double)usec / 1000.0;
    int64_t seconds = usec / 1000000;
    if (usec < 9950)
        snprintf(ret, TEXT_SHORT_MAX, "%.1fms", ms);
    else if (usec < 999500)
        snprintf(ret, TEXT_SHORT_MAX, "%.0fms", ms);
    else if (usec < 9950000)
        snprintf(ret, TEXT_SHORT_MAX, "%.1fs", ms / 1000.0);
    else if (seconds < 120)
        snprintf(ret, TEXT_SHORT_MAX, "%llds", (long long)seconds);
    else if (seconds < 7200)
        snprintf(ret, TEXT_SHORT_MAX, "%lldmin", (long long)(seconds / 60));
    else if (seconds < 172800)
        snprintf(ret, TEXT_SHORT_MAX, "%lldh", (long long)(seconds / 3600));
    else
        snprintf(ret, TEXT_SHORT_MAX, "%lldd", (long long)(seconds / 86400));
}

void size_format(int64_t bytes, char ret[TEXT_SHORT_MAX])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) {
        snprintf(ret, TEXT_SHORT_MAX, "%lld B", (long long)bytes);
        return;
    }
    double n = (double)bytes / 1024.0;
    size_t unit = 0;
    for (; n >= 1023.95 && unit < 4; unit++)
        n /= 1024.0;
    snprintf(ret, TEXT_SHORT_MAX, n < 9.95 ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

static int64_t clock_usec(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t monotonic_usec(void)
{
    return (uint64_t)clock_usec(CLOCK_MONOTONIC);
}

int64_t wall_usec(void)
{
    return clock_usec(CLOCK_REALTIME);
}

uint64_t random_bits(void)
{
    uint64_t bits;
    if (getrandom(&bits, sizeof(bits), 0) == (ssize_t)sizeof(bits))
        return bits;
    /* Only a kernel without getrandom comes here; keys need to differ, not to be secret. */
    return ((uint64_t)wall_usec() << 20) ^ ((uint64_t)getpid() << 44) ^ monotonic_usec();
}
