#include "ctl/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "ctl/attempt.h"
#include "ctl/load_reply.h"
#include "ctl/text.h"
#include "wire/varlink.h"

enum {
    SILENCE_MSEC = ATTEMPT_MSEC + ATTEMPT_SILENCE_MSEC, /* then a connection that owes an answer counts as dead */
    RECONNECT_MSEC = 20,
    TICK_MSEC = 5,
    PROGRESS_TICKS = 40,
    READ_BYTES = 64 << 10,
    PARTIAL_BYTES_MAX = 64 << 10,
    CALL_BYTES_MAX = 512, /* of one Submit without its padding */
};

enum client_state { CLIENT_CLOSED, CLIENT_CONNECTING, CLIENT_OPEN, CLIENT_CLOSING };

struct load_client {
    struct load *load;
    uint32_t index;
    uv_pipe_t pipe;
    uv_connect_t connect;
    uv_write_t write;
    char *writing; /* the rest of a write that did not go at once: nothing is sent before it went */
    enum client_state state;
    size_t endpoint;
    /* base <= n_sent <= n_started <= n_messages, n_started - base <= in_flight */
    uint32_t base;      /* the first message that is not settled          */
    uint32_t n_sent;    /* on this connection: all below were sent        */
    uint32_t n_started; /* below: had a first attempt                     */
    int64_t since;
    uint64_t resume_usec, heard_usec;
    char *partial; /* of a reply that came in pieces */
    size_t partial_size;
    struct {
        uint64_t usec; /* when the first attempt was due */
        int64_t since;
    } attempts[]; /* by number % in_flight */
};

struct load {
    const struct load_options *o;
    struct load_result *result;
    struct failure *failure;
    uv_loop_t loop;
    uv_timer_t timer;
    struct load_client **clients;
    uint64_t n_total, n_started;
    uint64_t start_usec, progress_usec;
    struct attempt_loss loss;
    unsigned ticks;
    uint32_t turn; /* which client is looked at first, when messages are rationed */
    bool over, failed;
    char in[READ_BYTES];
    struct buffer out;
};

static void client_go(struct load_client *c);

static void pipe_closed(uv_handle_t *handle)
{
    struct load_client *c = handle->data;
    c->state = CLIENT_CLOSED;
    c->partial_size = 0;
}

static void client_close_pipe(struct load_client *c)
{
    if (c->state == CLIENT_CLOSED || c->state == CLIENT_CLOSING)
        return;
    c->state = CLIENT_CLOSING;
    uv_close((uv_handle_t *)&c->pipe, pipe_closed);
}

static void load_end(struct load *l)
{
    if (l->over)
        return;
    l->over = true;
    l->result->usec = monotonic_usec() - l->start_usec;
    uv_close((uv_handle_t *)&l->timer, NULL);
    for (uint32_t i = 0; i < l->o->n_clients; i++)
        client_close_pipe(l->clients[i]);
}

static void load_fail(struct load *l)
{
    l->failed = true;
    load_end(l);
}

/* Goes on with the next replica, from the first message that is not settled. */
static void client_start_over(struct load_client *c, uint64_t pause_msec)
{
    c->load->result->n_again += c->n_sent - c->base;
    c->load->result->n_reconnects++;
    c->n_sent = c->base;
    c->endpoint = (c->endpoint + 1) % c->load->o->n_endpoints;
    c->resume_usec = monotonic_usec() + pause_msec * 1000;
    client_close_pipe(c);
}

static void client_lost(struct load_client *c, int error)
{
    endpoint_failure(&c->load->o->endpoints[c->endpoint], error, c->load->failure);
    client_start_over(c, RECONNECT_MSEC);
}

static void client_settle(struct load_client *c, int64_t slot)
{
    struct load *l = c->load;
    uint64_t now = monotonic_usec(), due = c->attempts[c->base % l->o->in_flight].usec;
    l->result->slots[(size_t)c->index * l->o->n_messages + c->base] = slot;
    histogram_add(&l->result->latency_usec, now > due ? now - due : 0);
    if (slot > c->since)
        c->since = slot;
    c->base++;
    l->progress_usec = now;
    if (++l->result->n_chosen == l->n_total)
        load_end(l);
    else if (c->base == l->o->n_messages)
        client_close_pipe(c);
}

