/* replica_config.json: what is read, what is refused, and the exact line that says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/config.h"
#include "paxos/replica.h"

/* The least that works, as the manual shows it. */
static const char least[] =
    "{ \"f\": 1, \"mode\": \"script\",\n"
    "  \"replica_list\": [\n"
    "    { \"id\": 0, \"ip\": \"localhost\", \"port\": 6000, \"skip_slot\": [], \"drop_rate\": 0 },\n"
    "    { \"id\": 1, \"ip\": \"localhost\", \"port\": 6001, \"skip_slot\": [], \"drop_rate\": 0 },\n"
    "    { \"id\": 2, \"ip\": \"localhost\", \"port\": 6002, \"skip_slot\": [2], \"drop_rate\": 10 } ] }\n";

#define LIST                                                                                                           \
    "[{\"id\":0,\"ip\":\"localhost\",\"port\":6000},{\"id\":1,\"ip\":\"localhost\",\"port\":6001},"                    \
    "{\"id\":2,\"ip\":\"localhost\",\"port\":6002}]"
#define WITH(more) "{\"f\":1,\"mode\":\"manual\",\"replica_list\":" LIST "," more "}"
/* One replica, f 0, with these members. */
#define ONE(replica) "{\"f\":0,\"mode\":\"manual\",\n\"replica_list\":[\n{" replica "}]}"
#define ZERO         "\"id\":0,\"ip\":\"localhost\",\"port\":6000"

static struct config *parse(const char *text)
{
    static struct config c;
    char error[CONFIG_ERROR_MAX + 1] = "";

    memset(&c, 0xa5, sizeof c);
    if (config_parse("c.json", text, strlen(text), &c, error) < 0)
        fail_msg("%s", error);
    return &c;
}

static void refuse_bytes(const char *text, size_t size, const char *expected)
{
    static struct config c, untouched;
    char error[CONFIG_ERROR_MAX + 1] = "";
    char *copy = malloc(size ? size : 1); /* exactly as long: a read behind its end is noticed */

    memset(&c, 0xa5, sizeof c);
    memcpy(&untouched, &c, sizeof c);
    memcpy(copy, text, size);
    assert_int_equal(config_parse("c.json", copy, size, &c, error), -1);
    assert_string_equal(error, expected);
    assert_memory_equal(&c, &untouched, sizeof c);
    assert_null(strchr(error, '\n'));
    free(copy);
}

static void refuse(const char *text, const char *expected)
{
    refuse_bytes(text, strlen(text), expected);
}

static void test_least(void **state)
{
    const struct config *c = parse(least);

    (void)state;
    assert_int_equal(c->f, 1);
    assert_true(c->script);
    assert_string_equal(c->cluster, "mpaxos");
    assert_int_equal(c->heartbeat_ms, 50);
    assert_int_equal(c->message_bytes_max, 16384);
    assert_int_equal(c->datagram_bytes, 8192);
    assert_int_equal(c->log_format, LOG_FORMAT_FULL);
    assert_int_equal(c->flush_interval_s, 0);
    assert_int_equal(c->retain_mb, 1024);
    assert_int_equal(c->dedup_slots, 1048576);
    assert_int_equal(c->n_replicas, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(c->replicas[i].id, i);
        assert_int_equal(c->replicas[i].port, 6000 + i);
        assert_string_equal(c->replicas[i].host, "localhost");
        assert_int_equal(c->replicas[i].drop_rate, i == 2 ? 10 : 0);
        assert_int_equal(c->replicas[i].n_skips, i == 2 ? 1 : 0);
    }
    assert_int_equal(c->replicas[2].skips[0], 2);
}

