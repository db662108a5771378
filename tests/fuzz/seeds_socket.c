/* Seeds of what people and their programs write: calls to the control socket, and the configuration. */
#include "tests/fuzz/seeds.h"

#include <stdio.h>
#include <string.h>

#include "tests/fuzz/inputs.h"

/* --- texts --- */

struct text {
    const char *name, *text;
};

#define REPLICA "org.mpaxos.Replica."
#define SERVICE "org.varlink.service."

/* For what stands just within a limit. */
#define TEN(x)   x x x x x x x x x x
#define SIXTY(x) TEN(x) TEN(x) TEN(x) TEN(x) TEN(x) TEN(x)

static const struct text calls[] = {
    {"submit", "{\"method\":\"" REPLICA "Submit\",\"parameters\":{\"text\":\"h\\u00e9 \\ud83d\\ude00\",\"author\":"
               "\"anna\",\"key\":\"k1\",\"since\":0,\"timeout_ms\":5000}}"},
    {"submit-oneway", "{\"method\":\"" REPLICA "Submit\",\"parameters\":{\"text\":\"x\"},\"oneway\":true}"},
    {"submit-limits", "{\"method\":\"" REPLICA "Submit\",\"parameters\":{\"text\":\"x\",\"author\":\"" SIXTY(
                          "a") "1234\",\"key\":\"" SIXTY("k") "1234\",\"timeout_ms\":3600000}}"},
    {"position", "{\"method\":\"" REPLICA "Position\",\"parameters\":{\"linearizable\":true,\"timeout_ms\":100}}"},
    {"read", "{\"method\":\"" REPLICA "Read\",\"parameters\":{\"from\":0,\"count\":5}}"},
    {"read-all", "{\"method\":\"" REPLICA "Read\",\"parameters\":{\"from\":0}}"},
    {"read-tail", "{\"method\":\"" REPLICA "Read\",\"parameters\":{\"tail\":2,\"count\":null}}"},
    {"read-follow", "{\"method\":\"" REPLICA "Read\",\"parameters\":{\"follow\":true},\"more\":true}"},
    {"status", "{\"method\":\"" REPLICA "Status\"}"},
    {"metrics", "{\"method\":\"" REPLICA "Metrics\",\"parameters\":{}}"},
    {"flush", "{\"method\":\"" REPLICA "Flush\",\"parameters\":{\"all\":true,\"timeout_ms\":7}}"},
    {"drop", "{\"method\":\"" REPLICA "SetDrop\",\"parameters\":{\"rate\":30,\"direction\":\"both\",\"peer\":2,"
             "\"seconds\":9}}"},
    {"skip", "{\"method\":\"" REPLICA "SkipSlots\",\"parameters\":{\"slots\":[1,2,9007199254740993]}}"},
    {"bootstrap", "{\"method\":\"" REPLICA "Bootstrap\"}"},
    {"transfer", "{\"method\":\"" REPLICA "TransferLeadership\",\"parameters\":{\"replica\":0,\"timeout_ms\":2}}"},
    {"reload", "{\"method\":\"" REPLICA "Reload\"}"},
    {"member", "{\"method\":\"" REPLICA "AddMember\",\"parameters\":{\"id\":3,\"address\":\"h:1\"}}"},
    {"submit-hurry", "{\"method\":\"" REPLICA "Submit\",\"parameters\":{\"text\":\"x\",\"timeout_ms\":1}}"},
    {"info", "{\"method\":\"" SERVICE "GetInfo\",\"parameters\":null}"},
    {"description",
     "{\"method\":\"" SERVICE "GetInterfaceDescription\",\"parameters\":{\"interface\":\"" SERVICE "\"}}"},
    {"unknown", "{\"method\":\"a.b.C\",\"upgrade\":false}"},
};

