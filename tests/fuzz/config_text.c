#include "tests/fuzz/config_text.h"

#include <stdarg.h>

#include "paxos/replica.h"
#include "tests/fuzz/inputs.h"

struct maker {
    struct config_text *t;
    struct fuzz_input *in;
    uint32_t line, object_line;
    unsigned n_members, wrong_member;
    enum config_mistake mistake;
    bool is_first; /* of its object */
};

static void put(struct maker *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct maker *m, const char *format, ...)
{
    va_list arguments;
    size_t room = sizeof m->t->bytes - m->t->size;
    va_start(arguments, format);
    int n = vsnprintf(m->t->bytes + m->t->size, room, format, arguments);
    va_end(arguments);
    fuzz_check(n >= 0 && (size_t)n < room);
    for (const char *p = m->t->bytes + m->t->size; *p; p++)
        m->line += *p == '\n';
    m->t->size += (size_t)n;
}

static void put_space(struct maker *m)
{
    static const char *const spaces[] = {"", " ", "\n", "\n\n", "\t", "\r\n", "  ", "\n "};
    put(m, "%s", spaces[fuzz_u8(m->in) % 8]);
}

static void begin_object(struct maker *m)
{
    put_space(m);
    m->object_line = m->line;
    m->is_first = true;
    put(m, "{");
}

/* True: it is the one that is wrong; what the mistake is then is written here, unless the value's range is. */
static bool begin_member(struct maker *m, const char *key, bool is_needed, bool *ret_is_left_out)
{
    bool is_wrong = ++m->n_members == m->wrong_member;
    *ret_is_left_out = is_wrong && is_needed && m->mistake == CONFIG_LEFT_OUT;
    if (*ret_is_left_out) {
        m->t->wrong_line = m->object_line;
        m->t->wrong_key = key;
        return true;
    }
    if (!m->is_first)
        put(m, ",");
    m->is_first = false;
    put_space(m);
    if (is_wrong) {
        m->t->wrong_line = m->line;
        m->t->wrong_key = m->mistake == CONFIG_NO_JSON ? NULL : m->mistake == CONFIG_UNKNOWN_KEY ? "zzz" : key;
    }
    if (is_wrong && m->mistake == CONFIG_NO_JSON)
        put(m, "@");
    if (is_wrong && m->mistake == CONFIG_UNKNOWN_KEY)
        put(m, "\"zzz\": 1, ");
    put(m, "\"%s\":", key);
    if (fuzz_u8(m->in) & 1)
        put(m, " ");
    return is_wrong;
}

/* Writes any other kind of value. */
static bool is_of_wrong_type(struct maker *m, bool is_wrong)
{
    bool of_type = is_wrong && m->mistake != CONFIG_NO_JSON && m->mistake != CONFIG_UNKNOWN_KEY;
    if (of_type)
        put(m, "{}");
    return of_type;
}

static uint64_t put_uint(struct maker *m, const char *key, bool is_needed, uint64_t min, uint64_t max, uint64_t value)
{
    bool is_left_out, is_wrong = begin_member(m, key, is_needed, &is_left_out);
    if (is_left_out)
        return value;
    if (is_wrong && m->mistake == CONFIG_TOO_MUCH)
        value = max + 1;
    else if (is_wrong && m->mistake == CONFIG_TOO_LITTLE && min > 0)
        value = min - 1;
    else if (is_of_wrong_type(m, is_wrong))
        return value;
    put(m, "%llu", (unsigned long long)value);
    return value;
}

static void put_text(struct maker *m, const char *key, bool is_needed, const char *text)
{
    bool is_left_out, is_wrong = begin_member(m, key, is_needed, &is_left_out);
    if (!is_left_out && !is_of_wrong_type(m, is_wrong))
        put(m, "\"%s\"", text);
}

/* The bounds, and what lies between. */
static uint64_t draw(struct maker *m, uint64_t min, uint64_t max)
{
    uint8_t how = fuzz_u8(m->in);
    uint64_t range = max - min;
    if (how < 2)
        return how == 0 ? min : max;
    return min + (range / 255 * how + how) % (range + 1);
}

/* An optional one is there or not. */
static uint64_t put_option(struct maker *m, const char *key, uint64_t min, uint64_t max, uint64_t absent)
{
    return fuzz_u8(m->in) & 1 ? put_uint(m, key, false, min, max, draw(m, min, max)) : absent;
}

/* --- a replica --- */

static const struct {
    const char *text, *host;
    bool is_loopback;
} hosts[] = {
    {"localhost", "localhost", true},
    {"127.0.0.1", "127.0.0.1", true},
    {"::1", "::1", true},
    {"127.255.0.9", "127.255.0.9", true},
    {"10.1.2.3", "10.1.2.3", false},
    {"Chat-1.Example.ORG", "chat-1.example.org", false},
    {"fe80::1%eth0", "fe80::1%eth0", false},
    {"a_b", "a_b", false},
};

static void put_skips(struct maker *m, struct config_replica *r)
{
    bool is_left_out, is_wrong;
    uint8_t n = fuzz_u8(m->in);
    if (n == 0)
        return;
    is_wrong = begin_member(m, "skip_slot", false, &is_left_out);
    if (is_of_wrong_type(m, is_wrong))
        return;
    r->n_skips = n == 255 ? CONFIG_SKIPS_MAX : n % 5;
    put(m, "[");
    for (uint32_t i = 0; i < r->n_skips; i++) {
        r->skips[i] = i == 1 ? INT64_MAX : i * UINT64_C(3);
        put(m, "%s%llu", i > 0 ? "," : "", (unsigned long long)r->skips[i]);
        if (i % 64 == 3)
            put_space(m);
    }
    put(m, "]");
}

