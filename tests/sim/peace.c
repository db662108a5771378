/* The end of a run: faults stop, for a majority first or for all, and the cluster has to come to rest and to work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/faults.h"
#include "paxos/core.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

/* Pauses, late datagrams and what is tried again by the clock last so long; all else goes by heartbeats. */
enum {
    CORE_LIMIT_S = 10,
    CORE_LIMIT_HEARTBEATS = 1200, /* a slot at a time over a bad link of the rest's takes some for each call */
    PEACE_LIMIT_S = 10,
    PEACE_LIMIT_HEARTBEATS = 200,
    REST_LIMIT_S = 5,
    REST_LIMIT_HEARTBEATS = 100,
    FOREVER_S = 3600,
};

static uint64_t limit(const struct cluster *c, uint64_t seconds, uint64_t heartbeats)
{
    return seconds * SECOND + heartbeats * c->options.heartbeat_usec;
}

static void heal_host(struct cluster *c, struct host *h)
{
    if (h->config_differs)
        host_kill(h); /* it reads the right one when it starts */
    h->config_differs = false;
    h->stalled_until_usec = 0; /* a pause ends by itself, and what waits for its end with it */
    h->sync_min_usec = 100;
    h->sync_max_usec = 2 * MSEC;
    if (h->disk.failing)
        vfs_memory_heal(h->disk.memory);
    h->disk.failing = h->disk.cut_write = false;
    h->disk.cut_start = 0;
    if (h->disk.full)
        trouble_set_space(c, h->index, true);
    if (h->faults)
        faults_set(h->faults, 0, FAULT_BOTH, REPLICA_ID_NONE, 0, c->now_usec);
    if (!h->up)
        host_start(h);
    world_enter(h);
    if (h->up && h->disk.writing) { /* perhaps at the end of a stall */
        h->disk.writing = false;
        disk_kick(h);
    }
}

void cluster_heal(struct cluster *c)
{
    c->frozen = 0;
    network_heal(c);
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        heal_host(c, &c->hosts[i]);
}

/* At rest: one leader, which has no open proposal; all of the set follow it; all their logs are equal; every call on
 * them ended. A core's leader may stand outside: then those need not serve that reach it over more hops than messages
 * travel; the hub does. */
struct rest {
    uint32_t set, hub;
    bool all;
};

static bool is_settled(struct cluster *c, void *user)
{
    const struct rest *r = user;
    uint32_t n_leaders = 0, sound = 0, serving = 0;
    slot_t chosen = 0;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        const struct host *h = &c->hosts[i];
        if (!(r->set >> i & 1) || !host_is_learning(h))
            continue;
        if (!host_is_usable(h) || h->chosen < observer_chosen(c) || (chosen && h->chosen != chosen))
            return false;
        chosen = h->chosen;
    }
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct replica_status s;
        if (!(r->set >> i & 1) || !host_is_sound(&c->hosts[i]))
            continue;
        replica_status(c->hosts[i].replica, &s);
        n_leaders += s.role == ROLE_LEADER;
        if (s.role == ROLE_LEADER && s.accepted > chosen)
            return false;
        if (s.identity != IDENTITY_VOTER || s.lagging)
            return false;
        sound |= 1U << i;
        if (s.quorum && s.n_submissions == 0)
            serving |= 1U << i;
    }
    if (n_leaders == 0 && !r->all) /* it stands outside */
        return serving >> r->hub & 1 && clients_are_idle(c, serving);
    return n_leaders == 1 && serving == sound && clients_are_idle(c, sound);
}

static uint64_t settle(struct cluster *c, struct rest *r, uint64_t limit_usec)
{
    uint64_t begin_usec = c->now_usec;
    if (cluster_run_until(c, limit_usec, is_settled, r)) {
        for (uint32_t i = 0; i < c->options.n_hosts; i++) {
            if (host_is_usable(&c->hosts[i]))
                memory_check(&c->hosts[i]);
        }
        return c->now_usec - begin_usec;
    }
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct replica_status s;
        if (!c->hosts[i].up)
            continue;
        replica_status(c->hosts[i].replica, &s);
        cluster_trace(c, (int)i,
                      "status     identity %d role %d leader %u quorum %d linked %u chosen %lu accepted %lu promised "
                      "%lu.%u open %u lagging %d",
                      (int)s.identity, (int)s.role, s.leader, s.quorum, s.n_linked, s.chosen, s.accepted,
                      s.promised.round, s.promised.id, s.n_submissions, s.lagging);
    }
    cluster_fail(c, "not at rest %.1f s after the faults of hosts %x ended (chosen %lu, calls %s; I10)",
                 (double)limit_usec / 1e6, r->set, observer_chosen(c), clients_are_idle(c, r->set) ? "ended" : "open");
}

