/* Read on the control socket: pages, streams, followers, and readers that do not read. */
#include "tests/unit/control_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/varlink.h"

#define R         "org.mpaxos.Replica."
#define READ(p)   "{\"method\":\"" R "Read\",\"parameters\":{" p "}}"
#define STREAM(p) "{\"method\":\"" R "Read\",\"parameters\":{" p "},\"more\":true}"

enum { STALL_MS = 150 };

static struct fixture *f;
static struct client *c;

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

static void append_text(const char *text)
{
    fake_append(f->driver, "ann", text, strlen(text), 0);
}

/* What a reply to Read says. */
struct page {
    int64_t next;
    unsigned n;
    int64_t first, last; /* slots */
    bool continues;
};

/* Reads a reply, and checks that its messages stand in order. */
static struct page page_of(const char *reply)
{
    char reason[VARLINK_REASON_MAX + 1];
    struct page page = {.next = -1, .first = -1, .last = -1};
    cJSON *tree = varlink_parse(reply, strlen(reply), reason);
    if (tree == NULL)
        fail_msg("%s", reason);
    const cJSON *item, *p = cJSON_GetObjectItem(tree, "parameters");
    assert_true(varlink_get_bool(tree, "continues", &page.continues));
    assert_true(varlink_get_int(p, "next", 0, INT64_MAX, &page.next));
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(p, "messages"))
    {
        int64_t slot = -1;
        assert_true(varlink_get_int(item, "slot", 0, INT64_MAX, &slot));
        assert_true(slot > page.last);
        if (page.n++ == 0)
            page.first = slot;
        page.last = slot;
    }
    assert_true(page.n == 0 || page.next > page.last);
    cJSON_Delete(tree);
    return page;
}

static struct page next_page(void)
{
    return page_of(client_reply(c));
}

static struct page read_page(const char *call)
{
    client_call(c, call);
    return next_page();
}

static void page_is(struct page p, unsigned n, int64_t first, int64_t last, int64_t next)
{
    assert_int_equal(p.n, n);
    if (n > 0) {
        assert_int_equal(p.first, first);
        assert_int_equal(p.last, last);
    }
    assert_int_equal(p.next, next);
}

static void test_reply(void **state)
{
    (void)state;
    client_ask(c, READ(""), "{\"parameters\":{\"messages\":[],\"next\":1}}");
    append_text("h\xc3\xa9\n");
    fake_append(f->driver, "bob", "x\"y", 3, 2);
    client_ask(c, READ("\"from\":0"),
               "{\"parameters\":{\"messages\":["
               "{\"slot\":1,\"time_usec\":1790000000000002,\"author\":\"ann\",\"text\":\"h\xc3\xa9\\n\"},"
               "{\"slot\":4,\"time_usec\":1790000000000005,\"author\":\"bob\",\"text\":\"x\\\"y\"}],\"next\":5}}");
}

static void test_ranges(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        fake_append(f->driver, "ann", "x", 1, i == 5 ? 3 : 0); /* 1 to 5, 9 to 13 */
    page_is(read_page(READ("")), 10, 1, 13, 14);
    page_is(read_page(READ("\"count\":3")), 3, 1, 3, 4);
    page_is(read_page(READ("\"from\":4,\"count\":3")), 3, 4, 9, 10);
    page_is(read_page(READ("\"from\":6,\"count\":1")), 1, 9, 9, 10);
    page_is(read_page(READ("\"from\":13")), 1, 13, 13, 14);
    page_is(read_page(READ("\"from\":14")), 0, 0, 0, 14);
    page_is(read_page(READ("\"from\":9000")), 0, 0, 0, 9000);
    page_is(read_page(READ("\"from\":2,\"count\":0")), 0, 0, 0, 2);
    page_is(read_page(READ("\"tail\":2")), 2, 12, 13, 14);
    page_is(read_page(READ("\"tail\":9,\"count\":4")), 4, 2, 5, 9);
    page_is(read_page(READ("\"tail\":0")), 0, 0, 0, 14);
    page_is(read_page(READ("\"tail\":99")), 10, 1, 13, 14);
    client_ask(c, READ("\"follow\":true"), "{\"error\":\"org.varlink.service.ExpectedMore\",\"parameters\":{}}");
    f->driver->first_kept = 9;
    client_ask(c, READ("\"from\":8"), "{\"error\":\"" R "SlotTrimmed\",\"parameters\":{\"first_kept\":9}}");
    client_ask(c, STREAM("\"from\":8"), "{\"error\":\"" R "SlotTrimmed\",\"parameters\":{\"first_kept\":9}}");
    page_is(read_page(READ("")), 5, 9, 13, 14);
}

