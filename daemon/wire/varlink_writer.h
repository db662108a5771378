/* Writes JSON straight into a growing buffer: what a daemon answers, without a tree in between.
 *
 * Commas come by themselves. A writer that ran out of memory stays failed and takes nothing more; look at `failed` once
 * at the end. Strings need not be UTF-8: what is not well-formed comes out as U+FFFD, so that no reply is ever invalid.
 */
#ifndef WIRE_VARLINK_WRITER_H
#define WIRE_VARLINK_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct varlink_writer {
    char *bytes; /* malloc'd, the caller's to free */
    size_t size, capacity;
    bool failed;
};

/* As they stand, without a comma: for what frames a message. */
void varlink_write_bytes(struct varlink_writer *w, const char *bytes, size_t size);

/* `key` NULL: an element of an array. `bracket`: '{' or '[', and its partner. */
void varlink_write_open(struct varlink_writer *w, const char *key, char bracket);
void varlink_write_close(struct varlink_writer *w, char bracket);
void varlink_write_int(struct varlink_writer *w, const char *key, int64_t v);
/* Slots, counters: unsigned here, at most INT64_MAX in Varlink. */
void varlink_write_uint(struct varlink_writer *w, const char *key, uint64_t v);
void varlink_write_bool(struct varlink_writer *w, const char *key, bool v);
void varlink_write_string(struct varlink_writer *w, const char *key, const char *v);
void varlink_write_text(struct varlink_writer *w, const char *key, const char *bytes, size_t size);

#endif
