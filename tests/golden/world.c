/* The cluster: cores with a disk each, and packets between them that wait for a command or for time to run. */
#include "tests/golden/golden.h"

#include <stdlib.h>
#include <string.h>

#include "paxos/checkpoint.h"

/* --- memory --- */

static void *checked(void *p)
{
    if (p == NULL) {
        fputs("golden: out of memory\n", stderr);
        exit(2);
    }
    return p;
}

static void *grown(void *array, size_t n, size_t *max, size_t size)
{
    if (n < *max)
        return array;
    *max = *max == 0 ? 64 : 2 * *max;
    return checked(realloc(array, *max * size));
}

void *world_alloc(struct world *w, size_t size)
{
    w->blocks = grown((void *)w->blocks, w->n_blocks, &w->blocks_max, sizeof(*w->blocks));
    return w->blocks[w->n_blocks++] = checked(calloc(1, size));
}

void world_done(struct world *w)
{
    for (uint32_t i = 0; i < HOSTS_MAX; i++) {
        free(w->hosts[i].replica);
        free(w->hosts[i].records);
    }
    for (size_t i = 0; i < w->n_blocks; i++)
        free(w->blocks[i]);
    free((void *)w->blocks);
    free((void *)w->values);
}

static const void *copy_of(struct world *w, const void *from, size_t size)
{
    return size == 0 ? NULL : memcpy(world_alloc(w, size), from, size);
}

/* --- values --- */

struct value *world_value(struct world *w, const uint8_t *bytes, uint32_t size)
{
    static const struct hash128 zero;
    for (size_t i = 0; i < w->n_values; i++)
        if (w->values[i]->size == size && memcmp(w->values[i]->bytes, bytes, size) == 0)
            return w->values[i];
    struct value *v = world_alloc(w, sizeof(*v) + size);
    v->size = size;
    memcpy(v->bytes, bytes, size);
    /* A configuration is hashed without a key: those who copy slot 0 have none yet. */
    if (!value_parse(v, bytes[0] == VALUE_CONFIG ? &zero : &w->config.identity.cluster)) {
        fputs("golden: a value does not parse\n", stderr);
        exit(2);
    }
    w->values = grown((void *)w->values, w->n_values, &w->values_max, sizeof(*w->values));
    return w->values[w->n_values++] = v;
}

const struct value *world_find_value(const struct world *w, const struct hash128 *hash)
{
    for (size_t i = 0; i < w->n_values; i++)
        if (hash_equal(&w->values[i]->hash, hash))
            return w->values[i];
    return NULL;
}

static struct value *value_of(struct world *w, const struct value *v)
{
    return v == NULL ? NULL : world_value(w, v->bytes, v->size);
}

/* --- the network --- */

static const struct entry *entries_of(struct world *w, const struct entry *from, uint32_t n)
{
    struct entry *entries = world_alloc(w, (n + 1) * sizeof(*entries));
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = from[i];
        entries[i].value = value_of(w, from[i].value);
    }
    return entries;
}

static const struct message *message_of(struct world *w, const struct message *from)
{
    struct message *m = world_alloc(w, sizeof(*m));
    *m = *from;
    switch (m->type) {
    case MESSAGE_PROMISE:
        m->promise.entries =
            copy_of(w, from->promise.entries, from->promise.n_entries * sizeof(*from->promise.entries));
        break;
    case MESSAGE_ACCEPT:
        m->accept.entries = entries_of(w, from->accept.entries, from->accept.n_entries);
        break;
    case MESSAGE_CHOSEN:
        m->chosen.entries = entries_of(w, from->chosen.entries, from->chosen.n_entries);
        break;
    case MESSAGE_SUBMIT:
        m->submit.entries = entries_of(w, from->submit.entries, from->submit.n_entries);
        break;
    case MESSAGE_BODY:
        m->body.value = value_of(w, from->body.value);
        break;
    case MESSAGE_STATE:
        m->state.slot0 = value_of(w, from->state.slot0);
        break;
    default:
        break;
    }
    return m;
}

static void send_message(struct host *h, replica_id_t to, const struct message *m)
{
    struct world *w = h->world;
    words_message(h, m, to);
    for (uint8_t i = 0; i < w->n_hosts; i++) {
        if (i == h->id || (to != REPLICA_ID_NONE && to != i) || (w->cut[h->id][i] >> m->type & 1) != 0)
            continue;
        struct packet *p = world_alloc(w, sizeof(*p)), **end = &w->packets;
        *p = (struct packet){.due_usec = w->now_usec + LATENCY_USEC, .from = h->id, .to = i, .message = m};
        while (*end != NULL)
            end = &(*end)->next;
        *end = p;
    }
}

