/* Draws a scenario: the sizes of everything, then which faults there are. */
#include "host/config.h"
#include "journal/journal.h"
#include "tests/sim/fault.h"

#include <string.h>

enum { LOSS_MAX_PERMILLE = 300 };

static uint64_t draw(struct prng *p, uint64_t min, uint64_t max)
{
    return min + prng_below(p, max - min + 1);
}

static bool chance(struct prng *p, uint32_t percent)
{
    return prng_below(p, 100) < percent;
}

/* Small ones, so that their edges are met often. */
static void draw_tables(struct prng *p, struct cluster_options *o)
{
    static const uint32_t datagrams[] = {512, 600, 1200, 1200, 1452, 8192};
    o->datagram_bytes = datagrams[prng_below(p, sizeof(datagrams) / sizeof(datagrams[0]))];
    o->segment_bytes = chance(p, 70) ? JOURNAL_SEGMENT_BYTES_MIN : draw(p, 64, 512) << 10;
    if (chance(p, 25))
        return; /* those of a real cluster */
    o->alpha = (uint32_t)draw(p, 4, 64);
    o->dedup_slots = (uint32_t)draw(p, 4, 64);
    o->streams_max = (uint32_t)draw(p, 1, 4);
    o->submissions_max = (uint32_t)draw(p, 4, 64);
    o->promise_page_slots = (uint32_t)draw(p, 1, 16);
    o->proposal_bytes_max = (uint32_t)draw(p, 2048, 32768);
    o->message_bytes_max = 1024;
}

/* 0: as much as a real cluster, which is never reached here. */
static void draw_history(struct prng *p, struct cluster_options *o)
{
    o->checkpoint_bytes = chance(p, 30) ? 0 : draw(p, 1, 100) << 10;
    o->retain_bytes = chance(p, 40) ? 0 : o->segment_bytes * draw(p, 1, 3) + (draw(p, 0, 64) << 10);
}

/* What an operator may set. */
static void draw_host(struct prng *p, struct scenario *s)
{
    static const uint64_t heartbeats_msec[] = {10, 20, 50, 50, 50, 100, 200};
    struct cluster_options *o = &s->cluster;
    o->heartbeat_usec = heartbeats_msec[prng_below(p, sizeof(heartbeats_msec) / sizeof(heartbeats_msec[0]))] * MSEC;
    o->space_bytes = (uint32_t)1 << draw(p, 16, 20);
    if (chance(p, 50))
        o->scrub_usec = draw(p, 500 * MSEC, 10 * SECOND);
    if (chance(p, 50))
        s->clients.flush_permille = (uint32_t)draw(p, 0, 50);
}

static void draw_load(struct prng *p, struct clients_options *l, uint32_t message_bytes_max)
{
    l->n_clients = (uint32_t)draw(p, 1, 6);
    l->operations_max = (uint32_t)draw(p, 50, 600);
    l->in_flight_max = (uint32_t)draw(p, 1, 24);
    l->pause_max_usec = draw(p, 5 * MSEC, 60 * MSEC);
    l->timeout_usec = draw(p, 200 * MSEC, 2 * SECOND);
    l->text_bytes_max = message_bytes_max;
}

/* Replicas that are away for longer than the others keep what they miss. */
static void make_laggards(struct scenario *s)
{
    s->kinds |= 1U << FAULT_AWAY;
    s->cluster.segment_bytes = JOURNAL_SEGMENT_BYTES_MIN;
    s->cluster.retain_bytes = JOURNAL_SEGMENT_BYTES_MIN;
    s->cluster.checkpoint_bytes = 8 << 10;
    s->cluster.dedup_slots = 200;
    s->clients.n_clients = 6;
    s->clients.operations_max = 1200;
    s->clients.text_bytes_max = s->cluster.message_bytes_max = 6000;
    s->clients.pause_max_usec = 10 * MSEC;
    s->fault_max_usec = 120 * MSEC;
    s->duration_usec = 6 * SECOND;
}

/* Much that is covered by checkpoints, and rots. */
static void make_rot(struct scenario *s)
{
    uint64_t retain_bytes = s->cluster.retain_bytes > 0 ? 12 * JOURNAL_SEGMENT_BYTES_MIN : 0;
    make_laggards(s);
    s->kinds = (s->kinds | 1U << FAULT_ROT | 1U << FAULT_CRASH) & ~(1U << FAULT_AWAY | 1U << FAULT_WIPE);
    s->cluster.rot_sealed_permille = 900;
    s->cluster.retain_bytes = retain_bytes;
    s->cluster.scrub_usec = 2 * SECOND;
}

/* Hosts that end in the middle of a flush, and disks that fail in it. */
static void make_flushes(struct scenario *s)
{
    s->clients.flush_permille = 60;
    s->chat_end_percent = 4;
    s->chat_fail_percent = 10;
}

