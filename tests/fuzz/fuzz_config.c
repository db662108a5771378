/* replica_config.json as any editor may leave it: config_parse(), and what the daemon makes of a good one.
 *
 * Input: the file; or, behind a byte that no file begins with, what a good one is made of, and what is wrong with it
 * then (config_text.c). Checked besides: a good one is within its ranges and makes an identity that can be stored; a
 * bad one is explained in one line of text, which names a line that there is. A good one that was made is taken, with
 * the same values; of a bad one, line and key are told. */
#include "host/config.h"
#include "host/reload.h"
#include "tests/fuzz/config_text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"

/* Answers the line that it names. */
static unsigned long check_error(const char *error, const char *bytes, size_t n_bytes)
{
    size_t size = strnlen(error, CONFIG_ERROR_MAX + 1);
    unsigned long line, n_lines = 1;
    char *end;
    fuzz_check(size > 0 && size <= CONFIG_ERROR_MAX);
    fuzz_check(strncmp(error, "conf:", 5) == 0);
    line = strtoul(error + 5, &end, 10);
    for (size_t i = 0; i < n_bytes; i++)
        n_lines += bytes[i] == '\n';
    fuzz_check(line >= 1 && line <= n_lines && strncmp(end, ": ", 2) == 0);
    for (size_t i = 0; i < size; i++)
        fuzz_check((unsigned char)error[i] >= 0x20 && error[i] != 0x7f);
    return line;
}

static void check_replicas(const struct config *c)
{
    char address[CONFIG_HOST_MAX + 16];
    fuzz_check(c->f <= CONFIG_F_MAX && c->n_replicas == 2 * c->f + 1);
    for (uint32_t i = 0; i < c->n_replicas; i++) {
        const struct config_replica *r = &c->replicas[i];
        fuzz_check(r->port > 0 && r->drop_rate <= 100 && r->n_skips <= CONFIG_SKIPS_MAX);
        fuzz_check(i == 0 || c->replicas[i - 1].id < r->id);
        fuzz_check(config_find(c, r->id) == r);
        config_address(r, address, sizeof address);
        fuzz_check(strlen(address) <= ADDRESS_BYTES_MAX && strrchr(address, ':') != NULL);
    }
}

static void check_options(const struct config *c)
{
    fuzz_check(c->cluster[0] != 0 && strnlen(c->cluster, sizeof c->cluster) <= CLUSTER_NAME_MAX);
    fuzz_check(c->heartbeat_ms >= HEARTBEAT_MS_MIN && c->heartbeat_ms <= HEARTBEAT_MS_MAX);
    fuzz_check(c->message_bytes_max >= MESSAGE_BYTES_LEAST && c->message_bytes_max <= MESSAGE_BYTES_MOST);
    fuzz_check(c->datagram_bytes >= DATAGRAM_BYTES_LEAST && c->datagram_bytes <= DATAGRAM_BYTES_MOST);
    fuzz_check(c->log_format <= LOG_FORMAT_JSON && c->flush_interval_s <= FLUSH_INTERVAL_S_MAX);
    fuzz_check(c->retain_mb >= RETAIN_MB_MIN && c->retain_mb <= RETAIN_MB_MAX);
    fuzz_check(c->dedup_slots >= 1 && c->dedup_slots <= DEDUP_SLOTS_MAX);
}

static void check_identity(const struct config *c)
{
    static struct identity i;
    struct configuration again;
    uint8_t bytes[CONFIGURATION_BYTES_MAX];
    config_identity(c, c->replicas[0].id, 1, &i);
    fuzz_check(i.status == IDENTITY_EMPTY && i.configuration.n_members == c->n_replicas);
    fuzz_check(configuration_decode(bytes, configuration_encode(&i.configuration, bytes), &again));
    struct hash128 hash = config_bootstrap_hash(c->cluster, &again);
    fuzz_check(hash_equal(&i.bootstrap, &hash));
}

/* A running replica takes up all that it can, at once. */
static void check_reload(const struct config *c)
{
    static struct config running;
    struct reload r = {.path = "conf"}, again = r;
    char list[64];
    replica_id_t self = c->replicas[0].id;
    running = *c;
    running.replicas[0].drop_rate = 1;
    running.replicas[0].n_skips = 0;
    running.log_format = LOG_FORMAT_FULL;
    running.heartbeat_ms = HEARTBEAT_MS_MAX;
    running.n_replicas -= c->n_replicas > 1;
    reload_apply(&running, c, self, &r);
    fuzz_check(!r.failed && r.n_changed <= RELOAD_KEYS_MAX);
    for (size_t i = 0; i < RELOAD_REMEDIES; i++)
        fuzz_check(strnlen(r.kept[i], RELOAD_KEPT_MAX) < RELOAD_KEPT_MAX);
    fuzz_check(strlen(reload_list_changed(&r, list, sizeof list)) < sizeof list);
    reload_apply(&running, c, self, &again);
    fuzz_check(again.n_changed == 0);
}

static void check_good(const struct config *c)
{
    check_replicas(c);
    check_options(c);
    check_identity(c);
    check_reload(c);
    config_cluster_name_hash(c);
    config_is_loopback(c);
}

static void check_equal(const struct config *c, const struct config *made)
{
    fuzz_check(c->f == made->f && c->script == made->script && strcmp(c->cluster, made->cluster) == 0);
    fuzz_check(c->heartbeat_ms == made->heartbeat_ms && c->message_bytes_max == made->message_bytes_max &&
               c->datagram_bytes == made->datagram_bytes && c->log_format == made->log_format &&
               c->flush_interval_s == made->flush_interval_s && c->retain_mb == made->retain_mb &&
               c->dedup_slots == made->dedup_slots && c->n_replicas == made->n_replicas);
    for (uint32_t i = 0; i < made->n_replicas; i++) {
        const struct config_replica *r = config_find(c, made->replicas[i].id), *of = &made->replicas[i];
        fuzz_check(r != NULL && r->port == of->port && r->drop_rate == of->drop_rate && r->n_skips == of->n_skips &&
                   strcmp(r->host, of->host) == 0);
        fuzz_check(memcmp(r->skips, of->skips, of->n_skips * sizeof of->skips[0]) == 0);
    }
}

static void parse_made(struct fuzz_input *in)
{
    static struct config_text t;
    static struct config c;
    char error[CONFIG_ERROR_MAX + 1];
    config_text_make(&t, in);
    int r = config_parse("conf", t.bytes, t.size, &c, error);
    if (r < 0 && t.wrong_line == 0)
        fprintf(stderr, "%s\n", error);
    fuzz_check((r == 0) == (t.wrong_line == 0));
    if (r == 0) {
        check_good(&c);
        check_equal(&c, &t.config);
    } else {
        fuzz_check(check_error(error, t.bytes, t.size) == t.wrong_line);
        fuzz_check(t.wrong_key == NULL || strstr(error, t.wrong_key) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[CONFIG_ERROR_MAX + 1];
    struct fuzz_input in = {data, data + size};
    if (fuzz_u8(&in) == CONFIG_MADE && size > 0) {
        parse_made(&in);
        return 0;
    }
    char *bytes = fuzz_copy(data, size);
    static struct config c;
    memset(error, 'x', sizeof error);
    memset(&c, 0xee, sizeof c);
    if (config_parse("conf", bytes, size, &c, error) == 0)
        check_good(&c);
    else
        check_error(error, bytes, size);
    free(bytes);
    return 0;
}
