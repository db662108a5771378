/* What send and client share: checking a text, and saying what became of it. */
#ifndef CTL_SUBMISSION_H
#define CTL_SUBMISSION_H

#include "ctl/lines.h"
#include "ctl/submitter.h"
#include "ctl/verbs.h"

/* Why the text cannot be sent at all; NULL: it can. */
const char *submission_text_error(const char *text, size_t size);

/* Likewise of a line that was read: then *ret says why. */
bool submission_is_refused(enum line_result r, const char *line, size_t size, struct failure *ret);

/* "chosen at slot 7", or the parameters of the reply. */
void submission_print(const struct invocation *v, const struct settled *s);

/* What became of the messages once the submitter gave up: one, or lines, whose tags are their numbers. `named`: they
 * go by keys of the user's. */
void submission_gave_up(const struct submitter *s, struct failure *ret);
void submission_lines_gave_up(const struct submitter *s, bool named, struct failure *ret);

#endif
