/* Values: the encoding, what it refuses, and what the hashes cover. Bytes come from the wire and from the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/prng.h"
#include "paxos/value.h"

static const struct hash128 cluster = {{1, 2, 3, 4}};

static const struct value_fields usual = {
    .type = VALUE_MESSAGE,
    .stream = UINT64_C(0x1122334455667788),
    .n = 2,
    .since = 3,
    .time_usec = 4,
    .author = "ann",
    .author_size = 3,
    .key = "k1",
    .key_size = 2,
    .text = "hello",
    .text_size = 5,
};

/* Of just that size, so that a sanitizer sees a read past the end. */
static struct value *from_bytes(const uint8_t *bytes, size_t size)
{
    struct value *v = malloc(sizeof *v + size);
    assert_non_null(v);
    v->size = (uint32_t)size;
    memcpy(v->bytes, bytes, size); // cppcheck-suppress uninitvar ; value_encode() fills them
    return v;
}

static struct value *encoded(const struct value_fields *f)
{
    const size_t size = value_encoded_size(f);
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    value_encode(f, bytes);
    struct value *v = from_bytes(bytes, size);
    free(bytes);
    return v;
}

static struct value *parsed(const struct value_fields *f)
{
    struct value *v = encoded(f);
    assert_true(value_parse(v, &cluster));
    return v;
}

static void expect_refused(const struct value_fields *f)
{
    struct value *v = encoded(f);
    assert_false(value_parse(v, &cluster));
    free(v);
}

static void test_layout(void **state)
{
    (void)state;
    static const uint8_t expected[] = "\x02\x03\x02\x00\x05\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11"
                                      "\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0annk1hello";
    struct value *v = encoded(&usual);
    assert_int_equal(v->size, sizeof expected - 1);
    assert_memory_equal(v->bytes, expected, v->size);
    free(v);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 3);
    uint8_t filler[20000];
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = (uint8_t)(1 + prng_below(&p, 255));
    for (int i = 0; i < 300; i++) {
        const struct value_fields f = {
            .type = VALUE_MESSAGE,
            .stream = prng_next(&p),
            .n = prng_next(&p),
            .since = prng_next(&p),
            .time_usec = prng_next(&p),
            .author = filler + prng_below(&p, 100),
            .key = filler + prng_below(&p, 100),
            .text = filler + prng_below(&p, 100),
            .author_size = (uint8_t)prng_below(&p, AUTHOR_BYTES_MAX + 1),
            .key_size = (uint8_t)(1 + prng_below(&p, KEY_BYTES_MAX)),
            .text_size = (uint32_t)(1 + prng_below(&p, i % 10 == 0 ? 16384 : 100)),
        };
        struct value *v = parsed(&f);
        assert_int_equal(v->refs, 1);
        assert_null(v->next);
        assert_int_equal(v->type, f.type);
        assert_int_equal(v->stream, f.stream);
        assert_int_equal(v->n, f.n);
        assert_int_equal(v->since, f.since);
        assert_int_equal(v->time_usec, f.time_usec);
        assert_int_equal(v->author_size, f.author_size);
        assert_memory_equal(v->author, f.author, f.author_size);
        assert_int_equal(v->key_size, f.key_size);
        assert_memory_equal(v->key, f.key, f.key_size);
        assert_int_equal(v->text_size, f.text_size);
        assert_memory_equal(v->text, f.text, f.text_size);
        free(v);
    }
}

static void test_without_a_body(void **state)
{
    (void)state;
    const enum value_type types[] = {VALUE_NOOP, VALUE_BARRIER};
    for (size_t i = 0; i < 2; i++) {
        struct value_fields f = {.type = types[i], .time_usec = 9};
        struct value *v = parsed(&f);
        assert_int_equal(v->size, VALUE_HEADER_SIZE);
        assert_int_equal(v->type, types[i]);
        free(v);
        f.text = "x";
        f.text_size = 1;
        expect_refused(&f);
    }
    const struct value_fields config = {.type = VALUE_CONFIG, .text = "\0\1\0", .text_size = 3};
    free(parsed(&config));
}

static void test_what_is_refused(void **state)
{
    (void)state;
    struct value_fields f = usual;
    f.key_size = 0;
    expect_refused(&f);
    f = usual, f.text_size = 0;
    expect_refused(&f);
    f = usual, f.type = (enum value_type)0;
    expect_refused(&f);
    f = usual, f.type = (enum value_type)5;
    expect_refused(&f);
    f = usual, f.author = "a\0n";
    expect_refused(&f);
    f = usual, f.key = "\0k";
    expect_refused(&f);

    struct value *v = encoded(&usual);
    v->bytes[3] = 1;
    assert_false(value_parse(v, &cluster));
    free(v);
}

static void test_nul_anywhere_in_a_text_is_refused(void **state)
{
    (void)state;
    char text[40];
    for (uint32_t size = 1; size <= sizeof text; size++) {
        for (uint32_t at = 0; at < size; at++) {
            /* 0x80 and 0x01 are what a word-wise search could take for a zero. */
            memset(text, at % 2 == 0 ? 0x80 : 0x01, sizeof text);
            struct value_fields f = usual;
            f.text = text;
            f.text_size = size;
            free(parsed(&f));
            text[at] = 0;
            expect_refused(&f);
        }
    }
}