static void test_every_key(void **state)
{
    const struct config *c =
        parse("{\"cluster\":\"l\\u00f6bby \\ud83d\\ude00\",\"heartbeat_ms\":5,\"message_bytes_max\":1048576,"
              "\"datagram_bytes\":65000,\"log_format\":\"json\",\"flush_interval_s\":86400,\"retain_mb\":64,"
              "\"dedup_slots\":16777216,\"mode\":\"manual\",\"f\":1,\"replica_list\":["
              "{\"port\":65535,\"ip\":\"Chat-2.Example.ORG\",\"id\":254},"
              "{\"port\":1,\"ip\":\"2001:DB8::1\",\"id\":7,\"skip_slot\":[9223372036854775807,0]},"
              "{\"port\":1,\"ip\":\"10.0.0.1\",\"id\":3,\"drop_rate\":100}]}");
    char address[280];

    (void)state;
    assert_string_equal(c->cluster, "l\xc3\xb6"
                                    "bby \xf0\x9f\x98\x80");
    assert_false(c->script);
    assert_int_equal(c->heartbeat_ms, 5);
    assert_int_equal(c->message_bytes_max, 1048576);
    assert_int_equal(c->datagram_bytes, 65000);
    assert_int_equal(c->log_format, LOG_FORMAT_JSON);
    assert_int_equal(c->flush_interval_s, 86400);
    assert_int_equal(c->retain_mb, 64);
    assert_int_equal(c->dedup_slots, 16777216);
    /* by id, whatever the order in the file */
    assert_int_equal(c->replicas[0].id, 3);
    assert_int_equal(c->replicas[0].drop_rate, 100);
    assert_int_equal(c->replicas[1].id, 7);
    assert_true(c->replicas[1].skips[0] == INT64_MAX && c->replicas[1].n_skips == 2);
    config_address(&c->replicas[1], address, sizeof address);
    assert_string_equal(address, "[2001:db8::1]:1");
    config_address(&c->replicas[2], address, sizeof address);
    assert_string_equal(address, "chat-2.example.org:65535");
    assert_ptr_equal(config_find(c, 254), &c->replicas[2]);
    assert_null(config_find(c, 0));
}

static void test_datagram_default_follows_the_addresses(void **state)
{
    (void)state;
    assert_int_equal(parse(ONE("\"id\":0,\"ip\":\"127.8.0.1\",\"port\":1"))->datagram_bytes, 8192);
    assert_int_equal(parse(ONE("\"id\":0,\"ip\":\"::1\",\"port\":1"))->datagram_bytes, 8192);
    assert_int_equal(parse(ONE("\"id\":0,\"ip\":\"a.localhost\",\"port\":1"))->datagram_bytes, 8192);
    assert_int_equal(parse(ONE("\"id\":0,\"ip\":\"10.0.0.1\",\"port\":1"))->datagram_bytes, 1200);
    assert_int_equal(parse(ONE("\"id\":0,\"ip\":\"nolocalhost\",\"port\":1"))->datagram_bytes, 1200);
    assert_int_equal(parse(WITH("\"datagram_bytes\":512"))->datagram_bytes, 512);
}

static void test_wrong_json(void **state)
{
    (void)state;
    refuse("", "c.json:1: JSON: the end of the file stands where a value is due; write a value");
    refuse("\n\n[]", "c.json:3: JSON: the file holds a list; write an object: { \"f\": 1, ... }");
    refuse("{\"f\":1\n\"mode\":1}",
           "c.json:1: JSON: '\"' follows a value in an object; write ',' between, or '}' at its end");
    refuse("{\"f\":1,\n}",
           "c.json:2: JSON: '}' stands where a key is due; write the key in double quotes, and no comma after "
           "the last member");
    refuse("{\"f\" 1}", "c.json:1: JSON: '1' follows the key \"f\"; write ':' and a value");
    refuse("{\"f\":}", "c.json:1: JSON: '}' stands where a value is due; write a value");
    refuse("{\"f\":[1,\n", "c.json:2: JSON: the end of the file stands where a value is due; write a value");
    refuse("{\"f\":1\n\n", "c.json:3: JSON: an object that begins on line 1 is not closed; write '}'");
    refuse("{\n\"f\":[1", "c.json:2: JSON: a list that begins on line 2 is not closed; write ']'");
    refuse("{\"f\":01}",
           "c.json:1: JSON: a number is not written as JSON writes it; write decimal digits, without leading "
           "zeros");
    refuse("{\"f\":-}",
           "c.json:1: JSON: a number is not written as JSON writes it; write decimal digits, without leading "
           "zeros");
    refuse("{\"f\":1.}",
           "c.json:1: JSON: a number is not written as JSON writes it; write decimal digits, without leading "
           "zeros");
    refuse("{\"mode\":\"a\n\"}", "c.json:1: JSON: a string is not closed on its line; write its closing \"");
    refuse("{\"mode\":\"a\tb\"}", "c.json:1: JSON: a string holds the control character 0x09; write it as \\u0009");
    refuse("{\"mode\":\"\\q\"}",
           "c.json:1: JSON: a backslash is followed by what is no escape of JSON; write \\\\ for a "
           "backslash");
    refuse("{\"mode\":\"\\u12g4\"}", "c.json:1: JSON: \\u must be followed by four hexadecimal digits; write them");
    refuse("{\"mode\":\"\\ud800x\"}", "c.json:1: JSON: \\ud800 is half a character; write both halves");
    refuse("{\"mode\":\"\\udc00\"}", "c.json:1: JSON: \\udc00 is half a character; write both halves");
    refuse("{\"mode\":\"\\ud800\\u0041\"}", "c.json:1: JSON: \\ud800 is half a character; write both halves");
    refuse("{\"f\":tru}", "c.json:1: JSON: 't' stands where a value is due; write a value");
    refuse("{} x", "c.json:1: JSON: 'x' follows the end of the configuration; leave out what follows");
    refuse("// f\n{}", "c.json:1: JSON: '/' stands where a value is due; write a value");
    refuse("[[[[[[[[[", "c.json:1: JSON: it is nested deeper than 8; write it flatter");
}