struct scenario scenario_draw(uint64_t seed)
{
    static const uint32_t hosts[] = {3, 3, 3, 3, 5, 5, 7, 1};
    struct prng p;
    prng_seed(&p, seed * UINT64_C(0x9e3779b97f4a7c15) + 7);
    prng_next(&p);
    struct scenario s = {.cluster = cluster_defaults(seed), .clients = clients_defaults()};
    s.cluster.trace = false;
    s.cluster.n_hosts = hosts[prng_below(&p, sizeof(hosts) / sizeof(hosts[0]))];
    s.cluster.id_stride = (uint32_t)draw(&p, 1, 3);
    s.cluster.blank = chance(&p, 30);
    s.cluster.dedup_slots = 4096;
    draw_tables(&p, &s.cluster);
    draw_load(&p, &s.clients, s.cluster.message_bytes_max);
    s.duration_usec = draw(&p, 1 * SECOND, 6 * SECOND);
    s.fault_max_usec = draw(&p, 30 * MSEC, 600 * MSEC);
    s.loss_max_permille = chance(&p, 33) ? 0 : (uint32_t)draw(&p, 0, LOSS_MAX_PERMILLE);
    s.duplicate_max_permille = chance(&p, 33) ? 0 : (uint32_t)draw(&p, 0, 500);
    s.corrupt_permille = chance(&p, 70) ? 0 : (uint32_t)draw(&p, 0, 50);
    for (int i = 0; i < FAULT_KINDS; i++)
        s.kinds |= (uint32_t)(prng_below(&p, 2) << i);
    s.core_first = chance(&p, 50);
    if (seed % 8 == 3 || seed % 8 == 4) { /* by its number: what was found under other ones stays as it was */
        s.leader_permille = 400;
        s.at_write_permille = 500;
        s.cluster.rot_sealed_permille = 700;
        s.clients.long_permille = 500; /* fills segments */
    }
    if (seed % 7 == 0)
        s.loss_max_permille = LOSS_MAX_PERMILLE;
    s.bootstraps = s.cluster.blank && seed % 3 == 0;
    s.cluster.sealed = seed % 5 == 3;
    draw_history(&p, &s.cluster);
    draw_host(&p, &s);
    if (seed % 16 == 0 || seed % 16 == 10 || seed % 16 == 15)
        make_flushes(&s);
    if (seed % 8 == 5)
        make_laggards(&s);
    if (seed % 16 == 3)
        make_rot(&s);
    return s;
}

/* What random schedules meet too seldom, each with the trouble that it is about and no other. */
static void direct_hung_leader(struct scenario *s)
{
    s->kinds = 1U << FAULT_SKIP | 1U << FAULT_SLOW;
    s->core_first = s->hung_leader = true;
}

/* Positions all the time, while confirmations are late and leaders fall. */
static void direct_late_reads(struct scenario *s)
{
    s->kinds = 1U << FAULT_ISOLATE | 1U << FAULT_PAUSE | 1U << FAULT_CUT_ONE_WAY | 1U << FAULT_CLOG;
    s->clients.position_permille = 300;
    s->clients.n_clients = 4;
    s->clients.pause_max_usec = 20 * MSEC;
    s->fault_max_usec = 100 * MSEC;
    s->duration_usec = 3 * SECOND;
}

/* Bids upon bids over one prefix, while answers are late. */
static void direct_late_promises(struct scenario *s)
{
    s->cluster.n_hosts = 5;
    s->kinds = 1U << FAULT_ISOLATE | 1U << FAULT_PARTITION | 1U << FAULT_CUT_ONE_WAY | 1U << FAULT_TRANSFER |
               1U << FAULT_CLOG | 1U << FAULT_WEATHER | 1U << FAULT_BRIDGE;
    s->clients.n_clients = 1;
    s->clients.pause_max_usec = 500 * MSEC;
    s->cluster.heartbeat_usec = 10 * MSEC;
    s->fault_max_usec = 40 * MSEC;
    s->loss_max_permille = 100;
    s->late_permille = 400;
    s->duration_usec = 4 * SECOND;
}

/* In small ones all that waits for a leader may rightly expire, instead of being acknowledged. */
static void make_tables_large(struct scenario *s)
{
    s->cluster.dedup_slots = 4096;
    s->cluster.streams_max = 256;
    s->cluster.submissions_max = 1024;
}

/* Rivals that cannot hear each other bid at once. */
static void direct_chained(struct scenario *s)
{
    make_tables_large(s);
    s->kinds = 1U << FAULT_BRIDGE | 1U << FAULT_TRANSFER;
    s->partial = PARTIAL_CHAIN;
    s->cluster.heartbeat_usec = 10 * MSEC;
    s->core_first = false;
    s->clients.n_clients = 4;
    s->clients.operations_max = 4000;
    s->clients.pause_max_usec = 20 * MSEC;
    s->duration_usec = 1 * SECOND;
}

/* Nothing but cut links, under load. */
static void direct_hub(struct scenario *s)
{
    make_tables_large(s);
    if (s->cluster.heartbeat_usec < HEARTBEAT_MS_DEFAULT * MSEC) /* heartbeats bound it, and delays are no shorter */
        s->cluster.heartbeat_usec = HEARTBEAT_MS_DEFAULT * MSEC;
    s->cluster.n_hosts = 5;
    s->kinds = 0;
    s->loss_max_permille = s->corrupt_permille = 0;
    s->core_first = false;
    s->clients.n_clients = 5;
    s->clients.operations_max = 4000;
    s->clients.pause_max_usec = 2 * s->cluster.heartbeat_usec; /* they have to last as long as the cuts */
    s->duration_usec = 1 * SECOND;
}

