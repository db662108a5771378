/* Operators who let a first start go on with a majority, now and then too many of them. */
#include "host/driver.h"
#include "tests/sim/fault.h"
#include "tests/sim/world.h"

enum { STUCK_USEC = 5000000 };

static void answered(void *user, slot_t slot)
{
    (void)user, (void)slot;
}

static void bootstrap(struct cluster *c, void *user, uint64_t argument)
{
    const struct trouble *t = user;
    struct host *h = &c->hosts[cluster_random(c, 0, c->options.n_hosts - 1)];
    uint64_t cookie;
    (void)argument;
    if (t->over)
        return;
    cluster_call_at(c, c->now_usec + cluster_random(c, 1 * MSEC, 400 * MSEC), bootstrap, user, 0);
    if (!host_is_usable(h))
        return;
    world_enter(h);
    int error = driver_bootstrap(h->driver, answered, NULL, &cookie);
    cluster_trace(c, (int)h->index, "bootstrap  %d", error);
    c->happened[HAPPENED_BOOTSTRAPPED] += error == 0;
    host_poke(h);
}

/* Somebody whom it names is of another cluster. */
static bool is_barred(struct cluster *c, const struct identity *i)
{
    for (uint32_t m = 0; m < i->configuration.n_members; m++) {
        const struct member *member = &i->configuration.members[m];
        const struct identity *other = &cluster_host_by_id(c, member->id)->disk.identity;
        if (member->life != 0 && other->status != IDENTITY_EMPTY && !hash_equal(&other->cluster, &i->cluster))
            return true;
    }
    return false;
}

/* Two were founded at once, each with a replica that the other has: none of them ever starts, until all disks are blank
 * again. Where one was founded, it did start. */
static void end_stuck_start(struct cluster *c, void *user, uint64_t argument)
{
    uint32_t n = 0;
    (void)user, (void)argument;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->hosts[i].disk.identity.status >= IDENTITY_VOTER)
            return;
    }
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        const struct identity *own = &c->hosts[i].disk.identity;
        n += own->status == IDENTITY_STARTING;
        if (own->status == IDENTITY_STARTING && !is_barred(c, own))
            cluster_fail(c, "host %u: nobody is of another cluster than its own, which does not start", i);
    }
    if (n == 0)
        cluster_fail(c, "all are blank, and none begins to start");
    cluster_trace(c, -1, "stuck      all disks are made blank again");
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        host_wipe(&c->hosts[i]);
        c->hosts[i].wiped = false; /* its life was in no configuration before, either */
        host_start(&c->hosts[i]);
    }
}

void bootstrap_begin(struct cluster *c, struct trouble *t)
{
    if (!t->scenario->bootstraps)
        return;
    uint32_t n_absent = (uint32_t)cluster_random(c, 0, (c->options.n_hosts - 1) / 2);
    for (uint32_t n = 0; n < n_absent; n++) {
        struct host *h = &c->hosts[cluster_random(c, 0, c->options.n_hosts - 1)];
        host_kill(h);
        host_start_later(h, cluster_random(c, 100 * MSEC, t->scenario->duration_usec));
    }
    bootstrap(c, t, 0);
    cluster_call_at(c, c->now_usec + t->scenario->duration_usec + STUCK_USEC, end_stuck_start, NULL, 0);
}
