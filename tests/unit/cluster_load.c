/* What clients do: the random ones, and those that a directed test moves by hand. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cluster_check.h"
#include "tests/unit/cluster_client_private.h"

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
        .reuse_permille = 20,
        .old_since_permille = 20,
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
static void gather_retries(struct client *l, struct session *s)
{
    struct clients *k = l->cluster->clients;
    for (uint32_t i = 0; i < s->n_attempts; i++) {
        const struct attempt *a = s->attempts[i];
        if (a->status == ATTEMPT_UNKNOWN && !a->operation->state.acked &&
            cluster_chance(l->cluster, k->options.retry_permille))
            want_retry(l, a->operation);
    }
}

static bool is_usable(const struct host *h)
{
    return h->up && h->paused_until_usec <= h->cluster->now_usec;
}

static int pick_host(struct cluster *c)
{
    for (int i = 0; i < 8; i++) {
        uint32_t host = (uint32_t)cluster_random(c, 0, c->options.n_hosts - 1);
        if (is_usable(&c->hosts[host]))
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
    uint32_t room = k->options.in_flight_max - l->session->n_open, n = 0;
    if (l->session->n_open >= k->options.in_flight_max)
        return;
    uint32_t max = (uint32_t)cluster_random(c, 1, cluster_chance(c, 200) ? room : 3);
    if (max > room)
        max = room;
    if (max > SUBMIT_BATCH_MAX)
        max = SUBMIT_BATCH_MAX;
    while (n < max && n < l->n_retries) {
        operations[n] = l->retries[n];
        n++;
    }
    if (n > 0)
        memmove((void *)l->retries, (void *)(l->retries + n), (l->n_retries - n) * sizeof(*l->retries));
    l->n_retries -= n;
    while (n < max && k->operations.n < k->options.operations_max)
        operations[n++] = make_operation(l);
    if (n == 0)
        return;
    uint32_t from = l->session->n_attempts;
    session_submit(c, l->session, operations, n);
    bool refused = false;
    for (uint32_t i = from; i < l->session->n_attempts; i++) {
        if (l->session->attempts[i]->status != ATTEMPT_REFUSED)
            continue;
        refused = true;
        if (cluster_chance(c, k->options.retry_permille))
            want_retry(l, l->session->attempts[i]->operation);
    }
    if (refused)
        l->wait_until_usec = c->now_usec + cluster_random(c, 0, REFUSED_WAIT_USEC);
    if (refused && cluster_chance(c, 300)) /* perhaps another replica is in a better way */
        session_close(c, l->session);
}

/* A client whose call timed out tries its replica's neighbour, while the first attempt goes on. */
static void try_elsewhere(struct client *l)
{
    struct cluster *c = l->cluster;
    struct clients *k = c->clients;
    for (uint32_t i = 0; i < l->session->n_attempts; i++) {
        struct attempt *a = l->session->attempts[i];
        struct operation *o = a->operation;
        int host = pick_host(c);
        if (a->status != ATTEMPT_OPEN || o->state.acked || o->n_attempts >= OPERATION_ATTEMPTS_MAX || host < 0 ||
            c->now_usec - o->attempt_usec < k->options.timeout_usec)
            continue;
        session_submit(c, session_open(c, (uint32_t)host), &o, 1);
        if (l->session->closed)
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
    if (host >= 0 && cluster_chance(c, k->options.position_permille))
        clients_position(c, (uint32_t)host);
    if (l->session && !l->session->closed && !is_usable(&c->hosts[l->session->host]))
        return; /* it hangs; the connection stands */
    if (l->session && !l->session->closed && cluster_chance(c, k->options.close_permille))
        session_close(c, l->session);
    if (l->session && l->session->closed) {
        gather_retries(l, l->session);
        l->session = NULL;
    }
    if (!l->session && host >= 0)
        l->session = session_open(c, (uint32_t)host);
    if (!l->session || l->session->renumber || l->wait_until_usec > c->now_usec)
        return;
    try_elsewhere(l);
    if (!l->session->renumber)
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

uint64_t clients_send(struct cluster *c, uint32_t host, uint32_t session, uint32_t *ret_session)
{
    struct clients *k = clients_get(c);
    struct session *s = session ? session_at(k, session) : session_open(c, host);
    struct operation *o = operation_make(c, 0);
    session_submit(c, s, &o, 1);
    if (ret_session)
        *ret_session = s->id;
    return o->id;
}

void clients_retry(struct cluster *c, uint64_t operation, uint32_t host)
{
    struct operation *o = operation_at(c->clients, operation);
    session_submit(c, session_open(c, host), &o, 1);
}

uint64_t clients_conflict(struct cluster *c, uint64_t operation, uint32_t host)
{
    struct operation *other = operation_at(c->clients, operation), *o = operation_make(c, other->author);
    memcpy(o->key, other->key, sizeof(o->key));
    o->key_shared = other->key_shared = true;
    session_submit(c, session_open(c, host), &o, 1);
    return o->id;
}

uint64_t clients_position(struct cluster *c, uint32_t host)
{
    struct clients *k = clients_get(c);
    struct call *call = list_add(&k->calls);
    *call = (struct call){.live = true, .host = host, .acked_before = k->acked_max};
    k->n_live++;
    uint64_t cookie = k->calls.n;
    cluster_trace(c, (int)host, "position   %lu, acknowledged %lu", cookie, k->acked_max);
    host_step(&c->hosts[host], &(struct event){.type = EVENT_POSITION, .cookie = cookie});
    return cookie;
}

void clients_close(struct cluster *c, uint32_t session)
{
    session_close(c, session_at(c->clients, session));
}

struct operation_state clients_operation(const struct cluster *c, uint64_t operation)
{
    return operation_at(c->clients, operation)->state;
}

bool clients_position_answer(const struct cluster *c, uint64_t cookie, slot_t *ret)
{
    const struct call *call = list_at(&c->clients->calls, cookie - 1);
    if (call->answered)
        *ret = call->slot;
    return call->answered;
}

bool clients_are_idle(const struct cluster *c)
{
    if (!c->clients)
        return true;
    for (size_t i = 0; i < c->clients->sessions.n; i++) {
        const struct session *s = session_at(c->clients, (uint32_t)i + 1);
        if (!s->closed && s->n_open > 0)
            return false;
    }
    return c->clients->n_live == 0;
}

uint64_t clients_acked(const struct cluster *c)
{
    return c->clients ? c->clients->n_outcomes[OUTCOME_CHOSEN] : 0;
}

void clients_summary(const struct cluster *c, char *ret, size_t size)
{
    const uint64_t *n = c->clients->n_outcomes;
    snprintf(ret, size,
             "%zu messages: %lu chosen, %lu duplicate, %lu conflict, %lu expired, %lu renumbered, %lu overloaded, "
             "%lu no quorum, %lu not started, %lu no space, %lu positions",
             c->clients->operations.n, n[OUTCOME_CHOSEN], n[OUTCOME_DUPLICATE], n[OUTCOME_CONFLICT], n[OUTCOME_EXPIRED],
             n[OUTCOME_RENUMBER], n[OUTCOME_OVERLOADED], n[OUTCOME_NO_QUORUM], n[OUTCOME_NOT_STARTED],
             n[OUTCOME_NO_SPACE], n[OUTCOME_POSITION]);
}
