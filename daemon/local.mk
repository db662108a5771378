include daemon/paxos/local.mk
include daemon/wire/local.mk
include daemon/journal/local.mk
include daemon/host/local.mk

sbin_PROGRAMS += daemon/mpaxosd
daemon_mpaxosd_SOURCES = daemon/host/main.c
daemon_mpaxosd_LDADD = $(host_libraries) \
	$(UV_LIBS) $(CJSON_LIBS) $(SYSTEMD_LIBS) $(SODIUM_LIBS)

systemdsystemgenerator_PROGRAMS = daemon/mpaxosd-generator
daemon_mpaxosd_generator_SOURCES = daemon/host/generator.c
daemon_mpaxosd_generator_CPPFLAGS = $(AM_CPPFLAGS) -DMPAXOSD_PATH='"$(sbindir)/mpaxosd"' \
	-DMPAXOSD_UNIT_PATH='"$(systemdsystemunitdir)/mpaxosd@.service"'
daemon_mpaxosd_generator_LDADD = daemon/host/libconfig.a daemon/paxos/libpaxos.a

# In the order that a linker wants: each library uses only those after it. libhost.a stands a second time because it
# defines the core's abort hook.
host_libraries = daemon/host/libhost.a daemon/host/libconfig.a daemon/wire/libvarlink.a daemon/wire/libwire.a \
	daemon/journal/libjournal.a daemon/paxos/libpaxos.a daemon/host/libhost.a
