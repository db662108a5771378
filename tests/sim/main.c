/* The simulator: whole clusters of the daemon's own code in a simulated world, each from one seed (sim.h).
 *
 *   sim [--seeds FILE]             the seeds of a file, one a line, behind # a comment
 *   sim [--count N] [--from SEED]  N seeds (100), from a fresh one or from SEED on
 *   sim --seconds S [--from SEED]  as many as fit into the time
 *   sim --seed N [--trace]         one, with its last events where it fails, or with every event
 *   --scenario NAME                a directed one, of scenario.c
 *   --faults                       how often each fault really happened; one that never did is a failure
 *   --jobs J                       processes at once; by default one a processor
 *   --quiet                        no line for each seed
 *
 * Steps, as printed, are events that a core was handed (replica_step()), of all hosts together.
 *
 * Exit status 0: nothing found. 1: a rule is broken; the seed and how to see it again are printed. 64: the command is
 * wrong. 66: FILE cannot be read. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/fault.h"

enum {
    WATCHDOG_S = 300, /* one run that takes longer hangs */
    JOBS_MAX = 64,
    MMAP_BYTES = 32 << 20, /* the most that there may be */
    KEPT_BYTES = 1 << 30,
    TOP_BYTES = 16 << 20,
};

/* What all jobs together did: shared memory. */
struct tally {
    uint64_t next, runs, steps, failed;
    uint64_t happened[HAPPENED_KINDS], seeds[HAPPENED_KINDS]; /* how often, in how many runs */
};

struct command {
    uint64_t from, count, jobs;
    double seconds;
    bool trace, quiet, one, faults;
    const char *scenario; /* NULL: random */
    const char *program;
    uint64_t *seeds; /* of the list */
    size_t n_seeds;
    struct tally *tally;
    double began;
};

static struct command command;
static uint64_t running;

/* The clocks of this process are the simulated ones. */
static double real_seconds(void)
{
    struct timeval t;
    gettimeofday(&t, NULL);
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* The first run keeps no events: the same seed again shows them. */
static void show_again(void)
{
    char seed[32];
    snprintf(seed, sizeof(seed), "%" PRIu64, running);
    fprintf(stderr, "seed %s failed; once more, with its last events:\n", seed);
    fflush(NULL);
    if (command.scenario)
        execl("/proc/self/exe", "sim", "--scenario", command.scenario, "--seed", seed, (char *)NULL);
    execl("/proc/self/exe", "sim", "--seed", seed, (char *)NULL);
    _exit(1);
}

static void end_badly(int number)
{
    fprintf(stderr, "seed %" PRIu64 " %s\n", running, number == SIGALRM ? "hangs" : "crashes");
    _exit(1);
}

static void run_seed(uint64_t seed)
{
    struct scenario s = scenario_draw(seed);
    char replay[200];
    if (command.scenario && !scenario_direct(&s, command.scenario))
        exit(64);
    s.cluster.trace = command.one;
    s.cluster.trace_print = command.trace;
    snprintf(replay, sizeof(replay), "%s%s%s --trace --seed", command.program, command.scenario ? " --scenario " : "",
             command.scenario ? command.scenario : "");
    cluster_set_replay(replay, seed);
    cluster_set_failed(command.one ? NULL : show_again);
    running = seed;
    alarm(WATCHDOG_S);
    struct scenario_result r = scenario_run(&s);
    alarm(0);
    __atomic_add_fetch(&command.tally->runs, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&command.tally->steps, r.steps, __ATOMIC_RELAXED);
    for (int i = 0; i < HAPPENED_KINDS; i++) {
        __atomic_add_fetch(&command.tally->happened[i], r.happened[i], __ATOMIC_RELAXED);
        __atomic_add_fetch(&command.tally->seeds[i], r.happened[i] > 0, __ATOMIC_RELAXED);
    }
    if (!command.quiet)
        printf("seed %" PRIu64 " trace %016" PRIx64 ": %u replicas, %" PRIu64 " steps, %" PRIu64 " slots, %" PRIu64
               " ballots led, core at rest after %" PRIu64 " ms, all after %" PRIu64 "; %s\n",
               seed, r.trace_hash, s.cluster.n_hosts, r.steps, r.chosen, r.leaderships, r.core_usec / 1000,
               r.heal_usec / 1000, r.summary);
}

static void run_job(void)
{
    for (;;) {
        uint64_t i = __atomic_fetch_add(&command.tally->next, 1, __ATOMIC_RELAXED);
        if (command.seconds > 0 ? real_seconds() - command.began > command.seconds : i >= command.count)
            return;
        run_seed(command.n_seeds > 0 ? command.seeds[i] : command.from + i);
        fflush(stdout);
    }
}

/* The first job that fails ends the others. */
static int run_jobs(void)
{
    pid_t jobs[JOBS_MAX];
    int failed = 0, status;
    for (uint64_t i = 0; i < command.jobs; i++) {
        fflush(NULL);
        jobs[i] = fork();
        if (jobs[i] < 0) {
            fprintf(stderr, "sim: fork: %s\n", strerror(errno));
            return 1;
        }
        if (jobs[i] == 0) {
            run_job();
            fflush(NULL);
            _exit(0);
        }
    }
    while (wait(&status) > 0) {
        if (status == 0 || failed)
            continue;
        failed = 1;
        if (WIFSIGNALED(status))
            fprintf(stderr, "sim: a job ended by signal %d\n", WTERMSIG(status));
        for (uint64_t i = 0; i < command.jobs; i++)
            kill(jobs[i], SIGTERM);
    }
    return failed;
}

static int show_faults(const struct tally *t)
{
    int n_missing = 0;
    for (int i = 0; i < HAPPENED_KINDS; i++) {
        printf("%12" PRIu64 " in %6" PRIu64 " runs  %s\n", t->happened[i], t->seeds[i],
               happened_name((enum happened)i));
        n_missing += t->happened[i] == 0;
    }
    if (n_missing > 0)
        fprintf(stderr, "sim: %d kinds never happened\n", n_missing);
    return n_missing > 0;
}

static int run_all(void)
{
    if (command.one) {
        run_seed(command.from);
        return 0;
    }
    command.began = real_seconds();
    int failed = command.jobs == 1 ? (run_job(), 0) : run_jobs();
    double seconds = real_seconds() - command.began;
    const struct tally *t = command.tally;
    printf("%" PRIu64 " seeds from %" PRIu64 ", %" PRIu64 " steps in %.1f s: %.1f million a minute and process\n",
           t->runs, command.n_seeds > 0 ? command.seeds[0] : command.from, t->steps, seconds,
           (double)t->steps / 1e6 / seconds * 60 / (double)command.jobs);
    return command.faults && !failed ? show_faults(t) : failed;
}

static void read_list(const char *path)
{
    char line[200];
    size_t room = 0;
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "sim: %s: %s\n", path, strerror(errno));
        exit(66);
    }
    while (fgets(line, sizeof(line), f)) {
        char *end;
        uint64_t seed = strtoull(line, &end, 0);
        if (end == line)
            continue;
        if (command.n_seeds == room) {
            room = 2 * room + 64;
            command.seeds = realloc(command.seeds, room * sizeof(*command.seeds));
            if (!command.seeds)
                abort();
        }
        command.seeds[command.n_seeds++] = seed;
    }
    fclose(f);
    command.count = command.n_seeds;
}

