/* The chat log's mark, and the file that it speaks of, as a crash or an editor may leave them; then two flushes.
 *
 * Input: choices (enum), then, with MARK_MADE, a mark's fields, else its text with the size before; the rest stands in
 * the chat log file. Checked besides: what stood in the file stands in it still, but for zeros; whoever is refused is
 * told why; a flush adds the lines behind the mark, all, once and in order, and a second one has nothing to do. */
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

static void lines(struct line_buffer *b, enum log_format format, slot_t from, slot_t until)
{
    for (slot_t slot = from; slot <= until && slot <= LAST_SLOT; slot++) {
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

/* Answers what the mark's length is where the file is as the mark says. `cut_off`: so many slots more were written, but
 * for so many bytes. */
static size_t write_log(struct fuzz_input *in, uint8_t choices, uint8_t slot, uint8_t format, uint16_t cut_off)
{
    enum log_format as = (enum log_format)(format % (LOG_FORMAT_JSON + 1));
    struct line_buffer b = {0};
    size_t size, truth, lost = cut_off / MARK_CUT_OFF_SLOTS;
    const uint8_t *bytes = fuzz_take(in, LOG_BYTES_MAX / 2, &size);
    if (choices & MARK_LOG_TRUE)
        lines(&b, as, 1, slot);
    truth = b.size;
    if (choices & MARK_LOG_TRUE)
        lines(&b, as, slot + UINT64_C(1), slot + cut_off % MARK_CUT_OFF_SLOTS);
    b.size -= lost < b.size - truth ? lost : b.size - truth;
    char *all = malloc(b.size + size + 1);
    fuzz_check(all != NULL);
    if (b.size > 0)
        memcpy(all, b.bytes, b.size);
    if (size > 0)
        memcpy(all + b.size, bytes, size);
    write_file(choices & MARK_LOG_ROTATED ? rotated_path : log_path, all, b.size + size);
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

/* --- what a flush must do --- */

struct content {
    char bytes[2 * LOG_BYTES_MAX];
    size_t size;
    uint64_t inode; /* 0: it is not there */
};

struct expected {
    struct content own, rotated;
    struct chatlog_mark mark;
    uint64_t messages;
};

static void look(const char *path, struct content *ret)
{
    struct stat st;
    ret->inode = stat(path, &st) == 0 ? st.st_ino : 0;
    ret->size = read_file(path, ret->bytes);
}

static bool is_marked(const char *path, const struct content *file, const struct chatlog_mark *m)
{
    struct hash128 tail;
    int fd = open(path, O_RDONLY);
    bool is_there = fd >= 0 && file->size >= m->length && chatlog_mark_tail(fd, m->length, &tail) == 0;
    if (fd >= 0)
        close(fd);
    return is_there && hash_equal(&tail, &m->tail);
}

/* The lines of (mark, upto], or only so many that what stands behind the mark is covered. False: something else stands
 * there. */
static bool put_lines(struct expected *x, struct content *file, bool only_cut_off, slot_t upto)
{
    struct line_buffer b = {0};
    slot_t until = upto < LAST_SLOT ? upto : LAST_SLOT, slot = x->mark.slot;
    uint64_t n = 0;
    size_t left = file->size - x->mark.length;
    while (slot < until && !(only_cut_off && b.size >= left)) {
        const struct log_message m = message_of(++slot);
        if (slot % 3 == 0)
            continue;
        fuzz_check(chatlog_format(&b, x->mark.format, &m) == 0);
        n++;
    }
    size_t known = left < b.size ? left : b.size;
    bool ok = is_kept(file->bytes + x->mark.length, b.bytes, known);
    if (ok) {
        fuzz_check(x->mark.length + b.size <= sizeof file->bytes);
        if (b.size > 0)
            memcpy(file->bytes + x->mark.length, b.bytes, b.size);
        x->mark.length += b.size;
        x->mark.slot = slot;
        x->messages += n;
        file->size = file->size > x->mark.length ? file->size : x->mark.length;
    }
    free(b.bytes);
    return ok;
}

/* A power cut leaves zeros where the file grew. */
static void drop_zeros(struct content *file, uint64_t length)
{
    while (file->size > length && file->bytes[file->size - 1] == 0)
        file->size--;
}

enum step { GO_ON, DONE, REFUSED };

/* A flush that was cut off is completed in its own format, before lines go elsewhere. */
static enum step put_rest(struct expected *x, struct content *file, slot_t upto)
{
    if (file->size == x->mark.length)
        return GO_ON;
    if (!put_lines(x, file, true, upto))
        return REFUSED;
    return x->mark.length >= file->size ? GO_ON : x->mark.slot >= upto ? DONE : REFUSED;
}

/* False: it is refused. By chatlog.h, with the whole files in memory. */
static bool expect(struct expected *x, enum log_format format, slot_t upto)
{
    struct chatlog_mark *m = &x->mark;
    enum step step = GO_ON;
    bool own_is_marked = m->exists && is_marked(log_path, &x->own, m);
    if (m->exists && x->own.inode != m->inode && x->rotated.inode == m->inode && x->rotated.size > m->length &&
        is_marked(rotated_path, &x->rotated, m)) {
        drop_zeros(&x->rotated, m->length);
        step = put_rest(x, &x->rotated, upto);
        own_is_marked = false; /* it is empty, or somebody's */
    }
    if (step == GO_ON && m->exists && x->own.size > 0) {
        if (!own_is_marked)
            return false;
        drop_zeros(&x->own, m->length);
        if (m->format != format)
            step = put_rest(x, &x->own, upto);
    } else if (step == GO_ON) {
        m->length = 0;
    }
    if (step != GO_ON)
        return step == DONE;
    m->format = format;
    return put_lines(x, &x->own, false, upto);
}

static void check_file(const char *path, const struct content *expected)
{
    static struct content now;
    look(path, &now);
    fuzz_check(now.size == expected->size && memcmp(now.bytes, expected->bytes, now.size) == 0);
}

static void check_mark(const struct chatlog_mark *expected)
{
    struct chatlog_mark now;
    char error[CONFIG_ERROR_MAX + 1];
    fuzz_check(chatlog_mark_read(state_dir, &now, error) == 0 && now.exists && now.slot <= expected->slot);
    for (slot_t slot = now.slot; slot < expected->slot; slot++)
        fuzz_check((slot + 1) % 3 == 0); /* no message */
    fuzz_check(now.length == expected->length && now.format == expected->format);
}

/* Behind the slots that there are, nothing is left to do. */
static bool is_expectable(const struct chatlog_mark *m)
{
    return m->slot <= LAST_SLOT && m->length <= LOG_BYTES_MAX;
}

static void flush(enum log_format format, slot_t upto)
{
    static struct expected x;
    static struct content before;
    char error[CONFIG_ERROR_MAX + 1];
    struct chatlog *c;
    uint64_t messages;
    memset(error, 'x', sizeof error);
    int r = chatlog_open(state_dir, log_path, format, &c, error);
    if (r < 0) {
        check_error(r, error);
        return;
    }
    fuzz_check(chatlog_mark_read(state_dir, &x.mark, error) == 0);
    look(log_path, &x.own);
    look(rotated_path, &x.rotated);
    x.messages = 0;
    before = x.own;
    bool is_known = is_expectable(&x.mark), is_wanted = is_known && expect(&x, format, upto);
    r = chatlog_flush(c, upto, read_log, NULL, &messages, error);
    fuzz_check(!is_known || is_wanted == (r == 0));
    if (r < 0) {
        check_error(r, error);
        look(log_path, &x.own);
        fuzz_check(x.own.size <= before.size && is_kept(before.bytes, x.own.bytes, x.own.size));
        for (size_t i = x.own.size; i < before.size; i++)
            fuzz_check(before.bytes[i] == 0);
    } else {
        if (is_known) {
            check_file(log_path, &x.own);
            check_file(rotated_path, &x.rotated);
            check_mark(&x.mark);
            fuzz_check(messages == x.messages);
        }
        look(log_path, &before);
        fuzz_check(chatlog_flush(c, upto, read_log, NULL, &messages, error) == 0 && messages == 0);
        check_file(log_path, &before);
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
        size_t truth = write_log(&in, choices, slot, format, shift / MARK_SHIFTS);
        write_made_mark(&fields, choices, slot, choices & MARK_LOG_TRUE ? truth + shift % MARK_SHIFTS : shift);
    } else {
        write_raw_mark(&in, choices);
        write_log(&in, choices, slot, format, 0);
    }
    flush((enum log_format)((choices >> MARK_FORMAT_SHIFT) % (LOG_FORMAT_JSON + 1)), upto);
    return 0;
}
