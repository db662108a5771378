#include "host/serve.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>

#include "host/control.h"
#include "host/driver.h"
#include "host/faults.h"
#include "host/log.h"
#include "host/notice.h"
#include "host/paths.h"
#include "host/pool.h"
#include "host/reload.h"
#include "host/secret.h"
#include "host/service.h"

enum {
    STATUS_EVERY_MS = 2000,
    SYNC_OVERDUE_HEARTBEATS = 60, /* 10 E: from then on a replica does not count itself as able to lead, either */
    FLUSH_TIMEOUT_MS = 60000,
    STOP_PATIENCE_USEC = 10000000, /* for the journal to finish, after the hand-over */
    DRAIN_TURNS_MAX = 1000,
    LARGE_BLOCK_BYTES = 512 << 10,
};

struct server {
    struct config *config; /* what is in force */
    struct config *file;   /* what was read last, by a reload */
    const char *config_path, *key_path;
    struct seal_keys *keys; /* NULL: there were none at the start */
    struct reload reload;   /* what came of it                    */
    replica_id_t id;
    uv_loop_t loop;
    uv_signal_t terminate, interrupt, hang_up;
    uv_timer_t status_timer, flush_timer, stop_timer;
    struct faults *faults;
    struct driver *driver;
    struct control *control;
    bool stopping, control_stopping, driver_stopping, driver_stopped, flushing, slow, unlocked;
    int exit_status;
    struct driver_status status; /* large: so here, not on the stack */
};

/* --- stopping: the control socket first, since its sessions are the driver's. Every step is a turn of the loop of its
 * own, so that neither is stopped from inside one of its own calls. --- */

static void control_closed(void *user);

static void advance(uv_timer_t *timer)
{
    struct server *s = timer->data;

    if (s->control) {
        if (!s->control_stopping) {
            s->control_stopping = true;
            control_stop(s->control, control_closed, s);
        }
    } else if (s->driver_stopped) {
        uv_stop(&s->loop);
    } else if (!s->driver_stopping) {
        s->driver_stopping = true;
        driver_stop(s->driver);
    }
}

static void advance_soon(struct server *s)
{
    s->stopping = true;
    uv_timer_start(&s->stop_timer, advance, 0, 0);
}

static void control_closed(void *user)
{
    struct server *s = user;

    s->control = NULL;
    advance_soon(s);
}

static void driver_stopped(void *user, int exit_status)
{
    struct server *s = user;

    if (s->exit_status == 0)
        s->exit_status = exit_status;
    s->driver_stopped = true;
    advance_soon(s);
}

static void stop_on_signal(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;

    (void)number;
    if (s->stopping) /* Ctrl-C and a supervisor's SIGTERM may both come */
        return;
    log_line(LOG_LEVEL_INFO, "stopping");
    service_stopping();
    service_extend_timeout((uint64_t)s->config->heartbeat_ms * 1000 * STOP_HEARTBEATS + STOP_PATIENCE_USEC);
    advance_soon(s);
}

/* --- while it runs --- */

/* One line: role, leader, chosen slot, quorum, faults. */
static void tell_status(uv_timer_t *timer)
{
    struct server *s = timer->data;
    const struct replica_status *r = &s->status.replica;
    char who[64], faults[FAULTS_TEXT_MAX];

    driver_status(s->driver, &s->status);
    faults_describe(s->faults, uv_hrtime() / 1000, faults);
    if (r->identity != IDENTITY_VOTER)
        snprintf(who, sizeof who, "No voter yet");
    else if (r->role == ROLE_LEADER)
        snprintf(who, sizeof who, "Leader");
    else if (r->leader != REPLICA_ID_NONE)
        snprintf(who, sizeof who, "Follower of replica %u", r->leader);
    else
        snprintf(who, sizeof who, "No leader");
    service_status("%s; chosen up to slot %llu; %s, %u of %u linked%s%s", who, (unsigned long long)r->chosen,
                   r->quorum ? "quorum" : "NO QUORUM", r->n_linked, r->n_peers + 1,
                   faults[0] ? "; INJECTED FAULTS: drops " : "", faults);
}

static bool is_healthy(void *user)
{
    struct server *s = user;
    uint64_t overdue_usec = (uint64_t)s->config->heartbeat_ms * 1000 * SYNC_OVERDUE_HEARTBEATS;
    uint64_t now_usec = uv_hrtime() / 1000;
    bool slow;

    driver_status(s->driver, &s->status);
    slow = s->status.busy_since_usec != 0 && now_usec >= s->status.busy_since_usec + overdue_usec;
    if (slow && !s->slow)
        notice(NOTICE_DISK_SLOW, NULL,
               "one write or sync of the journal has been running for %llu ms: the watchdog is not answered until it "
               "ends; look "
               "at the disk",
               (unsigned long long)(now_usec - s->status.busy_since_usec) / 1000);
    s->slow = slow;
    return !slow;
}

static void flushed(void *user, const struct flush_result *results, size_t n)
{
    struct server *s = user;

    s->flushing = false;
    for (size_t i = 0; i < n; i++)
        if (!results[i].ok)
            log_line(LOG_LEVEL_ERROR, "the chat log was not flushed: %s", results[i].text);
}

