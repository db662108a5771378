/* Many clients at once, from one process: the engine of `mpaxosctl load`, and its judge.
 *
 * Each client has a connection of its own and sends message_<client>_<i>, i from 0, as author <prefix>_<client>, with
 * key <i> and as `since` the last slot that it knew to be chosen before. What is not answered with a slot is sent
 * again, under its key, on another connection, so a client's messages settle in its order. Bounded memory: a slot a
 * message, a small block a client. */
#ifndef CTL_LOAD_H
#define CTL_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/endpoint.h"
#include "ctl/failure.h"
#include "ctl/histogram.h"

enum {
    LOAD_CLIENTS_MAX = 65536,
    LOAD_TOTAL_MAX = 1 << 26, /* messages of all clients together            */
    LOAD_IN_FLIGHT_MAX = 128, /* of one client: less than the daemon takes   */
    LOAD_SIZE_MAX = 1 << 20,
    LOAD_PREFIX_MAX = 31,
    LOAD_USER_MAX = 69, /* 64 bytes and " (as " */
    LOAD_EXAMPLES_MAX = 5,
    LOAD_EXAMPLE_MAX = 127,
};

struct load_options {
    const struct endpoint *endpoints;
    size_t n_endpoints;
    const struct place *place; /* for the judge, which reads the log through any of them */
    uint32_t n_clients, n_messages;
    unsigned drop_rate; /* then in_flight is 1 */
    uint32_t in_flight;
    uint32_t size;         /* 0: as short as it gets */
    uint64_t rate;         /* messages a second of all clients; 0: no limit */
    uint64_t timeout_msec; /* without any message chosen */
    int64_t since;         /* a position before the first message */
    char prefix[LOAD_PREFIX_MAX + 1];
    void (*progress)(void *user, uint64_t n_chosen, uint64_t usec); /* some times a second; NULL: never */
    void *user;
};

struct load_result {
    uint64_t n_chosen;
    int64_t *slots; /* [client * n_messages + i]; -1: never acknowledged; owned */
    struct histogram latency_usec;
    uint64_t usec, n_again, n_reconnects;
};

/* Runs until everything is chosen. 0, or -1 and why: given up, or refused for good. *ret holds what there is in both
 * cases. */
int load_run(const struct load_options *o, struct load_result *ret, struct failure *f);
void load_result_done(struct load_result *r);

struct load_verdict {
    uint64_t n_read, n_lost, n_twice, n_elsewhere, n_disordered, n_foreign;
    uint64_t n_trimmed; /* acknowledged, and trimmed before they were read back: nothing is said of them */
    size_t n_examples;
    char examples[LOAD_EXAMPLES_MAX][LOAD_EXAMPLE_MAX + 1]; /* with texts of others: for text_print() */
};

/* Reads the log back, from o->since to a linearizable position, and compares. 0, or -1 and why it could not be read. */
int load_check(const struct load_options *o, const struct load_result *result, struct load_verdict *ret,
               struct failure *f);
bool load_verdict_is_good(const struct load_verdict *v);

/* One message of the log against what was sent; `seen` has a flag a message, `next` the next number a client. Authors
 * are PREFIX_CLIENT, or "USER (as PREFIX_CLIENT)": which of them, and which USER, the first message tells that stands
 * where it was acknowledged. From then on others who write under a client's name are left out as somebody else. For
 * load_check(). */
struct load_judge {
    const struct load_options *o;
    const struct load_result *result;
    uint8_t *seen;
    uint32_t *next;
    struct load_verdict *verdict;
    bool knows_user;
    char user[LOAD_USER_MAX + 1]; /* "USER (as ", or nothing */
};
void load_judge_message(struct load_judge *j, int64_t slot, const char *author, const char *text);
/* Slots from `from` on, below `first_kept`, cannot be read any more. */
void load_judge_trimmed(struct load_judge *j, int64_t from, int64_t first_kept);
/* What is still missing, once everything was read. */
void load_judge_end(struct load_judge *j);

#endif
