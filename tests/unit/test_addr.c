/* SPDX-License-Identifier: Apache-2.0 */
/* Names of namespaces, and who we are. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/num.h"
#include "base/uuid.h"
#include "transport/identity.h"

#define NQN "nqn.2026-11.io.nvofs:test"
#define UUID "00112233-4455-6677-8899-aabbccddeeff"

static char why[512];

static struct ns_addr parse(const char *text)
{
	struct ns_addr a;

	why[0] = 0;
	ck_assert_msg(!ns_addr_parse(&a, text, false, why, sizeof(why)), "%s: %s", text, why);
	return a;
}

START_TEST(both_forms_say_the_same)
{
	struct ns_addr a = parse("nvme+tcp://10.0.0.1:4421/" NQN "?nsid=3&hdr-digest&uuid=" UUID);
	struct ns_addr b = parse("transport=tcp,traddr=10.0.0.1,trsvcid=4421,nqn=" NQN ",nsid=3,hdr-digest,uuid=" UUID);

	ck_assert(!memcmp(&a, &b, sizeof(a)));
	ck_assert_uint_eq(a.nsid, 3);
	ck_assert(a.hdr_digest && !a.data_digest && a.has_uuid && a.uuid[15] == 0xff);
}
END_TEST

START_TEST(defaults_and_options)
{
	struct ns_addr a = parse("nvme+tcp://storage.example/" NQN);
	struct ns_addr b = parse("nvme+rdma://h/" NQN "?keep-alive-tmo=7&reconnect-delay=2&quiesce-time=0&nr-io-queues=4&"
				 "queue-size=64&hostnqn=" NQN "&hostid=" UUID "&host-traddr=::1&host-iface=lo&connect-tmo=9&"
				 "data-digest=off&nguid=00112233445566778899aabbccddeeff");

	ck_assert_str_eq(a.host, "storage.example");
	ck_assert_str_eq(a.port, "4420");
	ck_assert_uint_eq(a.keep_alive_tmo, 5);
	ck_assert_uint_eq(a.reconnect_delay, 1);
	ck_assert_uint_eq(a.connect_tmo, 5);
	ck_assert_int_eq(b.transport, TRANSPORT_RDMA);
	ck_assert(b.keep_alive_tmo == 7 && b.reconnect_delay == 2 && b.nr_io_queues == 4 && b.queue_size == 64);
	ck_assert(b.has_hostid && b.has_nguid && !b.data_digest && b.connect_tmo == 9 && b.nguid[1] == 0x11);
	ck_assert_str_eq(b.host_traddr, "::1");
}
END_TEST

START_TEST(ipv6)
{
	struct ns_addr a = parse("nvme+tcp://[fe80::1%eth0]:4421/" NQN "?nsid=2");
	char text[600];

	ck_assert_str_eq(a.host, "fe80::1%eth0");
	ck_assert_str_eq(ns_addr_print(&a, text, sizeof(text)), "nvme+tcp://[fe80::1%eth0]:4421/" NQN "?nsid=2");
	ck_assert_str_eq(parse("transport=tcp,traddr=[::1],nqn=" NQN).host, "::1");
	ck_assert_str_eq(parse("transport=tcp,traddr=::1,nqn=" NQN).host, "::1");
}
END_TEST

START_TEST(discovery_needs_no_nqn)
{
	struct ns_addr a;

	ck_assert(!ns_addr_parse(&a, "nvme+tcp://h", true, why, sizeof(why)));
	ck_assert_str_eq(a.nqn, "nqn.2014-08.org.nvmexpress.discovery");
	ck_assert_str_eq(a.port, "8009");
	ck_assert(!ns_addr_parse(&a, "transport=tcp,traddr=h,trsvcid=4420", true, why, sizeof(why)));
	ck_assert_str_eq(a.port, "4420");
}
END_TEST

static const struct {
	const char *text, *part; /* of the message */
} wrong[] = {
	{ "", "names no namespace" },
	{ "/dev/nvme0n1", "names no namespace" },
	{ "nvme+tcp:/h/" NQN, "://" },
	{ "nvme+ftp://h/" NQN, "\"ftp\"" },
	{ "nvme+tcp:///" NQN, "no host" },
	{ "nvme+tcp://h", "NQN is missing" },
	{ "nvme+tcp://h/", "NQN is missing" },
	{ "nvme+tcp://h/not-an-nqn", "not-an-nqn" },
	{ "nvme+tcp://h:0/" NQN, "\"0\"" },
	{ "nvme+tcp://h:70000/" NQN, "70000" },
	{ "nvme+tcp://h:44x/" NQN, "44x" },
	{ "nvme+tcp://[::1/" NQN, "bracket" },
	{ "nvme+tcp://[::1]x/" NQN, "bracket" },
	{ "nvme+tcp://fe80::1/" NQN, "brackets" },
	{ "nvme+tcp://h/" NQN "?nsid=0", "nsid" },
	{ "nvme+tcp://h/" NQN "?nsid=4294967295", "nsid" },
	{ "nvme+tcp://h/" NQN "?nsid", "needs a value" },
	{ "nvme+tcp://h/" NQN "?nsid=1&nsid=2", "twice" },
	{ "nvme+tcp://h/" NQN "?traddr=g", "twice" },
	{ "nvme+tcp://h/" NQN "?colour=red", "colour" },
	{ "nvme+tcp://h/" NQN "?uuid=12", "uuid" },
	{ "nvme+tcp://h/" NQN "?hdr-digest=maybe", "maybe" },
	{ "nvme+tcp://h/" NQN "?queue-size=4", "queue-size" },
	{ "nvme+tcp://h/" NQN "?host-iface=averylonginterfacename", "host-iface" },
	{ "transport=tcp,nqn=" NQN, "traddr" },
	{ "traddr=h,nqn=" NQN, "transport" },
	{ "transport=tcp,traddr=,nqn=" NQN, "traddr" },
	{ "transport=tcp,,traddr=h,nqn=" NQN, "empty key" },
	{ "transport=tcp,traddr=a b,nqn=" NQN, "a b" },
};

