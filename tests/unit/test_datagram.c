/* The replicas' datagrams: every message there and back, whole or in pieces, and nothing but that. */
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
#include "paxos/prng.h"
#include "tests/unit/datagrams.h"
#include "tests/unit/messages.h"
#include "wire/assembly.h"
#include "wire/datagram.h"

enum {
    VALUE_BYTES_MAX = MESSAGES_VALUE_BYTES_MAX,
    AT_CHECKSUM = 36,
};

_Noreturn void invariant_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "%s:%d: %s (%llu, %llu)\n", file, line, what, (unsigned long long)a, (unsigned long long)b);
    abort();
}

/* Far too large for a stack. */
static struct datagram_message decoded;

/* --- there and back --- */

static void expect_entry(const struct message *of, const struct entry *e, const struct piece *p, const uint8_t *bytes)
{
    if (of->type != MESSAGE_SUBMIT && of->type != MESSAGE_STATE)
        assert_int_equal(e->slot, p->slot);
    if (of->type == MESSAGE_SUBMIT)
        assert_int_equal(e->hops, p->hops);
    if (of->type == MESSAGE_BODY)
        assert_true(ballot_equal(e->ballot, p->ballot));
    assert_int_equal(e->value->size, p->total);
    assert_memory_equal(e->value->bytes, bytes, p->total);
    assert_true(hash_equal(&e->value->hash, &p->hash));
}

static struct datagram_reader open_ok(const uint8_t *bytes, size_t size, struct datagram_header *h)
{
    struct datagram_reader r;
    assert_int_equal(datagram_open(&r, bytes, size, h), DATAGRAM_OK);
    assert_int_equal(h->cluster_name_hash, datagrams_header.cluster_name_hash);
    assert_true(hash_equal(&h->cluster, &datagrams_header.cluster));
    assert_int_equal(h->from, datagrams_header.from);
    assert_int_equal(h->to, DATAGRAMS_TO);
    assert_int_equal(h->from_life, datagrams_header.from_life);
    assert_int_equal(h->boot, datagrams_header.boot);
    return r;
}

/* Reads what stands in the datagrams and compares it with the messages, in order, entry by entry. */
static void expect_messages(const struct datagrams *d, const struct message *messages, size_t n)
{
    void *block = malloc(assembly_size(1, VALUE_BYTES_MAX));
    assert_non_null(block);
    struct assembly *a = assembly_init(block, 1, VALUE_BYTES_MAX);
    size_t at = 0;
    uint32_t entry = 0;
    for (size_t i = 0; i < d->n; i++) {
        struct datagram_header h;
        struct datagram_reader r = open_ok(d->all[i].bytes, d->all[i].size, &h);
        assert_int_equal(h.seq, i + 1);
        int more;
        while ((more = datagram_next(&r, &h, VALUE_BYTES_MAX, &decoded)) == 1) {
            assert_in_range(at, 0, n - 1);
            message_expect_same(&messages[at], &decoded.message);
            assert_int_equal(decoded.message.from, datagrams_header.from);
            assert_int_equal(decoded.message.from_life, datagrams_header.from_life);
            struct entry scratch;
            uint32_t n_entries;
            const struct entry *e = message_entries(&messages[at], &scratch, &n_entries);
            for (uint32_t k = 0; k < decoded.n_pieces; k++) {
                const uint8_t *bytes = assembly_add(a, 0, &decoded.pieces[k]);
                if (bytes == NULL)
                    continue;
                assert_in_range(entry, 0, n_entries - 1);
                expect_entry(&messages[at], &e[entry++], &decoded.pieces[k], bytes);
            }
            if (entry == n_entries) {
                at++;
                entry = 0;
            }
        }
        assert_int_equal(more, 0);
    }
    assert_int_equal(at, n);
    free(block);
}

static void test_every_message_comes_back(void **state)
{
    (void)state;
    enum { MESSAGES = 8 };
    struct prng p;
    prng_seed(&p, 21);
    for (int round = 0; round < 300; round++) {
        const size_t rooms[] = {512, 513, 600, 1200, 8192, 65000};
        const size_t room = round % 7 < 6 ? rooms[round % 7] : 512 + prng_below(&p, 3000);
        struct message messages[MESSAGES];
        const size_t n = 1 + prng_below(&p, MESSAGES);
        for (size_t i = 0; i < n; i++)
            message_random(&p, message_types[prng_below(&p, MESSAGE_TYPES)], room, 20, &messages[i]);
        struct datagrams *d = datagrams_new();
        datagrams_write(d, messages, n, room);
        expect_messages(d, messages, n);
        datagrams_free(d);
        for (size_t i = 0; i < n; i++)
            message_forget(&messages[i]);
    }
}

