/* The disks: the real journal over files in memory, and beside it what the core asked for, record by record, so that
 * what a restart finds can be compared: all that was durable, then a beginning of the rest, in order, nothing else. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/journal.h"
#include "tests/sim/found.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

enum { SPACE_RETRY_USEC = 1000000, CHECKED_BYTES = 1 << 20 };

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

/* --- what the core asked for --- */

static void note_appended(struct host *h, const struct disk_record *r)
{
    struct disk *d = &h->disk;
    if (r->type == RECORD_PROMISE || r->type == RECORD_ACCEPT) {
        if (ballot_compare(r->ballot, d->promised) > 0)
            d->promised = r->ballot;
    }
    if (r->type == RECORD_ACCEPT || r->type == RECORD_CHOSEN)
        disk_slot(d, r->slot)->last = r->body;
    if (r->type == RECORD_INSTALLED)
        d->commit = r->slot;
    if (r->type != RECORD_COMMIT)
        return;
    for (slot_t s = d->commit; s <= r->slot; s++) {
        struct disk_slot *slot = disk_slot(d, s);
        if (!slot->chosen)
            slot->chosen = slot->last;
        if (!slot->chosen_ever)
            slot->chosen_ever = slot->chosen;
    }
    d->commit = r->slot;
}

static void *copy_of(const void *from, size_t size)
{
    void *to = malloc(size);
    if (!to)
        abort();
    return memcpy(to, from, size);
}

static void copy_record(struct host *h, const struct record *from, uint64_t seq, struct disk_record *ret)
{
    *ret = (struct disk_record){.seq = seq, .type = from->type, .slot = from->slot, .ballot = from->ballot};
    if (from->type == RECORD_ACCEPT || from->type == RECORD_CHOSEN) {
        if (!from->value)
            cluster_fail(h->cluster, "host %u: a record of slot %lu without a value", h->index, from->slot);
        ret->body = cluster_body(h->cluster, from->value->bytes, from->value->size);
    }
    if (from->type == RECORD_IDENTITY)
        ret->identity = copy_of(from->identity, sizeof(*ret->identity));
    if (from->type == RECORD_COMMIT && from->n_notes > 0) {
        if (from->n_notes > RECORD_NOTES_MAX)
            cluster_fail(h->cluster, "host %u: %u notes in one record", h->index, from->n_notes);
        ret->notes = copy_of(from->notes, from->n_notes * sizeof(*ret->notes));
        ret->n_notes = from->n_notes;
    }
}

static struct disk_record *record_add(struct disk *d)
{
    if (d->n_records == d->capacity) {
        d->capacity = d->capacity ? 2 * d->capacity : 256;
        d->records = realloc(d->records, d->capacity * sizeof(*d->records));
        if (!d->records)
            abort();
    }
    return &d->records[d->n_records++];
}

void disk_append(struct host *h, const struct record *records, size_t n, uint64_t seq)
{
    struct disk *d = &h->disk;
    if (n == 0)
        return;
    if (seq != h->seq + n)
        cluster_fail(h->cluster, "host %u: %zu records from sequence %lu end at %lu", h->index, n, h->seq, seq);
    for (size_t i = 0; i < n; i++) {
        struct disk_record r;
        copy_record(h, &records[i], ++h->seq, &r);
        observer_record(h, &r);
        note_appended(h, &r);
        *record_add(d) = r;
    }
}

static void note_promise(struct disk *d, struct ballot promised)
{
    d->promised_durable = promised;
    if (ballot_compare(promised, d->promised_ever) > 0)
        d->promised_ever = promised;
}

