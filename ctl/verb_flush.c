/* flush: has chat log files written. */
#include <stdio.h>

#include "ctl/client.h"
#include "ctl/flush.h"

enum { FLUSH_TIMEOUT_MSEC = 30000 };

static bool print_result(const cJSON *result, struct table *t)
{
    int64_t replica = -1, slot = -1, messages = -1;
    const char *path = NULL, *error = NULL;
    char cells[3][24] = {"-", "-", "-"};
    varlink_get_int(result, "replica", 0, INT64_MAX, &replica);
    varlink_get_int(result, "slot", 0, INT64_MAX, &slot);
    varlink_get_int(result, "messages", 0, INT64_MAX, &messages);
    varlink_get_string(result, "path", &path);
    varlink_get_string(result, "error", &error);
    const int64_t numbers[3] = {replica, slot, messages};
    for (int i = 0; i < 3; i++)
        if (numbers[i] >= 0)
            snprintf(cells[i], sizeof(cells[i]), "%lld", (long long)numbers[i]);
    table_add(t, (const char *[]){cells[0], cells[1], cells[2], error ? error : path ? path : "-"});
    return !error;
}

static int print_results(const struct invocation *v, const struct reply *r)
{
    struct table t;
    bool ok = true;
    table_init(&t, "rrrl", (const char *[]){"REPLICA", "SLOT", "MESSAGES", "PATH"});
    const cJSON *results = r->parameters ? cJSON_GetObjectItemCaseSensitive(r->parameters, "results") : NULL, *result;
    cJSON_ArrayForEach(result, results) ok &= print_result(result, &t);
    if (v->report.json == JSON_OFF)
        table_print(&t, v->report.legend, 0);
    else
        report_json(&v->report, r->parameters, false);
    table_done(&t);
    return ok ? EXIT_DONE : EXIT_FAILED;
}

int flush_run(const struct invocation *v, bool all)
{
    struct client c;
    struct failure f = {0};
    struct reply r = {0};
    uint64_t timeout_msec = invocation_timeout(v, FLUSH_TIMEOUT_MSEC);
    cJSON *p = cJSON_CreateObject();
    if (all)
        cJSON_AddTrueToObject(p, "all");
    cJSON_AddItemToObject(p, "timeout_ms", client_timeout(timeout_msec));
    int status;
    if (client_open(&c, &v->place, &f) < 0) {
        cJSON_Delete(p);
        status = report_failure(&v->report, &f);
    } else if (client_ask(&c, "org.mpaxos.Replica.Flush", p, timeout_msec + CLIENT_GRACE_MSEC, true, &r, &f) < 0) {
        status = report_failure(&v->report, &f);
    } else {
        status = print_results(v, &r);
    }
    reply_done(&r);
    client_close(&c);
    failure_done(&f);
    return status;
}

int verb_flush(const struct invocation *v)
{
    return flush_run(v, invocation_has(v, OPTION_ALL));
}
