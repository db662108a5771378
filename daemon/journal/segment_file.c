#include "journal/segment_file.h"

#include <errno.h>

#include "journal/format.h"

void segment_file_done(struct segment_file *f)
{
    if (f->file != NULL)
        f->vfs->file_close(f->vfs->context, f->file);
    f->file = NULL;
}

static int use(struct segment_file *f, uint64_t number)
{
    char name[SEGMENT_NAME_BYTES];
    int error;

    if (f->file != NULL && f->number == number)
        return 0;
    segment_file_done(f);
    segment_name(number, name);
    error = f->vfs->file_open(f->vfs->context, name, 0, &f->file);
    if (error < 0)
        f->file = NULL;
    f->number = number;
    return error;
}

void segment_file_forget(struct segment_file *f, uint64_t number)
{
    if (use(f, number) == 0)
        f->vfs->file_forget(f->vfs->context, f->file);
}

int segment_file_read(struct segment_file *f, uint64_t number, uint64_t offset, void *bytes, size_t size)
{
    int error = use(f, number);
    int64_t n = error < 0 ? error : f->vfs->file_read(f->vfs->context, f->file, offset, bytes, size);

    if (n < 0)
        return (int)n;
    return (uint64_t)n < size ? -EBADMSG : 0;
}
