/* The network: packets that are lost, doubled, late, cut off one way, and cut into datagrams that fail one by one. */
#include "tests/unit/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/cluster_check.h"
#include "tests/unit/cluster_lone.h"

enum { SUBMIT_HOPS_MAX = 2 };

static uint32_t count_values(const struct message *m)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        return m->accept.n_entries;
    case MESSAGE_CHOSEN:
        return m->chosen.n_entries;
    case MESSAGE_SUBMIT:
        return m->submit.n_entries;
    case MESSAGE_BODY:
        return 1;
    case MESSAGE_STATE:
        return m->state.slot0 ? 1 : 0;
    default:
        return 0;
    }
}

static const struct entry *find_entries(const struct message *m)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        return m->accept.entries;
    case MESSAGE_CHOSEN:
        return m->chosen.entries;
    case MESSAGE_SUBMIT:
        return m->submit.entries;
    case MESSAGE_BODY:
        return &m->body;
    default:
        return NULL;
    }
}

static void set_entries(struct message *m, const struct entry *entries, uint32_t n)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        m->accept.entries = entries;
        m->accept.n_entries = n;
        break;
    case MESSAGE_CHOSEN:
        m->chosen.entries = entries;
        m->chosen.n_entries = n;
        break;
    case MESSAGE_SUBMIT:
        m->submit.entries = entries;
        m->submit.n_entries = n;
        break;
    case MESSAGE_BODY:
        m->body = entries[0];
        break;
    default:
        break;
    }
}

static void *copy_of(const void *from, size_t size)
{
    void *to = malloc(size);
    if (!to)
        abort();
    memcpy(to, from, size);
    return to;
}

static void copy_values(struct host *h, struct packet *p, const struct message *m, uint32_t n)
{
    p->bodies = calloc(n, sizeof(*p->bodies));
    if (!p->bodies)
        abort();
    if (m->type == MESSAGE_STATE) {
        p->bodies[0] = cluster_body(h->cluster, m->state.slot0->bytes, m->state.slot0->size);
        p->message.state.slot0 = NULL;
        return;
    }
    const struct entry *from = find_entries(m);
    p->entries = copy_of(from, n * sizeof(*from));
    for (uint32_t i = 0; i < n; i++) {
        if (!from[i].value || from[i].value->refs == 0)
            cluster_fail(h->cluster, "host %u sends a value that it does not hold (message %d)", h->index,
                         (int)m->type);
        p->bodies[i] = cluster_body(h->cluster, from[i].value->bytes, from[i].value->size);
        p->entries[i].value = NULL;
    }
    set_entries(&p->message, p->entries, n);
}

struct packet *packet_make(struct host *h, const struct message *m)
{
    struct packet *p = calloc(1, sizeof(*p));
    if (!p)
        abort();
    const struct identity *identity = replica_identity(h->replica);
    p->refs = 1;
    p->from = h->index;
    p->cluster = identity->cluster;
    p->message = *m;
    p->message.from = h->id;
    p->message.from_life = identity->life;
    uint32_t n = count_values(m);
    if (n > MESSAGE_ENTRIES_MAX)
        cluster_fail(h->cluster, "host %u: message %d has %u entries", h->index, (int)m->type, n);
    p->n_values = n;
    if (n > 0)
        copy_values(h, p, m, n);
    if (m->type == MESSAGE_PROMISE && m->promise.n_entries > 0) {
        p->promised = copy_of(m->promise.entries, m->promise.n_entries * sizeof(*p->promised));
        p->message.promise.entries = p->promised;
    }
    return p;
}

void packet_release(struct packet *p)
{
    if (--p->refs > 0)
        return;
    free(p->entries);
    free((void *)p->bodies);
    free(p->promised);
    free(p);
}

/* --- sending --- */

static void send_datagram(struct host *h, struct packet *p, uint32_t to, uint32_t first, uint32_t count)
{
    struct cluster *c = h->cluster;
    struct network *n = &c->network;
    uint32_t copies = 1;
    if (n->cut[h->index][to] || cluster_chance(c, n->loss_permille))
        copies = 0;
    else if (cluster_chance(c, n->duplicate_permille))
        copies = 2;
    for (uint32_t i = 0; i < copies; i++) {
        uint64_t delay_usec = cluster_random(c, n->delay_min_usec, n->delay_max_usec);
        if (cluster_chance(c, n->late_permille))
            delay_usec += cluster_random(c, 0, n->late_max_usec);
        p->refs++;
        cluster_push(c, (struct sim_event){.at_usec = c->now_usec + delay_usec,
                                           .type = SIM_DELIVER,
                                           .host = to,
                                           .packet = p,
                                           .first = first,
                                           .count = count});
    }
}

