/* What may wait on one connection of the control socket, at its limits: calls in flight, calls that are not begun,
 * replies that are not read. */
#include "tests/unit/control_client.h"

#include <string.h>
#include <sys/socket.h>

#include "host/control_connection.h"

#define R          "org.mpaxos.Replica."
#define SUBMIT     "{\"method\":\"" R "Submit\",\"parameters\":{\"text\":\"x\"}}"
#define POSITION   "{\"method\":\"" R "Position\"}"
#define FLUSH      "{\"method\":\"" R "Flush\"}"
#define POSITION_0 "{\"parameters\":{\"slot\":0}}"

static struct fixture *f;
static struct client *c;
static struct control_stats stats;

static int set_up(void **state)
{
    (void)state;
    f = fixture_start(0);
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

static void test_calls_in_flight_at_the_limit(void **state)
{
    (void)state;
    f->driver->hold = true;
    for (unsigned i = 0; i < CONTROL_CALLS_MAX - 1; i++)
        client_call(c, SUBMIT);
    fixture_turns(f, 10);
    for (unsigned i = CONTROL_CALLS_MAX - 1; i <= CONTROL_CALLS_MAX + 1; i++) {
        const unsigned begun = i < CONTROL_CALLS_MAX ? i : CONTROL_CALLS_MAX;
        assert_int_equal(f->driver->n_open, begun);
        control_stats(f->control, &stats);
        assert_int_equal(stats.calls_held > 0, i > CONTROL_CALLS_MAX);
        client_call(c, SUBMIT);
        fixture_turns(f, 10);
    }
}

static struct connection *only_connection(void)
{
    return TAILQ_FIRST(&f->control->connections);
}

/* So many bytes of replies, as if the client had not read them, and then a call. */
static void test_bytes_queued_at_the_limit(void **state)
{
    (void)state;
    fixture_turn(f);
    struct connection *k = only_connection();
    for (int extra = -1; extra <= 1; extra++) {
        char byte = 'x';
        fixture_turns(f, 3); /* nothing is left to do */
        for (int i = 1; i < CONTROL_PAUSE_BYTES + extra; i++)
            varlink_write_bytes(&k->out, &byte, 1);
        varlink_write_bytes(&k->out, "", 1);
        control_stats(f->control, &stats);
        const uint64_t calls = stats.calls, pauses = stats.pauses;
        const char call[] = POSITION;
        assert_int_equal(send(c->fd, call, sizeof(call), MSG_NOSIGNAL), sizeof(call));
        fixture_turn(f);
        control_stats(f->control, &stats);
        assert_int_equal(stats.calls - calls, extra < 0);
        assert_int_equal(stats.pauses - pauses, 1); /* behind the answer, too, which reaches the limit */
        connection_wake(k);
        assert_int_equal(strlen(client_reply(c)), CONTROL_PAUSE_BYTES + extra - 1);
        client_expect(c, POSITION_0);
    }
}

/* So many bytes of whole calls, behind one that is not answered yet: then it is not read from. */
static void test_bytes_of_calls_that_wait_at_the_limit(void **state)
{
    (void)state;
    f->driver->hold = true;
    fixture_turn(f);
    struct connection *k = only_connection();
    for (int extra = -1; extra <= 1; extra++) {
        static char calls[CONTROL_INPUT_BYTES + 1];
        enum { EACH = 4096 };
        const size_t size = (size_t)(CONTROL_INPUT_BYTES + extra);
        memset(calls, ' ', sizeof(calls));
        size_t n = 0;
        for (size_t at = 0; at < size; at += EACH, n++) { /* the last one is shorter, or a byte longer */
            memcpy(calls + at, POSITION, strlen(POSITION));
            if (at > 0)
                calls[at - 1] = 0;
            if (size - at <= EACH + 1)
                at = size;
        }
        calls[size - 1] = 0;
        client_call(c, SUBMIT);
        client_call(c, POSITION); /* it waits apart from the others */
        fixture_turns(f, 3);
        assert_true(client_send(c, calls, size));
        fixture_turns(f, 3);
        assert_int_equal(k->in.size, size);
        assert_int_equal(k->reading, extra < 0);
        fake_settle(f->driver, 0, SUBMIT_CHOSEN, 3);
        assert_has(client_reply(c), "\"slot\":3");
        for (size_t i = 0; i <= n; i++)
            client_expect(c, POSITION_0);
        fixture_turns(f, 3);
        assert_true(k->reading);
    }
}

/* What a long call was read into is given back, whatever came behind it; whole calls that wait are still there. */
static void test_memory_behind_a_long_call(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20, SMALL = 16 << 10 };
    static char call[SIZE];
    fixture_turn(f);
    struct connection *k = only_connection();
    memset(call, ' ', SIZE);
    memcpy(call, FLUSH, strlen(FLUSH));
    call[SIZE - 2] = 0;
    call[SIZE - 1] = ' ';
    f->driver->hold_answers = true;
    assert_true(client_send(c, call, SIZE));
    fixture_turns(f, 50);
    assert_int_equal(f->driver->n_questions, 1);
    assert_int_equal(k->in.size, 1);
    assert_in_range(k->in.capacity, 1, SMALL);

    /* In one piece with what ends it, so that nobody looks for a further one. */
    memcpy(call + SIZE - 2 - sizeof(POSITION), POSITION, sizeof(POSITION));
    call[SIZE - 3 - sizeof(POSITION)] = 0;
    fake_answer(f->driver);
    client_reply(c);
    assert_true(client_send(c, call, SIZE - 2));
    fixture_turns(f, 50);
    assert_int_equal(f->driver->n_questions, 1);
    assert_int_equal(k->in.size, sizeof(POSITION));
    assert_in_range(k->in.capacity, 1, SMALL);
    fake_answer(f->driver);
    client_reply(c);
    client_expect(c, POSITION_0);
}

