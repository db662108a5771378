#include "host/control.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "host/control_connection.h"
#include "host/log.h"

enum {
    BACKLOG = 4096,
    FILES_RESERVED = 64, /* for the journal, the network and the chat log file */
    SWEEP_MS_MAX = 1000,
    ACCEPTS_PER_TURN = 256, /* of the loop: a backlog that one user filled is gone after a few */
};

static int complain(const char *what, const char *path, int error, const char *remedy)
{
    log_line(LOG_LEVEL_ERROR, "control socket: %s: %s: %s; %s", path, what, strerror(-error), remedy);
    return error;
}

/* Makes the directories that `path` stands in. */
static int make_directories(char *path)
{
    for (char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = 0;
        int r = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
        if (r < 0)
            complain("cannot make this directory", path, r, "make it, or choose another place with --dir");
        *p = '/';
        if (r < 0)
            return r;
    }
    return 0;
}

/* A socket that nobody answers is what a daemon left that was killed; one that somebody answers is not ours to take. */
static int remove_stale(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : complain("cannot look at it", path, -errno, "check the directory's permissions");
    if (!S_ISSOCK(st.st_mode))
        return complain("it is no socket", path, -EEXIST, "move it out of the way");

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return complain("cannot make a socket", path, -errno, "raise the limit of open files");
    int error = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
    close(fd);
    if (error == 0 || error == EAGAIN) {
        log_line(LOG_LEVEL_ERROR, "control socket: another daemon serves %s; stop it first", path);
        return -EADDRINUSE;
    }
    if (error != ECONNREFUSED)
        return complain("cannot tell whether a daemon serves it", path, -error, "check its permissions");
    if (unlink(path) < 0)
        return complain("cannot remove the socket of a daemon that is gone", path, -errno, "remove it");
    return 0;
}

static uint32_t raise_files_limit(uint32_t connections_max)
{
    struct rlimit limit;
    const rlim_t wanted = connections_max + FILES_RESERVED;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return connections_max;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= wanted)
        return connections_max;
    uint32_t n =
        limit.rlim_cur > (rlim_t)2 * FILES_RESERVED ? (uint32_t)limit.rlim_cur - FILES_RESERVED : FILES_RESERVED;
    log_line(LOG_LEVEL_WARNING, "control socket: at most %u connections, because only %llu files may be open", n,
             (unsigned long long)limit.rlim_cur);
    return n;
}

static void finish(struct control *c)
{
    if (c->n_handles > 0 || c->n_connections > 0)
        return;
    void (*closed)(void *) = c->closed;
    void *user = c->closed_user;
    free(c->version);
    free(c->state_dir);
    free(c->log_path);
    free(c);
    if (closed != NULL)
        closed(user);
}

void control_forget(struct connection *k)
{
    struct control *c = k->control;
    free(k);
    c->n_connections--;
    c->stats.connections_now = c->n_connections;
    if (c->stopping)
        finish(c);
}

static void handle_closed(uv_handle_t *handle)
{
    struct control *c = handle->data;
    c->n_handles--;
    finish(c);
}

static void refused_closed(uv_handle_t *handle)
{
    free(handle);
}

/* Takes the connection off the queue and closes it: left there it would be reported for ever. */
static void refuse(struct control *c)
{
    uv_pipe_t *pipe = malloc(sizeof(*pipe));
    c->stats.connections_refused++;
    log_limited(LOG_KIND_CONTROL_ACCEPT, LOG_LEVEL_WARNING, "control socket: refused a connection: %u are open",
                c->n_connections);
    c->accept_pending = pipe == NULL;
    if (pipe == NULL)
        return;
    uv_pipe_init(c->loop, pipe, 0);
    uv_accept((uv_stream_t *)&c->listener, (uv_stream_t *)pipe);
    uv_close((uv_handle_t *)pipe, refused_closed);
}

