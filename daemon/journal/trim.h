/* Segments that nothing needs any more go, oldest first. */
#ifndef JOURNAL_TRIM_H
#define JOURNAL_TRIM_H

#include <stdbool.h>

struct journal;

/* Under the mutex. */
bool trim_has_work(const struct journal *j);
/* A few of them, where there is work. < 0 is final. */
int trim_work(struct journal *j);

#endif
