/* The control socket's methods: what each answers, and the order of answers. */
#include "tests/unit/control_client.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/faults.h"
#include "wire/varlink.h"

#define R            "org.mpaxos.Replica."
#define S            "org.varlink.service."
#define INVALID(p)   "{\"error\":\"" S "InvalidParameter\",\"parameters\":{\"parameter\":\"" p "\"}}"
#define SUBMIT(p)    "{\"method\":\"" R "Submit\",\"parameters\":{" p "}}"
#define CALL(m, p)   "{\"method\":\"" R m "\",\"parameters\":{" p "}}"
#define MORE(m, p)   "{\"method\":\"" R m "\",\"parameters\":{" p "},\"more\":true}"
#define ONEWAY(m, p) "{\"method\":\"" R m "\",\"parameters\":{" p "},\"oneway\":true}"

static struct fixture *f;
static struct client *c;

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

static void stored_is(const char *key, unsigned slot)
{
    char reply[256];
    snprintf(reply, sizeof(reply), "{\"parameters\":{\"slot\":%u,\"key\":\"%s\",\"duplicate\":false}}", slot, key);
    client_expect(c, reply);
}

static void test_submit(void **state)
{
    (void)state;
    client_call(c, SUBMIT("\"text\":\"h\\u00e9\\n\",\"author\":\"ann\",\"key\":\"k1\",\"since\":0,\"timeout_ms\":100"));
    stored_is("k1", 1);
    assert_string_equal(f->driver->log[0].author, "ann");
    assert_string_equal(f->driver->log[0].key, "k1");
    assert_int_equal(f->driver->log[0].text_size, 4);
    assert_memory_equal(f->driver->log[0].text, "h\xc3\xa9\n", 4);
    assert_true(f->driver->last.has_since);

    /* Null is absent. The key is drawn, the author is the caller. */
    client_call(c, SUBMIT("\"text\":\"x\",\"author\":null,\"key\":null,\"since\":null,\"timeout_ms\":null"));
    assert_has(client_reply(c), "{\"parameters\":{\"slot\":2,\"key\":\"");
    assert_int_equal(strlen(f->driver->log[1].key), 24);
    assert_false(f->driver->last.has_since);
    const struct passwd *user = getpwuid(getuid());
    if (user != NULL)
        assert_string_equal(f->driver->log[1].author, user->pw_name);
    client_call(c, SUBMIT("\"text\":\"x\""));
    client_reply(c);
    assert_string_not_equal(f->driver->log[1].key, f->driver->log[2].key);
}

static void test_submit_results(void **state)
{
    (void)state;
    static const struct {
        enum submit_result result;
        const char *reply;
    } cases[] = {
        {SUBMIT_DUPLICATE, "{\"parameters\":{\"slot\":9,\"key\":\"k\",\"duplicate\":true}}"},
        {SUBMIT_CONFLICT, "{\"error\":\"" R "KeyConflict\",\"parameters\":{\"key\":\"k\",\"slot\":9}}"},
        {SUBMIT_EXPIRED, "{\"error\":\"" R "KeyExpired\",\"parameters\":{\"since\":5,\"oldest\":9}}"},
        {SUBMIT_OVERLOADED, "{\"error\":\"" R "Overloaded\",\"parameters\":{\"retry_ms\":100}}"},
        {SUBMIT_NO_QUORUM, "{\"error\":\"" R "NoQuorum\",\"parameters\":{\"heard\":3,\"needed\":2}}"},
        {SUBMIT_UNKNOWN, "{\"error\":\"" R "Timeout\",\"parameters\":{\"key\":\"k\",\"since\":5}}"},
        {SUBMIT_NO_SPACE, "{\"error\":\"" R "DiskFull\",\"parameters\":{\"path\":\"/state/1\"}}"},
    };
    f->driver->hold = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"k\",\"since\":5"));
        client_expect_quiet(c);
        fake_settle(f->driver, 0, cases[i].result, 9);
        client_expect(c, cases[i].reply);
    }
    /* Also where the driver settles at once. */
    f->driver->hold = false;
    f->driver->result = SUBMIT_OVERLOADED;
    client_ask(c, SUBMIT("\"text\":\"x\""), cases[3].reply);
}

