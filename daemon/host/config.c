#include "host/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/config_json.h"
#include "paxos/replica.h"

struct checker {
    const char *path;
    struct json_document document;
    struct config *config;
    char *error;
    char where[40]; /* of the object that is looked at: "replica_list[2]." */
    uint32_t id_lines[REPLICAS_MAX], address_lines[REPLICAS_MAX]; /* as config.replicas */
};

static int complain(struct checker *k, uint32_t line, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int complain(struct checker *k, uint32_t line, const char *key, const char *format, ...)
{
    char what[CONFIG_ERROR_MAX + 1], shown[64];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    /* A path may be as long as it likes; what is wrong must still be read. */
    snprintf(k->error, CONFIG_ERROR_MAX + 1, "%.200s:%u: %s%s: %.250s", k->path, line, k->where,
             json_show(key, shown, sizeof shown), what);
    return -1;
}

static const char *name_type(enum json_type type)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",       [JSON_FALSE] = "false",  [JSON_TRUE] = "true",        [JSON_NUMBER] = "a number",
        [JSON_STRING] = "a string", [JSON_ARRAY] = "a list", [JSON_OBJECT] = "an object",
    };
    return names[type];
}

/* NULL and a complaint where it is missing or of another type. `write` ends the complaint. */
static const struct json_value *need(struct checker *k, const struct json_value *object, const char *key,
                                     enum json_type type, const char *write)
{
    const struct json_value *v = json_member(&k->document, object, key);

    if (!v)
        complain(k, object->line, key, "is missing; write %s", write);
    else if (v->type != type)
        complain(k, v->line, key, "is %s; write %s", name_type(v->type), write);
    return v && v->type == type ? v : NULL;
}

/* What stands as `v`, shortly, for a complaint. */
static const char *name_value(const struct json_value *v, char *ret, size_t size)
{
    if (v->type != JSON_NUMBER)
        return name_type(v->type);
    return json_show(v->text, ret, size);
}

/* An integer within [min, max]; absent leaves *ret untouched. */
static int read_uint(struct checker *k, const struct json_value *object, const char *key, uint64_t min, uint64_t max,
                     uint64_t *ret)
{
    const struct json_value *v = json_member(&k->document, object, key);
    char shown[32];
    uint64_t n;

    if (!v)
        return 0;
    if (!json_get_uint(v, &n) || n < min || n > max)
        return complain(k, v->line, key, "is %s; write an integer from %llu to %llu",
                        name_value(v, shown, sizeof shown), (unsigned long long)min, (unsigned long long)max);
    *ret = n;
    return 0;
}

static int need_uint(struct checker *k, const struct json_value *object, const char *key, uint64_t min, uint64_t max,
                     uint64_t *ret)
{
    if (!json_member(&k->document, object, key))
        return complain(k, object->line, key, "is missing; write an integer from %llu to %llu", (unsigned long long)min,
                        (unsigned long long)max);
    return read_uint(k, object, key, min, max, ret);
}

static int check_keys(struct checker *k, const struct json_value *object, const char *const *known)
{
    for (uint32_t i = object->child; i != JSON_NONE; i = k->document.values[i].next) {
        const struct json_value *v = &k->document.values[i];
        char list[256] = "";
        size_t at = 0;
        for (size_t n = 0; known[n]; n++) {
            if (strcmp(v->key, known[n]) == 0)
                goto next;
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", n ? ", " : "", known[n]);
        }
        return complain(k, v->line, v->key, "is an unknown key; leave it out, or write one of %s", list);
    next:;
    }
    return 0;
}

