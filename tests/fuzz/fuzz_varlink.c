/* What a client may write to the control socket, as far as wire/varlink.h goes: frames, JSON, calls, parameters.
 *
 * Input: a byte (how large a chunk is, and whether messages are taken late), then the stream. Checked besides: chunks
 * of any size give just the messages that the NULs delimit, and are refused just where one of them is too long; what is
 * taken is well-formed, and is taken again when it is printed; a Submit that is read without parsing is what parsing
 * makes of it; any bytes that are written as a text come out as one, unchanged where they are UTF-8, and any number as
 * itself. */
#include <errno.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/submit_compare.h"
#include "wire/varlink.h"
#include "wire/varlink_writer.h"

enum { MESSAGE_BYTES_MAX = 1000, TAKE_LATE = 0x80, NUMBERS = 64 };

static void try_printed(const cJSON *tree)
{
    char reason[VARLINK_REASON_MAX + 1];
    char *text = cJSON_PrintUnformatted(tree);
    fuzz_check(text != NULL);
    cJSON *again = varlink_parse(text, strlen(text), reason);
    fuzz_check(again != NULL);
    char *text_again = cJSON_PrintUnformatted(again);
    fuzz_check(text_again != NULL && strcmp(text, text_again) == 0);
    free(text_again);
    free(text);
    cJSON_Delete(again);
}

/* A reader of every kind on every parameter. */
static void try_parameters(const cJSON *p)
{
    static const char *const known[] = {"text", "from", NULL};
    varlink_unknown_key(p, known);
    for (const cJSON *item = p != NULL ? p->child : NULL; item != NULL; item = item->next) {
        const char *string = NULL;
        int64_t n = -7;
        bool flag = false;
        if (varlink_get_int(p, item->string, 0, INT64_MAX, &n))
            fuzz_check(n >= 0 || (n == -7 && !varlink_has(p, item->string)));
        else
            fuzz_check(n == -7);
        if (varlink_get_string(p, item->string, &string) && string != NULL)
            fuzz_check(varlink_utf8_valid(string, strlen(string)));
        varlink_get_bool(p, item->string, &flag);
        if (varlink_int_read(item, INT64_MIN, INT64_MAX, &n)) {
            cJSON *printed = varlink_int(n);
            int64_t again = 0;
            fuzz_check(printed != NULL && varlink_int_read(printed, n, n, &again) && again == n);
            cJSON_Delete(printed);
        }
    }
}

static void expect_same_parameters(const cJSON *a, const cJSON *b)
{
    char *of_a = a != NULL ? cJSON_PrintUnformatted(a) : strdup("{}"), *of_b = cJSON_PrintUnformatted(b);
    fuzz_check(of_a != NULL && of_b != NULL && strcmp(of_a, of_b) == 0);
    free(of_a);
    free(of_b);
}

static void try_call(const struct varlink_call *call)
{
    char reason[VARLINK_REASON_MAX + 1];
    struct varlink_call again;
    size_t size;
    try_parameters(call->parameters);
    cJSON *p = call->parameters != NULL ? cJSON_Duplicate(call->parameters, true) : NULL;
    char *bytes = varlink_call(call->method, p, call->more, call->oneway, &size);
    fuzz_check(bytes != NULL && bytes[size - 1] == 0);
    cJSON *tree = varlink_parse(bytes, size - 1, reason);
    fuzz_check(tree != NULL && varlink_call_read(tree, &again));
    fuzz_check(strcmp(again.method, call->method) == 0 && again.more == call->more && again.oneway == call->oneway);
    expect_same_parameters(call->parameters, again.parameters);
    cJSON_Delete(tree);
    free(bytes);
}

static void try_message(const char *bytes, size_t size)
{
    char reason[VARLINK_REASON_MAX + 1];
    struct varlink_call call;
    bool plain;
    char *copy = fuzz_copy(bytes, size);
    fuzz_check(submit_is_same(copy, size, &plain));
    memset(reason, 'x', sizeof reason);
    cJSON *tree = varlink_parse(copy, size, reason);
    if (tree == NULL) {
        size_t n = strnlen(reason, sizeof reason);
        fuzz_check(n > 0 && n <= VARLINK_REASON_MAX);
    } else {
        fuzz_check(varlink_utf8_valid(copy, size));
        try_printed(tree);
        if (varlink_call_read(tree, &call))
            try_call(&call);
        cJSON_Delete(tree);
    }
    free(copy);
}

/* --- what is written --- */

/* The bytes of the character that begins there; 0: none does. Source: The Unicode Standard, table 3-7. */
static size_t character_size(const uint8_t *p, size_t left)
{
    const size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    const bool too_long = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    const bool no_character = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    return too_long || no_character ? 0 : n;
}

/* The bytes as a text: a U+FFFD for each that belongs to no character. */
static char *text_of(const char *bytes, size_t size, bool *ret_valid)
{
    char *text = calloc(3, size + 1), *at = text;
    if (text == NULL)
        abort();
    *ret_valid = true;
    for (size_t i = 0; i < size;) {
        const size_t n = character_size((const uint8_t *)bytes + i, size - i);
        memcpy(at, n > 0 ? bytes + i : "\xef\xbf\xbd", n > 0 ? n : 3);
        at += n > 0 ? n : 3;
        i += n > 0 ? n : 1;
        *ret_valid = *ret_valid && n > 0;
    }
    return text;
}