static void test_invalid_parameters(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {SUBMIT(""), INVALID("text")},
        {SUBMIT("\"text\":null"), INVALID("text")},
        {SUBMIT("\"text\":\"\""), INVALID("text")},
        {SUBMIT("\"text\":1"), INVALID("text")},
        {SUBMIT("\"text\":\"x\",\"author\":\"\""), INVALID("author")},
        {SUBMIT("\"text\":\"x\",\"author\":\"a\\nb\""), INVALID("author")},
        {SUBMIT("\"text\":\"x\",\"author\":[]"), INVALID("author")},
        {SUBMIT("\"text\":\"x\",\"key\":\"\""), INVALID("key")},
        {SUBMIT("\"text\":\"x\",\"key\":\"\\u007f\""), INVALID("key")},
        {SUBMIT("\"text\":\"x\",\"key\":7"), INVALID("key")},
        {SUBMIT("\"text\":\"x\",\"since\":-1"), INVALID("since")},
        {SUBMIT("\"text\":\"x\",\"since\":1.5"), INVALID("since")},
        {SUBMIT("\"text\":\"x\",\"since\":1e3"), INVALID("since")},
        {SUBMIT("\"text\":\"x\",\"since\":9223372036854775808"), INVALID("since")},
        {SUBMIT("\"text\":\"x\",\"timeout_ms\":0"), INVALID("timeout_ms")},
        {SUBMIT("\"text\":\"x\",\"timeout_ms\":3600001"), INVALID("timeout_ms")},
        {SUBMIT("\"text\":\"x\",\"timeout_ms\":true"), INVALID("timeout_ms")},
        {SUBMIT("\"text\":\"x\",\"Key\":\"k\""), INVALID("Key")},
        {CALL("Position", "\"linearizable\":1"), INVALID("linearizable")},
        {CALL("Position", "\"timeout_ms\":-1"), INVALID("timeout_ms")},
        {CALL("Position", "\"x\":null"), INVALID("x")},
        {CALL("Read", "\"from\":-1"), INVALID("from")},
        {CALL("Read", "\"from\":\"1\""), INVALID("from")},
        {CALL("Read", "\"count\":-1"), INVALID("count")},
        {CALL("Read", "\"tail\":-1"), INVALID("tail")},
        {CALL("Read", "\"tail\":1,\"from\":0"), INVALID("tail")},
        {CALL("Read", "\"follow\":0"), INVALID("follow")},
        {CALL("Read", "\"until\":0"), INVALID("until")},
        {CALL("Status", "\"x\":0"), INVALID("x")},
        {CALL("Metrics", "\"x\":0"), INVALID("x")},
        {CALL("Flush", "\"all\":\"yes\""), INVALID("all")},
        {CALL("Flush", "\"timeout_ms\":0"), INVALID("timeout_ms")},
        {CALL("Flush", "\"x\":0"), INVALID("x")},
        {CALL("SetDrop", ""), INVALID("rate")},
        {CALL("SetDrop", "\"rate\":101"), INVALID("rate")},
        {CALL("SetDrop", "\"rate\":-1"), INVALID("rate")},
        {CALL("SetDrop", "\"rate\":0.5"), INVALID("rate")},
        {CALL("SetDrop", "\"rate\":1,\"direction\":\"up\""), INVALID("direction")},
        {CALL("SetDrop", "\"rate\":1,\"direction\":1"), INVALID("direction")},
        {CALL("SetDrop", "\"rate\":1,\"peer\":3"), INVALID("peer")},
        {CALL("SetDrop", "\"rate\":1,\"peer\":1"), INVALID("peer")},
        {CALL("SetDrop", "\"rate\":1,\"peer\":255"), INVALID("peer")},
        {CALL("SetDrop", "\"rate\":1,\"seconds\":0"), INVALID("seconds")},
        {CALL("SetDrop", "\"rate\":1,\"seconds\":31536001"), INVALID("seconds")},
        {CALL("SetDrop", "\"rate\":1,\"x\":0"), INVALID("x")},
        {CALL("SkipSlots", ""), INVALID("slots")},
        {CALL("SkipSlots", "\"slots\":1"), INVALID("slots")},
        {CALL("SkipSlots", "\"slots\":[1,\"2\"]"), INVALID("slots")},
        {CALL("SkipSlots", "\"slots\":[-1]"), INVALID("slots")},
        {CALL("SkipSlots", "\"slots\":[],\"x\":0"), INVALID("x")},
        {CALL("Bootstrap", "\"x\":0"), INVALID("x")},
        {"{\"method\":\"" S "GetInfo\",\"parameters\":{\"x\":1}}", INVALID("x")},
        {"{\"method\":\"" S "GetInterfaceDescription\"}", INVALID("interface")},
        {"{\"method\":\"" S "GetInterfaceDescription\",\"parameters\":{\"interface\":1}}", INVALID("interface")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        client_ask(c, cases[i][0], cases[i][1]);
    assert_int_equal(f->driver->n_submits, 0);
    assert_int_equal(f->driver->status.replica.n_skips, 0);
}

static void test_unknown_methods(void **state)
{
    (void)state;
    static const char *const later[] = {"AddMember", "RemoveMember", "ReplaceMember", "Reload"};
    client_ask(c, "{\"method\":\"" R "Nothing\"}",
               "{\"error\":\"" S "MethodNotFound\",\"parameters\":{\"method\":\"" R "Nothing\"}}");
    client_ask(c, "{\"method\":\"" R "submit\"}",
               "{\"error\":\"" S "MethodNotFound\",\"parameters\":{\"method\":\"" R "submit\"}}");
    client_ask(c, "{\"method\":\"org.mpaxos.Other.Submit\"}",
               "{\"error\":\"" S "InterfaceNotFound\",\"parameters\":{\"interface\":\"org.mpaxos.Other\"}}");
    client_ask(c, "{\"method\":\"Submit\"}",
               "{\"error\":\"" S "MethodNotFound\",\"parameters\":{\"method\":\"Submit\"}}");
    client_ask(c, "{\"method\":\"\"}", "{\"error\":\"" S "MethodNotFound\",\"parameters\":{\"method\":\"\"}}");
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        char call[128], reply[256];
        snprintf(call, sizeof(call), "{\"method\":\"" R "%s\"}", later[i]);
        snprintf(reply, sizeof(reply),
                 "{\"error\":\"" S "MethodNotImplemented\",\"parameters\":{\"method\":\"" R "%s\"}}", later[i]);
        client_ask(c, call, reply);
    }
}

