#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "tests/unit/datagrams.h"

const struct datagram_header datagrams_header = {
    .cluster_name_hash = UINT64_C(0x0807060504030201),
    .cluster = {{0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf}},
    .from = 3,
    .from_life = UINT64_C(0x1817161514131211),
    .boot = UINT64_C(0x2827262524232221),
};

static void keep(struct datagrams *d, struct datagram_writer *w)
{
    assert_in_range(w->size, DATAGRAM_HEADER_SIZE, w->room);
    assert_in_range(d->n, 0, DATAGRAMS_MAX - 1);
    datagram_finish(w, DATAGRAMS_TO, d->n + 1);
    d->all[d->n].bytes = malloc(w->size);
    assert_non_null(d->all[d->n].bytes);
    memcpy(d->all[d->n].bytes, w->bytes, w->size);
    d->all[d->n++].size = w->size;
}

void datagrams_write(struct datagrams *d, const struct message *messages, size_t n, size_t room)
{
    static uint8_t buffer[DATAGRAM_BYTES_MAX];
    struct datagram_writer w;
    datagram_begin(&w, buffer, room, &datagrams_header);
    for (size_t i = 0; i < n; i++) {
        struct datagram_cursor c = {0};
        while (!datagram_put(&w, &messages[i], &c)) {
            assert_false(datagram_is_empty(&w)); /* else it would never end */
            keep(d, &w);
            datagram_begin(&w, buffer, room, &datagrams_header);
        }
    }
    if (!datagram_is_empty(&w))
        keep(d, &w);
}

void datagrams_free(struct datagrams *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->all[i].bytes);
    free(d);
}

struct datagrams *datagrams_new(void)
{
    struct datagrams *d = calloc(1, sizeof *d);
    assert_non_null(d);
    return d;
}

enum { AT_CHECKSUM = 36 };

void datagrams_fix_checksum(uint8_t *bytes, size_t size)
{
    if (size < DATAGRAM_HEADER_SIZE)
        return;
    put_u32(bytes + AT_CHECKSUM, 0);
    put_u32(bytes + AT_CHECKSUM, crc32c(0, bytes, size));
}
