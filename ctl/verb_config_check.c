/* config check: what is wrong with a configuration, or what the daemon would make of it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/verbs.h"
#include "host/config.h"

#ifndef SYSCONFDIR
#define SYSCONFDIR "/etc"
#endif

enum { NOTE_MAX = 1023 };

static const char *format_name(enum log_format format)
{
    return format == LOG_FORMAT_PLAIN ? "plain" : format == LOG_FORMAT_JSON ? "json" : "full";
}

static void print_text(const struct invocation *v, const char *path, const struct config *c)
{
    struct table t;
    printf("%s is right. The daemon would use:\n", path);
    printf("  f                  %u (%u replicas, %u of them make a majority)\n", c->f, c->n_replicas, c->f + 1);
    printf("  mode               %s\n", c->script ? "script" : "manual");
    fputs("  cluster            ", stdout);
    text_print(stdout, c->cluster, v->report.terminal);
    putchar('\n');
    printf("  heartbeat_ms       %u\n", c->heartbeat_ms);
    printf("  message_bytes_max  %u\n", c->message_bytes_max);
    printf("  datagram_bytes     %u\n", c->datagram_bytes);
    printf("  log_format         %s\n", format_name(c->log_format));
    printf("  flush_interval_s   %u%s\n", c->flush_interval_s, c->flush_interval_s ? "" : " (only on command)");
    printf("  retain_mb          %llu\n", (unsigned long long)c->retain_mb);
    printf("  dedup_slots        %u\n\n", c->dedup_slots);
    table_init(&t, "rlrl", (const char *[]){"ID", "ADDRESS", "DROPS", "SKIPS SLOTS"});
    for (uint32_t i = 0; i < c->n_replicas; i++) {
        const struct config_replica *r = &c->replicas[i];
        char id[8], drops[8], address[CONFIG_HOST_MAX + 16];
        struct buffer skips = {0};
        snprintf(id, sizeof(id), "%u", r->id);
        snprintf(drops, sizeof(drops), "%u%%", r->drop_rate);
        config_address(r, address, sizeof(address));
        for (uint32_t k = 0; k < r->n_skips; k++)
            buffer_addf(&skips, "%s%llu", k ? " " : "", (unsigned long long)r->skips[k]);
        table_add(&t, (const char *[]){id, address, r->drop_rate ? drops : "-", skips.bytes ? skips.bytes : "-"});
        buffer_done(&skips);
    }
    table_print(&t, v->report.legend, 2);
    table_done(&t);
}

static void add_int(cJSON *object, const char *key, uint64_t n)
{
    cJSON_AddItemToObject(object, key, varlink_int((int64_t)n));
}

/* The shape of the file itself, with every default filled in. */
static void print_json(const struct invocation *v, const struct config *c)
{
    cJSON *object = cJSON_CreateObject();
    add_int(object, "f", c->f);
    cJSON_AddStringToObject(object, "mode", c->script ? "script" : "manual");
    cJSON *list = cJSON_AddArrayToObject(object, "replica_list");
    for (uint32_t i = 0; i < c->n_replicas; i++) {
        const struct config_replica *r = &c->replicas[i];
        cJSON *replica = cJSON_CreateObject();
        add_int(replica, "id", r->id);
        cJSON_AddStringToObject(replica, "ip", r->host);
        add_int(replica, "port", r->port);
        cJSON *skips = cJSON_AddArrayToObject(replica, "skip_slot");
        for (uint32_t k = 0; k < r->n_skips; k++)
            cJSON_AddItemToArray(skips, varlink_int((int64_t)r->skips[k]));
        add_int(replica, "drop_rate", r->drop_rate);
        cJSON_AddItemToArray(list, replica);
    }
    cJSON_AddStringToObject(object, "cluster", c->cluster);
    add_int(object, "heartbeat_ms", c->heartbeat_ms);
    add_int(object, "message_bytes_max", c->message_bytes_max);
    add_int(object, "datagram_bytes", c->datagram_bytes);
    cJSON_AddStringToObject(object, "log_format", format_name(c->log_format));
    add_int(object, "flush_interval_s", c->flush_interval_s);
    add_int(object, "retain_mb", c->retain_mb);
    add_int(object, "dedup_slots", c->dedup_slots);
    report_json(&v->report, object, false);
    cJSON_Delete(object);
}

