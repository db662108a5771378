/* load: many clients at once, what it took, and whether all is well. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/load.h"
#include "ctl/load_script.h"
#include "ctl/verbs.h"

enum { LOAD_TIMEOUT_MSEC = 60000, BAR_WIDTH = 30, FILES_OTHERS = 32, RATE_MAX = 100000000 };

struct meter {
    uint64_t n_total;
};

static void show_progress(void *user, uint64_t n_chosen, uint64_t usec)
{
    const struct meter *m = user;
    char bar[BAR_WIDTH + 1];
    size_t filled = (size_t)(n_chosen * BAR_WIDTH / m->n_total);
    for (size_t i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < filled ? '#' : '-';
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %3" PRIu64 "%%  %" PRIu64 "/s ", bar, n_chosen * 100 / m->n_total,
            usec ? n_chosen * 1000000 / usec : 0);
}

/* A descriptor a client. False: the limit does not allow it, and that was reported. */
static bool raise_file_limit(const struct invocation *v, uint32_t n_clients)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return true;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= n_clients + FILES_OTHERS)
        return true;
    invocation_usage(v, "CLIENTS: %u connections are more than the limit of %llu open files. Raise it with ulimit -n",
                     n_clients, (unsigned long long)limit.rlim_cur);
    return false;
}

static bool read_options(const struct invocation *v, struct load_options *o)
{
    uint64_t clients, messages, drop_rate = 0, in_flight = 1, size = 0;
    if (invocation_operand(v, 0, "CLIENTS", 1, LOAD_CLIENTS_MAX, &clients) < 0 ||
        invocation_operand(v, 1, "MESSAGES", 1, LOAD_TOTAL_MAX, &messages) < 0 ||
        (v->arguments->n_operands > 2 && invocation_operand(v, 2, "DROP_RATE", 0, 100, &drop_rate) < 0) ||
        invocation_number(v, OPTION_IN_FLIGHT, 1, LOAD_IN_FLIGHT_MAX, &in_flight) < 0 ||
        invocation_number(v, OPTION_SIZE, 1, LOAD_SIZE_MAX, &size) < 0 ||
        invocation_number(v, OPTION_RATE, 1, RATE_MAX, &o->rate) < 0)
        return false;
    if (clients * messages > LOAD_TOTAL_MAX) {
        invocation_usage(v, "%" PRIu64 " messages in all are more than %d", clients * messages, LOAD_TOTAL_MAX);
        return false;
    }
    if (drop_rate > 0 && in_flight > 1) {
        invocation_usage(v, "with a DROP_RATE each client has one message under way, so --in-flight must be 1");
        return false;
    }
    o->n_clients = (uint32_t)clients;
    o->n_messages = (uint32_t)messages;
    o->drop_rate = (unsigned)drop_rate;
    o->in_flight = (uint32_t)in_flight;
    o->size = (uint32_t)size;
    o->timeout_msec = invocation_timeout(v, LOAD_TIMEOUT_MSEC);
    o->place = &v->place;
    snprintf(o->prefix, sizeof(o->prefix), "load_%08" PRIx32, (uint32_t)random_bits());
    return true;
}

/* Where the log stands before the first message. */
static int read_since(const struct invocation *v, struct load_options *o, struct failure *f)
{
    struct client c;
    struct reply r = {0};
    int result = -1;
    if (client_open(&c, &v->place, f) == 0)
        result = client_ask(&c, "org.mpaxos.Replica.Position", NULL, CLIENT_TIMEOUT_MSEC_DEFAULT, false, &r, f);
    if (result == 0 && !varlink_get_int(r.parameters, "slot", 0, INT64_MAX, &o->since))
        result = -1;
    reply_done(&r);
    client_close(&c);
    return result;
}

static void print_text(const struct load_options *o, const struct load_result *r)
{
    char p50[TEXT_SHORT_MAX], p95[TEXT_SHORT_MAX], p99[TEXT_SHORT_MAX], max[TEXT_SHORT_MAX];
    duration_format((int64_t)histogram_percentile(&r->latency_usec, 50), p50);
    duration_format((int64_t)histogram_percentile(&r->latency_usec, 95), p95);
    duration_format((int64_t)histogram_percentile(&r->latency_usec, 99), p99);
    duration_format((int64_t)r->latency_usec.max, max);
    printf("%" PRIu64 " of %" PRIu64
           " messages chosen in %.2f s: %u clients over %zu replica%s, authors %s_0 to %s_%u\n",
           r->n_chosen, (uint64_t)o->n_clients * o->n_messages, (double)r->usec / 1e6, o->n_clients, o->n_endpoints,
           o->n_endpoints == 1 ? "" : "s", o->prefix, o->prefix, o->n_clients - 1);
    printf("%.0f messages/s   latency p50 %s  p95 %s  p99 %s  max %s\n",
           r->usec ? (double)r->n_chosen * 1e6 / (double)r->usec : 0.0, p50, p95, p99, max);
    if (r->n_again || r->n_reconnects)
        printf("%" PRIu64 " messages sent again, %" PRIu64 " connections begun anew\n", r->n_again, r->n_reconnects);
}

