/* Lines of a file descriptor, read as they come, with a bound on how long one may be. */
#ifndef CTL_LINES_H
#define CTL_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINE_BYTES_MAX = 1 << 20 };

struct lines {
    int fd;
    char *bytes; /* bytes[at .. size) is still to be handed out */
    size_t at, size, capacity, scanned;
    uint64_t number; /* of the line that was handed out last, from 1 */
    bool ended;      /* nothing more will be read                    */
    bool cut;        /* within a line that was too long              */
};

void lines_init(struct lines *l, int fd);
void lines_done(struct lines *l);

/* Reads once what is there, waiting if nothing is. 0 or a negative errno; at the end sets `ended`. */
int lines_read(struct lines *l);

enum line_result { LINE_NONE, LINE_READY, LINE_TOO_LONG };
/* The next whole line without its LF, valid until the next call of any of these; the last one needs no LF.
 * LINE_TOO_LONG: it was longer than LINE_BYTES_MAX, and is skipped up to its end. LINE_NONE: read more, or it is the
 * end. */
enum line_result lines_next(struct lines *l, const char **ret, size_t *ret_size);

#endif
