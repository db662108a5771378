/* Status and Metrics: every field of the interface, the evidence and its remedy for each thing that can be wrong, and
 * text that a scraper of OpenMetrics takes. */
#include "tests/unit/control_client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host/faults.h"
#include "wire/varlink.h"

#define STATUS  "{\"method\":\"org.mpaxos.Replica.Status\"}"
#define METRICS "{\"method\":\"org.mpaxos.Replica.Metrics\"}"

static struct fixture *f;
static struct client *c;
static struct driver_status *s; /* what the fake driver answers */
static cJSON *tree;
static const cJSON *p; /* its parameters */

static int set_up(void **state)
{
    (void)state;
    f = fixture_start(0);
    c = client_open(f);
    s = &f->driver->status;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cJSON_Delete(tree);
    tree = NULL;
    client_close(c);
    fixture_stop(f);
    return 0;
}

static void ask(const char *call)
{
    char reason[VARLINK_REASON_MAX + 1];
    client_call(c, call);
    const char *reply = client_reply(c);
    cJSON_Delete(tree);
    tree = varlink_parse(reply, strlen(reply), reason);
    p = cJSON_GetObjectItem(tree, "parameters");
    assert_non_null(p);
}

static int64_t number(const cJSON *object, const char *key)
{
    int64_t v = -1;
    assert_true(varlink_has(object, key));
    assert_true(varlink_get_int(object, key, 0, INT64_MAX, &v));
    return v;
}

static const char *string(const cJSON *object, const char *key)
{
    const char *v = NULL;
    assert_true(varlink_get_string(object, key, &v) && v != NULL);
    return v;
}

static const cJSON *peer(int id)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItem(p, "peers"), id);
}

static bool list_has(const char *key, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(p, key)) if (strstr(item->valuestring, text) != NULL) return true;
    return false;
}

/* Evidence, and where there is something to do, what. */
static void advises(const char *warning, const char *remedy)
{
    ask(STATUS);
    if (!list_has("warnings", warning))
        fail_msg("no warning: %s", warning);
    if (remedy != NULL && !list_has("remedies", remedy))
        fail_msg("no remedy: %s", remedy);
}

/* The fields that the interface gives to the reply of Status, and whether each must be there. */
static void test_fields(void **state)
{
    (void)state;
    const char *text = strstr(varlink_interface_text("org.mpaxos.Replica"), "method Status() -> (");
    unsigned n = 0;
    ask(STATUS);
    for (const char *line = strchr(text, '\n') + 1; *line != ')'; line = strchr(line, '\n') + 1) {
        char name[64], type[64];
        assert_int_equal(sscanf(line, " %63[a-z0-9_]: %63[^\n]", name, type), 2);
        if (type[0] != '?')
            assert_true(varlink_has(p, name));
        n += varlink_has(p, name);
    }
    assert_int_equal(n, cJSON_GetArraySize(p));
}

static void test_values(void **state)
{
    (void)state;
    s->replica.chosen = 18204;
    s->replica.accepted = 18210;
    s->flushed = 18100;
    s->noops = 3;
    s->journal.bytes = 1900000;
    s->journal.free_bytes = UINT64_C(44023414784);
    s->journal.sync_p99_usec = 1800;
    ask(STATUS);
    int64_t now_usec = (int64_t)time(NULL) * 1000000;
    assert_string_equal(string(p, "cluster"), "lobby");
    assert_int_equal(number(p, "id"), 1);
    assert_string_equal(string(p, "version"), "1.2.3");
    assert_int_equal(number(p, "pid"), getpid());
    assert_string_equal(string(p, "role"), "follower");
    assert_int_equal(number(p, "leader"), 2);
    assert_int_equal(number(cJSON_GetObjectItem(p, "ballot"), "round"), 7);
    assert_int_equal(number(cJSON_GetObjectItem(p, "ballot"), "replica"), 2);
    assert_int_equal(number(p, "quorum_size"), 2);
    assert_int_equal(number(p, "chosen"), 18204);
    assert_int_equal(number(p, "accepted"), 18210);
    assert_int_equal(number(p, "flushed"), 18100);
    assert_int_equal(number(p, "noops"), 3);
    assert_int_equal(number(p, "journal_bytes"), 1900000);
    assert_int_equal(number(p, "disk_free_bytes"), 44023414784);
    assert_int_equal(number(p, "sync_p99_usec"), 1800);
    /* Monotonic inside, since the epoch outside. */
    static const char *const times[] = {"started_usec", "leader_since_usec", "quorum_since_usec"};
    for (size_t i = 0; i < 3; i++)
        assert_in_range(number(p, times[i]), now_usec - 10000000, now_usec + 10000000);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(p, "warnings")), 1);
    assert_true(list_has("warnings", "datagrams are not authenticated (no cluster key; all addresses are loopback)"));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(p, "remedies")), 0);
}

