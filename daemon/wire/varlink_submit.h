/* The one call that comes in by the hundred thousand: a Submit in its plain form, read straight from its bytes.
 *
 * Plain: method, then parameters, and nothing else; no white space but a blank behind a colon or comma; strings without
 * escapes; numbers of digits alone. That is how programs print it. Anything else is for varlink_parse(). */
#ifndef WIRE_VARLINK_SUBMIT_H
#define WIRE_VARLINK_SUBMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct varlink_string {
    const char *bytes; /* into the message, not terminated; NULL: absent */
    size_t size;
};

struct varlink_submit {
    struct varlink_string text, author, key;
    int64_t since, timeout_ms; /* -1: absent */
};

/* True only where varlink_parse() and varlink_call_read() would take the message too, and give exactly this: a Submit
 * without "more" and "oneway". False says nothing about it. */
bool varlink_submit_read(const char *bytes, size_t size, struct varlink_submit *ret);

#endif
