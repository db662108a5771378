/* One user's share of the control socket, at its limits: what one takes, the others still have. Everybody connects from
 * this process, which becomes another user for that moment; so it takes root. */
#include "tests/unit/control_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/control_connection.h"

#define R          "org.mpaxos.Replica."
#define POSITION   "{\"method\":\"" R "Position\"}"
#define POSITION_0 "{\"parameters\":{\"slot\":0}}"
#define SUBMIT     "{\"method\":\"" R "Submit\",\"parameters\":{\"text\":\"x\"}}"

/* All may have so many connections, a user a part of them; and the last few are for administration. */
enum {
    CONNECTIONS = 256,
    OF_USER = CONNECTIONS / CONTROL_USER_PART,
    RESERVED = CONNECTIONS / CONTROL_RESERVED_PART,
    ADA = 54001,
};

static struct fixture *f;
static struct client *clients[4 * CONNECTIONS];
static unsigned n_clients;
static struct control_stats stats;

static int set_up(void **state)
{
    (void)state;
    struct rlimit limit;
    if (geteuid() != 0)
        return 0;
    f = fixture_start_small(CONNECTIONS);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    chmod(f->path, 0666);
    return chmod(f->dir, 0755);
}

static void close_all(void)
{
    for (unsigned i = 0; i < n_clients; i++)
        client_close(clients[i]);
    n_clients = 0;
    fixture_turns(f, 3);
}

static int tear_down(void **state)
{
    (void)state;
    if (geteuid() != 0)
        return 0;
    close_all();
    fixture_stop(f);
    return 0;
}

static struct client *connect_as(uid_t user)
{
    assert_int_equal(setegid(user == 0 ? 0 : getegid()), 0);
    assert_int_equal(seteuid(user), 0);
    struct client *c = client_open(f);
    assert_int_equal(seteuid(0), 0);
    clients[n_clients++] = c;
    fixture_turn(f);
    return c;
}

static void is_served(struct client *c)
{
    client_ask(c, POSITION, POSITION_0);
}

static void test_connections_of_one_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct client *c = NULL;
    for (unsigned i = 0; i < OF_USER; i++) {
        c = connect_as(ADA);
        if (i + 2 >= OF_USER)
            is_served(c);
    }
    client_expect_closed(connect_as(ADA));
    control_stats(f->control, &stats);
    assert_int_equal(stats.connections_refused, 1);
    assert_int_equal(stats.refused_of_user, 1);
    assert_int_equal(stats.connections_now, OF_USER);
    is_served(connect_as(ADA + 1));
    is_served(connect_as(0));
    /* When one goes, another may come. */
    client_close(c);
    memmove(&clients[OF_USER - 1], &clients[OF_USER], (--n_clients - (OF_USER - 1)) * sizeof(clients[0]));
    fixture_turns(f, 3);
    is_served(connect_as(ADA));
    client_expect_closed(connect_as(ADA));
}

static void test_the_last_ones_are_for_administration(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct client *c = NULL;
    for (unsigned i = 0; i < CONNECTIONS - RESERVED; i++) {
        c = connect_as(ADA + i / OF_USER);
        if (i + 2 >= CONNECTIONS - RESERVED)
            is_served(c);
    }
    client_expect_closed(connect_as(ADA + CONTROL_USER_PART));
    control_stats(f->control, &stats);
    assert_int_equal(stats.connections_refused, 1);
    assert_int_equal(stats.refused_of_user, 0);
    for (unsigned i = 0; i < RESERVED; i++)
        is_served(connect_as(0));
    client_expect_closed(connect_as(0));
}

static void test_calls_of_one_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    enum { EACH = 128 };
    struct client *c = NULL;
    f->driver->hold = true;
    for (unsigned i = 0; i < CONTROL_USER_CALLS_MAX - 1; i++) {
        if (i % EACH == 0)
            c = connect_as(ADA);
        client_call(c, SUBMIT);
        fixture_turn(f);
    }
    assert_int_equal(f->driver->n_open, CONTROL_USER_CALLS_MAX - 1);
    client_call(connect_as(ADA), SUBMIT);
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_open, CONTROL_USER_CALLS_MAX);
    struct client *late = connect_as(ADA);
    client_ask(late, SUBMIT, "{\"error\":\"" R "Overloaded\",\"parameters\":{\"retry_ms\":100}}");
    is_served(late);
    client_call(c, SUBMIT); /* behind others of its own it waits */
    client_expect_quiet(c);
    control_stats(f->control, &stats);
    assert_true(stats.calls_of_user >= 2);

    client_call(connect_as(ADA + 1), SUBMIT);
    client_call(connect_as(0), SUBMIT);
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_open, CONTROL_USER_CALLS_MAX + 2);
    for (unsigned i = 0; i < EACH; i++)
        fake_settle(f->driver, 0, SUBMIT_CHOSEN, 5);
    fixture_turns(f, 3);
    client_call(late, SUBMIT);
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_open, CONTROL_USER_CALLS_MAX + 2 - EACH + 1);
}

