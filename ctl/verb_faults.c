/* drop and skip: injected faults. */
#include <stdio.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/verbs.h"

enum { FAULT_SECONDS_MAX = 31536000, REPLICA_ID_MAX = 254 }; /* as the daemon has them */

static void print_drops(const struct invocation *v, const cJSON *drops)
{
    struct table t;
    const cJSON *drop;
    if (!drops || !drops->child) {
        puts("no drops in force");
        return;
    }
    table_init(&t, "rlrl", (const char *[]){"RATE", "DIRECTION", "PEER", "UNTIL"});
    cJSON_ArrayForEach(drop, drops)
    {
        int64_t rate = 0, peer = -1, until_usec = -1;
        const char *direction = NULL;
        char rate_cell[24], peer_cell[24] = "all", until_cell[TEXT_TIME_MAX] = "lifted";
        varlink_get_int(drop, "rate", 0, 100, &rate);
        varlink_get_int(drop, "peer", 0, INT64_MAX, &peer);
        varlink_get_int(drop, "until_usec", 0, INT64_MAX, &until_usec);
        varlink_get_string(drop, "direction", &direction);
        snprintf(rate_cell, sizeof(rate_cell), "%lld%%", (long long)rate);
        if (peer >= 0)
            snprintf(peer_cell, sizeof(peer_cell), "%lld", (long long)peer);
        if (until_usec >= 0)
            clock_format(until_usec, wall_usec(), until_cell);
        table_add(&t, (const char *[]){rate_cell, direction ? direction : "out", peer_cell, until_cell});
    }
    table_print(&t, v->report.legend, 0);
    table_done(&t);
}

int verb_drop(const struct invocation *v)
{
    uint64_t rate, peer = 0, seconds = 0;
    if (invocation_operand(v, 0, "RATE", 0, 100, &rate) < 0)
        return EXIT_USAGE;
    int has_peer = invocation_number(v, OPTION_PEER, 0, REPLICA_ID_MAX, &peer);
    int has_seconds = invocation_number(v, OPTION_FOR, 1, FAULT_SECONDS_MAX, &seconds);
    bool in = invocation_has(v, OPTION_IN), out = invocation_has(v, OPTION_OUT), both = invocation_has(v, OPTION_BOTH);
    if (has_peer < 0 || has_seconds < 0)
        return EXIT_USAGE;
    /* Lifting without a direction is meant for whatever there is. */
    both |= (in && out) || (rate == 0 && !in && !out);
    cJSON *p = cJSON_CreateObject();
    cJSON_AddItemToObject(p, "rate", varlink_int((int64_t)rate));
    cJSON_AddStringToObject(p, "direction", both ? "both" : in ? "in" : "out");
    if (has_peer)
        cJSON_AddItemToObject(p, "peer", varlink_int((int64_t)peer));
    if (has_seconds && rate > 0)
        cJSON_AddItemToObject(p, "seconds", varlink_int((int64_t)seconds));

    struct client c;
    struct failure f = {0};
    struct reply r = {0};
    int status = EXIT_DONE;
    if (client_open(&c, &v->place, &f) < 0) {
        cJSON_Delete(p);
        status = report_failure(&v->report, &f);
    } else if (client_ask(&c, "org.mpaxos.Replica.SetDrop", p, invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT), true,
                          &r, &f) < 0) {
        status = report_failure(&v->report, &f);
    } else if (v->report.json == JSON_OFF) {
        print_drops(v, r.parameters ? cJSON_GetObjectItemCaseSensitive(r.parameters, "drops") : NULL);
    } else {
        report_json(&v->report, r.parameters, false);
    }
    reply_done(&r);
    client_close(&c);
    failure_done(&f);
    return status;
}

