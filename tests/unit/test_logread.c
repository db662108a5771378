/* Reading the log, from memory and from a real journal, against an array that knows what stands where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "host/logread.h"
#include "host/values.h"
#include "paxos/bytes.h"
#include "paxos/checkpoint.h"
#include "paxos/prng.h"

enum {
    SLOTS = 3 * LOGVIEW_TAIL_SLOTS + 77,
    STEP = 100,
    FIRST = 1,
    SEGMENT_BYTES = 1 << 20,
    ROT_STEP = 64 << 10,
};

struct expected {
    bool visible;
    uint64_t time_usec;
};

struct fixture {
    char dir[32];
    struct vfs *vfs;
    struct journal *journal;
    struct values values;
    struct logread *l;
    struct identity identity;
    struct prng prng;
    struct expected slots[SLOTS];
    slot_t hidden_from, hidden_until; /* all of these are */
    uint64_t seq;
};

static bool is_memory_out;

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_realloc(void *p, size_t size)
{
    return is_memory_out ? NULL : __real_realloc(p, size);
}

static void written(void *user, int error)
{
    (void)user;
    assert_int_equal(error, 0);
}

static bool no_record(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    (void)user, (void)record, (void)bytes, (void)size;
    return true;
}

static struct value *make_value(struct fixture *x, slot_t slot, bool is_message)
{
    char text[32], keytext[32];
    struct value_fields f = {.type = is_message ? VALUE_MESSAGE : VALUE_NOOP};
    uint8_t bytes[256];
    struct value *v;
    if (is_message) {
        f.author = "ann";
        f.author_size = 3;
        f.key = keytext;
        f.key_size = (uint8_t)snprintf(keytext, sizeof(keytext), "key%lu", (unsigned long)slot);
        f.text = text;
        f.text_size = (uint32_t)snprintf(text, sizeof(text), "text %lu", (unsigned long)slot);
        f.time_usec = 1000 + slot;
    }
    value_encode(&f, bytes);
    assert_int_equal(values_copy(&x->values, bytes, (uint32_t)value_encoded_size(&f), &x->identity.cluster, &v), 0);
    return v;
}

/* Slots [from, until): some no-ops, some hidden, some at another time than their leader's. */
static void append(struct fixture *x, slot_t from, slot_t until)
{
    struct record records[STEP + 1];
    struct applied applied[STEP];
    struct note notes[STEP];
    uint32_t n_notes = 0;
    size_t n = 0;
    for (slot_t s = from; s < until; s++, n++) {
        uint64_t kind = s >= x->hidden_from && s < x->hidden_until ? 1 : prng_below(&x->prng, 10);
        struct value *v = make_value(x, s, kind != 0);
        x->slots[s] = (struct expected){.visible = kind > 1, .time_usec = kind == 2 ? 5000 + s : 1000 + s};
        if (kind == 1)
            notes[n_notes++] = (struct note){.slot = s, .type = NOTE_HIDDEN};
        if (kind == 2)
            notes[n_notes++] = (struct note){.slot = s, .type = NOTE_TIME, .time_usec = 5000 + s};
        records[n] = (struct record){.type = RECORD_ACCEPT, .slot = s, .ballot = {.round = 1, .gen = 1}, .value = v};
        applied[n] =
            (struct applied){.slot = s, .value = v, .time_usec = x->slots[s].time_usec, .visible = x->slots[s].visible};
    }
    records[n] = (struct record){.type = RECORD_COMMIT, .slot = until - 1, .notes = notes, .n_notes = n_notes};
    x->seq += n + 1;
    journal_append(x->journal, records, n + 1, x->seq);
    assert_int_equal(journal_write(x->journal), 0);
    while (!journal_has_space(x->journal))
        assert_int_equal(journal_write(x->journal), 0);
    logread_add(x->l, applied, n);
    logread_committed(x->l, until - 1);
    for (size_t i = 0; i < n; i++)
        values_unref(records[i].value);
}

