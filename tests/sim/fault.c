/* Faults, one at a time, each with its own end. */
#include "tests/sim/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

static uint32_t pick(struct cluster *c)
{
    return (uint32_t)cluster_random(c, 0, c->options.n_hosts - 1);
}

/* --- processes --- */

static void crash(struct cluster *c, const struct scenario *s, uint32_t host)
{
    if (c->hosts[host].up && cluster_chance(c, s->at_write_permille)) {
        c->hosts[host].disk.cut_write = true;
        return;
    }
    host_crash(&c->hosts[host], cluster_chance(c, 400));
    host_start_later(&c->hosts[host], cluster_random(c, 1 * MSEC, 1500 * MSEC));
}

static void kill_one(struct cluster *c, uint32_t host)
{
    host_kill(&c->hosts[host]);
    if (cluster_chance(c, 300)) { /* now what the page cache had is lost too */
        vfs_memory_power_cut(c->hosts[host].disk.memory);
        chat_power_cut(&c->hosts[host], false);
    }
    host_start_later(&c->hosts[host], cluster_random(c, 1 * MSEC, 1000 * MSEC));
}

static void stop_one(struct cluster *c, uint32_t host)
{
    if (host_is_usable(&c->hosts[host]))
        host_stop(&c->hosts[host]);
}

static void pause_one(struct cluster *c, uint32_t host)
{
    uint64_t usec = cluster_random(c, 20 * MSEC, 3 * SECOND);
    if (c->hosts[host].paused_until_usec >= c->now_usec + usec) /* what waits for its end is not called back */
        return;
    c->hosts[host].paused_until_usec = c->now_usec + usec;
    cluster_trace(c, (int)host, "pause      %lu usec", usec);
}

static void step_wall(struct host *h)
{
    int64_t before = h->wall_offset_usec;
    h->wall_offset_usec = (int64_t)cluster_random(h->cluster, 0, 7200 * SECOND) - 3600 * (int64_t)SECOND;
    h->cluster->happened[h->wall_offset_usec < before ? HAPPENED_WALL_BACK : HAPPENED_WALL_FORWARD]++;
}

/* --- links --- */

static void heal_links(struct cluster *c, void *user, uint64_t argument)
{
    struct trouble *t = user;
    (void)argument;
    if (t->over)
        return;
    memset(c->network.cut, 0, sizeof(c->network.cut));
    cluster_trace(c, -1, "links      all up");
}

/* Places in a line of n, of whose last three each reaches the others. */
static bool is_line(uint32_t i, uint32_t j, uint32_t n)
{
    return i + 1 == j || j + 1 == i || (i + 3 >= n && j + 3 >= n);
}

static void cut_links(struct cluster *c, struct trouble *t, enum fault_kind kind)
{
    uint32_t a = pick(c), b = pick(c);
    uint64_t sides = prng_next(&c->prng);
    uint32_t n = c->options.n_hosts;
    cluster_trace(c, -1, "links      fault %d around %u and %u", (int)kind, a, b);
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        for (uint32_t j = 0; j < c->options.n_hosts; j++) {
            bool cut = kind == FAULT_CUT_ONE_WAY ? i == a && j == b
                       : kind == FAULT_ISOLATE   ? (i == a) != (j == a)
                       : kind == FAULT_PARTITION ? (sides >> i & 1) != (sides >> j & 1)
                       : t->scenario->lines      ? !is_line((i + n - a) % n, (j + n - a) % n, n)
                                                 : i != a && j != a;
            if (cut && i != j)
                c->network.cut[i][j] = true;
        }
    }
    cluster_call_at(c, c->now_usec + cluster_random(c, 50 * MSEC, 3 * SECOND), heal_links, t, 0);
}

/* The worst now and then: a draw from all there is hardly ever comes near it. */
static uint32_t draw_rate(struct cluster *c, uint32_t max_permille)
{
    return cluster_chance(c, 200) ? max_permille : (uint32_t)cluster_random(c, 0, max_permille);
}

/* Of all links, or of one alone, or one way of it. */
static void change_weather(struct cluster *c, const struct scenario *s, bool of_all)
{
    struct weather w = {.corrupt_permille = s->corrupt_permille};
    w.loss_permille = draw_rate(c, s->loss_max_permille);
    w.duplicate_permille = draw_rate(c, s->duplicate_max_permille);
    w.late_permille = cluster_chance(c, 500) ? (uint32_t)cluster_random(c, 0, 200) : 0;
    if (s->late_permille > 0)
        w.late_permille = s->late_permille;
    w.late_max_usec = cluster_chance(c, 200) ? 3 * SECOND : 200 * MSEC;
    w.delay_min_usec = cluster_random(c, 50, 2 * MSEC);
    w.delay_max_usec = w.delay_min_usec + cluster_random(c, 0, 15 * MSEC);
    uint32_t a = pick(c), b = pick(c);
    of_all = of_all || cluster_chance(c, 600);
    if (of_all)
        network_weather(c, &w);
    else
        c->network.weather[a][b] = w;
    if (!of_all && cluster_chance(c, 500))
        c->network.weather[b][a] = w;
    cluster_trace(c, of_all ? -1 : (int)a, "weather    to %d loss %u duplicates %u late %u of 1000, delay %lu-%lu usec",
                  of_all ? -1 : (int)b, w.loss_permille, w.duplicate_permille, w.late_permille, w.delay_min_usec,
                  w.delay_max_usec);
}

