/* Datagrams as a sender leaves them, for the tests of what is written and read. */
#ifndef TESTS_UNIT_DATAGRAMS_H
#define TESTS_UNIT_DATAGRAMS_H

#include "wire/datagram.h"

enum {
    DATAGRAMS_MAX = 4000,
    DATAGRAMS_TO = 7, /* their receiver; they are numbered from 1 */
};

extern const struct datagram_header datagrams_header;

struct datagrams {
    size_t n;
    struct {
        uint8_t *bytes; /* of just that size, so that a sanitizer sees a read past the end */
        size_t size;
    } all[DATAGRAMS_MAX];
};

struct datagrams *datagrams_new(void);
void datagrams_free(struct datagrams *d);

/* Appends as many datagrams of at most `room` bytes as the messages need. */
void datagrams_write(struct datagrams *d, const struct message *messages, size_t n, size_t room);

/* Where there is a header, puts the right checksum into it. */
void datagrams_fix_checksum(uint8_t *bytes, size_t size);

#endif
