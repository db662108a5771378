#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/varlink.h"

enum {
    CAPACITY_MIN = 1 << 10,
    IDLE_BYTES_MAX = 16 << 10, /* a larger buffer is given back once less than half of it is taken */
};

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

static size_t fitting(size_t capacity, size_t size)
{
    while (capacity < size)
        capacity *= 2;
    return capacity;
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
        size_t capacity = fitting(f->capacity > 0 ? f->capacity : CAPACITY_MIN, f->size + size);
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

void varlink_framer_fit(struct varlink_framer *f)
{
    if (f->capacity <= IDLE_BYTES_MAX || f->size >= f->capacity / 2)
        return;
    /* Not realloc(), which may leave the rest where it was: the hole behind it would be too small for the next one. */
    const size_t capacity = f->size > 0 ? fitting(CAPACITY_MIN, f->size) : 0;
    char *buffer = NULL;
    if (capacity > 0) {
        buffer = malloc(capacity);
        if (buffer == NULL)
            return;
        memcpy(buffer, f->buffer + f->start, f->size);
    }
    free(f->buffer);
    f->buffer = buffer;
    f->start = 0;
    f->capacity = capacity;
}

bool varlink_framer_next(struct varlink_framer *f, const char **ret, size_t *ret_size)
{
    if (f->size == f->rest) {
        varlink_framer_fit(f);
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
