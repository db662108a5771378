/* One slice of a flush: what is done with the chat log on another thread than the loop's, and what came of it. */
#ifndef HOST_FLUSH_SLICE_H
#define HOST_FLUSH_SLICE_H

#include "host/chatlog.h"

struct flush_slice {
    bool is_running;
    uint64_t since_usec;
    slot_t skip_to, upto; /* skip_to: the file goes on behind it; 0: no */
    /* What came of it. */
    slot_t skipped_from, flushed; /* skipped_from: 0: nothing was passed over */
    struct chatlog_gap gap;
    uint64_t messages, bytes;
    int result; /* as chatlog_flush() */
    char error[CONFIG_ERROR_MAX + 1];
    /* Whose chatlog_read() it is. */
    chatlog_read read;
    void *read_user;
    bool (*each)(void *user, const struct log_message *m);
    void *each_user;
};

void flush_slice_run(struct flush_slice *s, struct chatlog *c, chatlog_read read, void *read_user);
/* How many slots make a slice, where the last `slots` had so many bytes. */
slot_t flush_slice_slots(slot_t slots, uint64_t bytes);

#endif
