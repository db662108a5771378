/* What cluster_client.c (sessions) and cluster_history.c (their check) share. */
#ifndef TESTS_CLUSTER_CLIENT_PRIVATE_H
#define TESTS_CLUSTER_CLIENT_PRIVATE_H

#include "tests/unit/cluster_client.h"

enum attempt_status { ATTEMPT_OPEN, ATTEMPT_SETTLED, ATTEMPT_REFUSED, ATTEMPT_UNKNOWN };

struct operation {
    uint64_t id; /* from 1 */
    uint8_t key[CLIENT_KEY_BYTES];
    uint32_t author, text_bytes;
    bool key_shared;
    bool has_since;
    slot_t since;
    slot_t acked_before;   /* highest slot that was acknowledged to anybody before the first attempt */
    uint64_t attempt_usec; /* of the last attempt */
    uint32_t n_attempts;
    struct operation_state state;
};

struct session;

struct attempt {
    struct operation *operation;
    struct session *session;
    uint64_t cookie, stream, n;
    uint32_t order; /* on its session, from 0 */
    enum attempt_status status;
    bool renumbered;
};

struct session {
    uint32_t id, host; /* id from 1 */
    uint64_t boot;
    uint64_t stream, next_n;
    struct attempt **attempts; /* in order */
    uint32_t n_attempts, capacity, n_open;
    bool closed, renumber;
};

/* A number that was handed out: (stream, n) names it. */
struct number {
    uint64_t stream, n;
    struct attempt *attempt;
};

struct call {
    struct attempt *attempt; /* NULL: a position */
    bool live;
    uint32_t host;
    slot_t acked_before; /* position: it must reach this */
    bool answered;
    slot_t slot;
};

struct client {
    struct cluster *cluster;
    uint32_t index;
    struct session *session;
    uint64_t wait_until_usec; /* it was refused */
    struct operation **retries;
    uint32_t n_retries, retries_capacity;
};

/* Growing arrays of pointers or structs. */
struct list {
    void *items;
    size_t n, capacity, item_size;
};

struct clients {
    struct clients_options options;
    bool running;
    bool check_due; /* a refusal or renumbering came in this step */
    struct client clients[CLIENTS_MAX];
    struct list operations; /* struct operation * */
    struct list sessions;   /* struct session *   */
    struct list attempts;   /* struct attempt *   */
    struct list numbers;    /* struct number      */
    struct list calls;      /* struct call, by cookie - 1 */
    slot_t acked_max;
    uint64_t n_live;
    uint64_t n_outcomes[OUTCOME_POSITION + 1];
};

void *list_add(struct list *l); /* zeroed */
static inline void *list_at(const struct list *l, size_t i)
{
    return (char *)l->items + i * l->item_size;
}

static inline struct operation *operation_at(const struct clients *k, uint64_t id)
{
    return *(struct operation **)list_at(&k->operations, id - 1);
}

static inline struct session *session_at(const struct clients *k, uint32_t id)
{
    return *(struct session **)list_at(&k->sessions, id - 1);
}

/* An operation's number as the eight hexadecimal digits that its text begins with. */
static inline void digits_put(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t) "0123456789abcdef"[v >> (28 - 4 * i) & 15];
}

static inline uint64_t digits_get(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 4 | (uint64_t)(p[i] >= 'a' ? p[i] - 'a' + 10 : p[i] - '0');
    return v;
}

struct clients *clients_get(struct cluster *c); /* made where there are none */
struct session *session_open(struct cluster *c, uint32_t host);
void session_close(struct cluster *c, struct session *s);
struct operation *operation_make(struct cluster *c, uint32_t author);
/* Submits operations on a session in one event, in order. */
void session_submit(struct cluster *c, struct session *s, struct operation **operations, size_t n);

#endif
