/* Faults, one at a time, each with its own end. */
#include "tests/unit/cluster_fault.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/cluster_check.h"

enum { SPARE_VALUES_MAX = 80 }; /* at a leader, of connections that ended before their turn */

struct trouble {
    const struct scenario *scenario;
    bool over;
    uint32_t n_wiped;
};

/* A leader is worth more trouble than others. */
static uint32_t pick(struct cluster *c)
{
    const struct host *leader = cluster_chance(c, 400) ? cluster_leader(c) : NULL;
    if (leader)
        return leader->index;
    return (uint32_t)cluster_random(c, 0, c->options.n_hosts - 1);
}

static void start_host(struct cluster *c, void *user, uint64_t argument)
{
    (void)user;
    if (!c->hosts[argument].up)
        host_start(&c->hosts[argument]);
}

static void crash(struct cluster *c, uint32_t host)
{
    host_crash(&c->hosts[host], cluster_chance(c, 500));
    cluster_call_at(c, c->now_usec + cluster_random(c, 1 * MSEC, 1500 * MSEC), start_host, NULL, host);
}

static void heal_links(struct cluster *c, void *user, uint64_t argument)
{
    (void)user, (void)argument;
    memset(c->network.cut, 0, sizeof(c->network.cut));
    cluster_trace(c, -1, "links      all up");
}

static void cut_links(struct cluster *c, enum fault_kind kind)
{
    uint32_t a = pick(c), b = pick(c);
    uint64_t sides = prng_next(&c->prng);
    cluster_trace(c, -1, "links      fault %d around %u and %u", (int)kind, a, b);
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        for (uint32_t j = 0; j < c->options.n_hosts; j++) {
            bool cut = kind == FAULT_CUT_ONE_WAY ? i == a && j == b
                       : kind == FAULT_ISOLATE   ? (i == a) != (j == a)
                       : kind == FAULT_PARTITION ? (sides >> i & 1) != (sides >> j & 1)
                                                 : i != a && j != a;
            if (cut && i != j)
                c->network.cut[i][j] = true;
        }
    }
    cluster_call_at(c, c->now_usec + cluster_random(c, 50 * MSEC, 3 * SECOND), heal_links, NULL, 0);
}

static void change_weather(struct cluster *c, const struct scenario *s)
{
    struct network *n = &c->network;
    n->loss_permille = (uint32_t)cluster_random(c, 0, s->loss_max_permille);
    n->duplicate_permille = (uint32_t)cluster_random(c, 0, s->duplicate_max_permille);
    n->late_permille = cluster_chance(c, 500) ? (uint32_t)cluster_random(c, 0, 200) : 0;
    n->late_max_usec = cluster_chance(c, 200) ? 3 * SECOND : 200 * MSEC;
    n->delay_min_usec = cluster_random(c, 50, 2 * MSEC);
    n->delay_max_usec = n->delay_min_usec + cluster_random(c, 0, 15 * MSEC);
    n->split_entries_max = cluster_chance(c, 700) ? (uint32_t)cluster_random(c, 1, 8) : 0;
    cluster_trace(c, -1, "weather    loss %u duplicates %u late %u of 1000, delay %lu-%lu usec", n->loss_permille,
                  n->duplicate_permille, n->late_permille, n->delay_min_usec, n->delay_max_usec);
}

static void set_space(struct cluster *c, void *user, uint64_t argument)
{
    (void)user;
    struct host *h = &c->hosts[argument >> 1];
    h->has_space = argument & 1;
    cluster_trace(c, (int)h->index, "space      %s", h->has_space ? "again" : "none");
    if (h->up)
        host_step(h, &(struct event){.type = EVENT_SPACE, .space = h->has_space});
}

static void skip_some(struct cluster *c)
{
    struct host *h = &c->hosts[pick(c)];
    slot_t slots[8];
    size_t n = cluster_random(c, 1, 8);
    if (!h->up || h->paused_until_usec > c->now_usec)
        return;
    for (size_t i = 0; i < n; i++)
        slots[i] = replica_chosen(h->replica) + cluster_random(c, 0, 40);
    cluster_trace(c, (int)h->index, "skip       %zu slots from about %lu", n, slots[0]);
    host_step(h, &(struct event){.type = EVENT_SKIP, .slots = slots, .n_slots = n});
}

static void transfer(struct cluster *c)
{
    struct host *h = cluster_leader(c);
    if (!h || h->paused_until_usec > c->now_usec)
        return;
    replica_id_t target = cluster_chance(c, 300) ? REPLICA_ID_NONE : c->hosts[pick(c)].id;
    cluster_trace(c, (int)h->index, "transfer   to %u", target);
    host_step(h, &(struct event){.type = EVENT_TRANSFER, .target = target});
}

static void wipe(struct cluster *c, struct trouble *t)
{
    struct host *h = &c->hosts[pick(c)];
    if (h->wiped || 2 * (t->n_wiped + 1) > c->options.n_hosts - 1)
        return;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->hosts[i].disk.identity.status != IDENTITY_VOTER && !c->hosts[i].wiped)
            return; /* before all are voters it may rightly take an operator */
    }
    t->n_wiped++;
    host_wipe(h);
    cluster_call_at(c, c->now_usec + cluster_random(c, 1 * MSEC, 500 * MSEC), start_host, NULL, h->index);
}

