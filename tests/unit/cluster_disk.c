/* The journal of one host, in memory: a durable prefix, and what a crash may still take. */
#include "tests/unit/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/cluster_check.h"

struct disk_slot *disk_slot(struct disk *d, slot_t slot)
{
    if (slot >= d->n_slots) {
        size_t n = d->n_slots ? d->n_slots : 256;
        while (n <= slot)
            n *= 2;
        d->slots = realloc(d->slots, n * sizeof(*d->slots));
        if (!d->slots)
            abort();
        memset(d->slots + d->n_slots, 0, (n - d->n_slots) * sizeof(*d->slots));
        d->n_slots = n;
    }
    return &d->slots[slot];
}

static void note_appended(struct host *h, const struct disk_record *r)
{
    struct disk *d = &h->disk;
    if (r->type == RECORD_PROMISE || r->type == RECORD_ACCEPT) {
        if (ballot_compare(r->ballot, d->promised) > 0)
            d->promised = r->ballot;
    }
    if (r->type == RECORD_ACCEPT || r->type == RECORD_CHOSEN)
        disk_slot(d, r->slot)->last = r->body;
    if (r->type != RECORD_COMMIT)
        return;
    for (slot_t s = d->commit; s <= r->slot; s++) {
        struct disk_slot *slot = disk_slot(d, s);
        if (!slot->chosen)
            slot->chosen = slot->last;
    }
    d->commit = r->slot;
}

static void copy_record(struct host *h, const struct record *from, uint64_t seq, struct disk_record *ret)
{
    *ret = (struct disk_record){.seq = seq, .type = from->type, .slot = from->slot, .ballot = from->ballot};
    if (from->type == RECORD_ACCEPT || from->type == RECORD_CHOSEN) {
        if (!from->value)
            cluster_fail(h->cluster, "host %u: a record of slot %lu without a value", h->index, from->slot);
        ret->body = cluster_body(h->cluster, from->value->bytes, from->value->size);
    }
    if (from->type == RECORD_IDENTITY) {
        ret->identity = malloc(sizeof(*ret->identity));
        if (!ret->identity)
            abort();
        *ret->identity = *from->identity;
    }
    if (from->type == RECORD_COMMIT && from->n_notes > 0) {
        if (from->n_notes > RECORD_NOTES_MAX)
            cluster_fail(h->cluster, "host %u: %u notes in one record", h->index, from->n_notes);
        ret->notes = malloc(from->n_notes * sizeof(*ret->notes));
        if (!ret->notes)
            abort();
        memcpy(ret->notes, from->notes, from->n_notes * sizeof(*ret->notes));
        ret->n_notes = from->n_notes;
    }
}

static void start_sync(struct host *h)
{
    struct disk *d = &h->disk;
    if (d->syncing || d->n_durable == d->n_records)
        return;
    d->syncing = true;
    d->sync_target = d->n_records;
    if (h->cluster->lone)
        return; /* by hand */
    uint64_t done_usec = h->cluster->now_usec + cluster_random(h->cluster, h->sync_min_usec, h->sync_max_usec);
    if (done_usec < h->stalled_until_usec)
        done_usec = h->stalled_until_usec;
    cluster_push(h->cluster,
                 (struct sim_event){.at_usec = done_usec, .type = SIM_SYNCED, .host = h->index, .boot = h->boot});
}

void disk_append(struct host *h, const struct record *records, size_t n, uint64_t seq)
{
    struct disk *d = &h->disk;
    if (n == 0)
        return;
    if (seq != h->seq + n)
        cluster_fail(h->cluster, "host %u: %zu records from sequence %lu end at %lu", h->index, n, h->seq, seq);
    for (size_t i = 0; i < n; i++) {
        if (d->n_records == d->capacity) {
            d->capacity = d->capacity ? 2 * d->capacity : 256;
            d->records = realloc(d->records, d->capacity * sizeof(*d->records));
            if (!d->records)
                abort();
        }
        struct disk_record *r = &d->records[d->n_records];
        copy_record(h, &records[i], ++h->seq, r);
        observer_record(h, r);
        note_appended(h, r);
        d->n_records++;
    }
    start_sync(h);
}

static void make_durable(struct host *h, size_t until)
{
    struct disk *d = &h->disk;
    for (; d->n_durable < until; d->n_durable++) {
        const struct disk_record *r = &d->records[d->n_durable];
        if ((r->type == RECORD_PROMISE || r->type == RECORD_ACCEPT) &&
            ballot_compare(r->ballot, d->promised_durable) > 0)
            d->promised_durable = r->ballot;
        if (r->type == RECORD_ACCEPT) {
            struct disk_slot *s = disk_slot(d, r->slot);
            if (ballot_compare(r->ballot, s->durable_ballot) >= 0) {
                s->durable_ballot = r->ballot;
                s->durable = r->body;
            }
        }
        if (r->type == RECORD_CHOSEN)
            disk_slot(d, r->slot)->durable_chosen = true;
        if (r->type == RECORD_IDENTITY)
            d->identity = *r->identity;
        observer_durable(h, r);
    }
}

/* Messages that waited for this go out before the core hears of it: both orders occur on a real host. */
void disk_synced(struct host *h)
{
    struct disk *d = &h->disk;
    d->syncing = false;
    make_durable(h, d->sync_target);
    uint64_t seq = h->durable_seq = d->records[d->n_durable - 1].seq;
    cluster_trace(h->cluster, (int)h->index, "durable    %lu", seq);
    struct gated **link = &h->gated;
    while (*link) {
        struct gated *g = *link;
        if (g->after > seq) {
            link = &g->next;
            continue;
        }
        *link = g->next;
        network_send(h, g->packet, g->to);
        packet_release(g->packet);
        free(g);
    }
    h->gated_end = link;
    start_sync(h);
    host_step(h, &(struct event){.type = EVENT_DURABLE, .durable_seq = seq});
}

static void free_record(struct disk_record *r)
{
    free(r->identity);
    free(r->notes);
}

/* A batch that was on its way may be on the disk although nobody was told. */
void disk_crash(struct host *h, bool cut_all)
{
    struct disk *d = &h->disk;
    size_t kept = d->n_durable;
    if (!cut_all && d->syncing)
        kept = cluster_random(h->cluster, d->n_durable, d->sync_target);
    make_durable(h, kept);
    while (d->n_records > kept)
        free_record(&d->records[--d->n_records]);
    d->syncing = false;

    d->promised = d->promised_durable;
    d->commit = 0;
    for (size_t i = 0; i < d->n_slots; i++)
        d->slots[i].last = d->slots[i].chosen = NULL;
    for (size_t i = 0; i < d->n_records; i++)
        note_appended(h, &d->records[i]);
}

void disk_free(struct disk *d)
{
    for (size_t i = 0; i < d->n_records; i++)
        free_record(&d->records[i]);
    free(d->records);
    free(d->slots);
    *d = (struct disk){0};
}
