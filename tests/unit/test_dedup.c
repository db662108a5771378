/* The tables of keys and streams, against the rules and against a model that is too simple to be wrong.
 *
 * Traps: 20 (the tables are a function of the log alone), 21 (a key forgotten, its late replay stored again), 23 (same
 * key, other text, called a duplicate). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/dedup.h"
#include "paxos/invariant.h"
#include "paxos/prng.h"

_Noreturn void invariant_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "%s:%d: %s (%llu, %llu)\n", file, line, what, (unsigned long long)a, (unsigned long long)b);
    abort();
}

static const struct hash128 hash_key = {{7}};

static struct value message(uint64_t key, uint64_t text, slot_t since, uint64_t stream, uint64_t n)
{
    struct value v = {.type = VALUE_MESSAGE, .since = since, .stream = stream, .n = n};
    v.key_hash = hash_bytes(&hash_key, &key, sizeof key);
    v.text_hash = hash_bytes(&hash_key, &text, sizeof text);
    return v;
}

struct answer {
    enum dedup_verdict verdict;
    slot_t slot;
    uint64_t evicted;
};

static struct answer apply(struct dedup *d, slot_t slot, struct value v)
{
    struct answer a = {.slot = 4711};
    a.verdict = dedup_apply(d, slot, &v, &a.slot, &a.evicted);
    return a;
}

static struct dedup *make(uint32_t dedup_slots, uint32_t streams_max)
{
    const size_t size = dedup_size(dedup_slots, streams_max);
    void *block = malloc(size);
    assert_non_null(block);
    memset(block, 0xa5, size); /* init must not rely on zeroes */
    return dedup_init(block, dedup_slots, streams_max);
}

static void expect(struct answer a, enum dedup_verdict verdict, slot_t slot, uint64_t evicted)
{
    assert_int_equal(a.verdict, verdict);
    if (verdict == DEDUP_DUPLICATE || verdict == DEDUP_CONFLICT || verdict == DEDUP_EXPIRED)
        assert_int_equal(a.slot, slot);
    assert_int_equal(a.evicted, evicted);
}

static void test_same_key_same_text_is_duplicate_of_first(void **state)
{
    (void)state;
    struct dedup *d = make(8, 2);
    expect(apply(d, 1, message(1, 1, 0, 0, 0)), DEDUP_STORED, 0, 0);
    expect(apply(d, 2, message(1, 1, 0, 0, 0)), DEDUP_DUPLICATE, 1, 0);
    expect(apply(d, 3, message(1, 1, 2, 0, 0)), DEDUP_DUPLICATE, 1, 0);
    free(d);
}

static void test_trap_23_same_key_other_text_is_conflict(void **state)
{
    (void)state;
    struct dedup *d = make(8, 2);
    expect(apply(d, 1, message(1, 1, 0, 0, 0)), DEDUP_STORED, 0, 0);
    expect(apply(d, 2, message(1, 2, 0, 0, 0)), DEDUP_CONFLICT, 1, 0);
    /* The conflicting one left no trace: the first text is still the one that counts. */
    expect(apply(d, 3, message(1, 1, 0, 0, 0)), DEDUP_DUPLICATE, 1, 0);
    free(d);
}

static void test_trap_21_forgotten_key_is_expired_not_stored_again(void **state)
{
    (void)state;
    struct dedup *d = make(4, 2);
    expect(apply(d, 10, message(1, 1, 8, 0, 0)), DEDUP_STORED, 0, 0);
    for (slot_t slot = 11; slot < 14; slot++)
        expect(apply(d, slot, message(100 + slot, 1, slot, 0, 0)), DEDUP_STORED, 0, 0);
    /* Slot 14: slots from 10 on are known. */
    expect(apply(d, 14, message(1, 1, 8, 0, 0)), DEDUP_DUPLICATE, 10, 0);
    /* Slot 15: from 11 on. */
    expect(apply(d, 15, message(1, 1, 8, 0, 0)), DEDUP_EXPIRED, 11, 0);
    expect(apply(d, 16, message(2, 1, 11, 0, 0)), DEDUP_EXPIRED, 12, 0);
    expect(apply(d, 17, message(2, 1, 13, 0, 0)), DEDUP_STORED, 0, 0);
    free(d);
}

