/* The system under the daemon's code, replaced at link time: libuv's loop, the clocks, randomness, the journal's
 * thread, the directory and the log. Each function stands in for the one of its name, for the host that runs now. */
#include "tests/sim/world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host/log.h"
#include "host/notice.h"
#include "host/service.h"
#include "host/wakeup.h"
#include "journal/journal.h"

static struct host *running;

void world_enter(struct host *h)
{
    running = h;
}

struct host *world_host(void)
{
    return running;
}

/* --- clocks and randomness --- */

uint64_t uv_hrtime(void)
{
    return running->cluster->now_usec * 1000;
}

/* Where no host runs, the test's own library asks. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (!running)
        return (int)syscall(SYS_clock_gettime, clock, t);
    uint64_t usec = clock == CLOCK_REALTIME ? host_wall_usec(running) : running->cluster->now_usec;
    t->tv_sec = (time_t)(usec / 1000000);
    t->tv_nsec = (long)(usec % 1000000 * 1000);
    return 0;
}

ssize_t getrandom(void *buffer, size_t size, unsigned flags)
{
    uint8_t *to = buffer;
    if (!running)
        return syscall(SYS_getrandom, buffer, size, flags);
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(prng_next(&running->random) >> 32);
    return (ssize_t)size;
}

/* --- the loop --- */

int wakeup_init(struct wakeup *w, uv_loop_t *loop, void (*call)(void *user), void *user)
{
    (void)loop;
    w->call = call;
    w->user = user;
    running->wakeup = w;
    return 0;
}

void wakeup_send(struct wakeup *w)
{
    struct host *h = running;
    (void)w;
    cluster_push(h->cluster, (struct sim_event){.at_usec = h->cluster->now_usec + cluster_random(h->cluster, 0, 60),
                                                .type = SIM_ASYNC,
                                                .host = h->index,
                                                .boot = h->boot});
}

void wakeup_done(struct wakeup *w)
{
    (void)w;
}

/* One at a time. Where a disk is slow, so is what goes to the chat log's. */
static void push_work(struct host *h)
{
    uint64_t most_usec = cluster_chance(h->cluster, 20) ? 300 * MSEC : 3 * MSEC;
    cluster_push(h->cluster,
                 (struct sim_event){.at_usec = h->cluster->now_usec + cluster_random(h->cluster, 1, most_usec),
                                    .type = SIM_WORK,
                                    .host = h->index,
                                    .boot = h->boot});
}

int uv_queue_work(uv_loop_t *loop, uv_work_t *handle, uv_work_cb work, uv_after_work_cb after)
{
    (void)loop;
    if (running->work.handle)
        cluster_fail(running->cluster, "host %u: a second flush is begun beside the first", running->index);
    running->work = (struct host_work){.handle = handle, .work = work, .after = after};
    push_work(running);
    return 0;
}

void world_work(struct host *h)
{
    struct host_work w = h->work;
    if (w.work) {
        h->work.work = NULL;
        chat_begin(h);
        w.work(w.handle);
        if (!chat_end(h))
            push_work(h);
        return;
    }
    h->work.handle = NULL;
    w.after(w.handle, 0);
    chat_rotate(h);
}

int uv_prepare_init(uv_loop_t *loop, uv_prepare_t *handle)
{
    (void)loop, (void)handle;
    return 0;
}

int uv_prepare_start(uv_prepare_t *handle, uv_prepare_cb call)
{
    running->prepare = handle;
    running->prepare_call = call;
    return 0;
}

/* Runs the same turn as the prepare handle. */
int uv_check_init(uv_loop_t *loop, uv_check_t *handle)
{
    (void)loop, (void)handle;
    return 0;
}

int uv_check_start(uv_check_t *handle, uv_check_cb call)
{
    (void)handle, (void)call;
    return 0;
}

int uv_idle_init(uv_loop_t *loop, uv_idle_t *handle)
{
    (void)loop, (void)handle;
    return 0;
}

int uv_idle_start(uv_idle_t *handle, uv_idle_cb call)
{
    (void)handle, (void)call;
    running->idling = true;
    return 0;
}