uint64_t cluster_settle(struct cluster *c, uint64_t limit_usec)
{
    struct rest r = {.set = (1U << c->options.n_hosts) - 1, .all = true};
    return settle(c, &r, limit_usec);
}

void cluster_settle_again(struct cluster *c)
{
    cluster_settle(c, limit(c, REST_LIMIT_S, REST_LIMIT_HEARTBEATS));
}

/* A random majority, healed. 0: there is none. */
static uint32_t choose_core(struct cluster *c, uint32_t *ret_hub)
{
    uint32_t n = c->options.n_hosts, set = 0, count = 0;
    for (uint32_t tries = 0; count < n / 2 + 1 && tries < 1000; tries++) {
        uint32_t i = (uint32_t)cluster_random(c, 0, n - 1);
        struct host *h = &c->hosts[i];
        if (!host_is_sound(h) || h->disk.n_rot > 0 || set >> i & 1) /* with rot, its next start may be refused */
            continue;
        heal_host(c, h);
        set |= 1U << i;
        if (count++ == 0)
            *ret_hub = i;
    }
    return count == n / 2 + 1 ? set : 0;
}

static bool drops_some(const struct host *h)
{
    struct fault list[FAULTS_MAX];
    return h->up && faults_list(h->faults, h->cluster->now_usec, list) > 0;
}

/* It works now and then. */
static bool is_bad(const struct cluster *c, uint32_t from, uint32_t to)
{
    const struct weather *w = &c->network.weather[from][to];
    return w->loss_permille > 0 || w->late_permille > 0 || c->network.clogged_usec[from][to] > c->now_usec ||
           drops_some(&c->hosts[from]) || drops_some(&c->hosts[to]);
}

/* How often in so many heartbeats a bad link may cost a leader outside of the hub its quorum. */
static uint64_t flaps_max(const struct cluster *c, uint64_t heartbeats)
{
    bool flaps = false;
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        for (uint32_t j = 0; j < c->options.n_hosts; j++)
            flaps = flaps || (i != j && !c->network.cut[i][j] && is_bad(c, i, j));
    return flaps ? heartbeats / ELECTION_HEARTBEATS : 0;
}

/* What would end by itself lasts until all is healed; a path that stays clogged is cut. */
static void freeze(struct cluster *c, uint32_t set)
{
    c->frozen = set;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct host *h = &c->hosts[i];
        struct fault list[FAULTS_MAX];
        for (uint32_t j = 0; j < c->options.n_hosts; j++)
            c->network.cut[i][j] = c->network.cut[i][j] || c->network.clogged_usec[i][j] > c->now_usec;
        if (!(set >> i & 1) || !h->up)
            continue;
        if (h->stalled_until_usec > c->now_usec)
            h->stalled_until_usec = c->now_usec + FOREVER_S * SECOND;
        size_t n = faults_list(h->faults, c->now_usec, list);
        for (size_t k = 0; k < n; k++)
            faults_set(h->faults, list[k].rate, list[k].direction, list[k].peer, 0, c->now_usec);
    }
}

/* Through this host a message is acknowledged, and a position answered. */
static void demand_answers(struct cluster *c, uint32_t host, struct rest *r, uint64_t limit_usec)
{
    for (int attempt = 0;; attempt++) {
        if (!c->hosts[host].up)
            cluster_run(c, 2 * SECOND); /* it was asked to stop before, and did so now */
        uint64_t operation = clients_send(c, host, 0, NULL);
        clients_position(c, host);
        settle(c, r, limit_usec);
        struct operation_state state = clients_operation(c, operation);
        if (state.acked)
            return;
        /* Late submissions of closed connections may have pushed out its since from a tiny table; and what was so
         * far behind that it refuses looks again every TICK_MS only. */
        cluster_run(c, 2 * TICK_MS * MSEC);
        if (state.n_expired + state.n_refused + state.n_unknown == 0 || attempt == 5)
            cluster_fail(c, "a message through host %u was not acknowledged in a cluster at rest", host);
    }
}

/* The majority can all reach one member; every other link, its weather too, and who is not in it, stays as it is. In
 * half of the runs all that works now and then does not work at all: then nothing excuses a leader's fall. In half of
 * them, too, those who are not in it come back by themselves, else never. */
