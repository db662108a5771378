/* Partial connectivity, as it tells leader elections apart: quorum loss, constrained election and chain (Ng, Haridi,
 * Carbone: "Omni-Paxos", EuroSys 2023). Of all links only those of one replica are left, the hub. */
#include "paxos/core.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

enum {
    CHAIN_ROUNDS = 4,
    HUB_ROUNDS = 2,
    SETTLE_HEARTBEATS = 30,
    WATCH_HEARTBEATS = 60,
    AGAIN_HEARTBEATS = 10, /* above E: from the cut until a message that was sent after it is acknowledged */
    CHANGES_MAX = 2,
    LEADER_LIMIT_S = 10,
    ANSWER_LIMIT_S = 2,
};

static void cut_all_but(struct cluster *c, uint32_t hub)
{
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        for (uint32_t j = 0; j < c->options.n_hosts; j++)
            c->network.cut[i][j] = i != hub && j != hub;
}

static void start_all_again(struct cluster *c)
{
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        host_kill(&c->hosts[i]);
        host_start(&c->hosts[i]);
    }
}

static bool has_leader(struct cluster *c, void *user)
{
    (void)user;
    return cluster_leader(c) != NULL;
}

static bool has_acked(struct cluster *c, void *user)
{
    return clients_acked(c) > *(const uint64_t *)user;
}

/* After a while in which only what was under way can have been told. */
static void demand_acks(struct cluster *c, const char *what)
{
    uint64_t while_usec = ELECTION_HEARTBEATS * c->options.heartbeat_usec / 2;
    uint64_t limit_usec = (ELECTION_HEARTBEATS + AGAIN_HEARTBEATS) * c->options.heartbeat_usec;
    cluster_run(c, while_usec);
    uint64_t before = clients_acked(c);
    if (!cluster_run_until(c, limit_usec - while_usec, has_acked, &before))
        cluster_fail(c, "nothing is acknowledged %lu ms after %s", limit_usec / MSEC, what);
}

static bool is_answered(struct cluster *c, void *user)
{
    struct operation_state o = clients_operation(c, *(const uint64_t *)user);
    return o.acked || o.n_expired > 0; /* some clients come with a since of long ago */
}

/* It may stand behind many others, as long as those are acknowledged. */
static void demand_answer(struct cluster *c, uint32_t host)
{
    uint64_t operation = clients_send(c, host, 0, NULL), end_usec = c->now_usec + ANSWER_LIMIT_S * SECOND, before;
    do {
        before = clients_acked(c);
        if (cluster_run_until(c, AGAIN_HEARTBEATS * c->options.heartbeat_usec, is_answered, &operation))
            return;
    } while (clients_acked(c) > before && c->now_usec < end_usec);
    cluster_fail(c, "a message through host %u is not acknowledged in a chain at rest (trap 13)", host);
}

/* Rivals that hear each other through a third only may bid at once; but they do not depose each other for ever. */
static void check_chained(struct cluster *c)
{
    uint32_t hub = (uint32_t)cluster_random(c, 0, c->options.n_hosts - 1);
    network_heal(c);
    cut_all_but(c, hub);
    for (int round = 0; round < CHAIN_ROUNDS; round++) {
        start_all_again(c);
        cluster_run(c, SETTLE_HEARTBEATS * c->options.heartbeat_usec);
        uint64_t before = observer_leaderships(c);
        cluster_run(c, WATCH_HEARTBEATS * c->options.heartbeat_usec);
        if (observer_leaderships(c) > before + CHANGES_MAX)
            cluster_fail(c, "the leader changed %lu times in a chain (trap 13)", observer_leaderships(c) - before);
        demand_answer(c, hub);
    }
}

static uint32_t other_than(struct cluster *c, uint32_t host)
{
    uint32_t n = c->options.n_hosts;
    return (host + (uint32_t)cluster_random(c, 1, n - 1)) % n;
}

/* Quorum loss: the leader lives on, and reaches the hub only (trap 25). Constrained: it dies, and the hub, which missed
 * what was chosen last, is the only one that reaches a majority (trap 26). */
static void check_hub(struct cluster *c, bool constrained)
{
    const char *what = constrained ? "the leader died, and a laggard alone reaches a majority (trap 26)"
                                   : "the leader lost its quorum to the hub's (trap 25)";
    network_heal(c);
    for (int round = 0; round < HUB_ROUNDS; round++) {
        cluster_run(c, SETTLE_HEARTBEATS * c->options.heartbeat_usec);
        if (!cluster_run_until(c, LEADER_LIMIT_S * SECOND, has_leader, NULL))
            cluster_fail(c, "no leader in a cluster without faults (I10)");
        struct host *leader = cluster_leader(c);
        uint32_t hub = other_than(c, leader->index);
        if (constrained) {
            network_isolate(c, hub, true);
            cluster_run(c, cluster_random(c, 1, SETTLE_HEARTBEATS) * c->options.heartbeat_usec);
            leader = cluster_leader(c);
        }
        uint64_t before = observer_leaderships(c);
        cut_all_but(c, hub);
        if (constrained && leader)
            host_crash(leader, true);
        demand_acks(c, what);
        cluster_run(c, WATCH_HEARTBEATS * c->options.heartbeat_usec);
        if (observer_leaderships(c) > before + CHANGES_MAX)
            cluster_fail(c, "the leader changed %lu times since %s", observer_leaderships(c) - before, what);
        network_heal(c);
        if (leader && !leader->up)
            host_start(leader);
    }
}

void partial_check(struct cluster *c, enum partial partial)
{
    switch (partial) {
    case PARTIAL_NONE:
        return;
    case PARTIAL_CHAIN:
        check_chained(c);
        return;
    case PARTIAL_QUORUM_LOSS:
        check_hub(c, false);
        return;
    case PARTIAL_CONSTRAINED:
        check_hub(c, true);
        return;
    }
}