/* Answered is not settled: what timed out is the user's as long as the log has it. */
static void test_calls_that_timed_out(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    const char *timeout = "{\"error\":\"" R "Timeout\"";
    const char *overloaded = "{\"error\":\"" R "Overloaded\",\"parameters\":{\"retry_ms\":100}}";
    const char call[] = "{\"method\":\"" R "Submit\",\"parameters\":{\"text\":\"x\",\"timeout_ms\":1}}";
    struct client *c = NULL;
    f->driver->hold = true;
    for (unsigned i = 0; i < CONTROL_USER_CALLS_MAX; i++) {
        if (i % CONTROL_CALLS_MAX == 0)
            c = connect_as(ADA);
        client_call(c, call);
        assert_memory_equal(client_reply(c), timeout, strlen(timeout));
    }
    assert_int_equal(f->driver->n_open, CONTROL_USER_CALLS_MAX);
    client_ask(c, call, overloaded);               /* the connection has its share */
    client_ask(connect_as(ADA), call, overloaded); /* and the user */
    assert_int_equal(f->driver->n_open, CONTROL_USER_CALLS_MAX);

    fake_settle(f->driver, CONTROL_USER_CALLS_MAX - CONTROL_CALLS_MAX, SUBMIT_CHOSEN, 5); /* the connection's first */
    client_call(c, SUBMIT);
    client_expect_quiet(c);
    assert_int_equal(f->driver->n_open, CONTROL_USER_CALLS_MAX);
}

static void questions_of_one_user(const char *call, unsigned of_all, const char *answer)
{
    if (geteuid() != 0)
        skip();
    f->control->connections_max = sizeof(clients) / sizeof(clients[0]);
    const char *overloaded = "{\"error\":\"" R "Overloaded\",\"parameters\":{\"retry_ms\":100}}";
    f->driver->hold_answers = true;
    for (uid_t user = ADA; user < ADA + CONTROL_USER_PART; user++) {
        for (unsigned i = 0; i < of_all / CONTROL_USER_PART; i++) {
            client_call(connect_as(user), call);
            fixture_turn(f);
        }
        client_ask(connect_as(user), call, overloaded);
    }
    client_ask(connect_as(ADA + CONTROL_USER_PART), call, overloaded); /* all have enough */
    struct client *root = connect_as(0);
    client_call(root, call);
    client_expect_quiet(root);

    client_close(clients[0]);
    clients[0] = clients[--n_clients];
    fixture_turns(f, 3);
    struct client *late = connect_as(ADA + CONTROL_USER_PART);
    client_call(late, call);
    fixture_turn(f);
    fake_answer(f->driver);
    assert_has(client_reply(late), answer);
    client_call(late, call);
    client_expect_quiet(late);
}

static void test_flushes_of_one_user(void **state)
{
    (void)state;
    questions_of_one_user("{\"method\":\"" R "Flush\",\"parameters\":{\"all\":true,\"timeout_ms\":3600000}}",
                          CONTROL_FLUSHES_MAX, "unreachable");
}

static void test_positions_of_one_user(void **state)
{
    (void)state;
    questions_of_one_user("{\"method\":\"" R
                          "Position\",\"parameters\":{\"linearizable\":true,\"timeout_ms\":3600000}}",
                          CONTROL_POSITIONS_MAX, "\"slot\":0");
}

static void submit_sized(struct client *c, size_t size)
{
    char *call = malloc(size + 256);
    int at = sprintf(call, "{\"method\":\"" R "Submit\",\"parameters\":{\"text\":\"");
    memset(call + at, 'x', size);
    strcpy(call + at + size, "\"}}");
    client_call(c, call);
    fixture_turn(f);
    free(call);
}

