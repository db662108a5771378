/* Phase 2: proposals go out before the own disk has them, and are chosen once a majority's disks do, whichever those
 * are.
 *
 * Lost datagrams are found by time (RTO from SRTT and RTTVAR, RFC 6298, no samples from what was sent twice) and by
 * order: what was sent before a slot that is acknowledged, and is not, was lost. */
#include <string.h>

#include "paxos/core.h"

enum {
    ACCEPT_ENTRIES_MAX = 512, /* of one ACCEPT                                      */
    REORDER_TICKS = 64,       /* in stamps of 16 usec: so much later overtakes       */
};

static uint32_t stamp_now(const struct replica *r, bool again)
{
    return ((uint32_t)(r->now_usec >> 4) & ~UINT32_C(1)) | (again ? 1 : 0);
}

static uint32_t *stamp(struct replica *r, slot_t slot, uint32_t member)
{
    return &r->sent[(size_t)(slot & (r->window.n_cells - 1)) * config_at(r)->n_members + member];
}

static uint32_t stamp_age(const struct replica *r, uint32_t then)
{
    return (uint32_t)(r->now_usec >> 4) - (then & ~UINT32_C(1));
}

static bool is_own_open(const struct replica *r, const struct cell *c)
{
    return c != NULL && !c->chosen && c->value != NULL && ballot_equal(c->ballot, r->bid);
}

void proposer_propose(struct replica *r, slot_t slot, struct value *v)
{
    struct cell *c = cell_take(r, slot);
    invariant(slot <= r->chosen + alpha(r), slot, r->chosen);
    invariant(ballot_equal(r->promised, r->bid), r->promised.round, r->bid.round);
    invariant(c->value == NULL || !ballot_equal(c->ballot, r->bid) || hash_equal(&c->value->hash, &v->hash), slot,
              r->bid.round);
    acceptor_store(r, c, r->bid, v);
    r->flight_bytes += v->size;
}

static void rto_arm(struct replica *r, uint32_t member)
{
    struct peer *p = &r->peers[member];
    if (p->rto_at_usec == UINT64_MAX)
        p->rto_at_usec = r->now_usec + p->rto_usec;
}

static bool send_accept(struct replica *r, replica_id_t to, const struct entry *entries, uint32_t n)
{
    struct message *m = outgoing_push(r, MESSAGE_ACCEPT, to, 0);
    if (m == NULL)
        return false;
    m->accept = (struct accept){.ballot = r->bid, .commit = r->chosen, .n_entries = n, .entries = entries};
    return true;
}

/* The commit index by itself costs every replica a wake-up. Where a peer's client may wait for it, it goes at once;
 * else it goes with the next proposal, or after a while. */
static bool commit_is_due(struct replica *r)
{
    if (r->awaited_slot > r->sent_commit || r->commit_at_usec <= r->now_usec)
        return true;
    if (r->commit_at_usec == UINT64_MAX)
        r->commit_at_usec = r->now_usec + COMMIT_WAIT_USEC;
    return false;
}

/* Everything that was proposed since the last time, and the commit index, to all at once: one encoding for all. */
static void broadcast(struct replica *r)
{
    bool told = false;
    if (r->send_next <= r->chosen)
        r->send_next = r->chosen + 1;
    while (r->send_next < r->next_slot) {
        slot_t until =
            r->next_slot < r->send_next + ACCEPT_ENTRIES_MAX ? r->next_slot : r->send_next + ACCEPT_ENTRIES_MAX;
        struct entry *entries = entries_take(r, (size_t)(until - r->send_next));
        uint32_t n = 0;
        if (entries == NULL)
            return;
        for (slot_t s = r->send_next; s < until; s++) {
            const struct cell *c = window_find(&r->window, s);
            if (!is_own_open(r, c))
                continue;
            entries[n++] = (struct entry){.slot = s, .value = c->value};
            for (uint32_t i = 0; i < config_at(r)->n_members; i++)
                *stamp(r, s, i) = stamp_now(r, false);
        }
        if (n > 0 && !send_accept(r, REPLICA_ID_NONE, entries, n))
            return;
        told = told || n > 0;
        r->send_next = until;
        for (uint32_t i = 0; i < config_at(r)->n_members && n > 0; i++)
            rto_arm(r, i);
    }
    if (!told && r->sent_commit < r->chosen)
        told = commit_is_due(r) && send_accept(r, REPLICA_ID_NONE, NULL, 0);
    if (!told)
        return;
    r->sent_commit = r->chosen;
    r->commit_at_usec = UINT64_MAX;
}

