noinst_LIBRARIES += daemon/journal/libjournal.a
daemon_journal_libjournal_a_SOURCES = \
	daemon/journal/explain.c \
	daemon/journal/explain.h \
	daemon/journal/format.c \
	daemon/journal/format.h \
	daemon/journal/index.c \
	daemon/journal/index.h \
	daemon/journal/journal.h \
	daemon/journal/superblock.c \
	daemon/journal/superblock.h \
	daemon/journal/vfs.h \
	daemon/journal/vfs_posix.c
