/* One host: starts, steps and crashes its core, and carries out what the core asks for. */
#include "tests/unit/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/cluster_check.h"
#include "tests/unit/cluster_client.h"
#include "tests/unit/cluster_lone.h"

enum { FETCH_ENTRIES_MAX = 256 };

uint64_t host_wall_usec(const struct host *h)
{
    return h->cluster->wall_base_usec + h->cluster->now_usec + (uint64_t)h->wall_offset_usec;
}

/* --- values --- */

struct value *host_value(struct host *h, const struct hash128 *key, const struct body *body)
{
    struct tracked *t = calloc(1, sizeof(*t) + body->size);
    if (!t)
        abort();
    t->value.size = body->size;
    memcpy(t->value.bytes, body->bytes, body->size);
    if (!value_parse(&t->value, key))
        cluster_fail(h->cluster, "host %u: a value of %u bytes does not parse", h->index, body->size);
    t->previous = h->values.previous;
    t->next = &h->values;
    t->previous->next = t->next->previous = t;
    return &t->value;
}

static void free_value(struct value *v)
{
    struct tracked *t = (struct tracked *)(void *)((char *)v - offsetof(struct tracked, value));
    t->previous->next = t->next;
    t->next->previous = t->previous;
    free(t);
}

void host_value_release(struct host *h, struct value *v)
{
    if (v->refs == 0)
        cluster_fail(h->cluster, "host %u: a value was given back too often", h->index);
    if (--v->refs == 0)
        free_value(v);
}

/* --- effects --- */

static void send_all(struct host *h, const struct effects *e)
{
    for (size_t i = 0; i < e->n_outgoing; i++) {
        const struct outgoing *o = &e->outgoing[i];
        if (o->after > h->seq)
            cluster_fail(h->cluster, "host %u: a message waits for record %lu of %lu", h->index, o->after, h->seq);
        struct packet *p = packet_make(h, &o->message);
        observer_made(h, p, o->to);
        if (o->after <= h->durable_seq) {
            network_send(h, p, o->to);
            packet_release(p);
            continue;
        }
        struct gated *g = malloc(sizeof(*g));
        if (!g)
            abort();
        *g = (struct gated){.after = o->after, .to = o->to, .packet = p};
        *h->gated_end = g;
        h->gated_end = &g->next;
    }
}

static void set_timer(struct host *h, uint64_t wake_usec)
{
    if (wake_usec == h->timer_usec)
        return;
    h->timer_usec = wake_usec;
    if (wake_usec == UINT64_MAX)
        return;
    if (wake_usec < h->cluster->now_usec)
        h->timer_usec = h->cluster->now_usec;
    cluster_push(h->cluster,
                 (struct sim_event){.at_usec = wake_usec, .type = SIM_TIMER, .host = h->index, .boot = h->boot});
    h->timer_order = h->cluster->order;
}

static void start_fetch(struct host *h, const struct fetch_request *f)
{
    if (!f->wanted)
        return;
    h->fetch = *f; /* the newest one counts, as on the daemon's host */
    if (h->fetching)
        return;
    h->fetching = true;
    cluster_push(h->cluster, (struct sim_event){.at_usec = h->cluster->now_usec + cluster_random(h->cluster, 10, 3000),
                                                .type = SIM_FETCHED,
                                                .host = h->index,
                                                .boot = h->boot});
}

static void release_all(struct value *list)
{
    while (list) {
        struct value *next = list->next;
        free_value(list);
        list = next;
    }
}

static void watch(struct host *h)
{
    slot_t chosen = replica_chosen(h->replica);
    if (chosen == h->chosen)
        return;
    if (chosen < h->chosen)
        cluster_fail(h->cluster, "host %u: its chosen prefix went from %lu back to %lu", h->index, h->chosen, chosen);
    h->chosen = chosen;
    struct replica_status s;
    replica_status(h->replica, &s);
    if (s.diverged)
        cluster_fail(h->cluster, "host %u says that its log differs", h->index);
    observer_chain(h, s.chosen, &s.chain);
}

