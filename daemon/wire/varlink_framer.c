#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/varlink.h"

enum { IDLE_BYTES_MAX = 16 << 10 }; /* a larger buffer is given back once it is empty */

void varlink_framer_init(struct varlink_framer *f, size_t bytes_max)
{
    *f = (struct varlink_framer){.bytes_max = bytes_max};
}

void varlink_framer_done(struct varlink_framer *f)
{
    free(f->buffer);
    *f = (struct varlink_framer){.bytes_max = f->bytes_max};
}

/* Whether every message that ends or goes on in `bytes` is within the limit; *ret_rest: bytes behind the last NUL. */
static bool fits(const struct varlink_framer *f, const char *bytes, size_t size, size_t *ret_rest)
{
    size_t rest = f->rest;
    while (size > 0) {
        const char *nul = memchr(bytes, 0, size);
        size_t n = nul != NULL ? (size_t)(nul - bytes) : size;
        if (rest + n > f->bytes_max)
            return false;
        if (nul == NULL) {
            *ret_rest = rest + n;
            return true;
        }
        rest = 0;
        bytes += n + 1;
        size -= n + 1;
    }
    *ret_rest = rest;
    return true;
}

int varlink_framer_add(struct varlink_framer *f, const char *bytes, size_t size)
{
    size_t rest = f->rest;
    if (!fits(f, bytes, size, &rest))
        return -EMSGSIZE;
    if (f->start > 0) {
        memmove(f->buffer, f->buffer + f->start, f->size);
        f->start = 0;
    }
    if (f->size + size > f->capacity) {
        size_t capacity = f->capacity > 0 ? f->capacity : 1024;
        while (capacity < f->size + size)
            capacity *= 2;
        char *buffer = realloc(f->buffer, capacity);
        if (buffer == NULL)
            return -ENOMEM;
        f->buffer = buffer;
        f->capacity = capacity;
    }
    if (size > 0)
        memcpy(f->buffer + f->size, bytes, size);
    f->size += size;
    f->rest = rest;
    return 0;
}

bool varlink_framer_next(struct varlink_framer *f, const char **ret, size_t *ret_size)
{
    if (f->size == f->rest) {
        if (f->size == 0 && f->capacity > IDLE_BYTES_MAX)
            varlink_framer_done(f);
        return false;
    }
    const char *message = f->buffer + f->start;
    size_t n = (size_t)((const char *)memchr(message, 0, f->size) - message);
    f->start += n + 1;
    f->size -= n + 1;
    *ret = message;
    *ret_size = n;
    return true;
}