/* A name as DNS takes it (or an address whose form is checked by others): letters, digits, '-', '_' in labels. */
static bool is_name(const char *host)
{
    size_t label = 0;

    for (const char *p = host; *p; p++) {
        if (*p == '.' && label == 0)
            return false;
        if (*p != '.' && !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", *p))
            return false;
        label = *p == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return *host != '\0';
}

/* NULL, or what is wrong with it. */
static const char *check_host(const char *host)
{
    struct in6_addr v6;
    struct in_addr v4;
    char plain[CONFIG_HOST_MAX + 1];

    if (strchr(host, ':')) {
        snprintf(plain, sizeof plain, "%.*s", (int)strcspn(host, "%"), host);
        if (inet_pton(AF_INET6, plain, &v6) != 1 || (strchr(host, '%') && !is_name(strchr(host, '%') + 1)))
            return "is no IPv6 address; write one like ::1, without brackets";
        return IN6_IS_ADDR_UNSPECIFIED(&v6) || IN6_IS_ADDR_MULTICAST(&v6)
                   ? "is no address of one machine; write the address that the others send to"
                   : NULL;
    }
    if (host[strspn(host, "0123456789.")] == '\0') {
        if (inet_pton(AF_INET, host, &v4) != 1)
            return "is no IPv4 address; write four numbers from 0 to 255 with dots between";
        return v4.s_addr == INADDR_ANY || ntohl(v4.s_addr) >= 0xe0000000U
                   ? "is no address of one machine; write the address that the others send to"
                   : NULL;
    }
    return is_name(host) ? NULL
                         : "is neither a name nor an address; write localhost, a DNS name, an IPv4 or an IPv6 address";
}

/* The same for two spellings of one address; names but localhost stand for themselves. */
static void host_canonical(const char *host, char ret[CONFIG_HOST_MAX + 1])
{
    uint8_t address[16];

    snprintf(ret, CONFIG_HOST_MAX + 1, "%s", strcmp(host, "localhost") == 0 ? "127.0.0.1" : host);
    if (inet_pton(AF_INET6, host, address) == 1)
        inet_ntop(AF_INET6, address, ret, CONFIG_HOST_MAX + 1);
}

static int read_host(struct checker *k, const struct json_value *object, struct config_replica *ret)
{
    const struct json_value *v = need(k, object, "ip", JSON_STRING,
                                      "a name, an IPv4 or an IPv6 address in double quotes, for example \"localhost\"");
    const char *wrong;
    char shown[64];

    if (!v)
        return -1;
    if (strlen(v->text) > CONFIG_HOST_MAX)
        return complain(k, v->line, "ip", "is longer than %d bytes; write a shorter name, or the address",
                        CONFIG_HOST_MAX);
    wrong = check_host(v->text);
    if (wrong)
        return complain(k, v->line, "ip", "\"%s\" %s", json_show(v->text, shown, sizeof shown), wrong);
    for (size_t i = 0; i <= strlen(v->text); i++)
        ret->host[i] = v->text[i] >= 'A' && v->text[i] <= 'Z' ? (char)(v->text[i] - 'A' + 'a') : v->text[i];
    return 0;
}

static int read_skips(struct checker *k, const struct json_value *object, struct config_replica *ret)
{
    const struct json_value *v = json_member(&k->document, object, "skip_slot");
    char shown[32];

    if (!v)
        return 0;
    if (v->type != JSON_ARRAY)
        return complain(k, v->line, "skip_slot", "is %s; write a list of slots, for example [] or [2, 5]",
                        name_type(v->type));
    for (uint32_t i = v->child; i != JSON_NONE; i = k->document.values[i].next) {
        const struct json_value *slot = &k->document.values[i];
        uint64_t n;
        if (!json_get_uint(slot, &n) || n > INT64_MAX)
            return complain(k, slot->line, "skip_slot", "holds %s; write slots as integers from 0 to %lld",
                            name_value(slot, shown, sizeof shown), (long long)INT64_MAX);
        if (ret->n_skips == CONFIG_SKIPS_MAX)
            return complain(k, slot->line, "skip_slot", "has more than %d slots; write fewer", CONFIG_SKIPS_MAX);
        ret->skips[ret->n_skips++] = n;
    }
    return 0;
}

static int read_replica(struct checker *k, const struct json_value *object, uint32_t index)
{
    static const char *const known[] = {"id", "ip", "port", "skip_slot", "drop_rate", NULL};
    struct config_replica *r = &k->config->replicas[index];
    uint64_t id = 0, port = 0, drop_rate = 0;
    char mine[CONFIG_HOST_MAX + 1], other[CONFIG_HOST_MAX + 1];

    if (check_keys(k, object, known) < 0 || need_uint(k, object, "id", 0, REPLICA_ID_MAX, &id) < 0 ||
        read_host(k, object, r) < 0 || need_uint(k, object, "port", 1, 65535, &port) < 0 ||
        read_skips(k, object, r) < 0 || read_uint(k, object, "drop_rate", 0, 100, &drop_rate) < 0)
        return -1;
    r->id = (replica_id_t)id;
    r->port = (uint16_t)port;
    r->drop_rate = (uint8_t)drop_rate;
    k->id_lines[index] = json_member(&k->document, object, "id")->line;
    k->address_lines[index] = json_member(&k->document, object, "ip")->line;
    host_canonical(r->host, mine);
    for (uint32_t i = 0; i < index; i++) {
        const struct config_replica *o = &k->config->replicas[i];
        host_canonical(o->host, other);
        if (o->id == r->id)
            return complain(k, k->id_lines[index], "id",
                            "%u stands on line %u already; write an id that no other replica has", r->id,
                            k->id_lines[i]);
        if (o->port == r->port && strcmp(mine, other) == 0)
            return complain(k, k->address_lines[index], "ip",
                            "this address with port %u stands on line %u already; write another ip or port", r->port,
                            k->address_lines[i]);
    }
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    return ((const struct config_replica *)a)->id - ((const struct config_replica *)b)->id;
}

static int read_replicas(struct checker *k, const struct json_value *root)
{
    const struct json_value *list = need(k, root, "replica_list", JSON_ARRAY, "a list of 2f+1 replicas");
    uint32_t wanted = 2 * k->config->f + 1, n = 0;

    if (!list)
        return -1;
    for (uint32_t i = list->child; i != JSON_NONE; i = k->document.values[i].next)
        n++;
    if (n != wanted)
        return complain(k, list->line, "replica_list", "has %u replica%s where f is %u; write %u (2f+1), or another f",
                        n, n == 1 ? "" : "s", k->config->f, wanted);
    n = 0;
    for (uint32_t i = list->child; i != JSON_NONE; i = k->document.values[i].next, n++) {
        const struct json_value *v = &k->document.values[i];
        char key[32];
        snprintf(key, sizeof key, "replica_list[%u]", n);
        if (v->type != JSON_OBJECT)
            return complain(k, v->line, key, "is %s; write an object with id, ip and port", name_type(v->type));
        snprintf(k->where, sizeof k->where, "%s.", key);
        if (read_replica(k, v, n) < 0)
            return -1;
        k->where[0] = '\0';
    }
    k->config->n_replicas = n;
    qsort(k->config->replicas, n, sizeof *k->config->replicas, compare_ids);
    return 0;
}

/* The index of the string in the list, -1 and a complaint if it is none of them. */
static int read_choice(struct checker *k, const struct json_value *v, const char *const *choices, const char *write)
{
    char shown[40];

    for (int i = 0; v->type == JSON_STRING && choices[i]; i++)
        if (strcmp(v->text, choices[i]) == 0)
            return i;
    if (v->type != JSON_STRING)
        return complain(k, v->line, v->key, "is %s; write %s", name_type(v->type), write);
    return complain(k, v->line, v->key, "is \"%s\"; write %s", json_show(v->text, shown, sizeof shown), write);
}

static int read_cluster(struct checker *k, const struct json_value *root)
{
    const struct json_value *v = json_member(&k->document, root, "cluster");
    size_t size;

    if (!v)
        return 0;
    if (v->type != JSON_STRING)
        return complain(k, v->line, "cluster", "is %s; write a name in double quotes", name_type(v->type));
    size = strlen(v->text);
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)v->text[i] < 0x20 || v->text[i] == 0x7f)
            return complain(k, v->line, "cluster", "holds a control character; write a name without any");
    if (size == 0 || size > CLUSTER_NAME_MAX)
        return complain(k, v->line, "cluster", "is %zu bytes long; write a name of 1 to %d", size, CLUSTER_NAME_MAX);
    memcpy(k->config->cluster, v->text, size + 1);
    return 0;
}

