/* Three drivers on one loop: real sockets, real journals, one process. */
#ifndef TESTS_UNIT_DRIVER_CLUSTER_H
#define TESTS_UNIT_DRIVER_CLUSTER_H

#include "host/driver.h"

enum { REPLICAS = 3, CLUSTER_SLOTS_MAX = 32768 };

struct node {
    struct driver *driver;
    struct faults *faults;
    char state[64], log[64];
    int stopped; /* exit status, -1: runs */
};

struct cluster {
    uv_loop_t loop;
    uv_timer_t tick;
    char dir[32];
    struct config config;
    const struct seal_keys *keys; /* NULL: plain */
    struct node nodes[REPLICAS];
    size_t n_wanted, n_settled;
    enum submit_result results[CLUSTER_SLOTS_MAX];
    slot_t slots[CLUSTER_SLOTS_MAX]; /* by tag */
    slot_t goal;                     /* the highest of them */
};

/* None of them runs yet. */
void cluster_make(struct cluster *c);
/* All run, and are a quorum; to be ended by cluster_free(). */
struct cluster *cluster_start(const struct seal_keys *keys);
void cluster_free(struct cluster *c);
/* One of them. What driver_start() answers. */
int cluster_start_node(struct cluster *c, size_t i);
void cluster_stop_node(struct cluster *c, size_t i);
void cluster_stop_all(struct cluster *c);
void cluster_free_node(struct node *n); /* that has stopped */

void cluster_run_until(struct cluster *c, bool (*done)(struct cluster *c));
bool cluster_is_quorate(struct cluster *c);

/* Submits messages tagged `from` to `until` - 1 to all that run in turn, until they stand in the log of all, each
 * connection's in its order. */
void cluster_submit(struct cluster *c, uint64_t from, uint64_t until, size_t text_size);
bool cluster_is_at_goal(struct cluster *c);
/* How many messages can be read there; each where its submitter was told that it stands. */
uint64_t cluster_read_all(struct cluster *c, size_t i);

#endif