static void test_bytes_of_one_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    enum { TEXT = 16384, N = CONTROL_USER_BYTES_MAX / TEXT };
    struct client *c = NULL;
    f->control->message_bytes_max = TEXT;
    f->driver->hold = true;
    for (unsigned i = 0; i < N; i++) {
        if (i % 16 == 0)
            c = connect_as(ADA);
        submit_sized(c, i == 0 ? TEXT - 1 : TEXT);
        fixture_turns(f, 2);
    }
    assert_int_equal(f->driver->n_open, N);
    struct client *late = connect_as(ADA);
    submit_sized(late, 2);
    client_expect(late, "{\"error\":\"" R "Overloaded\",\"parameters\":{\"retry_ms\":100}}");
    submit_sized(late, 1);
    fixture_turns(f, 2);
    assert_int_equal(f->driver->n_open, N + 1);
    submit_sized(connect_as(ADA), 1);
    client_expect(clients[n_clients - 1], "{\"error\":\"" R "Overloaded\",\"parameters\":{\"retry_ms\":100}}");
    submit_sized(connect_as(ADA + 1), TEXT);
    fixture_turns(f, 2);
    assert_int_equal(f->driver->n_open, N + 2);
}

/* --- what waits --- */

enum { OF_ALL_BYTES = 32000, OF_USER_BYTES = OF_ALL_BYTES / CONTROL_USER_PART };

static struct connection *newest(void)
{
    return TAILQ_LAST(&f->control->connections, connection_list);
}

/* The beginning of a call. */
static struct client *begin_call(uid_t user, size_t size)
{
    char call[OF_ALL_BYTES];
    struct client *c = connect_as(user);
    memset(call, ' ', sizeof(call));
    assert_true(client_send(c, call, size));
    fixture_turns(f, 2);
    return c;
}

static void test_calls_of_one_user_that_are_not_whole(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    f->control->queued_bytes_max = OF_ALL_BYTES;
    for (int i = 0; i < 7; i++)
        begin_call(ADA, OF_USER_BYTES / 8);
    struct client *last = begin_call(ADA, OF_USER_BYTES / 8 - 1);
    control_stats(f->control, &stats);
    assert_int_equal(stats.queued_bytes[QUEUE_IN], OF_USER_BYTES - 1);
    assert_int_equal(stats.queues_full, 0);
    assert_true(newest()->reading);
    assert_true(client_send(last, " ", 1));
    fixture_turns(f, 2);
    control_stats(f->control, &stats);
    assert_int_equal(stats.queues_full, 1);
    assert_false(newest()->reading); /* so one more is not even read, here or on another connection */
    assert_true(client_send(last, " ", 1));
    assert_true(client_send(clients[1], " ", 1));
    fixture_turns(f, 2);
    control_stats(f->control, &stats);
    assert_int_equal(stats.queued_bytes[QUEUE_IN], OF_USER_BYTES);
    is_served(connect_as(ADA + 1));
    is_served(connect_as(0));
    /* The sweep makes a quarter of it free, and the rest goes on. */
    for (uint64_t until = uv_hrtime() + UINT64_C(20000000000); stats.closed_full < 2 && uv_hrtime() < until;) {
        fixture_turn(f);
        control_stats(f->control, &stats);
    }
    assert_int_equal(stats.closed_full, 2);
    fixture_turns(f, 3);
    client_call(last, POSITION);
    client_expect(last, POSITION_0);
    client_expect_closed(clients[0]);
    is_served(connect_as(ADA));
}

/* What waits in its turn takes more than its text did. */
static void test_a_call_that_waits(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    enum { VALUES = 1000 };
    char call[4096];
    f->driver->hold = true;
    struct client *c = connect_as(ADA);
    client_call(c, SUBMIT);
    char *p = call + sprintf(call, "{\"method\":\"" R "Position\",\"parameters\":{\"x\":[1");
    for (int i = 1; i < VALUES; i++)
        p += sprintf(p, ",1");
    strcpy(p, "]}}");
    client_call(c, call);
    fixture_turns(f, 3);
    control_stats(f->control, &stats);
    assert_in_range(stats.queued_bytes[QUEUE_IN], VALUES * sizeof(cJSON), 2 * VALUES * sizeof(cJSON));
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 5);
    client_reply(c);
    assert_has(client_reply(c), "InvalidParameter");
    control_stats(f->control, &stats);
    assert_int_equal(stats.queued_bytes[QUEUE_IN], 0);
}

/* A client that has so much to read, as if it had not read it. */
static struct client *owe(uid_t user, size_t size)
{
    struct client *c = connect_as(user);
    struct connection *k = newest();
    char byte = 'x';
    for (size_t i = 0; i < size; i++)
        varlink_write_bytes(&k->out, i + 1 < size ? &byte : "", 1);
    account_count(k, QUEUE_OUT, size);
    return c;
}

