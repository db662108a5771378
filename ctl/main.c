/* mpaxosctl: reads the command line, finds the verb, runs it. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/verbs.h"

enum { HELP_COLUMN = 30 };

static void print_options(const struct option_spec *options)
{
    for (const struct option_spec *s = options; s->name; s++) {
        char left[80];
        const char *gap = s->values && s->values[0] != '[' ? " " : "";
        snprintf(left, sizeof(left), "%s%s%s%s%s", s->alias ? s->alias : "", s->alias ? ", " : "", s->name, gap,
                 s->values ? s->values : "");
        printf("  %-*s %s\n", HELP_COLUMN - 3, left, s->help);
    }
}

static void print_verb_help(const struct verb *v)
{
    printf("Usage: mpaxosctl [OPTION]... %s%s%s\n\n%s.\n", v->name, *v->synopsis ? " " : "", v->synopsis, v->summary);
    if (v->details)
        printf("\n%s", v->details);
    if (v->options->name) {
        puts("\nOptions:");
        print_options(v->options);
    }
    puts("\nCommon options: see mpaxosctl --help; more in mpaxosctl(1).");
}

static void print_help(void)
{
    puts("Usage: mpaxosctl [OPTION]... VERB ...\n\nUses and administers the replicas of a replicated chat "
         "log.\n\nVerbs:");
    for (const struct verb *v = verbs; v->name; v++) {
        char left[80];
        snprintf(left, sizeof(left), "%s %s", v->name, v->synopsis);
        if (strlen(left) > HELP_COLUMN - 4)
            printf("  %s\n%*s%s\n", left, HELP_COLUMN, "", v->summary);
        else
            printf("  %-*s %s\n", HELP_COLUMN - 3, left, v->summary);
    }
    puts("\nOptions, before and after the verb:");
    print_options(global_options);
    puts("\nExit status: 0 done, 1 failed, 2 no quorum, 3 no daemon there, 4 not permitted, 5 outcome unknown,\n"
         "64 usage, 78 configuration. See mpaxosctl(1).");
}

/* For completion and the manual's test: a line for each verb, then its options, each with TAB before it. */
static void print_verb_list(void)
{
    for (const struct verb *v = verbs; v->name; v++) {
        printf("%s\n", v->name);
        for (const struct option_spec *s = v->options; s->name; s++)
            printf("\t%s%s%s%s%s\n", s->name, s->alias ? " " : "", s->alias ? s->alias : "", s->values ? "\t" : "",
                   s->values ? s->values : "");
    }
}

static int wrong_usage(const struct report *r, const char *text)
{
    struct failure f = {0};
    cJSON *parameters = cJSON_CreateObject();
    cJSON_AddStringToObject(parameters, "reason", text);
    failure_set(&f, EXIT_USAGE, "org.mpaxos.Control.Usage", parameters, "%s. Try: mpaxosctl --help", text);
    report_failure(r, &f);
    failure_done(&f);
    return EXIT_USAGE;
}

/* The common options; -1, or an exit status. */
static int apply_global_options(struct invocation *v, bool terminal)
{
    char text[160];
    const struct arguments *a = v->arguments;
    const struct given *g = arguments_find(a, OPTION_JSON);
    const char *form = g ? g->values[0] : NULL;
    if (g)
        v->report.json = form       ? !strcmp(form, "pretty") ? JSON_PRETTY : JSON_SHORT
                         : terminal ? JSON_PRETTY
                                    : JSON_SHORT;
    if (form && strcmp(form, "pretty") != 0 && strcmp(form, "short") != 0) {
        snprintf(text, sizeof(text), "--json=%.80s: it is pretty or short", form);
        return wrong_usage(&v->report, text);
    }
    v->report.legend = !arguments_find(a, OPTION_NO_LEGEND);
    v->pager = !arguments_find(a, OPTION_NO_PAGER);
    if ((g = arguments_find(a, OPTION_REPLICA))) {
        uint64_t id;
        if (!number_read(g->values[0], 0, 254, &id)) {
            snprintf(text, sizeof(text), "-i: '%.80s' is not a replica's id, 0 to 254", g->values[0]);
            return wrong_usage(&v->report, text);
        }
        v->place.id = (int)id;
    }
    if ((g = arguments_find(a, OPTION_TIMEOUT)) && !seconds_read(g->values[0], &v->timeout_msec)) {
        snprintf(text, sizeof(text), "--timeout: '%.80s' is not a number of seconds from 0.001 to 3600000",
                 g->values[0]);
        return wrong_usage(&v->report, text);
    }
    if ((g = arguments_find(a, OPTION_DIR)))
        v->place.dir = g->values[0];
    if ((g = arguments_find(a, OPTION_SOCKET)))
        v->place.socket = g->values[0];
    return -1;
}

