/* What a restart brings back, and what the outside may know. */
#include <string.h>

#include "paxos/checkpoint.h"
#include "paxos/core.h"

static void restore_promise(struct replica *r, struct ballot b)
{
    if (ballot_compare(b, r->promised) > 0)
        r->promised = b;
}

/* Only what the window can hold may follow: at run time a COMMIT record went before any ACCEPT that needed its room. */
static bool restore_value(struct replica *r, const struct record *record, bool chosen)
{
    slot_t slot = record->slot;
    if (slot <= r->restored) /* the checkpoint says what became of it */
        return true;
    if (record->value == NULL || slot <= r->chosen || slot > r->chosen + r->window.n_cells)
        return false;
    struct cell *c = cell_take(r, slot);
    if (c->chosen)
        return hash_equal(&c->value->hash, &record->value->hash);
    value_unref(r, c->value);
    c->value = value_ref(record->value);
    c->ballot = record->ballot;
    c->chosen = chosen;
    if (slot > r->accepted_max)
        r->accepted_max = slot;
    return true;
}

static bool restore_commit(struct replica *r, slot_t slot)
{
    if (slot <= r->restored)
        return true;
    if (slot < r->chosen || slot > r->chosen + r->window.n_cells)
        return false;
    for (slot_t s = r->chosen + 1; s <= slot; s++) {
        struct cell *c = window_find(&r->window, s);
        if (c == NULL || c->value == NULL)
            return false;
    }
    learner_restore_commit(r, slot);
    return true;
}

bool replica_restore_checkpoint(struct replica *r, const struct checkpoint_reader *c)
{
    if (c->stage != CHECKPOINT_WHOLE || !r->member || r->chosen != 0)
        return false;
    learner_install(r, c);
    r->restored = c->slot;
    return true;
}

bool replica_restore(struct replica *r, const struct record *record, struct effects *ret)
{
    r->n_records = r->n_applied = r->n_outcomes = 0;
    r->released = NULL;
    bool ok = true;
    switch (record->type) {
    case RECORD_PROMISE:
        restore_promise(r, record->ballot);
        break;
    case RECORD_ACCEPT:
        restore_promise(r, record->ballot);
        ok = restore_value(r, record, false);
        break;
    case RECORD_CHOSEN:
        ok = restore_value(r, record, true);
        break;
    case RECORD_COMMIT:
        ok = restore_commit(r, record->slot);
        break;
    case RECORD_IDENTITY: /* that a part of the journal is gone was found out while reading it */
        r->identity.status = record->identity->status;
        r->identity.silent_until = record->identity->silent_until;
        break;
    }
    *ret = (struct effects){.applied = r->applied,
                            .n_applied = r->n_applied,
                            .install_from = REPLICA_ID_NONE,
                            .released = r->released,
                            .wake_usec = UINT64_MAX};
    return ok && r->member;
}

slot_t replica_chosen(const struct replica *r)
{
    return r->chosen;
}

slot_t replica_first_kept(const struct replica *r)
{
    return r->first_kept;
}

const struct identity *replica_identity(const struct replica *r)
{
    return &r->identity;
}

static enum replica_role role(const struct replica *r)
{
    if (!r->member || acceptor_is_silent(r))
        return ROLE_LEARNER;
    if (r->phase == PHASE_LEADING)
        return ROLE_LEADER;
    return r->phase == PHASE_PREPARING ? ROLE_CANDIDATE : ROLE_FOLLOWER;
}

void replica_status(const struct replica *r, struct replica_status *ret)
{
    const struct configuration *c = config_at(r);
    int leader = r->member ? election_leader(r) : -1;
    memset(ret, 0, sizeof(*ret));
    ret->identity = r->identity.status;
    ret->role = role(r);
    ret->leader = leader < 0 ? REPLICA_ID_NONE : member_id(r, (uint32_t)leader);
    if (leader >= 0)
        ret->ballot = (uint32_t)leader == r->me ? r->bid : r->peers[leader].bid;
    ret->leader_since_usec = r->leader_since_usec;
    ret->quorum = r->quorum;
    ret->quorum_since_usec = r->quorum_since_usec;
    ret->n_linked = set_count(linked_voters(r));
    ret->n_needed = c->n_members / 2 + 1;
    ret->chosen = r->chosen;
    ret->accepted = r->accepted_max > r->chosen ? r->accepted_max : r->chosen;
    ret->first_kept = r->first_kept;
    ret->chain = r->chain;
    ret->last_time_usec = r->last_time_usec;
    ret->promised = r->promised;
    ret->lagging = r->known_commit > r->chosen + alpha(r);
    ret->diverged = r->diverged;
    ret->silent_until = r->chosen < r->identity.silent_until ? r->identity.silent_until : 0;
    ret->n_submissions = r->n_open;
    for (uint32_t i = 0; i < r->n_skips; i++)
        if (r->skips[i] > r->chosen)
            ret->skips[ret->n_skips++] = r->skips[i];
    for (uint32_t i = 0; i < c->n_members; i++) {
        const struct peer *p = &r->peers[i];
        if (i == r->me)
            continue;
        ret->peers[ret->n_peers++] = (struct peer_status){
            .id = c->members[i].id,
            .linked = peer_is_linked(r, i),
            .leading = (int)i == leader,
            .silent = p->silent,
            .differs = !r->member && p->reported && p->status <= IDENTITY_STARTING && p->bootstrap_differs,
            .chosen = p->chosen,
            .heard_usec = p->heard_usec,
            .rtt_usec = p->link_rtt_usec,
        };
    }
    ret->counters = r->counters;
}