static void test_page_limits(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CONTROL_READ_MESSAGES_MAX + 1; i++)
        append_text("x");
    page_is(read_page(READ("\"count\":999")), 999, 1, 999, 1000);
    page_is(read_page(READ("\"count\":1000")), 1000, 1, 1000, 1001);
    page_is(read_page(READ("\"count\":1001")), 1000, 1, 1000, 1001);
    page_is(read_page(READ("")), 1000, 1, 1000, 1001);
    page_is(read_page(READ("\"from\":1001")), 1, 1001, 1001, 1002);

    /* Each byte takes six when it is escaped: the limit is the reply's. */
    char text[1000];
    memset(text, 1, sizeof(text));
    for (unsigned i = 0; i < 500; i++)
        fake_append(f->driver, "ann", text, sizeof(text), 0);
    client_call(c, READ("\"from\":1002"));
    const char *reply = client_reply(c);
    assert_in_range(strlen(reply), CONTROL_READ_BYTES_MAX - 8000, CONTROL_READ_BYTES_MAX + 8000);
    struct page p = page_of(reply);
    assert_in_range(p.n, 100, 250);
    assert_int_equal(p.next, p.last + 1);
    client_call(c, READ("\"tail\":1"));
    assert_int_equal(next_page().n, 1);
}

static void test_stream(void **state)
{
    (void)state;
    char text[500];
    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < 2000; i++)
        fake_append(f->driver, "ann", text, sizeof(text), i % 7 == 0);
    client_call(c, STREAM("\"from\":0"));
    client_call(c, "{\"method\":\"" R "Position\"}");
    unsigned n = 0, n_pages = 0;
    int64_t next = 0;
    struct page p;
    do {
        const char *reply = client_reply(c);
        assert_true(strlen(reply) < CONTROL_CHUNK_BYTES + 1000);
        p = page_of(reply);
        assert_true(p.n == 0 || p.first >= next);
        next = p.next;
        n += p.n;
        n_pages++;
    } while (p.continues);
    assert_int_equal(n, 2000);
    assert_true(n_pages > 10);
    assert_int_equal(next, f->driver->status.replica.chosen + 1);
    assert_has(client_reply(c), "{\"parameters\":{\"slot\":");

    p = read_page(STREAM("\"from\":10,\"count\":7"));
    assert_int_equal(p.n, 7);
    assert_false(p.continues);
    p = read_page(STREAM("\"count\":0"));
    assert_int_equal(p.n, 0);
    assert_false(p.continues);
    p = read_page(STREAM("\"tail\":0"));
    assert_int_equal(p.n, 0);
    assert_false(p.continues);
}

/* The driver passes over so many slots at once, and no more; the others have their turns meanwhile. */
static void test_long_gaps(void **state)
{
    (void)state;
    append_text("1");
    fake_append(f->driver, "ann", "x", 1, 1000);
    append_text("3");
    f->driver->read_slots_max = 10;
    page_is(read_page(READ("\"from\":1")), 1, 1, 1, 11);
    unsigned n_reads = f->driver->n_reads;
    client_call(c, READ("\"from\":11"));
    client_call(c, "{\"method\":\"" R "Position\"}");
    page_is(next_page(), 2, 1002, 1003, 1004);
    assert_int_equal(f->driver->n_reads - n_reads, 100);
    client_ask(c, READ("\"from\":1004"), "{\"parameters\":{\"slot\":1003}}"); /* the Position's */
    page_is(next_page(), 0, 0, 0, 1004);

    client_call(c, STREAM("\"from\":11"));
    struct page p = next_page();
    page_is(p, 2, 1002, 1003, 1004);
    assert_false(p.continues);

    /* Who asked once, and sends no more, gets his answer. */
    client_call(c, READ("\"from\":11,\"count\":1"));
    assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
    page_is(next_page(), 1, 1002, 1002, 1003);
    client_expect_closed(c);
}

static void test_follow(void **state)
{
    (void)state;
    append_text("1");
    append_text("2");
    client_call(c, STREAM("\"tail\":1,\"follow\":true"));
    struct page p = next_page();
    page_is(p, 1, 2, 2, 3);
    assert_true(p.continues);
    client_expect_quiet(c);
    unsigned n_reads = f->driver->n_reads;
    fixture_turns(f, 50);
    assert_int_equal(f->driver->n_reads, n_reads); /* it waits, it does not poll */

    append_text("3");
    append_text("4");
    fake_moved(f->driver);
    p = next_page();
    page_is(p, 2, 3, 4, 5);
    assert_true(p.continues);
    /* Slots without a message are passed over in silence. */
    f->driver->status.replica.chosen = 9;
    fake_moved(f->driver);
    client_expect_quiet(c);
    append_text("10");
    fake_moved(f->driver);
    page_is(next_page(), 1, 10, 10, 11);
    client_close(c);
    fixture_turns(f, 3);
    append_text("11");
    fake_moved(f->driver); /* nobody follows any more */
    fixture_turns(f, 3);
    c = client_open(f);

    /* From a slot that is not chosen yet, and with a count that ends it. */
    client_call(c, STREAM("\"from\":13,\"count\":2,\"follow\":true"));
    client_expect_quiet(c);
    append_text("12");
    fake_moved(f->driver);
    client_expect_quiet(c);
    append_text("13");
    fake_moved(f->driver);
    p = next_page();
    page_is(p, 1, 13, 13, 14);
    assert_true(p.continues);
    append_text("14");
    append_text("15");
    fake_moved(f->driver);
    p = next_page();
    page_is(p, 1, 14, 14, 15);
    assert_false(p.continues);
    client_ask(c, "{\"method\":\"" R "Position\"}", "{\"parameters\":{\"slot\":15}}");
}

