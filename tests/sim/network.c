/* The network: datagrams that are lost, doubled, late, spoiled, held up and cut off one way. Stands in for the peers'
 * socket (host/peers.h). */
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/faults.h"
#include "host/peers.h"
#include "paxos/bytes.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

enum { AT_CHECKSUM = 36, RECORD_PERMILLE = 20 };

struct peers {
    struct host *host;
    bool (*received)(void *user, const struct sockaddr_storage *from, const uint8_t *bytes, size_t size);
    void *user;
    struct faults *faults;
    size_t n;
    uint32_t indexes[CLUSTER_HOSTS_MAX]; /* of hosts */
    replica_id_t ids[CLUSTER_HOSTS_MAX];
    const uint8_t *last_rest; /* of the datagram that was queued last: the next is often the same one to another peer */
    size_t last_size, last_peer;
    struct peers_counters counters;
};

void packet_release(struct packet *p)
{
    if (--p->refs == 0)
        free(p);
}

enum datagram_error packet_open(const struct packet *p, struct datagram_reader *r, struct datagram_header *ret)
{
    enum datagram_error error = datagram_header_read(p->bytes, p->size, ret);
    if (error != DATAGRAM_OK || ret->kind == DATAGRAM_PLAIN || p->spoiled)
        return error != DATAGRAM_OK ? error : datagram_open(r, p->bytes, p->size, ret);
    if (p->plain_size > 0)
        return datagram_open_sealed(r, p->bytes + p->size, p->plain_size);
    *r = (struct datagram_reader){.bytes = p->bytes, .size = DATAGRAM_HEADER_SIZE, .at = DATAGRAM_HEADER_SIZE};
    return DATAGRAM_OK;
}

/* --- the socket --- */

int peers_open(const struct peers_options *o, struct peers **ret)
{
    struct host *h = world_host();
    struct peers *p = calloc(1, sizeof(*p));
    if (!p)
        abort();
    p->host = h;
    p->received = o->received;
    p->user = o->user;
    p->faults = o->faults;
    p->n = o->n_others;
    for (size_t i = 0; i < p->n; i++) {
        p->ids[i] = o->others[i].id;
        p->indexes[i] = cluster_host_by_id(h->cluster, o->others[i].id)->index;
    }
    h->peers = *ret = p;
    return 0;
}

int peers_start(struct peers *p)
{
    (void)p;
    return 0;
}

void peers_queue(struct peers *p, size_t peer, const uint8_t header[DATAGRAM_HEADER_SIZE], const uint8_t *rest,
                 size_t rest_size, uint64_t now_usec)
{
    struct host *h = p->host;
    struct packet *packet = malloc(sizeof(*packet) + DATAGRAM_HEADER_SIZE + rest_size + h->plain_size);
    if (!packet)
        abort();
    *packet = (struct packet){.refs = 1,
                              .from = h->index,
                              .to = p->indexes[peer],
                              .to_boot = h->cluster->hosts[p->indexes[peer]].boot,
                              .size = (uint32_t)(DATAGRAM_HEADER_SIZE + rest_size),
                              .plain_size = h->plain_size};
    memcpy(packet->bytes, header, DATAGRAM_HEADER_SIZE);
    memcpy(packet->bytes + DATAGRAM_HEADER_SIZE, rest, rest_size);
    memcpy(packet->bytes + packet->size, h->plain, h->plain_size);
    h->plain_size = 0;
    if (packet->size > h->cluster->options.datagram_bytes)
        cluster_fail(h->cluster, "host %u sends a datagram of %u bytes", h->index, packet->size);
    bool again = rest == p->last_rest && rest_size == p->last_size && peer > p->last_peer;
    p->last_rest = rest;
    p->last_size = rest_size;
    p->last_peer = peer;
    sealed_sent(h, peer, packet);
    observer_sent(h, packet, again);
    cluster_trace_packet(h->cluster, (int)h->index, "send", p->ids[peer], packet);
    if (faults_drop(p->faults, FAULT_OUT, p->ids[peer], now_usec))
        h->cluster->happened[HAPPENED_DROPPED]++;
    else
        network_send(h, packet, p->indexes[peer]);
    packet_release(packet);
}

void peers_flush(struct peers *p)
{
    const struct driver *d = p->host->driver;
    p->last_rest = NULL;
    p->host->cluster->happened[HAPPENED_BUFFERS_FULL] += d && d->outbox.n_free == 0;
}

void peers_heard(struct peers *p, size_t peer, uint64_t now_usec)
{
    (void)p, (void)peer, (void)now_usec;
}

void peers_tick(struct peers *p, uint64_t now_usec)
{
    (void)p, (void)now_usec;
}

uint32_t peers_receive_bytes(const struct peers *p)
{
    return 2 * (uint32_t)(p->n > 0 ? p->n : 1) * p->host->cluster->options.space_bytes;
}

const struct peers_counters *peers_counters(const struct peers *p)
{
    return &p->counters;
}

uint32_t peers_overrun(const struct peers *p)
{
    (void)p;
    return 0;
}

