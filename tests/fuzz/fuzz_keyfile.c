/* The file of the cluster key: what is taken reads back as it was; of what is refused the line is told, and why. */
#include <ctype.h>
#include <sodium.h>

#include "host/keyfile.h"
#include "tests/fuzz/fuzz.h"

enum { DIGITS = KEYFILE_LINE_SIZE - 1 };

static bool is_key(const char *line, size_t size)
{
    size_t n = 0;
    while (n < size && isxdigit((unsigned char)line[n]))
        n++;
    return n == size && size == DIGITS;
}

static bool is_same_key(const char *a, const char *b)
{
    size_t n = 0;
    while (n < DIGITS && tolower((unsigned char)a[n]) == tolower((unsigned char)b[n]))
        n++;
    return n == DIGITS;
}

/* The first line that is no key, or one too many, or the second time the same; 0: it is good. */
static uint32_t expect(const char *text, size_t size, uint32_t *ret_keys)
{
    *ret_keys = 0;
    for (size_t at = 0; at < size; at++) {
        size_t from = at;
        while (at < size && text[at] != '\n')
            at++;
        if (*ret_keys == SEAL_KEYS_MAX || !is_key(text + from, at - from))
            return *ret_keys + 1;
        ++*ret_keys;
    }
    return *ret_keys == 0 ? 1 : *ret_keys == 2 && is_same_key(text, text + KEYFILE_LINE_SIZE) ? 2 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seal_keys keys;
    const char *why = NULL;
    char *text = fuzz_copy(data, size), line[KEYFILE_LINE_SIZE];
    uint32_t n_keys, wrong = keyfile_parse(text, size, &keys, &why);
    fuzz_check(wrong == expect(text, size, &n_keys));
    fuzz_check(why != NULL && why[0] != '\0' && keys.n == n_keys);
    for (uint32_t i = 0; wrong == 0 && i < keys.n; i++) {
        keyfile_line(keys.keys[i], line);
        fuzz_check(strlen(line) == DIGITS && is_same_key(text + (size_t)i * KEYFILE_LINE_SIZE, line));
    }
    free(text);
    return 0;
}
