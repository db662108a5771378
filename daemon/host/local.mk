# Everything of the daemon but main.c, so that tests link it too; the configuration apart, because mpaxosctl reads it.
noinst_LIBRARIES += daemon/host/libhost.a daemon/host/libconfig.a
daemon_host_libhost_a_SOURCES = \
	daemon/host/chatlog.h \
	daemon/host/control.h \
	daemon/host/driver.h \
	daemon/host/faults.h \
	daemon/host/log.h
daemon_host_libconfig_a_SOURCES = \
	daemon/host/config.c \
	daemon/host/config.h \
	daemon/host/config_identity.c \
	daemon/host/config_json.c \
	daemon/host/config_json.h
