/* SPDX-License-Identifier: MIT */
/* The few rtnetlink requests that a path needs. Each opens a socket of its own, so it acts in the thread's
 * namespace. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rtnl_link {
	uint32_t mtu, ifindex;
	uint8_t operstate; /* IF_OPER_* of linux/if.h */
	char qdisc[16];
	char kind[16]; /* "loopback", "veth", ...; "": a device of a driver */
};

/* All return 0 or a negative errno. */
int rtnl_veth_add(const char *name, const char *peer, int peer_ns); /* peer is made in namespace peer_ns */
int rtnl_link_up(const char *name);
int rtnl_address_add(
	const char *name, int family, const void *addr, size_t len, uint8_t prefix); /* no DAD for IPv6 */
int rtnl_link_get(const char *name, struct rtnl_link *ret);

struct rtnl_route {
	uint32_t ifindex;
	uint8_t from[16]; /* the address that the kernel would send from; len bytes of it */
};

/* The route to an address of len bytes, 4 or 16; -ENETUNREACH and the like if there is none. */
int rtnl_route_get(int family, const void *addr, size_t len, struct rtnl_route *ret);
