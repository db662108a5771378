/* Random trouble for a simulated cluster: everything follows from the seed, the parameters as well as the faults. */
#ifndef TESTS_SIM_FAULT_H
#define TESTS_SIM_FAULT_H

#include "tests/sim/clients.h"
#include "tests/sim/observer.h"
#include "tests/sim/sim.h"

enum fault_kind {
    FAULT_CRASH, /* power loss */
    FAULT_CRASH_ALL,
    FAULT_KILL, /* the process alone; perhaps power loss later */
    FAULT_STOP, /* orderly, and started again                  */
    FAULT_PAUSE,
    FAULT_CUT_ONE_WAY,
    FAULT_ISOLATE,
    FAULT_PARTITION,
    FAULT_BRIDGE,  /* all are linked to one replica only  */
    FAULT_CLOG,    /* what one sends another arrives late, all at once */
    FAULT_WEATHER, /* loss, duplicates and delays change  */
    FAULT_STALL,   /* a disk that answers after seconds   */
    FAULT_SLOW,    /* a disk that gets slower, or faster  */
    FAULT_SPACE,   /* a disk that is full for a while     */
    FAULT_SYNC,    /* a write or sync that fails          */
    FAULT_SKIP,    /* SkipSlots                           */
    FAULT_DROP,    /* the drops that an operator injects  */
    FAULT_TRANSFER,
    FAULT_WALL, /* a wall clock that jumps             */
    FAULT_WIPE, /* at most a minority of disks are wiped or rot */
    FAULT_ROT,
    FAULT_AWAY, /* a process that is down for long     */
    FAULT_KINDS,
};

/* Which of partial connectivity's scenarios comes after the trouble. */
enum partial { PARTIAL_NONE, PARTIAL_CHAIN, PARTIAL_QUORUM_LOSS, PARTIAL_CONSTRAINED };

/* A cluster, its clients and its faults, drawn from the seed. */
struct scenario {
    struct cluster_options cluster;
    struct clients_options clients;
    uint64_t duration_usec;  /* of trouble, before all is healed */
    uint64_t rest_usec;      /* so long after them all must be at rest; 0: the usual limit */
    uint64_t fault_max_usec; /* at most so long between two faults */
    uint32_t loss_max_permille, duplicate_max_permille, corrupt_permille;
    uint32_t late_permille;                       /* of datagrams are late, whatever the weather; 0: as it says */
    uint32_t leader_permille;                     /* of faults: they strike the leader                */
    uint32_t at_write_permille;                   /* of power cuts: in the middle of the disk's next write */
    uint32_t chat_end_percent, chat_fail_percent; /* as struct cluster has them */
    uint32_t kinds;                               /* set of enum fault_kind */
    enum partial partial;
    bool core_first;  /* heals a majority around one member first, and demands that it works */
    bool lines;       /* FAULT_BRIDGE is a line instead, with a triangle at its end */
    bool differs;     /* one host's bootstrap file differs until the peace */
    bool bootstraps;  /* operators do not wait until all hosts are there   */
    bool atlas;       /* rot strikes all hosts, never the last good copy of a slot */
    bool hung_leader; /* then only where the leader is not in it, reaches the others but one, and its disk hangs */
};

struct scenario scenario_draw(uint64_t seed);
/* What random schedules meet too seldom. False: there is none of that name. */
bool scenario_direct(struct scenario *s, const char *name);

/* What the run came to. */
struct scenario_result {
    uint64_t steps, trace_hash, leaderships;
    uint64_t core_usec, heal_usec; /* from the end of faults until the core, the cluster is at rest */
    slot_t chosen;
    uint64_t happened[HAPPENED_KINDS];
    char summary[320];
};

/* Runs it: trouble, then peace; demands that a leader is found, that all logs become equal, every call ends and a new
 * message is chosen, all in bounded time; checks the history. Fails (cluster_fail) or answers. */
struct scenario_result scenario_run(const struct scenario *s);

struct trouble {
    const struct scenario *scenario;
    bool over;
    uint32_t n_lost; /* replicas whose disk was wiped, or may be refused */
    bool is_lost[CLUSTER_HOSTS_MAX];
};
void trouble_begin(struct cluster *c, struct trouble *t);
void trouble_set_space(struct cluster *c, uint32_t host, bool space);
/* Whether this disk may be wiped or rot, so that its next start is perhaps refused: no more of them than the cluster
 * can do without. Then it counts as lost. By replica, not by item: one good copy of each slot somewhere would not do,
 * since a replica whose promise or vote may be gone stops voting as a whole, and a majority of those stands still for
 * an operator to come. So with one replica, or two of three, nothing rots here. While they run it takes nothing from
 * their votes: then all rot, item by item (disk_rot_kept()). */
bool trouble_may_lose(struct cluster *c, struct trouble *t, uint32_t host);

/* --- sealed.c --- */
void sealed_keys(const struct host *h, struct seal_keys *ret); /* that it has now */
void sealed_begin(struct cluster *c, struct trouble *t);       /* from now on they are changed now and then */
void sealed_change(struct host *h); /* one step on, where all the others have done the step before */
void sealed_sent(struct host *h, size_t peer, const struct packet *p); /* checks it, before it leaves */

/* --- bootstrap.c --- */
void bootstrap_begin(struct cluster *c, struct trouble *t); /* what came of it is looked at in peace */

/* --- partial.c --- */
void partial_check(struct cluster *c, enum partial partial); /* several times over */

/* --- mended.c --- */
void mended_check(struct cluster *c); /* that it is, while no fault goes on */
void mended_check_starts(struct cluster *c);
void mended_check_covered(struct host *h); /* after each turn */

/* --- peace.c --- */

/* What others chose reaches it. */
static inline bool host_is_learning(const struct host *h)
{
    return !h->wiped && !h->refused && !observer_leaves_out(h);
}

static inline bool host_is_sound(const struct host *h)
{
    return host_is_learning(h) && h->disk.identity.status != IDENTITY_QUARANTINED;
}

void cluster_heal(struct cluster *c); /* every link, disk and host */
/* Demands of a healed cluster that it comes to rest; answers how long that took. */
uint64_t cluster_settle(struct cluster *c, uint64_t limit_usec);
void cluster_settle_again(struct cluster *c); /* after something small */
/* The same, and that it takes a message through every host and answers it, and that the clients' histories are right.
 */
uint64_t cluster_demand_rest(struct cluster *c);

#endif