static void test_peers(void **state)
{
    (void)state;
    uint64_t now = uv_hrtime() / 1000;
    s->replica.peers[0].chosen = 18090;
    s->replica.peers[0].heard_usec = now - 12000;
    s->peers[0].n_drops = 2;
    s->peers[0].drops[0] = (struct info_drop){.rate = 10, .direction = FAULT_OUT, .peer = REPLICA_ID_NONE};
    s->peers[0].drops[1] = (struct info_drop){.rate = 20, .direction = FAULT_BOTH, .peer = 2, .left_ms = 60000};
    strcpy(s->peers[0].note, "version 0.9");
    ask(STATUS);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(p, "peers")), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(number(peer(i), "id"), i);
    assert_string_equal(string(peer(0), "role"), "follower");
    assert_string_equal(string(peer(1), "role"), "self");
    assert_string_equal(string(peer(2), "role"), "leader");
    assert_string_equal(string(peer(0), "address"), "127.0.0.1:6000");
    assert_string_equal(string(peer(1), "address"), "localhost:6001");
    assert_int_equal(number(peer(0), "chosen"), 18090);
    assert_int_equal(number(peer(0), "rtt_usec"), 300);
    int64_t now_usec = (int64_t)time(NULL) * 1000000;
    assert_in_range(number(peer(0), "heard_usec"), now_usec - 10000000, now_usec + 10000000);
    assert_string_equal(string(peer(0), "version"), "9.9");
    assert_string_equal(string(peer(0), "note"), "version 0.9");
    const cJSON *drops = cJSON_GetObjectItem(peer(0), "drops");
    assert_int_equal(number(cJSON_GetArrayItem(drops, 0), "rate"), 10);
    assert_string_equal(string(cJSON_GetArrayItem(drops, 0), "direction"), "out");
    assert_false(varlink_has(cJSON_GetArrayItem(drops, 0), "peer"));
    assert_false(varlink_has(cJSON_GetArrayItem(drops, 0), "until_usec"));
    assert_string_equal(string(cJSON_GetArrayItem(drops, 1), "direction"), "both");
    assert_int_equal(number(cJSON_GetArrayItem(drops, 1), "peer"), 2);
    assert_in_range(number(cJSON_GetArrayItem(drops, 1), "until_usec"), now_usec + 50000000, now_usec + 70000000);
}