static void clog_path(struct cluster *c)
{
    uint32_t a = pick(c), b = pick(c);
    c->network.clogged_usec[a][b] = c->now_usec + cluster_random(c, 10 * MSEC, 2 * SECOND);
    cluster_trace(c, (int)a, "clog       to %u for %lu usec", b, c->network.clogged_usec[a][b] - c->now_usec);
}

static void drop_some(struct cluster *c)
{
    struct host *h = &c->hosts[pick(c)];
    if (!h->up)
        return;
    enum fault_direction direction = (enum fault_direction)cluster_random(c, FAULT_IN, FAULT_BOTH);
    replica_id_t peer = cluster_chance(c, 500) ? REPLICA_ID_NONE : c->hosts[pick(c)].id;
    uint8_t rate = (uint8_t)cluster_random(c, 0, 60);
    cluster_trace(c, (int)h->index, "drop       %u %% direction %d peer %u", rate, (int)direction, peer);
    faults_set(h->faults, rate, direction, peer, cluster_random(c, 1, 3), c->now_usec);
}

/* --- disks --- */

bool trouble_may_lose(struct cluster *c, struct trouble *t, uint32_t host)
{
    if (t->is_lost[host])
        return true;
    if (2 * (t->n_lost + 1) > c->options.n_hosts - 1)
        return false;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->hosts[i].disk.identity.status < IDENTITY_VOTER && !c->hosts[i].wiped)
            return false; /* before all are voters it may rightly take an operator */
    }
    t->is_lost[host] = true;
    t->n_lost++;
    return true;
}

static void wipe(struct cluster *c, struct trouble *t)
{
    struct host *h = &c->hosts[pick(c)];
    if (h->wiped || h->refused || h->disk.n_rot > 0 || !trouble_may_lose(c, t, h->index))
        return;
    host_wipe(h);
    host_start_later(h, cluster_random(c, 1 * MSEC, 500 * MSEC));
}

static void rot(struct cluster *c, struct trouble *t)
{
    if (t->scenario->atlas) {
        for (uint32_t i = 0; i < 4 * c->options.n_hosts; i++)
            disk_rot_kept(&c->hosts[i % c->options.n_hosts]);
        return;
    }
    struct host *h = &c->hosts[pick(c)];
    if (h->wiped || h->refused || !trouble_may_lose(c, t, h->index))
        return;
    for (uint64_t n = cluster_random(c, 1, 5); n > 0; n--)
        disk_rot(h);
}

void trouble_set_space(struct cluster *c, uint32_t host, bool space)
{
    struct host *h = &c->hosts[host];
    h->disk.full = !space;
    vfs_memory_set_budget(h->disk.memory,
                          space ? UINT64_MAX : vfs_memory_used(h->disk.memory) + cluster_random(c, 0, 100000));
    vfs_memory_hide_budget(h->disk.memory, cluster_chance(c, 500));
    cluster_trace(c, (int)host, "space      %s", space ? "again" : "none");
    if (space && !h->up)
        host_start_later(h, 1 * MSEC);
}

static void end_full(struct cluster *c, void *user, uint64_t argument)
{
    (void)user;
    if (c->hosts[argument].disk.full && !(c->frozen >> argument & 1))
        trouble_set_space(c, (uint32_t)argument, true);
}

static void fill(struct cluster *c, uint32_t host)
{
    trouble_set_space(c, host, false);
    cluster_call_at(c, c->now_usec + cluster_random(c, 10 * MSEC, 3 * SECOND), end_full, NULL, host);
}

static void fail_disk(struct cluster *c, uint32_t host)
{
    struct host *h = &c->hosts[host];
    /* Readers open files, too, and may go on after an error. */
    static const unsigned kinds[] = {VFS_MEMORY_SYNC, VFS_MEMORY_SYNC, VFS_MEMORY_WRITE,
                                     VFS_MEMORY_CHANGES & ~(unsigned)VFS_MEMORY_OPEN};
    if (!h->up || h->disk.failing)
        return;
    h->disk.failing = true;
    unsigned kind = kinds[cluster_random(c, 0, 3)];
    vfs_memory_fail_at(h->disk.memory, kind, cluster_random(c, 1, 3), -EIO, false);
    cluster_trace(c, (int)host, "disk       will fail");
}

