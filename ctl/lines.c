#include "ctl/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 64 << 10 };

void lines_init(struct lines *l, int fd)
{
    *l = (struct lines){.fd = fd};
}

void lines_done(struct lines *l)
{
    free(l->bytes);
    *l = (struct lines){.fd = -1, .ended = true};
}

int lines_read(struct lines *l)
{
    if (l->ended)
        return 0;
    if (l->at > 0) {
        memmove(l->bytes, l->bytes + l->at, l->size - l->at);
        l->size -= l->at;
        l->at = 0;
    }
    if (l->capacity - l->size < READ_BYTES) {
        size_t capacity = l->capacity ? l->capacity * 2 : (size_t)2 * READ_BYTES;
        char *bytes = realloc(l->bytes, capacity);
        if (!bytes)
            return -ENOMEM;
        l->bytes = bytes;
        l->capacity = capacity;
    }
    ssize_t n = read(l->fd, l->bytes + l->size, READ_BYTES);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    l->ended = n == 0;
    l->size += (size_t)n;
    return 0;
}

enum line_result lines_next(struct lines *l, const char **ret, size_t *ret_size)
{
    size_t left = l->size - l->at;
    char *line = left ? l->bytes + l->at : NULL;
    char *end = left > l->scanned ? memchr(line + l->scanned, '\n', left - l->scanned) : NULL;
    if (!end && !l->ended) {
        if (left > LINE_BYTES_MAX) { /* bounded: what is known to be too long is not kept */
            l->cut = true;
            l->at = l->size;
            left = 0;
        }
        l->scanned = left;
        return LINE_NONE;
    }
    l->scanned = 0;
    if (left == 0 && !l->cut)
        return LINE_NONE;
    size_t size = end ? (size_t)(end - line) : left;
    l->at += size + (end != NULL);
    l->number++;
    bool too_long = l->cut || size > LINE_BYTES_MAX;
    l->cut = false;
    if (too_long)
        return LINE_TOO_LONG;
    *ret = line;
    *ret_size = size;
    return LINE_READY;
}
