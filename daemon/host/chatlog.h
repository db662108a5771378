/* The chat log file: what was chosen, appended on a flush, in one of three formats, durable before it is reported.
 *
 * Exactly once over crashes: the mark ("flushed" in the state directory) names the file's inode, its length, a hash of
 * the bytes before that length, and the last slot that was flushed. It is written by rename after the file was synced,
 * and, with length 0, before the first byte goes into a new file. What a flush finds behind the mark is a flush that
 * was cut off: it must be a prefix of what is to be written, with zeros at most where a power cut lost some of it or
 * behind it, and is completed, never written twice; bytes that are anything else are somebody's, and an error, never
 * overwritten.
 *
 * Rotation, between flushes: a file that is gone or empty is begun at the next slot. If the old one was renamed within
 * its directory while a flush was cut off in it, that one is completed first. The same bytes under another inode (moved
 * to another disk) are gone on with. Truncating in place (logrotate's copytruncate) is fine unless a crash cut a flush
 * off just before: then the lines of that flush stand in the copy and in the file. So rename, which is logrotate's
 * default.
 *
 * A failed write or sync takes back what this flush wrote; so that it is written, not only synced, by the next one: a
 * kernel may forget that a sync failed. The file is created 0640. */
#ifndef HOST_CHATLOG_H
#define HOST_CHATLOG_H

#include <stddef.h>
#include <stdint.h>

#include "host/chatlog_mark.h"
#include "host/config.h"
#include "host/driver.h"

struct chatlog;

/* Reads the mark, if there is one, and makes it durable: who wrote it may have been killed before that. What
 * cannot be read or synced is an error with its reason (ret_error: CONFIG_ERROR_MAX + 1). */
int chatlog_open(const char *state_dir, const char *log_path, enum log_format format, struct chatlog **ret,
                 char *ret_error);
void chatlog_close(struct chatlog *c);

/* Of what is flushed from now on: what a cut-off flush left behind in the old format is completed in that one first. */
void chatlog_set_format(struct chatlog *c, enum log_format format);

/* Goes on behind `slot`, durably, where what stands before it is no longer to be had: the file will not have it. Lines
 * that a cut-off flush left of it are taken away, since nothing is left to compare them with; where they are not lines
 * of slots behind the mark, as far as the format tells, that is an error. 0, or a negative errno with a reason. */
int chatlog_skip(struct chatlog *c, slot_t slot, char *ret_error);

/* The last one that chatlog_skip() left, until a file is begun behind it that does not begin with it. */
struct chatlog_gap chatlog_gap(const struct chatlog *c);
slot_t chatlog_flushed(const struct chatlog *c); /* 0: nothing yet (slot 0 holds no message) */
const char *chatlog_path(const struct chatlog *c);

/* One flush of everything chosen up to `upto`. `read` is driver_read() or a test's stand-in. Bounded memory: works in
 * pieces. 0, or a negative errno with a reason: what, where, what to do; and how many messages were newly written. On
 * failure nothing counts as flushed that was not synced; what stands before a slot that cannot be read is. Where less
 * than `upto` is chosen here, what there is is flushed: chatlog_flushed(). */
typedef int (*chatlog_read)(void *user, slot_t from, size_t n_max, size_t bytes_max,
                            bool (*each)(void *user, const struct log_message *m), void *each_user, slot_t *ret_next);
int chatlog_flush(struct chatlog *c, slot_t upto, chatlog_read read, void *user, uint64_t *ret_messages,
                  char *ret_error);

/* One line in a format, with its LF, appended to a growing buffer: for the tests too. 0 or -ENOMEM. */
struct line_buffer {
    char *bytes;
    size_t size, capacity;
};
int chatlog_format(struct line_buffer *b, enum log_format format, const struct log_message *m);

#endif
