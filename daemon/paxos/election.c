/* Who leads: ballot leader election for partial connectivity, in its `happy` form, over lossy one-way datagrams.
 *
 * A peer counts only while it is linked: heard within E, and known to hear this replica. Nobody passes on another's
 * ballot, and nobody bids because of a NACK: both make rivals that cannot reach each other depose each other for ever.
 * Source: Ng, Haridi, Carbone, "Omni-Paxos" (EuroSys 2023), and the `happy` flag of its authors' later code; rules 1 to
 * 4 in mpaxos(7). */
#include <string.h>

#include "paxos/core.h"

enum {
    DISK_STALL_ELECTIONS = 10, /* in E: a sync that takes longer makes a replica unable     */
    LEAD_STALL_ELECTIONS = 10, /* so does a commit that stands still while work waits       */
};

static bool is_fresh(const struct replica *r, uint64_t then_usec)
{
    return then_usec != 0 && r->now_usec - then_usec <= r->election_usec;
}

bool peer_is_linked(const struct replica *r, uint32_t member)
{
    const struct peer *p = &r->peers[member];
    return is_fresh(r, p->heard_usec) && is_fresh(r, p->echoed_usec);
}

uint32_t linked_voters(const struct replica *r)
{
    uint32_t set = acceptor_is_silent(r) ? 0 : UINT32_C(1) << r->me;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++)
        if (i != r->me && !r->peers[i].silent && peer_is_linked(r, i))
            set |= UINT32_C(1) << i;
    return set;
}

/* A load that outruns the journal's allocation ahead leaves no room for a moment, which is no full disk: a leader that
 * called itself unable then would lose the leadership to whoever looks just then, again and again. */
static bool lacks_space(const struct replica *r, uint32_t elections)
{
    return !r->space && r->now_usec - r->no_space_since_usec > elections * r->election_usec;
}

static bool is_disk_stalled(const struct replica *r)
{
    return r->undurable_since_usec != 0 &&
           r->now_usec - r->undurable_since_usec > DISK_STALL_ELECTIONS * r->election_usec;
}

static bool is_able(const struct replica *r)
{
    return !acceptor_is_silent(r) && !lacks_space(r, 1) && !is_disk_stalled(r) &&
           configuration_is_majority(config_at(r), linked_voters(r)) && r->now_usec >= r->muted_until_usec &&
           r->now_usec >= r->unable_until_usec;
}

int election_leader(const struct replica *r)
{
    int best = -1;
    if (r->phase == PHASE_LEADING)
        return (int)r->me;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++) {
        const struct peer *p = &r->peers[i];
        if (i != r->me && p->leading && p->bid.round != 0 && peer_is_linked(r, i) &&
            (best < 0 || ballot_compare(p->bid, r->peers[best].bid) > 0))
            best = (int)i;
    }
    return best;
}

/* Two may bid at once that cannot hear each other. The lower one's followers stay content with it, but only those of
 * the highest ballot lead on to a leader; any other choice can end in two replicas that send to each other. A leader
 * that is not content itself is passed by for a content follower of a higher ballot. */
int election_route(const struct replica *r)
{
    int leader = election_leader(r), best = leader;
    if (leader >= 0 && ((uint32_t)leader == r->me || r->peers[leader].happy))
        return leader;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++)
        if (i != r->me && r->peers[i].happy && peer_is_linked(r, i) &&
            (best < 0 || ballot_compare(r->peers[i].followed, r->peers[best].followed) > 0))
            best = (int)i;
    return best;
}

struct ballot election_route_ballot(const struct replica *r, int route)
{
    if (route < 0)
        return (struct ballot){0};
    const struct peer *p = &r->peers[route];
    if ((uint32_t)route == r->me)
        return r->bid;
    if (!p->leading && ballot_is_owned_by(r, p->followed, (uint32_t)route)) /* it only bids: what it is sent is lost */
        return (struct ballot){0};
    return p->leading ? p->bid : p->followed;
}

/* --- heartbeats --- */

