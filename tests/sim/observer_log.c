/* The observer: what hosts apply, and what their journals say of it. */
#include "paxos/bytes.h"
#include "tests/sim/observer_private.h"

void text_view(const uint8_t *bytes, struct text_view *ret)
{
    *ret = (struct text_view){.is_message = bytes[0] == VALUE_MESSAGE};
    ret->author_size = bytes[1];
    ret->key_size = bytes[2];
    ret->text_size = get_u32(bytes + 4);
    ret->stream = get_u64(bytes + 8);
    ret->n = get_u64(bytes + 16);
    ret->since = get_u64(bytes + 24);
    ret->author = bytes + VALUE_HEADER_SIZE;
    ret->key = ret->author + ret->author_size;
    ret->text = ret->key + ret->key_size;
}

static void apply_first(struct host *h, struct log_slot *s, const struct applied *a)
{
    struct cluster *c = h->cluster;
    struct observer *o = c->observer;
    struct text_view v;
    text_view(s->chosen->bytes, &v);
    bool visible = model_apply(o->model, a->slot, &v);
    if (visible != a->visible)
        cluster_fail(
            c, "host %u: slot %lu is %svisible, the model says otherwise (stream %016lx n %lu since %lu; trap 20)",
            h->index, a->slot, a->visible ? "" : "in", v.stream, v.n, v.since);
    if (a->time_usec < o->last_time_usec)
        cluster_fail(c, "host %u: the time goes back at slot %lu (trap 30)", h->index, a->slot);
    if (s->chosen->bytes[0] == VALUE_TRIM) {
        slot_t first_kept = get_u64(s->chosen->bytes + VALUE_HEADER_SIZE);
        if (first_kept > a->slot)
            cluster_fail(c, "slot %lu trims up to %lu, which is not chosen before it", a->slot, first_kept);
        c->happened[HAPPENED_TRIMMED] += first_kept > o->first_kept;
        if (first_kept > o->first_kept)
            o->first_kept = first_kept;
    }
    s->first_kept = o->first_kept;
    s->applied = true;
    s->visible = a->visible;
    s->time_usec = o->last_time_usec = a->time_usec;
    o->applied = a->slot;
}

void observer_applied(struct host *h, const struct applied *a)
{
    struct cluster *c = h->cluster;
    if (h->has_applied ? a->slot != h->applied + 1 : a->slot > 1)
        cluster_fail(c, "host %u: applies slot %lu after %lu (trap 17)", h->index, a->slot, h->applied);
    h->has_applied = true;
    h->applied = a->slot;
    if (a->slot == 0 || c->options.liar)
        return;
    struct log_slot *s = observer_slot_at(c, a->slot);
    if (a->slot > c->observer->chosen)
        cluster_fail(c, "host %u: applies slot %lu, chosen are %lu (trap 17)", h->index, a->slot, c->observer->chosen);
    if (cluster_body(c, a->value->bytes, a->value->size) != s->chosen)
        cluster_fail(c, "host %u: applies another value than the chosen one of slot %lu", h->index, a->slot);
    if (!s->applied)
        apply_first(h, s, a);
    if (s->visible != a->visible || s->time_usec != a->time_usec)
        cluster_fail(c, "host %u: slot %lu is applied in another way than elsewhere (visible %d, time %lu and %lu)",
                     h->index, a->slot, a->visible, a->time_usec, s->time_usec);
}

void observer_chain(struct host *h, slot_t slot, const struct hash128 *chain)
{
    if (slot == 0 || h->cluster->options.liar)
        return;
    struct log_slot *s = observer_slot_at(h->cluster, slot);
    if (!s->has_chain)
        s->chain = *chain;
    s->has_chain = true;
    if (!hash_equal(&s->chain, chain))
        cluster_fail(h->cluster, "host %u: another chain hash at slot %lu", h->index, slot);
}

void observer_first_kept(struct host *h, slot_t slot, slot_t first_kept)
{
    if (h->cluster->options.liar)
        return;
    const struct log_slot *s = observer_slot_at(h->cluster, slot);
    if (slot > 0 && s->first_kept != first_kept)
        cluster_fail(h->cluster, "host %u: at slot %lu everything below %lu may go, by the log below %lu (I6)",
                     h->index, slot, first_kept, s->first_kept);
}

void observer_checkpoint(struct host *h, slot_t slot, slot_t first_kept, const struct hash128 *chain,
                         uint64_t last_time_usec)
{
    if (h->cluster->options.liar)
        return;
    const struct log_slot *s = observer_slot_at(h->cluster, slot);
    if (!s->applied)
        cluster_fail(h->cluster, "host %u: goes on from a checkpoint of slot %lu, which nobody applied", h->index,
                     slot);
    observer_chain(h, slot, chain);
    observer_first_kept(h, slot, first_kept);
    for (; slot > 0 && !observer_slot_at(h->cluster, slot)->visible; slot--)
        ;
    uint64_t wanted = slot == 0 ? 0 : observer_slot_at(h->cluster, slot)->time_usec;
    if (last_time_usec != wanted)
        cluster_fail(h->cluster, "host %u: a checkpoint has the time %lu, its last message %lu (trap 22)", h->index,
                     last_time_usec, wanted);
}

void observer_checkpoint_sum(struct host *h, slot_t slot, const struct hash128 *sum)
{
    if (h->cluster->options.liar)
        return;
    struct log_slot *s = observer_slot_at(h->cluster, slot);
    if (!s->has_sum)
        s->checkpoint_sum = *sum;
    h->cluster->happened[HAPPENED_COMPARED] += s->has_sum;
    s->has_sum = true;
    if (!hash_equal(&s->checkpoint_sum, sum))
        cluster_fail(h->cluster, "host %u: another checkpoint at slot %lu (I6)", h->index, slot);
}

static void check_commit(struct host *h, const struct record *r, slot_t after)
{
    struct cluster *c = h->cluster;
    uint32_t at = 0;
    if (c->options.liar)
        return;
    for (slot_t slot = after + 1; slot <= r->slot; slot++) {
        const struct log_slot *s = observer_slot(c, slot);
        if (!s || !s->applied)
            return;
        struct text_view v;
        text_view(s->chosen->bytes, &v);
        const struct note *n = at < r->n_notes && r->notes[at].slot == slot ? &r->notes[at++] : NULL;
        bool hidden = n && n->type == NOTE_HIDDEN;
        uint64_t time_usec = n && n->type == NOTE_TIME ? n->time_usec : get_u64(s->chosen->bytes + 32);
        if (v.is_message && (hidden == s->visible || (s->visible && time_usec != s->time_usec)))
            cluster_fail(c, "host %u: the COMMIT record's note of slot %lu is wrong or missing", h->index, slot);
    }
    if (at != r->n_notes)
        cluster_fail(c, "host %u: COMMIT %lu has notes of other slots", h->index, r->slot);
}

void observer_notes(struct host *h, const struct effects *e)
{
    for (size_t i = 0; i < e->n_records; i++) {
        if (e->records[i].type != RECORD_COMMIT)
            continue;
        check_commit(h, &e->records[i], h->noted);
        h->noted = e->records[i].slot;
    }
}
