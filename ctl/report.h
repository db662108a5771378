/* How a verb answers: text tables for people, JSON for programs, failures for both. */
#ifndef CTL_REPORT_H
#define CTL_REPORT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "ctl/failure.h"
#include "ctl/text.h"

enum json_mode { JSON_OFF, JSON_SHORT, JSON_PRETTY };

struct report {
    enum json_mode json;
    bool legend;   /* headers of tables                     */
    bool terminal; /* standard output is one, or its pager  */
    bool color;    /* it has any                            */
    bool utf8;     /* the locale's characters               */
};

/* Color and characters by the environment: NO_COLOR, TERM, the locale. */
void report_init(struct report *r);

/* Parameters of a reply, NULL: {}, as one object on standard output and a LF. `one_line` where several follow each
 * other. */
void report_json(const struct report *r, const cJSON *parameters, bool one_line);

/* "mpaxosctl: ..." on standard error; with JSON {"error", "parameters"} on standard output. Answers f->status. */
int report_failure(const struct report *r, const struct failure *f);

/* Flushes standard output. What goes wrong is kept for report_finish(): stdio forgets it, and the bytes with it, so
 * nobody else flushes. */
void report_flush(void);
/* True once standard output takes nothing any more: whoever streams may stop. */
bool report_is_over(void);
/* Likewise, within timeout_msec, of a pipe or socket that nobody reads any more, without a byte written. */
bool report_is_unread(int timeout_msec);
/* Flushes for the last time, and answers the exit status. A reader that went away is no failure; a full disk is. */
int report_finish(int status);

/* A tree of strings, booleans and varlink_int()s. */
void json_add(struct buffer *b, const cJSON *value, bool pretty);

/* A table: cells in rows, each column as wide as its widest cell; 'r' in `align` sets one to the right. Cells are
 * copied. */
enum { TABLE_COLUMNS_MAX = 12 };
struct table {
    const char *align;
    size_t n_columns, n_cells, cells_max;
    char **cells; /* row by row, the headers first */
    bool failed;
};
void table_init(struct table *t, const char *align, const char *const *headers);
void table_add(struct table *t, const char *const *cells);
/* Prints with `indent` blanks before each row. */
void table_print(const struct table *t, bool legend, int indent);
void table_done(struct table *t);

#endif
