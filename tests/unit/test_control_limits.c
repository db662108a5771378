/* The control socket against clients that break rules, want too much or do not read, and against the places it starts
 * in. */
#include "tests/unit/control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire/varlink.h"

#define R          "org.mpaxos.Replica."
#define SUBMIT(p)  "{\"method\":\"" R "Submit\",\"parameters\":{" p "}}"
#define POSITION   "{\"method\":\"" R "Position\"}"
#define POSITION_0 "{\"parameters\":{\"slot\":0}}"
#define STATUS     "{\"method\":\"" R "Status\"}"

enum { STALL_MS = 1000, TEXT_MAX = 1000, MESSAGE_MAX = CONTROL_CALL_BYTES_MAX };

static struct fixture *f;
static struct client *c;
static struct control_stats stats;

static int set_up(void **state)
{
    (void)state;
    f = fixture_start(STALL_MS);
    c = client_open(f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    client_close(c);
    fixture_stop(f);
    return 0;
}

static void reopen(void)
{
    client_close(c);
    c = client_open(f);
}

static size_t resident_bytes(void)
{
    size_t all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(file, "%zu %zu", &all, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const calls[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"method\":",
        "{\"method\":\"" R "Position\"} ]",
        "{\"method\":\"" R "Position\",\"method\":\"" R "Position\"}",
        "{\"method\":\"" R "Position\",\"upgrade\":true}",
        "{\"method\":\"" R "Position\",\"extra\":1}",
        "{\"method\":\"" R "Position\",\"parameters\":[]}",
        "{\"method\":\"" R "Position\",\"parameters\":{\"a\":1,\"a\":1}}",
        "{\"method\":\"" R "Position\",\"oneway\":1}",
        "{\"method\":\"" R "Position\",\"more\":true,\"oneway\":true}",
        "{\"method\":7}",
        SUBMIT("\"text\":\"\xff\""),
        SUBMIT("\"text\":\"\xed\xa0\x80\""),
        SUBMIT("\"text\":\"\\ud800\""),
        SUBMIT("\"text\":\"a\\u0000b\""),
        SUBMIT("\"text\":\"a\nb\""),
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        client_ask(c, POSITION, POSITION_0);
        client_call(c, calls[i]);
        client_expect_closed(c);
        assert_int_equal(c->size, c->taken);
        reopen();
    }
    control_stats(f->control, &stats);
    assert_int_equal(stats.closed_malformed, sizeof(calls) / sizeof(calls[0]));
    assert_int_equal(f->driver->n_submits, 0);

    /* What was answered before the fault is still told. */
    char both[] = POSITION "\0x";
    assert_true(client_send(c, both, sizeof(both)));
    client_expect(c, POSITION_0);
    client_expect_closed(c);
}

static void test_depth(void **state)
{
    (void)state;
    /* The call and its parameters are two. */
    for (int extra = -1; extra <= 1; extra++) {
        char call[256], *p = call;
        p += sprintf(p, "{\"method\":\"" R "Position\",\"parameters\":{\"x\":");
        for (int i = 2; i < VARLINK_DEPTH_MAX + extra; i++)
            *p++ = '[';
        for (int i = 2; i < VARLINK_DEPTH_MAX + extra; i++)
            *p++ = ']';
        strcpy(p, "}}");
        client_call(c, call);
        if (extra <= 0)
            assert_has(client_reply(c), "InvalidParameter");
        else
            client_expect_closed(c);
    }
}

static void test_message_limit(void **state)
{
    (void)state;
    for (int extra = -1; extra <= 1; extra++) {
        static char call[MESSAGE_MAX + 2];
        memset(call, ' ', sizeof(call));
        memcpy(call, POSITION, strlen(POSITION));
        call[MESSAGE_MAX + extra] = 0;
        assert_true(client_send(c, call, (size_t)(MESSAGE_MAX + extra + 1)));
        if (extra <= 0)
            client_expect(c, POSITION_0);
        else
            client_expect_closed(c);
    }
}

static void submit_sized(const char *key, const char *unit, int n, const char *more)
{
    static char call[CONTROL_CALL_BYTES_MAX];
    char *p = call;
    p += sprintf(p, "{\"method\":\"" R "Submit\",\"parameters\":{\"%s\":\"", key);
    for (int i = 0; i < n; i++)
        p = stpcpy(p, unit);
    sprintf(p, "\"%s}}", more);
    client_call(c, call);
}

static void test_text_limits(void **state)
{
    (void)state;
    const char *stored = "\"key\":\"k\",\"duplicate\":false}}";
    const char *key = ",\"key\":\"k\"";
    submit_sized("text", "x", TEXT_MAX - 1, key);
    assert_has(client_reply(c), stored);
    submit_sized("text", "x", TEXT_MAX, key);
    assert_has(client_reply(c), stored);
    submit_sized("text", "x", TEXT_MAX + 1, key);
    client_expect(c, "{\"error\":\"" R "MessageTooLarge\",\"parameters\":{\"size\":1001,\"limit\":1000}}");
    /* Bytes count, not characters; and all of them escaped is still one call. */
    submit_sized("text", "\xc3\xa9", TEXT_MAX / 2, key);
    assert_has(client_reply(c), stored);
    submit_sized("text", "\xc3\xa9", TEXT_MAX / 2 + 1, key);
    assert_has(client_reply(c), "\"size\":1002,\"limit\":1000");
    /* Whatever another replica would take, and however it is written. */
    submit_sized("text", "\\u0001", MESSAGE_BYTES_MOST, key);
    assert_has(client_reply(c), "\"size\":1048576,\"limit\":1000");
    control_stats(f->control, &stats);
    assert_int_equal(stats.texts_too_large, 3);
    submit_sized("text", "\\u0001", TEXT_MAX, key);
    assert_has(client_reply(c), stored);
    submit_sized("text", "x", 1, key);
    assert_has(client_reply(c), stored);

    static const char *const names[] = {"author", "key"};
    for (size_t i = 0; i < 2; i++) {
        for (int size = 63; size <= 65; size++) {
            submit_sized(names[i], "x", size, ",\"text\":\"x\"");
            const char *reply = client_reply(c);
            assert_has(reply, size <= 64 ? "\"duplicate\":false" : "InvalidParameter");
        }
    }
}

/* However the bytes arrive, the messages are the same. */
static void test_split(void **state)
{
    (void)state;
    char bytes[4096], *p = bytes;
    unsigned n = 0;
    for (; p + 256 < bytes + sizeof(bytes); n++) {
        p += sprintf(p, SUBMIT("\"text\":\"h\\u00e9\",\"key\":\"k%u\""), n) + 1;
        p += sprintf(p, POSITION) + 1;
    }
    size_t size = (size_t)(p - bytes);
    for (size_t step = 1; step < size; step = step == 1 ? 7 : 41 * step) {
        unsigned begin = (unsigned)f->driver->status.replica.chosen;
        for (size_t at = 0; at < size; at += step) {
            assert_true(client_send(c, bytes + at, at + step < size ? step : size - at));
            fixture_turn(f);
        }
        for (unsigned i = 0; i < n; i++) {
            char reply[128];
            sprintf(reply, "{\"parameters\":{\"slot\":%u,\"key\":\"k%u\",\"duplicate\":false}}", begin + i + 1, i);
            client_expect(c, reply);
            sprintf(reply, "{\"parameters\":{\"slot\":%u}}", begin + i + 1);
            client_expect(c, reply);
        }
    }
    client_expect_quiet(c);
}

static void test_pipelined_submits(void **state)
{
    (void)state;
    enum { CALLS = 300 };
    f->driver->hold = true;
    for (unsigned i = 0; i < CALLS; i++) {
        char call[256];
        sprintf(call, SUBMIT("\"text\":\"x\",\"key\":\"k%u\""), i);
        client_call(c, call);
    }
    fixture_turns(f, 10);
    assert_int_equal(f->driver->n_open, CONTROL_CALLS_MAX);
    control_stats(f->control, &stats);
    assert_true(stats.calls_held > 0);
    /* In any order, though answered in theirs. */
    for (unsigned i = 0; i < CALLS; i++) {
        size_t at = f->driver->n_open - 1;
        fake_settle(f->driver, at, SUBMIT_CHOSEN, 1000 + f->driver->open[at].tag);
        fixture_turn(f);
    }
    for (unsigned i = 0; i < CALLS; i++) {
        char reply[128];
        sprintf(reply, "{\"parameters\":{\"slot\":%u,\"key\":\"k%u\",\"duplicate\":false}}", 1000 + i, i);
        client_expect(c, reply);
    }
    assert_int_equal(f->driver->n_open, 0);
}

/* What comes behind calls in flight is not read for ever. */
static void test_calls_without_end(void **state)
{
    (void)state;
    size_t taken = 0;
    f->driver->hold = true;
    for (unsigned idle = 0; idle < 50;) {
        const char call[] = SUBMIT("\"text\":\"x\"");
        ssize_t n = send(c->fd, call, sizeof(call), MSG_NOSIGNAL);
        taken += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        if (n != sizeof(call))
            fixture_turn(f);
        assert_true(taken < (4 << 20));
    }
    assert_int_equal(f->driver->n_open, CONTROL_CALLS_MAX);
}

static void test_endless_message(void **state)
{
    (void)state;
    static char chunk[1 << 20];
    size_t before = resident_bytes();
    memset(chunk, 'x', sizeof(chunk));
    bool open = true;
    for (int i = 0; i < 100 && open; i++)
        open = client_send(c, chunk, sizeof(chunk));
    assert_false(open);
    client_expect_closed(c);
    assert_true(resident_bytes() < before + 6 * CONTROL_CALL_BYTES_MAX); /* AddressSanitizer keeps what was freed */
    reopen();
    client_ask(c, POSITION, POSITION_0);
}

/* It asks on and on, and never reads: neither calls nor replies pile up, and in the end it is closed. */
static void test_no_reader(void **state)
{
    (void)state;
    size_t before = resident_bytes();
    uint64_t begin = uv_hrtime();
    struct client *other = client_open(f);
    bool open = true;
    while (open) {
        ssize_t n = send(c->fd, STATUS, sizeof(STATUS), MSG_NOSIGNAL);
        open = n >= 0 || errno == EAGAIN;
        fixture_turn(f);
        assert_true(uv_hrtime() - begin < UINT64_C(20000000000));
    }
    control_stats(f->control, &stats);
    assert_int_equal(stats.closed_slow, 1);
    assert_true(stats.calls < 2000);
    assert_true(resident_bytes() < before + (16 << 20));
    client_ask(other, POSITION, POSITION_0);
    client_close(other);
}

/* One that reads slowly is served. */
static void test_slow_reader(void **state)
{
    (void)state;
    enum { CALLS = 3000 };
    int small = 4096, sent = 0;
    size_t received = 0;
    unsigned n_replies = 0;
    setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    while (n_replies < CALLS) {
        static char piece[32768];
        while (sent < CALLS && send(c->fd, STATUS, sizeof(STATUS), MSG_NOSIGNAL) > 0)
            sent++;
        fixture_turn(f);
        ssize_t n = recv(c->fd, piece, sizeof(piece), 0);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        for (ssize_t i = 0; i < n; i++)
            n_replies += piece[i] == 0;
        received += n > 0 ? (size_t)n : 0;
    }
    assert_true(received > CALLS * 500);
    control_stats(f->control, &stats);
    assert_int_equal(stats.closed_slow, 0);
    assert_int_equal(stats.calls, CALLS);
}

/* A client that only says that it will ask no more gets its answers. */
static void test_half_closed(void **state)
{
    (void)state;
    f->driver->hold = true;
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"k\""));
    client_call(c, POSITION);
    assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
    client_expect_quiet(c);
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 3);
    client_expect(c, "{\"parameters\":{\"slot\":3,\"key\":\"k\",\"duplicate\":false}}");
    client_expect(c, POSITION_0);
    client_expect_closed(c);
}

