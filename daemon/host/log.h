/* What the daemon says: readable lines on standard error, or records in systemd's journal where that is what standard
 * error is. What is worth an identity of its own goes through notice.h. */
#ifndef HOST_LOG_H
#define HOST_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_NOTICE = 5, LOG_LEVEL_INFO = 6 };

enum { LOG_KINDS_MAX = 32, LOG_FIELDS_MAX = 1024 };

/* "mpaxosd[N]: " goes before each line; N < 0, or before this call: "mpaxosd: ". In the journal the same stands in
 * SYSLOG_IDENTIFIER ("mpaxosd@N") and MPAXOS_REPLICA. A record that the journal does not take at once goes out as a
 * line with a "<level>" before it: nothing here waits. Control characters come out as '?'. All keep errno. */
void log_start(int replica);
bool log_is_journal(void);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* At most one line a second of each kind; what was left out is counted in the next. `kind`: a small number of the
 * caller's. */
void log_limited(unsigned kind, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* One record with fields of the journal of its own: "NAME=value" lines, each closed by LF, less than LOG_FIELDS_MAX
 * bytes. `left_out` is told where it is not 0. */
void log_write(enum log_level level, const char *fields, unsigned long left_out, const char *format, va_list arguments)
    __attribute__((format(printf, 4, 0)));
/* Lines that limits left out since the start, here and in notice.h; and one more. */
uint64_t log_left_out(void);
void log_note_left_out(void);
uint64_t log_now_msec(void); /* monotonic */

/* Another socket than the journal's, for tests; before log_start(). */
void log_journal_socket(const char *path);

#endif
