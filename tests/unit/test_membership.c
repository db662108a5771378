/* Configurations: the encoding, what it refuses, and majorities. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/membership.h"
#include "paxos/prng.h"

static void add_member(struct configuration *c, replica_id_t id, uint32_t gen, uint64_t life, size_t address_size)
{
    struct member *m = &c->members[c->n_members++];
    *m = (struct member){.id = id, .gen = gen, .life = life, .address_size = (uint8_t)address_size};
    memset(m->address, 'a' + id % 26, address_size);
}

static struct configuration three(void)
{
    struct configuration c = {.alpha = 4096, .dedup_slots = 1 << 20, .streams_max = 65536};
    add_member(&c, 0, 1, 11, 14);
    add_member(&c, 1, 2, 0, 14);
    add_member(&c, 254, 1, UINT64_MAX, 9);
    return c;
}

/* From an allocation of just that size, so that a sanitizer sees a read past the end. */
static bool decodes(const uint8_t *bytes, size_t size, struct configuration *ret)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    const bool ok = configuration_decode(copy, size, ret);
    free(copy);
    return ok;
}

static void expect_round_trip(const struct configuration *c)
{
    uint8_t bytes[CONFIGURATION_BYTES_MAX];
    struct configuration back;
    const size_t size = configuration_encode(c, bytes);
    assert_in_range(size, 1, CONFIGURATION_BYTES_MAX);
    memset(&back, 0xee, sizeof back);
    assert_true(decodes(bytes, size, &back));
    assert_int_equal(back.alpha, c->alpha);
    assert_int_equal(back.dedup_slots, c->dedup_slots);
    assert_int_equal(back.streams_max, c->streams_max);
    assert_int_equal(back.n_members, c->n_members);
    for (uint32_t i = 0; i < c->n_members; i++) {
        assert_int_equal(back.members[i].id, c->members[i].id);
        assert_int_equal(back.members[i].gen, c->members[i].gen);
        assert_int_equal(back.members[i].life, c->members[i].life);
        assert_int_equal(back.members[i].address_size, c->members[i].address_size);
        assert_memory_equal(back.members[i].address, c->members[i].address, c->members[i].address_size);
    }
}

static void expect_refused(const struct configuration *c)
{
    uint8_t bytes[CONFIGURATION_BYTES_MAX];
    struct configuration back, was;
    const size_t size = configuration_encode(c, bytes);
    memset(&back, 0xee, sizeof back);
    memset(&was, 0xee, sizeof was);
    assert_false(decodes(bytes, size, &back));
    assert_memory_equal(&back, &was, sizeof back);
}

static void test_layout(void **state)
{
    (void)state;
    static const uint8_t expected[] = "\x01\0\x01\0\x04\x03\x02\x01\x08\0\0\0\x09\0\0\0"
                                      "\x07\x03\x02\0\0\0\xbb\xaa\0\0\0\0\0\0hhh";
    struct configuration c = {.alpha = 0x01020304, .dedup_slots = 8, .streams_max = 9};
    add_member(&c, 7, 2, 0xaabb, 3);
    uint8_t bytes[CONFIGURATION_BYTES_MAX];
    assert_int_equal(configuration_encode(&c, bytes), sizeof expected - 1);
    assert_memory_equal(bytes, expected, sizeof expected - 1);
}

