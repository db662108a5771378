#include "host/control_connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/log.h"
#include "host/methods.h"

enum {
    OUT_IDLE_BYTES_MAX = 16384, /* a larger buffer is given back once it is empty      */
    BEGUN_BYTES_MAX = 4096,     /* of Submits: then the clock is read, what they took  */
    ALLOCATION_BYTES = 16,      /* that malloc() takes beside each, at most            */
};

static void handle_closed(uv_handle_t *handle)
{
    struct connection *k = handle->data;
    if (--k->n_handles == 0)
        control_forget(k);
}

void connection_close(struct connection *k)
{
    struct control *c = k->control;
    if (k->closing)
        return;
    k->closing = true;
    method_cancel(k);
    submit_done(k);
    account_close(k);
    TAILQ_REMOVE(&c->connections, k, all);
    if (k->is_busy) {
        TAILQ_REMOVE(&c->busy, k, busy);
        c->n_busy--;
    }
    varlink_framer_done(&k->in);
    cJSON_Delete(k->tree);
    free(k->out.bytes);
    k->tree = NULL;
    k->out = (struct varlink_writer){0};
    uv_close((uv_handle_t *)&k->pipe, handle_closed);
    uv_close((uv_handle_t *)&k->timer, handle_closed);
}

/* The client broke a rule that has no error to answer. What is answered already it shall have. */
static void close_malformed(struct connection *k, const char *why)
{
    log_limited(LOG_KIND_CONTROL, LOG_LEVEL_INFO, "control socket: closed a connection of user %u: %s",
                (unsigned)k->uid, why);
    k->control->stats.closed_malformed++;
    connection_flush(k);
    connection_close(k);
}

static void expire(uv_timer_t *timer)
{
    struct connection *k = timer->data;
    uint64_t now = uv_now(k->control->loop);
    k->timer_due_ms = 0;
    uint64_t next = submit_expire(k, now);
    if (k->active == ACTIVE_POSITION && k->deadline_ms <= now)
        method_expire(k);
    else if (k->active == ACTIVE_POSITION && k->deadline_ms < next)
        next = k->deadline_ms;
    if (next != UINT64_MAX)
        connection_arm(k, next);
    if (k->active == ACTIVE_TRANSFER)
        transfer_look(k);
}

void connection_arm(struct connection *k, uint64_t deadline_ms)
{
    uint64_t now = uv_now(k->control->loop);
    if (k->timer_due_ms != 0 && k->timer_due_ms <= deadline_ms)
        return;
    k->timer_due_ms = deadline_ms;
    uv_timer_start(&k->timer, expire, deadline_ms > now ? deadline_ms - now : 0, 0);
}

/* --- replies --- */

static struct varlink_writer *begin(struct connection *k, const char *head)
{
    k->reply_start = k->out.size;
    varlink_write_bytes(&k->out, head, strlen(head));
    return &k->out;
}

struct varlink_writer *reply_begin(struct connection *k)
{
    return begin(k, "{\"parameters\":{");
}

struct varlink_writer *reply_error_begin(struct connection *k, const char *error)
{
    k->control->stats.errors++;
    struct varlink_writer *w = begin(k, "{");
    varlink_write_string(w, "error", error);
    varlink_write_open(w, "parameters", '{');
    return w;
}

void reply_end(struct connection *k, bool continues)
{
    const char *tail = continues ? "},\"continues\":true}" : "}}";
    varlink_write_bytes(&k->out, tail, strlen(tail) + 1);
    if (k->oneway || k->gone)
        k->out.size = k->reply_start;
    connection_wake(k);
}

size_t connection_queued(const struct connection *k)
{
    return k->out.size + (k->sending != NULL ? uv_stream_get_write_queue_size((const uv_stream_t *)&k->pipe) : 0);
}

/* Nobody reads any more. What was sent whole to be done without an answer is done nonetheless: whoever asks that way
 * does not stay. */
static void lose_client(struct connection *k)
{
    k->gone = true;
    free(k->out.bytes);
    k->out = (struct varlink_writer){0};
    if (!k->oneway || k->active == ACTIVE_READ)
        method_cancel(k);
    connection_wake(k);
}

static void write_failed(struct connection *k, int error)
{
    if ((error == UV_EPIPE || error == UV_ECONNRESET) && !k->closing)
        lose_client(k);
    else
        connection_close(k);
}

static void written(uv_write_t *write, int status)
{
    struct connection *k = write->data;
    free(k->sending);
    k->sending = NULL;
    k->stream_tail = false;
    account_count(k, QUEUE_OUT, connection_queued(k));
    if (status < 0)
        write_failed(k, status);
    else
        connection_wake(k);
}

/* What the socket does not take at once is libuv's until it is written; what comes meanwhile gathers anew. */
static void send_rest(struct connection *k, size_t done)
{
    uv_buf_t rest = uv_buf_init(k->out.bytes + done, (unsigned)(k->out.size - done));
    k->sending = k->out.bytes;
    k->sending_left = rest.len;
    k->stalled_since_ms = uv_now(k->control->loop);
    k->out = (struct varlink_writer){0};
    k->write.data = k;
    if (uv_write(&k->write, (uv_stream_t *)&k->pipe, &rest, 1, written) < 0) {
        free(k->sending);
        k->sending = NULL;
        connection_close(k);
    }
}

