/* The core's own SipHash-2-4-128 against libsodium's, and against the vectors of its authors' reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "paxos/hash.h"
#include "paxos/prng.h"

static void compare(const struct hash128 *key, const uint8_t *data, size_t size)
{
    struct hash128 theirs;
    crypto_shorthash_siphashx24(theirs.bytes, data, size, key->bytes);
    const struct hash128 ours = hash_bytes(key, data, size);
    assert_memory_equal(ours.bytes, theirs.bytes, sizeof ours.bytes);
}

static void test_equals_libsodium_at_every_size(void **state)
{
    (void)state;
    enum { SIZE_MAX_TRIED = 1200 };
    struct prng p;
    prng_seed(&p, 1);
    for (size_t size = 0; size <= SIZE_MAX_TRIED; size++) {
        /* An allocation of just that size, so that a sanitizer sees a read past the end. */
        uint8_t *data = malloc(size + 1);
        assert_non_null(data);
        for (size_t i = 0; i < size + 1; i++)
            data[i] = (uint8_t)prng_next(&p);
        struct hash128 key;
        for (size_t i = 0; i < sizeof key.bytes; i++)
            key.bytes[i] = (uint8_t)prng_next(&p);
        compare(&key, data + 1, size); /* odd address */
        free(data);
    }
}

static void test_equals_libsodium_on_large_inputs(void **state)
{
    (void)state;
    const size_t sizes[] = {4096, 16384 + 168, 65535, 65536, 1000003};
    const struct hash128 key = {{1, 2, 3}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *data = malloc(sizes[i]);
        assert_non_null(data);
        memset(data, (int)i, sizes[i]);
        compare(&key, data, sizes[i]);
        free(data);
    }
}

static void test_reference_vectors(void **state)
{
    (void)state;
    static const uint8_t empty[16] = {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6,
                                      0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93};
    static const uint8_t one[16] = {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44,
                                    0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45};
    struct hash128 key;
    for (uint8_t i = 0; i < sizeof key.bytes; i++)
        key.bytes[i] = i;
    struct hash128 h = hash_bytes(&key, NULL, 0);
    assert_memory_equal(h.bytes, empty, sizeof empty);
    h = hash_bytes(&key, "", 1);
    assert_memory_equal(h.bytes, one, sizeof one);
}

static void test_equal_and_zero(void **state)
{
    (void)state;
    struct hash128 a = {{0}}, b = {{0}};
    assert_true(hash_is_zero(&a));
    assert_true(hash_equal(&a, &b));
    for (size_t i = 0; i < sizeof a.bytes; i++) {
        a.bytes[i] = 1;
        assert_false(hash_is_zero(&a));
        assert_false(hash_equal(&a, &b));
        a.bytes[i] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_libsodium_at_every_size),
        cmocka_unit_test(test_equals_libsodium_on_large_inputs),
        cmocka_unit_test(test_reference_vectors),
        cmocka_unit_test(test_equal_and_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