static void receive(struct world *w, const struct packet *p)
{
    struct host *h = &w->hosts[p->to];
    if (h->up)
        host_step(h, &(struct event){.type = EVENT_MESSAGE, .message = p->message});
}

uint32_t world_take(struct world *w, uint8_t from, uint8_t to, uint32_t types, uint32_t nth, bool deliver)
{
    struct packet *taken = NULL, **taken_end = &taken;
    uint32_t seen = 0, n = 0;
    for (struct packet **link = &w->packets; *link != NULL;) {
        struct packet *p = *link;
        if ((from != EVERYONE && p->from != from) || (to != EVERYONE && p->to != to) ||
            (types >> p->message->type & 1) == 0 || (++seen != nth && nth != 0)) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        p->next = NULL;
        *taken_end = p;
        taken_end = &p->next;
        n++;
    }
    for (struct packet *p = taken; p != NULL && deliver; p = p->next)
        receive(w, p);
    return n;
}

/* --- the disk --- */

static void disk_append(struct host *h, const struct record *record)
{
    words_record(h, record);
    h->records = grown(h->records, h->n_records, &h->records_max, sizeof(*h->records));
    struct disk_record *d = &h->records[h->n_records++];
    *d = (struct disk_record){.record = *record};
    d->record.value = value_of(h->world, record->value);
    d->record.notes = NULL; /* a restart needs none: applying gives them again */
    d->record.n_notes = 0;
    if (record->type == RECORD_IDENTITY) {
        d->identity = *record->identity;
        h->world->config.identity.cluster = record->identity->cluster; /* what all later values are hashed with */
    }
}

static void disk_durable(struct host *h, size_t n)
{
    for (; h->n_durable < n; h->n_durable++)
        if (h->records[h->n_durable].record.type == RECORD_IDENTITY)
            h->superblock = h->records[h->n_durable].identity;
    while (h->gated != NULL && h->n_at_boot + h->gated->after <= h->n_durable) {
        struct gated *g = h->gated;
        h->gated = g->next;
        send_message(h, g->to, g->message);
    }
    host_step(h, &(struct event){.type = EVENT_DURABLE, .durable_seq = h->n_durable - h->n_at_boot});
}

void host_sync(struct host *h)
{
    h->sync_usec = UINT64_MAX;
    disk_durable(h, h->n_records);
}

static void disk_arm(struct host *h)
{
    if (h->sync_usec != UINT64_MAX || h->n_durable == h->n_records)
        return;
    h->sync_usec = h->world->now_usec + LATENCY_USEC;
    h->n_syncing = h->n_records;
}

/* --- the host --- */

static void apply(struct host *h, const struct applied *a)
{
    words_applied(h, a);
    if (a->slot >= LOG_MAX)
        return;
    h->applied[a->slot] = value_of(h->world, a->value);
    h->visible[a->slot] = a->visible;
    for (uint32_t i = 0; i < h->world->n_hosts; i++) {
        const struct value *other = h->world->hosts[i].applied[a->slot];
        if (other != NULL && other != h->applied[a->slot])
            h->world->disagreed = true;
    }
}

static void send_or_gate(struct host *h, const struct outgoing *o)
{
    const struct message *m = message_of(h->world, &o->message);
    if (h->n_at_boot + o->after <= h->n_durable) {
        send_message(h, o->to, m);
        return;
    }
    struct gated *g = world_alloc(h->world, sizeof(*g)), **end = &h->gated;
    *g = (struct gated){.after = o->after, .to = o->to, .message = m};
    while (*end != NULL)
        end = &(*end)->next;
    *end = g;
}

/* What the core wants read from the journal: at once, since it is what was applied. */
static void fetch(struct host *h, const struct fetch_request *f)
{
    struct entry entries[LOG_MAX];
    struct event e = {.type = EVENT_FETCHED, .to = f->to, .fetched = entries, .first_kept = h->checkpoint_slot + 1};
    for (slot_t s = f->from; f->from >= e.first_kept && s <= f->until && s < LOG_MAX && h->applied[s] != NULL; s++)
        entries[e.n_fetched++] = (struct entry){.slot = s, .value = h->applied[s]};
    host_step(h, &e);
}

