/* mpaxosd: the command line, and which of the two ways to run it asks for. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "host/config.h"
#include "host/keyfile.h"
#include "host/local.h"
#include "host/log.h"
#include "host/notice.h"
#include "host/serve.h"
#include "host/supervisor.h"

#ifndef MPAXOS_VERSION
#define MPAXOS_VERSION "unversioned"
#endif

static const char usage[] = "Usage: mpaxosd [--dir DIR] [--key-file FILE] CONFIG [-i N]\n"
                            "       mpaxosd --is-local CONFIG -i N\n";

static const char help[] = "Runs replicas of the cluster that the file CONFIG describes.\n"
                           "\n"
                           "Without -i, in script mode: all of them, as child processes.\n"
                           "\n"
                           "  -i N         run replica N alone, in the foreground\n"
                           "      --dir DIR\n"
                           "               keep state, control sockets and chat log files under DIR\n"
                           "      --key-file FILE\n"
                           "               the cluster key, of which mpaxosctl keygen makes one; not needed while all\n"
                           "               addresses are loopback ones\n"
                           "      --is-local\n"
                           "               run nothing: exit with 0 if replica N's address is this host's, 1 if not,\n"
                           "               255 if that cannot be told: its name cannot be looked up, or no replica's\n"
                           "               address is this host's yet\n"
                           "  -h, --help   print this\n"
                           "      --version\n"
                           "               print the version\n"
                           "\n"
                           "Exit status: 0 stopped as asked, 1 failed, 64 usage, 65 state refused, 74 disk,\n"
                           "78 configuration. See mpaxosd(8) and replica_config.json(5).\n";

struct arguments {
    const char *dir, *config_path, *key_path;
    int id; /* -1: not given */
    bool is_local;
};

enum { OPTION_DIR = 256, OPTION_IS_LOCAL, OPTION_KEY_FILE, OPTION_VERSION };
enum { EXIT_UNKNOWN = 255 }; /* of --is-local; to a systemd unit's ExecCondition= it is a failure */

static int complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int complain_usage(const char *format, ...)
{
    va_list arguments;

    fputs("mpaxosd: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n%s", usage);
    return EX_USAGE;
}

/* -1: go on; else the exit status. */
static int read_arguments(int argc, char **argv, struct arguments *ret)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, OPTION_DIR},     {"help", no_argument, NULL, 'h'},
        {"is-local", no_argument, NULL, OPTION_IS_LOCAL}, {"key-file", required_argument, NULL, OPTION_KEY_FILE},
        {"version", no_argument, NULL, OPTION_VERSION},   {NULL, 0, NULL, 0},
    };
    char *end;
    long id;

    *ret = (struct arguments){.id = -1};
    for (int c; (c = getopt_long(argc, argv, "hi:", options, NULL)) != -1;) {
        switch (c) {
        case 'i':
            errno = 0;
            id = strtol(optarg, &end, 10);
            if (optarg[0] < '0' || optarg[0] > '9' || *end || errno || id > REPLICA_ID_MAX)
                return complain_usage("-i %s: an id is an integer from 0 to %d", optarg, REPLICA_ID_MAX);
            ret->id = (int)id;
            break;
        case OPTION_DIR:
            ret->dir = optarg;
            break;
        case OPTION_KEY_FILE:
            ret->key_path = optarg;
            break;
        case OPTION_IS_LOCAL:
            ret->is_local = true;
            break;
        case 'h':
            printf("%s%s", usage, help);
            return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        case OPTION_VERSION:
            printf("mpaxosd %s\n", MPAXOS_VERSION);
            return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        default: /* getopt has said what is wrong */
            fputs(usage, stderr);
            return EX_USAGE;
        }
    }
    if (optind == argc)
        return complain_usage(
            "CONFIG is missing; name a file such as replica_config.json, which \"mpaxosctl config generate 1\" "
            "writes");
    if (argc - optind > 1)
        return complain_usage("%s: one CONFIG is enough", argv[optind + 1]);
    if (ret->is_local && ret->id < 0)
        return complain_usage("--is-local asks about one replica; add -i N");
    ret->config_path = argv[optind];
    return -1;
}