int uv_idle_stop(uv_idle_t *handle)
{
    (void)handle;
    running->idling = false;
    return 0;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *handle)
{
    (void)loop;
    for (uint32_t i = 0; i < HOST_TIMERS; i++) {
        if (running->timers[i].handle)
            continue;
        running->timers[i] = (struct host_timer){.handle = handle, .at_usec = UINT64_MAX};
        return 0;
    }
    cluster_fail(running->cluster, "more than %d timers", HOST_TIMERS);
}

static uint32_t find_timer(const uv_timer_t *handle)
{
    uint32_t i = 0;
    while (running->timers[i].handle != handle)
        i++;
    return i;
}

int uv_timer_start(uv_timer_t *handle, uv_timer_cb call, uint64_t timeout_ms, uint64_t repeat_ms)
{
    struct host *h = running;
    uint32_t i = find_timer(handle);
    struct host_timer *t = &h->timers[i];
    t->call = call;
    t->repeat_usec = repeat_ms * 1000;
    t->at_usec = h->cluster->now_usec + timeout_ms * 1000;
    cluster_push(
        h->cluster,
        (struct sim_event){.at_usec = t->at_usec, .type = SIM_TIMER, .host = h->index, .boot = h->boot, .timer = i});
    t->order = h->cluster->order;
    return 0;
}

int uv_timer_stop(uv_timer_t *handle)
{
    running->timers[find_timer(handle)].at_usec = UINT64_MAX;
    return 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb call)
{
    running->closes[running->n_closes++] = (struct host_close){.handle = handle, .call = call};
    for (uint32_t i = 0; i < HOST_TIMERS; i++) {
        if ((uv_handle_t *)running->timers[i].handle == handle)
            running->timers[i].at_usec = UINT64_MAX;
    }
}

/* --- the disk and the journal's thread --- */

int vfs_posix_open(const char *dir, struct vfs **ret)
{
    (void)dir;
    *ret = (struct vfs *)(uintptr_t)vfs_memory_vfs(running->disk.memory);
    return 0;
}

void vfs_posix_close(struct vfs *v)
{
    (void)v;
}

int journal_thread_start(struct journal *j, struct journal_thread **ret)
{
    running->journal = j;
    *ret = (struct journal_thread *)running;
    disk_kick(running);
    return 0;
}

void journal_thread_kick(struct journal_thread *t)
{
    disk_kick((struct host *)t);
}

uint64_t journal_thread_busy_since_usec(struct journal_thread *t)
{
    (void)t;
    return 0;
}

void journal_thread_stop(struct journal_thread *t)
{
    if (t)
        disk_stop((struct host *)t);
}

/* --- the log --- */

static void say(enum log_level level, const char *format, va_list arguments)
{
    struct host *h = running;
    char line[sizeof(h->last_error)];
    vsnprintf(line, sizeof(line), format, arguments);
    if (level == LOG_LEVEL_ERROR)
        memcpy(h->last_error, line, sizeof(line));
    cluster_trace(h->cluster, (int)h->index, "log        %s", line);
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list arguments;
    if (level > LOG_LEVEL_ERROR && !running->cluster->options.trace)
        return;
    va_start(arguments, format);
    say(level, format, arguments);
    va_end(arguments);
}

void log_limited(unsigned kind, enum log_level level, const char *format, ...)
{
    va_list arguments;
    (void)kind;
    if (!running->cluster->options.trace)
        return;
    va_start(arguments, format);
    say(level, format, arguments);
    va_end(arguments);
}

bool notice(enum notice_kind kind, const struct notice_about *about, const char *format, ...)
{
    va_list arguments;
    (void)about;
    if (kind != NOTICE_STATE_REFUSED && !running->cluster->options.trace)
        return true;
    va_start(arguments, format);
    say(kind == NOTICE_STATE_REFUSED ? LOG_LEVEL_ERROR : LOG_LEVEL_NOTICE, format, arguments);
    va_end(arguments);
    return true;
}

void service_extend_timeout(uint64_t usec)
{
    (void)usec;
}