static void test_no_quorum(void **state)
{
    (void)state;
    uint64_t now = uv_hrtime() / 1000;
    s->replica.quorum = false;
    s->replica.n_linked = 1;
    s->replica.leader = REPLICA_ID_NONE;
    s->replica.role = ROLE_CANDIDATE;
    s->replica.quorum_since_usec = now - 42000000;
    s->replica.peers[0].linked = false;
    s->replica.peers[0].heard_usec = 0;
    s->replica.peers[1].linked = false;
    s->replica.peers[1].heard_usec = now - 300000000;
    advises("no quorum for 42 s: 1 of 3 heard, 2 needed; nothing can be chosen, reads show slot 0", NULL);
    advises("replica 0 (127.0.0.1:6000) has never been heard", "systemctl status mpaxosd@0");
    advises("replica 2 (127.0.0.1:6002) silent for 5 min", "systemctl status mpaxosd@2");
    assert_string_equal(string(p, "role"), "candidate");
    assert_false(varlink_has(p, "leader"));
    assert_false(varlink_has(p, "leader_since_usec"));
    assert_string_equal(string(peer(0), "role"), "unreachable");
    assert_false(varlink_has(peer(0), "heard_usec"));
    assert_false(varlink_has(peer(0), "chosen"));
    assert_string_equal(string(peer(2), "role"), "unreachable");
    s->replica.n_linked = 2;
    advises("no leader for 42 s: 2 of 3 heard, which is enough to elect one", NULL);
}

static void test_keys(void **state)
{
    (void)state;
    ask(STATUS);
    assert_null(cJSON_GetObjectItem(p, "keys"));
    assert_null(cJSON_GetObjectItem(peer(0), "keys"));
    s->seal = (struct seal_peer_status){.n_keys = 2, .keys = {"00112233", "44556677"}};
    s->peers[0].seal = (struct seal_peer_status){.n_keys = 1, .keys = {"44556677"}};
    ask(STATUS);
    assert_false(list_has("warnings", "not authenticated"));
    assert_true(list_has("keys", "00112233"));
    assert_true(list_has("keys", "44556677"));
    cJSON *keys = cJSON_GetObjectItem(peer(0), "keys");
    assert_int_equal(cJSON_GetArraySize(keys), 1);
    assert_string_equal(keys->child->valuestring, "44556677");
    assert_null(cJSON_GetObjectItem(peer(2), "keys"));
}

static void test_advice(void **state)
{
    (void)state;
    s->peers[0].refused = true;
    strcpy(s->peers[0].note, "another cluster");
    advises("replica 0 (127.0.0.1:6000) refused: another cluster", "compare the configuration");
    assert_string_equal(string(peer(0), "role"), "refused");
    s->has_space = false;
    advises("disk full: there is no room for the journal in /state/1", "free space on the file system of /state/1");
    s->replica.lagging = true;
    advises("behind its peers", "mpaxosctl status -w");
    s->replica.diverged = true;
    advises("diverged", "keep the state directories");
    s->journal.damaged_segment = 3;
    s->journal.damaged_offset = 1234;
    s->replica.silent_until = 77;
    advises("repairing: segment-0000000000000003 was damaged at offset 1234; what was lost is fetched from the peers, "
            "and this replica votes again from slot 77 on",
            "look at the disk of /state/1");
    s->n_rot = 1;
    s->rot[0] = (struct journal_rot){.segment = 2, .offset = 512, .first = 5, .last = 90, .state = JOURNAL_ROT_MENDING};
    advises("rot: segment-0000000000000002 is damaged at offset 512; slots 5 to 90 may not be readable here: they are "
            "fetched from the peers, and the segment is written anew",
            "look at the disk of /state/1: what reads wrong");
    s->rot[0].state = JOURNAL_ROT_UNSERVED;
    advises("no replica that answers has them; they are asked again", "start the replicas that are away");
    s->rot[0].state = JOURNAL_ROT_FULL;
    advises("there is no room on the disk to write the segment anew", "for the segment that rotted");
    s->rot[0].state = JOURNAL_ROT_STUCK;
    advises("it cannot be mended", "read these slots on another replica");
    s->checkpoint_trouble = "memory is out; free some on this host";
    advises("no checkpoint can be written, so that restarts take longer, and nothing is trimmed: memory is out",
            "free some on this host");
    s->replica.identity = IDENTITY_QUARANTINED;
    advises("quarantined: segment-0000000000000003 was damaged at offset 1234", "keep the other replicas running");
    s->replica.peers[0].linked = s->replica.peers[0].silent = true;
    advises("does not vote: its disk hangs or is full", "mpaxosctl -i 0 status");
    s->config_warning = "alpha: the log says 1, the file 2";
    s->is_config_overruled = true;
    advises("alpha: the log says 1, the file 2", "configuration file");
    s->kept_restart = "heartbeat_ms";
    advises("says otherwise since the start in heartbeat_ms", "restart the replicas one after the other");
    s->kept_stop = "cluster key";
    advises("there is a cluster key since the start", "stop all replicas, and then start them");
    s->busy_since_usec = uv_hrtime() / 1000 - 7000000;
    advises("slow disk: one write or sync of the journal in /state/1 has been running for 7 s", "iostat");
    s->unlocked_error = ENOMEM;
    advises("keys may be swapped to the disk: their memory could not be locked: Cannot allocate memory",
            "LimitMEMLOCK=8M");
    strcpy(s->strangers.text, "12 forged or damaged");
    s->strangers.last_usec = uv_hrtime() / 1000 - 3000000;
    advises("the last one 3 s ago: 12 forged or damaged", "tcpdump udp port 6001");
    strcpy(s->stranger, "192.0.2.7 port 4711");
    advises("the last one 3 s ago from 192.0.2.7 port 4711: 12 forged or damaged", "tcpdump udp port 6001");
    strcpy(s->peers[0].dropped.text, "3 truncated");
    s->peers[0].dropped.last_usec = uv_hrtime() / 1000 - 4000000;
    advises("from the address of replica 0, which anybody may write on them, the last one 4 s ago: 3 truncated",
            "tcpdump udp port 6001, on both hosts");
    s->peers[0].refusal = REFUSAL_KEY;
    advises("refused: another cluster", "compare the key files of 0 and 1");
    s->peers[0].refusal = REFUSAL_VERSION;
    advises("refused: another cluster", "see that replicas 0 and 1 run the same release");
}

