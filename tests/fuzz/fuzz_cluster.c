/* A whole cluster whose fate the input decides: what is delivered, lost, doubled or late, who crashes, sleeps or is cut
 * off, what clients and operators do, and when time goes on. Rules that break are noticed by the cluster's observer
 * (tests/unit/cluster_check.h). In the end all is healed, and the cluster must come to rest and serve.
 *
 * Input: the cluster's sizes (choose_sizes()), then acts of two bytes: what (enum), and whom or how much. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "tests/unit/cluster_check.h"
#include "tests/unit/cluster_client_private.h"
#include "tests/unit/cluster_fault.h"

enum {
    STEPS_MAX = 20000, /* of the acts                            */
    SECONDS_MAX = 30,  /* simulated ones, of the acts            */
    SEARCH_STEPS_MAX = 100,
    ATTEMPTS_MAX = 5,
    OPERATIONS_MAX = 128,
    MESSAGE_TYPES = 32,
};

static struct {
    uint32_t deaf; /* set of message types              */
    unsigned lose; /* so many more                      */
    bool swallow;  /* the message that is delivered now */
    uint32_t n_wiped;
    uint64_t n_operations;
    uint32_t sessions[CLUSTER_HOSTS_MAX]; /* 0: none */
} world;

/* --- the network --- */

static bool filter(struct cluster *c, uint32_t from, uint32_t to, const struct message *m)
{
    (void)c, (void)from, (void)to;
    bool lost = world.swallow || (world.deaf >> m->type % MESSAGE_TYPES & 1);
    world.swallow = false;
    if (world.lose > 0) {
        world.lose--;
        lost = true;
    }
    return lost;
}

/* The next message that is due comes (also) later. */
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

static bool is_usable(const struct host *h)
{
    return h->up && h->paused_until_usec <= h->cluster->now_usec;
}

static void set_space(struct host *h, bool space)
{
    h->has_space = space;
    if (h->up)
        host_step(h, &(struct event){.type = EVENT_SPACE, .space = space});
}

static void wipe(struct cluster *c, struct host *h)
{
    if (h->wiped || 2 * (world.n_wiped + 1) > c->options.n_hosts - 1)
        return;
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->hosts[i].disk.identity.status != IDENTITY_VOTER && !c->hosts[i].wiped)
            return; /* a first start may rightly take an operator then */
    }
    world.n_wiped++;
    host_wipe(h);
    host_start(h);
}

static void skip(struct host *h, unsigned how)
{
    slot_t slots[4];
    for (unsigned i = 0; i < 4; i++)
        slots[i] = replica_chosen(h->replica) + (how >> i) % 16;
    host_step(h, &(struct event){.type = EVENT_SKIP, .slots = slots, .n_slots = 1 + how % 4});
}

/* --- clients --- */

/* One that takes messages now: while it is renumbered, or once it is closed, a host begins no further one on it. */
static uint32_t usable_session(struct cluster *c, uint32_t session)
{
    if (session == 0 || session_at(c->clients, session)->closed || session_at(c->clients, session)->renumber)
        return 0;
    return session;
}

static void submit(struct cluster *c, struct host *h, unsigned n)
{
    for (; n > 0 && world.n_operations < OPERATIONS_MAX; n--) {
        uint32_t *session = &world.sessions[h->index];
        world.n_operations = clients_send(c, h->index, usable_session(c, *session), session);
    }
}

static void act_as_client(struct cluster *c, enum cluster_act a, struct host *h, unsigned how)
{
    uint64_t operation = world.n_operations > 0 ? 1 + how % world.n_operations : 0;
    if (a == ACT_SUBMIT)
        submit(c, h, 1 + how % 8);
    else if (a == ACT_POSITION)
        clients_position(c, h->index);
    else if (a == ACT_CLOSE && world.sessions[h->index] > 0)
        clients_close(c, world.sessions[h->index]);
    else if (a == ACT_RETRY && operation > 0 && clients_operation(c, operation).n_open < OPERATION_ATTEMPTS_MAX)
        clients_retry(c, operation, h->index);
    else if (a == ACT_CONFLICT && operation > 0 && world.n_operations < OPERATIONS_MAX)
        world.n_operations = clients_conflict(c, operation, h->index);
    if (a == ACT_CLOSE)
        world.sessions[h->index] = 0;
}

/* --- acts --- */

