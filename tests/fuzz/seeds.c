/* Writes the seeds of all targets: `seeds DIRECTORY` makes DIRECTORY/<what>/<name>. `make fuzz-seeds` runs it over the
 * corpus in the tree; only then do seeds change. Small inputs, one for each thing that is worth a start: the fuzzer
 * finds what lies between them. */
#include <limits.h>
#include <sys/stat.h>

#include "host/config.h"
#include "paxos/membership.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "tests/unit/datagrams.h"
#include "tests/unit/messages.h"

static const char *directory;
static FILE *seed;

static void begin(const char *what, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, what);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/%s", directory, what, name);
    seed = fopen(path, "wb");
    if (seed == NULL) {
        perror(path);
        exit(1);
    }
}

static void end(void)
{
    if (fclose(seed) != 0) {
        perror(directory);
        exit(1);
    }
}

static void put(const void *bytes, size_t size)
{
    fwrite(bytes, 1, size, seed);
}

static void put8(unsigned v)
{
    putc((int)(v & 0xff), seed);
}

static void put16(unsigned v)
{
    put8(v);
    put8(v >> 8);
}

static void write_seed(const char *what, const char *name, const void *bytes, size_t size)
{
    begin(what, name);
    put(bytes, size);
    end();
}

/* --- datagrams --- */

enum { ROOM = 512, SEED_DATAGRAMS_BYTES_MAX = 700, CONFIGURATION_MEMBERS = 3 };

static size_t total_size(const struct datagrams *d)
{
    size_t size = 0;
    for (size_t i = 0; i < d->n; i++)
        size += d->all[i].size;
    return size;
}

static void put_datagrams(const char *name, const struct message *m, uint8_t choices)
{
    struct datagrams *d = datagrams_new();
    datagrams_write(d, m, 1, ROOM);
    begin("datagram", name);
    put8(choices);
    for (size_t i = 0; i < d->n; i++) {
        put16((unsigned)d->all[i].size);
        put(d->all[i].bytes, d->all[i].size);
    }
    end();
    datagrams_free(d);
}

/* One of each type, small. */
static void make_random_datagrams(void)
{
    struct prng p;
    prng_seed(&p, 1);
    for (int i = 0; i < MESSAGE_TYPES; i++) {
        char name[32];
        snprintf(name, sizeof name, "type-%02d", (int)message_types[i]);
        for (bool small = false; !small;) {
            struct message m;
            struct datagrams *d = datagrams_new();
            message_random(&p, message_types[i], ROOM, 3, &m);
            datagrams_write(d, &m, 1, ROOM);
            small = d->n > 0 && total_size(d) <= SEED_DATAGRAMS_BYTES_MAX;
            if (small)
                put_datagrams(name, &m, DATAGRAM_MEND_CHECKSUM);
            datagrams_free(d);
            message_forget(&m);
        }
    }
}

static struct value *make_value(const struct value_fields *f)
{
    static const struct hash128 key = {{1, 2, 3}};
    struct value *v = calloc(1, sizeof *v + value_encoded_size(f));
    if (v == NULL)
        abort();
    v->size = (uint32_t)value_encoded_size(f);
    value_encode(f, v->bytes);
    if (!value_parse(v, &key))
        abort();
    return v;
}

static void make_accept(void)
{
    const struct value_fields f = {.type = VALUE_MESSAGE,
                                   .stream = 5,
                                   .n = 1,
                                   .author = "anna",
                                   .author_size = 4,
                                   .key = "k",
                                   .key_size = 1,
                                   .text = "hello",
                                   .text_size = 5};
    const struct value_fields none = {.type = VALUE_NOOP};
    struct value *v = make_value(&f), *noop = make_value(&none);
    const struct entry entries[] = {{.slot = 3, .value = v}, {.slot = 4, .value = noop}, {.slot = 9, .value = v}};
    const struct message m = {.type = MESSAGE_ACCEPT,
                              .accept = {.ballot = {.round = 2, .gen = 1, .id = 3},
                                         .commit = 2,
                                         .n_entries = sizeof entries / sizeof entries[0],
                                         .entries = entries}};
    put_datagrams("accept", &m, DATAGRAM_MEND_CHECKSUM);
    put_datagrams("accept-mended", &m, DATAGRAM_MEND_HEADER);
    put_datagrams("accept-as-is", &m, 0);
    free(v);
    free(noop);
}

