/* Linearizable positions: the leader asks a majority whether it still leads, after the question arrived.
 *
 * One CONFIRM round at a time serves all questions that came before it; what comes while one is under way waits for the
 * next, since an answer to an older round says nothing about the time after it. */
#include <string.h>

#include "paxos/core.h"

enum { ASKED_HEARTBEATS = 20 }; /* so long a peer's question stands without being asked again */

static struct open_position *take(struct replica *r)
{
    for (uint32_t i = 0; i < POSITIONS_MAX && r->n_positions < POSITIONS_MAX; i++) {
        if (!r->positions[i].used) {
            r->positions[i] =
                (struct open_position){.used = true, .nonce = ++r->position_nonce, .asked_usec = r->now_usec};
            r->n_positions++;
            r->position_unsent = true;
            return &r->positions[i];
        }
    }
    return NULL;
}

static void drop(struct replica *r, struct open_position *p)
{
    p->used = false;
    r->n_positions--;
}

void confirm_position(struct replica *r, uint64_t cookie)
{
    struct open_position *p = r->member ? take(r) : NULL;
    if (p == NULL) {
        outcome_push(r, cookie, r->member ? OUTCOME_OVERLOADED : OUTCOME_NOT_STARTED, 0);
        return;
    }
    p->cookie = cookie;
    p->peer = r->identity.id;
}

void confirm_cancel(struct replica *r, uint64_t cookie)
{
    for (uint32_t i = 0; i < POSITIONS_MAX && r->n_positions > 0; i++)
        if (r->positions[i].used && r->positions[i].peer == r->identity.id && r->positions[i].cookie == cookie)
            drop(r, &r->positions[i]);
}

/* A replica that is not the leader asks on for a peer that has no link to it. */
void confirm_asked(struct replica *r, uint32_t from, const struct position *m)
{
    int leader = election_leader(r);
    if (leader < 0 || (uint32_t)leader == from)
        return;
    for (uint32_t i = 0; i < POSITIONS_MAX && r->n_positions > 0; i++) {
        struct open_position *p = &r->positions[i];
        if (p->used && p->peer == member_id(r, from) && p->peer_nonce == m->nonce) {
            p->asked_usec = r->now_usec;
            return;
        }
    }
    struct open_position *p = take(r);
    if (p == NULL)
        return;
    p->peer = member_id(r, from);
    p->peer_nonce = m->nonce;
}

void confirm_answered(struct replica *r, uint32_t from, const struct position *m)
{
    (void)from;
    for (uint32_t i = 0; i < POSITIONS_MAX && r->n_positions > 0; i++) {
        struct open_position *p = &r->positions[i];
        if (p->used && p->nonce == m->nonce && !p->answered) {
            p->answered = true;
            p->slot = m->slot;
        }
    }
}

void confirm_confirm(struct replica *r, uint32_t from, const struct confirm *m)
{
    int order = ballot_compare(m->ballot, r->promised);
    if (!acceptor_may_vote(r) || !ballot_is_owned_by(r, m->ballot, from) || order < 0 || !records_have_room(r, 1))
        return;
    if (order > 0) /* its PREPARE was lost, and there may be no ACCEPT for long */
        acceptor_promise(r, m->ballot);
    struct message *reply = outgoing_push(r, MESSAGE_CONFIRMED, member_id(r, from), r->promise_seq);
    if (reply != NULL)
        reply->confirm = *m;
}

void confirm_confirmed(struct replica *r, uint32_t from, const struct confirm *m)
{
    if (r->phase == PHASE_LEADING && r->confirm_open && ballot_equal(m->ballot, r->bid) && m->nonce == r->confirm_round)
        r->confirmed |= UINT32_C(1) << from;
}

void confirm_stop(struct replica *r)
{
    r->confirm_open = false;
    for (uint32_t i = 0; i < POSITIONS_MAX && r->n_positions > 0; i++) {
        struct open_position *p = &r->positions[i];
        if (p->used && p->peer != r->identity.id)
            drop(r, p);
        else if (p->used)
            p->round = 0;
    }
}

static void send_confirm(struct replica *r)
{
    struct message *m = outgoing_push(r, MESSAGE_CONFIRM, REPLICA_ID_NONE, 0);
    if (m != NULL)
        m->confirm = (struct confirm){.ballot = r->bid, .nonce = r->confirm_round};
    r->confirm_at_usec = r->now_usec + r->config.heartbeat_usec / 2;
}

