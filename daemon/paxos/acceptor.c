/* Promise and accept: the votes. Every one is on disk before it is told. */
#include <string.h>

#include "paxos/core.h"

bool acceptor_is_silent(const struct replica *r)
{
    return r->identity.status != IDENTITY_VOTER || r->diverged || r->chosen < r->identity.silent_until;
}

bool acceptor_may_vote(const struct replica *r)
{
    return r->space && !acceptor_is_silent(r);
}

void acceptor_promise(struct replica *r, struct ballot b)
{
    invariant(ballot_compare(b, r->promised) > 0, b.round, r->promised.round);
    r->promised = b;
    record_push(r, RECORD_PROMISE)->ballot = b;
    r->promise_seq = r->seq;
    /* At once, not at the next tick: a leader whose own acceptor promised above it must not take what that ballot's
     * proposer writes for its own proposals. */
    if (r->phase != PHASE_NONE && !ballot_equal(b, r->bid))
        proposer_stop(r);
}

static void send_nack(struct replica *r, uint32_t to, struct ballot rejected)
{
    struct message *m = outgoing_push(r, MESSAGE_NACK, member_id(r, to), r->seq);
    if (m != NULL)
        m->nack = (struct nack){.rejected = rejected, .promised = r->promised};
    r->counters.nacks++;
}

/* A page covers a fixed range of slots, not a number of entries, so that it stays the same page while slots are
 * accepted and chosen in between. False: no page follows. */
static bool send_promise_page(struct replica *r, uint32_t to, const struct prepare *p, uint32_t page)
{
    uint32_t page_slots = r->config.promise_page_slots;
    slot_t first = p->from + (slot_t)page * page_slots, last = first + page_slots - 1;
    if (r->n_reports + page_slots > REPORTS_MAX) {
        r->again = true;
        return false;
    }
    struct promised_entry *entries = &r->reports[r->n_reports];
    uint32_t n = 0;
    for (slot_t s = first > r->chosen ? first : r->chosen + 1; s <= last && s <= r->accepted_max; s++) {
        const struct cell *c = window_find(&r->window, s);
        if (c != NULL && c->value != NULL)
            entries[n++] = (struct promised_entry){
                .slot = s, .ballot = c->ballot, .chosen = c->chosen, .size = c->value->size, .hash = c->value->hash};
    }
    struct message *m = outgoing_push(r, MESSAGE_PROMISE, member_id(r, to), r->seq);
    if (m == NULL)
        return false;
    r->n_reports += n;
    m->promise = (struct promise){.ballot = p->ballot,
                                  .from = p->from,
                                  .page = page,
                                  .page_slots = page_slots,
                                  .last = last >= r->accepted_max,
                                  .chosen = r->chosen,
                                  .n_entries = n,
                                  .entries = entries};
    return !m->promise.last;
}

void acceptor_prepare(struct replica *r, uint32_t from, const struct prepare *p)
{
    if (!acceptor_may_vote(r) || !ballot_is_owned_by(r, p->ballot, from) || p->from == 0 || p->from > UINT64_MAX / 2 ||
        !records_have_room(r, 1)) {
        r->counters.ignored_messages++;
        return;
    }
    int order = ballot_compare(p->ballot, r->promised);
    if (order < 0) {
        send_nack(r, from, p->ballot);
        return;
    }
    if (order > 0)
        acceptor_promise(r, p->ballot);
    r->counters.promises++;
    /* What is listed was recorded before now, so the gate of the last record covers it and the promise. */
    for (uint64_t page = p->page; page < (uint64_t)p->page + PROMISE_BURST && page <= UINT32_MAX; page++)
        if (!send_promise_page(r, from, p, (uint32_t)page))
            break;
}

void acceptor_store(struct replica *r, struct cell *c, struct ballot b, struct value *v)
{
    invariant(ballot_compare(b, r->promised) >= 0, b.round, r->promised.round);
    invariant(!c->chosen, c->slot, r->chosen);
    bool raised = ballot_compare(b, r->promised) > 0;
    if (raised && r->phase != PHASE_NONE)
        proposer_stop(r);
    learner_record_commit(r);
    struct record *record = record_push(r, RECORD_ACCEPT);
    record->slot = c->slot;
    record->ballot = b;
    record->value = v;
    value_ref(v);
    value_unref(r, c->value);
    c->value = v;
    c->ballot = b;
    c->seq = r->seq;
    c->acks = 0;
    if (raised) { /* the ACCEPT record says so too */
        r->promised = b;
        r->promise_seq = r->seq;
    }
    if (c->slot > r->accepted_max)
        r->accepted_max = c->slot;
}

