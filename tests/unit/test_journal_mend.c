/* What rots below a checkpoint while the journal is open is told, got again from another's journal, and put in place at
 * once, whatever happens meanwhile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal/checkpoint.h"
#include "journal/mend.h"
#include "journal/state.h"
#include "tests/unit/journal_fixture.h"

enum { OPERATIONS_MOST = 4000 };

/* A replica and a whole journal of the same log, with several full segments below the checkpoint. */
struct pair {
    struct fixture own;
    struct vfs_memory *disk;
    struct journal *peer;
    unsigned n_asked;                /* slots                      */
    slot_t lacks_first, lacks_until; /* slots that the peer has not */
};

static void not_told(void *user, int error)
{
    (void)user, (void)error;
}

static bool take_checkpoint(void *user, slot_t slot, const uint8_t *bytes, size_t size)
{
    (void)user, (void)slot, (void)bytes, (void)size;
    return true;
}

static bool take_record(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    (void)user, (void)r, (void)bytes, (void)size;
    return true;
}

/* As a core does it: what is chosen gets no other value. */
static void fill(struct fixture *f, unsigned n_segments)
{
    while (f->journal->index.n_segments < n_segments) {
        slot_t slot = f->n_slots, open = slot - f->n_committed;
        struct note note = {.slot = f->n_committed};
        note.type = fixture_draw(f, 2) == 0 ? NOTE_HIDDEN : NOTE_TIME;
        note.time_usec = note.type == NOTE_TIME ? slot * 1000 + 7 : 0;
        switch (fixture_draw(f, 16)) {
        case 0:
            fixture_promise(f, f->ballot.round + 1);
            break;
        case 1:
            if (open > 30)
                fixture_commit(f, f->n_committed + fixture_draw(f, open), &note, 1);
            break;
        case 2:
        case 4:
            if (open > 0)
                fixture_accept(f, slot - 1 - fixture_draw(f, open), 1 + (uint32_t)fixture_draw(f, 1500));
            break;
        case 3:
            if (open > 0)
                break;
            fixture_choose(f, slot, 1 + (uint32_t)fixture_draw(f, 1500));
            fixture_commit(f, slot, &note, 1);
            break;
        default:
            fixture_accept(f, slot, 1 + (uint32_t)fixture_draw(f, 1500));
            break;
        }
        assert_int_equal(fixture_settle(f), 0);
    }
    fixture_commit(f, f->n_slots - 1, NULL, 0);
    assert_int_equal(fixture_settle(f), 0);
}

static void pair_setup(struct pair *p, uint64_t seed)
{
    const struct journal_replay replay = {.checkpoint = take_checkpoint, .each = take_record};
    struct journal_options o = {.written = not_told, .segment_bytes = FIXTURE_SEGMENT_BYTES};
    struct identity identity;
    struct fixture *f = &p->own;

    *p = (struct pair){.disk = NULL};
    fixture_setup(f, seed);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_choose(f, 0, 10); /* a core's slot 0 has no note */
    fixture_commit(f, 0, NULL, 0);
    fill(f, 5);
    assert_int_equal(fixture_checkpoint(f, f->n_committed - 1, 1000, CHECKPOINT_OWN), 0);
    assert_int_equal(fixture_settle(f), 0);
    p->disk = vfs_memory_clone(f->disk, seed);
    o.vfs = vfs_memory_vfs(p->disk);
    assert_int_equal(journal_read_identity(o.vfs, &identity, f->error), JOURNAL_OK);
    assert_int_equal(journal_open(&o, &identity, &replay, &p->peer, f->error), JOURNAL_OK);
}

static void pair_teardown(struct pair *p)
{
    journal_close(p->peer);
    vfs_memory_free(p->disk);
    fixture_teardown(&p->own);
}

struct taking {
    struct journal *into;
    int error;
};