/* Sends what the member has not acknowledged and what was sent to it `age` stamps ago or earlier. False: there is
 * nothing. */
static bool resend(struct replica *r, uint32_t member, slot_t until, uint32_t age)
{
    struct entry *entries = entries_take(r, ACCEPT_ENTRIES_MAX);
    uint32_t n = 0;
    uint64_t bytes = 0;
    bool outstanding = false;
    if (entries == NULL)
        return true;
    for (slot_t s = r->chosen + 1; s < until && n < ACCEPT_ENTRIES_MAX && bytes < RESEND_BYTES_MAX; s++) {
        const struct cell *c = window_find(&r->window, s);
        if (!is_own_open(r, c) || (c->acks & (UINT32_C(1) << member)) != 0)
            continue;
        outstanding = true;
        if (stamp_age(r, *stamp(r, s, member)) < age)
            continue;
        entries[n++] = (struct entry){.slot = s, .value = c->value};
        bytes += c->value->size;
        *stamp(r, s, member) = stamp_now(r, true);
    }
    if (n > 0)
        send_accept(r, member_id(r, member), entries, n);
    r->counters.resent_slots += n;
    return outstanding;
}

/* RFC 6298, in microseconds. */
static void rtt_sample(struct peer *p, uint64_t rtt_usec)
{
    if (p->srtt_usec == 0) {
        p->srtt_usec = rtt_usec;
        p->rttvar_usec = rtt_usec / 2;
    } else {
        uint64_t d = p->srtt_usec > rtt_usec ? p->srtt_usec - rtt_usec : rtt_usec - p->srtt_usec;
        p->rttvar_usec = (3 * p->rttvar_usec + d) / 4;
        p->srtt_usec = (7 * p->srtt_usec + rtt_usec) / 8;
    }
    p->rto_usec = p->srtt_usec + 4 * p->rttvar_usec;
    if (p->rto_usec < RTO_MIN_USEC)
        p->rto_usec = RTO_MIN_USEC;
    if (p->rto_usec > RTO_MAX_USEC)
        p->rto_usec = RTO_MAX_USEC;
}

static void choose(struct replica *r, struct cell *c)
{
    if (!c->chosen && configuration_is_majority(config_at(r), c->acks))
        c->chosen = true;
}

/* True where this is news. */
static bool acknowledge(struct replica *r, uint32_t from, slot_t s)
{
    struct cell *c = window_find(&r->window, s);
    uint32_t bit = UINT32_C(1) << from;
    if (c == NULL || s <= r->chosen || c->value == NULL || !ballot_equal(c->ballot, r->bid) || (c->acks & bit) != 0)
        return false;
    c->acks |= bit;
    choose(r, c);
    return true;
}

void proposer_accepted(struct replica *r, uint32_t from, const struct accepted *m)
{
    struct peer *p = &r->peers[from];
    slot_t newest = 0;
    if (r->phase != PHASE_LEADING || !ballot_equal(m->ballot, r->bid)) {
        r->counters.ignored_messages++;
        return;
    }
    /* Its chosen prefix is a hint to fetch and no vote: under a higher ballot, of which neither it nor this leader
     * knows, another value than the one proposed here may have been chosen there. */
    learner_hint(r, from, m->chosen);
    for (uint32_t w = 0; w < m->n_words; w++) {
        for (uint64_t bits = m->words[w]; bits != 0; bits &= bits - 1) {
            slot_t s = m->base + 64 * (slot_t)w + (slot_t)__builtin_ctzll(bits);
            if (acknowledge(r, from, s))
                newest = s;
        }
    }
    if (newest == 0)
        return;
    uint32_t then = *stamp(r, newest, from), age = stamp_age(r, then);
    if ((then & 1) == 0)
        rtt_sample(p, (uint64_t)age << 4);
    p->rto_at_usec = r->now_usec + p->rto_usec;
    learner_advance(r);
    if (r->phase == PHASE_LEADING && newest > r->chosen)
        resend(r, from, newest, age + REORDER_TICKS);
}

