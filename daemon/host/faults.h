/* Injected drops: which datagrams this replica pretends were lost. Decided for whole datagrams, on the way out and in.
 */
#ifndef HOST_FAULTS_H
#define HOST_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/ballot.h"

enum fault_direction { FAULT_IN = 1, FAULT_OUT = 2, FAULT_BOTH = 3 };
enum { FAULTS_MAX = 64, FAULTS_TEXT_MAX = 160 };

struct fault {
    uint8_t rate; /* percent, 1 to 100 */
    enum fault_direction direction;
    replica_id_t peer;   /* REPLICA_ID_NONE: all                            */
    uint64_t until_usec; /* monotonic; 0: until lifted                      */
};

struct faults;

/* `rate` (0 to 100): out, to all, from the start: the configuration's drop_rate. NULL: out of memory. */
struct faults *faults_new(uint8_t rate, uint64_t seed);
void faults_free(struct faults *f);

/* Replaces what was set before for the same direction and peer; setting `both` replaces in and out; for all peers (none
 * named) also what was set for single ones. Rate 0 lifts. -ENOSPC: FAULTS_MAX are in force. */
int faults_set(struct faults *f, uint8_t rate, enum fault_direction direction, replica_id_t peer, uint64_t seconds,
               uint64_t now_usec);

/* Whether this one datagram is lost. Several faults apply independently. */
bool faults_drop(struct faults *f, enum fault_direction in_or_out, replica_id_t peer, uint64_t now_usec);

/* What is in force now; at most FAULTS_MAX. */
size_t faults_list(struct faults *f, uint64_t now_usec, struct fault *ret);

/* The same for people: "10% out, 5% in (peer 2)", "" for none; ends in "..." where it does not fit. */
void faults_describe(struct faults *f, uint64_t now_usec, char ret[FAULTS_TEXT_MAX]);

#endif
