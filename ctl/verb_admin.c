/* transfer, bootstrap, reload, metrics, version: a call each, and what it says. */
#include <errno.h>
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
            if (!cJSON_IsString(key))
                continue;
            text_print(stdout, key->valuestring, v->report.terminal);
            puts(" changed");
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
    if (status == EXIT_DONE && v->report.json == JSON_OFF && varlink_get_string(r.parameters, "text", &text) && text) {
        if (v->report.terminal)
            text_show(stdout, text, true);
        else
            fputs(text, stdout);
    }
    reply_done(&r);
    return status;
}

/* An exit status; what is not EXIT_DONE was reported. */
static int show_daemon(const struct invocation *v, struct client *c, struct failure *f)
{
    struct reply r = {0};
    char name[ENDPOINT_NAME_MAX];
    const char *product = NULL, *version = NULL;
    uint64_t timeout_msec = invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT);
    if (client_ask(c, "org.varlink.service.GetInfo", NULL, timeout_msec, false, &r, f) < 0)
        return report_failure(&v->report, f);
    if (v->report.json == JSON_OFF) {
        endpoint_name(&c->endpoint, name);
        varlink_get_string(r.parameters, "product", &product);
        varlink_get_string(r.parameters, "version", &version);
        printf("%s: ", name);
        text_print(stdout, product ? product : "?", v->report.terminal);
        putchar(' ');
        text_print(stdout, version ? version : "?", v->report.terminal);
        putchar('\n');
    } else {
        report_json(&v->report, r.parameters, true);
    }
    reply_done(&r);
    return EXIT_DONE;
}

/* One that was not asked for: it may as well not run, and what else keeps its version from being known is told, but is
 * no failure of the verb. */
static void show_any_daemon(const struct invocation *v, const struct endpoint *e)
{
    struct client c = CLIENT_NONE;
    struct failure f = {0};
    char name[ENDPOINT_NAME_MAX];
    int result = client_connect(&c, e);
    if (result == 0) {
        show_daemon(v, &c, &f);
    } else if (result != -ENOENT && result != -ENOTDIR && result != -ECONNREFUSED) {
        endpoint_failure(e, -result, &f);
        report_failure(&v->report, &f);
    } else if (v->report.json == JSON_OFF) {
        endpoint_name(e, name);
        printf("%s: not running (%s)\n", name, e->path);
    }
    client_close(&c);
    failure_done(&f);
}

static void show_tool(const struct invocation *v)
{
    if (v->report.json == JSON_OFF) {
        puts("mpaxosctl " MPAXOS_VERSION);
        return;
    }
    cJSON *p = cJSON_CreateObject();
    cJSON_AddStringToObject(p, "product", "mpaxosctl");
    cJSON_AddStringToObject(p, "version", MPAXOS_VERSION);
    report_json(&v->report, p, true);
    cJSON_Delete(p);
}

int verb_version(const struct invocation *v)
{
    struct endpoint endpoints[ENDPOINTS_MAX];
    struct client c;
    struct failure f = {0};
    size_t n = 0;
    int status = EXIT_DONE;
    show_tool(v);
    if (v->place.id >= 0 || v->place.socket) {
        status = client_open(&c, &v->place, &f) < 0 ? report_failure(&v->report, &f) : show_daemon(v, &c, &f);
        client_close(&c);
    } else if (endpoints_find(&v->place, endpoints, &n, &f) == 0) {
        for (size_t i = 0; i < n; i++)
            show_any_daemon(v, &endpoints[i]);
    }
    failure_done(&f);
    return status;
}
