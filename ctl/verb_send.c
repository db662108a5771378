/* send: one message from the command line, or a message a line from standard input. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/submission.h"

enum { ONE_TIMEOUT_MSEC = 5000, LINES_TIMEOUT_MSEC = 60000 };

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
    interrupted = signal_number;
}

/* The first interrupt stops with a word on what was sent, the second one at once. */
static void catch_interrupts(void)
{
    const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction action = {.sa_flags = (int)SA_RESETHAND}, before;
        action.sa_handler = interrupt;
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

struct sending {
    const struct invocation *v;
    bool lines; /* tags are line numbers */
    const char *key;
    char key_prefix[SUBMITTER_KEY_PREFIX_MAX + 1]; /* of the lines of a --key, which names the first one */
    uint64_t first_line;
    uint64_t n_sent, n_empty, n_refused, n_out_of_order;
    enum exit_status status; /* of the first that was refused */
};

static void refuse(struct sending *s, uint64_t line, const struct failure *f)
{
    struct failure named = {0};
    if (s->n_refused++ == 0)
        s->status = f->status;
    if (!s->lines) {
        report_failure(&s->v->report, f);
        return;
    }
    failure_set(&named, f->status, f->error, f->parameters ? cJSON_Duplicate(f->parameters, 1) : NULL,
                "line %" PRIu64 ": %.990s", line, f->text);
    report_failure(&s->v->report, &named);
    failure_done(&named);
}

static void message_settled(void *user, const struct settled *settled)
{
    struct sending *s = user;
    if (settled->failure) {
        refuse(s, settled->tag, settled->failure);
        return;
    }
    s->n_sent++;
    submission_print(s->v, settled);
    if (settled->out_of_order && s->lines) {
        s->n_out_of_order++;
        fprintf(stderr, "mpaxosctl: line %" PRIu64 " stands at slot %" PRId64 ", before a line that was sent earlier\n",
                settled->tag, settled->slot);
    }
}

static int gave_up(const struct sending *s, const struct submitter *submitter)
{
    struct failure f = {0};
    if (s->lines)
        submission_lines_gave_up(submitter, s->key != NULL, &f);
    else
        submission_gave_up(submitter, &f);
    int status = report_failure(&s->v->report, &f);
    failure_done(&f);
    return status;
}

static int send_one(struct sending *s, struct submitter *submitter)
{
    const struct arguments *a = s->v->arguments;
    struct buffer text = {0};
    for (size_t i = 0; i < a->n_operands; i++) {
        if (i > 0)
            buffer_add(&text, " ", 1);
        buffer_add_text(&text, a->operands[i]);
    }
    const char *error = text.failed ? "out of memory" : submission_text_error(text.bytes, text.size);
    int status = EXIT_DONE;
    if (error)
        status = invocation_usage(s->v, "%s", error);
    else if (!submitter_add(submitter, text.bytes, text.size, 0))
        status = invocation_usage(s->v, "out of memory");
    else if (submitter_drain(submitter) < 0)
        status = gave_up(s, submitter);
    else if (s->n_refused)
        status = (int)s->status;
    buffer_done(&text);
    return status;
}

/* Takes over the lines that are here, as long as there is room. False: out of memory. */
static bool take_lines(struct sending *s, struct submitter *submitter, struct lines *lines, bool *ret_starved)
{
    *ret_starved = false;
    while (submitter_has_room(submitter)) {
        const char *line = NULL;
        size_t size = 0;
        enum line_result r = lines_next(lines, &line, &size);
        if (r == LINE_NONE) {
            *ret_starved = true;
            return true;
        }
        if (r == LINE_READY && size == 0) {
            s->n_empty++;
            continue;
        }
        struct failure f = {0};
        if (submission_is_refused(r, line, size, &f)) {
            refuse(s, lines->number, &f);
            failure_done(&f);
        } else if (!submitter_add(submitter, line, size, lines->number)) {
            lines->number--;
            return false;
        }
    }
    return true;
}

static int send_lines(struct sending *s, struct submitter *submitter)
{
    struct lines lines;
    int status = EXIT_DONE, r = 0;
    lines_init(&lines, STDIN_FILENO);
    catch_interrupts();
    lines.number = s->first_line - 1;
    for (;;) {
        bool starved = true, readable = false;
        if (r == 0 && !take_lines(s, submitter, &lines, &starved))
            r = -ENOMEM;
        bool ended = lines.ended || r < 0; /* what is under way is still waited for */
        if (submitter_is_idle(submitter) && ((starved && ended) || interrupted))
            break;
        if (interrupted)
            submitter_stop(submitter);
        if (interrupted || submitter_work(submitter, starved && !ended ? STDIN_FILENO : -1, &readable) < 0) {
            status = gave_up(s, submitter);
            break;
        }
        if (readable)
            r = lines_read(&lines);
        if (submitter_is_idle(submitter))
            report_flush();
    }
    report_flush();
    if (r < 0) {
        fprintf(stderr, "mpaxosctl: cannot go on reading standard input after line %" PRIu64 ": %s\n", lines.number,
                strerror(-r));
        s->status = s->n_refused++ ? s->status : EXIT_FAILED;
    }
    lines_done(&lines);
    fprintf(stderr, "%" PRIu64 " message%s sent, %" PRIu64 " empty line%s skipped\n", s->n_sent,
            s->n_sent == 1 ? "" : "s", s->n_empty, s->n_empty == 1 ? "" : "s");
    if (status == EXIT_DONE && s->n_refused)
        status = (int)s->status;
    return status == EXIT_DONE && (s->n_out_of_order || interrupted) ? EXIT_FAILED : status;
}

/* "letter-17" names line 17 of the input, with which it begins, then "letter-18" the next one. */
static bool read_first_key(struct sending *s)
{
    size_t size = strlen(s->key), n = size;
    while (n > 0 && s->key[n - 1] >= '0' && s->key[n - 1] <= '9')
        n--;
    while (n < size && s->key[n] == '0')
        n++;
    if (n > SUBMITTER_KEY_PREFIX_MAX || !number_read(s->key + n, 1, INT64_MAX, &s->first_line))
        return false;
    memcpy(s->key_prefix, s->key, n);
    return true;
}

/* -1, or an exit status. */
static int check_key(struct sending *s, bool has_since)
{
    const char *key = s->key;
    if (!key)
        return -1;
    if (!*key || strlen(key) > SUBMITTER_KEY_MAX || !text_is_utf8(key, strlen(key), false))
        return invocation_usage(s->v, "--key: a key is 1 to %d bytes of UTF-8", SUBMITTER_KEY_MAX);
    if (!s->lines)
        return -1;
    if (!read_first_key(s))
        return invocation_usage(s->v,
                                "--key: of lines it ends with the number of the first one, as letter-1, after at most "
                                "%d bytes",
                                SUBMITTER_KEY_PREFIX_MAX);
    if (!has_since)
        return invocation_usage(s->v, "--key: lines need --since with it, or one that was sent long ago might be sent "
                                      "twice");
    return -1;
}

int verb_send(const struct invocation *v)
{
    uint64_t since = 0, drop_rate = 0;
    struct sending s = {.v = v, .key = invocation_value(v, OPTION_KEY), .first_line = 1};
    int has_since = invocation_number(v, OPTION_SINCE, 0, INT64_MAX, &since);
    if (has_since < 0 || invocation_number(v, OPTION_DROP_RATE, 0, 100, &drop_rate) < 0)
        return EXIT_USAGE;
    s.lines = v->arguments->n_operands == 1 && !strcmp(v->arguments->operands[0], "-");
    int wrong = check_key(&s, has_since);
    if (wrong >= 0)
        return wrong;
    struct submitter_options o = {
        .place = &v->place,
        .author = invocation_value(v, OPTION_AS),
        .key = s.lines ? NULL : s.key,
        .key_prefix = s.lines && s.key ? s.key_prefix : NULL,
        .since = has_since ? (int64_t)since : -1,
        .drop_rate = (unsigned)drop_rate,
        .window = s.lines ? SUBMITTER_WINDOW_MAX : 1,
        .timeout_msec = invocation_timeout(v, s.lines ? LINES_TIMEOUT_MSEC : ONE_TIMEOUT_MSEC),
        .settled = message_settled,
        .user = &s,
    };
    if (o.author && !text_is_utf8(o.author, strlen(o.author), false))
        return invocation_usage(v, "--as: the author is not UTF-8");
    struct submitter *submitter = submitter_new(&o);
    if (!submitter)
        return invocation_usage(v, "out of memory");
    int status = s.lines ? send_lines(&s, submitter) : send_one(&s, submitter);
    submitter_free(submitter);
    return status;
}
