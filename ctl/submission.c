#include "ctl/submission.h"

#include <inttypes.h>
#include <stdio.h>

#include "wire/varlink.h"

enum { REASON_MAX = 500 };

const char *submission_text_error(const char *text, size_t size)
{
    if (size == 0)
        return "an empty text is no message";
    if (!text_is_utf8(text, size, false))
        return "the text is not UTF-8, or holds a NUL. Convert it, for example with iconv";
    return NULL;
}

bool submission_is_refused(enum line_result r, const char *line, size_t size, struct failure *ret)
{
    const char *error = r == LINE_TOO_LONG ? "the line is longer than 1 MiB" : submission_text_error(line, size);
    if (error)
        failure_set(ret, EXIT_FAILED, "org.mpaxos.Control.NotSent", NULL, "%s; it was not sent", error);
    return error != NULL;
}

void submission_print(const struct invocation *v, const struct settled *s)
{
    if (v->report.json == JSON_OFF) {
        bool before = s->duplicate && !s->retried;
        printf(before ? "already chosen at slot %lld\n" : "chosen at slot %lld\n", (long long)s->slot);
        return;
    }
    cJSON *p = cJSON_CreateObject();
    cJSON_AddItemToObject(p, "slot", varlink_int(s->slot));
    cJSON_AddStringToObject(p, "key", s->key);
    cJSON_AddBoolToObject(p, "duplicate", s->duplicate);
    report_json(&v->report, p, true);
    cJSON_Delete(p);
}

/* What the daemon says of a Timeout tells what to do about it, as the sentence around it does. */
static const char *reason_of(const struct failure *f)
{
    return f->status == EXIT_OUTCOME_UNKNOWN ? "it was not seen chosen in time" : f->text;
}

void submission_gave_up(const struct submitter *s, struct failure *ret)
{
    const struct failure *f = submitter_failure(s);
    struct submitter_rest rest = submitter_rest(s);
    if (rest.unknown)
        failure_set_unknown(ret, rest.key, rest.since,
                            "the outcome is not known: it may have been chosen, or still be. To be sure of it, send "
                            "the same text again with --key %s --since %" PRId64 ". The last attempt ended so: %.*s",
                            rest.key, rest.since, REASON_MAX, reason_of(f));
    else
        failure_set(ret, f->status, f->error, cJSON_Duplicate(f->parameters, 1), "%s", f->text);
}

void submission_lines_gave_up(const struct submitter *s, bool named, struct failure *ret)
{
    const struct failure *f = submitter_failure(s);
    struct submitter_rest rest = submitter_rest(s);
    char again[160] = "", lines[80] = "";
    if (rest.unknown || named)
        snprintf(again, sizeof(again), " --key %s --since %" PRId64, rest.key, rest.since);
    if (rest.unknown && rest.unknown_first == rest.unknown_last)
        snprintf(lines, sizeof(lines), "Line %" PRIu64 " may be chosen, or still be", rest.unknown_first);
    else if (rest.unknown)
        snprintf(lines, sizeof(lines), "Lines %" PRIu64 " to %" PRIu64 " may be chosen, or still be",
                 rest.unknown_first, rest.unknown_last);
    else
        snprintf(lines, sizeof(lines), "From that line on nothing was chosen");
    struct buffer text = {0};
    const char *last = rest.unknown && rest.unknown_first == rest.first ? "the last attempt ended so: " : "";
    buffer_addf(&text,
                "line %" PRIu64 ": %s%.*s. %s. To go on without sending a line twice: tail -n +%" PRIu64
                " FILE | mpaxosctl send%s -",
                rest.first, last, REASON_MAX, reason_of(f), lines, rest.first, again);
    const char *sentence = text.bytes ? text.bytes : "out of memory";
    if (rest.unknown)
        failure_set_unknown(ret, rest.key, rest.since, "%s", sentence);
    else
        failure_set(ret, f->status, f->error, cJSON_Duplicate(f->parameters, 1), "%s", sentence);
    buffer_done(&text);
}
