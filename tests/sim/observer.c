/* The observer: chosen values, proposals, and votes against what is durable. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/observer_private.h"

enum { PAGE_SLOTS = 256 };

struct observer *observer_make(struct cluster *c)
{
    struct observer *o = calloc(1, sizeof(*o));
    if (!o)
        abort();
    o->model = model_make(c->options.dedup_slots, c->options.streams_max);
    return o;
}

void observer_free(struct cluster *c)
{
    struct observer *o = c->observer;
    if (!o)
        return;
    for (size_t i = 0; i < o->n_pages; i++) {
        for (uint32_t k = 0; o->slots[i] && k < PAGE_SLOTS; k++) {
            free(o->slots[i][k].proposals);
            free(o->slots[i][k].line);
        }
        free(o->slots[i]);
    }
    free((void *)o->slots);
    model_free(o->model);
    free(o);
}

const struct log_slot *observer_slot(const struct cluster *c, slot_t slot)
{
    const struct observer *o = c->observer;
    size_t page = slot / PAGE_SLOTS;
    return page < o->n_pages && o->slots[page] ? &o->slots[page][slot % PAGE_SLOTS] : NULL;
}

struct log_slot *observer_slot_at(struct cluster *c, slot_t slot)
{
    struct observer *o = c->observer;
    size_t page = slot / PAGE_SLOTS;
    if (page > 100000)
        cluster_fail(c, "slot %lu", slot);
    while (page >= o->n_pages) {
        size_t n = o->n_pages ? 2 * o->n_pages : 16;
        o->slots = realloc(o->slots, n * sizeof(struct log_slot *));
        if (!o->slots)
            abort();
        memset((void *)(o->slots + o->n_pages), 0, (n - o->n_pages) * sizeof(struct log_slot *));
        o->n_pages = n;
    }
    if (!o->slots[page]) {
        o->slots[page] = calloc(PAGE_SLOTS, sizeof(struct log_slot));
        if (!o->slots[page])
            abort();
    }
    return &o->slots[page][slot % PAGE_SLOTS];
}

slot_t observer_chosen(const struct cluster *c)
{
    return c->observer->chosen;
}

slot_t observer_trimmed(const struct cluster *c)
{
    return c->observer->first_kept;
}

slot_t observer_applied_until(const struct cluster *c)
{
    return c->observer->applied;
}

uint64_t observer_leaderships(const struct cluster *c)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->observer->n_owners; i++)
        n += c->observer->owners[i].led;
    return n;
}

uint32_t observer_confirmed_since(const struct cluster *c, uint64_t usec)
{
    uint32_t set = 0;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->observer->confirmed_usec[i] >= usec)
            set |= UINT32_C(1) << i;
    }
    return set;
}

bool observer_is_chosen(const struct cluster *c, slot_t slot, const struct body *b)
{
    const struct log_slot *s = observer_slot(c, slot);
    return s && s->chosen && (!b || s->chosen == b);
}

/* --- who may vote, and under which ballot --- */

/* The lives of the configuration are known from the first durable voter; later ones must agree. */
void observer_identity(struct cluster *c, uint32_t host, const struct identity *i)
{
    struct observer *o = c->observer;
    if (!o || i->status != IDENTITY_VOTER)
        return;
    if (o->has_cluster && !hash_equal(&o->cluster, &i->cluster))
        cluster_fail(c, "host %u is a voter of another cluster (trap 34)", host);
    if (o->has_cluster && (i->configuration.alpha != o->configuration.alpha ||
                           i->configuration.dedup_slots != o->configuration.dedup_slots ||
                           i->configuration.streams_max != o->configuration.streams_max ||
                           i->configuration.n_members != o->configuration.n_members))
        cluster_fail(c, "host %u is a voter under another configuration (trap 32)", host);
    o->has_cluster = true;
    o->cluster = i->cluster;
    o->configuration = i->configuration;
    for (uint32_t m = 0; m < i->configuration.n_members; m++) {
        const struct host *h = cluster_host_by_id(c, i->configuration.members[m].id);
        uint64_t life = i->configuration.members[m].life;
        if (!h || (o->lives[h->index] && o->lives[h->index] != life))
            cluster_fail(c, "host %u: another life of member %u in its configuration", host,
                         i->configuration.members[m].id);
        o->lives[h->index] = life;
    }
    if (o->lives[host] != i->life)
        cluster_fail(c, "host %u: a voter whose life is not admitted (trap 34)", host);
}

bool observer_leaves_out(const struct host *h)
{
    const struct observer *o = h->cluster->observer;
    return h->cluster->happened[HAPPENED_BOOTSTRAPPED] > 0 && o->has_cluster && o->lives[h->index] == 0;
}

void observer_check_voter(struct host *h, const char *what)
{
    const struct identity *i = &h->disk.identity;
    if (i->status != IDENTITY_VOTER || h->cluster->observer->lives[h->index] != i->life)
        cluster_fail(h->cluster, "host %u: %s, but its disk says that it is no voter (trap 34)", h->index, what);
}

/* Who begins to lead has the promises of a majority: whole ones of this very ballot that were sent, by disks as they
 * are, or as they were before they were wiped or rotted. */