static const struct text odd_messages[] = {
    {"nested", "{\"method\":\"m\",\"parameters\":{\"a\":[[[{\"b\":[-0.5e+7,true,false,null,\"\"]}]]]}}"},
    {"numbers", "{\"method\":\"m\",\"parameters\":{\"a\":-9223372036854775808,\"b\":18446744073709551616,\"c\":1.0}}"},
    {"escapes", "{\"method\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\udbff\\udfff\",\"parameters\":{\"\\u0061\":1}}"},
    {"deep", "{\"method\":\"m\",\"parameters\":{\"a\":[[[[[[[[[[[[[[]]]]]]]]]]]]]]}}"},
    {"repeated", "{\"method\":\"m\",\"\\u006dethod\":\"m\"}"},
    {"surrogate", "{\"method\":\"\\ud800\"}"},
    {"no-utf8",
     "\xc3\xa4\"\x1f\xc1\xbf\xe0\x80\x80\xef\xbf\xbd\xed\xa0\x80\xf0\x8f\xf4\x8f\xbf\xbf\xf4\x90\xff\xe2\x82"},
};

static const struct text configurations[] = {
    {"least", "{ \"f\": 0, \"mode\": \"manual\", \"replica_list\": [ { \"id\": 4, \"ip\": \"::1\", \"port\": 1 } ] }"},
    {"all", "{ \"f\": 1, \"mode\": \"script\",\n \"cluster\": \"l\\u00f6bby\", \"heartbeat_ms\": 50,\n"
            " \"message_bytes_max\": 16384, \"datagram_bytes\": 1200, \"log_format\": \"json\",\n"
            " \"flush_interval_s\": 3, \"retain_mb\": 64, \"dedup_slots\": 100,\n \"replica_list\": [\n"
            " { \"id\": 2, \"ip\": \"localhost\", \"port\": 6000, \"skip_slot\": [2, 5], \"drop_rate\": 10 },\n"
            " { \"id\": 0, \"ip\": \"10.1.2.3\", \"port\": 6001, \"skip_slot\": [] },\n"
            " { \"id\": 1, \"ip\": \"fe80::1%eth0\", \"port\": 6002 } ] }\n"},
    {"repeated-id", "{\"f\":1,\"mode\":\"script\",\"replica_list\":[{\"id\":1,\"ip\":\"a\",\"port\":1},\n"
                    "{\"id\":1,\"ip\":\"b\",\"port\":1},{\"id\":2,\"ip\":\"c.d\",\"port\":1}]}"},
    {"limits",
     "{\"f\":0,\"mode\":\"manual\",\"cluster\":\"" SIXTY("c") "1234\",\"replica_list\":[{\"id\":254,\"ip\":\"" SIXTY(
         "a") "." SIXTY("b") "." SIXTY("c") "." SIXTY("d") ".a1234\",\"port\":65535,\"drop_rate\":100,"
                                                           "\"skip_slot\":[9223372036854775807]}]}"},
    {"no-comma", "{ \"f\": 1\n \"mode\": \"script\" }"},
    {"unknown-key", "{ \"f\": 1, \"\xc3\xa9\x7f\": [ {}, [], -1.5e9, \"\\ud83d\\ude00\" ] }"},
};

/* `more`: bytes of its NUL. */
static void write_text(const char *what, const struct text *t, size_t more)
{
    seed_begin(what, t->name);
    put(t->text, strlen(t->text) + more);
    seed_end();
}

/* Good ones, and with each mistake. */
static void make_configurations(void)
{
    char name[32];
    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "made-%u", i);
        seed_begin("config", name);
        put8(CONFIG_MADE);
        put16(0); /* no mistake */
        for (unsigned k = 0; k < 120; k++)
            put8(i == 0 ? 0 : i == 1 ? 1 : k * (2 * i + 3) + i);
        seed_end();
    }
    for (unsigned mistake = 0; mistake < CONFIG_MISTAKES; mistake++) {
        for (unsigned member = 1; member < 16; member += 3) {
            snprintf(name, sizeof name, "mistake-%u-at-%u", mistake, member + mistake % 3);
            seed_begin("config", name);
            put8(CONFIG_MADE);
            put8(member + mistake % 3);
            put8(mistake);
            for (unsigned k = 0; k < 60; k++)
                put8(k * 5 + 1);
            seed_end();
        }
    }
}

