/* Sends messages in order, each exactly once, whatever happens to replicas and connections.
 *
 * Every message has a key, and as `since` a position from before its first attempt, so it may be sent again as often as
 * it takes. Messages are pipelined on one connection, and settle in order. As soon as one of them is not answered with
 * its slot but with an error that can pass (Timeout, NoQuorum, Overloaded, DiskFull, NotInitialized), or the connection
 * breaks or falls silent, the connection is closed and everything from the first unsettled message on is sent anew, in
 * order, on another one: to the same replica, or, where `place` leaves the choice, to the next local one.
 *
 * Order. The daemon keeps the order of one connection. Of two connections with the same messages in the same order,
 * each slot goes to the first of either that is due there, so closing and starting over keeps it as well. One case is
 * left: "certainly not chosen" (NoQuorum, Overloaded) for one message while the daemon still takes later ones that are
 * on their way on the same connection. It cannot be prevented from here without giving up pipelining, so it is noticed:
 * a message whose slot is not above the one before it is reported with `out_of_order`. */
#ifndef CTL_SUBMITTER_H
#define CTL_SUBMITTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/endpoint.h"
#include "ctl/failure.h"

enum {
    SUBMITTER_WINDOW_MAX = 128,
    SUBMITTER_KEY_MAX = 64,
    SUBMITTER_KEY_PREFIX_MAX = SUBMITTER_KEY_MAX - 20, /* a tag's digits follow */
};

struct settled {
    uint64_t tag; /* the caller's */
    int64_t slot; /* -1: refused for good; see failure */
    const char *key;
    bool duplicate;
    bool retried; /* it was sent more than once from here, so that a duplicate is no surprise */
    bool out_of_order;
    const struct failure *failure; /* NULL where chosen */
};

struct submitter_options {
    const struct place *place; /* outlives the submitter                                        */
    const char *author;        /* NULL: the daemon's default, the user's name; sticks to a key  */
    const char *key;           /* of a single message; NULL: a prefix and the message's tag     */
    const char *key_prefix;    /* NULL: random; else `since` is given, too                      */
    int64_t since;             /* -1: asked for before the first attempt                        */
    unsigned drop_rate;        /* percent of own requests, and of answers, that get lost: then one message at a time */
    unsigned window;           /* how many messages are under way, 1 to SUBMITTER_WINDOW_MAX    */
    uint64_t timeout_msec;     /* without any message settled */
    void (*settled)(void *user, const struct settled *s);
    void *user;
};

struct submitter;

/* NULL: no memory. */
struct submitter *submitter_new(const struct submitter_options *o);
void submitter_free(struct submitter *s);

/* Takes a copy of the text, which is UTF-8 without NUL. Without .key no two messages have the same tag. False where it
 * is full, see submitter_has_room(), or without memory. */
bool submitter_add(struct submitter *s, const char *text, size_t size, uint64_t tag);
bool submitter_has_room(const struct submitter *s);
bool submitter_is_idle(const struct submitter *s); /* everything is settled */

/* Works until something settled, `input_fd` (-1: none) is readable, or a moment passed. *ret_input says whether it is
 * readable. 0, or -1 once it gave up: submitter_failure() says why, submitter_rest() what became of the messages. */
int submitter_work(struct submitter *s, int input_fd, bool *ret_input);

/* Works until everything is settled; 0 or -1 likewise. */
int submitter_drain(struct submitter *s);

/* Gives up at once, where something is not settled. */
void submitter_stop(struct submitter *s);

/* Of the last attempt, not of the messages. */
const struct failure *submitter_failure(const struct submitter *s);

/* The messages that are not settled, after it gave up. */
struct submitter_rest {
    uint64_t first; /* its tag */
    const char *key;
    int64_t since;                        /* -1: nothing was sent, nor was it given */
    bool unknown;                         /* some of them may be chosen             */
    uint64_t unknown_first, unknown_last; /* their tags                             */
};
struct submitter_rest submitter_rest(const struct submitter *s);

#endif
