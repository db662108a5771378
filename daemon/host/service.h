/* What the service manager is told, as sd_notify(3) says it. Without one (no $NOTIFY_SOCKET) all of it does nothing.
 * One that does not read is not waited for: what it is told then is lost. */
#ifndef HOST_SERVICE_H
#define HOST_SERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* False: it was not taken, and is told again with the next service_status(), or by another call. */
bool service_ready(void);
void service_reloading(void); /* until service_ready() */
void service_stopping(void);
void service_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A start that takes long (a journal that is replayed), or a stop, asks for so much more time from now on. */
void service_extend_timeout(uint64_t usec);

/* Answers the watchdog, where the service manager has set one, at half its time, as long as `healthy` says so: from the
 * loop, so that a loop that hangs answers nothing either. One a process. 0 or a negative errno. */
int service_watchdog_start(uv_loop_t *loop, bool (*healthy)(void *user), void *user);
void service_watchdog_stop(void);

#endif
