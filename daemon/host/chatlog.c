#include "host/chatlog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/chatlog_file.h"
#include "host/chatlog_mark.h"
#include "host/chatlog_rest.h"

enum { PIECE_BYTES = 256 << 10, PIECE_MESSAGES = 4096, COMPARE_BYTES = 16 << 10 };

struct chatlog {
    enum log_format format;
    struct chatlog_mark mark;
    bool is_unsettled;                  /* writing a later mark failed: either stands on the disk */
    char *state_dir, *path, *directory; /* directory: of path */
};

/* One file that lines go to. */
struct target {
    const char *path;
    int fd;
    uint64_t inode,
        size; /* size: when it was opened; the bytes from the mark's length to here are verified before they are
               * written over with themselves, so that a sync that failed before a crash is made good, too */
};

struct writer {
    const struct target *target;
    enum log_format format;
    bool only_cut_off;       /* stop where the file's own bytes are complete */
    bool stopped, completed; /* by a slot above upto; by the end of the file's own bytes */
    slot_t upto, last;
    uint64_t at; /* in the file, where buffer goes */
    uint64_t messages;
    struct line_buffer buffer;
    char *reason;
    int error;
    int unread; /* what a read failed with; what came before it is written */
};

static int complain(char *ret_error, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int complain(char *ret_error, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(ret_error, CONFIG_ERROR_MAX + 1, format, arguments);
    va_end(arguments);
    return error;
}

static int complain_io(char *ret_error, int error, const char *path, const char *what)
{
    const char *remedy = error == -ENOSPC || error == -EDQUOT ? "free some space there"
                         : error == -EFBIG                    ? "raise the limit of a file's size, or rotate it"
                         : error == -EIO                      ? "look at the kernel's log"
                         : error == -ENOENT                   ? "make its directory"
                         : error == -EMFILE                   ? "raise the limit of open files"
                         : error == -ENOMEM                   ? "free some memory"
                                                              : "let the daemon's user read and write it";

    return complain(ret_error, error, "%.300s cannot be %s: %s; %s, and flush again", path, what, strerror(-error),
                    remedy);
}

static int complain_foreign(char *ret_error, const char *path, uint64_t at)
{
    return complain(ret_error, -EBADMSG,
                    "%.300s holds something behind byte %llu that this replica did not write; move the file to another "
                    "directory, and flush again",
                    path, (unsigned long long)at);
}

int chatlog_open(const char *state_dir, const char *log_path, enum log_format format, struct chatlog **ret,
                 char *ret_error)
{
    struct chatlog *c = calloc(1, sizeof *c);
    const char *slash = strrchr(log_path, '/');
    int error;

    if (c) {
        c->format = format;
        c->state_dir = strdup(state_dir);
        c->path = strdup(log_path);
        c->directory = !slash ? strdup(".") : strndup(log_path, slash == log_path ? 1 : (size_t)(slash - log_path));
    }
    if (!c || !c->state_dir || !c->path || !c->directory) {
        chatlog_close(c);
        return complain(ret_error, -ENOMEM, "out of memory for the chat log; free some");
    }
    error = chatlog_mark_read(state_dir, &c->mark, ret_error);
    if (error == 0 && c->mark.exists) {
        error = chatlog_directory_sync(state_dir);
        if (error < 0)
            complain(ret_error, error, "%.300s cannot be synced: %s; look at the kernel's log, and start again",
                     state_dir, strerror(-error));
    }
    if (error < 0) {
        chatlog_close(c);
        return error;
    }
    *ret = c;
    return 0;
}

void chatlog_close(struct chatlog *c)
{
    if (!c)
        return;
    free(c->state_dir);
    free(c->path);
    free(c->directory);
    free(c);
}

void chatlog_set_format(struct chatlog *c, enum log_format format)
{
    c->format = format;
}

slot_t chatlog_flushed(const struct chatlog *c)
{
    return c->mark.slot;
}

struct chatlog_gap chatlog_gap(const struct chatlog *c)
{
    return c->mark.gap;
}

const char *chatlog_path(const struct chatlog *c)
{
    return c->path;
}

/* --- the mark --- */

static int set_mark(struct chatlog *c, const struct chatlog_mark *mark, char *ret_error)
{
    int error = chatlog_mark_write(c->state_dir, mark, ret_error);

    c->is_unsettled = error < 0;
    if (error == 0)
        c->mark = *mark;
    return error;
}

/* Before a file is cut where the mark is: a later one on the disk would be of bytes that are gone. */
static int settle_mark(struct chatlog *c, char *ret_error)
{
    const struct chatlog_mark mark = c->mark;

    return c->is_unsettled && mark.exists ? set_mark(c, &mark, ret_error) : 0;
}

/* --- writing lines behind the mark --- */

/* A line holds no zero byte; a power cut leaves some where the file grew and what was to stand there was lost. */
static bool is_ours(const char *bytes, const char *ours, size_t size)
{
    size_t i = 0;

    if (memcmp(bytes, ours, size) == 0)
        return true;
    while (i < size && (bytes[i] == ours[i] || bytes[i] == 0))
        i++;
    return i == size;
}

/* What of the buffer stands in the file already must stand there exactly so, or as zeros. */
static int verify(struct writer *w)
{
    char bytes[COMPARE_BYTES];
    size_t size = w->buffer.size, at = 0;

    if (w->at >= w->target->size)
        return 0;
    if (size > w->target->size - w->at)
        size = (size_t)(w->target->size - w->at);
    while (at < size) {
        size_t want = size - at < sizeof bytes ? size - at : sizeof bytes;
        ssize_t n = chatlog_file_read(w->target->fd, w->at + at, bytes, want);
        if (n < 0)
            return complain_io(w->reason, (int)n, w->target->path, "read");
        if (n == 0 || !is_ours(bytes, w->buffer.bytes + at, (size_t)n))
            return complain_foreign(w->reason, w->target->path, w->at + at);
        at += (size_t)n;
    }
    return 0;
}

static int write_buffer(struct writer *w)
{
    int error = verify(w);

    for (size_t at = 0; error == 0 && at < w->buffer.size;) {
        ssize_t n = chatlog_file_write(w->target->fd, w->at, w->buffer.bytes + at, w->buffer.size - at);
        if (n > 0) {
            at += (size_t)n;
            w->at += (uint64_t)n;
        } else {
            error = complain_io(w->reason, (int)n, w->target->path, "written");
        }
    }
    w->buffer.size = 0;
    return error;
}

static bool write_message(void *user, const struct log_message *m)
{
    struct writer *w = user;

    w->stopped = m->slot > w->upto;
    w->completed = w->only_cut_off && w->at + w->buffer.size >= w->target->size;
    if (w->stopped || w->completed)
        return false;
    if (m->slot <= w->last) {
        w->error = complain(w->reason, -EIO, "slot %llu came after slot %llu; restart the daemon",
                            (unsigned long long)m->slot, (unsigned long long)w->last);
        return false;
    }
    w->error = chatlog_format(&w->buffer, w->format, m);
    if (w->error < 0)
        complain(w->reason, w->error, "out of memory for the chat log; free some, and flush again");
    else if (w->buffer.size >= PIECE_BYTES)
        w->error = write_buffer(w);
    if (w->error < 0)
        return false;
    w->last = m->slot;
    w->messages++;
    return true;
}

static int complain_unread(const struct writer *w, int error, slot_t slot)
{
    if (error == -ERANGE)
        return complain(w->reason, error,
                        "slot %llu and some after it are no longer kept, and were never flushed to %.200s; take the "
                        "log file of another replica",
                        (unsigned long long)slot, w->target->path);
    return complain(w->reason, error, "slots from %llu on cannot be read from the journal: %s; see the daemon's log",
                    (unsigned long long)slot, strerror(-error));
}

/* Writes everything, or only what was cut off, from the mark on; or up to what cannot be read. */
static int write_messages(struct writer *w, slot_t from, chatlog_read read, void *user)
{
    while (from <= w->upto && !w->stopped && !w->completed) {
        slot_t next = from;
        int n = read(user, from, PIECE_MESSAGES, PIECE_BYTES, write_message, w, &next);
        if (w->error < 0)
            return w->error;
        if (n < 0) {
            slot_t before = next - 1 < w->upto ? next - 1 : w->upto;
            w->last = before > w->last ? before : w->last;
            w->unread = w->last < w->upto ? complain_unread(w, n, next) : 0;
            break;
        }
        if (w->stopped)
            w->last = w->upto;
        if (w->stopped || w->completed || next <= from)
            break;
        from = next;
        w->last = from - 1 < w->upto ? from - 1 : w->upto;
    }
    return write_buffer(w);
}

/* One flush into one file: lines, sync, mark. On return the mark says how far it got. */
static int append(struct chatlog *c, const struct target *t, bool only_cut_off, slot_t upto, chatlog_read read,
                  void *user, uint64_t *ret_messages, char *ret_error)
{
    struct chatlog_mark mark = c->mark;
    struct writer w = {.target = t,
                       .format = mark.format,
                       .only_cut_off = only_cut_off,
                       .upto = upto,
                       .last = mark.slot,
                       .at = mark.length,
                       .reason = ret_error};
    int error = write_messages(&w, mark.slot + 1, read, user);
    struct chatlog_file_state now;

    if (error == 0 && w.at > mark.length) {
        error = chatlog_file_sync(t->fd);
        if (error < 0)
            complain_io(ret_error, error, t->path, "synced");
    }
    free(w.buffer.bytes);
    if (error < 0) {
        /* Every byte from the mark on is ours: they stood there as we would write them, or we wrote them. */
        if (w.at > t->size && chatlog_file_truncate(t->fd, mark.length) < 0)
            return error; /* what is left is found, compared and completed by the next flush */
        return error;
    }
    if (chatlog_file_look(t->fd, &now) < 0 || now.size < w.at)
        return complain(ret_error, -EBADMSG,
                        "%.300s was truncated while it was flushed; rotate it between flushes only", t->path);
    if (w.last == mark.slot && w.at == mark.length)
        return w.unread;
    mark.slot = w.last;
    mark.length = w.at;
    error = chatlog_mark_tail(t->fd, mark.length, &mark.tail);
    if (error < 0)
        return complain_io(ret_error, error, t->path, "read");
    error = set_mark(c, &mark, ret_error);
    if (error < 0)
        return error;
    *ret_messages += w.messages;
    return w.unread;
}

/* --- which file, from where on --- */

static int target_open(const char *path, int flags, struct target *ret, char *ret_error)
{
    struct chatlog_file_state now;

    *ret = (struct target){.path = path, .fd = chatlog_file_open(path, flags, 0640)};
    if (ret->fd < 0)
        return complain_io(ret_error, ret->fd, path, "opened");
    if (chatlog_file_look(ret->fd, &now) < 0 || !now.is_regular) {
        chatlog_file_close(ret->fd);
        return complain(ret_error, -EINVAL, "%.300s is no regular file; move it away, and flush again", path);
    }
    ret->inode = now.inode;
    ret->size = now.size;
    return 0;
}

/* Whether the file's bytes before the mark are those that it was written after. */
static int target_is_marked(const struct chatlog *c, const struct target *t, char *ret_error)
{
    struct hash128 tail;

    if (!c->mark.exists || t->size < c->mark.length)
        return 0;
    int error = chatlog_mark_tail(t->fd, c->mark.length, &tail);
    if (error < 0 && error != -ENODATA)
        return complain_io(ret_error, error, t->path, "read");
    return error == 0 && hash_equal(&tail, &c->mark.tail);
}

/* Takes away the zeros that a marked file ends with: they may reach further than the lines to be written now. */
static int drop_zeros(const struct chatlog *c, struct target *t, char *ret_error)
{
    uint64_t end;
    int error = chatlog_rest_end(t->fd, c->mark.length, t->size, &end);

    if (error < 0)
        return complain_io(ret_error, error, t->path, "read");
    if (end < t->size)
        error = chatlog_file_truncate(t->fd, end);
    if (error < 0)
        return complain_io(ret_error, error, t->path, "truncated");
    t->size = end;
    return 0;
}

/* Completes a flush that was cut off in `t`, before lines go elsewhere or in another format. Answers 1 where that took
 * all slots up to `upto`: the rest of `t` is for the next flush. */
static int complete(struct chatlog *c, const struct target *t, slot_t upto, chatlog_read read, void *user,
                    uint64_t *ret_messages, char *ret_error)
{
    int error = append(c, t, true, upto, read, user, ret_messages, ret_error);

    if (error < 0 || c->mark.length >= t->size)
        return error;
    if (c->mark.slot >= upto)
        return 1;
    return complain(
        ret_error, -EAGAIN,
        "%.300s holds more than this replica knows as chosen again after its restart; flush again once it has "
        "caught up",
        t->path);
}

/* Opens the marked file under another name in its directory, such as replica_0.log.1: 1. 0: it has its own, is gone, or
 * holds other bytes. Where it cannot be looked for or at, nobody knows what was cut off in it: an error, since the mark
 * would leave it. One that may only be read is opened so, where nothing was cut off. */
static int open_rotated(const struct chatlog *c, char path[PATH_MAX], struct target *ret, char *ret_error)
{
    const char *slash = strrchr(c->path, '/'), *name = slash ? slash + 1 : c->path;
    char unread[CONFIG_ERROR_MAX + 1];

    if (!c->mark.exists || chatlog_file_inode(c->path) == c->mark.inode)
        return 0;
    int found = chatlog_directory_find(c->directory, name, c->mark.inode, path);
    if (found <= 0)
        return found < 0 ? complain_io(ret_error, found, c->directory, "searched") : 0;
    int error = target_open(path, O_RDWR, ret, ret_error);
    if (error < 0 && target_open(path, O_RDONLY, ret, unread) < 0)
        return error;
    int marked = target_is_marked(c, ret, error < 0 ? unread : ret_error);
    if (marked == 1 && (error == 0 || ret->size == c->mark.length))
        return 1;
    chatlog_file_close(ret->fd);
    return marked == 0 ? 0 : error < 0 ? error : marked;
}

/* Also that what a flush took back does not come again with a power cut, when lines stand elsewhere, or in another
 * format. */
static int sync_end(const struct target *t, char *ret_error)
{
    int error = chatlog_file_sync(t->fd);

    return error < 0 ? complain_io(ret_error, error, t->path, "synced") : 0;
}

static int complete_rotated(struct chatlog *c, slot_t upto, chatlog_read read, void *user, uint64_t *ret_messages,
                            char *ret_error)
{
    char path[PATH_MAX];
    struct target t = {.fd = -1};

    int found = open_rotated(c, path, &t, ret_error);
    if (found <= 0)
        return found;
    int error = drop_zeros(c, &t, ret_error);
    if (error == 0 && t.size > c->mark.length)
        error = complete(c, &t, upto, read, user, ret_messages, ret_error);
    if (error == 0)
        error = sync_end(&t, ret_error);
    chatlog_file_close(t.fd);
    return error;
}

/* Moves the mark's file to `t`, and begins there, before any byte goes into it. */
static int begin(struct chatlog *c, const struct target *t, uint64_t length, char *ret_error)
{
    struct chatlog_mark mark = {
        .exists = true, .slot = c->mark.slot, .inode = t->inode, .length = length, .format = c->format};
    if (length > 0 || c->mark.gap.last == c->mark.slot)
        mark.gap = c->mark.gap;
    int error = chatlog_directory_sync(c->directory);

    if (error < 0)
        return complain_io(ret_error, error, c->directory, "synced");
    error = sync_end(t, ret_error);
    if (error < 0)
        return error;
    error = chatlog_mark_tail(t->fd, length, &mark.tail);
    if (error < 0)
        return complain_io(ret_error, error, t->path, "read");
    return set_mark(c, &mark, ret_error);
}

/* Settles where the lines go on: after it, the mark is `t`'s, in the wanted format. 1: as complete() says. */
static int place(struct chatlog *c, struct target *t, slot_t upto, chatlog_read read, void *user,
                 uint64_t *ret_messages, char *ret_error)
{
    if (!c->mark.exists || t->size == 0)
        return c->mark.exists && c->mark.inode == t->inode && c->mark.length == 0 && c->mark.format == c->format
                   ? 0
                   : begin(c, t, 0, ret_error);
    int marked = target_is_marked(c, t, ret_error);
    if (marked < 0)
        return marked;
    if (marked == 0)
        return complain(ret_error, -EBADMSG,
                        "%.300s is not as the last flush left it (%llu bytes, slot %llu); move it away, and flush "
                        "again: a new file "
                        "then begins at the next slot",
                        c->path, (unsigned long long)c->mark.length, (unsigned long long)c->mark.slot);
    int result = drop_zeros(c, t, ret_error);
    if (result == 0 && c->mark.format != c->format && t->size > c->mark.length)
        result = complete(c, t, upto, read, user, ret_messages, ret_error);
    if (result != 0)
        return result;
    if (c->mark.format != c->format || c->mark.inode != t->inode)
        return begin(c, t, c->mark.length, ret_error);
    return 0;
}

int chatlog_flush(struct chatlog *c, slot_t upto, chatlog_read read, void *user, uint64_t *ret_messages,
                  char *ret_error)
{
    uint64_t messages = 0;
    struct target t;
    int result = settle_mark(c, ret_error);

    if (result == 0)
        result = complete_rotated(c, upto, read, user, &messages, ret_error);
    if (result == 0) {
        result = target_open(c->path, O_RDWR | O_CREAT, &t, ret_error);
        if (result < 0)
            return result;
        result = place(c, &t, upto, read, user, &messages, ret_error);
        if (result == 0)
            result = append(c, &t, false, upto, read, user, &messages, ret_error);
        chatlog_file_close(t.fd);
    }
    *ret_messages = messages;
    return result < 0 ? result : 0;
}

/* --- going on behind a gap --- */

/* Closes `t`, and takes away what a flush that was cut off left in it: durably, or a power cut would bring it back, to
 * be compared with the lines behind the gap. */
static int cut(const struct chatlog *c, const struct target *t, char *ret_error)
{
    int marked = target_is_marked(c, t, ret_error), error = marked < 0 ? marked : 0;

    if (marked == 1 && t->size > c->mark.length) {
        int ours = chatlog_rest_is_ours(t->fd, c->mark.length, t->size, c->mark.format, c->mark.slot);
        error = ours < 0 ? ours : ours == 0 ? -EBADMSG : chatlog_file_truncate(t->fd, c->mark.length);
        if (ours == 0)
            complain_foreign(ret_error, t->path, c->mark.length);
        else if (error < 0)
            complain_io(ret_error, error, t->path, ours < 0 ? "read" : "truncated");
    }
    if (error == 0 && marked == 1)
        error = sync_end(t, ret_error);
    chatlog_file_close(t->fd);
    return error;
}

int chatlog_skip(struct chatlog *c, slot_t slot, char *ret_error)
{
    struct chatlog_mark mark = c->mark;
    char path[PATH_MAX];
    struct target t = {.fd = -1};
    int error = settle_mark(c, ret_error);

    int found = error == 0 ? open_rotated(c, path, &t, ret_error) : 0;
    if (error == 0)
        error = found == 1 ? cut(c, &t, ret_error) : found;
    if (error == 0 && c->mark.exists) {
        error = target_open(c->path, O_RDWR, &t, ret_error);
        error = error == 0 ? cut(c, &t, ret_error) : error == -ENOENT ? 0 : error;
    }
    if (error < 0)
        return error;
    if (mark.gap.last == 0 || mark.gap.last != mark.slot) /* else it is the same gap, which grows */
        mark.gap.first = mark.slot + 1;
    mark.gap.last = slot;
    mark.slot = slot;
    return set_mark(c, &mark, ret_error);
}
