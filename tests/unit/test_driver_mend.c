/* What rots in the journal of a driver is fetched again from the others: real files, real datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "host/driver_internal.h"
#include "paxos/bytes.h"
#include "tests/unit/driver_cluster.h"

enum {
    MESSAGES = 1500,
    TEXT_BYTES = 1000,
    ROT_FROM = 64 << 10,
    ROT_UNTIL = 128 << 10,
    ROT_STEP = 4 << 10,
    RETAIN_BYTES = 64 << 10,
    AWAY_USEC = 30000000, /* then who is away is not waited for */
};

#define SEGMENT "segment-0000000000000001"

static struct driver_status status;

/* Several full segments, below a checkpoint that the stop leaves; none of them runs. */
static struct cluster *with_history(void)
{
    struct cluster *c = cluster_start(NULL);
    cluster_submit(c, 0, MESSAGES, TEXT_BYTES);
    cluster_stop_all(c);
    return c;
}

static void damage(const struct cluster *c, size_t i, const char *name, off_t from, off_t until)
{
    char path[sizeof(c->nodes[i].state) + 32];
    uint8_t byte;
    snprintf(path, sizeof(path), "%s/%s", c->nodes[i].state, name);
    int fd = open(path, O_RDWR);
    assert_return_code(fd, errno);
    for (off_t at = from; at < until; at += ROT_STEP) {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

/* As each saw it on its last tick. */
static bool all_know_all(struct cluster *c)
{
    for (size_t i = 0; i < REPLICAS; i++) {
        const struct replica_status *s = &c->nodes[i].driver->status;
        for (uint32_t k = 0; k < s->n_peers; k++)
            if (!s->peers[k].linked || s->peers[k].chosen < c->goal)
                return false;
        if (s->n_peers != REPLICAS - 1)
            return false;
    }
    return true;
}

static void start_all(struct cluster *c)
{
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_start_node(c, i), 0);
    cluster_run_until(c, all_know_all);
}

static bool pass(void *user, const struct log_message *m)
{
    (void)user, (void)m;
    return true;
}

static void read_until_rot(struct cluster *c, size_t i)
{
    slot_t next = 0;
    int n;
    do {
        n = driver_read(c->nodes[i].driver, next, 100, 1 << 16, pass, NULL, &next);
    } while (n > 0);
    assert_int_equal(n, -EBADMSG);
}

static bool is_mended(struct cluster *c)
{
    size_t n_rot = 0;
    for (size_t i = 0; i < REPLICAS; i++) {
        driver_status(c->nodes[i].driver, &status);
        n_rot += status.n_rot;
    }
    return n_rot == 0;
}

static void what_rots_is_fetched_again(void **state)
{
    (void)state;
    struct cluster *c = with_history();
    damage(c, 1, SEGMENT, ROT_FROM, ROT_UNTIL);
    start_all(c);
    read_until_rot(c, 1);
    cluster_run_until(c, is_mended);
    driver_status(c->nodes[1].driver, &status);
    assert_int_equal(status.journal.segments_mended, 1);
    assert_int_equal(cluster_read_all(c, 1), MESSAGES);
    cluster_stop_all(c);
    start_all(c);
    assert_int_equal(cluster_read_all(c, 1), MESSAGES);
    cluster_free(c);
}

static bool is_checkpoint_whole(struct cluster *c)
{
    return !journal_checkpoint_is_damaged(c->nodes[1].driver->journal);
}

/* While it runs: what it stands for is in memory. The next start would be refused, where the log was trimmed. */
static void a_checkpoint_that_rots_is_replaced(void **state)
{
    (void)state;
    struct cluster *c = with_history();
    struct journal_checkpoint newest;
    uint8_t bytes[100];
    start_all(c);
    struct driver *d = c->nodes[1].driver;
    assert_true(journal_checkpoint_newest(d->journal, &newest));
    damage(c, 1, "checkpoint", 0, 1);
    assert_int_equal(journal_checkpoint_read(d->journal, newest.slot, 0, bytes, sizeof(bytes)), -EBADMSG);
    assert_false(is_checkpoint_whole(c));
    cluster_run_until(c, is_checkpoint_whole);
    assert_true(journal_checkpoint_newest(d->journal, &newest));
    assert_int_equal(journal_checkpoint_read(d->journal, newest.slot, 0, bytes, sizeof(bytes)), sizeof(bytes));
    cluster_stop_all(c);
    start_all(c);
    driver_status(c->nodes[1].driver, &status);
    assert_false(status.journal.checkpoint_ignored);
    cluster_free(c);
}

static bool has_nobody_to_ask(struct cluster *c)
{
    driver_status(c->nodes[2].driver, &status);
    return status.n_rot == 1 && status.rot[0].state == JOURNAL_ROT_UNSERVED;
}

static bool is_replica_0_away(struct cluster *c)
{
    const struct replica_status *s = &c->nodes[2].driver->status;
    return s->quorum && !s->peers[0].linked;
}

static bool asks_again(struct cluster *c)
{
    return c->nodes[2].driver->rot.again_usec != 0;
}

/* Replica 2 does, as if replica 0 had been away for so long. */
static void ask_again(struct cluster *c, uint64_t away_usec)
{
    struct driver *d = c->nodes[2].driver;
    cluster_run_until(c, is_replica_0_away);
    d->rot.linked_usec[driver_find_member(d, 0)] = driver_now() - away_usec;
    d->rot.again_usec = 0;
    cluster_run_until(c, asks_again);
    cluster_run_until(c, has_nobody_to_ask);
}

/* One has lost it, too, and the other says nothing, although it was linked when it was asked; or for however long. */
static void who_is_silent_may_have_it(void **state)
{
    (void)state;
    struct cluster *c = with_history();
    damage(c, 1, SEGMENT, ROT_FROM, ROT_UNTIL);
    damage(c, 2, SEGMENT, ROT_FROM, ROT_UNTIL);
    start_all(c);
    faults_set(c->nodes[0].faults, 100, FAULT_BOTH, REPLICA_ID_NONE, 0, driver_now());
    read_until_rot(c, 1);
    read_until_rot(c, 2);
    cluster_run_until(c, has_nobody_to_ask);
    assert_int_equal(c->nodes[2].driver->rot.n_gone, 0);
    ask_again(c, AWAY_USEC);
    assert_int_equal(c->nodes[2].driver->rot.n_gone, 0);
    faults_set(c->nodes[0].faults, 0, FAULT_BOTH, REPLICA_ID_NONE, 0, driver_now());
    cluster_run_until(c, is_mended);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_read_all(c, i), MESSAGES);
    cluster_free(c);
}

