/* One server of a cluster of the C raft library (libraft 0.15, behind dqlite), for comparison: replicates what clients
 * send over raft's own libuv backend, and answers each message once it is applied. Built by tests/bench/suite only.
 *
 *     raft_server DIRECTORY ID SOCKET ADDRESS...
 *
 * The servers are 1, 2, … at these addresses. A client sends lines over the Unix socket: "?" is answered by the
 * leader's id (0: none), anything else is a message, answered by "+" once it is on the disks of a majority and applied,
 * or "-" where this is not the leader. No server forwards. Answers come in the order of the messages. */
#include <raft.h>
#include <raft/uv.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE_MAX_BYTES = 64 << 10,
    INPUT_BYTES = 256 << 10,
    SNAPSHOT_THRESHOLD = 65536,
    SNAPSHOT_TRAILING = 8192,
    ENTRY_ALIGN = 8,
};

struct server {
    uv_loop_t loop;
    struct raft_uv_transport transport;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft raft;
    uv_pipe_t listener;
    uint64_t n_applied;
};

struct client {
    uv_pipe_t pipe;
    struct server *server;
    size_t n_open; /* messages under way: the block lives as long */
    bool closed;
    size_t size;
    char input[INPUT_BYTES];
};

struct message {
    struct raft_apply request;
    struct client *client;
};

static void check(int r, const char *what)
{
    if (r == 0)
        return;
    fprintf(stderr, "raft_server: %s: %s\n", what, raft_strerror(r));
    exit(1);
}

/* --- the state machine: counts --- */

static int apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct server *s = fsm->data;
    (void)buf;
    s->n_applied++;
    *result = NULL;
    return 0;
}

static int snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct server *s = fsm->data;
    *bufs = raft_malloc(sizeof(**bufs));
    *n_bufs = 1;
    (*bufs)[0] = (struct raft_buffer){.base = raft_malloc(sizeof(s->n_applied)), .len = sizeof(s->n_applied)};
    memcpy((*bufs)[0].base, &s->n_applied, sizeof(s->n_applied));
    return 0;
}

static int restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct server *s = fsm->data;
    memcpy(&s->n_applied, buf->base, sizeof(s->n_applied));
    raft_free(buf->base);
    return 0;
}

/* --- clients --- */

static void client_release(struct client *c)
{
    if (c->closed && c->n_open == 0)
        free(c);
}

static void client_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;
    c->closed = true;
    client_release(c);
}

/* Short answers to clients that read: the socket takes them, or the client is given up. */
static void answer(struct client *c, const char *text, size_t size)
{
    uv_buf_t buf = uv_buf_init((char *)text, (unsigned)size);
    if (!uv_is_closing((uv_handle_t *)&c->pipe) && uv_try_write((uv_stream_t *)&c->pipe, &buf, 1) != (int)size)
        uv_close((uv_handle_t *)&c->pipe, client_closed);
}

static void applied(struct raft_apply *request, int status, void *result)
{
    struct message *m = request->data;
    struct client *c = m->client;
    (void)result;
    answer(c, status == 0 ? "+\n" : "-\n", 2);
    c->n_open--;
    client_release(c);
    free(m);
}

static void submit(struct client *c, const char *line, size_t size)
{
    struct raft_buffer buf = {.len = (size + ENTRY_ALIGN - 1) / ENTRY_ALIGN * ENTRY_ALIGN};
    struct message *m = malloc(sizeof(*m));
    buf.base = raft_malloc(buf.len);
    memset(buf.base, 0, buf.len);
    memcpy(buf.base, line, size);
    *m = (struct message){.client = c, .request.data = m};
    if (raft_apply(&c->server->raft, &m->request, &buf, 1, applied) != 0) {
        raft_free(buf.base);
        free(m);
        answer(c, "-\n", 2);
        return;
    }
    c->n_open++;
}

static void tell_leader(struct client *c)
{
    raft_id id;
    const char *address;
    char text[32];
    raft_leader(&c->server->raft, &id, &address);
    answer(c, text, (size_t)snprintf(text, sizeof(text), "%llu\n", id));
}

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct client *c = handle->data;
    (void)suggested;
    *ret = uv_buf_init(c->input + c->size, (unsigned)(INPUT_BYTES - c->size));
}

static void received(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;
    (void)buf;
    if (n < 0) {
        if (!uv_is_closing((uv_handle_t *)stream))
            uv_close((uv_handle_t *)stream, client_closed);
        return;
    }
    c->size += (size_t)n;
    char *line = c->input, *end = c->input + c->size, *lf;
    while (line < end && (lf = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        if (lf - line == 1 && *line == '?')
            tell_leader(c);
        else
            submit(c, line, (size_t)(lf - line));
        line = lf + 1;
    }
    c->size = (size_t)(end - line);
    memmove(c->input, line, c->size);
}

static void incoming(uv_stream_t *listener, int status)
{
    struct client *c = calloc(1, sizeof(*c));
    if (status < 0 || c == NULL)
        exit(1);
    c->server = listener->data;
    uv_pipe_init(listener->loop, &c->pipe, 0);
    c->pipe.data = c;
    uv_accept(listener, (uv_stream_t *)&c->pipe);
    uv_read_start((uv_stream_t *)&c->pipe, allocate, received);
}

/* --- start --- */

static void bootstrap(struct server *s, int n, char **addresses)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (int i = 0; i < n; i++)
        check(raft_configuration_add(&configuration, (raft_id)(i + 1), addresses[i], RAFT_VOTER), "configuration");
    int r = raft_bootstrap(&s->raft, &configuration);
    if (r != RAFT_CANTBOOTSTRAP)
        check(r, "bootstrap");
    raft_configuration_close(&configuration);
}

int main(int argc, char **argv)
{
    static struct server s;
    if (argc < 5) {
        fprintf(stderr, "usage: raft_server DIRECTORY ID SOCKET ADDRESS...\n");
        return 64;
    }
    raft_id id = strtoull(argv[2], NULL, 10);
    if (id < 1 || id > (raft_id)(argc - 4))
        return 64;
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&s.loop);
    check(raft_uv_tcp_init(&s.transport, &s.loop), "transport");
    check(raft_uv_init(&s.io, &s.loop, argv[1], &s.transport), "backend");
    s.fsm = (struct raft_fsm){.version = 1, .data = &s, .apply = apply, .snapshot = snapshot, .restore = restore};
    check(raft_init(&s.raft, &s.io, &s.fsm, id, argv[3 + id]), "init");
    raft_set_snapshot_threshold(&s.raft, SNAPSHOT_THRESHOLD);
    raft_set_snapshot_trailing(&s.raft, SNAPSHOT_TRAILING);
    raft_set_pre_vote(&s.raft, true);
    bootstrap(&s, argc - 4, argv + 4);
    check(raft_start(&s.raft), "start");
    uv_pipe_init(&s.loop, &s.listener, 0);
    s.listener.data = &s;
    check(uv_pipe_bind(&s.listener, argv[3]), "control socket");
    check(uv_listen((uv_stream_t *)&s.listener, 4096, incoming), "control socket");
    return uv_run(&s.loop, UV_RUN_DEFAULT);
}
