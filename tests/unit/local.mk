# cmocka programs, one a file; libunit.a is what several of them share.
unit_tests = \
	tests/unit/test_access \
	tests/unit/test_assembly \
	tests/unit/test_chatlog \
	tests/unit/test_chatlog_calls \
	tests/unit/test_chatlog_rotation \
	tests/unit/test_checkpoint \
	tests/unit/test_config \
	tests/unit/test_control \
	tests/unit/test_control_limits \
	tests/unit/test_control_queues \
	tests/unit/test_control_read \
	tests/unit/test_control_status \
	tests/unit/test_control_users \
	tests/unit/test_core_acceptor \
	tests/unit/test_core_intake \
	tests/unit/test_core_learner \
	tests/unit/test_core_limits \
	tests/unit/test_core_phase1 \
	tests/unit/test_core_proposer \
	tests/unit/test_core_room \
	tests/unit/test_core_route \
	tests/unit/test_core_silent \
	tests/unit/test_crc32c \
	tests/unit/test_ctl_config \
	tests/unit/test_ctl_failure \
	tests/unit/test_ctl_histogram \
	tests/unit/test_ctl_load \
	tests/unit/test_ctl_options \
	tests/unit/test_ctl_outcome \
	tests/unit/test_ctl_report \
	tests/unit/test_ctl_submitter \
	tests/unit/test_ctl_text \
	tests/unit/test_ctl_verbs \
	tests/unit/test_datagram \
	tests/unit/test_datagram_hostile \
	tests/unit/test_dedup \
	tests/unit/test_driver \
	tests/unit/test_driver_checkpoint \
	tests/unit/test_driver_chunk \
	tests/unit/test_driver_durable \
	tests/unit/test_driver_install \
	tests/unit/test_driver_limits \
	tests/unit/test_driver_mend \
	tests/unit/test_driver_refuse \
	tests/unit/test_driver_relay \
	tests/unit/test_faults \
	tests/unit/test_flushes \
	tests/unit/test_hash \
	tests/unit/test_journal \
	tests/unit/test_journal_checkpoint \
	tests/unit/test_journal_crash \
	tests/unit/test_journal_history \
	tests/unit/test_journal_history_crash \
	tests/unit/test_journal_faults \
	tests/unit/test_journal_format \
	tests/unit/test_journal_mend \
	tests/unit/test_journal_read \
	tests/unit/test_journal_rot \
	tests/unit/test_journal_space \
	tests/unit/test_journal_thread \
	tests/unit/test_log \
	tests/unit/test_keyfile \
	tests/unit/test_logread \
	tests/unit/test_membership \
	tests/unit/test_notice \
	tests/unit/test_outbox \
	tests/unit/test_paths \
	tests/unit/test_peers \
	tests/unit/test_pool \
	tests/unit/test_reload \
	tests/unit/test_seal \
	tests/unit/test_seal_hostile \
	tests/unit/test_secret \
	tests/unit/test_serve \
	tests/unit/test_submissions \
	tests/unit/test_supervisor \
	tests/unit/test_value \
	tests/unit/test_values \
	tests/unit/test_varlink \
	tests/unit/test_varlink_submit \
	tests/unit/test_vfs_posix \
	tests/unit/test_wakeup

tests_unit_libunit_a_SOURCES = \
	tests/unit/chatlog_fixture.c \
	tests/unit/chatlog_fixture.h \
	tests/unit/datagrams.c \
	tests/unit/datagrams.h \
	tests/unit/driver_cluster.c \
	tests/unit/driver_cluster.h \
	tests/unit/fake_replicas.c \
	tests/unit/fake_replicas.h \
	tests/unit/journal_fixture.c \
	tests/unit/journal_fixture.h \
	tests/unit/journal_fixture_checkpoint.c \
	tests/unit/journal_told.c \
	tests/unit/loopback.c \
	tests/unit/loopback.h \
	tests/unit/messages.c \
	tests/unit/messages.h \
	tests/unit/messages_compare.c \
	tests/unit/seal_ends.c \
	tests/unit/seal_ends.h \
	tests/unit/seeds.h \
	tests/unit/submit_compare.h \
	tests/unit/vfs_memory.c \
	tests/unit/vfs_memory.h \
	tests/unit/vfs_memory_disk.c \
	tests/unit/vfs_memory_private.h \
	tests/unit/vfs_memory_rot.c

