noinst_LIBRARIES += daemon/journal/libjournal.a
daemon_journal_libjournal_a_SOURCES = \
	daemon/journal/array.h \
	daemon/journal/explain.c \
	daemon/journal/explain.h \
	daemon/journal/format.c \
	daemon/journal/format.h \
	daemon/journal/group.c \
	daemon/journal/group.h \
	daemon/journal/index.c \
	daemon/journal/index.h \
	daemon/journal/journal.c \
	daemon/journal/journal.h \
	daemon/journal/journal_thread.c \
	daemon/journal/reader.c \
	daemon/journal/reader.h \
	daemon/journal/recovery.c \
	daemon/journal/recovery.h \
	daemon/journal/rewrite.c \
	daemon/journal/rewrite.h \
	daemon/journal/scan.c \
	daemon/journal/scan.h \
	daemon/journal/segment.c \
	daemon/journal/state.h \
	daemon/journal/superblock.c \
	daemon/journal/superblock.h \
	daemon/journal/vfs.h \
	daemon/journal/vfs_posix.c \
	daemon/journal/writer.c
