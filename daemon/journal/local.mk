noinst_LIBRARIES += daemon/journal/libjournal.a
daemon_journal_libjournal_a_SOURCES = \
	daemon/journal/journal.h \
	daemon/journal/vfs.h
