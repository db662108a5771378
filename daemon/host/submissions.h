/* Local clients' messages on their way to the core: numbered on each connection's stream, in batches, until settled.
 *
 * A session is one connection. Its calls stay in order: queued (not handed over), open (the core has them), settled (to
 * be told). A number is given when a call is handed over, so that a call which the core refuses uses none up. Where a
 * session's stream was evicted from the log's table, all its open calls go again, in order, from 1 on a new stream,
 * with the same keys and `since`; an outcome of the old stream finds no call any more, since each handing over has a
 * new cookie. A call that was handed over before and is then refused is not "certainly not chosen": it waits and goes
 * again.
 *
 * Outcomes only mark; submissions_settle() tells, when no effects are being read, so what it calls may submit and
 * close. No clock, no libuv. Bounded: CALLS_MAX in all; above, calls are answered SUBMIT_OVERLOADED. Source: mpaxos(7),
 * "Order". */
#ifndef HOST_SUBMISSIONS_H
#define HOST_SUBMISSIONS_H

#include "host/driver.h"

enum {
    CALLS_MAX = 2 * SUBMISSIONS_DEFAULT,
    CALL_RETRY_USEC = 100000, /* a resubmitted call that was refused waits so long */
};

struct submissions;

struct values;

struct submissions_options {
    struct values *values;
    uint64_t (*draw)(void *user);                /* a random stream number; 0 is drawn again            */
    void (*cancel)(void *user, uint64_t cookie); /* nobody waits for this call any more: EVENT_CANCEL   */
    void *user;
};

/* NULL: out of memory. */
struct submissions *submissions_new(const struct submissions_options *o);
/* Closes all sessions without cancelling or telling anything. */
void submissions_free(struct submissions *s);

struct session *session_open(struct submissions *s,
                             void (*settled)(void *user, uint64_t tag, enum submit_result, slot_t slot),
                             void *user); /* NULL: out of memory */
void session_close(struct session *session);

/* Queues one call with its `since` and time stamp; `refuse`: it is only answered SUBMIT_OVERLOADED. */
void session_submit(struct session *session, const struct submit_request *q, slot_t since, uint64_t time_usec,
                    bool refuse);

/* Numbers and hands over up to `max` queued calls for one EVENT_SUBMIT, whose outcomes must be fed back before the next
 * call of this. The core takes its own references. 0: nothing waits now. */
size_t submissions_take(struct submissions *s, const struct hash128 *hash_key, uint64_t now_usec,
                        struct submission *ret, size_t max);

/* Unknown and stale cookies are ignored. */
void submissions_outcome(struct submissions *s, const struct outcome *o, uint64_t now_usec);

/* Queues again what waited long enough; answers whether there is something to take now. */
bool submissions_retry(struct submissions *s, uint64_t now_usec);

/* Tells what was settled. Answers whether anything was. */
bool submissions_settle(struct submissions *s);

size_t submissions_open(const struct submissions *s); /* calls of any state */
void *session_host(const struct session *session);    /* the options' user          */

#endif
