/* A host's core: each of its steps passes by the observer. The linker puts these around the real ones (--wrap). */
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "journal/journal.h"
#include "paxos/checkpoint.h"
#include "paxos/core.h"
#include "tests/sim/clients.h"
#include "tests/sim/handed.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

void __wrap_config_identity(const struct config *c, replica_id_t id, uint64_t life, struct identity *ret);
void __real_config_identity(const struct config *c, replica_id_t id, uint64_t life, struct identity *ret);
struct replica *__wrap_replica_init(void *block, const struct replica_config *config);
struct replica *__real_replica_init(void *block, const struct replica_config *config);
bool __wrap_replica_restore(struct replica *r, const struct record *record, struct effects *ret);
bool __real_replica_restore(struct replica *r, const struct record *record, struct effects *ret);
int __wrap_journal_checkpoint_begin(struct journal *j, slot_t slot, enum journal_checkpoint_origin origin);
int __real_journal_checkpoint_begin(struct journal *j, slot_t slot, enum journal_checkpoint_origin origin);
void __wrap_journal_checkpoint_finish(struct journal *j);
void __real_journal_checkpoint_finish(struct journal *j);
bool __wrap_replica_restore_checkpoint(struct replica *r, const struct checkpoint_reader *c);
bool __real_replica_restore_checkpoint(struct replica *r, const struct checkpoint_reader *c);
void __wrap_replica_start(struct replica *r, uint64_t now_usec, struct effects *ret);
void __real_replica_start(struct replica *r, uint64_t now_usec, struct effects *ret);
void __wrap_replica_step(struct replica *r, const struct event *event, struct effects *ret);
void __real_replica_step(struct replica *r, const struct event *event, struct effects *ret);

/* What the daemon has no key for: sizes of tables. */
void __wrap_config_identity(const struct config *c, replica_id_t id, uint64_t life, struct identity *ret)
{
    const struct host *h = world_host();
    __real_config_identity(c, id, life, ret);
    ret->configuration.alpha = h->cluster->options.alpha;
    ret->configuration.streams_max = h->cluster->options.streams_max;
    ret->bootstrap.bytes[0] ^= h->config_differs;
}

struct replica *__wrap_replica_init(void *block, const struct replica_config *config)
{
    struct host *h = world_host();
    const struct cluster_options *o = &h->cluster->options;
    struct replica_config small = *config;
    if (o->submissions_max > 0)
        small.submissions_max = o->submissions_max;
    if (o->promise_page_slots > 0 && o->promise_page_slots < small.promise_page_slots)
        small.promise_page_slots = o->promise_page_slots;
    if (o->proposal_bytes_max > 0)
        small.proposal_bytes_max = o->proposal_bytes_max;
    h->replica = __real_replica_init(block, &small);
    return h->replica;
}

bool __wrap_replica_restore(struct replica *r, const struct record *record, struct effects *ret)
{
    struct host *h = world_host();
    disk_recovered(h, record);
    bool ok = __real_replica_restore(r, record, ret);
    if (!ok)
        cluster_fail(h->cluster, "host %u: a record of its own (type %d, slot %lu) is refused at the restart", h->index,
                     (int)record->type, record->slot);
    for (size_t i = 0; i < ret->n_applied; i++)
        observer_applied(h, &ret->applied[i]);
    return ok;
}

static void go_on_from(struct host *h, const struct checkpoint_reader *c)
{
    observer_checkpoint(h, c->slot, c->first_kept, &c->chain, c->last_time_usec);
    h->applied = c->slot;
    h->has_applied = true;
}

bool __wrap_replica_restore_checkpoint(struct replica *r, const struct checkpoint_reader *c)
{
    struct host *h = world_host();
    bool ok = __real_replica_restore_checkpoint(r, c);
    if (!ok)
        cluster_fail(h->cluster, "host %u: its own checkpoint of slot %lu is refused at the restart", h->index,
                     c->slot);
    cluster_trace(h->cluster, (int)h->index, "restored   checkpoint of slot %lu", c->slot);
    disk_recovered_checkpoint(h, c->slot);
    h->cluster->happened[HAPPENED_RESTORED]++;
    go_on_from(h, c);
    return ok;
}

int __wrap_journal_checkpoint_begin(struct journal *j, slot_t slot, enum journal_checkpoint_origin origin)
{
    struct host *h = world_host();
    int error = __real_journal_checkpoint_begin(j, slot, origin);
    h->fetching = error == 0 && origin == CHECKPOINT_FETCHED;
    if (h->fetching)
        h->disk.fetched = slot;
    return error;
}

/* A peer's makes obsolete what is here. */
void __wrap_journal_checkpoint_finish(struct journal *j)
{
    const struct host *h = world_host();
    if (h->fetching && h->disk.flushed < h->chosen)
        cluster_fail(h->cluster, "host %u: goes on from a peer's checkpoint, and of slots up to %lu flushed %lu",
                     h->index, h->chosen, h->disk.flushed);
    __real_journal_checkpoint_finish(j);
}

/* The bytes that a checkpoint of now would have, against those of all others at this slot (I6). */
static void sample_checkpoint(struct host *h)
{
    const struct driver *d = h->driver;
    size_t n;
    uint8_t *block, *host, part[4096];
    uint32_t host_size;
    struct hash128 sum = {{0}};
    h->sampled = h->chosen;
    if (logread_checkpoint(d->logread, replica_first_kept(h->replica), &host, &host_size) < 0 ||
        !(block = malloc(d->checkpoint.block_size)))
        abort();
    struct checkpoint_writer *w = checkpoint_begin(block, h->replica, host, host_size);
    while (!checkpoint_is_written(w)) {
        if (!checkpoint_write(w, h->replica, part, sizeof(part), &n))
            cluster_fail(h->cluster, "host %u: a checkpoint is overtaken while the core stands", h->index);
        sum = hash_bytes(&sum, part, n);
    }
    free(block);
    free(host);
    observer_checkpoint_sum(h, h->chosen, &sum);
}

