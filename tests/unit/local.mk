# cmocka programs, one a file; libunit.a is what several of them share.
unit_tests = \
	tests/unit/test_crc32c \
	tests/unit/test_dedup \
	tests/unit/test_hash \
	tests/unit/test_membership \
	tests/unit/test_value \
	tests/unit/test_varlink

tests_unit_libunit_a_SOURCES = \
	tests/unit/cluster.c \
	tests/unit/cluster.h \
	tests/unit/cluster_check.c \
	tests/unit/cluster_check.h \
	tests/unit/cluster_disk.c \
	tests/unit/cluster_host.c \
	tests/unit/cluster_model.c \
	tests/unit/cluster_net.c \
	tests/unit/cluster_trace.c

if HAVE_CMOCKA
check_LIBRARIES += tests/unit/libunit.a
check_PROGRAMS += $(unit_tests)
UNIT_TESTS = $(unit_tests)
endif
LDADD = tests/unit/libunit.a ctl/libctl.a $(host_libraries) $(CMOCKA_LIBS) \
	$(UV_LIBS) $(CJSON_LIBS) $(SYSTEMD_LIBS) $(SODIUM_LIBS)

AM_TESTS_ENVIRONMENT = MPAXOS_SOURCE='$(abs_top_srcdir)' MPAXOS_BUILD='$(abs_top_builddir)' CC='$(CC)'; \
	export MPAXOS_SOURCE MPAXOS_BUILD CC;
# No test hangs the others.
LOG_COMPILER = timeout
AM_LOG_FLAGS = --foreground -k 10 600