/* Any reply that has not the plain form: errors, above all. */
static void client_take_tree(struct load_client *c, const char *bytes, size_t size)
{
    char reason[VARLINK_REASON_MAX + 1], name[ENDPOINT_NAME_MAX];
    const char *error = NULL;
    int64_t slot = -1, hint = ATTEMPT_REFUSED_MSEC;
    cJSON *tree = varlink_parse(bytes, size, reason);
    const cJSON *parameters = tree ? cJSON_GetObjectItemCaseSensitive(tree, "parameters") : NULL;
    if (!tree || !varlink_get_string(tree, "error", &error)) { // NOLINT(bugprone-branch-clone): as after no slot
        client_lost(c, EBADMSG);
    } else if (error) {
        endpoint_name(&c->load->o->endpoints[c->endpoint], name);
        failure_from_error(c->load->failure, name, error, parameters);
        varlink_get_int(parameters, "retry_ms", 0, 10000, &hint);
        if (!attempt_can_pass(error))
            load_fail(c->load);
        else
            client_start_over(c, c->load->failure->status == EXIT_OUTCOME_UNKNOWN ? RECONNECT_MSEC : (uint64_t)hint);
    } else if (!varlink_get_int(parameters, "slot", 0, INT64_MAX, &slot) || slot < 0) {
        client_lost(c, EBADMSG); /* no slot, and no error either */
    } else {
        client_settle(c, slot);
    }
    cJSON_Delete(tree);
}

static void client_take_reply(struct load_client *c, const char *bytes, size_t size)
{
    int64_t slot;
    if (c->n_sent == c->base) {
        client_lost(c, EBADMSG); /* an answer that nobody asked for */
        return;
    }
    if (attempt_is_lost(&c->load->loss)) {
        c->n_sent = c->base;
        c->load->result->n_again++;
        c->resume_usec = monotonic_usec() + ATTEMPT_LOST_MSEC * UINT64_C(1000);
    } else if (load_reply_read(bytes, size, &slot)) {
        client_settle(c, slot);
    } else {
        client_take_tree(c, bytes, size);
    }
}

static bool keep_partial(struct load_client *c, const char *bytes, size_t size)
{
    if (c->partial_size + size > PARTIAL_BYTES_MAX)
        return false;
    char *grown = realloc(c->partial, c->partial_size + size + 1);
    if (!grown)
        return false;
    memcpy(grown + c->partial_size, bytes, size);
    c->partial = grown;
    c->partial_size += size;
    return true;
}

static void client_take_bytes(struct load_client *c, const char *bytes, size_t size)
{
    while (size > 0 && c->state == CLIENT_OPEN) {
        const char *nul = memchr(bytes, '\0', size);
        size_t n = nul ? (size_t)(nul - bytes) : size;
        if (!nul || c->partial_size > 0) {
            if (!keep_partial(c, bytes, n)) {
                client_lost(c, EBADMSG);
                return;
            }
        }
        if (!nul)
            return;
        if (c->partial_size > 0) {
            size_t whole = c->partial_size;
            c->partial_size = 0;
            client_take_reply(c, c->partial, whole);
        } else {
            client_take_reply(c, bytes, n);
        }
        bytes += n + 1;
        size -= n + 1;
    }
}

static void pipe_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct load_client *c = handle->data;
    *ret = uv_buf_init(c->load->in, READ_BYTES);
}

static void pipe_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    struct load_client *c = stream->data;
    if (n == 0 || c->state != CLIENT_OPEN)
        return;
    if (n < 0) {
        client_lost(c, ECONNRESET);
        return;
    }
    c->heard_usec = monotonic_usec();
    client_take_bytes(c, buffer->base, (size_t)n);
    client_go(c);
}

static void pipe_written(uv_write_t *request, int status)
{
    struct load_client *c = request->data;
    free(c->writing);
    c->writing = NULL;
    if (status < 0 && c->state == CLIENT_OPEN)
        client_lost(c, ECONNRESET);
    client_go(c);
}

