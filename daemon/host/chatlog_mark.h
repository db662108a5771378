/* The chat log's mark: how far the file was flushed, as it survives a crash. See chatlog.h. */
#ifndef HOST_CHATLOG_MARK_H
#define HOST_CHATLOG_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "host/config.h"
#include "paxos/hash.h"

enum { MARK_TAIL_BYTES = 4096 };

/* Slots that the file goes on behind without having them. */
struct chatlog_gap {
    slot_t first, last; /* 0: none */
};

struct chatlog_mark {
    bool exists;
    slot_t slot;            /* the last one that was flushed                            */
    uint64_t inode, length; /* of the file then                                         */
    enum log_format format; /* of what may stand behind `length`                        */
    struct chatlog_gap gap; /* the last one in the file, or right before it             */
    struct hash128 tail;    /* of at most MARK_TAIL_BYTES bytes of it before `length`   */
};

/* `ret->exists` is false where there is none. Or a negative errno, with a reason (CONFIG_ERROR_MAX + 1 bytes). */
int chatlog_mark_read(const char *state_dir, struct chatlog_mark *ret, char *ret_error);

/* Durably: by a temporary file, rename, and a sync of the directory. After a failure either the old or this one stands.
 */
int chatlog_mark_write(const char *state_dir, const struct chatlog_mark *m, char *ret_error);

/* The hash of the bytes before `length` of an open file. -ENODATA: it is shorter. */
int chatlog_mark_tail(int fd, uint64_t length, struct hash128 *ret);

#endif
