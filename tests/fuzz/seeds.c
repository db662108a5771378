/* Writes the seeds of all targets: `seeds DIRECTORY` makes DIRECTORY/<what>/<name>. `make fuzz-seeds` runs it over the
 * corpus in the tree; only then do seeds change. Small inputs, one for each thing that is worth a start: the fuzzer
 * finds what lies between them. */
#include "tests/fuzz/seeds.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *directory;
static FILE *seed;

static void check(bool ok, const char *path)
{
    if (ok)
        return;
    perror(path);
    exit(EXIT_FAILURE);
}

void seed_begin(const char *what, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", directory, what);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/%s/%s", directory, what, name);
    seed = fopen(path, "wb");
    check(seed != NULL, path);
}

void seed_end(void)
{
    check(fclose(seed) == 0, directory);
}

void put(const void *bytes, size_t size)
{
    fwrite(bytes, 1, size, seed);
}

void put8(unsigned v)
{
    putc((int)(v & 0xff), seed);
}

void put16(unsigned v)
{
    put8(v);
    put8(v >> 8);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 64;
    }
    directory = argv[1];
    mkdir(directory, 0755);
    make_peer_seeds();
    make_socket_seeds();
    make_disk_seeds();
    make_seal_seeds();
    make_driver_seeds();
    return 0;
}
