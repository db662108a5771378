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
    bool overtaken;        /* it recorded that another value was chosen than its own */
    uint32_t promisers;    /* hosts that sent the last page of a promise                    */
    slot_t barrier, fresh; /* its highest barrier, and its lowest message that no other ballot proposed; 0: none */
};

struct observer {
    struct log_slot **slots; /* of 256 each */
    size_t n_pages;
    slot_t chosen, applied;            /* prefixes */
    uint64_t lives[CLUSTER_HOSTS_MAX]; /* of the configuration; 0: not known yet */
    bool has_cluster;
    struct hash128 cluster;
    struct configuration configuration;
    struct owner owners[LEADERSHIPS_MAX];
    uint32_t n_owners;
    uint64_t confirmed_usec[CLUSTER_HOSTS_MAX]; /* when each last sent CONFIRMED */
    uint64_t last_time_usec;
    slot_t first_kept;
    struct model *model;
};

#endif
