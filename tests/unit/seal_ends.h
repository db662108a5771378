/* Replicas' ends of sealed connections, in memory, with every datagram in the test's hands. */
#ifndef TESTS_UNIT_SEAL_ENDS_H
#define TESTS_UNIT_SEAL_ENDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/seal.h"

enum { ENDS_BODY_MAX = 400, ENDS_SIZE_MAX = DATAGRAM_HEADER_SIZE + ENDS_BODY_MAX };

/* One process of replica 1, 2 or 3. */
struct end {
    replica_id_t id;
    struct seal *seal;
    uint64_t drawn; /* counts, so that a run is the same each time; each process draws others */
};

struct bytes {
    size_t size;
    uint8_t bytes[ENDS_SIZE_MAX];
};

extern uint64_t ends_now_usec;
extern const struct seal_keys ends_key, ends_other_key;

void end_start(struct end *e, replica_id_t id, const struct seal_keys *keys);
void end_stop(struct end *e);
/* The index of a peer. */
size_t end_index(const struct end *e, replica_id_t peer);

/* Sealed from e to `to`; size 0: there is no session. */
struct bytes end_seals(struct end *e, replica_id_t to, const char *text);
/* What is due of e's handshakes with `to`; size 0: nothing. What is due for others is lost. */
struct bytes end_owes(struct end *e, replica_id_t to);
/* The next of this kind that is due; one is. */
struct bytes end_owes_kind(struct end *e, replica_id_t to, enum datagram_kind kind);
/* Where it opens, it must hold `text`. */
enum seal_result end_opens(struct end *e, replica_id_t from, const struct bytes *d, const char *text);

/* One datagram must get through. */
void ends_pass(struct end *from, struct end *to, const char *text);
/* Lets what is due pass, both ways, until nothing is. */
void ends_exchange(struct end *a, struct end *b);
/* Replicas 1 and 2 with the one key. */
void ends_begin(struct end *a, struct end *b);
/* The same, and a session. */
void ends_start(struct end *a, struct end *b);
void ends_stop(struct end *a, struct end *b);

int ends_set_up(void **state); /* of a group of tests */

#endif