static void make_durable(struct host *h, size_t until)
{
    struct disk *d = &h->disk;
    for (; d->n_durable < until; d->n_durable++) {
        const struct disk_record *r = &d->records[d->n_durable];
        if ((r->type == RECORD_PROMISE || r->type == RECORD_ACCEPT) &&
            ballot_compare(r->ballot, d->promised_durable) > 0)
            note_promise(d, r->ballot);
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

void disk_synced(struct host *h, uint64_t seq)
{
    struct disk *d = &h->disk;
    size_t until = d->n_durable;
    while (until < d->n_records && d->records[until].seq <= seq)
        until++;
    if (seq > h->seq)
        cluster_fail(h->cluster, "host %u: the journal is durable up to %lu of %lu", h->index, seq, h->seq);
    h->durable_seq = seq;
    make_durable(h, until);
}

/* --- the journal's thread --- */

static void write_at(struct host *h, uint64_t usec)
{
    h->disk.writing = true;
    cluster_push(h->cluster, (struct sim_event){.at_usec = usec, .type = SIM_WRITE, .host = h->index, .boot = h->boot});
}

void disk_kick(struct host *h)
{
    if (h->disk.writing)
        return;
    uint64_t takes_usec = cluster_random(h->cluster, h->sync_min_usec, h->sync_max_usec);
    uint64_t usec = h->cluster->now_usec + takes_usec;
    if (journal_is_pending(h->journal)) {
        h->cluster->happened[HAPPENED_SLOW] += takes_usec > 20 * MSEC;
        h->cluster->happened[HAPPENED_STALLED] += usec < h->stalled_until_usec;
        write_at(h, usec < h->stalled_until_usec ? h->stalled_until_usec : usec);
    } else if (!journal_has_space(h->journal))
        write_at(h, h->cluster->now_usec + SPACE_RETRY_USEC);
}

/* After every change of names, and else now and then; where much has to be read for it, less often. */
static void check_written(struct host *h)
{
    struct disk *d = &h->disk;
    uint64_t names = vfs_memory_count(d->memory, VFS_MEMORY_RENAME | VFS_MEMORY_REMOVE | VFS_MEMORY_DIR_SYNC);
    uint64_t permille = names == d->names_checked ? h->cluster->options.recover_permille : 1000;
    uint64_t used = vfs_memory_used(d->memory);
    d->names_checked = names;
    if (cluster_chance(h->cluster, (uint32_t)(used > CHECKED_BYTES ? permille * CHECKED_BYTES / used : permille)))
        disk_check(h);
}

/* False: it failed, which is final. */
static bool write_once(struct host *h)
{
    int error = journal_write(h->journal);
    if (error == 0) {
        if (vfs_memory_has_failed(h->disk.memory))
            cluster_fail(h->cluster, "host %u: its disk failed, and its process goes on (trap 37)", h->index);
        if (journal_durable_seq(h->journal) > h->durable_seq) {
            disk_synced(h, journal_durable_seq(h->journal));
            check_written(h);
        }
        return true;
    }
    if (!h->disk.failing)
        cluster_fail(h->cluster, "host %u: the journal fails by itself: %s", h->index, strerror(-error));
    cluster_trace(h->cluster, (int)h->index, "disk       failed: the process is gone");
    return false;
}

void disk_write(struct host *h)
{
    h->disk.writing = false;
    if (h->stalled_until_usec > h->cluster->now_usec) {
        write_at(h, h->stalled_until_usec);
        return;
    }
    if (h->disk.cut_write) {
        h->disk.writing = true;
        host_crash(h, false);
        host_start_later(h, cluster_random(h->cluster, 1 * MSEC, 500 * MSEC));
        return;
    }
    if (!write_once(h)) {
        h->disk.failing = false;
        host_kill(h);
        host_start_later(h, cluster_random(h->cluster, 1 * MSEC, 500 * MSEC));
        return;
    }
    disk_kick(h);
}

/* The thread finishes what it was handed. */
void disk_stop(struct host *h)
{
    while (journal_is_pending(h->journal) && write_once(h))
        ;
}

/* --- what a restart finds --- */

void disk_recovered_checkpoint(struct host *h, slot_t slot)
{
    h->disk.found.restored = slot;
}

static void move_mended(struct disk *d, size_t before, size_t to)
{
    for (size_t i = 0; i < d->n_slots; i++)
        if (d->slots[i].mended_before == before)
            d->slots[i].mended_before = to;
}

/* A record that stands there now, though nobody asked for it. */
static void note_mended(struct disk *d, size_t before)
{
    for (size_t i = 0; d->found.is_mended && i < d->n_slots; i++)
        if (d->slots[i].mended_before == before)
            d->slots[i].last = d->slots[i].chosen_ever;
}

/* Where it was ever damaged, a promise and an identity come last: what they are worth is looked at when all is there.
 */
void disk_recovered(struct host *h, const struct record *r)
{
    struct disk *d = &h->disk;
    bool is_of_damage = d->n_rot > 0 && (r->type == RECORD_IDENTITY || r->type == RECORD_PROMISE);
    size_t before = d->found.n;
    d->found.votes_no_more = d->identity.status == IDENTITY_QUARANTINED;
    if (!found_record(d, &d->found, r, r->value ? r->value->bytes : NULL, r->value ? r->value->size : 0) &&
        !is_of_damage)
        cluster_fail(h->cluster,
                     "host %u: a restart finds a record (type %d, slot %lu, ballot %lu.%u) that does not stand "
                     "there: %zu of %zu were found (traps 38, 39)",
                     h->index, (int)r->type, r->slot, r->ballot.round, r->ballot.id, d->found.n, d->n_records);
    if (d->found.n > before + 1) /* what was mended replaces what was passed by */
        move_mended(d, before + 1, d->found.n);
    if (d->found.is_of_mend && r->value && r->slot > d->found.restored)
        disk_slot(d, r->slot)->mended_before = d->found.n + 1;
    if (r->type == RECORD_IDENTITY) /* the promise before it was told, not found */
        d->found.n = d->found_before;
    d->found_before = before;
}

static void free_record(struct disk_record *r)
{
    free(r->identity);
    free(r->notes);
}

/* Rot took the records from `first` on. A replica that goes on voting must know what it promised, and be silent about
 * the slots that it voted on. */
static void check_cut(struct host *h, size_t first)
{
    struct disk *d = &h->disk;
    const struct identity *own = replica_identity(h->replica);
    struct replica_status s;
    replica_status(h->replica, &s);
    cluster_trace(h->cluster, (int)h->index, "cut        at record %zu of %zu, identity %d, silent until %lu", first,
                  d->n_records, (int)own->status, own->silent_until);
    if (own->status != IDENTITY_QUARANTINED && ballot_compare(s.promised, d->promised_durable) < 0)
        cluster_fail(h->cluster, "host %u: rot took its promise, and it goes on (promised %lu.%u; I4)", h->index,
                     d->promised_durable.round, d->promised_durable.id);
    for (size_t i = first; i < d->n_durable && own->status != IDENTITY_QUARANTINED; i++) {
        if (d->records[i].type == RECORD_ACCEPT && d->records[i].slot > own->silent_until &&
            d->records[i].slot > d->found.restored)
            cluster_fail(h->cluster, "host %u: rot took its vote for slot %lu, and it is silent until %lu only (I4)",
                         h->index, d->records[i].slot, own->silent_until);
    }
    d->saved = s.promised; /* perhaps of a record that was not known to be durable */
    note_promise(d, d->saved);
}

/* Also where all that it took was covered by a checkpoint. */
static bool is_cut_anew(struct host *h)
{
    struct disk *d = &h->disk;
    struct journal_stats s;
    journal_stats(h->journal, &s);
    bool is_new = s.damaged_segment != d->damaged_segment || s.damaged_offset != d->damaged_offset;
    d->damaged_segment = s.damaged_segment;
    d->damaged_offset = s.damaged_offset;
    return is_new;
}

void disk_recovered_all(struct host *h)
{
    struct disk *d = &h->disk;
    const struct identity *own = replica_identity(h->replica);
    bool is_cut = is_cut_anew(h);
    found_end(d, &d->found, own->status);
    if (d->n_rot > 0 && (is_cut || d->found.n < d->n_durable)) {
        check_cut(h, d->found.n);
        d->n_durable = d->found.n < d->n_durable ? d->found.n : d->n_durable;
    }
    if (d->n_rot > 0) /* what the checkpoint stands for is not fetched again */
        d->lost_until = d->found.restored;
    if (d->found.n < d->n_durable)
        cluster_fail(h->cluster, "host %u: a restart finds %zu records, %zu were durable (traps 2, 12, 38)", h->index,
                     d->found.n, d->n_durable);
    if (own->status < d->identity.status)
        cluster_fail(h->cluster, "host %u: its identity went back to %d", h->index, (int)own->status);
    make_durable(h, d->found.n);
    h->cluster->happened[HAPPENED_TAIL_LOST] += d->n_records > d->found.n;
    while (d->n_records > d->found.n)
        free_record(&d->records[--d->n_records]);
    d->identity = *own;
    d->promised = d->promised_durable;
    d->commit = 0;
    for (size_t i = 0; i < d->n_slots; i++)
        d->slots[i].last = d->slots[i].chosen = NULL;
    for (size_t i = 0; i < d->n_records; i++) {
        note_mended(d, i + 1);
        note_appended(h, &d->records[i]);
    }
    note_mended(d, d->n_records + 1);
    for (size_t i = 0; i < d->n_slots; i++)
        d->slots[i].mended_before = 0;
    if (d->found.restored > d->commit) /* a peer's, of which its core did not know yet */
        disk_installed(h, d->found.restored);
}

void disk_installed(struct host *h, slot_t slot)
{
    struct disk_record *r = record_add(&h->disk);
    *r = (struct disk_record){.type = RECORD_INSTALLED, .slot = slot};
    note_appended(h, r);
}

/* --- life --- */

static void not_told(void *user, int error)
{
    (void)user, (void)error;
}

void disk_tally(struct host *h)
{
    uint64_t *n = h->cluster->happened;
    if (!h->disk.memory)
        return;
    const struct vfs_memory_tally *t = vfs_memory_tally(h->disk.memory);
    n[HAPPENED_SECTOR_LOST] += t->sectors_lost;
    n[HAPPENED_SECTOR_TORN] += t->sectors_zeroed;
    n[HAPPENED_NAME_LOST] += t->names_lost;
    n[HAPPENED_FULL] += t->n_full;
    n[HAPPENED_FAILED] += t->n_failed;
    n[HAPPENED_ROTATED] += vfs_memory_count(h->disk.memory, VFS_MEMORY_RENAME);
    chat_tally(h);
}

void disk_format(struct host *h, const struct identity *identity)
{
    char error[JOURNAL_ERROR_MAX + 1] = "";
    struct disk *d = &h->disk;
    struct journal *j;
    disk_tally(h);
    disk_free(d);
    d->memory = vfs_memory_new(prng_next(&h->cluster->prng));
    chat_make(h);
    d->identity = *identity;
    if (identity->status == IDENTITY_EMPTY)
        return;
    struct journal_options o = {
        .vfs = vfs_memory_vfs(d->memory), .written = not_told, .segment_bytes = h->cluster->options.segment_bytes};
    if (journal_open(&o, identity, &(struct journal_replay){.each = NULL}, &j, error) != JOURNAL_OK)
        cluster_fail(h->cluster, "host %u: %s", h->index, error);
    journal_close(j);
}

void disk_free(struct disk *d)
{
    for (size_t i = 0; i < d->n_records; i++)
        free_record(&d->records[i]);
    free(d->records);
    free(d->slots);
    vfs_memory_free(d->memory);
    chat_free(&d->chat);
    *d = (struct disk){0};
}