/* Answers whether its address is a loopback one. Ids and ports are all different. */
static bool put_replica(struct maker *m, uint32_t i, uint8_t first_id, uint16_t first_port)
{
    struct config_replica *r = &m->t->config.replicas[i];
    size_t host = fuzz_u8(m->in) % (sizeof hosts / sizeof hosts[0]);
    *r = (struct config_replica){.id = (replica_id_t)((first_id + i * 37) % (REPLICA_ID_MAX + 1)),
                                 .port = (uint16_t)(1 + first_port % 65000 + i)};
    snprintf(r->host, sizeof r->host, "%s", hosts[host].host);
    begin_object(m);
    bool drop_is_early = fuzz_u8(m->in) & 1;
    if (drop_is_early)
        r->drop_rate = (uint8_t)put_option(m, "drop_rate", 0, 100, 0);
    put_uint(m, "port", true, 1, 65535, r->port);
    put_text(m, "ip", true, hosts[host].text);
    put_skips(m, r);
    put_uint(m, "id", true, 0, REPLICA_ID_MAX, r->id);
    if (!drop_is_early)
        r->drop_rate = (uint8_t)put_option(m, "drop_rate", 0, 100, 0);
    put_space(m);
    put(m, "}");
    return hosts[host].is_loopback;
}

/* --- the file --- */

static bool put_replicas(struct maker *m)
{
    bool is_left_out, is_wrong = begin_member(m, "replica_list", true, &is_left_out), all_loopback = true;
    uint8_t first_id = fuzz_u8(m->in);
    uint16_t first_port = fuzz_u16(m->in);
    if (is_left_out || is_of_wrong_type(m, is_wrong))
        return true;
    uint32_t root_line = m->object_line;
    put(m, "[");
    for (uint32_t i = 0; i < m->t->config.n_replicas; i++) {
        if (i > 0)
            put(m, ",");
        all_loopback = put_replica(m, i, first_id, first_port) && all_loopback;
    }
    put(m, "]");
    m->object_line = root_line;
    m->is_first = false;
    return all_loopback;
}

static void put_cluster(struct maker *m)
{
    char *name = m->t->config.cluster;
    uint8_t size = fuzz_u8(m->in);
    snprintf(name, CLUSTER_NAME_MAX + 1, "mpaxos");
    if (size == 0)
        return;
    size = size % 4 == 1 ? 1 : size % 4 == 2 ? CLUSTER_NAME_MAX : 1 + size % CLUSTER_NAME_MAX;
    memset(name, 'c', size);
    name[size] = 0;
    put_text(m, "cluster", false, name);
}

static void put_root(struct maker *m)
{
    static const char *const formats[] = {"full", "plain", "json"};
    struct config *c = &m->t->config;
    bool datagram_is_told, is_loopback;
    uint64_t datagram;
    c->f = fuzz_u8(m->in) % (CONFIG_F_MAX + 1);
    c->n_replicas = 2 * c->f + 1;
    c->script = fuzz_u8(m->in) & 1;
    begin_object(m);
    put_cluster(m);
    put_uint(m, "f", true, 0, CONFIG_F_MAX, c->f);
    c->heartbeat_ms = (uint32_t)put_option(m, "heartbeat_ms", HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX, HEARTBEAT_MS_DEFAULT);
    datagram = put_option(m, "datagram_bytes", DATAGRAM_BYTES_LEAST, DATAGRAM_BYTES_MOST, 0);
    datagram_is_told = datagram > 0;
    is_loopback = put_replicas(m);
    put_text(m, "mode", true, c->script ? "script" : "manual");
    c->message_bytes_max =
        (uint32_t)put_option(m, "message_bytes_max", MESSAGE_BYTES_LEAST, MESSAGE_BYTES_MOST, MESSAGE_BYTES_DEFAULT);
    c->flush_interval_s = (uint32_t)put_option(m, "flush_interval_s", 0, FLUSH_INTERVAL_S_MAX, 0);
    c->retain_mb = put_option(m, "retain_mb", RETAIN_MB_MIN, RETAIN_MB_MAX, RETAIN_MB_DEFAULT);
    c->dedup_slots = (uint32_t)put_option(m, "dedup_slots", 1, DEDUP_SLOTS_MAX, DEDUP_SLOTS_DEFAULT);
    c->log_format = (enum log_format)(fuzz_u8(m->in) % (LOG_FORMAT_JSON + 1));
    if (c->log_format != LOG_FORMAT_FULL)
        put_text(m, "log_format", false, formats[c->log_format]);
    c->datagram_bytes = datagram_is_told ? (uint32_t)datagram
                        : is_loopback    ? DATAGRAM_BYTES_DEFAULT_LOOPBACK
                                         : DATAGRAM_BYTES_DEFAULT;
    put_space(m);
    put(m, "}");
    put_space(m);
}

void config_text_make(struct config_text *t, struct fuzz_input *in)
{
    struct maker m = {.t = t, .in = in, .line = 1, .wrong_member = fuzz_u8(in)};
    m.mistake = (enum config_mistake)(fuzz_u8(in) % CONFIG_MISTAKES);
    t->size = 0;
    t->config = (struct config){.f = 0};
    t->wrong_line = 0;
    t->wrong_key = NULL;
    put_root(&m);
}
