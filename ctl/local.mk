# Everything but main.c, so that tests link it too.
noinst_LIBRARIES += ctl/libctl.a
ctl_libctl_a_SOURCES = \
	ctl/histogram.c \
	ctl/histogram.h \
	ctl/options.c \
	ctl/options.h \
	ctl/text.c \
	ctl/text.h

bin_PROGRAMS += ctl/mpaxosctl
ctl_mpaxosctl_SOURCES = ctl/main.c
ctl_mpaxosctl_LDADD = $(ctl_libraries) \
	$(UV_LIBS) $(CJSON_LIBS)

ctl_libraries = ctl/libctl.a daemon/host/libconfig.a daemon/wire/libvarlink.a daemon/paxos/libpaxos.a
