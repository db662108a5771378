/* Checkpoints: whatever is cut however, the same state comes back, and the same bytes; anything else is refused.
 *
 * Traps: 20 and invariant I6 (equal bytes at an equal slot), 22 (keys, streams or configuration missing in it). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/values.h"
#include "paxos/bytes.h"
#include "paxos/checkpoint.h"
#include "paxos/invariant.h"
#include "paxos/prng.h"

enum {
    HEAD_BYTES = 72, /* as checkpoint.h lists them */
    SUM_BYTES = 16,
    KEY_BYTES = 32,
};

_Noreturn void invariant_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "%s:%d: %s (%llu, %llu)\n", file, line, what, (unsigned long long)a, (unsigned long long)b);
    abort();
}

static struct replica_config make_config(uint32_t dedup_slots, uint32_t streams_max)
{
    return (struct replica_config){
        .identity = {.status = IDENTITY_VOTER,
                     .id = 1,
                     .life = 5,
                     .cluster = {{7}},
                     .configuration = {.alpha = 16,
                                       .dedup_slots = dedup_slots,
                                       .streams_max = streams_max,
                                       .n_members = 1,
                                       .members = {{.id = 1, .gen = 1, .life = 5, .address_size = 1, .address = "a"}}}},
        .heartbeat_usec = 50000,
        .submissions_max = 4,
        .promise_page_slots = 4,
    };
}

static struct replica *make(const struct replica_config *c)
{
    return replica_init(malloc(replica_size(c)), c);
}

/* --- what is applied: records, as a restart finds them --- */

static struct values pool; /* a core that ends hands nothing back */

static struct value *make_value(const struct value_fields *f)
{
    static const struct hash128 key = {{7}};
    struct value *v = values_new(&pool, (uint32_t)value_encoded_size(f));
    assert_non_null(v);
    value_encode(f, v->bytes);
    assert_true(value_parse(v, &key));
    return v;
}

static void apply(struct replica *r, const struct value_fields *f)
{
    struct effects e;
    slot_t slot = replica_chosen(r) + 1;
    struct value *v = make_value(f);
    assert_true(replica_restore(r, &(struct record){.type = RECORD_CHOSEN, .slot = slot, .value = v}, &e));
    values_release(e.released);
    v->refs--;
    assert_true(replica_restore(r, &(struct record){.type = RECORD_COMMIT, .slot = slot}, &e));
    values_release(e.released);
    assert_int_equal(replica_chosen(r), slot);
}

static void apply_trim(struct replica *r, slot_t first_kept)
{
    uint8_t text[TRIM_TEXT_SIZE];
    put_u64(text, first_kept);
    apply(r, &(struct value_fields){.type = VALUE_TRIM, .text = text, .text_size = sizeof(text)});
}

/* Some entry, by the number; the next of a few streams, more than the smallest table holds. */
static void apply_some(struct replica *r, struct prng *p, uint64_t *numbers)
{
    char key[32], text[32];
    uint64_t kind = prng_below(p, 10), stream = prng_below(p, 5);
    slot_t slot = replica_chosen(r) + 1;
    struct value_fields f = {.type = VALUE_NOOP};
    if (kind == 0) {
        apply_trim(r, prng_below(p, 2 * slot));
        return;
    }
    if (kind > 1) {
        f = (struct value_fields){.type = VALUE_MESSAGE,
                                  .stream = stream,
                                  .n = stream == 0 ? 0 : ++numbers[stream],
                                  .since = slot - 1,
                                  .time_usec = 1000 + prng_below(p, 100) + slot * 50,
                                  .key = key,
                                  .key_size = (uint8_t)snprintf(key, sizeof(key), "%lu", prng_below(p, slot + 3)),
                                  .text = text,
                                  .text_size = (uint32_t)snprintf(text, sizeof(text), "%lu", slot)};
    }
    apply(r, &f);
    if (kind == 9)
        numbers[stream] = 0; /* begun anew, as an evicted one is */
}

/* --- bytes --- */

struct bytes {
    uint8_t *at;
    size_t size;
};

static const uint8_t host_part[] = "what the host adds";

static struct checkpoint_writer *begin(const struct replica_config *c, const struct replica *r)
{
    void *block = malloc(checkpoint_writer_size(c));
    assert_non_null(block);
    return checkpoint_begin(block, r, host_part, sizeof(host_part));
}

