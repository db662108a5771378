/* What an input of fuzz_journal.c makes of a state directory, and checksums that match it again. */
#ifndef TESTS_FUZZ_JOURNAL_DAMAGE_H
#define TESTS_FUZZ_JOURNAL_DAMAGE_H

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "tests/unit/vfs_memory.h"

extern const char *const journal_names[JOURNAL_FILES];

/* The next edit of a copy of `valid`. Where checksums are not mended, bytes are changed, not written: else a fuzzer
 * that watches comparisons writes matching ones. */
void journal_edit(struct vfs_memory *disk, const struct vfs_memory *valid, struct fuzz_input *in, bool is_mended);
/* All the rest of the input, as files. */
void journal_make_files(struct vfs_memory *disk, struct fuzz_input *in);
void journal_mend(struct vfs_memory *disk);

#endif
