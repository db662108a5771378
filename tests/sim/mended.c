/* What rotted below a checkpoint: it is fetched again from wherever a good copy is, and starts as if nothing had been.
 */
#include "host/driver_internal.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

enum { MEND_LIMIT_S = 60 };

static bool take_record(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    const struct host *h = user;
    struct cluster *c = h->cluster;
    if (r->slot > 0 && !observer_is_chosen(c, r->slot, cluster_body(c, bytes, size)))
        cluster_fail(c, "host %u: its journal has another value than the chosen one of slot %lu (I6)", h->index,
                     r->slot);
    return true;
}

/* Another one, where it did not rot. */
static bool is_kept_elsewhere(struct cluster *c, const struct host *h, slot_t slot)
{
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct host *o = &c->hosts[i];
        if (o == h || !o->up || !host_is_sound(o) || slot < driver_first_kept(o->driver) || slot > o->chosen)
            continue;
        if (o->disk.n_rot == 0)
            return true;
        if (!host_is_usable(o))
            continue;
        world_enter(o);
        if (journal_read(o->journal, slot, slot, 1, 1, take_record, o) == 1)
            return true;
    }
    return false;
}

/* Reading is what finds it. What is in the open segment, or in a footer, too, stays. */
static bool is_readable(struct cluster *c, struct host *h)
{
    struct journal_rot rot[JOURNAL_ROT_MAX];
    bool readable = true;
    world_enter(h);
    slot_t first = driver_first_kept(h->driver), until = logread_committed_slot(h->driver->logread);
    for (slot_t slot = first > 0 ? first : 1; slot <= until; slot++)
        readable = journal_read(h->journal, slot, slot, 1, 1, take_record, h) == 1 && readable;
    if (readable)
        return true;
    size_t n = journal_rot(h->journal, rot);
    for (size_t i = 0; i < n; i++) {
        bool stays =
            rot[i].state == JOURNAL_ROT_STUCK || (rot[i].state == JOURNAL_ROT_OPEN && rot[i].covered_by > h->chosen);
        slot_t slot = rot[i].first;
        while (!stays && slot <= rot[i].last && is_kept_elsewhere(c, h, slot))
            slot++;
        if (!stays && slot > rot[i].last)
            return false;
    }
    return n > 0;
}

static bool are_all_readable(struct cluster *c, void *user)
{
    bool all = true;
    (void)user;
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        if (host_is_learning(&c->hosts[i]) && c->hosts[i].disk.n_rot > 0 && host_is_usable(&c->hosts[i]))
            all = is_readable(c, &c->hosts[i]) && all;
    return all;
}

void mended_check(struct cluster *c)
{
    struct journal_rot rot[JOURNAL_ROT_MAX];
    for (uint64_t usec = 0; !are_all_readable(c, NULL); usec += 100 * MSEC) {
        if (usec < MEND_LIMIT_S * SECOND) {
            cluster_run(c, 100 * MSEC);
            continue;
        }
        for (uint32_t i = 0; i < c->options.n_hosts; i++)
            for (size_t k = 0, n = c->hosts[i].up ? journal_rot(c->hosts[i].journal, rot) : 0; k < n; k++)
                cluster_trace(c, (int)i, "rotten     segment %lu, slots %lu to %lu, state %d", rot[k].segment,
                              rot[k].first, rot[k].last, (int)rot[k].state);
        cluster_fail(c, "what rotted below a checkpoint is not fetched again (I10)");
    }
}

/* Votes may be in what no checkpoint covers, and no peer has them. */
void mended_check_covered(struct host *h)
{
    struct journal_rot rot[JOURNAL_ROT_MAX];
    struct journal_checkpoint newest = {.slot = 0};
    if (h->disk.n_rot == 0)
        return;
    journal_checkpoint_newest(h->journal, &newest);
    for (size_t i = 0, n = journal_rot(h->journal, rot); i < n; i++)
        if (rot[i].state == JOURNAL_ROT_MENDING && rot[i].last > newest.slot)
            cluster_fail(h->cluster, "host %u: segment %lu is mended up to slot %lu, its checkpoint covers %lu",
                         h->index, rot[i].segment, rot[i].last, newest.slot);
}

/* Of each replica that knows of no rot any more: it votes on, and is silent about nothing, whatever rots where nothing
 * is. */
void mended_check_starts(struct cluster *c)
{
    struct journal_rot rot[JOURNAL_ROT_MAX];
    struct replica_status s;
    cluster_run(c, 3 * c->options.scrub_usec); /* all is looked through */
    mended_check(c);
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct host *h = &c->hosts[i];
        if (h->disk.n_rot == 0 || !host_is_usable(h) || journal_rot(h->journal, rot) > 0)
            continue;
        disk_rot_unused(h);
        host_crash(h, false);
        host_start(h);
        cluster_settle_again(c);
        replica_status(h->replica, &s);
        if (s.identity != IDENTITY_VOTER || h->disk.identity.silent_until > 0)
            cluster_fail(c, "host %u: starts as one that lost votes, though all that rotted was mended", i);
    }
}