static void act_on_network(struct cluster *c, enum cluster_act a, unsigned how)
{
    uint32_t n = c->options.n_hosts, one = how % n, other = how / n % n;
    switch (a) {
    case ACT_LOSE:
        world.lose = how;
        break;
    case ACT_DEAFEN:
        world.deaf ^= UINT32_C(1) << how % MESSAGE_TYPES;
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
    case ACT_HEAL:
        network_heal(c);
        world.deaf = world.lose = 0;
        break;
    case ACT_WEATHER:
        c->network.loss_permille = how % 2 * 300;
        c->network.duplicate_permille = how / 2 % 2 * 300;
        c->network.late_permille = how / 4 % 2 * 200;
        c->network.late_max_usec = 300 * MSEC;
        c->network.split_entries_max = how / 8;
        break;
    default:
        break;
    }
}

static void act_on_host(struct cluster *c, enum cluster_act a, struct host *h, unsigned how)
{
    uint64_t usec = how * 20 * MSEC;
    switch (a) {
    case ACT_CRASH:
        host_crash(h, how >> 7);
        world.sessions[h->index] = 0;
        break;
    case ACT_START:
        if (!h->up)
            host_start(h);
        break;
    case ACT_PAUSE:
        h->paused_until_usec = c->now_usec + usec;
        break;
    case ACT_STALL:
        h->stalled_until_usec = c->now_usec + usec;
        break;
    case ACT_SPACE:
        set_space(h, !h->has_space);
        break;
    case ACT_WIPE:
        world.sessions[h->index] = 0;
        wipe(c, h);
        break;
    case ACT_SKIP:
        if (is_usable(h) && c->options.n_hosts > 1)
            skip(h, how);
        break;
    case ACT_WALL:
        h->wall_offset_usec = ((int64_t)how - 128) * (int64_t)SECOND;
        break;
    case ACT_TRANSFER:
        if (cluster_leader(c) != NULL && is_usable(cluster_leader(c)))
            host_step(cluster_leader(c), &(struct event){.type = EVENT_TRANSFER, .target = h->id});
        break;
    default:
        if (is_usable(h))
            act_as_client(c, a, h, how / c->options.n_hosts);
        break;
    }
}

static void act(struct cluster *c, enum cluster_act a, unsigned how)
{
    if (a == ACT_RUN) {
        for (unsigned i = 0; i <= how && cluster_step(c); i++)
            ;
    } else if (a == ACT_WAIT) {
        cluster_run(c, how * 5 * MSEC);
    } else if ((a >= ACT_LOSE && a <= ACT_HEAL) || a == ACT_WEATHER) {
        act_on_network(c, a, how);
    } else {
        act_on_host(c, a, &c->hosts[how % c->options.n_hosts], how);
    }
}

/* False: what closed sessions had on its way pushed the message's since out of a tiny table. Once more, then. */
static bool is_served(struct cluster *c, uint32_t host)
{
    uint64_t operation = clients_send(c, host, 0, NULL);
    cluster_settle(c, 10 * SECOND);
    struct operation_state s = clients_operation(c, operation);
    fuzz_check(s.acked || s.n_expired > 0);
    return s.acked;
}

/* Everything is healed: the cluster must come to rest, and take a message through every host. */
static void demand_rest(struct cluster *c)
{
    network_heal(c);
    c->network.filter = NULL;
    clients_get(c);
    clients_stop(c); /* none asks with a since that is old on purpose any more */
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        struct host *h = &c->hosts[i];
        h->paused_until_usec = h->stalled_until_usec = 0;
        if (!h->up)
            host_start(h);
        if (!h->has_space)
            set_space(h, true);
    }
    cluster_settle(c, 60 * SECOND);
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->hosts[i].wiped)
            continue;
        int attempts = 0;
        while (!is_served(c, i))
            fuzz_check(++attempts < ATTEMPTS_MAX);
    }
    clients_check(c);
}

static struct cluster_options choose_sizes(struct fuzz_input *in)
{
    static const uint32_t hosts[] = {3, 5, 3, 1};
    struct cluster_options o = cluster_defaults(fuzz_u8(in));
    uint8_t shape = fuzz_u8(in), tables = fuzz_u8(in);
    o.trace = getenv("FUZZ_TRACE") != NULL;
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
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    const struct cluster_options options = choose_sizes(&in);
    cluster_set_failed(abort); /* which is what a fuzzer looks out for */
    struct cluster *c = cluster_make(&options);
    memset(&world, 0, sizeof world);
    c->network.filter = filter;
    const uint64_t end_usec = c->now_usec + SECONDS_MAX * SECOND;
    while (c->steps < STEPS_MAX && c->now_usec < end_usec && fuzz_left(&in) > 0) {
        enum cluster_act a = (enum cluster_act)(fuzz_u8(&in) % CLUSTER_ACTS);
        act(c, a, fuzz_u8(&in));
    }
    demand_rest(c);
    cluster_free(c);
    return 0;
}