void connection_flush(struct connection *k)
{
    if (k->closing || k->sending != NULL)
        return;
    if (k->out.failed) {
        connection_close(k);
        return;
    }
    uv_buf_t all = uv_buf_init(k->out.bytes, (unsigned)k->out.size);
    int n = k->out.size > 0 ? uv_try_write((uv_stream_t *)&k->pipe, &all, 1) : 0; /* 0: that of a oneway call is gone */
    if (n < 0 && n != UV_EAGAIN) {
        write_failed(k, n);
        return;
    }
    if (n < 0 || (size_t)n < k->out.size) {
        send_rest(k, n < 0 ? 0 : (size_t)n);
        return;
    }
    k->out.size = 0;
    k->stream_tail = false;
    if (k->out.capacity > OUT_IDLE_BYTES_MAX) {
        free(k->out.bytes);
        k->out = (struct varlink_writer){0};
    }
}

static bool is_cut(const struct connection *k)
{
    return k->tree == NULL && k->in.size > 0 && k->in.size == k->in.rest;
}

void connection_check_stall(struct connection *k, uint64_t now_ms)
{
    account_count(k, QUEUE_OUT, connection_queued(k));
    if (is_cut(k) && account_is_full(k, QUEUE_IN)) { /* no more is read, so it would stay for good */
        log_limited(LOG_KIND_CONTROL, LOG_LEVEL_INFO,
                    "control socket: closed a connection of user %u with a call that is not whole: too much waits",
                    (unsigned)k->uid);
        k->control->stats.closed_full++;
        connection_close(k);
        return;
    }
    if (k->sending == NULL)
        return;
    size_t left = uv_stream_get_write_queue_size((uv_stream_t *)&k->pipe);
    if (left != k->sending_left) {
        k->sending_left = left;
        k->stalled_since_ms = now_ms;
    }
    /* A stream holds no more than one reply, and goes on, or is at its end, whenever it is read again. */
    if (((k->active == ACTIVE_READ || k->stream_tail) && !account_is_full(k, QUEUE_OUT)) ||
        now_ms - k->stalled_since_ms < k->control->stall_ms)
        return;
    log_limited(LOG_KIND_CONTROL, LOG_LEVEL_INFO, "control socket: closed a connection of user %u: it does not read",
                (unsigned)k->uid);
    k->control->stats.closed_slow++;
    connection_close(k);
}

/* --- calls --- */

static size_t string_bytes(const char *s)
{
    return s != NULL ? strlen(s) + 1 + ALLOCATION_BYTES : 0;
}

// NOLINTNEXTLINE(misc-no-recursion): not deeper than VARLINK_DEPTH_MAX
static size_t tree_bytes(const cJSON *item)
{
    size_t bytes = 0;
    for (; item != NULL; item = item->next)
        bytes += sizeof(*item) + ALLOCATION_BYTES + string_bytes(item->string) + string_bytes(item->valuestring) +
                 tree_bytes(item->child);
    return bytes;
}

/* Takes the next message, if a whole one is there: as k->call, or, where it is a Submit that can begin at once, without
 * even parsing it. Adds its size to *bytes. */
static bool take_call(struct connection *k, size_t *bytes)
{
    const char *message;
    size_t size;
    char reason[VARLINK_REASON_MAX + 1];
    struct varlink_submit submit;
    if (!varlink_framer_next(&k->in, &message, &size))
        return false;
    *bytes += size;
    if (k->level >= ACCESS_EVERYDAY && varlink_submit_read(message, size, &submit) && !k->gone &&
        submit_begin_plain(k, &submit)) {
        k->control->stats.calls++;
        return true;
    }
    k->tree = varlink_parse(message, size, reason);
    if (k->tree == NULL) {
        close_malformed(k, reason);
        return false;
    }
    if (!varlink_call_read(k->tree, &k->call)) {
        close_malformed(k, "a call with wrong keys");
        return false;
    }
    k->tree_bytes = tree_bytes(k->tree);
    k->control->stats.calls++;
    return true;
}

static void drop_call(struct connection *k)
{
    cJSON_Delete(k->tree);
    k->tree = NULL;
    k->tree_bytes = 0;
}

static bool has_to_read_first(const struct connection *k)
{
    return connection_queued(k) >= CONTROL_PAUSE_BYTES || account_is_full(k, QUEUE_OUT);
}

/* Begins what may begin now, in order, for as long as the user may have it: the clock is read after what may take long,
 * not after each Submit. */
