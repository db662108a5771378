#include "tests/unit/control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { WAIT_MS_MAX = 20000, QUIET_TURNS = 20 };

static struct fixture *start(uint32_t stall_ms, uint32_t connections_max)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uv_loop_init(&f->loop);
    f->driver = fake_driver_new();
    snprintf(f->dir, sizeof(f->dir), "/tmp/mpaxos-control-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/run/1/control", f->dir);
    const struct control_options o = {
        .loop = &f->loop,
        .driver = f->driver,
        .path = f->path,
        .version = "1.2.3",
        .id = 1,
        .state_dir = "/state/1",
        .log_path = "/log/1",
        .stall_ms = stall_ms,
        .connections_max = connections_max,
    };
    assert_int_equal(control_start(&o, &f->control), 0);
    return f;
}

struct fixture *fixture_start(uint32_t stall_ms)
{
    return start(stall_ms, 0);
}

struct fixture *fixture_start_small(uint32_t connections_max)
{
    return start(0, connections_max);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void fixture_remove(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void mark(void *user)
{
    *(bool *)user = true;
}

void fixture_stop(struct fixture *f)
{
    bool closed = false;
    control_stop(f->control, mark, &closed);
    while (!closed)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->driver->n_sessions, 0);
    assert_null(f->driver->moved);
    assert_int_equal(access(f->path, F_OK), -1);
    assert_int_equal(uv_run(&f->loop, UV_RUN_NOWAIT), 0);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    fake_driver_free(f->driver);
    fixture_remove(f->dir);
    free(f);
}

void fixture_turn(struct fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

void fixture_turns(struct fixture *f, unsigned n)
{
    while (n-- > 0)
        fixture_turn(f);
}

struct client *client_open(struct fixture *f)
{
    struct client *c = calloc(1, sizeof(*c));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
    c->f = f;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(c->fd >= 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return c;
}

void client_close(struct client *c)
{
    close(c->fd);
    free(c->in);
    free(c);
}

bool client_send(struct client *c, const char *bytes, size_t size)
{
    uint64_t begin = uv_hrtime();
    while (size > 0) {
        ssize_t n = send(c->fd, bytes, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            fixture_turn(c->f);
        bytes += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
        assert_true(uv_hrtime() - begin < WAIT_MS_MAX * UINT64_C(1000000));
    }
    return true;
}

void client_call(struct client *c, const char *call)
{
    assert_true(client_send(c, call, strlen(call) + 1));
}

/* Takes what is there to read. */
static bool receive(struct client *c)
{
    if (c->taken > 0) {
        memmove(c->in, c->in + c->taken, c->size - c->taken);
        c->size -= c->taken;
        c->taken = 0;
    }
    if (c->capacity - c->size < 65536) {
        c->capacity = 2 * c->capacity + 65536;
        c->in = realloc(c->in, c->capacity);
    }
    ssize_t n = recv(c->fd, c->in + c->size, c->capacity - c->size, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        c->ended = true;
    if (n > 0)
        c->size += (size_t)n;
    return n > 0;
}

const char *client_reply(struct client *c)
{
    uint64_t begin = uv_hrtime();
    for (;;) {
        char *reply = c->in + c->taken;
        char *end = c->size > c->taken ? memchr(reply, 0, c->size - c->taken) : NULL;
        if (end != NULL) {
            c->taken += (size_t)(end + 1 - reply);
            return reply;
        }
        if (c->ended)
            fail_msg("closed where a reply was due");
        if (uv_hrtime() - begin > WAIT_MS_MAX * UINT64_C(1000000))
            fail_msg("no reply");
        fixture_turn(c->f);
        receive(c);
    }
}

void client_expect(struct client *c, const char *reply)
{
    assert_string_equal(client_reply(c), reply);
}

void client_ask(struct client *c, const char *call, const char *reply)
{
    client_call(c, call);
    client_expect(c, reply);
}

void client_expect_quiet(struct client *c)
{
    for (int i = 0; i < QUIET_TURNS; i++) {
        fixture_turn(c->f);
        receive(c);
    }
    assert_false(c->ended);
    if (c->size > c->taken)
        fail_msg("unexpected: %s", c->in + c->taken);
}

void client_expect_closed(struct client *c)
{
    uint64_t begin = uv_hrtime();
    while (!c->ended) {
        assert_true(uv_hrtime() - begin < WAIT_MS_MAX * UINT64_C(1000000));
        fixture_turn(c->f);
        receive(c);
    }
}

void assert_has(const char *reply, const char *text)
{
    if (strstr(reply, text) == NULL)
        fail_msg("no %s in %s", text, reply);
}

void assert_lacks(const char *reply, const char *text)
{
    if (strstr(reply, text) != NULL)
        fail_msg("%s in %s", text, reply);
}
