/* Runs inputs through a fuzz target without libFuzzer: `fuzz_<what>_replay [FILE | DIRECTORY]...`; without arguments
 * the target's corpus in $MPAXOS_SOURCE. An input that takes longer than REPLAY_SECONDS_MAX hangs. */
#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { REPLAY_SECONDS_MAX = 60, NO_ARGUMENT = 64, NO_INPUT = 66 };

static void replay_file(const char *path, size_t size)
{
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    FILE *f = fopen(path, "rb");
    if (bytes == NULL || f == NULL || fread(bytes, 1, size, f) != size) {
        perror(path);
        exit(NO_INPUT);
    }
    fclose(f);
    fprintf(stderr, "%s\n", path); /* before, so that the last line names the one that fails */
    alarm(REPLAY_SECONDS_MAX);
    LLVMFuzzerTestOneInput(bytes, size);
    alarm(0);
    free(bytes);
}

static unsigned replay(const char *path);

static unsigned replay_directory(const char *path)
{
    struct dirent **names;
    unsigned count = 0;
    int n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char inside[PATH_MAX];
        if (names[i]->d_name[0] != '.' && snprintf(inside, sizeof inside, "%s/%s", path, names[i]->d_name) < PATH_MAX)
            count += replay(inside);
        free(names[i]);
    }
    if (n >= 0)
        free((void *)names);
    return count;
}

static unsigned replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        perror(path);
        exit(NO_INPUT);
    }
    if (S_ISDIR(st.st_mode))
        return replay_directory(path);
    replay_file(path, (size_t)st.st_size);
    return 1;
}

/* .../fuzz_<what>_replay -> $MPAXOS_SOURCE/tests/fuzz/corpus/<what> */
static unsigned replay_own_corpus(const char *program)
{
    const char *name = strrchr(program, '/') != NULL ? strrchr(program, '/') + 1 : program;
    const char *source = getenv("MPAXOS_SOURCE");
    char what[64], path[PATH_MAX];
    if (source == NULL || sscanf(name, "fuzz_%63[a-z]_replay", what) != 1) {
        fprintf(stderr, "usage: %s [FILE | DIRECTORY]...\n", name);
        exit(NO_ARGUMENT);
    }
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", source, what);
    return replay(path);
}

int main(int argc, char **argv)
{
    unsigned n = argc < 2 ? replay_own_corpus(argv[0]) : 0;
    for (int i = 1; i < argc; i++)
        n += replay(argv[i]);
    printf("%u inputs replayed\n", n);
    return n > 0 ? 0 : NO_INPUT;
}
