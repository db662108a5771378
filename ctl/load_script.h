/* The load as a shell script: so many separate client processes. */
#ifndef CTL_LOAD_SCRIPT_H
#define CTL_LOAD_SCRIPT_H

#include "ctl/verbs.h"

/* Writes an executable script to `path` ("-": standard output). Answers the exit status. */
int load_script_write(const struct invocation *v, const char *path, uint32_t n_clients, uint32_t n_messages,
                      unsigned drop_rate);

#endif
