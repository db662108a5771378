/* What stands in a file of the chat log behind its mark, where it cannot be compared with what is to be written.
 * Answers are a negative errno where the file cannot be read. */
#ifndef HOST_CHATLOG_REST_H
#define HOST_CHATLOG_REST_H

#include <stddef.h>
#include <stdint.h>

#include "host/config.h"
#include "paxos/ballot.h"

/* Where the zeros begin that the file ends with; not before `from`. */
int chatlog_rest_end(int fd, uint64_t from, uint64_t size, uint64_t *ret_end);

/* Whether the bytes [from, size) can be of a flush of slots behind `last` that was cut off: where each line begins is
 * its slot, greater than that of the one before; LOG_FORMAT_PLAIN names none, and can be anything. 0 or 1. */
int chatlog_rest_is_ours(int fd, uint64_t from, uint64_t size, enum log_format format, slot_t last);

#endif
