/* The file of the cluster key: what is taken reads back as it was; what is refused says why. */
#include <sodium.h>

#include "host/keyfile.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seal_keys keys;
    const char *why;
    char *text = fuzz_copy(data, size), line[KEYFILE_LINE_SIZE];
    uint32_t wrong = keyfile_parse(text, size, &keys, &why);
    fuzz_check(why != NULL && keys.n <= SEAL_KEYS_MAX);
    for (uint32_t i = 0; wrong == 0 && i < keys.n; i++) {
        keyfile_line(keys.keys[i], line);
        for (size_t k = 0; k < KEYFILE_LINE_SIZE - 1; k++)
            fuzz_check((text[i * KEYFILE_LINE_SIZE + k] | 0x20) == (line[k] | 0x20));
    }
    fuzz_check(wrong != 0 || keys.n > 0);
    free(text);
    return 0;
}