static void begin_round(struct replica *r)
{
    bool waiting = false;
    for (uint32_t i = 0, left = r->n_positions; left > 0 && i < POSITIONS_MAX; i++) {
        struct open_position *p = &r->positions[i];
        left -= p->used;
        if (!p->used || p->answered)
            continue;
        if (p->round == 0) {
            p->slot = r->chosen;
            p->round = r->confirm_round + 1;
        }
        waiting = waiting || p->round > r->confirm_round;
    }
    if (r->confirm_open || !waiting)
        return;
    r->confirm_round++;
    r->confirm_open = true;
    r->confirm_since_usec = r->now_usec;
    r->confirmed = UINT32_C(1) << r->me;
    send_confirm(r);
}

/* The barrier's slot is answered at least: what an earlier leader acknowledged stands below it. */
static void end_round(struct replica *r)
{
    r->confirm_open = false;
    for (uint32_t i = 0; i < POSITIONS_MAX; i++) {
        struct open_position *p = &r->positions[i];
        if (!p->used || p->answered || p->round == 0 || p->round > r->confirm_round)
            continue;
        p->slot = p->slot < r->barrier_slot ? r->barrier_slot : p->slot;
        p->answered = true;
    }
}

static void settle(struct replica *r, struct open_position *p)
{
    bool local = p->peer == r->identity.id;
    if (!local && p->answered) {
        struct message *m = outgoing_push(r, MESSAGE_ANSWER, p->peer, 0);
        if (m != NULL)
            m->position = (struct position){.nonce = p->peer_nonce, .slot = p->slot};
        if (p->slot > r->awaited_slot)
            r->awaited_slot = p->slot; /* it waits until it has applied that much */
        drop(r, p);
    } else if (!local && r->now_usec - p->asked_usec > ASKED_HEARTBEATS * (uint64_t)r->config.heartbeat_usec) {
        drop(r, p);
    } else if (local && p->answered && p->slot <= r->chosen) {
        outcome_push(r, p->cookie, OUTCOME_POSITION, p->slot);
        drop(r, p);
    }
}

void confirm_pump(struct replica *r)
{
    if (r->n_positions == 0) {
        r->confirm_open = false;
        return;
    }
    if (r->phase == PHASE_LEADING) {
        begin_round(r);
        if (r->confirm_open && r->barrier_slot != 0 && r->barrier_slot <= r->chosen &&
            configuration_is_majority(config_at(r), r->confirmed)) {
            end_round(r);
            begin_round(r);
        }
    }
    for (uint32_t i = 0, left = r->n_positions; left > 0 && i < POSITIONS_MAX; i++) {
        if (!r->positions[i].used)
            continue;
        left--;
        settle(r, &r->positions[i]);
    }
}

/* Each question when it comes, all again at times: not all for each, which is a flood where many wait. */
static void forward(struct replica *r, uint32_t leader)
{
    for (uint32_t i = 0; i < POSITIONS_MAX; i++) {
        struct open_position *p = &r->positions[i];
        if (!p->used || p->answered || p->sent)
            continue;
        struct message *m = outgoing_push(r, MESSAGE_POSITION, member_id(r, leader), 0);
        if (m == NULL)
            return;
        m->position.nonce = p->nonce;
        p->sent = true;
    }
    r->position_unsent = false;
}

static void forward_again(struct replica *r)
{
    for (uint32_t i = 0; i < POSITIONS_MAX; i++)
        r->positions[i].sent = false;
    r->position_unsent = true;
    r->position_at_usec = r->now_usec + r->config.heartbeat_usec / 2;
}

uint64_t confirm_timer(struct replica *r)
{
    int leader = election_route(r);
    if (r->n_positions == 0)
        return UINT64_MAX;
    if (leader == (int)r->me) {
        if (r->confirm_open && r->confirm_at_usec <= r->now_usec)
            send_confirm(r);
        return r->confirm_open ? r->confirm_at_usec : r->now_usec + r->config.heartbeat_usec;
    }
    if (r->position_at_usec <= r->now_usec)
        forward_again(r);
    if (r->position_unsent && leader >= 0)
        forward(r, (uint32_t)leader);
    return r->position_at_usec;
}