static void run_calls(struct connection *k, uint64_t *since_nsec)
{
    bool was_paused = k->paused;
    size_t begun_bytes = 0;
    k->paused = false;
    while (!k->closing && k->active == ACTIVE_NONE) {
        if (has_to_read_first(k)) {
            k->paused = true;
            k->control->stats.pauses += !was_paused;
            return;
        }
        if (begun_bytes >= BEGUN_BYTES_MAX) {
            account_spend(k, since_nsec);
            begun_bytes = 0;
        }
        if (!account_has_turn(k)) {
            connection_wake(k);
            return;
        }
        if (k->tree == NULL && !take_call(k, &begun_bytes))
            return;
        if (k->tree == NULL)
            continue;
        if (k->gone && !k->call.oneway) {
            drop_call(k);
            continue;
        }
        if (method_is_submit(&k->call) && k->level >= ACCESS_EVERYDAY && submit_begin(k)) {
            drop_call(k);
            continue;
        }
        if (k->submits_next != k->submits_end)
            return;
        k->oneway = k->call.oneway;
        method_run(k, &k->call);
        drop_call(k);
        begun_bytes = BEGUN_BYTES_MAX;
    }
}

static void received(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer);

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct connection *k = handle->data;
    (void)suggested;
    k->control->read_nsec = uv_hrtime();
    /* 0: too much waits since it was decided to read here; received() gets UV_ENOBUFS */
    *ret = uv_buf_init(k->control->input, account_is_full(k, QUEUE_IN) ? 0 : sizeof(k->control->input));
}

/* Reads on unless enough whole calls wait already, or the user had enough of this turn and this connection was read
 * twice in it. Not at the first time: a client that waits for its answer has sent no more, and to stop and begin again
 * takes more than to read. */
static void update_reading(struct connection *k)
{
    if (k->closing)
        return;
    varlink_framer_fit(&k->in); /* what is counted is what waits, not what it was read into */
    account_count(k, QUEUE_IN, k->in.size + k->tree_bytes);
    bool wanted = !k->ended && k->in.size - k->in.rest < CONTROL_INPUT_BYTES && !account_is_full(k, QUEUE_IN);
    if (wanted && k->read_again && k->read_turn == k->control->n_turns && !account_has_turn(k)) {
        connection_wake(k);
        wanted = false;
    }
    if (wanted == k->reading)
        return;
    k->reading = wanted;
    if (!wanted)
        uv_read_stop((uv_stream_t *)&k->pipe);
    else if (uv_read_start((uv_stream_t *)&k->pipe, lend_buffer, received) < 0)
        connection_close(k);
}

static bool is_settled(const struct connection *k)
{
    if (k->active != ACTIVE_NONE || k->tree != NULL || k->in.size != k->in.rest)
        return false;
    return k->gone ? !submit_has_oneway(k) : k->submits_next == k->submits_end && connection_queued(k) == 0;
}

void connection_turn(struct connection *k, uint64_t *since_nsec)
{
    if (k->active == ACTIVE_READ && account_has_turn(k))
        read_pump(k);
    else if (k->active == ACTIVE_READ)
        connection_wake(k);
    run_calls(k, since_nsec);
    connection_flush(k);
    account_count(k, QUEUE_OUT, connection_queued(k));
    account_spend(k, since_nsec);
    if (k->paused && !has_to_read_first(k))
        connection_wake(k);
    update_reading(k);
    if (!k->closing && k->ended && is_settled(k))
        connection_close(k);
}

/* A client that only shut down its side still waits for answers; one that is gone does not, nor does one that ends a
 * stream, since closing is how that is done. */
static void end_input(struct connection *k)
{
    int fd = -1;
    uv_fileno((uv_handle_t *)&k->pipe, &fd);
    struct pollfd p = {.fd = fd};
    k->ended = true;
    if ((k->active == ACTIVE_READ && !k->stream.once) ||
        (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0))
        lose_client(k);
    else
        connection_wake(k);
}

static void received(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct connection *k = stream->data;
    k->read_again = k->read_turn == k->control->n_turns;
    k->read_turn = k->control->n_turns;
    if (size == UV_EOF || size == UV_ECONNRESET) { /* the latter where it left replies unread */
        end_input(k);
        return;
    }
    if (size == UV_ENOBUFS) {
        update_reading(k);
        return;
    }
    if (size < 0) {
        connection_close(k);
        return;
    }
    int r = varlink_framer_add(&k->in, buffer->base, (size_t)size);
    if (r < 0) {
        close_malformed(k, r == -EMSGSIZE ? "a call that is too long" : "out of memory");
        return;
    }
    run_calls(k, &k->control->read_nsec);
    account_spend(k, &k->control->read_nsec);
    update_reading(k);
}

void connection_open(struct control *c, struct connection *k)
{
    int fd = -1;

    k->control = c;
    k->n_handles = 2;
    uv_pipe_init(c->loop, &k->pipe, 0);
    uv_timer_init(c->loop, &k->timer);
    k->pipe.data = k->timer.data = k;
    varlink_framer_init(&k->in, CONTROL_CALL_BYTES_MAX);
    TAILQ_INSERT_TAIL(&c->connections, k, all);
    if (uv_accept((uv_stream_t *)&c->listener, (uv_stream_t *)&k->pipe) < 0 ||
        uv_fileno((uv_handle_t *)&k->pipe, &fd) < 0 || access_of_peer(fd, control_group(c), &k->uid, &k->level) < 0 ||
        !account_open(k)) {
        connection_close(k);
        return;
    }
    c->stats.connections++;
    update_reading(k);
}
