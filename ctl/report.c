#include "ctl/report.h"

#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INDENT = 2 };

static int output_error; /* of the first flush of standard output that failed; 0: none did */

void report_init(struct report *r)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    bool terminal = isatty(STDOUT_FILENO);
    *r = (struct report){
        .legend = true,
        .terminal = terminal,
        .color = terminal && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0,
        .utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8"),
    };
}

static void add_line(struct buffer *b, bool pretty, int depth)
{
    if (!pretty)
        return;
    buffer_add(b, "\n", 1);
    for (int i = 0; i < depth * INDENT; i++)
        buffer_add(b, " ", 1);
}

/* As deep as the scan of the reply allowed: wire/varlink.h. */
// NOLINTBEGIN(misc-no-recursion)
static void add_value(struct buffer *b, const cJSON *v, bool pretty, int depth);

static void add_children(struct buffer *b, const cJSON *v, bool pretty, int depth)
{
    bool object = cJSON_IsObject(v);
    buffer_add(b, object ? "{" : "[", 1);
    const cJSON *child;
    cJSON_ArrayForEach(child, v)
    {
        add_line(b, pretty, depth + 1);
        if (object) {
            buffer_add_json(b, child->string, strlen(child->string));
            buffer_add_text(b, pretty ? ": " : ":");
        }
        add_value(b, child, pretty, depth + 1);
        if (child->next)
            buffer_add(b, ",", 1);
    }
    if (v->child)
        add_line(b, pretty, depth);
    buffer_add(b, object ? "}" : "]", 1);
}

static void add_value(struct buffer *b, const cJSON *v, bool pretty, int depth)
{
    if (cJSON_IsObject(v) || cJSON_IsArray(v))
        add_children(b, v, pretty, depth);
    else if (cJSON_IsString(v))
        buffer_add_json(b, v->valuestring, strlen(v->valuestring));
    else if (cJSON_IsRaw(v)) /* numbers, with their own digits: see wire/varlink.h */
        buffer_add_text(b, v->valuestring);
    else
        buffer_add_text(b, cJSON_IsTrue(v) ? "true" : cJSON_IsFalse(v) ? "false" : "null");
}
// NOLINTEND(misc-no-recursion)

void json_add(struct buffer *b, const cJSON *value, bool pretty)
{
    add_value(b, value, pretty, 0);
}

void report_json(const struct report *r, const cJSON *parameters, bool one_line)
{
    struct buffer b = {0};
    if (parameters)
        json_add(&b, parameters, r->json == JSON_PRETTY && !one_line);
    else
        buffer_add_text(&b, "{}");
    if (!b.failed)
        puts(b.bytes);
    buffer_done(&b);
}

int report_failure(const struct report *r, const struct failure *f)
{
    if (r->json == JSON_OFF) {
        report_flush();
        fputs("mpaxosctl: ", stderr);
        text_show(stderr, f->text, false);
        putc('\n', stderr);
        return (int)f->status;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "error", f->error);
    cJSON *parameters = f->parameters ? cJSON_Duplicate(f->parameters, 1) : cJSON_CreateObject();
    if (!cJSON_AddItemToObject(object, "parameters", parameters))
        cJSON_Delete(parameters);
    if (object)
        report_json(r, object, false);
    cJSON_Delete(object);
    return (int)f->status;
}

void report_flush(void)
{
    if (fflush(stdout) != 0 && output_error == 0)
        output_error = errno;
}

bool report_is_over(void)
{
    return ferror(stdout) != 0;
}

bool report_is_unread(int timeout_msec)
{
    struct pollfd fd = {.fd = STDOUT_FILENO};
    return poll(&fd, 1, timeout_msec) > 0;
}

int report_finish(int status)
{
    report_flush();
    /* Where a full buffer went out by itself and failed, only the flag is left of it. */
    if (!report_is_over() || output_error == EPIPE || (output_error == 0 && report_is_unread(0)))
        return status;
    fprintf(stderr, "mpaxosctl: cannot write to standard output: %s\n",
            output_error ? strerror(output_error) : "a part of it was not taken");
    return status == EXIT_DONE ? EXIT_FAILED : status;
}

void table_init(struct table *t, const char *align, const char *const *headers)
{
    *t = (struct table){.align = align, .n_columns = strlen(align)};
    table_add(t, headers);
}

void table_add(struct table *t, const char *const *cells)
{
    if (t->n_cells + t->n_columns > t->cells_max) {
        size_t max = t->cells_max ? t->cells_max * 2 : 16 * t->n_columns;
        char **grown = realloc(t->cells, max * sizeof(*grown));
        if (!grown) {
            t->failed = true;
            return;
        }
        t->cells = grown;
        t->cells_max = max;
    }
    for (size_t i = 0; i < t->n_columns; i++) {
        char *copy = strdup(cells[i] ? cells[i] : "");
        t->failed |= !copy;
        t->cells[t->n_cells++] = copy;
    }
}

static const char *cell(const struct table *t, size_t i)
{
    return t->cells[i] ? t->cells[i] : "";
}

void table_print(const struct table *t, bool legend, int indent)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    size_t first = legend ? 0 : t->n_columns;
    for (size_t i = first; i < t->n_cells; i++) {
        size_t columns = text_columns(cell(t, i));
        if (columns > widths[i % t->n_columns])
            widths[i % t->n_columns] = columns;
    }
    for (size_t row = first; row < t->n_cells; row += t->n_columns) {
        size_t pending = (size_t)indent; /* blanks that only come if something follows them */
        for (size_t i = 0; i < t->n_columns; i++) {
            const char *text = cell(t, row + i);
            size_t fill = widths[i] - text_columns(text);
            if (t->align[i] == 'r')
                pending += fill;
            if (*text) {
                printf("%*s", (int)pending, "");
                text_show(stdout, text, false);
                pending = 0;
            }
            if (t->align[i] != 'r')
                pending += fill;
            pending += INDENT;
        }
        putchar('\n');
    }
    if (t->failed)
        fputs("mpaxosctl: out of memory: the table is not whole\n", stderr);
}

void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){0};
}