void election_beat(struct replica *r)
{
    struct message *m = outgoing_push(r, MESSAGE_HEARTBEAT, REPLICA_ID_NONE, 0);
    r->beat_at_usec = r->now_usec + r->config.heartbeat_usec;
    if (m == NULL)
        return;
    struct heartbeat *h = &m->heartbeat;
    r->beat_seq++;
    r->beats_usec[r->beat_seq % SENT_BEATS_MAX] = r->now_usec;
    r->bid_shown = r->bid_seq <= r->durable_seq; /* a bid is announced only once it cannot be used again */
    h->ballot = r->bid_shown ? r->bid : (struct ballot){0};
    h->followed = r->followed;
    h->leading = r->phase == PHASE_LEADING;
    h->happy = r->happy;
    /* Who counts on a vote that waits for a disk calls itself able, and nobody bids whose votes would come. */
    h->silent = acceptor_is_silent(r) || is_disk_stalled(r) || lacks_space(r, DISK_STALL_ELECTIONS);
    h->seq = r->beat_seq;
    h->commit = r->chosen;
    h->chain = r->chain;
    h->space_bytes = r->config.space_bytes;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++) {
        const struct peer *p = &r->peers[i];
        if (i != r->me && is_fresh(r, p->heard_usec))
            h->echoes[h->n_echoes++] = (struct echo){
                .id = member_id(r, i), .seq = p->heard_seq, .age_usec = (uint32_t)(r->now_usec - p->heard_usec)};
    }
    r->sent_commit = h->leading ? r->chosen : r->sent_commit;
}

static void take_echo(struct replica *r, struct peer *p, const struct heartbeat *h)
{
    for (uint32_t i = 0; i < h->n_echoes; i++) {
        uint64_t seq = h->echoes[i].seq, age = h->echoes[i].age_usec;
        if (h->echoes[i].id != r->identity.id || seq > r->beat_seq || r->beat_seq - seq >= SENT_BEATS_MAX)
            continue;
        uint64_t sent_usec = r->beats_usec[seq % SENT_BEATS_MAX];
        if (sent_usec <= p->echoed_usec)
            continue;
        p->echoed_usec = sent_usec;
        if (r->now_usec - sent_usec >= age) {
            uint64_t rtt = r->now_usec - sent_usec - age;
            p->link_rtt_usec = p->link_rtt_usec == 0 ? rtt : (7 * p->link_rtt_usec + rtt) / 8;
        }
    }
}

void election_heartbeat(struct replica *r, uint32_t from, const struct heartbeat *h)
{
    struct peer *p = &r->peers[from];
    /* Late and doubled ones change nothing. A peer that was started again may count from below. */
    if ((h->seq <= p->heard_seq && is_fresh(r, p->heard_usec)) ||
        (h->ballot.round != 0 && !ballot_is_owned_by(r, h->ballot, from))) {
        r->counters.ignored_messages++;
        return;
    }
    bool news =
        p->leading != h->leading || p->happy != h->happy || p->silent != h->silent || !ballot_equal(p->bid, h->ballot);
    p->heard_usec = r->now_usec;
    p->heard_seq = h->seq;
    p->bid = h->ballot;
    p->followed = h->followed;
    p->leading = h->leading;
    p->happy = h->happy;
    p->silent = h->silent;
    p->chosen = h->commit;
    take_echo(r, p, h);
    if (news)
        r->tick_at_usec = r->now_usec;
    if (h->commit == r->chosen && !hash_equal(&h->chain, &r->chain)) {
        r->diverged = true; /* the logs differ: vote no more, and say so */
        if (r->phase != PHASE_NONE)
            proposer_stop(r);
        return;
    }
    if (h->leading)
        learner_commit(r, from, h->ballot, h->commit);
    else
        learner_hint(r, from, h->commit);
}

/* --- the rules --- */

static uint64_t round_max(uint64_t a, struct ballot b)
{
    return b.round > a ? b.round : a;
}

static void bid(struct replica *r)
{
    uint64_t round = round_max(round_max(r->nack_round, r->followed), r->promised);
    for (uint32_t i = 0; i < config_at(r)->n_members; i++)
        round = round_max(round_max(round, r->peers[i].bid), r->peers[i].followed);
    r->bid_at_usec = UINT64_MAX;
    if (round == UINT64_MAX || !r->space || !records_have_room(r, 2))
        return;
    struct ballot b = {.round = round + 1, .id = r->identity.id, .gen = config_at(r)->members[r->me].gen};
    acceptor_promise(r, b); /* stops an older leadership of its own */
    r->bid = b;
    r->bid_seq = r->promise_seq;
    r->followed = b;
    r->happy = true;
    r->counters.bids++;
    proposer_begin(r);
    election_beat(r);
}

static void follow_highest(struct replica *r)
{
    struct ballot highest = r->followed;
    if (ballot_compare(r->promised, highest) > 0)
        highest = r->promised;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++)
        if (i != r->me && r->peers[i].bid.round != 0 && peer_is_linked(r, i) &&
            ballot_compare(r->peers[i].bid, highest) > 0)
            highest = r->peers[i].bid;
    r->followed = highest;
}

