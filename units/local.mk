systemdsystemunit_DATA = units/mpaxosd@.service
dist_systemdsystemunit_DATA = units/mpaxosd.target
dist_catalog_DATA = units/mpaxos.catalog
units_renamed = units/mpaxosd.sysusers units/mpaxosd.tmpfiles units/mpaxosd.preset
EXTRA_DIST += units/mpaxosd@.service.in $(units_renamed)
CLEANFILES += units/mpaxosd@.service

units/mpaxosd@.service: units/mpaxosd@.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && sed -e 's|@sbindir[@]|$(sbindir)|g' -e 's|@bindir[@]|$(bindir)|g' $< >$@.tmp && mv $@.tmp $@

# Under the names that systemd wants.
install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(sysusersdir)' '$(DESTDIR)$(tmpfilesdir)' '$(DESTDIR)$(systemdsystempresetdir)'
	$(INSTALL_DATA) '$(srcdir)/units/mpaxosd.sysusers' '$(DESTDIR)$(sysusersdir)/mpaxosd.conf'
	$(INSTALL_DATA) '$(srcdir)/units/mpaxosd.tmpfiles' '$(DESTDIR)$(tmpfilesdir)/mpaxosd.conf'
	$(INSTALL_DATA) '$(srcdir)/units/mpaxosd.preset' '$(DESTDIR)$(systemdsystempresetdir)/90-mpaxosd.preset'

uninstall-local:
	rm -f '$(DESTDIR)$(sysusersdir)/mpaxosd.conf' '$(DESTDIR)$(tmpfilesdir)/mpaxosd.conf' \
		'$(DESTDIR)$(systemdsystempresetdir)/90-mpaxosd.preset'
