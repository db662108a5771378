/* mpaxosd-generator: what systemd.generator(7) runs at boot and at each daemon-reload.
 *
 * In script mode every replica of the configuration becomes part of mpaxosd.target, on the condition that its address
 * is this host's. That is asked when it starts, by `mpaxosd --is-local`: now there is neither a network nor DNS. In
 * manual mode, and where there is no usable configuration, nothing is generated. It ends with 0 whatever happens, and
 * soon. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/config.h"

#define CONFIG_PATH "/etc/mpaxosd/replica_config.json"

enum { PATIENCE_S = 10, LINE_MAX_BYTES = 900, DROP_IN_MAX = 512 };

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* There is no journal yet, and standard error leads nowhere at boot. */
static void complain(const char *format, ...)
{
    char line[LINE_MAX_BYTES] = "<4>mpaxosd-generator: ";
    size_t size = strlen(line);
    int fd = isatty(STDERR_FILENO) ? -1 : open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line + size, sizeof line - size - 1, format, arguments);
    va_end(arguments);
    size = strlen(line);
    line[size++] = '\n';
    if (fd < 0 || write(fd, line, size) < 0)
        fwrite(line + 3, 1, size - 3, stderr);
    if (fd >= 0)
        close(fd);
}

static bool make_directory(const char *path)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return true;
    complain("%s: cannot be made: %s", path, strerror(errno));
    return false;
}

static void write_drop_in(const char *path, const char *config_path)
{
    FILE *f = fopen(path, "we");

    if (!f) {
        complain("%s: cannot be written: %s", path, strerror(errno));
        return;
    }
    fprintf(f,
            "# Generated from %s: in script mode a host runs the replicas whose address is its own.\n"
            "[Service]\n"
            "ExecCondition=" MPAXOSD_PATH " --is-local %s -i %%i\n",
            config_path, config_path);
    if (fclose(f) != 0)
        complain("%s: cannot be written: %s", path, strerror(errno));
}

static void generate(const char *directory, replica_id_t id, const char *config_path)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/mpaxosd@%u.service.d", directory, id);
    if (!make_directory(path))
        return;
    snprintf(path, sizeof path, "%s/mpaxosd@%u.service.d/50-script-mode.conf", directory, id);
    write_drop_in(path, config_path);
    snprintf(path, sizeof path, "%s/mpaxosd.target.wants", directory);
    if (!make_directory(path))
        return;
    snprintf(path, sizeof path, "%s/mpaxosd.target.wants/mpaxosd@%u.service", directory, id);
    if (symlink(MPAXOSD_UNIT_PATH, path) < 0 && errno != EEXIST)
        complain("%s: cannot be made: %s", path, strerror(errno));
}

/* mpaxosd-generator NORMAL EARLY LATE [CONFIG] */
int main(int argc, char **argv)
{
    const char *config_path = argc > 4 ? argv[4] : CONFIG_PATH;
    static struct config config;
    char error[CONFIG_ERROR_MAX + 1];
    struct stat st;

    if (argc < 4)
        complain("usage: mpaxosd-generator NORMAL EARLY LATE [CONFIG]; systemd runs it");
    alarm(PATIENCE_S);
    if (argc < 4 || stat(config_path, &st) < 0)
        return EXIT_SUCCESS;
    if (!S_ISREG(st.st_mode))
        complain("%s is no regular file; no replica is started by it", config_path);
    else if (config_read(config_path, &config, error) < 0)
        complain("%s; no replica is started by it", error);
    else if (config.script)
        for (uint32_t i = 0; i < config.n_replicas; i++)
            generate(argv[1], config.replicas[i].id, config_path);
    return EXIT_SUCCESS;
}
