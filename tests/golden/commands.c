/* The commands of a file, each of one line. */
#include "tests/golden/golden.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 24, GIVE_UP_USEC = 10000000, STEPS_MAX = 1000000 };

struct command {
    char *words[WORDS_MAX]; /* after the name */
    int n;
};

/* --- words --- */

static bool is_number(const char *s)
{
    return *s >= '0' && *s <= '9' && s[strspn(s, "0123456789")] == '\0';
}

static uint64_t number(const struct command *c, int i)
{
    if (i >= c->n || !is_number(c->words[i]))
        golden_bad("a number is expected, not", i < c->n ? c->words[i] : "");
    return strtoull(c->words[i], NULL, 10);
}

static uint8_t replica(const struct world *w, const char *word)
{
    if (!is_number(word) || strtoul(word, NULL, 10) >= w->n_hosts)
        golden_bad("no such replica:", word);
    return (uint8_t)strtoul(word, NULL, 10);
}

static struct host *host_at(struct world *w, const struct command *c, int i)
{
    if (i >= c->n)
        golden_bad("a replica is expected at the end of the line, not", "");
    return &w->hosts[replica(w, c->words[i])];
}

static struct host *running(struct world *w, const struct command *c)
{
    struct host *h = host_at(w, c, 0);
    if (!h->up)
        golden_bad("this replica is down:", c->words[0]);
    return h;
}

/* The value of NAME=... among the words, else `otherwise`. */
static const char *option(const struct command *c, const char *name, const char *otherwise)
{
    size_t size = strlen(name);
    for (int i = 0; i < c->n; i++)
        if (strncmp(c->words[i], name, size) == 0 && c->words[i][size] == '=')
            return c->words[i] + size + 1;
    return otherwise;
}

static uint32_t option_number(const struct command *c, const char *name, const char *otherwise)
{
    return (uint32_t)strtoul(option(c, name, otherwise), NULL, 10);
}

static uint64_t duration_usec(const char *word)
{
    char *end;
    uint64_t n = strtoull(word, &end, 10);
    if (end == word || (strcmp(end, "ms") != 0 && strcmp(end, "s") != 0))
        golden_bad("a time is expected, like 50ms or 2s, not", word);
    return n * (*end == 'm' ? 1000 : 1000000);
}

struct link {
    uint8_t from, to; /* or EVERYONE */
    bool both;
};

static bool parse_link(const struct world *w, const char *word, struct link *ret)
{
    char ends[2][8];
    char way;
    if (sscanf(word, "%7[0-9*]%c%7[0-9*]", ends[0], &way, ends[1]) != 3 || (way != '-' && way != '>'))
        return false;
    ret->from = ends[0][0] == '*' ? EVERYONE : replica(w, ends[0]);
    ret->to = ends[1][0] == '*' ? EVERYONE : replica(w, ends[1]);
    ret->both = way == '-';
    return true;
}

static void set_link(uint32_t masks[HOSTS_MAX][HOSTS_MAX], const struct link *l, uint32_t types, bool on)
{
    for (uint8_t i = 0; i < HOSTS_MAX; i++)
        for (uint8_t k = 0; k < HOSTS_MAX; k++)
            if (((l->from == EVERYONE || l->from == i) && (l->to == EVERYONE || l->to == k)) ||
                (l->both && (l->from == EVERYONE || l->from == k) && (l->to == EVERYONE || l->to == i)))
                masks[i][k] = on ? masks[i][k] | types : masks[i][k] & ~types;
}

/* Every link of the command; its last word may be a type. */
static void set_links(struct world *w, const struct command *c, uint32_t masks[HOSTS_MAX][HOSTS_MAX], bool on)
{
    uint32_t types = c->n == 0 ? 0 : words_type(c->words[c->n - 1]);
    for (int i = 0; i < c->n - (types != 0); i++) {
        struct link l;
        if (!parse_link(w, c->words[i], &l))
            golden_bad("a link is expected, like 0-1 or 0>1, not", c->words[i]);
        set_link(masks, &l, types != 0 ? types : TYPES_ALL, on);
    }
}

