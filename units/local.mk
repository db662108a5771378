systemdsystemunit_DATA = units/mpaxosd@.service
dist_systemdsystemunit_DATA = units/mpaxosd.target
EXTRA_DIST += units/mpaxosd@.service.in units/mpaxosd.sysusers
CLEANFILES += units/mpaxosd@.service

units/mpaxosd@.service: units/mpaxosd@.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && sed -e 's|@sbindir[@]|$(sbindir)|g' $< >$@.tmp && mv $@.tmp $@

# Under the name that systemd-sysusers wants.
install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(sysusersdir)'
	$(INSTALL_DATA) '$(srcdir)/units/mpaxosd.sysusers' '$(DESTDIR)$(sysusersdir)/mpaxosd.conf'

uninstall-local:
	rm -f '$(DESTDIR)$(sysusersdir)/mpaxosd.conf'
