/* Sending in order, exactly once, through replicas that fail in every way that leaves the outcome open (traps 19 and
 * 24).
 *
 * Two fake replicas over one log run in a thread of their own: they take Submit and Position, remember keys, and by a
 * random number for each call close the connection before or after storing, answer Timeout with or without having
 * stored, or refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/submitter.h"
#include "paxos/prng.h"
#include "wire/varlink.h"

enum { REPLICAS = 2, CONNECTIONS_MAX = 16, LOG_MAX = 4096, FIRST_SLOT = 10, TEXT_MAX = 32 };

enum fate {
    FATE_STORE,
    FATE_CLOSE_BEFORE,
    FATE_CLOSE_AFTER,
    FATE_TIMEOUT_LOST,
    FATE_TIMEOUT_STORED,
    FATE_NO_QUORUM,
    FATE_SILENT
};

struct connection {
    int fd;              /* -1: free */
    bool mute, gives_up; /* gives_up: after a lost Timeout nothing on it is stored, as the daemon's streams have it */
    struct varlink_framer framer;
};

struct fake {
    pthread_t thread;
    int stop[2], listeners[REPLICAS];
    bool mute_first; /* replica 0 takes connections and says nothing, like a stopped process */
    struct connection connections[CONNECTIONS_MAX];
    struct prng prng;
    unsigned fail_percent;
    int64_t refuse_at; /* this Submit, counted from 0, is refused with NoQuorum; -1: none */
    int64_t n_submits;
    size_t n_log;
    struct {
        char key[SUBMITTER_KEY_MAX + 1], text[TEXT_MAX + 1];
    } log[LOG_MAX];
};

static char dir[] = "/tmp/test_ctl_submitter_XXXXXX";
static struct fake fake;

/* --- the fake replicas --- */

/* One whole reply, with its NUL. */
static void answer(struct connection *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void answer(struct connection *c, const char *format, ...)
{
    char bytes[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(bytes, sizeof(bytes), format, args);
    va_end(args);
    if (send(c->fd, bytes, (size_t)n + 1, MSG_NOSIGNAL) < 0)
        c->mute = true;
}

static void answer_slot(struct connection *c, size_t at, bool duplicate)
{
    answer(c, "{\"parameters\":{\"slot\":%zu,\"key\":\"%s\",\"duplicate\":%s}}", at + FIRST_SLOT, fake.log[at].key,
           duplicate ? "true" : "false");
}

static void answer_error(struct connection *c, const char *error)
{
    answer(c, "{\"error\":\"%s\",\"parameters\":{}}", error);
}

static size_t store(const char *key, const char *text, bool *ret_duplicate)
{
    for (size_t i = 0; i < fake.n_log; i++)
        if (!strcmp(fake.log[i].key, key)) {
            *ret_duplicate = true;
            return i;
        }
    *ret_duplicate = false;
    snprintf(fake.log[fake.n_log].key, sizeof(fake.log[0].key), "%s", key);
    snprintf(fake.log[fake.n_log].text, sizeof(fake.log[0].text), "%s", text);
    return fake.n_log++;
}

static enum fate draw_fate(void)
{
    if (fake.n_submits++ == fake.refuse_at)
        return FATE_NO_QUORUM;
    if (prng_next(&fake.prng) % 100 >= fake.fail_percent)
        return FATE_STORE;
    return (enum fate)(FATE_CLOSE_BEFORE + prng_next(&fake.prng) % 4);
}

/* False: the connection is to be closed. */
static bool take_submit(struct connection *c, const cJSON *parameters)
{
    const char *key = NULL, *text = NULL;
    bool duplicate;
    varlink_get_string(parameters, "key", &key);
    varlink_get_string(parameters, "text", &text);
    enum fate fate = c->gives_up ? FATE_TIMEOUT_LOST : draw_fate();
    if (fate == FATE_CLOSE_BEFORE)
        return false;
    if (fate == FATE_NO_QUORUM) {
        answer_error(c, "org.mpaxos.Replica.NoQuorum");
        return true;
    }
    if (fate == FATE_TIMEOUT_LOST) {
        c->gives_up = true;
        answer_error(c, "org.mpaxos.Replica.Timeout");
        return true;
    }
    size_t at = store(key, text, &duplicate);
    if (fate == FATE_STORE)
        answer_slot(c, at, duplicate);
    else if (fate == FATE_TIMEOUT_STORED)
        answer_error(c, "org.mpaxos.Replica.Timeout");
    return fate != FATE_CLOSE_AFTER;
}

static bool take_call(struct connection *c, const char *bytes, size_t size)
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
        answer(c, "{\"parameters\":{\"slot\":%d}}", FIRST_SLOT - 1);
    }
    cJSON_Delete(tree);
    return goes_on;
}