static uint64_t make_core_work(struct cluster *c, bool hung_leader)
{
    struct network *n = &c->network;
    bool cuts_bad = cluster_chance(c, 500), freezes = cluster_chance(c, 500);
    const struct host *leader = hung_leader ? cluster_leader(c) : NULL;
    struct rest r = {0};
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->hosts[i].disk.identity.status != IDENTITY_VOTER && host_is_sound(&c->hosts[i]))
            return 0; /* a first start takes all of them */
    }
    r.set = choose_core(c, &r.hub);
    if (r.set == 0 || (hung_leader && (!leader || r.set >> leader->index & 1)))
        return 0;
    cluster_trace(c, -1, "peace      for hosts %x around %u", r.set, r.hub);
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        for (uint32_t j = 0; j < c->options.n_hosts; j++) {
            bool healed = (r.set >> i & 1) && (r.set >> j & 1) && (i == r.hub || j == r.hub);
            bool hung = leader && (i == leader->index || j == leader->index) && i != r.hub && j != r.hub;
            n->cut[i][j] =
                !healed && !hung && (leader || n->cut[i][j] || cluster_chance(c, 300) || (cuts_bad && is_bad(c, i, j)));
            if (!healed)
                continue;
            n->weather[i][j] = network_calm();
            n->clogged_usec[i][j] = 0;
        }
        struct host *h = &c->hosts[i];
        if (!(r.set >> i & 1) && !host_is_usable(h))
            host_kill(h); /* what stands still stays so */
        else if (!(r.set >> i & 1) && (leader || cluster_chance(c, 200)))
            h->stalled_until_usec = c->now_usec + FOREVER_S * SECOND;
    }
    if (freezes)
        freeze(c, ~r.set);
    if (leader)
        clients_send(c, r.hub, 0, NULL);
    uint64_t usec = settle(c, &r, limit(c, CORE_LIMIT_S, CORE_LIMIT_HEARTBEATS)), before = observer_leaderships(c);
    uint64_t n_skipped = c->happened[HAPPENED_SKIPPED]; /* by what comes late; another leader fills each hole */
    uint64_t changes_max = 2 + flaps_max(c, 60);
    cluster_run(c, 60 * c->options.heartbeat_usec);
    /* Whoever is outside may come back with a bid from before: its disk hung. */
    changes_max += c->options.n_hosts - (uint32_t)__builtin_popcount(r.set);
    if (observer_leaderships(c) > before + changes_max + c->happened[HAPPENED_SKIPPED] - n_skipped)
        cluster_fail(c, "the leader changed %lu times after the core was at rest (trap 13)",
                     observer_leaderships(c) - before);
    demand_answers(c, r.hub, &r, limit(c, CORE_LIMIT_S, CORE_LIMIT_HEARTBEATS)); /* it may have been at rest at once */
    return usec;
}

/* In calm nobody deposes the leader, not even a replica that comes back (traps 13, 27). */
static void check_calm(struct cluster *c)
{
    uint32_t i = (uint32_t)cluster_random(c, 0, c->options.n_hosts - 1);
    struct host *h = &c->hosts[i];
    if (c->network.latest_usec > c->now_usec)
        cluster_run(c, c->network.latest_usec - c->now_usec); /* a TRANSFER may still be on its way */
    const struct host *leader = cluster_leader(c);
    struct replica_status own, other;
    uint32_t n_others = 0;
    if (!leader)
        return;
    for (uint32_t j = 0; j < c->options.n_hosts; j++) {
        if (c->hosts[j].up && c->hosts[j].driver->stopping)
            return;
    }
    replica_status(leader->replica, &own);
    if (own.accepted > own.chosen) /* a slot that was skipped waits for another leader */
        return;
    for (uint32_t j = 0; j < c->options.n_hosts; j++) { /* one that promised above it does not count for it */
        if (j == i || !host_is_sound(&c->hosts[j]))
            continue;
        replica_status(c->hosts[j].replica, &other);
        n_others += ballot_equal(own.promised, other.promised);
    }
    if (2 * n_others <= c->options.n_hosts || !host_is_sound(h) || h->disk.n_rot > 0 || host_is_leader(h))
        return;
    uint64_t before = observer_leaderships(c), n_skipped = c->happened[HAPPENED_SKIPPED]; /* as above */
    cluster_trace(c, -1, "calm       but for host %u", i);
    host_kill(h);
    cluster_run(c, 5 * c->options.heartbeat_usec);
    host_start(h);
    cluster_run(c, 60 * c->options.heartbeat_usec);
    cluster_settle_again(c);
    if (observer_leaderships(c) > before + c->happened[HAPPENED_SKIPPED] - n_skipped)
        cluster_fail(c, "the leader changed %lu times in calm, when host %u came back (traps 13, 27)",
                     observer_leaderships(c) - before, i);
}

static bool has_leader(struct cluster *c, void *user)
{
    (void)user;
    return cluster_leader(c) != NULL;
}

