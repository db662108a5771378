/* What a step gathers, in bounded arrays, and who holds which value. */
#include <string.h>

#include "paxos/core.h"

bool records_have_room(const struct replica *r, size_t n)
{
    return r->n_records + n + RECORDS_SPARE <= RECORDS_MAX;
}

struct record *record_push(struct replica *r, enum record_type type)
{
    invariant(r->n_records < RECORDS_MAX, r->n_records, type);
    struct record *record = &r->records[r->n_records++];
    *record = (struct record){.type = type};
    r->seq++;
    if (r->undurable_since_usec == 0)
        r->undurable_since_usec = r->now_usec;
    return record;
}

struct message *outgoing_push(struct replica *r, enum message_type type, replica_id_t to, uint64_t after)
{
    if (r->n_outgoing == OUTGOING_MAX) {
        r->again = true;
        return NULL;
    }
    struct outgoing *o = &r->outgoing[r->n_outgoing++];
    o->after = after <= r->durable_seq ? 0 : after;
    o->to = to;
    memset(&o->message, 0, sizeof(o->message));
    o->message.type = type;
    o->message.from = r->identity.id;
    o->message.from_life = r->identity.life;
    return &o->message;
}

struct entry *entries_take(struct replica *r, size_t n)
{
    if (n > ENTRIES_MAX - r->n_entries) {
        r->again = true;
        return NULL;
    }
    struct entry *e = &r->entries[r->n_entries];
    memset(e, 0, n * sizeof(*e));
    r->n_entries += n;
    return e;
}

void outcome_push(struct replica *r, uint64_t cookie, enum outcome_type type, slot_t slot)
{
    invariant(r->n_outcomes < r->outcomes_max, r->n_outcomes, type);
    r->outcomes[r->n_outcomes++] = (struct outcome){.cookie = cookie, .type = type, .slot = slot};
}

void value_unref(struct replica *r, struct value *v)
{
    if (v == NULL)
        return;
    invariant(v->refs > 0, v->refs, v->size);
    if (--v->refs == 0) {
        v->next = r->released;
        r->released = v;
    }
}

void cell_clear(struct replica *r, struct cell *c)
{
    value_unref(r, c->value);
    value_unref(r, c->adopted);
    memset(c, 0, sizeof(*c));
}

/* The lowest slot of the tail goes. */
void tail_drop(struct replica *r)
{
    struct cell *c = window_find(&r->window, r->tail_first++);
    if (c == NULL)
        return;
    r->tail_bytes -= c->value->size;
    cell_clear(r, c);
}

/* The cell for a slot above the chosen prefix; takes the place of a chosen slot at the tail: where slots come
 * out of order, what lies below goes with it, so that the tail has no holes. */
struct cell *cell_take(struct replica *r, slot_t slot)
{
    struct cell *c = window_place(&r->window, slot);
    if (c->slot == slot)
        return c;
    invariant(slot > r->chosen && slot <= r->chosen + r->window.n_cells, slot, r->chosen);
    if (c->slot != 0) {
        invariant(c->slot >= r->tail_first && c->slot <= r->chosen, c->slot, r->chosen);
        while (c->slot != 0)
            tail_drop(r);
    }
    c->slot = slot;
    return c;
}
