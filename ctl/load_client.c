#include "ctl/load_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/load_reply.h"
#include "wire/varlink.h"

enum {
    SILENCE_MSEC = ATTEMPT_MSEC + ATTEMPT_SILENCE_MSEC, /* then a connection that owes an answer counts as dead */
    RECONNECT_MSEC = 20,
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

struct load_client *load_client_new(struct load *l, uint32_t index)
{
    struct load_client *c = calloc(1, sizeof(*c) + l->o->in_flight * sizeof(c->attempts[0]));
    if (!c)
        return NULL;
    c->load = l;
    c->index = index;
    c->endpoint = index % l->o->n_endpoints;
    c->since = l->o->since;
    return c;
}

void load_client_free(struct load_client *c)
{
    free(c->writing);
    free(c->partial);
    free(c);
}

static void go_on(struct load_client *c);

static void pipe_closed(uv_handle_t *handle)
{
    struct load_client *c = handle->data;
    c->state = CLIENT_CLOSED;
    c->partial_size = 0;
}

void load_client_close(struct load_client *c)
{
    if (c->state == CLIENT_CLOSED || c->state == CLIENT_CLOSING)
        return;
    c->state = CLIENT_CLOSING;
    uv_close((uv_handle_t *)&c->pipe, pipe_closed);
}

/* Goes on with the next replica, from the first message that is not settled. */
static void start_over(struct load_client *c, uint64_t pause_msec)
{
    c->load->result->n_again += c->n_sent - c->base;
    c->load->result->n_reconnects++;
    c->n_sent = c->base;
    c->endpoint = (c->endpoint + 1) % c->load->o->n_endpoints;
    c->resume_usec = monotonic_usec() + pause_msec * 1000;
    load_client_close(c);
}

static void connection_lost(struct load_client *c, int error)
{
    endpoint_failure(&c->load->o->endpoints[c->endpoint], error, c->load->failure);
    start_over(c, RECONNECT_MSEC);
}

static void settle(struct load_client *c, int64_t slot)
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
        load_client_close(c);
}

/* Any reply that has not the plain form: errors, above all. */
static void take_tree(struct load_client *c, const char *bytes, size_t size)
{
    char reason[VARLINK_REASON_MAX + 1], name[ENDPOINT_NAME_MAX];
    const char *error = NULL;
    int64_t slot = -1, hint = ATTEMPT_REFUSED_MSEC;
    cJSON *tree = varlink_parse(bytes, size, reason);
    const cJSON *parameters = tree ? cJSON_GetObjectItemCaseSensitive(tree, "parameters") : NULL;
    if (!tree || !varlink_get_string(tree, "error", &error)) { // NOLINT(bugprone-branch-clone): as after no slot
        connection_lost(c, EBADMSG);
    } else if (error) {
        endpoint_name(&c->load->o->endpoints[c->endpoint], name);
        failure_from_error(c->load->failure, name, error, parameters);
        varlink_get_int(parameters, "retry_ms", 0, 10000, &hint);
        if (!attempt_can_pass(error))
            load_fail(c->load);
        else
            start_over(c, c->load->failure->status == EXIT_OUTCOME_UNKNOWN ? RECONNECT_MSEC : (uint64_t)hint);
    } else if (!varlink_get_int(parameters, "slot", 0, INT64_MAX, &slot) || slot < 0) {
        connection_lost(c, EBADMSG); /* no slot, and no error either */
    } else {
        settle(c, slot);
    }
    cJSON_Delete(tree);
}

static void take_reply(struct load_client *c, const char *bytes, size_t size)
{
    int64_t slot;
    if (c->n_sent == c->base) {
        connection_lost(c, EBADMSG); /* an answer that nobody asked for */
        return;
    }
    if (attempt_is_lost(&c->load->loss)) {
        c->n_sent = c->base;
        c->load->result->n_again++;
        c->resume_usec = monotonic_usec() + ATTEMPT_LOST_MSEC * UINT64_C(1000);
    } else if (load_reply_read(bytes, size, &slot)) {
        settle(c, slot);
    } else {
        take_tree(c, bytes, size);
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

static void take_bytes(struct load_client *c, const char *bytes, size_t size)
{
    while (size > 0 && c->state == CLIENT_OPEN) {
        const char *nul = memchr(bytes, '\0', size);
        size_t n = nul ? (size_t)(nul - bytes) : size;
        if (!nul || c->partial_size > 0) {
            if (!keep_partial(c, bytes, n)) {
                connection_lost(c, EBADMSG);
                return;
            }
        }
        if (!nul)
            return;
        if (c->partial_size > 0) {
            size_t whole = c->partial_size;
            c->partial_size = 0;
            take_reply(c, c->partial, whole);
        } else {
            take_reply(c, bytes, n);
        }
        bytes += n + 1;
        size -= n + 1;
    }
}

static void pipe_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct load_client *c = handle->data;
    *ret = uv_buf_init(c->load->in, LOAD_READ_BYTES);
}

static void pipe_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    struct load_client *c = stream->data;
    if (n == 0 || c->state != CLIENT_OPEN)
        return;
    if (n < 0) {
        connection_lost(c, ECONNRESET);
        return;
    }
    c->heard_usec = monotonic_usec();
    take_bytes(c, buffer->base, (size_t)n);
    go_on(c);
}

static void pipe_written(uv_write_t *request, int status)
{
    struct load_client *c = request->data;
    free(c->writing);
    c->writing = NULL;
    if (status < 0 && c->state == CLIENT_OPEN)
        connection_lost(c, ECONNRESET);
    go_on(c);
}

static void send_bytes(struct load_client *c, const char *bytes, size_t size)
{
    uv_buf_t buf = uv_buf_init((char *)bytes, (unsigned)size);
    int n = uv_try_write((uv_stream_t *)&c->pipe, &buf, 1);
    if (n == (int)size)
        return;
    if (n < 0 && n != UV_EAGAIN) {
        connection_lost(c, ECONNRESET);
        return;
    }
    size_t at = n < 0 ? 0 : (size_t)n;
    c->writing = malloc(size - at);
    if (!c->writing) {
        connection_lost(c, ENOMEM);
        return;
    }
    memcpy(c->writing, bytes + at, size - at);
    buf = uv_buf_init(c->writing, (unsigned)(size - at));
    if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &buf, 1, pipe_written) < 0) {
        free(c->writing);
        c->writing = NULL;
        connection_lost(c, ECONNRESET);
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

/* Sends what may be sent. */
static void go_on(struct load_client *c)
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
            if (!load_may_start(l, now, &due_usec))
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
        send_bytes(c, l->out.bytes, l->out.size);
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
        connection_lost(c, status < 0 ? -status : ENOMEM);
        return;
    }
    c->heard_usec = monotonic_usec();
    go_on(c);
}

static void pipe_open(struct load_client *c)
{
    uv_pipe_init(&c->load->loop, &c->pipe, 0);
    c->pipe.data = c->connect.data = c->write.data = c;
    c->state = CLIENT_CONNECTING;
    uv_pipe_connect(&c->connect, &c->pipe, c->load->o->endpoints[c->endpoint].path, pipe_connected);
}

void load_client_look(struct load_client *c, uint64_t now)
{
    if (c->base == c->load->o->n_messages)
        return;
    if (c->state == CLIENT_CLOSED && now >= c->resume_usec)
        pipe_open(c);
    else if (c->state == CLIENT_OPEN && c->n_sent > c->base && now - c->heard_usec > SILENCE_MSEC * UINT64_C(1000))
        connection_lost(c, ETIMEDOUT);
    else
        go_on(c);
}