static void make_texts(void)
{
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        write_text("control", &calls[i], 1);
    for (size_t i = 0; i < sizeof configurations / sizeof configurations[0]; i++)
        write_text("config", &configurations[i], 0);
    make_configurations();
    for (size_t i = 0; i < sizeof odd_messages / sizeof odd_messages[0]; i++) {
        seed_begin("varlink", odd_messages[i].name);
        put8(60);
        put(odd_messages[i].text, strlen(odd_messages[i].text) + 1);
        seed_end();
    }
    seed_begin("varlink", "three-calls");
    put8(200);
    for (size_t i = 0; i < 3; i++)
        put(calls[i].text, strlen(calls[i].text) + 1);
    seed_end();
}

/* --- the control socket, in steps --- */

static void call(const char *name)
{
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (strcmp(calls[i].name, name) == 0)
            put(calls[i].text, strlen(calls[i].text) + 1);
}

static void control(enum control_act a)
{
    put8(CONTROL_ESCAPE);
    put8(a);
}

static void control_with(enum control_act a, unsigned argument)
{
    control(a);
    put8(argument);
}

static void make_control_streams(void)
{
    seed_begin("control", "steps-stream");
    call("read-follow");
    control_with(CONTROL_APPEND, 200);
    control(CONTROL_READ);
    control_with(CONTROL_SWITCH, 1);
    call("submit");
    call("read");
    control_with(CONTROL_SWITCH, 0);
    control(CONTROL_CLOSE);
    control_with(CONTROL_APPEND, 3);
    seed_end();

    seed_begin("control", "steps-slow-reader");
    control_with(CONTROL_APPEND, 110);
    for (int i = 0; i < 3; i++)
        call("read-all");
    control(CONTROL_READ);
    seed_end();
}

static void make_control_levels(void)
{
    static const char *const names[] = {"steps-nobody", "steps-everyday"};
    for (unsigned level = 0; level < 2; level++) {
        seed_begin("control", names[level]);
        control_with(CONTROL_LEVEL, level);
        for (size_t i = 0; i + 1 < sizeof calls / sizeof calls[0]; i++) /* the last one is malformed */
            put(calls[i].text, strlen(calls[i].text) + 1);
        seed_end();
    }

    seed_begin("control", "steps-long-out-of-order");
    control(CONTROL_HOLD);
    for (unsigned i = 0; i < 3; i++)
        control_with(CONTROL_LONG, 1 + i);
    control_with(CONTROL_SETTLE, 2);
    control_with(CONTROL_SETTLE, 0);
    seed_end();
}

static void make_control(void)
{
    seed_begin("control", "steps-out-of-order");
    control(CONTROL_HOLD);
    call("submit");
    call("submit-oneway");
    call("submit");
    control_with(CONTROL_RESULT, 2);
    control_with(CONTROL_SETTLE, 1);
    control_with(CONTROL_SETTLE, 0);
    control(CONTROL_SHUT_DOWN);
    control_with(CONTROL_SETTLE, 0);
    seed_end();

    seed_begin("control", "steps-late-answers");
    control(CONTROL_HOLD_ANSWERS);
    call("position");
    call("status");
    control(CONTROL_ANSWER);
    control_with(CONTROL_DRIVER, 4);
    call("flush");
    control(CONTROL_CLOSE);
    seed_end();

    seed_begin("control", "steps-results");
    for (unsigned result = 0; result < 8; result++) {
        control_with(CONTROL_RESULT, result);
        call("submit");
    }
    seed_end();

    seed_begin("control", "steps-deadlines");
    control(CONTROL_HOLD);
    control(CONTROL_HOLD_ANSWERS);
    call("submit-hurry");
    call("submit-hurry");
    control(CONTROL_WAIT);
    control_with(CONTROL_LEADER, 0);
    call("transfer");
    control(CONTROL_WAIT);
    call("reload");
    call("reload");
    seed_end();

    seed_begin("control", "steps-not-started");
    control_with(CONTROL_STATUS, 0);
    call("position");
    call("status");
    control_with(CONTROL_DRIVER, 1 | 8 | 1 << 5);
    call("bootstrap");
    call("read");
    control_with(CONTROL_LONG, 20);
    seed_end();
}

void make_socket_seeds(void)
{
    make_texts();
    make_control();
    make_control_streams();
    make_control_levels();
}