static void test_client_dies(void **state)
{
    (void)state;
    f->driver->hold = true;
    client_call(c, SUBMIT("\"text\":\"x\",\"timeout_ms\":3600000"));
    client_expect_quiet(c);
    assert_int_equal(f->driver->n_sessions, 1);
    reopen();
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_sessions, 0);
    control_stats(f->control, &stats);
    assert_int_equal(stats.connections_now, 1);
}

static void test_many_connections(void **state)
{
    (void)state;
    enum { CLIENTS = 2000 };
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * CLIENTS + 100)
        skip();
    static struct client *clients[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(f);
        client_call(clients[i], SUBMIT("\"text\":\"x\",\"key\":\"k\""));
        if (i % 50 == 0)
            fixture_turn(f);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        assert_has(client_reply(clients[i]), "\"duplicate\":false");
    control_stats(f->control, &stats);
    assert_int_equal(stats.connections_now, CLIENTS + 1);
    for (unsigned i = 0; i < CLIENTS; i++)
        client_close(clients[i]);
    fixture_turns(f, 5);
    control_stats(f->control, &stats);
    assert_int_equal(stats.connections_now, 1);
}

/* --- where it starts --- */

static int start_at(struct fixture *x, const char *path, struct control **ret)
{
    const struct control_options o = {.loop = &x->loop, .driver = x->driver, .path = path, .version = "1", .id = 1};
    return control_start(&o, ret);
}

