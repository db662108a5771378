/* The verbs: one table that dispatch, --help, shell completion and the manual's test all go by. */
#ifndef CTL_VERBS_H
#define CTL_VERBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/endpoint.h"
#include "ctl/options.h"
#include "ctl/report.h"

enum option_id {
    OPTION_REPLICA = 1,
    OPTION_DIR,
    OPTION_SOCKET,
    OPTION_JSON,
    OPTION_TIMEOUT,
    OPTION_NO_LEGEND,
    OPTION_NO_PAGER,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_LIST_VERBS,
    OPTION_AS,
    OPTION_KEY,
    OPTION_SINCE,
    OPTION_DROP_RATE,
    OPTION_FROM,
    OPTION_COUNT,
    OPTION_FOLLOW,
    OPTION_LINEARIZABLE,
    OPTION_ALL_COLUMNS,
    OPTION_ALL,
    OPTION_WATCH,
    OPTION_IN,
    OPTION_OUT,
    OPTION_BOTH,
    OPTION_PEER,
    OPTION_FOR,
    OPTION_SIZE,
    OPTION_RATE,
    OPTION_IN_FLIGHT,
    OPTION_SCRIPT,
    OPTION_QUORUM,
    OPTION_SLOT,
    OPTION_OUTPUT,
    OPTION_FORCE,
    OPTION_MANUAL,
    OPTION_PROB_ALL,
    OPTION_PROB,
    OPTION_SKIP,
    OPTION_HOST,
    OPTION_PORT,
};

struct invocation;

struct verb {
    const char *name;     /* "send", "config check"                                     */
    const char *synopsis; /* operands: "TEXT...", "" where there are none               */
    const char *summary;  /* one line, for the list of verbs                            */
    const char *details;  /* more for its own --help, lines closed by LF; NULL: no more */
    const struct option_spec *options;
    size_t operands_min, operands_max;
    int (*run)(const struct invocation *v); /* answers the exit status */
};

extern const struct verb verbs[]; /* in the order of the help; a NULL name ends it */
extern const struct option_spec global_options[];

struct invocation {
    const struct verb *verb;
    const struct arguments *arguments;
    struct place place;
    struct report report;
    bool pager;
    uint64_t timeout_msec; /* 0: not given */
};

/* The verb that words[0], or words[0] and words[1], name; *ret_words is how many of them. NULL: none. */
const struct verb *verb_find(char **words, int n, int *ret_words);

/* Reports wrong usage and answers EXIT_USAGE. */
int invocation_usage(const struct invocation *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 1 and the option's number in *ret; 0: not given; -1: wrong, and reported. */
int invocation_number(const struct invocation *v, enum option_id id, uint64_t min, uint64_t max, uint64_t *ret);
/* The same for operand i, which is there; `name` is what the synopsis calls it. */
int invocation_operand(const struct invocation *v, size_t i, const char *name, uint64_t min, uint64_t max,
                       uint64_t *ret);
bool invocation_has(const struct invocation *v, enum option_id id);
/* An option's value; NULL: not given. */
const char *invocation_value(const struct invocation *v, enum option_id id);
/* --timeout, or this. */
uint64_t invocation_timeout(const struct invocation *v, uint64_t default_msec);

int verb_send(const struct invocation *v);
int verb_client(const struct invocation *v);
int verb_log(const struct invocation *v);
int verb_flush(const struct invocation *v);
int verb_status(const struct invocation *v);
int verb_drop(const struct invocation *v);
int verb_skip(const struct invocation *v);
int verb_load(const struct invocation *v);
int verb_position(const struct invocation *v);
int verb_wait(const struct invocation *v);
int verb_transfer(const struct invocation *v);
int verb_bootstrap(const struct invocation *v);
int verb_reload(const struct invocation *v);
int verb_metrics(const struct invocation *v);
int verb_config_generate(const struct invocation *v);
int verb_config_check(const struct invocation *v);
int verb_keygen(const struct invocation *v);
int verb_version(const struct invocation *v);

#endif
