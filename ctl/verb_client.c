/* client: the prompt of three commands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/flush.h"
#include "ctl/lines.h"
#include "ctl/submission.h"

enum { SEND_TIMEOUT_MSEC = 60000, AUTHOR_MAX = 64 };

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

/* The next line as a string of its own; NULL at the end. */
static char *ask(struct prompt *p, const char *question)
{
    if (p->terminal) {
        fputs(question, stdout);
    }
    report_flush();
    for (;;) {
        const char *line = NULL;
        size_t size = 0;
        enum line_result r = lines_next(&p->lines, &line, &size);
        if (r == LINE_READY)
            return strndup(line, size);
        if (r == LINE_TOO_LONG)
            return strdup("");
        if (p->lines.ended || lines_read(&p->lines) < 0)
            return NULL;
    }
}

/* False: gave up, so that what comes next would stand before this one. */
static bool send_line(struct prompt *p, const char *text)
{
    const char *error = submission_text_error(text, strlen(text));
    if (error) {
        report_flush();
        fprintf(stderr, "mpaxosctl: %s; it was not sent\n", error);
        note(p, EXIT_FAILED);
        return true;
    }
    if (!submitter_add(p->submitter, text, strlen(text), p->n_messages++)) {
        note(p, invocation_usage(p->v, "out of memory"));
        return false;
    }
    if (submitter_drain(p->submitter) == 0)
        return true;
    struct failure f = {0};
    submission_gave_up(p->submitter, &f);
    note(p, report_failure(&p->v->report, &f));
    failure_done(&f);
    return false;
}

static void run(struct prompt *p)
{
    if (p->terminal)
        puts("s: send a line   p: flush the log of every replica   e: end");
    bool goes_on = true;
    while (goes_on) {
        char *command = ask(p, "> ");
        if (!command)
            break;
        if (!strcmp(command, "s")) {
            char *text = ask(p, "message: ");
            goes_on = text && send_line(p, text);
            free(text);
        } else if (!strcmp(command, "p")) {
            note(p, flush_run(p->v, true));
        } else if (!strcmp(command, "e")) {
            goes_on = false;
        } else if (*command) {
            report_flush();
            fprintf(stderr, "mpaxosctl: '%.80s' is none of s, p and e\n", command);
            note(p, EXIT_FAILED);
        }
        free(command);
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