static void carry_out(struct host *h, const struct effects *e)
{
    disk_append(h, e->records, e->n_records, e->n_records ? e->records_seq : h->seq);
    for (size_t i = 0; i < e->n_applied; i++)
        observer_applied(h, &e->applied[i]);
    observer_notes(h, e);
    if (h->cluster->lone)
        lone_effects(h, e);
    for (size_t i = 0; i < e->n_outcomes && !h->cluster->lone; i++)
        clients_outcome(h, &e->outcomes[i]);
    clients_outcomes_done(h);
    send_all(h, e);
    start_fetch(h, &e->fetch);
    set_timer(h, e->wake_usec);
    release_all(e->released);
    watch(h);
}

void host_step(struct host *h, struct event *e)
{
    struct effects effects;
    memset(&effects, 0xe5, sizeof(effects));
    h->cluster->steps++;
    e->now_usec = h->cluster->now_usec;
    replica_step(h->replica, e, &effects);
    carry_out(h, &effects);
}

/* --- what the host itself does --- */

static void answer_fetch(struct host *h)
{
    const struct fetch_request request = h->fetch, *f = &request;
    h->fetching = false;
    if (f->until > h->disk.commit)
        cluster_fail(h->cluster, "host %u: fetches slot %lu, but its journal knows %lu", h->index, f->until,
                     h->disk.commit);
    struct entry entries[FETCH_ENTRIES_MAX];
    size_t n = 0, bytes = 0;
    for (slot_t s = f->from; s <= f->until && n < FETCH_ENTRIES_MAX; s++) {
        const struct body *b = disk_slot(&h->disk, s)->chosen;
        if (!b)
            cluster_fail(h->cluster, "host %u: slot %lu is chosen, but its journal has no value", h->index, s);
        if (n > 0 && bytes + b->size > f->bytes_max)
            break;
        bytes += b->size;
        entries[n++] = (struct entry){.slot = s, .value = host_value(h, &replica_identity(h->replica)->cluster, b)};
    }
    cluster_trace(h->cluster, (int)h->index, "fetched    from %lu: %zu slots for %u", f->from, n, f->to);
    host_step(h, &(struct event){.type = EVENT_FETCHED, .to = f->to, .fetched = entries, .n_fetched = n});
    for (size_t i = 0; i < n; i++)
        host_value_release(h, entries[i].value);
}

void host_handle(struct host *h, const struct sim_event *e)
{
    switch (e->type) {
    case SIM_DELIVER:
        network_deliver(h, e);
        break;
    case SIM_TIMER:
        h->timer_usec = UINT64_MAX;
        host_step(h, &(struct event){.type = EVENT_TIMER});
        break;
    case SIM_SYNCED:
        disk_synced(h);
        break;
    case SIM_FETCHED:
        answer_fetch(h);
        break;
    case SIM_CALL:
        break;
    }
}

/* --- life and death --- */

void host_make(struct cluster *c, uint32_t index, const struct identity *identity)
{
    struct host *h = &c->hosts[index];
    *h = (struct host){
        .cluster = c, .index = index, .id = identity->id, .sync_min_usec = 200, .sync_max_usec = 2 * MSEC};
    h->has_space = true;
    h->values.next = h->values.previous = &h->values;
    h->gated_end = &h->gated;
    h->disk.identity = *identity;
    h->timer_usec = UINT64_MAX;
}

static void restore(struct host *h)
{
    const struct hash128 key = h->disk.identity.cluster;
    for (size_t i = 0; i < h->disk.n_records; i++) {
        const struct disk_record *d = &h->disk.records[i];
        if (d->type == RECORD_IDENTITY)
            continue;
        struct record r = {.type = d->type, .slot = d->slot, .ballot = d->ballot};
        r.notes = d->notes;
        r.n_notes = d->n_notes;
        r.value = d->body ? host_value(h, &key, d->body) : NULL;
        struct effects e;
        memset(&e, 0, sizeof(e));
        if (!replica_restore(h->replica, &r, &e))
            cluster_fail(h->cluster, "host %u: record %zu (type %d, slot %lu) is refused at restart", h->index, i,
                         (int)r.type, r.slot);
        for (size_t j = 0; j < e.n_applied; j++)
            observer_applied(h, &e.applied[j]);
        if (h->cluster->lone)
            lone_effects(h, &e);
        if (r.value)
            host_value_release(h, r.value);
        release_all(e.released);
    }
}