/* What cJSON lets pass. */
static void test_what_a_lax_reader_lets_pass(void **state)
{
    (void)state;
    refuse("{\"f\":1,\n\"mode\":\"script\",\n\"f\":2}",
           "c.json:3: JSON: \"f\" stands twice, first on line 1; leave one of them "
           "out");
    refuse("{\"f\":1,\"\\u0066\":2}", "c.json:1: JSON: \"f\" stands twice, first on line 1; leave one of them out");
    refuse("{\n\"mode\":\"\xff\"}", "c.json:2: JSON: byte 0xff is not valid UTF-8; save the file as UTF-8");
    refuse("{\"mode\":\"\xc0\xaf\"}", "c.json:1: JSON: byte 0xc0 is not valid UTF-8; save the file as UTF-8");
    refuse("{\"mode\":\"\xed\xa0\x80\"}", "c.json:1: JSON: byte 0xed is not valid UTF-8; save the file as UTF-8");
    refuse("{\"mode\":\"\xf4\x90\x80\x80\"}", "c.json:1: JSON: byte 0xf4 is not valid UTF-8; save the file as UTF-8");
    refuse("{\"mode\":\"\xe2\x82", "c.json:1: JSON: byte 0xe2 is not valid UTF-8; save the file as UTF-8");
    refuse("{\"mode\":\"script\\u0000\"}", "c.json:1: JSON: \\u0000 cannot stand in a string here; leave it out");
    refuse_bytes("{}\0", 3, "c.json:1: JSON: byte 0x00 follows the end of the configuration; leave out what follows");
    refuse("\xef\xbb\xbf{}", "c.json:1: JSON: byte 0xef stands where a value is due; write a value");
    refuse("{\"f\":1e0,\"mode\":\"script\",\"replica_list\":[]}", "c.json:1: f: is 1e0; write an integer from 0 to 15");
    refuse("{\"f\":1.0,\"mode\":\"script\",\"replica_list\":[]}", "c.json:1: f: is 1.0; write an integer from 0 to 15");
}

