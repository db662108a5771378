/* What verbs ask of their command line: declared in verbs.h. */
#include <stdarg.h>
#include <stdio.h>

#include "ctl/verbs.h"

int invocation_usage(const struct invocation *v, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct failure f = {0};
    cJSON *parameters = cJSON_CreateObject();
    cJSON_AddStringToObject(parameters, "reason", text);
    failure_set(&f, EXIT_USAGE, "org.mpaxos.Control.Usage", parameters, "%s: %s. Try: mpaxosctl %s --help",
                v->verb->name, text, v->verb->name);
    report_failure(&v->report, &f);
    failure_done(&f);
    return EXIT_USAGE;
}

static int read_number(const struct invocation *v, const char *name, const char *text, uint64_t min, uint64_t max,
                       uint64_t *ret)
{
    if (number_read(text, min, max, ret))
        return 1;
    if (max >= INT64_MAX)
        invocation_usage(v, "%s: '%.80s' is not a whole number from %llu on", name, text, (unsigned long long)min);
    else
        invocation_usage(v, "%s: '%.80s' is not a whole number from %llu to %llu", name, text, (unsigned long long)min,
                         (unsigned long long)max);
    return -1;
}

int invocation_number(const struct invocation *v, enum option_id id, uint64_t min, uint64_t max, uint64_t *ret)
{
    const struct given *g = arguments_find(v->arguments, (int)id);
    return g ? read_number(v, g->name, g->values[0], min, max, ret) : 0;
}

int invocation_operand(const struct invocation *v, size_t i, const char *name, uint64_t min, uint64_t max,
                       uint64_t *ret)
{
    return read_number(v, name, v->arguments->operands[i], min, max, ret);
}

bool invocation_has(const struct invocation *v, enum option_id id)
{
    return arguments_find(v->arguments, (int)id) != NULL;
}

const char *invocation_value(const struct invocation *v, enum option_id id)
{
    const struct given *g = arguments_find(v->arguments, (int)id);
    return g ? g->values[0] : NULL;
}

uint64_t invocation_timeout(const struct invocation *v, uint64_t default_msec)
{
    return v->timeout_msec ? v->timeout_msec : default_msec;
}
