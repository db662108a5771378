/* One client of the load: its connection, what it sends there, and what it takes from it. Private to load.c and
 * load_client.c. */
#ifndef CTL_LOAD_CLIENT_H
#define CTL_LOAD_CLIENT_H

#include <uv.h>

#include "ctl/attempt.h"
#include "ctl/load.h"
#include "ctl/text.h"

enum { LOAD_READ_BYTES = 64 << 10 };

/* What the clients share. */
struct load {
    const struct load_options *o;
    struct load_result *result;
    struct failure *failure;
    uv_loop_t loop;
    uv_timer_t timer;
    struct load_client **clients;
    uint64_t n_total, n_started;
    uint64_t start_usec, progress_usec;
    struct attempt_loss loss;
    unsigned ticks;
    uint32_t turn; /* which client is looked at first, when messages are rationed */
    bool over, failed;
    char in[LOAD_READ_BYTES];
    struct buffer out;
};

/* load.c */
/* Whether one more message may have its first attempt now, and when it was due. */
bool load_may_start(const struct load *l, uint64_t now, uint64_t *ret_due_usec);
void load_end(struct load *l); /* closes all connections; then load_run() returns */
void load_fail(struct load *l);

/* load_client.c */
struct load_client *load_client_new(struct load *l, uint32_t index); /* NULL: out of memory */
void load_client_free(struct load_client *c);                        /* its connection is closed, and the loop ended */
void load_client_close(struct load_client *c);
/* From time to time: connects, gives a silent connection up, sends what may be sent. */
void load_client_look(struct load_client *c, uint64_t now);

#endif
