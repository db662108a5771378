/* A segment to read from, kept open until another one is asked for. */
#ifndef JOURNAL_SEGMENT_FILE_H
#define JOURNAL_SEGMENT_FILE_H

#include "journal/vfs.h"

struct segment_file {
    const struct vfs *vfs;
    struct vfs_file *file; /* NULL: none */
    uint64_t number;
};

/* All of `size` bytes; -EBADMSG where the file ends before. */
int segment_file_read(struct segment_file *f, uint64_t number, uint64_t offset, void *bytes, size_t size);
/* What is read there next comes from the disk. */
void segment_file_forget(struct segment_file *f, uint64_t number);
void segment_file_done(struct segment_file *f);

#endif
