#include "tests/unit/driver_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include "host/faults.h"
#include "tests/unit/loopback.h"

enum { PATIENCE_USEC = 60000000, SEGMENT_BYTES = 256 << 10 };

static void tick(uv_timer_t *timer)
{
    (void)timer;
}

static void stopped(void *user, int exit_status)
{
    struct node *n = user;
    n->stopped = exit_status;
}

int cluster_start_node(struct cluster *c, size_t i)
{
    struct node *n = &c->nodes[i];
    struct driver_options o = {.loop = &c->loop,
                               .config = &c->config,
                               .keys = c->keys,
                               .id = (replica_id_t)i,
                               .state_dir = n->state,
                               .segment_bytes = SEGMENT_BYTES,
                               .log_path = n->log,
                               .version = "test",
                               .stopped = stopped,
                               .user = n};
    snprintf(n->state, sizeof(n->state), "%s/%zu", c->dir, i);
    snprintf(n->log, sizeof(n->log), "%s/%zu.log", c->dir, i);
    n->faults = o.faults = faults_new(0, i + 1);
    n->stopped = -1;
    int status = driver_start(&o, &n->driver);
    if (status != 0) {
        faults_free(n->faults);
        n->driver = NULL;
    }
    return status;
}

void cluster_make(struct cluster *c)
{
    char text[1024], error[CONFIG_ERROR_MAX + 1] = "";
    memset(c, 0, sizeof(*c));
    strcpy(c->dir, "/tmp/mpaxos-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    uv_loop_init(&c->loop);
    uv_timer_init(&c->loop, &c->tick);
    uv_timer_start(&c->tick, tick, 5, 5);
    snprintf(text, sizeof(text),
             "{\"f\": 1, \"mode\": \"manual\", \"log_format\": \"plain\", \"dedup_slots\": 10000, \"replica_list\": ["
             "{\"id\": 0, \"ip\": \"localhost\", \"port\": %u, \"skip_slot\": [], \"drop_rate\": 0},"
             "{\"id\": 1, \"ip\": \"localhost\", \"port\": %u, \"skip_slot\": [], \"drop_rate\": 0},"
             "{\"id\": 2, \"ip\": \"localhost\", \"port\": %u, \"skip_slot\": [], \"drop_rate\": 0}]}",
             loopback_free_port(), loopback_free_port(), loopback_free_port());
    if (config_parse("test", text, strlen(text), &c->config, error) < 0)
        fail_msg("%s", error);
}

void cluster_run_until(struct cluster *c, bool (*done)(struct cluster *c))
{
    for (uint64_t until = uv_hrtime() / 1000 + PATIENCE_USEC; !done(c);) {
        if (uv_hrtime() / 1000 > until)
            fail_msg("nothing came of it within %d s", PATIENCE_USEC / 1000000);
        uv_run(&c->loop, UV_RUN_ONCE);
    }
}

bool cluster_is_quorate(struct cluster *c)
{
    static struct driver_status s;
    for (size_t i = 0; i < REPLICAS; i++) {
        if (c->nodes[i].driver == NULL)
            continue;
        driver_status(c->nodes[i].driver, &s);
        if (!s.replica.quorum)
            return false;
    }
    return true;
}

static bool all_stopped(struct cluster *c)
{
    for (size_t i = 0; i < REPLICAS; i++) {
        if (c->nodes[i].driver != NULL && c->nodes[i].stopped < 0)
            return false;
    }
    return true;
}

void cluster_free_node(struct node *n)
{
    driver_free(n->driver);
    faults_free(n->faults);
    n->driver = NULL;
}

void cluster_stop_all(struct cluster *c)
{
    for (size_t i = 0; i < REPLICAS; i++) {
        if (c->nodes[i].driver != NULL)
            driver_stop(c->nodes[i].driver);
    }
    cluster_run_until(c, all_stopped);
    for (size_t i = 0; i < REPLICAS; i++) {
        if (c->nodes[i].driver == NULL)
            continue;
        assert_int_equal(c->nodes[i].stopped, 0);
        cluster_free_node(&c->nodes[i]);
    }
}

static void remove_dir(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char name[512];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(name) < 0)
            remove_dir(name);
    }
    closedir(d);
    rmdir(path);
}

void cluster_free(struct cluster *c)
{
    cluster_stop_all(c);
    uv_close((uv_handle_t *)&c->tick, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&c->loop), 0);
    remove_dir(c->dir);
    free(c);
}