static void test_keys_of_the_file(void **state)
{
    (void)state;
    refuse("\n{}", "c.json:2: f: is missing; write an integer from 0 to 15");
    refuse("{\"f\":\"1\"}", "c.json:1: f: is a string; write an integer from 0 to 15");
    refuse("{\"f\":16}", "c.json:1: f: is 16; write an integer from 0 to 15");
    refuse("{\"f\":-1}", "c.json:1: f: is -1; write an integer from 0 to 15");
    refuse("{\"f\":18446744073709551617}", "c.json:1: f: is 18446744073709551617; write an integer from 0 to 15");
    refuse("{\"f\":1}", "c.json:1: mode: is missing; write \"script\" or \"manual\"");
    refuse("{\"f\":1,\n\"mode\":true}", "c.json:2: mode: is true; write \"script\" or \"manual\"");
    refuse("{\"f\":1,\n\"mode\":\"Script\"}", "c.json:2: mode: is \"Script\"; write \"script\" or \"manual\"");
    refuse("{\"f\":1,\"mode\":\"script\"}", "c.json:1: replica_list: is missing; write a list of 2f+1 replicas");
    refuse("{\"f\":1,\"mode\":\"script\",\n\"replica_list\":{}}",
           "c.json:2: replica_list: is an object; write a list of 2f+1 "
           "replicas");
    refuse("{\"f\":1,\"mode\":\"script\",\n\"replica_list\":[]}",
           "c.json:2: replica_list: has 0 replicas where f is 1; write 3 "
           "(2f+1), or another f");
    refuse("{\"f\":0,\"mode\":\"script\",\"replica_list\":" LIST "}",
           "c.json:1: replica_list: has 3 replicas where f is 0; "
           "write 1 (2f+1), or another f");
    refuse("{\"f\":1,\n\"portt\":1}",
           "c.json:2: portt: is an unknown key; leave it out, or write one of f, mode, replica_list, cluster, "
           "heartbeat_ms, "
           "message_bytes_max, datagram_bytes, log_format, flush_interval_s, retain_mb, dedup_slots");
    refuse("{\"a\\nb\\u001b\":1}",
           "c.json:1: a?b?: is an unknown key; leave it out, or write one of f, mode, replica_list, cluster, "
           "heartbeat_ms, "
           "message_bytes_max, datagram_bytes, log_format, flush_interval_s, retain_mb, dedup_slots");
}

static void test_optional_keys(void **state)
{
    static const struct {
        const char *key;
        long long min, max;
    } keys[] = {{"heartbeat_ms", 5, 10000},     {"message_bytes_max", 64, 1048576}, {"datagram_bytes", 512, 65000},
                {"flush_interval_s", 0, 86400}, {"retain_mb", 64, 16777216},        {"dedup_slots", 1, 16777216}};
    char text[1024], expected[256];

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const long long wrong[] = {keys[i].min - 1, keys[i].max + 1};
        for (size_t n = 0; n < 2; n++) {
            snprintf(text, sizeof text, WITH("\n\"%s\":%lld"), keys[i].key, wrong[n]);
            snprintf(expected, sizeof expected, "c.json:2: %s: is %lld; write an integer from %lld to %lld",
                     keys[i].key, wrong[n], keys[i].min, keys[i].max);
            refuse(text, expected);
            snprintf(text, sizeof text, WITH("\n\"%s\":%lld"), keys[i].key, n ? keys[i].max : keys[i].min);
            parse(text);
        }
        snprintf(text, sizeof text, WITH("\n\"%s\":null"), keys[i].key);
        snprintf(expected, sizeof expected, "c.json:2: %s: is null; write an integer from %lld to %lld", keys[i].key,
                 keys[i].min, keys[i].max);
        refuse(text, expected);
    }
    refuse(WITH("\n\"log_format\":\"text\""),
           "c.json:2: log_format: is \"text\"; write \"full\", \"plain\" or \"json\"");
    refuse(WITH("\n\"log_format\":0"), "c.json:2: log_format: is a number; write \"full\", \"plain\" or \"json\"");
    refuse(WITH("\n\"cluster\":1"), "c.json:2: cluster: is a number; write a name in double quotes");
    refuse(WITH("\n\"cluster\":\"\""), "c.json:2: cluster: is 0 bytes long; write a name of 1 to 64");
    refuse(WITH("\n\"cluster\":\"0123456789012345678901234567890123456789012345678901234567890123x\""),
           "c.json:2: cluster: is 65 bytes long; write a name of 1 to 64");
    refuse(WITH("\n\"cluster\":\"a\\nb\""), "c.json:2: cluster: holds a control character; write a name without any");
}

