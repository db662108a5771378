/* What clients may send to the control socket, through every method, with a driver that misbehaves in the same breath.
 *
 * Input: bytes for the socket of the current client; 0xff, which no UTF-8 has, and one byte more is an act (enum), some
 * with an argument. Checked besides: each reply is well-formed, its error is one of ours, and there are not more of
 * them than calls; nothing is left over when the socket closes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "host/control.h"
#include "host/reload.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "tests/unit/fake_driver.h"
#include "wire/varlink.h"

enum {
    CLIENTS = 3,
    QUIET_TURNS = 4,
    TURNS_MAX = 400,
    HELD_BYTES_MAX = 8 << 20,
    WAITS_MAX = 4,
    WAIT_USEC = 3000,
    TEXT_MAX = 3000,
};

struct client {
    int fd; /* 0: not open */
    bool cut;
    size_t n_calls, n_answered;
    char *in;
    size_t size, capacity;
};

static char path[PATH_MAX], directory[PATH_MAX];
static uv_loop_t loop;
static struct driver *driver;
static struct client clients[CLIENTS], *client;
static int waits;
static struct reload reloaded;

static void remove_directory(void)
{
    rmdir(directory);
}

static void make_directory(void)
{
    const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    snprintf(directory, sizeof directory, "%.60s/mpaxos-fuzz-XXXXXX", base);
    fuzz_check(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%.80s/control", directory);
    atexit(remove_directory);
}

/* --- clients --- */

static void client_open(struct client *c)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    fuzz_check(c->fd > 0 && connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0);
}

static void check_reply(struct client *c, const char *reply, size_t size)
{
    static const char *const known[] = {"parameters", "error", "continues", NULL};
    char reason[VARLINK_REASON_MAX + 1];
    const char *error = NULL;
    bool continues = false;
    cJSON *tree = varlink_parse(reply, size, reason);
    fuzz_check(tree != NULL && varlink_unknown_key(tree, known) == NULL);
    fuzz_check(cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(tree, "parameters")));
    fuzz_check(varlink_get_string(tree, "error", &error) && varlink_get_bool(tree, "continues", &continues));
    fuzz_check(error == NULL || (!continues && (strncmp(error, "org.mpaxos.Replica.", 19) == 0 ||
                                                strncmp(error, "org.varlink.service.", 20) == 0)));
    c->n_answered += !continues;
    fuzz_check(c->n_answered <= c->n_calls);
    cJSON_Delete(tree);
}

/* True: something came. */
static bool client_read(struct client *c)
{
    char buffer[16384], *nul;
    ssize_t n = c->fd > 0 ? recv(c->fd, buffer, sizeof buffer, 0) : -1;
    if (n <= 0)
        return false;
    if (c->capacity - c->size < (size_t)n) {
        c->capacity = 2 * c->capacity + sizeof buffer;
        fuzz_check(c->capacity <= HELD_BYTES_MAX && (c->in = realloc(c->in, c->capacity)) != NULL);
    }
    memcpy(c->in + c->size, buffer, (size_t)n);
    c->size += (size_t)n;
    while (c->size > 0 && (nul = memchr(c->in, 0, c->size)) != NULL) {
        size_t reply = (size_t)(nul - c->in);
        check_reply(c, c->in, reply);
        c->size -= reply + 1;
        memmove(c->in, nul + 1, c->size);
    }
    return true;
}

static void client_close(struct client *c)
{
    if (c->fd > 0)
        close(c->fd);
    free(c->in);
    *c = (struct client){0};
}