static void note(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(const char *path, const char *format, ...)
{
    char text[NOTE_MAX + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "mpaxosctl: %s: ", path);
    text_show(stderr, text, false);
    putc('\n', stderr);
}

/* The members of the running cluster stay; other addresses count from the next start on. */
static void compare_members(const char *path, const struct config *c, const cJSON *peers)
{
    bool known[REPLICA_ID_MAX + 1] = {false};
    const cJSON *peer;
    cJSON_ArrayForEach(peer, peers)
    {
        int64_t id;
        const char *uses = NULL;
        char address[CONFIG_HOST_MAX + 16];
        if (!varlink_get_int(peer, "id", 0, REPLICA_ID_MAX, &id))
            continue;
        known[id] = true;
        const struct config_replica *r = config_find(c, (replica_id_t)id);
        if (!r) {
            note(path, "replica %lld: the file leaves it out, but the running cluster has it, and that stays",
                 (long long)id);
            continue;
        }
        config_address(r, address, sizeof(address));
        if (varlink_get_string(peer, "address", &uses) && uses && strcmp(uses, address) != 0)
            note(path,
                 "replica %lld: the file says %s, but the replica that was asked uses %.280s until it is restarted",
                 (long long)id, address, uses);
    }
    for (uint32_t i = 0; i < c->n_replicas && cJSON_IsArray(peers); i++) {
        if (!known[c->replicas[i].id])
            note(path, "replica %u: the file has it, but the running cluster has not, and that stays",
                 c->replicas[i].id);
    }
}

/* What lives in the log from the first start on: a file that says otherwise now is only worth a note. */
static void compare_with_running(const struct invocation *v, const char *path, const struct config *c)
{
    struct client client;
    struct failure f = {0};
    struct reply r = {0};
    const char *cluster = NULL;
    bool named = v->place.id >= 0 || v->place.dir || v->place.socket || getenv("MPAXOS_DIR");
    if (named && client_open(&client, &v->place, &f) == 0) {
        if (client_ask(&client, "org.mpaxos.Replica.Status", NULL, CLIENT_TIMEOUT_MSEC_DEFAULT, false, &r, &f) == 0) {
            if (varlink_get_string(r.parameters, "cluster", &cluster) && cluster && strcmp(cluster, c->cluster) != 0)
                note(path, "cluster: the file says '%s', but the running cluster is '%.280s', and that stays",
                     c->cluster, cluster);
            compare_members(path, c, cJSON_GetObjectItemCaseSensitive(r.parameters, "peers"));
        }
        client_close(&client);
    }
    reply_done(&r);
    failure_done(&f);
}

static int fail(const struct invocation *v, const char *error)
{
    struct failure f = {0};
    cJSON *p = cJSON_CreateObject();
    cJSON_AddStringToObject(p, "reason", error);
    failure_set(&f, EXIT_CONFIG, "org.mpaxos.Control.ConfigurationWrong", p, "%s", error);
    report_failure(&v->report, &f);
    failure_done(&f);
    return EXIT_CONFIG;
}

int verb_config_check(const struct invocation *v)
{
    char error[CONFIG_ERROR_MAX + 1];
    const char *path = v->arguments->n_operands ? v->arguments->operands[0] : "replica_config.json";
    if (v->arguments->n_operands == 0 && access(path, F_OK) < 0)
        path = SYSCONFDIR "/mpaxosd/replica_config.json";
    struct config *c = calloc(1, sizeof(*c));
    int status = EXIT_DONE;
    if (!c) {
        status = fail(v, "out of memory");
    } else if (config_read(path, c, error) < 0) {
        status = fail(v, error);
    } else {
        if (v->report.json == JSON_OFF)
            print_text(v, path, c);
        else
            print_json(v, c);
        report_flush();
        compare_with_running(v, path, c);
    }
    free(c);
    return status;
}
