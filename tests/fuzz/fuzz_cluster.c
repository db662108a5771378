/* A whole cluster whose fate the input decides: what is delivered, lost, doubled or late, who crashes, sleeps or is cut
 * off, what disks do, what clients and operators do, and when time goes on. Rules that break are noticed by the
 * simulator's observer (tests/sim/observer.h). In the end all is healed, and the cluster must come to rest and serve.
 *
 * Input: the cluster's sizes (choose_sizes()), then acts of two bytes: what (enum), and whom or how much. */
#include <errno.h>

#include "host/faults.h"
#include "journal/journal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/hang.h"
#include "tests/fuzz/inputs.h"
#include "tests/sim/clients_private.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "wire/datagram.h"

enum {
    STEPS_MAX = 20000, /* of the acts                            */
    SECONDS_MAX = 30,  /* simulated ones, of the acts            */
    SEARCH_STEPS_MAX = 100,
    OPERATIONS_MAX = 128, /* and as many long ones */
    DROP_S = 2,
    CALLS_MAX_OPEN = 64,
    MESSAGE_TYPES = 64,
    VALUE_BYTES_MOST = 1 << 16,
};

static struct {
    struct trouble trouble; /* whose disks are lost            */
    uint64_t deaf;          /* set of message types            */
    unsigned lose;          /* so many more                    */
    bool swallow;           /* the datagram that is delivered now */
    uint64_t n_operations, n_long;
    uint32_t connections[CLUSTER_HOSTS_MAX]; /* 0: none */
} world;

/* --- the network --- */

static bool is_of_deaf_type(const struct packet *p)
{
    static struct datagram_message m;
    struct datagram_reader reader;
    struct datagram_header header;
    if (datagram_open(&reader, p->bytes, p->size, &header) != DATAGRAM_OK)
        return false;
    while (datagram_next(&reader, &header, VALUE_BYTES_MOST, &m) > 0) {
        if (world.deaf >> m.message.type % MESSAGE_TYPES & 1)
            return true;
    }
    return false;
}

static bool filter(struct cluster *c, uint32_t from, uint32_t to, const struct packet *p)
{
    (void)c, (void)from, (void)to;
    bool lost = world.swallow || (world.deaf != 0 && is_of_deaf_type(p));
    world.swallow = false;
    if (world.lose > 0) {
        world.lose--;
        lost = true;
    }
    return lost;
}

/* The next datagram that is due comes (also) later. */
static void postpone(struct cluster *c, uint64_t usec, bool now_too)
{
    struct sim_event e;
    for (int i = 0; i < SEARCH_STEPS_MAX && c->n_queue > 0 && c->queue[0].type != SIM_DELIVER; i++)
        cluster_step(c);
    if (c->n_queue == 0 || c->queue[0].type != SIM_DELIVER || !c->hosts[c->queue[0].host].up ||
        c->hosts[c->queue[0].host].paused_until_usec > c->now_usec)
        return;
    e = c->queue[0];
    e.packet->refs++;
    e.at_usec += usec;
    cluster_push(c, e);
    world.swallow = !now_too;
    cluster_step(c);
    world.swallow = false;
}

/* --- hosts --- */

static void skip(struct host *h, unsigned how)
{
    slot_t slots[4];
    for (unsigned i = 0; i < 4; i++)
        slots[i] = replica_chosen(h->replica) + (how >> i) % 16;
    host_step(h, &(struct event){.type = EVENT_SKIP, .slots = slots, .n_slots = 1 + how % 4});
}

static void lose_disk(struct cluster *c, struct host *h, bool wiped)
{
    if (h->wiped || h->refused || (wiped && h->disk.n_rot > 0) || !trouble_may_lose(c, &world.trouble, h->index))
        return;
    world.connections[h->index] = 0;
    if (!wiped) {
        disk_rot(h);
        return;
    }
    host_wipe(h);
    host_start(h);
}