/* Who leads, and at which address the replica that was asked sees it. */
static int find_leader(struct client *c, uint64_t timeout_msec, int64_t *ret_leader, char ret_address[128],
                       struct failure *f)
{
    struct reply r = {0};
    int64_t id = -1;
    if (client_ask(c, "org.mpaxos.Replica.Status", NULL, timeout_msec, false, &r, f) < 0)
        return -1;
    *ret_leader = -1;
    varlink_get_int(r.parameters, "leader", 0, REPLICA_ID_MAX, ret_leader);
    varlink_get_int(r.parameters, "id", 0, REPLICA_ID_MAX, &id);
    snprintf(ret_address, 128, "another host");
    const cJSON *peers = r.parameters ? cJSON_GetObjectItemCaseSensitive(r.parameters, "peers") : NULL, *peer;
    cJSON_ArrayForEach(peer, peers)
    {
        int64_t peer_id = -1;
        const char *address = NULL;
        varlink_get_int(peer, "id", 0, REPLICA_ID_MAX, &peer_id);
        varlink_get_string(peer, "address", &address);
        if (peer_id == *ret_leader && address)
            snprintf(ret_address, 128, "%s", address);
    }
    reply_done(&r);
    c->endpoint.id = (int)id;
    return 0;
}

/* A connection to the leader: the one that is open, or another local one. */
static int open_leader(struct client *c, const struct invocation *v, struct failure *f)
{
    int64_t leader;
    char address[128];
    if (client_open(c, &v->place, f) < 0 ||
        find_leader(c, invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT), &leader, address, f) < 0)
        return -1;
    if (leader < 0) {
        failure_set(f, EXIT_NO_QUORUM, "org.mpaxos.Control.NoLeader", NULL,
                    "replica %d knows no leader, and only a leader can skip slots. Try: mpaxosctl wait --quorum",
                    c->endpoint.id);
        return -1;
    }
    if (leader == c->endpoint.id)
        return 0;
    struct place place = {.id = (int)leader, .dir = v->place.dir};
    client_close(c);
    if (!v->place.socket && client_open(c, &place, f) == 0)
        return 0;
    enum exit_status status = f->status == EXIT_NOT_PERMITTED ? EXIT_NOT_PERMITTED : EXIT_NO_DAEMON;
    cJSON *p = cJSON_CreateObject();
    cJSON_AddItemToObject(p, "leader", varlink_int(leader));
    cJSON_AddStringToObject(p, "address", address);
    failure_set(f, status, "org.mpaxos.Control.LeaderElsewhere", p,
                "replica %lld leads, at %s, and its control socket cannot be used from here. Try there: mpaxosctl -i "
                "%lld skip ...",
                (long long)leader, address, (long long)leader);
    return -1;
}

static void print_skips(const cJSON *parameters)
{
    const cJSON *slots = parameters ? cJSON_GetObjectItemCaseSensitive(parameters, "skip_slots") : NULL, *slot;
    fputs("skips slots", stdout);
    cJSON_ArrayForEach(slot, slots)
    {
        int64_t n;
        if (varlink_int_read(slot, 0, INT64_MAX, &n))
            printf(" %lld", (long long)n);
    }
    putchar('\n');
}

int verb_skip(const struct invocation *v)
{
    cJSON *p = cJSON_CreateObject(), *slots = cJSON_AddArrayToObject(p, "slots");
    for (size_t i = 0; i < v->arguments->n_operands; i++) {
        uint64_t slot;
        if (invocation_operand(v, i, "SLOT", 0, INT64_MAX, &slot) < 0) {
            cJSON_Delete(p);
            return EXIT_USAGE;
        }
        cJSON_AddItemToArray(slots, varlink_int((int64_t)slot));
    }
    struct client c;
    struct failure f = {0};
    struct reply r = {0};
    int status = EXIT_DONE;
    if (open_leader(&c, v, &f) < 0) {
        cJSON_Delete(p);
        status = report_failure(&v->report, &f);
    } else if (client_ask(&c, "org.mpaxos.Replica.SkipSlots", p, invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT),
                          true, &r, &f) < 0) {
        status = report_failure(&v->report, &f);
    } else if (v->report.json == JSON_OFF) {
        print_skips(r.parameters);
    } else {
        report_json(&v->report, r.parameters, false);
    }
    reply_done(&r);
    client_close(&c);
    failure_done(&f);
    return status;
}
