/* The file of the cluster key: one or two lines of 64 hexadecimal digits, each a key. The first is used for what this
 * replica sends, both for what comes in (wire/seal.h). Keys are kept in host/secret.h's memory; nothing here logs. */
#ifndef HOST_KEYFILE_H
#define HOST_KEYFILE_H

#include "host/config.h"
#include "wire/seal.h"

enum { KEYFILE_LINE_SIZE = 2 * SEAL_KEY_SIZE + 1, KEYFILE_ERROR_MAX = 1023 };

/* *ret: the keys, for sodium_free(); NULL where there is none, which is allowed only while every address of the
 * configuration is a loopback one. Refused: a file that others than its owner may touch, of an owner who is neither
 * root nor this process's user, or with anything else in it. `path` may be NULL. 0; or -1 with one line: what, where,
 * what to do (KEYFILE_ERROR_MAX + 1 bytes). */
int keyfile_load(const char *path, const struct config *c, struct seal_keys **ret, char *ret_error);

/* The text alone. 0; or the number of the line that is wrong, with what is, for "...; what to write". */
uint32_t keyfile_parse(const char *bytes, size_t size, struct seal_keys *ret, const char **ret_error);

/* A key as its line, without the line feed. */
void keyfile_line(const uint8_t key[SEAL_KEY_SIZE], char ret[KEYFILE_LINE_SIZE]);

bool keyfile_equal(const struct seal_keys *a, const struct seal_keys *b);

#endif
