/* transfer, bootstrap, reload, metrics, version: a call each, and what it says. */
#include <stdio.h>

#include "ctl/client.h"
#include "ctl/verbs.h"

enum { REPLICA_ID_MAX = 254, TRANSFER_TIMEOUT_MSEC = 10000 };

/* Calls, and reports a failure. `parameters` is consumed. The exit status; the reply where it is EXIT_DONE. */
static int call(const struct invocation *v, const char *method, cJSON *parameters, uint64_t timeout_msec, bool unknown,
                struct reply *ret)
{
    struct client c;
    struct failure f = {0};
    int status = EXIT_DONE;
    if (client_open(&c, &v->place, &f) < 0) {
        cJSON_Delete(parameters);
        status = report_failure(&v->report, &f);
    } else if (client_ask(&c, method, parameters, timeout_msec, unknown, ret, &f) < 0) {
        /* Elsewhere it means "not yet", to a Bootstrap it means "no". */
        if (v->verb->run == verb_bootstrap && f.status == EXIT_NO_QUORUM)
            f.status = EXIT_FAILED;
        status = report_failure(&v->report, &f);
    } else if (v->report.json != JSON_OFF) {
        report_json(&v->report, ret->parameters, false);
    }
    client_close(&c);
    failure_done(&f);
    return status;
}

int verb_transfer(const struct invocation *v)
{
    struct reply r = {0};
    uint64_t target, timeout_msec = invocation_timeout(v, TRANSFER_TIMEOUT_MSEC);
    cJSON *p = cJSON_CreateObject();
    if (v->arguments->n_operands > 0) {
        if (invocation_operand(v, 0, "N", 0, REPLICA_ID_MAX, &target) < 0) {
            cJSON_Delete(p);
            return EXIT_USAGE;
        }
        cJSON_AddItemToObject(p, "replica", varlink_int((int64_t)target));
    }
    cJSON_AddItemToObject(p, "timeout_ms", client_timeout(timeout_msec));
    int status = call(v, "org.mpaxos.Replica.TransferLeadership", p, timeout_msec + CLIENT_GRACE_MSEC, true, &r);
    int64_t leader = -1;
    if (status == EXIT_DONE && v->report.json == JSON_OFF &&
        varlink_get_int(r.parameters, "leader", 0, REPLICA_ID_MAX, &leader))
        printf("replica %lld leads\n", (long long)leader);
    reply_done(&r);
    return status;
}

int verb_bootstrap(const struct invocation *v)
{
    struct reply r = {0};
    int status =
        call(v, "org.mpaxos.Replica.Bootstrap", NULL, invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT), true, &r);
    if (status == EXIT_DONE && v->report.json == JSON_OFF)
        puts("the cluster starts with the replicas that are there");
    reply_done(&r);
    return status;
}

int verb_reload(const struct invocation *v)
{
    struct reply r = {0};
    int status =
        call(v, "org.mpaxos.Replica.Reload", NULL, invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT), true, &r);
    if (status == EXIT_DONE && v->report.json == JSON_OFF) {
        const cJSON *key, *changed = cJSON_GetObjectItemCaseSensitive(r.parameters, "changed");
        if (cJSON_GetArraySize(changed) == 0)
            puts("nothing changed");
        cJSON_ArrayForEach(key, changed)
        {
            if (cJSON_IsString(key))
                printf("%s changed\n", key->valuestring);
        }
    }
    reply_done(&r);
    return status;
}

int verb_metrics(const struct invocation *v)
{
    struct reply r = {0};
    int status =
        call(v, "org.mpaxos.Replica.Metrics", NULL, invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT), false, &r);
    const char *text = NULL;
    if (status == EXIT_DONE && v->report.json == JSON_OFF && varlink_get_string(r.parameters, "text", &text) && text)
        fputs(text, stdout);
    reply_done(&r);
    return status;
}

static void print_daemon_version(const struct invocation *v, const struct endpoint *e, uint64_t timeout_msec)
{
    struct client c;
    struct failure f = {0};
    struct reply r = {0};
    char name[ENDPOINT_NAME_MAX];
    const char *product = NULL, *version = NULL;
    endpoint_name(e, name);
    int result = client_connect(&c, e);
    if (result < 0) {
        endpoint_failure(e, -result, &f);
    } else {
        client_ask(&c, "org.varlink.service.GetInfo", NULL, timeout_msec, false, &r, &f);
        client_close(&c);
    }
    if (failure_is_set(&f)) {
        /* A daemon that is not there has no version: no failure of this verb, unless it was asked for. */
        if (v->report.json == JSON_OFF)
            printf("%s: not running (%s)\n", name, e->path);
    } else if (v->report.json == JSON_OFF) {
        varlink_get_string(r.parameters, "product", &product);
        varlink_get_string(r.parameters, "version", &version);
        printf("%s: %s %s\n", name, product ? product : "?", version ? version : "?");
    } else {
        report_json(&v->report, r.parameters, true);
    }
    reply_done(&r);
    failure_done(&f);
}

int verb_version(const struct invocation *v)
{
    struct endpoint endpoints[ENDPOINTS_MAX];
    struct failure f = {0};
    size_t n = 0;
    if (v->report.json == JSON_OFF) {
        puts("mpaxosctl " MPAXOS_VERSION);
    } else {
        cJSON *p = cJSON_CreateObject();
        cJSON_AddStringToObject(p, "product", "mpaxosctl");
        cJSON_AddStringToObject(p, "version", MPAXOS_VERSION);
        report_json(&v->report, p, true);
        cJSON_Delete(p);
    }
    int found = endpoints_find(&v->place, endpoints, &n, &f);
    failure_done(&f);
    for (size_t i = 0; found == 0 && i < n; i++)
        print_daemon_version(v, &endpoints[i], invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT));
    return EXIT_DONE;
}