static void test_round_trips(void **state)
{
    (void)state;
    struct configuration c = three();
    expect_round_trip(&c);
    c.n_members = 1;
    expect_round_trip(&c);
    c = (struct configuration){.alpha = 1, .dedup_slots = 1, .streams_max = 1};
    for (int i = 0; i < REPLICAS_MAX; i++)
        add_member(&c, (replica_id_t)(REPLICA_ID_MAX - REPLICAS_MAX + 1 + i), UINT32_MAX, 1, ADDRESS_BYTES_MAX);
    expect_round_trip(&c);
    uint8_t bytes[CONFIGURATION_BYTES_MAX];
    assert_int_equal(configuration_encode(&c, bytes), CONFIGURATION_BYTES_MAX);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    struct configuration c = three();
    c.alpha = 0;
    expect_refused(&c);
    c = three(), c.dedup_slots = 0;
    expect_refused(&c);
    c = three(), c.streams_max = 0;
    expect_refused(&c);
    c = three(), c.n_members = 0;
    expect_refused(&c);
    c = three(), c.members[1].id = 0; /* twice */
    expect_refused(&c);
    c = three(), c.members[0].id = 2; /* not ascending */
    expect_refused(&c);
    c = three(), c.members[2].id = REPLICA_ID_NONE;
    expect_refused(&c);
    c = three(), c.members[1].gen = 0;
    expect_refused(&c);
    c = three(), c.members[1].address_size = 0;
    expect_refused(&c);
    c = three(), c.members[1].address[3] = 0;
    expect_refused(&c);
}

static void test_version_and_count_are_checked(void **state)
{
    (void)state;
    const struct configuration c = three();
    struct configuration back;
    uint8_t bytes[CONFIGURATION_BYTES_MAX];
    const size_t size = configuration_encode(&c, bytes);
    bytes[0] = CONFIGURATION_VERSION + 1;
    assert_false(decodes(bytes, size, &back));
    bytes[0] = CONFIGURATION_VERSION;
    assert_true(decodes(bytes, size, &back));
    bytes[2] = REPLICAS_MAX + 1;
    assert_false(decodes(bytes, size, &back));
    bytes[2] = 3, bytes[3] = 1; /* 259 */
    assert_false(decodes(bytes, size, &back));
}

static void test_every_other_size_is_refused(void **state)
{
    (void)state;
    const struct configuration c = three();
    struct configuration back;
    uint8_t bytes[CONFIGURATION_BYTES_MAX] = {0};
    const size_t size = configuration_encode(&c, bytes);
    for (size_t other = 0; other < size + 20; other++)
        assert_int_equal(decodes(bytes, other, &back), other == size);
}

static void test_random_damage_never_crashes(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 11);
    const struct configuration c = three();
    uint8_t whole[CONFIGURATION_BYTES_MAX];
    const size_t size = configuration_encode(&c, whole);
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[CONFIGURATION_BYTES_MAX];
        struct configuration back;
        memcpy(bytes, whole, size);
        for (uint64_t n = 1 + prng_below(&p, 4); n > 0; n--)
            bytes[prng_below(&p, size)] = (uint8_t)prng_next(&p);
        if (decodes(bytes, size, &back)) {
            /* What is taken is canonical: it encodes to the same bytes. */
            uint8_t again[CONFIGURATION_BYTES_MAX];
            assert_int_equal(configuration_encode(&back, again), size);
            assert_memory_equal(again, bytes, size);
        }
    }
}

static void test_find(void **state)
{
    (void)state;
    const struct configuration c = three();
    assert_int_equal(configuration_find(&c, 0), 0);
    assert_int_equal(configuration_find(&c, 254), 2);
    assert_int_equal(configuration_find(&c, 2), -1);
    assert_int_equal(configuration_find(&c, REPLICA_ID_NONE), -1);
}

/* Trap 7: a quorum is a set of members, not a count of messages; bits of no member do not count either. */
static void test_trap_7_majority_is_a_set_of_members(void **state)
{
    (void)state;
    struct configuration c = {0};
    for (uint32_t n = 1; n <= REPLICAS_MAX; n++) {
        c.n_members = n;
        for (uint32_t k = 0; k <= n; k++) {
            const uint32_t low = (UINT32_C(1) << k) - 1;
            assert_int_equal(configuration_is_majority(&c, low), k > n / 2);
            assert_int_equal(configuration_is_majority(&c, low << (n - k)), k > n / 2);
        }
        assert_false(configuration_is_majority(&c, ~((UINT32_C(1) << n) - 1)));
        assert_true(configuration_is_majority(&c, UINT32_MAX));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_version_and_count_are_checked),
        cmocka_unit_test(test_every_other_size_is_refused),
        cmocka_unit_test(test_random_damage_never_crashes),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_trap_7_majority_is_a_set_of_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
