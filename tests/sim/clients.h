/* Clients of the simulated cluster, which call the driver as the control socket does, and the check of what they saw.
 *
 * A connection goes to one replica: messages in flight, in order; the daemon's own code numbers and renumbers them. An
 * operation is one message with its key and since; it may be attempted through several connections, one after the other
 * or at once. Every text is different, so that the log tells whose it is. Reads, positions and flushes are checked
 * against the log on the spot. Checked: mpaxos(7)'s guarantees to clients, at each outcome what can be known then, and
 * the rest by clients_check(). */
#ifndef TESTS_SIM_CLIENTS_H
#define TESTS_SIM_CLIENTS_H

#include "tests/sim/sim.h"

enum { CLIENTS_MAX = 16, CLIENT_KEY_BYTES = 12, CLIENT_TEXT_MIN = 8, OPERATION_ATTEMPTS_MAX = 6 };

struct clients_options {
    uint32_t n_clients;
    uint32_t operations_max; /* of all clients together                     */
    uint32_t in_flight_max;  /* of one connection                           */
    uint64_t pause_max_usec; /* between two acts of a client                */
    uint64_t timeout_usec;   /* then the message is tried elsewhere as well */
    uint32_t text_bytes_max;
    /* chances, of 1000 */
    uint32_t close_permille;    /* of an act: the connection is closed, all in flight on it unknown */
    uint32_t retry_permille;    /* of an operation that was refused or became unknown               */
    uint32_t position_permille; /* of an act: a linearizable position                               */
    uint32_t read_permille;     /* of an act: some of the log                                       */
    uint32_t flush_permille;    /* of an act: the chat log, of one replica or of all                */
    uint32_t reuse_permille;    /* of an operation: takes the key of an earlier one                 */
    uint32_t old_since_permille;
    uint32_t long_permille; /* of an operation: a text of up to text_bytes_max */
};

struct clients_options clients_defaults(void);
void clients_start(struct cluster *c, const struct clients_options *o);
void clients_stop(struct cluster *c); /* they begin nothing new */
void clients_free(struct cluster *c);

/* One message through one host, now, on a connection of its own or on `connection` (from an earlier call; 0: a new
 * one). Answers the operation's number; the connection's goes to *ret_connection where it is not NULL. */
uint64_t clients_send(struct cluster *c, uint32_t host, uint32_t connection, uint32_t *ret_connection);
/* The same operation again, through another host, on a connection of its own. */
void clients_retry(struct cluster *c, uint64_t operation, uint32_t host);
/* Same key as an earlier operation, another text. */
uint64_t clients_conflict(struct cluster *c, uint64_t operation, uint32_t host);
uint64_t clients_position(struct cluster *c, uint32_t host); /* its number */
void clients_read(struct cluster *c, uint32_t host);
void clients_flush(struct cluster *c, uint32_t host, bool all);
void clients_close(struct cluster *c, uint32_t connection);

struct operation_state {
    bool acked; /* chosen or duplicate */
    slot_t slot;
    uint32_t n_chosen, n_duplicates, n_conflicts, n_expired, n_refused, n_unknown, n_open;
};
struct operation_state clients_operation(const struct cluster *c, uint64_t operation);
bool clients_position_answer(const struct cluster *c, uint64_t number,
                             slot_t *ret);                      /* false: still open, or given up */
bool clients_are_idle(const struct cluster *c, uint32_t hosts); /* every call on this set of hosts ended */
uint64_t clients_acked(const struct cluster *c);
uint64_t clients_count(const struct cluster *c, enum outcome_type type); /* of the cores' outcomes */
/* A line for people: what the calls came to. */
void clients_summary(const struct cluster *c, char *ret, size_t size);

/* The whole history against the final log. */
void clients_check(struct cluster *c);

/* For the hosts. */
void clients_handed_over(struct host *h, const struct submission *list, size_t n); /* to the core */
void clients_outcomes(struct host *h, const struct effects *e);                    /* of the core */
void clients_host_down(struct host *h);

#endif
