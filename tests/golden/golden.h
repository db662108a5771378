/* A cluster told command by command: the real cores, and a network, disks and a clock that do what a text file says.
 *
 * world.c is the cluster, words.c writes what happens in readable lines, commands.c does what a line says, golden.c
 * reads the files. Memory lives until the world ends: a scenario is short. Time moves only by commands. */
#ifndef TESTS_GOLDEN_GOLDEN_H
#define TESTS_GOLDEN_GOLDEN_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "paxos/replica.h"

enum {
    HOSTS_MAX = 7,
    CALLS_MAX = 256,
    LOG_MAX = 1024,
    EVERYONE = 255,
    LATENCY_USEC = 1000, /* of the network, and of a sync, while time runs */
};

/* What `show` asks for: a bit for each message type, and these. */
enum {
    SHOW_LEADERS = 1 << 20,
    SHOW_RECORDS = 1 << 21,
    SHOW_APPLIED = 1 << 22,
    SHOW_OUTCOMES = 1 << 23,
    SHOW_MESSAGES = (1 << 17) - 1 - (1 << MESSAGE_HEARTBEAT),
    SHOW_QUIET = SHOW_LEADERS | SHOW_OUTCOMES,
    SHOW_LOUD = SHOW_QUIET | SHOW_RECORDS | SHOW_APPLIED | SHOW_MESSAGES,
    TYPES_ALL = (1 << 17) - 1,
};

struct packet {
    struct packet *next;
    uint64_t due_usec;
    uint8_t from, to;
    const struct message *message;
};

/* A message that waits for the journal. */
struct gated {
    struct gated *next;
    uint64_t after;
    replica_id_t to;
    const struct message *message;
};

struct disk_record {
    struct record record;
    struct identity identity; /* of RECORD_IDENTITY */
};

struct host {
    struct world *world;
    uint8_t id;
    bool up, paused, stalled; /* stalled: its disk syncs only by command */
    uint32_t boots;
    struct replica *replica; /* NULL while down */
    struct identity superblock;
    struct disk_record *records;
    size_t n_records, records_max;
    size_t n_durable, n_at_boot;   /* of records; sequence s of this boot is record n_at_boot + s */
    size_t n_syncing;              /* of records that the sync in flight covers */
    uint64_t sync_usec, wake_usec; /* UINT64_MAX: none */
    struct gated *gated;
    const uint8_t *checkpoint; /* its newest, and the slot; NULL: none. It keeps nothing at or below that */
    size_t checkpoint_size;
    slot_t checkpoint_slot;
    struct value *applied[LOG_MAX];
    bool visible[LOG_MAX];
    slot_t chosen;
    struct replica_status before; /* after the last step */
};

struct call {
    uint8_t host;
    bool open;
    const char *label;
};

struct world {
    FILE *out;
    uint64_t now_usec;
    uint32_t show;
    struct replica_config config;
    uint32_t n_hosts;
    struct host hosts[HOSTS_MAX];
    struct packet *packets;                                         /* in the order of sending */
    uint32_t cut[HOSTS_MAX][HOSTS_MAX], held[HOSTS_MAX][HOSTS_MAX]; /* message types, from and to */
    struct call calls[CALLS_MAX];                                   /* the cookie is the index + 1 */
    size_t n_calls;
    uint64_t streams, numbers[CALLS_MAX]; /* unnamed streams; the last number of each named one */
    struct value **values;
    size_t n_values, values_max;
    void **blocks; /* to free at the end */
    size_t n_blocks, blocks_max;
    uint32_t led; /* leaderships begun since the command */
    uint8_t led_by;
    bool disagreed; /* two replicas applied different values at a slot */
};

/* golden.c: ends the program, naming the line that is played. */
_Noreturn void golden_bad(const char *what, const char *word);

/* commands.c */
void command_run(struct world *w, const char *text);

/* world.c */
void *world_alloc(struct world *w, size_t size);
void world_done(struct world *w);
/* A counted value of the world's own, equal to the bytes: the same one each time. */
struct value *world_value(struct world *w, const uint8_t *bytes, uint32_t size);
/* NULL where no value with this hash was seen. */
const struct value *world_find_value(const struct world *w, const struct hash128 *hash);
void world_make(struct world *w, uint32_t n, bool blank, uint8_t down);
void host_start(struct host *h);
void host_crash(struct host *h);
void host_wipe(struct host *h);
void host_sync(struct host *h);
void host_checkpoint(struct host *h); /* of what it applied, durable at once */
void host_step(struct host *h, struct event *e);
/* The n-th packet (from 1; 0: all) of these types from and to; delivered or thrown away. Number of packets. */
uint32_t world_take(struct world *w, uint8_t from, uint8_t to, uint32_t types, uint32_t nth, bool deliver);
/* Lets time run until the next thing happens; false, and the clock at `until`, where that is later. */
bool world_run(struct world *w, uint64_t until_usec);

/* words.c: one line each, and only where it is shown. */
__attribute__((format(printf, 3, 4))) void words_line(struct host *h, const char *what, const char *format, ...);
void words_ballot(FILE *out, struct ballot b);
void words_value(FILE *out, const struct value *v);
uint32_t words_type(const char *name); /* as a bit; 0: none is called so */
void words_record(struct host *h, const struct record *record);
void words_message(struct host *h, const struct message *m, replica_id_t to);
void words_applied(struct host *h, const struct applied *a);
void words_outcome(struct host *h, const struct outcome *o);
void words_leader(struct host *h, const struct replica_status *now);
void words_recalled(struct host *h);
void words_installed(struct host *h, replica_id_t from);
void words_status(struct world *w);
void words_log(struct world *w);

#endif
