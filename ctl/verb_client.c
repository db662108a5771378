/* client: the prompt of three commands. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/flush.h"
#include "ctl/submission.h"

enum { SEND_TIMEOUT_MSEC = 60000, AUTHOR_MAX = 64, COMMAND_SHOWN_MAX = 80 };

struct prompt {
    const struct invocation *v;
    struct submitter *submitter;
    struct lines lines;
    bool terminal;
    uint64_t n_messages;
    int status; /* of the first thing that failed */
};

static void note(struct prompt *p, int status)
{
    if (p->status == EXIT_DONE)
        p->status = status;
}

static void message_settled(void *user, const struct settled *settled)
{
    struct prompt *p = user;
    if (!settled->failure)
        submission_print(p->v, settled);
    else
        note(p, report_failure(&p->v->report, settled->failure));
}

/* Asks for the next line, which is valid until the one after it. LINE_NONE: there is none any more. */
static enum line_result ask(struct prompt *p, const char *question, const char **ret, size_t *ret_size)
{
    if (p->terminal)
        fputs(question, stdout);
    report_flush();
    for (;;) {
        enum line_result r = lines_next(&p->lines, ret, ret_size);
        if (r != LINE_NONE || p->lines.ended || lines_read(&p->lines) < 0)
            return r;
    }
}

/* False: gave up, so that what comes next would stand before this one. */
static bool send_text(struct prompt *p, const char *text, size_t size, struct failure *f)
{
    if (!submitter_add(p->submitter, text, size, p->n_messages++)) {
        failure_set(f, EXIT_FAILED, "org.mpaxos.Control.NotSent", NULL, "out of memory; it was not sent");
        return false;
    }
    if (submitter_drain(p->submitter) == 0)
        return true;
    submission_gave_up(p->submitter, f);
    return false;
}

static bool send_line(struct prompt *p)
{
    const char *text = NULL;
    size_t size = 0;
    struct failure f = {0};
    enum line_result r = ask(p, "message: ", &text, &size);
    bool goes_on = r != LINE_NONE && (submission_is_refused(r, text, size, &f) || send_text(p, text, size, &f));
    if (failure_is_set(&f))
        note(p, report_failure(&p->v->report, &f));
    failure_done(&f);
    return goes_on;
}

static void refuse_command(struct prompt *p, enum line_result r, const char *command, size_t size)
{
    struct failure f = {0};
    if (r == LINE_TOO_LONG)
        failure_set(&f, EXIT_FAILED, "org.mpaxos.Control.NoSuchCommand", NULL,
                    "a line longer than 1 MiB is none of s, p and e");
    else
        failure_set(&f, EXIT_FAILED, "org.mpaxos.Control.NoSuchCommand", NULL, "'%.*s' is none of s, p and e",
                    size < COMMAND_SHOWN_MAX ? (int)size : COMMAND_SHOWN_MAX, command);
    note(p, report_failure(&p->v->report, &f));
    failure_done(&f);
}

static void run(struct prompt *p)
{
    const char *command = NULL;
    size_t size = 0;
    enum line_result r;
    bool goes_on = true;
    if (p->terminal)
        puts("s: send a line   p: flush the log of every replica   e: end");
    while (goes_on && (r = ask(p, "> ", &command, &size)) != LINE_NONE) {
        char letter = '\0';
        if (r == LINE_READY && size == 1)
            letter = *command;
        if (letter == 's')
            goes_on = send_line(p);
        else if (letter == 'p')
            note(p, flush_run(p->v, true));
        else if (letter == 'e')
            goes_on = false;
        else if (r == LINE_TOO_LONG || size > 0)
            refuse_command(p, r, command, size);
    }
}

int verb_client(const struct invocation *v)
{
    uint64_t drop_rate = 0;
    char author[AUTHOR_MAX + 1];
    const char *id = v->arguments->operands[0];
    if (v->arguments->n_operands > 1 && invocation_operand(v, 1, "DROP_RATE", 0, 100, &drop_rate) < 0)
        return EXIT_USAGE;
    if (!*id || strlen(id) > AUTHOR_MAX - strlen("client_") || !text_is_utf8(id, strlen(id), false))
        return invocation_usage(v, "CLIENT_ID is 1 to %zu bytes of UTF-8", AUTHOR_MAX - strlen("client_"));
    snprintf(author, sizeof(author), "client_%s", id);
    struct prompt p = {.v = v, .terminal = isatty(STDIN_FILENO) && v->report.json == JSON_OFF};
    struct submitter_options o = {
        .place = &v->place,
        .author = author,
        .since = -1,
        .drop_rate = (unsigned)drop_rate,
        .window = 1,
        .timeout_msec = invocation_timeout(v, SEND_TIMEOUT_MSEC),
        .settled = message_settled,
        .user = &p,
    };
    p.submitter = submitter_new(&o);
    if (!p.submitter)
        return invocation_usage(v, "out of memory");
    lines_init(&p.lines, STDIN_FILENO);
    run(&p);
    lines_done(&p.lines);
    submitter_free(p.submitter);
    return p.status;
}
