/* The replicas' datagrams when they are not what a replica sent: cut, damaged, or made to harm.
 *
 * Trap 46: bytes from outside never lead past the datagram's end, whatever the checksum says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "paxos/invariant.h"
#include "tests/unit/datagrams.h"
#include "tests/unit/messages.h"

enum { VALUE_BYTES_MAX = MESSAGES_VALUE_BYTES_MAX };

_Noreturn void invariant_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "%s:%d: %s (%llu, %llu)\n", file, line, what, (unsigned long long)a, (unsigned long long)b);
    abort();
}

/* Far too large for a stack. */
static struct datagram_message decoded;

static int open_bytes(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1); /* of just that size */
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    struct datagram_reader r;
    struct datagram_header h;
    const int error = datagram_open(&r, copy, size, &h);
    free(copy);
    return error;
}

/* Reads all there is, as a host does, and looks at every byte that it is shown. Answers what ended it. */
static int read_through(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    struct datagram_reader r;
    struct datagram_header h;
    int result = datagram_open(&r, copy, size, &h);
    if (result == DATAGRAM_OK) {
        while ((result = datagram_next(&r, &h, VALUE_BYTES_MAX, &decoded)) == 1) {
            uint32_t sum = 0;
            for (uint32_t i = 0; i < decoded.n_pieces; i++) {
                const struct piece *p = &decoded.pieces[i];
                assert_in_range(p->total, VALUE_HEADER_SIZE, VALUE_BYTES_MAX);
                assert_in_range(p->size, 1, p->total);
                assert_in_range(p->offset, 0, p->total - p->size);
                sum = crc32c(sum, p->bytes, p->size);
            }
            if (decoded.message.type == MESSAGE_PROMISE)
                assert_in_range(decoded.message.promise.n_entries, 0, DATAGRAM_PIECES_MAX);
            (void)sum;
        }
        if (result != 0) /* and it stays so */
            assert_int_equal(datagram_next(&r, &h, VALUE_BYTES_MAX, &decoded), DATAGRAM_MALFORMED);
    }
    free(copy);
    return result;
}

static struct datagrams *one_of_each(struct prng *p, size_t room)
{
    struct datagrams *d = datagrams_new();
    for (size_t i = 0; i < MESSAGE_TYPES; i++) {
        struct message m;
        message_random(p, message_types[i], room, 5, &m);
        datagrams_write(d, &m, 1, room);
        message_forget(&m);
    }
    return d;
}

static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 31);
    struct datagrams *d = one_of_each(&p, 600);
    for (size_t i = 0; i < d->n; i++) {
        for (size_t size = 0; size < d->all[i].size; size++) {
            assert_int_not_equal(open_bytes(d->all[i].bytes, size), DATAGRAM_OK);
            if (size < DATAGRAM_HEADER_SIZE)
                assert_int_equal(open_bytes(d->all[i].bytes, size), DATAGRAM_TRUNCATED);
        }
    }
    datagrams_free(d);
}

static void test_every_flipped_bit_is_refused(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 32);
    struct datagrams *d = one_of_each(&p, 512);
    for (size_t i = 0; i < d->n; i++) {
        for (size_t bit = 0; bit < 8 * d->all[i].size; bit++) {
            d->all[i].bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_not_equal(open_bytes(d->all[i].bytes, d->all[i].size), DATAGRAM_OK);
            d->all[i].bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(open_bytes(d->all[i].bytes, d->all[i].size), DATAGRAM_OK);
    }
    datagrams_free(d);
}

