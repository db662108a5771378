noinst_LIBRARIES += daemon/wire/libwire.a daemon/wire/libvarlink.a
# The replicas' datagrams.
daemon_wire_libwire_a_SOURCES = \
	daemon/wire/assembly.c \
	daemon/wire/assembly.h \
	daemon/wire/datagram.h \
	daemon/wire/datagram_format.h \
	daemon/wire/datagram_read.c \
	daemon/wire/datagram_write.c \
	daemon/wire/seal.c \
	daemon/wire/seal.h \
	daemon/wire/seal_session.c \
	daemon/wire/seal_session.h
# The control socket's codec, and the interfaces' texts.
daemon_wire_libvarlink_a_SOURCES = \
	daemon/wire/varlink.c \
	daemon/wire/varlink.h \
	daemon/wire/varlink_framer.c \
	daemon/wire/varlink_submit.c \
	daemon/wire/varlink_submit.h \
	daemon/wire/varlink_scan.c \
	daemon/wire/varlink_scan.h \
	daemon/wire/varlink_writer.c \
	daemon/wire/varlink_writer.h
nodist_daemon_wire_libvarlink_a_SOURCES = daemon/wire/interfaces.c

interfaces = \
	daemon/wire/org.mpaxos.Replica.varlink \
	daemon/wire/org.varlink.service.varlink
EXTRA_DIST += daemon/wire/embed.sh $(interfaces)
CLEANFILES += daemon/wire/interfaces.c

daemon/wire/interfaces.c: daemon/wire/embed.sh $(interfaces)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(SHELL) $^ >$@.tmp && mv $@.tmp $@