static void inject(struct cluster *c, struct trouble *t, enum fault_kind kind)
{
    uint32_t host = pick(c);
    switch (kind) {
    case FAULT_CRASH:
        crash(c, host);
        break;
    case FAULT_CRASH_ALL:
        for (uint32_t i = 0; i < c->options.n_hosts; i++)
            crash(c, i);
        break;
    case FAULT_PAUSE:
        c->hosts[host].paused_until_usec = c->now_usec + cluster_random(c, 20 * MSEC, 3 * SECOND);
        cluster_trace(c, (int)host, "pause      %lu usec", c->hosts[host].paused_until_usec - c->now_usec);
        break;
    case FAULT_CUT_ONE_WAY:
    case FAULT_ISOLATE:
    case FAULT_PARTITION:
    case FAULT_BRIDGE:
        cut_links(c, kind);
        break;
    case FAULT_WEATHER:
        change_weather(c, t->scenario);
        break;
    case FAULT_STALL:
        c->hosts[host].stalled_until_usec = c->now_usec + cluster_random(c, 50 * MSEC, 5 * SECOND);
        cluster_trace(c, (int)host, "stall      %lu usec", c->hosts[host].stalled_until_usec - c->now_usec);
        break;
    case FAULT_SPACE:
        set_space(c, NULL, 2 * host);
        cluster_call_at(c, c->now_usec + cluster_random(c, 10 * MSEC, 2 * SECOND), set_space, NULL, 2 * host + 1);
        break;
    case FAULT_SKIP:
        skip_some(c);
        break;
    case FAULT_TRANSFER:
        transfer(c);
        break;
    case FAULT_WALL:
        c->hosts[host].wall_offset_usec = (int64_t)cluster_random(c, 0, 7200 * SECOND) - 3600 * (int64_t)SECOND;
        break;
    case FAULT_WIPE:
        wipe(c, t);
        break;
    case FAULT_KINDS:
        break;
    }
}

static void make_trouble(struct cluster *c, void *user, uint64_t argument)
{
    struct trouble *t = user;
    (void)argument;
    if (t->over)
        return;
    enum fault_kind kind = (enum fault_kind)cluster_random(c, 0, FAULT_KINDS - 1);
    if (t->scenario->kinds >> kind & 1)
        inject(c, t, kind);
    cluster_call_at(c, c->now_usec + cluster_random(c, 1 * MSEC, t->scenario->fault_max_usec), make_trouble, t, 0);
}

/* --- peace --- */

static void end_trouble(struct cluster *c)
{
    network_heal(c);
    clients_stop(c);
    cluster_trace(c, -1, "peace");
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct host *h = &c->hosts[i];
        h->paused_until_usec = h->stalled_until_usec = 0;
        if (!h->up)
            host_start(h);
        if (!h->has_space)
            set_space(c, NULL, 2 * i + 1);
    }
}

/* At rest: one leader, which has no open proposal; all follow it; all logs are equal; every call ended. */
static bool is_settled(struct cluster *c, void *user)
{
    (void)user;
    uint32_t n_leaders = 0;
    slot_t chosen = observer_chosen(c);
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        const struct host *h = &c->hosts[i];
        if (!h->up)
            return false;
        if (h->wiped)
            continue;
        if (h->chosen != chosen)
            return false;
    }
    if (!clients_are_idle(c))
        return false;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct replica_status s;
        if (c->hosts[i].wiped)
            continue;
        replica_status(c->hosts[i].replica, &s);
        n_leaders += s.role == ROLE_LEADER;
        if (s.role == ROLE_LEADER && s.accepted > chosen)
            return false;
        if (s.identity != IDENTITY_VOTER || !s.quorum || s.lagging || s.n_submissions != 0)
            return false;
    }
    return n_leaders == 1;
}

/* A core at rest holds what its window has room for, and little else: more means that it forgets to give values back.
 */
static void check_values(struct cluster *c)
{
    size_t max = SPARE_VALUES_MAX;
    for (size_t cells = 1; cells < 2 * (size_t)c->options.alpha; cells *= 2)
        max = 2 * cells + SPARE_VALUES_MAX;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        size_t n = 0;
        for (const struct tracked *t = c->hosts[i].values.next; t != &c->hosts[i].values; t = t->next)
            n++;
        if (n > max)
            cluster_fail(c, "host %u holds %zu values at rest", i, n);
    }
}

uint64_t cluster_settle(struct cluster *c, uint64_t limit_usec)
{
    uint64_t begin_usec = c->now_usec;
    if (cluster_run_until(c, limit_usec, is_settled, NULL)) {
        check_values(c);
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
    cluster_fail(c, "not at rest %.1f s after all faults ended (chosen %lu, calls %s)", (double)limit_usec / 1e6,
                 observer_chosen(c), clients_are_idle(c) ? "ended" : "open");
}

/* The final check: the cluster works, whoever is asked. */
static void check_works(struct cluster *c)
{
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->hosts[i].wiped)
            continue;
        for (int attempt = 0;; attempt++) {
            uint64_t operation = clients_send(c, i, 0, NULL);
            cluster_settle(c, 10 * SECOND);
            struct operation_state state = clients_operation(c, operation);
            if (state.acked)
                break;
            /* Late submissions of closed sessions may have pushed out its since from a tiny table. */
            if (state.n_expired == 0 || attempt == 5)
                cluster_fail(c, "a message through host %u was not acknowledged in a cluster at rest", i);
        }
    }
    clients_check(c);
}

struct scenario_result scenario_run(const struct scenario *s)
{
    struct cluster *c = cluster_make(&s->cluster);
    struct trouble trouble = {.scenario = s};
    clients_start(c, &s->clients);
    change_weather(c, s);
    make_trouble(c, &trouble, 0);
    cluster_run(c, s->duration_usec);
    trouble.over = true;
    end_trouble(c);
    struct scenario_result r = {.heal_usec = cluster_settle(c, 60 * SECOND)};
    check_works(c);
    r.steps = c->steps;
    r.trace_hash = c->trace_hash;
    r.leaderships = observer_leaderships(c);
    r.chosen = observer_chosen(c);
    clients_summary(c, r.summary, sizeof(r.summary));
    cluster_free(c);
    return r;
}
