/* What keygen and config generate write: a file that was not there before, or is meant to be written over. */
#ifndef CTL_NEW_FILE_H
#define CTL_NEW_FILE_H

#include <sys/types.h>

#include "ctl/verbs.h"

struct new_file {
    const char *path;
    mode_t mode;
    bool over;                                  /* what is there already */
    const char *if_there, *if_not_to_be_opened; /* what to do then       */
};

/* Whole and synced, or not there at all, unless it was there before. EXIT_DONE; or EXIT_FAILED after a report. */
int new_file_write(const struct invocation *v, const struct new_file *f, const char *bytes, size_t size);

/* Reports that the file is not written, and what to do; answers EXIT_FAILED. */
int new_file_fail(const struct invocation *v, const char *path, const char *reason, const char *advice);

#endif
