/* A watch over inputs that hang in a simulated world: libFuzzer's own would ask that world for the time. */
#ifndef TESTS_FUZZ_HANG_H
#define TESTS_FUZZ_HANG_H

#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { HANG_S = 30 };

static time_t hang_began_s; /* 0: no input runs */

/* Of the processor's time, so that a busy machine finds nothing; from 1 on. */
static inline time_t hang_seconds(void)
{
    struct timespec t = {0};
    syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + 1;
}

static inline void hang_look(int number)
{
    (void)number;
    if (hang_began_s != 0 && hang_seconds() - hang_began_s > HANG_S)
        abort();
}

static inline void hang_begin(void)
{
    hang_began_s = hang_seconds();
}

static inline void hang_end(void)
{
    hang_began_s = 0;
}

#endif