/* --- the cluster --- */

static void do_replicas(struct world *w, struct command *c)
{
    uint64_t n = number(c, 0);
    bool blank = c->n > 1 && strcmp(c->words[1], "blank") == 0;
    if (n < 1 || n > HOSTS_MAX || w->n_hosts != 0)
        golden_bad("1 to 7 replicas, once in a file, not", c->words[0]);
    w->config.heartbeat_usec = 50000;
    w->config.message_bytes_max = 16384;
    w->config.proposal_bytes_max = 1 << 20;
    w->config.submissions_max = 64;
    w->config.space_bytes = 1 << 20;
    w->config.promise_page_slots = option_number(c, "page", "64");
    w->config.identity.configuration.alpha = option_number(c, "alpha", "64");
    w->config.identity.configuration.dedup_slots = option_number(c, "keys", "64");
    w->config.identity.configuration.streams_max = option_number(c, "streams", "64");
    world_make(w, (uint32_t)n, blank, (uint8_t)option_number(c, "down", "255"));
}

static void do_crash(struct world *w, struct command *c)
{
    host_crash(running(w, c));
}

static struct host *stopped(struct world *w, const struct command *c)
{
    struct host *h = host_at(w, c, 0);
    if (h->up)
        golden_bad("this replica runs:", c->words[0]);
    return h;
}

static void do_restart(struct world *w, struct command *c)
{
    host_start(stopped(w, c));
}

static void do_wipe(struct world *w, struct command *c)
{
    host_wipe(stopped(w, c));
}

static void do_pause(struct world *w, struct command *c)
{
    running(w, c)->paused = true;
}

static void do_stall(struct world *w, struct command *c)
{
    running(w, c)->stalled = true;
}

static void do_resume(struct world *w, struct command *c)
{
    struct host *h = running(w, c);
    h->paused = h->stalled = false;
}

static void do_sync(struct world *w, struct command *c)
{
    host_sync(running(w, c));
}

static void do_checkpoint(struct world *w, struct command *c)
{
    host_checkpoint(running(w, c));
}

static void do_status(struct world *w, struct command *c)
{
    (void)c;
    words_status(w);
}

static void do_log(struct world *w, struct command *c)
{
    (void)c;
    words_log(w);
}

/* --- what is shown --- */

static void do_quiet(struct world *w, struct command *c)
{
    (void)c;
    w->show = SHOW_QUIET;
}

static void do_loud(struct world *w, struct command *c)
{
    (void)c;
    w->show = SHOW_LOUD;
}

static void do_show(struct world *w, struct command *c)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } names[] = {
        {"leaders", SHOW_LEADERS},   {"records", SHOW_RECORDS},   {"applied", SHOW_APPLIED},
        {"outcomes", SHOW_OUTCOMES}, {"messages", SHOW_MESSAGES}, {"nothing", 0},
    };
    w->show = 0;
    for (int i = 0; i < c->n; i++) {
        uint32_t bits = words_type(c->words[i]);
        bool known = bits != 0;
        for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++) {
            if (strcmp(names[k].name, c->words[i]) == 0) {
                bits = names[k].bits;
                known = true;
            }
        }
        if (!known)
            golden_bad("cannot show", c->words[i]);
        w->show |= bits;
    }
}

/* --- the network --- */

static void take(struct world *w, const struct command *c, bool deliver)
{
    struct link l;
    uint32_t types = c->n > 1 ? words_type(c->words[1]) : TYPES_ALL, nth = c->n > 2 ? (uint32_t)number(c, 2) : 0;
    if (c->n == 0 || !parse_link(w, c->words[0], &l) || types == 0)
        golden_bad("a link and a type are expected, like 0>1 accept, not", c->n == 0 ? "" : c->words[c->n - 1]);
    uint32_t n = world_take(w, l.from, l.to, types, nth, deliver);
    if (l.both)
        n += world_take(w, l.to, l.from, types, nth, deliver);
    if (n == 0)
        fputs("    nothing is in flight\n", w->out);
}