static void test_chat_log_advice(void **state)
{
    (void)state;
    s->flush_trouble = "/log/1 cannot be written: No space left on device; free some space there, and flush again";
    s->flushed = 70;
    advises("nothing is trimmed, since the chat log cannot be flushed: /log/1", "mpaxosctl -i 1 flush");
    s->replica.lagging = s->installing = true;
    s->flush_awaited = 90;
    advises(
        "the way back by a checkpoint waits for the chat log file, which lacks slots 71 to 90 that are here: /log/1 "
        "cannot be written: No space left on device; free some space there",
        "move it to another directory: a new one then begins with slot 71; this replica goes on by itself");
    assert_false(list_has("warnings", "nothing is trimmed"));
    assert_false(list_has("remedies", "wait"));
    s->flush_trouble = "";
    advises("behind its peers: this replica is catching up by a checkpoint", "wait; mpaxosctl status -w");
    assert_false(list_has("warnings", "the way back"));
    s->gap = (struct chatlog_gap){.first = 71, .last = 80};
    advises("slots 71 to 80 were no longer kept, and are missing in the chat log file", "another replica's chat log");
}

static void test_starting(void **state)
{
    (void)state;
    s->replica.identity = IDENTITY_EMPTY;
    s->replica.peers[0].linked = s->replica.peers[1].linked = false;
    s->replica.peers[1].heard_usec = 0;
    advises("replica 1 has not started: it has not heard of replica 2",
            "start replica 2, or, where some can never be started");
    assert_string_equal(string(peer(0), "role"), "learner");
    assert_string_equal(string(peer(2), "role"), "unreachable");
    s->replica.peers[0].heard_usec = 0;
    advises("it has not heard of replicas 0, 2", "start replicas 0, 2, or");
    s->replica.peers[0].heard_usec = s->replica.peers[1].heard_usec = uv_hrtime() / 1000;
    advises("replica 1 has not started yet: it has heard of all others", "compare their configuration files");
    s->replica.peers[1].differs = true;
    strcpy(s->peers[1].note, "its dedup_slots differs");
    advises("replica 2 (127.0.0.1:6002): its dedup_slots differs", "make the configuration files of replicas 2 and 1");
}

