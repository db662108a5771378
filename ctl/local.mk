# Everything but main.c, so that tests link it too.
noinst_LIBRARIES += ctl/libctl.a
ctl_libctl_a_SOURCES = \
	ctl/client.c \
	ctl/client.h \
	ctl/endpoint.c \
	ctl/endpoint.h \
	ctl/failure.c \
	ctl/failure.h \
	ctl/histogram.c \
	ctl/histogram.h \
	ctl/invocation.c \
	ctl/options.c \
	ctl/options.h \
	ctl/report.c \
	ctl/report.h \
	ctl/submitter.c \
	ctl/submitter.h \
	ctl/text.c \
	ctl/text.h \
	ctl/verbs.c \
	ctl/verbs.h

bin_PROGRAMS += ctl/mpaxosctl
ctl_mpaxosctl_SOURCES = ctl/main.c
ctl_mpaxosctl_LDADD = $(ctl_libraries) \
	$(UV_LIBS) $(CJSON_LIBS)

ctl_libraries = ctl/libctl.a daemon/host/libconfig.a daemon/wire/libvarlink.a daemon/paxos/libpaxos.a
