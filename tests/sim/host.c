/* One host: its process starts, turns, and ends in every way; what its core does passes by the observer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/faults.h"
#include "journal/journal.h"
#include "paxos/checkpoint.h"
#include "paxos/core.h"
#include "tests/sim/clients.h"
#include "tests/sim/fault.h"
#include "tests/sim/handed.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

enum { MEMORY_CHECK_TURNS = 256 };

uint64_t host_wall_usec(const struct host *h)
{
    return h->cluster->wall_base_usec + h->cluster->now_usec + (uint64_t)h->wall_offset_usec;
}

bool host_is_usable(const struct host *h)
{
    return h->up && h->paused_until_usec <= h->cluster->now_usec;
}

/* --- the core's steps: the linker puts these around the real ones (--wrap) --- */

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
    memset(block, (int)(0xa5 + h->boot), replica_size(&small)); /* nothing may be read that init did not write */
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
    if (s.diverged)
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
    h->noted = h->disk.commit;
    __real_replica_start(r, now_usec, ret);
    struct replica_status s;
    replica_status(r, &s);
    if (ballot_compare(s.promised, h->disk.promised_durable) < 0)
        cluster_fail(h->cluster, "host %u: its promise went back from %lu.%u to %lu.%u at a restart (trap 3)", h->index,
                     h->disk.promised_durable.round, h->disk.promised_durable.id, s.promised.round, s.promised.id);
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
    if (prng_below(&c->prng, 10000) < c->options.recover_permyriad)
        disk_check(h);
}

/* --- its loop --- */

static void start_call(struct cluster *c, void *user, uint64_t argument)
{
    (void)argument;
    struct host *h = user;
    if (!h->up && cluster_chance(c, 60))
        h->disk.cut_start = (uint32_t)cluster_random(c, 1, 12);
    host_start(h);
}

void host_start_later(struct host *h, uint64_t usec)
{
    cluster_call_at(h->cluster, h->cluster->now_usec + usec, start_call, h, 0);
}

static void end(struct host *h);

static void run_closes(struct host *h)
{
    for (uint32_t i = 0; i < h->n_closes; i++) {
        struct host_close *k = &h->closes[i];
        if (k->call)
            k->call(k->handle);
        else
            k->peers_call(k->user);
    }
    h->n_closes = 0;
}

static void turn(struct host *h)
{
    struct cluster *c = h->cluster;
    world_enter(h);
    h->turning = true;
    h->prepare_call(h->prepare);
    h->turning = false;
    if (++h->turns % MEMORY_CHECK_TURNS == 0)
        memory_check(h);
    run_closes(h);
    if (h->stopped) {
        end(h);
        c->happened[HAPPENED_STOPPED]++;
        cluster_trace(c, (int)h->index, "stopped");
        host_start_later(h, cluster_random(c, 1 * MSEC, 1000 * MSEC));
        return;
    }
    if (h->idling && !h->turn_due) {
        h->turn_due = true;
        cluster_push(c, (struct sim_event){.at_usec = c->now_usec + cluster_random(c, 2, 30),
                                           .type = SIM_TURN,
                                           .host = h->index,
                                           .boot = h->boot});
    }
}

/* Several things may happen before the loop comes round. */
void host_poke(struct host *h)
{
    struct cluster *c = h->cluster;
    if (!h->up || h->turning || h->turn_due)
        return;
    if (!cluster_chance(c, 200)) {
        turn(h);
        return;
    }
    h->turn_due = true;
    cluster_push(c, (struct sim_event){.at_usec = c->now_usec + cluster_random(c, 1, 100),
                                       .type = SIM_TURN,
                                       .host = h->index,
                                       .boot = h->boot});
}

static void fire_timer(struct host *h, uint32_t i)
{
    struct host_timer *t = &h->timers[i];
    t->at_usec = UINT64_MAX;
    if (t->repeat_usec > 0)
        uv_timer_start(t->handle, t->call, t->repeat_usec / MSEC, t->repeat_usec / MSEC);
    t->call(t->handle);
}

void host_handle(struct host *h, const struct sim_event *e)
{
    world_enter(h);
    switch (e->type) {
    case SIM_DELIVER:
        network_deliver(h, e->packet, e->order);
        break;
    case SIM_TIMER:
        fire_timer(h, e->timer);
        break;
    case SIM_WRITE:
        disk_write(h);
        return;
    case SIM_ASYNC:
        cluster_trace(h->cluster, (int)h->index, "durable    %lu", h->durable_seq);
        h->wakeup->call(h->wakeup->user);
        break;
    case SIM_TURN:
        h->turn_due = false;
        turn(h);
        return;
    case SIM_CALL:
        break;
    }
    host_poke(h);
}

void host_step(struct host *h, struct event *e)
{
    world_enter(h);
    e->now_usec = h->cluster->now_usec;
    driver_step(h->driver, e);
    host_poke(h);
}

/* --- life and death --- */

void host_make(struct cluster *c, uint32_t index, const struct identity *identity)
{
    struct host *h = &c->hosts[index];
    *h = (struct host){
        .cluster = c, .index = index, .id = identity->id, .sync_min_usec = 100, .sync_max_usec = 2 * MSEC};
    prng_seed(&h->random, prng_next(&c->prng));
    disk_format(h, identity);
}

static void stopped(void *user, int exit_status)
{
    struct host *h = user;
    (void)exit_status;
    h->stopped = true;
}