static void print_verdict(const struct invocation *v, const struct load_verdict *d)
{
    if (d->n_trimmed > 0)
        printf("%" PRIu64
               " messages could not be checked: they were trimmed meanwhile; raise \"retain_mb\", or send fewer\n",
               d->n_trimmed);
    if (load_verdict_is_good(d)) {
        printf("OK: every %smessage stands exactly once, where it was acknowledged, in its client's order\n",
               d->n_trimmed > 0 ? "other " : "");
        return;
    }
    printf("FAILED: %" PRIu64 " lost, %" PRIu64 " twice, %" PRIu64 " not where acknowledged, %" PRIu64
           " out of order, %" PRIu64 " never sent\n",
           d->n_lost, d->n_twice, d->n_elsewhere, d->n_disordered, d->n_foreign);
    for (size_t i = 0; i < d->n_examples; i++) {
        fputs("  ", stdout);
        text_print(stdout, d->examples[i], v->report.terminal);
        putchar('\n');
    }
}

static void add_int(cJSON *object, const char *key, uint64_t n)
{
    cJSON_AddItemToObject(object, key, varlink_int((int64_t)n));
}

static void print_json(const struct invocation *v, const struct load_options *o, const struct load_result *r,
                       const struct load_verdict *d)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "authors", o->prefix);
    add_int(object, "clients", o->n_clients);
    add_int(object, "messages", o->n_messages);
    add_int(object, "replicas", o->n_endpoints);
    add_int(object, "chosen", r->n_chosen);
    add_int(object, "usec", r->usec);
    add_int(object, "messages_per_second", r->usec ? r->n_chosen * 1000000 / r->usec : 0);
    add_int(object, "p50_usec", histogram_percentile(&r->latency_usec, 50));
    add_int(object, "p95_usec", histogram_percentile(&r->latency_usec, 95));
    add_int(object, "p99_usec", histogram_percentile(&r->latency_usec, 99));
    add_int(object, "max_usec", r->latency_usec.max);
    add_int(object, "sent_again", r->n_again);
    add_int(object, "reconnects", r->n_reconnects);
    if (d) {
        cJSON_AddBoolToObject(object, "good", load_verdict_is_good(d));
        add_int(object, "lost", d->n_lost);
        add_int(object, "twice", d->n_twice);
        add_int(object, "elsewhere", d->n_elsewhere);
        add_int(object, "disordered", d->n_disordered);
        add_int(object, "never_sent", d->n_foreign);
        add_int(object, "trimmed", d->n_trimmed);
    }
    report_json(&v->report, object, false);
    cJSON_Delete(object);
}

static int run(const struct invocation *v, struct load_options *o, struct failure *f)
{
    struct load_result *result = calloc(1, sizeof(*result));
    struct load_verdict verdict;
    struct meter meter = {(uint64_t)o->n_clients * o->n_messages};
    int status = EXIT_DONE;
    if (!result)
        return invocation_usage(v, "out of memory");
    if (isatty(STDERR_FILENO) && v->report.json == JSON_OFF) {
        o->progress = show_progress;
        o->user = &meter; // cppcheck-suppress autoVariables ; nobody asks for progress after load_run()
    }
    int ran = load_run(o, result, f);
    if (o->progress)
        fputs("\r\033[K", stderr);
    if (v->report.json == JSON_OFF)
        print_text(o, result);
    report_flush();
    if (ran < 0 || load_check(o, result, &verdict, f) < 0) {
        status = report_failure(&v->report, f);
    } else {
        if (v->report.json == JSON_OFF)
            print_verdict(v, &verdict);
        else
            print_json(v, o, result, &verdict);
        status = load_verdict_is_good(&verdict) ? EXIT_DONE : EXIT_FAILED;
    }
    load_result_done(result);
    free(result);
    return status;
}

int verb_load(const struct invocation *v)
{
    struct load_options o = {0};
    struct failure f = {0};
    struct endpoint endpoints[ENDPOINTS_MAX];
    if (!read_options(v, &o))
        return EXIT_USAGE;
    const char *script = invocation_value(v, OPTION_SCRIPT);
    if (script)
        return load_script_write(v, script, o.n_clients, o.n_messages, o.drop_rate);
    if (!raise_file_limit(v, o.n_clients))
        return EXIT_USAGE;
    int status;
    o.endpoints = endpoints;
    if (endpoints_find(&v->place, endpoints, &o.n_endpoints, &f) < 0 || read_since(v, &o, &f) < 0)
        status = report_failure(&v->report, &f);
    else
        status = run(v, &o, &f);
    failure_done(&f);
    return status;
}
