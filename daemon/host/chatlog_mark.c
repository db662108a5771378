#include "host/chatlog_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "host/chatlog_file.h"

enum { MARK_BYTES_MAX = 512 };

static const struct hash128 no_key;

static void put_hex(const struct hash128 *h, char ret[33])
{
    for (size_t i = 0; i < sizeof h->bytes; i++)
        snprintf(ret + 2 * i, 3, "%02x", h->bytes[i]);
}

/* Everything but the last line, which is the hash of what stands before it. Version 2 is one with a gap. */
static size_t format_body(const struct chatlog_mark *m, char ret[MARK_BYTES_MAX])
{
    char tail[33], gap[64] = "";

    put_hex(&m->tail, tail);
    if (m->gap.last > 0)
        snprintf(gap, sizeof gap, "gap %" PRIu64 " %" PRIu64 "\n", m->gap.first, m->gap.last);
    return (size_t)snprintf(ret, MARK_BYTES_MAX,
                            "mpaxos chat log mark %d\nslot %" PRIu64 "\ninode %" PRIu64 "\nlength %" PRIu64
                            "\nformat %d\n%stail %s\n",
                            m->gap.last > 0 ? 2 : 1, m->slot, m->inode, m->length, (int)m->format, gap, tail);
}

static size_t format_mark(const struct chatlog_mark *m, char ret[MARK_BYTES_MAX])
{
    size_t size = format_body(m, ret);
    struct hash128 check = hash_bytes(&no_key, ret, size);
    char hex[33];

    put_hex(&check, hex);
    return size + (size_t)snprintf(ret + size, MARK_BYTES_MAX - size, "check %s\n", hex);
}

/* False unless `text` is exactly what format_mark() writes. */
static bool parse(const char *text, size_t size, struct chatlog_mark *ret)
{
    struct chatlog_mark m = {.exists = true};
    const char *tail_line = strstr(text, "\ntail "), *gap_line = strstr(text, "\ngap ");
    char tail[33], again[MARK_BYTES_MAX];
    int format;

    // NOLINTBEGIN(cert-err34-c): what was read is printed again, and compared
    if (sscanf(text, "mpaxos chat log mark %*d slot %" SCNu64 " inode %" SCNu64 " length %" SCNu64 " format %d",
               &m.slot, &m.inode, &m.length, &format) != 4 ||
        !tail_line || sscanf(tail_line, "\ntail %32s", tail) != 1 || strlen(tail) != 32 ||
        (gap_line && sscanf(gap_line, "\ngap %" SCNu64 " %" SCNu64, &m.gap.first, &m.gap.last) != 2) ||
        format < LOG_FORMAT_FULL || format > LOG_FORMAT_JSON)
        return false;
    m.format = (enum log_format)format;
    for (size_t i = 0; i < sizeof m.tail.bytes; i++)
        if (sscanf(tail + 2 * i, "%2hhx", &m.tail.bytes[i]) != 1)
            return false;
    // NOLINTEND(cert-err34-c)
    if (format_mark(&m, again) != size || memcmp(again, text, size) != 0)
        return false;
    *ret = m;
    return true;
}

int chatlog_mark_read(const char *state_dir, struct chatlog_mark *ret, char *ret_error)
{
    char path[PATH_MAX], text[MARK_BYTES_MAX];
    ssize_t n;
    int fd, error = 0;

    if (snprintf(path, sizeof path, "%s/flushed", state_dir) >= (int)sizeof path)
        return snprintf(ret_error, CONFIG_ERROR_MAX + 1,
                        "the path of the state directory is too long; choose a shorter one"),
               -ENAMETOOLONG;
    fd = chatlog_file_open(path, O_RDONLY, 0);
    if (fd == -ENOENT) {
        *ret = (struct chatlog_mark){0};
        return 0;
    }
    n = fd < 0 ? fd : chatlog_file_read(fd, 0, text, sizeof text - 1);
    if (n < 0) {
        error = (int)n;
        snprintf(ret_error, CONFIG_ERROR_MAX + 1, "%.300s cannot be read: %s; make it readable for the daemon's user",
                 path, strerror(-error));
    } else {
        text[n] = '\0';
        if (!parse(text, (size_t)n, ret)) {
            error = -EBADMSG;
            snprintf(ret_error, CONFIG_ERROR_MAX + 1,
                     "%.300s is damaged, so nobody knows what was flushed; move it and the chat log file away: the "
                     "next flush "
                     "then begins with the oldest message kept",
                     path);
        }
    }
    if (fd >= 0)
        chatlog_file_close(fd);
    return error;
}

static int write_synced(const char *path, const char *text, size_t size)
{
    int fd = chatlog_file_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), error = 0;

    if (fd < 0)
        return fd;
    for (size_t at = 0; error == 0 && at < size;) {
        ssize_t n = chatlog_file_write(fd, at, text + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else
            error = (int)n;
    }
    if (error == 0)
        error = chatlog_file_sync(fd);
    chatlog_file_close(fd);
    return error;
}

int chatlog_mark_write(const char *state_dir, const struct chatlog_mark *m, char *ret_error)
{
    char path[PATH_MAX], temporary[PATH_MAX], text[MARK_BYTES_MAX];
    size_t size = format_mark(m, text);
    int error;

    if (snprintf(path, sizeof path, "%s/flushed", state_dir) >= (int)sizeof path ||
        snprintf(temporary, sizeof temporary, "%s/flushed.tmp", state_dir) >= (int)sizeof temporary)
        error = -ENAMETOOLONG;
    else
        error = write_synced(temporary, text, size);
    if (error == 0)
        error = chatlog_file_rename(temporary, path);
    if (error == 0)
        error = chatlog_directory_sync(state_dir);
    if (error < 0)
        snprintf(ret_error, CONFIG_ERROR_MAX + 1, "%.300s/flushed cannot be written: %s; %s, and flush again",
                 state_dir, strerror(-error),
                 error == -ENOSPC || error == -EDQUOT ? "free some space there" : "make it writable");
    return error;
}

int chatlog_mark_tail(int fd, uint64_t length, struct hash128 *ret)
{
    char bytes[MARK_TAIL_BYTES];
    size_t size = length < sizeof bytes ? (size_t)length : sizeof bytes;
    ssize_t n = chatlog_file_read(fd, length - size, bytes, size);

    if (n < 0)
        return (int)n;
    if ((size_t)n < size)
        return -ENODATA;
    *ret = hash_bytes(&no_key, bytes, size);
    return 0;
}
