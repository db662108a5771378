/* What must hold whatever comes in. Stays on in release: a replica that broke one must not go on.
 * The host defines the hook: it says where and what, and aborts. Input never trips one. */
#ifndef PAXOS_INVARIANT_H
#define PAXOS_INVARIANT_H

#include <stdint.h>

_Noreturn void invariant_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b);

#define invariant(condition, a, b)                                                                                     \
    ((condition) ? (void)0 : invariant_failed(__FILE__, __LINE__, #condition, (uint64_t)(a), (uint64_t)(b)))

#endif
