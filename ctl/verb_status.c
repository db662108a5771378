/* status: verdict, evidence, remedy, as one replica sees it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/verbs.h"

enum { STATUS_TIMEOUT_MSEC = 5000, WATCH_SECONDS = 1, SHORT_USEC = 120000000 };

static const char *const red = "\033[1;31m", *const green = "\033[1;32m", *const plain = "\033[0m";

struct view {
    const struct invocation *v;
    const cJSON *p; /* what Status answered */
    const cJSON *peers;
    int64_t now_usec;
    int64_t id, leader, chosen, n_here, n_peers; /* leader -1: none; n_here: members that are heard, with self */
    bool quorum;
};

static int64_t get(const cJSON *object, const char *key, int64_t absent)
{
    int64_t n = absent;
    varlink_get_int(object, key, INT64_MIN, INT64_MAX, &n);
    return n;
}

static const char *get_text(const cJSON *object, const char *key, const char *absent)
{
    const char *s = NULL;
    varlink_get_string(object, key, &s);
    return s ? s : absent;
}

static bool is_absent(const cJSON *peer)
{
    const char *role = get_text(peer, "role", "");
    return !strcmp(role, "unreachable") || !strcmp(role, "refused");
}

static void view_init(struct view *w, const struct invocation *v, const cJSON *p)
{
    *w = (struct view){.v = v, .p = p, .now_usec = wall_usec()};
    w->id = get(p, "id", -1);
    w->leader = get(p, "leader", -1);
    w->chosen = get(p, "chosen", 0);
    varlink_get_bool(p, "quorum", &w->quorum);
    w->peers = cJSON_GetObjectItemCaseSensitive(p, "peers");
    bool self = false;
    const cJSON *peer;
    cJSON_ArrayForEach(peer, w->peers)
    {
        w->n_peers++;
        w->n_here += !is_absent(peer);
        self |= get(peer, "id", -1) == w->id;
    }
    w->n_peers += !self;
    w->n_here += !self;
}

static void print_verdict(const struct view *w)
{
    const struct report *r = &w->v->report;
    const char *mark = w->quorum ? (r->utf8 ? "\u25cf" : "*") : (r->utf8 ? "\u25cb" : "o");
    printf("%s%s %s%s %lld of %lld", r->color ? w->quorum ? green : red : "", mark, w->quorum ? "QUORATE" : "NO QUORUM",
           r->color ? plain : "", (long long)w->n_here, (long long)w->n_peers);
    if (!w->quorum) {
        int64_t since = get(w->p, "quorum_since_usec", -1);
        int64_t usec = since >= 0 && w->now_usec > since ? w->now_usec - since : 0;
        char duration[TEXT_SHORT_MAX];
        duration_format(usec, duration);
        if (since >= 0 && usec < SHORT_USEC)
            printf(" for %lld s", (long long)(usec / 1000000));
        else if (since >= 0)
            printf(" for %s", duration);
        printf(": nothing can be chosen; reads show slot %lld\n", (long long)w->chosen);
        return;
    }
    char since[TEXT_TIME_MAX];
    const cJSON *ballot = cJSON_GetObjectItemCaseSensitive(w->p, "ballot");
    fputs("   cluster ", stdout);
    text_print(stdout, get_text(w->p, "cluster", "?"), r->terminal);
    fputs("   leader ", stdout);
    if (w->leader < 0)
        fputs("none", stdout);
    else
        printf("%lld", (long long)w->leader);
    int64_t leads_usec = get(w->p, "leader_since_usec", -1);
    if (leads_usec >= 0) {
        clock_format(leads_usec, w->now_usec, since);
        printf(" since %s", since);
    }
    printf(" (ballot %lld.%lld)\n", (long long)get(ballot, "round", 0), (long long)get(ballot, "replica", 0));
}

/* "dropping 10% out, 30% in from 2" */
static void add_drops(struct buffer *b, const cJSON *drops)
{
    const cJSON *drop;
    bool first = true;
    cJSON_ArrayForEach(drop, drops)
    {
        int64_t peer = get(drop, "peer", -1);
        const char *direction = get_text(drop, "direction", "out");
        buffer_addf(b, "%s%lld%% %s", first ? b->size ? ", dropping " : "dropping " : ", ",
                    (long long)get(drop, "rate", 0), direction);
        if (peer >= 0)
            buffer_addf(b, " %s %lld",
                        !strcmp(direction, "in")    ? "from"
                        : !strcmp(direction, "out") ? "to"
                                                    : "with",
                        (long long)peer);
        first = false;
    }
}

