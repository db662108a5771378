/* The observer: knows every record, message and disk, and ends the program at the first rule of mpaxos(7) that breaks.
 *
 * Chosen, to it, is what a majority of the members' disks held under one ballot at any time, each life counted once: it
 * asks no replica. Checked on the way: one chosen value a slot, one value a slot and ballot, one boot a ballot,
 * proposals above a chosen slot carry its value, no accept below a promise, votes only from what is durable (as after a
 * power loss at this moment), votes only from lives of the configuration, proposals within alpha, chosen prefixes that
 * are chosen, equal applied log, times, visibility and chain, visibility as an independent model of keys and streams
 * has it, and journals whose COMMIT records and notes tell the truth. */
#ifndef TESTS_CLUSTER_CHECK_H
#define TESTS_CLUSTER_CHECK_H

#include "tests/unit/cluster.h"

enum { BALLOTS_PER_SLOT_MAX = 64 };

/* One value under one slot and ballot. */
struct proposal {
    struct ballot ballot;
    const struct body *body;
    uint32_t acceptors; /* hosts on whose disk it is, or was */
};

struct log_slot {
    struct proposal proposals[BALLOTS_PER_SLOT_MAX];
    uint32_t n_proposals;
    const struct body *chosen;
    struct ballot chosen_ballot;
    bool applied, visible;
    uint64_t time_usec;
    bool has_chain;
    struct hash128 chain;
};

/* What the log says of a message: parsed once, when it is first applied. */
struct log_message {
    bool is_message;
    uint64_t stream, n, since;
    const uint8_t *author, *key, *text; /* into the body */
    uint32_t author_size, key_size, text_size;
};

struct observer *observer_make(struct cluster *c);
void observer_free(struct cluster *c);

void observer_identity(struct cluster *c, uint32_t host, const struct identity *i);
void observer_record(struct host *h, const struct disk_record *r); /* before it is appended */
void observer_durable(struct host *h, const struct disk_record *r);
void observer_made(struct host *h, const struct packet *p, replica_id_t to); /* by a step     */
void observer_sent(struct host *h, const struct packet *p);                  /* leaves the host now    */
void observer_applied(struct host *h, const struct applied *a);
void observer_notes(struct host *h, const struct effects *e); /* after `applied`        */
void observer_chain(struct host *h, slot_t slot, const struct hash128 *chain);

slot_t observer_chosen(const struct cluster *c);                            /* all slots up to it are chosen      */
slot_t observer_applied_until(const struct cluster *c);                     /* highest slot applied anywhere    */
const struct log_slot *observer_slot(const struct cluster *c, slot_t slot); /* NULL: nothing known */
void log_message_read(const struct body *b, struct log_message *ret);
uint64_t observer_leaderships(const struct cluster *c); /* different ballots that led */

/* An independent, naive model of what is visible (cluster_model.c). Slots in order. */
struct model;
struct model *model_make(uint32_t dedup_slots, uint32_t streams_max);
void model_free(struct model *m);
bool model_apply(struct model *m, slot_t slot, const struct log_message *v);

#endif