/* The text of a file below the sources, escaped as the writer does it: these texts hold only quotes of JSON's kind. */
static char *read_file(const char *name)
{
    const char *source = getenv("MPAXOS_SOURCE");
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", source != NULL ? source : ".", name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return NULL;
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return text;
}

static void test_service(void **state)
{
    (void)state;
    static const char *const names[] = {"org.mpaxos.Replica", "org.varlink.service"};
    client_ask(c, "{\"method\":\"" S "GetInfo\",\"parameters\":null}",
               "{\"parameters\":{\"vendor\":\"mpaxos\",\"product\":\"mpaxosd\",\"version\":\"1.2.3\",\"url\":\"man:"
               "mpaxos(7)\","
               "\"interfaces\":[\"org.mpaxos.Replica\",\"org.varlink.service\"]}}");
    client_ask(c, "{\"method\":\"" S "GetInterfaceDescription\",\"parameters\":{\"interface\":\"x.y\"}}",
               "{\"error\":\"" S "InterfaceNotFound\",\"parameters\":{\"interface\":\"x.y\"}}");
    for (size_t i = 0; i < 2; i++) {
        char call[256], name[128], reason[VARLINK_REASON_MAX + 1];
        snprintf(call, sizeof(call),
                 "{\"method\":\"" S "GetInterfaceDescription\",\"parameters\":{\"interface\":\"%s\"}}", names[i]);
        snprintf(name, sizeof(name), "daemon/wire/%s.varlink", names[i]);
        client_call(c, call);
        const char *reply = client_reply(c);
        cJSON *tree = varlink_parse(reply, strlen(reply), reason);
        const char *description = NULL;
        assert_true(varlink_get_string(cJSON_GetObjectItem(tree, "parameters"), "description", &description));
        char *text = read_file(name);
        assert_string_equal(description, text != NULL ? text : varlink_interface_text(names[i]));
        free(text);
        cJSON_Delete(tree);
    }
}