static bool knows_that_it_is_gone(struct cluster *c)
{
    return c->nodes[2].driver->rot.n_gone == 1;
}

static bool has_trimmed(struct cluster *c)
{
    return driver_first_kept(c->nodes[2].driver) > 1;
}

/* Then the chat log file goes on without it, where it would hold up a trim, or a peer's checkpoint. */
static void what_nobody_has_is_gone(void **state)
{
    (void)state;
    struct cluster *c = with_history();
    for (size_t i = 0; i < REPLICAS; i++)
        damage(c, i, SEGMENT, ROT_FROM, ROT_UNTIL);
    start_all(c);
    read_until_rot(c, 2);
    cluster_run_until(c, knows_that_it_is_gone);
    for (size_t i = 0; i < REPLICAS; i++)
        c->nodes[i].driver->options.retain_bytes = RETAIN_BYTES;
    cluster_run_until(c, has_trimmed);
    driver_status(c->nodes[2].driver, &status);
    assert_in_range(status.gap.first, 2, status.gap.last);
    assert_in_range(status.gap.last, status.gap.first, status.flushed);
    const struct chatlog_gap gap = status.gap;
    cluster_stop_node(c, 2);
    assert_int_equal(cluster_start_node(c, 2), 0); /* it is not forgotten */
    driver_status(c->nodes[2].driver, &status);
    assert_int_equal(status.gap.first, gap.first);
    assert_in_range(status.gap.last, gap.last, status.flushed);
    cluster_free(c);
}

static slot_t behind; /* what replica 2 has */

static bool is_trimmed_above(struct cluster *c)
{
    return driver_first_kept(c->nodes[0].driver) > behind && driver_first_kept(c->nodes[1].driver) > behind;
}

static bool has_checkpoint_waiting(struct cluster *c)
{
    return driver_install_obsoletes(c->nodes[2].driver) != 0 && has_nobody_to_ask(c);
}

/* Where replica 2 can go on from a peer's checkpoint only, and that waits for the chat log file. */
static void who_is_away_is_waited_for_a_while(void **state)
{
    (void)state;
    struct cluster *c = with_history();
    behind = c->goal;
    damage(c, 2, SEGMENT, ROT_FROM, ROT_UNTIL);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(cluster_start_node(c, i), 0);
        c->nodes[i].driver->options.retain_bytes = RETAIN_BYTES;
    }
    cluster_submit(c, MESSAGES, 2 * MESSAGES, TEXT_BYTES);
    cluster_run_until(c, is_trimmed_above);
    cluster_stop_all(c); /* so that replica 1 has nothing in memory, either */
    for (size_t i = 1; i < REPLICAS; i++)
        assert_int_equal(cluster_start_node(c, i), 0);
    cluster_run_until(c, has_checkpoint_waiting);
    ask_again(c, AWAY_USEC / 3);
    assert_int_equal(c->nodes[2].driver->rot.n_gone, 0);
    ask_again(c, AWAY_USEC);
    assert_int_equal(c->nodes[2].driver->rot.n_gone, 1);
    cluster_run_until(c, cluster_is_at_goal);
    cluster_free(c);
}

