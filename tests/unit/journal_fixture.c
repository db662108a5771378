#include "tests/unit/journal_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/crc32c.h"

static void *check(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

uint64_t fixture_draw(struct fixture *f, uint64_t below)
{
    uint64_t z = f->random += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % below;
}

static uint32_t notes_crc(const struct note *notes, uint32_t n)
{
    uint32_t crc = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t words[3] = {notes[i].slot, notes[i].time_usec, (uint64_t)notes[i].type};
        crc = crc32c(crc, words, sizeof words);
    }
    return crc;
}

static struct told told_of(const struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct told t = {.type = r->type, .slot = r->slot, .ballot = r->ballot};

    if (r->type == RECORD_COMMIT) {
        t.size = r->n_notes;
        t.crc = notes_crc(r->notes, r->n_notes);
    } else if (bytes != NULL) {
        t.size = size;
        t.crc = crc32c(0, bytes, size);
    }
    return t;
}

void fixture_setup(struct fixture *f, uint64_t seed)
{
    *f = (struct fixture){.disk = vfs_memory_new(seed),
                          .identity = {.status = IDENTITY_VOTER, .id = 3, .life = 0x1122334455667788},
                          .segment_bytes = FIXTURE_SEGMENT_BYTES,
                          .random = seed,
                          .ballot = {.round = 1, .gen = 1, .id = 3}};
    memset(f->identity.cluster.bytes, 0xc1, sizeof f->identity.cluster.bytes);
}

void fixture_teardown(struct fixture *f)
{
    fixture_close(f);
    vfs_memory_free(f->disk);
    told_list_clear(&f->appended);
    told_list_clear(&f->replayed);
    free(f->values);
    free(f->notes);
}

int fixture_make(void **state, uint64_t seed)
{
    *state = calloc(1, sizeof(struct fixture));
    fixture_setup(*state, seed);
    return 0;
}

int fixture_free(void **state)
{
    fixture_teardown(*state);
    free(*state);
    return 0;
}

static void written(void *user, int error)
{
    struct fixture *f = user;

    f->n_written++;
    f->written_error = error;
}

static bool replay(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct fixture *f = user;
    struct told t = told_of(r, bytes, size);

    if (r->type == RECORD_IDENTITY)
        f->replayed_identity = *r->identity;
    else
        told_list_add(&f->replayed, &t);
    return !f->refuse_replay;
}

static bool replay_checkpoint(void *user, slot_t slot, const uint8_t *bytes, size_t size)
{
    struct fixture *f = user;

    assert_int_equal(f->replayed.n, 0);
    assert_false(f->checkpoint_replayed.is_there);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], fixture_checkpoint_byte(slot, f->checkpoint_seen++));
    if (bytes == NULL)
        f->checkpoint_replayed = (struct told_checkpoint){.is_there = true, .slot = slot, .size = f->checkpoint_seen};
    return !f->refuse_replay;
}

static void progress(void *user, uint64_t bytes_done, uint64_t bytes_all)
{
    (void)bytes_done, (void)bytes_all;
    ((struct fixture *)user)->n_progress++;
}

enum journal_result journal_fixture_open(struct fixture *f)
{
    struct journal_options o = {
        .vfs = vfs_memory_vfs(f->disk), .segment_bytes = f->segment_bytes, .written = written, .user = f};
    struct identity *identity = check(calloc(1, sizeof *identity));
    enum journal_result r = journal_read_identity(o.vfs, identity, f->error);

    told_list_clear(&f->replayed);
    f->checkpoint_replayed = (struct told_checkpoint){.is_there = false};
    f->checkpoint_seen = 0;
    f->n_progress = 0;
    f->replayed_identity.status = 0;
    f->seq = 0;
    if (r == JOURNAL_OK && identity->status == 0)
        *identity = f->identity;
    if (r == JOURNAL_OK)
        r = journal_open(
            &o, identity,
            &(struct journal_replay){.checkpoint = replay_checkpoint, .each = replay, .progress = progress, .user = f},
            &f->journal, f->error);
    free(identity);
    return r;
}

