/* An array on the heap that grows by doubling. */
#ifndef JOURNAL_ARRAY_H
#define JOURNAL_ARRAY_H

#include <stddef.h>
#include <stdlib.h>

/* Room for `needed` items. Answers the array, which may have moved, or NULL where there is no memory: then the old one,
 * and *room, stay as they were. */
static inline void *array_grow(void *array, size_t needed, size_t *room, size_t item_size)
{
    size_t more = *room > 0 ? *room : 16;
    void *p;

    if (needed <= *room)
        return array;
    while (more < needed)
        more *= 2;
    p = reallocarray(array, more, item_size);
    if (p != NULL)
        *room = more;
    return p;
}

#endif
