/* Phase 1: a bid becomes leadership. Every slot above the chosen prefix is asked for, page by page; what any acceptor
 * reports is proposed again, holes become no-ops, then comes a barrier, then clients. Source: Lamport 2001; mpaxos(7).
 */
#include <string.h>

#include "paxos/core.h"

static void forget_reports(struct replica *r)
{
    for (uint32_t i = 0; i < r->window.n_cells; i++) {
        struct cell *c = &r->window.cells[i];
        value_unref(r, c->adopted);
        c->adopted = NULL;
        c->reported = c->report_chosen = false;
        c->reporters = 0;
        c->fetched_usec = 0;
    }
}

/* The value of the highest ballot wins, whichever order the reports come in; known chosen is above every ballot. */
static void report(struct replica *r, uint32_t from, const struct promised_entry *e)
{
    struct cell *c = cell_take(r, e->slot);
    int order = !c->reported ? 1 : ballot_compare(e->ballot, c->report_ballot);
    if (c->reported && (c->report_chosen || e->chosen))
        order = c->report_chosen ? (e->chosen ? 0 : -1) : 1;
    if (e->slot > r->phase1_until)
        r->phase1_until = e->slot;
    /* Whoever has this very value can give its body, under whichever ballot: the others may be gone by then. */
    bool same = c->reported && hash_equal(&c->report_hash, &e->hash);
    if (order < 0 && !same)
        return;
    if (order > 0) {
        c->reported = true;
        c->report_chosen = e->chosen;
        c->report_ballot = e->ballot;
        c->report_hash = e->hash;
        c->reporters = same ? c->reporters : 0;
    }
    c->reporters |= UINT32_C(1) << from;
}

static void report_own(struct replica *r)
{
    for (slot_t s = r->chosen + 1; s <= r->accepted_max; s++) {
        const struct cell *c = window_find(&r->window, s);
        if (c != NULL && c->value != NULL)
            report(r, r->me,
                   &(struct promised_entry){.slot = s,
                                            .ballot = c->ballot,
                                            .chosen = c->chosen,
                                            .size = c->value->size,
                                            .hash = c->value->hash});
    }
}

static void send_prepare(struct replica *r, uint32_t to)
{
    struct peer *p = &r->peers[to];
    struct message *m = outgoing_push(r, MESSAGE_PREPARE, member_id(r, to), r->bid_seq);
    if (m == NULL)
        return;
    uint32_t page = p->page_slots == 0 ? 0 : (uint32_t)((p->covered_until + 1 - r->phase1_from) / p->page_slots);
    m->prepare = (struct prepare){.ballot = r->bid, .from = r->phase1_from, .page = page};
    p->burst_last = page + PROMISE_BURST - 1;
    r->counters.prepares++;
}

void proposer_begin(struct replica *r)
{
    invariant(r->phase == PHASE_NONE && ballot_equal(r->bid, r->promised), r->bid.round, r->promised.round);
    r->phase = PHASE_PREPARING;
    r->phase1_from = r->chosen + 1;
    r->phase1_until = r->chosen;
    r->barrier_slot = 0;
    r->flight_bytes = 0;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++) {
        r->peers[i].complete = false;
        r->peers[i].covered_until = r->chosen;
        r->peers[i].omitted_until = 0;
        r->peers[i].page_slots = 0;
    }
    r->prepare_at_usec = r->led_since_usec = r->now_usec;
}

void proposer_stop(struct replica *r)
{
    r->phase = PHASE_NONE;
    r->bid = (struct ballot){0};
    r->barrier_slot = 0;
    r->flight_bytes = 0;
    r->n_skipped_open = 0;
    value_unref(r, r->trim);
    r->trim = NULL;
    forget_reports(r);
    intake_clear(r);
    confirm_stop(r);
}

void proposer_promise(struct replica *r, uint32_t from, const struct promise *m)
{
    struct peer *p = &r->peers[from];
    /* Only replies to this very ballot and prefix count. */
    if (r->phase != PHASE_PREPARING || !ballot_equal(m->ballot, r->bid) || m->from != r->phase1_from || p->complete ||
        m->page_slots == 0 || (p->page_slots != 0 && p->page_slots != m->page_slots)) {
        r->counters.ignored_messages++;
        return;
    }
    slot_t first = m->from + (slot_t)m->page * m->page_slots, last = first + m->page_slots - 1;
    if (first != p->covered_until + 1)
        return; /* a page before it is missing, or this one is here */
    for (uint32_t i = 0; i < m->n_entries; i++) {
        slot_t s = m->entries[i].slot;
        if (s < first || s > last || s > r->chosen + r->window.n_cells)
            return; /* first catch up to the prefix that it reports, then ask for this page again */
    }
    learner_hint(r, from, m->chosen);
    if (m->chosen > p->omitted_until)
        p->omitted_until = m->chosen;
    for (uint32_t i = 0; i < m->n_entries; i++)
        if (m->entries[i].slot > r->chosen)
            report(r, from, &m->entries[i]);
    p->page_slots = m->page_slots;
    p->covered_until = last;
    p->complete = m->last;
    r->led_since_usec = r->now_usec; /* there are only so many pages: this bid is getting on */
    if (!p->complete && m->page == p->burst_last)
        send_prepare(r, from);
}

/* Removes one acceptor's promise, and nothing more: a NACK never stops the work with the others, and never starts a
 * bid. */
