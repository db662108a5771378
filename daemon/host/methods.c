#include "host/methods.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/faults.h"
#include "host/log.h"
#include "host/notice.h"

enum { FAULT_SECONDS_MAX = 31536000 };

/* --- answers that several methods give --- */

void reply_empty_error(struct connection *k, const char *error)
{
    reply_error_begin(k, error);
    reply_end(k, false);
}

static void reply_named_error(struct connection *k, const char *error, const char *key, const char *value)
{
    varlink_write_string(reply_error_begin(k, error), key, value);
    reply_end(k, false);
}

void reply_invalid(struct connection *k, const char *parameter)
{
    reply_named_error(k, INTERFACE_SERVICE ".InvalidParameter", "parameter", parameter);
}

void reply_not_initialized(struct connection *k)
{
    char reason[REASON_MAX + 1];
    describe_start(k->control, control_view(k->control), reason);
    reply_named_error(k, INTERFACE_REPLICA ".NotInitialized", "reason", reason);
}

void reply_no_quorum(struct connection *k)
{
    const struct driver_status *s = control_view(k->control);
    struct varlink_writer *w = reply_error_begin(k, INTERFACE_REPLICA ".NoQuorum");
    varlink_write_uint(w, "heard", s->replica.n_linked);
    varlink_write_uint(w, "needed", s->replica.n_needed);
    reply_end(k, false);
}

void reply_overloaded(struct connection *k)
{
    varlink_write_uint(reply_error_begin(k, INTERFACE_REPLICA ".Overloaded"), "retry_ms", CONTROL_RETRY_MS);
    reply_end(k, false);
}

void reply_disk_full(struct connection *k)
{
    const char *path = k->control->state_dir;
    reply_named_error(k, INTERFACE_REPLICA ".DiskFull", "path", path != NULL ? path : "");
}

bool parameters_known(struct connection *k, const struct varlink_call *call, const char *const *known)
{
    const char *unknown = varlink_unknown_key(call->parameters, known);
    if (unknown != NULL)
        reply_invalid(k, unknown);
    return unknown == NULL;
}

bool parameter_timeout(struct connection *k, const struct varlink_call *call, int64_t *ret_ms)
{
    *ret_ms = CONTROL_TIMEOUT_MS_DEFAULT;
    if (varlink_get_int(call->parameters, "timeout_ms", 1, CONTROL_TIMEOUT_MS_MAX, ret_ms))
        return true;
    reply_invalid(k, "timeout_ms");
    return false;
}

uint64_t epoch_usec(uint64_t monotonic_usec)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t wall = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    return wall + monotonic_usec - uv_hrtime() / 1000;
}

/* --- org.varlink.service --- */

static void method_get_info(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {NULL};
    if (!parameters_known(k, call, known))
        return;
    struct varlink_writer *w = reply_begin(k);
    varlink_write_string(w, "vendor", "mpaxos");
    varlink_write_string(w, "product", "mpaxosd");
    varlink_write_string(w, "version", k->control->version != NULL ? k->control->version : "");
    varlink_write_string(w, "url", "man:mpaxos(7)");
    varlink_write_open(w, "interfaces", '[');
    varlink_write_string(w, NULL, INTERFACE_REPLICA);
    varlink_write_string(w, NULL, INTERFACE_SERVICE);
    varlink_write_close(w, ']');
    reply_end(k, false);
}

static void method_get_description(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {"interface", NULL};
    const char *name = NULL;
    if (!parameters_known(k, call, known))
        return;
    if (!varlink_get_string(call->parameters, "interface", &name) || name == NULL) {
        reply_invalid(k, "interface");
        return;
    }
    const char *text = varlink_interface_text(name);
    if (text == NULL) {
        reply_named_error(k, INTERFACE_SERVICE ".InterfaceNotFound", "interface", name);
        return;
    }
    varlink_write_string(reply_begin(k), "description", text);
    reply_end(k, false);
}

/* --- faults --- */

static const char *const directions[] = {[FAULT_IN] = "in", [FAULT_OUT] = "out", [FAULT_BOTH] = "both"};