static int run_verb(struct invocation *v)
{
    const struct arguments *a = v->arguments;
    if (arguments_find(a, OPTION_HELP)) {
        print_verb_help(v->verb);
        return EXIT_DONE;
    }
    if (a->n_operands < v->verb->operands_min)
        return invocation_usage(v, "something is missing: %s", v->verb->synopsis);
    if (a->n_operands > v->verb->operands_max)
        return invocation_usage(v, "'%.80s' is too much", a->operands[v->verb->operands_max]);
    return v->verb->run(v);
}

/* "config" alone is half a verb. */
static void name_verb_wrong(const char *word, char *ret, size_t size)
{
    size_t n = strlen(word);
    int used = snprintf(ret, size, "%.100s: no such verb", word);
    bool first = true;
    for (const struct verb *v = verbs; v->name && (size_t)used < size; v++)
        if (!strncmp(v->name, word, n) && v->name[n] == ' ') {
            used += snprintf(ret + used, size - (size_t)used, "%s%s", first ? "; there is " : ", ", v->name);
            first = false;
        }
}

static int run(struct invocation *v, struct arguments *a, int n, char **words, bool terminal)
{
    char error[OPTIONS_ERROR_MAX + 1], text[400];
    static const struct option_spec hidden[] = {
        {"--list-verbs", NULL, NULL, "", OPTION_LIST_VERBS},
        {NULL, NULL, NULL, NULL, 0},
    };
    int taken = arguments_read(a, global_options, hidden, n, words, true, error);
    if (taken < 0)
        return wrong_usage(&v->report, error);
    int n_verb = 0;
    v->verb = verb_find(words + taken, n - taken, &n_verb);
    int rest = taken + n_verb;
    if (v->verb && arguments_read(a, global_options, v->verb->options, n - rest, words + rest, false, error) < 0) {
        snprintf(text, sizeof(text), "%s: %s", v->verb->name, error);
        return wrong_usage(&v->report, text);
    }
    int status = apply_global_options(v, terminal);
    if (status >= 0)
        return status;
    if (v->verb)
        return run_verb(v);
    if (arguments_find(a, OPTION_HELP))
        print_help();
    else if (arguments_find(a, OPTION_VERSION))
        puts("mpaxosctl " MPAXOS_VERSION);
    else if (arguments_find(a, OPTION_LIST_VERBS))
        print_verb_list();
    else if (taken < n) {
        name_verb_wrong(words[taken], text, sizeof(text));
        return wrong_usage(&v->report, text);
    } else
        return wrong_usage(&v->report, "a verb is missing");
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    /* A daemon that dies and a reader of ours that goes away both show as errors of write(). */
    signal(SIGPIPE, SIG_IGN);
    struct arguments arguments;
    struct invocation v = {.place = {.id = -1}, .arguments = &arguments};
    report_init(&v.report);
    int words = argc > 0 ? argc - 1 : 0;
    if (!arguments_init(&arguments, (size_t)words)) {
        fputs("mpaxosctl: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    int status = run(&v, &arguments, words, argv + 1, isatty(STDOUT_FILENO));
    arguments_done(&arguments);
    return report_finish(status);
}