/* Goes on to the end, in slices of at most `most`. */
static struct bytes finish(struct checkpoint_writer *w, const struct replica *r, size_t most)
{
    struct bytes b = {.at = malloc(1 << 20)};
    assert_non_null(b.at);
    while (!checkpoint_is_written(w)) {
        size_t n;
        assert_true(b.size + most <= 1 << 20);
        assert_true(checkpoint_write(w, r, b.at + b.size, most, &n));
        assert_true(n <= most);
        b.size += n;
    }
    free(w);
    return b;
}

static struct bytes write_all(const struct replica_config *c, const struct replica *r, size_t most)
{
    return finish(begin(c, r), r, most);
}

/* Whether it is taken; into `r`, or only looked through. */
static bool read_cut(struct checkpoint_reader *k, struct bytes b, struct prng *cuts, struct bytes *host)
{
    const uint8_t *part;
    size_t part_size;
    host->size = 0;
    for (size_t at = 0, n; at < b.size; at += n) {
        n = 1 + prng_below(cuts, prng_below(cuts, 2) == 0 ? 3 : 300);
        n = n < b.size - at ? n : b.size - at;
        /* of exactly this size, so that a sanitizer sees a step beyond */
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, b.at + at, n);
        bool ok = checkpoint_read(k, copy, n, &part, &part_size);
        if (ok && part_size > 0) {
            memcpy(host->at + host->size, part, part_size);
            host->size += part_size;
        }
        free(copy);
        if (!ok)
            return false;
    }
    return k->stage == CHECKPOINT_WHOLE;
}

static bool is_sound(const struct replica_config *c, struct bytes b, struct prng *cuts)
{
    struct bytes host = {.at = malloc(1 << 20)};
    struct checkpoint_reader *k = malloc(sizeof(*k));
    assert_non_null(k);
    checkpoint_check(k, &c->identity);
    bool whole = read_cut(k, b, cuts, &host);
    free(k);
    free(host.at);
    return whole;
}

static struct replica *restore(const struct replica_config *c, struct bytes b, struct prng *cuts)
{
    struct replica *r = make(c);
    struct bytes host = {.at = malloc(1 << 20)};
    struct checkpoint_reader *k = malloc(sizeof(*k));
    assert_non_null(k);
    checkpoint_load(k, r);
    assert_true(read_cut(k, b, cuts, &host));
    assert_int_equal(host.size, sizeof(host_part));
    assert_memory_equal(host.at, host_part, sizeof(host_part));
    assert_true(replica_restore_checkpoint(r, k));
    free(k);
    free(host.at);
    return r;
}

static void assert_equal(struct bytes a, struct bytes b)
{
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.at, b.at, a.size);
    free(a.at);
    free(b.at);
}

/* --- */

static void round_trip(uint32_t dedup_slots, uint32_t streams_max, uint32_t n_slots, uint64_t seed)
{
    const struct replica_config c = make_config(dedup_slots, streams_max);
    struct replica *r = make(&c);
    struct prng p, again, cuts;
    uint64_t numbers[5] = {0}, numbers_again[5];
    prng_seed(&p, seed);
    prng_seed(&cuts, seed + 1);
    for (uint32_t i = 0; i < n_slots; i++)
        apply_some(r, &p, numbers);
    struct bytes b = write_all(&c, r, 64 + prng_below(&cuts, 500));
    assert_true(is_sound(&c, b, &cuts));
    struct replica *q = restore(&c, b, &cuts);
    struct replica_status rs, qs;
    replica_status(r, &rs);
    replica_status(q, &qs);
    assert_int_equal(qs.chosen, rs.chosen);
    assert_int_equal(qs.first_kept, rs.first_kept);
    assert_int_equal(qs.last_time_usec, rs.last_time_usec);
    assert_true(hash_equal(&qs.chain, &rs.chain));
    assert_equal(b, write_all(&c, q, 64));
    /* What comes after is applied alike. */
    again = p;
    memcpy(numbers_again, numbers, sizeof(numbers));
    for (uint32_t i = 0; i < 3 * dedup_slots; i++) {
        apply_some(r, &p, numbers);
        apply_some(q, &again, numbers_again);
        if (i % 7 == 0)
            assert_equal(write_all(&c, r, 64), write_all(&c, q, 4096));
    }
    free(r);
    free(q);
}

static void test_what_was_written_comes_back(void **state)
{
    (void)state;
    static const uint32_t slots[] = {1, 2, 7, 64}, streams[] = {1, 3, 64};
    for (uint64_t seed = 0; seed < 8; seed++)
        for (size_t i = 0; i < 4; i++)
            for (size_t k = 0; k < 3; k++)
                round_trip(slots[i], streams[k], 1 + (uint32_t)(seed * slots[i] / 2), seed);
}

