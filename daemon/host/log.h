/* What the daemon says: readable lines on standard error, or to the journal where that is what standard error is. */
#ifndef HOST_LOG_H
#define HOST_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_NOTICE = 5, LOG_LEVEL_INFO = 6 };

/* "mpaxosd[N]: " goes before each line; N < 0, or before this call: "mpaxosd: ". On a systemd journal stream the level
 * goes as a "<N>" prefix. Control characters in a line come out as '?'. Both keep errno. */
void log_start(int replica);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* At most one line a second of each kind; what was left out is counted in the next. `kind`: a small number of the
 * caller's. */
void log_limited(unsigned kind, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum { LOG_KINDS_MAX = 32 };

#endif
