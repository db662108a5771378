/* What the control socket owes a client: a reply to each call that is not oneway, in order, and of its kind. It holds
 * what the client has sent against what comes back; fuzz_check() where that is not it. */
#ifndef TESTS_FUZZ_OWED_H
#define TESTS_FUZZ_OWED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "host/access.h"
#include "wire/varlink.h"

struct owed_call {
    STAILQ_ENTRY(owed_call) next;
    cJSON *tree;
    struct varlink_call call; /* into the tree */
};

struct owed {
    enum access_level level;
    STAILQ_HEAD(owed_calls, owed_call) calls; /* not answered */
    bool malformed; /* one was no call: the connection is to be closed, and none behind it is answered */
    char *cut;      /* what was sent of the next */
    size_t cut_size, cut_capacity;
};

void owed_begin(struct owed *o, enum access_level level);
void owed_end(struct owed *o);
void owed_sent(struct owed *o, const char *bytes, size_t size);
/* One reply, without its NUL. */
void owed_reply(struct owed *o, const char *reply, size_t size);
/* Of the first call that is not answered: whether it streams, and whether it may do so for ever. */
bool owed_streams(const struct owed *o);
bool owed_follows(const struct owed *o);

#endif
