/* What clients.c (connections), client_reads.c, load.c and history.c share. */
#ifndef TESTS_SIM_CLIENTS_PRIVATE_H
#define TESTS_SIM_CLIENTS_PRIVATE_H

#include <string.h>

#include "host/driver.h"
#include "tests/sim/clients.h"

enum attempt_status { ATTEMPT_OPEN, ATTEMPT_SETTLED, ATTEMPT_REFUSED, ATTEMPT_UNKNOWN };

struct attempt;

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
    struct attempt *attempts; /* the last one first */
    struct operation_state state;
};

struct attempt {
    struct attempt *next; /* of the operation */
    struct operation *operation;
    struct connection *connection;
    uint64_t stream, n; /* as it was handed over last; n 0: not yet */
    uint32_t order;     /* on its connection, from 0 */
    enum attempt_status status;
};

struct connection {
    struct cluster *cluster;
    uint32_t id, host; /* id from 1 */
    uint64_t boot;
    struct session *session;
    uint64_t stream;           /* the last one that was seen; 0: none */
    struct attempt **attempts; /* in order */
    uint32_t n_attempts, capacity, n_open;
    bool closed;
};

/* A number that was handed to a core: (stream, n) names it. */
struct number {
    uint64_t stream, n;
    struct attempt *attempt; /* NULL: refused, so the number is free again */
};

enum call_type { CALL_POSITION, CALL_FLUSH };

struct call {
    struct cluster *cluster;
    enum call_type type;
    bool live;
    uint32_t host;
    slot_t acked_before, position_before; /* it must reach these */
    uint64_t asked_usec;
    bool answered;
    slot_t slot;
};

struct client {
    struct cluster *cluster;
    uint32_t index;
    struct connection *connection;
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
    struct client clients[CLIENTS_MAX];
    struct list operations;  /* struct operation *   */
    struct list connections; /* struct connection *  */
    struct list attempts;    /* struct attempt *     */
    struct list numbers;     /* struct number        */
    struct list calls;       /* struct call *        */
    slot_t acked_max, position_max;
    uint64_t n_live;
    uint64_t n_outcomes[OUTCOME_POSITION + 1];
    uint64_t n_positions, n_reads, n_flushes;
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

static inline struct connection *connection_at(const struct clients *k, uint32_t id)
{
    return *(struct connection **)list_at(&k->connections, id - 1);
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

/* A text is known by its beginning, and no two texts go on alike. Every fourth is such that a file of lines has to
 * escape it. */
static inline void operation_text(const struct operation *o, uint8_t *ret)
{
    for (uint32_t i = 0; i < o->text_bytes; i++)
        ret[i] = o->id % 4 == 0 ? (uint8_t) "x\n\t\\\x01\x7f\"\r"[i % 8] : (uint8_t)('a' + (o->id + i) % 26);
    digits_put(ret, o->id);
}

enum { CLIENT_AUTHOR_BYTES = 7 };
static inline void operation_author(const struct operation *o, char ret[CLIENT_AUTHOR_BYTES])
{
    memcpy(ret, "author", 6);
    ret[6] = (char)('0' + o->author);
}

void *client_calloc(size_t size);
struct clients *clients_get(struct cluster *c); /* made where there are none */
struct connection *connection_open(struct cluster *c, uint32_t host);
void connection_close(struct cluster *c, struct connection *s);
struct operation *operation_make(struct cluster *c, uint32_t author);
/* Submits operations on a connection, in order. */
void connection_submit(struct cluster *c, struct connection *s, struct operation **operations, size_t n);
bool operation_is_open_at(const struct operation *o, const struct host *h);
/* A message that was read: it stands in the log like that. */
void client_check_message(struct host *h, const struct log_message *m, const char *what);

#endif
