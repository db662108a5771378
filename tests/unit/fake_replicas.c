#include "tests/unit/fake_replicas.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

char fake_dir[] = "/tmp/test_ctl_submitter_XXXXXX";
struct fake fake;
struct history history;

/* One whole reply, with its NUL. */
static void answer(struct fake_connection *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void answer(struct fake_connection *c, const char *format, ...)
{
    char bytes[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(bytes, sizeof(bytes), format, args);
    va_end(args);
    if (send(c->fd, bytes, (size_t)n + 1, MSG_NOSIGNAL) < 0)
        c->mute = true;
}

static void answer_slot(struct fake_connection *c, size_t at, bool duplicate)
{
    answer(c, "{\"parameters\":{\"slot\":%zu,\"key\":\"%s\",\"duplicate\":%s}}", at + FIRST_SLOT, fake.log[at].key,
           duplicate ? "true" : "false");
}

static void answer_error(struct fake_connection *c, const char *error)
{
    answer(c, "{\"error\":\"%s\",\"parameters\":{}}", error);
}

static size_t store(const char *key, const char *text, int64_t since, bool *ret_duplicate)
{
    for (size_t i = 0; i < fake.n_log; i++)
        if (!strcmp(fake.log[i].key, key)) {
            *ret_duplicate = true;
            return i;
        }
    *ret_duplicate = false;
    snprintf(fake.log[fake.n_log].key, sizeof(fake.log[0].key), "%s", key);
    snprintf(fake.log[fake.n_log].text, sizeof(fake.log[0].text), "%s", text);
    fake.log[fake.n_log].since = since;
    return fake.n_log++;
}

static enum fate draw_fate(void)
{
    int64_t n = fake.n_submits++;
    if (fake.n_script > 0)
        return fake.script[n < fake.n_script ? n : fake.n_script - 1];
    if (n == fake.refuse_at)
        return FATE_NO_QUORUM;
    if (prng_next(&fake.prng) % 100 >= fake.fail_percent)
        return FATE_STORE;
    return (enum fate)(FATE_CLOSE_BEFORE + prng_next(&fake.prng) % 4);
}

/* False: the connection is to be closed. */
static bool take_submit(struct fake_connection *c, const cJSON *parameters)
{
    const char *key = NULL, *text = NULL;
    bool duplicate;
    int64_t since = -1;
    varlink_get_int(parameters, "since", 0, INT64_MAX, &since);
    varlink_get_string(parameters, "key", &key);
    varlink_get_string(parameters, "text", &text);
    enum fate fate = c->gives_up ? FATE_TIMEOUT_LOST : draw_fate();
    if (fate == FATE_CLOSE_BEFORE)
        return false;
    if (fate == FATE_NO_QUORUM || fate == FATE_TOO_LARGE || fate == FATE_CONFLICT) {
        answer_error(c, fate == FATE_NO_QUORUM   ? "org.mpaxos.Replica.NoQuorum"
                        : fate == FATE_TOO_LARGE ? "org.mpaxos.Replica.MessageTooLarge"
                                                 : "org.mpaxos.Replica.KeyConflict");
        return true;
    }
    if (fate == FATE_TIMEOUT_LOST) {
        c->gives_up = true;
        answer_error(c, "org.mpaxos.Replica.Timeout");
        return true;
    }
    size_t at = store(key, text, since, &duplicate);
    if (fate == FATE_STORE)
        answer_slot(c, at, duplicate);
    else if (fate == FATE_TIMEOUT_STORED)
        answer_error(c, "org.mpaxos.Replica.Timeout");
    return fate != FATE_CLOSE_AFTER;
}

static bool take_call(struct fake_connection *c, const char *bytes, size_t size)
{
    char reason[VARLINK_REASON_MAX + 1];
    struct varlink_call call;
    bool goes_on = true;
    cJSON *tree = varlink_parse(bytes, size, reason);
    if (!tree || !varlink_call_read(tree, &call)) {
        goes_on = false;
    } else if (!strcmp(call.method, "org.mpaxos.Replica.Submit")) {
        goes_on = take_submit(c, call.parameters);
    } else {
        answer(c, "{\"parameters\":{\"slot\":%d}}", FIRST_SLOT - 1 + 1000 * fake.n_positions++);
    }
    cJSON_Delete(tree);
    return goes_on;
}

static void close_connection(struct fake_connection *c)
{
    close(c->fd);
    varlink_framer_done(&c->framer);
    c->fd = -1;
}

static void serve(struct fake_connection *c)
{
    char bytes[65536];
    const char *call;
    size_t size;
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
    bool goes_on = n > 0 && varlink_framer_add(&c->framer, bytes, (size_t)n) == 0;
    while (goes_on && !c->mute && varlink_framer_next(&c->framer, &call, &size))
        goes_on = take_call(c, call, size);
    if (!goes_on)
        close_connection(c);
}

static void let_in(int replica)
{
    int fd = accept(fake.listeners[replica], NULL, NULL);
    fake.n_connections++;
    for (size_t i = 0; fd >= 0 && i < FAKE_CONNECTIONS_MAX; i++) {
        struct fake_connection *c = &fake.connections[i];
        if (c->fd >= 0)
            continue;
        *c = (struct fake_connection){.fd = fd, .mute = fake.mute_first && replica == 0};
        varlink_framer_init(&c->framer, 1 << 20);
        return;
    }
}

static void *run_fake(void *user)
{
    (void)user;
    for (;;) {
        struct pollfd fds[1 + FAKE_REPLICAS + FAKE_CONNECTIONS_MAX];
        fds[0] = (struct pollfd){.fd = fake.stop[0], .events = POLLIN};
        for (int i = 0; i < FAKE_REPLICAS; i++)
            fds[1 + i] = (struct pollfd){.fd = fake.listeners[i], .events = POLLIN};
        for (int i = 0; i < FAKE_CONNECTIONS_MAX; i++)
            fds[1 + FAKE_REPLICAS + i] = (struct pollfd){.fd = fake.connections[i].fd, .events = POLLIN};
        poll(fds, 1 + FAKE_REPLICAS + FAKE_CONNECTIONS_MAX, -1);
        if (fds[0].revents)
            return NULL;
        for (int i = 0; i < FAKE_CONNECTIONS_MAX; i++)
            if (fds[1 + FAKE_REPLICAS + i].revents)
                serve(&fake.connections[i]);
        for (int i = 0; i < FAKE_REPLICAS; i++)
            if (fds[1 + i].revents)
                let_in(i);
    }
}

void fake_start(uint64_t seed, unsigned fail_percent, int64_t refuse_at)
{
    fake = (struct fake){.fail_percent = fail_percent, .refuse_at = refuse_at};
    prng_seed(&fake.prng, seed);
    assert_int_equal(pipe(fake.stop), 0);
    for (int i = 0; i < FAKE_CONNECTIONS_MAX; i++)
        fake.connections[i].fd = -1;
    for (int i = 0; i < FAKE_REPLICAS; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/%d/control", fake_dir, i);
        unlink(address.sun_path);
        fake.listeners[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(fake.listeners[i], (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(fake.listeners[i], 64), 0);
    }
}

void fake_script(const enum fate *fates, size_t n)
{
    fake_start(1, 0, -1);
    memcpy(fake.script, fates, n * sizeof(*fates));
    fake.n_script = (int64_t)n;
}

void fake_go(void)
{
    assert_int_equal(pthread_create(&fake.thread, NULL, run_fake, NULL), 0);
}

void fake_stop(void)
{
    assert_int_equal(write(fake.stop[1], "x", 1), 1);
    pthread_join(fake.thread, NULL);
    close(fake.stop[0]);
    close(fake.stop[1]);
    for (int i = 0; i < FAKE_REPLICAS; i++)
        close(fake.listeners[i]);
    for (int i = 0; i < FAKE_CONNECTIONS_MAX; i++)
        if (fake.connections[i].fd >= 0)
            close_connection(&fake.connections[i]);
}

static void message_settled(void *user, const struct settled *s)
{
    struct history *h = user;
    assert_int_equal(s->tag, h->n); /* they settle in order, each once */
    h->slots[h->n++] = s->slot;
    h->n_out_of_order += s->out_of_order;
    if (s->failure)
        h->refused = s->failure->status;
}

struct submitter *submitter_begin_named(const struct place *place, unsigned window, unsigned drop_rate,
                                        uint64_t timeout_msec, const char *key_prefix, int64_t since)
{
    struct submitter_options o = {
        .place = place,
        .author = "tester",
        .key_prefix = key_prefix,
        .since = since,
        .window = window,
        .drop_rate = drop_rate,
        .timeout_msec = timeout_msec,
        .settled = message_settled,
        .user = &history,
    };
    history = (struct history){.refused = EXIT_DONE};
    struct submitter *s = submitter_new(&o);
    assert_non_null(s);
    return s;
}

struct submitter *submitter_begin(const struct place *place, unsigned window, unsigned drop_rate, uint64_t timeout_msec)
{
    return submitter_begin_named(place, window, drop_rate, timeout_msec, NULL, -1);
}

int fake_enter(void **state)
{
    (void)state;
    char command[128];
    unsetenv("MPAXOS_DIR");
    if (!mkdtemp(fake_dir))
        return -1;
    snprintf(command, sizeof(command), "mkdir -p %s/run/0 %s/run/1", fake_dir, fake_dir);
    return system(command);
}

int fake_leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", fake_dir);
    return system(command);
}
