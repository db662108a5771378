/* What clients do: the random ones, and those that a directed test moves by hand. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/clients_private.h"
#include "tests/sim/observer.h"

enum { REFUSED_WAIT_USEC = 300000 };

struct clients_options clients_defaults(void)
{
    return (struct clients_options){
        .n_clients = 4,
        .operations_max = 400,
        .in_flight_max = 16,
        .pause_max_usec = 20 * MSEC,
        .timeout_usec = 1500 * MSEC,
        .text_bytes_max = 2000,
        .close_permille = 10,
        .retry_permille = 700,
        .position_permille = 50,
        .read_permille = 30,
        .flush_permille = 5,
        .reuse_permille = 20,
        .old_since_permille = 20,
        .long_permille = 30,
    };
}

static void want_retry(struct client *l, struct operation *o)
{
    if (o->n_attempts >= OPERATION_ATTEMPTS_MAX)
        return;
    if (l->n_retries == l->retries_capacity) {
        l->retries_capacity = l->retries_capacity ? 2 * l->retries_capacity : 64;
        l->retries = realloc((void *)l->retries, l->retries_capacity * sizeof(struct operation *));
        if (!l->retries)
            abort();
    }
    l->retries[l->n_retries++] = o;
}

/* What ended without an answer on a session that is gone, in order. */
static void gather_retries(struct client *l, struct connection *s)
{
    struct clients *k = l->cluster->clients;
    for (uint32_t i = 0; i < s->n_attempts; i++) {
        const struct attempt *a = s->attempts[i];
        if ((a->status == ATTEMPT_UNKNOWN || a->status == ATTEMPT_REFUSED) && !a->operation->state.acked &&
            cluster_chance(l->cluster, k->options.retry_permille))
            want_retry(l, a->operation);
    }
}

static int pick_host(struct cluster *c)
{
    for (int i = 0; i < 8; i++) {
        uint32_t host = (uint32_t)cluster_random(c, 0, c->options.n_hosts - 1);
        if (host_is_usable(&c->hosts[host]))
            return (int)host;
    }
    return -1;
}

static struct operation *make_operation(struct client *l)
{
    struct cluster *c = l->cluster;
    struct clients *k = c->clients;
    struct operation *o = operation_make(c, l->index);
    if (k->operations.n > 2 && cluster_chance(c, k->options.reuse_permille)) {
        struct operation *other = operation_at(k, cluster_random(c, 1, k->operations.n - 1));
        memcpy(o->key, other->key, sizeof(o->key));
        o->author = other->author;
        o->key_shared = other->key_shared = true;
    }
    return o;
}

static void send_some(struct client *l)
{
    struct cluster *c = l->cluster;
    struct clients *k = c->clients;
    struct operation *operations[SUBMIT_BATCH_MAX];
    uint32_t room = k->options.in_flight_max - l->connection->n_open, n = 0;
    if (l->connection->n_open >= k->options.in_flight_max)
        return;
    uint32_t max = (uint32_t)cluster_random(c, 1, cluster_chance(c, 200) ? room : 3);
    if (max > room)
        max = room;
    if (max > SUBMIT_BATCH_MAX)
        max = SUBMIT_BATCH_MAX;
    uint32_t taken = 0;
    for (; n < max && taken < l->n_retries; taken++) {
        struct operation *o = l->retries[taken];
        bool twice = o->state.acked || operation_is_open_at(o, &c->hosts[l->connection->host]);
        for (uint32_t i = 0; i < n; i++)
            twice = twice || operations[i] == o;
        if (!twice)
            operations[n++] = o;
    }
    if (taken > 0)
        memmove((void *)l->retries, (void *)(l->retries + taken), (l->n_retries - taken) * sizeof(*l->retries));
    l->n_retries -= taken;
    while (n < max && k->operations.n < k->options.operations_max)
        operations[n++] = make_operation(l);
    if (n == 0)
        return;
    uint32_t from = l->connection->n_attempts;
    connection_submit(c, l->connection, operations, n);
    bool refused = false; /* at once: the others are looked at when the connection goes */
    for (uint32_t i = from; i < l->connection->n_attempts; i++) {
        if (l->connection->attempts[i]->status != ATTEMPT_REFUSED)
            continue;
        refused = true;
        if (cluster_chance(c, k->options.retry_permille))
            want_retry(l, l->connection->attempts[i]->operation);
    }
    if (refused)
        l->wait_until_usec = c->now_usec + cluster_random(c, 0, REFUSED_WAIT_USEC);
    if (refused && cluster_chance(c, 300)) /* perhaps another replica is in a better way */
        connection_close(c, l->connection);
}

/* A client whose call timed out tries its replica's neighbour, while the first attempt goes on. */
static void try_elsewhere(struct client *l)
{
    struct cluster *c = l->cluster;
    struct clients *k = c->clients;
    for (uint32_t i = 0; i < l->connection->n_attempts; i++) {
        struct attempt *a = l->connection->attempts[i];
        struct operation *o = a->operation;
        int host = pick_host(c);
        if (a->status != ATTEMPT_OPEN || o->state.acked || o->n_attempts >= OPERATION_ATTEMPTS_MAX || host < 0 ||
            operation_is_open_at(o, &c->hosts[host]) || c->now_usec - o->attempt_usec < k->options.timeout_usec)
            continue;
        connection_submit(c, connection_open(c, (uint32_t)host), &o, 1);
        if (l->connection->closed)
            return;
    }
}