static void do_deliver(struct world *w, struct command *c)
{
    take(w, c, true);
}

static void do_drop(struct world *w, struct command *c)
{
    take(w, c, false);
}

static void do_cut(struct world *w, struct command *c)
{
    set_links(w, c, w->cut, true);
}

static void do_hold(struct world *w, struct command *c)
{
    set_links(w, c, w->held, true);
}

static void do_links(struct world *w, struct command *c)
{
    memset(w->cut, 0xff, sizeof(w->cut));
    set_links(w, c, w->cut, false);
}

static void do_heal(struct world *w, struct command *c)
{
    if (c->n == 0) {
        memset(w->cut, 0, sizeof(w->cut));
        memset(w->held, 0, sizeof(w->held));
    }
    set_links(w, c, w->cut, false);
    set_links(w, c, w->held, false);
}

/* --- clients and operators --- */

static uint64_t make_call(struct world *w, const struct host *h, const char *label)
{
    if (w->n_calls == CALLS_MAX)
        golden_bad("too many calls:", label);
    struct call *call = &w->calls[w->n_calls++];
    char *copy = world_alloc(w, strlen(label) + 1);
    *call = (struct call){.host = h->id, .open = true, .label = strcpy(copy, label)};
    return w->n_calls;
}

static void do_submit(struct world *w, struct command *c)
{
    struct host *h = running(w, c);
    uint8_t bytes[1024];
    char key[16];
    uint64_t stream = option_number(c, "stream", "0");
    if (c->n < 2 || c->words[1][0] != '"' || strlen(c->words[1]) > 500 || stream >= CALLS_MAX)
        golden_bad("a \"text\" is expected, not", c->n < 2 ? "" : c->words[1]);
    snprintf(key, sizeof(key), "~%zu", w->n_calls);
    const char *text = c->words[1] + 1, *named = option(c, "key", key);
    struct value_fields f = {.type = VALUE_MESSAGE,
                             .stream = stream != 0 ? stream : CALLS_MAX + ++w->streams,
                             .n = stream != 0 ? ++w->numbers[stream] : 1,
                             .since = option_number(c, "since", "0"),
                             .time_usec = w->now_usec,
                             .author = "ann",
                             .author_size = 3,
                             .key = named,
                             .key_size = (uint8_t)strlen(named),
                             .text = text,
                             .text_size = (uint32_t)strlen(text)};
    value_encode(&f, bytes);
    struct value *v = world_value(w, bytes, (uint32_t)value_encoded_size(&f));
    char label[600];
    snprintf(label, sizeof(label), "\"%s\"", text);
    struct submission s = {.value = v, .cookie = make_call(w, h, label)};
    host_step(h, &(struct event){.type = EVENT_SUBMIT, .submissions = &s, .n_submissions = 1});
}

static void do_position(struct world *w, struct command *c)
{
    struct host *h = running(w, c);
    host_step(h, &(struct event){.type = EVENT_POSITION, .cookie = make_call(w, h, "position")});
}

static void do_skip(struct world *w, struct command *c)
{
    slot_t slots[WORDS_MAX];
    for (int i = 1; i < c->n; i++)
        slots[i - 1] = number(c, i);
    if (c->n < 2)
        golden_bad("slots are expected, not", "");
    host_step(running(w, c), &(struct event){.type = EVENT_SKIP, .slots = slots, .n_slots = (size_t)c->n - 1});
}

static void do_transfer(struct world *w, struct command *c)
{
    replica_id_t target = c->n < 2 ? REPLICA_ID_NONE : replica(w, c->words[1]);
    host_step(running(w, c), &(struct event){.type = EVENT_TRANSFER, .target = target});
}

static void do_bootstrap(struct world *w, struct command *c)
{
    host_step(running(w, c), &(struct event){.type = EVENT_BOOTSTRAP});
}

/* --- time --- */