static void fail_disk(struct host *h, unsigned how)
{
    static const unsigned kinds[] = {VFS_MEMORY_SYNC, VFS_MEMORY_WRITE, VFS_MEMORY_CHANGES};
    if (!h->up || h->disk.failing)
        return;
    h->disk.failing = true;
    vfs_memory_fail_at(h->disk.memory, kinds[how % 3], 1 + how / 3 % 4, -EIO, false);
}

/* --- clients --- */

static void submit(struct cluster *c, struct host *h, unsigned n)
{
    for (; n > 0 && world.n_operations - world.n_long < OPERATIONS_MAX; n--) {
        uint32_t *connection = &world.connections[h->index];
        if (*connection != 0 && connection_at(c->clients, *connection)->closed)
            *connection = 0;
        world.n_operations = clients_send(c, h->index, *connection, connection);
    }
}

/* Long ones fill segments. */
static void load(struct cluster *c, struct host *h, unsigned n)
{
    struct clients_options *o = &clients_get(c)->options;
    o->long_permille = 1000;
    o->text_bytes_max = c->options.message_bytes_max;
    for (; n > 0 && world.n_long < OPERATIONS_MAX; n--, world.n_long++)
        world.n_operations = clients_send(c, h->index, 0, NULL);
    *o = clients_defaults();
}

static void act_as_client(struct cluster *c, enum cluster_act a, struct host *h, unsigned how)
{
    uint64_t operation = world.n_operations > 0 ? 1 + how % world.n_operations : 0;
    if (a == ACT_SUBMIT)
        submit(c, h, 1 + how % 8);
    else if (a == ACT_LOAD)
        load(c, h, 1 + how % 32);
    else if (a == ACT_POSITION && clients_get(c)->n_live < CALLS_MAX_OPEN)
        clients_position(c, h->index);
    else if (a == ACT_FLUSH && clients_get(c)->n_live < CALLS_MAX_OPEN)
        clients_flush(c, h->index, how % 2);
    else if (a == ACT_READ)
        clients_read(c, h->index);
    else if (a == ACT_CLOSE && world.connections[h->index] > 0)
        clients_close(c, world.connections[h->index]);
    else if (a == ACT_RETRY && operation > 0 && clients_operation(c, operation).n_open < OPERATION_ATTEMPTS_MAX)
        clients_retry(c, operation, h->index);
    else if (a == ACT_CONFLICT && operation > 0 && world.n_operations - world.n_long < OPERATIONS_MAX)
        world.n_operations = clients_conflict(c, operation, h->index);
    if (a == ACT_CLOSE)
        world.connections[h->index] = 0;
}

/* --- acts --- */

static void act_on_network(struct cluster *c, enum cluster_act a, unsigned how)
{
    uint32_t n = c->options.n_hosts, one = how % n, other = how / n % n;
    struct weather w = network_calm();
    switch (a) {
    case ACT_LOSE:
        world.lose = how;
        break;
    case ACT_DEAFEN:
        world.deaf ^= UINT64_C(1) << how % MESSAGE_TYPES;
        break;
    case ACT_DELAY:
    case ACT_DOUBLE:
        postpone(c, how * 10 * MSEC, a == ACT_DOUBLE);
        break;
    case ACT_CUT:
        if (one != other)
            c->network.cut[one][other] = !c->network.cut[one][other];
        break;
    case ACT_ISOLATE:
        network_isolate(c, one, true);
        break;
    case ACT_CLOG:
        c->network.clogged_usec[one][other] = c->now_usec + 500 * MSEC;
        break;
    case ACT_HEAL:
        network_heal(c);
        world.deaf = 0;
        world.lose = 0;
        break;
    case ACT_WEATHER:
        w.loss_permille = how % 2 * 300;
        w.duplicate_permille = how / 2 % 2 * 300;
        w.late_permille = how / 4 % 2 * 200;
        w.late_max_usec = 300 * MSEC;
        w.corrupt_permille = how / 8 % 2 * 50;
        network_weather(c, &w);
        break;
    default:
        break;
    }
}

