/* What the core asks the journal to keep, in this order, and gets back in the same order after a restart. */
#ifndef PAXOS_RECORD_H
#define PAXOS_RECORD_H

#include "paxos/ballot.h"
#include "paxos/identity.h"
#include "paxos/value.h"

enum record_type {
    RECORD_PROMISE = 1,  /* .ballot: refuse what is below it                                                     */
    RECORD_ACCEPT = 2,   /* .slot .ballot .value                                                                 */
    RECORD_CHOSEN = 3,   /* .slot .value: learned from a peer, not voted on                                      */
    RECORD_COMMIT = 4,   /* .slot: everything up to it is chosen, with the value of its last ACCEPT or CHOSEN
                          * record before this one; .notes: what about those slots the values do not tell;
                          * .recorded_until: no record before this one is of a slot above it, 0: not told.
                          * A hint: losing it loses nothing                                                      */
    RECORD_IDENTITY = 5, /* .identity: goes to the superblock, not to a segment                                  */
};

/* Why the entry of a slot is no message of its own, or stands at another time than its leader gave it. */
enum note_type {
    NOTE_HIDDEN = 1, /* void, duplicate, conflicting or expired: no message stands here      */
    NOTE_TIME = 2,   /* a message, at .time_usec: clamped so that time never decreases       */
};

struct note {
    slot_t slot;
    uint64_t time_usec;
    enum note_type type;
};

enum { RECORD_NOTES_MAX = 256 };

struct record {
    enum record_type type;
    slot_t slot;
    struct ballot ballot;
    struct value *value;
    const struct note *notes; /* slots ascending, above the previous COMMIT's slot */
    uint32_t n_notes;
    slot_t recorded_until;
    const struct identity *identity;
};

#endif
