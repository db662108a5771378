/* A whole cluster in one process, driven by one seed: real cores, simulated clock, disks and network.
 *
 * Each host is what the daemon's host is to its core: it keeps the journal, lets messages out once they are durable,
 * reads chosen values back, counts the references of values, and loses what was not durable when it crashes. An
 * omniscient observer (cluster_check.h) sees every record and message and ends the program at the first broken rule,
 * with the seed and the last events. Equal options give an equal run, event by event (cluster.trace_hash tells).
 *
 * Order of use: cluster_make, then faults and clients as the test likes, cluster_run, then cluster_free. */
#ifndef TESTS_CLUSTER_H
#define TESTS_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/prng.h"
#include "paxos/replica.h"

enum {
    CLUSTER_HOSTS_MAX = 7,
    CLUSTER_EVENTS_MAX = 1 << 20,       /* waiting in the queue: more means that something floods it */
    CLUSTER_STEPS_PER_USEC_MAX = 20000, /* more without the clock moving means that a timer spins     */
    CLUSTER_TRACE_LINES = 160,
    CLUSTER_TRACE_WIDTH = 160,
};

#define MSEC   UINT64_C(1000)
#define SECOND UINT64_C(1000000)

/* The bytes of one value, interned: equal bytes, equal pointer. */
struct body {
    struct body *next;
    uint64_t digest;
    uint32_t size;
    uint8_t bytes[];
};

/* A message outside of any replica: arrays are its own, values are bodies. Shared by all its receivers. */
struct packet {
    uint32_t refs;
    uint32_t from; /* host index */
    struct hash128 cluster;
    struct message message;
    struct entry *entries; /* values are NULL; bodies[] has them */
    const struct body **bodies;
    uint32_t n_values;
    struct promised_entry *promised;
};

/* A value that a host gave to its core, or is about to. */
struct tracked {
    struct tracked *previous, *next;
    struct value value; /* last: it ends in its bytes */
};

struct disk_record {
    uint64_t seq; /* of the boot that wrote it */
    enum record_type type;
    slot_t slot;
    struct ballot ballot;
    const struct body *body;
    struct identity *identity;
    struct note *notes;
    uint32_t n_notes;
};

/* What the journal's index says of a slot. */
struct disk_slot {
    const struct body *last;   /* of the last ACCEPT or CHOSEN record                             */
    const struct body *chosen; /* what `last` was when a COMMIT record reached the slot           */
    const struct body *durable;
    struct ballot durable_ballot; /* of the highest durable ACCEPT */
    bool durable_chosen;          /* a CHOSEN record is durable    */
};

struct disk {
    struct disk_record *records;
    size_t n_records, n_durable, capacity;
    struct disk_slot *slots;
    size_t n_slots;
    slot_t commit;            /* of the last COMMIT record */
    struct identity identity; /* the durable one */
    struct ballot promised, promised_durable;
    bool syncing;
    size_t sync_target;
};

struct gated {
    struct gated *next;
    uint64_t after;
    replica_id_t to;
    struct packet *packet;
};

struct host {
    struct cluster *cluster;
    uint32_t index;
    replica_id_t id;
    bool up;
    bool wiped; /* its life is in no configuration */
    uint64_t boot;
    uint64_t seed;
    void *block;
    struct replica *replica;
    struct tracked values; /* head of a ring */
    struct disk disk;
    uint64_t seq, durable_seq; /* of this boot */
    struct gated *gated, **gated_end;
    bool fetching;
    struct fetch_request fetch;
    bool has_space;
    uint64_t timer_usec, timer_order;
    uint64_t paused_until_usec, stalled_until_usec;
    int64_t wall_offset_usec;
    uint64_t sync_min_usec, sync_max_usec;
    slot_t applied; /* last slot applied in this boot */
    bool has_applied;
    slot_t chosen; /* replica_chosen() after the last step */
    slot_t noted;  /* COMMIT notes were checked up to here */
};

enum sim_type { SIM_DELIVER, SIM_TIMER, SIM_SYNCED, SIM_FETCHED, SIM_CALL };

struct cluster;
typedef void (*cluster_call)(struct cluster *c, void *user, uint64_t argument);

struct sim_event {
    uint64_t at_usec, order;
    enum sim_type type;
    uint32_t host;
    uint64_t boot;
    union {
        struct {
            struct packet *packet;
            uint32_t first, count; /* the part of its entries that this datagram holds */
        };
        struct {
            cluster_call call;
            void *user;
            uint64_t argument;
        };
    };
};

struct network {
    uint32_t loss_permille, duplicate_permille, late_permille;
    uint64_t delay_min_usec, delay_max_usec, late_max_usec;
    uint32_t split_entries_max; /* a message of many entries leaves as datagrams of at most so many; 0: whole */
    bool cut[CLUSTER_HOSTS_MAX][CLUSTER_HOSTS_MAX]; /* [from][to] */
    /* May look at, or swallow (true), any message just before it is delivered. */
    bool (*filter)(struct cluster *c, uint32_t from, uint32_t to, const struct message *m);
    void *filter_user;
};