void write_drops(struct varlink_writer *w, const char *key, struct control *c)
{
    struct fault faults[FAULTS_MAX];
    size_t n = faults_list(driver_faults(c->driver), uv_hrtime() / 1000, faults);
    varlink_write_open(w, key, '[');
    for (size_t i = 0; i < n; i++) {
        varlink_write_open(w, NULL, '{');
        varlink_write_uint(w, "rate", faults[i].rate);
        varlink_write_string(w, "direction", directions[faults[i].direction]);
        if (faults[i].peer != REPLICA_ID_NONE)
            varlink_write_uint(w, "peer", faults[i].peer);
        if (faults[i].until_usec != 0)
            varlink_write_uint(w, "until_usec", epoch_usec(faults[i].until_usec));
        varlink_write_close(w, '}');
    }
    varlink_write_close(w, ']');
}

static bool is_peer(const struct driver_status *s, int64_t id)
{
    for (uint32_t i = 0; i < s->replica.n_peers; i++)
        if (s->replica.peers[i].id == id)
            return true;
    return false;
}

static bool read_direction(const cJSON *parameters, enum fault_direction *ret)
{
    const char *name = NULL;
    if (!varlink_get_string(parameters, "direction", &name))
        return false;
    if (name == NULL)
        return true;
    for (enum fault_direction d = FAULT_IN; d <= FAULT_BOTH; d++)
        if (strcmp(directions[d], name) == 0) {
            *ret = d;
            return true;
        }
    return false;
}

static void method_set_drop(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {"rate", "direction", "peer", "seconds", NULL};
    const cJSON *p = call->parameters;
    int64_t rate = -1, peer = REPLICA_ID_NONE, seconds = 0;
    enum fault_direction direction = FAULT_OUT;
    const char *wrong = NULL;

    if (!parameters_known(k, call, known))
        return;
    if (!varlink_get_int(p, "rate", 0, 100, &rate) || rate < 0)
        wrong = "rate";
    else if (!read_direction(p, &direction))
        wrong = "direction";
    else if (!varlink_get_int(p, "peer", 0, REPLICA_ID_MAX, &peer) ||
             (peer != REPLICA_ID_NONE && !is_peer(control_view(k->control), peer)))
        wrong = "peer"; // NOLINT(bugprone-branch-clone): the last one says why it is no other
    else if (!varlink_get_int(p, "seconds", 1, FAULT_SECONDS_MAX, &seconds))
        wrong = "seconds";
    /* There is room for each peer and direction, so only a peer too many can be what is wrong. */
    else if (faults_set(driver_faults(k->control->driver), (uint8_t)rate, direction, (replica_id_t)peer,
                        (uint64_t)seconds, uv_hrtime() / 1000) < 0)
        wrong = "peer";
    if (wrong != NULL) {
        reply_invalid(k, wrong);
        return;
    }
    log_line(LOG_LEVEL_INFO, "injected faults: user %u set %" PRId64 "%% %s", (unsigned)k->uid, rate,
             directions[direction]);
    write_drops(reply_begin(k), "drops", k->control);
    reply_end(k, false);
}

static void method_skip_slots(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {"slots", NULL};
    slot_t slots[SKIPS_MAX];
    size_t n = 0;
    if (!parameters_known(k, call, known))
        return;
    const cJSON *item, *list = cJSON_GetObjectItemCaseSensitive(call->parameters, "slots");
    bool ok = cJSON_IsArray(list);
    cJSON_ArrayForEach(item, list)
    {
        int64_t slot = 0;
        ok = ok && n < SKIPS_MAX && varlink_int_read(item, 0, INT64_MAX, &slot);
        if (!ok)
            break;
        slots[n++] = (slot_t)slot;
    }
    if (!ok) {
        reply_invalid(k, "slots");
        return;
    }
    if (n > 0) {
        driver_skip(k->control->driver, slots, n);
        notice(NOTICE_FAULTS_INJECTED, &(struct notice_about){.slot = &slots[0]},
               "injected faults: user %u has %zu slots skipped, from %" PRIu64 " on, where this replica leads",
               (unsigned)k->uid, n, slots[0]);
    }
    const struct driver_status *s = control_view(k->control);
    struct varlink_writer *w = reply_begin(k);
    varlink_write_open(w, "skip_slots", '[');
    for (uint32_t i = 0; i < s->replica.n_skips; i++)
        varlink_write_uint(w, NULL, s->replica.skips[i]);
    varlink_write_close(w, ']');
    reply_end(k, false);
}

