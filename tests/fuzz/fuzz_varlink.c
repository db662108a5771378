/* What a client may write to the control socket, as far as wire/varlink.h goes: frames, JSON, calls, parameters.
 *
 * Input: a byte (how large a chunk is), then the stream. Checked besides: chunks of any size give the messages that the
 * NULs delimit; what is taken is well-formed, and is taken again when it is printed; a Submit that is read without
 * parsing is what parsing makes of it; any bytes that are written as a text come out as one, unchanged where they are
 * UTF-8. */
#include <errno.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/submit_compare.h"
#include "wire/varlink.h"
#include "wire/varlink_writer.h"

enum { MESSAGE_BYTES_MAX = 4096 };

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

static void try_text(const char *bytes, size_t size)
{
    char reason[VARLINK_REASON_MAX + 1];
    struct varlink_writer w = {0};
    varlink_write_open(&w, NULL, '{');
    varlink_write_text(&w, "a", bytes, size);
    varlink_write_int(&w, "b", (int64_t)size);
    varlink_write_close(&w, '}');
    fuzz_check(!w.failed && varlink_utf8_valid(w.bytes, w.size));
    cJSON *tree = varlink_parse(w.bytes, w.size, reason);
    if (memchr(bytes, 0, size) == NULL) {
        const char *text = NULL;
        fuzz_check(tree != NULL && varlink_get_string(tree, "a", &text) && text != NULL);
        if (varlink_utf8_valid(bytes, size))
            fuzz_check(strlen(text) == size && memcmp(text, bytes, size) == 0);
    }
    cJSON_Delete(tree);
    free(w.bytes);
}

/* Takes what is whole, and compares it with where the NULs are; answers the bytes of `stream` that were taken. */
static size_t take_messages(struct varlink_framer *f, const char *stream, size_t size)
{
    const char *message;
    size_t n, at = 0;
    while (varlink_framer_next(f, &message, &n)) {
        fuzz_check(at + n < size && memchr(stream + at, 0, size - at) == stream + at + n);
        fuzz_check(n <= MESSAGE_BYTES_MAX && memcmp(message, stream + at, n) == 0);
        try_message(message, n);
        at += n + 1;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *stream = (const char *)data + 1;
    size_t chunk = (size_t)data[0] + 1, taken = 0;
    struct varlink_framer f;
    varlink_framer_init(&f, MESSAGE_BYTES_MAX);
    size--;
    for (size_t at = 0; at < size; at += chunk) {
        size_t n = size - at < chunk ? size - at : chunk;
        int r = varlink_framer_add(&f, stream + at, n);
        fuzz_check(r == 0 || r == -EMSGSIZE);
        if (r < 0)
            break;
        taken += take_messages(&f, stream + taken, at + n - taken);
    }
    varlink_framer_done(&f);
    try_text(stream, size);
    try_message(stream, size);
    return 0;
}
