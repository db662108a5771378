/* What a recovery finds, against what was asked for. */
#include "tests/sim/found.h"

#include <string.h>

/* Values that a checkpoint makes needless are not always looked at. */
static bool is_same(const struct finding *g, const struct disk_record *d, const struct record *r, const uint8_t *bytes,
                    uint32_t size)
{
    if (d->type != r->type || d->slot != r->slot || !ballot_equal(d->ballot, r->ballot))
        return false;
    if (d->body && (bytes || r->slot > g->restored) &&
        (d->body->size != size || memcmp(d->body->bytes, bytes, size) != 0))
        return false;
    if (d->n_notes != r->n_notes)
        return false;
    for (uint32_t i = 0; i < d->n_notes; i++) {
        const struct note *a = &d->notes[i], *b = &r->notes[i];
        if (a->slot != b->slot || a->type != b->type || (a->type == NOTE_TIME && a->time_usec != b->time_usec))
            return false;
    }
    return true;
}

static bool has_ballot(enum record_type type)
{
    return type == RECORD_PROMISE || type == RECORD_ACCEPT;
}

/* Whether the checkpoint, and a promise that the first segment opens with or that damage left, make it needless. */
static bool is_covered(const struct finding *g, const struct disk_record *r)
{
    if (has_ballot(r->type) && ballot_compare(r->ballot, g->promised) > 0 && ballot_compare(r->ballot, g->saved) > 0)
        return false;
    return (r->type != RECORD_ACCEPT && r->type != RECORD_CHOSEN) || r->slot <= g->restored;
}

static bool is_elsewhere(const struct disk_record *r)
{
    return r->type == RECORD_IDENTITY || r->type == RECORD_INSTALLED;
}

/* The first segment that is read begins somewhere, but behind nothing that counts. */
static bool begins(const struct disk *d, struct finding *g, const struct record *r, const uint8_t *bytes, uint32_t size)
{
    size_t i = g->n;
    while (i < d->n_records && !is_same(g, &d->records[i], r, bytes, size) && is_covered(g, &d->records[i]))
        i++;
    if (i == d->n_records || !is_same(g, &d->records[i], r, bytes, size))
        return false;
    g->n = i;
    return true;
}

static bool was_asked_for(const struct disk *d, struct ballot b)
{
    for (size_t i = 0; i < d->n_records; i++)
        if (has_ballot(d->records[i].type) && ballot_equal(d->records[i].ballot, b))
            return true;
    return false;
}

static const struct body *chosen_ever(const struct disk *d, slot_t slot)
{
    return slot < d->n_slots ? d->slots[slot].chosen_ever : NULL;
}

/* Below a checkpoint, what rotted was replaced: values known to be chosen, each with its COMMIT. That is read where the
 * checkpoint is lost by now, or after a cut an earlier one came in its place; or where the segment's footer is lost,
 * and then counts for nothing but the ballots. */
static bool is_of_mend(const struct disk *d, const struct finding *g, const struct record *r, const uint8_t *bytes,
                       uint32_t size)
{
    if (d->n_rot > 0 && g->restored > 0 && r->type != RECORD_PROMISE && r->slot <= g->restored)
        return ballot_is_none(r->ballot) || was_asked_for(d, r->ballot);
    const struct body *chosen = chosen_ever(d, r->slot);
    if (d->n_rot == 0 || (r->slot > d->commit && !chosen)) /* its COMMIT may be cut off since */
        return g->is_mended && r->type == RECORD_PROMISE && was_asked_for(d, r->ballot);
    if (r->type == RECORD_COMMIT)
        return true;
    return bytes && ballot_is_none(r->ballot) && chosen && chosen->size == size &&
           memcmp(chosen->bytes, bytes, size) == 0;
}

/* Where it goes on behind what was replaced. */
static void pass_replaced(const struct disk *d, struct finding *g, const struct record *r, const uint8_t *bytes,
                          uint32_t size)
{
    size_t i = g->n;
    while (i < d->n_records && !is_same(g, &d->records[i], r, bytes, size) &&
           (d->records[i].slot <= d->commit || chosen_ever(d, d->records[i].slot)))
        i++;
    if (i < d->n_records && is_same(g, &d->records[i], r, bytes, size))
        g->n = i;
}

/* A segment opens with the highest promise before it; identities stand elsewhere. */
bool found_record(const struct disk *d, struct finding *g, const struct record *r, const uint8_t *bytes, uint32_t size)
{
    bool opens = g->restored > 0 && (!g->has_begun || g->is_mended);
    g->is_of_mend = false;
    while (g->n < d->n_records && is_elsewhere(&d->records[g->n]))
        g->n++;
    if (g->votes_no_more && g->n < d->n_records && d->records[g->n].type == RECORD_PROMISE &&
        !is_same(g, &d->records[g->n], r, bytes, size))
        g->n++;
    if (opens && r->type == RECORD_PROMISE && ballot_is_none(g->promised)) {
        g->promised = r->ballot;
        return was_asked_for(d, r->ballot);
    }
    if (g->is_mended && (g->restored == 0 || g->is_mended_above))
        pass_replaced(d, g, r, bytes, size);
    if ((!opens || begins(d, g, r, bytes, size)) && g->n < d->n_records &&
        is_same(g, &d->records[g->n], r, bytes, size)) {
        if (has_ballot(r->type) && ballot_compare(r->ballot, g->promised) > 0)
            g->promised = r->ballot;
        g->n++;
        g->has_begun = true;
        return true;
    }
    if (is_of_mend(d, g, r, bytes, size)) {
        g->is_mended = g->is_of_mend = true;
        g->is_mended_above = g->is_mended_above || r->slot > g->restored;
        if (ballot_compare(r->ballot, g->promised) > 0)
            g->promised = r->ballot;
        return true;
    }
    return r->type == RECORD_PROMISE && ballot_equal(r->ballot, g->promised);
}

void found_end(const struct disk *d, struct finding *g, enum identity_status status)
{
    while (g->restored > 0 && !g->has_begun && g->n < d->n_durable && is_covered(g, &d->records[g->n]))
        g->n++;
    for (; g->n < d->n_records && is_elsewhere(&d->records[g->n]); g->n++)
        if (d->records[g->n].type == RECORD_IDENTITY && d->records[g->n].identity->status > status)
            break;
}
