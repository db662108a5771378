#include "ctl/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/text.h"

enum { READ_BYTES = 64 << 10, PROBE_MSEC = 500, CONNECT_TRIES = 50, CONNECT_PAUSE_MSEC = 20 };

void reply_done(struct reply *r)
{
    cJSON_Delete(r->tree);
    *r = (struct reply){0};
}

/* A full backlog answers EAGAIN at once, without a way to wait for room: hence the short pauses. */
static int connect_patiently(int fd, const struct sockaddr_un *address)
{
    for (int i = 0;; i++) {
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN || i == CONNECT_TRIES)
            return -errno;
        poll(NULL, 0, CONNECT_PAUSE_MSEC);
    }
}

int client_connect(struct client *c, const struct endpoint *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, e->path, strlen(e->path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = connect_patiently(fd, &address);
    if (r < 0) {
        close(fd);
        return r;
    }
    *c = (struct client){.fd = fd, .endpoint = *e};
    varlink_framer_init(&c->framer, CLIENT_REPLY_BYTES_MAX);
    return 0;
}

void client_close(struct client *c)
{
    if (c->fd < 0)
        return;
    close(c->fd);
    varlink_framer_done(&c->framer);
    free(c->out);
    *c = CLIENT_NONE;
}

int client_queue_bytes(struct client *c, const char *bytes, size_t size)
{
    if (c->out_sent == c->out_size)
        c->out_sent = c->out_size = 0;
    if (c->out_size + size > c->out_capacity) {
        size_t capacity = c->out_capacity ? c->out_capacity : 4096;
        while (capacity < c->out_size + size)
            capacity *= 2;
        char *out = realloc(c->out, capacity);
        if (!out)
            return -ENOMEM;
        c->out = out;
        c->out_capacity = capacity;
    }
    memcpy(c->out + c->out_size, bytes, size);
    c->out_size += size;
    return 0;
}

int client_queue(struct client *c, const char *method, cJSON *parameters, bool more)
{
    size_t size;
    char *bytes = varlink_call(method, parameters, more, false, &size);
    if (!bytes)
        return -ENOMEM;
    int r = client_queue_bytes(c, bytes, size);
    free(bytes);
    return r;
}

static int write_some(struct client *c)
{
    while (c->out_sent < c->out_size) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -ECONNRESET;
        c->out_sent += (size_t)n;
    }
    return 0;
}

static int read_some(struct client *c)
{
    char bytes[READ_BYTES];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
    if (n == 0)
        return -ECONNRESET;
    int r = varlink_framer_add(&c->framer, bytes, (size_t)n);
    return r == -EMSGSIZE ? -EBADMSG : r;
}

int client_exchange(struct client *c, int timeout_msec, struct pollfd *also)
{
    if (also)
        also->revents = 0;
    int r = write_some(c);
    if (r < 0) {
        /* The daemon may have answered before it went: those answers are worth reading. */
        return read_some(c) < 0 ? r : 0;
    }
    struct pollfd fds[2] = {
        {.fd = c->fd, .events = (short)(POLLIN | (c->out_sent < c->out_size ? POLLOUT : 0))},
        also ? *also : (struct pollfd){.fd = -1},
    };
    int n = poll(fds, 2, timeout_msec);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (also)
        *also = fds[1];
    if (fds[0].revents & POLLOUT && (r = write_some(c)) < 0 && !(fds[0].revents & POLLIN))
        return r;
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        return read_some(c);
    return 0;
}

/* A reply has parameters, continues and error, and nothing else. */
static int reply_read(const char *bytes, size_t size, struct reply *ret)
{
    static const char *const known[] = {"parameters", "continues", "error", NULL};
    char reason[VARLINK_REASON_MAX + 1];
    struct reply r = {.tree = varlink_parse(bytes, size, reason)};
    if (!r.tree)
        return -EBADMSG;
    const cJSON *parameters = cJSON_GetObjectItemCaseSensitive(r.tree, "parameters");
    if (varlink_unknown_key(r.tree, known) || !varlink_get_bool(r.tree, "continues", &r.continues) ||
        !varlink_get_string(r.tree, "error", &r.error) ||
        (parameters && !cJSON_IsObject(parameters) && !cJSON_IsNull(parameters))) {
        reply_done(&r);
        return -EBADMSG;
    }
    r.parameters = cJSON_IsObject(parameters) ? parameters : NULL;
    *ret = r;
    return 1;
}

int client_next(struct client *c, struct reply *ret)
{
    const char *bytes;
    size_t size;
    if (!varlink_framer_next(&c->framer, &bytes, &size))
        return 0;
    return reply_read(bytes, size, ret);
}

int client_reply(struct client *c, uint64_t timeout_msec, struct reply *ret)
{
    uint64_t deadline = monotonic_usec() + timeout_msec * 1000;
    for (;;) {
        int r = client_next(c, ret);
        if (r != 0)
            return r < 0 ? r : 0;
        uint64_t now = monotonic_usec();
        if (now >= deadline)
            return -ETIMEDOUT;
        uint64_t left = (deadline - now + 999) / 1000;
        r = client_exchange(c, left > 1000000 ? 1000000 : (int)left, NULL);
        if (r < 0)
            return r;
    }
}

int client_call(struct client *c, const char *method, cJSON *parameters, bool more, uint64_t timeout_msec,
                struct reply *ret)
{
    int r = client_queue(c, method, parameters, more);
    return r < 0 ? r : client_reply(c, timeout_msec, ret);
}

static bool client_is_alive(struct client *c)
{
    struct reply reply = {0};
    int r = client_call(c, "org.varlink.service.GetInfo", NULL, false, PROBE_MSEC, &reply);
    reply_done(&reply);
    return r == 0;
}

int client_open(struct client *c, const struct place *place, struct failure *f)
{
    struct endpoint endpoints[ENDPOINTS_MAX];
    size_t n;
    *c = CLIENT_NONE;
    if (endpoints_find(place, endpoints, &n, f) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int r = client_connect(c, &endpoints[i]);
        if (r == 0) {
            if (n == 1 || client_is_alive(c)) {
                failure_done(f); /* of those before it */
                return 0;
            }
            client_close(c);
            r = -ETIMEDOUT;
        }
        /* Of several, the one that may not be used says more than one that is not running. */
        if (f->status != EXIT_NOT_PERMITTED)
            endpoint_failure(&endpoints[i], -r, f);
    }
    return -1;
}

cJSON *client_timeout(uint64_t timeout_msec)
{
    return varlink_int(timeout_msec < CLIENT_TIMEOUT_MSEC_MAX ? (int64_t)timeout_msec : CLIENT_TIMEOUT_MSEC_MAX);
}

int client_ask(struct client *c, const char *method, cJSON *parameters, uint64_t timeout_msec, bool unknown,
               struct reply *ret, struct failure *f)
{
    int r = client_call(c, method, parameters, false, timeout_msec, ret);
    if (r < 0) {
        endpoint_failure(&c->endpoint, -r, f);
        if (unknown) {
            size_t n = strlen(f->text);
            f->status = EXIT_OUTCOME_UNKNOWN;
            snprintf(f->text + n, sizeof(f->text) - n, ". Whether it still did what it was asked is not known");
        }
        return -1;
    }
    if (!ret->error)
        return 0;
    char name[ENDPOINT_NAME_MAX];
    endpoint_name(&c->endpoint, name);
    failure_from_error(f, name, ret->error, ret->parameters);
    reply_done(ret);
    return -1;
}
