/* log: the chosen messages, in order, on and on where asked. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/verbs.h"

enum {
    READ_TIMEOUT_MSEC = 10000,
    RETRY_MSEC = 200,
    AUTHOR_WIDTH = 12,
    SLOT_WIDTH = 8,
};

struct reading {
    const struct invocation *v;
    uint64_t from, count, tail, n_shown;
    bool has_from, has_count, has_tail, follow, linearizable, all_columns, legend_shown;
    bool asks_position; /* before the first page */
    bool begun;         /* .from is where to go on, no longer what was asked for */
    struct failure failure;
};

static void print_legend(struct reading *g)
{
    if (g->legend_shown || !g->v->report.legend || g->v->report.json != JSON_OFF)
        return;
    g->legend_shown = true;
    printf("%*s  %-*s  %-*s  %s\n", SLOT_WIDTH, "SLOT", g->all_columns ? 27 : 19, "TIME (UTC)", AUTHOR_WIDTH, "AUTHOR",
           "TEXT");
}

static void print_message(struct reading *g, const cJSON *m)
{
    int64_t slot = -1, time_usec = -1;
    const char *author = NULL, *text = NULL;
    char time[TEXT_TIME_MAX];
    g->n_shown++;
    if (g->v->report.json != JSON_OFF) {
        report_json(&g->v->report, m, true);
        return;
    }
    varlink_get_int(m, "slot", 0, INT64_MAX, &slot);
    varlink_get_int(m, "time_usec", 0, INT64_MAX, &time_usec);
    varlink_get_string(m, "author", &author);
    varlink_get_string(m, "text", &text);
    time_format(time_usec, !g->all_columns, time);
    printf("%*lld  %s  ", SLOT_WIDTH, (long long)slot, time);
    text_print(stdout, author ? author : "?", g->v->report.terminal);
    size_t columns = text_columns(author ? author : "?");
    printf("%*s", columns < AUTHOR_WIDTH ? (int)(AUTHOR_WIDTH - columns) + 2 : 2, "");
    text_print(stdout, text ? text : "?", g->v->report.terminal);
    putchar('\n');
}

/* 0, or -1 where the reply has not the form that it should. */
static int take_page(struct reading *g, const struct reply *r)
{
    int64_t next = -1;
    const cJSON *messages = r->parameters ? cJSON_GetObjectItemCaseSensitive(r->parameters, "messages") : NULL, *m;
    if (!cJSON_IsArray(messages) || !varlink_get_int(r->parameters, "next", 0, INT64_MAX, &next) || next < 0)
        return -1;
    print_legend(g);
    cJSON_ArrayForEach(m, messages) print_message(g, m);
    g->from = (uint64_t)next;
    g->has_from = g->begun = true;
    return 0;
}

static cJSON *read_parameters(const struct reading *g)
{
    cJSON *p = cJSON_CreateObject();
    if (g->has_tail)
        cJSON_AddItemToObject(p, "tail", varlink_int((int64_t)g->tail));
    else if (g->has_from)
        cJSON_AddItemToObject(p, "from", varlink_int((int64_t)g->from));
    if (g->has_count)
        cJSON_AddItemToObject(p, "count", varlink_int((int64_t)(g->count - g->n_shown)));
    if (g->follow)
        cJSON_AddTrueToObject(p, "follow");
    return p;
}

enum stream_end { STREAM_WHOLE, STREAM_LOST, STREAM_FAILED, STREAM_OVER };

/* What a lagging replica did not show yet is no reason to stop a reader that goes on. */
static enum stream_end take_error(struct reading *g, const struct client *c, const struct reply *r)
{
    char name[ENDPOINT_NAME_MAX];
    int64_t first_kept = -1;
    endpoint_name(&c->endpoint, name);
    failure_from_error(&g->failure, name, r->error, r->parameters);
    varlink_get_int(r->parameters, "first_kept", 0, INT64_MAX, &first_kept);
    if (!g->follow || !g->begun || strcmp(r->error, "org.mpaxos.Replica.SlotTrimmed") != 0 ||
        first_kept <= (int64_t)g->from)
        return STREAM_FAILED;
    fprintf(stderr, "mpaxosctl: slots %llu to %lld were trimmed before they could be shown\n",
            (unsigned long long)g->from, (long long)first_kept - 1);
    g->from = (uint64_t)first_kept;
    return STREAM_LOST;
}

/* A quiet log is no dead daemon: that one closes the connection. -EPIPE: nobody reads what would be printed. */
static int wait_for_page(struct client *c, struct reply *ret)
{
    for (;;) {
        struct pollfd reader = {.fd = STDOUT_FILENO};
        int r = client_next(c, ret);
        if (r != 0)
            return r < 0 ? r : 0;
        r = client_exchange(c, -1, &reader);
        if (reader.revents)
            return -EPIPE;
        if (r < 0)
            return r;
    }
}

static enum stream_end read_stream(struct reading *g, struct client *c)
{
    int result = client_queue(c, "org.mpaxos.Replica.Read", read_parameters(g), true);
    while (result == 0) {
        struct reply r = {0};
        result = g->follow ? wait_for_page(c, &r) : client_reply(c, invocation_timeout(g->v, READ_TIMEOUT_MSEC), &r);
        if (result == -EPIPE)
            return STREAM_OVER;
        if (result < 0)
            break;
        if (r.error) {
            enum stream_end end = take_error(g, c, &r);
            reply_done(&r);
            return end;
        }
        bool continues = r.continues;
        result = take_page(g, &r) < 0 ? -EBADMSG : 0;
        reply_done(&r);
        if (g->follow)
            report_flush();
        if (report_is_over())
            return STREAM_OVER;
        if (result == 0 && !continues)
            return STREAM_WHOLE;
    }
    endpoint_failure(&c->endpoint, -result, &g->failure);
    return STREAM_LOST;
}

