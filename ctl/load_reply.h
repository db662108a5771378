/* Reads the reply of a Submit without building a tree, where it has the plain form that the daemon gives it. Pure. */
#ifndef CTL_LOAD_REPLY_H
#define CTL_LOAD_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* {"parameters":{"slot":N,"key":"...","duplicate":false}} exactly so. False: it may still be a good reply of another
 * form. */
bool load_reply_read(const char *bytes, size_t size, int64_t *ret_slot);

#endif
