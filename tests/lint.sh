#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lint.sh [TOP]: the fences of the house, as far as text shows them: who may include what, licence lines, sizes, checked
# layouts, no allocation where requests run, no paths of somebody's machine, shell scripts that shellcheck accepts.
# One line a finding; exit code 1 when there is one.
set -eu
cd "${1:-$(dirname "$0")/..}"
export LC_ALL=C
findings=0

finding() {
	printf '%s\n' "$*"
	findings=$((findings + 1))
}

sources() { # tracked or not, but nothing that was built
	find . \( -path './build*' -o -path './B*' -o -path './.git' \) -prune -o -type f -print | sed 's|^\./||' | sort
}
all=$(sources)
c_files=$(grep -E '\.[ch]$' <<<"$all" || true)
scripts=$(for file in $all; do head -c 20 "$file" | grep -aq '^#!.*sh' && echo "$file"; done || true)
libraries=$(grep -E '/lib\.sh$' <<<"$all" || true)

# Files outside ALLOWED (an extended pattern on the path) that include something matching WHAT.
fence() { # WHAT ALLOWED
	local file
	for file in $(grep -lE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($1)" $c_files || true); do
		grep -Eq "^($2)" <<<"$file" || finding "$file: may not include $1"
	done
}

check_fences() {
	fence 'infiniband/|rdma/' 'transport/rdma|tests/guest/rdma'
	fence 'sys/socket\.h|netinet/|arpa/inet\.h|netdb\.h|linux/tls\.h' 'transport/(tcp|rdma)|tools/|tests/'
	fence 'fuse_lowlevel\.h|fuse3?/|fuse\.h|fuse_opt\.h|linux/fuse\.h' 'fs/fuse'
	fence 'isa-l|crc\.h>' 'base/crc\.c'
	fence 'json-c/|blkid/' 'tools/|tests/'
	fence 'zstd\.h' 'fs/compress'
	fence 'openssl/' 'transport/tls'
	fence 'sys/epoll\.h' 'base/|transport/|fs/|tools/|tests/'
}

# base <- transport <- cache <- fs <- tools, never back.
check_layers() {
	local allowed='' layer files
	for layer in base transport cache fs tools; do
		allowed="${allowed:+$allowed|}$layer"
		files=$(grep "^$layer/" <<<"$c_files" || true)
		grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' $files /dev/null |
			grep -vE "include[[:space:]]*\"($allowed)/" || true
	done >"$report"
	while read -r line; do
		finding "$line: an include against the order of the layers"
	done <"$report"
}

check_licence() {
	local file
	for file in $c_files $scripts $libraries $(grep -E '(^|/)meson\.build$' <<<"$all"); do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || finding "$file: no SPDX line"
	done
}

check_sizes() {
	local file lines
	for file in $c_files $scripts; do
		lines=$(wc -l <"$file")
		[ "$lines" -le 900 ] || finding "$file: $lines lines; at most 900"
	done
}

# A file that defines structs as they lie on the wire or the device (their fields are le16, le32, le64) asserts their layout.
check_layouts() {
	local file structs asserts
	for file in $c_files; do
		structs=$(awk '/^struct [a-z0-9_]+_(wire|disk) \{/ { inside = 1 }
			inside && /[ \t]le(16|32|64) / { found++; inside = 0 }
			/^}/ { inside = 0 }
			END { print found + 0 }' "$file")
		asserts=$(grep -c 'static_assert\|_Static_assert' "$file" || true)
		[ "$asserts" -ge "$structs" ] || finding "$file: $structs structs of wire or device, $asserts static_asserts"
	done
}

# Files in which data requests run: no heap. The list names those that exist already.
hot_files='cache/frame.c cache/index.c transport/lane.c transport/tcp_io.c fs/io.c fs/read.c fs/write.c'
check_allocations() {
	local file
	for file in $hot_files; do
		[ -e "$file" ] || continue
		if grep -nE '\b(malloc|calloc|realloc|strdup|posix_memalign|aligned_alloc)\(' "$file" >"$report"; then
			finding "$file:$(head -n 1 "$report"): allocates in the path of a data request"
		fi
	done
}

check_paths() {
	grep -nIE '(^|[^A-Za-z0-9_.-])/(work|home/[a-z]+|Users|farm)/' $all >"$report" /dev/null || true
	while read -r line; do
		case $line in tests/lint.sh:*) continue ;; esac
		finding "$line: a path of somebody's machine"
	done <"$report"
	grep -nI ' $' $c_files $scripts /dev/null >"$report" || true
	while read -r line; do
		finding "$(cut -d : -f 1,2 <<<"$line"): blanks at the end of the line"
	done <"$report"
}

check_scripts() {
	local file
	for file in $scripts $libraries; do
		case $(head -n 1 "$file") in *busybox*) continue ;; esac
		bash -n "$file" || finding "$file: does not parse"
	done
	for file in $scripts; do
		[ -x "$file" ] || finding "$file: not executable"
	done
	command -v shellcheck >/dev/null || return 0
	shellcheck -x -S warning $scripts >"$report" || { cat "$report"; finding "shellcheck: see above"; }
}

report=$(mktemp)
trap 'rm -f "$report"' EXIT
for check in check_fences check_layers check_licence check_sizes check_layouts check_allocations check_paths check_scripts; do
	$check
done
[ $findings = 0 ] && echo "lint: nothing found in $(wc -w <<<"$all") files" && exit
echo "lint: $findings findings"
exit 1
