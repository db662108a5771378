#include "host/chatlog_rest.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "host/chatlog_file.h"

enum { PIECE_BYTES = 16 << 10, HEAD_BYTES_MAX = 31 }; /* HEAD_BYTES_MAX: of a line, up to its slot's end */

static int read_whole(int fd, uint64_t at, char *bytes, size_t size)
{
    ssize_t n = chatlog_file_read(fd, at, bytes, size);

    return n < 0 ? (int)n : (size_t)n < size ? -ENODATA : 0;
}

int chatlog_rest_end(int fd, uint64_t from, uint64_t size, uint64_t *ret_end)
{
    char bytes[PIECE_BYTES];

    while (size > from) {
        size_t n = size - from < sizeof bytes ? (size_t)(size - from) : sizeof bytes;
        int error = read_whole(fd, size - n, bytes, n);
        if (error < 0)
            return error;
        for (; n > 0 && bytes[n - 1] == '\0'; n--)
            size--;
        if (n > 0)
            break;
    }
    *ret_end = size;
    return 0;
}

/* Whether a line can begin with `head`, which is shorter than HEAD_BYTES_MAX only where the line, or what is known of
 * it, ends so early. */
static bool head_is_ours(const char *head, enum log_format format, slot_t *last)
{
    const char *before = format == LOG_FORMAT_JSON ? "{\"slot\":" : "", behind = format == LOG_FORMAT_JSON ? ',' : '\t';
    size_t size = strlen(before);
    slot_t slot;
    char *end;

    if (format == LOG_FORMAT_PLAIN)
        return true;
    if (strncmp(head, before, size) != 0)
        return strncmp(head, before, strlen(head)) == 0;
    head += size;
    end = (char *)head + strspn(head, "0123456789");
    if (*end == '\0')
        return true; /* torn, or not all on the disk */
    slot = strtoull(head, NULL, 10);
    if (*end != behind || slot <= *last)
        return false;
    *last = slot;
    return true;
}

int chatlog_rest_is_ours(int fd, uint64_t from, uint64_t size, enum log_format format, slot_t last)
{
    char bytes[PIECE_BYTES], head[HEAD_BYTES_MAX + 1];
    size_t n_head = 0;

    for (uint64_t at = from; at < size;) {
        size_t n = size - at < sizeof bytes ? (size_t)(size - at) : sizeof bytes;
        int error = read_whole(fd, at, bytes, n);
        if (error < 0)
            return error;
        at += n;
        for (size_t i = 0; i < n; i++) {
            if (bytes[i] != '\n' && n_head < HEAD_BYTES_MAX)
                head[n_head++] = bytes[i];
            if (bytes[i] != '\n' && (at < size || i < n - 1))
                continue;
            head[n_head] = '\0';
            n_head = 0;
            if (!head_is_ours(head, format, &last))
                return 0;
        }
    }
    return 1;
}