static void test_keys_of_a_replica(void **state)
{
    (void)state;
    refuse("{\"f\":0,\"mode\":\"manual\",\"replica_list\":[\n1]}",
           "c.json:2: replica_list[0]: is a number; write an object with "
           "id, ip and port");
    refuse(ONE(""), "c.json:3: replica_list[0].id: is missing; write an integer from 0 to 254");
    refuse(ONE("\"id\":255"), "c.json:3: replica_list[0].id: is 255; write an integer from 0 to 254");
    refuse(ONE("\"id\":0"),
           "c.json:3: replica_list[0].ip: is missing; write a name, an IPv4 or an IPv6 address in double "
           "quotes, for example \"localhost\"");
    refuse(ONE("\"id\":0,\"ip\":1"),
           "c.json:3: replica_list[0].ip: is a number; write a name, an IPv4 or an IPv6 address in "
           "double quotes, for example \"localhost\"");
    refuse(ONE("\"id\":0,\"ip\":\"a\""),
           "c.json:3: replica_list[0].port: is missing; write an integer from 1 to 65535");
    refuse(ONE("\"id\":0,\"ip\":\"a\",\n\"port\":0"),
           "c.json:4: replica_list[0].port: is 0; write an integer from 1 to 65535");
    refuse(ONE("\"id\":0,\"ip\":\"a\",\"port\":65536"),
           "c.json:3: replica_list[0].port: is 65536; write an integer from 1 to "
           "65535");
    refuse(ONE(ZERO ",\"drop_rate\":101"),
           "c.json:3: replica_list[0].drop_rate: is 101; write an integer from 0 to 100");
    refuse(ONE(ZERO ",\"drop_rate\":\"1%\""),
           "c.json:3: replica_list[0].drop_rate: is a string; write an integer from 0 to 100");
    refuse(ONE(ZERO ",\n\"skip_slot\":2"),
           "c.json:4: replica_list[0].skip_slot: is a number; write a list of slots, for example "
           "[] or [2, 5]");
    refuse(ONE(ZERO ",\"skip_slot\":[1,\n-2]"),
           "c.json:4: replica_list[0].skip_slot: holds -2; write slots as integers from 0 "
           "to 9223372036854775807");
    refuse(ONE(ZERO ",\"skip_slot\":[9223372036854775808]"),
           "c.json:3: replica_list[0].skip_slot: holds 9223372036854775808; "
           "write slots as integers from 0 to 9223372036854775807");
    refuse(ONE(ZERO ",\n\"port2\":1"),
           "c.json:4: replica_list[0].port2: is an unknown key; leave it out, or write one of id, ip, "
           "port, skip_slot, drop_rate");
}

static void test_addresses(void **state)
{
    static const struct {
        const char *ip, *wrong;
    } cases[] = {
        {"", "is neither a name nor an address; write localhost, a DNS name, an IPv4 or an IPv6 address"},
        {"a b", "is neither a name nor an address; write localhost, a DNS name, an IPv4 or an IPv6 address"},
        {"a..b", "is neither a name nor an address; write localhost, a DNS name, an IPv4 or an IPv6 address"},
        {"1.2.3", "is no IPv4 address; write four numbers from 0 to 255 with dots between"},
        {"256.1.1.1", "is no IPv4 address; write four numbers from 0 to 255 with dots between"},
        {"[::1]", "is no IPv6 address; write one like ::1, without brackets"},
        {"1.2.3.4:6000", "is no IPv6 address; write one like ::1, without brackets"},
        {"fe80::1%", "is no IPv6 address; write one like ::1, without brackets"},
        {"0.0.0.0", "is no address of one machine; write the address that the others send to"},
        {"224.0.0.1", "is no address of one machine; write the address that the others send to"},
        {"::", "is no address of one machine; write the address that the others send to"},
        {"ff02::1", "is no address of one machine; write the address that the others send to"},
    };
    static const char *const good[] = {"a", "a-b_c.example", "10.1.2.3", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"};
    char text[512], expected[256], name[CONFIG_HOST_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, ONE("\"id\":0,\"port\":1,\"ip\":\"%s\""), cases[i].ip);
        snprintf(expected, sizeof expected, "c.json:3: replica_list[0].ip: \"%s\" %s", cases[i].ip, cases[i].wrong);
        if (*cases[i].ip)
            refuse(text, expected);
    }
    refuse(ONE("\"id\":0,\"port\":1,\"ip\":\"\""),
           "c.json:3: replica_list[0].ip: \"\" is no IPv4 address; write four numbers "
           "from 0 to 255 with dots between");
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, ONE("\"id\":0,\"port\":1,\"ip\":\"%s\""), good[i]);
        assert_string_equal(parse(text)->replicas[0].host, good[i]);
    }
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(text, sizeof text, ONE("\"id\":0,\"port\":1,\"ip\":\"%s\""), name);
    refuse(text, "c.json:3: replica_list[0].ip: is longer than 249 bytes; write a shorter name, or the address");
}