static bool give(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct taking *t = user;
    const struct note none = {.slot = r->slot};
    struct value *v = calloc(1, sizeof *v + size);

    v->size = size;
    memcpy(v->bytes, bytes, size);
    t->error = journal_mend_add(t->into, r->slot, r->n_notes > 0 ? r->notes : &none, v);
    free(v);
    return true;
}

/* False: the disk died. */
static bool work(struct pair *p)
{
    struct journal *j = p->own.journal;
    struct taking t = {.into = j};
    slot_t first, last;

    for (int i = 0; i < 10000; i++) {
        bool more = journal_rot_work(j);
        if (journal_mend_slots(j, &first, &last)) {
            assert_true(first <= last);
            if (first >= p->lacks_first && first < p->lacks_until) {
                journal_mend_put_off(j);
                continue;
            }
            assert_int_equal(journal_read(p->peer, first, first, 1, 1, give, &t), 1);
            assert_int_equal(t.error, 0);
            p->n_asked++;
        } else if (journal_is_pending(j)) {
            if (fixture_write(&p->own) < 0)
                return false;
        } else if (!more) {
            return true;
        }
    }
    fail_msg("it never ends");
    return false;
}

static unsigned count_unreadable(struct journal *j, slot_t until)
{
    unsigned n = 0;

    for (slot_t slot = journal_first_kept(j); slot <= until; slot++)
        n += journal_read(j, slot, slot, 1, 1, take_record, NULL) < 1;
    return n;
}

static size_t count_rot(struct journal *j)
{
    struct journal_rot rot[JOURNAL_ROT_MAX];

    return journal_rot(j, rot);
}

static void assert_whole(struct pair *p)
{
    size_t size;

    assert_int_equal(count_rot(p->own.journal), 0);
    fixture_check_kept(&p->own);
    assert_null(vfs_memory_bytes(p->own.disk, MEND_NAME, &size));
}

/* What a core demands of a journal that it reads from the beginning (paxos/restore.c). */
static void assert_restorable(const struct fixture *f)
{
    struct {
        const struct told *last;
        bool chosen;
    } *slots = calloc(f->n_slots, sizeof *slots);
    slot_t committed = 0; /* below it */

    assert_non_null(slots);
    for (size_t i = 0; i < f->replayed.n; i++) {
        const struct told *t = &f->replayed.items[i];
        if (t->type == RECORD_PROMISE)
            continue;
        assert_true(t->slot < f->n_slots && t->slot + 1 >= committed);
        if (t->type == RECORD_COMMIT) {
            for (; committed <= t->slot; committed++)
                assert_non_null(slots[committed].last);
            continue;
        }
        assert_true(t->slot >= committed);
        assert_true(!slots[t->slot].chosen ||
                    (t->size == slots[t->slot].last->size && t->crc == slots[t->slot].last->crc));
        slots[t->slot].last = t;
        slots[t->slot].chosen |= t->type == RECORD_CHOSEN;
    }
    assert_int_equal(committed, f->n_committed);
    free(slots);
}

/* As a start finds it, without the mended segment being read, and with it. */
static void assert_whole_after_restarts(struct pair *p)
{
    struct fixture *f = &p->own;

    fixture_close(f);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_check_replayed(f);
    assert_whole(p);
    fixture_close(f);
    assert_true(vfs_memory_flip(f->disk, CHECKPOINT_NAME, 20, 1));
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(f->replayed_identity.status, 0);
    assert_true(ballot_compare(f->replayed.promised, f->appended.promised) == 0);
    assert_restorable(f);
    assert_whole(p);
}

static void damage(struct pair *p, uint64_t segment, uint64_t offset, uint64_t size)
{
    char name[SEGMENT_NAME_BYTES];

    segment_name(segment, name);
    if (size == 1)
        assert_true(vfs_memory_flip(p->own.disk, name, offset, 1));
    else
        assert_true(vfs_memory_zero(p->own.disk, name, offset, size));
}

