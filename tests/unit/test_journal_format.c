/* Records and names that are not whole are told from whole ones, whatever their checksums say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "journal/format.h"
#include "paxos/bytes.h"

enum { BODY_MAX = 4096, NOTE_SIZE = 24 };

static uint8_t bytes[BODY_MAX];
static struct note notes[RECORD_NOTES_MAX];

/* A record of this type whose body has this size and is zeros but for what the test put there. */
static bool decodes(uint32_t type, uint32_t body_size, size_t size)
{
    struct record_view v;
    put_u32(bytes, body_size);
    put_u32(bytes + 4, type);
    return record_decode(bytes, size, notes, &v);
}

static void clear(void)
{
    memset(bytes, 0, sizeof bytes);
}

static void a_record_does_not_reach_beyond_its_batch(void **state)
{
    (void)state;
    clear();
    assert_true(decodes(RECORD_PROMISE, 16, RECORD_HEADER_BYTES + 16));
    assert_false(decodes(RECORD_PROMISE, 16, RECORD_HEADER_BYTES + 15));
    assert_false(decodes(RECORD_PROMISE, 16, RECORD_HEADER_BYTES - 1));
    assert_false(decodes(RECORD_PROMISE, UINT32_MAX, sizeof bytes));
}

static void each_type_has_its_size(void **state)
{
    (void)state;
    clear();
    assert_false(decodes(RECORD_PROMISE, 15, sizeof bytes));
    assert_false(decodes(RECORD_PROMISE, 17, sizeof bytes));
    assert_false(decodes(RECORD_ACCEPT, 24, sizeof bytes)); /* no value */
    assert_true(decodes(RECORD_ACCEPT, 25, sizeof bytes));
    assert_false(decodes(RECORD_CHOSEN, 8, sizeof bytes));
    assert_true(decodes(RECORD_CHOSEN, 9, sizeof bytes));
    assert_false(decodes(RECORD_COMMIT, 15, sizeof bytes));
    assert_true(decodes(RECORD_COMMIT, 16, sizeof bytes));
}

static void an_unknown_type_is_no_record(void **state)
{
    (void)state;
    clear();
    assert_false(decodes(0, 16, sizeof bytes));
    assert_false(decodes(RECORD_IDENTITY, 16, sizeof bytes)); /* never in a batch */
    assert_false(decodes(UINT32_MAX, 16, sizeof bytes));
}

static void a_commit_has_the_notes_that_it_tells(void **state)
{
    uint8_t *n_notes = bytes + RECORD_HEADER_BYTES + 8, *type = bytes + RECORD_HEADER_BYTES + 16 + 16;
    (void)state;
    clear();
    put_u32(n_notes, 1);
    put_u64(type, NOTE_HIDDEN);
    assert_true(decodes(RECORD_COMMIT, 16 + NOTE_SIZE, sizeof bytes));
    assert_false(decodes(RECORD_COMMIT, 16, sizeof bytes));
    assert_false(decodes(RECORD_COMMIT, 16 + 2 * NOTE_SIZE, sizeof bytes));
    put_u64(type, 77);
    assert_false(decodes(RECORD_COMMIT, 16 + NOTE_SIZE, sizeof bytes));
    put_u32(n_notes, RECORD_NOTES_MAX + 1);
    assert_false(decodes(RECORD_COMMIT, 16 + NOTE_SIZE, sizeof bytes));
    put_u32(n_notes, UINT32_C(0x80000001)); /* times the size of a note it is one again, in 32 bits */
    assert_false(decodes(RECORD_COMMIT, 16 + NOTE_SIZE, sizeof bytes));
}

static void only_the_exact_name_is_a_segments(void **state)
{
    static const char *const others[] = {
        "segment-",
        "segment-1",
        "segment-000000000000001",
        "segment-00000000000000011",
        "segment-000000000000000A",
        "segment-000000000000000g",
        "segment-0000000000000001~",
        "Segment-0000000000000001",
        "reserve",
        "",
    };
    char name[SEGMENT_NAME_BYTES];
    uint64_t number;
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (segment_name_parse(others[i], &number))
            fail_msg("\"%s\" passes for a segment", others[i]);
    segment_name(UINT64_MAX, name);
    assert_true(segment_name_parse(name, &number));
    assert_true(number == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_does_not_reach_beyond_its_batch),
        cmocka_unit_test(each_type_has_its_size),
        cmocka_unit_test(an_unknown_type_is_no_record),
        cmocka_unit_test(a_commit_has_the_notes_that_it_tells),
        cmocka_unit_test(only_the_exact_name_is_a_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