static void test_gap_forgets_as_messages_do(void **state)
{
    (void)state;
    struct dedup *d = make(4, 2);
    expect(apply(d, 0, message(1, 1, 0, 0, 0)), DEDUP_STORED, 0, 0);
    expect(apply(d, 4, message(1, 1, 0, 0, 0)), DEDUP_DUPLICATE, 0, 0);
    expect(apply(d, 5, message(2, 1, 3, 0, 0)), DEDUP_STORED, 0, 0);
    expect(apply(d, 9, message(2, 1, 3, 0, 0)), DEDUP_DUPLICATE, 5, 0);
    expect(apply(d, 1000000, message(2, 1, 3, 0, 0)), DEDUP_EXPIRED, 999996, 0);
    free(d);
}

static void test_stream_takes_the_next_number_only(void **state)
{
    (void)state;
    struct dedup *d = make(16, 2);
    expect(apply(d, 1, message(1, 1, 0, 9, 2)), DEDUP_VOID, 0, 0);
    assert_int_equal(dedup_stream_last(d, 9), 0);
    expect(apply(d, 2, message(1, 1, 0, 9, 1)), DEDUP_STORED, 0, 0);
    expect(apply(d, 3, message(3, 1, 0, 9, 3)), DEDUP_VOID, 0, 0);
    expect(apply(d, 4, message(2, 1, 0, 9, 2)), DEDUP_STORED, 0, 0);
    expect(apply(d, 5, message(2, 1, 0, 9, 2)), DEDUP_VOID, 0, 0);
    expect(apply(d, 6, message(2, 1, 0, 9, 0)), DEDUP_VOID, 0, 0);
    /* What was void touched no table: its key is free. */
    expect(apply(d, 7, message(3, 1, 0, 9, 3)), DEDUP_STORED, 0, 0);
    assert_int_equal(dedup_stream_last(d, 9), 3);
    free(d);
}

static void test_number_is_settled_whatever_becomes_of_the_entry(void **state)
{
    (void)state;
    struct dedup *d = make(2, 2);
    expect(apply(d, 1, message(1, 1, 0, 0, 0)), DEDUP_STORED, 0, 0);
    expect(apply(d, 2, message(1, 1, 0, 9, 1)), DEDUP_DUPLICATE, 1, 0);
    expect(apply(d, 3, message(1, 2, 0, 9, 2)), DEDUP_CONFLICT, 1, 0);
    expect(apply(d, 9, message(5, 1, 0, 9, 3)), DEDUP_EXPIRED, 7, 0);
    assert_int_equal(dedup_stream_last(d, 9), 3);
    expect(apply(d, 10, message(6, 1, 9, 9, 4)), DEDUP_STORED, 0, 0);
    free(d);
}

static void test_oldest_advance_is_evicted_first(void **state)
{
    (void)state;
    struct dedup *d = make(16, 2);
    expect(apply(d, 1, message(1, 1, 0, 100, 1)), DEDUP_STORED, 0, 0);
    expect(apply(d, 2, message(2, 1, 0, 200, 1)), DEDUP_STORED, 0, 0);
    expect(apply(d, 3, message(3, 1, 0, 100, 2)), DEDUP_STORED, 0, 0);
    /* A void does not count as an advance. */
    expect(apply(d, 4, message(4, 1, 0, 200, 5)), DEDUP_VOID, 0, 0);
    /* Evicting is part of the stream's business: it happens though the entry is a duplicate. */
    expect(apply(d, 5, message(1, 1, 0, 300, 1)), DEDUP_DUPLICATE, 1, 200);
    assert_int_equal(dedup_stream_last(d, 200), 0);
    assert_int_equal(dedup_stream_last(d, 100), 2);
    expect(apply(d, 6, message(6, 1, 0, 200, 2)), DEDUP_VOID, 0, 0);
    expect(apply(d, 7, message(7, 1, 0, 200, 1)), DEDUP_STORED, 0, 100);
    free(d);
}