START_TEST(wrong_input_has_one_line)
{
	struct ns_addr a;

	why[0] = 0;
	ck_assert_int_eq(ns_addr_parse(&a, wrong[_i].text, false, why, sizeof(why)), -EINVAL);
	ck_assert_msg(strstr(why, wrong[_i].part) && !strchr(why, '\n'), "\"%s\": %s", wrong[_i].text, why);
}
END_TEST

START_TEST(lengths_are_bounded)
{
	char text[4096], nqn[400];
	struct ns_addr a;

	memset(nqn, 'x', sizeof(nqn));
	memcpy(nqn, "nqn.", 4);
	nqn[223] = 0;
	snprintf(text, sizeof(text), "nvme+tcp://h/%s", nqn);
	ck_assert(!ns_addr_parse(&a, text, false, why, sizeof(why)));
	nqn[223] = 'x';
	nqn[224] = 0;
	snprintf(text, sizeof(text), "nvme+tcp://h/%s", nqn);
	ck_assert_int_eq(ns_addr_parse(&a, text, false, why, sizeof(why)), -EINVAL);
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	ck_assert_int_eq(ns_addr_parse(&a, text, false, why, sizeof(why)), -EINVAL);
	text[1500] = 0;
	memcpy(text, "nvme+tcp://", 11);
	ck_assert_int_eq(ns_addr_parse(&a, text, false, why, sizeof(why)), -EINVAL);
}
END_TEST

/* ---- identity ---- */

static char root[] = "/tmp/nvofs-identity-XXXXXX";

static void put(const char *path, const char *text)
{
	char full[256];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	f = fopen(full, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void setup(void)
{
	char dir[256];

	strcpy(root, "/tmp/nvofs-identity-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	snprintf(dir, sizeof(dir), "%s/etc", root);
	mkdir(dir, 0700);
	strcat(dir, "/nvme");
	mkdir(dir, 0700);
}

static void teardown(void)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -r %s", root);
	ck_assert_int_eq(system(command), 0);
}

static struct ns_addr fill(const char *hostnqn)
{
	struct ns_addr a;

	ns_addr_init(&a);
	strcpy(a.hostnqn, hostnqn);
	ck_assert_msg(!identity_fill(&a, root, why, sizeof(why)), "%s", why);
	ck_assert(a.has_hostid);
	return a;
}

START_TEST(derived_from_the_machine)
{
	struct ns_addr a, b, c;
	char text[UUID_TEXT];

	put("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
	a = fill("");
	b = fill("");
	put("/etc/machine-id", "fedcba9876543210fedcba9876543210\n");
	c = fill("");
	ck_assert_str_eq(a.hostnqn, b.hostnqn);
	ck_assert(!memcmp(a.hostid, b.hostid, 16) && memcmp(a.hostid, c.hostid, 16));
	ck_assert_str_ne(a.hostnqn, c.hostnqn);
	ck_assert(!strncmp(a.hostnqn, "nqn.2014-08.org.nvmexpress:uuid:", 32));
	ck_assert_str_eq(a.hostnqn + 32, uuid_print(a.hostid, text));
}
END_TEST

START_TEST(files_of_nvme_cli)
{
	struct ns_addr a;
	char text[UUID_TEXT];

	put("/etc/nvme/hostnqn", NQN "\n");
	put("/etc/nvme/hostid", UUID "\n");
	a = fill("");
	ck_assert_str_eq(a.hostnqn, NQN);
	ck_assert_str_eq(uuid_print(a.hostid, text), UUID);
	a = fill("nqn.other"); /* an identifier never goes with two NQNs */
	ck_assert_str_eq(a.hostnqn, "nqn.other");
	ck_assert_str_ne(uuid_print(a.hostid, text), UUID);
	put("/etc/nvme/hostid", "rubbish\n");
	ns_addr_init(&a);
	ck_assert_int_eq(identity_fill(&a, root, why, sizeof(why)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "/etc/nvme/hostid"));
}
END_TEST

START_TEST(nqn_with_a_uuid_gives_the_identifier)
{
	struct ns_addr a;
	char text[UUID_TEXT];

	put("/etc/nvme/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:" UUID "\n");
	a = fill("");
	ck_assert_str_eq(uuid_print(a.hostid, text), UUID);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("addr");
	TCase *t = tcase_create("parse"), *i = tcase_create("identity");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, both_forms_say_the_same);
	tcase_add_test(t, defaults_and_options);
	tcase_add_test(t, ipv6);
	tcase_add_test(t, discovery_needs_no_nqn);
	tcase_add_loop_test(t, wrong_input_has_one_line, 0, (int)ARRAY_SIZE(wrong));
	tcase_add_test(t, lengths_are_bounded);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(i, setup, teardown);
	tcase_add_test(i, derived_from_the_machine);
	tcase_add_test(i, files_of_nvme_cli);
	tcase_add_test(i, nqn_with_a_uuid_gives_the_identifier);
	suite_add_tcase(s, i);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
