/* A made-up history of messages, and a chat log in a directory of its own, for the tests of the chat log file. */
#ifndef TESTS_UNIT_CHATLOG_FIXTURE_H
#define TESTS_UNIT_CHATLOG_FIXTURE_H

#include "host/chatlog.h"

enum { FIXTURE_SLOTS = 40, FIXTURE_TEXT_MAX = 64, FIXTURE_FILE_MAX = 1 << 20 };

/* A log whose slots divisible by 3 hold no message. */
struct history {
    slot_t chosen;
    slot_t first_kept;
    slot_t rotten; /* cannot be read; 0: none      */
    size_t piece;  /* messages a read, 0: as asked */
    int fail;      /* answered instead             */
};

struct fixture {
    char base[40], state_dir[64], log_path[64], rotated_path[64], mark_path[64];
    char error[CONFIG_ERROR_MAX + 1]; /* of the last call that failed */
    struct history history;
};
extern struct fixture fixture;

/* For cmocka: of the group, and before each test. */
int fixture_begin(void **state);
int fixture_end(void **state);
int fixture_empty(void **state);

bool fixture_is_visible(slot_t slot);
uint64_t fixture_count(slot_t from, slot_t until); /* visible ones */
int fixture_read(void *history, slot_t from, size_t n_max, size_t bytes_max,
                 bool (*each)(void *user, const struct log_message *m), void *each_user, slot_t *ret_next);

/* What a file must hold for the slots [from, until]; malloc'd. */
struct line_buffer fixture_lines(enum log_format format, slot_t from, slot_t until);
void fixture_expect_file(const char *path, enum log_format format, slot_t from, slot_t until);
void fixture_expect_error(const char *format, const char *path);

/* At most FIXTURE_FILE_MAX bytes; SIZE_MAX where there is no file. Writing keeps the inode of a file that is there. */
size_t fixture_read_file(const char *path, char *ret);
void fixture_write_file(const char *path, const char *bytes, size_t size);

/* One flush as if by a process of its own: opens, flushes, closes. ret_flushed and ret_messages may be NULL. */
int fixture_flush(enum log_format format, slot_t upto, slot_t *ret_flushed, uint64_t *ret_messages);
void fixture_flush_ok(enum log_format format, slot_t upto);
/* The same in a process that the system kills when any file that it writes (log, mark, the mark's temporary one)
 * reaches `limit` bytes. False: it did not come to that. */
bool fixture_crash_at(size_t limit, slot_t upto);
struct chatlog *fixture_open(enum log_format format);

/* The state after a flush up to `upto`, to be put back as often as wanted. */
struct snapshot {
    char *log, *mark;
    size_t log_size, mark_size;
};
struct snapshot fixture_take(slot_t upto);
void fixture_drop(struct snapshot *s);

#endif