/* What peers send is not trusted to be text: the reply stays valid. */
static void test_foreign_bytes(void **state)
{
    (void)state;
    strcpy(s->peers[0].version, "\xff\"\x01");
    strcpy(s->peers[0].note, "\xed\xa0\x80");
    ask(STATUS);
    assert_string_equal(string(peer(0), "version"), "\xef\xbf\xbd\"\x01");
}

struct family {
    char name[80], type[16], unit[16];
    bool described;
};

static bool ends_with(const char *name, const char *end)
{
    return strlen(name) > strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

/* One sample line: its name follows from the family that stands before it, and a number comes last. */
static void check_sample(const struct family *family, const char *line)
{
    char name[80];
    size_t size = strcspn(line, "{ ");
    snprintf(name, sizeof(name), "%.*s", (int)size, line);
    const char *end = strcmp(family->type, "counter") == 0 ? "_total"
                      : strcmp(family->type, "info") == 0  ? "_info"
                                                           : "";
    assert_int_equal(strncmp(name, family->name, strlen(family->name)), 0);
    assert_string_equal(name + strlen(family->name), end);
    assert_true(family->described);
    if (family->unit[0] != 0)
        assert_true(ends_with(family->name, family->unit));
    char *rest;
    strtod(strrchr(line, ' ') + 1, &rest);
    assert_int_equal(*rest, 0);
}

static void test_metrics(void **state)
{
    (void)state;
    static char names[128][80];
    struct family family = {0};
    unsigned n = 0, n_samples = 0;
    s->replica.counters.resent_slots = 17;
    s->journal.sync_max_usec = 1234567;
    s->datagrams_dropped[DROP_INJECTED] = 5;
    ask(METRICS);
    char *text = strdup(string(p, "text"));
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    assert_non_null(strstr(text, "\nmpaxos_resent_slots_total 17\n"));
    assert_non_null(strstr(text, "\nmpaxos_journal_sync_seconds{quantile=\"1\"} 1.234567\n"));
    assert_non_null(strstr(text, "\nmpaxos_datagrams_dropped_total{reason=\"injected\"} 5\n"));
    assert_non_null(strstr(text, "\nmpaxos_build_info{version=\"1.2.3\",replica=\"1\"} 1\n"));
    assert_non_null(strstr(text, "\nmpaxos_control_connections_open 1\n"));
    for (char *line = strtok(text, "\n"); strcmp(line, "# EOF") != 0; line = strtok(NULL, "\n")) {
        char name[80];
        if (strncmp(line, "# TYPE ", 7) == 0) {
            family = (struct family){0};
            assert_int_equal(sscanf(line, "# TYPE %79s %15s", family.name, family.type), 2);
            assert_int_equal(strncmp(family.name, "mpaxos_", 7), 0);
            for (unsigned i = 0; i < n; i++)
                assert_string_not_equal(names[i], family.name);
            assert_true(n < 128);
            strcpy(names[n++], family.name);
        } else if (strncmp(line, "# UNIT ", 7) == 0) {
            assert_int_equal(sscanf(line, "# UNIT %79s %15s", name, family.unit), 2);
            assert_string_equal(name, family.name);
        } else if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line, "# HELP %79s", name), 1);
            assert_string_equal(name, family.name);
            family.described = line[strlen(line) - 1] == '.' || strchr(line, ';') != NULL;
        } else {
            check_sample(&family, line);
            n_samples++;
        }
    }
    assert_true(n > 50 && n_samples > n);
    free(text);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fields),        TEST(test_values),  TEST(test_peers),           TEST(test_no_quorum),
        TEST(test_keys),          TEST(test_advice),  TEST(test_chat_log_advice), TEST(test_starting),
        TEST(test_foreign_bytes), TEST(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