static bool has_text(const cJSON *list, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list) if (cJSON_IsString(item) && !strcmp(item->valuestring, text)) return true;
    return false;
}

/* "seals with 618b77fb, has no key 00c1d2e3": where a peer's keys are not this replica's, as while they are changed. */
static void add_keys(struct buffer *b, const cJSON *own, const cJSON *theirs)
{
    const cJSON *key, *first = theirs ? theirs->child : NULL;
    if (!own || !own->child || !first || !cJSON_IsString(own->child) || !cJSON_IsString(first))
        return;
    if (strcmp(own->child->valuestring, first->valuestring) != 0)
        buffer_addf(b, "%sseals with %s", b->size ? ", " : "", first->valuestring);
    cJSON_ArrayForEach(key, own) if (cJSON_IsString(key) && !has_text(theirs, key->valuestring))
        buffer_addf(b, "%shas no key %s", b->size ? ", " : "", key->valuestring);
}

static void number_cell(char cell[24], int64_t n)
{
    if (n < 0)
        snprintf(cell, 24, "-");
    else
        snprintf(cell, 24, "%lld", (long long)n);
}

static void add_peer(const struct view *w, const cJSON *peer, struct table *t, int64_t highest)
{
    char id[32], chosen[24], lag[24], rtt[TEXT_SHORT_MAX] = "-", heard[TEXT_SHORT_MAX] = "-";
    int64_t number = get(peer, "id", w->id), at = get(peer, "chosen", -1);
    bool self = number == w->id;
    if (self)
        at = w->chosen;
    number_cell(chosen, at);
    number_cell(lag, at < 0 || number == w->leader || (self && w->leader < 0) ? -1 : highest - at);
    int64_t rtt_usec = get(peer, "rtt_usec", -1), heard_usec = get(peer, "heard_usec", -1);
    if (rtt_usec >= 0)
        duration_format(rtt_usec, rtt);
    if (heard_usec >= 0)
        duration_format(w->now_usec > heard_usec ? w->now_usec - heard_usec : 0, heard);
    const char *role = get_text(peer, "role", "self");
    if (!strcmp(role, "self"))
        role = get_text(w->p, "role", "?");
    struct buffer note = {0};
    buffer_add_text(&note, self ? "this replica" : "");
    const char *more = get_text(peer, "note", NULL);
    if (more)
        buffer_addf(&note, "%s%s", note.size ? ", " : "", more);
    const cJSON *drops = cJSON_GetObjectItemCaseSensitive(self ? w->p : peer, "drops");
    const size_t before = note.size;
    if (!self)
        add_keys(&note, cJSON_GetObjectItemCaseSensitive(w->p, "keys"), cJSON_GetObjectItemCaseSensitive(peer, "keys"));
    add_drops(&note, drops);
    bool odd = is_absent(peer) || more || note.size != before;
    const char *mark = self ? "*" : odd ? "!" : "+";
    snprintf(id, sizeof(id), "%s %lld", mark, (long long)number);
    table_add(t, (const char *[]){id, get_text(peer, "address", "-"), role, chosen, lag, self ? "-" : rtt,
                                  self ? "-" : heard, note.bytes ? note.bytes : ""});
    buffer_done(&note);
}

/* This replica comes first, then the others as it lists them. */
static void print_peers(const struct view *w)
{
    struct table t;
    const cJSON *peer, *self = NULL;
    int64_t highest = w->chosen;
    table_init(&t, "lllrrrrl", (const char *[]){"  ID", "ADDRESS", "ROLE", "CHOSEN", "LAG", "RTT", "HEARD", "NOTE"});
    cJSON_ArrayForEach(peer, w->peers)
    {
        if (get(peer, "id", -1) == w->id)
            self = peer;
        else if (get(peer, "chosen", 0) > highest)
            highest = get(peer, "chosen", 0);
    }
    add_peer(w, self, &t, highest);
    cJSON_ArrayForEach(peer, w->peers) if (peer != self) add_peer(w, peer, &t, highest);
    table_print(&t, w->v->report.legend, 0);
    table_done(&t);
}

static void print_journal(const struct view *w)
{
    char bytes[TEXT_SHORT_MAX], space[TEXT_SHORT_MAX];
    size_format(get(w->p, "journal_bytes", 0), bytes);
    size_format(get(w->p, "disk_free_bytes", 0), space);
    printf("  Journal %s, slots %lld-%lld, flushed to %lld", bytes, (long long)get(w->p, "first_kept", 0),
           (long long)w->chosen, (long long)get(w->p, "flushed", 0));
    int64_t sync_usec = get(w->p, "sync_p99_usec", -1);
    if (sync_usec >= 0)
        printf(", sync p99 %.1f ms", (double)sync_usec / 1000.0);
    printf(", disk %s free\n", space);
}

