/* Two fake replicas over one log, in a thread of their own, and the submitter that goes through them.
 *
 * They take Submit and Position and remember keys. What becomes of each Submit is drawn at random, or follows a script:
 * the connection closes before or after storing, Timeout is answered with or without having stored, or it is refused.
 * Between fake_go() and fake_stop() only the thread may look at the log. */
#ifndef UNIT_FAKE_REPLICAS_H
#define UNIT_FAKE_REPLICAS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/submitter.h"
#include "paxos/prng.h"
#include "wire/varlink.h"

enum {
    FAKE_REPLICAS = 2,
    FAKE_CONNECTIONS_MAX = 16,
    FAKE_LOG_MAX = 4096,
    FIRST_SLOT = 10,
    FAKE_TEXT_MAX = 32,
    FAKE_SCRIPT_MAX = 16
};

enum fate {
    FATE_STORE,
    FATE_CLOSE_BEFORE,
    FATE_CLOSE_AFTER,
    FATE_TIMEOUT_LOST,
    FATE_TIMEOUT_STORED,
    FATE_NO_QUORUM,
    FATE_SILENT, /* stored, and never answered */
    FATE_TOO_LARGE,
    FATE_CONFLICT,
};

struct fake_connection {
    int fd;              /* -1: free */
    bool mute, gives_up; /* gives_up: after a lost Timeout nothing on it is stored, as the daemon's streams have it */
    struct varlink_framer framer;
};

struct fake {
    pthread_t thread;
    int stop[2], listeners[FAKE_REPLICAS];
    bool mute_first; /* replica 0 takes connections and says nothing, like a stopped process */
    struct fake_connection connections[FAKE_CONNECTIONS_MAX];
    struct prng prng;
    unsigned fail_percent;
    int64_t refuse_at;                 /* this Submit, counted from 0, is refused with NoQuorum; -1: none */
    enum fate script[FAKE_SCRIPT_MAX]; /* of the first Submits, */
    int64_t n_script;                  /* so many; the last goes on for all others */
    int64_t n_submits;
    unsigned n_connections;
    int n_positions; /* each answer is 1000 slots above the one before */
    size_t n_log;
    struct {
        char key[SUBMITTER_KEY_MAX + 1], text[FAKE_TEXT_MAX + 1];
        int64_t since;
    } log[FAKE_LOG_MAX];
};
extern struct fake fake;
extern char fake_dir[]; /* --dir of both */

/* Group setup and teardown. */
int fake_enter(void **state);
int fake_leave(void **state);

/* `fail_percent` of the Submits fail, by the seed; `refuse_at` as in struct fake. */
void fake_start(uint64_t seed, unsigned fail_percent, int64_t refuse_at);
void fake_script(const enum fate *fates, size_t n);
void fake_go(void);
void fake_stop(void);

/* What settled, of the last submitter that was begun; it asserts that tags count up by one. */
struct history {
    uint64_t n, n_out_of_order;
    int64_t slots[FAKE_LOG_MAX];
    enum exit_status refused; /* EXIT_DONE: nothing was */
};
extern struct history history;

struct submitter *submitter_begin(const struct place *place, unsigned window, unsigned drop_rate,
                                  uint64_t timeout_msec);
struct submitter *submitter_begin_named(const struct place *place, unsigned window, unsigned drop_rate,
                                        uint64_t timeout_msec, const char *key_prefix, int64_t since);

#endif