struct cluster *cluster_start(const struct seal_keys *keys)
{
    struct cluster *c = malloc(sizeof(*c));
    assert_non_null(c);
    cluster_make(c);
    c->keys = keys;
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_start_node(c, i), 0);
    cluster_run_until(c, cluster_is_quorate);
    return c;
}

void cluster_stop_node(struct cluster *c, size_t i)
{
    driver_stop(c->nodes[i].driver);
    while (c->nodes[i].stopped < 0)
        uv_run(&c->loop, UV_RUN_ONCE);
    cluster_free_node(&c->nodes[i]);
}

/* --- what its clients do --- */

static void settled(void *user, uint64_t tag, enum submit_result result, slot_t slot)
{
    struct cluster *c = user;
    assert_true(tag < CLUSTER_SLOTS_MAX);
    c->n_settled++;
    c->results[tag] = result;
    c->slots[tag] = slot;
}

static bool all_settled(struct cluster *c)
{
    return c->n_settled >= c->n_wanted;
}

static void submit(struct session *s, uint64_t tag, size_t text_size)
{
    char text[4096], keytext[24];
    assert_true(text_size < sizeof(text));
    memset(text, 'a' + (int)(tag % 26), sizeof(text));
    snprintf(text, sizeof(text), "%08lu", (unsigned long)tag);
    text[8] = ' ';
    struct submit_request q = {
        .author = "ann", .author_size = 3, .key = keytext, .text = text, .text_size = text_size, .tag = tag};
    q.key_size = (size_t)snprintf(keytext, sizeof(keytext), "k%lu", (unsigned long)tag);
    driver_submit(s, &q);
}

struct reading {
    struct cluster *c;
    uint64_t n;
    slot_t last;
};

static bool check_message(void *user, const struct log_message *m)
{
    struct reading *r = user;
    char tag[9] = {0};
    assert_true(m->slot > r->last);
    memcpy(tag, m->text, 8);
    assert_int_equal(r->c->slots[strtoul(tag, NULL, 10)], m->slot); /* where its submitter was told that it stands */
    r->last = m->slot;
    r->n++;
    return true;
}

uint64_t cluster_read_all(struct cluster *c, size_t i)
{
    struct reading r = {.c = c};
    slot_t next = 0, before;
    do {
        before = next;
        int n = driver_read(c->nodes[i].driver, before, 100, 1 << 16, check_message, &r, &next);
        if (n < 0)
            fail_msg("from slot %lu: error %d", (unsigned long)before, n);
    } while (next != before);
    return r.n;
}

bool cluster_is_at_goal(struct cluster *c)
{
    static struct driver_status s;
    for (size_t i = 0; i < REPLICAS; i++) {
        if (c->nodes[i].driver == NULL)
            continue;
        driver_status(c->nodes[i].driver, &s);
        if (s.replica.chosen < c->goal)
            return false;
    }
    return true;
}

void cluster_submit(struct cluster *c, uint64_t from, uint64_t until, size_t text_size)
{
    struct session *sessions[REPLICAS] = {NULL};
    for (size_t i = 0; i < REPLICAS; i++) {
        if (c->nodes[i].driver != NULL)
            sessions[i] = driver_session_open(c->nodes[i].driver, settled, c);
    }
    c->n_wanted = c->n_settled;
    for (uint64_t tag = from; tag < until; tag++) {
        size_t i = tag % REPLICAS;
        if (sessions[i] == NULL)
            i = (i + 1) % REPLICAS;
        submit(sessions[i], tag, text_size);
        c->n_wanted++;
        if (tag % 50 == 0)
            uv_run(&c->loop, UV_RUN_NOWAIT);
    }
    cluster_run_until(c, all_settled);
    for (size_t i = 0; i < REPLICAS; i++) {
        if (sessions[i] != NULL)
            driver_session_close(sessions[i]);
    }
    for (uint64_t tag = from; tag < until; tag++) {
        assert_int_equal(c->results[tag], SUBMIT_CHOSEN);
        if (c->slots[tag] > c->goal)
            c->goal = c->slots[tag];
        if (tag >= from + REPLICAS && sessions[tag % REPLICAS] != NULL)
            assert_true(c->slots[tag] > c->slots[tag - REPLICAS]); /* each connection's order */
    }
    cluster_run_until(c, cluster_is_at_goal);
}
