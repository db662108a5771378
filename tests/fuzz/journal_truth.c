#include "tests/fuzz/journal_truth.h"

#include "paxos/crc32c.h"

/* --- what was appended --- */

struct value *truth_value(const struct truth_record *r)
{
    static char text[TRUTH_TEXT_MAX];
    char key[48];
    struct value_fields f = {.type = VALUE_MESSAGE, .stream = 7, .n = r->slot, .time_usec = 1790000000000000 + r->slot};
    memset(text, 'a' + (int)(r->slot % 26), sizeof text);
    f.author = "anna";
    f.author_size = 4;
    f.key = key;
    f.key_size = (uint8_t)snprintf(key, sizeof key, "k%llu-%llu", (unsigned long long)r->slot,
                                   (unsigned long long)(r->ballot.round));
    f.text = text;
    f.text_size = r->text_size;
    struct value *v = calloc(1, sizeof *v + value_encoded_size(&f));
    fuzz_check(v != NULL);
    v->size = (uint32_t)value_encoded_size(&f);
    value_encode(&f, v->bytes);
    return v;
}

static uint32_t sum(const struct record *r, const uint8_t *bytes, uint32_t size)
{
    uint32_t crc = crc32c(0, &r->recorded_until, sizeof r->recorded_until);
    for (uint32_t i = 0; i < r->n_notes; i++) {
        const uint64_t note[] = {r->notes[i].slot, (uint64_t)r->notes[i].type, r->notes[i].time_usec};
        crc = crc32c(crc, note, sizeof note);
    }
    return bytes != NULL ? crc32c(crc, bytes, size) : crc;
}

void truth_append(struct truth *t, struct journal *j, const struct truth_record *r, uint64_t seq)
{
    bool has_value = r->type == RECORD_ACCEPT || r->type == RECORD_CHOSEN;
    struct value *v = has_value ? truth_value(r) : NULL;
    struct record record = {.type = r->type,
                            .slot = r->slot,
                            .ballot = r->ballot,
                            .value = v,
                            .notes = r->notes,
                            .n_notes = r->n_notes,
                            .recorded_until = r->recorded_until};
    if (r->type == RECORD_CHOSEN)
        record.ballot = (struct ballot){.round = 0}; /* only the value's */
    journal_append(j, &record, 1, seq);
    fuzz_check(t->n < TRUTH_RECORDS_MAX);
    struct truth_record *to = &t->records[t->n++];
    *to = *r;
    to->seq = seq;
    to->crc = sum(&record, v != NULL ? v->bytes : NULL, v != NULL ? v->size : 0);
    if (ballot_compare(record.ballot, t->promised) > 0)
        t->promised = record.ballot;
    free(v);
}

static bool is_of(const struct truth_record *r, slot_t slot)
{
    return (r->type == RECORD_ACCEPT || r->type == RECORD_CHOSEN) && r->slot == slot;
}

slot_t truth_commit(const struct truth *t)
{
    slot_t commit = t->checkpoint.slot;
    for (size_t i = 0; i < t->n; i++)
        if (t->records[i].type == RECORD_COMMIT && t->records[i].slot > commit)
            commit = t->records[i].slot;
    return commit;
}

slot_t truth_recorded(const struct truth *t)
{
    slot_t until = t->checkpoint.slot;
    for (size_t i = 0; i < t->n; i++)
        if (is_of(&t->records[i], t->records[i].slot) && t->records[i].slot > until)
            until = t->records[i].slot;
    return until;
}

bool truth_has(const struct truth *t, slot_t slot)
{
    for (size_t i = 0; i < t->n; i++)
        if (is_of(&t->records[i], slot))
            return true;
    return false;
}

const struct truth_record *truth_chosen(const struct truth *t, slot_t slot, struct note *ret_note)
{
    const struct truth_record *found = NULL;
    *ret_note = (struct note){.slot = slot};
    for (size_t i = 0; i < t->n; i++) {
        const struct truth_record *r = &t->records[i];
        if (is_of(r, slot))
            found = r;
        if (r->type != RECORD_COMMIT || r->slot < slot)
            continue;
        for (uint32_t k = 0; k < r->n_notes; k++)
            if (r->notes[k].slot == slot)
                *ret_note = r->notes[k];
        return found;
    }
    return NULL;
}

/* --- what is told at an open --- */

void told_record(struct told *g, const struct record *r, const uint8_t *bytes, uint32_t size)
{
    if (ballot_compare(r->ballot, g->promised) > 0)
        g->promised = r->ballot;
    if (r->type == RECORD_IDENTITY)
        g->identity = *r->identity;
    if (r->type == RECORD_PROMISE || r->type == RECORD_IDENTITY)
        return;
    g->is_too_much = g->is_too_much || g->n == TRUTH_RECORDS_MAX;
    if (!g->is_too_much)
        g->records[g->n++] =
            (struct truth_record){.type = r->type, .slot = r->slot, .ballot = r->ballot, .crc = sum(r, bytes, size)};
}

void told_checkpoint(struct told *g, slot_t slot, const uint8_t *bytes, size_t size)
{
    fuzz_check(g->n == 0 && (g->checkpoint.slot == slot || g->checkpoint.size == 0));
    g->checkpoint.slot = slot;
    g->checkpoint.size += size;
    if (bytes != NULL)
        g->checkpoint.crc = crc32c(g->checkpoint.crc, bytes, size);
}

static bool is_same(const struct truth_record *a, const struct truth_record *told)
{
    return a->type == told->type && a->slot == told->slot && a->crc == told->crc &&
           (a->type != RECORD_ACCEPT || ballot_equal(a->ballot, told->ballot));
}