static bool judge_happy(const struct replica *r, bool able)
{
    uint32_t followers = UINT32_C(1) << r->me;
    bool own = r->bid.round != 0 && ballot_equal(r->followed, r->bid), higher_happy = false;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++) {
        const struct peer *p = &r->peers[i];
        if (i == r->me || !peer_is_linked(r, i))
            continue;
        if (!own && r->followed.round != 0 && ballot_equal(p->bid, r->followed))
            return p->happy;
        if (ballot_compare(p->followed, r->followed) <= 0)
            followers |= p->silent ? 0 : UINT32_C(1) << i;
        else if (p->happy)
            higher_happy = true;
    }
    return own && able && (configuration_is_majority(config_at(r), followers) || higher_happy);
}

/* A leader that a majority left for a higher ballot, whose follower is happy, does not bid: it is happy itself, or not
 * able; but it chooses nothing any more, and its clients are served by way of that follower. */
static bool leads_in_name_only(const struct replica *r)
{
    uint32_t followers = UINT32_C(1) << r->me;
    bool higher_happy = false;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++) {
        const struct peer *p = &r->peers[i];
        if (i == r->me || !peer_is_linked(r, i))
            continue;
        if (ballot_compare(p->followed, r->bid) <= 0)
            followers |= p->silent ? 0 : UINT32_C(1) << i;
        else if (p->happy)
            higher_happy = true;
    }
    return r->phase == PHASE_LEADING && higher_happy && !configuration_is_majority(config_at(r), followers);
}

static bool someone_is_happy(const struct replica *r)
{
    for (uint32_t i = 0; i < config_at(r)->n_members; i++)
        if (i != r->me && r->peers[i].happy && peer_is_linked(r, i))
            return true;
    return false;
}

/* A leader whose commit stands still while work waits, or whom nobody confirms, gives way for a while, and so does a
 * bidder whose promises stop coming: a majority may follow it whose disks hang; or whoever reported a value to it is
 * gone, with the only body that it can ask for, which a later phase 1 may do without. It never bars others. */
static void judge_stalled_lead(struct replica *r)
{
    uint64_t limit_usec = LEAD_STALL_ELECTIONS * r->election_usec;
    bool waits = r->next_slot > r->chosen + 1 || r->barrier_slot == 0 || intake_peek(r) != NULL;
    if (!waits)
        r->commit_moved_usec = r->now_usec; /* an idle leader's stands still, too: that counts from the next work on */
    bool stands = (waits && r->now_usec - r->commit_moved_usec >= limit_usec) ||
                  (r->confirm_open && r->now_usec - r->confirm_since_usec >= limit_usec);
    if (((stands && r->phase == PHASE_LEADING) || r->phase == PHASE_PREPARING) &&
        r->now_usec - r->led_since_usec >= limit_usec && r->now_usec >= r->unable_until_usec) {
        r->unable_until_usec = r->now_usec + 2 * r->election_usec;
        r->led_since_usec = r->now_usec;
    }
}

/* Whether this replica accepted something under its leader above the slot behind `commit`. */
static bool has_accepted_above(const struct replica *r, slot_t commit)
{
    for (slot_t s = commit + 2; s <= r->accepted_max; s++) {
        const struct cell *c = window_find(&r->window, s);
        if (c != NULL && c->value != NULL && ballot_equal(c->ballot, r->followed))
            return true;
    }
    return false;
}

/* A hole that its leader left: it stands just above a commit that has not moved for long, and this replica lacks it,
 * but has what was accepted above it, for as long: after an idle time, a datagram that was lost is no hole yet. A
 * laggard or a slow disk shows the leader's commit moving, so it does not bid here. The leader itself waits longer,
 * until it has given way once: perhaps no follower is able to bid, or there is none. */
static bool sees_hole(struct replica *r)
{
    int leader = election_leader(r);
    if (leader < 0)
        return false;
    bool own = (uint32_t)leader == r->me;
    uint64_t wait = own && config_at(r)->n_members > 1 ? LEAD_STALL_ELECTIONS + 4 : 2;
    slot_t commit = own ? r->chosen : r->peers[leader].chosen;
    bool lacks_body = own && r->barrier_slot == 0; /* of a value that was reported: another phase 1 may do without */
    if (!ballot_equal(r->stall_ballot, r->followed) || r->stall_commit != commit ||
        (!lacks_body && !has_accepted_above(r, commit))) {
        r->stall_ballot = r->followed;
        r->stall_commit = commit;
        r->stall_since_usec = r->now_usec;
        r->stall_wait_usec = wait * r->election_usec + prng_below(&r->prng, r->election_usec);
        return false;
    }
    const struct cell *hole = window_find(&r->window, commit + 1);
    return r->now_usec - r->stall_since_usec >= r->stall_wait_usec && commit >= r->chosen &&
           (hole == NULL || hole->value == NULL);
}

