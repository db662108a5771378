/* Where values live: on the host's heap, counted. The core counts its own references and hands back what it dropped
 * last (effects.released); everybody else takes one by value_ref() and gives it up by values_unref(). A pool knows all
 * values that were made in it, since a core that ends hands nothing back; and keeps some memory of small ones that are
 * gone for those to come. The loop's thread only. */
#ifndef HOST_VALUES_H
#define HOST_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/value.h"

struct value_link {
    struct value_link *previous, *next;
};

enum {
    VALUES_CLASS_BYTES = 64, /* sizes are rounded up to one of VALUES_CLASSES */
    VALUES_CLASSES = 32,
};

struct values {
    struct value_link all;
    struct value_link *kept[VALUES_CLASSES]; /* by .next */
    size_t kept_bytes;
};

void values_init(struct values *pool);
/* Frees all that is left, whoever refers to it. */
void values_done(struct values *pool);

/* Room for an encoding of `size` bytes, which the caller fills in and then has parsed. NULL: out of memory. */
struct value *values_new(struct values *pool, uint32_t size);

/* A parsed copy of an encoding, with one reference. -ENOMEM, or -EBADMSG where it is no well-formed value. */
int values_copy(struct values *pool, const uint8_t *bytes, uint32_t size, const struct hash128 *hash_key,
                struct value **ret);

/* Frees what nobody has a reference to yet: one that could not be parsed. */
void values_discard(struct value *v);

/* Gives up one reference; the last one frees it. NULL is allowed. */
void values_unref(struct value *v);

/* Frees what the core let go of: a list by .next. One that was applied in the same step may have found a holder since,
 * who keeps it. */
void values_release(struct value *released);

/* Writes stream and number into an encoding that nobody has parsed yet: they are given when it is handed to the core.
 */
void values_set_number(uint8_t *bytes, uint64_t stream, uint64_t n);

/* The readable parts of an encoding that was parsed before it was kept: author, text and time. False: sizes do not add
 * up. */
struct log_message;
bool values_view(const uint8_t *bytes, uint32_t size, struct log_message *ret);

#endif
