// SPDX-License-Identifier: MIT
/* Addresses on the command line. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>

#include "listen.h"

static void good_addresses(void **state)
{
	struct address a;

	assert_int_equal(address_parse("127.0.0.1:19423", &a, NULL), 0);
	assert_int_equal(((struct sockaddr_in *)&a.sa)->sin_port, htons(19423));
	assert_int_equal(a.len, sizeof(struct sockaddr_in));
	assert_int_equal(address_parse("[::1]:80", &a, NULL), 0);
	assert_int_equal(a.sa.ss_family, AF_INET6);
	assert_int_equal(address_parse("0.0.0.0:0", &a, NULL), 0);
}

static void bad_addresses(void **state)
{
	static const char *const texts[] = {"", ":", ":80", "127.0.0.1", "127.0.0.1:", "::1:80", "[::1]",
		"[]:80", "[::1:80", "localhost:80", "127.0.0.1:http", "127.0.0.1:x", "256.0.0.1:80",
		"127.0.0.1:65536", "127.0.0.1:100000", "127.0.0.1:-1",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:80"};
	struct fault fault;
	struct address a;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (address_parse(texts[i], &a, &fault) == 0)
			fail_msg("taken: %s", texts[i]);
		assert_string_equal(fault.code, "usage");
	}
}

static void a_socket_says_where_it_is(void **state)
{
	char text[ADDRESS_TEXT];
	struct address a;
	int fd;

	assert_int_equal(address_parse("127.0.0.1:0", &a, NULL), 0);
	fd = listen_at(&a, NULL);
	assert_true(fd >= 0);
	assert_int_equal(strncmp(address_of(fd, text), "127.0.0.1:", 10), 0);
	assert_string_not_equal(text, "127.0.0.1:0");
	close(fd);
	assert_string_equal(address_of(-1, text), "a socket");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_addresses),
		cmocka_unit_test(bad_addresses),
		cmocka_unit_test(a_socket_says_where_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