static void client_send(struct client *c, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        c->n_calls += bytes[i] == 0;
    for (int turns = 0; size > 0 && c->fd > 0 && !c->cut && turns < TURNS_MAX;) {
        ssize_t n = send(c->fd, bytes, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        if (n < 0) {
            uv_run(&loop, UV_RUN_NOWAIT);
            turns++;
            continue;
        }
        bytes += n;
        size -= (size_t)n;
    }
}

static void send_long(size_t text_size)
{
    static const char head[] = "{\"method\":\"org.mpaxos.Replica.Submit\",\"parameters\":{\"text\":\"";
    static char call[sizeof head + 255 * 64 + 4];
    memcpy(call, head, sizeof head - 1);
    memset(call + sizeof head - 1, 'x', text_size);
    memcpy(call + sizeof head - 1 + text_size, "\"}}", 4);
    client_send(client, call, sizeof head - 1 + text_size + 4);
}

/* --- acts --- */

static void append(unsigned n)
{
    static const char odd[] = "a\"b\\c\n\xc3\xa4\xff\xc3";
    char text[TEXT_MAX];
    memset(text, 'x', sizeof text);
    memcpy(text, odd, sizeof odd - 1);
    for (unsigned i = 0; i < n; i++)
        fake_append(driver, i % 3 == 0 ? "" : "anna", text, i % 4 == 3 ? sizeof text : i % 12, i % 5 == 4);
    fake_moved(driver);
}

static void bend_driver(uint8_t how)
{
    driver->read_error = how & 1 ? -EIO : 0;
    driver->refuse_answers = how & 2;
    driver->flush_fails = how & 4;
    driver->bootstrap_error = how & 8 ? (how & 16 ? -EEXIST : -EBUSY) : 0;
    driver->first_kept = how >> 5;
}

static void bend_status(uint8_t how)
{
    struct driver_status *s = &driver->status;
    s->replica.identity = (enum identity_status)(IDENTITY_EMPTY + how % 4);
    s->replica.role = (enum replica_role)(how >> 2 & 3);
    s->replica.quorum = how & 16;
    s->has_space = how & 32;
    s->replica.diverged = how & 64;
    s->replica.lagging = how & 128;
}

static void wait_some(void)
{
    if (waits++ < WAITS_MAX)
        usleep(WAIT_USEC);
}

/* Fails every second time. */
static const struct reload *reload(void *user)
{
    struct reload *r = user;
    r->path = "/etc/conf";
    r->failed = !r->failed;
    r->line = 3;
    snprintf(r->reason, sizeof r->reason, "f: is missing");
    r->n_changed = 1;
    r->changed[0] = "drop_rate";
    return r;
}

static void act(enum control_act a, struct fuzz_input *in)
{
    static const replica_id_t leaders[] = {0, 1, 2, REPLICA_ID_NONE};
    switch (a) {
    case CONTROL_HOLD:
        driver->hold = !driver->hold;
        break;
    case CONTROL_RESULT:
        driver->result = (enum submit_result)(fuzz_u8(in) % (SUBMIT_NO_SPACE + 1));
        break;
    case CONTROL_SETTLE:
        if (driver->n_open > 0)
            fake_settle(driver, fuzz_u8(in) % driver->n_open, driver->result, driver->status.replica.chosen);
        break;
    case CONTROL_HOLD_ANSWERS:
        driver->hold_answers = !driver->hold_answers;
        break;
    case CONTROL_ANSWER:
        fake_answer(driver);
        break;
    case CONTROL_APPEND:
        append(fuzz_u8(in));
        break;
    case CONTROL_DRIVER:
        bend_driver(fuzz_u8(in));
        break;
    case CONTROL_STATUS:
        bend_status(fuzz_u8(in));
        break;
    case CONTROL_SHUT_DOWN:
        client->cut = client->fd > 0 && shutdown(client->fd, SHUT_WR) == 0;
        break;
    case CONTROL_SWITCH:
        client = &clients[fuzz_u8(in) % CLIENTS];
        if (client->fd == 0)
            client_open(client);
        break;
    case CONTROL_READ:
        client_read(client);
        break;
    case CONTROL_CLOSE:
        client_close(client);
        break;
    case CONTROL_LONG:
        send_long((size_t)fuzz_u8(in) * 64);
        break;
    case CONTROL_WAIT:
        wait_some();
        break;
    case CONTROL_LEADER:
        driver->status.replica.leader = leaders[fuzz_u8(in) % 4];
        break;
    case CONTROL_TURN:
    case CONTROL_ACTS:
        break;
    }
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void run_input(struct fuzz_input *in)
{
    while (fuzz_left(in) > 0) {
        const uint8_t *end = memchr(in->at, CONTROL_ESCAPE, fuzz_left(in));
        size_t size;
        const char *bytes = (const char *)fuzz_take(in, end != NULL ? (size_t)(end - in->at) : SIZE_MAX, &size);
        client_send(client, bytes, size);
        if (end != NULL) {
            fuzz_u8(in);
            act((enum control_act)(fuzz_u8(in) % CONTROL_ACTS), in);
        }
    }
}

/* Reads until nothing more comes. */
static void settle(void)
{
    for (int quiet = 0, turns = 0; quiet < QUIET_TURNS && turns < TURNS_MAX; turns++) {
        quiet++;
        uv_run(&loop, UV_RUN_NOWAIT);
        for (int i = 0; i < CLIENTS; i++) {
            if (client_read(&clients[i]))
                quiet = 0;
        }
    }
}

static void mark(void *user)
{
    *(bool *)user = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    struct control *control;
    bool closed = false;
    if (path[0] == 0)
        make_directory();
    uv_loop_init(&loop);
    driver = fake_driver_new();
    const struct control_options o = {.loop = &loop,
                                      .driver = driver,
                                      .path = path,
                                      .version = "1.2.3",
                                      .id = 1,
                                      .state_dir = "/state/1",
                                      .log_path = "/log/1",
                                      .reload = reload,
                                      .reload_user = &reloaded};
    waits = 0;
    reloaded.failed = false;
    fuzz_check(control_start(&o, &control) == 0);
    client = &clients[0];
    client_open(client);
    run_input(&in);
    settle();
    for (int i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    settle();
    control_stop(control, mark, &closed);
    while (!closed)
        uv_run(&loop, UV_RUN_ONCE);
    fuzz_check(driver->n_sessions == 0 && driver->moved == NULL);
    fuzz_check(uv_loop_close(&loop) == 0);
    fake_driver_free(driver);
    return 0;
}