/* Now it reads it. */
static void pay(struct client *c, struct connection *k)
{
    connection_wake(k);
    client_reply(c);
    fixture_turns(f, 3);
}

static void test_replies_that_one_user_does_not_read(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    f->control->queued_bytes_max = OF_ALL_BYTES;
    struct client *lazy = owe(ADA, OF_USER_BYTES - 1);
    struct connection *owing = newest();
    is_served(connect_as(ADA));
    struct client *more = owe(ADA, 1);
    struct connection *one = newest();
    struct client *held = connect_as(ADA);
    client_call(held, POSITION);
    client_expect_quiet(held);
    control_stats(f->control, &stats);
    assert_int_equal(stats.queues_full, 1);
    assert_int_equal(stats.queued_bytes[QUEUE_OUT], OF_USER_BYTES);
    is_served(connect_as(ADA + 1));
    is_served(connect_as(0));
    pay(more, one); /* still too much, until a quarter is free */
    client_expect_quiet(held);
    pay(lazy, owing);
    client_expect(held, POSITION_0);
    control_stats(f->control, &stats);
    assert_int_equal(stats.queued_bytes[QUEUE_OUT], 0);
    /* What a connection held goes with it. */
    owe(ADA, OF_USER_BYTES + 1);
    client_call(held, POSITION);
    client_expect_quiet(held);
    connection_close(newest());
    client_expect(held, POSITION_0);
}

/* So much of all together, by users of whom none has enough: then it takes what comes over the limit. */
static void test_calls_of_all_that_are_not_whole(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    f->control->queued_bytes_max = OF_ALL_BYTES;
    for (size_t over = 0; over <= 1; over++) {
        struct client *first = begin_call(ADA, OF_USER_BYTES - 1);
        for (unsigned i = 1; i < CONTROL_USER_PART; i++)
            begin_call(ADA + i, OF_USER_BYTES - 1);
        struct client *last = begin_call(ADA + CONTROL_USER_PART, CONTROL_USER_PART - 1);
        is_served(connect_as(ADA + 20));
        assert_true(client_send(last, "  ", 1 + over));
        fixture_turns(f, 2);
        control_stats(f->control, &stats);
        assert_int_equal(stats.queued_bytes[QUEUE_IN], OF_ALL_BYTES + over);
        assert_int_equal(stats.queues_full, 1 + over);
        struct client *held = connect_as(ADA + 20);
        assert_false(newest()->reading);
        assert_true(client_send(first, " ", 1));
        fixture_turns(f, 2);
        control_stats(f->control, &stats);
        assert_int_equal(stats.queued_bytes[QUEUE_IN], OF_ALL_BYTES + over);
        is_served(connect_as(0));
        client_ask(held, POSITION, POSITION_0); /* once the sweep has made room */
        close_all();
    }
}

static void test_replies_that_nobody_reads(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    f->control->queued_bytes_max = OF_ALL_BYTES;
    for (size_t over = 0; over <= 1; over++) {
        for (unsigned i = 0; i < CONTROL_USER_PART; i++)
            owe(ADA + i, OF_USER_BYTES - 1);
        owe(ADA + CONTROL_USER_PART, CONTROL_USER_PART - 1);
        is_served(connect_as(ADA + 20));
        owe(ADA + CONTROL_USER_PART, 1 + over);
        struct client *held = connect_as(ADA + 20);
        client_call(held, POSITION);
        client_expect_quiet(held);
        control_stats(f->control, &stats);
        assert_int_equal(stats.queued_bytes[QUEUE_OUT], OF_ALL_BYTES + over);
        is_served(connect_as(0));
        for (unsigned i = 0; i < 2; i++) /* a quarter, and what was over */
            connection_close(TAILQ_FIRST(&f->control->connections));
        client_expect(held, POSITION_0);
        close_all();
    }
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_connections_of_one_user),
        TEST(test_the_last_ones_are_for_administration),
        TEST(test_calls_that_timed_out),
        TEST(test_flushes_of_one_user),
        TEST(test_positions_of_one_user),
        TEST(test_calls_of_one_user),
        TEST(test_bytes_of_one_user),
        TEST(test_calls_of_one_user_that_are_not_whole),
        TEST(test_calls_of_all_that_are_not_whole),
        TEST(test_a_call_that_waits),
        TEST(test_replies_that_one_user_does_not_read),
        TEST(test_replies_that_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
