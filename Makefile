# Installs binaries, manual pages and completions where the system and the shells look for them:
#
#     cargo build --release && sudo make install
#
# PREFIX is the target (/usr/local), DESTDIR a staging folder, and BIN the folder of the binaries.

PREFIX ?= /usr/local
DESTDIR ?=
BIN ?= $(or $(CARGO_TARGET_DIR),target)/release

COMMANDS = aiocp aiosum
SHARE = $(DESTDIR)$(PREFIX)/share

.PHONY: install uninstall

install:
	set -e; for c in $(COMMANDS); do \
		install -D -m 755 "$(BIN)/$$c" "$(DESTDIR)$(PREFIX)/bin/$$c"; \
		install -D -m 644 man/$$c.1 "$(SHARE)/man/man1/$$c.1"; \
		install -D -m 644 completions/$$c.bash "$(SHARE)/bash-completion/completions/$$c"; \
		install -D -m 644 completions/_$$c "$(SHARE)/zsh/site-functions/_$$c"; \
		install -D -m 644 completions/$$c.fish "$(SHARE)/fish/vendor_completions.d/$$c.fish"; \
		install -D -m 644 completions/$$c.elv "$(SHARE)/elvish/lib/$$c.elv"; \
	done

uninstall:
	set -e; for c in $(COMMANDS); do \
		rm -f "$(DESTDIR)$(PREFIX)/bin/$$c" "$(SHARE)/man/man1/$$c.1" \
			"$(SHARE)/bash-completion/completions/$$c" \
			"$(SHARE)/zsh/site-functions/_$$c" \
			"$(SHARE)/fish/vendor_completions.d/$$c.fish" \
			"$(SHARE)/elvish/lib/$$c.elv"; \
	done