/* One value in several datagrams. */
static void make_cut_body(void)
{
    static char text[700];
    memset(text, 'x', sizeof text);
    const struct value_fields f = {.type = VALUE_MESSAGE, .key = "k", .key_size = 1, .text = text, .text_size = 700};
    struct value *v = make_value(&f);
    const struct message m = {.type = MESSAGE_BODY,
                              .body = {.slot = 8, .ballot = {.round = 2, .gen = 1, .id = 3}, .value = v}};
    put_datagrams("body-cut", &m, DATAGRAM_MEND_CHECKSUM);
    free(v);
}

static void make_slot0(void)
{
    struct configuration c = {.alpha = 64, .dedup_slots = 9, .streams_max = 7, .n_members = CONFIGURATION_MEMBERS};
    uint8_t text[CONFIGURATION_BYTES_MAX];
    for (uint32_t i = 0; i < c.n_members; i++) {
        c.members[i] = (struct member){.life = 7 + i, .gen = 1, .id = (replica_id_t)i, .address_size = 4};
        memcpy(c.members[i].address, "h:60", 4);
    }
    struct value_fields f = {.type = VALUE_CONFIG, .text = text};
    f.text_size = (uint32_t)configuration_encode(&c, text);
    struct value *v = make_value(&f);
    const struct message m = {.type = MESSAGE_STATE,
                              .state = {.nonce = 1, .answer = 2, .status = IDENTITY_STARTING, .slot0 = v}};
    put_datagrams("state-slot0", &m, DATAGRAM_MEND_CHECKSUM);
    free(v);
}

/* --- texts --- */

struct text {
    const char *name, *text;
};

#define REPLICA "org.mpaxos.Replica."
#define SERVICE "org.varlink.service."

static const struct text calls[] = {
    {"submit", "{\"method\":\"" REPLICA "Submit\",\"parameters\":{\"text\":\"h\\u00e9 \\ud83d\\ude00\",\"author\":"
               "\"anna\",\"key\":\"k1\",\"since\":0,\"timeout_ms\":5000}}"},
    {"submit-oneway", "{\"method\":\"" REPLICA "Submit\",\"parameters\":{\"text\":\"x\"},\"oneway\":true}"},
    {"position", "{\"method\":\"" REPLICA "Position\",\"parameters\":{\"linearizable\":true,\"timeout_ms\":100}}"},
    {"read", "{\"method\":\"" REPLICA "Read\",\"parameters\":{\"from\":0,\"count\":5}}"},
    {"read-tail", "{\"method\":\"" REPLICA "Read\",\"parameters\":{\"tail\":2,\"count\":null}}"},
    {"read-follow", "{\"method\":\"" REPLICA "Read\",\"parameters\":{\"follow\":true},\"more\":true}"},
    {"status", "{\"method\":\"" REPLICA "Status\"}"},
    {"metrics", "{\"method\":\"" REPLICA "Metrics\",\"parameters\":{}}"},
    {"flush", "{\"method\":\"" REPLICA "Flush\",\"parameters\":{\"all\":true,\"timeout_ms\":7}}"},
    {"drop", "{\"method\":\"" REPLICA "SetDrop\",\"parameters\":{\"rate\":30,\"direction\":\"both\",\"peer\":2,"
             "\"seconds\":9}}"},
    {"skip", "{\"method\":\"" REPLICA "SkipSlots\",\"parameters\":{\"slots\":[1,2,9007199254740993]}}"},
    {"bootstrap", "{\"method\":\"" REPLICA "Bootstrap\"}"},
    {"transfer", "{\"method\":\"" REPLICA "TransferLeadership\",\"parameters\":{\"target\":1}}"},
    {"info", "{\"method\":\"" SERVICE "GetInfo\",\"parameters\":null}"},
    {"description",
     "{\"method\":\"" SERVICE "GetInterfaceDescription\",\"parameters\":{\"interface\":\"" SERVICE "\"}}"},
    {"unknown", "{\"method\":\"a.b.C\",\"upgrade\":false}"},
};