static void direct_quorum_loss(struct scenario *s)
{
    direct_hub(s);
    s->partial = PARTIAL_QUORUM_LOSS;
}

static void direct_constrained(struct scenario *s)
{
    direct_hub(s);
    s->partial = PARTIAL_CONSTRAINED;
}

/* Skipped slots alone: holes are filled long before a leader gives way because its commit stands still. */
static void direct_skips(struct scenario *s)
{
    s->kinds = 1U << FAULT_SKIP;
    s->rest_usec = 50 * s->cluster.heartbeat_usec; /* two leaders may have been asked, one after the other */
    s->core_first = false;
    s->duration_usec = 1 * SECOND;
}

/* Starts on a full disk, and the power goes after them. */
static void direct_full_disk(struct scenario *s)
{
    s->kinds = 1U << FAULT_SPACE | 1U << FAULT_CRASH | 1U << FAULT_KILL;
    s->fault_max_usec = 25 * MSEC;
    s->duration_usec = 4 * SECOND;
}

/* Two leaders at once, each with a part of the others; what was chosen under one reaches the other's part. */
static void direct_line(struct scenario *s)
{
    s->cluster.n_hosts = 5;
    s->kinds = 1U << FAULT_BRIDGE | 1U << FAULT_SKIP;
    s->lines = true;
    s->clients.n_clients = 5;
    s->clients.operations_max = 2000;
    s->clients.pause_max_usec = 20 * MSEC;
    s->fault_max_usec = 100 * MSEC;
    s->duration_usec = 8 * SECOND;
}

static void direct_laggard(struct scenario *s)
{
    s->kinds &= 1U << FAULT_CRASH | 1U << FAULT_KILL | 1U << FAULT_STOP | 1U << FAULT_WEATHER | 1U << FAULT_STALL |
                1U << FAULT_SPACE | 1U << FAULT_TRANSFER | 1U << FAULT_CRASH_ALL;
    make_laggards(s);
}

static void direct_rot(struct scenario *s)
{
    s->kinds &= 1U << FAULT_KILL | 1U << FAULT_STOP | 1U << FAULT_WEATHER | 1U << FAULT_STALL | 1U << FAULT_SPACE;
    make_rot(s);
}

/* All rot, and run on: one that starts again would have to ask for votes that are gone. */
static void direct_atlas(struct scenario *s)
{
    s->kinds &= 1U << FAULT_WEATHER | 1U << FAULT_STALL | 1U << FAULT_PAUSE | 1U << FAULT_CUT_ONE_WAY |
                1U << FAULT_ISOLATE | 1U << FAULT_TRANSFER | 1U << FAULT_SKIP;
    make_rot(s);
    s->kinds = (s->kinds | 1U << FAULT_ROT) & ~(1U << FAULT_CRASH);
    s->chat_end_percent = 0;
    s->core_first = false;
    s->atlas = true;
}

static void direct_flushes(struct scenario *s)
{
    s->kinds &= 1U << FAULT_CRASH | 1U << FAULT_KILL | 1U << FAULT_STOP | 1U << FAULT_SPACE | 1U << FAULT_TRANSFER |
                1U << FAULT_CRASH_ALL;
    make_flushes(s);
    s->core_first = false;
    s->chat_end_percent = 20;
}

static void direct_first_start(struct scenario *s)
{
    s->cluster.blank = true;
    s->differs = s->cluster.seed % 4 != 0;
    s->bootstraps = s->cluster.seed % 2 == 0;
    s->kinds = 1U << FAULT_CRASH | 1U << FAULT_KILL | 1U << FAULT_STALL | 1U << FAULT_ISOLATE | 1U << FAULT_CUT_ONE_WAY;
    s->fault_max_usec = 200 * MSEC;
    s->core_first = false;
    s->duration_usec = 2 * SECOND;
}

bool scenario_direct(struct scenario *s, const char *name)
{
    static const struct {
        const char *name;
        void (*direct)(struct scenario *s);
    } all[] = {
        {"atlas", direct_atlas},
        {"chained", direct_chained},
        {"constrained", direct_constrained},
        {"first-start", direct_first_start},
        {"flushes", direct_flushes},
        {"full-disk", direct_full_disk},
        {"hung-leader", direct_hung_leader},
        {"laggard", direct_laggard},
        {"late-promises", direct_late_promises},
        {"late-reads", direct_late_reads},
        {"line", direct_line},
        {"quorum-loss", direct_quorum_loss},
        {"rot", direct_rot},
        {"skips", direct_skips},
    };
    s->cluster.n_hosts = 3;
    s->cluster.blank = s->bootstraps = false;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(name, all[i].name) != 0)
            continue;
        all[i].direct(s);
        return true;
    }
    return false;
}
