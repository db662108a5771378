#include "ctl/attempt.h"

#include <stddef.h>
#include <string.h>

#include "ctl/failure.h"
#include "ctl/text.h"

bool attempt_can_pass(const char *error)
{
    static const char *const names[] = {"Timeout", "NoQuorum", "Overloaded", "DiskFull", "NotInitialized"};
    const char *name = failure_short_name(error);
    for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

struct attempt_loss attempt_loss_new(unsigned rate)
{
    return (struct attempt_loss){.rate = rate, .random = random_bits() | 1};
}

/* xorshift64*; Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016) */
bool attempt_is_lost(struct attempt_loss *l)
{
    if (!l->rate)
        return false;
    l->random ^= l->random >> 12;
    l->random ^= l->random << 25;
    l->random ^= l->random >> 27;
    return (l->random * UINT64_C(0x2545F4914F6CDD1D) >> 32) % 100 < l->rate;
}
