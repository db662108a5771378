/* Stretches of batches that were read and checked, the ones used last kept: slots in any order near each other need no
 * second read. Of one journal_read() at a time. */
#ifndef JOURNAL_STRETCH_H
#define JOURNAL_STRETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/format.h"

enum {
    STRETCHES_MAX = 32,
    STRETCHES_BYTES_MAX = 4 << 20, /* of them all, and one more */
};

/* Where it stands. */
struct stretch_place {
    uint64_t number; /* of the segment */
    uint32_t offset, size;
};

/* A value within it. */
struct stretch_item {
    slot_t slot;
    uint32_t offset, size;
};

struct stretch {
    struct stretch_place place; /* .number 0: unused */
    uint64_t used_at;
    uint8_t *bytes;
    struct stretch_item *items;
    size_t n_items, items_room;
    struct note *notes;
    size_t n_notes, notes_room;
    bool items_ascend, notes_ascend; /* by slot, each once */
};

struct stretches {
    struct stretch all[STRETCHES_MAX];
    struct stretch *last;
    size_t bytes;
    uint64_t clock;
    struct note notes[RECORD_NOTES_MAX];
};

/* The kept one; NULL: it must be loaded. */
struct stretch *stretches_find(struct stretches *all, const struct stretch_place *place);
/* Room for one, with .bytes to read it into; NULL: no memory. Then stretches_fill() checks and parses it: 0, -EBADMSG
 * or -ENOMEM, and it is gone. */
struct stretch *stretches_take(struct stretches *all, const struct stretch_place *place);
int stretches_fill(struct stretches *all, struct stretch *s);
void stretches_drop(struct stretches *all, struct stretch *s);
void stretches_done(struct stretches *all);

/* The last value of `slot` in it; borrowed. */
bool stretch_find_value(const struct stretch *s, slot_t slot, const uint8_t **ret_value, uint32_t *ret_size);
/* The first note: a COMMIT that covers slots again (its notes were lost, or the records were replayed) leaves that one
 * in force. */
bool stretch_find_note(const struct stretch *s, slot_t slot, struct note *ret);

#endif
