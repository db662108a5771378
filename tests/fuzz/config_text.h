/* A good replica_config.json made of an input, or one with a single mistake in a place that is known. */
#ifndef TESTS_FUZZ_CONFIG_TEXT_H
#define TESTS_FUZZ_CONFIG_TEXT_H

#include "host/config.h"
#include "tests/fuzz/fuzz.h"

struct config_text {
    char bytes[1 << 16];
    size_t size;
    struct config config;  /* what stands there; the replicas as they are listed */
    uint32_t wrong_line;   /* 0: it is good */
    const char *wrong_key; /* NULL: none */
};

/* Input: which member is wrong u8, and how u8 (enum config_mistake, modulo); then choices, as they come. */
void config_text_make(struct config_text *t, struct fuzz_input *in);

#endif
