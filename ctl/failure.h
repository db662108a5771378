/* What went wrong, in one form for people and programs: an exit status, a varlink error with parameters, and a plain
 * sentence that says what, where, and what to do. */
#ifndef CTL_FAILURE_H
#define CTL_FAILURE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_NO_QUORUM = 2,
    EXIT_NO_DAEMON = 3,
    EXIT_NOT_PERMITTED = 4,
    EXIT_OUTCOME_UNKNOWN = 5,
    EXIT_USAGE = 64,
    EXIT_CONFIG = 78,
};

enum { FAILURE_TEXT_MAX = 1023, FAILURE_ERROR_MAX = 95 };

struct failure {
    enum exit_status status;
    char error[FAILURE_ERROR_MAX + 1]; /* a varlink error's name; the tool's own are org.mpaxos.Control.* */
    cJSON *parameters;                 /* owned; NULL: {}                                                */
    char text[FAILURE_TEXT_MAX + 1];
};

/* Replaces what was there; `parameters` is consumed. A zeroed struct is an empty failure. */
void failure_set(struct failure *f, enum exit_status status, const char *error, cJSON *parameters, const char *format,
                 ...) __attribute__((format(printf, 5, 6)));
void failure_done(struct failure *f);
bool failure_is_set(const struct failure *f);

/* A varlink error that `who` ("replica 1") answered. Parameters are copied. Unknown errors are EXIT_FAILED. */
void failure_from_error(struct failure *f, const char *who, const char *error, const cJSON *parameters);

/* The outcome of a Submit is not known: a Timeout, with what makes it safe to submit it again. */
void failure_set_unknown(struct failure *f, const char *key, int64_t since, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The status alone, for those that only decide whether to try again. */
enum exit_status failure_status_of(const char *error);

/* `error` without "org.mpaxos.Replica.", NULL where it is from another interface. */
const char *failure_short_name(const char *error);

#endif