/* The ids of the file, for the one that is not among them. */
static int complain_id(const struct arguments *a, const struct config *c)
{
    char ids[REPLICAS_MAX * 5 + 1] = "";
    size_t at = 0;

    for (uint32_t i = 0; i < c->n_replicas; i++)
        at += (size_t)snprintf(ids + at, sizeof ids - at, "%s%u", i ? ", " : "", c->replicas[i].id);
    return complain_usage("-i %d: %s has no such replica, but %s", a->id, a->config_path, ids);
}

/* On a terminal the line alone, as a compiler would say it. */
static int refuse_config(const struct arguments *a, const char *error)
{
    log_start(a->id);
    if (log_is_journal())
        notice(NOTICE_CONFIG_REFUSED, &(struct notice_about){.path = a->config_path}, "%s", error);
    else
        fprintf(stderr, "%s\n", error);
    return EX_CONFIG;
}

static int refuse_key(const struct arguments *a, const char *error)
{
    log_start(a->id);
    notice(NOTICE_KEY_REFUSED, &(struct notice_about){.path = a->key_path}, "%s", error);
    return EX_CONFIG;
}

static bool has_local(const struct config *c)
{
    const char *reason;

    for (uint32_t i = 0; i < c->n_replicas; i++)
        if (host_is_local(c->replicas[i].host, &reason) > 0)
            return true;
    return false;
}

/* At boot a host may not have its addresses yet, which a no would make final: it takes one that this host has.
 *
 * A configuration that is wrong is a yes: so the start that follows says what is wrong, and fails, where a unit whose
 * condition does not hold would be passed over in silence. */
static int answer_is_local(const struct config *c, replica_id_t id)
{
    const char *host = config_find(c, id)->host, *reason;
    int answer = host_is_local(host, &reason);

    log_start(id);
    if (answer < 0) {
        log_line(LOG_LEVEL_ERROR,
                 "whether %s is this host cannot be told: %s; check \"ip\" of replica %u, the network, or DNS", host,
                 reason, id);
    } else if (answer == 0 && !has_local(c)) {
        log_line(LOG_LEVEL_ERROR,
                 "none of the configuration's addresses is this host's (yet); see that the network is up, or check "
                 "each \"ip\"");
        answer = -1;
    } else if (answer == 0) {
        log_line(LOG_LEVEL_INFO, "%s is not this host", host);
    }
    return answer < 0 ? EXIT_UNKNOWN : answer == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static struct config config; /* large; the driver keeps pointing to it */
    char error[KEYFILE_ERROR_MAX + 1];
    struct serve_options o = {.config = &config, .version = MPAXOS_VERSION};
    struct arguments a;
    sigset_t hang_up;
    int status = read_arguments(argc, argv, &a);

    if (status >= 0)
        return status;
    umask(0027);
    signal(SIGPIPE, SIG_IGN); /* a client that is gone answers EPIPE */
    signal(SIGXFSZ, SIG_IGN); /* and a file over its limit EFBIG     */
    sigemptyset(&hang_up);    /* it waits until there is something to reload, which read the file before it came */
    sigaddset(&hang_up, SIGHUP);
    sigprocmask(SIG_BLOCK, &hang_up, NULL);
    if (config_read(a.config_path, &config, error) < 0)
        return a.is_local ? EXIT_SUCCESS : refuse_config(&a, error);
    if (a.id >= 0) {
        bool found = config_find(&config, (replica_id_t)a.id) != NULL;
        if (a.is_local)
            return found ? answer_is_local(&config, (replica_id_t)a.id) : EXIT_SUCCESS;
        if (!found)
            return complain_id(&a, &config);
    } else if (!config.script) {
        return complain_usage("%s is in manual mode, where each replica is started by itself; add -i N", a.config_path);
    }
    if (keyfile_load(a.key_path, &config, &o.keys, error) < 0)
        return refuse_key(&a, error);
    if (a.id < 0) {
        sodium_free(o.keys); /* each replica reads its own */
        log_start(-1);
        return supervisor_run(&config, a.config_path, a.dir, a.key_path);
    }
    o.config_path = a.config_path;
    o.key_path = a.key_path;
    o.id = (replica_id_t)a.id;
    o.dir = a.dir;
    return serve_replica(&o);
}
