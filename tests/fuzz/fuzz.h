/* Fuzz targets: one program a fuzz_<what>.c, which defines LLVMFuzzerTestOneInput() and nothing else that is seen.
 *
 * With clang, `make fuzz` links each with libFuzzer under ASan and UBSan; with any compiler, replay.c runs the inputs
 * in corpus/<what>/ through it: seeds (by seeds.c), and what once was a finding ("found-..."). An input decides
 * everything: the same bytes, the same run. A finding is a crash, a sanitizer's report, a hang, or a fuzz_check() that
 * does not hold. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv); /* optional; libFuzzer calls it first */

#define fuzz_check(condition) ((condition) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #condition))

_Noreturn static inline void fuzz_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

/* Choices from the front of an input; zeros once it has ended. */
struct fuzz_input {
    const uint8_t *at, *end;
};

static inline size_t fuzz_left(const struct fuzz_input *in)
{
    return (size_t)(in->end - in->at);
}

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
    uint16_t low = fuzz_u8(in);
    return (uint16_t)(low | fuzz_u8(in) << 8);
}

/* The next bytes, as many of `size_max` as there are. */
static inline const uint8_t *fuzz_take(struct fuzz_input *in, size_t size_max, size_t *ret_size)
{
    const uint8_t *p = in->at;
    *ret_size = size_max < fuzz_left(in) ? size_max : fuzz_left(in);
    in->at += *ret_size;
    return p;
}

/* On the heap, of just that size, so that a sanitizer sees a read past the end. To be freed. */
static inline void *fuzz_copy(const void *bytes, size_t size)
{
    void *copy = calloc(1, size);
    if (copy == NULL)
        abort();
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

#endif