/* Datagrams are lost, doubled and swapped, and what is sent again is cut for another room. */
static void test_values_survive_loss_and_other_cuts(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 22);
    for (int round = 0; round < 60; round++) {
        struct message m;
        message_random(&p, MESSAGE_ACCEPT, 1200, 8, &m);
        void *block = malloc(assembly_size(1, VALUE_BYTES_MAX));
        assert_non_null(block);
        struct assembly *a = assembly_init(block, 1, VALUE_BYTES_MAX);
        uint64_t seen = 0;
        const uint64_t all = (UINT64_C(1) << m.accept.n_entries) - 1;
        int sent = 0;
        for (; seen != all; sent++) {
            assert_in_range(sent, 0, 200);
            struct datagrams *d = datagrams_new();
            datagrams_write(d, &m, 1, 512 + prng_below(&p, 2000));
            for (size_t i = 2 * d->n; i > 0; i--) { /* with repetition: some never arrive, some do twice */
                const size_t which = prng_below(&p, d->n);
                struct datagram_header h;
                struct datagram_reader r = open_ok(d->all[which].bytes, d->all[which].size, &h);
                while (datagram_next(&r, &h, VALUE_BYTES_MAX, &decoded) == 1) {
                    for (uint32_t k = 0; k < decoded.n_pieces; k++) {
                        const struct piece *piece = &decoded.pieces[k];
                        const uint8_t *bytes = assembly_add(a, 0, piece);
                        uint32_t e = 0;
                        while (m.accept.entries[e].slot != piece->slot)
                            e++;
                        assert_in_range(e, 0, m.accept.n_entries - 1);
                        if (bytes != NULL) {
                            expect_entry(&m, &m.accept.entries[e], piece, bytes);
                            seen |= UINT64_C(1) << e;
                        }
                    }
                }
            }
            datagrams_free(d);
        }
        free(block);
        message_forget(&m);
    }
}

/* --- what fits --- */

static void expect_fits(const struct message *m, size_t room)
{
    static uint8_t buffer[DATAGRAM_BYTES_MAX];
    struct datagram_writer w;
    struct datagram_cursor c = {0};
    datagram_begin(&w, buffer, room, &datagrams_header);
    assert_true(datagram_is_empty(&w));
    assert_true(datagram_put(&w, m, &c));
    assert_false(datagram_is_empty(&w));
    assert_in_range(w.size, 0, room);
}

static void test_largest_messages_fit_the_smallest_datagram(void **state)
{
    (void)state;
    struct message m = {.type = MESSAGE_HEARTBEAT};
    m.heartbeat.n_echoes = REPLICAS_MAX;
    expect_fits(&m, DATAGRAM_BYTES_MIN);
    m = (struct message){.type = MESSAGE_ACCEPTED, .accepted = {.n_words = ACCEPTED_WORDS_MAX}};
    expect_fits(&m, DATAGRAM_BYTES_MIN);
    m = (struct message){.type = MESSAGE_INFO, .info = {.n_drops = INFO_DROPS_MAX}};
    memset(m.info.version, 'v', INFO_VERSION_MAX);
    expect_fits(&m, DATAGRAM_BYTES_MIN);
    m = (struct message){.type = MESSAGE_FLUSHED};
    memset(m.flushed.text, 't', FLUSH_TEXT_MAX);
    expect_fits(&m, DATAGRAM_BYTES_MIN);
    static const uint8_t piece[CHECKPOINT_PIECE_BYTES];
    m = (struct message){.type = MESSAGE_CHECKPOINT_PIECE,
                         .checkpoint_piece = {.slot = 1, .total = 999, .size = sizeof(piece), .bytes = piece}};
    expect_fits(&m, DATAGRAM_BYTES_MIN);
    const enum message_type fixed[] = {MESSAGE_PREPARE,  MESSAGE_NACK,   MESSAGE_FETCH,           MESSAGE_STATE,
                                       MESSAGE_POSITION, MESSAGE_ANSWER, MESSAGE_CONFIRM,         MESSAGE_CONFIRMED,
                                       MESSAGE_TRANSFER, MESSAGE_FLUSH,  MESSAGE_CHECKPOINT_FETCH};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        m = (struct message){.type = fixed[i]};
        expect_fits(&m, DATAGRAM_BYTES_MIN);
    }
}