/* Why there is no quorum, a phrase for each replica that is missing. */
static void print_missing(const struct view *w)
{
    const cJSON *peer;
    bool any = false;
    cJSON_ArrayForEach(peer, w->peers)
    {
        if (!is_absent(peer) || get(peer, "id", -1) == w->id)
            continue;
        char since[TEXT_TIME_MAX];
        const char *note = get_text(peer, "note", NULL);
        int64_t heard_usec = get(peer, "heard_usec", -1);
        clock_format(heard_usec, w->now_usec, since);
        printf("%s%lld ", any ? "   " : "  ", (long long)get(peer, "id", -1));
        if (!strcmp(get_text(peer, "role", ""), "refused"))
            fputs("refused", stdout);
        else if (heard_usec >= 0)
            printf("silent since %s", since);
        else
            fputs("not heard of yet", stdout);
        if (note) {
            fputs(": ", stdout);
            text_print(stdout, note, w->v->report.terminal);
        }
        any = true;
    }
    if (any)
        putchar('\n');
}

static void print_texts(const struct view *w, const char *key, const char *lead, const char *joint)
{
    const cJSON *texts = cJSON_GetObjectItemCaseSensitive(w->p, key), *text;
    bool first = true;
    cJSON_ArrayForEach(text, texts)
    {
        if (!cJSON_IsString(text))
            continue;
        fputs(first ? lead : joint, stdout);
        text_print(stdout, text->valuestring, w->v->report.terminal);
        first = false;
    }
    if (!first)
        putchar('\n');
}

static void print_keys(const struct view *w)
{
    const cJSON *keys = cJSON_GetObjectItemCaseSensitive(w->p, "keys"), *key;
    if (!keys || !keys->child)
        return;
    fputs(keys->child->next ? "  Keys" : "  Key", stdout);
    cJSON_ArrayForEach(key, keys)
    {
        if (cJSON_IsString(key)) {
            putchar(' ');
            text_print(stdout, key->valuestring, w->v->report.terminal);
        }
    }
    puts(keys->child->next ? " (seals with the first)" : "");
}

static void print_skips(const struct view *w)
{
    const cJSON *skips = cJSON_GetObjectItemCaseSensitive(w->p, "skip_slots"), *skip;
    if (!skips || !skips->child)
        return;
    fputs("  Skips slots", stdout);
    cJSON_ArrayForEach(skip, skips)
    {
        int64_t slot;
        if (varlink_int_read(skip, 0, INT64_MAX, &slot))
            printf(" %lld", (long long)slot);
    }
    puts(" while it leads");
}

static void print_status(const struct view *w)
{
    print_verdict(w);
    if (w->quorum) {
        putchar('\n');
        print_peers(w);
        putchar('\n');
        print_journal(w);
    } else {
        print_missing(w);
    }
    print_keys(w);
    print_skips(w);
    print_texts(w, "warnings", "  Note: ", "\n  Note: ");
    print_texts(w, "remedies", "  Try: ", "; ");
}

static int show(const struct invocation *v)
{
    struct client c;
    struct failure f = {0};
    struct reply r = {0};
    int status;
    uint64_t timeout_msec = invocation_timeout(v, STATUS_TIMEOUT_MSEC);
    if (client_open(&c, &v->place, &f) < 0 ||
        client_ask(&c, "org.mpaxos.Replica.Status", NULL, timeout_msec, false, &r, &f) < 0) {
        status = report_failure(&v->report, &f);
    } else {
        struct view w;
        view_init(&w, v, r.parameters);
        if (v->report.json == JSON_OFF)
            print_status(&w);
        else
            report_json(&v->report, r.parameters, invocation_has(v, OPTION_WATCH));
        status = w.quorum ? EXIT_DONE : EXIT_NO_QUORUM;
    }
    reply_done(&r);
    client_close(&c);
    failure_done(&f);
    return status;
}

int verb_status(const struct invocation *v)
{
    if (!invocation_has(v, OPTION_WATCH))
        return show(v);
    bool terminal = isatty(STDOUT_FILENO) && v->report.json == JSON_OFF;
    for (;;) {
        if (terminal)
            fputs("\033[H\033[2J", stdout);
        int status = show(v);
        report_flush();
        if (report_is_over())
            return status;
        sleep(WATCH_SECONDS);
    }
}