/* While the log goes on beside it: the bytes of its own slot, until keys are forgotten that it still needs. */
static void test_writing_beside_the_log(void **state)
{
    (void)state;
    const struct replica_config c = make_config(32, 4);
    struct prng p;
    uint64_t numbers[5] = {0};
    for (uint32_t beside = 0; beside <= 34; beside++) {
        struct replica *r = make(&c);
        uint8_t first[4096];
        size_t n;
        prng_seed(&p, 3);
        for (int i = 1; i <= 100; i++)
            apply(r, &(struct value_fields){.type = VALUE_MESSAGE,
                                            .since = replica_chosen(r),
                                            .key = &i,
                                            .key_size = 1,
                                            .text = "x",
                                            .text_size = 1});
        struct bytes wanted = write_all(&c, r, 4096);
        struct checkpoint_writer *w = begin(&c, r);
        for (uint32_t i = 0; i < beside; i++)
            apply_some(r, &p, numbers);
        assert_int_equal(checkpoint_slot(w), 100);
        assert_true(checkpoint_write(w, r, first, sizeof(first), &n)); /* the head */
        bool ok = true;
        size_t at = n;
        assert_memory_equal(first, wanted.at, n);
        while (ok && !checkpoint_is_written(w)) {
            ok = checkpoint_write(w, r, first, 64, &n);
            if (ok)
                assert_memory_equal(first, wanted.at + at, n);
            at += n;
        }
        if (ok)
            assert_int_equal(at, wanted.size);
        if (beside == 0)
            assert_true(ok);
        if (beside == 34) /* messages among them, surely */
            assert_false(ok);
        free(w);
        free(wanted.at);
        free(r);
    }
}

static void apply_message(struct replica *r, int number)
{
    apply(r, &(struct value_fields){.type = VALUE_MESSAGE,
                                    .since = replica_chosen(r),
                                    .key = &number,
                                    .key_size = 1,
                                    .text = "x",
                                    .text_size = 1});
}

/* The log goes on while the checkpoint is written, one slot for each slice: it stays ahead, and ends at its own slot,
 * also where the last key fills a slice and the end of the keys has to wait for the next. */
static void test_writing_ahead_of_the_log(void **state)
{
    (void)state;
    const struct replica_config c = make_config(32, 4);
    for (size_t most = CHECKPOINT_PART_BYTES_MIN; most <= 6 * KEY_BYTES; most += KEY_BYTES) {
        struct replica *r = make(&c);
        for (int i = 1; i <= 100; i++)
            apply_message(r, i);
        struct bytes wanted = write_all(&c, r, 4096), found = {.at = malloc(1 << 16)};
        size_t keys_at = wanted.size - SUM_BYTES - sizeof(host_part) - (32 + 1) * KEY_BYTES;
        struct checkpoint_writer *w = begin(&c, r);
        assert_non_null(found.at);
        for (int i = 101; !checkpoint_is_written(w); i++) {
            size_t n;
            assert_true(found.size + most <= 1 << 16);
            assert_true(checkpoint_write(w, r, found.at + found.size, most, &n));
            found.size += n;
            if (found.size >= keys_at + 4 * KEY_BYTES)
                apply_message(r, i);
        }
        assert_int_equal(found.size, wanted.size);
        assert_memory_equal(found.at, wanted.at, wanted.size);
        free(w);
        free(found.at);
        free(wanted.at);
        free(r);
    }
}

/* Nothing that one step applies takes a key away that it needs, as long as it is kept ahead; however many streams the
 * head has, and however little room. */
static void test_kept_ahead_of_the_log(void **state)
{
    (void)state;
    static const uint32_t tables[] = {1, 31, 32, 33, 100};
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        const struct replica_config c = make_config(tables[t], 64);
        struct replica *r = make(&c);
        for (int i = 1; i <= 110; i++)
            apply(r, &(struct value_fields){.type = VALUE_MESSAGE,
                                            .stream = (uint64_t)i,
                                            .n = 1,
                                            .since = replica_chosen(r),
                                            .key = &i,
                                            .key_size = 1,
                                            .text = "x",
                                            .text_size = 1});
        struct bytes wanted = write_all(&c, r, 4096), found = {.at = malloc(1 << 16)};
        struct checkpoint_writer *w = begin(&c, r);
        assert_non_null(found.at);
        for (size_t n; !checkpoint_is_written(w); found.size += n) {
            if (checkpoint_is_ahead(w, r)) {
                for (uint32_t i = 0; i < 2 * c.identity.configuration.alpha; i++) /* the window: one step's most */
                    apply_message(r, 1 + (int)replica_chosen(r) % 120);           /* each key is forgotten by then */
            }
            assert_true(checkpoint_write(w, r, found.at + found.size, CHECKPOINT_PART_BYTES_MIN, &n));
        }
        assert_int_equal(found.size, wanted.size);
        assert_memory_equal(found.at, wanted.at, wanted.size);
        free(w);
        free(found.at);
        free(wanted.at);
        free(r);
    }
}

