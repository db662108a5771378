#include "paxos/invariant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Straight to standard error: a process that broke an invariant trusts nothing of its own any more. */
_Noreturn void invariant_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr,
            "mpaxosd: %s:%d: invariant broken: %s (%" PRIu64 ", %" PRIu64
            "); this is a bug: keep the state directory, and report this line\n",
            file, line, what, a, b);
    abort();
}
