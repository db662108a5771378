/* Random trouble for a simulated cluster: everything follows from the seed, the parameters as well as the faults. */
#ifndef TESTS_CLUSTER_FAULT_H
#define TESTS_CLUSTER_FAULT_H

#include "tests/unit/cluster.h"
#include "tests/unit/cluster_client.h"

/* A cluster, its clients and its faults, drawn from the seed. */
struct scenario {
    struct cluster_options cluster;
    struct clients_options clients;
    uint64_t duration_usec;  /* of trouble, before all is healed */
    uint64_t fault_max_usec; /* at most so long between two faults */
    uint32_t loss_max_permille, duplicate_max_permille;
    uint32_t kinds; /* set of enum fault_kind */
};

enum fault_kind {
    FAULT_CRASH,
    FAULT_CRASH_ALL,
    FAULT_PAUSE,
    FAULT_CUT_ONE_WAY,
    FAULT_ISOLATE,
    FAULT_PARTITION,
    FAULT_BRIDGE,  /* all are linked to one replica only  */
    FAULT_WEATHER, /* loss, duplicates and delays change  */
    FAULT_STALL,   /* a disk that answers after seconds   */
    FAULT_SPACE,   /* a disk that is full for a while     */
    FAULT_SKIP,    /* SkipSlots                           */
    FAULT_TRANSFER,
    FAULT_WALL, /* a wall clock that jumps             */
    FAULT_WIPE, /* at most a minority of disks         */
    FAULT_KINDS,
};

struct scenario scenario_draw(uint64_t seed);

/* What the run came to. */
struct scenario_result {
    uint64_t steps, trace_hash, leaderships, heal_usec; /* from the end of all faults until the cluster is at rest */
    slot_t chosen;
    char summary[256];
};

/* Runs it: trouble, then peace; demands that a leader is found, that all logs become equal, every call ends and a new
 * message is chosen, all in bounded time; checks the history. Fails (cluster_fail) or answers. */
struct scenario_result scenario_run(const struct scenario *s);

/* Demands of a healed cluster that it comes to rest; answers how long that took. */
uint64_t cluster_settle(struct cluster *c, uint64_t limit_usec);

#endif