static void flush_now(uv_timer_t *timer)
{
    struct server *s = timer->data;

    if (s->flushing || s->stopping)
        return;
    s->flushing = true; /* the answer may come before driver_flush() returns */
    if (driver_flush(s->driver, false, FLUSH_TIMEOUT_MS, flushed, s) == 0 && s->flushing) {
        s->flushing = false;
        log_line(LOG_LEVEL_WARNING, "the chat log was not flushed now: too many clients wait for a flush");
    }
}

static void set_flush_timer(struct server *s)
{
    uint64_t flush_ms = (uint64_t)s->config->flush_interval_s * 1000;

    if (flush_ms > 0)
        uv_timer_start(&s->flush_timer, flush_now, flush_ms, flush_ms);
    else
        uv_timer_stop(&s->flush_timer);
}

/* Keys that may be swapped are worth a word, and no reason to be without the replica. */
static void tell_unlocked(struct server *s)
{
    int error = secret_lock_error();

    if (error != 0 && !s->unlocked)
        log_line(LOG_LEVEL_WARNING,
                 "the memory of keys cannot be locked: %s; they may be swapped to the disk. Raise the limit of locked "
                 "memory (LimitMEMLOCK=8M in the unit, ulimit -l 8192 by hand) and restart",
                 strerror(error));
    s->unlocked = error != 0;
}

/* --- the configuration again --- */

static void tell_reload(const struct server *s)
{
    const struct reload *r = &s->reload;
    const struct notice_about about = {.path = r->path};
    static const char *const until[] = {[RELOAD_RESTART] = "left alone until a restart",
                                        [RELOAD_STOP_ALL] = "left alone until all replicas have stopped",
                                        [RELOAD_SETTLED] = "settled by the first start"};
    char changed[RELOAD_KEPT_MAX], kept[RELOAD_REMEDIES * (RELOAD_KEPT_MAX + 64)] = "";
    size_t used = 0;

    for (size_t i = 0; i < RELOAD_REMEDIES; i++)
        if (r->kept[i][0])
            used += (size_t)snprintf(kept + used, sizeof kept - used, "; %s: %s", until[i], r->kept[i]);
    reload_list_changed(r, changed, sizeof changed);
    if (r->failed && r->line > 0)
        notice(NOTICE_CONFIG_REFUSED, &about, "%s:%u: %s. What was in force stays in force", r->path, r->line,
               r->reason);
    else if (r->failed)
        notice(NOTICE_CONFIG_REFUSED, &about, "%s: %s. What was in force stays in force", r->path, r->reason);
    else
        notice(NOTICE_CONFIG_RELOADED, &about, "configuration read again: %s%s%s",
               changed[0] ? "changed " : "nothing changed", changed, kept);
}

static void reload_now(struct server *s)
{
    struct seal_keys *keys = NULL;

    service_reloading();
    if (reload_read(s->config_path, s->id, s->file, &s->reload) &&
        reload_read_keys(s->key_path, s->config, s->keys, &keys, &s->reload)) {
        reload_apply(s->config, s->file, s->id, &s->reload);
        if (reload_apply_keys(&s->keys, keys, &s->reload))
            driver_set_keys(s->driver, s->keys);
        driver_reload(s->driver, s->file, &s->reload);
        set_flush_timer(s);
    }
    tell_reload(s);
    tell_unlocked(s);
    service_ready();
    tell_status(&s->status_timer);
}

static const struct reload *reload_for_client(void *user)
{
    struct server *s = user;

    reload_now(s);
    return &s->reload;
}

static void reload_on_signal(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;

    (void)number;
    if (!s->stopping)
        reload_now(s);
}

/* --- starting --- */

static int start_handles(struct server *s)
{
    int error = uv_signal_start(&s->terminate, stop_on_signal, SIGTERM);

    if (error == 0)
        error = uv_signal_start(&s->interrupt, stop_on_signal, SIGINT);
    if (error == 0)
        error = uv_signal_start(&s->hang_up, reload_on_signal, SIGHUP);
    if (error == 0)
        error = uv_timer_start(&s->status_timer, tell_status, 0, STATUS_EVERY_MS);
    if (error == 0)
        error = service_watchdog_start(&s->loop, is_healthy, s);
    if (error < 0)
        log_line(LOG_LEVEL_ERROR, "the event loop cannot be set up: %s; raise the limit of open files",
                 uv_strerror(error));
    else
        set_flush_timer(s);
    return error;
}

static int start_control(struct server *s, const struct paths *paths, const char *version)
{
    const struct control_options options = {
        .loop = &s->loop,
        .driver = s->driver,
        .path = paths->socket,
        .version = version,
        .id = s->id,
        .state_dir = paths->state,
        .log_path = paths->log,
        .reload = reload_for_client,
        .reload_user = s,
    };
    return control_start(&options, &s->control);
}

