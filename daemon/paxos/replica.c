/* The step: dispatches one event, then does what is due. */
#include "paxos/replica.h"

#include <string.h>

#include "paxos/checkpoint.h"
#include "paxos/core.h"

static void step_begin(struct replica *r, uint64_t now_usec)
{
    if (now_usec > r->now_usec)
        r->now_usec = now_usec;
    r->n_records = r->n_outgoing = r->n_entries = r->n_reports = r->n_applied = r->n_outcomes = r->n_recorded = 0;
    r->fetch_wanted = (struct fetch_request){0};
    r->install_from = REPLICA_ID_NONE;
    r->released = NULL;
    r->again = false;
    if (r->notes_told > 0) {
        r->n_notes -= r->notes_told;
        memmove(r->notes, r->notes + r->notes_told, r->n_notes * sizeof(*r->notes));
        r->notes_told = 0;
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What is due, in the order in which one thing makes the next possible. */
static uint64_t step_timers(struct replica *r)
{
    uint64_t wake = start_timer(r);
    if (!r->member)
        return wake;
    wake = earlier(wake, election_timer(r));
    wake = earlier(wake, phase1_timer(r));
    wake = earlier(wake, proposer_timer(r));
    wake = earlier(wake, learner_timer(r));
    wake = earlier(wake, origin_timer(r));
    return earlier(wake, confirm_timer(r));
}

static void step_pumps(struct replica *r)
{
    if (!r->member)
        return;
    phase1_pump(r);
    origin_pump(r);
    proposer_pump(r);
    confirm_pump(r);
}

static void step_end(struct replica *r, struct effects *ret)
{
    step_pumps(r);
    uint64_t wake = step_timers(r);
    step_pumps(r);
    *ret = (struct effects){
        .records = r->records,
        .n_records = r->n_records,
        .records_seq = r->seq,
        .outgoing = r->outgoing,
        .n_outgoing = r->n_outgoing,
        .applied = r->applied,
        .n_applied = r->n_applied,
        .outcomes = r->outcomes,
        .n_outcomes = r->n_outcomes,
        .fetch = r->fetch_wanted,
        .install_from = r->install_from,
        .released = r->released,
        .wake_usec = r->again ? r->now_usec : wake,
    };
}

static bool life_is_current(const struct replica *r, uint32_t from, const struct message *m)
{
    return m->from_life == config_at(r)->members[from].life;
}

static void step_vote_message(struct replica *r, uint32_t from, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_PREPARE:
        acceptor_prepare(r, from, &m->prepare);
        break;
    case MESSAGE_PROMISE:
        proposer_promise(r, from, &m->promise);
        break;
    case MESSAGE_ACCEPT:
        acceptor_accept(r, from, &m->accept);
        break;
    case MESSAGE_ACCEPTED:
        proposer_accepted(r, from, &m->accepted);
        break;
    case MESSAGE_NACK:
        proposer_nack(r, from, &m->nack);
        break;
    case MESSAGE_BODY:
        proposer_body(r, from, &m->body);
        break;
    case MESSAGE_HEARTBEAT:
        election_heartbeat(r, from, &m->heartbeat);
        break;
    default:
        r->counters.ignored_messages++;
    }
}

static void step_message(struct replica *r, const struct message *m)
{
    int from = configuration_find(config_at(r), m->from);
    if (from < 0 || (uint32_t)from == r->me) {
        r->counters.ignored_messages++;
        return;
    }
    uint32_t f = (uint32_t)from;
    if (m->type == MESSAGE_STATE) {
        start_state(r, f, m->from_life, &m->state);
        return;
    }
    if (!r->member || !life_is_current(r, f, m)) {
        r->counters.ignored_messages++;
        return;
    }
    switch (m->type) {
    case MESSAGE_FETCH:
        learner_fetch(r, f, &m->fetch);
        break;
    case MESSAGE_CHOSEN:
        learner_chosen(r, f, &m->chosen);
        break;
    case MESSAGE_SUBMIT:
        intake_submit(r, f, &m->submit);
        break;
    case MESSAGE_POSITION:
        confirm_asked(r, f, &m->position);
        break;
    case MESSAGE_ANSWER:
        confirm_answered(r, f, &m->position);
        break;
    case MESSAGE_CONFIRM:
        confirm_confirm(r, f, &m->confirm);
        break;
    case MESSAGE_CONFIRMED:
        confirm_confirmed(r, f, &m->confirm);
        break;
    case MESSAGE_TRANSFER:
        election_transfer(r, f, &m->transfer);
        break;
    default:
        step_vote_message(r, f, m);
    }
}

static void step_durable(struct replica *r, uint64_t seq)
{
    invariant(seq <= r->seq, seq, r->seq);
    if (seq <= r->durable_seq)
        return;
    r->durable_seq = seq;
    r->undurable_since_usec = seq == r->seq ? 0 : r->now_usec;
    if (!r->member)
        return;
    acceptor_send_acks(r);
    proposer_durable(r);
}

static void step_skip(struct replica *r, const slot_t *slots, size_t n, bool only)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < r->n_skips && !only; k++)
        if (r->skips[k] > r->chosen)
            r->skips[kept++] = r->skips[k];
    r->n_skips = kept;
    for (size_t i = 0; i < n && r->n_skips < SKIPS_MAX; i++) {
        bool known = slots[i] <= r->chosen;
        for (uint32_t k = 0; k < r->n_skips; k++)
            known = known || r->skips[k] == slots[i];
        if (!known)
            r->skips[r->n_skips++] = slots[i];
    }
}

