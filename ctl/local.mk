bin_PROGRAMS += ctl/mpaxosctl
ctl_mpaxosctl_SOURCES =
ctl_mpaxosctl_LDADD = daemon/host/libconfig.a daemon/wire/libvarlink.a daemon/paxos/libpaxos.a \
	$(UV_LIBS) $(CJSON_LIBS)