/* Data errors only where there was rot; other failures only where the disk is full before the first record. */
static void check_refusal(struct host *h, int status)
{
    struct cluster *c = h->cluster;
    cluster_trace(c, (int)h->index, "start      exit status %d", status);
    if (h->disk.cut_start > 0) {
        h->disk.cut_start = 0;
        c->happened[HAPPENED_CUT_IN_START]++;
        /* Where it is full, the segment is rewritten in place: an overwritten sector is the old or the new one. */
        vfs_memory_set_mercy(h->disk.memory, h->disk.full ? MERCY_WHOLE_SECTORS : MERCY_BY_SEED);
        vfs_memory_power_cut(h->disk.memory);
        host_start_later(h, cluster_random(c, 1 * MSEC, 500 * MSEC));
    } else if (status == EXIT_REFUSED && h->disk.n_rot > 0) {
        h->refused = true;
        c->happened[HAPPENED_REFUSED]++;
    } else if (status != EXIT_DISK || !h->disk.full || !ballot_is_none(h->disk.promised_durable))
        cluster_fail(c, "host %u does not start (exit status %d): %s", h->index, status, h->last_error);
}

void host_start(struct host *h)
{
    struct cluster *c = h->cluster;
    if (h->refused || h->up)
        return;
    c->happened[HAPPENED_RESTARTED] += h->boot++ > 0;
    h->seq = h->durable_seq = 0;
    h->chosen = h->applied = 0;
    h->told_space = true;
    h->has_applied = h->idling = h->turn_due = h->stopped = false;
    h->disk.writing = false;
    h->disk.found = (struct finding){.saved = h->disk.saved};
    h->sampled = 0;
    h->n_closes = 0;
    memset(h->timers, 0, sizeof(h->timers));
    world_enter(h);
    struct seal_keys keys;
    sealed_keys(h, &keys);
    h->plain_size = 0;
    h->faults = faults_new(0, prng_next(&c->prng));
    struct driver_options o = {
        .config = &c->config,
        .id = h->id,
        .state_dir = "disk",
        .segment_bytes = c->options.segment_bytes,
        .checkpoint_bytes = c->options.checkpoint_bytes,
        .retain_bytes = c->options.retain_bytes,
        .faults = h->faults,
        .keys = c->options.sealed ? &keys : NULL,
        .log_path = "log",
        .version = "sim",
        .stopped = stopped,
        .user = h,
    };
    cluster_trace(c, (int)h->index, "start      boot %lu, %zu records", h->boot, h->disk.n_records);
    h->up = true; /* its timers may be set */
    if (h->disk.cut_start > 0)
        vfs_memory_fail_at(h->disk.memory, VFS_MEMORY_CHANGES, h->disk.cut_start, -EIO, true);
    int status = driver_start(&o, &h->driver);
    if (status == 0) {
        vfs_memory_heal(h->disk.memory);
        h->disk.cut_start = 0;
        host_poke(h);
        return;
    }
    h->up = false;
    h->driver = NULL;
    h->replica = NULL;
    faults_free(h->faults);
    h->faults = NULL;
    check_refusal(h, status);
}

static void end(struct host *h)
{
    clients_host_down(h);
    handed_forget(h);
    world_enter(h);
    h->up = false;
    h->replica = NULL;
    driver_free(h->driver);
    h->driver = NULL;
    faults_free(h->faults);
    h->faults = NULL;
    h->paused_until_usec = h->stalled_until_usec = 0;
    h->disk.failing = h->disk.cut_write = false;
    vfs_memory_heal(h->disk.memory);
    if (vfs_memory_handles(h->disk.memory) != 0)
        cluster_fail(h->cluster, "host %u: %zu files stay open at its end (I7)", h->index,
                     vfs_memory_handles(h->disk.memory));
}

void host_kill(struct host *h)
{
    if (!h->up)
        return;
    end(h);
    h->cluster->happened[HAPPENED_KILLED]++;
    cluster_trace(h->cluster, (int)h->index, "killed");
}

void host_crash(struct host *h, bool cut_all)
{
    struct cluster *c = h->cluster;
    struct vfs_memory *m = h->disk.memory;
    static const enum vfs_memory_mercy mercies[] = {MERCY_BY_SEED, MERCY_BY_SEED, MERCY_WHOLE_SECTORS, MERCY_LOSE_ALL,
                                                    MERCY_KEEP_ALL};
    if (!h->up)
        return;
    world_enter(h);
    if (h->disk.writing && !cut_all && cluster_chance(c, 700)) { /* in the middle of it */
        vfs_memory_fail_at(m, VFS_MEMORY_CHANGES, cluster_random(c, 1, 6), -EIO, true);
        c->happened[HAPPENED_CUT_IN_WRITE] += journal_write(h->journal) != 0;
    }
    end(h);
    vfs_memory_set_mercy(m, cut_all ? MERCY_LOSE_ALL : mercies[cluster_random(c, 0, 4)]);
    vfs_memory_power_cut(m);
    c->happened[HAPPENED_POWER_CUT]++;
    cluster_trace(c, (int)h->index, "crash      of %zu records %zu are durable", h->disk.n_records, h->disk.n_durable);
}

void host_stop(struct host *h)
{
    world_enter(h);
    cluster_trace(h->cluster, (int)h->index, "stop");
    driver_stop(h->driver);
    host_poke(h);
}

void host_wipe(struct host *h)
{
    struct cluster *c = h->cluster;
    if (h->up)
        end(h);
    c->happened[HAPPENED_WIPED]++;
    cluster_trace(c, (int)h->index, "wipe");
    struct identity i = h->disk.identity;
    i.status = IDENTITY_EMPTY;
    i.life = 0; /* drawn at the start */
    memset(&i.cluster, 0, sizeof(i.cluster));
    for (uint32_t m = 0; m < i.configuration.n_members; m++)
        i.configuration.members[m].life = 0;
    disk_format(h, &i);
    h->wiped = true;
}

void host_free(struct host *h)
{
    if (h->up)
        end(h);
    disk_free(&h->disk);
    free(h->handed.items);
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
