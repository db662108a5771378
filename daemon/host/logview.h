/* Some chosen slots as one thread reads them: the last ones from memory, older ones from the journal. */
#ifndef HOST_LOGVIEW_H
#define HOST_LOGVIEW_H

#include "host/driver.h"

enum {
    LOGVIEW_TAIL_SLOTS = 8192, /* in memory at most; a power of two */
    LOGVIEW_PAGE_SLOTS = 1024, /* read from the journal at once */
    /* Read from the journal by one call that hold no message, until it answers what it has. */
    LOGVIEW_HIDDEN_SLOTS_MAX = 8192,
    LOGVIEW_HIDDEN_BYTES_MAX = 1 << 20,
};

struct kept {
    struct value *value;
    uint64_t time_usec;
    bool visible;
};

struct logview {
    struct journal *journal;       /* NULL: there is none below what is in memory */
    struct journal_reader *reader; /* NULL: this is the loop's thread             */
    slot_t origin;                 /* no slot below it has a message              */
    slot_t first, next;            /* in memory: [first, next)                    */
    slot_t committed;              /* the journal can be read up to here          */
    bool has_committed;
    struct kept *kept; /* LOGVIEW_TAIL_SLOTS of them, by slot */
};

static inline struct kept *logview_kept(const struct logview *v, slot_t slot)
{
    return &v->kept[slot % LOGVIEW_TAIL_SLOTS];
}

/* The lowest slot that can be read; 0: all can. */
slot_t logview_first_kept(const struct logview *v);
/* From `from` on, how far the journal can be read below what is in memory; false: not at all. */
bool logview_journal_end(const struct logview *v, slot_t from, slot_t *ret_until);
/* As driver_read(). */
int logview_read(const struct logview *v, slot_t from, size_t n_max, size_t bytes_max,
                 bool (*each)(void *user, const struct log_message *m), void *user, slot_t *ret_next);
/* Whether a record of the journal is no message that readers see. */
struct record;
bool logview_is_hidden(const struct record *record, const uint8_t *bytes, uint32_t size);

#endif
