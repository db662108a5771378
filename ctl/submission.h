/* What send and client share: checking a text, and saying what became of it. */
#ifndef CTL_SUBMISSION_H
#define CTL_SUBMISSION_H

#include "ctl/submitter.h"
#include "ctl/verbs.h"

/* Why the text cannot be sent at all; NULL: it can. */
const char *submission_text_error(const char *text, size_t size);

/* "chosen at slot 7", or the parameters of the reply. */
void submission_print(const struct invocation *v, const struct settled *s);

#endif