static void act_on_process(struct cluster *c, enum cluster_act a, struct host *h, unsigned how)
{
    switch (a) {
    case ACT_CRASH:
        host_crash(h, how >> 7);
        break;
    case ACT_KILL:
        host_kill(h);
        if (how >> 7 && !h->up)
            vfs_memory_power_cut(h->disk.memory);
        break;
    case ACT_STOP:
        if (host_is_usable(h))
            host_stop(h);
        break;
    case ACT_START:
        host_start(h);
        break;
    case ACT_PAUSE:
        h->paused_until_usec = c->now_usec + how * 20 * MSEC;
        break;
    default:
        break;
    }
    if (!h->up)
        world.connections[h->index] = 0;
}

static void act_on_disk(struct cluster *c, enum cluster_act a, struct host *h, unsigned how)
{
    switch (a) {
    case ACT_STALL:
        h->stalled_until_usec = c->now_usec + how * 20 * MSEC;
        break;
    case ACT_SPACE:
        trouble_set_space(c, h->index, h->disk.full);
        break;
    case ACT_SLOW:
        h->sync_max_usec = h->sync_min_usec + how * MSEC;
        break;
    case ACT_FAIL:
        fail_disk(h, how / c->options.n_hosts);
        break;
    case ACT_WIPE:
    case ACT_ROT:
        lose_disk(c, h, a == ACT_WIPE);
        break;
    default:
        break;
    }
}

static void drop(struct cluster *c, struct host *h, unsigned how)
{
    if (h->up)
        faults_set(h->faults, (uint8_t)(how / 8 % 8 * 10), (enum fault_direction)(how / 64 % 3), REPLICA_ID_NONE,
                   DROP_S, c->now_usec);
}

/* Until the end; who has begun has the log's say. */
static void differ(struct host *h)
{
    if (h->wiped || h->disk.identity.status != IDENTITY_EMPTY)
        return;
    host_kill(h);
    world.connections[h->index] = 0;
    h->config_differs = true;
    host_start(h);
}

static void act_on_host(struct cluster *c, enum cluster_act a, struct host *h, unsigned how)
{
    switch (a) {
    case ACT_SKIP:
        if (host_is_usable(h) && c->options.n_hosts > 1)
            skip(h, how);
        break;
    case ACT_WALL:
        h->wall_offset_usec = ((int64_t)how - 128) * (int64_t)SECOND;
        break;
    case ACT_DROP:
        drop(c, h, how);
        break;
    case ACT_KEYS:
        if (c->options.sealed)
            sealed_change(h);
        break;
    case ACT_DIFFER:
        if (c->options.n_hosts > 1) /* alone it is right, whatever it says */
            differ(h);
        break;
    case ACT_TRANSFER:
        if (cluster_leader(c) != NULL && host_is_usable(cluster_leader(c)))
            host_step(cluster_leader(c), &(struct event){.type = EVENT_TRANSFER, .target = h->id});
        break;
    default:
        if (host_is_usable(h))
            act_as_client(c, a, h, how / c->options.n_hosts);
        break;
    }
}

static bool is_of(enum cluster_act a, const enum cluster_act *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == a)
            return true;
    }
    return false;
}

