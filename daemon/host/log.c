#include "host/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048, PATIENCE_MS = 20 };

static char prefix[24] = "mpaxosd: ";
static bool to_journal;

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

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

void log_start(int replica)
{
    to_journal = stderr_is_journal();
    if (replica >= 0)
        snprintf(prefix, sizeof prefix, "mpaxosd[%d]: ", replica);
    else
        snprintf(prefix, sizeof prefix, "mpaxosd: ");
}

/* One write() a line, so that lines of several processes on one terminal or file do not mix. A reader that is gone or
 * too slow never stops the daemon: what does not go out is lost. */
static void write_line(enum log_level level, const char *text, unsigned long left_out)
{
    char line[LINE_MAX_BYTES], more[48] = "";
    size_t size, from;

    if (left_out > 0)
        snprintf(more, sizeof more, " (%lu more like it left out)", left_out);
    from = (size_t)(to_journal ? snprintf(line, sizeof line, "<%d>%s", level, prefix)
                               : snprintf(line, sizeof line, "%s", prefix));
    snprintf(line + from, sizeof line - from - sizeof more, "%s", text);
    size = strlen(line);
    size += (size_t)snprintf(line + size, sizeof more, "%s", more);
    /* Peers' and clients' words may stand in it: they must not forge lines or talk to the terminal. */
    for (size_t i = from; i < size; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[size++] = '\n';
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, PATIENCE_MS) > 0)
        while (write(STDERR_FILENO, line, size) < 0 && errno == EINTR)
            ;
}

void log_line(enum log_level level, const char *format, ...)
{
    char text[LINE_MAX_BYTES];
    va_list arguments;
    int error = errno;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_line(level, text, 0);
    errno = error;
}

void log_limited(unsigned kind, enum log_level level, const char *format, ...)
{
    char text[LINE_MAX_BYTES];
    struct timespec now;
    uint64_t now_msec;
    va_list arguments;
    int error = errno;

    if (kind >= LOG_KINDS_MAX)
        kind = LOG_KINDS_MAX - 1;
    clock_gettime(CLOCK_MONOTONIC, &now);
    now_msec = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if (now_msec < kinds[kind].next_msec) {
        kinds[kind].left_out++;
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_line(level, text, kinds[kind].left_out);
    kinds[kind].next_msec = now_msec + 1000;
    kinds[kind].left_out = 0;
    errno = error;
}
