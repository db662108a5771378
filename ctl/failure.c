#include "ctl/failure.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/text.h"
#include "wire/varlink.h"

#define REPLICA_PREFIX "org.mpaxos.Replica."
#define SERVICE_PREFIX "org.varlink.service."

void failure_set(struct failure *f, enum exit_status status, const char *error, cJSON *parameters, const char *format,
                 ...)
{
    failure_done(f);
    f->status = status;
    f->parameters = parameters;
    snprintf(f->error, sizeof(f->error), "%s", error);
    va_list args;
    va_start(args, format);
    vsnprintf(f->text, sizeof(f->text), format, args);
    va_end(args);
}

void failure_set_unknown(struct failure *f, const char *key, int64_t since, const char *format, ...)
{
    char text[FAILURE_TEXT_MAX + 1];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cJSON *p = cJSON_CreateObject();
    cJSON_AddStringToObject(p, "key", key);
    cJSON_AddItemToObject(p, "since", varlink_int(since));
    failure_set(f, EXIT_OUTCOME_UNKNOWN, REPLICA_PREFIX "Timeout", p, "%s", text);
}

void failure_done(struct failure *f)
{
    cJSON_Delete(f->parameters);
    *f = (struct failure){0};
}

bool failure_is_set(const struct failure *f)
{
    return f->error[0] != '\0';
}

const char *failure_short_name(const char *error)
{
    size_t n = strlen(REPLICA_PREFIX);
    return strncmp(error, REPLICA_PREFIX, n) ? NULL : error + n;
}

enum exit_status failure_status_of(const char *error)
{
    static const struct {
        const char *error;
        enum exit_status status;
    } statuses[] = {
        {REPLICA_PREFIX "Timeout", EXIT_OUTCOME_UNKNOWN},        {REPLICA_PREFIX "NoQuorum", EXIT_NO_QUORUM},
        {REPLICA_PREFIX "NotInitialized", EXIT_NO_QUORUM},       {REPLICA_PREFIX "ReloadFailed", EXIT_CONFIG},
        {SERVICE_PREFIX "PermissionDenied", EXIT_NOT_PERMITTED},
    };
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (!strcmp(error, statuses[i].error))
            return statuses[i].status;
    return EXIT_FAILED;
}

/* Parameters of an error are read leniently: one that is missing or mistyped shows as "?", the sentence still stands.
 */
static const char *show_string(const cJSON *parameters, const char *key)
{
    const char *s = NULL;
    if (!parameters || !varlink_get_string(parameters, key, &s) || !s)
        return "?";
    return s;
}

static const char *show_int(const cJSON *parameters, const char *key, char room[24])
{
    int64_t n;
    if (!parameters || !varlink_has(parameters, key) || !varlink_get_int(parameters, key, INT64_MIN, INT64_MAX, &n))
        return "?";
    snprintf(room, 24, "%lld", (long long)n);
    return room;
}

static void say_timeout(struct buffer *b, const cJSON *p)
{
    char since[24];
    if (!p || !varlink_has(p, "key")) {
        buffer_add_text(b, "no majority answered in time. Try: mpaxosctl status");
        return;
    }
    buffer_addf(
        b,
        "the outcome is not known: it was not seen chosen in time, and may still be. To be sure of it, send the same "
        "text again with --key %s --since %s",
        show_string(p, "key"), show_int(p, "since", since));
}

static void say_denied(struct buffer *b)
{
    const struct passwd *user = getpwuid(geteuid());
    buffer_addf(b,
                "not permitted for user %s: this is for root and the daemon's own user only. Try: sudo mpaxosctl ...",
                user ? user->pw_name : "?");
}

static void say_reload_failed(struct buffer *b, const cJSON *p)
{
    char line[24];
    buffer_addf(b, "%s", show_string(p, "path"));
    if (!p || varlink_has(p, "line"))
        buffer_addf(b, ":%s", show_int(p, "line", line));
    buffer_addf(b, ": %s. What was in force stays in force", show_string(p, "reason"));
}