static void test_what_a_read_finds_is_mended(void **state)
{
    struct pair p;
    struct journal_rot rot[JOURNAL_ROT_MAX];

    (void)state;
    pair_setup(&p, 1);
    fixture_check_kept(&p.own);
    fixture_close(&p.own); /* what was read is kept */
    damage(&p, 2, 20000, 1);
    assert_int_equal(journal_fixture_open(&p.own), JOURNAL_OK);
    assert_int_equal(count_rot(p.own.journal), 0);
    assert_true(count_unreadable(p.own.journal, p.own.n_committed - 1) > 0);
    assert_int_equal(journal_rot(p.own.journal, rot), 1);
    assert_int_equal(rot[0].segment, 2);
    assert_true(rot[0].offset <= 20000 && rot[0].offset > 0);
    assert_int_equal(rot[0].state, JOURNAL_ROT_FOUND);
    assert_true(work(&p));
    assert_true(p.n_asked > 0 && p.n_asked < p.own.n_slots / 2);
    assert_whole(&p);
    assert_whole_after_restarts(&p);
    pair_teardown(&p);
}

static void scrub(struct journal *j)
{
    while (journal_scrub(j) > 0)
        ;
}

/* Any byte of a segment: of its values, of its notes, of the promise that it opens with, of its footer, and several
 * stretches together. */
static void test_any_damage_is_found_and_mended(void **state)
{
    struct pair p;
    unsigned n_asked = 0;

    (void)state;
    pair_setup(&p, 2);
    for (int i = 0; i < 120; i++) {
        uint64_t segment = 1 + fixture_draw(&p.own, 4);
        uint64_t size = i % 3 == 0 ? 1 + fixture_draw(&p.own, 20000) : 1;
        uint64_t at = SEGMENT_HEADER_BYTES + fixture_draw(&p.own, FIXTURE_SEGMENT_BYTES - SEGMENT_HEADER_BYTES - size);
        damage(&p, segment, at, size);
        scrub(p.own.journal);
        assert_true(count_rot(p.own.journal) <= 1);
        p.n_asked = 0;
        assert_true(work(&p));
        if (count_rot(p.own.journal) > 0) { /* its footer, too, in the same stroke */
            assert_true(size > 1 && at + size > p.own.journal->index.segments[segment - 1].limit);
            break;
        }
        n_asked += p.n_asked;
        assert_whole(&p);
        if (i % 20 == 19) {
            fixture_close(&p.own);
            assert_int_equal(journal_fixture_open(&p.own), JOURNAL_OK);
            fixture_check_replayed(&p.own);
            assert_whole(&p);
        }
    }
    assert_true(n_asked > 100);
    pair_teardown(&p);
}

/* The core reads it all again where the checkpoint is gone. */
static void test_a_mended_journal_can_be_read_from_its_beginning(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct pair p;
        pair_setup(&p, 100 + seed);
        for (uint64_t segment = 1; segment <= 4; segment++)
            damage(&p, segment, SEGMENT_HEADER_BYTES + fixture_draw(&p.own, 58000), 1 + 8 * fixture_draw(&p.own, 200));
        scrub(p.own.journal);
        assert_true(work(&p));
        assert_whole_after_restarts(&p);
        pair_teardown(&p);
    }
}

static void test_a_pass_over_whole_segments_finds_nothing(void **state)
{
    struct pair p;
    struct journal_stats stats;

    (void)state;
    pair_setup(&p, 3);
    scrub(p.own.journal);
    journal_stats(p.own.journal, &stats);
    assert_int_equal(count_rot(p.own.journal), 0);
    assert_true(stats.scrubbed_bytes > 4 * (uint64_t)(FIXTURE_SEGMENT_BYTES - 8192));
    assert_true(stats.scrubbed_bytes < 4 * (uint64_t)FIXTURE_SEGMENT_BYTES);
    pair_teardown(&p);
}

