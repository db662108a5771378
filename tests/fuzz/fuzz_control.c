/* What clients may send to the control socket, through every method, with a driver that misbehaves in the same breath.
 *
 * Input: bytes for the socket of the current client; 0xff, which no UTF-8 has, and one byte more is an act (enum), some
 * with an argument. Checked besides: once the driver holds nothing back, each call is answered once, in order, by a
 * reply of its kind, and by what its caller may (owed.h), but for what is oneway or follows; who sent no call is cut
 * off, and nobody else; nothing is left over when the socket closes. */
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
#include "tests/fuzz/owed.h"
#include "tests/unit/fake_driver.h"

enum {
    CLIENTS = 3,
    QUIET_TURNS = 4,
    TURNS_MAX = 400,
    RELEASE_TURNS_MAX = 200,
    LOOK_USEC = 25000, /* a transfer looks who leads more often */
    USER = 1000000,    /* and the level                         */
    HELD_BYTES_MAX = 8 << 20,
    WAITS_MAX = 4,
    WAIT_USEC = 3000,
    TEXT_MAX = 3000,
};

struct client {
    int fd;    /* 0: not open */
    bool cut;  /* it sends no more            */
    bool gone; /* the daemon closed it        */
    struct owed owed;
    char *in;
    size_t size, capacity;
};

static char path[PATH_MAX], directory[PATH_MAX];
static uv_loop_t loop;
static struct driver *driver;
static struct client clients[CLIENTS], *client, *opening;
static int waits;
static unsigned n_long;
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

/* Which client this is was said by whoever made it connect. */
int __wrap_access_of_peer(int fd, gid_t group, uid_t *ret_uid, enum access_level *ret_level);

int __wrap_access_of_peer(int fd, gid_t group, uid_t *ret_uid, enum access_level *ret_level)
{
    (void)fd;
    (void)group;
    *ret_level = opening->owed.level;
    *ret_uid = USER + (uid_t)*ret_level;
    opening = NULL;
    return 0;
}

static void client_open(struct client *c, enum access_level level)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    fuzz_check(c->fd > 0 && connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0);
    owed_begin(&c->owed, level);
    opening = c;
    for (int turns = 0; opening != NULL && turns < TURNS_MAX; turns++)
        uv_run(&loop, UV_RUN_NOWAIT);
    fuzz_check(opening == NULL);
}

/* True: something came. */
static bool client_read(struct client *c)
{
    char buffer[16384], *nul;
    ssize_t n = c->fd > 0 && !c->gone ? recv(c->fd, buffer, sizeof buffer, 0) : -1;
    if (n <= 0) {
        c->gone = c->gone || (c->fd > 0 && (n == 0 || errno != EAGAIN));
        return false;
    }
    if (c->capacity - c->size < (size_t)n) {
        c->capacity = 2 * c->capacity + sizeof buffer;
        fuzz_check(c->capacity <= HELD_BYTES_MAX && (c->in = realloc(c->in, c->capacity)) != NULL);
    }
    memcpy(c->in + c->size, buffer, (size_t)n);
    c->size += (size_t)n;
    while (c->size > 0 && (nul = memchr(c->in, 0, c->size)) != NULL) {
        size_t reply = (size_t)(nul - c->in);
        owed_reply(&c->owed, c->in, reply);
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
    if (c->fd > 0)
        owed_end(&c->owed);
    *c = (struct client){0};
}

static void client_send(struct client *c, const char *bytes, size_t size)
{
    for (int turns = 0; size > 0 && c->fd > 0 && !c->cut && turns < TURNS_MAX;) {
        ssize_t n = send(c->fd, bytes, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        if (n < 0) {
            uv_run(&loop, UV_RUN_NOWAIT);
            turns++;
            continue;
        }
        owed_sent(&c->owed, bytes, (size_t)n);
        bytes += n;
        size -= (size_t)n;
    }
}

/* Its key tells which it is. */
static void send_long(size_t text_size)
{
    static char call[255 * 64 + 128];
    int n = snprintf(call, sizeof call,
                     "{\"method\":\"org.mpaxos.Replica.Submit\",\"parameters\":{\"key\":\"long-%u\",", n_long++);
    n += snprintf(call + n, sizeof call - (size_t)n, "\"text\":\"");
    memset(call + n, 'x', text_size);
    memcpy(call + n + text_size, "\"}}", 4);
    client_send(client, call, (size_t)n + text_size + 4);
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
            client_open(client, ACCESS_ADMINISTRATION);
        break;
    case CONTROL_LEVEL:
        client_close(client);
        client_open(client, (enum access_level)(fuzz_u8(in) % (ACCESS_ADMINISTRATION + 1)));
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

static bool is_answered(const struct client *c)
{
    return c->fd == 0 || c->gone || (STAILQ_EMPTY(&c->owed.calls) && !c->cut && !c->owed.malformed) ||
           owed_follows(&c->owed);
}

static bool are_answered(void)
{
    for (int i = 0; i < CLIENTS; i++)
        if (!is_answered(&clients[i]))
            return false;
    return true;
}

/* The driver answers all that it is asked, and whoever transfers leadership sees some other lead, and everyone in turn.
 */
static void release(void)
{
    driver->hold = driver->hold_answers = false;
    driver->status.replica.quorum = true;
    settle();
    for (int turns = 0; turns == 0 || (!are_answered() && turns < RELEASE_TURNS_MAX); turns++) {
        driver->status.replica.leader = (replica_id_t)(turns % 3);
        while (driver->n_open > 0)
            fake_settle(driver, driver->n_open - 1, driver->result, driver->status.replica.chosen);
        fake_answer(driver);
        settle();
        if (turns > 0)
            usleep(LOOK_USEC);
    }
}

static void check_client(const struct client *c)
{
    const struct owed *o = &c->owed;
    if (c->fd == 0)
        return;
    fuzz_check(is_answered(c));
    fuzz_check(!c->gone || c->cut || o->malformed);
    fuzz_check(!c->gone || o->malformed || STAILQ_EMPTY(&o->calls) || owed_streams(o));
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
    n_long = 0;
    reloaded.failed = false;
    fuzz_check(control_start(&o, &control) == 0);
    client = &clients[0];
    client_open(client, ACCESS_ADMINISTRATION);
    run_input(&in);
    release();
    for (int i = 0; i < CLIENTS; i++)
        check_client(&clients[i]);
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