static void test_oneway(void **state)
{
    (void)state;
    client_call(c, ONEWAY("Submit", "\"text\":\"x\",\"key\":\"a\""));
    client_call(c, ONEWAY("Submit", "\"text\":\"\""));
    client_call(c, ONEWAY("Nothing", ""));
    client_call(c, ONEWAY("Position", "\"linearizable\":true"));
    client_call(c, ONEWAY("Flush", "\"all\":true"));
    client_call(c, ONEWAY("Status", ""));
    client_call(c, ONEWAY("Read", "\"follow\":true"));
    client_expect_quiet(c);
    assert_int_equal(f->driver->n_log, 1);
    client_ask(c, CALL("Position", ""), "{\"parameters\":{\"slot\":1}}");

    /* Also where the answer comes later, in the middle of others. */
    f->driver->hold = true;
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"b\""));
    client_call(c, ONEWAY("Submit", "\"text\":\"x\",\"key\":\"c\""));
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"d\""));
    client_expect_quiet(c);
    for (unsigned i = 0; i < 3; i++)
        fake_settle(f->driver, 0, SUBMIT_CHOSEN, 2 + i);
    stored_is("b", 2);
    stored_is("d", 4);
    client_expect_quiet(c);
}

static void reopen(void)
{
    client_close(c);
    c = client_open(f);
}

#define QUIET_SUBMIT ONEWAY("Submit", "\"text\":\"x\"")

static void is_over(void)
{
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_sessions + f->driver->n_open + f->driver->n_questions, 0);
    struct control_stats stats;
    control_stats(f->control, &stats);
    assert_int_equal(stats.connections_now, 1);
}

/* What wants no answer is done though its client does not stay, in order; and nothing else is. */
static void test_oneway_client_leaves(void **state)
{
    (void)state;
    f->driver->hold = f->driver->hold_answers = true;
    client_call(c, QUIET_SUBMIT);
    client_call(c, SUBMIT("\"text\":\"x\""));
    client_call(c, ONEWAY("Flush", ""));
    client_call(c, CALL("Position", ""));
    client_call(c, SUBMIT("\"text\":\"x\""));
    client_call(c, QUIET_SUBMIT);
    reopen();
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_open, 2);
    /* The loop sleeps meanwhile, but for the sweep. */
    unsigned n_turns = 0;
    for (uint64_t until = uv_hrtime() + UINT64_C(200000000); uv_hrtime() < until; n_turns++)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(n_turns < 10);
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 3);
    fixture_turns(f, 3);
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 4);
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_questions, 1);
    fake_answer(f->driver);
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_submits, 3);
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 5);
    is_over();
    /* It is over, too, where one that nobody waits for is all that is open. */
    client_call(c, SUBMIT("\"text\":\"x\",\"timeout_ms\":3600000"));
    client_call(c, QUIET_SUBMIT);
    reopen();
    fixture_turns(f, 3);
    fake_settle(f->driver, 1, SUBMIT_CHOSEN, 6);
    is_over();
}