static bool checkpoint_equal(const struct truth_checkpoint *a, const struct truth_checkpoint *b)
{
    return a->slot == b->slot && a->size == b->size && a->crc == b->crc;
}

static bool is_above(const struct truth_record *r, slot_t slot)
{
    return r->type != RECORD_PROMISE && r->slot > slot;
}

/* A mended segment is told where its footer rotted since, and then counts for nothing but its ballots. */
static bool is_of_mend(const struct truth *t, const struct told *g, const struct truth_record *r)
{
    struct note note;
    const struct truth_record *chosen = truth_chosen(t, r->slot, &note);
    return t->is_mended && r->slot <= g->checkpoint.slot && ballot_is_none(r->ballot) &&
           (r->type == RECORD_COMMIT || chosen == NULL || chosen->crc == r->crc);
}

size_t truth_match(const struct truth *t, const struct told *g)
{
    const struct truth_checkpoint none = {.slot = 0};
    size_t at = 0, above = 0;
    bool has_begun = false, is_replaced = false;
    fuzz_check(!g->is_too_much && ballot_compare(g->promised, t->promised) <= 0);
    fuzz_check(checkpoint_equal(&g->checkpoint, &none) || checkpoint_equal(&g->checkpoint, &t->checkpoint) ||
               checkpoint_equal(&g->checkpoint, &t->next));
    while (above < t->n && !is_above(&t->records[above], g->checkpoint.slot))
        above++;
    if (g->n == 0)
        return g->checkpoint.slot > 0 ? above : 0;
    for (size_t i = 0; i < g->n; i++) {
        const struct truth_record *told = &g->records[i];
        size_t k = at;
        while (k < t->n && !is_same(&t->records[k], told) &&
               (!has_begun || t->records[k].type == RECORD_PROMISE ||
                (is_replaced && !is_above(&t->records[k], g->checkpoint.slot))))
            k++;
        if (k < t->n && is_same(&t->records[k], told) && (has_begun || k <= above)) {
            has_begun = true;
            at = k + 1;
            continue;
        }
        fuzz_check(is_of_mend(t, g, told));
        is_replaced = true;
    }
    return is_replaced && at < above ? above : at;
}

/* Every segment opens with the promise of those before. */
static bool knows_promise(const struct truth *t, const struct told *g, size_t sure)
{
    for (size_t i = t->promises_from; i < sure; i++) {
        const struct truth_record *r = &t->records[i];
        if ((r->type == RECORD_PROMISE || r->type == RECORD_ACCEPT) && ballot_compare(r->ballot, g->promised) > 0)
            return false;
    }
    return true;
}

bool truth_is_whole(const struct truth *t, const struct told *g, size_t end, size_t sure)
{
    for (size_t i = end; i < sure; i++)
        if (t->records[i].type != RECORD_PROMISE)
            return false;
    return knows_promise(t, g, sure);
}

void truth_check_loss(const struct truth *t, const struct told *g, size_t end, size_t sure)
{
    fuzz_check(g->identity.status == IDENTITY_VOTER || g->identity.status == IDENTITY_QUARANTINED);
    fuzz_check(g->identity.silent_until <= truth_recorded(t) || g->identity.silent_until == t->silent_until);
    if (g->identity.status == IDENTITY_QUARANTINED)
        return;
    fuzz_check(knows_promise(t, g, sure));
    for (size_t i = end; i < sure; i++)
        if (t->records[i].type == RECORD_ACCEPT)
            fuzz_check(t->records[i].slot <= g->identity.silent_until || t->records[i].slot <= g->checkpoint.slot);
}

void truth_adopt(struct truth *t, const struct told *g, size_t end)
{
    if (!knows_promise(t, g, end))
        t->promises_from = end; /* lost with votes */
    t->n = end;
    t->promised = g->promised;
    t->silent_until = g->identity.status != 0 ? g->identity.silent_until : 0;
    t->checkpoint = g->checkpoint;
    t->next = (struct truth_checkpoint){.slot = 0};
    for (size_t i = 0; i < t->n; i++)
        t->records[i].seq = 0;
}

/* --- what is read --- */

struct reading {
    const struct truth *truth;
    slot_t next, until;
};

static bool check_read(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct reading *k = user;
    struct note expected;
    const struct truth_record *of = truth_chosen(k->truth, r->slot, &expected);
    const struct note *note = r->n_notes > 0 ? r->notes : &(struct note){.slot = r->slot};
    fuzz_check(r->type == RECORD_CHOSEN && r->slot == k->next && r->slot <= k->until && r->n_notes <= 1);
    fuzz_check(of != NULL);
    struct value *v = truth_value(of);
    fuzz_check(size == v->size && memcmp(bytes, v->bytes, size) == 0);
    fuzz_check(note->slot == r->slot && note->type == expected.type &&
               (note->type != NOTE_TIME || note->time_usec == expected.time_usec));
    free(v);
    k->next++;
    return true;
}

bool truth_check_read(const struct truth *t, struct journal *j, slot_t from, slot_t until)
{
    struct reading k = {.truth = t, .next = from, .until = until};
    while (k.next <= until) {
        slot_t before = k.next;
        int n = journal_read(j, k.next, until, SIZE_MAX, SIZE_MAX, check_read, &k);
        fuzz_check(n < 0 || (n > 0 && k.next == before + (slot_t)n));
        if (n < 0)
            return false;
    }
    return true;
}
