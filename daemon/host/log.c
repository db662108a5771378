#include "host/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048, RECORD_BYTES_MAX = LINE_MAX_BYTES + LOG_FIELDS_MAX + 128, PATIENCE_MS = 20 };

static char prefix[24] = "mpaxosd: ";
static char identity[64] = "SYSLOG_IDENTIFIER=mpaxosd\n"; /* in the journal, instead of the prefix */
static bool to_journal;
static int journal_fd = -1;
static struct sockaddr_un journal = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};

static struct {
    uint64_t next_msec; /* monotonic; not before then */
    unsigned long left_out;
} kinds[LOG_KINDS_MAX];

/* systemd names the journal's stream by device and inode, so that a redirected standard error is told apart:
 * systemd.exec(5). */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    // NOLINTNEXTLINE(cert-err34-c): a number too large is no device's
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

void log_start(int replica)
{
    to_journal = stderr_is_journal();
    if (to_journal && journal_fd < 0)
        journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (replica >= 0) {
        snprintf(prefix, sizeof prefix, "mpaxosd[%d]: ", replica);
        snprintf(identity, sizeof identity, "SYSLOG_IDENTIFIER=mpaxosd@%d\nMPAXOS_REPLICA=%d\n", replica, replica);
    } else {
        snprintf(prefix, sizeof prefix, "mpaxosd: ");
        snprintf(identity, sizeof identity, "SYSLOG_IDENTIFIER=mpaxosd\n");
    }
}

void log_journal_socket(const char *path)
{
    snprintf(journal.sun_path, sizeof journal.sun_path, "%s", path);
}

static uint64_t n_left_out;

bool log_is_journal(void)
{
    return to_journal;
}

/* The journal's own protocol, "NAME=value" lines in one datagram. Not by sd_journal_sendv(), which waits where the
 * journal hangs: a replica must not. */
static bool send_record(enum log_level level, const char *fields, const char *text)
{
    char record[RECORD_BYTES_MAX];
    int size = snprintf(record, sizeof record, "PRIORITY=%d\n%s%sMESSAGE=%s\n", level, identity, fields, text);

    return journal_fd >= 0 && size < (int)sizeof record &&
           sendto(journal_fd, record, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&journal,
                  sizeof journal) == size;
}

/* Peers' and clients' words may stand in it: they must not forge lines or fields, or talk to the terminal. */
static void make_harmless(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

/* One write() a line, so that lines of several processes on one terminal or file do not mix. A reader that is gone or
 * too slow never stops the daemon: what does not go out is lost. */
static void write_line(enum log_level level, const char *text)
{
    char line[LINE_MAX_BYTES + sizeof prefix + 8], mark[4] = "";
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    int size;

    if (to_journal)
        snprintf(mark, sizeof mark, "<%d>", level);
    size = snprintf(line, sizeof line, "%s%s%s\n", mark, prefix, text);
    if (poll(&out, 1, PATIENCE_MS) > 0)
        while (write(STDERR_FILENO, line, (size_t)size) < 0 && errno == EINTR)
            ;
}

void log_write(enum log_level level, const char *fields, unsigned long left_out, const char *format, va_list arguments)
{
    char text[LINE_MAX_BYTES], more[48] = "";
    int error = errno;

    if (left_out > 0)
        snprintf(more, sizeof more, " (%lu more like it left out)", left_out);
    vsnprintf(text, sizeof text - sizeof more, format, arguments);
    snprintf(text + strlen(text), sizeof more, "%s", more);
    make_harmless(text);
    if (!to_journal || !send_record(level, fields, text))
        write_line(level, text);
    errno = error;
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_write(level, "", 0, format, arguments);
    va_end(arguments);
}

void log_note_left_out(void)
{
    n_left_out++;
}

uint64_t log_left_out(void)
{
    return n_left_out;
}

uint64_t log_now_msec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void log_limited(unsigned kind, enum log_level level, const char *format, ...)
{
    uint64_t now_msec = log_now_msec();
    va_list arguments;

    if (kind >= LOG_KINDS_MAX)
        kind = LOG_KINDS_MAX - 1;
    if (now_msec < kinds[kind].next_msec) {
        kinds[kind].left_out++;
        log_note_left_out();
        return;
    }
    va_start(arguments, format);
    log_write(level, "", kinds[kind].left_out, format, arguments);
    va_end(arguments);
    kinds[kind].next_msec = now_msec + 1000;
    kinds[kind].left_out = 0;
}