void fixture_close(struct fixture *f)
{
    journal_close(f->journal);
    f->journal = NULL;
}

void fixture_append(struct fixture *f, const struct record *r)
{
    struct told t = told_of(r, r->value != NULL ? r->value->bytes : NULL, r->value != NULL ? r->value->size : 0);

    if (r->type != RECORD_IDENTITY)
        told_list_add(&f->appended, &t);
    journal_append(f->journal, r, 1, ++f->seq);
}

void fixture_promise(struct fixture *f, uint64_t round)
{
    f->ballot.round = round;
    fixture_append(f, &(struct record){.type = RECORD_PROMISE, .ballot = f->ballot});
}

void fixture_reserve(struct fixture *f, slot_t slot)
{
    size_t room = f->slots_room > 0 ? f->slots_room : 1024;

    while (room <= slot)
        room *= 2;
    if (room == f->slots_room)
        return;
    f->values = check(reallocarray(f->values, room, sizeof *f->values));
    f->notes = check(reallocarray(f->notes, room, sizeof *f->notes));
    memset(f->values + f->slots_room, 0, (room - f->slots_room) * sizeof *f->values);
    memset(f->notes + f->slots_room, 0, (room - f->slots_room) * sizeof *f->notes);
    f->slots_room = room;
}

static void append_value(struct fixture *f, enum record_type type, slot_t slot, uint32_t size)
{
    struct value *v = check(calloc(1, sizeof *v + size));
    struct record r = {.type = type, .slot = slot, .value = v};
    uint64_t mix = slot * 0x9e3779b97f4a7c15 + f->ballot.round;

    v->size = size;
    for (uint32_t i = 0; i < size; i++)
        v->bytes[i] = (uint8_t)(1 + (mix >> (i % 56)) % 255);
    if (type == RECORD_ACCEPT)
        r.ballot = f->ballot;
    fixture_reserve(f, slot);
    f->values[slot] = told_of(&r, v->bytes, size);
    if (slot >= f->n_slots)
        f->n_slots = slot + 1;
    fixture_append(f, &r);
    free(v);
}

void fixture_accept(struct fixture *f, slot_t slot, uint32_t size)
{
    append_value(f, RECORD_ACCEPT, slot, size);
}

void fixture_choose(struct fixture *f, slot_t slot, uint32_t size)
{
    append_value(f, RECORD_CHOSEN, slot, size);
}

void fixture_commit(struct fixture *f, slot_t slot, const struct note *notes, uint32_t n_notes)
{
    fixture_reserve(f, slot);
    for (uint32_t i = 0; i < n_notes; i++)
        f->notes[notes[i].slot] = notes[i];
    f->n_committed = slot + 1;
    fixture_append(
        f,
        &(struct record){
            .type = RECORD_COMMIT, .slot = slot, .recorded_until = f->n_slots - 1, .notes = notes, .n_notes = n_notes});
}

void fixture_identity(struct fixture *f, enum identity_status status)
{
    f->identity.status = status;
    f->identity.bootstrap.bytes[0]++;
    f->identity_at[f->identity.bootstrap.bytes[0]] = f->appended.n;
    fixture_append(f, &(struct record){.type = RECORD_IDENTITY, .identity = &f->identity});
}

static void work_commit(struct fixture *f)
{
    struct note notes[RECORD_NOTES_MAX];
    slot_t until = f->n_committed + fixture_draw(f, f->n_slots - f->n_committed);
    uint32_t n = 0;

    for (slot_t slot = f->n_committed; slot <= until && n < RECORD_NOTES_MAX; slot++) {
        uint64_t kind = fixture_draw(f, 8);
        if (kind == 0)
            notes[n++] = (struct note){.slot = slot, .type = NOTE_HIDDEN};
        else if (kind == 1)
            notes[n++] = (struct note){.slot = slot, .type = NOTE_TIME, .time_usec = slot * 1000 + 7};
    }
    fixture_commit(f, until, notes, n);
}