# A driver that does what a test says, under the real control socket.
tests_unit_libfake_a_SOURCES = \
	tests/unit/control_client.c \
	tests/unit/control_client.h \
	tests/unit/fake_driver.c \
	tests/unit/fake_driver.h

# One replica whose peers a test plays.
tests_unit_liblone_a_SOURCES = \
	tests/unit/lone.c \
	tests/unit/lone.h \
	tests/unit/lone_peers.c \
	tests/unit/lone_private.h

if HAVE_CMOCKA
check_LIBRARIES += tests/unit/libunit.a tests/unit/libfake.a tests/unit/liblone.a
check_PROGRAMS += $(unit_tests)
UNIT_TESTS = $(unit_tests)
endif
LDADD = tests/unit/libunit.a $(unit_libraries)
unit_libraries = ctl/libctl.a $(host_libraries) $(CMOCKA_LIBS) \
	$(UV_LIBS) $(CJSON_LIBS) $(SYSTEMD_LIBS) $(SODIUM_LIBS)
# Its clock is the test's.
tests_unit_test_notice_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=log_now_msec
# What it sends is the test's.
tests_unit_test_driver_chunk_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=driver_send
# What its disk does is the test's.
tests_unit_test_chatlog_calls_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=chatlog_directory_find,--wrap=chatlog_file_open \
	-Wl,--wrap=chatlog_file_read,--wrap=chatlog_file_sync,--wrap=chatlog_file_rename
# What its journal takes of a checkpoint is the test's, and what its log's readers have for one.
tests_unit_test_driver_checkpoint_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=journal_checkpoint_append,--wrap=logread_checkpoint
# What memory it gets is the test's.
tests_unit_test_logread_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=realloc
# What its disk does is the test's.
tests_unit_test_driver_durable_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=fdatasync
# What is told is the test's.
tests_unit_test_driver_refuse_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=notice
# What it sends is seen by the test.
tests_unit_test_driver_relay_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=outbox_put
# What names mean is the test's, and what waits to be sent, or cannot be.
tests_unit_test_peers_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getaddrinfo,--wrap=ioctl,--wrap=sendmmsg
# Its clock is the test's.
tests_unit_test_supervisor_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_gettime
# What threads it gets is the test's.
tests_unit_test_pool_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=uv_thread_create
# What quotas it meets, too.
tests_unit_test_vfs_posix_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=openat,--wrap=renameat,--wrap=unlinkat,--wrap=fsync
# Its users' names are the test's.
tests_unit_test_access_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getpwuid_r
tests_unit_test_access_LDADD = tests/unit/libfake.a $(LDADD)
tests_unit_test_control_LDADD = tests/unit/libfake.a $(LDADD)
tests_unit_test_control_limits_LDADD = tests/unit/libfake.a $(LDADD)
tests_unit_test_control_queues_LDADD = tests/unit/libfake.a $(LDADD)
tests_unit_test_control_read_LDADD = tests/unit/libfake.a $(LDADD)
tests_unit_test_control_users_LDADD = tests/unit/libfake.a $(LDADD)
tests_unit_test_control_status_LDADD = tests/unit/libfake.a $(LDADD)
tests_unit_test_core_acceptor_LDADD = tests/unit/liblone.a $(unit_libraries)
tests_unit_test_core_intake_LDADD = tests/unit/liblone.a $(unit_libraries)
tests_unit_test_core_learner_LDADD = tests/unit/liblone.a $(unit_libraries)
tests_unit_test_core_limits_LDADD = tests/unit/liblone.a $(unit_libraries)
tests_unit_test_core_phase1_LDADD = tests/unit/liblone.a $(unit_libraries)
tests_unit_test_core_proposer_LDADD = tests/unit/liblone.a $(unit_libraries)
tests_unit_test_core_room_LDADD = tests/unit/liblone.a $(unit_libraries)
tests_unit_test_core_route_LDADD = tests/unit/liblone.a $(unit_libraries)
tests_unit_test_core_silent_LDADD = tests/unit/liblone.a $(unit_libraries)

AM_TESTS_ENVIRONMENT = MPAXOS_SOURCE='$(abs_top_srcdir)' MPAXOS_BUILD='$(abs_top_builddir)' CC='$(CC)'; \
	export MPAXOS_SOURCE MPAXOS_BUILD CC;
# No test hangs the others.
LOG_COMPILER = timeout
AM_LOG_FLAGS = --foreground -k 10 600