static void try_text(const char *bytes, size_t size)
{
    char reason[VARLINK_REASON_MAX + 1];
    struct varlink_writer w = {0};
    bool valid;
    varlink_write_open(&w, NULL, '{');
    varlink_write_text(&w, "a", bytes, size);
    varlink_write_close(&w, '}');
    fuzz_check(!w.failed && varlink_utf8_valid(w.bytes, w.size));
    cJSON *tree = varlink_parse(w.bytes, w.size, reason);
    char *wanted = text_of(bytes, size, &valid);
    fuzz_check(varlink_utf8_valid(bytes, size) == valid);
    if (memchr(bytes, 0, size) == NULL) {
        const char *text = NULL;
        fuzz_check(tree != NULL && varlink_get_string(tree, "a", &text) && text != NULL);
        fuzz_check(strcmp(text, wanted) == 0);
    } else {
        fuzz_check(tree == NULL);
    }
    free(wanted);
    cJSON_Delete(tree);
    free(w.bytes);
}

static void try_number(int64_t v)
{
    char reason[VARLINK_REASON_MAX + 1];
    struct varlink_writer w = {0};
    int64_t n = 0, u = 0;
    bool positive = false;
    varlink_write_open(&w, NULL, '{');
    varlink_write_int(&w, "n", v);
    varlink_write_uint(&w, "u", (uint64_t)v);
    varlink_write_bool(&w, "positive", v > 0);
    varlink_write_close(&w, '}');
    cJSON *tree = w.failed ? NULL : varlink_parse(w.bytes, w.size, reason);
    fuzz_check(tree != NULL && varlink_get_int(tree, "n", INT64_MIN, INT64_MAX, &n) && n == v);
    fuzz_check(varlink_get_int(tree, "u", INT64_MIN, INT64_MAX, &u) && u == (v < 0 ? INT64_MAX : v));
    fuzz_check(varlink_get_bool(tree, "positive", &positive) && positive == (v > 0));
    cJSON_Delete(tree);
    free(w.bytes);
}

static void try_numbers(const char *bytes, size_t size)
{
    for (size_t i = 0; i < NUMBERS && (i + 1) * sizeof(int64_t) <= size; i++) {
        int64_t v;
        memcpy(&v, bytes + i * sizeof v, sizeof v);
        try_number(v);
    }
    try_number((int64_t)size);
    try_number(INT64_MIN + (int64_t)(size % 2));
    try_number(INT64_MAX - (int64_t)(size % 2));
}

/* --- the framer --- */

/* The bytes before the one that makes a message too long; all where none does. */
static size_t fitting(const char *stream, size_t size, size_t bytes_max)
{
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        length = stream[i] != 0 ? length + 1 : 0;
        if (length > bytes_max)
            return i;
    }
    return size;
}

static size_t longest(const char *stream, size_t size)
{
    size_t length = 0, most = 0;
    for (size_t i = 0; i < size; i++) {
        length = stream[i] != 0 ? length + 1 : 0;
        most = length > most ? length : most;
    }
    return most;
}

/* Takes the message that begins the stream, where it is whole, and nothing where it is not. Answers its size with its
 * NUL. */
static size_t take_message(struct varlink_framer *f, const char *stream, size_t size)
{
    const char *message, *nul = size > 0 ? memchr(stream, 0, size) : NULL;
    size_t n;
    fuzz_check(varlink_framer_next(f, &message, &n) == (nul != NULL));
    if (nul == NULL)
        return 0;
    fuzz_check(n == (size_t)(nul - stream) && memcmp(message, stream, n) == 0);
    if (f->bytes_max == MESSAGE_BYTES_MAX)
        try_message(message, n);
    return n + 1;
}

static size_t take_messages(struct varlink_framer *f, const char *stream, size_t size)
{
    size_t n, at = 0;
    while ((n = take_message(f, stream + at, size - at)) > 0)
        at += n;
    return at;
}

/* What was refused is not there: what came before is a message, once it ends. */
static void end_message(struct varlink_framer *f, const char *stream, size_t size)
{
    char *ended = calloc(1, size + 1);
    if (ended == NULL)
        abort();
    memcpy(ended, stream, size);
    fuzz_check(varlink_framer_add(f, "", 1) == 0);
    fuzz_check(take_messages(f, ended, size + 1) == size + 1);
    free(ended);
}

static void try_stream(const char *stream, size_t size, uint8_t how, size_t bytes_max)
{
    const size_t chunk = (size_t)(how & ~TAKE_LATE) + 1, fit = fitting(stream, size, bytes_max);
    size_t at, n, taken = 0;
    struct varlink_framer f;
    varlink_framer_init(&f, bytes_max);
    for (at = 0; at < size; at += n) {
        n = size - at < chunk ? size - at : chunk;
        fuzz_check(varlink_framer_add(&f, stream + at, n) == (at + n > fit ? -EMSGSIZE : 0));
        if (at + n > fit)
            break;
        taken += how & TAKE_LATE ? take_message(&f, stream + taken, at + n - taken)
                                 : take_messages(&f, stream + taken, at + n - taken);
        varlink_framer_fit(&f);
    }
    taken += take_messages(&f, stream + taken, at - taken);
    end_message(&f, stream + taken, at - taken);
    varlink_framer_done(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *stream = (const char *)data + 1;
    size--;
    const size_t most = longest(stream, size);
    try_stream(stream, size, data[0], MESSAGE_BYTES_MAX);
    try_stream(stream, size, data[0], most);
    if (most > 0)
        try_stream(stream, size, data[0], most - 1);
    try_text(stream, size);
    try_numbers(stream, size);
    try_message(stream, size);
    return 0;
}
