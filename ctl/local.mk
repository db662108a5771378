# Everything but main.c, so that tests link it too.
noinst_LIBRARIES += ctl/libctl.a
ctl_libctl_a_SOURCES = \
	ctl/attempt.c \
	ctl/attempt.h \
	ctl/client.c \
	ctl/client.h \
	ctl/endpoint.c \
	ctl/endpoint.h \
	ctl/failure.c \
	ctl/failure.h \
	ctl/flush.h \
	ctl/histogram.c \
	ctl/histogram.h \
	ctl/invocation.c \
	ctl/lines.c \
	ctl/lines.h \
	ctl/load.c \
	ctl/load.h \
	ctl/load_check.c \
	ctl/load_client.c \
	ctl/load_client.h \
	ctl/load_reply.c \
	ctl/load_reply.h \
	ctl/load_script.c \
	ctl/load_script.h \
	ctl/new_file.c \
	ctl/new_file.h \
	ctl/options.c \
	ctl/options.h \
	ctl/report.c \
	ctl/report.h \
	ctl/submission.c \
	ctl/submission.h \
	ctl/submitter.c \
	ctl/submitter.h \
	ctl/text.c \
	ctl/text.h \
	ctl/verb_admin.c \
	ctl/verb_client.c \
	ctl/verb_config_check.c \
	ctl/verb_config_generate.c \
	ctl/verb_faults.c \
	ctl/verb_flush.c \
	ctl/verb_keygen.c \
	ctl/verb_load.c \
	ctl/verb_log.c \
	ctl/verb_position.c \
	ctl/verb_send.c \
	ctl/verb_status.c \
	ctl/verbs.c \
	ctl/verbs.h

bin_PROGRAMS += ctl/mpaxosctl
ctl_mpaxosctl_SOURCES = ctl/main.c
ctl_mpaxosctl_LDADD = $(ctl_libraries) \
	$(UV_LIBS) $(CJSON_LIBS) $(SODIUM_LIBS)

ctl_libraries = ctl/libctl.a daemon/host/libconfig.a daemon/wire/libvarlink.a daemon/wire/libwire.a \
	daemon/paxos/libpaxos.a

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = ctl/completion/mpaxosctl
zshcompletiondir = $(datadir)/zsh/site-functions
dist_zshcompletion_DATA = ctl/completion/_mpaxosctl