static void test_follow_ends(void **state)
{
    (void)state;
    client_call(c, STREAM("\"follow\":true"));
    client_call(c, "{\"method\":\"" R "Position\"}");
    client_expect_quiet(c);
    /* Closing is how a client ends a stream; so is the end of what it sends. */
    assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
    client_expect_closed(c);
}

/* A reader that does not read costs one reply's memory, is not closed for it, and then gets everything. */
static void test_slow_stream(void **state)
{
    (void)state;
    enum { MESSAGES = 20000 };
    char text[200];
    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < MESSAGES; i++)
        fake_append(f->driver, "ann", text, sizeof(text), 0);
    client_call(c, STREAM("\"follow\":true"));
    fixture_turns(f, 200);
    unsigned n_reads = f->driver->n_reads;
    assert_in_range(n_reads, 1, 16); /* what the socket's own buffer takes, and one more */
    usleep(2 * STALL_MS * 1000);
    fixture_turns(f, 200);
    assert_int_equal(f->driver->n_reads, n_reads);
    struct control_stats stats;
    control_stats(f->control, &stats);
    assert_int_equal(stats.closed_slow, 0);

    unsigned n = 0;
    int64_t next = 0;
    while (n < MESSAGES) {
        struct page p = next_page();
        assert_true(p.first >= next && p.last - p.first + 1 == p.n && p.continues);
        next = p.next;
        n += p.n;
    }
    assert_int_equal(n, MESSAGES);
}

/* Nor is it closed where it stops just before the end. */
static void test_slow_stream_at_its_end(void **state)
{
    (void)state;
    struct control_stats stats;
    char text[200];
    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < 20000; i++)
        fake_append(f->driver, "ann", text, sizeof(text), 0);
    /* As many as the socket's own buffer takes, and one reply more: it is the last. */
    client_call(c, STREAM(""));
    fixture_turns(f, 200);
    const unsigned n_pages = f->driver->n_reads;
    client_close(c);
    c = client_open(f);
    char call[128];
    uint64_t n = 0;
    client_call(c, STREAM(""));
    for (unsigned i = 0; i < n_pages; i++)
        n += next_page().n;
    client_close(c);
    c = client_open(f);
    snprintf(call, sizeof(call), STREAM("\"count\":%u"), (unsigned)n);
    client_call(c, call);
    fixture_turns(f, 200);
    usleep(2 * STALL_MS * 1000);
    fixture_turns(f, 200);
    struct page p = {.continues = true};
    for (uint64_t left = n; p.continues; left -= p.n) {
        p = next_page();
        assert_int_equal(p.continues, left > p.n);
    }
    control_stats(f->control, &stats);
    assert_int_equal(stats.closed_slow, 0);

    /* What is asked behind it is an ordinary reply again. */
    client_call(c, STREAM("\"count\":1"));
    assert_int_equal(next_page().n, 1);
    for (unsigned i = 0; i < 10; i++)
        client_call(c, READ(""));
    for (unsigned i = 0; i < 200 && stats.closed_slow == 0; i++) {
        usleep(STALL_MS * 100);
        fixture_turn(f);
        control_stats(f->control, &stats);
    }
    assert_int_equal(stats.closed_slow, 1);
}

static void test_read_error(void **state)
{
    (void)state;
    static const char unreadable[] =
        "{\"error\":\"" R "SlotUnreadable\",\"parameters\":{\"slot\":1,\"reason\":\"damaged on the disk\"}}";
    append_text("x");
    f->driver->read_error = -EBADMSG;
    client_ask(c, READ("\"from\":1"), unreadable);
    client_ask(c, STREAM("\"from\":1,\"follow\":true"), unreadable);
    f->driver->read_error = 0;
    client_ask(c, READ("\"from\":100"), "{\"parameters\":{\"messages\":[],\"next\":100}}");
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_reply),       TEST(test_ranges),
        TEST(test_page_limits), TEST(test_stream),
        TEST(test_long_gaps),   TEST(test_follow),
        TEST(test_follow_ends), TEST(test_slow_stream),
        TEST(test_read_error),  TEST(test_slow_stream_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
