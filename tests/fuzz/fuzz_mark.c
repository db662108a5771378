/* The chat log's mark, and the file that it speaks of, as a crash or an editor may leave them; then two flushes.
 *
 * Input: choices (enum), then, with MARK_MADE, a mark's fields, else its text with the size before; the rest stands in
 * the chat log file. Checked besides: what stood in the file stands in it still, but for zeros; whoever is refused is
 * told why; a flush that went well has nothing to do a second time. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/chatlog.h"
#include "host/chatlog_mark.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"

enum {
    LAST_SLOT = 40, /* chosen, as the reader has it */
    LOG_BYTES_MAX = 1 << 16,
};

static char base[PATH_MAX], state_dir[PATH_MAX], log_path[PATH_MAX], rotated_path[PATH_MAX], mark_path[PATH_MAX];

static void remove_files(void)
{
    char temporary[PATH_MAX + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", mark_path);
    unlink(temporary);
    unlink(mark_path);
    unlink(log_path);
    unlink(rotated_path);
}

static void remove_directory(void)
{
    remove_files();
    rmdir(base);
}

/* In memory where that can be: every flush syncs. */
static void make_directory(void)
{
    snprintf(base, sizeof base, "%s/mpaxos-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fuzz_check(mkdtemp(base) != NULL);
    snprintf(state_dir, sizeof state_dir, "%.80s", base);
    snprintf(log_path, sizeof log_path, "%.80s/replica.log", base);
    snprintf(rotated_path, sizeof rotated_path, "%.80s/replica.log.1", base);
    snprintf(mark_path, sizeof mark_path, "%.80s/flushed", base);
    atexit(remove_directory);
}

/* --- what is to be flushed --- */

static struct log_message message_of(slot_t slot)
{
    static const char text[] = "text\n\t\\ \"\x01\xc3\xa4 and so on";
    return (struct log_message){.slot = slot,
                                .time_usec = 1769903999123456 + slot,
                                .author = "anna",
                                .author_size = 4,
                                .text = text,
                                .text_size = slot % sizeof text};
}

static int read_log(void *user, slot_t from, size_t n_max, size_t bytes_max,
                    bool (*each)(void *user, const struct log_message *m), void *each_user, slot_t *ret_next)
{
    int n = 0;
    (void)user, (void)bytes_max;
    *ret_next = from;
    for (slot_t slot = from; slot <= LAST_SLOT && (size_t)n < n_max && n < 7; slot++) {
        const struct log_message m = message_of(slot);
        if (slot % 3 != 0) {
            if (!each(each_user, &m))
                return n;
            n++;
        }
        *ret_next = slot + 1;
    }
    return n;
}

static void lines(struct line_buffer *b, enum log_format format, slot_t until)
{
    for (slot_t slot = 1; slot <= until && slot <= LAST_SLOT; slot++) {
        const struct log_message m = message_of(slot);
        if (slot % 3 != 0)
            fuzz_check(chatlog_format(b, format, &m) == 0);
    }
}

/* --- files --- */

static void write_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fuzz_check(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static size_t read_file(const char *path, char *ret)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, ret, 2 * LOG_BYTES_MAX);
    fuzz_check(n >= 0);
    if (fd >= 0)
        close(fd);
    return (size_t)n;
}

/* The check line is a hash of all before it. */
static size_t mend_mark(char *text, size_t size)
{
    static const struct hash128 no_key;
    struct hash128 h = hash_bytes(&no_key, text, size);
    size += (size_t)sprintf(text + size, "check ");
    for (size_t i = 0; i < sizeof h.bytes; i++)
        size += (size_t)sprintf(text + size, "%02x", h.bytes[i]);
    text[size++] = '\n';
    return size;
}

static void write_made_mark(struct fuzz_input *in, uint8_t choices, uint8_t slot, uint64_t length)
{
    struct chatlog_mark m = {.exists = true, .slot = slot, .inode = fuzz_u16(in), .length = length};
    char error[CONFIG_ERROR_MAX + 1];
    const char *path = choices & MARK_LOG_ROTATED ? rotated_path : log_path;
    struct stat st;
    int fd = open(path, O_RDONLY);
    fuzz_check(fd >= 0 && fstat(fd, &st) == 0);
    m.format = (enum log_format)(fuzz_u8(in) % (LOG_FORMAT_JSON + 1));
    if (choices & MARK_INODE_RIGHT)
        m.inode = st.st_ino;
    if (choices & MARK_TAIL_RIGHT)
        chatlog_mark_tail(fd, m.length, &m.tail);
    close(fd);
    fuzz_check(chatlog_mark_write(state_dir, &m, error) == 0);
}

static void write_raw_mark(struct fuzz_input *in, uint8_t choices)
{
    char text[600];
    size_t size, n_max = fuzz_u16(in) % 512;
    const uint8_t *bytes = fuzz_take(in, n_max, &size);
    memcpy(text, bytes, size);
    if (choices & MARK_MENDED)
        size = mend_mark(text, size);
    write_file(mark_path, text, size);
}

/* Answers what the mark's length is where the file is as the mark says. */
static size_t write_log(struct fuzz_input *in, uint8_t choices, uint8_t slot, uint8_t format)
{
    struct line_buffer b = {0};
    size_t size, truth;
    const uint8_t *bytes = fuzz_take(in, LOG_BYTES_MAX / 2, &size);
    if (choices & MARK_LOG_TRUE)
        lines(&b, (enum log_format)(format % (LOG_FORMAT_JSON + 1)), slot);
    truth = b.size;
    char *all = malloc(truth + size + 1);
    fuzz_check(all != NULL);
    if (truth > 0)
        memcpy(all, b.bytes, truth);
    if (size > 0)
        memcpy(all + truth, bytes, size);
    write_file(choices & MARK_LOG_ROTATED ? rotated_path : log_path, all, truth + size);
    free(all);
    free(b.bytes);
    return truth;
}

/* --- */

static void check_error(int error, const char *text)
{
    size_t size = strnlen(text, CONFIG_ERROR_MAX + 1);
    fuzz_check(error < 0 && size > 0 && size <= CONFIG_ERROR_MAX && strchr(text, '\n') == NULL);
}

static bool is_kept(const char *before, const char *after, size_t size)
{
    size_t i = 0;
    while (i < size && (before[i] == after[i] || before[i] == 0))
        i++;
    return i == size;
}

static void flush(enum log_format format, slot_t upto)
{
    static char before[2 * LOG_BYTES_MAX], after[2 * LOG_BYTES_MAX], again[2 * LOG_BYTES_MAX];
    char error[CONFIG_ERROR_MAX + 1];
    struct chatlog *c;
    uint64_t messages;
    size_t n_before = read_file(log_path, before), n_after;
    memset(error, 'x', sizeof error);
    int r = chatlog_open(state_dir, log_path, format, &c, error);
    if (r < 0) {
        check_error(r, error);
        return;
    }
    r = chatlog_flush(c, upto, read_log, NULL, &messages, error);
    n_after = read_file(log_path, after);
    fuzz_check(n_after >= n_before && is_kept(before, after, n_before));
    if (r < 0) {
        check_error(r, error);
        fuzz_check(n_after == n_before);
    } else {
        fuzz_check(chatlog_flush(c, upto, read_log, NULL, &messages, error) == 0 && messages == 0);
        fuzz_check(read_file(log_path, again) == n_after && memcmp(after, again, n_after) == 0);
    }
    chatlog_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    uint8_t choices = fuzz_u8(&in), upto = fuzz_u8(&in), slot = fuzz_u8(&in) % (LAST_SLOT + 1), format = fuzz_u8(&in);
    struct fuzz_input fields = in;
    size_t skipped;
    if (base[0] == 0)
        make_directory();
    remove_files();
    if (choices & MARK_MADE) {
        uint16_t shift = fuzz_u16(&fields);
        fuzz_take(&in, 5, &skipped);
        size_t truth = write_log(&in, choices, slot, format);
        write_made_mark(&fields, choices, slot, choices & MARK_LOG_TRUE ? truth + shift % 4 : shift);
    } else {
        write_raw_mark(&in, choices);
        write_log(&in, choices, slot, format);
    }
    flush((enum log_format)((choices >> MARK_FORMAT_SHIFT) % (LOG_FORMAT_JSON + 1)), upto);
    return 0;
}