/* Cut or longer, with a checksum that fits: only where a message ends is there an end. */
static void test_sizes_must_add_up(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 33);
    struct datagrams *d = one_of_each(&p, 512);
    for (size_t i = 0; i < d->n; i++) {
        const size_t whole = d->all[i].size;
        uint8_t bytes[512 + 8] = {0};
        memcpy(bytes, d->all[i].bytes, whole);
        for (size_t size = DATAGRAM_HEADER_SIZE + 1; size < whole + 8; size++) {
            datagrams_fix_checksum(bytes, size);
            /* One message each, since all are written apart; the last may end early with pieces of its own. */
            assert_int_equal(open_bytes(bytes, size), size == whole ? DATAGRAM_OK : DATAGRAM_MALFORMED);
        }
    }
    datagrams_free(d);
}

static void test_damage_with_a_good_checksum_never_crashes(void **state)
{
    (void)state;
    const uint64_t seed = 34;
    struct prng p;
    prng_seed(&p, seed);
    uint32_t good = 0, bad = 0;
    for (int round = 0; round < 40; round++) {
        struct datagrams *d = one_of_each(&p, 512 + prng_below(&p, 1000));
        for (int i = 0; i < 2500; i++) {
            const size_t which = prng_below(&p, d->n);
            size_t size = d->all[which].size;
            uint8_t bytes[1600];
            memcpy(bytes, d->all[which].bytes, size);
            for (uint64_t n = prng_below(&p, 4); n > 0; n--) {
                /* Mostly where the fields are. */
                const size_t first = prng_below(&p, 10) == 0 ? 0 : DATAGRAM_HEADER_SIZE;
                size_t at = first + prng_below(&p, prng_below(&p, 2) == 0 ? 70 : size);
                if (at < size)
                    bytes[at] = (uint8_t)(prng_below(&p, 2) == 0 ? prng_next(&p) : bytes[at] ^ 1u << prng_below(&p, 8));
            }
            if (prng_below(&p, 8) == 0)
                size -= prng_below(&p, size - DATAGRAM_HEADER_SIZE);
            datagrams_fix_checksum(bytes, size);
            if (read_through(bytes, size) == 0)
                good++;
            else
                bad++;
        }
        datagrams_free(d);
    }
    assert_in_range(good, 1000, 99000);
    assert_in_range(bad, 1000, 99000);
}

static void test_random_bodies_never_crash(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 35);
    uint8_t bytes[600] = "MPXD\x02";
    for (int i = 0; i < 60000; i++) {
        const size_t size = DATAGRAM_HEADER_SIZE + 4 + prng_below(&p, sizeof bytes - DATAGRAM_HEADER_SIZE - 4);
        const uint8_t mask = (uint8_t)prng_next(&p);
        for (size_t k = DATAGRAM_HEADER_SIZE; k < size; k++)
            bytes[k] = (uint8_t)prng_next(&p) & mask;
        bytes[DATAGRAM_HEADER_SIZE] = (uint8_t)message_types[prng_below(&p, MESSAGE_TYPES)];
        bytes[DATAGRAM_HEADER_SIZE + 1] &= 1;
        put_u16(bytes + DATAGRAM_HEADER_SIZE + 2, (uint16_t)(size - DATAGRAM_HEADER_SIZE - 4));
        datagrams_fix_checksum(bytes, size);
        read_through(bytes, size);
    }
}