void proposer_nack(struct replica *r, uint32_t from, const struct nack *m)
{
    if (m->promised.round > r->nack_round)
        r->nack_round = m->promised.round;
    if (r->phase == PHASE_PREPARING && ballot_equal(m->rejected, r->bid)) {
        r->peers[from].complete = false;
        r->peers[from].covered_until = r->phase1_from - 1;
        r->peers[from].page_slots = 0;
    }
}

void proposer_body(struct replica *r, uint32_t from, const struct entry *e)
{
    (void)from;
    struct cell *c = r->phase == PHASE_LEADING ? window_find(&r->window, e->slot) : NULL;
    if (c == NULL || !c->reported || c->adopted != NULL || e->value == NULL || e->slot < r->adopt_next ||
        !hash_equal(&e->value->hash, &c->report_hash))
        return;
    c->adopted = value_ref(e->value);
}

/* Of those who promised, whoever left out slots as chosen that are not learned yet does not count yet: they need not be
 * in any page. Others may do without it, since it may be gone before it told them. */
static bool majority_promised(const struct replica *r)
{
    uint32_t set = r->bid_seq <= r->durable_seq ? UINT32_C(1) << r->me : 0;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++)
        if (i != r->me && r->peers[i].complete && r->peers[i].omitted_until <= r->chosen)
            set |= UINT32_C(1) << i;
    return configuration_is_majority(config_at(r), set);
}

static void lead(struct replica *r)
{
    report_own(r);
    r->phase = PHASE_LEADING;
    r->adopt_next = r->next_slot = r->self_next = r->send_next = r->chosen + 1;
    if (r->phase1_until < r->chosen)
        r->phase1_until = r->chosen;
    r->sent_commit = 0;
    r->led_since_usec = r->commit_moved_usec = r->now_usec;
    r->counters.leaderships++;
    r->tick_at_usec = r->now_usec; /* what it tells of leader and quorum follows at once, as with its followers */
    election_beat(r);
}

/* The value to propose for a slot that phase 1 covers; NULL while its body is still with the reporters. */
static struct value *adopted_value(const struct replica *r, slot_t slot)
{
    const struct cell *c = window_find(&r->window, slot);
    if (c == NULL || !c->reported)
        return r->noop;
    if (c->value != NULL && hash_equal(&c->value->hash, &c->report_hash))
        return c->value;
    return c->adopted;
}

static void ask_bodies(struct replica *r)
{
    uint32_t asked = 0;
    for (slot_t s = r->adopt_next; s <= r->phase1_until && asked < BODIES_ASKED_MAX; s++) {
        struct cell *c = window_find(&r->window, s);
        if (s <= r->chosen || c == NULL || c->chosen || adopted_value(r, s) != NULL)
            continue;
        asked++;
        if (c->fetched_usec != 0 && r->now_usec - c->fetched_usec < r->config.heartbeat_usec / 2)
            continue;
        uint32_t n = set_count(c->reporters), set = c->reporters;
        for (uint64_t skip = prng_below(&r->prng, n); skip > 0; skip--)
            set &= set - 1;
        struct message *m = outgoing_push(r, MESSAGE_FETCH, member_id(r, (uint32_t)__builtin_ctz(set)), 0);
        if (m == NULL)
            return;
        m->fetch = (struct fetch){.by_hash = true,
                                  .from = s,
                                  .until = s,
                                  .ballot = c->report_ballot,
                                  .hash = c->report_hash,
                                  .bytes_max = FETCH_BYTES_MAX};
        c->fetched_usec = r->now_usec;
    }
}

static void adopt(struct replica *r)
{
    for (; r->adopt_next <= r->phase1_until && records_have_room(r, 2); r->adopt_next++) {
        slot_t s = r->adopt_next;
        const struct cell *c = window_find(&r->window, s);
        if (s > r->chosen && !(c != NULL && c->chosen)) {
            struct value *v = adopted_value(r, s);
            if (s > r->chosen + alpha(r) || v == NULL)
                break;
            proposer_propose(r, s, v);
            intake_proposed(r, v);
        } else if (c != NULL && s > r->chosen) {
            intake_proposed(r, c->value);
        }
        r->next_slot = s + 1;
    }
    if (r->adopt_next <= r->phase1_until)
        ask_bodies(r);
}

void phase1_pump(struct replica *r)
{
    if (r->phase == PHASE_PREPARING) {
        if (!majority_promised(r))
            return;
        lead(r);
    }
    if (r->phase != PHASE_LEADING || r->barrier_slot != 0 || !acceptor_may_vote(r))
        return;
    adopt(r);
    if (r->adopt_next <= r->phase1_until)
        return;
    slot_t s = (r->phase1_until > r->chosen ? r->phase1_until : r->chosen) + 1;
    if (s > r->chosen + alpha(r) || !records_have_room(r, 2))
        return;
    r->next_slot = s + 1;
    r->barrier_slot = s;
    proposer_propose(r, s, r->barrier);
    r->awaited_slot = s; /* nobody knows whose clients wait for what was adopted */
}

uint64_t phase1_timer(struct replica *r)
{
    if (r->phase == PHASE_LEADING && r->barrier_slot == 0)
        return r->now_usec + r->config.heartbeat_usec / 2;
    if (r->phase != PHASE_PREPARING || r->bid_seq > r->durable_seq) /* what a hung disk holds back must not pile up */
        return UINT64_MAX;
    if (r->prepare_at_usec <= r->now_usec) {
        for (uint32_t i = 0; i < config_at(r)->n_members; i++)
            if (i != r->me && !r->peers[i].complete)
                send_prepare(r, i);
        r->prepare_at_usec = r->now_usec + r->config.heartbeat_usec / 2;
    }
    return r->prepare_at_usec;
}
