# Everything of the daemon but main.c, so that tests link it too; the configuration apart, because mpaxosctl reads it.
noinst_LIBRARIES += daemon/host/libhost.a daemon/host/libconfig.a
daemon_host_libhost_a_SOURCES = \
	daemon/host/access.c \
	daemon/host/access.h \
	daemon/host/chatlog.c \
	daemon/host/chatlog.h \
	daemon/host/chatlog_format.c \
	daemon/host/chatlog_mark.c \
	daemon/host/chatlog_mark.h \
	daemon/host/control.c \
	daemon/host/control.h \
	daemon/host/control_connection.c \
	daemon/host/control_connection.h \
	daemon/host/control_submit.c \
	daemon/host/driver.c \
	daemon/host/driver.h \
	daemon/host/driver_internal.h \
	daemon/host/driver_outbox.c \
	daemon/host/driver_outbox.h \
	daemon/host/driver_receive.c \
	daemon/host/driver_reload.c \
	daemon/host/driver_start.c \
	daemon/host/driver_status.c \
	daemon/host/driver_stop.c \
	daemon/host/faults.c \
	daemon/host/faults.h \
	daemon/host/flushes.c \
	daemon/host/flushes.h \
	daemon/host/invariant.c \
	daemon/host/local.c \
	daemon/host/local.h \
	daemon/host/log.c \
	daemon/host/log.h \
	daemon/host/logread.c \
	daemon/host/logread.h \
	daemon/host/methods.c \
	daemon/host/methods.h \
	daemon/host/methods_metrics.c \
	daemon/host/methods_read.c \
	daemon/host/methods_reload.c \
	daemon/host/methods_status.c \
	daemon/host/methods_transfer.c \
	daemon/host/methods_wait.c \
	daemon/host/notice.c \
	daemon/host/notice.h \
	daemon/host/paths.c \
	daemon/host/paths.h \
	daemon/host/peers.c \
	daemon/host/peers.h \
	daemon/host/reload.c \
	daemon/host/reload.h \
	daemon/host/serve.c \
	daemon/host/serve.h \
	daemon/host/service.c \
	daemon/host/service.h \
	daemon/host/submissions.c \
	daemon/host/submissions.h \
	daemon/host/supervisor.c \
	daemon/host/supervisor.h \
	daemon/host/values.c \
	daemon/host/values.h
daemon_host_libconfig_a_SOURCES = \
	daemon/host/config.c \
	daemon/host/config.h \
	daemon/host/config_identity.c \
	daemon/host/config_json.c \
	daemon/host/config_json.h
