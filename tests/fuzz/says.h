/* What a member may say: messages of every type, whose fields an input steers, near what the one that hears them is
 * at, and far from it. */
#ifndef TESTS_FUZZ_SAYS_H
#define TESTS_FUZZ_SAYS_H

#include "host/values.h"
#include "paxos/message.h"
#include "tests/fuzz/fuzz.h"

enum { SAYS_ENTRIES_MAX = 4 };

struct says {
    struct values *values;              /* whose the values are, with one reference until says_forget() */
    struct configuration configuration; /* with the members' lives                                      */
    struct hash128 cluster, bootstrap;
    slot_t chosen; /* of who hears it */
    struct ballot promised, bid;
    uint64_t beat_seq, state_nonce; /* that it said last */
    uint64_t seq;                   /* of the speaker's last heartbeat */
    uint32_t promise_slots;
    uint32_t text_bytes_max; /* of a message's text; it repeats itself */
    struct entry entries[SAYS_ENTRIES_MAX];
    struct promised_entry promised_entries[SAYS_ENTRIES_MAX];
};

slot_t says_slot(struct says *s, struct fuzz_input *in);
/* A value that was just made, with one reference. `stream` 0: the input chooses, and a type as well. */
struct value *says_value(struct says *s, struct fuzz_input *in, uint64_t stream, const struct hash128 *key);
/* All but .type, .from and .from_life, which are set, and may be changed. Arrays are of `s`, until the next one. */
void says_fields(struct says *s, struct fuzz_input *in, struct message *m);
void says_forget(const struct message *m); /* its values */

#endif