static void test_promise_page_fits_every_room(void **state)
{
    (void)state;
    static struct promised_entry reported[DATAGRAM_PROMISE_SLOTS_MAX];
    for (size_t room = DATAGRAM_BYTES_MIN; room <= DATAGRAM_BYTES_MAX; room += room < 2000 ? 1 : 997) {
        const uint32_t n = datagram_promise_slots(room);
        assert_in_range(n, 8, DATAGRAM_PROMISE_SLOTS_MAX);
        const struct message m = {.type = MESSAGE_PROMISE,
                                  .promise = {.page_slots = n, .n_entries = n, .entries = reported}};
        expect_fits(&m, room);
    }
    assert_int_equal(datagram_promise_slots(DATAGRAM_BYTES_MAX), DATAGRAM_PROMISE_SLOTS_MAX);
}

static void test_small_value_is_never_cut(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 23);
    for (size_t size = 900; size < 1100; size++) {
        /* Beside a first value that leaves too little room, the second goes whole into the next datagram. */
        struct entry e[2] = {{.slot = 1, .value = value_random(&p, 500)}, {.slot = 2, .value = value_random(&p, size)}};
        const struct message m = {.type = MESSAGE_ACCEPT,
                                  .accept = {.ballot = {.round = 1}, .n_entries = 2, .entries = e}};
        struct datagrams *d = datagrams_new();
        datagrams_write(d, &m, 1, 1200);
        const size_t alone = DATAGRAM_HEADER_SIZE + 4 + 21 + 1 + 8 + 16 + 2 + size;
        struct datagram_header h;
        struct datagram_reader r = open_ok(d->all[0].bytes, d->all[0].size, &h);
        assert_int_equal(datagram_next(&r, &h, VALUE_BYTES_MAX, &decoded), 1);
        assert_int_equal(decoded.n_pieces, alone <= 1200 ? 1 : 2);
        assert_int_equal(d->n, 2);
        r = open_ok(d->all[1].bytes, d->all[1].size, &h);
        assert_int_equal(datagram_next(&r, &h, VALUE_BYTES_MAX, &decoded), 1);
        assert_int_equal(decoded.pieces[0].size == size, alone <= 1200);
        datagrams_free(d);
        free(e[0].value);
        free(e[1].value);
    }
}

static void test_large_value_does_not_start_in_a_small_rest(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 27);
    /* What the second value finds: room for a piece of at least 128 of its bytes, or just not. */
    const size_t rest = 19 + 8 + 128, first = 1200 - DATAGRAM_HEADER_SIZE - 4 - 21 - 27 - rest;
    for (size_t more = 0; more < 2; more++) {
        struct entry e[2] = {{.slot = 1, .value = value_random(&p, first + more)},
                             {.slot = 2, .value = value_random(&p, 5000)}};
        const struct message m = {.type = MESSAGE_ACCEPT, .accept = {.n_entries = 2, .entries = e}};
        struct datagrams *d = datagrams_new();
        datagrams_write(d, &m, 1, 1200);
        struct datagram_header h;
        struct datagram_reader r = open_ok(d->all[0].bytes, d->all[0].size, &h);
        assert_int_equal(datagram_next(&r, &h, VALUE_BYTES_MAX, &decoded), 1);
        assert_int_equal(decoded.n_pieces, more == 0 ? 2 : 1);
        datagrams_free(d);
        free(e[0].value);
        free(e[1].value);
    }
}

static void test_more_entries_than_one_message_takes(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 24);
    enum { N = DATAGRAM_PIECES_MAX + 10 };
    struct entry *e = calloc(N, sizeof *e);
    assert_non_null(e);
    for (uint32_t i = 0; i < N; i++)
        e[i] = (struct entry){.slot = 100 + i, .value = value_random(&p, VALUE_HEADER_SIZE)};
    struct message m = {.type = MESSAGE_ACCEPT,
                        .accept = {.ballot = {.round = 1}, .commit = 9, .n_entries = N, .entries = e}};
    struct datagrams *d = datagrams_new();
    datagrams_write(d, &m, 1, DATAGRAM_BYTES_MAX);
    assert_int_equal(d->n, 1);
    expect_messages(d, &m, 1);
    datagrams_free(d);
    message_forget(&m);
}