static struct bytes sample(const struct replica_config *c)
{
    struct replica *r = make(c);
    struct prng p;
    uint64_t numbers[5] = {0};
    prng_seed(&p, 11);
    for (int i = 0; i < 40; i++)
        apply_some(r, &p, numbers);
    struct bytes b = write_all(c, r, 4096);
    free(r);
    return b;
}

static void test_a_flipped_bit_or_a_cut_is_refused(void **state)
{
    (void)state;
    const struct replica_config c = make_config(16, 4);
    struct bytes b = sample(&c);
    struct prng cuts;
    prng_seed(&cuts, 5);
    assert_true(is_sound(&c, b, &cuts));
    for (size_t at = 0; at < b.size; at++) {
        for (int bit = 0; bit < 8; bit += 3) {
            b.at[at] ^= (uint8_t)(1 << bit);
            assert_false(is_sound(&c, b, &cuts));
            b.at[at] ^= (uint8_t)(1 << bit);
        }
    }
    for (size_t size = 0; size < b.size; size++)
        assert_false(is_sound(&c, (struct bytes){b.at, size}, &cuts));
    b.at[b.size] = 0;
    assert_false(is_sound(&c, (struct bytes){b.at, b.size + 1}, &cuts));
    free(b.at);
}

/* As a peer would that lies well: the hash is right. */
static void seal(const struct replica_config *c, struct bytes b)
{
    struct hash128 sum = c->identity.cluster;
    size_t end = b.size - SUM_BYTES;
    for (size_t at = 0; at <= end; at += CHECKPOINT_BLOCK_BYTES) {
        size_t n = end - at < CHECKPOINT_BLOCK_BYTES ? end - at : CHECKPOINT_BLOCK_BYTES;
        sum = hash_bytes(&sum, b.at + at, n);
    }
    memcpy(b.at + end, sum.bytes, SUM_BYTES);
}

static void test_values_out_of_range_are_refused(void **state)
{
    (void)state;
    const struct replica_config c = make_config(16, 4);
    struct bytes b = sample(&c), copy = {malloc(b.size), b.size};
    struct prng cuts;
    prng_seed(&cuts, 5);
    seal(&c, b);
    assert_true(is_sound(&c, b, &cuts));
    size_t configuration_size = get_u32(b.at + 4), n_streams = get_u32(b.at + 64);
    size_t streams = HEAD_BYTES + configuration_size, keys = streams + 16 * n_streams;
    size_t last_key = b.size - SUM_BYTES - sizeof(host_part) - 2 * KEY_BYTES;
    assert_true(n_streams > 0 && last_key > keys);
    const struct {
        size_t at;
        uint64_t value;
        size_t size;
        bool sound;
    } changes[] = {
        {0, CHECKPOINT_VERSION + 1, 4, false},              /* version */
        {4, configuration_size + 1, 4, false},              /* */
        {4, 0, 4, false},                                   /* */
        {4, UINT32_MAX, 4, false},                          /* */
        {8, 8, 8, false},                                   /* cluster */
        {24, 0, 8, false},                                  /* slot */
        {24, UINT64_MAX, 8, false},                         /* */
        {24, (UINT64_C(1) << 62) + 1, 8, false},            /* */
        {24, get_u64(b.at + last_key) - 1, 8, false},       /* a key above it */
        {24, 60, 8, false},                                 /* a key too old for it */
        {56, 40, 8, true},                                  /* first_kept */
        {56, 41, 8, false},                                 /* */
        {64, n_streams + 1, 4, false},                      /* */
        {64, 5, 4, false},                                  /* */
        {64, UINT32_MAX, 4, false},                         /* */
        {68, 0, 4, false},                                  /* the host's part */
        {68, UINT32_MAX, 4, false},                         /* */
        {HEAD_BYTES + 4, 17, 4, false},                     /* alpha of another configuration */
        {streams, 0, 8, false},                             /* stream 0 */
        {streams, 12345, 8, true},                          /* any other */
        {streams + 8, 0, 8, false},                         /* its number */
        {streams, get_u64(b.at + streams + 16), 8, true},   /* one twice: harms nobody else */
        {keys, get_u64(b.at + keys + KEY_BYTES), 8, false}, /* a slot twice */
        {keys, 0, 8, false},                                /* */
        {keys, UINT64_MAX, 8, false},                       /* not the end */
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        memcpy(copy.at, b.at, b.size);
        for (size_t k = 0; k < changes[i].size; k++)
            copy.at[changes[i].at + k] = (uint8_t)(changes[i].value >> 8 * k);
        seal(&c, copy);
        if (is_sound(&c, copy, &cuts) != changes[i].sound)
            fail_msg("change %zu is %staken", i, changes[i].sound ? "not " : "");
        if (changes[i].sound) {
            struct replica *r = restore(&c, copy, &cuts);
            uint64_t numbers[5] = {0};
            for (int k = 0; k < 100; k++) /* nothing breaks, whatever stands in the tables */
                apply_some(r, &cuts, numbers);
            free(r);
        }
    }
    free(copy.at);
    free(b.at);
}