/* The optional keys. */
static int read_options(struct checker *k, const struct json_value *root)
{
    static const char *const formats[] = {
        [LOG_FORMAT_FULL] = "full", [LOG_FORMAT_PLAIN] = "plain", [LOG_FORMAT_JSON] = "json", NULL};
    const struct json_value *format = json_member(&k->document, root, "log_format");
    uint64_t heartbeat = HEARTBEAT_MS_DEFAULT, message = MESSAGE_BYTES_DEFAULT, datagram = 0, interval = 0,
             retain = RETAIN_MB_DEFAULT, dedup = DEDUP_SLOTS_DEFAULT;
    int choice = LOG_FORMAT_FULL;

    if (read_cluster(k, root) < 0 ||
        read_uint(k, root, "heartbeat_ms", HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX, &heartbeat) < 0 ||
        read_uint(k, root, "message_bytes_max", MESSAGE_BYTES_LEAST, MESSAGE_BYTES_MOST, &message) < 0 ||
        read_uint(k, root, "datagram_bytes", DATAGRAM_BYTES_LEAST, DATAGRAM_BYTES_MOST, &datagram) < 0 ||
        read_uint(k, root, "flush_interval_s", 0, FLUSH_INTERVAL_S_MAX, &interval) < 0 ||
        read_uint(k, root, "retain_mb", RETAIN_MB_MIN, RETAIN_MB_MAX, &retain) < 0 ||
        read_uint(k, root, "dedup_slots", 1, DEDUP_SLOTS_MAX, &dedup) < 0)
        return -1;
    if (format && (choice = read_choice(k, format, formats, "\"full\", \"plain\" or \"json\"")) < 0)
        return -1;
    if (datagram == 0)
        datagram = config_is_loopback(k->config) ? DATAGRAM_BYTES_DEFAULT_LOOPBACK : DATAGRAM_BYTES_DEFAULT;
    k->config->heartbeat_ms = (uint32_t)heartbeat;
    k->config->message_bytes_max = (uint32_t)message;
    k->config->datagram_bytes = (uint32_t)datagram;
    k->config->flush_interval_s = (uint32_t)interval;
    k->config->retain_mb = retain;
    k->config->dedup_slots = (uint32_t)dedup;
    k->config->log_format = (enum log_format)choice;
    return 0;
}