static void usage(void)
{
    fputs("usage: sim [--seeds FILE | --count N | --seconds S | --seed N [--trace]] [--from SEED] [--scenario NAME] "
          "[--jobs J] [--faults] [--quiet]\n",
          stderr);
    exit(64);
}

static void read_command(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"count", required_argument, NULL, 'n'},
        {"from", required_argument, NULL, 'f'},
        {"seconds", required_argument, NULL, 't'},
        {"jobs", required_argument, NULL, 'j'},
        {"seeds", required_argument, NULL, 'l'},
        {"trace", no_argument, NULL, 'v'},
        {"quiet", no_argument, NULL, 'q'},
        {"faults", no_argument, NULL, 'a'},
        {"scenario", required_argument, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    int c;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    command.program = argv[0];
    command.from = (uint64_t)(real_seconds() * 1000) * 1000;
    command.jobs = processors > 0 ? (uint64_t)processors : 1;
    command.count = 100;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 's':
            command.one = true;
            /* fall through */
        case 'f':
            command.from = strtoull(optarg, NULL, 0);
            break;
        case 'n':
            command.count = strtoull(optarg, NULL, 0);
            break;
        case 't':
            command.seconds = strtod(optarg, NULL);
            break;
        case 'j':
            command.jobs = strtoull(optarg, NULL, 0);
            break;
        case 'l':
            read_list(optarg);
            break;
        case 'v':
            command.trace = true;
            break;
        case 'd':
            command.scenario = optarg;
            break;
        case 'a':
            command.faults = true;
            break;
        case 'q':
            command.quiet = true;
            break;
        default:
            usage();
        }
    }
    if (optind < argc || command.jobs < 1 || command.jobs > JOBS_MAX)
        usage();
}

int main(int argc, char **argv)
{
    static const int signals[] = {SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], end_badly);
    mallopt(M_MMAP_THRESHOLD, MMAP_BYTES); /* tables and files go with each host, and come again */
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    mallopt(M_TOP_PAD, TOP_BYTES);
    read_command(argc, argv);
    // cppcheck-suppress invalidFunctionArg ; MAP_ANONYMOUS has no file
    command.tally = mmap(NULL, sizeof(*command.tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (command.tally == MAP_FAILED)
        abort();
    return run_all();
}
