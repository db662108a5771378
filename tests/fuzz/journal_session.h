/* One journal through its starts, beside the truth. */
#ifndef TESTS_FUZZ_JOURNAL_SESSION_H
#define TESTS_FUZZ_JOURNAL_SESSION_H

#include "tests/fuzz/inputs.h"
#include "tests/fuzz/journal_story.h"

struct session {
    struct vfs_memory *disk;
    struct journal *journal; /* NULL: not open */
    const struct story *story;
    struct truth truth;
    struct told told; /* at the last open */
    uint64_t seq;
    slot_t trim_below; /* as it was asked for since */
    char error[JOURNAL_ERROR_MAX + 1];
    bool is_tight;   /* the disk may be full, so that a start writes in place: a sector is the old one or the new one */
    bool is_damaged; /* segments were changed, and it is not shown that all of them are whole again */
    bool is_faulty;  /* an operation may fail */

    /* A replica that restores what is read, and refuses what cannot follow. NULL: none. */
    struct replica *replica;
    struct checkpoint_reader reader;
    struct values values;
};

enum journal_result session_open(struct session *s);
/* Carries out acts, and in the end mends all that can be mended. Begins and ends with an open journal. */
void session_act(struct session *s, struct fuzz_input *in);

/* journal_write() up to n times. False: the disk failed, and the next start was made. */
bool session_write(struct session *s, unsigned n);

/* --- journal_repair.c --- */

/* JOURNAL_SPOIL, JOURNAL_BLANK, JOURNAL_EXCHANGE. */
void session_spoil(struct session *s, enum journal_act act, struct fuzz_input *in);
void session_scrub(struct session *s, unsigned n_stretches);
/* True: no rot is known, and all that is full was looked at. */
bool session_scrub_all(struct session *s);
/* `how`: 1: nobody has some slots; 2: a wrong one comes, too; 8: no more is written once no rot is known. False: as
 * session_write(). */
bool session_repair(struct session *s, unsigned how);

#endif