static void send_one(struct host *h, struct packet *p, uint32_t to)
{
    struct cluster *c = h->cluster;
    uint32_t n = p->n_values, max = c->network.split_entries_max;
    bool list =
        p->message.type == MESSAGE_ACCEPT || p->message.type == MESSAGE_CHOSEN || p->message.type == MESSAGE_SUBMIT;
    if (!list || max == 0 || n <= max) {
        send_datagram(h, p, to, 0, n);
        return;
    }
    for (uint32_t at = 0; at < n;) {
        uint32_t count = (uint32_t)cluster_random(c, 1, max);
        if (count > n - at)
            count = n - at;
        send_datagram(h, p, to, at, count);
        at += count;
    }
}

void network_send(struct host *h, struct packet *p, replica_id_t to)
{
    struct cluster *c = h->cluster;
    observer_sent(h, p);
    cluster_trace_message(c, (int)h->index, "send", to, &p->message);
    if (c->lone) {
        lone_sent(h, p, to);
        return;
    }
    if (to != REPLICA_ID_NONE) {
        struct host *receiver = cluster_host_by_id(c, to);
        if (!receiver || receiver == h)
            cluster_fail(c, "host %u sends message %d to %u", h->index, (int)p->message.type, to);
        send_one(h, p, receiver->index);
        return;
    }
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (i != h->index)
            send_one(h, p, i);
    }
}

/* --- receiving --- */

/* A receiver of SUBMIT gives every value its own time: it may be the leader. */
static const struct body *restamp(struct host *h, const struct body *b)
{
    uint8_t *bytes = copy_of(b->bytes, b->size);
    value_encoding_set_time(bytes, host_wall_usec(h));
    const struct body *stamped = cluster_body(h->cluster, bytes, b->size);
    free(bytes);
    return stamped;
}

static void deliver(struct host *h, const struct sim_event *e, struct message *m)
{
    const struct packet *p = e->packet;
    /* slot 0 is hashed without the cluster's id, which it brings */
    static const struct hash128 none;
    const struct hash128 *key = m->type == MESSAGE_STATE ? &none : &replica_identity(h->replica)->cluster;
    struct value **values = calloc(e->count + 1, sizeof(struct value *));
    struct entry *entries = calloc(e->count + 1, sizeof(*entries));
    if (!values || !entries)
        abort();
    for (uint32_t i = 0; i < e->count; i++) {
        const struct body *b = p->bodies[e->first + i];
        values[i] = host_value(h, key, m->type == MESSAGE_SUBMIT ? restamp(h, b) : b);
        if (m->type == MESSAGE_STATE) {
            m->state.slot0 = values[i];
            continue;
        }
        entries[i] = p->entries[e->first + i];
        entries[i].value = values[i];
        if (m->type == MESSAGE_SUBMIT && entries[i].hops > SUBMIT_HOPS_MAX)
            cluster_fail(h->cluster, "a SUBMIT travels %u hops", entries[i].hops);
    }
    if (m->type != MESSAGE_STATE && e->count > 0)
        set_entries(m, entries, e->count);
    host_step(h, &(struct event){.type = EVENT_MESSAGE, .message = m});
    for (uint32_t i = 0; i < e->count; i++)
        host_value_release(h, values[i]);
    free((void *)values);
    free(entries);
}

/* As the daemon's host does: only members of the same cluster, and to a voter only lives that were admitted. */
static bool is_trusted(const struct host *h, const struct packet *p)
{
    const struct identity *own = replica_identity(h->replica);
    int member = configuration_find(&own->configuration, p->message.from);
    if (!hash_equal(&p->cluster, &own->cluster))
        return false;
    return own->status != IDENTITY_VOTER ||
           (member >= 0 && own->configuration.members[member].life == p->message.from_life);
}

void network_deliver(struct host *h, const struct sim_event *e)
{
    struct cluster *c = h->cluster;
    struct packet *p = e->packet;
    if (c->network.filter && c->network.filter(c, p->from, h->index, &p->message))
        return;
    if (p->message.type != MESSAGE_STATE && !is_trusted(h, p))
        return;
    cluster_trace_message(c, (int)h->index, "recv", (int)c->hosts[p->from].id, &p->message);
    struct message m = p->message;
    deliver(h, e, &m);
}

/* --- links --- */

void network_link(struct cluster *c, uint32_t a, uint32_t b, bool up)
{
    c->network.cut[a][b] = c->network.cut[b][a] = !up;
}

void network_isolate(struct cluster *c, uint32_t host, bool cut)
{
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (i != host)
            network_link(c, host, i, !cut);
    }
}

void network_heal(struct cluster *c)
{
    struct network *n = &c->network;
    memset(n->cut, 0, sizeof(n->cut));
    n->loss_permille = n->duplicate_permille = n->late_permille = 0;
    n->delay_min_usec = 1 * MSEC;
    n->delay_max_usec = 5 * MSEC;
}