static int read_root(struct checker *k)
{
    static const char *const known[] = {"f",
                                        "mode",
                                        "replica_list",
                                        "cluster",
                                        "heartbeat_ms",
                                        "message_bytes_max",
                                        "datagram_bytes",
                                        "log_format",
                                        "flush_interval_s",
                                        "retain_mb",
                                        "dedup_slots",
                                        NULL};
    static const char *const modes[] = {"script", "manual", NULL};
    const struct json_value *root = &k->document.values[0], *mode;
    uint64_t f = 0;
    int choice;

    if (root->type != JSON_OBJECT)
        return complain(k, root->line, "JSON", "the file holds %s; write an object: { \"f\": 1, ... }",
                        name_type(root->type));
    if (check_keys(k, root, known) < 0 || need_uint(k, root, "f", 0, CONFIG_F_MAX, &f) < 0)
        return -1;
    k->config->f = (uint32_t)f;
    mode = need(k, root, "mode", JSON_STRING, "\"script\" or \"manual\"");
    if (!mode || (choice = read_choice(k, mode, modes, "\"script\" or \"manual\"")) < 0)
        return -1;
    k->config->script = choice == 0;
    return read_replicas(k, root) < 0 ? -1 : read_options(k, root);
}

int config_parse(const char *path, const char *bytes, size_t size, struct config *ret, char *ret_error)
{
    struct config *c = calloc(1, sizeof *c);
    struct checker k = {.path = path, .config = c, .error = ret_error};
    char reason[JSON_REASON_MAX + 1];
    uint32_t line = 1;
    int error;

    if (!c)
        return complain(&k, 1, "JSON", "cannot be read: out of memory; free some");
    snprintf(c->cluster, sizeof c->cluster, "mpaxos");
    error = json_read(bytes, size, &k.document, &line, reason);
    if (error == -ENOMEM)
        error = complain(&k, 1, "JSON", "cannot be read: out of memory; free some");
    else if (error < 0)
        error = complain(&k, line, "JSON", "%s", reason);
    else
        error = read_root(&k);
    if (error == 0)
        *ret = *c;
    json_free(&k.document);
    free(c);
    return error;
}

static int complain_file(const char *path, const char *what, char *ret_error)
{
    snprintf(ret_error, CONFIG_ERROR_MAX + 1, "%.300s:1: JSON: %s", path, what);
    return -1;
}

int config_read(const char *path, struct config *ret, char *ret_error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), result;
    char what[160];
    size_t size = 0;
    ssize_t n = fd < 0 ? -1 : 1;
    char *bytes = malloc(CONFIG_FILE_BYTES_MAX + 1);

    if (!bytes)
        n = -1, errno = ENOMEM;
    while (n > 0 && size <= CONFIG_FILE_BYTES_MAX) {
        n = read(fd, bytes + size, CONFIG_FILE_BYTES_MAX + 1 - size);
        if (n > 0)
            size += (size_t)n;
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    if (n < 0) {
        snprintf(what, sizeof what, "the file cannot be read: %s; %s", strerror(errno),
                 errno == ENOENT ? "write one with: mpaxosctl config generate 1" : "name a file that can be read");
        result = complain_file(path, what, ret_error);
    } else if (size > CONFIG_FILE_BYTES_MAX) {
        result = complain_file(path, "the file is larger than 1 MiB; write less", ret_error);
    } else {
        result = config_parse(path, bytes, size, ret, ret_error);
    }
    free(bytes);
    if (fd >= 0)
        close(fd);
    return result;
}