static void accept_one(struct control *c)
{
    struct connection *k = c->n_connections < c->connections_max ? calloc(1, sizeof(*k)) : NULL;
    c->n_accepted++;
    if (k == NULL) {
        refuse(c);
        return;
    }
    c->n_connections++;
    c->stats.connections_now = c->n_connections;
    connection_open(c, k);
}

static void turn(uv_idle_t *idle);

static void incoming(uv_stream_t *listener, int status)
{
    struct control *c = listener->data;
    if (status < 0) {
        log_limited(LOG_KIND_CONTROL_ACCEPT, LOG_LEVEL_WARNING, "control socket: cannot accept a connection: %s",
                    uv_strerror(status));
        return;
    }
    /* Not taken from the queue now, it is in the next turn; libuv looks for no other one before. Else a client that
     * connects as fast as it is refused would keep the loop here for ever. */
    c->accept_waits = c->n_accepted == ACCEPTS_PER_TURN;
    if (c->accept_waits)
        uv_idle_start(&c->turn, turn);
    else
        accept_one(c);
}

static void run_busy(struct control *c)
{
    uint64_t since_nsec = uv_hrtime();
    /* Those that are busy now, not those that get busy meanwhile: the loop looks at its sockets in between. */
    for (uint32_t n = c->n_busy; n > 0 && c->n_busy > 0; n--) {
        struct connection *k = TAILQ_FIRST(&c->busy);
        TAILQ_REMOVE(&c->busy, k, busy);
        c->n_busy--;
        k->is_busy = false;
        connection_turn(k, &since_nsec);
    }
    if (c->n_busy == 0 && !c->accept_waits)
        uv_idle_stop(&c->turn);
}

static void turn(uv_idle_t *idle)
{
    struct control *c = idle->data;
    c->n_accepted = 0;
    if (c->accept_waits) {
        c->accept_waits = false;
        accept_one(c);
    }
    run_busy(c);
}

/* Answers leave in the turn that brings them. */
static void told(void *user)
{
    run_busy(user);
}

void connection_wake(struct connection *k)
{
    struct control *c = k->control;
    if (k->is_busy || k->closing)
        return;
    k->is_busy = true;
    TAILQ_INSERT_TAIL(&c->busy, k, busy);
    if (c->n_busy++ == 0)
        uv_idle_start(&c->turn, turn);
}

static void sweep(uv_timer_t *timer)
{
    struct control *c = timer->data;
    uint64_t now = uv_now(c->loop);
    struct connection *k, *next;
    if (c->accept_pending)
        refuse(c);
    for (k = TAILQ_FIRST(&c->connections); k != NULL; k = next) {
        next = TAILQ_NEXT(k, all);
        connection_check_stall(k, now);
    }
}

static void moved(void *user, slot_t chosen)
{
    struct control *c = user;
    struct connection *k;
    c->chosen = chosen;
    TAILQ_FOREACH(k, &c->followers, followers) connection_wake(k);
}

/* Whoever administers the host may give the socket to another group at any time. */
gid_t control_group(struct control *c)
{
    struct stat st;
    if (lstat(c->path, &st) == 0 && S_ISSOCK(st.st_mode))
        c->group = st.st_gid;
    return c->group;
}

const struct driver_status *control_view(struct control *c)
{
    driver_status(c->driver, &c->view);
    c->chosen = c->view.replica.chosen;
    return &c->view;
}

static void count_turn(uv_prepare_t *count)
{
    struct control *c = count->data;
    c->n_turns++;
}

