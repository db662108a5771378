/* Joining the pieces of values: any cut, order, overlap and repetition, and a bound that holds for each peer by itself.
 *
 * Trap 46: nobody's pieces take more than their own share of memory, and no sum of offset and size overflows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/invariant.h"
#include "paxos/prng.h"
#include "wire/assembly.h"

_Noreturn void invariant_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "%s:%d: %s (%llu, %llu)\n", file, line, what, (unsigned long long)a, (unsigned long long)b);
    abort();
}

enum { PEERS = 3, VALUE_BYTES_MAX = 5000 };

static struct assembly *make(uint32_t n_peers, uint32_t value_bytes_max)
{
    const size_t size = assembly_size(n_peers, value_bytes_max);
    void *block = malloc(size);
    assert_non_null(block);
    memset(block, 0xa5, size); /* init must not rely on zeroes */
    return assembly_init(block, n_peers, value_bytes_max);
}

/* Value `name` has bytes that follow from its name and size. */
static uint8_t byte_of(uint32_t name, uint32_t at)
{
    return (uint8_t)(name * 31 + at * 7 + at / 251);
}

static const uint8_t *add(struct assembly *a, uint32_t peer, uint32_t name, uint32_t total, uint32_t offset,
                          uint32_t size)
{
    static uint8_t *bytes;
    free(bytes);
    bytes = malloc(size + 1); /* of about that size: what is answered must not lie here */
    assert_non_null(bytes);
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = byte_of(name, offset + i);
    struct piece p = {.total = total, .offset = offset, .size = size, .bytes = bytes};
    memcpy(p.hash.bytes, &name, sizeof name);
    const uint8_t *whole = assembly_add(a, peer, &p);
    for (uint32_t i = 0; whole != NULL && i < total; i++)
        assert_int_equal(whole[i], byte_of(name, i));
    return whole;
}

static void test_whole_value_is_its_own_bytes(void **state)
{
    (void)state;
    struct assembly *a = make(1, 100);
    const uint8_t bytes[100] = {1};
    const struct piece p = {.total = 100, .size = 100, .bytes = bytes};
    assert_ptr_equal(assembly_add(a, 0, &p), bytes);
    free(a);
}

static void test_two_halves_in_either_order(void **state)
{
    (void)state;
    struct assembly *a = make(1, 100);
    assert_null(add(a, 0, 1, 100, 0, 50));
    assert_non_null(add(a, 0, 1, 100, 50, 50));
    assert_null(add(a, 0, 2, 100, 50, 50));
    assert_non_null(add(a, 0, 2, 100, 0, 50));
    /* Once answered it is forgotten: it takes both halves again. */
    assert_null(add(a, 0, 2, 100, 0, 50));
    assert_non_null(add(a, 0, 2, 100, 50, 50));
    free(a);
}

static void test_repetition_is_not_completion(void **state)
{
    (void)state;
    struct assembly *a = make(1, 100);
    for (int i = 0; i < 10; i++)
        assert_null(add(a, 0, 1, 100, 0, 50));
    assert_null(add(a, 0, 1, 100, 25, 74)); /* one byte is missing */
    assert_null(add(a, 0, 1, 100, 1, 98));
    assert_non_null(add(a, 0, 1, 100, 99, 1));
    free(a);
}

static void test_any_cut_order_and_overlap(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 51);
    struct assembly *a = make(PEERS, VALUE_BYTES_MAX);
    for (uint32_t name = 1; name <= 400; name++) {
        const uint32_t total = 2 + (uint32_t)prng_below(&p, name % 2 == 0 ? 60 : VALUE_BYTES_MAX - 1);
        const uint32_t peer = (uint32_t)prng_below(&p, PEERS), most = 1 + (uint32_t)prng_below(&p, total - 1);
        uint8_t *there = calloc(1, total);
        assert_non_null(there);
        uint32_t n_there = 0;
        while (n_there < total) {
            /* Now and then where the first hole is, else it would take for ever. */
            uint32_t offset = (uint32_t)prng_below(&p, total);
            if (prng_below(&p, 4) == 0)
                offset = (uint32_t)((uint8_t *)memchr(there, 0, total) - there);
            uint32_t size = 1 + (uint32_t)prng_below(&p, most);
            if (size > total - offset)
                size = total - offset;
            for (uint32_t i = offset; i < offset + size; i++) {
                n_there += there[i] == 0;
                there[i] = 1;
            }
            const uint8_t *whole = add(a, peer, name, total, offset, size);
            assert_int_equal(whole != NULL, n_there == total);
        }
        free(there);
    }
    free(a);
}

static void test_other_total_starts_anew(void **state)
{
    (void)state;
    struct assembly *a = make(1, 200);
    assert_null(add(a, 0, 1, 100, 0, 99));
    assert_null(add(a, 0, 1, 200, 99, 1));
    assert_null(add(a, 0, 1, 100, 99, 1)); /* and what was there before is gone */
    assert_non_null(add(a, 0, 1, 100, 0, 99));
    free(a);
}

static void test_value_size_limit(void **state)
{
    (void)state;
    struct assembly *a = make(1, VALUE_BYTES_MAX);
    for (uint32_t total = VALUE_BYTES_MAX - 1; total <= VALUE_BYTES_MAX + 1; total++) {
        assert_null(add(a, 0, total, total, 0, 1));
        const bool done = add(a, 0, total, total, 1, total - 1) != NULL;
        assert_int_equal(done, total <= VALUE_BYTES_MAX);
    }
    const uint8_t bytes[VALUE_BYTES_MAX + 1] = {0};
    const struct piece p = {.total = VALUE_BYTES_MAX + 1, .size = VALUE_BYTES_MAX + 1, .bytes = bytes};
    assert_null(assembly_add(a, 0, &p)); /* whole, and too large all the same */
    free(a);
}

