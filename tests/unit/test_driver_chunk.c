/* What is sent in pieces arrives, whatever is lost; and no piece goes where it does not belong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/driver_internal.h"

enum {
    SLOT = 7,
    PIECES = CHECKPOINT_CHUNK_BYTES / CHECKPOINT_PIECE_BYTES + 2,
    TOTAL = CHECKPOINT_CHUNK_BYTES + CHECKPOINT_PIECE_BYTES + 1, /* the last chunk's last piece is one byte */
    LOSS = 3,                                                    /* one of so many */
    ROUNDS_MAX = 100,
};

static struct driver driver;
static struct chunk chunk;
static struct checkpoint_fetch fetch;
static uint8_t whole[TOTAL], got[TOTAL + CHECKPOINT_PIECE_BYTES];
static size_t n_fetches, n_pieces;

void __wrap_driver_send(struct driver *d, replica_id_t to, const struct message *m);

void __wrap_driver_send(struct driver *d, replica_id_t to, const struct message *m)
{
    (void)to;
    if (m->type == MESSAGE_CHECKPOINT_FETCH) {
        fetch = m->checkpoint_fetch;
        n_fetches++;
    } else if (++n_pieces % LOSS != 0) {
        driver_chunk_take(d, &chunk, &m->checkpoint_piece, got + chunk.offset);
    }
}

static int set_up(void **state)
{
    (void)state;
    n_fetches = n_pieces = 0;
    memset(got, 0, sizeof(got));
    for (size_t i = 0; i < TOTAL; i++)
        whole[i] = (uint8_t)(i / CHECKPOINT_PIECE_BYTES + i % 251);
    chunk.heard_usec = 0;
    return 0;
}

static void what_is_lost_is_asked_for_again_and_nothing_else(void **state)
{
    (void)state;
    size_t rounds = 0, n_chunks = 0;
    driver_chunk_begin(&chunk, TOTAL, 0, 0);
    do {
        for (n_chunks++; !driver_chunk_is_whole(&chunk); rounds++) {
            assert_in_range(rounds, 0, ROUNDS_MAX);
            driver_chunk_ask(&driver, &chunk, 1, SLOT, rounds * CHUNK_ASK_USEC);
            assert_int_equal(fetch.slot, SLOT);
            driver_chunk_send(&driver, 0, &fetch, TOTAL, whole + fetch.offset, TOTAL - fetch.offset);
        }
    } while (driver_chunk_next(&chunk, 0));
    assert_int_equal(n_chunks, 2);
    assert_int_equal(n_pieces - n_pieces / LOSS, PIECES);
    assert_memory_equal(got, whole, TOTAL);
}

static void it_is_not_asked_for_before_its_time(void **state)
{
    (void)state;
    static const uint64_t first_usec = 1000;
    driver_chunk_begin(&chunk, TOTAL, 0, first_usec);
    driver_chunk_ask(&driver, &chunk, 1, SLOT, first_usec - 1);
    assert_int_equal(n_fetches, 0);
    driver_chunk_ask(&driver, &chunk, 1, SLOT, first_usec);
    driver_chunk_ask(&driver, &chunk, 1, SLOT, first_usec + CHUNK_ASK_USEC - 1);
    assert_int_equal(n_fetches, 1);
    driver_chunk_ask(&driver, &chunk, 1, SLOT, first_usec + CHUNK_ASK_USEC);
    assert_int_equal(n_fetches, 2);
}

/* Of the last chunk, which has two. */
static void what_is_none_of_its_pieces_is_passed_over(void **state)
{
    (void)state;
    static const uint8_t none[sizeof(got)];
    static const struct {
        uint64_t offset;
        uint32_t size;
    } bad[] = {
        {0, CHECKPOINT_PIECE_BYTES},
        {CHECKPOINT_CHUNK_BYTES - CHECKPOINT_PIECE_BYTES, CHECKPOINT_PIECE_BYTES},
        {CHECKPOINT_CHUNK_BYTES, CHECKPOINT_PIECE_BYTES - 1},
        {CHECKPOINT_CHUNK_BYTES + 1, CHECKPOINT_PIECE_BYTES},
        {CHECKPOINT_CHUNK_BYTES + CHECKPOINT_PIECE_BYTES, CHECKPOINT_PIECE_BYTES},
        {CHECKPOINT_CHUNK_BYTES + 2 * CHECKPOINT_PIECE_BYTES, CHECKPOINT_PIECE_BYTES},
        {UINT64_MAX - CHECKPOINT_PIECE_BYTES + 1, CHECKPOINT_PIECE_BYTES},
    };
    struct checkpoint_piece p = {.slot = SLOT, .total = TOTAL, .bytes = whole};
    driver_chunk_begin(&chunk, TOTAL, CHECKPOINT_CHUNK_BYTES, 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        p.offset = bad[i].offset;
        p.size = bad[i].size;
        driver_chunk_take(&driver, &chunk, &p, got + CHECKPOINT_CHUNK_BYTES);
        assert_int_equal(chunk.missing[0], 3);
        assert_int_equal(chunk.heard_usec, 0);
        assert_memory_equal(got, none, sizeof(got));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_lost_is_asked_for_again_and_nothing_else, set_up),
        cmocka_unit_test_setup(it_is_not_asked_for_before_its_time, set_up),
        cmocka_unit_test_setup(what_is_none_of_its_pieces_is_passed_over, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