static void stall(struct cluster *c, uint32_t host)
{
    c->hosts[host].stalled_until_usec = c->now_usec + cluster_random(c, 50 * MSEC, 5 * SECOND);
    cluster_trace(c, (int)host, "stall      %lu usec", c->hosts[host].stalled_until_usec - c->now_usec);
}

static void slow_down(struct cluster *c, uint32_t host)
{
    struct host *h = &c->hosts[host];
    h->sync_min_usec = cluster_random(c, 20, 1000);
    h->sync_max_usec = h->sync_min_usec + cluster_random(c, 0, cluster_chance(c, 200) ? 200 * MSEC : 5 * MSEC);
}

/* --- operators --- */

static void skip_some(struct cluster *c)
{
    struct host *h = &c->hosts[pick(c)];
    slot_t slots[8];
    size_t n = cluster_random(c, 1, 8);
    if (!host_is_usable(h))
        return;
    for (size_t i = 0; i < n; i++)
        slots[i] = replica_chosen(h->replica) + cluster_random(c, 0, 40);
    cluster_trace(c, (int)h->index, "skip       %zu slots from about %lu", n, slots[0]);
    world_enter(h);
    driver_skip(h->driver, slots, n);
    host_poke(h);
}

static void transfer(struct cluster *c)
{
    struct host *h = &c->hosts[pick(c)], *leader = cluster_leader(c);
    if (leader && cluster_chance(c, 700))
        h = leader;
    if (!host_is_usable(h))
        return;
    replica_id_t target = cluster_chance(c, 300) ? REPLICA_ID_NONE : c->hosts[pick(c)].id;
    cluster_trace(c, (int)h->index, "transfer   to %u", target);
    world_enter(h);
    driver_transfer(h->driver, target);
    host_poke(h);
}

static void inject(struct cluster *c, struct trouble *t, enum fault_kind kind)
{
    const struct host *leader = cluster_chance(c, t->scenario->leader_permille) ? cluster_leader(c) : NULL;
    uint32_t host = leader ? leader->index : pick(c);
    switch (kind) {
    case FAULT_CRASH:
        crash(c, t->scenario, host);
        break;
    case FAULT_CRASH_ALL:
        for (uint32_t i = 0; i < c->options.n_hosts; i++)
            crash(c, t->scenario, i);
        break;
    case FAULT_KILL:
        kill_one(c, host);
        break;
    case FAULT_STOP:
        stop_one(c, host);
        break;
    case FAULT_PAUSE:
        pause_one(c, host);
        break;
    case FAULT_CUT_ONE_WAY:
    case FAULT_ISOLATE:
    case FAULT_PARTITION:
    case FAULT_BRIDGE:
        cut_links(c, t, kind);
        break;
    case FAULT_CLOG:
        clog_path(c);
        break;
    case FAULT_WEATHER:
        change_weather(c, t->scenario, false);
        break;
    case FAULT_STALL:
        stall(c, host);
        break;
    case FAULT_SLOW:
        slow_down(c, host);
        break;
    case FAULT_SPACE:
        fill(c, host);
        break;
    case FAULT_SYNC:
        fail_disk(c, host);
        break;
    case FAULT_SKIP:
        skip_some(c);
        break;
    case FAULT_DROP:
        drop_some(c);
        break;
    case FAULT_TRANSFER:
        transfer(c);
        break;
    case FAULT_WALL:
        step_wall(&c->hosts[host]);
        break;
    case FAULT_WIPE:
        wipe(c, t);
        break;
    case FAULT_ROT:
        rot(c, t);
        break;
    case FAULT_AWAY:
        host_kill(&c->hosts[host]);
        host_start_later(&c->hosts[host], cluster_random(c, 1 * SECOND, 4 * SECOND));
        break;
    case FAULT_KINDS:
        break;
    }
}

static void make_trouble(struct cluster *c, void *user, uint64_t argument)
{
    struct trouble *t = user;
    (void)argument;
    if (t->over)
        return;
    enum fault_kind kind = (enum fault_kind)cluster_random(c, 0, FAULT_KINDS - 1);
    if (t->scenario->kinds >> kind & 1)
        inject(c, t, kind);
    cluster_call_at(c, c->now_usec + cluster_random(c, 1 * MSEC, t->scenario->fault_max_usec), make_trouble, t, 0);
}

void trouble_begin(struct cluster *c, struct trouble *t)
{
    c->chat_end_percent = t->scenario->chat_end_percent;
    c->chat_fail_percent = t->scenario->chat_fail_percent;
    change_weather(c, t->scenario, true);
    bootstrap_begin(c, t);
    make_trouble(c, t, 0);
}