static int listen_on(struct control *c)
{
    uv_pipe_init(c->loop, &c->listener, 0);
    uv_idle_init(c->loop, &c->turn);
    uv_timer_init(c->loop, &c->sweep);
    uv_prepare_init(c->loop, &c->count);
    c->n_handles = 4;
    c->listener.data = c->turn.data = c->sweep.data = c->count.data = c;
    uv_prepare_start(&c->count, count_turn);
    int r = uv_pipe_bind(&c->listener, c->path);
    if (r < 0)
        return complain("cannot bind", c->path, r, "check the directory's permissions");
    /* Before it listens, so that nobody gets in with other permissions. */
    if (chmod(c->path, 0660) < 0)
        return complain("cannot set its mode", c->path, -errno, "check the directory's permissions");
    r = uv_listen((uv_stream_t *)&c->listener, BACKLOG, incoming);
    if (r < 0)
        return complain("cannot listen", c->path, r, "raise the limit of open files");
    c->group = getegid();
    uint32_t period = c->stall_ms / 4 < SWEEP_MS_MAX ? c->stall_ms / 4 + 1 : SWEEP_MS_MAX;
    uv_timer_start(&c->sweep, sweep, period, period);
    return 0;
}

static bool copy_string(const char *s, char **ret)
{
    *ret = s != NULL ? strdup(s) : NULL;
    return s == NULL || *ret != NULL;
}

static struct control *make(const struct control_options *o)
{
    struct control *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return NULL;
    c->loop = o->loop;
    c->driver = o->driver;
    c->id = o->id;
    c->reload = o->reload;
    c->reload_user = o->reload_user;
    c->stall_ms = o->stall_ms > 0 ? o->stall_ms : CONTROL_STALL_MS;
    memcpy(c->path, o->path, strlen(o->path) + 1);
    TAILQ_INIT(&c->connections);
    TAILQ_INIT(&c->busy);
    TAILQ_INIT(&c->followers);
    TAILQ_INIT(&c->accounts);
    if (!copy_string(o->version, &c->version) || !copy_string(o->state_dir, &c->state_dir) ||
        !copy_string(o->log_path, &c->log_path)) {
        finish(c);
        return NULL;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    c->started_usec = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    c->message_bytes_max = control_view(c)->config->message_bytes_max;
    c->queued_bytes_max = o->queued_bytes_max > 0 ? o->queued_bytes_max : CONTROL_QUEUED_BYTES_MAX;
    return c;
}

int control_start(const struct control_options *o, struct control **ret)
{
    size_t size = strlen(o->path);
    if (size > CONTROL_PATH_MAX) {
        log_line(LOG_LEVEL_ERROR,
                 "control socket: %s: the path has %zu bytes, a Unix socket takes %d; choose a shorter one with --dir",
                 o->path, size, CONTROL_PATH_MAX);
        return -ENAMETOOLONG;
    }
    if (sodium_init() < 0)
        return complain("libsodium has no randomness", o->path, -EIO, "check getrandom(2)");
    struct control *c = make(o);
    if (c == NULL)
        return complain("cannot start", o->path, -ENOMEM, "free memory");
    signal(SIGPIPE, SIG_IGN); /* libuv writes without MSG_NOSIGNAL */
    c->connections_max = raise_files_limit(o->connections_max > 0 ? o->connections_max : CONTROL_CONNECTIONS_MAX);

    int r = make_directories(c->path);
    if (r == 0)
        r = remove_stale(c->path);
    if (r < 0) {
        finish(c);
        return r;
    }
    r = listen_on(c);
    if (r < 0) {
        control_stop(c, NULL, NULL);
        return r;
    }
    driver_watch(c->driver, moved, told, c);
    *ret = c;
    return 0;
}

void control_stop(struct control *c, void (*closed)(void *user), void *user)
{
    c->stopping = true;
    c->closed = closed;
    c->closed_user = user;
    driver_watch(c->driver, NULL, NULL, NULL);
    while (!TAILQ_EMPTY(&c->connections))
        connection_close(TAILQ_FIRST(&c->connections));
    /* Closing the pipe unlinks the socket. */
    uv_close((uv_handle_t *)&c->listener, handle_closed);
    uv_close((uv_handle_t *)&c->turn, handle_closed);
    uv_close((uv_handle_t *)&c->sweep, handle_closed);
    uv_close((uv_handle_t *)&c->count, handle_closed);
}

void control_stats(const struct control *c, struct control_stats *ret)
{
    *ret = c->stats;
}
