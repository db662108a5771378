/* Text as people and JSON want it: numbers read strictly, strings escaped, times and sizes in words. Pure but for the
 * clocks. */
#ifndef CTL_TEXT_H
#define CTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A growing string. Once memory ran out, `failed` stays set and appending does nothing; the owner looks once, at the
 * end. */
struct buffer {
    char *bytes; /* closed by a NUL that `size` does not count; NULL while empty */
    size_t size, capacity;
    bool failed;
};
void buffer_add(struct buffer *b, const char *bytes, size_t size);
void buffer_add_text(struct buffer *b, const char *text);
void buffer_addf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As a JSON string with its quotes, without control characters. The bytes must be UTF-8: see text_is_utf8(). */
void buffer_add_json(struct buffer *b, const char *bytes, size_t size);
void buffer_done(struct buffer *b);

/* Decimal digits only, in [min, max]; *ret is untouched on false. */
bool number_read(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/* Seconds with an optional fraction ("0.5") as milliseconds; at least 1 ms, at most an hour times a thousand. */
bool seconds_read(const char *text, uint64_t *ret_msec);

/* UTF-8 without surrogates and overlong forms. NUL counts as wrong where `nul` is false. */
bool text_is_utf8(const char *bytes, size_t size, bool nul);
/* How many columns, one a code point. */
size_t text_columns(const char *text);

/* Writes a message's text as the `full` chat log does: backslash, tab, LF, CR as \\ \t \n \r, other control characters
 * \xHH. Those of Unicode's C1, U+0080 to U+009F, which the file keeps, drive a terminal as well: to one they go as
 * \xc2\xHH. */
void text_print(FILE *f, const char *text, bool terminal);
/* Writes what a daemon says for a person, with a '?' for each control character; `lines`: but for LF. */
void text_show(FILE *f, const char *text, bool lines);
/* At the first byte of one of C1. */
bool text_is_c1(const char *text);

enum { TEXT_TIME_MAX = 40, TEXT_SHORT_MAX = 32 };
/* 2026-01-31T23:59:59.123456Z; `brief`: 2026-01-31 23:59:59 */
void time_format(int64_t time_usec, bool brief, char ret[TEXT_TIME_MAX]);
/* Local time of day, 14:02:11; with the date where it is over a day ago. */
void clock_format(int64_t time_usec, int64_t now_usec, char ret[TEXT_TIME_MAX]);
/* 0.3ms 12ms 4.1s 3min 2h 5d */
void duration_format(int64_t usec, char ret[TEXT_SHORT_MAX]);
/* 812 B, 1.9 MiB */
void size_format(int64_t bytes, char ret[TEXT_SHORT_MAX]);

uint64_t monotonic_usec(void);
int64_t wall_usec(void);
/* Random bits from the kernel; for keys. */
uint64_t random_bits(void);

#endif
