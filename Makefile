# Builds the commands, and installs them with manual pages and completions where the system and the
# shells look for them:
#
#     make && sudo make install
#
# PREFIX is the target (/usr/local), DESTDIR a staging folder, and BIN the folder of the binaries.
# RECORD lists the folders that 'make install' had to make, so that 'make uninstall' removes those
# of them that are empty. A staging folder gets none.

PREFIX ?= /usr/local
DESTDIR ?=
BIN ?= $(or $(CARGO_TARGET_DIR),target)/release
RECORD ?= $(if $(DESTDIR),,$(PREFIX)/share/aiocp/folders)

COMMANDS = aiocp aiosum

# Calls 'visit FILE PLACE MODE' for each file that is installed, with its place below PREFIX.
VISIT_ALL = for c in $(COMMANDS); do \
		visit "$(BIN)/$$c" bin/$$c 755; \
		visit man/$$c.1 share/man/man1/$$c.1 644; \
		visit completions/$$c.bash share/bash-completion/completions/$$c 644; \
		visit completions/_$$c share/zsh/site-functions/_$$c 644; \
		visit completions/$$c.fish share/fish/vendor_completions.d/$$c.fish 644; \
		visit completions/$$c.elv share/elvish/lib/$$c.elv 644; \
	done

.PHONY: build install uninstall

build:
	cargo build --locked --release

# It builds nothing: root often has no cargo, and would own what it built.
install:
	@set -eu; for c in $(COMMANDS); do \
		[ -x "$(BIN)/$$c" ] || { echo "$(BIN)/$$c is missing: run 'make' first" >&2; exit 1; }; \
	done; \
	made=; root="$(DESTDIR)$(PREFIX)"; record="$(RECORD)"; \
	note() { \
		folder=$$1; \
		while [ ! -d "$$folder" ]; do \
			made="$$made$$folder\n"; folder=$$(dirname "$$folder"); \
		done; \
	}; \
	visit() { \
		note "$$(dirname "$$root/$$2")"; \
		install -D -m "$$3" "$$1" "$$root/$$2"; \
		echo "$$root/$$2"; \
	}; \
	$(VISIT_ALL); \
	if [ -n "$$record" ]; then \
		note "$$(dirname "$$record")"; \
		if [ -n "$$made" ]; then \
			mkdir -p "$$(dirname "$$record")"; printf '%b' "$$made" >>"$$record"; \
		fi; \
	fi

uninstall:
	@set -eu; root="$(DESTDIR)$(PREFIX)"; record="$(RECORD)"; \
	visit() { rm -f "$$root/$$2"; }; \
	$(VISIT_ALL); \
	if [ -n "$$record" ] && [ -f "$$record" ]; then \
		made=$$(sort -r -u "$$record"); rm "$$record"; \
		printf '%s\n' "$$made" | while read -r folder; do \
			[ ! -d "$$folder" ] || rmdir --ignore-fail-on-non-empty "$$folder"; \
		done; \
	fi