static void act(struct cluster *c, enum cluster_act a, unsigned how)
{
    static const enum cluster_act network[] = {ACT_LOSE,    ACT_DEAFEN, ACT_DELAY,   ACT_DOUBLE, ACT_CUT,
                                               ACT_ISOLATE, ACT_HEAL,   ACT_WEATHER, ACT_CLOG};
    static const enum cluster_act process[] = {ACT_CRASH, ACT_KILL, ACT_STOP, ACT_START, ACT_PAUSE};
    static const enum cluster_act disk[] = {ACT_STALL, ACT_SPACE, ACT_SLOW, ACT_FAIL, ACT_WIPE, ACT_ROT};
    struct host *h = &c->hosts[how % c->options.n_hosts];
    if (a == ACT_RUN) {
        for (unsigned i = 0; i <= how && cluster_step(c); i++)
            ;
    } else if (a == ACT_WAIT) {
        cluster_run(c, how * 5 * MSEC);
    } else if (is_of(a, network, sizeof network / sizeof network[0])) {
        act_on_network(c, a, how);
    } else if (is_of(a, process, sizeof process / sizeof process[0])) {
        act_on_process(c, a, h, how);
    } else if (is_of(a, disk, sizeof disk / sizeof disk[0])) {
        act_on_disk(c, a, h, how);
    } else {
        act_on_host(c, a, h, how);
    }
}

static void choose_more(struct cluster_options *o, uint8_t more)
{
    o->sealed = more & CLUSTER_SEALED;
    if (more & CLUSTER_SEVEN)
        o->n_hosts = 7;
    o->scrub_usec = more & CLUSTER_SCRUB ? 2 * SECOND : 0;
    o->rot_sealed_permille = more & CLUSTER_ROT_SEALED ? 900 : 0;
    if (more & CLUSTER_LARGE) {
        o->message_bytes_max = 6000;
        o->proposal_bytes_max = 32768;
    }
    if (more & CLUSTER_WIDE) {
        o->alpha *= 8;
        o->dedup_slots *= 16;
        o->submissions_max *= 4;
    }
}

static struct cluster_options choose_sizes(struct fuzz_input *in)
{
    static const uint32_t hosts[] = {3, 5, 3, 1};
    uint8_t seed = fuzz_u8(in), shape = fuzz_u8(in), tables = fuzz_u8(in);
    struct cluster_options o = cluster_defaults(seed);
    o.trace = o.trace_print = getenv("FUZZ_TRACE") != NULL;
    o.n_hosts = hosts[shape % 4];
    o.id_stride = 1 + shape / 4 % 2;
    o.blank = shape / 8 % 2;
    o.alpha = 8 + tables % 8;
    o.dedup_slots = 4 + tables / 8 % 8;
    o.streams_max = 1 + tables / 64;
    o.submissions_max = 16;
    o.promise_page_slots = 1 + shape / 16;
    o.proposal_bytes_max = 4096;
    o.message_bytes_max = 1024;
    o.datagram_bytes = shape / 16 % 2 ? 512 : 1200;
    o.segment_bytes = JOURNAL_SEGMENT_BYTES_MIN;
    if (shape / 128 == 0) /* else all is kept, as a real cluster would here */
        o.retain_bytes = JOURNAL_SEGMENT_BYTES_MIN;
    o.checkpoint_bytes = 8 << 10;
    if (seed & CLUSTER_MORE)
        choose_more(&o, fuzz_u8(in));
    return o;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    signal(SIGALRM, hang_look);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    const struct cluster_options options = choose_sizes(&in);
    cluster_set_failed(abort); /* which is what a fuzzer looks out for */
    struct cluster *c = cluster_make(&options);
    memset(&world, 0, sizeof world);
    hang_begin();
    c->network.filter = filter;
    const uint64_t end_usec = c->now_usec + SECONDS_MAX * SECOND;
    while (c->steps < STEPS_MAX && c->now_usec < end_usec && fuzz_left(&in) > 0) {
        enum cluster_act a = (enum cluster_act)(fuzz_u8(&in) % CLUSTER_ACTS);
        act(c, a, fuzz_u8(&in));
    }
    c->network.filter = NULL;
    clients_stop(c); /* none asks with a since that is old on purpose any more */
    cluster_heal(c);
    cluster_demand_rest(c);
    cluster_free(c);
    hang_end();
    return 0;
}