/* --- checkpoints --- */

void host_checkpoint(struct host *h)
{
    struct world *w = h->world;
    struct checkpoint_writer *c =
        checkpoint_begin(world_alloc(w, checkpoint_writer_size(&w->config)), h->replica, NULL, 0);
    uint8_t part[CHECKPOINT_PART_BYTES_MIN], *bytes = NULL;
    for (size_t n; !checkpoint_is_written(c); h->checkpoint_size += n) {
        if (bytes == NULL)
            h->checkpoint_size = 0;
        if (!checkpoint_write(c, h->replica, part, sizeof(part), &n))
            abort(); /* nothing is applied meanwhile */
        bytes = checked(realloc(bytes, h->checkpoint_size + sizeof(part)));
        memcpy(bytes + h->checkpoint_size, part, n);
    }
    h->checkpoint = copy_of(w, bytes, h->checkpoint_size);
    h->checkpoint_slot = checkpoint_slot(c);
    free(bytes);
}

static void load_checkpoint(struct host *h, struct checkpoint_reader *c)
{
    const uint8_t *none;
    size_t size;
    checkpoint_load(c, h->replica);
    if (!checkpoint_read(c, h->checkpoint, h->checkpoint_size, &none, &size) || c->stage != CHECKPOINT_WHOLE) {
        fprintf(stderr, "golden: replica %u refuses a checkpoint\n", h->id);
        exit(2);
    }
}

/* All at once, however large; nothing where that peer has none that leads on. */
static void install(struct host *h, replica_id_t from)
{
    const struct host *peer = &h->world->hosts[from];
    struct checkpoint_reader c;
    if (peer->checkpoint_slot <= h->chosen)
        return;
    h->checkpoint = peer->checkpoint;
    h->checkpoint_size = peer->checkpoint_size;
    h->checkpoint_slot = peer->checkpoint_slot;
    words_installed(h, from);
    load_checkpoint(h, &c);
    host_step(h, &(struct event){.type = EVENT_INSTALL, .checkpoint = &c});
}

/* --- the host's steps --- */

static void carry_out(struct host *h, const struct effects *e)
{
    struct replica_status now;
    replica_status(h->replica, &now);
    words_leader(h, &now);
    if (now.counters.leaderships > h->before.counters.leaderships) {
        h->world->led++;
        h->world->led_by = h->id;
    }
    h->before = now;
    h->chosen = now.chosen;
    for (size_t i = 0; i < e->n_records; i++)
        disk_append(h, &e->records[i]);
    for (size_t i = 0; i < e->n_applied; i++)
        apply(h, &e->applied[i]);
    for (size_t i = 0; i < e->n_outcomes; i++)
        words_outcome(h, &e->outcomes[i]);
    for (size_t i = 0; i < e->n_outgoing; i++)
        send_or_gate(h, &e->outgoing[i]);
    h->wake_usec = e->wake_usec;
    disk_arm(h);
    const struct fetch_request f = e->fetch;
    const replica_id_t install_from = e->install_from;
    if (f.wanted)
        fetch(h, &f);
    if (install_from != REPLICA_ID_NONE)
        install(h, install_from);
}

void host_step(struct host *h, struct event *e)
{
    struct effects effects;
    e->now_usec = h->world->now_usec;
    replica_step(h->replica, e, &effects);
    carry_out(h, &effects);
}

void host_start(struct host *h)
{
    struct replica_config config = h->world->config;
    struct effects e;
    config.identity = h->superblock;
    config.seed = 1 + h->id + HOSTS_MAX * (uint64_t)h->boots++;
    config.now_usec = h->world->now_usec;
    h->replica = replica_init(checked(malloc(replica_size(&config))), &config);
    if (h->checkpoint != NULL) {
        struct checkpoint_reader c;
        load_checkpoint(h, &c);
        replica_restore_checkpoint(h->replica, &c);
    }
    for (size_t i = 0; i < h->n_records; i++) {
        if (h->records[i].record.type == RECORD_IDENTITY)
            continue;
        if (!replica_restore(h->replica, &h->records[i].record, &e)) {
            fprintf(stderr, "golden: replica %u refuses record %zu of its journal\n", h->id, i);
            exit(2);
        }
        for (size_t k = 0; k < e.n_applied; k++)
            apply(h, &e.applied[k]);
    }
    h->up = true;
    h->paused = h->stalled = false;
    h->n_at_boot = h->n_durable = h->n_records;
    h->sync_usec = UINT64_MAX;
    h->gated = NULL;
    replica_status(h->replica, &h->before);
    words_recalled(h);
    replica_start(h->replica, h->world->now_usec, &e);
    carry_out(h, &e);
}

