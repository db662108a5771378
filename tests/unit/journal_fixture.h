/* A journal on a disk in memory, a workload from a seed, and what must come back. */
#ifndef TESTS_UNIT_JOURNAL_FIXTURE_H
#define TESTS_UNIT_JOURNAL_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/journal.h"
#include "tests/unit/vfs_memory.h"

enum { FIXTURE_SEGMENT_BYTES = JOURNAL_SEGMENT_BYTES_MIN };

/* A record as far as tests compare it. A PROMISE that raises nothing is not counted: segments open with such ones. */
struct told {
    enum record_type type;
    slot_t slot;
    struct ballot ballot;
    uint32_t size, crc; /* of the value, or of the notes */
};

struct told_list {
    struct told *items;
    size_t n, room;
    struct ballot promised;
};

void told_list_clear(struct told_list *l);
void told_list_add(struct told_list *l, const struct told *t);
bool told_equal(const struct told *a, const struct told *b);
/* Whether `a` begins with the first n of `b`. */
bool told_begins(const struct told_list *a, const struct told_list *b, size_t n);

/* A checkpoint as far as tests know it: its bytes follow from slot and size. */
struct told_checkpoint {
    bool is_there;
    slot_t slot;
    uint64_t size;
};

struct fixture {
    struct vfs_memory *disk;
    struct journal *journal; /* NULL: not open */
    struct identity identity;
    uint64_t segment_bytes;
    char error[JOURNAL_ERROR_MAX + 1];
    int written_error;
    unsigned n_written;
    uint64_t seq;
    uint64_t random;

    struct told_list appended;                  /* in the order of the appends                     */
    size_t n_durable;                           /* of them, as journal_write() and seq tell        */
    struct told_list replayed;                  /* at the last open                                */
    struct told_checkpoint checkpoint;          /* that the last open handed out, or that became durable since */
    struct told_checkpoint checkpoint_replayed; /* at the last open                                           */
    uint64_t checkpoint_seen;                   /* bytes, while it is handed out                              */
    size_t identity_at[256]; /* appended.n when the identity whose bootstrap hash begins with this byte was appended */
    bool refuse_replay;      /* `each` answers false                            */
    size_t n_progress;       /* calls, at the last open                         */
    struct identity replayed_identity; /* .status 0: none was told */

    /* The workload's. */
    slot_t n_committed;
    slot_t n_slots; /* every slot below was given a value */
    struct ballot ballot;
    struct told *values; /* the last one of each slot */
    struct note *notes;  /* .type 0: none             */
    size_t slots_room;
};

void fixture_setup(struct fixture *f, uint64_t seed);
void fixture_teardown(struct fixture *f);
/* The same for cmocka, which keeps it in *state. */
int fixture_make(void **state, uint64_t seed);
int fixture_free(void **state);

/* Opens with what journal_read_identity() answers, or a fresh identity. */
enum journal_result journal_fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);

/* Room for what is known of slots up to this one. */
void fixture_reserve(struct fixture *f, slot_t slot);

/* Appends one record as the next sequence; keeps account. */
void fixture_append(struct fixture *f, const struct record *r);
void fixture_promise(struct fixture *f, uint64_t round);
/* Values are `size` bytes that never are 0, different for each slot and ballot. */
void fixture_accept(struct fixture *f, slot_t slot, uint32_t size);
void fixture_choose(struct fixture *f, slot_t slot, uint32_t size);
void fixture_commit(struct fixture *f, slot_t slot, const struct note *notes, uint32_t n_notes);
/* Each one's bootstrap hash begins with a higher byte, from 1 on, so that they can be told apart. */
void fixture_identity(struct fixture *f, enum identity_status status);

/* A few records by the seed: promises, new slots up to size_max bytes, overwritten ones, commits with notes. */
void fixture_work(struct fixture *f, uint32_t size_max);

/* Writes a checkpoint from begin to finish, journal_write() where it takes no more, in pieces by the seed; then until
 * it is durable. 0, -ENOSPC where it was given up, or the write's error. */
int fixture_checkpoint(struct fixture *f, slot_t slot, uint64_t size, enum journal_checkpoint_origin origin);
/* As a laggard gets one that is ahead of all it has. */
int fixture_fetch(struct fixture *f, slot_t slot, uint64_t size);
uint8_t fixture_checkpoint_byte(slot_t slot, uint64_t at);

/* Asserts that what the last open told is, above the checkpoint that it handed out, a prefix of what was appended, with
 * all that was durable. */
void fixture_check_replayed(struct fixture *f);

/* journal_write(); moves n_durable on. */
int fixture_write(struct fixture *f);
/* Until nothing is pending: the next segment is ready too. */
int fixture_settle(struct fixture *f);

/* Takes what was replayed for what was appended, and the workload's state from it and the checkpoint: for going on
 * after a crash. */
void fixture_adopt(struct fixture *f);

/* Asserts that journal_read() answers the workload's values and notes of [from, until]. */
void fixture_check_read(struct fixture *f, slot_t from, slot_t until);
/* The same of all that is kept, and that what is not kept is not read. */
void fixture_check_kept(struct fixture *f);

uint64_t fixture_draw(struct fixture *f, uint64_t below);

#endif
