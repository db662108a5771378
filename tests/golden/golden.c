/* golden [--rewrite] FILE...: does what the files' commands say to a cluster of real cores, and compares what happens
 * with what stands under each command. Lines of a file: `# comment`, a command, and its output, which is indented.
 *
 *   replicas N [blank] [down=R] [alpha=A] [page=P] [keys=K] [streams=S]   a new cluster
 *   show WORD...                  leaders, records, messages or a type of them, applied, outcomes, nothing
 *   quiet, loud                   the usual choices of that
 *   run 50ms                      time runs: packets and syncs take 1 ms
 *   run until leader [R] | told | chosen S | voters
 *   tick R 50ms                   time passes, but only R looks at its clock
 *   deliver LINK [TYPE [NTH]]     what is in flight there arrives.  LINK: 0>1, one way; 0-1, both; *>2, from all
 *   drop LINK [TYPE [NTH]]        ... is dropped
 *   cut LINK... [TYPE]            what is sent there is lost
 *   hold LINK... [TYPE]           ... stays in flight while time runs
 *   links LINK...                 these exist, all others are cut
 *   heal [LINK...]                neither cut nor held
 *   submit R "TEXT" [key=K] [stream=S] [since=SLOT]      n on a named stream counts by itself
 *   position R, skip R SLOT..., transfer R [TO], bootstrap R
 *   crash R, restart R, wipe R    power fails: what is not synced is gone;  wipe: so is the rest
 *   pause R, resume R             SIGSTOP, SIGCONT
 *   stall R, sync R               its disk syncs by command only: now
 *   checkpoint R                  it writes one, and keeps of its log what is above
 *   status, log
 */
#include "tests/golden/golden.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "paxos/invariant.h"

static const char *file;
static int line;

void golden_bad(const char *what, const char *word)
{
    fprintf(stderr, "golden: %s:%d: %s \"%s\"\n", file, line, what, word);
    exit(2);
}

_Noreturn void invariant_failed(const char *source, int at, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "golden: %s:%d: breaks an invariant, %s:%d: %s (%lu, %lu)\n", file, line, source, at, what, a, b);
    exit(1);
}

/* What the file should be. False where two replicas disagreed: no file may expect that. */
static bool play(char *text, FILE *out)
{
    struct world w = {.out = out, .now_usec = 1000000, .show = SHOW_LOUD};
    line = 0;
    for (char *p = text; *p != '\0' && !w.disagreed;) {
        char *end = strchr(p, '\n');
        line++;
        if (end == NULL)
            golden_bad("no newline at the end of the file:", p);
        *end = '\0';
        if (*p != ' ') {
            fprintf(out, "%s\n", p);
            if (*p != '#' && *p != '\0')
                command_run(&w, p);
        }
        p = end + 1;
    }
    if (w.disagreed)
        fputs("    TWO VALUES IN ONE SLOT\n", out);
    world_done(&w);
    return !w.disagreed;
}

static char *read_file(size_t *ret_size)
{
    char *text = NULL;
    FILE *in = fopen(file, "r"), *copy = open_memstream(&text, ret_size);
    if (in == NULL || copy == NULL) {
        perror(file);
        exit(2);
    }
    for (int c; (c = getc(in)) != EOF;)
        putc(c, copy);
    fclose(in);
    fclose(copy);
    return text;
}

static void show_difference(const char *text)
{
    int ends[2];
    if (pipe(ends) != 0)
        return;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[0], 0);
        close(ends[0]);
        close(ends[1]);
        execlp("diff", "diff", "-u", "--label", file, "--label", "what happened", file, "-", (char *)NULL);
        _exit(2);
    }
    close(ends[0]);
    FILE *in = fdopen(ends[1], "w");
    if (in != NULL) {
        fputs(text, in);
        fclose(in);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

static bool check_file(bool rewrite)
{
    size_t size, wanted_size;
    char *text = read_file(&size), *original = strdup(text), *wanted = NULL;
    FILE *out = open_memstream(&wanted, &wanted_size);
    if (original == NULL || out == NULL) {
        perror("golden");
        exit(2);
    }
    bool ok = play(text, out);
    fclose(out);
    bool same = strcmp(original, wanted) == 0;
    if (!same && rewrite && ok) {
        FILE *f = fopen(file, "w");
        if (f == NULL || fputs(wanted, f) == EOF || fclose(f) != 0) {
            perror(file);
            exit(2);
        }
        printf("%s: rewritten\n", file);
    } else if (!same) {
        show_difference(wanted);
        ok = false;
    }
    free(text);
    free(original);
    free(wanted);
    return ok;
}

int main(int argc, char **argv)
{
    bool rewrite = argc > 1 && strcmp(argv[1], "--rewrite") == 0, ok = true;
    if (argc < 2 + rewrite) {
        fputs("Usage: golden [--rewrite] FILE...\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1 + rewrite; i < argc; i++) {
        file = argv[i];
        ok = check_file(rewrite) && ok;
        fflush(stdout);
    }
    return ok ? 0 : 1;
}