static const struct text odd_messages[] = {
    {"nested", "{\"method\":\"m\",\"parameters\":{\"a\":[[[{\"b\":[-0.5e+7,true,false,null,\"\"]}]]]}}"},
    {"numbers", "{\"method\":\"m\",\"parameters\":{\"a\":-9223372036854775808,\"b\":18446744073709551616,\"c\":1.0}}"},
    {"escapes", "{\"method\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\udbff\\udfff\",\"parameters\":{\"\\u0061\":1}}"},
    {"repeated", "{\"method\":\"m\",\"\\u006dethod\":\"m\"}"},
    {"surrogate", "{\"method\":\"\\ud800\"}"},
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
    {"no-comma", "{ \"f\": 1\n \"mode\": \"script\" }"},
    {"unknown-key", "{ \"f\": 1, \"\xc3\xa9\x7f\": [ {}, [], -1.5e9, \"\\ud83d\\ude00\" ] }"},
};

static void make_texts(void)
{
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const struct text *t = &calls[i];
        write_seed("control", t->name, t->text, strlen(t->text) + 1);
    }
    for (size_t i = 0; i < sizeof configurations / sizeof configurations[0]; i++)
        write_seed("config", configurations[i].name, configurations[i].text, strlen(configurations[i].text));
    for (size_t i = 0; i < sizeof odd_messages / sizeof odd_messages[0]; i++) {
        begin("varlink", odd_messages[i].name);
        put8(60);
        put(odd_messages[i].text, strlen(odd_messages[i].text) + 1);
        end();
    }
    begin("varlink", "three-calls");
    put8(200);
    for (size_t i = 0; i < 3; i++)
        put(calls[i].text, strlen(calls[i].text) + 1);
    end();
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

static void make_control(void)
{
    begin("control", "steps-out-of-order");
    control(CONTROL_HOLD);
    call("submit");
    call("submit-oneway");
    call("submit");
    control_with(CONTROL_RESULT, 2);
    control_with(CONTROL_SETTLE, 1);
    control_with(CONTROL_SETTLE, 0);
    control(CONTROL_SHUT_DOWN);
    control_with(CONTROL_SETTLE, 0);
    end();

    begin("control", "steps-stream");
    call("read-follow");
    control_with(CONTROL_APPEND, 200);
    control(CONTROL_READ);
    control_with(CONTROL_SWITCH, 1);
    call("submit");
    call("read");
    control_with(CONTROL_SWITCH, 0);
    control(CONTROL_CLOSE);
    control_with(CONTROL_APPEND, 3);
    end();

    begin("control", "steps-late-answers");
    control(CONTROL_HOLD_ANSWERS);
    call("position");
    call("status");
    control(CONTROL_ANSWER);
    control_with(CONTROL_DRIVER, 4);
    call("flush");
    control(CONTROL_CLOSE);
    end();

    begin("control", "steps-not-started");
    control_with(CONTROL_STATUS, 0);
    call("position");
    call("status");
    control_with(CONTROL_DRIVER, 1 | 8 | 1 << 5);
    call("bootstrap");
    call("read");
    control_with(CONTROL_LONG, 20);
    end();
}

/* --- the mark --- */

static void make_mark(const char *name, unsigned choices, unsigned upto, unsigned slot, const char *rest)
{
    begin("mark", name);
    put8(choices);
    put8(upto);
    put8(slot);
    put8(0); /* format of what stands in the file */
    if (choices & MARK_MADE) {
        put16(0); /* length */
        put16(0); /* inode  */
        put8(0);
    }
    put(rest, strlen(rest));
    end();
}

static void make_marks(void)
{
    const unsigned right = MARK_MADE | MARK_INODE_RIGHT | MARK_TAIL_RIGHT | MARK_LOG_TRUE;
    static const char text[] = "mpaxos chat log mark 1\nslot 5\ninode 17\nlength 3\nformat 0\ntail "
                               "00112233445566778899aabbccddeeff\n";
    char raw[sizeof text + 2] = {(char)(sizeof text - 1), 0};
    memcpy(raw + 2, text, sizeof text);
    make_mark("goes-on", right, 30, 12, "");
    make_mark("behind", right, 30, 12, "somebody's line\n");
    make_mark("rotated", right | MARK_LOG_ROTATED, 30, 12, "");
    make_mark("moved", right & ~(unsigned)MARK_INODE_RIGHT, 30, 12, "");
    make_mark("as-json", right | LOG_FORMAT_JSON << MARK_FORMAT_SHIFT, 30, 12, "");
    make_mark("wrong-tail", right & ~(unsigned)MARK_TAIL_RIGHT, 30, 12, "");
    begin("mark", "text");
    put8(MARK_MENDED);
    put8(9);
    put16(0);
    put(raw, 2);
    put(text, sizeof text - 1);
    end();
}