/* Where a majority is asked, this replica has applied all that was acknowledged before: the answer says so.
 *
 * Whoever follows from the end on goes on from here, whatever happens before the first page: at a later end, the
 * messages in between would be missed. */
static int ask_position(struct reading *g, struct client *c)
{
    struct reply r = {0};
    int64_t slot = -1;
    uint64_t timeout_msec = invocation_timeout(g->v, CLIENT_TIMEOUT_MSEC_DEFAULT);
    cJSON *p = cJSON_CreateObject();
    if (g->linearizable) {
        cJSON_AddTrueToObject(p, "linearizable");
        cJSON_AddItemToObject(p, "timeout_ms", client_timeout(timeout_msec));
    }
    int result =
        client_ask(c, "org.mpaxos.Replica.Position", p, timeout_msec + CLIENT_GRACE_MSEC, false, &r, &g->failure);
    if (result == 0 && (!varlink_get_int(r.parameters, "slot", 0, INT64_MAX - 1, &slot) || slot < 0)) {
        endpoint_failure(&c->endpoint, EBADMSG, &g->failure);
        result = -1;
    }
    reply_done(&r);
    if (result == 0 && g->follow && g->has_tail) {
        g->from = (uint64_t)slot + 1;
        g->has_from = g->begun = true;
        g->has_tail = g->tail > 0;
    }
    return result;
}

static int read_log(struct reading *g)
{
    bool connected_before = false, told = false;
    for (;;) {
        struct client c;
        enum stream_end end = STREAM_LOST;
        if (client_open(&c, &g->v->place, &g->failure) == 0) {
            if (g->asks_position && ask_position(g, &c) < 0) {
                client_close(&c);
                return report_failure(&g->v->report, &g->failure);
            }
            g->asks_position = false;
            connected_before = true;
            if (told)
                fputs("mpaxosctl: connected again\n", stderr);
            told = false;
            end = read_stream(g, &c);
            g->has_tail = false;
        }
        client_close(&c);
        if (end == STREAM_OVER || (end == STREAM_WHOLE && (!g->follow || (g->has_count && g->n_shown >= g->count))))
            return EXIT_DONE;
        if (end == STREAM_FAILED || !g->follow || !connected_before)
            return report_failure(&g->v->report, &g->failure);
        if (!told && failure_is_set(&g->failure))
            fprintf(stderr, "mpaxosctl: %s\nmpaxosctl: waiting for a replica to go on with at slot %llu\n",
                    g->failure.text, (unsigned long long)g->from);
        told = true;
        if (report_is_unread(RETRY_MSEC))
            return EXIT_DONE;
    }
}

/* Puts a pager behind standard output; 0 where there is none. What interrupts from the keyboard is meant for the pager:
 * it ends when it likes, and we with it. */
static pid_t pager_start(const struct invocation *v, bool follow)
{
    const char *pager = getenv("MPAXOS_PAGER");
    if (!pager)
        pager = getenv("PAGER");
    if (!pager)
        pager = "if command -v less >/dev/null; then exec less -FRX; else exec cat; fi";
    if (!v->pager || follow || !isatty(STDOUT_FILENO) || !*pager || !strcmp(pager, "cat"))
        return 0;
    int ends[2];
    if (pipe(ends) < 0)
        return 0;
    report_flush();
    void (*interrupted)(int) = signal(SIGINT, SIG_IGN), (*quit)(int) = signal(SIGQUIT, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGINT, interrupted);
        signal(SIGQUIT, quit);
        signal(SIGPIPE, SIG_DFL); /* main() ignores it */
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl("/bin/sh", "sh", "-c", pager, (char *)NULL);
        _exit(127);
    }
    if (pid > 0) {
        dup2(ends[1], STDOUT_FILENO);
    } else {
        signal(SIGINT, interrupted);
        signal(SIGQUIT, quit);
    }
    close(ends[0]);
    close(ends[1]);
    return pid > 0 ? pid : 0;
}

static void pager_wait(pid_t pid)
{
    if (!pid)
        return;
    report_flush();
    close(STDOUT_FILENO);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int verb_log(const struct invocation *v)
{
    struct reading g = {.v = v};
    uint64_t count = 0;
    int has_from = invocation_number(v, OPTION_FROM, 0, INT64_MAX, &g.from);
    int has_count = invocation_number(v, OPTION_COUNT, 0, INT64_MAX, &count);
    if (has_from < 0 || has_count < 0)
        return EXIT_USAGE;
    g.has_from = has_from;
    g.has_tail = has_count && !has_from;
    g.tail = g.count = count;
    g.follow = invocation_has(v, OPTION_FOLLOW);
    g.has_count = has_count && (has_from || !g.follow);
    g.linearizable = invocation_has(v, OPTION_LINEARIZABLE);
    g.asks_position = g.linearizable || (g.follow && g.has_tail);
    g.all_columns = invocation_has(v, OPTION_ALL_COLUMNS);
    pid_t pager = pager_start(v, g.follow);
    int status = has_count && count == 0 && !g.follow ? EXIT_DONE : read_log(&g);
    pager_wait(pager);
    failure_done(&g.failure);
    return status;
}