static void act(struct cluster *c, void *user, uint64_t argument)
{
    struct client *l = user;
    struct clients *k = c->clients;
    (void)argument;
    if (!k || !k->running)
        return;
    cluster_call_at(c, c->now_usec + cluster_random(c, 100, k->options.pause_max_usec), act, l, 0);
    int host = pick_host(c);
    /* Each call may be the host's last: power goes while it writes. */
    if (host >= 0 && cluster_chance(c, k->options.position_permille))
        clients_position(c, (uint32_t)host);
    if (host >= 0 && cluster_chance(c, k->options.read_permille) && host_is_usable(&c->hosts[host]))
        clients_read(c, (uint32_t)host);
    if (host >= 0 && cluster_chance(c, k->options.flush_permille) && host_is_usable(&c->hosts[host]))
        clients_flush(c, (uint32_t)host, cluster_chance(c, 500));
    if (host >= 0 && !host_is_usable(&c->hosts[host]))
        host = -1;
    if (l->connection && !l->connection->closed && !host_is_usable(&c->hosts[l->connection->host]))
        return; /* it hangs; the connection stands */
    if (l->connection && !l->connection->closed && cluster_chance(c, k->options.close_permille))
        connection_close(c, l->connection);
    if (l->connection && l->connection->closed) {
        gather_retries(l, l->connection);
        l->connection = NULL;
    }
    if (!l->connection && host >= 0 && host_is_usable(&c->hosts[host])) /* what was closed may have ended it */
        l->connection = connection_open(c, (uint32_t)host);
    if (!l->connection || l->connection->closed || l->wait_until_usec > c->now_usec)
        return;
    try_elsewhere(l);
    if (!l->connection->closed)
        send_some(l);
}

void clients_start(struct cluster *c, const struct clients_options *o)
{
    struct clients *k = clients_get(c);
    k->options = *o;
    k->running = true;
    for (uint32_t i = 0; i < o->n_clients; i++) {
        k->clients[i] = (struct client){.cluster = c, .index = i};
        cluster_call_at(c, c->now_usec + cluster_random(c, 0, o->pause_max_usec), act, &k->clients[i], 0);
    }
}

void clients_stop(struct cluster *c)
{
    if (!c->clients)
        return;
    c->clients->running = false;
    c->clients->options.old_since_permille = 0;
}

/* --- by hand --- */

uint64_t clients_send(struct cluster *c, uint32_t host, uint32_t connection, uint32_t *ret_connection)
{
    struct clients *k = clients_get(c);
    struct connection *s = connection ? connection_at(k, connection) : connection_open(c, host);
    struct operation *o = operation_make(c, 0);
    connection_submit(c, s, &o, 1);
    if (ret_connection)
        *ret_connection = s->id;
    return o->id;
}

void clients_retry(struct cluster *c, uint64_t operation, uint32_t host)
{
    struct operation *o = operation_at(c->clients, operation);
    connection_submit(c, connection_open(c, host), &o, 1);
}

uint64_t clients_conflict(struct cluster *c, uint64_t operation, uint32_t host)
{
    struct operation *other = operation_at(c->clients, operation), *o = operation_make(c, other->author);
    memcpy(o->key, other->key, sizeof(o->key));
    o->key_shared = other->key_shared = true;
    connection_submit(c, connection_open(c, host), &o, 1);
    return o->id;
}

void clients_close(struct cluster *c, uint32_t connection)
{
    connection_close(c, connection_at(c->clients, connection));
}

struct operation_state clients_operation(const struct cluster *c, uint64_t operation)
{
    return operation_at(c->clients, operation)->state;
}

bool clients_are_idle(const struct cluster *c, uint32_t hosts)
{
    const struct clients *k = c->clients;
    for (size_t i = 0; k && i < k->connections.n; i++) {
        const struct connection *s = connection_at(k, (uint32_t)i + 1);
        if (!s->closed && s->n_open > 0 && (hosts >> s->host & 1))
            return false;
    }
    for (size_t i = 0; k && k->n_live > 0 && i < k->calls.n; i++) {
        const struct call *call = *(struct call **)list_at(&k->calls, i);
        if (call->live && (hosts >> call->host & 1))
            return false;
    }
    return true;
}

uint64_t clients_count(const struct cluster *c, enum outcome_type type)
{
    return c->clients ? c->clients->n_outcomes[type] : 0;
}

uint64_t clients_acked(const struct cluster *c)
{
    return clients_count(c, OUTCOME_CHOSEN);
}

void clients_summary(const struct cluster *c, char *ret, size_t size)
{
    const struct clients *k = c->clients;
    const uint64_t *n = k->n_outcomes;
    snprintf(ret, size,
             "%zu messages: %lu chosen, %lu duplicate, %lu conflict, %lu expired, %lu renumbered, %lu overloaded, "
             "%lu no quorum, %lu not started, %lu no space; %lu positions, %lu reads, %lu flushes",
             k->operations.n, n[OUTCOME_CHOSEN], n[OUTCOME_DUPLICATE], n[OUTCOME_CONFLICT], n[OUTCOME_EXPIRED],
             n[OUTCOME_RENUMBER], n[OUTCOME_OVERLOADED], n[OUTCOME_NO_QUORUM], n[OUTCOME_NOT_STARTED],
             n[OUTCOME_NO_SPACE], k->n_positions, k->n_reads, k->n_flushes);
}