static void check_promises(struct cluster *c, const struct owner *w)
{
    struct ballot b = w->ballot;
    uint32_t n = 0, n_sent = (uint32_t)__builtin_popcount(w->promisers | UINT32_C(1) << w->host);
    if (c->options.liar)
        return;
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        n += c->hosts[i].wiped || ballot_compare(c->hosts[i].disk.promised_ever, b) >= 0;
    if (2 * n <= c->options.n_hosts)
        cluster_fail(c, "ballot %lu.%u leads, but only %u disks promised it (trap 6)", b.round, b.id, n);
    if (2 * n_sent <= c->options.n_hosts)
        cluster_fail(c, "ballot %lu.%u leads, but only %u replicas sent it a whole promise (traps 6, 9)", b.round, b.id,
                     n_sent);
}

struct owner *observer_owner(struct observer *o, struct ballot b)
{
    uint32_t i = o->n_owners;
    while (i > 0 && !ballot_equal(o->owners[i - 1].ballot, b))
        i--;
    return i == 0 ? NULL : &o->owners[i - 1];
}

struct owner *observer_use_ballot(struct host *h, struct ballot b, bool leads)
{
    struct cluster *c = h->cluster;
    struct observer *o = c->observer;
    struct owner *w = observer_owner(o, b);
    if (b.id != h->id)
        cluster_fail(c, "host %u uses ballot %lu.%u of another", h->index, b.round, b.id);
    if (!w) {
        if (o->n_owners == LEADERSHIPS_MAX)
            cluster_fail(c, "more than %d ballots", LEADERSHIPS_MAX);
        w = &o->owners[o->n_owners++];
        *w = (struct owner){.ballot = b, .host = h->index, .boot = h->boot};
    }
    if (w->host != h->index || w->boot != h->boot)
        cluster_fail(c, "ballot %lu.%u is used by two lives: host %u boot %lu, host %u boot %lu (trap 1)", b.round,
                     b.id, w->host, w->boot, h->index, h->boot);
    if (leads && !w->led)
        check_promises(c, w);
    w->led |= leads;
    return w;
}

/* --- proposals and votes --- */

struct proposal *observer_propose(struct host *h, slot_t slot, struct ballot b, const struct body *body)
{
    struct cluster *c = h->cluster;
    struct log_slot *s = observer_slot_at(c, slot);
    struct proposal *p = NULL;
    for (uint32_t i = 0; i < s->n_proposals && !p; i++) {
        if (ballot_equal(s->proposals[i].ballot, b))
            p = &s->proposals[i];
    }
    if (!p) {
        if (s->n_proposals == s->room) {
            s->room = s->room ? 2 * s->room : 2;
            s->proposals = realloc(s->proposals, s->room * sizeof(*s->proposals));
            if (!s->proposals)
                abort();
        }
        p = &s->proposals[s->n_proposals++];
        *p = (struct proposal){.ballot = b, .body = body};
    }
    if (c->options.liar)
        return p;
    if (p->body != body)
        cluster_fail(c, "host %u: two values under slot %lu, ballot %lu.%u (trap 11)", h->index, slot, b.round, b.id);
    if (s->chosen && s->chosen != body && ballot_compare(b, s->chosen_ballot) > 0)
        cluster_fail(c, "host %u: slot %lu was chosen under %lu.%u, another value is proposed under %lu.%u", h->index,
                     slot, s->chosen_ballot.round, s->chosen_ballot.id, b.round, b.id);
    return p;
}

static void choose(struct cluster *c, slot_t slot, const struct proposal *p)
{
    struct observer *o = c->observer;
    struct log_slot *s = observer_slot_at(c, slot);
    if (s->chosen && s->chosen != p->body)
        cluster_fail(c, "slot %lu: two values are chosen, under %lu.%u and %lu.%u", slot, s->chosen_ballot.round,
                     s->chosen_ballot.id, p->ballot.round, p->ballot.id);
    if (!s->chosen || ballot_compare(p->ballot, s->chosen_ballot) < 0)
        s->chosen_ballot = p->ballot;
    s->chosen = p->body;
    for (uint32_t i = 0; i < s->n_proposals; i++) {
        const struct proposal *q = &s->proposals[i];
        if (q->body != s->chosen && ballot_compare(q->ballot, s->chosen_ballot) > 0)
            cluster_fail(c, "slot %lu is chosen under %lu.%u, but another value was proposed under %lu.%u", slot,
                         s->chosen_ballot.round, s->chosen_ballot.id, q->ballot.round, q->ballot.id);
    }
    while (observer_is_chosen(c, o->chosen + 1, NULL))
        o->chosen++;
}

void observer_durable(struct host *h, const struct disk_record *r)
{
    if (r->type == RECORD_IDENTITY)
        observer_identity(h->cluster, h->index, r->identity);
    if (r->type != RECORD_ACCEPT || r->slot == 0)
        return;
    observer_check_voter(h, "an ACCEPT record");
    struct proposal *p = observer_propose(h, r->slot, r->ballot, r->body);
    p->acceptors |= UINT32_C(1) << h->index;
    if (2 * (uint32_t)__builtin_popcount(p->acceptors) > h->cluster->options.n_hosts && !h->cluster->options.liar)
        choose(h->cluster, r->slot, p);
}

