/* The chosen prefix: how slots become known as chosen, and what applying them does. */
#include <string.h>

#include "paxos/bytes.h"
#include "paxos/checkpoint.h"
#include "paxos/core.h"

enum { EXPECT_SLOTS = 8 };

/* A COMMIT record tells a restart, and readers of the journal, how far the prefix goes. It is a hint, so it never costs
 * a sync of its own: it goes ahead of the next record that is needed anyway, or with a heartbeat. */
static void push_commit(struct replica *r, slot_t slot, size_t n_notes)
{
    struct record *record = record_push(r, RECORD_COMMIT);
    record->slot = slot;
    record->recorded_until = r->accepted_max > r->chosen ? r->accepted_max : r->chosen;
    record->notes = r->notes + r->notes_told;
    record->n_notes = (uint32_t)n_notes;
    r->notes_told += n_notes;
    r->commit_recorded = slot;
}

/* While there was no room for records, more notes may have gathered than one COMMIT tells. */
void learner_record_commit(struct replica *r)
{
    if (r->commit_recorded == r->chosen || !r->space)
        return;
    while (r->n_notes - r->notes_told > RECORD_NOTES_MAX)
        push_commit(r, r->notes[r->notes_told + RECORD_NOTES_MAX - 1].slot, RECORD_NOTES_MAX);
    push_commit(r, r->chosen, r->n_notes - r->notes_told);
}

static void note_push(struct replica *r, enum note_type type, uint64_t time_usec)
{
    invariant(r->n_notes < r->notes_max, r->n_notes, r->notes_max);
    r->notes[r->n_notes++] = (struct note){.slot = r->chosen, .time_usec = time_usec, .type = type};
    if (r->n_notes - r->notes_told >= RECORD_NOTES_MAX)
        learner_record_commit(r);
}

static void chain_extend(struct replica *r, const struct value *v)
{
    uint8_t link[40];
    memcpy(link, r->chain.bytes, 16);
    put_u64(link + 16, r->chosen);
    memcpy(link + 24, v->hash.bytes, 16);
    r->chain = hash_bytes(&r->identity.cluster, link, sizeof(link));
}

static bool apply_message(struct replica *r, const struct value *v)
{
    slot_t other = 0;
    uint64_t evicted = 0;
    enum dedup_verdict verdict = dedup_apply(r->dedup, r->chosen, v, &other, &evicted);
    if (verdict == DEDUP_VOID) {
        r->counters.voids++;
        intake_void(r, v);
    } else if (verdict == DEDUP_DUPLICATE) {
        r->counters.duplicates++;
    }
    origin_settle(r, r->chosen, v, verdict, other);
    if (evicted != 0)
        origin_evicted(r, evicted);
    return verdict == DEDUP_STORED;
}

/* Never more than what is chosen by then, and never less than before, whatever it says. */
static void apply_trim(struct replica *r, const struct value *v)
{
    slot_t first_kept = get_u64(v->text);
    if (first_kept > r->first_kept && first_kept <= r->chosen)
        r->first_kept = first_kept;
}

static void tail_trim(struct replica *r)
{
    while (r->tail_bytes > TAIL_BYTES_MAX && r->tail_first < r->chosen)
        tail_drop(r);
}

static void apply(struct replica *r, struct cell *c)
{
    invariant(c != NULL && c->slot == r->chosen + 1 && c->value != NULL, r->chosen, r->n_applied);
    struct value *v = c->value;
    uint64_t time_usec = r->last_time_usec;
    bool visible = false;
    r->chosen = c->slot;
    chain_extend(r, v);
    if (r->phase != PHASE_NONE && ballot_equal(c->ballot, r->bid))
        r->flight_bytes -= v->size;
    if (v->type == VALUE_MESSAGE) {
        visible = apply_message(r, v);
        if (!visible) {
            note_push(r, NOTE_HIDDEN, 0);
        } else if (v->time_usec < time_usec) {
            note_push(r, NOTE_TIME, time_usec);
        } else {
            time_usec = r->last_time_usec = v->time_usec;
        }
    } else if (v->type == VALUE_TRIM) {
        apply_trim(r, v);
    } else if (v->type == VALUE_NOOP) {
        r->counters.noops++;
    }
    invariant(r->n_applied < r->applied_max, r->n_applied, c->slot);
    r->applied[r->n_applied++] =
        (struct applied){.slot = c->slot, .value = v, .time_usec = time_usec, .visible = visible};
    value_unref(r, c->adopted);
    c->adopted = NULL;
    r->tail_bytes += v->size;
}

