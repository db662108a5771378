/* What was appended to a journal, and whether that, and nothing else, is what it tells. */
#ifndef TESTS_FUZZ_JOURNAL_TRUTH_H
#define TESTS_FUZZ_JOURNAL_TRUTH_H

#include <stdbool.h>

#include "journal/journal.h"
#include "tests/fuzz/fuzz.h"

enum { TRUTH_RECORDS_MAX = 1024, TRUTH_TEXT_MAX = 1800, TRUTH_NOTES_MAX = 2 };

/* Its value follows from slot, round and text_size. */
struct truth_record {
    enum record_type type;
    slot_t slot;
    struct ballot ballot;
    uint32_t text_size;
    struct note notes[TRUTH_NOTES_MAX]; /* of a COMMIT */
    uint32_t n_notes;
    slot_t recorded_until;
    uint32_t crc; /* of value, notes and recorded_until */
    uint64_t seq; /* of this start; 0: it was there     */
};

struct truth_checkpoint {
    slot_t slot; /* 0: none */
    uint64_t size;
    uint32_t crc;
};

struct truth {
    struct truth_record records[TRUTH_RECORDS_MAX];
    size_t n;
    struct ballot promised;
    size_t promises_from;                     /* promises and votes before it are forgotten, as this replica knows */
    slot_t silent_until;                      /* as it was told; 0: nothing was ever lost */
    struct truth_checkpoint checkpoint, next; /* `next` is written, and may have become durable */
    bool is_mended;                           /* some segments hold what a peer had instead */
};

/* What an open told, without promises and identities. */
struct told {
    struct truth_record records[TRUTH_RECORDS_MAX];
    size_t n;
    struct ballot promised;
    struct identity identity; /* .status 0: none was told, so it was never damaged */
    struct truth_checkpoint checkpoint;
    bool is_too_much;
};

/* A value with its one reference, on the heap. */
struct value *truth_value(const struct truth_record *r);
/* The next record, with ballot, text_size, notes and so on as they stand in `r`. */
void truth_append(struct truth *t, struct journal *j, const struct truth_record *r, uint64_t seq);
/* The highest slot that a COMMIT, or the checkpoint, calls chosen. */
slot_t truth_commit(const struct truth *t);
/* The highest slot that was recorded. */
slot_t truth_recorded(const struct truth *t);
/* The record that has the value of a chosen slot, and the COMMIT with its note. NULL: there is none. */
const struct truth_record *truth_chosen(const struct truth *t, slot_t slot, struct note *ret_note);
bool truth_has(const struct truth *t, slot_t slot);

void told_record(struct told *g, const struct record *r, const uint8_t *bytes, uint32_t size);
void told_checkpoint(struct told *g, slot_t slot, const uint8_t *bytes, size_t size);

/* Checks that the records told are appended ones, each once, in order, from one at or before the first that the
 * checkpoint does not stand for; below it, also what a mend put in their place. Answers where they end. */
size_t truth_match(const struct truth *t, const struct told *g);
/* Whether nothing of the first `sure` records is missing. `end`: as truth_match() answered it. */
bool truth_is_whole(const struct truth *t, const struct told *g, size_t end, size_t sure);
/* Checks what is told of a replica that lost some of them, and knows it: whoever goes on voting knows its promise, and
 * is silent about all that it voted on. */
void truth_check_loss(const struct truth *t, const struct told *g, size_t end, size_t sure);
/* What was told is what there is from now on. */
void truth_adopt(struct truth *t, const struct told *g, size_t end);

/* Reads all that is kept and chosen, and checks it. False: some of it could not be read. */
bool truth_check_read(const struct truth *t, struct journal *j, slot_t from, slot_t until);

#endif
