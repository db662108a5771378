#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/journal_fixture.h"

uint8_t fixture_checkpoint_byte(slot_t slot, uint64_t at)
{
    return (uint8_t)(slot * 31 + at * 7 + (at >> 8));
}

static int checkpoint_append(struct fixture *f, slot_t slot, uint64_t size)
{
    uint8_t bytes[4096];
    uint64_t done = 0;
    int r = 0;

    while (done < size && r == 0) {
        size_t n = 1 + (size_t)fixture_draw(f, sizeof bytes);
        int64_t taken;
        if (n > size - done)
            n = (size_t)(size - done);
        for (size_t i = 0; i < n; i++)
            bytes[i] = fixture_checkpoint_byte(slot, done + i);
        taken = journal_checkpoint_append(f->journal, bytes, n);
        if (taken < 0)
            return (int)taken;
        done += (uint64_t)taken;
        if ((size_t)taken < n)
            r = fixture_write(f);
    }
    return r;
}

int fixture_checkpoint(struct fixture *f, slot_t slot, uint64_t size, enum journal_checkpoint_origin origin)
{
    int r;

    assert_int_equal(journal_checkpoint_begin(f->journal, slot, origin), 0);
    r = checkpoint_append(f, slot, size);
    if (r == 0)
        journal_checkpoint_finish(f->journal);
    while (r == 0 && journal_checkpoint_state(f->journal) == CHECKPOINT_WRITING)
        r = fixture_write(f);
    if (r == 0 && journal_checkpoint_state(f->journal) == CHECKPOINT_FAILED)
        r = -ENOSPC;
    if (r == -ENOSPC)
        journal_checkpoint_cancel(f->journal);
    return r;
}

int fixture_fetch(struct fixture *f, slot_t slot, uint64_t size)
{
    int r;

    assert_true(slot >= f->n_slots);
    r = fixture_checkpoint(f, slot, size, CHECKPOINT_FETCHED);
    if (r < 0)
        return r;
    fixture_reserve(f, slot);
    f->n_committed = f->n_slots = slot + 1;
    return 0;
}

/* The records of the first n that tell of slots above the checkpoint's. */
static void told_above(const struct told_list *l, size_t n, const struct told_checkpoint *c, struct told_list *ret)
{
    *ret = (struct told_list){.n = 0};
    for (size_t i = 0; i < n; i++) {
        if (l->items[i].type != RECORD_PROMISE && (!c->is_there || l->items[i].slot > c->slot))
            told_list_add(ret, &l->items[i]);
    }
}

void fixture_check_replayed(struct fixture *f)
{
    const struct told_checkpoint *c = &f->checkpoint_replayed;
    struct told_list appended, durable, replayed;
    struct ballot promised = {.round = 0};

    told_above(&f->appended, f->appended.n, c, &appended);
    told_above(&f->appended, f->n_durable, c, &durable);
    told_above(&f->replayed, f->replayed.n, c, &replayed);
    assert_true(replayed.n >= durable.n);
    assert_true(told_begins(&replayed, &appended, replayed.n));
    for (size_t i = 0; i < f->n_durable; i++) {
        if (ballot_compare(f->appended.items[i].ballot, promised) > 0)
            promised = f->appended.items[i].ballot;
    }
    assert_true(ballot_compare(f->replayed.promised, promised) >= 0);
    assert_true(ballot_compare(f->replayed.promised, f->appended.promised) <= 0);
    told_list_clear(&appended);
    told_list_clear(&durable);
    told_list_clear(&replayed);
    if (f->checkpoint.is_there)
        assert_true(c->is_there && c->slot >= f->checkpoint.slot);
}