static void test_another_cluster_is_refused(void **state)
{
    (void)state;
    struct replica_config c = make_config(16, 4), other = c;
    struct bytes b = sample(&c);
    struct prng cuts;
    prng_seed(&cuts, 5);
    other.identity.cluster.bytes[3] ^= 1;
    assert_false(is_sound(&other, b, &cuts));
    other = c;
    other.identity.configuration.members[0].life++;
    assert_false(is_sound(&other, b, &cuts));
    free(b.at);
}

/* A trim is a function of the log: never beyond what is chosen by then, never back. */
static void test_trims(void **state)
{
    (void)state;
    const struct replica_config c = make_config(16, 4);
    struct replica *r = make(&c);
    for (int i = 0; i < 9; i++)
        apply(r, &(struct value_fields){.type = VALUE_NOOP});
    assert_int_equal(replica_first_kept(r), 0);
    apply_trim(r, 11); /* at slot 10 */
    assert_int_equal(replica_first_kept(r), 0);
    apply_trim(r, 11);
    assert_int_equal(replica_first_kept(r), 11);
    apply_trim(r, 5);
    apply_trim(r, UINT64_MAX);
    assert_int_equal(replica_first_kept(r), 11);
    struct value_fields f = {.type = VALUE_TRIM, .text = "1234567", .text_size = 7};
    struct value *v = calloc(1, sizeof(*v) + 64);
    assert_non_null(v);
    v->size = (uint32_t)value_encoded_size(&f);
    value_encode(&f, v->bytes);
    assert_false(value_parse(v, &c.identity.cluster));
    free(v);
    free(r);
}

/* Records of slots up to the checkpoint's come too, and count for nothing but the ballots that they promise. */
static void test_records_below_it(void **state)
{
    (void)state;
    const struct replica_config c = make_config(16, 4);
    struct bytes b = sample(&c);
    struct prng cuts;
    struct effects e;
    struct replica_status s;
    prng_seed(&cuts, 5);
    struct replica *r = restore(&c, b, &cuts);
    struct value *v = make_value(&(struct value_fields){.type = VALUE_NOOP});
    struct record record = {.type = RECORD_ACCEPT, .slot = 40, .ballot = {.round = 9, .id = 1, .gen = 1}, .value = v};
    assert_true(replica_restore(r, &record, &e));
    assert_true(replica_restore(r, &(struct record){.type = RECORD_COMMIT, .slot = 40}, &e));
    assert_true(replica_restore(r, &(struct record){.type = RECORD_CHOSEN, .slot = 3}, &e));
    assert_true(replica_restore(r, &(struct record){.type = RECORD_COMMIT, .slot = 2}, &e));
    record.slot = 41;
    assert_true(replica_restore(r, &record, &e));
    replica_status(r, &s);
    assert_int_equal(s.chosen, 40);
    assert_int_equal(s.accepted, 41);
    assert_int_equal(s.promised.round, 9);
    assert_true(replica_restore(r, &(struct record){.type = RECORD_COMMIT, .slot = 41}, &e));
    assert_int_equal(e.n_applied, 1);
    free(r);
    values_discard(v);
    free(b.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_comes_back),
        cmocka_unit_test(test_writing_beside_the_log),
        cmocka_unit_test(test_writing_ahead_of_the_log),
        cmocka_unit_test(test_kept_ahead_of_the_log),
        cmocka_unit_test(test_a_flipped_bit_or_a_cut_is_refused),
        cmocka_unit_test(test_values_out_of_range_are_refused),
        cmocka_unit_test(test_another_cluster_is_refused),
        cmocka_unit_test(test_trims),
        cmocka_unit_test(test_records_below_it),
    };
    values_init(&pool);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    values_done(&pool);
    return failed;
}
