/* Memory for keys: locked, so that it is not swapped, left out of core dumps, and wiped by sodium_free(), which gives
 * it back. */
#ifndef HOST_SECRET_H
#define HOST_SECRET_H

#include <stddef.h>

/* NULL: out of memory, or libsodium cannot be used. */
void *secret_new(size_t size);

/* Why some of it is not locked, an errno, and may be swapped; 0: all is. */
int secret_lock_error(void);

#endif
