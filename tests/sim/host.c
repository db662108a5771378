/* One host: its process starts, turns, and ends in every way. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/faults.h"
#include "journal/journal.h"
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

/* --- its loop --- */

static void start_call(struct cluster *c, void *user, uint64_t argument)
{
    (void)argument;
    struct host *h = user;
    if (c->frozen >> h->index & 1)
        return;
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

static bool is_flight_full(const struct replica *r)
{
    const struct value *v = r->phase == PHASE_LEADING ? intake_peek(r) : NULL;
    return v && r->flight_bytes > 0 && r->flight_bytes + v->size > r->config.proposal_bytes_max;
}

static void turn(struct host *h)
{
    struct cluster *c = h->cluster;
    world_enter(h);
    h->turning = true;
    h->prepare_call(h->prepare);
    h->turning = false;
    c->happened[HAPPENED_MENDED] += h->driver->rot.mended - h->n_mended;
    h->n_mended = h->driver->rot.mended;
    c->happened[HAPPENED_FLIGHT_FULL] += is_flight_full(h->replica);
    if (++h->turns % MEMORY_CHECK_TURNS == 0)
        memory_check(h);
    mended_check_covered(h);
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
    case SIM_WORK:
        world_work(h);
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
        chat_power_cut(h, false);
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
    h->sampled = h->n_mended = 0;
    h->n_closes = 0;
    h->work = (struct host_work){.handle = NULL};
    memset(h->timers, 0, sizeof(h->timers));
    world_enter(h);
    struct seal_keys keys;
    sealed_keys(h, &keys);
    h->plain_size = 0;
    h->faults = faults_new(0, prng_next(&c->prng));
    struct driver_options o = {
        .config = &c->config,
        .id = h->id,
        .state_dir = CHAT_STATE_DIR,
        .segment_bytes = c->options.segment_bytes,
        .checkpoint_bytes = c->options.checkpoint_bytes,
        .retain_bytes = c->options.retain_bytes,
        .scrub_usec = c->options.scrub_usec,
        .faults = h->faults,
        .keys = c->options.sealed ? &keys : NULL,
        .log_path = CHAT_LOG_PATH,
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
    chat_power_cut(h, cut_all);
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