static void close_connection(struct connection *c)
{
    close(c->fd);
    varlink_framer_done(&c->framer);
    c->fd = -1;
}

static void serve(struct connection *c)
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
    for (size_t i = 0; fd >= 0 && i < CONNECTIONS_MAX; i++) {
        struct connection *c = &fake.connections[i];
        if (c->fd >= 0)
            continue;
        *c = (struct connection){.fd = fd, .mute = fake.mute_first && replica == 0};
        varlink_framer_init(&c->framer, 1 << 20);
        return;
    }
}

static void *run_fake(void *user)
{
    (void)user;
    for (;;) {
        struct pollfd fds[1 + REPLICAS + CONNECTIONS_MAX];
        fds[0] = (struct pollfd){.fd = fake.stop[0], .events = POLLIN};
        for (int i = 0; i < REPLICAS; i++)
            fds[1 + i] = (struct pollfd){.fd = fake.listeners[i], .events = POLLIN};
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            fds[1 + REPLICAS + i] = (struct pollfd){.fd = fake.connections[i].fd, .events = POLLIN};
        poll(fds, 1 + REPLICAS + CONNECTIONS_MAX, -1);
        if (fds[0].revents)
            return NULL;
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            if (fds[1 + REPLICAS + i].revents)
                serve(&fake.connections[i]);
        for (int i = 0; i < REPLICAS; i++)
            if (fds[1 + i].revents)
                let_in(i);
    }
}