/* Likewise where it did not take what it had asked for: what the socket holds, what the daemon does, a stream. */
static void test_oneway_client_leaves_replies(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        unsigned n;
    } before[] = {{CALL("Position", ""), 1}, {CALL("Status", ""), 2000}, {MORE("Read", ""), 1}};
    char text[1000];
    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < 2000; i++)
        fake_append(f->driver, "ann", text, sizeof(text), 0);
    f->driver->hold = true;
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        for (unsigned n = 0; n < before[i].n; n++)
            client_call(c, before[i].call);
        client_call(c, QUIET_SUBMIT);
        fixture_turns(f, 20);
        reopen();
        fixture_turns(f, 100);
        assert_int_equal(f->driver->n_open, 1);
        fake_settle(f->driver, 0, SUBMIT_CHOSEN, 3);
        is_over();
    }
}

static void test_more_without_stream(void **state)
{
    (void)state;
    client_ask(c, MORE("Position", ""), "{\"parameters\":{\"slot\":0}}");
    client_ask(c, MORE("Submit", "\"text\":\"x\",\"key\":\"k\""),
               "{\"parameters\":{\"slot\":1,\"key\":\"k\",\"duplicate\":false}}");
    client_expect_quiet(c);
}

static void test_pipelining_order(void **state)
{
    (void)state;
    f->driver->hold = true;
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"a\""));
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"b\""));
    client_call(c, SUBMIT("\"text\":\"\""));
    client_call(c, CALL("Position", ""));
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"c\""));
    client_expect_quiet(c);
    /* Two are in flight together; what would be answered at once waits for its turn, and what follows it too. */
    assert_int_equal(f->driver->n_open, 2);
    fake_settle(f->driver, 1, SUBMIT_CHOSEN, 8);
    client_expect_quiet(c);
    f->driver->status.replica.chosen = 8;
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 7);
    stored_is("a", 7);
    stored_is("b", 8);
    client_expect(c, INVALID("text"));
    client_expect(c, "{\"parameters\":{\"slot\":8}}");
    client_expect_quiet(c);
    assert_int_equal(f->driver->n_open, 1);
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 9);
    stored_is("c", 9);
}

static void test_timeout(void **state)
{
    (void)state;
    f->driver->hold = true;
    f->driver->status.replica.chosen = 4;
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"a\",\"timeout_ms\":1000"));
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"b\",\"timeout_ms\":30,\"since\":3"));
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"c\",\"timeout_ms\":20"));
    client_expect_quiet(c);
    /* Trap 24: a timeout says that the outcome is not known, and with what to ask again. */
    usleep(35000);
    fixture_turns(f, 3);
    /* It came too late for its deadline, but in time for its turn: then the better answer. */
    fake_settle(f->driver, 2, SUBMIT_CHOSEN, 9);
    client_expect(c, "{\"error\":\"" R "Timeout\",\"parameters\":{\"key\":\"a\",\"since\":4}}");
    client_expect(c, "{\"error\":\"" R "Timeout\",\"parameters\":{\"key\":\"b\",\"since\":3}}");
    stored_is("c", 9);
    /* What settles later is nobody's any more; the connection goes on. */
    client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"d\""));
    client_expect_quiet(c);
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 10);
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 11);
    client_expect_quiet(c);
    fake_settle(f->driver, 0, SUBMIT_CHOSEN, 12);
    stored_is("d", 12);
}

/* What timed out settles behind its answer, and before that of the next one. */
static void test_late_settlement(void **state)
{
    (void)state;
    f->driver->hold = true;
    for (unsigned i = 1; i <= 64; i++) {
        client_ask(c, SUBMIT("\"text\":\"x\",\"key\":\"old\",\"since\":0,\"timeout_ms\":1"),
                   "{\"error\":\"" R "Timeout\",\"parameters\":{\"key\":\"old\",\"since\":0}}");
        client_call(c, SUBMIT("\"text\":\"x\",\"key\":\"k\""));
        client_expect_quiet(c);
        fake_settle(f->driver, 0, SUBMIT_CONFLICT, 99);
        client_expect_quiet(c);
        fake_settle(f->driver, 0, SUBMIT_CHOSEN, i);
        stored_is("k", i);
    }
}

