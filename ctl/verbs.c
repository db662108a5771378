#include "ctl/verbs.h"

#include <stdint.h>
#include <string.h>

const struct option_spec global_options[] = {
    {"--replica", "-i", "N", "the replica with this id; without it the first local one that answers", OPTION_REPLICA},
    {"--dir", NULL, "DIR", "replicas started with the same --dir; $MPAXOS_DIR, else ./run and the packaged places",
     OPTION_DIR},
    {"--socket", NULL, "PATH", "this control socket", OPTION_SOCKET},
    {"--json", "-j", "[=pretty|short]", "replies as JSON, errors too", OPTION_JSON},
    {"--timeout", NULL, "S", "seconds to wait at the most", OPTION_TIMEOUT},
    {"--no-legend", NULL, NULL, "no headers over tables", OPTION_NO_LEGEND},
    {"--no-pager", NULL, NULL, "the log goes straight to the terminal", OPTION_NO_PAGER},
    {"--help", "-h", NULL, "this text; after a verb, that verb's", OPTION_HELP},
    {"--version", NULL, NULL, "the version of this tool", OPTION_VERSION},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec no_options[] = {{NULL, NULL, NULL, NULL, 0}};

static const struct option_spec send_options[] = {
    {"--as", NULL, "AUTHOR", "another author than your user name", OPTION_AS},
    {"--key", NULL, "K",
     "names the message among its author's: sent again with the same key it is stored once; of lines the first one",
     OPTION_KEY},
    {"--since", NULL, "S", "the position before the first attempt with this key", OPTION_SINCE},
    {"--drop-rate", NULL, "R",
     "loses R percent of its own requests and answers, and tries again until the outcome is known", OPTION_DROP_RATE},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec log_options[] = {
    {"--from", NULL, "S", "from slot S on; without it from the oldest that is kept", OPTION_FROM},
    {"--count", "-n", "COUNT", "the last COUNT messages; with --from the first COUNT", OPTION_COUNT},
    {"--follow", "-f", NULL, "goes on with new messages as they are chosen", OPTION_FOLLOW},
    {"--linearizable", NULL, NULL, "asks a majority first: shows all that was acknowledged anywhere before",
     OPTION_LINEARIZABLE},
    {"--all-columns", NULL, NULL, "times to the microsecond", OPTION_ALL_COLUMNS},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec flush_options[] = {
    {"--all", NULL, NULL, "every replica of the cluster, not this one alone", OPTION_ALL},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec status_options[] = {
    {"--watch", "-w", NULL, "goes on, once a second, until interrupted", OPTION_WATCH},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec drop_options[] = {
    {"--in", NULL, NULL, "datagrams that it receives", OPTION_IN},
    {"--out", NULL, NULL, "datagrams that it sends (so without any of the three, except for `drop 0')", OPTION_OUT},
    {"--both", NULL, NULL, "both (so without any of the three for `drop 0')", OPTION_BOTH},
    {"--peer", NULL, "N", "only those exchanged with replica N", OPTION_PEER},
    {"--for", NULL, "S", "for S seconds; without it until it is lifted or the daemon restarts", OPTION_FOR},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec load_options[] = {
    {"--size", NULL, "BYTES", "pads each message to this size", OPTION_SIZE},
    {"--rate", NULL, "R", "messages per second, all clients together; without it as fast as they are answered",
     OPTION_RATE},
    {"--in-flight", NULL, "K", "each client has up to K messages under way (1)", OPTION_IN_FLIGHT},
    {"--script", NULL, "FILE", "sends nothing, but writes a shell script of CLIENTS separate client processes",
     OPTION_SCRIPT},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec position_options[] = {
    {"--linearizable", NULL, NULL, "asks a majority first: not below any message acknowledged before",
     OPTION_LINEARIZABLE},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec wait_options[] = {
    {"--quorum", NULL, NULL, "until the replica has a quorum and a leader (so without any option)", OPTION_QUORUM},
    {"--slot", NULL, "S", "until the replica knows every slot up to S to be chosen", OPTION_SLOT},
    {NULL, NULL, NULL, NULL, 0},
};

static const struct option_spec generate_options[] = {
    {"--output", "-o", "FILE", "instead of replica_config.json; `-' is standard output", OPTION_OUTPUT},
    {"--force", NULL, NULL, "writes over a file that is there", OPTION_FORCE},
    {"--manual", "-m", NULL, "manual mode: each replica is started by itself", OPTION_MANUAL},
    {"--proball", "-pa", "R", "every replica drops R percent of what it sends", OPTION_PROB_ALL},
    {"--prob", "-p", "N R", "replica N drops R percent, over --proball; repeatable", OPTION_PROB},
    {"--skip", "-s", "N J", "replica N, while it leads, skips slot J; repeatable", OPTION_SKIP},
    {"--host", NULL, "H1,H2,...", "the replicas' hosts in the order of their ids, one for each", OPTION_HOST},
    {"--port", NULL, "P", "replica N gets port P + N (6000)", OPTION_PORT},
    {NULL, NULL, NULL, NULL, 0},
};

const struct verb verbs[] = {
    {"send", "TEXT... | -", "submits messages",
     "Joins the words with blanks to one message and prints the slot that it was chosen at. With `-' each line of "
     "standard input\n"
     "is a message, sent in order over one connection; empty lines are skipped and counted. A message whose outcome is "
     "not known\n"
     "is sent again under its key, to another local replica where -i leaves the choice, so it is never stored twice. "
     "One message\n"
     "gives up after --timeout (5 s), lines once nothing was chosen for that long (60 s); then it says with what --key "
     "and --since\n"
     "the rest of the lines can be sent so that none stands twice. Such a --key ends with the first line's number, as "
     "letter-1.\n",
     send_options, 1, SIZE_MAX, verb_send},
    {"client", "CLIENT_ID [DROP_RATE]", "a prompt of three commands: s, p, e",
     "s, then a line: sends it, as author client_<CLIENT_ID>; p: flushes the log of every replica; e: ends. DROP_RATE "
     "loses that\n"
     "percentage of its own requests and answers, and tries again until the outcome is known. Works from a pipe.\n",
     no_options, 1, 2, verb_client},
    {"log", "", "shows the chosen messages", NULL, log_options, 0, 0, verb_log},
    {"flush", "", "appends what was chosen since the last flush to the chat log file", NULL, flush_options, 0, 0,
     verb_flush},
    {"status", "", "verdict, replicas, journal, injected faults, what to do",
     "It is one replica's view and never waits for a quorum. The exit status is 2 where there is no quorum.\n",
     status_options, 0, 0, verb_status},
    {"drop", "RATE", "injects or lifts drops of datagrams",
     "Drops RATE percent of whole datagrams on purpose. RATE 0 lifts: with no option everything.\n", drop_options, 1, 1,
     verb_drop},
    {"skip", "SLOT...", "has the leader skip slots", "Goes to the leader, where its control socket is on this host.\n",
     no_options, 1, SIZE_MAX, verb_skip},
    {"load", "CLIENTS MESSAGES [DROP_RATE]", "load from many clients at once, with a verdict",
     "CLIENTS connections, spread over all local replicas, each send message_<client>_<i> MESSAGES times, as author\n"
     "load_<run>_<client>, and go on with another replica where theirs dies. Then it reads the log back: the exit "
     "status is 0 only\n"
     "if every message stands exactly once, where it was acknowledged, in its client's order. It gives up once nothing "
     "was chosen\n"
     "for --timeout (60 s).\n",
     load_options, 2, 3, verb_load},
    {"position", "", "the slot up to which every slot is known to be chosen", NULL, position_options, 0, 0,
     verb_position},
    {"wait", "", "waits for a quorum, or for a slot",
     "For up to --timeout (60 s), also for a daemon that is not there yet.\n", wait_options, 0, 0, verb_wait},
    {"transfer", "[N]", "moves leadership to replica N, or to the best follower", NULL, no_options, 0, 1,
     verb_transfer},
    {"bootstrap", "", "lets a first start go on with a majority",
     "For a cluster that has never run and where some replicas cannot be started. Refused once any state exists.\n",
     no_options, 0, 0, verb_bootstrap},
    {"reload", "", "has the daemon read its configuration and its cluster keys again",
     "Prints what changed. Some things cannot change while it runs; status names those where the file says otherwise. "
     "A file that\nis wrong changes nothing: the exit status is 78 then.\n",
     no_options, 0, 0, verb_reload},
    {"metrics", "", "counters and gauges as OpenMetrics text", NULL, no_options, 0, 0, verb_metrics},
    {"config generate", "F", "writes a configuration for 2F+1 replicas",
     "Writes replica_config.json for script mode on localhost.\n", generate_options, 1, 1, verb_config_generate},
    {"config check", "[FILE]", "says what is wrong with a configuration, or what the daemon would use",
     "Without FILE replica_config.json, or else the packaged place's.\n", no_options, 0, 1, verb_config_check},
    {"keygen", "[FILE]", "makes a new cluster key",
     "Writes cluster.key, or FILE, for its owner only, and never over another file; `-' is standard output. The same "
     "file goes to every\nhost of the cluster.\n",
     no_options, 0, 1, verb_keygen},
    {"version", "", "versions of this tool and of the local daemons", NULL, no_options, 0, 0, verb_version},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

/* "config check" is two words of the command line; no verb is the first word of another one. */
const struct verb *verb_find(char **words, int n, int *ret_words)
{
    for (const struct verb *v = verbs; v->name; v++) {
        const char *blank = strchr(v->name, ' ');
        size_t first = blank ? (size_t)(blank - v->name) : strlen(v->name);
        if (n < (blank ? 2 : 1) || strncmp(words[0], v->name, first) != 0 || words[0][first])
            continue;
        if (blank && strcmp(words[1], blank + 1) != 0)
            continue;
        *ret_words = blank ? 2 : 1;
        return v;
    }
    return NULL;
}