static int setup_hidden(void **state, slot_t hidden_from, slot_t hidden_until)
{
    struct fixture *x = calloc(1, sizeof(*x));
    char error[JOURNAL_ERROR_MAX + 1];
    assert_non_null(x);
    x->hidden_from = hidden_from;
    x->hidden_until = hidden_until;
    strcpy(x->dir, "/tmp/mpaxos-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    values_init(&x->values);
    prng_seed(&x->prng, 7);
    x->identity = (struct identity){.status = IDENTITY_VOTER,
                                    .id = 1,
                                    .life = 2,
                                    .cluster = {{9}},
                                    .configuration = {.alpha = 10,
                                                      .dedup_slots = 10,
                                                      .streams_max = 10,
                                                      .n_members = 1,
                                                      .members = {{.id = 1, .gen = 1, .life = 2}}}};
    assert_int_equal(vfs_posix_open(x->dir, &x->vfs), 0);
    struct journal_options o = {.vfs = x->vfs, .segment_bytes = SEGMENT_BYTES, .written = written};
    assert_int_equal(journal_open(&o, &x->identity, &(struct journal_replay){.each = no_record}, &x->journal, error),
                     JOURNAL_OK);
    x->l = logread_new(&x->values);
    assert_non_null(x->l);
    logread_attach(x->l, x->journal, &x->identity.cluster);
    for (slot_t s = FIRST; s < SLOTS; s += STEP)
        append(x, s, s + STEP < SLOTS ? s + STEP : SLOTS);
    *state = x;
    return 0;
}

static int setup(void **state)
{
    return setup_hidden(state, 0, 0);
}

/* In the journal, longer than what one call passes over. */
enum { HIDDEN_FROM = 100, HIDDEN_UNTIL = 2 * LOGVIEW_TAIL_SLOTS };

static int setup_long_hidden(void **state)
{
    return setup_hidden(state, HIDDEN_FROM, HIDDEN_UNTIL);
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    char command[64];
    logread_free(x->l);
    assert_ptr_equal(x->values.all.next, &x->values.all); /* nobody forgot a value */
    journal_close(x->journal);
    vfs_posix_close(x->vfs);
    snprintf(command, sizeof(command), "rm -r %s", x->dir);
    assert_int_equal(system(command), 0);
    free(x);
    return 0;
}

struct reading {
    struct fixture *x;
    slot_t expected; /* the next message, or the first slot behind it */
    size_t n, stop_after;
};

static slot_t next_visible(const struct fixture *x, slot_t s)
{
    while (s < SLOTS && !x->slots[s].visible)
        s++;
    return s;
}

static bool check(void *user, const struct log_message *m)
{
    struct reading *r = user;
    char text[32];
    r->expected = next_visible(r->x, r->expected);
    assert_int_equal(m->slot, r->expected);
    assert_int_equal(m->time_usec, r->x->slots[m->slot].time_usec);
    assert_int_equal(m->text_size, snprintf(text, sizeof(text), "text %lu", (unsigned long)m->slot));
    assert_memory_equal(m->text, text, m->text_size);
    assert_int_equal(m->author_size, 3);
    r->expected++;
    return ++r->n != r->stop_after;
}

static void any_range_reads_what_stands_there(void **state)
{
    struct fixture *x = *state;
    for (int i = 0; i < 300; i++) {
        slot_t from = prng_below(&x->prng, SLOTS + 5), next;
        size_t n_max = 1 + prng_below(&x->prng, 3000), bytes_max = prng_below(&x->prng, 3) == 0 ? 500 : 1 << 20;
        struct reading r = {.x = x, .expected = from, .stop_after = prng_below(&x->prng, 4) == 0 ? 5 : 0};
        int n = logread_read(x->l, from, n_max, bytes_max, check, &r, &next);
        assert_int_equal(n, r.n);
        assert_true(r.n <= n_max);
        if (next_visible(x, from) < SLOTS)
            assert_true(n > 0);
        else if (from <= SLOTS)
            assert_int_equal(next, SLOTS);
        assert_true(next >= r.expected || n == 0);
        assert_int_equal(next_visible(x, r.n > 0 ? r.expected : from),
                         next_visible(x, next)); /* nothing is passed over */
    }
}

static void one_message_comes_even_if_it_is_large(void **state)
{
    struct fixture *x = *state;
    slot_t next;
    for (slot_t from = 0; from < SLOTS - 10; from += SLOTS / 7) {
        struct reading r = {.x = x, .expected = from};
        assert_int_equal(logread_read(x->l, from, 10, 0, check, &r, &next), 1);
    }
}

static void the_whole_log_reads_in_pieces(void **state)
{
    struct fixture *x = *state;
    struct reading r = {.x = x};
    slot_t next = 0;
    while (next < SLOTS)
        assert_true(logread_read(x->l, next, 1000, 10000, check, &r, &next) >= 0);
    assert_int_equal(r.n, logread_messages(x->l));
    assert_int_equal(logread_messages(x->l) + logread_noops(x->l), SLOTS - FIRST);
}

static void no_call_passes_over_many_slots(void **state)
{
    struct fixture *x = *state;
    struct reading r = {.x = x, .expected = 50};
    slot_t next;
    slot_t last = HIDDEN_FROM - 1;
    while (!x->slots[last].visible)
        last--;
    assert_true(logread_read(x->l, 50, 1000, 1 << 20, check, &r, &next) > 0);
    assert_int_equal(r.expected, last + 1);
    assert_in_range(next, HIDDEN_FROM, HIDDEN_FROM + LOGVIEW_HIDDEN_SLOTS_MAX); /* some are passed over before */
    assert_int_equal(logread_read(x->l, HIDDEN_FROM, 1000, 1 << 20, check, &r, &next), 0);
    assert_int_equal(next, HIDDEN_FROM + LOGVIEW_HIDDEN_SLOTS_MAX);
    assert_true(logread_read(x->l, next, 1000, 1 << 20, check, &r, &next) > 0);
    assert_true(r.expected > HIDDEN_UNTIL && next >= r.expected);
}

/* Of [from, until], and no more: what a view has, to its end. */
static void read_view(struct fixture *x, const struct logview *v, slot_t from, slot_t until)
{
    struct reading r = {.x = x, .expected = from};
    slot_t next = from, before;
    do {
        before = next;
        assert_true(logview_read(v, next, 700, 100000, check, &r, &next) >= 0);
    } while (next != before);
    slot_t end = until < SLOTS ? until + 1 : SLOTS;
    assert_int_equal(next_visible(x, r.expected), next_visible(x, r.expected > end ? r.expected : end));
    assert_int_equal(next, end);
}

static void what_is_held_for_another_thread_stays(void **state)
{
    struct fixture *x = *state;
    struct kept *kept = calloc(LOGVIEW_TAIL_SLOTS, sizeof(*kept));
    struct logview v = {.reader = journal_reader_new(x->journal), .kept = kept};
    assert_non_null(v.reader);
    for (int i = 0; i < 60; i++) {
        slot_t from = FIRST + prng_below(&x->prng, SLOTS - FIRST + 2), until = from + prng_below(&x->prng, SLOTS / 2);
        slot_t last = logread_hold(x->l, from, until, &v);
        assert_int_equal(last, from >= SLOTS ? from - 1 : until < SLOTS ? until : SLOTS - 1);
        if (from < SLOTS)
            read_view(x, &v, from, last);
        logread_release(&v);
    }
    assert_int_equal(logread_hold(x->l, SLOTS - 50, UINT64_MAX, &v), SLOTS - 1);
    logread_free(x->l);
    x->l = NULL;
    read_view(x, &v, SLOTS - 50, SLOTS - 1);
    logread_release(&v);
    journal_reader_free(v.reader);
    free(kept);
}

static void what_is_held_ends_among_hidden_slots(void **state)
{
    struct fixture *x = *state;
    struct kept *kept = calloc(LOGVIEW_TAIL_SLOTS, sizeof(*kept));
    struct logview v = {.reader = journal_reader_new(x->journal), .kept = kept};
    struct reading r = {.x = x};
    slot_t next;
    assert_int_equal(logread_hold(x->l, HIDDEN_FROM, HIDDEN_FROM + 1000, &v), HIDDEN_FROM + 1000);
    assert_int_equal(logview_read(&v, HIDDEN_FROM, 700, 100000, check, &r, &next), 0);
    assert_int_equal(next, HIDDEN_FROM + 1001);
    logread_release(&v);
    journal_reader_free(v.reader);
    free(kept);
}

/* Where memory has let go of a slot that the journal cannot be asked for yet. */
static void what_no_commit_reaches_is_held_later(void **state)
{
    struct fixture *x = *state;
    struct kept *kept = calloc(LOGVIEW_TAIL_SLOTS, sizeof(*kept));
    struct logview v = {.kept = kept};
    slot_t first = SLOTS - LOGVIEW_TAIL_SLOTS;
    logread_committed(x->l, first - 10);
    assert_int_equal(logread_hold(x->l, first - 20, UINT64_MAX, &v), first - 10);
    logread_release(&v);
    assert_int_equal(logread_hold(x->l, first - 5, UINT64_MAX, &v), first - 6);
    logread_release(&v);
    assert_int_equal(logread_hold(x->l, first, UINT64_MAX, &v), SLOTS - 1);
    logread_release(&v);
    free(kept);
}

static slot_t find_tail(struct fixture *x, uint64_t n)
{
    struct tail_search t = {.n = n};
    slot_t slot;
    uint64_t calls = 0;
    while (!logread_tail(x->l, &t, &slot))
        calls++;
    assert_true(calls == 0 || slot <= t.begin + calls * LOGVIEW_PAGE_SLOTS);
    return slot;
}

static void the_tail_is_found_in_memory_and_on_disk(void **state)
{
    struct fixture *x = *state;
    uint64_t n = 0;
    assert_int_equal(find_tail(x, 0), SLOTS);
    for (slot_t s = SLOTS; s-- > FIRST;) {
        if (!x->slots[s].visible)
            continue;
        n++;
        if (n < 50 || n % 97 == 0)
            assert_int_equal(find_tail(x, n), s);
    }
    assert_int_equal(find_tail(x, n), logread_first_kept(x->l));
    assert_int_equal(find_tail(x, UINT64_MAX), logread_first_kept(x->l));
}

static void a_peer_gets_consecutive_slots(void **state)
{
    struct fixture *x = *state;
    struct entry entries[64];
    for (int i = 0; i < 300; i++) {
        slot_t from = FIRST + prng_below(&x->prng, SLOTS - FIRST), until = from + prng_below(&x->prng, 100);
        int n = logread_fetch(x->l, from, until, 64, 2000, entries);
        assert_true(n > 0);
        for (int k = 0; k < n; k++) {
            struct value *v = entries[k].value;
            assert_int_equal(entries[k].slot, from + (slot_t)k);
            assert_true(entries[k].slot <= until);
            assert_true(v->type == VALUE_NOOP || v->time_usec == 1000 + entries[k].slot);
            values_unref(v);
        }
    }
    assert_int_equal(logread_fetch(x->l, SLOTS, SLOTS + 5, 64, 2000, entries), 0);
}

static void rot(const struct fixture *x)
{
    char path[64];
    uint8_t byte;
    snprintf(path, sizeof(path), "%s/segment-0000000000000001", x->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (off_t at = ROT_STEP / 2; at < SEGMENT_BYTES; at += ROT_STEP) {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

/* So that a flush gets as far as the first slot that is lost, which then may be given up. */
static void an_error_tells_the_slot_that_cannot_be_read(void **state)
{
    struct fixture *x = *state;
    slot_t rotten = 0, next;
    size_t n_passed = 0;
    rot(x);
    for (slot_t s = SLOTS - LOGVIEW_TAIL_SLOTS; --s >= FIRST;) {
        bool is_readable = journal_read(x->journal, s, s, 1, 1, no_record, NULL) > 0;
        if (!is_readable)
            rotten = s;
        else if (x->slots[s].visible)
            rotten = 0;
        if (rotten == 0)
            continue;
        struct reading r = {.x = x, .expected = s};
        assert_int_equal(logread_read(x->l, s, 1000, 1 << 20, check, &r, &next), -EBADMSG);
        assert_int_equal(next, rotten);
        n_passed += s < rotten;
    }
    assert_true(n_passed > 0);
}

/* More is applied in one step than is kept, and the core lets go of it in the same step: who frees what released it
 * still finds it there. */
static void test_a_step_that_is_larger_than_what_is_kept(void **state)
{
    enum { VALUES = 20, TEXT = 1 << 20 };
    struct applied applied[VALUES];
    struct values values;
    struct logread *l;
    uint32_t n_gone = 0;
    char *text = malloc(TEXT);
    (void)state;
    memset(text, 'x', TEXT);
    values_init(&values);
    l = logread_new(&values);
    struct value_fields f = {.type = VALUE_MESSAGE,
                             .author = "a",
                             .author_size = 1,
                             .key = "k",
                             .key_size = 1,
                             .text = text,
                             .text_size = TEXT};
    for (unsigned i = 0; i < VALUES; i++) {
        struct value *v = values_new(&values, (uint32_t)value_encoded_size(&f));
        value_encode(&f, v->bytes);
        assert_true(value_parse(v, &(struct hash128){.bytes = {0}}));
        v->refs = 0;
        v->next = i > 0 ? applied[i - 1].value : NULL;
        applied[i] = (struct applied){.slot = FIRST + i, .value = v, .visible = true};
    }
    logread_add(l, applied, VALUES);
    for (unsigned i = 0; i < VALUES; i++)
        n_gone += applied[i].value->refs == 0;
    assert_in_range(n_gone, VALUES - LOGREAD_TAIL_BYTES / TEXT, VALUES - 1);
    values_release(applied[VALUES - 1].value);
    assert_int_equal(logread_messages(l), VALUES);
    logread_free(l);
    values_done(&values);
    free(text);
}

/* Messages, whose values the readers let go of. */
static void add(struct logread *l, struct values *values, slot_t from, slot_t until)
{
    struct value_fields f = {
        .type = VALUE_MESSAGE, .author = "a", .author_size = 1, .key = "k", .key_size = 1, .text = "t", .text_size = 1};
    uint8_t bytes[128];
    const struct hash128 cluster = {.bytes = {0}};
    for (slot_t s = from; s < until; s++) {
        struct applied a = {.slot = s, .visible = true};
        value_encode(&f, bytes);
        assert_int_equal(values_copy(values, bytes, (uint32_t)value_encoded_size(&f), &cluster, &a.value), 0);
        logread_add(l, &a, 1);
        values_unref(a.value);
    }
}

/* For a while: nothing is missing afterwards. For long: it is told. */
static void memory_that_is_out_for_a_while_breaks_no_index(void **state)
{
    (void)state;
    struct values values;
    uint8_t *bytes;
    uint32_t size;
    const slot_t full = 2 * LOGREAD_INDEX_AHEAD * LOGREAD_INDEX_SLOTS; /* from here on there is no room at first */
    const slot_t early = full - LOGREAD_INDEX_AHEAD / 2 * LOGREAD_INDEX_SLOTS, next = full + LOGREAD_INDEX_SLOTS;
    values_init(&values);
    struct logread *l = logread_new(&values);
    assert_non_null(l);
    is_memory_out = true;
    add(l, &values, 1, early);
    is_memory_out = false;
    add(l, &values, early, early + 1);
    is_memory_out = true;
    add(l, &values, early + 1, next);
    is_memory_out = false;
    assert_int_equal(logread_checkpoint(l, 1, &bytes, &size), 0);
    assert_true(logread_checkpoint_is_sound(bytes, size, next - 1, 1));
    for (uint32_t i = 1; LOGREAD_CHECKPOINT_HEAD + 8 * i < size; i++)
        assert_int_equal(get_u64(bytes + LOGREAD_CHECKPOINT_HEAD + 8 * i), i * LOGREAD_INDEX_SLOTS - 1);
    assert_int_equal(logread_restore(l, bytes, size, next - 1, 1), 0);
    free(bytes);
    const slot_t more = next + LOGREAD_INDEX_AHEAD * LOGREAD_INDEX_SLOTS;
    is_memory_out = true;
    add(l, &values, next, more);
    assert_int_equal(logread_checkpoint(l, 1, &bytes, &size), 0);
    free(bytes);
    add(l, &values, more, more + 1);
    assert_int_equal(logread_checkpoint(l, 1, &bytes, &size), -ENODATA);
    is_memory_out = false;
    logread_free(l);
    values_done(&values);
}

static void what_a_checkpoint_has_no_room_for_is_told(void **state)
{
    (void)state;
    const slot_t slot = (slot_t)CHECKPOINT_HOST_BYTES_MAX / 8 * LOGREAD_INDEX_SLOTS;
    uint8_t restored[LOGREAD_CHECKPOINT_HEAD + 8] = {0}, *bytes;
    struct values values;
    uint32_t size;
    values_init(&values);
    struct logread *l = logread_new(&values);
    put_u64(restored + 8, slot);
    assert_true(logread_checkpoint_is_sound(restored, sizeof(restored), slot, slot));
    assert_int_equal(logread_restore(l, restored, sizeof(restored), slot, slot), 0);
    assert_int_equal(logread_checkpoint(l, 1, &bytes, &size), -EFBIG);
    logread_free(l);
    values_done(&values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_step_that_is_larger_than_what_is_kept),
        cmocka_unit_test(memory_that_is_out_for_a_while_breaks_no_index),
        cmocka_unit_test(what_a_checkpoint_has_no_room_for_is_told),
        cmocka_unit_test(any_range_reads_what_stands_there),
        cmocka_unit_test(one_message_comes_even_if_it_is_large),
        cmocka_unit_test(the_whole_log_reads_in_pieces),
        cmocka_unit_test(the_tail_is_found_in_memory_and_on_disk),
        cmocka_unit_test(a_peer_gets_consecutive_slots),
        cmocka_unit_test_setup_teardown(what_is_held_for_another_thread_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(no_call_passes_over_many_slots, setup_long_hidden, teardown),
        cmocka_unit_test_setup_teardown(what_is_held_ends_among_hidden_slots, setup_long_hidden, teardown),
        cmocka_unit_test_setup_teardown(what_no_commit_reaches_is_held_later, setup, teardown),
        cmocka_unit_test_setup_teardown(an_error_tells_the_slot_that_cannot_be_read, setup, teardown),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