/* Where the leader dies, there is another one within 4 E (I10). */
static void check_succession(struct cluster *c)
{
    struct host *leader = cluster_leader(c);
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct replica_status s;
        if (!host_is_sound(&c->hosts[i]) || !host_is_usable(&c->hosts[i]) || c->hosts[i].driver->stopping)
            continue;
        replica_status(c->hosts[i].replica, &s);
        n += s.silent_until == 0;
    }
    if (!leader || leader->disk.n_rot > 0 || leader->driver->stopping || 2 * (n - 1) <= c->options.n_hosts)
        return;
    cluster_trace(c, -1, "succession of host %u", leader->index);
    host_kill(leader);
    if (!cluster_run_until(c, 4 * ELECTION_HEARTBEATS * c->options.heartbeat_usec, has_leader, NULL))
        cluster_fail(c, "no leader 4 E after host %u, which led, died (I10)", leader->index);
    host_start(leader);
    cluster_settle_again(c);
}

/* All files, once more flushed, are equal. What closed connections left may be chosen meanwhile. */
static void check_flushed(struct cluster *c)
{
    slot_t until[CLUSTER_HOSTS_MAX] = {0};
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (!host_is_sound(&c->hosts[i]) || !host_is_usable(&c->hosts[i]))
            continue;
        until[i] = c->hosts[i].chosen;
        clients_flush(c, i, false);
    }
    cluster_settle(c, 10 * SECOND);
    chat_check_complete(c, until);
}

/* The final check: the cluster works, whoever is asked. */
static void check_works(struct cluster *c)
{
    struct rest r = {.set = (1U << c->options.n_hosts) - 1, .all = true};
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (!host_is_sound(&c->hosts[i]))
            continue;
        demand_answers(c, i, &r, limit(c, REST_LIMIT_S, REST_LIMIT_HEARTBEATS));
        if (!c->hosts[i].up)
            continue;
        clients_read(c, i);
        clients_flush(c, i, true);
    }
    cluster_settle_again(c);
    if (cluster_chance(c, 400))
        check_calm(c);
    if (cluster_chance(c, 400))
        check_succession(c);
    clients_check(c);
    check_flushed(c);
}

uint64_t cluster_demand_rest(struct cluster *c)
{
    uint64_t usec = cluster_settle(c, limit(c, PEACE_LIMIT_S, PEACE_LIMIT_HEARTBEATS));
    mended_check(c);
    check_works(c);
    return usec;
}

static void count_happened(struct cluster *c, const struct scenario_result *r, uint64_t *ret)
{
    static const enum outcome_type outcomes[] = {
        OUTCOME_DUPLICATE,  OUTCOME_CONFLICT,  OUTCOME_EXPIRED,  OUTCOME_RENUMBER,
        OUTCOME_OVERLOADED, OUTCOME_NO_QUORUM, OUTCOME_NO_SPACE, OUTCOME_NOT_STARTED,
    };
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        disk_tally(&c->hosts[i]);
    for (uint32_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
        c->happened[HAPPENED_DUPLICATE + i] = clients_count(c, outcomes[i]);
    c->happened[HAPPENED_LED] = r->leaderships;
    c->happened[HAPPENED_CORE_ONLY] = r->core_usec > 0;
    c->happened[HAPPENED_BLANK] = c->options.blank;
    c->happened[HAPPENED_SEALED] = c->options.sealed;
    c->happened[HAPPENED_1_REPLICA + c->options.n_hosts / 2] = 1;
    memcpy(ret, c->happened, sizeof(c->happened));
}

struct scenario_result scenario_run(const struct scenario *s)
{
    struct cluster *c = cluster_make(&s->cluster);
    struct trouble trouble = {.scenario = s};
    struct scenario_result r = {0};
    clients_start(c, &s->clients);
    if (s->differs) {
        struct host *h = &c->hosts[cluster_random(c, 0, c->options.n_hosts - 1)];
        host_kill(h);
        h->config_differs = true;
        host_start(h);
    }
    trouble_begin(c, &trouble);
    sealed_begin(c, &trouble);
    cluster_run(c, s->duration_usec);
    trouble.over = true;
    c->chat_end_percent = c->chat_fail_percent = 0;
    partial_check(c, s->partial);
    clients_stop(c);
    if (s->core_first)
        r.core_usec = make_core_work(c, s->hung_leader);
    cluster_trace(c, -1, "peace      for all");
    cluster_heal(c);
    if (s->rest_usec > 0)
        r.heal_usec = cluster_settle(c, s->rest_usec);
    r.heal_usec += cluster_demand_rest(c);
    if (s->atlas)
        mended_check_starts(c);
    r.steps = c->steps;
    r.trace_hash = c->trace_hash;
    r.leaderships = observer_leaderships(c);
    r.chosen = observer_chosen(c);
    clients_summary(c, r.summary, sizeof(r.summary));
    count_happened(c, &r, r.happened);
    cluster_free(c);
    return r;
}