/* The checkpoint, loaded already, takes the place of all slots up to its own. */
static void step_install(struct replica *r, const struct checkpoint_reader *c)
{
    invariant(c->stage == CHECKPOINT_WHOLE && c->slot > r->chosen, c->slot, r->chosen);
    /* A proposal below may have been decided otherwise: a dead bid's heartbeat with the new prefix would make it look
     * chosen. */
    if (r->phase != PHASE_NONE)
        proposer_stop(r);
    learner_install(r, c);
    origin_renumber(r);
    learner_advance(r);
    r->counters.installs++;
}

void replica_step(struct replica *r, const struct event *e, struct effects *ret)
{
    step_begin(r, e->now_usec);
    switch (e->type) {
    case EVENT_MESSAGE:
        step_message(r, e->message);
        break;
    case EVENT_DURABLE:
        step_durable(r, e->durable_seq);
        break;
    case EVENT_TIMER:
        break;
    case EVENT_SUBMIT:
        origin_submit(r, e->submissions, e->n_submissions);
        break;
    case EVENT_CANCEL:
        origin_cancel(r, e->cookie);
        confirm_cancel(r, e->cookie);
        break;
    case EVENT_FETCHED:
        learner_fetched(r, e);
        break;
    case EVENT_POSITION:
        confirm_position(r, e->cookie);
        break;
    case EVENT_SKIP:
        step_skip(r, e->slots, e->n_slots, e->skips_only);
        break;
    case EVENT_BOOTSTRAP:
        start_bootstrap(r);
        break;
    case EVENT_TRANSFER:
        election_hand_over(r, e->target);
        break;
    case EVENT_SPACE:
        if (r->space && !e->space)
            r->no_space_since_usec = r->now_usec;
        r->space = e->space;
        break;
    case EVENT_TRIM:
        proposer_trim(r, e->trim);
        break;
    case EVENT_COMMIT:
        learner_record_commit(r);
        break;
    case EVENT_INSTALL:
        step_install(r, e->checkpoint);
        break;
    }
    step_end(r, ret);
}

void replica_start(struct replica *r, uint64_t now_usec, struct effects *ret)
{
    step_begin(r, now_usec);
    r->durable_seq = r->seq;
    r->undurable_since_usec = 0;
    r->followed = r->promised;
    learner_advance(r); /* over what was learned after the last COMMIT */
    r->known_commit = r->chosen;
    r->beat_at_usec = r->tick_at_usec = r->state_at_usec = r->now_usec;
    r->commit_moved_usec = r->quorum_since_usec = r->now_usec;
    r->beat_seq = r->now_usec; /* above those of the last run on this machine */
    r->state_nonce = r->position_nonce = prng_next(&r->prng) | 1;
    step_end(r, ret);
}
