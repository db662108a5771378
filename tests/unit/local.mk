# cmocka programs, one a file; tests/unit/libunit.a is what several of them share.
unit_tests = \
	tests/unit/test_crc32c

tests_unit_libunit_a_SOURCES =

if HAVE_CMOCKA
check_PROGRAMS += $(unit_tests)
UNIT_TESTS = $(unit_tests)
endif
LDADD = $(host_libraries) $(CMOCKA_LIBS) \
	$(UV_LIBS) $(CJSON_LIBS) $(SYSTEMD_LIBS) $(SODIUM_LIBS)

AM_TESTS_ENVIRONMENT = MPAXOS_SOURCE='$(abs_top_srcdir)' MPAXOS_BUILD='$(abs_top_builddir)' CC='$(CC)'; \
	export MPAXOS_SOURCE MPAXOS_BUILD CC;
LOG_COMPILER = timeout
AM_LOG_FLAGS = 600
