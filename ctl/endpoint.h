/* Where local replicas listen: which control sockets there are, by -i, --dir, --socket, $MPAXOS_DIR, ./run, and the
 * packaged place. */
#ifndef CTL_ENDPOINT_H
#define CTL_ENDPOINT_H

#include <stddef.h>

#include "ctl/failure.h"

enum {
    ENDPOINT_PATH_MAX = 107, /* sun_path without its NUL */
    ENDPOINTS_MAX = 256,     /* every id, or those of two places */
    ENDPOINT_NAME_MAX = 32,
};

/* What the command line says; NULL and -1: nothing. */
struct place {
    int id;
    const char *dir;
    const char *socket;
};

struct endpoint {
    int id; /* -1: not known (--socket) */
    char path[ENDPOINT_PATH_MAX + 1];
};

/* The sockets in the order in which they are to be tried: by place, then by id. With an id, only that replica's. A
 * replica that was asked for by id is listed even if its socket is not there, so that the error can name it. 0, or -1
 * and why. */
int endpoints_find(const struct place *place, struct endpoint ret[ENDPOINTS_MAX], size_t *ret_n, struct failure *f);

/* "replica 1", or "the replica" where its id is not known. */
void endpoint_name(const struct endpoint *e, char ret[ENDPOINT_NAME_MAX]);

/* Why connecting failed, as a whole sentence: `error` is the positive errno. */
void endpoint_failure(const struct endpoint *e, int error, struct failure *f);

#endif
