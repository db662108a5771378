/* config generate: a configuration of the least shape that works. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/new_file.h"
#include "host/config.h"

enum { F_MAX = (REPLICAS_MAX - 1) / 2, PORT_DEFAULT = 6000, PORT_MAX = 65535 };

struct plan {
    const struct invocation *v;
    struct config config;
};

/* Two numbers of a repeatable option: a replica's id and something up to max. False: wrong, and reported. */
static bool read_pair(const struct plan *p, const struct given *g, uint64_t max, uint64_t *ret_id, uint64_t *ret)
{
    if (!number_read(g->values[0], 0, p->config.n_replicas - 1, ret_id)) {
        invocation_usage(p->v, "%s: '%.80s' is no replica's id, 0 to %u", g->name, g->values[0],
                         p->config.n_replicas - 1);
        return false;
    }
    if (!number_read(g->values[1], 0, max, ret)) {
        invocation_usage(p->v, "%s: '%.80s' is not a whole number from 0%s", g->name, g->values[1],
                         max == 100 ? " to 100" : " on");
        return false;
    }
    return true;
}

static bool add_skip(struct plan *p, const struct given *g)
{
    uint64_t id, slot;
    if (!read_pair(p, g, INT64_MAX, &id, &slot))
        return false;
    struct config_replica *r = &p->config.replicas[id];
    for (uint32_t i = 0; i < r->n_skips; i++)
        if (r->skips[i] == slot)
            return true;
    if (r->n_skips == CONFIG_SKIPS_MAX) {
        invocation_usage(p->v, "%s: replica %llu skips more than %d slots", g->name, (unsigned long long)id,
                         CONFIG_SKIPS_MAX);
        return false;
    }
    r->skips[r->n_skips++] = slot;
    return true;
}

static bool read_faults(struct plan *p)
{
    const struct arguments *a = p->v->arguments;
    uint64_t rate = 0, id;
    if (invocation_number(p->v, OPTION_PROB_ALL, 0, 100, &rate) < 0)
        return false;
    for (uint32_t i = 0; i < p->config.n_replicas; i++)
        p->config.replicas[i].drop_rate = (uint8_t)rate;
    for (size_t i = 0; i < a->n_given; i++) {
        const struct given *g = &a->given[i];
        if (g->id == OPTION_PROB) {
            if (!read_pair(p, g, 100, &id, &rate))
                return false;
            p->config.replicas[id].drop_rate = (uint8_t)rate;
        } else if (g->id == OPTION_SKIP && !add_skip(p, g)) {
            return false;
        }
    }
    return true;
}

static bool read_hosts(struct plan *p)
{
    const char *at = invocation_value(p->v, OPTION_HOST);
    uint64_t port = PORT_DEFAULT;
    uint32_t n = p->config.n_replicas, i = 0;
    if (invocation_number(p->v, OPTION_PORT, 1, PORT_MAX - (n - 1), &port) < 0)
        return false;
    for (; i < n; i++) {
        struct config_replica *r = &p->config.replicas[i];
        r->id = (replica_id_t)i;
        r->port = (uint16_t)(port + i);
        size_t size = at ? strcspn(at, ",") : strlen("localhost");
        if (size == 0 || size > CONFIG_HOST_MAX)
            break;
        memcpy(r->host, at ? at : "localhost", size);
        r->host[size] = '\0';
        if (at)
            at += size + (at[size] == ',' && i + 1 < n);
    }
    if (i == n && (!at || !*at))
        return true;
    invocation_usage(p->v, "--host: for %u replicas it is %u names or addresses with commas between them", n, n);
    return false;
}

static void write_config(const struct config *c, struct buffer *b)
{
    buffer_addf(b, "{\n  \"f\": %u,\n  \"mode\": \"%s\",\n  \"replica_list\": [\n", c->f,
                c->script ? "script" : "manual");
    for (uint32_t i = 0; i < c->n_replicas; i++) {
        const struct config_replica *r = &c->replicas[i];
        buffer_addf(b, "    { \"id\": %u, \"ip\": ", r->id);
        buffer_add_json(b, r->host, strlen(r->host));
        buffer_addf(b, ", \"port\": %u, \"skip_slot\": [", r->port);
        for (uint32_t k = 0; k < r->n_skips; k++)
            buffer_addf(b, "%s%llu", k ? ", " : "", (unsigned long long)r->skips[k]);
        buffer_addf(b, "], \"drop_rate\": %u }%s\n", r->drop_rate, i + 1 < c->n_replicas ? "," : "");
    }
    buffer_add_text(b, "  ]\n}\n");
}

static int write_file(const struct invocation *v, const char *path, const struct buffer *b)
{
    const struct new_file f = {
        .path = path,
        .mode = 0644,
        .over = invocation_has(v, OPTION_FORCE),
        .if_there = "Choose another name with -o, or write over it with --force",
        .if_not_to_be_opened = "Choose another place with -o",
    };
    int status = new_file_write(v, &f, b->bytes, b->size);
    if (status != EXIT_DONE)
        return status;
    if (v->report.json == JSON_OFF) {
        printf("wrote %s\n", path);
        return EXIT_DONE;
    }
    cJSON *p = cJSON_CreateObject();
    cJSON_AddStringToObject(p, "path", path);
    report_json(&v->report, p, false);
    cJSON_Delete(p);
    return EXIT_DONE;
}

/* What is written is what the daemon's own reader takes: anything else is wrong usage, found here and not at the first
 * start. */
static int check_and_write(const struct plan *p, const struct buffer *b)
{
    char error[CONFIG_ERROR_MAX + 1];
    struct config *back = calloc(1, sizeof(*back));
    const char *path = invocation_value(p->v, OPTION_OUTPUT);
    if (!path)
        path = "replica_config.json";
    if (b->failed || !back) {
        free(back);
        return new_file_fail(p->v, path, "out of memory", "Try again");
    }
    int r = config_parse(path, b->bytes, b->size, back, error);
    free(back);
    if (r < 0)
        return invocation_usage(p->v, "such a configuration would be wrong: %s", error);
    if (strcmp(path, "-") != 0)
        return write_file(p->v, path, b);
    fwrite(b->bytes, 1, b->size, stdout);
    return EXIT_DONE;
}

int verb_config_generate(const struct invocation *v)
{
    uint64_t f;
    if (invocation_operand(v, 0, "F", 0, F_MAX, &f) < 0)
        return EXIT_USAGE;
    struct plan *p = calloc(1, sizeof(*p));
    struct buffer b = {0};
    int status = EXIT_USAGE;
    if (!p)
        return new_file_fail(v, "replica_config.json", "out of memory", "Try again");
    p->v = v;
    p->config.f = (uint32_t)f;
    p->config.n_replicas = 2 * (uint32_t)f + 1;
    p->config.script = !invocation_has(v, OPTION_MANUAL);
    if (read_hosts(p) && read_faults(p)) {
        write_config(&p->config, &b);
        status = check_and_write(p, &b);
    }
    buffer_done(&b);
    free(p);
    return status;
}
