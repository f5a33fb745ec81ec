// SPDX-License-Identifier: MIT
/* A connection to itself that kernel TLS takes over, as a web server's: ktls prints its pid, and goes on with a line of input.
 * Sends PLAIN bytes, then CIPHERED ones where the kernel has the cipher, and says how many of each the other end got. */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLAIN 10000
#define CIPHERED 100000
#define CHUNK 5000

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

static int failed(const char *what)
{
	fprintf(stderr, "ktls: %s: %s\n", what, strerror(errno));
	return 1;
}

static int connect_both(int fd[2])
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&addr, len) < 0 || listen(listener, 1) < 0 ||
		getsockname(listener, (struct sockaddr *)&addr, &len) < 0 ||
		connect(fd[0], (struct sockaddr *)&addr, len) < 0)
		return -1;
	fd[1] = accept(listener, NULL, NULL);
	return fd[1];
}

/* What the other end has got of n bytes; fewer if a call failed. */
static int transfer(const int fd[2], int n)
{
	static char out[CHUNK], in[CHUNK];
	int got = 0;

	memset(out, 'x', sizeof(out));
	for (int i = 0; i < n; i += CHUNK) {
		ssize_t r = send(fd[0], out, CHUNK, 0);

		for (ssize_t left = r; left > 0; left -= r) {
			r = recv(fd[1], in, CHUNK, 0);
			if (r <= 0 || memcmp(in, out, (size_t)r) != 0)
				return got;
			got += (int)r;
		}
	}
	return got;
}

static int encrypt(const int fd[2])
{
	struct tls12_crypto_info_aes_gcm_128 info = {
		.info = {.version = TLS_1_2_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128}};

	for (int i = 0; i < 2; i++)
		if (setsockopt(fd[i], SOL_TLS, i ? TLS_RX : TLS_TX, &info, sizeof(info)) < 0)
			return -1;
	return 0;
}

int main(void)
{
	int fd[2], plain;
	char line[8];

	if (connect_both(fd) < 0)
		return failed("connect");
	printf("%d\n", getpid());
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return failed("standard input");
	plain = transfer(fd, PLAIN);
	for (int i = 0; i < 2; i++)
		if (setsockopt(fd[i], IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) < 0)
			return failed("TCP_ULP");
	if (encrypt(fd) < 0)
		failed("no AES-GCM, the bytes stay plain");
	printf("plain %d ciphered %d\n", plain, transfer(fd, CIPHERED));
	return 0;
}