/* --- the journal --- */

static void edit(enum journal_edit op, enum journal_file file, unsigned place, unsigned size)
{
    put8(op);
    put8(file);
    put16(place);
    put8(size);
}

static void make_journal_edits(void)
{
    static const char zeros[64];
    begin("journal", "whole");
    put8(JOURNAL_EDIT | JOURNAL_CORE);
    end();

    begin("journal", "torn");
    put8(JOURNAL_EDIT | JOURNAL_CORE);
    edit(EDIT_ZERO, SEGMENT_2, 8192, 255);
    edit(EDIT_DELETE, RESERVE, 0, 0);
    end();

    begin("journal", "rotten");
    put8(JOURNAL_EDIT);
    edit(EDIT_XOR, SEGMENT_1, 5000, 1);
    put8(0x10);
    end();

    begin("journal", "misplaced");
    put8(JOURNAL_EDIT);
    edit(EDIT_SWAP, SEGMENT_1, 512, 2);
    put16(1024);
    edit(EDIT_COPY, SEGMENT_3, 0, SEGMENT_2);
    end();

    /* The first record's body size, type and slot; the batch's number and count of records. */
    static const unsigned places[] = {64, 68, 72, 8, 44, 40};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "batch-at-%u", places[i]);
        begin("journal", name);
        put8(JOURNAL_EDIT | JOURNAL_MEND | (i % 2 == 0 ? JOURNAL_CORE : 0));
        edit(EDIT_IN_BATCH, SEGMENT_1, 2 + places[i] * 32, 2);
        put16(3);
        end();
    }

    begin("journal", "superblock");
    put8(JOURNAL_EDIT | JOURNAL_MEND);
    edit(EDIT_WRITE, SUPERBLOCK_0, 72, 8);
    put(zeros, 8);
    edit(EDIT_CUT, SUPERBLOCK_1, 100, 0);
    end();

    begin("journal", "files");
    put8(JOURNAL_MEND);
    put8(SUPERBLOCK_0);
    put16(16);
    put("mpxsuper\1\0\0\0abcd", 16);
    put8(SEGMENT_1);
    put16(64);
    put(zeros, 64);
    end();
}

/* --- the cluster --- */

static void acts(const char *name, unsigned shape, size_t n, const uint8_t (*list)[2])
{
    begin("cluster", name);
    put8(1);
    put8(shape);
    put8(0xff);
    put(list, 2 * n);
    end();
}

#define ACTS(name, shape, ...)                                                                                         \
    do {                                                                                                               \
        static const uint8_t list[][2] = {__VA_ARGS__};                                                                \
        acts(name, shape, sizeof list / sizeof list[0], list);                                                         \
    } while (0)

/* Shapes: 0 three voters, 8 three blank disks, 1 five voters, 3 one. */
static void make_cluster_acts(void)
{
    ACTS("calm", 0, {ACT_WAIT, 200}, {ACT_SUBMIT, 9}, {ACT_WAIT, 20}, {ACT_POSITION, 1}, {ACT_WAIT, 20});
    ACTS("one", 3, {ACT_WAIT, 200}, {ACT_SUBMIT, 9}, {ACT_CRASH, 128}, {ACT_START, 0}, {ACT_SUBMIT, 3});
    ACTS("blank", 8, {ACT_RUN, 30}, {ACT_CRASH, 1}, {ACT_WAIT, 20}, {ACT_START, 1}, {ACT_WAIT, 200}, {ACT_WIPE, 2});
    ACTS("leader-crash", 0, {ACT_WAIT, 200}, {ACT_SUBMIT, 21}, {ACT_RUN, 9}, {ACT_CRASH, 0}, {ACT_CRASH, 129},
         {ACT_CRASH, 2}, {ACT_START, 0}, {ACT_START, 1}, {ACT_WAIT, 150}, {ACT_RETRY, 2}, {ACT_START, 2});
    ACTS("cut", 1, {ACT_WAIT, 200}, {ACT_SUBMIT, 5}, {ACT_ISOLATE, 4}, {ACT_CUT, 11}, {ACT_WAIT, 200}, {ACT_SUBMIT, 4},
         {ACT_SUBMIT, 0}, {ACT_WAIT, 100}, {ACT_HEAL, 0}, {ACT_CONFLICT, 3}, {ACT_WAIT, 50});
    ACTS("late", 0, {ACT_WAIT, 200}, {ACT_SUBMIT, 2}, {ACT_DELAY, 30}, {ACT_DOUBLE, 60}, {ACT_LOSE, 3}, {ACT_DEAFEN, 5},
         {ACT_SUBMIT, 1}, {ACT_WAIT, 100}, {ACT_DEAFEN, 5}, {ACT_PAUSE, 40}, {ACT_WAIT, 100});
    ACTS("disk", 0, {ACT_WAIT, 200}, {ACT_STALL, 99}, {ACT_SPACE, 1}, {ACT_SUBMIT, 2}, {ACT_WAIT, 90}, {ACT_CRASH, 130},
         {ACT_SPACE, 1}, {ACT_START, 2}, {ACT_WALL, 9}, {ACT_SUBMIT, 11}, {ACT_CLOSE, 1});
    ACTS("operator", 0, {ACT_WAIT, 200}, {ACT_SKIP, 60}, {ACT_SUBMIT, 30}, {ACT_TRANSFER, 1}, {ACT_WEATHER, 0x4f},
         {ACT_SUBMIT, 31}, {ACT_WAIT, 200}, {ACT_SUBMIT, 32});
}

