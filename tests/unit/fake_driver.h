/* A stand-in for the driver (host/driver.h): a log in memory, and answers that a test holds back or bends. */
#ifndef TESTS_UNIT_FAKE_DRIVER_H
#define TESTS_UNIT_FAKE_DRIVER_H

#include "host/driver.h"

enum { FAKE_OPEN_MAX = 4200, FAKE_QUESTIONS_MAX = 1024, FAKE_AUTHOR_MAX = 134 };

struct fake_message {
    slot_t slot;
    char author[FAKE_AUTHOR_MAX + 1], key[FAKE_AUTHOR_MAX + 1];
    char *text;
    size_t text_size;
};

struct fake_open {
    struct session *session;
    uint64_t tag;
};

/* A position, or a flush. */
struct fake_question {
    uint64_t cookie;
    void (*position)(void *user, slot_t slot);
    void (*flush)(void *user, const struct flush_result *results, size_t n);
    bool all;
    void *user;
};

struct driver {
    struct driver_status status; /* answered as it stands */
    struct config config;
    struct faults *faults;

    /* Submits: settled at once with `result` and the next slot, or, where `hold`, by fake_settle(). */
    bool hold;
    enum submit_result result;
    struct submit_request last; /* without its strings */
    struct fake_open open[FAKE_OPEN_MAX];
    size_t n_open;
    unsigned n_sessions, n_submits;

    struct fake_message *log;
    size_t n_log;
    slot_t first_kept;
    int read_error;
    slot_t read_slots_max; /* of one driver_read(), 0: no limit */
    unsigned n_reads;

    void (*moved)(void *user, slot_t chosen);
    void *moved_user;

    /* Positions and flushes: answered at once, or held until fake_answer(). */
    bool hold_answers, refuse_answers, flush_fails;
    struct fake_question questions[FAKE_QUESTIONS_MAX];
    size_t n_questions;
    uint64_t cookie;
    unsigned n_cancelled;

    int bootstrap_error;
    unsigned n_bootstraps;
};

/* Replica 1 of 0, 1, 2: started, following 2, with slot 0 chosen and nothing else. */
struct driver *fake_driver_new(void);
void fake_driver_free(struct driver *d);

/* Puts a message at the next slot, after `gap` slots without one; as if another replica's client had sent it. */
void fake_append(struct driver *d, const char *author, const char *text, size_t text_size, unsigned gap);
/* Tells the watcher, as the driver does at a turn's end. */
void fake_moved(struct driver *d);

/* Settles the i-th Submit that is open, in any order. */
void fake_settle(struct driver *d, size_t i, enum submit_result result, slot_t slot);
void fake_answer(struct driver *d);

#endif
