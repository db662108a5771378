/* The clock, the event queue, and the bodies of values. */
#include "tests/sim/sim.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/clients.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

struct cluster_options cluster_defaults(uint64_t seed)
{
    return (struct cluster_options){
        .seed = seed,
        .n_hosts = 3,
        .id_stride = 1,
        .trace = true,
        .heartbeat_usec = 50 * MSEC,
        .alpha = 256,
        .dedup_slots = DEDUP_SLOTS_DEFAULT / 256,
        .streams_max = 256,
        .submissions_max = 1024,
        .proposal_bytes_max = 4 << 20,
        .message_bytes_max = 16384,
        .space_bytes = 1 << 20,
        .datagram_bytes = 1200,
        .segment_bytes = 256 << 10,
        .recover_permille = 3,
    };
}

uint64_t cluster_random(struct cluster *c, uint64_t min, uint64_t max)
{
    return max <= min ? min : min + prng_below(&c->prng, max - min + 1);
}

bool cluster_chance(struct cluster *c, uint32_t permille)
{
    return permille > 0 && prng_below(&c->prng, 1000) < permille;
}

void cluster_mix(struct cluster *c, uint64_t v)
{
    c->trace_hash = (c->trace_hash ^ v) * UINT64_C(0x100000001b3);
    c->trace_hash ^= c->trace_hash >> 29;
}

/* --- life --- */

static void make_config(struct cluster *c)
{
    const struct cluster_options *o = &c->options;
    c->config = (struct config){
        .f = (o->n_hosts - 1) / 2,
        .cluster = "sim",
        .heartbeat_ms = (uint32_t)(o->heartbeat_usec / MSEC),
        .message_bytes_max = o->message_bytes_max,
        .datagram_bytes = o->datagram_bytes,
        .retain_mb = RETAIN_MB_DEFAULT,
        .dedup_slots = o->dedup_slots,
        .n_replicas = o->n_hosts,
    };
    for (uint32_t i = 0; i < o->n_hosts; i++) {
        struct config_replica *r = &c->config.replicas[i];
        r->id = (replica_id_t)(i * o->id_stride);
        r->port = (uint16_t)(6000 + i);
        snprintf(r->host, sizeof(r->host), "127.0.0.1");
    }
}

static void make_hosts(struct cluster *c)
{
    const struct cluster_options *o = &c->options;
    struct hash128 cluster;
    uint64_t lives[CLUSTER_HOSTS_MAX];
    for (size_t i = 0; i < sizeof(cluster.bytes); i++)
        cluster.bytes[i] = (uint8_t)prng_next(&c->prng);
    for (uint32_t i = 0; i < o->n_hosts; i++)
        lives[i] = prng_next(&c->prng) | 1;
    for (uint32_t i = 0; i < o->n_hosts; i++) {
        struct identity identity;
        config_identity(&c->config, c->config.replicas[i].id, lives[i], &identity);
        if (!o->blank) {
            identity.status = IDENTITY_VOTER;
            identity.cluster = cluster;
            for (uint32_t m = 0; m < o->n_hosts; m++)
                identity.configuration.members[m].life = lives[m];
        }
        host_make(c, i, &identity);
    }
}

struct cluster *cluster_make(const struct cluster_options *o)
{
    struct cluster *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    cluster_set_current(c);
    if (sodium_init() < 0) /* before a host runs, whose randomness it would take */
        abort();
    c->options = *o;
    c->options.id_stride = o->id_stride ? o->id_stride : 1;
    prng_seed(&c->prng, o->seed * UINT64_C(0x2545f4914f6cdd1d) + 1);
    prng_next(&c->prng);
    c->now_usec = 1000 * SECOND;
    c->wall_base_usec = UINT64_C(1790000000) * SECOND;
    network_heal(c);
    c->observer = observer_make(c);
    if (o->trace) {
        c->trace = calloc(CLUSTER_TRACE_LINES, sizeof(*c->trace));
        if (!c->trace)
            abort();
    }
    make_config(c);
    for (uint32_t i = 0; i < o->n_hosts; i++)
        c->hosts[i].cluster = c; /* whose alpha config_identity() asks for */
    world_enter(&c->hosts[0]);
    make_hosts(c);
    for (uint32_t i = 0; i < o->n_hosts; i++)
        observer_identity(c, i, &c->hosts[i].disk.identity);
    for (uint32_t i = 0; i < o->n_hosts; i++)
        host_start(&c->hosts[i]);
    return c;
}

void cluster_free(struct cluster *c)
{
    cluster_set_current(NULL);
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        host_free(&c->hosts[i]);
    clients_free(c);
    for (size_t i = 0; i < c->n_queue; i++) {
        if (c->queue[i].type == SIM_DELIVER)
            packet_release(c->queue[i].packet);
    }
    free(c->queue);
    for (size_t i = 0; i < sizeof(c->bodies) / sizeof(c->bodies[0]); i++) {
        while (c->bodies[i]) {
            struct body *b = c->bodies[i];
            c->bodies[i] = b->next;
            free(b);
        }
    }
    observer_free(c);
    free(c->trace);
    free(c);
    world_enter(NULL);
}

/* Only to find it again. */
static uint64_t digest_of(const uint8_t *bytes, uint32_t size)
{
    uint64_t digest = size, part = 0;
    for (; size >= sizeof(part); bytes += sizeof(part), size -= (uint32_t)sizeof(part)) {
        memcpy(&part, bytes, sizeof(part));
        digest = (digest ^ part) * UINT64_C(0x9e3779b97f4a7c15);
        digest ^= digest >> 32;
    }
    memcpy(&part, bytes, size);
    digest = (digest ^ part) * UINT64_C(0x9e3779b97f4a7c15);
    return digest ^ digest >> 32;
}

