/* keygen: a new cluster key. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "ctl/new_file.h"
#include "host/keyfile.h"

#define PACKAGED "/etc/mpaxosd/cluster.key"

/* A key that is there already may be the only one that its cluster has: it is never written over. */
static int write_file(const struct invocation *v, const char *path, const char line[KEYFILE_LINE_SIZE],
                      const char *name)
{
    const struct new_file f = {
        .path = path,
        .mode = 0600,
        .if_there = "Name another one; to add a second key to it, append what `mpaxosctl keygen -' prints",
        .if_not_to_be_opened = "Choose another place",
    };
    char text[KEYFILE_LINE_SIZE + 1];
    snprintf(text, sizeof text, "%s\n", line);
    int status = new_file_write(v, &f, text, KEYFILE_LINE_SIZE);
    sodium_memzero(text, sizeof text);
    if (status != EXIT_DONE)
        return status;
    if (v->report.json != JSON_OFF) {
        cJSON *p = cJSON_CreateObject();
        cJSON_AddStringToObject(p, "path", path);
        cJSON_AddStringToObject(p, "key", name);
        report_json(&v->report, p, false);
        cJSON_Delete(p);
        return EXIT_DONE;
    }
    printf("wrote %s, key %s\n"
           "Put it on every host, by a way that nobody reads along, as the daemon's user's own:\n"
           "  install -m 0400 -o mpaxosd -g mpaxosd %s " PACKAGED "\n",
           path, name, path);
    return EXIT_DONE;
}

int verb_keygen(const struct invocation *v)
{
    const char *path = v->arguments->n_operands > 0 ? v->arguments->operands[0] : "cluster.key";
    uint8_t key[SEAL_KEY_SIZE], id[SEAL_ID_SIZE];
    char line[KEYFILE_LINE_SIZE], name[SEAL_NAME_SIZE];
    int status = EXIT_DONE;
    if (sodium_init() < 0)
        return new_file_fail(v, path, "libsodium has no randomness", "Check getrandom(2)");
    randombytes_buf(key, sizeof key);
    seal_key_id(key, id);
    seal_key_name(id, name);
    keyfile_line(key, line);
    if (strcmp(path, "-") == 0)
        puts(line);
    else
        status = write_file(v, path, line, name);
    sodium_memzero(key, sizeof key);
    sodium_memzero(line, sizeof line);
    return status;
}