static void client_write(struct load_client *c, const char *bytes, size_t size)
{
    uv_buf_t buf = uv_buf_init((char *)bytes, (unsigned)size);
    int n = uv_try_write((uv_stream_t *)&c->pipe, &buf, 1);
    if (n == (int)size)
        return;
    if (n < 0 && n != UV_EAGAIN) {
        client_lost(c, ECONNRESET);
        return;
    }
    size_t at = n < 0 ? 0 : (size_t)n;
    c->writing = malloc(size - at);
    if (!c->writing) {
        client_lost(c, ENOMEM);
        return;
    }
    memcpy(c->writing, bytes + at, size - at);
    buf = uv_buf_init(c->writing, (unsigned)(size - at));
    if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &buf, 1, pipe_written) < 0) {
        free(c->writing);
        c->writing = NULL;
        client_lost(c, ECONNRESET);
    }
}

/* Texts and keys are plain ASCII: nothing to escape. */
static void add_submit(struct load_client *c, uint32_t i, struct buffer *b)
{
    const struct load_options *o = c->load->o;
    char head[CALL_BYTES_MAX], tail[CALL_BYTES_MAX];
    int text = 0;
    int n = snprintf(head, sizeof(head),
                     "{\"method\":\"org.mpaxos.Replica.Submit\",\"parameters\":{\"author\":\"%s_%" PRIu32
                     "\",\"text\":\"%nmessage_%" PRIu32 "_%" PRIu32,
                     o->prefix, c->index, &text, c->index, i);
    buffer_add(b, head, (size_t)n);
    static const char pad[] = "................................................................";
    for (size_t left = o->size > (uint32_t)(n - text) ? o->size - (uint32_t)(n - text) : 0; left > 0;) {
        size_t some = left < sizeof(pad) - 1 ? left : sizeof(pad) - 1;
        buffer_add(b, pad, some);
        left -= some;
    }
    n = snprintf(tail, sizeof(tail), "\",\"key\":\"%" PRIu32 "\",\"since\":%" PRId64 ",\"timeout_ms\":%d}}", i,
                 c->attempts[i % o->in_flight].since, ATTEMPT_MSEC);
    buffer_add(b, tail, (size_t)n + 1);
}

/* Whether one more message may have its first attempt now, and when it was due. */
static bool may_start(struct load *l, uint64_t now, uint64_t *ret_due_usec)
{
    *ret_due_usec = now;
    if (l->o->rate == 0)
        return true;
    double due = (double)l->start_usec + (double)l->n_started * 1e6 / (double)l->o->rate;
    *ret_due_usec = (uint64_t)due;
    return (double)now >= due;
}

/* Sends what may be sent. */
static void client_go(struct load_client *c)
{
    struct load *l = c->load;
    uint64_t now = monotonic_usec(), due_usec;
    if (c->state != CLIENT_OPEN || c->writing || now < c->resume_usec || l->over)
        return;
    if (c->n_sent == c->base)
        c->heard_usec = now;
    l->out.size = 0;
    while (c->n_sent < l->o->n_messages && c->n_sent - c->base < l->o->in_flight) {
        uint32_t i = c->n_sent;
        if (i == c->n_started) {
            if (!may_start(l, now, &due_usec))
                break;
            c->attempts[i % l->o->in_flight].usec = due_usec;
            c->attempts[i % l->o->in_flight].since = c->since;
            c->n_started++;
            l->n_started++;
        }
        if (attempt_is_lost(&l->loss)) {
            l->result->n_again++;
            c->resume_usec = now + ATTEMPT_LOST_MSEC * UINT64_C(1000);
            break;
        }
        add_submit(c, i, &l->out);
        c->n_sent++;
    }
    if (l->out.failed) {
        failure_set(l->failure, EXIT_FAILED, "org.mpaxos.Control.OutOfMemory", NULL, "out of memory");
        load_fail(l);
    } else if (l->out.size > 0) {
        client_write(c, l->out.bytes, l->out.size);
    }
}

static void pipe_connected(uv_connect_t *request, int status)
{
    struct load_client *c = request->data;
    if (c->state != CLIENT_CONNECTING)
        return;
    c->state = CLIENT_OPEN;
    if (status < 0 || uv_read_start((uv_stream_t *)&c->pipe, pipe_alloc, pipe_read) < 0) {
        /* A full backlog passes: the same replica again, a little later. */
        if (status == UV_EAGAIN)
            c->endpoint = (c->endpoint + c->load->o->n_endpoints - 1) % c->load->o->n_endpoints;
        client_lost(c, status < 0 ? -status : ENOMEM);
        return;
    }
    c->heard_usec = monotonic_usec();
    client_go(c);
}

