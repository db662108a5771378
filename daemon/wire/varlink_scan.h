/* What JSON itself demands of a message's bytes, and the limits that we add: checked before cJSON sees them, because
 * cJSON 1.7.15 takes invalid UTF-8 and control characters, and cuts strings at \u0000. Private to wire/varlink*.c.
 * Source: RFC 8259; the Unicode Standard, table 3-7 (well-formed UTF-8). */
#ifndef WIRE_VARLINK_SCAN_H
#define WIRE_VARLINK_SCAN_H

#include <stdbool.h>
#include <stddef.h>

enum {
    VARLINK_KEYS_MAX = 64,      /* of one object                                   */
    VARLINK_VALUES_MAX = 65536, /* of one message                                  */
    VARLINK_NUMBER_MAX = 40,    /* characters of a number; cJSON reads at most 63  */
};

/* True where the bytes are exactly one JSON object within the limits; else *ret_reason is a string constant. */
bool varlink_scan(const char *bytes, size_t size, const char **ret_reason);

/* Bytes of the well-formed UTF-8 character that begins at p, 1 to 4; 0: there is none. */
size_t varlink_utf8_length(const unsigned char *p, const unsigned char *end);

#endif
