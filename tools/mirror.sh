#!/bin/bash
# SPDX-License-Identifier: MIT
# Prints the address that this machine's apt has for Debian itself, so that a proxy or a local mirror serves here too.
set -euo pipefail

# shellcheck disable=SC1091
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016 # these are apt's own
uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(ORIGIN) $(LABEL)' 'Created-By: Packages' |
	awk -v release="$codename" '($2 == release || $3 == "Debian") && $4 != "Debian-Security" { print $1; exit }')
if [ -z "$uri" ]; then
	echo "mirror: the apt sources of this system name no Debian mirror" >&2
	exit 1
fi
echo "$uri"