static void stop(struct fixture *x, struct control *control)
{
    control_stop(control, NULL, NULL);
    fixture_turns(x, 3);
}

static void test_socket_in_the_way(void **state)
{
    (void)state;
    struct control *second = NULL;
    char path[128];
    assert_int_equal(start_at(f, f->path, &second), -EADDRINUSE);
    client_ask(c, POSITION, POSITION_0);

    /* What a daemon left that was killed. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(path, sizeof(path), "%s/stale", f->dir);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    assert_int_equal(start_at(f, path, &second), 0);
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    stop(f, second);
    assert_int_equal(lstat(path, &st), -1);

    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(start_at(f, path, &second), -EEXIST);
    assert_int_equal(lstat(path, &st), 0);
    strcat(path, "/below/control");
    assert_int_equal(start_at(f, path, &second), -ENOTDIR);
    fixture_turns(f, 3);
}

static void test_path_limit(void **state)
{
    (void)state;
    struct control *second = NULL;
    for (int extra = -1; extra <= 1; extra++) {
        char path[256];
        int size = snprintf(path, sizeof(path), "%s/", f->dir);
        while (size < 107 + extra)
            path[size++] = 'p';
        path[size] = 0;
        assert_int_equal(start_at(f, path, &second), extra <= 0 ? 0 : -ENAMETOOLONG);
        if (extra <= 0)
            stop(f, second);
    }
    assert_int_equal(start_at(f, "relative-control-socket", &second), 0);
    stop(f, second);
}

/* The child of test_few_files(): a daemon that may open 256 files, until the parent closes `control`. */
static void serve_with_few_files(int control, int report)
{
    struct rlimit few = {.rlim_cur = 200, .rlim_max = 256};
    char byte;
    setrlimit(RLIMIT_NOFILE, &few);
    struct fixture *x = fixture_start(0);
    if (write(report, x->path, sizeof(x->path)) != sizeof(x->path) || fcntl(control, F_SETFL, O_NONBLOCK) < 0)
        _exit(1);
    while (read(control, &byte, 1) != 0) {
        fixture_turn(x);
        usleep(100);
    }
    control_stats(x->control, &stats);
    fixture_stop(x);
    _exit(stats.connections == 192 && stats.connections_refused == 8 ? 0 : 2);
}

/* With few files to open there are fewer connections: those that are too many are closed at once, the others served. */
static void test_few_files(void **state)
{
    (void)state;
    enum { CLIENTS = 200 };
    int control[2], report[2], status = 0;
    struct client *clients[CLIENTS];
    struct fixture there = {0};
    assert_int_equal(pipe(control), 0);
    assert_int_equal(pipe(report), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(control[1]);
        serve_with_few_files(control[0], report[1]);
    }
    close(control[0]);
    assert_int_equal(read(report[0], there.path, sizeof(there.path)), sizeof(there.path));
    uv_loop_init(&there.loop);
    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i] = client_open(&there);
    for (unsigned i = 0; i < 192; i++)
        client_ask(clients[i], POSITION, POSITION_0);
    for (unsigned i = 192; i < CLIENTS; i++)
        client_expect_closed(clients[i]);
    close(control[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        client_close(clients[i]);
    uv_loop_close(&there.loop);
    close(report[0]);
    close(report[1]);
}

/* Where no file may be opened any more, whoever waits is closed, and the loop does not spin over it. */
static void test_no_files(void **state)
{
    (void)state;
    struct rlimit limit, none;
    getrlimit(RLIMIT_NOFILE, &limit);
    client_ask(c, POSITION, POSITION_0);
    struct client *last = client_open(f);
    int lowest = dup(0);
    close(lowest);
    none = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    struct rusage begin, end;
    getrusage(RUSAGE_SELF, &begin);
    client_expect_closed(last);
    for (int i = 0; i < 100; i++) {
        usleep(1000);
        fixture_turn(f);
    }
    getrusage(RUSAGE_SELF, &end);
    assert_true(end.ru_utime.tv_sec - begin.ru_utime.tv_sec < 2);
    client_ask(c, POSITION, POSITION_0);
    setrlimit(RLIMIT_NOFILE, &limit);
    client_close(last);
    reopen();
    client_ask(c, POSITION, POSITION_0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_malformed),
        TEST(test_depth),
        TEST(test_message_limit),
        TEST(test_text_limits),
        TEST(test_split),
        TEST(test_pipelined_submits),
        TEST(test_endless_message),
        TEST(test_calls_without_end),
        TEST(test_no_reader),
        TEST(test_slow_reader),
        TEST(test_half_closed),
        TEST(test_client_dies),
        TEST(test_many_connections),
        TEST(test_socket_in_the_way),
        TEST(test_path_limit),
        TEST(test_no_files),
        cmocka_unit_test(test_few_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