static void test_trap_20_hash_depends_on_what_is_known_only(void **state)
{
    (void)state;
    /* One has a past that the other never saw; after dedup_slots slots of the same messages nothing of it is left. */
    struct dedup *a = make(4, 2), *b = make(4, 2);
    for (slot_t slot = 0; slot < 10; slot++)
        apply(a, slot, message(slot, 1, slot, 0, 0));
    for (slot_t slot = 10; slot < 14; slot++) {
        const struct hash128 ha = dedup_hash(a, &hash_key), hb = dedup_hash(b, &hash_key);
        assert_false(hash_equal(&ha, &hb));
        apply(a, slot, message(slot, 1, slot, 0, 0));
        apply(b, slot, message(slot, 1, slot, 0, 0));
    }
    struct hash128 ha = dedup_hash(a, &hash_key), hb = dedup_hash(b, &hash_key);
    assert_true(hash_equal(&ha, &hb));
    /* A stream's number and the order of advances are part of it. */
    apply(a, 14, message(14, 1, 14, 5, 1));
    apply(b, 14, message(14, 1, 14, 6, 1));
    ha = dedup_hash(a, &hash_key), hb = dedup_hash(b, &hash_key);
    assert_false(hash_equal(&ha, &hb));
    apply(a, 15, message(15, 1, 15, 6, 1));
    apply(b, 15, message(15, 1, 15, 5, 1));
    ha = dedup_hash(a, &hash_key), hb = dedup_hash(b, &hash_key);
    assert_false(hash_equal(&ha, &hb));
    apply(a, 16, message(16, 1, 16, 5, 2));
    apply(a, 17, message(17, 1, 17, 6, 2));
    apply(b, 16, message(16, 1, 16, 5, 2));
    apply(b, 17, message(17, 1, 17, 6, 2));
    ha = dedup_hash(a, &hash_key), hb = dedup_hash(b, &hash_key);
    assert_true(hash_equal(&ha, &hb));
    free(a);
    free(b);
}

static void test_size_is_about_40_bytes_a_key(void **state)
{
    (void)state;
    const size_t base = dedup_size(1, 1);
    for (uint32_t n = 1000; n < 5000; n += 37) {
        assert_in_range(dedup_size(n, 1) - base, 0, (size_t)n * 44);
        assert_in_range(dedup_size(1, n) - base, 0, (size_t)n * 48);
    }
    /* No overflow on the way. */
    assert_in_range(dedup_size(UINT32_MAX, UINT32_MAX), (size_t)UINT32_MAX * 64, (size_t)UINT32_MAX * 92);
}

/* --- the model: every slot ever stored, and the streams in the order of their last advance --- */

enum { MODEL_SLOTS = 1500, MODEL_STREAMS = 8 };

struct model {
    uint32_t dedup_slots, streams_max;
    struct {
        bool stored;
        uint64_t key, text;
    } slots[MODEL_SLOTS];
    uint32_t n_streams;
    struct {
        uint64_t stream, last;
    } streams[MODEL_STREAMS]; /* oldest advance first */
};

static bool model_advance(struct model *m, uint64_t stream, uint64_t n, uint64_t *ret_evicted)
{
    uint32_t i = 0;
    while (i < m->n_streams && m->streams[i].stream != stream)
        i++;
    if (n != (i < m->n_streams ? m->streams[i].last : 0) + 1)
        return false;
    if (i == m->n_streams && i == m->streams_max) {
        *ret_evicted = m->streams[0].stream;
        i = 0;
    } else if (i == m->n_streams) {
        m->n_streams++;
    }
    memmove(&m->streams[i], &m->streams[i + 1], (m->n_streams - 1 - i) * sizeof m->streams[0]);
    m->streams[m->n_streams - 1].stream = stream;
    m->streams[m->n_streams - 1].last = n;
    return true;
}

static struct answer model_apply(struct model *m, slot_t slot, uint64_t key, uint64_t text, const struct value *v)
{
    struct answer a = {.verdict = DEDUP_VOID};
    if (v->stream != 0 && !model_advance(m, v->stream, v->n, &a.evicted))
        return a;
    const slot_t floor = slot > m->dedup_slots ? slot - m->dedup_slots : 0;
    for (a.slot = floor; a.slot < slot; a.slot++) {
        if (m->slots[a.slot].stored && m->slots[a.slot].key == key) {
            a.verdict = m->slots[a.slot].text == text ? DEDUP_DUPLICATE : DEDUP_CONFLICT;
            return a;
        }
    }
    a.slot = floor;
    a.verdict = v->since < floor ? DEDUP_EXPIRED : DEDUP_STORED;
    if (a.verdict == DEDUP_STORED) {
        m->slots[slot].stored = true;
        m->slots[slot].key = key;
        m->slots[slot].text = text;
    }
    return a;
}