bool peers_is_from(const struct peers *p, size_t peer, const struct sockaddr_storage *from)
{
    (void)p, (void)peer, (void)from;
    return true;
}

const char *peers_note(const struct peers *p, size_t peer)
{
    (void)p, (void)peer;
    return "";
}

void peers_close(struct peers *p, void (*closed)(void *user), void *user)
{
    struct host *h = p->host;
    h->closes[h->n_closes++] = (struct host_close){.peers_call = closed, .user = user};
}

void peers_free(struct peers *p)
{
    free(p);
}

/* --- the way --- */

static struct packet *spoil(struct cluster *c, const struct packet *p)
{
    struct packet *q = malloc(sizeof(*q) + p->size);
    if (!q)
        abort();
    c->happened[HAPPENED_SPOILED]++;
    memcpy(q, p, sizeof(*q) + p->size);
    q->refs = q->plain_size = 0;
    q->spoiled = true;
    if (cluster_chance(c, 200))
        q->size = (uint32_t)cluster_random(c, 0, q->size - 1);
    else
        q->bytes[cluster_random(c, 0, q->size - 1)] ^= (uint8_t)(1 << cluster_random(c, 0, 7));
    return q;
}

/* Somebody recorded it: it comes again, much later perhaps, and perhaps to another replica. */
static void repeat(struct cluster *c, struct packet *p, uint32_t to)
{
    uint64_t delay_usec = cluster_random(c, 0, cluster_chance(c, 500) ? 100 * MSEC : 10 * SECOND);
    if (cluster_chance(c, 200))
        to = (uint32_t)cluster_random(c, 0, c->options.n_hosts - 1);
    p->refs++;
    c->happened[HAPPENED_RECORDED]++;
    cluster_push(c,
                 (struct sim_event){.at_usec = c->now_usec + delay_usec, .type = SIM_DELIVER, .host = to, .packet = p});
}

void network_send(struct host *h, struct packet *p, uint32_t to)
{
    struct cluster *c = h->cluster;
    struct network *n = &c->network;
    const struct weather *w = &n->weather[h->index][to];
    uint32_t copies = 1;
    cluster_mix(c, get_u32(p->bytes + AT_CHECKSUM) + ((uint64_t)to << 32));
    if (n->cut[h->index][to]) {
        copies = 0;
        c->happened[n->cut[to][h->index] ? HAPPENED_CUT : HAPPENED_CUT_ONE_WAY]++;
    } else if (cluster_chance(c, w->loss_permille)) {
        copies = 0;
        c->happened[HAPPENED_LOST]++;
    } else if (cluster_chance(c, w->duplicate_permille)) {
        copies = 2;
        c->happened[HAPPENED_DOUBLED]++;
    }
    if (c->options.sealed && cluster_chance(c, RECORD_PERMILLE))
        repeat(c, p, to);
    for (uint32_t i = 0; i < copies; i++) {
        uint64_t delay_usec = cluster_random(c, w->delay_min_usec, w->delay_max_usec);
        if (cluster_chance(c, w->late_permille)) {
            delay_usec += cluster_random(c, 0, w->late_max_usec);
            c->happened[HAPPENED_LATE]++;
        }
        if (n->clogged_usec[h->index][to] > c->now_usec) {
            delay_usec += n->clogged_usec[h->index][to] - c->now_usec;
            c->happened[HAPPENED_CLOGGED]++;
        }
        struct packet *sent = cluster_chance(c, w->corrupt_permille) ? spoil(c, p) : p;
        sent->refs++;
        if (n->latest_usec < c->now_usec + delay_usec)
            n->latest_usec = c->now_usec + delay_usec;
        cluster_push(c, (struct sim_event){
                            .at_usec = c->now_usec + delay_usec, .type = SIM_DELIVER, .host = to, .packet = sent});
    }
}

void network_deliver(struct host *h, struct packet *p, uint64_t order)
{
    struct cluster *c = h->cluster;
    uint64_t *last = &c->network.delivered[p->from][h->index];
    c->happened[HAPPENED_OVERTAKEN] += order < *last;
    *last = order > *last ? order : *last;
    if (c->network.filter && c->network.filter(c, p->from, h->index, p))
        return;
    cluster_trace_packet(c, (int)h->index, "recv", (int)c->hosts[p->from].id, p);
    h->incoming = p;
    h->peers->received(h->peers->user, NULL, p->bytes, p->size);
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

struct weather network_calm(void)
{
    return (struct weather){.delay_min_usec = 1 * MSEC, .delay_max_usec = 5 * MSEC};
}

void network_weather(struct cluster *c, const struct weather *w)
{
    for (uint32_t i = 0; i < CLUSTER_HOSTS_MAX; i++)
        for (uint32_t j = 0; j < CLUSTER_HOSTS_MAX; j++)
            c->network.weather[i][j] = *w;
}

void network_heal(struct cluster *c)
{
    struct network *n = &c->network;
    const struct weather calm = network_calm();
    memset(n->cut, 0, sizeof(n->cut));
    memset(n->clogged_usec, 0, sizeof(n->clogged_usec));
    network_weather(c, &calm);
}