static void do_tick(struct world *w, struct command *c)
{
    struct host *h = running(w, c);
    w->now_usec += duration_usec(c->n < 2 ? "" : c->words[1]);
    host_step(h, &(struct event){.type = EVENT_TIMER});
}

static bool is_reached(const struct world *w, const struct command *c)
{
    const char *what = c->n < 2 ? "" : c->words[1];
    if (strcmp(what, "leader") == 0)
        return w->led > 0 && (c->n < 3 || w->led_by == replica(w, c->words[2]));
    if (strcmp(what, "told") == 0) {
        for (size_t i = 0; i < w->n_calls; i++)
            if (w->calls[i].open)
                return false;
        return true;
    }
    bool voters = strcmp(what, "voters") == 0;
    if (!voters && strcmp(what, "chosen") != 0)
        golden_bad("run until leader, told, chosen SLOT or voters, not", what);
    for (uint32_t i = 0; i < w->n_hosts; i++) {
        const struct host *h = &w->hosts[i];
        if (h->up && !h->paused && (voters ? h->before.identity != IDENTITY_VOTER : h->chosen < number(c, 2)))
            return false;
    }
    return true;
}

static void do_run(struct world *w, struct command *c)
{
    bool until = c->n > 0 && strcmp(c->words[0], "until") == 0;
    uint64_t start_usec = w->now_usec;
    uint64_t end_usec = start_usec + (until ? GIVE_UP_USEC : duration_usec(c->n == 0 ? "" : c->words[0]));
    int steps = 0;
    w->led = 0;
    while (!(until && is_reached(w, c)) && world_run(w, end_usec))
        if (++steps == STEPS_MAX)
            golden_bad("it runs in circles:", c->words[0]);
    if (until && w->now_usec >= end_usec)
        fputs("    (never)\n", w->out);
    else if (until)
        fprintf(w->out, "    (after %lu ms)\n", (w->now_usec - start_usec) / 1000);
}

/* --- lines --- */

/* Words are parted by blanks; one in double quotes keeps the first of them and its blanks. */
static void split(char *text, struct command *ret)
{
    ret->n = 0;
    for (char *p = text; *p != '\0';) {
        p += strspn(p, " ");
        if (*p == '\0')
            break;
        if (ret->n == WORDS_MAX)
            golden_bad("too many words:", p);
        ret->words[ret->n++] = p;
        p = *p == '"' ? strchr(p + 1, '"') : p + strcspn(p, " ");
        if (p == NULL)
            golden_bad("no closing quote:", text);
        if (*p != '\0')
            *p++ = '\0';
    }
}

void command_run(struct world *w, const char *text)
{
    static const struct {
        const char *name;
        void (*run)(struct world *w, struct command *c);
    } commands[] = {
        {"bootstrap", do_bootstrap}, {"checkpoint", do_checkpoint},
        {"crash", do_crash},         {"cut", do_cut},
        {"deliver", do_deliver},     {"drop", do_drop},
        {"heal", do_heal},           {"hold", do_hold},
        {"links", do_links},         {"log", do_log},
        {"loud", do_loud},           {"pause", do_pause},
        {"position", do_position},   {"quiet", do_quiet},
        {"replicas", do_replicas},   {"restart", do_restart},
        {"resume", do_resume},       {"run", do_run},
        {"show", do_show},           {"skip", do_skip},
        {"stall", do_stall},         {"status", do_status},
        {"submit", do_submit},       {"sync", do_sync},
        {"tick", do_tick},           {"transfer", do_transfer},
        {"wipe", do_wipe},
    };
    struct command c;
    char *copy = world_alloc(w, strlen(text) + 1);
    split(strcpy(copy, text), &c);
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
        if (strcmp(commands[i].name, c.words[0]) != 0)
            continue;
        c.n--;
        memmove((void *)c.words, (void *)(c.words + 1), (size_t)c.n * sizeof(*c.words));
        commands[i].run(w, &c);
        return;
    }
    golden_bad("no such command:", c.words[0]);
}
