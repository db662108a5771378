#include "host/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>

enum { TEXT_BYTES_MAX = 512 };

static struct {
    uv_timer_t timer;
    bool running;
    bool (*healthy)(void *user);
    void *user;
} watchdog;

static bool owes_ready; /* it was not taken */

/* False: it is not taken now. Not by sd_notify(), which waits where the service manager does not read: a replica must
 * not. One that cannot be told at all is no reason to try again. */
static bool notify(const char *text)
{
    static int fd = -1;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t size = path ? strlen(path) : 0;

    if (size < 2 || size >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
        return true;
    memcpy(to.sun_path, path, size);
    if (path[0] == '@') /* Linux's abstract names */
        to.sun_path[0] = '\0';
    if (fd < 0)
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) >= 0 ||
           (errno != EAGAIN && errno != ENOBUFS);
}

bool service_ready(void)
{
    owes_ready = !notify("READY=1");
    return !owes_ready;
}

/* One message: systemd.notify wants the time in the same one. */
void service_reloading(void)
{
    char text[TEXT_BYTES_MAX];
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    notify(text);
}

void service_stopping(void)
{
    owes_ready = false;
    notify("STOPPING=1");
}

void service_status(const char *format, ...)
{
    char text[TEXT_BYTES_MAX];
    size_t size = (size_t)snprintf(text, sizeof text, "%sSTATUS=", owes_ready ? "READY=1\n" : "");
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + size, sizeof text - size, format, arguments);
    va_end(arguments);
    if (notify(text))
        owes_ready = false;
}

void service_extend_timeout(uint64_t usec)
{
    char text[TEXT_BYTES_MAX];

    snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%" PRIu64, usec);
    notify(text);
}

static void ping(uv_timer_t *timer)
{
    (void)timer;
    if (watchdog.healthy(watchdog.user))
        notify("WATCHDOG=1");
}

int service_watchdog_start(uv_loop_t *loop, bool (*healthy)(void *user), void *user)
{
    uint64_t usec, every_ms;
    int error = sd_watchdog_enabled(0, &usec);

    if (error <= 0)
        return error;
    watchdog.healthy = healthy;
    watchdog.user = user;
    error = uv_timer_init(loop, &watchdog.timer);
    if (error < 0)
        return error;
    watchdog.running = true;
    every_ms = usec / 2000 ? usec / 2000 : 1;
    return uv_timer_start(&watchdog.timer, ping, 0, every_ms);
}

void service_watchdog_stop(void)
{
    if (!watchdog.running)
        return;
    watchdog.running = false;
    uv_close((uv_handle_t *)&watchdog.timer, NULL);
}
