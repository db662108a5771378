# Everything of the daemon but main.c, so that tests link it too; the configuration apart, because mpaxosctl reads it.
noinst_LIBRARIES += daemon/host/libhost.a daemon/host/libconfig.a
daemon_host_libhost_a_SOURCES = \
	daemon/host/chatlog.c \
	daemon/host/chatlog.h \
	daemon/host/chatlog_format.c \
	daemon/host/chatlog_mark.c \
	daemon/host/chatlog_mark.h \
	daemon/host/control.h \
	daemon/host/driver.h \
	daemon/host/driver_outbox.c \
	daemon/host/driver_outbox.h \
	daemon/host/faults.c \
	daemon/host/faults.h \
	daemon/host/flushes.c \
	daemon/host/flushes.h \
	daemon/host/log.c \
	daemon/host/log.h \
	daemon/host/logread.c \
	daemon/host/logread.h \
	daemon/host/paths.c \
	daemon/host/paths.h \
	daemon/host/peers.c \
	daemon/host/peers.h \
	daemon/host/service.c \
	daemon/host/service.h \
	daemon/host/submissions.c \
	daemon/host/submissions.h \
	daemon/host/values.c \
	daemon/host/values.h
daemon_host_libconfig_a_SOURCES = \
	daemon/host/config.c \
	daemon/host/config.h \
	daemon/host/config_identity.c \
	daemon/host/config_json.c \
	daemon/host/config_json.h
