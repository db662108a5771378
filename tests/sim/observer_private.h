/* What the observer remembers: shared by observer*.c. */
#ifndef TESTS_SIM_OBSERVER_PRIVATE_H
#define TESTS_SIM_OBSERVER_PRIVATE_H

#include "tests/sim/observer.h"

enum { LEADERSHIPS_MAX = 4096 };

/* Who used a ballot: one boot of one host. */
struct owner {
    struct ballot ballot;
    uint32_t host;
    uint64_t boot;
    bool led;
};

struct observer {
    struct log_slot **slots; /* of 256 each */
    size_t n_pages;
    slot_t chosen, applied; /* prefixes */
    bool has_slot0;
    uint64_t lives[CLUSTER_HOSTS_MAX]; /* of the configuration; 0: not known yet */
    bool has_cluster;
    struct hash128 cluster;
    struct owner owners[LEADERSHIPS_MAX];
    uint32_t n_owners;
    uint64_t last_time_usec;
    struct model *model;
};

#endif