/* What two tables hold is equal where their hashes are: the model's, written out. */
static struct hash128 model_hash(const struct model *m, slot_t next)
{
    uint64_t all[64];
    size_t n = 0;
    for (slot_t s = next > m->dedup_slots ? next - m->dedup_slots : 0; s < next; s++) {
        if (m->slots[s].stored) {
            all[n++] = s;
            all[n++] = m->slots[s].key;
            all[n++] = m->slots[s].text;
        }
    }
    for (uint32_t i = 0; i < m->n_streams; i++) {
        all[n++] = m->streams[i].stream;
        all[n++] = m->streams[i].last;
    }
    return hash_bytes(&hash_key, all, n * sizeof all[0]);
}

static void run_against_model(uint64_t seed, uint32_t dedup_slots, uint32_t streams_max)
{
    struct prng p;
    prng_seed(&p, seed);
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->dedup_slots = dedup_slots;
    m->streams_max = streams_max;
    struct dedup *d = make(dedup_slots, streams_max);
    const uint64_t n_keys = 1 + prng_below(&p, 3 * dedup_slots), n_streams = 1 + prng_below(&p, MODEL_STREAMS);
    const uint64_t gap_chance = prng_below(&p, 60);
    const bool one_bucket = prng_below(&p, 3) == 0;
    struct hash128 was_model = model_hash(m, 0), was_table = dedup_hash(d, &hash_key);

    for (slot_t slot = prng_below(&p, 3); slot < MODEL_SLOTS; slot++) {
        if (prng_below(&p, 100) < gap_chance)
            slot += prng_below(&p, prng_below(&p, 4) == 0 ? 2 * dedup_slots + 2 : 3);
        if (slot >= MODEL_SLOTS)
            break;
        const uint64_t key = prng_below(&p, n_keys), text = prng_below(&p, 8) == 0;
        const slot_t behind = prng_below(&p, dedup_slots + 3);
        const uint64_t stream = prng_below(&p, n_streams + 1);
        const uint64_t last = dedup_stream_last(d, stream);
        const uint64_t n = prng_below(&p, 5) == 0 ? prng_below(&p, 4) : last + 1;
        struct value v = message(key, text, slot > behind ? slot - behind : 0, stream, n);
        if (one_bucket)
            memset(v.key_hash.bytes, 0, 4);

        const struct answer theirs = model_apply(m, slot, key, text, &v);
        const struct answer ours = apply(d, slot, v);
        if (ours.verdict != theirs.verdict)
            print_error("seed %llu, slots %u, streams %u, slot %llu\n", (unsigned long long)seed, dedup_slots,
                        streams_max, (unsigned long long)slot);
        expect(ours, theirs.verdict, theirs.slot, theirs.evicted);
        for (uint32_t i = 0; i < m->n_streams; i++)
            assert_int_equal(dedup_stream_last(d, m->streams[i].stream), m->streams[i].last);

        /* The hash changes exactly when the contents do. */
        const struct hash128 in_model = model_hash(m, slot + 1), in_table = dedup_hash(d, &hash_key);
        assert_int_equal(hash_equal(&in_model, &was_model), hash_equal(&in_table, &was_table));
        was_model = in_model;
        was_table = in_table;
    }
    free(d);
    free(m);
}

static void test_equals_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 160; seed++)
        run_against_model(seed, 1 + (uint32_t)(seed % 8), 1 + (uint32_t)(seed / 8 % 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_key_same_text_is_duplicate_of_first),
        cmocka_unit_test(test_trap_23_same_key_other_text_is_conflict),
        cmocka_unit_test(test_trap_21_forgotten_key_is_expired_not_stored_again),
        cmocka_unit_test(test_gap_forgets_as_messages_do),
        cmocka_unit_test(test_stream_takes_the_next_number_only),
        cmocka_unit_test(test_number_is_settled_whatever_becomes_of_the_entry),
        cmocka_unit_test(test_oldest_advance_is_evicted_first),
        cmocka_unit_test(test_trap_20_hash_depends_on_what_is_known_only),
        cmocka_unit_test(test_size_is_about_40_bytes_a_key),
        cmocka_unit_test(test_equals_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