static void test_header_is_checked(void **state)
{
    (void)state;
    const struct message m = {.type = MESSAGE_POSITION};
    struct datagrams *d = datagrams_new();
    datagrams_write(d, &m, 1, 512);
    const size_t size = d->all[0].size;
    const struct {
        size_t at;
        uint8_t byte;
        int error;
    } cases[] = {
        {0, 'm', DATAGRAM_FOREIGN},       {4, DATAGRAM_VERSION + 1, DATAGRAM_VERSION_UNKNOWN},
        {4, 0, DATAGRAM_VERSION_UNKNOWN}, {5, 1, DATAGRAM_MALFORMED}, /* sealed */
        {5, 2, DATAGRAM_MALFORMED},       {6, 1, DATAGRAM_MALFORMED},
        {7, 1, DATAGRAM_MALFORMED},       {32, REPLICA_ID_NONE, DATAGRAM_MALFORMED},
        {34, 1, DATAGRAM_MALFORMED},      {64, 1, DATAGRAM_MALFORMED},
        {103, 1, DATAGRAM_MALFORMED},     {104, 0, DATAGRAM_MALFORMED}, /* no such type */
        {104, 17, DATAGRAM_MALFORMED},    {104, 31, DATAGRAM_MALFORMED},
        {104, 37, DATAGRAM_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[512];
        memcpy(bytes, d->all[0].bytes, size);
        bytes[cases[i].at] = cases[i].byte;
        datagrams_fix_checksum(bytes, size);
        assert_int_equal(open_bytes(bytes, size), cases[i].error);
    }
    assert_int_equal(open_bytes(d->all[0].bytes, DATAGRAM_HEADER_SIZE), DATAGRAM_CHECKSUM);
    static uint8_t large[DATAGRAM_BYTES_MAX + 1];
    memcpy(large, d->all[0].bytes, DATAGRAM_HEADER_SIZE);
    large[DATAGRAM_HEADER_SIZE] = MESSAGE_SUBMIT;
    datagrams_fix_checksum(large, sizeof large);
    assert_int_equal(open_bytes(large, sizeof large), DATAGRAM_MALFORMED);
    datagrams_free(d);
}

static void test_empty_datagram_has_no_message(void **state)
{
    (void)state;
    uint8_t buffer[512];
    struct datagram_writer w;
    datagram_begin(&w, buffer, sizeof buffer, &datagrams_header);
    datagram_finish(&w, 7, 1);
    assert_int_equal(read_through(buffer, w.size), 0);
}

/* --- one field out of range at a time --- */

/* What ends the reading of one message with this body. */
static int read_body(enum message_type type, uint8_t flags, const uint8_t *body, size_t size)
{
    uint8_t *bytes = calloc(1, DATAGRAM_HEADER_SIZE + 4 + size);
    assert_non_null(bytes);
    memcpy(bytes, "MPXD\x02", 5);
    bytes[DATAGRAM_HEADER_SIZE] = (uint8_t)type;
    bytes[DATAGRAM_HEADER_SIZE + 1] = flags;
    put_u16(bytes + DATAGRAM_HEADER_SIZE + 2, (uint16_t)size);
    memcpy(bytes + DATAGRAM_HEADER_SIZE + 4, body, size);
    datagrams_fix_checksum(bytes, DATAGRAM_HEADER_SIZE + 4 + size);
    const int result = read_through(bytes, DATAGRAM_HEADER_SIZE + 4 + size);
    free(bytes);
    return result;
}

static void test_flags_are_known_ones_and_nothing_trails(void **state)
{
    (void)state;
    const uint8_t allowed[] = {
        [MESSAGE_HEARTBEAT] = 7, [MESSAGE_PROMISE] = 1, [MESSAGE_FETCH] = 1, [MESSAGE_FLUSHED] = 1};
    struct prng p;
    prng_seed(&p, 41);
    for (size_t i = 0; i < MESSAGE_TYPES; i++) {
        struct message m;
        message_random(&p, message_types[i], 512, 0, &m);
        if (message_types[i] == MESSAGE_BODY) {
            free(m.body.value);
            m.body.value = value_random(&p, 50);
        }
        if (message_types[i] == MESSAGE_STATE) {
            free(m.state.slot0);
            m.state.slot0 = NULL;
        }
        struct datagrams *d = datagrams_new();
        datagrams_write(d, &m, 1, 512);
        const size_t size = d->all[0].size - DATAGRAM_HEADER_SIZE - 4;
        const uint8_t may = message_types[i] < sizeof allowed ? allowed[message_types[i]] : 0;
        for (unsigned flags = 0; flags < 256; flags++) {
            const int result =
                read_body(message_types[i], (uint8_t)flags, d->all[0].bytes + DATAGRAM_HEADER_SIZE + 4, size);
            assert_int_equal(result, (flags & ~(unsigned)may) == 0 ? 0 : DATAGRAM_MALFORMED);
        }
        /* Nor is there a byte after the last field. */
        uint8_t longer[512] = {0};
        memcpy(longer, d->all[0].bytes + DATAGRAM_HEADER_SIZE + 4, size);
        assert_int_equal(read_body(message_types[i], 0, longer, size), 0);
        assert_int_equal(read_body(message_types[i], 0, longer, size + 1), DATAGRAM_MALFORMED);
        datagrams_free(d);
        message_forget(&m);
    }
}

static void test_fields_of_whole_messages(void **state)
{
    (void)state;
    uint8_t b[1024] = {0};
    put_u64(b, DATAGRAM_NUMBER_MAX); /* ballot of a NACK */
    b[12] = REPLICA_ID_MAX;
    assert_int_equal(read_body(MESSAGE_NACK, 0, b, 26), 0);
    b[12] = REPLICA_ID_NONE;
    assert_int_equal(read_body(MESSAGE_NACK, 0, b, 26), DATAGRAM_MALFORMED);
    put_u64(b, 0);
    assert_int_equal(read_body(MESSAGE_NACK, 0, b, 26), 0);
    put_u64(b, DATAGRAM_NUMBER_MAX + 1);
    b[12] = 0;
    assert_int_equal(read_body(MESSAGE_NACK, 0, b, 26), DATAGRAM_MALFORMED);

    memset(b, 0, sizeof b); /* slot of an ANSWER */
    put_u64(b + 8, DATAGRAM_NUMBER_MAX);
    assert_int_equal(read_body(MESSAGE_ANSWER, 0, b, 16), 0);
    put_u64(b + 8, DATAGRAM_NUMBER_MAX + 1);
    assert_int_equal(read_body(MESSAGE_ANSWER, 0, b, 16), DATAGRAM_MALFORMED);

    memset(b, 0, sizeof b); /* echoes of a HEARTBEAT */
    for (uint8_t n = 0; n < 40; n++) {
        b[62] = n;
        assert_int_equal(read_body(MESSAGE_HEARTBEAT, 0, b, 63 + n * 11u), n <= REPLICAS_MAX ? 0 : DATAGRAM_MALFORMED);
    }
    b[62] = 1, b[63] = REPLICA_ID_NONE;
    assert_int_equal(read_body(MESSAGE_HEARTBEAT, 0, b, 63 + 11), DATAGRAM_MALFORMED);

    memset(b, 0, sizeof b);                                                     /* a PROMISE with one entry */
    assert_int_equal(read_body(MESSAGE_PROMISE, 0, b, 37), DATAGRAM_MALFORMED); /* no page_slots */
    b[25] = 1;
    assert_int_equal(read_body(MESSAGE_PROMISE, 0, b, 37), 0);
    b[37 + 21] = 1; /* chosen */
    assert_int_equal(read_body(MESSAGE_PROMISE, 0, b, 37 + 42), 0);
    b[37 + 21] = 2;
    assert_int_equal(read_body(MESSAGE_PROMISE, 0, b, 37 + 42), DATAGRAM_MALFORMED);
    memset(b + 21, 0xff, 8); /* page and page_slots: their product */
    assert_int_equal(read_body(MESSAGE_PROMISE, 0, b, 37), DATAGRAM_MALFORMED);
    static uint8_t page[37 + (DATAGRAM_PIECES_MAX + 1) * 42];
    page[25] = 1;
    for (uint32_t n = DATAGRAM_PIECES_MAX - 1; n <= DATAGRAM_PIECES_MAX + 1; n++)
        assert_int_equal(read_body(MESSAGE_PROMISE, 0, page, 37 + n * 42),
                         n <= DATAGRAM_PIECES_MAX ? 0 : DATAGRAM_MALFORMED);

    memset(b, 0, sizeof b); /* words of an ACCEPTED */
    for (uint32_t n = 0; n < 20; n++)
        assert_int_equal(read_body(MESSAGE_ACCEPTED, 0, b, 33 + n * 8),
                         n <= ACCEPTED_WORDS_MAX ? 0 : DATAGRAM_MALFORMED);
    assert_int_equal(read_body(MESSAGE_ACCEPTED, 0, b, 33 + 7), DATAGRAM_MALFORMED);

    memset(b, 0, sizeof b); /* STATE: status */
    for (uint8_t status = 0; status < 8; status++) {
        b[16] = status;
        assert_int_equal(read_body(MESSAGE_STATE, 0, b, 49), status >= 1 && status <= 4 ? 0 : DATAGRAM_MALFORMED);
    }
}

static void test_fields_of_messages_between_hosts(void **state)
{
    (void)state;
    uint8_t b[1024];
    memset(b, 'x', sizeof b); /* INFO: version, drops */
    for (uint8_t n = 0; n < 40; n++) {
        b[0] = n;
        assert_int_equal(read_body(MESSAGE_INFO, 0, b, 1u + n), n <= INFO_VERSION_MAX ? 0 : DATAGRAM_MALFORMED);
    }
    b[0] = 3, b[2] = 0;
    assert_int_equal(read_body(MESSAGE_INFO, 0, b, 4), DATAGRAM_MALFORMED);
    memset(b, 0, sizeof b);
    for (uint32_t n = 0; n < 20; n++)
        assert_int_equal(read_body(MESSAGE_INFO, 0, b, 1 + n * 7), n <= INFO_DROPS_MAX ? 0 : DATAGRAM_MALFORMED);
    b[1] = 100;
    assert_int_equal(read_body(MESSAGE_INFO, 0, b, 8), 0);
    b[1] = 101;
    assert_int_equal(read_body(MESSAGE_INFO, 0, b, 8), DATAGRAM_MALFORMED);

    memset(b, 'x', sizeof b); /* FLUSHED: text */
    put_u64(b + 8, 5);
    for (uint32_t by = 0; by < 3; by++)
        assert_int_equal(read_body(MESSAGE_FLUSHED, 1, b, 24 + FLUSH_TEXT_MAX - 1 + by),
                         by <= 1 ? 0 : DATAGRAM_MALFORMED);
    b[30] = 0;
    assert_int_equal(read_body(MESSAGE_FLUSHED, 1, b, 40), DATAGRAM_MALFORMED);
}

static void test_fields_of_checkpoints(void **state)
{
    (void)state;
    uint8_t b[1024] = {0};
    put_u64(b, 7);
    put_u64(b + 8, CHECKPOINT_PIECE_BYTES + 10); /* total */
    for (uint32_t size = 0; size < CHECKPOINT_PIECE_BYTES + 2; size++)
        assert_int_equal(read_body(MESSAGE_CHECKPOINT_PIECE, 0, b, 24 + size),
                         size >= 1 && size <= CHECKPOINT_PIECE_BYTES ? 0 : DATAGRAM_MALFORMED);
    for (uint64_t offset = 0; offset < 20; offset++) {
        put_u64(b + 16, offset);
        assert_int_equal(read_body(MESSAGE_CHECKPOINT_PIECE, 0, b, 24 + CHECKPOINT_PIECE_BYTES),
                         offset <= 10 ? 0 : DATAGRAM_MALFORMED);
    }
    put_u64(b + 16, UINT64_MAX - 5);
    assert_int_equal(read_body(MESSAGE_CHECKPOINT_PIECE, 0, b, 24 + 10), DATAGRAM_MALFORMED);
    put_u64(b + 16, 0);
    put_u64(b, 0); /* slot */
    assert_int_equal(read_body(MESSAGE_CHECKPOINT_PIECE, 0, b, 24 + 10), DATAGRAM_MALFORMED);
    put_u64(b, DATAGRAM_NUMBER_MAX + 1);
    assert_int_equal(read_body(MESSAGE_CHECKPOINT_PIECE, 0, b, 24 + 10), DATAGRAM_MALFORMED);

    memset(b, 0, sizeof b);
    assert_int_equal(read_body(MESSAGE_CHECKPOINT_FETCH, 0, b, 16 + 8 * CHECKPOINT_WORDS), 0);
    put_u64(b + 8, DATAGRAM_NUMBER_MAX);
    assert_int_equal(read_body(MESSAGE_CHECKPOINT_FETCH, 0, b, 16 + 8 * CHECKPOINT_WORDS), 0);
    put_u64(b + 8, DATAGRAM_NUMBER_MAX + 1);
    assert_int_equal(read_body(MESSAGE_CHECKPOINT_FETCH, 0, b, 16 + 8 * CHECKPOINT_WORDS), DATAGRAM_MALFORMED);
}

/* Appends a piece to `b` at *at. */
static void add_piece(uint8_t *b, size_t *at, uint8_t flags, slot_t slot, uint32_t total, uint32_t offset,
                      uint16_t size)
{
    uint8_t *p = b + *at;
    *p++ = flags;
    if (flags & 2)
        put_u64(p, slot), p += 8;
    memset(p, 'h', 16), p += 16;
    if (flags & 1)
        put_u32(p, total), put_u32(p + 4, offset), p += 8;
    put_u16(p, size), p += 2;
    memset(p, 'b', size), p += size;
    *at = (size_t)(p - b);
}

static int read_one_piece(enum message_type type, uint8_t flags, uint32_t total, uint32_t offset, uint16_t size)
{
    static uint8_t b[DATAGRAM_BYTES_MAX];
    memset(b, 0, 64);
    size_t at = type == MESSAGE_ACCEPT ? 21 : type == MESSAGE_CHOSEN ? 8 : type == MESSAGE_BODY ? 13 : 49;
    if (type == MESSAGE_STATE)
        b[16] = 1;
    add_piece(b, &at, flags, 5, total, offset, size);
    return read_body(type, 0, b, at);
}

static void test_fields_of_pieces(void **state)
{
    (void)state;
    enum { BAD = DATAGRAM_MALFORMED, WHOLE_SLOT = 2, PART_SLOT = 3 };
    const enum message_type slotted[] = {MESSAGE_ACCEPT, MESSAGE_CHOSEN, MESSAGE_BODY};
    for (size_t i = 0; i < 3; i++) {
        const enum message_type t = slotted[i];
        assert_int_equal(read_one_piece(t, WHOLE_SLOT, 0, 0, VALUE_HEADER_SIZE), 0);
        assert_int_equal(read_one_piece(t, WHOLE_SLOT, 0, 0, VALUE_HEADER_SIZE - 1), BAD);
        assert_int_equal(read_one_piece(t, WHOLE_SLOT, 0, 0, VALUE_BYTES_MAX), 0);
        assert_int_equal(read_one_piece(t, WHOLE_SLOT, 0, 0, VALUE_BYTES_MAX + 1), BAD);
        assert_int_equal(read_one_piece(t, 0, 0, 0, 100), BAD); /* the first names its slot */
        assert_int_equal(read_one_piece(t, 4 | WHOLE_SLOT, 0, 0, 100), BAD);
        assert_int_equal(read_one_piece(t, PART_SLOT, 1000, 900, 100), 0);
        assert_int_equal(read_one_piece(t, PART_SLOT, 1000, 901, 100), BAD);
        assert_int_equal(read_one_piece(t, PART_SLOT, 1000, UINT32_MAX - 50, 100), BAD);
        assert_int_equal(read_one_piece(t, PART_SLOT, 1000, 0, 0), BAD);
        assert_int_equal(read_one_piece(t, PART_SLOT, 99, 0, 100), BAD);
        assert_int_equal(read_one_piece(t, PART_SLOT, VALUE_BYTES_MAX, 0, 100), 0);
        assert_int_equal(read_one_piece(t, PART_SLOT, VALUE_BYTES_MAX + 1, 0, 100), BAD);
        assert_int_equal(read_one_piece(t, PART_SLOT, VALUE_HEADER_SIZE - 1, 0, 1), BAD);
    }
    assert_int_equal(read_one_piece(MESSAGE_STATE, 0, 0, 0, 100), 0);
    assert_int_equal(read_one_piece(MESSAGE_STATE, WHOLE_SLOT, 0, 0, 100), BAD);
}

static void test_slots_and_counts_of_pieces(void **state)
{
    (void)state;
    static uint8_t b[DATAGRAM_BYTES_MAX];
    const slot_t second[] = {4, 5, 6};
    for (size_t i = 0; i < 3; i++) {
        size_t at = 21;
        memset(b, 0, at);
        add_piece(b, &at, 2, 5, 0, 0, 40);
        add_piece(b, &at, 2, second[i], 0, 0, 40);
        assert_int_equal(read_body(MESSAGE_ACCEPT, 0, b, at), second[i] > 5 ? 0 : DATAGRAM_MALFORMED);
    }
    for (slot_t by = 0; by < 2; by++) { /* the slot after the last one that there may be */
        size_t at = 21;
        memset(b, 0, at);
        add_piece(b, &at, 2, DATAGRAM_NUMBER_MAX - 1 + by, 0, 0, 40);
        add_piece(b, &at, 0, 0, 0, 0, 40);
        assert_int_equal(read_body(MESSAGE_ACCEPT, 0, b, at), by == 0 ? 0 : DATAGRAM_MALFORMED);
    }
    for (uint32_t n = DATAGRAM_PIECES_MAX - 1; n <= DATAGRAM_PIECES_MAX + 1; n++) {
        size_t at = 8;
        memset(b, 0, at);
        for (uint32_t i = 0; i < n; i++)
            add_piece(b, &at, i == 0 ? 2 : 0, 5, 0, 0, 40);
        assert_int_equal(read_body(MESSAGE_CHOSEN, 0, b, at), n <= DATAGRAM_PIECES_MAX ? 0 : DATAGRAM_MALFORMED);
    }
    for (uint32_t n = 0; n < 3; n++) { /* BODY has one, STATE at most one */
        size_t at = 13;
        memset(b, 0, at);
        for (uint32_t i = 0; i < n; i++)
            add_piece(b, &at, i == 0 ? 2 : 0, 5, 0, 0, 40);
        assert_int_equal(read_body(MESSAGE_BODY, 0, b, at), n == 1 ? 0 : DATAGRAM_MALFORMED);
        at = 49;
        memset(b, 0, at);
        b[16] = 1;
        for (uint32_t i = 0; i < n; i++)
            add_piece(b, &at, 0, 0, 0, 0, 40);
        assert_int_equal(read_body(MESSAGE_STATE, 0, b, at), n <= 1 ? 0 : DATAGRAM_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_flipped_bit_is_refused),
        cmocka_unit_test(test_sizes_must_add_up),
        cmocka_unit_test(test_damage_with_a_good_checksum_never_crashes),
        cmocka_unit_test(test_random_bodies_never_crash),
        cmocka_unit_test(test_header_is_checked),
        cmocka_unit_test(test_empty_datagram_has_no_message),
        cmocka_unit_test(test_flags_are_known_ones_and_nothing_trails),
        cmocka_unit_test(test_fields_of_whole_messages),
        cmocka_unit_test(test_fields_of_messages_between_hosts),
        cmocka_unit_test(test_fields_of_checkpoints),
        cmocka_unit_test(test_fields_of_pieces),
        cmocka_unit_test(test_slots_and_counts_of_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