/* The sentence of one of the replica's own errors; false: it is none that we know. */
static bool say_replica_error(struct buffer *b, const char *name, const cJSON *p)
{
    char x[24], y[24];
    if (!strcmp(name, "Timeout"))
        say_timeout(b, p);
    else if (!strcmp(name, "NoQuorum"))
        buffer_addf(
            b,
            "no quorum: it hears %s of the %s replicas that are needed, so nothing was chosen. Try: mpaxosctl status",
            show_int(p, "heard", x), show_int(p, "needed", y));
    else if (!strcmp(name, "KeyConflict"))
        buffer_addf(b, "key %s was used before, for another text, at slot %s. Send this text with another key",
                    show_string(p, "key"), show_int(p, "slot", x));
    else if (!strcmp(name, "MessageTooLarge"))
        buffer_addf(b,
                    "the message has %s bytes, and %s are allowed. Send it in parts, or raise message_bytes_max in the "
                    "configuration of every replica",
                    show_int(p, "size", x), show_int(p, "limit", y));
    else if (!strcmp(name, "KeyExpired"))
        buffer_addf(
            b,
            "the key is older (since slot %s) than what the replicas remember (slot %s), so this call stored nothing. "
            "Look for the message with mpaxosctl log; if it is not there, send it with a new key",
            show_int(p, "since", x), show_int(p, "oldest", y));
    else if (!strcmp(name, "Overloaded"))
        buffer_addf(b, "too much is in flight, so this was not chosen. Try again in %s ms", show_int(p, "retry_ms", x));
    else if (!strcmp(name, "SlotTrimmed"))
        buffer_addf(b, "slots below %s are not kept any more. Try: mpaxosctl log --from %s",
                    show_int(p, "first_kept", x), show_int(p, "first_kept", y));
    else if (!strcmp(name, "SlotUnreadable"))
        buffer_addf(
            b, "slot %s cannot be read on this replica: %s. See: mpaxosctl status; ask another one: mpaxosctl -i N",
            show_int(p, "slot", x), show_string(p, "reason"));
    else if (!strcmp(name, "ChangeInProgress"))
        buffer_addf(b, "another change of membership is under way at slot %s. Wait until it is done, then try again",
                    show_int(p, "slot", x));
    else if (!strcmp(name, "DiskFull"))
        buffer_addf(b, "the disk of %s is full, so nothing was stored. Make room there: it goes on by itself",
                    show_string(p, "path"));
    else if (!strcmp(name, "FlushFailed"))
        buffer_addf(b, "cannot write the chat log file %s: %s. Mend that and flush again: no line is lost",
                    show_string(p, "path"), show_string(p, "reason"));
    else if (!strcmp(name, "NotInitialized"))
        buffer_add_text(b, show_string(p, "reason")); /* a whole sentence, with what to do */
    else if (!strcmp(name, "ReloadFailed"))
        say_reload_failed(b, p);
    else
        return false;
    return true;
}

static bool say_service_error(struct buffer *b, const char *name, const cJSON *p)
{
    if (!strcmp(name, "PermissionDenied"))
        say_denied(b);
    else if (!strcmp(name, "InvalidParameter"))
        buffer_addf(b, "the daemon refused the value of '%s'. Look up what it allows: man mpaxosctl",
                    show_string(p, "parameter"));
    else if (!strcmp(name, "MethodNotFound") || !strcmp(name, "MethodNotImplemented"))
        buffer_addf(b, "this daemon cannot do %s. Compare the versions: mpaxosctl version", show_string(p, "method"));
    else if (!strcmp(name, "InterfaceNotFound"))
        buffer_addf(b, "no mpaxosd: it does not know the interface %s. Look at --socket", show_string(p, "interface"));
    else
        return false;
    return true;
}

void failure_from_error(struct failure *f, const char *who, const char *error, const cJSON *parameters)
{
    struct buffer sentence = {0};
    const char *name = failure_short_name(error);
    size_t n = strlen(SERVICE_PREFIX);
    bool known = name ? say_replica_error(&sentence, name, parameters)
                      : !strncmp(error, SERVICE_PREFIX, n) && say_service_error(&sentence, error + n, parameters);
    if (!known)
        buffer_addf(&sentence, "it answered %.90s. Compare the versions: mpaxosctl version", error);
    const char *text = sentence.bytes ? sentence.bytes : "out of memory";
    bool says_who = !strncmp(text, who, strlen(who));
    failure_set(f, failure_status_of(error), error, parameters ? cJSON_Duplicate(parameters, 1) : NULL, "%s%s%s",
                says_who ? "" : who, says_who ? "" : ": ", text);
    buffer_done(&sentence);
}
