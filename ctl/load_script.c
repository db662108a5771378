#include "ctl/load_script.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* In single quotes, so that no character of a path means anything to the shell. */
static void print_quoted(FILE *f, const char *text)
{
    putc('\'', f);
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", f);
        else
            putc(*text, f);
    }
    putc('\'', f);
}

static void print_script(FILE *f, const struct invocation *v, uint32_t n_clients, uint32_t n_messages,
                         unsigned drop_rate)
{
    fprintf(f,
            "#!/bin/sh\n"
            "# %" PRIu32 " clients at once, a process each; each sends %" PRIu32
            " messages as author client_<client>.\n"
            "ctl=${MPAXOSCTL:-mpaxosctl}\n"
            "failed=0 pids= client=0\n"
            "while [ $client -lt %" PRIu32 " ]; do\n"
            "    {\n"
            "        i=0\n"
            "        while [ $i -lt %" PRIu32 " ]; do\n"
            "            printf 's\\nmessage_%%d_%%d\\n' $client $i\n"
            "            i=$((i + 1))\n"
            "        done\n"
            "        echo e\n"
            "    } | \"$ctl\"",
            n_clients, n_messages, n_clients, n_messages);
    if (v->place.id >= 0)
        fprintf(f, " -i %d", v->place.id);
    if (v->place.dir) {
        fputs(" --dir ", f);
        print_quoted(f, v->place.dir);
    }
    if (v->place.socket) {
        fputs(" --socket ", f);
        print_quoted(f, v->place.socket);
    }
    fputs(" client $client", f);
    if (drop_rate)
        fprintf(f, " %u", drop_rate);
    fputs(" &\n"
          "    pids=\"$pids $!\"\n"
          "    client=$((client + 1))\n"
          "done\n"
          "for pid in $pids; do\n"
          "    wait $pid || failed=1\n"
          "done\n"
          "exit $failed\n",
          f);
}

int load_script_write(const struct invocation *v, const char *path, uint32_t n_clients, uint32_t n_messages,
                      unsigned drop_rate)
{
    if (!strcmp(path, "-")) {
        print_script(stdout, v, n_clients, n_messages, drop_rate);
        return EXIT_DONE;
    }
    FILE *f = fopen(path, "we");
    bool ok = f != NULL;
    if (f) {
        print_script(f, v, n_clients, n_messages, drop_rate);
        ok = !ferror(f) && fchmod(fileno(f), 0755) == 0;
        ok &= fclose(f) == 0;
    }
    if (ok) {
        if (v->report.json == JSON_OFF)
            printf("wrote %s\n", path);
        return EXIT_DONE;
    }
    struct failure failure = {0};
    failure_set(&failure, EXIT_FAILED, "org.mpaxos.Control.NotWritten", NULL,
                "%s: %s. Choose another place for --script", path, strerror(errno));
    report_failure(&v->report, &failure);
    failure_done(&failure);
    return EXIT_FAILED;
}
