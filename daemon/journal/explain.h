/* The one line that journal_open() leaves for a person: what, where, what to do. */
#ifndef JOURNAL_EXPLAIN_H
#define JOURNAL_EXPLAIN_H

#include <stdint.h>

#include "journal/format.h"
#include "journal/journal.h"

/* Writes the line (cut at JOURNAL_ERROR_MAX bytes) and answers `result`. */
__attribute__((format(printf, 3, 4))) enum journal_result explain(char *ret_error, enum journal_result result,
                                                                  const char *format, ...);

/* For a failed call on a file: what was tried ("read", "sync"), on which, and why it failed. -ENOSPC is NO_SPACE. */
enum journal_result explain_errno(char *ret_error, int error, const char *what, const char *name);

/* JOURNAL_OK where the file is `own`'s, as its header tells. */
enum journal_result explain_owner(char *ret_error, const struct identity *own, const struct owner *owner,
                                  const char *name);

/* For a file of a format that this release does not know. */
enum journal_result explain_version(char *ret_error, const char *name, uint32_t version);

#endif