static void test_doubled(void **state)
{
    (void)state;
#define THREE(b, c)                                                                                                    \
    "{\"f\":1,\"mode\":\"manual\",\"replica_list\":[\n{\"id\":0,\"ip\":\"localhost\",\"port\":6000},\n{" b "},\n{" c   \
    "}]}"
    refuse(THREE("\"id\":1,\"ip\":\"a\",\"port\":1", "\"ip\":\"b\",\"port\":1,\n\"id\":1"),
           "c.json:5: replica_list[2].id: 1 stands on line 3 already; write an id that no other replica has");
    refuse(
        THREE("\"id\":1,\"ip\":\"LOCALHOST\",\"port\":6000", "\"id\":2,\"ip\":\"b\",\"port\":1"),
        "c.json:3: replica_list[1].ip: this address with port 6000 stands on line 2 already; write another ip or port");
    refuse(
        THREE("\"id\":1,\"ip\":\"127.0.0.1\",\"port\":6000", "\"id\":2,\"ip\":\"b\",\"port\":1"),
        "c.json:3: replica_list[1].ip: this address with port 6000 stands on line 2 already; write another ip or port");
    refuse(THREE("\"id\":1,\"ip\":\"::1\",\"port\":7", "\"id\":2,\"ip\":\"0:0::1\",\"port\":7"),
           "c.json:4: replica_list[2].ip: this address with port 7 stands on line 3 already; write another ip or port");
    parse(THREE("\"id\":1,\"ip\":\"localhost\",\"port\":6001", "\"id\":2,\"ip\":\"b\",\"port\":6000"));
}

static void test_limits(void **state)
{
    char *text = malloc(CONFIG_FILE_BYTES_MAX), error[CONFIG_ERROR_MAX + 1];
    static struct config c;
    size_t at;

    (void)state;
    assert_non_null(text);
    at = (size_t)sprintf(text, "{\"f\":0,\"mode\":\"manual\",\"replica_list\":[{" ZERO ",\"skip_slot\":[0");
    for (int i = 1; i < CONFIG_SKIPS_MAX; i++)
        at += (size_t)sprintf(text + at, ",%d", i);
    strcpy(text + at, "]}]}");
    assert_int_equal(parse(text)->replicas[0].n_skips, CONFIG_SKIPS_MAX);
    strcpy(text + at, ",7]}]}");
    refuse(text, "c.json:1: replica_list[0].skip_slot: has more than 256 slots; write fewer");

    text[0] = '[';
    at = 1;
    while (at < CONFIG_FILE_BYTES_MAX - 8)
        at += (size_t)sprintf(text + at, "1,");
    assert_int_equal(config_parse("c.json", text, at, &c, error), -1);
    assert_string_equal(error, "c.json:1: JSON: the file holds more than 65536 values; write fewer");

    text[0] = '{';
    at = 1;
    for (int i = 0; i < 65; i++)
        at += (size_t)sprintf(text + at, "\"k%d\":1,", i);
    assert_int_equal(config_parse("c.json", text, at, &c, error), -1);
    assert_string_equal(error, "c.json:1: JSON: an object has more than 64 keys; write fewer");
    free(text);
}

/* Whatever is cut off or changed in a file, it is read or refused in one line. */
static void test_damaged(void **state)
{
    char text[sizeof least], error[CONFIG_ERROR_MAX + 1];
    static struct config c;

    (void)state;
    for (size_t size = 0; size < sizeof least - 2; size++) {
        memcpy(text, least, sizeof least);
        assert_int_equal(config_parse("c.json", text, size, &c, error), -1);
        for (int byte = 0; byte < 256; byte += 5) {
            text[size] = (char)byte;
            error[0] = '\0';
            if (config_parse("c.json", text, sizeof least - 1, &c, error) < 0)
                assert_true(strncmp(error, "c.json:", 7) == 0 && !strchr(error, '\n') && strchr(error, ';'));
        }
    }
}