/* What a reply was written into is given back, too, where nobody wants it. */
static void test_memory_behind_a_oneway_call(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 1000; i++)
        fake_append(f->driver, "ann", text, sizeof(text), 0);
    client_call(c, "{\"method\":\"" R "Read\",\"oneway\":true}");
    client_expect_quiet(c);
    assert_int_equal(f->driver->n_reads, 1);
    assert_in_range(only_connection()->out.capacity, 0, 16 << 10);
}

/* The user has had enough of the loop's next turn. */
static void spend_turn(const struct connection *k)
{
    k->account->turn = f->control->n_turns + 1;
    k->account->spent_nsec = CONTROL_USER_TURN_USEC * UINT64_C(1000);
}

/* Then no call begins in it, and the connection is read once, but not twice. */
static void test_reading_out_of_turn(void **state)
{
    (void)state;
    enum { EACH = 4096, SIZE = sizeof(f->control->input) + 1 };
    static char calls[SIZE]; /* the last one is not whole */
    fixture_turns(f, 2);
    struct connection *k = only_connection();
    client_call(c, POSITION);
    spend_turn(k);
    fixture_turn(f);
    control_stats(f->control, &stats);
    assert_int_equal(stats.calls, 0);
    assert_int_equal(k->in.size, sizeof(POSITION));
    assert_true(k->reading);
    client_expect(c, POSITION_0);
    fixture_turns(f, 3);
    memset(calls, ' ', SIZE);
    for (size_t at = EACH; at < SIZE - 1; at += EACH) {
        memcpy(calls + at - EACH, POSITION, strlen(POSITION));
        calls[at - 1] = 0;
    }
    assert_true(client_send(c, calls, SIZE));
    spend_turn(k);
    fixture_turn(f);
    assert_int_equal(k->in.size, SIZE);
    assert_false(k->reading);
    fixture_turns(f, 2);
    assert_true(k->reading);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_calls_in_flight_at_the_limit),          TEST(test_bytes_queued_at_the_limit),
        TEST(test_bytes_of_calls_that_wait_at_the_limit), TEST(test_memory_behind_a_long_call),
        TEST(test_memory_behind_a_oneway_call),           TEST(test_reading_out_of_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