/* At each operation of the disk: what is there is the old segment or the new one. */
static void test_a_power_cut_at_any_step(void **state)
{
    unsigned n_mended = 0, n_old = 0;

    (void)state;
    for (uint64_t n = 1; n < OPERATIONS_MOST; n++) {
        struct pair p;
        bool alive, over;
        pair_setup(&p, 4);
        damage(&p, 2, 20000, 9000);
        scrub(p.own.journal);
        vfs_memory_set_mercy(p.own.disk, n % 3 == 0 ? MERCY_LOSE_ALL : n % 3 == 1 ? MERCY_KEEP_ALL : MERCY_BY_SEED);
        vfs_memory_fail_at(p.own.disk, VFS_MEMORY_CHANGES | VFS_MEMORY_READ, n, -EIO, true);
        alive = work(&p);
        over = alive && !vfs_memory_has_failed(p.own.disk);
        vfs_memory_power_cut(p.own.disk);
        vfs_memory_heal(p.own.disk);
        fixture_close(&p.own);
        assert_int_equal(journal_fixture_open(&p.own), JOURNAL_OK);
        fixture_check_replayed(&p.own);
        scrub(p.own.journal);
        n_mended += count_rot(p.own.journal) == 0;
        n_old += count_rot(p.own.journal) > 0;
        assert_true(work(&p));
        assert_whole_after_restarts(&p);
        pair_teardown(&p);
        if (over)
            break;
    }
    assert_true(n_mended > 1 && n_old > 10);
}

static void test_a_full_disk_leaves_it_for_later(void **state)
{
    struct pair p;
    struct journal_rot rot[JOURNAL_ROT_MAX];

    (void)state;
    for (int hidden = 0; hidden < 2; hidden++) {
        pair_setup(&p, 5);
        damage(&p, 3, 9000, 600);
        scrub(p.own.journal);
        vfs_memory_hide_budget(p.own.disk, hidden);
        vfs_memory_set_budget(p.own.disk, vfs_memory_used(p.own.disk) + FIXTURE_SEGMENT_BYTES / 2);
        assert_true(work(&p));
        assert_int_equal(journal_rot(p.own.journal, rot), 1);
        assert_int_equal(rot[0].state, JOURNAL_ROT_FULL);
        vfs_memory_set_budget(p.own.disk, UINT64_MAX);
        journal_rot_again(p.own.journal);
        assert_true(work(&p));
        assert_whole_after_restarts(&p);
        pair_teardown(&p);
    }
}

static void test_a_segment_that_is_trimmed_meanwhile(void **state)
{
    (void)state;
    for (int at = 0; at < 40; at++) {
        struct pair p;
        slot_t first, last;
        struct taking t;
        pair_setup(&p, 6);
        damage(&p, 1, 9000, 600);
        scrub(p.own.journal);
        t = (struct taking){.into = p.own.journal};
        for (int i = 0; i < at; i++) {
            journal_rot_work(p.own.journal);
            if (journal_mend_slots(p.own.journal, &first, &last))
                journal_read(p.peer, first, last, SIZE_MAX, SIZE_MAX, give, &t);
            else if (i % 2 == 0)
                fixture_write(&p.own);
        }
        journal_trim(p.own.journal, p.own.n_committed);
        assert_int_equal(fixture_settle(&p.own), 0);
        journal_mend_put_off(p.own.journal);
        journal_rot_again(p.own.journal);
        assert_true(work(&p));
        assert_whole(&p);
        pair_teardown(&p);
    }
}

static void test_what_no_checkpoint_covers_waits(void **state)
{
    struct pair p;
    struct journal_rot rot[JOURNAL_ROT_MAX];
    struct fixture *f = &p.own;

    (void)state;
    pair_setup(&p, 7);
    fill(f, 7);
    damage(&p, 6, 9000, 600);
    scrub(f->journal);
    assert_true(work(&p));
    assert_int_equal(journal_rot(f->journal, rot), 1);
    assert_int_equal(rot[0].state, JOURNAL_ROT_OPEN);
    assert_true(rot[0].covered_by > f->checkpoint.slot && rot[0].covered_by < f->n_committed);
    assert_int_equal(fixture_checkpoint(f, f->n_committed - 1, 1000, CHECKPOINT_OWN), 0);
    journal_rot_again(f->journal);
    for (slot_t first, last; !journal_mend_slots(f->journal, &first, &last);)
        assert_true(journal_rot_work(f->journal));
    journal_mend_put_off(f->journal);
    assert_true(work(&p));
    assert_int_equal(journal_rot(f->journal, rot), 1);
    assert_int_equal(rot[0].state, JOURNAL_ROT_UNSERVED);
    pair_teardown(&p);
}

