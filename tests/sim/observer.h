/* The observer: knows every record, datagram and disk, and ends the program at the first rule of mpaxos(7) that breaks.
 *
 * Chosen, to it, is what a majority of the members' disks held under one ballot at any time, each life counted once: it
 * asks no replica. Checked on the way: one chosen value a slot, one value a slot and ballot, one boot a ballot,
 * proposals above a chosen slot carry its value, no accept below a promise, votes only from what is durable (as after a
 * power loss at this moment), votes only from lives of the configuration, proposals within alpha, chosen prefixes that
 * are chosen, equal applied log, times, visibility and chain, visibility as an independent model of keys and streams
 * has it, journals whose COMMIT records and notes tell the truth, and memory in which nothing is forgotten. */
#ifndef TESTS_SIM_OBSERVER_H
#define TESTS_SIM_OBSERVER_H

#include "tests/sim/sim.h"

/* One value under one slot and ballot. */
struct proposal {
    struct ballot ballot;
    const struct body *body;
    uint32_t acceptors; /* hosts on whose disk it is, or was */
};

struct log_slot {
    struct proposal *proposals;
    uint32_t n_proposals, room;
    const struct body *chosen;
    struct ballot chosen_ballot;
    bool applied, visible;
    uint64_t time_usec;
    bool has_chain;
    struct hash128 chain;
    slot_t first_kept; /* once it is applied */
    bool has_sum;
    struct hash128 checkpoint_sum; /* of a checkpoint's bytes */
    struct chat_line *line;        /* NULL: nobody asked yet */
};

struct chat_line {
    size_t size;
    char bytes[];
};

/* What a value says, if it is a message. */
struct text_view {
    bool is_message;
    uint64_t stream, n, since;
    const uint8_t *author, *key, *text; /* into the body */
    uint32_t author_size, key_size, text_size;
};

struct observer *observer_make(struct cluster *c);
void observer_free(struct cluster *c);

void observer_identity(struct cluster *c, uint32_t host, const struct identity *i);
/* A bootstrap started the cluster without it: it stays blank, or of a start that came to nothing. */
bool observer_leaves_out(const struct host *h);
void observer_record(struct host *h, const struct disk_record *r); /* before it is appended */
void observer_durable(struct host *h, const struct disk_record *r);
/* By a step, before which `promised` was the promise. */
void observer_made(struct host *h, struct ballot promised, replica_id_t to, const struct message *m);
void observer_sent(struct host *h, const struct packet *p, bool again); /* leaves the host now    */
void observer_applied(struct host *h, const struct applied *a);
void observer_notes(struct host *h, const struct effects *e); /* after `applied`        */
void observer_chain(struct host *h, slot_t slot, const struct hash128 *chain);
/* What a host goes on from, at a restart or after it was away; and what it says to be kept. */
void observer_checkpoint(struct host *h, slot_t slot, slot_t first_kept, const struct hash128 *chain,
                         uint64_t last_time_usec);
void observer_checkpoint_sum(struct host *h, slot_t slot, const struct hash128 *sum);
void observer_first_kept(struct host *h, slot_t slot, slot_t first_kept);

slot_t observer_chosen(const struct cluster *c);                            /* all slots up to it are chosen      */
slot_t observer_trimmed(const struct cluster *c);                           /* below it the log lets everything go */
slot_t observer_applied_until(const struct cluster *c);                     /* highest slot applied anywhere    */
const struct log_slot *observer_slot(const struct cluster *c, slot_t slot); /* NULL: nothing known */
bool observer_is_chosen(const struct cluster *c, slot_t slot, const struct body *b); /* b NULL: whatever */
uint64_t observer_leaderships(const struct cluster *c);                              /* different ballots that led */
/* Hosts that confirmed to some leader at that time or later. */
uint32_t observer_confirmed_since(const struct cluster *c, uint64_t usec);
void text_view(const uint8_t *bytes, struct text_view *ret);

/* What the chat log's files hold of it (chatline.c), with its line feed; borrowed. NULL: no message is there. */
const struct chat_line *chat_line(struct cluster *c, slot_t slot);

/* For observer_*.c. */
void observer_check_voter(struct host *h, const char *what);
struct owner *observer_owner(struct observer *o, struct ballot b); /* NULL: nobody used it yet */
struct owner *observer_use_ballot(struct host *h, struct ballot b, bool leads);
struct proposal *observer_propose(struct host *h, slot_t slot, struct ballot b, const struct body *body);
struct log_slot *observer_slot_at(struct cluster *c, slot_t slot);

/* Memory, tables and queues (memory.c), between two turns. */
void memory_check(struct host *h);

/* An independent, naive model of what is visible (model.c). Slots in order. */
struct model;
struct model *model_make(uint32_t dedup_slots, uint32_t streams_max);
void model_free(struct model *m);
bool model_apply(struct model *m, slot_t slot, const struct text_view *v);

#endif