static void test_limits_of_author_and_key(void **state)
{
    (void)state;
    char long_text[AUTHOR_BYTES_MAX + 1];
    memset(long_text, 'x', sizeof long_text);
    for (int by = -1; by <= 1; by++) {
        struct value_fields f = usual;
        f.author = long_text;
        f.author_size = (uint8_t)(AUTHOR_BYTES_MAX + by);
        struct value *v = encoded(&f);
        assert_int_equal(value_parse(v, &cluster), by <= 0);
        free(v);
        f = usual;
        f.key = long_text;
        f.key_size = (uint8_t)(KEY_BYTES_MAX + by);
        v = encoded(&f);
        assert_int_equal(value_parse(v, &cluster), by <= 0);
        free(v);
    }
}

static void test_sizes_must_add_up(void **state)
{
    (void)state;
    struct value *whole = encoded(&usual);
    for (uint32_t size = 0; size < whole->size; size++) {
        struct value *v = from_bytes(whole->bytes, size);
        assert_false(value_parse(v, &cluster));
        free(v);
    }
    uint8_t longer[64] = {0};
    memcpy(longer, whole->bytes, whole->size);
    struct value *v = from_bytes(longer, whole->size + 1);
    assert_false(value_parse(v, &cluster));
    memset(v->bytes + 4, 0xff, 4); /* a text size that overflows 32 bits where it is added */
    assert_false(value_parse(v, &cluster));
    free(v);
    free(whole);
}

static void test_random_bytes_never_read_past_the_end(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 5);
    uint32_t taken = 0;
    for (int i = 0; i < 50000; i++) {
        uint8_t bytes[100];
        const size_t size = prng_below(&p, sizeof bytes);
        for (size_t k = 0; k < size; k++)
            bytes[k] = (uint8_t)prng_next(&p);
        if (size > 8) { /* some plausible sizes, so that it goes further */
            bytes[0] = (uint8_t)prng_below(&p, 6);
            bytes[1] = (uint8_t)prng_below(&p, 30);
            bytes[2] = (uint8_t)prng_below(&p, 30);
            bytes[3] = 0;
            memset(bytes + 4, 0, 4);
            bytes[4] = (uint8_t)(size - VALUE_HEADER_SIZE - bytes[1] - bytes[2]);
        }
        struct value *v = from_bytes(bytes, size);
        taken += value_parse(v, &cluster);
        free(v);
    }
    assert_in_range(taken, 100, 50000);
}

static void test_hashes_cover_what_they_should(void **state)
{
    (void)state;
    struct value *a = parsed(&usual);
    const struct hash128 joined = hash_bytes(&cluster, "ann\0k1", 6);
    const struct hash128 text = hash_bytes(&cluster, "hello", 5);
    uint8_t parts[VALUE_HEADER_SIZE + 2 * sizeof(struct hash128)];
    memcpy(parts, a->bytes, VALUE_HEADER_SIZE);
    memcpy(parts + VALUE_HEADER_SIZE, &joined, sizeof(joined));
    memcpy(parts + VALUE_HEADER_SIZE + sizeof(joined), &text, sizeof(text));
    const struct hash128 all = hash_bytes(&cluster, parts, sizeof(parts));
    assert_true(hash_equal(&a->key_hash, &joined));
    assert_true(hash_equal(&a->text_hash, &text));
    assert_true(hash_equal(&a->hash, &all));

    /* The same characters, cut elsewhere, are another key. */
    struct value_fields f = usual;
    f.author = "annk";
    f.author_size = 4;
    f.key = "1";
    f.key_size = 1;
    struct value *b = parsed(&f);
    assert_false(hash_equal(&a->key_hash, &b->key_hash));
    free(b);

    const struct hash128 other_cluster = {{9}};
    b = encoded(&usual);
    assert_true(value_parse(b, &other_cluster));
    assert_false(hash_equal(&a->hash, &b->hash));
    free(b);
    free(a);
}

static void test_set_time_changes_the_time_only(void **state)
{
    (void)state;
    struct value *a = parsed(&usual);
    value_set_time(a, UINT64_C(0x0102030405060708), &cluster);
    assert_int_equal(a->time_usec, UINT64_C(0x0102030405060708));
    struct value_fields f = usual;
    f.time_usec = a->time_usec;
    struct value *b = parsed(&f);
    assert_memory_equal(a->bytes, b->bytes, a->size);
    assert_true(hash_equal(&a->hash, &b->hash));
    assert_true(hash_equal(&a->key_hash, &b->key_hash));
    assert_true(hash_equal(&a->text_hash, &b->text_hash));
    free(b);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_without_a_body),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_nul_anywhere_in_a_text_is_refused),
        cmocka_unit_test(test_limits_of_author_and_key),
        cmocka_unit_test(test_sizes_must_add_up),
        cmocka_unit_test(test_random_bytes_never_read_past_the_end),
        cmocka_unit_test(test_hashes_cover_what_they_should),
        cmocka_unit_test(test_set_time_changes_the_time_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