static void test_a_run_that_nobody_has_keeps_no_other_waiting(void **state)
{
    struct pair p;
    struct journal *j;
    struct journal_rot rot[JOURNAL_ROT_MAX];
    slot_t last;

    (void)state;
    pair_setup(&p, 9);
    j = p.own.journal;
    damage(&p, 2, 5000, 1);
    damage(&p, 2, 45000, 1);
    scrub(j);
    while (journal_rot_work(j))
        ;
    assert_true(journal_mend_slots(j, &p.lacks_first, &last));
    p.lacks_until = last + 1;
    assert_true(work(&p));
    assert_int_equal(journal_rot(j, rot), 1);
    assert_int_equal(rot[0].state, JOURNAL_ROT_UNSERVED);
    assert_int_equal(rot[0].first, p.lacks_first);
    assert_int_equal(rot[0].last, last);
    for (slot_t slot = 1; slot < p.own.n_committed; slot++)
        assert_true((slot >= p.lacks_first && slot <= last) ||
                    journal_read(j, slot, slot, 1, 1, take_record, NULL) == 1);
    p.lacks_until = 0; /* somebody came back */
    journal_rot_again(j);
    assert_true(work(&p));
    assert_whole(&p);
    assert_whole_after_restarts(&p);
    pair_teardown(&p);
}

static bool give_wrong(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct taking *t = user;
    const struct note note = {.slot = r->slot, .type = NOTE_TIME, .time_usec = 1};

    (void)bytes;
    struct value *v = calloc(1, sizeof *v + size);
    v->size = size;
    t->error = journal_mend_add(t->into, r->slot, &note, v);
    free(v);
    return true;
}

/* What stands in a stretch beside the damaged one, and is asked for with it, must be the same. */
static void test_another_logs_slots_are_refused(void **state)
{
    struct pair p;
    slot_t first, last = 0;
    unsigned n_refused = 0;

    (void)state;
    for (uint64_t at = 1000; at < 50000; at += 3000) {
        struct taking t;
        pair_setup(&p, 8);
        damage(&p, 2, at, 1);
        scrub(p.own.journal);
        t = (struct taking){.into = p.own.journal};
        while (journal_rot_work(p.own.journal))
            ;
        t.error = 0;
        if (!journal_mend_slots(p.own.journal, &first, &last))
            first = last + 1;
        for (slot_t slot = first; slot <= last && t.error == 0; slot++)
            journal_read(p.peer, slot, slot, 1, 1, give_wrong, &t);
        n_refused += t.error == -EINVAL;
        pair_teardown(&p);
    }
    assert_true(n_refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_read_finds_is_mended),
        cmocka_unit_test(test_any_damage_is_found_and_mended),
        cmocka_unit_test(test_a_mended_journal_can_be_read_from_its_beginning),
        cmocka_unit_test(test_a_pass_over_whole_segments_finds_nothing),
        cmocka_unit_test(test_a_power_cut_at_any_step),
        cmocka_unit_test(test_a_full_disk_leaves_it_for_later),
        cmocka_unit_test(test_a_segment_that_is_trimmed_meanwhile),
        cmocka_unit_test(test_what_no_checkpoint_covers_waits),
        cmocka_unit_test(test_a_run_that_nobody_has_keeps_no_other_waiting),
        cmocka_unit_test(test_another_logs_slots_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
