/* A peer's checkpoint, where the one that sent it is gone: real files, real datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/driver_internal.h"
#include "tests/unit/driver_cluster.h"

enum { BEFORE = 10, MESSAGES = 1500, TEXT_BYTES = 1000, RETAIN_BYTES = 64 << 10, LATE = 2 };

static slot_t behind;       /* what the late one has */
static bool is_log_foreign; /* its chat log file is somebody else's */

static bool is_trimmed_above(struct cluster *c)
{
    return driver_first_kept(c->nodes[0].driver) > behind && driver_first_kept(c->nodes[1].driver) > behind;
}

static bool is_fetching(struct cluster *c)
{
    return driver_install_is_active(c->nodes[LATE].driver);
}

static bool has_given_up(struct cluster *c)
{
    return !is_fetching(c);
}

static void make_foreign(const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs("somebody's\n", f) >= 0);
    fclose(f);
}

/* Replica 2 begins to fetch: the others have trimmed what it missed. */
static struct cluster *with_one_behind(bool (*done)(struct cluster *c))
{
    struct cluster *c = cluster_start(NULL);
    cluster_submit(c, 0, BEFORE, TEXT_BYTES);
    behind = c->goal;
    c->nodes[LATE].driver->checkpoint.is_wanted = is_log_foreign; /* so that it knows after the restart what it has */
    cluster_stop_node(c, LATE);
    for (size_t i = 0; i < LATE; i++)
        c->nodes[i].driver->options.retain_bytes = RETAIN_BYTES;
    cluster_submit(c, BEFORE, MESSAGES, TEXT_BYTES);
    cluster_run_until(c, is_trimmed_above);
    cluster_stop_all(c); /* so that the others have nothing in memory, either */
    if (is_log_foreign)
        make_foreign(c->nodes[LATE].log);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_start_node(c, i), 0);
    cluster_run_until(c, done);
    return c;
}

/* The first piece came from one that nobody hears of any more; the others' checkpoints are of lower slots. */
static void a_checkpoint_that_nobody_has_any_more_is_given_up(void **state)
{
    (void)state;
    static const uint8_t bytes[CHECKPOINT_PIECE_BYTES];
    struct cluster *c = with_one_behind(is_fetching);
    const struct checkpoint_piece p = {
        .slot = 2 * c->goal, .total = CHECKPOINT_CHUNK_BYTES, .size = sizeof(bytes), .bytes = bytes};
    for (replica_id_t from = 0; from < LATE; from++) /* one of them is asked */
        driver_install_piece(c->nodes[LATE].driver, from, &p);
    cluster_run_until(c, cluster_is_at_goal);
    cluster_free(c);
}

/* So that it may write checkpoints of its own again, if it needs no other's. */
static void a_fetch_that_nobody_answers_ends(void **state)
{
    (void)state;
    struct cluster *c = with_one_behind(is_fetching);
    faults_set(c->nodes[LATE].faults, 100, FAULT_BOTH, REPLICA_ID_NONE, 0, driver_now());
    cluster_run_until(c, has_given_up);
    assert_in_range(replica_chosen(c->nodes[LATE].driver->replica), 0, behind);
    faults_set(c->nodes[LATE].faults, 0, FAULT_BOTH, REPLICA_ID_NONE, 0, driver_now());
    cluster_run_until(c, cluster_is_at_goal);
    cluster_free(c);
}

static bool tells_what_it_waits_for(struct cluster *c)
{
    static struct driver_status status;
    driver_status(c->nodes[LATE].driver, &status);
    return status.flush_awaited >= behind && strstr(status.flush_trouble, c->nodes[LATE].log) != NULL;
}

/* It is told, and moving the file away, which is what status advises, is enough. */
static void a_chat_log_file_that_cannot_be_written_is_waited_for(void **state)
{
    (void)state;
    char away[80];
    struct stat st;
    is_log_foreign = true;
    struct cluster *c = with_one_behind(tells_what_it_waits_for);
    is_log_foreign = false;
    snprintf(away, sizeof(away), "%s/away", c->nodes[LATE].state);
    assert_int_equal(rename(c->nodes[LATE].log, away), 0);
    cluster_run_until(c, cluster_is_at_goal);
    assert_int_equal(stat(c->nodes[LATE].log, &st), 0);
    assert_in_range(st.st_size, BEFORE * TEXT_BYTES, UINT32_MAX);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_that_nobody_has_any_more_is_given_up),
        cmocka_unit_test(a_fetch_that_nobody_answers_ends),
        cmocka_unit_test(a_chat_log_file_that_cannot_be_written_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