static void ack_owe(struct replica *r, struct cell *c)
{
    c->ack_due = true;
    if (r->ack_high == 0 || c->slot < r->ack_low)
        r->ack_low = c->slot;
    if (c->slot > r->ack_high)
        r->ack_high = c->slot;
}

static void accept_entry(struct replica *r, const struct accept *m, const struct entry *e)
{
    if (e->slot <= r->chosen) { /* ACCEPTED names the chosen prefix: that is the answer */
        r->ack_now = true;
        return;
    }
    if (e->slot > r->chosen + r->window.n_cells || e->value == NULL) {
        r->counters.ignored_messages++;
        return;
    }
    struct cell *c = cell_take(r, e->slot);
    bool known = c->chosen || (c->value != NULL && ballot_equal(c->ballot, m->ballot));
    if (known && !hash_equal(&c->value->hash, &e->value->hash)) {
        /* Two values under one ballot, or another than the chosen one: some replica broke the protocol. Not here. */
        r->counters.ignored_messages++;
        return;
    }
    if (!known) {
        if (!records_have_room(r, 2))
            return;
        acceptor_store(r, c, m->ballot, e->value);
        r->counters.accepts++;
        origin_seen(r, e->value);
    } else {
        r->ack_now = true;
    }
    /* Sent by the leader of exactly this ballot: see learner_commit(), which does not look at a slot twice. */
    if (c->slot <= m->commit || (ballot_equal(r->marked_ballot, m->ballot) && c->slot <= r->marked))
        c->chosen = true;
    ack_owe(r, c);
}

void acceptor_accept(struct replica *r, uint32_t from, const struct accept *m)
{
    if (!acceptor_may_vote(r) || !ballot_is_owned_by(r, m->ballot, from)) {
        r->counters.ignored_messages++;
        return;
    }
    if (ballot_compare(m->ballot, r->promised) < 0) {
        send_nack(r, from, m->ballot);
        return;
    }
    for (uint32_t i = 0; i < m->n_entries; i++)
        accept_entry(r, m, &m->entries[i]);
    learner_commit(r, from, m->ballot, m->commit);
    if (r->ack_now)
        acceptor_send_acks(r);
}

/* Whether the bit of a slot may be set: it is on this disk under the promised ballot, or known chosen. */
static bool ack_is_true(const struct replica *r, const struct cell *c)
{
    return c->value != NULL && c->seq <= r->durable_seq && (c->chosen || ballot_equal(c->ballot, r->promised));
}

static void send_accepted(struct replica *r, uint32_t to, slot_t base, uint32_t n_words, const uint64_t *words)
{
    struct message *m = outgoing_push(r, MESSAGE_ACCEPTED, member_id(r, to), 0);
    if (m == NULL)
        return;
    m->accepted = (struct accepted){.ballot = r->promised,
                                    .base = base,
                                    .n_words = n_words,
                                    .chosen = r->chosen,
                                    .space_bytes = r->config.space_bytes};
    if (n_words > 0)
        memcpy(m->accepted.words, words, n_words * sizeof(*words));
    r->counters.accepted++;
}

/* One ACCEPTED, or several where the range is wide, for all that became durable. Slots up to `chosen` need no bits. */
void acceptor_send_acks(struct replica *r)
{
    int to = configuration_find(config_at(r), r->promised.id);
    if (!r->ack_now && r->ack_high == 0)
        return;
    if (to < 0 || (uint32_t)to == r->me) {
        r->ack_high = 0;
        r->ack_now = false;
        return;
    }
    slot_t low = 0, high = 0; /* what stays owed */
    slot_t base = r->ack_low > r->chosen ? r->ack_low : r->chosen + 1;
    bool sent = false;
    while (r->ack_high != 0 && base <= r->ack_high) {
        uint64_t words[ACCEPTED_WORDS_MAX] = {0};
        uint32_t n_words = 0;
        for (slot_t s = base; s <= r->ack_high && s < base + UINT64_C(64) * ACCEPTED_WORDS_MAX; s++) {
            struct cell *c = window_find(&r->window, s);
            if (c == NULL || !c->ack_due)
                continue;
            if (ack_is_true(r, c)) {
                uint32_t bit = (uint32_t)(s - base);
                words[bit / 64] |= UINT64_C(1) << (bit % 64);
                n_words = bit / 64 + 1;
                c->ack_due = false;
            } else if (c->seq > r->durable_seq) {
                low = low == 0 ? s : low;
                high = s;
            }
        }
        if (n_words > 0) {
            send_accepted(r, (uint32_t)to, base, n_words, words);
            sent = true;
        }
        base += UINT64_C(64) * ACCEPTED_WORDS_MAX;
    }
    if (r->ack_now && !sent)
        send_accepted(r, (uint32_t)to, r->chosen + 1, 0, NULL);
    r->ack_now = false;
    r->ack_low = low;
    r->ack_high = high;
}
