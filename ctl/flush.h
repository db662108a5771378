/* Flushing and its report: for the verb, and for a client's prompt. */
#ifndef CTL_FLUSH_H
#define CTL_FLUSH_H

#include "ctl/verbs.h"

/* Flushes one replica or all, prints what became of it, and answers the exit status. */
int flush_run(const struct invocation *v, bool all);

#endif
