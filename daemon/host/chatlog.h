/* The chat log file: what was chosen, appended on a flush, in one of three formats, durable before it is reported.
 *
 * Exactly once over crashes: "flushed" in the state directory names the file's inode, length and the last slot that was
 * flushed, written by rename after the file was synced. A next flush that finds the file longer than that compares: what lies behind
 * it must be a prefix of what is to be written (a flush that was cut off), of which the torn rest is completed, never written twice.
 * A file that is gone or another one (logrotate) is begun anew, at the next slot. The file is created 0640. */
#ifndef HOST_CHATLOG_H
#define HOST_CHATLOG_H

#include <stddef.h>
#include <stdint.h>

#include "host/config.h"
#include "host/driver.h"

struct chatlog;

/* Reads the mark, if there is one. A mark that cannot be read is an error with its reason (ret_error: CONFIG_ERROR_MAX + 1). */
int chatlog_open(const char *state_dir, const char *log_path, enum log_format format, struct chatlog **ret, char *ret_error);
void chatlog_close(struct chatlog *c);

slot_t chatlog_flushed(const struct chatlog *c);
const char *chatlog_path(const struct chatlog *c);

/* One flush of everything chosen up to `upto`. `read` is driver_read() or a test's stand-in. Bounded memory: works in pieces.
 * 0, and how many messages were newly written; or a negative errno with a reason: what, where, what to do. On failure nothing counts as
 * flushed that was not synced. */
typedef int (*chatlog_read)(void *user, slot_t from, size_t n_max, size_t bytes_max,
                            bool (*each)(void *user, const struct log_message *m), void *each_user, slot_t *ret_next);
int chatlog_flush(struct chatlog *c, slot_t upto, chatlog_read read, void *user, uint64_t *ret_messages, char *ret_error);

/* One line in a format, with its LF, appended to a growing buffer: for the tests too. */
struct line_buffer {
    char *bytes;
    size_t size, capacity;
};
int chatlog_format(struct line_buffer *b, enum log_format format, const struct log_message *m);

#endif