static void bootstrap_answered(void *user, slot_t slot)
{
    struct connection *k = user;
    (void)slot;
    k->active = ACTIVE_NONE;
    reply_begin(k);
    reply_end(k, false);
}

static void method_bootstrap(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {NULL};
    if (!parameters_known(k, call, known))
        return;
    k->active = ACTIVE_BOOTSTRAP;
    int r = driver_bootstrap(k->control->driver, bootstrap_answered, k, &k->cookie);
    if (r == 0) {
        log_line(LOG_LEVEL_NOTICE, "bootstrap: user %u lets a majority start without the rest", (unsigned)k->uid);
        return;
    }
    k->active = ACTIVE_NONE;
    if (r == -EBUSY) {
        reply_not_initialized(k);
    } else {
        char reason[REASON_MAX + 1];
        snprintf(reason, sizeof(reason),
                 "refused: %s; Bootstrap is for a cluster that has never run; see mpaxosctl status",
                 r == -EEXIST ? "state exists, here or on a peer" : strerror(-r));
        reply_named_error(k, INTERFACE_REPLICA ".NotInitialized", "reason", reason);
    }
}

/* --- dispatch --- */

void reply_not_implemented(struct connection *k, const struct varlink_call *call)
{
    reply_named_error(k, INTERFACE_SERVICE ".MethodNotImplemented", "method", call->method);
}

static const struct method {
    const char *name;
    void (*run)(struct connection *k, const struct varlink_call *call);
    enum access_level level; /* that it takes */
} methods[] = {
    {INTERFACE_REPLICA ".Submit", method_submit, ACCESS_EVERYDAY},
    {INTERFACE_REPLICA ".Position", method_position, ACCESS_EVERYDAY},
    {INTERFACE_REPLICA ".Read", method_read, ACCESS_EVERYDAY},
    {INTERFACE_REPLICA ".Status", method_status, ACCESS_EVERYDAY},
    {INTERFACE_REPLICA ".Metrics", method_metrics, ACCESS_EVERYDAY},
    {INTERFACE_REPLICA ".Flush", method_flush, ACCESS_EVERYDAY},
    {INTERFACE_REPLICA ".SetDrop", method_set_drop, ACCESS_ADMINISTRATION},
    {INTERFACE_REPLICA ".SkipSlots", method_skip_slots, ACCESS_ADMINISTRATION},
    {INTERFACE_REPLICA ".Bootstrap", method_bootstrap, ACCESS_ADMINISTRATION},
    {INTERFACE_REPLICA ".TransferLeadership", method_transfer, ACCESS_ADMINISTRATION},
    {INTERFACE_REPLICA ".AddMember", reply_not_implemented, ACCESS_ADMINISTRATION},
    {INTERFACE_REPLICA ".RemoveMember", reply_not_implemented, ACCESS_ADMINISTRATION},
    {INTERFACE_REPLICA ".ReplaceMember", reply_not_implemented, ACCESS_ADMINISTRATION},
    {INTERFACE_REPLICA ".Reload", method_reload, ACCESS_ADMINISTRATION},
    {INTERFACE_SERVICE ".GetInfo", method_get_info, ACCESS_EVERYDAY},
    {INTERFACE_SERVICE ".GetInterfaceDescription", method_get_description, ACCESS_EVERYDAY},
};

bool method_is_submit(const struct varlink_call *call)
{
    return strcmp(call->method, methods[0].name) == 0;
}

static void reply_unknown(struct connection *k, const char *method)
{
    const char *dot = strrchr(method, '.');
    char *interface = dot != NULL ? strndup(method, (size_t)(dot - method)) : NULL;
    if (interface != NULL && varlink_interface_text(interface) == NULL)
        reply_named_error(k, INTERFACE_SERVICE ".InterfaceNotFound", "interface", interface);
    else
        reply_named_error(k, INTERFACE_SERVICE ".MethodNotFound", "method", method);
    free(interface);
}

void method_run(struct connection *k, const struct varlink_call *call)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (strcmp(call->method, methods[i].name) != 0)
            continue;
        if (k->level < methods[i].level)
            reply_empty_error(k, INTERFACE_SERVICE ".PermissionDenied");
        else
            methods[i].run(k, call);
        return;
    }
    reply_unknown(k, call->method);
}