static void fake_start(uint64_t seed, unsigned fail_percent, int64_t refuse_at)
{
    fake = (struct fake){.fail_percent = fail_percent, .refuse_at = refuse_at};
    prng_seed(&fake.prng, seed);
    assert_int_equal(pipe(fake.stop), 0);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        fake.connections[i].fd = -1;
    for (int i = 0; i < REPLICAS; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/%d/control", dir, i);
        unlink(address.sun_path);
        fake.listeners[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(fake.listeners[i], (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(fake.listeners[i], 64), 0);
    }
}

static void fake_go(void)
{
    assert_int_equal(pthread_create(&fake.thread, NULL, run_fake, NULL), 0);
}

static void fake_stop(void)
{
    assert_int_equal(write(fake.stop[1], "x", 1), 1);
    pthread_join(fake.thread, NULL);
    close(fake.stop[0]);
    close(fake.stop[1]);
    for (int i = 0; i < REPLICAS; i++)
        close(fake.listeners[i]);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (fake.connections[i].fd >= 0)
            close_connection(&fake.connections[i]);
}

/* --- the tests --- */

struct history {
    uint64_t n, n_out_of_order;
    int64_t slots[LOG_MAX];
    enum exit_status refused; /* EXIT_DONE: nothing was */
};

static void message_settled(void *user, const struct settled *s)
{
    struct history *h = user;
    assert_int_equal(s->tag, h->n); /* they settle in order, each once */
    h->slots[h->n++] = s->slot;
    h->n_out_of_order += s->out_of_order;
    if (s->failure)
        h->refused = s->failure->status;
}

static struct history history;

static struct submitter *submitter_begin(const struct place *place, unsigned window, unsigned drop_rate,
                                         uint64_t timeout_msec)
{
    struct submitter_options o = {
        .place = place,
        .author = "tester",
        .since = -1,
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

static void send_all(struct submitter *s, uint64_t n)
{
    for (uint64_t i = 0; i < n;) {
        char text[TEXT_MAX];
        bool ignored;
        int size = snprintf(text, sizeof(text), "message %llu", (unsigned long long)i);
        if (submitter_add(s, text, (size_t)size, i))
            i++;
        else
            assert_int_equal(submitter_work(s, -1, &ignored), 0);
    }
    if (submitter_drain(s) < 0)
        fail_msg("%s", submitter_failure(s)->text);
}

static void check_log(uint64_t n)
{
    assert_int_equal(history.n, n);
    assert_int_equal(fake.n_log, n);
    for (uint64_t i = 0; i < n; i++) {
        char text[TEXT_MAX];
        snprintf(text, sizeof(text), "message %llu", (unsigned long long)i);
        assert_string_equal(fake.log[i].text, text);
        assert_int_equal(history.slots[i], (int64_t)i + FIRST_SLOT);
    }
}

static void test_in_order_and_once_whatever_fails(void **state)
{
    (void)state;
    const struct place place = {.id = -1, .dir = dir};
    const unsigned windows[] = {1, 2, 16, SUBMITTER_WINDOW_MAX};
    for (uint64_t seed = 1; seed <= 12; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        fake_start(seed, seed % 3 == 0 ? 0 : 10, -1);
        fake_go();
        struct submitter *s = submitter_begin(&place, windows[seed % 4], 0, 20000);
        send_all(s, 400);
        submitter_free(s);
        fake_stop();
        check_log(400);
        assert_int_equal(history.n_out_of_order, 0);
    }
}

static void test_losing_own_requests_and_answers(void **state)
{
    (void)state;
    const struct place place = {.id = 1, .dir = dir};
    fake_start(99, 5, -1);
    fake_go();
    struct submitter *s = submitter_begin(&place, SUBMITTER_WINDOW_MAX, 30, 20000);
    send_all(s, 40);
    submitter_free(s);
    fake_stop();
    check_log(40);
    assert_true(fake.n_submits > 40);
}

/* Refused for certain while later ones on the same connection are taken: order breaks, and must not break silently. */
static void test_a_refusal_in_between_is_noticed(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = dir};
    fake_start(1, 0, 3);
    struct submitter *s = submitter_begin(&place, 8, 0, 5000);
    for (uint64_t i = 0; i < 8; i++)
        assert_true(submitter_add(s, "x", 1, i));
    assert_false(submitter_add(s, "x", 1, 8));
    fake_go();
    assert_int_equal(submitter_drain(s), 0);
    submitter_free(s);
    fake_stop();
    assert_int_equal(history.n, 8);
    assert_int_equal(fake.n_log, 8);
    assert_true(history.n_out_of_order > 0);
}

static void test_goes_on_with_another_when_one_is_mute(void **state)
{
    (void)state;
    const struct place place = {.id = -1, .dir = dir};
    fake_start(1, 0, -1);
    fake.mute_first = true;
    fake_go();
    struct submitter *s = submitter_begin(&place, 1, 0, 5000);
    send_all(s, 3);
    submitter_free(s);
    fake_stop();
    check_log(3);
}

static void test_gives_up_with_the_reason(void **state)
{
    (void)state;
    const struct place first = {.id = 0, .dir = dir}, nowhere = {.id = 7, .dir = dir};
    fake_start(5, 0, -1);
    fake.mute_first = true;
    fake_go();
    struct submitter *s = submitter_begin(&first, 1, 0, 300);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    assert_int_equal(submitter_failure(s)->status, EXIT_NO_DAEMON); /* never got as far as sending it */
    submitter_free(s);
    fake_stop();

    /* nobody listens there any more */
    s = submitter_begin(&first, 1, 0, 300);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    assert_int_equal(submitter_failure(s)->status, EXIT_NO_DAEMON);
    submitter_free(s);

    s = submitter_begin(&nowhere, 1, 0, 300);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    assert_int_equal(submitter_failure(s)->status, EXIT_NO_DAEMON);
    submitter_free(s);
}

static void test_unknown_is_not_failed(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = dir};
    for (unsigned window = 1; window <= 4; window += 3) {
        fake_start(7, 100, -1);
        fake_go();
        struct submitter *s = submitter_begin(&place, window, 0, 400);
        assert_true(submitter_add(s, "x", 1, 0));
        assert_int_equal(submitter_drain(s), -1);
        assert_int_equal(submitter_failure(s)->status, EXIT_OUTCOME_UNKNOWN);
        assert_string_equal(submitter_failure(s)->error, "org.mpaxos.Replica.Timeout");
        assert_non_null(strstr(submitter_failure(s)->text, "--since 9"));
        assert_int_equal(submitter_first_unsettled(s), 0);
        submitter_free(s);
        fake_stop();
        assert_true(fake.n_log <= 1);
    }
}

static int enter(void **state)
{
    (void)state;
    char command[128];
    unsetenv("MPAXOS_DIR");
    if (!mkdtemp(dir))
        return -1;
    snprintf(command, sizeof(command), "mkdir -p %s/run/0 %s/run/1", dir, dir);
    return system(command);
}

static int leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_and_once_whatever_fails),
        cmocka_unit_test(test_losing_own_requests_and_answers),
        cmocka_unit_test(test_a_refusal_in_between_is_noticed),
        cmocka_unit_test(test_goes_on_with_another_when_one_is_mute),
        cmocka_unit_test(test_gives_up_with_the_reason),
        cmocka_unit_test(test_unknown_is_not_failed),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