/* --- pages that make no sense --- */

struct page {
    uint8_t bytes[CHECKPOINT_PIECE_BYTES];
    size_t size;
};

static void put_entry(struct page *p, uint32_t size, uint32_t note, const uint8_t *value, size_t value_size)
{
    uint8_t *entry = p->bytes + p->size;
    assert_true(p->size + 16 + value_size + 16 <= sizeof(p->bytes));
    put_u32(entry, size);
    put_u32(entry + 4, note);
    put_u64(entry + 8, 0);
    memcpy(entry + 16, value, value_size);
    p->size += 16 + value_size;
}

static void put_hash(struct page *p, const struct driver *d)
{
    struct hash128 hash = hash_bytes(&replica_identity(d->replica)->cluster, p->bytes, p->size);
    memcpy(p->bytes + p->size, hash.bytes, sizeof(hash.bytes));
    p->size += sizeof(hash.bytes);
}

static struct page begin_page(slot_t slot)
{
    struct page p = {.size = 8};
    put_u64(p.bytes, slot);
    return p;
}

/* What it asks a peer for comes as this one piece. The slot that it lacks then. */
static slot_t answer(struct driver *d, const struct page *p)
{
    slot_t first, last;
    d->mending.tried = d->mending.lacking = 0;
    driver_mend_work(d, driver_now());
    assert_int_not_equal(d->mending.slot, 0);
    driver_mend_piece(d, d->mending.from,
                      &(struct checkpoint_piece){.slot = d->mending.slot | CHECKPOINT_HISTORY,
                                                 .total = p->size,
                                                 .size = (uint32_t)p->size,
                                                 .bytes = p->bytes});
    driver_mend_work(d, driver_now());
    assert_true(journal_mend_slots(d->journal, &first, &last));
    return first;
}

static bool asks_a_peer(struct cluster *c)
{
    return c->nodes[1].driver->mending.slot != 0;
}

/* None of it is taken, and the peer counts as one that does not have it. */
static void a_page_without_sense_is_refused(void **state)
{
    (void)state;
    static const uint8_t value[VALUE_HEADER_SIZE] = {VALUE_NOOP}, nonsense[VALUE_HEADER_SIZE] = {0xfe};
    struct cluster *c = with_history();
    damage(c, 1, SEGMENT, ROT_FROM, ROT_UNTIL);
    start_all(c);
    read_until_rot(c, 1);
    cluster_run_until(c, asks_a_peer);
    struct driver *d = c->nodes[1].driver;
    slot_t slot = d->mending.slot;
    struct page pages[8];
    for (size_t i = 0; i < 8; i++)
        pages[i] = begin_page(i == 0 ? slot + 1 : slot);
    put_entry(&pages[0], sizeof(value), 0, value, sizeof(value));
    put_entry(&pages[1], sizeof(value), 0, nonsense, sizeof(nonsense));
    put_entry(&pages[2], sizeof(value), NOTE_TIME + NOTE_HIDDEN + 1, value, sizeof(value));
    put_entry(&pages[3], 0, 0, value, sizeof(value));
    put_entry(&pages[4], sizeof(value) + 1, 0, value, sizeof(value));
    put_entry(&pages[5], UINT32_MAX - 15, 0, value, sizeof(value));
    put_entry(&pages[6], sizeof(value), 0, value, sizeof(value)); /* under a wrong hash; 7 has no entry */
    for (size_t i = 0; i < 8; i++)
        put_hash(&pages[i], d);
    pages[6].bytes[pages[6].size - 1] ^= 1;
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(answer(d, &pages[i]), slot);
        assert_int_equal(d->mending.slot, 0);
        assert_int_not_equal(d->mending.lacking, 0);
    }
    for (size_t size = 2; size < pages[1].size; size += 7) { /* cut anywhere */
        struct page cut = pages[1];
        cut.size = size;
        assert_int_equal(answer(d, &cut), slot);
    }
    d->mending.tried = d->mending.lacking = 0;
    cluster_run_until(c, is_mended); /* by what is right */
    assert_int_equal(cluster_read_all(c, 1), MESSAGES);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rots_is_fetched_again),        cmocka_unit_test(a_checkpoint_that_rots_is_replaced),
        cmocka_unit_test(who_is_silent_may_have_it),         cmocka_unit_test(what_nobody_has_is_gone),
        cmocka_unit_test(who_is_away_is_waited_for_a_while), cmocka_unit_test(a_page_without_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