void host_crash(struct host *h)
{
    words_line(h, "crashes", "and loses %zu records", h->n_records - h->n_durable);
    h->up = false;
    h->n_records = h->n_durable;
    h->wake_usec = h->sync_usec = UINT64_MAX;
    memset((void *)h->applied, 0, sizeof(h->applied));
    for (size_t i = 0; i < h->world->n_calls; i++)
        h->world->calls[i].open = h->world->calls[i].open && h->world->calls[i].host != h->id;
    free(h->replica);
    h->replica = NULL;
}

void host_wipe(struct host *h)
{
    struct identity *i = &h->superblock;
    i->status = IDENTITY_EMPTY;
    i->life += 100;
    memset(&i->cluster, 0, sizeof(i->cluster));
    for (uint32_t k = 0; k < i->configuration.n_members; k++)
        i->configuration.members[k].life = 0;
    h->n_records = h->n_durable = 0;
    h->checkpoint = NULL;
    h->checkpoint_slot = 0;
}

void world_make(struct world *w, uint32_t n, bool blank, uint8_t down)
{
    struct identity *i = &w->config.identity;
    struct configuration *c = &i->configuration;
    w->n_hosts = n;
    i->status = blank ? IDENTITY_EMPTY : IDENTITY_VOTER;
    memset(&i->cluster, blank ? 0 : 0xc1, sizeof(i->cluster));
    c->n_members = n;
    for (uint8_t k = 0; k < n; k++)
        c->members[k] =
            (struct member){.life = blank ? 0 : 10 + (uint64_t)k, .gen = 1, .id = k, .address_size = 1, .address = "a"};
    for (uint8_t k = 0; k < n; k++) {
        struct host *h = &w->hosts[k];
        *h = (struct host){.world = w, .id = k, .sync_usec = UINT64_MAX, .wake_usec = UINT64_MAX};
        h->superblock = *i;
        h->superblock.id = k;
        h->superblock.life = 10 + (uint64_t)k;
    }
    for (uint8_t k = 0; k < n; k++)
        if (k != down)
            host_start(&w->hosts[k]);
}

/* --- time --- */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The packet that is due first; those to a replica that is down are lost, those to a paused one wait. */
static struct packet **next_packet(struct world *w)
{
    struct packet **next = NULL;
    for (struct packet **link = &w->packets; *link != NULL;) {
        const struct packet *p = *link;
        const struct host *to = &w->hosts[p->to];
        if ((w->held[p->from][p->to] >> p->message->type & 1) == 0 && !to->paused) {
            if (!to->up) {
                *link = p->next;
                continue;
            }
            if (next == NULL || p->due_usec < (*next)->due_usec)
                next = link;
        }
        link = &(*link)->next;
    }
    return next;
}

bool world_run(struct world *w, uint64_t until_usec)
{
    struct packet **next = next_packet(w);
    struct host *sync = NULL, *wake = NULL;
    uint64_t at = next == NULL ? UINT64_MAX : later((*next)->due_usec, w->now_usec);
    for (uint32_t i = 0; i < w->n_hosts; i++) {
        struct host *h = &w->hosts[i];
        if (h->up && !h->stalled && !h->paused && h->sync_usec < at) {
            sync = h;
            at = later(h->sync_usec, w->now_usec);
        }
    }
    for (uint32_t i = 0; i < w->n_hosts; i++) {
        struct host *h = &w->hosts[i];
        if (h->up && !h->paused && h->wake_usec < at) {
            wake = h;
            at = later(h->wake_usec, w->now_usec);
        }
    }
    if (at > until_usec) {
        w->now_usec = until_usec;
        return false;
    }
    w->now_usec = at;
    if (wake != NULL) {
        wake->wake_usec = UINT64_MAX;
        host_step(wake, &(struct event){.type = EVENT_TIMER});
    } else if (sync != NULL) {
        size_t n = sync->n_syncing;
        sync->sync_usec = UINT64_MAX;
        disk_durable(sync, n);
    } else {
        const struct packet *p = *next;
        *next = p->next;
        receive(w, p);
    }
    return true;
}
