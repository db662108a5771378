/* A whole cluster in one process, one thread, from one seed: the daemon's own code in a simulated world.
 *
 * Each host runs the daemon's driver with its core, datagrams, journal, submissions, log and chat log, unchanged; what
 * lies below them is replaced at link time (world.c, chatdisk.c): libuv's loop, timers and threads, the socket, the
 * journal's thread, the clocks, the system's randomness, and the disks by ones in memory (vfs_memory.h) that lose
 * power, tear, fill up, and rot, where it is the journal's. An omniscient observer (observer.h) sees every step's
 * effects, every datagram and every disk, and ends the program at the first broken rule, with the seed and the last
 * events. Equal options give an equal run, bit by bit (cluster.trace_hash tells).
 *
 * Order of use: cluster_make, then faults and clients as the test likes, cluster_run, then cluster_free. */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "host/config.h"
#include "paxos/prng.h"
#include "paxos/replica.h"
#include "tests/sim/chat.h"
#include "tests/sim/happened.h"
#include "tests/unit/vfs_memory.h"
#include "wire/seal.h"

enum {
    CLUSTER_HOSTS_MAX = 7,
    CLUSTER_EVENTS_MAX = 1 << 20,       /* waiting in the queue: more means that something floods it */
    CLUSTER_STEPS_PER_USEC_MAX = 20000, /* more without the clock moving means that a timer spins     */
    CLUSTER_TRACE_LINES = 200,
    CLUSTER_TRACE_WIDTH = 160,
    HOST_TIMERS = 2,
    HOST_CLOSES_MAX = 8,
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

/* A datagram on its way; shared by its copies. */
struct packet {
    uint32_t refs, from, to; /* from, to: host indexes */
    uint32_t size;
    uint32_t plain_size; /* of what was sealed, which stands behind it; 0: it is plain itself, or a handshake's */
    uint64_t to_boot;    /* of the receiver as it was sent */
    bool spoiled, opened;
    uint8_t bytes[];
};

/* The last datagram that was sealed for a peer; and of its HELLOs, what an answer may be as large as. */
struct sealed_last {
    uint8_t salt[SEAL_NONCE_SIZE];
    uint64_t seq;
    uint32_t hello_bytes;
};

/* What the core asked to be kept, as it asked for it. */
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

/* Among them: the core went on from a peer's checkpoint. */
#define RECORD_INSTALLED ((enum record_type)64)

/* What a recovery found so far (found.h). */
struct finding {
    size_t n;               /* records: they stand there again, or need not */
    struct ballot promised; /* by them                                      */
    struct ballot saved;    /* the one that stands beside the segments since they were damaged */
    slot_t restored;        /* of its checkpoint; 0: none                   */
    bool is_mended;         /* some of them are of a segment that was mended, others are gone with it */
    bool is_of_mend;        /* the last one was none of those records, but put in the place of some */
    bool is_mended_above;   /* the checkpoint: it came in the place of a later one */
    bool has_begun;         /* with one that is no opening of a segment     */
    bool votes_no_more;     /* nobody needs the promise that came last when it was damaged */
};

/* What those records say of a slot. */
struct disk_slot {
    const struct body *last;        /* of the last ACCEPT or CHOSEN record                             */
    const struct body *chosen;      /* what `last` was when a COMMIT record reached the slot           */
    const struct body *chosen_ever; /* once, whatever rot took since */
    size_t mended_before;           /* a start found it mended before this record, from 1 on; 0: it did not */
    const struct body *durable;
    struct ballot durable_ballot; /* of the highest durable ACCEPT */
    bool durable_chosen;          /* a CHOSEN record is durable    */
};

/* A host's disk: the files, and what must be in them. A restart reads the files, and has them compared (disk.c). */
struct disk {
    struct vfs_memory *memory;
    struct disk_record *records;
    size_t n_records, n_durable, capacity;
    struct finding found; /* while the journal is read */
    size_t found_before;  /* .n before the last record that was found */
    struct disk_slot *slots;
    size_t n_slots;
    slot_t commit;                            /* of the last COMMIT record, or of a peer's checkpoint above it */
    slot_t fetched;                           /* of the last peer's checkpoint that the journal was given      */
    slot_t lost_until;                        /* rot may have taken slots up to this one                       */
    struct ballot saved;                      /* its highest promise as of the last damage                     */
    uint64_t damaged_segment, damaged_offset; /* where that was, as its journal says */
    uint64_t names_checked;                   /* changes of names up to the last sync */
    struct identity identity;                 /* the durable one */
    struct ballot promised, promised_durable;
    struct ballot promised_ever; /* durable once, whatever rot took since */
    slot_t flushed;              /* of the chat log, as was told */
    struct chat chat;
    bool cut_write;     /* the power goes in the middle of its next write */
    bool writing;       /* the journal's thread is at work */
    bool failing;       /* its next write or sync fails    */
    bool full;          /* nothing can grow                */
    uint32_t cut_start; /* the power goes at this change of the next start; 0: it does not */
    uint32_t n_rot;     /* changes that nobody wrote: the journal may refuse the files */
};

struct host_timer {
    uv_timer_t *handle;
    uv_timer_cb call;
    uint64_t at_usec, repeat_usec, order; /* at UINT64_MAX: stopped */
};

/* What libuv's threads were given: done, and later told. */
struct host_work {
    uv_work_t *handle;
    uv_work_cb work;
    uv_after_work_cb after;
};

struct host_close { /* one or the other */
    uv_handle_t *handle;
    uv_close_cb call;
    void (*peers_call)(void *user);
    void *user;
};

/* What its core has and has not answered yet (handed.h). */
struct handed_list {
    struct handed *items;
    size_t n, capacity;
};

struct host {
    struct cluster *cluster;
    uint32_t index;
    replica_id_t id;
    bool up;
    bool wiped;   /* its life is in no configuration */
    bool refused; /* its files are damaged: it stays down */
    bool config_differs;
    uint64_t boot;
    struct prng random; /* what the system's randomness gives it */
    struct driver *driver;
    struct faults *faults;
    struct replica *replica;
    struct disk disk;
    uint64_t seq, durable_seq; /* of this boot */
    struct journal *journal;
    struct peers *peers;
    /* its loop */
    struct host_timer timers[HOST_TIMERS];
    uv_prepare_t *prepare;
    uv_prepare_cb prepare_call;
    struct wakeup *wakeup;
    struct host_work work;
    struct host_close closes[HOST_CLOSES_MAX];
    uint32_t n_closes;
    bool idling, turning, turn_due, stopped;
    uint64_t paused_until_usec, stalled_until_usec;
    int64_t wall_offset_usec;
    uint64_t sync_min_usec, sync_max_usec;
    uint64_t turns;
    struct handed_list handed;
    uint32_t key_step; /* of the cluster keys' change */
    struct sealed_last sealed_last[CLUSTER_HOSTS_MAX];
    uint32_t plain_size; /* of what was sealed just now, until it is sent */
    uint8_t plain[DATAGRAM_BYTES_MAX];
    struct packet *incoming; /* while it is delivered */
    bool told_space;         /* what its core knows of the disk */
    slot_t applied;          /* last slot applied in this boot */
    bool has_applied;
    slot_t chosen;     /* replica_chosen() after the last step */
    slot_t noted;      /* COMMIT notes were checked up to here */
    bool fetching;     /* the checkpoint that its journal writes is a peer's */
    uint64_t n_mended; /* segments, since it started */
    slot_t sampled;    /* its checkpoint's bytes were compared last */
    char last_error[256];
};

enum sim_type { SIM_DELIVER, SIM_TIMER, SIM_WRITE, SIM_ASYNC, SIM_WORK, SIM_TURN, SIM_CALL };

struct cluster;
typedef void (*cluster_call)(struct cluster *c, void *user, uint64_t argument);

struct sim_event {
    uint64_t at_usec, order;
    enum sim_type type;
    uint32_t host;
    uint64_t boot;
    union {
        struct packet *packet;
        uint32_t timer;
        struct {
            cluster_call call;
            void *user;
            uint64_t argument;
        };
    };
};

/* Of one link, one way. */
struct weather {
    uint32_t loss_permille, duplicate_permille, late_permille, corrupt_permille;
    uint64_t delay_min_usec, delay_max_usec, late_max_usec;
};

struct network {
    struct weather weather[CLUSTER_HOSTS_MAX][CLUSTER_HOSTS_MAX]; /* [from][to] */
    bool cut[CLUSTER_HOSTS_MAX][CLUSTER_HOSTS_MAX];
    uint64_t clogged_usec[CLUSTER_HOSTS_MAX][CLUSTER_HOSTS_MAX]; /* nothing arrives before, then all of it */
    uint64_t delivered[CLUSTER_HOSTS_MAX][CLUSTER_HOSTS_MAX];    /* .order of what came last */
    uint64_t latest_usec;                                        /* then all that was sent so far has arrived */
    /* May swallow (true) a datagram just before it is delivered. */
    bool (*filter)(struct cluster *c, uint32_t from, uint32_t to, const struct packet *p);
    void *filter_user;
};

struct cluster_options {
    uint64_t seed;
    uint32_t n_hosts;
    uint32_t id_stride; /* ids are index * stride */
    bool blank;         /* start from empty disks; else every one is a voter already */
    bool trace;         /* keep the last events for a failure */
    bool trace_print;   /* and print all of them as they come  */
    uint64_t heartbeat_usec;
    uint32_t alpha, dedup_slots, streams_max;
    uint32_t submissions_max, promise_page_slots; /* 0: as many as a datagram holds */
    uint32_t proposal_bytes_max, message_bytes_max, space_bytes;
    uint32_t datagram_bytes;
    bool sealed; /* datagrams are */
    bool liar;   /* a member says anything: what hosts owe their own disks is looked at, not what they agree on */
    uint64_t segment_bytes;
    uint32_t rot_sealed_permille;            /* of rot: in a segment that is written no more */
    uint64_t checkpoint_bytes, retain_bytes; /* 0: the daemon's own */
    uint64_t scrub_usec;                     /* the same                                            */
    uint32_t recover_permille;               /* of syncs: recover a disk as a power cut would leave it, and compare */
};

struct observer;
struct clients;

struct cluster {
    struct cluster_options options;
    struct config config;
    struct prng prng;
    uint64_t now_usec, order, steps, steps_now, events;
    uint64_t trace_hash;
    uint64_t happened[HAPPENED_KINDS];
    uint32_t chat_end_percent, chat_fail_percent; /* of slices of a flush: its host ends, an operation fails */
    uint64_t wall_base_usec;
    uint32_t frozen; /* hosts that stay as broken as they are: what is down does not start, what is full stays so */
    struct host hosts[CLUSTER_HOSTS_MAX];
    struct network network;
    struct sim_event *queue; /* a heap by time and order */
    size_t n_queue, queue_capacity;
    struct body *bodies[4096];
    struct observer *observer;
    struct clients *clients; /* NULL: none */
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
void cluster_mix(struct cluster *c, uint64_t v); /* into the trace hash */
const struct body *cluster_body(struct cluster *c, const void *bytes, uint32_t size);
struct host *cluster_host_by_id(struct cluster *c, replica_id_t id);

/* --- hosts (host.c) --- */
void host_make(struct cluster *c, uint32_t index, const struct identity *identity);
void host_start(struct host *h);
void host_start_later(struct host *h, uint64_t usec);
/* Power loss: of what was not synced, some survives by the seed, or nothing with `cut_all`. */
void host_crash(struct host *h, bool cut_all);
void host_kill(struct host *h); /* the process alone: what it wrote is in the page cache */
void host_stop(struct host *h); /* in an orderly way: it hands over first, goes, and comes again */
void host_wipe(struct host *h); /* crash, and a new blank disk of a new life */
void host_free(struct host *h);
void host_step(struct host *h, struct event *e); /* an operator's: fills in .now_usec */
void host_handle(struct host *h, const struct sim_event *e);
/* Something happened on its loop: a turn follows, at once or soon. */
void host_poke(struct host *h);
bool host_is_usable(const struct host *h);
uint64_t host_wall_usec(const struct host *h);
/* The one leader that is up, or NULL. */
struct host *cluster_leader(struct cluster *c);
bool host_is_leader(const struct host *h);

/* --- what is on the disks (disk.c) --- */
void disk_append(struct host *h, const struct record *records, size_t n, uint64_t seq);
void disk_synced(struct host *h, uint64_t seq);
/* The checkpoint and the records that the journal found at a restart; and the end of them. */
void disk_recovered_checkpoint(struct host *h, slot_t slot);
void disk_recovered(struct host *h, const struct record *r);
void disk_recovered_all(struct host *h);
/* The core goes on from a peer's checkpoint, which the journal holds. */
void disk_installed(struct host *h, slot_t slot);
void disk_kick(struct host *h);
void disk_write(struct host *h); /* what the journal's thread does next */
void disk_stop(struct host *h);
/* Recovers a copy as it would be after a power cut now, and compares. */
void disk_check(struct host *h);
void disk_rot(struct host *h);
/* One batch, of whose slots each is kept by another host. */
void disk_rot_kept(struct host *h);
void disk_rot_unused(struct host *h);
void disk_tally(struct host *h); /* adds what its files went through to what happened */
void disk_format(struct host *h, const struct identity *identity);
void disk_free(struct disk *d);
struct disk_slot *disk_slot(struct disk *d, slot_t slot);

/* --- network (network.c) --- */
void packet_release(struct packet *p);
void network_send(struct host *h, struct packet *p, uint32_t to);
void network_deliver(struct host *h, struct packet *p, uint64_t order);
/* What it says, or what it said before it was sealed. DATAGRAM_OK, and nothing to read: a handshake's. */
enum datagram_error packet_open(const struct packet *p, struct datagram_reader *r, struct datagram_header *ret);
void network_isolate(struct cluster *c, uint32_t host, bool cut); /* both ways, from all others */
void network_link(struct cluster *c, uint32_t a, uint32_t b, bool up);
struct weather network_calm(void);                                /* 1-5 ms one way, and nothing else */
void network_weather(struct cluster *c, const struct weather *w); /* of every link */
void network_heal(struct cluster *c);

/* --- failure (trace.c) --- */
_Noreturn void cluster_fail(struct cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cluster_trace_add(struct cluster *c, int host, const char *format, ...) __attribute__((format(printf, 3, 4)));
void cluster_trace_packet(struct cluster *c, int host, const char *what, int peer, const struct packet *p);
/* Costs nothing where nothing is kept. */
#define cluster_trace(c, ...) ((c)->options.trace ? cluster_trace_add((c), __VA_ARGS__) : (void)0)
void cluster_set_current(struct cluster *c); /* whose events a failed invariant shows; NULL: nobody's */
void cluster_set_failed(void (*call)(void)); /* called before the program ends */
/* Shown with a failure: how to see it again. */
void cluster_set_replay(const char *command, uint64_t seed);

#endif
