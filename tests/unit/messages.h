/* Messages of every type, for the tests of what is written and read: random ones, and what two must have alike. */
#ifndef TESTS_UNIT_MESSAGES_H
#define TESTS_UNIT_MESSAGES_H

#include <stddef.h>
#include <stdint.h>

#include "paxos/message.h"
#include "paxos/prng.h"

enum {
    MESSAGE_TYPES = 21,
    MESSAGES_VALUE_BYTES_MAX = 17000,
};

extern const enum message_type message_types[MESSAGE_TYPES];

/* Random bytes, not an encoding; their hash is right. To be freed. */
struct value *value_random(struct prng *p, size_t size);

/* Of lists with at most entries_max entries; values of all sizes, many about what a datagram of `room` takes. */
void message_random(struct prng *p, enum message_type type, size_t room, uint32_t entries_max, struct message *ret);
void message_forget(struct message *m);

/* The entries of a message, or NULL where it has no values; STATE's is put into `scratch`. */
const struct entry *message_entries(const struct message *m, struct entry *scratch, uint32_t *ret_n);

/* Fails the test where anything but the lists of values differs. */
void message_expect_same(const struct message *a, const struct message *b);

#endif