static void test_files(void **state)
{
    char path[] = "/tmp/test_config.XXXXXX", error[CONFIG_ERROR_MAX + 1], expected[CONFIG_ERROR_MAX + 1];
    static struct config c;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0 && write(fd, least, sizeof least - 1) == sizeof least - 1);
    assert_int_equal(config_read(path, &c, error), 0);
    assert_int_equal(c.n_replicas, 3);
    assert_int_equal(ftruncate(fd, CONFIG_FILE_BYTES_MAX + 1), 0);
    assert_int_equal(config_read(path, &c, error), -1);
    snprintf(expected, sizeof expected, "%s:1: JSON: the file is larger than 1 MiB; write less", path);
    assert_string_equal(error, expected);
    close(fd);
    unlink(path);
    assert_int_equal(config_read(path, &c, error), -1);
    snprintf(
        expected, sizeof expected,
        "%s:1: JSON: the file cannot be read: No such file or directory; write one with: mpaxosctl config generate 1",
        path);
    assert_string_equal(error, expected);
    assert_int_equal(config_read("/", &c, error), -1);
    assert_string_equal(error, "/:1: JSON: the file cannot be read: Is a directory; name a file that can be read");
}

static struct hash128 bootstrap_hash(const struct config *c)
{
    struct identity identity;
    config_identity(c, 0, 0, &identity);
    return identity.bootstrap;
}

static void test_identity(void **state)
{
    static struct config a, b;
    static struct identity identity;
    uint64_t name;

    (void)state;
    a = *parse(least);
    config_identity(&a, 1, 77, &identity);
    assert_int_equal(identity.status, IDENTITY_EMPTY);
    assert_int_equal(identity.id, 1);
    assert_int_equal(identity.life, 77);
    assert_true(hash_is_zero(&identity.cluster));
    assert_int_equal(identity.configuration.alpha, WINDOW_SLOTS_DEFAULT);
    assert_int_equal(identity.configuration.dedup_slots, 1048576);
    assert_int_equal(identity.configuration.streams_max, STREAMS_DEFAULT);
    assert_int_equal(identity.configuration.n_members, 3);
    assert_int_equal(identity.configuration.members[2].gen, 1);
    assert_int_equal(identity.configuration.members[2].life, 0);
    assert_int_equal(identity.configuration.members[2].address_size, 14);
    assert_memory_equal(identity.configuration.members[2].address, "localhost:6002", 14);

    /* The hash covers cluster, members, dedup_slots; not what may differ from replica to replica. */
    struct hash128 hash = bootstrap_hash(&a), other;
    assert_true(hash_equal(&hash, &identity.bootstrap));
    b = a;
    b.heartbeat_ms = 7, b.script = false, b.log_format = LOG_FORMAT_JSON, b.replicas[1].drop_rate = 9;
    other = bootstrap_hash(&b);
    assert_true(hash_equal(&hash, &other));
    b = a, b.dedup_slots++, other = bootstrap_hash(&b);
    assert_false(hash_equal(&hash, &other));
    b = a, b.replicas[2].port++, other = bootstrap_hash(&b);
    assert_false(hash_equal(&hash, &other));
    b = a, b.replicas[2].id++, other = bootstrap_hash(&b);
    assert_false(hash_equal(&hash, &other));
    b = a, b.n_replicas--, other = bootstrap_hash(&b);
    assert_false(hash_equal(&hash, &other));
    name = config_cluster_name_hash(&a);
    b = a, strcpy(b.cluster, "mpaxot"), other = bootstrap_hash(&b);
    assert_false(hash_equal(&hash, &other));
    assert_true(name != config_cluster_name_hash(&b));
    assert_true(name == config_cluster_name_hash(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_datagram_default_follows_the_addresses),
        cmocka_unit_test(test_wrong_json),
        cmocka_unit_test(test_what_a_lax_reader_lets_pass),
        cmocka_unit_test(test_keys_of_the_file),
        cmocka_unit_test(test_optional_keys),
        cmocka_unit_test(test_keys_of_a_replica),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_doubled),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