/* The own disk's votes. */
void proposer_durable(struct replica *r)
{
    if (r->phase != PHASE_LEADING)
        return;
    if (r->self_next <= r->chosen)
        r->self_next = r->chosen + 1;
    for (; r->self_next < r->next_slot; r->self_next++) {
        struct cell *c = window_find(&r->window, r->self_next);
        if (!is_own_open(r, c))
            continue;
        if (c->seq > r->durable_seq)
            break;
        c->acks |= UINT32_C(1) << r->me;
        choose(r, c);
    }
    learner_advance(r);
}

/* On purpose, for new proposals only; never so many that the window is used up, since only another leader fills the
 * hole. */
static bool skip_next(struct replica *r)
{
    if (r->n_skipped_open >= alpha(r) / 2 || r->next_slot + 1 > r->chosen + alpha(r))
        return false;
    for (uint32_t k = 0; k < r->n_skips; k++) {
        if (r->skips[k] == r->next_slot) {
            r->n_skipped_open++;
            r->next_slot++;
            return true;
        }
    }
    return false;
}

void proposer_trim(struct replica *r, struct value *v)
{
    invariant(v->type == VALUE_TRIM, v->type, v->size);
    if (r->phase == PHASE_LEADING && r->trim == NULL)
        r->trim = value_ref(v);
}

static struct value *next_value(const struct replica *r)
{
    return r->trim != NULL ? r->trim : intake_peek(r);
}

static void next_value_pop(struct replica *r)
{
    if (r->trim == NULL) {
        intake_pop(r);
        return;
    }
    value_unref(r, r->trim);
    r->trim = NULL;
}

void proposer_pump(struct replica *r)
{
    struct value *v;
    if (r->phase != PHASE_LEADING)
        return;
    while (r->barrier_slot != 0 && acceptor_may_vote(r) && (v = next_value(r)) != NULL) {
        if (r->next_slot <= r->chosen)
            r->next_slot = r->chosen + 1;
        if (r->next_slot > r->chosen + alpha(r) ||
            (r->flight_bytes > 0 && r->flight_bytes + v->size > r->config.proposal_bytes_max))
            break;
        if (!records_have_room(r, 2)) {
            r->again = true;
            break;
        }
        if (skip_next(r))
            continue;
        proposer_propose(r, r->next_slot, v);
        if (r->trim == NULL && !intake_is_local(r))
            r->awaited_slot = r->next_slot;
        r->next_slot++;
        next_value_pop(r);
    }
    broadcast(r);
}

uint64_t proposer_timer(struct replica *r)
{
    if (r->phase != PHASE_LEADING)
        return UINT64_MAX;
    uint64_t wake = r->sent_commit < r->chosen ? r->commit_at_usec : UINT64_MAX;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++) {
        struct peer *p = &r->peers[i];
        if (i == r->me || p->rto_at_usec == UINT64_MAX)
            continue;
        if (p->rto_at_usec <= r->now_usec) {
            uint32_t age = (uint32_t)((p->rto_usec - p->rto_usec / 8) >> 4);
            if (!peer_is_linked(r, i)) { /* when it is back it gets what is open then */
                p->rto_at_usec = r->now_usec + RTO_MAX_USEC / 10;
            } else if (resend(r, i, r->next_slot, age)) {
                p->rto_usec = 2 * p->rto_usec > RTO_MAX_USEC ? RTO_MAX_USEC : 2 * p->rto_usec;
                p->rto_at_usec = r->now_usec + p->rto_usec;
            } else {
                p->rto_at_usec = UINT64_MAX;
            }
        }
        if (p->rto_at_usec < wake)
            wake = p->rto_at_usec;
    }
    return wake;
}