void fixture_work(struct fixture *f, uint32_t size_max)
{
    uint64_t n = 1 + fixture_draw(f, 8);

    while (n-- > 0) {
        uint32_t size = 1 + (uint32_t)fixture_draw(f, size_max);
        switch (fixture_draw(f, 8)) {
        case 0:
            fixture_promise(f, f->ballot.round + 1);
            break;
        case 1:
            if (f->n_slots > f->n_committed)
                work_commit(f);
            break;
        case 2:
            if (f->n_slots > f->n_committed)
                fixture_accept(f, f->n_committed + fixture_draw(f, f->n_slots - f->n_committed), size);
            break;
        case 3:
            fixture_choose(f, f->n_slots, size);
            break;
        default:
            fixture_accept(f, f->n_slots, size);
            break;
        }
    }
}

/* What became durable meanwhile is what must come back. */
static void note_checkpoint(struct fixture *f)
{
    struct journal_checkpoint newest;

    if (journal_checkpoint_newest(f->journal, &newest))
        f->checkpoint = (struct told_checkpoint){.is_there = true, .slot = newest.slot, .size = newest.size};
}

int fixture_write(struct fixture *f)
{
    size_t n = f->appended.n;
    int r = journal_write(f->journal);

    note_checkpoint(f);
    if (r == 0) {
        assert_int_equal(journal_durable_seq(f->journal), f->seq);
        f->n_durable = n;
    }
    return r;
}

int fixture_settle(struct fixture *f)
{
    int r = 0;

    for (int i = 0; i < 100000 && r == 0 && journal_is_pending(f->journal); i++)
        r = fixture_write(f);
    return r;
}

void fixture_adopt(struct fixture *f)
{
    told_list_clear(&f->appended);
    f->checkpoint = f->checkpoint_replayed;
    f->n_committed = f->checkpoint.is_there ? f->checkpoint.slot + 1 : 0;
    f->n_slots = f->n_committed;
    if (f->checkpoint.is_there)
        fixture_reserve(f, f->checkpoint.slot);
    for (size_t i = 0; i < f->replayed.n; i++) {
        const struct told *t = &f->replayed.items[i];
        told_list_add(&f->appended, t);
        if (t->type == RECORD_COMMIT) {
            if (t->slot >= f->n_committed)
                f->n_committed = t->slot + 1;
        } else if (t->type != RECORD_PROMISE) {
            fixture_reserve(f, t->slot);
            f->values[t->slot] = *t;
            if (t->slot >= f->n_slots)
                f->n_slots = t->slot + 1;
        }
    }
    f->ballot = f->appended.promised;
    f->ballot.round++;
    /* Notes beyond the last COMMIT that came back are the workload's to give again. */
    for (slot_t slot = f->n_committed; slot < f->slots_room; slot++)
        f->notes[slot].type = 0;
    f->n_durable = f->appended.n;
}

struct reading {
    struct fixture *fixture;
    slot_t next;
};

static bool check_slot(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct reading *g = user;
    const struct told *value = &g->fixture->values[g->next];
    const struct note *note = &g->fixture->notes[g->next];

    assert_int_equal(r->type, RECORD_CHOSEN);
    assert_int_equal(r->slot, g->next);
    assert_int_equal(size, value->size);
    assert_int_equal(crc32c(0, bytes, size), value->crc);
    assert_int_equal(r->n_notes, note->type != 0);
    if (note->type != 0) {
        assert_int_equal(r->notes[0].slot, g->next);
        assert_int_equal(r->notes[0].type, note->type);
        assert_int_equal(r->notes[0].time_usec, note->time_usec);
    }
    g->next++;
    return true;
}

void fixture_check_read(struct fixture *f, slot_t from, slot_t until)
{
    struct reading g = {.fixture = f, .next = from};
    int n = journal_read(f->journal, from, until, SIZE_MAX, SIZE_MAX, check_slot, &g);

    assert_int_equal(n, until - from + 1);
    assert_int_equal(g.next, until + 1);
}

void fixture_check_kept(struct fixture *f)
{
    slot_t first = journal_first_kept(f->journal);

    if (first < f->n_committed)
        fixture_check_read(f, first, f->n_committed - 1);
    if (first > 0)
        assert_int_equal(journal_read(f->journal, first - 1, first - 1, 1, 1, NULL, NULL), -ERANGE);
}
