#include "tests/fuzz/owed.h"

#include "tests/fuzz/fuzz.h"

#define REPLICA "org.mpaxos.Replica."
#define SERVICE "org.varlink.service."

/* `member`: that a reply has which is no error; NULL: any such reply is wrong. */
static const struct method {
    const char *name, *member;
    enum access_level level;
} methods[] = {
    {REPLICA "Submit", "slot", ACCESS_EVERYDAY},
    {REPLICA "Position", "slot", ACCESS_EVERYDAY},
    {REPLICA "Read", "messages", ACCESS_EVERYDAY},
    {REPLICA "Status", "cluster", ACCESS_EVERYDAY},
    {REPLICA "Metrics", "text", ACCESS_EVERYDAY},
    {REPLICA "Flush", "results", ACCESS_EVERYDAY},
    {REPLICA "SetDrop", "drops", ACCESS_ADMINISTRATION},
    {REPLICA "SkipSlots", "skip_slots", ACCESS_ADMINISTRATION},
    {REPLICA "Bootstrap", "", ACCESS_ADMINISTRATION},
    {REPLICA "TransferLeadership", "leader", ACCESS_ADMINISTRATION},
    {REPLICA "AddMember", NULL, ACCESS_ADMINISTRATION},
    {REPLICA "RemoveMember", NULL, ACCESS_ADMINISTRATION},
    {REPLICA "ReplaceMember", NULL, ACCESS_ADMINISTRATION},
    {REPLICA "Reload", "changed", ACCESS_ADMINISTRATION},
    {SERVICE "GetInfo", "vendor", ACCESS_EVERYDAY},
    {SERVICE "GetInterfaceDescription", "description", ACCESS_EVERYDAY},
};

static const struct method *method_of(const char *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

void owed_begin(struct owed *o, enum access_level level)
{
    *o = (struct owed){.level = level};
    STAILQ_INIT(&o->calls);
}

static void forget_first(struct owed *o)
{
    struct owed_call *first = STAILQ_FIRST(&o->calls);
    STAILQ_REMOVE_HEAD(&o->calls, next);
    cJSON_Delete(first->tree);
    free(first);
}

void owed_end(struct owed *o)
{
    while (!STAILQ_EMPTY(&o->calls))
        forget_first(o);
    free(o->cut);
    owed_begin(o, o->level);
}

/* --- calls --- */

static void add_call(struct owed *o)
{
    char reason[VARLINK_REASON_MAX + 1];
    struct owed_call *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->tree = varlink_parse(o->cut, o->cut_size, reason);
    o->malformed = o->malformed || c->tree == NULL || !varlink_call_read(c->tree, &c->call);
    if (!o->malformed && !c->call.oneway) {
        STAILQ_INSERT_TAIL(&o->calls, c, next);
        return;
    }
    cJSON_Delete(c->tree);
    free(c);
}

void owed_sent(struct owed *o, const char *bytes, size_t size)
{
    if (o->cut_capacity - o->cut_size < size) {
        o->cut_capacity = 2 * o->cut_capacity + size;
        o->cut = realloc(o->cut, o->cut_capacity);
        if (o->cut == NULL)
            abort();
    }
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            o->cut[o->cut_size++] = bytes[i];
            continue;
        }
        add_call(o);
        o->cut_size = 0;
    }
}

/* --- replies --- */

static const char *string_of(const cJSON *object, const char *key)
{
    const char *s = NULL;
    return varlink_get_string(object, key, &s) ? s : NULL;
}

/* Those that say what they answer say it right. */
static void check_error(const struct owed *o, const struct varlink_call *call, const char *error, const cJSON *p)
{
    const struct method *m = method_of(call->method);
    const char *method = string_of(p, "method");
    fuzz_check(strncmp(error, REPLICA, strlen(REPLICA)) == 0 || strncmp(error, SERVICE, strlen(SERVICE)) == 0);
    fuzz_check((strcmp(error, SERVICE "PermissionDenied") == 0) == (m != NULL && m->level > o->level));
    fuzz_check(method == NULL || strcmp(method, call->method) == 0);
    if (strcmp(error, SERVICE "MethodNotFound") == 0)
        fuzz_check(m == NULL && method != NULL);
    else if (strcmp(error, SERVICE "MethodNotImplemented") == 0)
        fuzz_check(m != NULL && m->member == NULL && method != NULL);
    else if (m == NULL)
        fuzz_check(strcmp(error, SERVICE "InterfaceNotFound") == 0);
}

static void check_success(const struct owed *o, const struct varlink_call *call, const cJSON *p)
{
    const struct method *m = method_of(call->method);
    fuzz_check(m != NULL && m->level <= o->level && m->member != NULL);
    if (m->member[0] == 0)
        fuzz_check(p->child == NULL);
    else
        fuzz_check(varlink_has(p, m->member));
    fuzz_check((m != &methods[0]) == !varlink_has(p, "duplicate"));
}

void owed_reply(struct owed *o, const char *reply, size_t size)
{
    static const char *const known[] = {"parameters", "error", "continues", NULL};
    const struct owed_call *first = STAILQ_FIRST(&o->calls);
    char reason[VARLINK_REASON_MAX + 1];
    const char *error = NULL, *key;
    bool continues = false;
    cJSON *tree = varlink_parse(reply, size, reason);
    fuzz_check(tree != NULL && varlink_unknown_key(tree, known) == NULL);
    const cJSON *p = cJSON_GetObjectItemCaseSensitive(tree, "parameters");
    fuzz_check(cJSON_IsObject(p));
    fuzz_check(varlink_get_string(tree, "error", &error) && varlink_get_bool(tree, "continues", &continues));
    fuzz_check(first != NULL);
    fuzz_check(!continues || (error == NULL && owed_streams(o)));
    if (error != NULL)
        check_error(o, &first->call, error, p);
    else
        check_success(o, &first->call, p);
    key = string_of(first->call.parameters, "key");
    if (string_of(p, "key") != NULL && key != NULL)
        fuzz_check(strcmp(string_of(p, "key"), key) == 0);
    cJSON_Delete(tree);
    if (!continues)
        forget_first(o);
}

bool owed_streams(const struct owed *o)
{
    const struct owed_call *first = STAILQ_FIRST(&o->calls);
    return first != NULL && first->call.more && strcmp(first->call.method, REPLICA "Read") == 0;
}

bool owed_follows(const struct owed *o)
{
    bool follow = false;
    return owed_streams(o) && varlink_get_bool(STAILQ_FIRST(&o->calls)->call.parameters, "follow", &follow) && follow;
}
