#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/load.h"
#include "ctl/text.h"

enum { CONFIRM_MSEC = 5000, RETRY_USEC = 100000 };

static void add_example(struct load_verdict *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add_example(struct load_verdict *v, const char *format, ...)
{
    if (v->n_examples == LOAD_EXAMPLES_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(v->examples[v->n_examples++], LOAD_EXAMPLE_MAX + 1, format, args);
    va_end(args);
}

bool load_verdict_is_good(const struct load_verdict *v)
{
    return !(v->n_lost || v->n_twice || v->n_elsewhere || v->n_disordered || v->n_foreign);
}

/* "message_<client>_<i>" and its padding, nothing else. False: this run never sent such a text. */
static bool read_text(const struct load_options *o, const char *text, uint32_t client, uint32_t *ret_i)
{
    char wanted[64];
    unsigned long long i;
    int n = 0;
    size_t size = strlen(text);
    // NOLINTNEXTLINE(cert-err34-c): what was read is printed again, and compared
    if (sscanf(text, "message_%*u_%llu", &i) != 1 || i >= o->n_messages)
        return false;
    n = snprintf(wanted, sizeof(wanted), "message_%" PRIu32 "_%llu", client, i);
    if (strncmp(text, wanted, (size_t)n) != 0 || size != ((size_t)n > o->size ? (size_t)n : o->size) ||
        strspn(text + n, ".") != size - (size_t)n)
        return false;
    *ret_i = (uint32_t)i;
    return true;
}

/* The author of one of this load's clients, PREFIX_CLIENT, or "USER (as PREFIX_CLIENT)"; the size of "USER (as ". */
static bool read_author(const struct load_options *o, const char *author, uint64_t *ret_client, size_t *ret_user_size)
{
    const char *as = strstr(author, " (as "), *own = as ? as + strlen(" (as ") : author;
    size_t n = strlen(o->prefix), size = strlen(own);
    char number[24];
    if (as && size > 0 && own[size - 1] == ')')
        size--;
    *ret_user_size = (size_t)(own - author);
    if (*ret_user_size > LOAD_USER_MAX || strncmp(own, o->prefix, n) != 0 || own[n] != '_' ||
        size - n - 1 >= sizeof(number))
        return false;
    memcpy(number, own + n + 1, size - n - 1);
    number[size - n - 1] = 0;
    return number_read(number, 0, o->n_clients - 1, ret_client);
}

/* What stands where this run was told that its message stands is its own, and shows whose name its messages have. */
static bool is_own_user(struct load_judge *j, const char *user, size_t size, bool acknowledged)
{
    if (!j->knows_user && acknowledged) {
        memcpy(j->user, user, size);
        j->user[size] = '\0';
        j->knows_user = true;
    }
    return !j->knows_user || (strlen(j->user) == size && strncmp(j->user, user, size) == 0);
}

void load_judge_message(struct load_judge *j, int64_t slot, const char *author, const char *text)
{
    const struct load_options *o = j->o;
    struct load_verdict *v = j->verdict;
    uint64_t client;
    uint32_t i = 0;
    size_t user_size;
    if (!read_author(o, author, &client, &user_size))
        return; /* somebody else's */
    bool sent = read_text(o, text, (uint32_t)client, &i);
    size_t at = (size_t)client * o->n_messages + i;
    if (!is_own_user(j, author, user_size, sent && j->result->slots[at] == slot))
        return;
    v->n_read++;
    if (!sent) {
        v->n_foreign++;
        add_example(v, "slot %" PRId64 " holds a text that client %" PRIu64 " never sent: %.40s", slot, client, text);
        return;
    }
    if (j->seen[at]) {
        v->n_twice++;
        add_example(v, "message_%" PRIu64 "_%" PRIu32 " stands twice: at slot %" PRId64 " again", client, i, slot);
        return;
    }
    j->seen[at] = 1;
    if (j->result->slots[at] >= 0 && j->result->slots[at] != slot) {
        v->n_elsewhere++;
        add_example(v, "message_%" PRIu64 "_%" PRIu32 " stands at slot %" PRId64 ", was acknowledged at %" PRId64,
                    client, i, slot, j->result->slots[at]);
    }
    if (i < j->next[client]) {
        v->n_disordered++;
        add_example(v, "message_%" PRIu64 "_%" PRIu32 " stands after a later one of its client, at slot %" PRId64,
                    client, i, slot);
    } else {
        j->next[client] = i + 1;
    }
}

void load_judge_trimmed(struct load_judge *j, int64_t from, int64_t first_kept)
{
    size_t total = (size_t)j->o->n_clients * j->o->n_messages;
    for (size_t at = 0; at < total; at++) {
        int64_t slot = j->result->slots[at];
        if (j->seen[at] || slot < from || slot >= first_kept)
            continue;
        j->seen[at] = 1;
        j->verdict->n_trimmed++;
    }
}

void load_judge_end(struct load_judge *j)
{
    const struct load_options *o = j->o;
    size_t total = (size_t)o->n_clients * o->n_messages;
    for (size_t at = 0; at < total; at++) {
        if (j->seen[at] || j->result->slots[at] < 0)
            continue;
        j->verdict->n_lost++;
        add_example(j->verdict, "message_%zu_%zu is lost; it was acknowledged at slot %" PRId64, at / o->n_messages,
                    at % o->n_messages, j->result->slots[at]);
    }
}

static int confirm(struct client *c, int64_t *ret_slot, struct failure *f)
{
    struct reply r = {0};
    cJSON *p = cJSON_CreateObject();
    cJSON_AddTrueToObject(p, "linearizable");
    cJSON_AddItemToObject(p, "timeout_ms", varlink_int(CONFIRM_MSEC));
    int result = client_ask(c, "org.mpaxos.Replica.Position", p, CONFIRM_MSEC + CLIENT_GRACE_MSEC, false, &r, f);
    if (result == 0 && !varlink_get_int(r.parameters, "slot", 0, INT64_MAX, ret_slot))
        result = -1;
    reply_done(&r);
    return result;
}

/* 0, or -EBADMSG; *from moves behind what was judged. */
static int judge_page(struct load_judge *j, const struct reply *r, int64_t *from)
{
    int64_t next = -1;
    const cJSON *messages = cJSON_GetObjectItemCaseSensitive(r->parameters, "messages"), *m;
    if (!varlink_get_int(r->parameters, "next", 0, INT64_MAX, &next) || next < *from)
        return -EBADMSG;
    cJSON_ArrayForEach(m, messages)
    {
        int64_t slot = -1;
        const char *author = NULL, *text = NULL;
        if (!varlink_get_int(m, "slot", 0, INT64_MAX, &slot) || !varlink_get_string(m, "author", &author) ||
            !varlink_get_string(m, "text", &text) || slot < *from || !author || !text)
            return -EBADMSG;
        load_judge_message(j, slot, author, text);
    }
    *from = next;
    return 0;
}

/* Goes on with what is still kept. False: that is not what was answered. */
static bool skip_trimmed(struct load_judge *j, const struct reply *r, int64_t *from)
{
    int64_t first_kept = -1;
    if (strcmp(r->error, "org.mpaxos.Replica.SlotTrimmed") != 0 ||
        !varlink_get_int(r->parameters, "first_kept", 0, INT64_MAX, &first_kept) || first_kept <= *from)
        return false;
    load_judge_trimmed(j, *from, first_kept);
    *from = first_kept;
    return true;
}

/* Reads up to and with slot `until` as far as this connection goes. 0: all; 1: it has no more now; 2: *f says why not;
 * negative: errno, or -1 with *f. */
static int read_back(struct client *c, struct load_judge *j, int64_t *from, int64_t until, struct failure *f)
{
    cJSON *p = cJSON_CreateObject();
    cJSON_AddItemToObject(p, "from", varlink_int(*from));
    int result = client_queue(c, "org.mpaxos.Replica.Read", p, true);
    while (result == 0 && *from <= until) {
        struct reply r = {0};
        result = client_reply(c, CONFIRM_MSEC, &r);
        if (result < 0)
            break;
        if (r.error) {
            char name[ENDPOINT_NAME_MAX];
            endpoint_name(&c->endpoint, name);
            bool skipped = skip_trimmed(j, &r, from);
            if (!skipped)
                failure_from_error(f, name, r.error, r.parameters);
            reply_done(&r);
            return !skipped ? 2 : *from > until ? 0 : 1;
        }
        bool continues = r.continues;
        result = judge_page(j, &r, from);
        reply_done(&r);
        if (result == 0 && !continues && *from <= until)
            return 1;
    }
    if (result < 0)
        endpoint_failure(&c->endpoint, -result, f);
    return result;
}

int load_check(const struct load_options *o, const struct load_result *result, struct load_verdict *ret,
               struct failure *f)
{
    *ret = (struct load_verdict){0};
    struct load_judge j = {.o = o, .result = result, .verdict = ret};
    j.seen = calloc(o->n_clients, o->n_messages);
    j.next = calloc(o->n_clients, sizeof(*j.next));
    int64_t from = o->since + 1, until = -1;
    uint64_t deadline = monotonic_usec() + o->timeout_msec * 1000;
    int r = j.seen && j.next ? 1 : -1;
    if (r < 0)
        failure_set(f, EXIT_FAILED, "org.mpaxos.Control.OutOfMemory", NULL, "out of memory for the check");
    while (r > 0) {
        struct client c;
        int64_t before = from;
        if (client_open(&c, o->place, f) == 0 && (until >= 0 || confirm(&c, &until, f) == 0))
            r = read_back(&c, &j, &from, until, f);
        client_close(&c);
        if (r == 0)
            break;
        if (from > before)
            deadline = monotonic_usec() + o->timeout_msec * 1000;
        r = monotonic_usec() >= deadline ? -1 : 1;
        usleep(RETRY_USEC);
    }
    if (r == 0) {
        load_judge_end(&j);
        failure_done(f);
    } else if (!failure_is_set(f)) {
        failure_set(f, EXIT_FAILED, "org.mpaxos.Control.NotRead", NULL,
                    "the log could not be read up to slot %" PRId64 " in time", until);
    }
    free(j.seen);
    free(j.next);
    return r == 0 ? 0 : -1;
}
