/* The first start of a cluster: EMPTY, STARTING, VOTER. A blank disk never votes by mistake.
 *
 * Why it is safe: a replica becomes a voter only once every member of slot 0 (with a life: those that took part) told
 * it that it holds the very same slot 0 on disk. A replica whose disk was wiped has a new life, which stands in no slot
 * 0, so it stays EMPTY among voters. mpaxos(7), "First start". */
#include <string.h>

#include "paxos/bytes.h"
#include "paxos/core.h"

static void identity_record(struct replica *r, enum identity_status status)
{
    r->identity.status = status;
    identity_install(r);
    struct identity *recorded = &r->recorded[r->n_recorded++];
    *recorded = r->identity;
    record_push(r, RECORD_IDENTITY)->identity = recorded;
    r->state_at_usec = r->now_usec;
}

/* The cluster id is random by the seed, and the lives make it more so. */
static void draw_cluster(struct replica *r)
{
    uint8_t text[CONFIGURATION_BYTES_MAX];
    struct hash128 key;
    put_u64(key.bytes, prng_next(&r->prng));
    put_u64(key.bytes + 8, prng_next(&r->prng));
    r->identity.cluster = hash_bytes(&key, text, configuration_encode(config_at(r), text));
}

static void found_cluster(struct replica *r)
{
    struct configuration *c = &r->identity.configuration;
    for (uint32_t i = 0; i < c->n_members; i++)
        c->members[i].life = i == r->me ? r->identity.life : r->peers[i].reported ? r->peers[i].life : 0;
    draw_cluster(r);
    identity_record(r, IDENTITY_STARTING);
}

static bool is_copyable(const struct replica *r, const struct configuration *c)
{
    const struct configuration *own = config_at(r);
    int me = configuration_find(c, r->identity.id);
    if (me < 0 || c->members[me].life != r->identity.life || c->n_members != own->n_members || c->alpha != own->alpha ||
        c->dedup_slots != own->dedup_slots || c->streams_max != own->streams_max)
        return false;
    for (uint32_t i = 0; i < c->n_members; i++)
        if (c->members[i].id != own->members[i].id)
            return false;
    return true;
}

static void copy_slot0(struct replica *r, const struct state *m)
{
    struct configuration c;
    if (m->slot0 == NULL || m->slot0->type != VALUE_CONFIG || hash_is_zero(&m->cluster) ||
        !configuration_decode(m->slot0->text, m->slot0->text_size, &c) || !is_copyable(r, &c))
        return;
    r->identity.configuration = c;
    r->identity.cluster = m->cluster;
    identity_record(r, IDENTITY_STARTING);
}

static void answer(struct replica *r, uint32_t to, const struct state *m)
{
    struct message *reply = outgoing_push(r, MESSAGE_STATE, member_id(r, to), r->seq);
    if (reply == NULL)
        return;
    reply->state = (struct state){.answer = m->nonce,
                                  .status = r->identity.status,
                                  .cluster = r->identity.cluster,
                                  .bootstrap = r->identity.bootstrap};
    if (m->status == IDENTITY_EMPTY && r->identity.status != IDENTITY_EMPTY)
        reply->state.slot0 = r->slot0; /* whose hash uses no key, as the asker has none */
}

/* Who was blank may have taken part in another start since: that counts for a while only. */
static bool is_out_of_date(const struct replica *r, const struct peer *p)
{
    return p->status == IDENTITY_EMPTY && r->now_usec - p->reported_usec > r->election_usec;
}

/* Peers that reported a status in [low, high], as a set. */
static uint32_t reporters(const struct replica *r, enum identity_status low, enum identity_status high,
                          bool same_cluster)
{
    uint32_t set = 0;
    for (uint32_t i = 0; i < config_at(r)->n_members; i++) {
        const struct peer *p = &r->peers[i];
        if (i != r->me && p->reported && p->status >= low && p->status <= high && !p->bootstrap_differs &&
            !is_out_of_date(r, p) && (!same_cluster || hash_equal(&p->cluster, &r->identity.cluster)))
            set |= UINT32_C(1) << i;
    }
    return set;
}

static void advance(struct replica *r)
{
    const struct configuration *c = config_at(r);
    uint32_t own = UINT32_C(1) << r->me, all = (uint32_t)((UINT64_C(1) << c->n_members) - 1);
    if (r->identity.status == IDENTITY_EMPTY && r->me == 0 &&
        (reporters(r, IDENTITY_EMPTY, IDENTITY_EMPTY, false) | own) == all)
        found_cluster(r);
    if (r->identity.status != IDENTITY_STARTING)
        return;
    uint32_t ready = reporters(r, IDENTITY_STARTING, IDENTITY_QUARANTINED, true) | own;
    for (uint32_t i = 0; i < c->n_members; i++)
        if (c->members[i].life == 0)
            ready |= UINT32_C(1) << i; /* never started, so it has no say yet */
    /* Whoever is a voter saw that all of them, this one too, hold slot 0 on disk; one may have lost its disk since. */
    if (ready == all || reporters(r, IDENTITY_VOTER, IDENTITY_QUARANTINED, true) != 0)
        identity_record(r, IDENTITY_VOTER);
    if (r->member)
        r->beat_at_usec = r->tick_at_usec = r->now_usec;
}

void start_state(struct replica *r, uint32_t from, uint64_t from_life, const struct state *m)
{
    struct peer *p = &r->peers[from];
    if (!r->member)
        p->heard_usec = r->now_usec;
    if (m->answer != 0 && m->answer == r->state_nonce && !r->member) {
        p->reported = true;
        p->reported_usec = r->now_usec;
        p->status = m->status;
        p->cluster = m->cluster;
        p->life = from_life;
        p->bootstrap_differs = !hash_equal(&m->bootstrap, &r->identity.bootstrap);
        if (r->identity.status == IDENTITY_EMPTY && m->status != IDENTITY_EMPTY && !p->bootstrap_differs)
            copy_slot0(r, m);
        advance(r);
    }
    if (m->nonce != 0)
        answer(r, from, m);
}

/* An operator's word that the replicas which do not answer have never run. */
void start_bootstrap(struct replica *r)
{
    uint32_t blank = reporters(r, IDENTITY_EMPTY, IDENTITY_EMPTY, false) | UINT32_C(1) << r->me;
    if (r->identity.status != IDENTITY_EMPTY || reporters(r, IDENTITY_STARTING, IDENTITY_QUARANTINED, false) != 0 ||
        !configuration_is_majority(config_at(r), blank))
        return;
    found_cluster(r);
    advance(r);
}

uint64_t start_timer(struct replica *r)
{
    if (r->identity.status != IDENTITY_EMPTY && r->identity.status != IDENTITY_STARTING)
        return UINT64_MAX;
    advance(r);
    if (r->state_at_usec > r->now_usec)
        return r->state_at_usec;
    r->state_at_usec = r->now_usec + r->config.heartbeat_usec / 2;
    struct message *m = outgoing_push(r, MESSAGE_STATE, REPLICA_ID_NONE, r->seq);
    if (m != NULL)
        m->state = (struct state){.nonce = r->state_nonce,
                                  .status = r->identity.status,
                                  .cluster = r->identity.cluster,
                                  .bootstrap = r->identity.bootstrap};
    return r->state_at_usec;
}