static void test_senseless_pieces_are_ignored(void **state)
{
    (void)state;
    struct assembly *a = make(1, 100);
    const uint8_t bytes[200] = {0};
    const struct piece cases[] = {
        {.total = 0, .size = 0, .bytes = bytes},
        {.total = 100, .offset = 100, .size = 1, .bytes = bytes},
        {.total = 100, .offset = 51, .size = 50, .bytes = bytes},
        {.total = 100, .offset = UINT32_MAX - 10, .size = 50, .bytes = bytes},
        {.total = 100, .offset = 0, .size = 101, .bytes = bytes},
        {.total = UINT32_MAX, .offset = 0, .size = 50, .bytes = bytes},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_null(assembly_add(a, 0, &cases[i]));
    free(a);
}

static void test_values_under_way_at_the_limit(void **state)
{
    (void)state;
    for (uint32_t n = ASSEMBLY_VALUES_MAX - 1; n <= ASSEMBLY_VALUES_MAX + 1; n++) {
        struct assembly *a = make(1, 100);
        struct assembly_stats stats;
        for (uint32_t name = 1; name <= n; name++)
            assert_null(add(a, 0, name, 100, 0, 50));
        const uint32_t kept = n < ASSEMBLY_VALUES_MAX ? n : ASSEMBLY_VALUES_MAX;
        assembly_stats(a, &stats);
        assert_int_equal(stats.values, kept);
        assert_int_equal(stats.bytes, 100 * kept);
        assert_int_equal(stats.driven_out, n - kept);
        /* Newest first: one more than there may be drove out the one that was touched longest ago, and no other. */
        for (uint32_t name = n; name >= 1; name--)
            assert_int_equal(add(a, 0, name, 100, 50, 50) != NULL, name > 1 || n <= ASSEMBLY_VALUES_MAX);
        free(a);
    }
}

static void test_longest_untouched_is_driven_out(void **state)
{
    (void)state;
    struct assembly *a = make(1, 100);
    for (uint32_t name = 1; name <= ASSEMBLY_VALUES_MAX; name++)
        assert_null(add(a, 0, name, 100, 0, 50));
    assert_null(add(a, 0, 1, 100, 0, 50)); /* a repetition is a touch */
    assert_null(add(a, 0, 1000, 100, 0, 50));
    assert_non_null(add(a, 0, 1, 100, 50, 50));
    assert_null(add(a, 0, 2, 100, 50, 50));
    assert_non_null(add(a, 0, 3, 100, 50, 50));
    free(a);
}

static void test_peers_do_not_touch_each_other(void **state)
{
    (void)state;
    struct assembly *a = make(PEERS, 100);
    assert_null(add(a, 0, 1, 100, 0, 50));
    assert_null(add(a, 1, 1, 100, 50, 50)); /* the other half, from another peer */
    for (uint32_t name = 10; name < 10 + 10 * ASSEMBLY_VALUES_MAX; name++)
        assert_null(add(a, 2, name, 100, 0, 99));
    assert_non_null(add(a, 0, 1, 100, 50, 50));
    assert_non_null(add(a, 1, 1, 100, 0, 50));
    free(a);
}

static void test_size_is_bounded(void **state)
{
    (void)state;
    /* Value, a bit for each of its bytes, and some 64 bytes of book-keeping each. */
    const size_t one = assembly_size(1, 16384);
    assert_in_range(one, ASSEMBLY_VALUES_MAX * 16384, ASSEMBLY_VALUES_MAX * (16384 + 2048 + 128));
    assert_in_range(assembly_size(30, 16384), 29 * one, 30 * one);
    assert_in_range(assembly_size(30, UINT32_MAX), (size_t)30 * 32 * UINT32_MAX, SIZE_MAX / 2);
}

/* What another's bytes under a value's name do: they spoil it once, then it comes through. */
static void test_wrong_bytes_do_not_stay(void **state)
{
    (void)state;
    struct assembly *a = make(1, 100);
    uint8_t wrong[50] = {0};
    struct piece p = {.total = 100, .size = 50, .bytes = wrong};
    const uint32_t name = 1;
    memcpy(p.hash.bytes, &name, sizeof name);
    assert_null(assembly_add(a, 0, &p));
    p.offset = 50;
    assert_non_null(assembly_add(a, 0, &p)); /* the caller finds that the hash is another */
    assert_null(add(a, 0, name, 100, 0, 50));
    assert_non_null(add(a, 0, name, 100, 50, 50));
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_value_is_its_own_bytes),
        cmocka_unit_test(test_two_halves_in_either_order),
        cmocka_unit_test(test_repetition_is_not_completion),
        cmocka_unit_test(test_any_cut_order_and_overlap),
        cmocka_unit_test(test_other_total_starts_anew),
        cmocka_unit_test(test_value_size_limit),
        cmocka_unit_test(test_senseless_pieces_are_ignored),
        cmocka_unit_test(test_values_under_way_at_the_limit),
        cmocka_unit_test(test_longest_untouched_is_driven_out),
        cmocka_unit_test(test_peers_do_not_touch_each_other),
        cmocka_unit_test(test_size_is_bounded),
        cmocka_unit_test(test_wrong_bytes_do_not_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