/* The table of keys is far larger than any cache, and what is looked up in it is known well before: the processor
 * fetches it meanwhile. */
static void expect(const struct replica *r, slot_t slot)
{
    const struct cell *soon = window_find(&r->window, slot + EXPECT_SLOTS);
    const struct cell *sooner = window_find(&r->window, slot + EXPECT_SLOTS / 2);
    if (soon != NULL && soon->value != NULL && soon->value->type == VALUE_MESSAGE)
        dedup_expect(r->dedup, soon->value);
    if (sooner != NULL && sooner->value != NULL && sooner->value->type == VALUE_MESSAGE)
        dedup_expect_next(r->dedup, sooner->value);
}

void learner_advance(struct replica *r)
{
    slot_t before = r->chosen;
    struct cell *c;
    while ((c = window_find(&r->window, r->chosen + 1)) != NULL && c->chosen) {
        expect(r, c->slot);
        apply(r, c);
    }
    if (r->chosen == before)
        return;
    r->commit_moved_usec = r->now_usec;
    r->gap_since_usec = 0;
    if (r->known_commit < r->chosen)
        r->known_commit = r->chosen;
    tail_trim(r);
}

/* At a restart: the records before this one hold the chosen values. Their notes come out the same as they were written.
 */
void learner_restore_commit(struct replica *r, slot_t slot)
{
    for (slot_t s = r->chosen + 1; s <= slot; s++) {
        struct cell *c = window_find(&r->window, s);
        invariant(c != NULL, s, slot);
        c->chosen = true;
    }
    r->space = false; /* no records while reading them */
    while (r->chosen < slot)
        apply(r, window_find(&r->window, r->chosen + 1));
    r->space = true;
    r->n_notes = r->notes_told = 0;
    r->commit_recorded = r->chosen;
    tail_trim(r);
}

/* A checkpoint, whose keys and streams are in their tables already, takes the place of all slots up to its own. What
 * was promised stays, and what was accepted above it. */
void learner_install(struct replica *r, const struct checkpoint_reader *c)
{
    for (uint32_t i = 0; i < r->window.n_cells; i++)
        if (r->window.cells[i].slot <= c->slot)
            cell_clear(r, &r->window.cells[i]);
    r->chosen = r->commit_recorded = c->slot;
    if (r->known_commit < r->chosen)
        r->known_commit = r->chosen;
    r->chain = c->chain;
    r->last_time_usec = c->last_time_usec;
    r->first_kept = c->first_kept;
    r->tail_first = c->slot + 1;
    r->tail_bytes = 0;
    r->n_notes = r->notes_told = 0;
    r->gap_since_usec = r->fetch_at_usec = 0;
    r->n_fetches = 0;
    r->commit_moved_usec = r->now_usec;
}

void learner_hint(struct replica *r, uint32_t from, slot_t commit)
{
    struct peer *p = &r->peers[from];
    if (commit > p->chosen)
        p->chosen = commit;
    if (commit > r->known_commit)
        r->known_commit = commit;
}

/* A commit marks slots only where its sender leads `leading` and only what was accepted under exactly that ballot: what
 * stands under another may be a value that was never chosen. For the rest it is a hint that there is something to
 * fetch. */
void learner_commit(struct replica *r, uint32_t from, struct ballot leading, slot_t commit)
{
    learner_hint(r, from, commit);
    if (!ballot_equal(r->marked_ballot, leading)) {
        r->marked_ballot = leading;
        r->marked = 0;
    }
    slot_t last = commit < r->chosen + r->window.n_cells ? commit : r->chosen + r->window.n_cells;
    for (slot_t s = (r->marked > r->chosen ? r->marked : r->chosen) + 1; s <= last; s++) {
        struct cell *c = window_find(&r->window, s);
        if (c != NULL && c->value != NULL && ballot_equal(c->ballot, leading))
            c->chosen = true;
    }
    if (last > r->marked)
        r->marked = last;
    learner_advance(r);
}
