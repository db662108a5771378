/* journal_read()'s side: one thread only. */
#ifndef JOURNAL_READER_H
#define JOURNAL_READER_H

struct journal;
struct reader;

struct reader *reader_new(struct journal *j);
void reader_free(struct reader *r);

#endif