static void test_position(void **state)
{
    (void)state;
    f->driver->status.replica.chosen = 41;
    client_ask(c, CALL("Position", ""), "{\"parameters\":{\"slot\":41}}");
    client_ask(c, CALL("Position", "\"linearizable\":false"), "{\"parameters\":{\"slot\":41}}");
    client_ask(c, CALL("Position", "\"linearizable\":true"), "{\"parameters\":{\"slot\":41}}");
    f->driver->hold_answers = true;
    client_call(c, CALL("Position", "\"linearizable\":true"));
    client_call(c, CALL("Position", ""));
    client_expect_quiet(c);
    f->driver->status.replica.chosen = 42;
    fake_answer(f->driver);
    client_expect(c, "{\"parameters\":{\"slot\":42}}");
    client_expect(c, "{\"parameters\":{\"slot\":42}}");

    client_ask(c, CALL("Position", "\"linearizable\":true,\"timeout_ms\":10"),
               "{\"error\":\"" R "Timeout\",\"parameters\":{}}");
    assert_int_equal(f->driver->n_cancelled, 1);
    f->driver->status.replica.quorum = false;
    f->driver->status.replica.n_linked = 1;
    client_ask(c, CALL("Position", "\"linearizable\":true,\"timeout_ms\":10"),
               "{\"error\":\"" R "NoQuorum\",\"parameters\":{\"heard\":1,\"needed\":2}}");
    f->driver->refuse_answers = true;
    client_ask(c, CALL("Position", "\"linearizable\":true"),
               "{\"error\":\"" R "Overloaded\",\"parameters\":{\"retry_ms\":100}}");
    client_ask(c, CALL("Position", ""), "{\"parameters\":{\"slot\":42}}");
}

static void test_not_initialized(void **state)
{
    (void)state;
    static const char *const calls[] = {SUBMIT("\"text\":\"x\""), CALL("Position", "\"linearizable\":true"),
                                        CALL("Flush", "")};
    f->driver->status.replica.identity = IDENTITY_EMPTY;
    f->driver->status.replica.quorum = false;
    f->driver->status.replica.peers[0].heard_usec = 0;
    f->driver->status.replica.peers[0].linked = false;
    f->driver->result = SUBMIT_NOT_STARTED;
    for (size_t i = 0; i < 3; i++) {
        client_call(c, calls[i]);
        const char *reply = client_reply(c);
        assert_has(reply,
                   "{\"error\":\"" R "NotInitialized\",\"parameters\":{\"reason\":\"replica 1 has not started: ");
        assert_has(reply, "it has not heard of replica 0; start replica 0, or");
    }
    client_call(c, CALL("Status", ""));
    const char *status = client_reply(c);
    assert_has(status, "\"warnings\":[\"replica 1 has not started: it has not heard of replica 0\",");
    assert_has(status, "mpaxosctl bootstrap");
}

static void test_flush(void **state)
{
    (void)state;
    f->driver->status.replica.chosen = 5;
    client_ask(c, CALL("Flush", ""),
               "{\"parameters\":{\"results\":[{\"replica\":1,\"slot\":5,\"messages\":0,\"path\":\"/log/1\"}]}}");
    client_ask(c, CALL("Flush", "\"all\":true,\"timeout_ms\":100"),
               "{\"parameters\":{\"results\":[{\"replica\":1,\"slot\":5,\"messages\":0,\"path\":\"/log/1\"},"
               "{\"replica\":2,\"error\":\"unreachable\"}]}}");
    f->driver->flush_fails = true;
    client_ask(c, CALL("Flush", ""),
               "{\"error\":\"" R "FlushFailed\",\"parameters\":{\"path\":\"/log/1\",\"reason\":\"unreachable\"}}");
    f->driver->hold_answers = true;
    client_call(c, CALL("Flush", "\"all\":true"));
    client_expect_quiet(c);
    assert_int_equal(f->driver->n_questions, 1);
    /* A client that goes away cancels. */
    client_close(c);
    fixture_turns(f, 3);
    assert_int_equal(f->driver->n_questions, 0);
    assert_int_equal(f->driver->n_cancelled, 1);
    c = client_open(f);
    f->driver->refuse_answers = true;
    client_ask(c, CALL("Flush", ""), "{\"error\":\"" R "Overloaded\",\"parameters\":{\"retry_ms\":100}}");
}