void host_start(struct host *h)
{
    struct cluster *c = h->cluster;
    const struct cluster_options *o = &c->options;
    struct replica_config config = {
        .identity = h->disk.identity,
        .heartbeat_usec = (uint32_t)o->heartbeat_usec,
        .message_bytes_max = o->message_bytes_max,
        .proposal_bytes_max = o->proposal_bytes_max,
        .submissions_max = o->submissions_max,
        .promise_page_slots = o->promise_page_slots,
        .space_bytes = o->space_bytes,
        .seed = prng_next(&c->prng),
        .now_usec = c->now_usec,
    };
    h->boot++;
    h->up = true;
    h->seq = 0;
    h->durable_seq = 0;
    h->chosen = 0;
    h->applied = 0;
    h->has_applied = false;
    h->noted = h->disk.commit;
    h->fetching = false;
    h->timer_usec = UINT64_MAX;
    cluster_trace(c, (int)h->index, "start      boot %lu, %zu records, identity %d", h->boot, h->disk.n_records,
                  (int)h->disk.identity.status);
    size_t size = replica_size(&config);
    h->block = malloc(size);
    if (!h->block)
        abort();
    memset(h->block, (int)(0xa5 + h->boot), size); /* nothing may be read that init did not write */
    h->replica = replica_init(h->block, &config);
    restore(h);
    struct effects e;
    memset(&e, 0xe5, sizeof(e));
    replica_start(h->replica, c->now_usec, &e);
    carry_out(h, &e);
    if (!h->has_space)
        host_step(h, &(struct event){.type = EVENT_SPACE, .space = false});
}

static void stop(struct host *h)
{
    clients_host_down(h);
    h->up = false;
    h->replica = NULL;
    while (h->values.next != &h->values)
        free_value(&h->values.next->value);
    while (h->gated) {
        struct gated *g = h->gated;
        h->gated = g->next;
        packet_release(g->packet);
        free(g);
    }
    h->gated_end = &h->gated;
    free(h->block);
    h->block = NULL;
}

void host_crash(struct host *h, bool cut_all)
{
    if (!h->up)
        return;
    size_t n = h->disk.n_records;
    stop(h);
    disk_crash(h, cut_all);
    h->paused_until_usec = h->stalled_until_usec = 0;
    cluster_trace(h->cluster, (int)h->index, "crash      %zu of %zu records survive", h->disk.n_records, n);
}

void host_wipe(struct host *h)
{
    if (h->up)
        stop(h);
    cluster_trace(h->cluster, (int)h->index, "wipe");
    struct identity i = h->disk.identity;
    disk_free(&h->disk);
    i.status = IDENTITY_EMPTY;
    i.life = prng_next(&h->cluster->prng) | 1;
    memset(&i.cluster, 0, sizeof(i.cluster));
    for (uint32_t m = 0; m < i.configuration.n_members; m++)
        i.configuration.members[m].life = 0;
    h->disk.identity = i;
    h->wiped = true;
}

void host_free(struct host *h)
{
    if (h->up)
        stop(h);
    disk_free(&h->disk);
}

bool host_is_leader(const struct host *h)
{
    if (!h->up)
        return false;
    struct replica_status s;
    replica_status(h->replica, &s);
    return s.role == ROLE_LEADER;
}

struct host *cluster_leader(struct cluster *c)
{
    struct host *leader = NULL;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (!host_is_leader(&c->hosts[i]))
            continue;
        if (leader)
            return NULL;
        leader = &c->hosts[i];
    }
    return leader;
}

const struct configuration *cluster_configuration(const struct cluster *c, struct configuration *ret)
{
    *ret = c->hosts[0].disk.identity.configuration;
    return ret;
}