static void init_handles(struct server *s)
{
    uv_signal_t *const signals[] = {&s->terminate, &s->interrupt, &s->hang_up};
    uv_timer_t *const timers[] = {&s->status_timer, &s->flush_timer, &s->stop_timer};

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        uv_signal_init(&s->loop, signals[i]);
        signals[i]->data = s;
    }
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        uv_timer_init(&s->loop, timers[i]);
        timers[i]->data = s;
    }
}

static void close_handle(uv_handle_t *handle, void *user)
{
    (void)user;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Of this thread: no other one takes any. */
static void mask_signals(int how)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(how, &signals, NULL);
}

/* Runs from a started driver to a stopped one. */
static void run(struct server *s, const struct paths *paths, const char *version)
{
    const struct config_replica *self = config_find(s->config, s->id);

    init_handles(s);
    if (start_handles(s) < 0 || start_control(s, paths, version) < 0) {
        s->exit_status = EXIT_FAILURE;
        advance_soon(s);
    } else {
        if (self->n_skips > 0)
            driver_skip(s->driver, self->skips, self->n_skips);
        log_line(LOG_LEVEL_INFO, "ready: control socket %s", paths->socket);
        service_ready();
        mask_signals(SIG_UNBLOCK); /* one that came meanwhile is carried out */
    }
    uv_run(&s->loop, UV_RUN_DEFAULT);
    service_watchdog_stop();
}

static int start_driver(struct server *s, const struct paths *paths, const char *version)
{
    const struct driver_options options = {
        .loop = &s->loop,
        .config = s->config,
        .keys = s->keys,
        .id = s->id,
        .state_dir = paths->state,
        .faults = s->faults,
        .log_path = paths->log,
        .version = version,
        .stopped = driver_stopped,
        .user = s,
    };
    int error = pool_start();

    if (error < 0) {
        log_line(LOG_LEVEL_ERROR, "threads cannot be started: %s; raise the limit of the user's processes",
                 strerror(-error));
        return EXIT_FAILURE;
    }
    return driver_start(&options, &s->driver);
}

static int find_places(const struct server *s, const char *dir, struct paths *ret)
{
    char reason[PATHS_ERROR_MAX + 1];
    int error = paths_find(dir, s->id, ret, reason);

    if (error == 0)
        error = paths_make(ret, reason);
    if (error == 0)
        return 0;
    log_line(LOG_LEVEL_ERROR, "%s", reason);
    return error == -EIO || error == -ENOSPC || error == -EDQUOT ? EX_IOERR : EXIT_FAILURE;
}

static void tell_start(const struct server *s, const struct paths *paths, const char *version)
{
    log_line(LOG_LEVEL_INFO, "mpaxosd %s, replica %u of %u of cluster %s, state in %s", version, s->id,
             s->config->n_replicas, s->config->cluster, paths->state);
    if (!s->keys)
        notice(NOTICE_NO_KEY, NULL,
               "there is no cluster key%s%s: datagrams are neither encrypted nor authenticated, which is allowed "
               "because all addresses are loopback ones",
               s->key_path ? " in " : "", s->key_path ? s->key_path : "");
}

/* Where glibc raises these two by itself, as it does after the first large block that is given back, buffers of
 * megabytes move to the heap, where growing copies them, and holes of up to 64 MiB stay. */
static void keep_heap_small(void)
{
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
    mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BLOCK_BYTES);
}

int serve_replica(const struct serve_options *o)
{
    struct server *s = calloc(1, sizeof *s);
    struct paths *paths = malloc(sizeof *paths);
    uint64_t seed = 0;
    int status = EXIT_FAILURE;
    bool is_lent = false;

    keep_heap_small();
    log_start(o->id);
    if (s && paths) {
        s->config = o->config;
        s->config_path = o->config_path;
        s->key_path = o->key_path;
        s->keys = o->keys;
        s->file = malloc(sizeof *s->file);
        s->id = o->id;
        /* Which datagrams are dropped is no secret: the clock will do where the system has no randomness yet. */
        if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
            seed = uv_hrtime();
        s->faults = faults_new(config_find(o->config, o->id)->drop_rate, seed);
    }
    if (!s || !paths || !s->faults || !s->file || uv_loop_init(&s->loop) < 0) {
        log_line(LOG_LEVEL_ERROR, "out of memory or of open files at the start; raise the limits");
    } else {
        status = find_places(s, o->dir, paths);
        if (status == 0) {
            tell_start(s, paths, o->version);
            status = start_driver(s, paths, o->version);
        }
        if (status == 0) {
            tell_unlocked(s);
            run(s, paths, o->version);
            status = s->exit_status;
            driver_free(s->driver);
        }
        mask_signals(SIG_BLOCK); /* the loop lets go of them: one more must not make this a death by signal */
        uv_walk(&s->loop, close_handle, NULL);
        for (int i = 0; i < DRAIN_TURNS_MAX && uv_run(&s->loop, UV_RUN_NOWAIT); i++)
            ;
        is_lent = uv_loop_close(&s->loop) < 0;
    }
    if (s) {
        sodium_free(s->keys);
        faults_free(s->faults);
        free(s->file);
    }
    if (is_lent) /* to a thread of libuv that still looks a name up: the end neither waits for it nor frees the loop */
        _exit(status);
    free(paths);
    free(s);
    return status;
}