static void client_connect_pipe(struct load_client *c)
{
    uv_pipe_init(&c->load->loop, &c->pipe, 0);
    c->pipe.data = c->connect.data = c->write.data = c;
    c->state = CLIENT_CONNECTING;
    uv_pipe_connect(&c->connect, &c->pipe, c->load->o->endpoints[c->endpoint].path, pipe_connected);
}

static void client_look(struct load_client *c, uint64_t now)
{
    if (c->base == c->load->o->n_messages)
        return;
    if (c->state == CLIENT_CLOSED && now >= c->resume_usec)
        client_connect_pipe(c);
    else if (c->state == CLIENT_OPEN && c->n_sent > c->base && now - c->heard_usec > SILENCE_MSEC * UINT64_C(1000))
        client_lost(c, ETIMEDOUT);
    else
        client_go(c);
}

static void load_tick(uv_timer_t *timer)
{
    struct load *l = timer->data;
    uint64_t now = monotonic_usec();
    uint32_t n = l->o->n_clients;
    if (now - l->progress_usec > l->o->timeout_msec * 1000) {
        if (!failure_is_set(l->failure))
            failure_set(l->failure, EXIT_OUTCOME_UNKNOWN, "org.mpaxos.Replica.Timeout", NULL,
                        "nothing was chosen. Try: mpaxosctl status");
        if (l->failure->status == EXIT_NO_DAEMON)
            l->failure->status = EXIT_OUTCOME_UNKNOWN;
        load_fail(l);
        return;
    }
    for (uint32_t i = 0; i < n && !l->over; i++)
        client_look(l->clients[(l->turn + i) % n], now);
    if (++l->turn >= n)
        l->turn = 0;
    if (l->o->progress && ++l->ticks % PROGRESS_TICKS == 0)
        l->o->progress(l->o->user, l->result->n_chosen, now - l->start_usec);
}

static bool load_init(struct load *l)
{
    const struct load_options *o = l->o;
    l->clients = calloc(o->n_clients, sizeof(struct load_client *));
    l->result->slots = malloc(l->n_total * sizeof(*l->result->slots));
    if (!l->clients || !l->result->slots)
        return false;
    memset(l->result->slots, 0xff, l->n_total * sizeof(*l->result->slots));
    for (uint32_t i = 0; i < o->n_clients; i++) {
        struct load_client *c = calloc(1, sizeof(*c) + o->in_flight * sizeof(c->attempts[0]));
        if (!c)
            return false;
        c->load = l;
        c->index = i;
        c->endpoint = i % o->n_endpoints;
        c->since = o->since;
        l->clients[i] = c;
    }
    return true;
}

static void load_done(struct load *l)
{
    for (uint32_t i = 0; l->clients && i < l->o->n_clients && l->clients[i]; i++) {
        free(l->clients[i]->writing);
        free(l->clients[i]->partial);
        free(l->clients[i]);
    }
    free(l->clients);
    buffer_done(&l->out);
    free(l);
}

int load_run(const struct load_options *o, struct load_result *ret, struct failure *f)
{
    *ret = (struct load_result){0};
    struct load *l = calloc(1, sizeof(*l));
    if (l) {
        l->o = o;
        l->result = ret;
        l->failure = f;
        l->n_total = (uint64_t)o->n_clients * o->n_messages;
        l->loss = attempt_loss_new(o->drop_rate);
    }
    if (!l || !load_init(l) || uv_loop_init(&l->loop) < 0) {
        if (l)
            load_done(l);
        failure_set(f, EXIT_FAILED, "org.mpaxos.Control.OutOfMemory", NULL,
                    "out of memory for so many clients and messages");
        return -1;
    }
    uv_timer_init(&l->loop, &l->timer);
    l->timer.data = l;
    l->start_usec = l->progress_usec = monotonic_usec();
    uv_timer_start(&l->timer, load_tick, 0, TICK_MSEC);
    uv_run(&l->loop, UV_RUN_DEFAULT);
    uv_loop_close(&l->loop);
    int r = l->failed ? -1 : 0;
    load_done(l);
    if (r == 0)
        failure_done(f); /* of what passed meanwhile */
    return r;
}

void load_result_done(struct load_result *r)
{
    free(r->slots);
    *r = (struct load_result){0};
}
