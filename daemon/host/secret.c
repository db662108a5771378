#include "host/secret.h"

#include <errno.h>
#include <sodium.h>

static int lock_error;

void *secret_new(size_t size)
{
    void *block = sodium_init() < 0 ? NULL : sodium_malloc(size);

    /* sodium_malloc() locked it, or could not, which it does not say. */
    if (block && sodium_mlock(block, size) < 0)
        lock_error = errno;
    return block;
}

int secret_lock_error(void)
{
    return lock_error;
}