/* At the same slots on every host, as often as it costs little. */
static bool is_sampled(const struct host *h)
{
    uint64_t mixed = h->chosen * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return h->chosen > 0 && h->chosen != h->sampled && mixed % (h->cluster->options.dedup_slots > 256 ? 64 : 8) == 0 &&
           replica_identity(h->replica)->status >= IDENTITY_VOTER;
}

static void watch_prefix(struct host *h)
{
    slot_t chosen = replica_chosen(h->replica);
    if (chosen == h->chosen)
        return;
    if (chosen < h->chosen)
        cluster_fail(h->cluster, "host %u: its chosen prefix went from %lu back to %lu", h->index, h->chosen, chosen);
    h->chosen = chosen;
    struct replica_status s;
    replica_status(h->replica, &s);
    observer_first_kept(h, s.chosen, s.first_kept);
    if (s.diverged && !h->cluster->options.liar)
        cluster_fail(h->cluster, "host %u says that its log differs", h->index);
    observer_chain(h, s.chosen, &s.chain);
}

/* In memory as in its journal: no vote falls below it, none is held back without it. What damage left of the promises
 * of one that never votes again does not matter. */
static void watch_promise(struct host *h)
{
    struct replica_status s;
    replica_status(h->replica, &s);
    if (s.identity == IDENTITY_QUARANTINED)
        return;
    if (!ballot_equal(s.promised, h->disk.promised))
        cluster_fail(h->cluster, "host %u: its promise is %lu.%u, its records say %lu.%u (traps 1, 4)", h->index,
                     s.promised.round, s.promised.id, h->disk.promised.round, h->disk.promised.id);
}

static void observe(struct host *h, const struct effects *e)
{
    struct ballot promised = h->disk.promised; /* one step may answer a PREPARE, and then bid itself */
    disk_append(h, e->records, e->n_records, e->n_records ? e->records_seq : h->seq);
    for (size_t i = 0; i < e->n_applied; i++)
        observer_applied(h, &e->applied[i]);
    observer_notes(h, e);
    handed_outcomes(h, e);
    clients_outcomes(h, e);
    if (e->n_records > 0)
        watch_promise(h);
    for (size_t i = 0; i < e->n_outgoing; i++) {
        if (e->outgoing[i].after > h->seq)
            cluster_fail(h->cluster, "host %u: a message waits for record %lu of %lu", h->index, e->outgoing[i].after,
                         h->seq);
        observer_made(h, promised, e->outgoing[i].to, &e->outgoing[i].message);
    }
    if (e->fetch.wanted && e->fetch.until > h->disk.commit)
        cluster_fail(h->cluster, "host %u: fetches slot %lu, but its journal knows %lu", h->index, e->fetch.until,
                     h->disk.commit);
    watch_prefix(h);
}

void __wrap_replica_start(struct replica *r, uint64_t now_usec, struct effects *ret)
{
    struct host *h = world_host();
    disk_recovered_all(h);
    observer_identity(h->cluster, h->index, &h->disk.identity);
    h->noted = replica_chosen(r); /* commits of a mended segment are the journal's own */
    __real_replica_start(r, now_usec, ret);
    struct replica_status s;
    replica_status(r, &s);
    if (ballot_compare(s.promised, h->disk.promised_durable) < 0)
        cluster_fail(h->cluster, "host %u: its promise went back from %lu.%u to %lu.%u at a restart (trap 3)", h->index,
                     h->disk.promised_durable.round, h->disk.promised_durable.id, s.promised.round, s.promised.id);
    if (s.chosen < h->disk.commit)
        cluster_fail(h->cluster, "host %u: knew that %lu slots are chosen, and after a restart that %lu are", h->index,
                     h->disk.commit, s.chosen);
    observe(h, ret);
    watch_promise(h);
}

void __wrap_replica_step(struct replica *r, const struct event *event, struct effects *ret)
{
    struct host *h = world_host();
    struct cluster *c = h->cluster;
    c->steps++;
    if (event->now_usec != c->now_usec)
        cluster_fail(c, "host %u: its core is told another time than the monotonic one (trap 30)", h->index);
    handed_event(h, event);
    if (event->type == EVENT_SUBMIT)
        clients_handed_over(h, event->submissions, event->n_submissions);
    if (event->type == EVENT_SPACE) {
        h->told_space = event->space;
        c->happened[HAPPENED_FULL_TOLD] += !event->space;
    }
    if (is_sampled(h))
        sample_checkpoint(h);
    uint32_t n_skipped = r->n_skipped_open;
    memset(ret, 0xe5, sizeof(*ret));
    __real_replica_step(r, event, ret);
    c->happened[HAPPENED_SKIPPED] += r->n_skipped_open > n_skipped ? r->n_skipped_open - n_skipped : 0;
    c->happened[HAPPENED_FETCHED] += ret->fetch.wanted;
    if (event->type == EVENT_INSTALL) {
        cluster_trace(c, (int)h->index, "installed  checkpoint of slot %lu", event->checkpoint->slot);
        disk_installed(h, event->checkpoint->slot);
        c->happened[HAPPENED_INSTALLED]++;
        h->noted = event->checkpoint->slot;
        go_on_from(h, event->checkpoint);
    }
    observe(h, ret);
    cluster_mix(c,
                (ret->n_records << 40) + (ret->n_outgoing << 20) + replica_chosen(r) + ((uint64_t)event->type << 56));
}
