#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SQLite with its write-ahead log (a shared mapping) from two processes at once, and with the rollback journal.
. "$(dirname "$0")/lib.sh"
need sqlite3

fill() { # DATABASE FIRST
	local i
	for i in 0 1 2 3 4 5 6 7; do
		echo "BEGIN IMMEDIATE;"
		seq $(($2 + i * 200)) $(($2 + i * 200 + 199)) | sed "s/.*/INSERT INTO t VALUES(&, hex(randomblob(& % 700)));/"
		echo "COMMIT;"
	done | sqlite3 -bail -cmd '.timeout 60000' "$1"
}

check_database() { # DATABASE ROWS
	[ "$(sqlite3 "$1" 'PRAGMA integrity_check')" = ok ] || fail "$1: integrity_check"
	[ "$(sqlite3 "$1" 'SELECT count(*) FROM t')" = "$2" ] || fail "$1: rows are missing"
}

target_start "file:$disk:256M"
format
mount_fs
for mode in wal delete; do
	base=$mnt/$mode.db
	[ "$(sqlite3 "$base" "PRAGMA journal_mode=$mode")" = $mode ] || fail "no journal_mode $mode"
	sqlite3 "$base" 'CREATE TABLE t(i INTEGER PRIMARY KEY, v TEXT)'
	fill "$base" 1 &
	other=$!
	fill "$base" 100001 || fail "writing, $mode"
	wait $other || fail "writing from a second process, $mode"
	check_database "$base" 3200
	sqlite3 "$base" 'DELETE FROM t WHERE i % 3 = 0; VACUUM;'
	check_database "$base" "$(sqlite3 "$base" 'SELECT count(*) FROM t')"
done
rows=$(sqlite3 "$mnt/wal.db" 'SELECT count(*) FROM t')
remount_fs
check_database "$mnt/wal.db" "$rows"
check_database "$mnt/delete.db" "$rows"
unmount_fs
fsck_clean
note ok