/* --- one core --- */

static void replica(enum replica_act a, int argument)
{
    put8(a);
    if (argument >= 0)
        put8((unsigned)argument);
}

/* With proper peers. */
static void put_time(unsigned beats)
{
    for (unsigned i = 0; i < beats; i++) {
        replica(REPLICA_WAIT, 10);
        replica(REPLICA_BEAT, 0);
    }
}

/* It bids within a second, and leads. */
static void put_election(void)
{
    put_time(16);
    replica(REPLICA_DURABLE, -1);
    replica(REPLICA_PROMISE, 1);
    replica(REPLICA_DURABLE, -1);
    replica(REPLICA_ACK, 1);
    put_time(2);
}

static void make_replica_acts(void)
{
    begin("replica", "leader");
    put8(0);
    put_election();
    for (int i = 0; i < 4; i++) {
        replica(REPLICA_SUBMIT, 0);
        put16(0x28 + 0x20 * (unsigned)i);
        replica(REPLICA_POSITION, -1);
        replica(REPLICA_DURABLE, -1);
        replica(REPLICA_ACK, i % 2);
        replica(REPLICA_WAIT, 4);
    }
    replica(REPLICA_TRANSFER, 1);
    replica(REPLICA_WAIT, 60);
    replica(REPLICA_RESTART, 1);
    end();

    begin("replica", "skipper");
    put8(0);
    put_election();
    replica(REPLICA_SKIP, 26);
    put8(27);
    replica(REPLICA_SUBMIT, 0);
    put16(0x28);
    replica(REPLICA_SPACE, 0);
    replica(REPLICA_CANCEL, 0);
    replica(REPLICA_DURABLE, -1);
    replica(REPLICA_ACK, 0);
    end();

    /* Message types that anybody may send, with fields that are mostly zero. */
    for (unsigned type = MESSAGE_HEARTBEAT; type <= MESSAGE_TRANSFER; type++) {
        char name[32];
        snprintf(name, sizeof name, "type-%02u", type);
        begin("replica", name);
        put8(type == MESSAGE_STATE);
        replica(REPLICA_WAIT, 10);
        replica(REPLICA_BEAT, 7);
        for (unsigned i = 0; i < 3; i++) {
            static const uint8_t fields[] = {1, 0x60, 25, 0x30, 25, 1, 0x21, 26, 7, 0, 1, 0, 0, 0, 0, 0};
            put8(REPLICA_MESSAGE + type - MESSAGE_HEARTBEAT);
            put(fields, sizeof fields);
        }
        replica(REPLICA_DURABLE, -1);
        replica(REPLICA_FETCHED, -1);
        end();
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 64;
    }
    directory = argv[1];
    mkdir(directory, 0755);
    make_random_datagrams();
    make_accept();
    make_cut_body();
    make_slot0();
    make_texts();
    make_control();
    make_marks();
    make_journal_edits();
    make_cluster_acts();
    make_replica_acts();
    return 0;
}
