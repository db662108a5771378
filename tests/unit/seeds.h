/* How many seeds a test takes where a build is slow: under sanitizers the same code is looked at, only less often. */
#ifndef TESTS_UNIT_SEEDS_H
#define TESTS_UNIT_SEEDS_H

#include <stdint.h>
#include <stdlib.h>

/* Of `all`, the part that the environment's SEEDS_PART=N asks for: the Nth, at least one. */
static inline uint64_t seeds_part(uint64_t all)
{
    const char *text = getenv("SEEDS_PART");
    uint64_t part = text != NULL ? strtoull(text, NULL, 10) : 1;
    return part <= 1 ? all : all / part + (all < part);
}

#endif