static void test_per_slot_overhead(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 25);
    static uint8_t buffer[8192];
    struct entry e[3];
    for (uint32_t i = 0; i < 3; i++)
        e[i] = (struct entry){.slot = 100 + i, .value = value_random(&p, 200)};
    size_t sizes[4];
    for (uint32_t n = 0; n <= 3; n++) {
        const struct message m = {.type = MESSAGE_ACCEPT, .accept = {.n_entries = n, .entries = e}};
        struct datagram_writer w;
        struct datagram_cursor c = {0};
        datagram_begin(&w, buffer, sizeof buffer, &datagrams_header);
        assert_true(datagram_put(&w, &m, &c));
        sizes[n] = w.size;
    }
    assert_int_equal(sizes[3] - sizes[2], 200 + 19);
    for (uint32_t i = 0; i < 3; i++)
        free(e[i].value);
}

static void test_layout(void **state)
{
    (void)state;
    struct value *v = calloc(1, sizeof *v + VALUE_HEADER_SIZE);
    assert_non_null(v);
    v->size = VALUE_HEADER_SIZE;
    memset(v->bytes, 'b', v->size);
    memset(v->hash.bytes, 'h', sizeof v->hash.bytes);
    const struct entry e = {.slot = 0x33, .value = v};
    const struct message m = {
        .type = MESSAGE_ACCEPT,
        .accept = {.ballot = {.round = 0x11, .gen = 0x12, .id = 0x13}, .commit = 0x22, .n_entries = 1, .entries = &e}};
    static const uint8_t expected[] =
        "MPXD\x02\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7\xc8\xc9\xca\xcb\xcc\xcd\xce\xcf"
        "\x03\x07\0\0????\x11\x12\x13\x14\x15\x16\x17\x18\x21\x22\x23\x24\x25\x26\x27\x28\x01\0\0\0\0\0\0\0"
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
        "\x04\0\x58\0\x11\0\0\0\0\0\0\0\x12\0\0\0\x13\x22\0\0\0\0\0\0\0"
        "\x02\x33\0\0\0\0\0\0\0hhhhhhhhhhhhhhhh\x28\0bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    uint8_t wanted[sizeof expected - 1];
    memcpy(wanted, expected, sizeof wanted);
    memset(wanted + AT_CHECKSUM, 0, 4);
    put_u32(wanted + AT_CHECKSUM, crc32c(0, wanted, sizeof wanted));
    struct datagrams *d = datagrams_new();
    datagrams_write(d, &m, 1, 512);
    assert_int_equal(d->all[0].size, sizeof wanted);
    assert_memory_equal(d->all[0].bytes, wanted, sizeof wanted);
    datagrams_free(d);
    free(v);
}

static void test_echo_age_is_close(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 26);
    for (int i = 0; i < 2000; i++) {
        const uint32_t age = i == 0 ? UINT32_MAX : (uint32_t)(prng_next(&p) >> 32) >> prng_below(&p, 32);
        struct message m = {.type = MESSAGE_HEARTBEAT};
        m.heartbeat.n_echoes = 1;
        m.heartbeat.echoes[0] = (struct echo){.age_usec = age};
        struct datagrams *d = datagrams_new();
        datagrams_write(d, &m, 1, 512);
        struct datagram_header h;
        struct datagram_reader r = open_ok(d->all[0].bytes, d->all[0].size, &h);
        assert_int_equal(datagram_next(&r, &h, VALUE_BYTES_MAX, &decoded), 1);
        const uint32_t back = decoded.message.heartbeat.echoes[0].age_usec;
        if (age < UINT32_C(4095) << 15)
            assert_in_range(age - back, 0, age / 2048);
        else
            assert_int_equal(back, UINT32_C(4095) << 15);
        datagrams_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_every_message_comes_back),
        cmocka_unit_test(test_values_survive_loss_and_other_cuts),
        cmocka_unit_test(test_largest_messages_fit_the_smallest_datagram),
        cmocka_unit_test(test_promise_page_fits_every_room),
        cmocka_unit_test(test_small_value_is_never_cut),
        cmocka_unit_test(test_large_value_does_not_start_in_a_small_rest),
        cmocka_unit_test(test_more_entries_than_one_message_takes),
        cmocka_unit_test(test_per_slot_overhead),
        cmocka_unit_test(test_echo_age_is_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
