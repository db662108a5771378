/* One attempt at a Submit, by whoever makes another one where that may help: how long it lasts, which errors can pass,
 * and what of it is lost on purpose. */
#ifndef CTL_ATTEMPT_H
#define CTL_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    ATTEMPT_MSEC = 5000,         /* what it allows the daemon; more than an election takes             */
    ATTEMPT_SILENCE_MSEC = 1500, /* what a silent daemon gets on top of that                           */
    ATTEMPT_REFUSED_MSEC = 200,  /* until the next after NoQuorum and the like: as long as an election */
    ATTEMPT_LOST_MSEC = 20,      /* until a request or answer that was lost on purpose is missed       */
};

/* Whether the same Submit may be taken later. */
bool attempt_can_pass(const char *error);

struct attempt_loss {
    unsigned rate; /* percent of requests, and of answers */
    uint64_t random;
};
struct attempt_loss attempt_loss_new(unsigned rate);
/* Of the next request or answer. */
bool attempt_is_lost(struct attempt_loss *l);

#endif
