#include "host/service.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

enum { STATUS_BYTES_MAX = 512 };

static struct {
    uv_timer_t timer;
    bool running;
    bool (*healthy)(void *user);
    void *user;
} watchdog;

/* A service manager that does not listen is no reason to stop: the answers of sd_notify() tell nothing to act on. */
void service_ready(void)
{
    sd_notify(0, "READY=1");
}

/* One message: systemd.notify wants the time in the same one. */
void service_reloading(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
               (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void service_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

void service_status(const char *format, ...)
{
    char text[STATUS_BYTES_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    sd_notifyf(0, "STATUS=%s", text);
}

void service_extend_timeout(uint64_t usec)
{
    sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRIu64, usec);
}

static void ping(uv_timer_t *timer)
{
    (void)timer;
    if (watchdog.healthy(watchdog.user))
        sd_notify(0, "WATCHDOG=1");
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
