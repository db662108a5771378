/* What the log and the status say of rot in the journal: where it is, what cannot be read, and what becomes of it. */
#ifndef HOST_ROT_TEXT_H
#define HOST_ROT_TEXT_H

#include "journal/journal.h"

enum { ROT_TEXT_MAX = 255 };

void rot_describe(const struct journal_rot *k, char ret[ROT_TEXT_MAX + 1]);

#endif