struct cluster_options {
    uint64_t seed;
    uint32_t n_hosts;
    uint32_t id_stride; /* ids are index * stride */
    bool blank;         /* start from empty disks; else every one is a voter already */
    bool trace;         /* keep the last events for a failure */
    bool trace_print;   /* and print all of them as they come  */
    struct lone *lone;  /* set by lone_make() only             */
    uint32_t lone_index;
    uint64_t heartbeat_usec;
    uint32_t alpha, dedup_slots, streams_max;
    uint32_t submissions_max, promise_page_slots, proposal_bytes_max, message_bytes_max, space_bytes;
};

struct observer;
struct clients;

struct cluster {
    struct cluster_options options;
    struct prng prng;
    uint64_t now_usec, order, steps, steps_now;
    uint64_t trace_hash;
    uint64_t wall_base_usec;
    struct host hosts[CLUSTER_HOSTS_MAX];
    struct network network;
    struct sim_event *queue; /* a heap by time and order */
    size_t n_queue, queue_capacity;
    struct body *bodies[4096];
    struct observer *observer;
    struct clients *clients; /* NULL: none */
    struct lone *lone;       /* cluster_lone.h: then there is no observer, and one host only */
    char (*trace)[CLUSTER_TRACE_WIDTH];
    size_t n_trace;
};

/* Defaults: three voters, 1-5 ms one way, no faults, tables of the daemon's size except that alpha is 256. */
struct cluster_options cluster_defaults(uint64_t seed);
struct cluster *cluster_make(const struct cluster_options *o);
void cluster_free(struct cluster *c);

/* Handles the next event; false where there is none. */
bool cluster_step(struct cluster *c);
void cluster_run(struct cluster *c, uint64_t usec);
/* Runs until `done` answers true, at most `usec`; answers whether it did. */
bool cluster_run_until(struct cluster *c, uint64_t usec, bool (*done)(struct cluster *c, void *user), void *user);
void cluster_call_at(struct cluster *c, uint64_t at_usec, cluster_call call, void *user, uint64_t argument);
void cluster_push(struct cluster *c, struct sim_event e); /* .at_usec set, .order is filled in */
uint64_t cluster_random(struct cluster *c, uint64_t min, uint64_t max);
bool cluster_chance(struct cluster *c, uint32_t permille);
const struct body *cluster_body(struct cluster *c, const void *bytes, uint32_t size);
struct host *cluster_host_by_id(struct cluster *c, replica_id_t id);

/* --- hosts --- */
void host_make(struct cluster *c, uint32_t index, const struct identity *identity);
void host_start(struct host *h);
/* Power loss: what was appended and not durable survives as a random prefix, or not at all with `cut_all`. */
void host_crash(struct host *h, bool cut_all);
void host_wipe(struct host *h); /* crash, and a new blank disk of a new life */
void host_free(struct host *h);
void host_step(struct host *h, struct event *e); /* fills in .now_usec */
void host_handle(struct host *h, const struct sim_event *e);
struct value *host_value(struct host *h, const struct hash128 *key, const struct body *body);
void host_value_release(struct host *h, struct value *v);
uint64_t host_wall_usec(const struct host *h);
/* The one leader that is up, or NULL. */
struct host *cluster_leader(struct cluster *c);
bool host_is_leader(const struct host *h);
const struct configuration *cluster_configuration(const struct cluster *c, struct configuration *ret);

/* --- journal --- */
void disk_append(struct host *h, const struct record *records, size_t n, uint64_t seq);
void disk_synced(struct host *h);
void disk_crash(struct host *h, bool cut_all);
void disk_free(struct disk *d);
struct disk_slot *disk_slot(struct disk *d, slot_t slot);

/* --- network --- */
struct packet *packet_make(struct host *h, const struct message *m);
void packet_release(struct packet *p);
void network_send(struct host *h, struct packet *p, replica_id_t to);
void network_deliver(struct host *h, const struct sim_event *e);
void network_isolate(struct cluster *c, uint32_t host, bool cut); /* both ways, from all others */
void network_link(struct cluster *c, uint32_t a, uint32_t b, bool up);
void network_heal(struct cluster *c);

/* --- failure --- */
_Noreturn void cluster_fail(struct cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cluster_trace_add(struct cluster *c, int host, const char *format, ...) __attribute__((format(printf, 3, 4)));
void cluster_trace_message(struct cluster *c, int host, const char *what, int peer, const struct message *m);
/* Costs nothing where nothing is kept. */
#define cluster_trace(c, ...) ((c)->options.trace ? cluster_trace_add((c), __VA_ARGS__) : (void)0)
void cluster_set_current(struct cluster *c); /* whose events a failed invariant shows; NULL: nobody's */
void cluster_set_failed(void (*call)(void)); /* called before the program ends */
/* Shown with a failure: how to see it again. */
void cluster_set_replay(const char *command, uint64_t seed);

#endif
