/* A submission that goes through a replica that does not lead: real drivers, and a third one that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>

#include "host/driver_internal.h"
#include "tests/unit/driver_cluster.h"

enum { FOREIGN_USEC = 1, STREAM = 77 };

static const struct outbox *relays; /* the outbox whose submissions are looked at */
static struct hash128 relayed;
static unsigned n_relayed;

void __real_outbox_put(struct outbox *o, uint64_t after, replica_id_t to, const struct message *m, uint64_t now_usec);
void __wrap_outbox_put(struct outbox *o, uint64_t after, replica_id_t to, const struct message *m, uint64_t now_usec);

void __wrap_outbox_put(struct outbox *o, uint64_t after, replica_id_t to, const struct message *m, uint64_t now_usec)
{
    if (o == relays && m->type == MESSAGE_SUBMIT) {
        assert_int_equal(m->submit.n_entries, 1);
        relayed = m->submit.entries[0].value->hash;
        n_relayed++;
    }
    __real_outbox_put(o, after, to, m, now_usec);
}

/* One message of a clock that is far off. */
static struct value *make_value(struct values *pool, const struct hash128 *cluster)
{
    const struct value_fields f = {.type = VALUE_MESSAGE,
                                   .stream = STREAM,
                                   .n = 1,
                                   .time_usec = FOREIGN_USEC,
                                   .author = "a",
                                   .author_size = 1,
                                   .key = "k",
                                   .key_size = 1,
                                   .text = "t",
                                   .text_size = 1};
    uint8_t bytes[VALUE_HEADER_SIZE + 16];
    struct value *v;
    const size_t size = value_encoded_size(&f);
    assert_in_range(size, 1, sizeof(bytes));
    value_encode(&f, bytes);
    assert_int_equal(values_copy(pool, bytes, (uint32_t)size, cluster, &v), 0);
    return v;
}

/* The replica `from` sends it to the replica `to`, as the first of its hops. */
static void send_submission(struct cluster *c, size_t from, size_t to, struct value *v)
{
    struct driver *d = c->nodes[to].driver;
    const struct identity *sender = replica_identity(c->nodes[from].driver->replica);
    const struct datagram_header h = {.cluster_name_hash = d->cluster_name_hash,
                                      .cluster = sender->cluster,
                                      .from = sender->id,
                                      .from_life = sender->life,
                                      .boot = 1};
    const struct entry e = {.hops = 1, .value = v};
    const struct message m = {.type = MESSAGE_SUBMIT, .submit = {.n_entries = 1, .entries = &e}};
    const struct sockaddr_storage address = {.ss_family = AF_INET};
    struct datagram_cursor at = {0};
    struct datagram_writer w;
    uint8_t bytes[DATAGRAM_BYTES_MIN];
    datagram_begin(&w, bytes, sizeof(bytes), &h);
    assert_true(datagram_put(&w, &m, &at));
    datagram_finish(&w, replica_identity(d->replica)->id, 1);
    assert_true(driver_received(d, &address, bytes, w.size));
}

static uint64_t time_usec; /* of the message, where it stands in the log */

static bool take_time(void *user, const struct log_message *m)
{
    (void)user;
    time_usec = m->time_usec;
    return true;
}

static bool is_in_the_log(struct cluster *c)
{
    slot_t next;
    driver_read(c->nodes[0].driver, 0, 10, 1 << 16, take_time, NULL, &next);
    return time_usec != 0;
}

static size_t leader;

static bool all_know_who_leads(struct cluster *c)
{
    leader = c->nodes[0].driver->status.leader;
    for (size_t i = 0; i < REPLICAS; i++)
        if (c->nodes[i].driver->status.leader != leader)
            return false;
    return leader != REPLICA_ID_NONE && c->nodes[leader].driver->status.role == ROLE_LEADER;
}

static struct cluster *cluster;
static struct values pool;
static struct value *value;

static int set_up(void **state)
{
    (void)state;
    cluster = cluster_start(NULL);
    cluster_run_until(cluster, all_know_who_leads);
    values_init(&pool);
    value = make_value(&pool, &replica_identity(cluster->nodes[leader].driver->replica)->cluster);
    time_usec = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    values_done(&pool);
    cluster_free(cluster);
    return 0;
}

/* Were it stamped on each of its ways, the pieces of a large one that is sent again would not join those that came
 * before. */
static void who_leads_stamps_it_and_nobody_else(void **state)
{
    (void)state;
    const size_t follower = (leader + 1) % REPLICAS, origin = (leader + 2) % REPLICAS;
    relays = &cluster->nodes[follower].driver->outbox;
    for (unsigned i = 1; i <= 2; i++) {
        send_submission(cluster, origin, follower, value);
        assert_int_equal(n_relayed, i);
        assert_true(hash_equal(&relayed, &value->hash));
    }
    cluster_run_until(cluster, is_in_the_log);
    assert_int_not_equal(time_usec, FOREIGN_USEC);
    relays = NULL;
}

/* The driver's own note of who leads is of its last tick. */
static void who_leads_since_a_moment_ago_stamps_it_too(void **state)
{
    (void)state;
    cluster->nodes[leader].driver->status.role = ROLE_FOLLOWER;
    send_submission(cluster, (leader + 1) % REPLICAS, leader, value);
    cluster_run_until(cluster, is_in_the_log);
    assert_int_not_equal(time_usec, FOREIGN_USEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_leads_stamps_it_and_nobody_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_leads_since_a_moment_ago_stamps_it_too, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("driver relay", tests, NULL, NULL);
}