/* A proposer's own vote comes first: holes below its barrier get no-ops, messages stand above it. */
static void check_barrier(struct host *h, const struct disk_record *r)
{
    struct cluster *c = h->cluster;
    struct owner *w = observer_use_ballot(h, r->ballot, false);
    const struct log_slot *s = observer_slot(c, r->slot);
    bool adopted = false;
    for (uint32_t i = 0; i < s->n_proposals; i++)
        adopted |= s->proposals[i].body == r->body && ballot_compare(s->proposals[i].ballot, r->ballot) < 0;
    if (r->body->bytes[0] == VALUE_BARRIER && r->slot > w->barrier)
        w->barrier = r->slot;
    if (r->body->bytes[0] == VALUE_MESSAGE && !adopted && (w->fresh == 0 || r->slot < w->fresh))
        w->fresh = r->slot;
    if (w->fresh != 0 && (w->barrier == 0 || w->fresh <= w->barrier))
        cluster_fail(c,
                     "host %u: a new message in slot %lu under ballot %lu.%u, whose barrier is not below it (trap 16)",
                     h->index, w->fresh, r->ballot.round, r->ballot.id);
    for (slot_t below = h->chosen + 1; r->slot == w->barrier && below < r->slot; below++) {
        bool proposed = observer_is_chosen(c, below, NULL);
        const struct log_slot *t = observer_slot(c, below);
        for (uint32_t i = 0; t && i < t->n_proposals && !proposed; i++)
            proposed = ballot_equal(t->proposals[i].ballot, r->ballot);
        if (!proposed)
            cluster_fail(c,
                         "host %u: the barrier of ballot %lu.%u stands at slot %lu, and leaves slot %lu out (trap 16)",
                         h->index, r->ballot.round, r->ballot.id, r->slot, below);
    }
}

/* What it proposed of its own will not be chosen: it must not say any more that it leads. */
static void overtake(struct host *h, const struct disk_record *r)
{
    const struct log_slot *s = observer_slot(h->cluster, r->slot);
    for (uint32_t i = 0; s && i < s->n_proposals; i++) {
        struct owner *w = observer_owner(h->cluster->observer, s->proposals[i].ballot);
        if (w && w->host == h->index && w->boot == h->boot && s->proposals[i].body != r->body)
            w->overtaken = true;
    }
}

void observer_record(struct host *h, const struct disk_record *r)
{
    struct cluster *c = h->cluster;
    if (!h->told_space && (r->type == RECORD_ACCEPT || r->type == RECORD_PROMISE || r->type == RECORD_CHOSEN))
        cluster_fail(c, "host %u: record %d, but the disk has no room (trap 40)", h->index, (int)r->type);
    switch (r->type) {
    case RECORD_PROMISE:
        cluster_trace(c, (int)h->index, "record     PROMISE %lu.%u", r->ballot.round, r->ballot.id);
        break;
    case RECORD_ACCEPT:
        cluster_trace(c, (int)h->index, "record     ACCEPT slot %lu %lu.%u", r->slot, r->ballot.round, r->ballot.id);
        if (ballot_compare(r->ballot, h->disk.promised) < 0)
            cluster_fail(c, "host %u: accepts slot %lu under %lu.%u below its promise %lu.%u (trap 4)", h->index,
                         r->slot, r->ballot.round, r->ballot.id, h->disk.promised.round, h->disk.promised.id);
        if (r->slot > 0)
            observer_propose(h, r->slot, r->ballot, r->body);
        if (r->slot > 0 && r->ballot.id == h->id && !c->options.liar)
            check_barrier(h, r);
        break;
    case RECORD_CHOSEN:
        cluster_trace(c, (int)h->index, "record     CHOSEN slot %lu", r->slot);
        if (c->options.liar)
            break;
        if (r->slot > 0 && !observer_is_chosen(c, r->slot, r->body))
            cluster_fail(c, "host %u: records slot %lu as chosen, which it is not (trap 36)", h->index, r->slot);
        overtake(h, r);
        break;
    case RECORD_COMMIT:
        cluster_trace(c, (int)h->index, "record     COMMIT slot %lu, %u notes", r->slot, r->n_notes);
        if (c->options.liar)
            break;
        if (r->slot > c->observer->chosen)
            cluster_fail(c, "host %u: commits slot %lu, chosen are %lu", h->index, r->slot, c->observer->chosen);
        for (slot_t s = h->disk.commit + 1; s <= r->slot; s++) {
            if (!observer_is_chosen(c, s, disk_slot(&h->disk, s)->last))
                cluster_fail(c, "host %u: commits slot %lu, but its journal has another value (trap 14)", h->index, s);
        }
        break;
    case RECORD_IDENTITY:
        if (h->config_differs)
            cluster_fail(c, "host %u: starts, though its bootstrap file differs (trap 32)", h->index);
        cluster_trace(c, (int)h->index, "record     IDENTITY status %d", (int)r->identity->status);
        break;
    }
}