const struct body *cluster_body(struct cluster *c, const void *bytes, uint32_t size)
{
    uint64_t digest = digest_of(bytes, size);
    struct body **bucket = &c->bodies[digest % (sizeof(c->bodies) / sizeof(c->bodies[0]))];
    for (struct body *b = *bucket; b; b = b->next) {
        if (b->digest == digest && b->size == size && memcmp(b->bytes, bytes, size) == 0)
            return b;
    }
    struct body *b = malloc(sizeof(*b) + size);
    if (!b)
        abort();
    b->next = *bucket;
    b->digest = digest;
    b->size = size;
    memcpy(b->bytes, bytes, size);
    *bucket = b;
    return b;
}

struct host *cluster_host_by_id(struct cluster *c, replica_id_t id)
{
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (c->hosts[i].id == id)
            return &c->hosts[i];
    }
    return NULL;
}

/* --- the queue --- */

static bool is_earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_usec != b->at_usec ? a->at_usec < b->at_usec : a->order < b->order;
}

void cluster_push(struct cluster *c, struct sim_event e)
{
    if (c->n_queue >= CLUSTER_EVENTS_MAX)
        cluster_fail(c, "more than %d events wait: somebody floods the network", CLUSTER_EVENTS_MAX);
    if (c->n_queue == c->queue_capacity) {
        c->queue_capacity = c->queue_capacity ? 2 * c->queue_capacity : 256;
        c->queue = realloc(c->queue, c->queue_capacity * sizeof(*c->queue));
        if (!c->queue)
            abort();
    }
    if (e.at_usec < c->now_usec)
        e.at_usec = c->now_usec;
    e.order = ++c->order;
    size_t i = c->n_queue++;
    while (i > 0 && is_earlier(&e, &c->queue[(i - 1) / 2])) {
        c->queue[i] = c->queue[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    c->queue[i] = e;
}

static struct sim_event pop(struct cluster *c)
{
    struct sim_event first = c->queue[0], last = c->queue[--c->n_queue];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= c->n_queue)
            break;
        if (child + 1 < c->n_queue && is_earlier(&c->queue[child + 1], &c->queue[child]))
            child++;
        if (!is_earlier(&c->queue[child], &last))
            break;
        c->queue[i] = c->queue[child];
        i = child;
    }
    c->queue[i] = last;
    return first;
}

void cluster_call_at(struct cluster *c, uint64_t at_usec, cluster_call call, void *user, uint64_t argument)
{
    cluster_push(
        c, (struct sim_event){.at_usec = at_usec, .type = SIM_CALL, .call = call, .user = user, .argument = argument});
}

/* An event of a host that crashed since, or a timer that was set anew, means nothing any more. */
static bool is_stale(const struct cluster *c, const struct sim_event *e)
{
    const struct host *h = &c->hosts[e->host];
    switch (e->type) {
    case SIM_DELIVER:
        return !h->up || (e->boot != 0 && h->boot != e->boot);
    case SIM_TIMER:
        return !h->up || h->boot != e->boot || h->timers[e->timer].at_usec != e->at_usec ||
               h->timers[e->timer].order != e->order;
    case SIM_WRITE:
    case SIM_ASYNC:
    case SIM_WORK:
    case SIM_TURN:
        return !h->up || h->boot != e->boot;
    case SIM_CALL:
        return false;
    }
    return false;
}

/* A stopped process: its disk goes on with what it was told. */
static bool is_paused(const struct host *h, const struct sim_event *e)
{
    return h->paused_until_usec > h->cluster->now_usec && e->type != SIM_WRITE;
}

static void wait_for_host(struct cluster *c, struct host *h, struct sim_event e)
{
    e.at_usec = h->paused_until_usec;
    e.boot = h->boot; /* what came in goes with the process */
    cluster_push(c, e);
    if (e.type == SIM_TIMER) {
        h->timers[e.timer].at_usec = e.at_usec;
        h->timers[e.timer].order = c->order;
    }
}

bool cluster_step(struct cluster *c)
{
    if (c->n_queue == 0)
        return false;
    struct sim_event e = pop(c);
    c->events++;
    if (e.at_usec > c->now_usec) {
        c->now_usec = e.at_usec;
        c->steps_now = 0;
    }
    if (++c->steps_now > CLUSTER_STEPS_PER_USEC_MAX)
        cluster_fail(c, "the clock stands still: a timer spins");
    cluster_mix(c, e.at_usec * 64 + 8 * e.host + (uint64_t)e.type);
    if (e.type == SIM_CALL) {
        e.call(c, e.user, e.argument);
        return true;
    }
    struct host *h = &c->hosts[e.host];
    if (!is_stale(c, &e)) {
        if (is_paused(h, &e)) {
            c->happened[HAPPENED_PAUSED]++;
            wait_for_host(c, h, e);
            return true;
        }
        host_handle(h, &e);
    } else if (e.type == SIM_DELIVER) {
        c->happened[HAPPENED_UNHEARD]++;
    }
    if (e.type == SIM_DELIVER)
        packet_release(e.packet);
    return true;
}

static void do_nothing(struct cluster *c, void *user, uint64_t argument)
{
    (void)c, (void)user, (void)argument;
}

bool cluster_run_until(struct cluster *c, uint64_t usec, bool (*done)(struct cluster *c, void *user), void *user)
{
    uint64_t end_usec = c->now_usec + usec;
    cluster_call_at(c, end_usec, do_nothing, NULL, 0);
    for (;;) {
        if (done && done(c, user))
            return true;
        if (c->n_queue == 0 || c->queue[0].at_usec > end_usec)
            return false;
        cluster_step(c);
    }
}

void cluster_run(struct cluster *c, uint64_t usec)
{
    cluster_run_until(c, usec, NULL, NULL);
}