static void note_leader(struct replica *r)
{
    int leader = election_leader(r), route = election_route(r);
    struct ballot b = election_route_ballot(r, leader);
    if (leader >= 0 && !ballot_equal(b, r->shown_leader)) {
        r->shown_leader = b;
        r->leader_since_usec = r->now_usec;
    }
    bool quorum = route == (int)r->me ? r->happy : route >= 0 && r->peers[route].happy;
    if (quorum != r->quorum) {
        r->quorum = quorum;
        r->quorum_since_usec = r->now_usec;
    }
}

static void tick(struct replica *r)
{
    bool was_happy = r->happy;
    judge_stalled_lead(r);
    bool able = is_able(r);
    follow_highest(r);
    r->happy = judge_happy(r, able);
    if (!leads_in_name_only(r))
        r->left_since_usec = 0;
    else if (r->left_since_usec == 0)
        r->left_since_usec = r->now_usec;
    bool is_left = r->left_since_usec != 0 && r->now_usec - r->left_since_usec >= r->election_usec;
    if (r->phase != PHASE_NONE && (is_left || !ballot_equal(r->followed, r->bid)))
        proposer_stop(r);
    if (r->happy || !able || someone_is_happy(r))
        r->bid_at_usec = UINT64_MAX;
    else if (r->bid_at_usec == UINT64_MAX)
        r->bid_at_usec = r->now_usec + prng_below(&r->prng, r->election_usec / 2);
    if (able && (r->bid_at_usec <= r->now_usec || (r->happy && sees_hole(r))))
        bid(r);
    if (was_happy && !r->happy && r->phase == PHASE_LEADING)
        r->beat_at_usec = r->now_usec;
    note_leader(r);
}

/* --- handing over --- */

static void send_transfer(struct replica *r)
{
    struct message *m = outgoing_push(r, MESSAGE_TRANSFER, r->transfer_target, 0);
    if (m != NULL)
        m->transfer = (struct transfer){.ballot = r->bid, .target = r->transfer_target};
}

/* A TRANSFER with the leader's own ballot asks it to hand over. */
static void ask_hand_over(struct replica *r, replica_id_t target)
{
    int leader = election_leader(r);
    struct message *m = leader < 0 ? NULL : outgoing_push(r, MESSAGE_TRANSFER, member_id(r, (uint32_t)leader), 0);
    if (m != NULL)
        m->transfer = (struct transfer){.ballot = r->peers[leader].bid, .target = target};
}

/* The leader mutes itself, so that another may bid; it goes on until that one's ballot reaches it. */
void election_hand_over(struct replica *r, replica_id_t target)
{
    int best = target == REPLICA_ID_NONE ? -1 : configuration_find(config_at(r), target);
    if (r->phase != PHASE_LEADING) {
        ask_hand_over(r, target);
        return;
    }
    for (uint32_t i = 0; i < config_at(r)->n_members && target == REPLICA_ID_NONE; i++)
        if (i != r->me && !r->peers[i].silent && peer_is_linked(r, i) &&
            (best < 0 || r->peers[i].chosen > r->peers[best].chosen))
            best = (int)i;
    if (best < 0 || best == (int)r->me || !peer_is_linked(r, (uint32_t)best))
        return;
    r->transfer_target = member_id(r, (uint32_t)best);
    r->muted_until_usec = r->now_usec + 2 * r->election_usec;
    send_transfer(r);
    r->tick_at_usec = r->now_usec;
}

void election_transfer(struct replica *r, uint32_t from, const struct transfer *m)
{
    if (r->phase == PHASE_LEADING && ballot_equal(m->ballot, r->bid)) {
        election_hand_over(r, m->target);
        return;
    }
    follow_highest(r);
    if (m->target != r->identity.id || !ballot_is_owned_by(r, m->ballot, from) ||
        !ballot_equal(m->ballot, r->followed) || !is_able(r)) {
        r->counters.ignored_messages++;
        return;
    }
    bid(r);
}

uint64_t election_timer(struct replica *r)
{
    if (r->tick_at_usec <= r->now_usec || r->bid_at_usec <= r->now_usec) {
        tick(r);
        r->tick_at_usec = r->now_usec + r->config.heartbeat_usec / 2;
    }
    bool bid_is_new = r->bid.round != 0 && !r->bid_shown && r->bid_seq <= r->durable_seq;
    if (r->beat_at_usec <= r->now_usec || bid_is_new) {
        election_beat(r);
        if (r->chosen > r->commit_recorded && records_have_room(r, 1))
            learner_record_commit(r);
        if (r->now_usec < r->muted_until_usec && r->phase == PHASE_LEADING && r->transfer_target != REPLICA_ID_NONE)
            send_transfer(r);
    }
    uint64_t wake = r->beat_at_usec < r->tick_at_usec ? r->beat_at_usec : r->tick_at_usec;
    return r->bid_at_usec < wake ? r->bid_at_usec : wake;
}
