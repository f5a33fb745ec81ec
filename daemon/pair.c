// SPDX-License-Identifier: MIT
/* The side of a run of two hosts: its parameters, its token, its port. */
#include "pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/random.h>

#include "jsonx.h"
#include "member.h"
#include "peer.h"

#define TOKEN_DIGITS (2 * LG_TOKEN)

struct pair_parameters {
	char role[16], address[48], token[TOKEN_DIGITS + 1], id[24];
	uint32_t port;
};

static const char *const roles[] = {
	[LG_ROLE_SENDER - 1] = "sender", [LG_ROLE_RECEIVER - 1] = "receiver", NULL};

static const char *known_role(size_t i)
{
	return roles[i];
}

static bool valid_address(const char *s)
{
	uint8_t address[16];

	return inet_pton(AF_INET, s, address) == 1 || inet_pton(AF_INET6, s, address) == 1;
}

static bool valid_token(const char *s)
{
	return strspn(s, "0123456789abcdef") == TOKEN_DIGITS;
}

#define PAIR(f) .name = #f, MEMBER_FIELD(struct pair_parameters, f)

static const struct member pair_members[] = {
	{PAIR(role), .type = MEMBER_STRING, .required = true, .min = 1, .max = 15, .known = known_role},
	{PAIR(address), .type = MEMBER_STRING, .min = 1, .max = 47, .valid = valid_address,
		.form = "a numeric IPv4 or IPv6 address"},
	{PAIR(port), .type = MEMBER_UINT, .min = 1, .max = UINT16_MAX},
	{PAIR(token), .type = MEMBER_STRING, .min = TOKEN_DIGITS, .max = TOKEN_DIGITS, .valid = valid_token,
		.form = "32 hexadecimal digits"},
	{PAIR(id), .type = MEMBER_STRING, .min = 1, .max = 23},
	{},
};

static void read_token(const char *digits, uint8_t ret[LG_TOKEN])
{
	for (size_t i = 0; i < LG_TOKEN; i++)
		sscanf(digits + 2 * i, "%2hhx", &ret[i]);
}

/* A receiver is told where to listen at most; a sender needs all. */
static int check_role(const struct pair_parameters *p, bool sender, struct fault *reterr)
{
	const struct {
		const char *name;
		bool given;
	} members[] = {{"port", p->port}, {"token", *p->token}, {"id", *p->id}, {"address", *p->address}};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		if (sender && !members[i].given)
			return fault_set(reterr, -EINVAL, "missing_member", members[i].name,
				"a sender needs '%s', as the receiver's daemon gave it", members[i].name);
		if (!sender && members[i].given && !str_eq(members[i].name, "address"))
			return fault_set(reterr, -EINVAL, "invalid_request", members[i].name,
				"'%s' is for a sender: a receiver makes its own", members[i].name);
	}
	return 0;
}

int pair_parse(json_object *obj, struct spec *spec, struct fault *reterr)
{
	struct pair_parameters p = {};
	struct lg_plan plan = {.size = spec->size};
	bool sender;
	int r;

	r = members_parse(pair_members, obj, &p, reterr);
	if (r < 0)
		return r;
	sender = str_eq(p.role, roles[LG_ROLE_SENDER - 1]);
	plan.role = sender ? LG_ROLE_SENDER : LG_ROLE_RECEIVER;
	str_copy(plan.receive, spec->receive);
	str_copy(plan.mode, spec->mode);
	r = check_role(&p, sender, reterr);
	if (r == 0)
		r = peer_check(&plan, reterr);
	if (r < 0)
		return r;
	spec->pair = (struct pair){.role = plan.role, .port = p.port, .listener = -1};
	str_copy(spec->pair.address, p.address);
	str_copy(spec->pair.id, p.id);
	if (sender)
		read_token(p.token, spec->pair.token);
	str_copy(spec->path, "peer");
	return 0;
}

json_object *pair_details(json_object *obj, const struct fault *fault)
{
	return members_details(pair_members, obj, fault);
}

int pair_open(struct spec *spec, int *ret_listener, struct fault *reterr)
{
	struct lg_plan plan = {
		.rcvbuf = spec->rcvbuf, .sndbuf = spec->sndbuf, .flags = spec->ip == 6 ? LG_IPV6 : 0};
	struct pair *p = &spec->pair;
	int r;

	if (p->role != LG_ROLE_RECEIVER)
		return 0;
	if (getrandom(p->token, sizeof(p->token), 0) != sizeof(p->token))
		return fault_set(
			reterr, -EIO, "no_token", "", "the kernel gives no random bytes for a token");
	str_copy(plan.congestion, spec->congestion);
	r = peer_listen(&plan, p->address, ret_listener, &p->port, reterr);
	p->listener = *ret_listener;
	return r;
}

int pair_invite(const struct spec *spec, json_object *reply)
{
	char digits[TOKEN_DIGITS + 1];

	for (size_t i = 0; i < LG_TOKEN; i++)
		snprintf(digits + 2 * i, 3, "%02x", spec->pair.token[i]);
	if (json_add_u64(reply, "port", spec->pair.port) < 0)
		return -ENOMEM;
	return json_add_str(reply, "token", digits);
}