static void test_drops(void **state)
{
    (void)state;
    client_ask(c, CALL("SetDrop", "\"rate\":10"), "{\"parameters\":{\"drops\":[{\"rate\":10,\"direction\":\"out\"}]}}");
    client_call(c, CALL("SetDrop", "\"rate\":30,\"direction\":\"in\",\"peer\":2,\"seconds\":60"));
    const char *reply = client_reply(c);
    assert_has(reply, "{\"rate\":10,\"direction\":\"out\"}");
    assert_has(reply, "{\"rate\":30,\"direction\":\"in\",\"peer\":2,\"until_usec\":");
    const char *until = strstr(reply, "until_usec\":") + strlen("until_usec\":");
    assert_in_range(strtoull(until, NULL, 10) / 1000000, (uint64_t)time(NULL) + 58, (uint64_t)time(NULL) + 62);
    client_call(c, CALL("Status", ""));
    reply = client_reply(c);
    assert_has(reply, "injected fault: drops 10% out\"");
    assert_has(reply, "injected fault: drops 30% in, replica 2\"");
    assert_has(reply, "mpaxosctl -i 1 drop 0");
    client_ask(c, CALL("SetDrop", "\"rate\":0,\"direction\":\"both\""), "{\"parameters\":{\"drops\":[]}}");
}

static void test_skip_and_bootstrap(void **state)
{
    (void)state;
    client_ask(c, CALL("SkipSlots", "\"slots\":[7,9223372036854775807]"),
               "{\"parameters\":{\"skip_slots\":[7,9223372036854775807]}}");
    client_ask(c, CALL("SkipSlots", "\"slots\":[]"), "{\"parameters\":{\"skip_slots\":[7,9223372036854775807]}}");
    client_ask(c, CALL("Bootstrap", ""), "{\"parameters\":{}}");
    assert_int_equal(f->driver->n_bootstraps, 1);
    f->driver->hold_answers = true; /* it waits for the disk */
    client_call(c, CALL("Bootstrap", ""));
    client_expect_quiet(c);
    fake_answer(f->driver);
    assert_string_equal(client_reply(c), "{\"parameters\":{}}");
    f->driver->bootstrap_error = -EEXIST;
    client_call(c, CALL("Bootstrap", ""));
    assert_has(client_reply(c), "NotInitialized\",\"parameters\":{\"reason\":\"refused: state exists");
    f->driver->bootstrap_error = -EBUSY;
    client_call(c, CALL("Bootstrap", ""));
    assert_has(client_reply(c), "NotInitialized\",\"parameters\":{\"reason\":\"replica 1 has not started");
}

static void test_skip_limit(void **state)
{
    (void)state;
    for (int extra = -1; extra <= 1; extra++) {
        char call[SKIPS_MAX * 4 + 128], *p = call;
        f->driver->status.replica.n_skips = 0;
        p += sprintf(p, "{\"method\":\"" R "SkipSlots\",\"parameters\":{\"slots\":[5");
        for (int i = 1; i < SKIPS_MAX + extra; i++)
            p += sprintf(p, ",%d", 6 + i);
        sprintf(p, "]}}");
        client_call(c, call);
        assert_has(client_reply(c), extra > 0 ? "InvalidParameter" : "{\"parameters\":{\"skip_slots\":[5,7");
    }
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_submit),
        TEST(test_submit_results),
        TEST(test_invalid_parameters),
        TEST(test_unknown_methods),
        TEST(test_service),
        TEST(test_oneway),
        TEST(test_pipelining_order),
        TEST(test_more_without_stream),
        TEST(test_timeout),
        TEST(test_late_settlement),
        TEST(test_position),
        TEST(test_not_initialized),
        TEST(test_flush),
        TEST(test_drops),
        TEST(test_skip_and_bootstrap),
        TEST(test_skip_limit),
        TEST(test_oneway_client_leaves),
        TEST(test_oneway_client_leaves_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
